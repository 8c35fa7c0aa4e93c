#include "vmta/ramp.h"

#include "test.h"

#define INTERVAL_MS 1000

static struct ramp_now at(uint64_t now_ms, uint64_t open)
{
    return (struct ramp_now){.now_ms = now_ms, .interval_ms = INTERVAL_MS, .open = open};
}

static uint64_t next(const struct ramp *ramp, struct ramp_now now)
{
    return ramp_next_ms(ramp, &now);
}

static void open_one(struct ramp *ramp, struct ramp_now now)
{
    CHECK(next(ramp, now) <= now.now_ms);
    ramp_opened(ramp, &now);
}

static void close_one(struct ramp *ramp, struct ramp_now now)
{
    ramp_closed(ramp, &now);
}

TEST(each_connection_more_waits_an_interval)
{
    struct ramp ramp = {0};
    open_one(&ramp, at(5000, 0));
    CHECK_INT(next(&ramp, at(5000, 1)), 6000);
    open_one(&ramp, at(6300, 1));
    CHECK_INT(next(&ramp, at(6300, 2)), 7300);
}

TEST(one_that_takes_the_place_of_another_does_not_wait)
{
    struct ramp ramp = {0};
    open_one(&ramp, at(5000, 0));
    open_one(&ramp, at(6000, 1));
    close_one(&ramp, at(6100, 1));
    open_one(&ramp, at(6100, 1));
    CHECK_INT(next(&ramp, at(6100, 2)), 7000);
    close_one(&ramp, at(6200, 1));
    close_one(&ramp, at(6200, 0));
    open_one(&ramp, at(6200, 0));
    open_one(&ramp, at(6200, 1)); /* all were closed, but for no time */
}

TEST(the_ramp_begins_anew_after_an_interval_without_connections)
{
    struct ramp ramp = {0};
    open_one(&ramp, at(5000, 0));
    open_one(&ramp, at(6000, 1));
    close_one(&ramp, at(6100, 1));
    close_one(&ramp, at(6100, 0));
    open_one(&ramp, at(7100, 0));
    CHECK_INT(next(&ramp, at(7100, 1)), 8100);
}

TEST(without_an_interval_nothing_waits)
{
    struct ramp ramp = {0};
    for (uint64_t open = 0; open < 3; open++) {
        const struct ramp_now now = {.now_ms = 5, .open = open};
        CHECK(ramp_next_ms(&ramp, &now) <= 5);
        ramp_opened(&ramp, &now);
    }
}

TEST(an_interval_without_end_is_never_over)
{
    struct ramp ramp = {0};
    struct ramp_now now = {.now_ms = 5, .interval_ms = UINT64_MAX};
    ramp_opened(&ramp, &now);
    now.open = 1;
    CHECK(ramp_next_ms(&ramp, &now) == UINT64_MAX);
}
