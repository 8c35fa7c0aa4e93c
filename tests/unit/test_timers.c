#include "base/timers.h"

#include <stdlib.h>

#include "base/rng.h"

#include "test.h"

struct alarm {
    struct timer timer;
    uint64_t wanted_ms, order;
    bool running;
};

static struct timers timers;
static uint64_t run_ms, last_due_ms, last_order, fired_count;

static void on_alarm(struct timer *timer)
{
    struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);
    CHECK(alarm->running);
    CHECK(alarm->wanted_ms <= run_ms);
    CHECK(alarm->wanted_ms >= last_due_ms);
    CHECK(alarm->wanted_ms > last_due_ms || alarm->order > last_order);
    last_due_ms = alarm->wanted_ms;
    last_order = alarm->order;
    alarm->running = false;
    fired_count++;
}

static void start(struct alarm *alarm, uint64_t due_ms, uint64_t order)
{
    alarm->wanted_ms = due_ms;
    alarm->order = order;
    alarm->running = true;
    timer_start(&timers, &alarm->timer, due_ms);
}

/* Keeps the clock's promise to on_alarm that each run is judged by itself. */
static void run(uint64_t now_ms)
{
    run_ms = now_ms;
    last_due_ms = last_order = 0;
    timers_run(&timers, now_ms);
}

static uint64_t earliest(const struct alarm *alarms, size_t count)
{
    uint64_t first = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        first = alarms[i].running && alarms[i].wanted_ms < first ? alarms[i].wanted_ms : first;
    }
    return first;
}

/* Random starts and stops at random distances, random steps of time; now and then a long jump. */
static void agrees_with_a_model(uint64_t seed, uint64_t begin_ms, unsigned far_bits)
{
    enum { COUNT = 200 };
    static struct alarm alarms[COUNT];
    struct rng rng;
    rng_init(&rng, seed);
    timers_init(&timers, begin_ms);
    for (size_t i = 0; i < COUNT; i++) {
        alarms[i] = (struct alarm){0};
        timer_init(&alarms[i].timer, on_alarm);
    }
    uint64_t now_ms = begin_ms;
    for (uint64_t step = 1; step < 20000; step++) {
        struct alarm *alarm = &alarms[rng_below(&rng, COUNT)];
        if (rng_chance(&rng, 200000)) {
            timer_stop(&timers, &alarm->timer);
            alarm->running = false;
        } else {
            uint64_t distance = rng_next(&rng) >> (64 - 1 - rng_below(&rng, far_bits));
            start(alarm, now_ms + distance, step);
        }
        uint64_t first = earliest(alarms, COUNT), next = timers_next_ms(&timers);
        CHECK(next <= first);
        CHECK(first == UINT64_MAX || first - now_ms >= 256 || next >= now_ms);
        if (rng_chance(&rng, 300000)) {
            now_ms += rng_next(&rng) >> (64 - 1 - rng_below(&rng, far_bits));
        } else if (rng_chance(&rng, 300000) && next != UINT64_MAX && next > now_ms) {
            now_ms = next;
        }
        run(now_ms);
        CHECK(earliest(alarms, COUNT) > now_ms);
        for (size_t i = 0; i < COUNT; i++) {
            CHECK(alarms[i].running == timer_running(&alarms[i].timer));
        }
    }
}

TEST(near_timers_agree_with_a_model)
{
    agrees_with_a_model(1, 0, 10);
}

TEST(timers_of_all_levels_agree_with_a_model)
{
    agrees_with_a_model(2, 1000, 32);
}

TEST(timers_beyond_the_range_agree_with_a_model)
{
    agrees_with_a_model(3, UINT64_C(0xFFFFFF00), 40);
}

TEST(next_is_exact_within_the_current_slot_of_level_0)
{
    struct alarm alarm = {0};
    timer_init(&alarm.timer, on_alarm);
    timers_init(&timers, 512);
    CHECK(timers_next_ms(&timers) == UINT64_MAX);
    start(&alarm, 600, 1);
    CHECK_INT(timers_next_ms(&timers), 600);
    start(&alarm, 900, 2);
    CHECK_INT(timers_next_ms(&timers), 768);
    timer_stop(&timers, &alarm.timer);
    CHECK(timers_next_ms(&timers) == UINT64_MAX);
}

TEST(due_in_the_past_fires_with_the_next_run_at_the_same_time)
{
    struct alarm alarm = {0};
    timer_init(&alarm.timer, on_alarm);
    timers_init(&timers, 0);
    run(1000);
    start(&alarm, 5, 1);
    CHECK_INT(timers_next_ms(&timers), 1000);
    fired_count = 0;
    run(1000);
    CHECK_INT(fired_count, 1);
}

static uint32_t restarted;

static void on_restart(struct timer *timer)
{
    restarted++;
    timer_start(&timers, timer, run_ms - 500);
}

TEST(a_callback_that_restarts_itself_fires_once_a_run)
{
    struct timer timer;
    timer_init(&timer, on_restart);
    timers_init(&timers, 0);
    timer_start(&timers, &timer, 10);
    restarted = 0;
    run(1000);
    CHECK_INT(restarted, 1);
    run(1000);
    CHECK_INT(restarted, 2);
}

static struct alarm victim;

static void on_stop_victim(struct timer *timer)
{
    (void)timer;
    timer_stop(&timers, &victim.timer);
}

TEST(a_timer_stopped_by_one_that_fires_with_it_stays_silent)
{
    struct timer killer;
    timer_init(&killer, on_stop_victim);
    timer_init(&victim.timer, on_alarm);
    timers_init(&timers, 0);
    timer_start(&timers, &killer, 10);
    start(&victim, 10, 1);
    fired_count = 0;
    run(10);
    CHECK_INT(fired_count, 0);
    CHECK(timers_next_ms(&timers) == UINT64_MAX);
}

TEST(years_of_empty_ticks_cost_nothing)
{
    struct alarm alarm = {0};
    timer_init(&alarm.timer, on_alarm);
    timers_init(&timers, 0);
    const uint64_t ten_years_ms = UINT64_C(315360000000);
    start(&alarm, ten_years_ms, 1);
    fired_count = 0;
    run(ten_years_ms - 1);
    CHECK_INT(fired_count, 0);
    run(ten_years_ms);
    CHECK_INT(fired_count, 1);
}
