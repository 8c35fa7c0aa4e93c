/* A histogram of durations: 64 steps per power of two, so a quantile is right within 1.6 %.
 *
 * Pure; fixed memory. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS   64
#define HISTOGRAM_BUCKETS (HISTOGRAM_STEPS * 59) /* all of 64 bits */

struct histogram {
    uint64_t count, max; /* max is exact */
    /* private: */
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* The value that `per_mille` of 1000 do not exceed, rounded up to its step; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *histogram, uint32_t per_mille);

#endif
