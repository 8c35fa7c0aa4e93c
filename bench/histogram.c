#include "bench/histogram.h"

#include <assert.h>

/* Values below 64 have a bucket each; above, the six bits below the highest choose the step. */
static uint32_t bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_STEPS) {
        return (uint32_t)value;
    }
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - 6;
    return (shift + 1) * HISTOGRAM_STEPS + (uint32_t)(value >> shift) - HISTOGRAM_STEPS;
}

static uint64_t highest_in(uint32_t bucket)
{
    if (bucket < HISTOGRAM_STEPS) {
        return bucket;
    }
    uint32_t shift = bucket / HISTOGRAM_STEPS - 1;
    uint64_t step = bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS;
    return (step << shift) + ((UINT64_C(1) << shift) - 1);
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    uint32_t bucket = bucket_of(value);
    assert(bucket < HISTOGRAM_BUCKETS);
    histogram->buckets[bucket]++;
    histogram->count++;
    histogram->max = value > histogram->max ? value : histogram->max;
}

uint64_t histogram_quantile(const struct histogram *histogram, uint32_t per_mille)
{
    assert(per_mille <= 1000);
    uint64_t wanted = (histogram->count * per_mille + 999) / 1000, seen = 0;
    for (uint32_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen >= wanted && seen > 0) {
            uint64_t highest = highest_in(bucket);
            return highest < histogram->max ? highest : histogram->max;
        }
    }
    return 0;
}
