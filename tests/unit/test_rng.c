#include "base/rng.h"

#include "test.h"

TEST(same_seed_gives_same_numbers)
{
    struct rng a, b, c;
    rng_init(&a, 42);
    rng_init(&b, 42);
    rng_init(&c, 43);
    bool differs = false;
    for (int i = 0; i < 100; i++) {
        uint64_t number = rng_next(&a);
        CHECK(number == rng_next(&b));
        differs |= number != rng_next(&c);
    }
    CHECK(differs);
}

TEST(first_numbers_are_those_of_the_published_algorithm)
{
    struct rng rng = {.state = {1, 2, 3, 4}};
    static const uint64_t published[] = {11520, 0, 1509978240, 1215971899390074240};
    for (int i = 0; i < 4; i++) {
        CHECK(rng_next(&rng) == published[i]);
    }
}

TEST(below_stays_below_and_is_even)
{
    struct rng rng;
    rng_init(&rng, 1);
    uint32_t seen[6] = {0};
    for (int i = 0; i < 60000; i++) {
        uint64_t n = rng_below(&rng, 6);
        CHECK(n < 6);
        seen[n % 6]++;
    }
    for (int i = 0; i < 6; i++) {
        CHECK(seen[i] > 9500 && seen[i] < 10500);
    }
    CHECK_INT(rng_below(&rng, 1), 0);
    CHECK(rng_below(&rng, UINT64_MAX) < UINT64_MAX);
}

TEST(chance_of_zero_never_and_of_a_million_always)
{
    struct rng rng;
    rng_init(&rng, 1);
    uint32_t hits = 0;
    for (int i = 0; i < 10000; i++) {
        CHECK(!rng_chance(&rng, 0));
        CHECK(rng_chance(&rng, 1000000));
        hits += rng_chance(&rng, 250000);
    }
    CHECK(hits > 2300 && hits < 2700);
}
