/* What a limit and a rate cost uncontended: nanoseconds per operation, best of five.
 *
 *     ninja -C build bench/micro_vmta && build/bench/micro_vmta */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "vmta/limits.h"
#include "vmta/rates.h"

enum { ROUNDS = 2000000, REPEATS = 5 };

static struct limits *limits;
static struct limit *limit;
static struct shared_rate *shared;
static struct rate rate;
static uint64_t now_ms, granted;

static void take_and_release(void)
{
    struct limit_wakes wakes = {0};
    granted += limit_take_or_wait(limit, 1, 0);
    limit_release(limit, 1, &wakes);
}

static void take_exact(void)
{
    granted += rate_take(&rate, now_ms++, 1);
}

static void take_shared(void)
{
    granted += shared_rate_take(shared, now_ms++, 1);
}

static void measure(const char *what, void (*operation)(void))
{
    double best_ns = 1e9;
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (int round = 0; round < ROUNDS; round++) {
            operation();
        }
        clock_gettime(CLOCK_MONOTONIC, &to);
        double ns =
            ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) /
            ROUNDS;
        best_ns = ns < best_ns ? ns : best_ns;
    }
    printf("%-40s %6.1f ns\n", what, best_ns);
}

int main(void)
{
    limits = limits_create(2);
    limit = limits_entry(limits, LIMIT_TOTAL, BYTES("total"));
    shared = limits_rate_entry(limits, LIMIT_DOMAIN, BYTES("example.org"));
    struct limit_wakes wakes = {0};
    limit_set_max(limit, 100, &wakes);
    measure("limit: take and release", take_and_release);
    rate_init(&rate, 1000, 2000);
    measure("rate: take, ring of 1000", take_exact);
    rate_deinit(&rate);
    rate_init(&rate, 1000000, 3600000);
    measure("rate: take, slots", take_exact);
    rate_deinit(&rate);
    shared_rate_set(shared, 1000000, 3600000);
    measure("shared rate: take, slots", take_shared);
    printf("(%" PRIu64 " granted)\n", granted);
    limits_destroy(limits);
    return 0;
}
