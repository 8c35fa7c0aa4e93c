#include "vmta/pauses.h"

#include "test.h"

TEST(a_pattern_holds_for_every_queue_it_matches)
{
    struct pauses pauses;
    pauses_init(&pauses);
    CHECK(pauses_add(&pauses, "*/mta1"));
    CHECK(pauses_hold(&pauses, "a.test/mta1"));
    CHECK(!pauses_hold(&pauses, "a.test/mta2"));
    pauses_deinit(&pauses);
}

TEST(resuming_a_wide_pattern_lifts_the_narrow_ones)
{
    struct pauses pauses;
    pauses_init(&pauses);
    CHECK(pauses_add(&pauses, "a.test/mta1"));
    CHECK(pauses_add(&pauses, "b.test/*"));
    CHECK_INT(pauses_remove(&pauses, "*/*"), 2);
    CHECK(!pauses_hold(&pauses, "a.test/mta1"));
    pauses_deinit(&pauses);
}

TEST(resuming_one_queue_does_not_lift_a_wider_pause)
{
    struct pauses pauses;
    pauses_init(&pauses);
    CHECK(pauses_add(&pauses, "*/mta1"));
    CHECK_INT(pauses_remove(&pauses, "a.test/mta1"), 0);
    CHECK(pauses_hold(&pauses, "a.test/mta1"));
    pauses_deinit(&pauses);
}

TEST(the_number_of_patterns_is_bounded_and_the_same_one_counts_once)
{
    struct pauses pauses;
    char pattern[32];
    pauses_init(&pauses);
    for (int i = 0; i < PAUSES_MAX; i++) {
        snprintf(pattern, sizeof pattern, "d%d/*", i);
        CHECK(pauses_add(&pauses, pattern));
    }
    CHECK(pauses_add(&pauses, "d0/*"));
    CHECK(!pauses_add(&pauses, "one-more/*"));
    pauses_deinit(&pauses);
}

TEST(names_match_without_case)
{
    struct pauses pauses;
    pauses_init(&pauses);
    CHECK(pauses_add(&pauses, "Example.COM/Mta*"));
    CHECK(pauses_hold(&pauses, "example.com/mta1"));
    CHECK(pauses_covers("*/MTA1", "example.com/mta1"));
    CHECK_INT(pauses_remove(&pauses, "example.com/*"), 1);
    pauses_deinit(&pauses);
}
