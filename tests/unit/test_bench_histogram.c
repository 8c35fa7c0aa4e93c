#include "bench/histogram.h"

#include "base/rng.h"
#include "tests/unit/test.h"

TEST(empty_histogram_answers_0)
{
    static struct histogram histogram;
    CHECK_INT(histogram_quantile(&histogram, 500), 0);
}

TEST(small_values_are_exact)
{
    static struct histogram histogram;
    for (uint64_t value = 1; value <= 60; value++) {
        histogram_add(&histogram, value);
    }
    CHECK_INT(histogram_quantile(&histogram, 500), 30);
    CHECK_INT(histogram_quantile(&histogram, 1000), 60);
}

TEST(large_values_are_within_a_step)
{
    struct rng rng;
    rng_init(&rng, 1);
    for (int round = 0; round < 2000; round++) {
        struct histogram histogram = {.count = 0};
        uint64_t value = rng_next(&rng) >> rng_below(&rng, 64);
        histogram_add(&histogram, value);
        histogram_add(&histogram, UINT64_MAX);
        uint64_t seen = histogram_quantile(&histogram, 500);
        CHECK(seen >= value);
        CHECK(seen - value <= value / 64);
    }
}

TEST(max_is_exact)
{
    static struct histogram histogram;
    histogram_add(&histogram, 1000001);
    CHECK_INT(histogram_quantile(&histogram, 990), 1000001);
}
