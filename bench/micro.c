#include "micro.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

double micro_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double first = *(const double *)a, second = *(const double *)b;
    return first < second ? -1 : first > second;
}

double micro_median(double *samples, uint32_t count)
{
    assert(count > 0);
    qsort(samples, count, sizeof(*samples), by_size);
    return samples[count / 2];
}

double micro_measure(const char *what, void (*repeat)(uint32_t count), uint32_t count,
                     uint64_t bytes)
{
    double samples[MICRO_REPEATS];
    for (uint32_t i = 0; i < MICRO_REPEATS; i++) {
        double from = micro_cpu_ns();
        repeat(count);
        samples[i] = (micro_cpu_ns() - from) / count;
    }
    double ns = micro_median(samples, MICRO_REPEATS);
    micro_row(what, ns, "ns");
    if (bytes > 0) {
        char row[128];
        snprintf(row, sizeof(row), "%s, throughput", what);
        micro_row(row, (double)bytes * 1e3 / ns, "MB/s");
    }
    return ns;
}

void micro_row(const char *what, double value, const char *unit)
{
    printf("%-64s  %10.*f %s\n", what, value < 100 ? 1 : 0, value, unit);
    fflush(stdout);
}
