/* What the micro benchmarks share: the CPU clock, the median of repetitions, one row of output.
 *
 * A row is "what", two spaces or more, a number and its unit: bench/run reads it. One thread. */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include <stdint.h>

#define MICRO_REPEATS 5

/* CPU time of this thread: others on the machine do not count, but for the caches they take. */
double micro_cpu_ns(void);

/* The median; sorts the samples. */
double micro_median(double *samples, uint32_t count);

/* Runs `repeat` MICRO_REPEATS times, each `count` items, and prints the median in ns per item and,
 * with bytes (of one item) > 0, in MB/s. Returns the ns. */
double micro_measure(const char *what, void (*repeat)(uint32_t count), uint32_t count,
                     uint64_t bytes);

void micro_row(const char *what, double value, const char *unit);

#endif
