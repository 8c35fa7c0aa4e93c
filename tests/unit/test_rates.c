#include "vmta/rates.h"

#include <stdlib.h>

#include "base/rng.h"
#include "vmta/limits.h"

#include "test.h"

/* ---- what happened, and whether it was too much ---- */

struct event {
    uint64_t at_ms;
    uint64_t starts;
};

static struct event *events;
static size_t event_count, event_capacity;

static void happened(uint64_t at_ms, uint64_t starts)
{
    if (event_count == event_capacity) {
        event_capacity = event_capacity == 0 ? 1024 : event_capacity * 2;
        events = realloc(events, event_capacity * sizeof(*events));
    }
    events[event_count++] = (struct event){at_ms, starts};
}

/* The most starts in any closed interval of window_ms: times are cut to the millisecond, so two
 * starts window_ms apart may be less than that apart. */
static uint64_t worst(uint64_t window_ms)
{
    uint64_t most = 0, inside = 0;
    size_t oldest = 0;
    for (size_t i = 0; i < event_count; i++) {
        inside += events[i].starts;
        while (events[i].at_ms - events[oldest].at_ms > window_ms) {
            inside -= events[oldest++].starts;
        }
        most = inside > most ? inside : most;
    }
    return most;
}

static uint64_t all_starts(void)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < event_count; i++) {
        sum += events[i].starts;
    }
    return sum;
}

/* ---- one rate ---- */

TEST(grants_n_and_then_waits_for_the_first_to_leave)
{
    struct rate rate;
    rate_init(&rate, 3, 1000);
    CHECK_INT(rate_next_ms(&rate, 50), 50);
    CHECK_INT(rate_take(&rate, 100, 2), 2);
    CHECK_INT(rate_take(&rate, 150, 5), 1);
    CHECK_INT(rate_take(&rate, 160, 1), 0);
    CHECK_INT(rate_next_ms(&rate, 160), 1101);
    CHECK_INT(rate_take(&rate, 1100, 1), 0);
    CHECK_INT(rate_take(&rate, 1101, 9), 2);
    CHECK_INT(rate_next_ms(&rate, 1101), 1151);
    rate_deinit(&rate);
}

TEST(unlimited_grants_all_and_remembers_nothing)
{
    struct rate rate;
    rate_init(&rate, RATE_UNLIMITED, 0);
    for (uint64_t i = 0; i < 100; i++) {
        CHECK(rate_take(&rate, i, UINT32_MAX) == UINT32_MAX);
    }
    CHECK_INT(rate_next_ms(&rate, 7), 7);
    CHECK_INT(rate_memory(&rate), 0);
    rate_deinit(&rate);
}

TEST(zero_grants_none_ever)
{
    struct rate rate;
    rate_init(&rate, 0, 1000);
    CHECK_INT(rate_take(&rate, 5, 10), 0);
    CHECK(rate_next_ms(&rate, 5) == UINT64_MAX);
    rate_deinit(&rate);
}

TEST(next_after_a_lower_rate_is_when_enough_have_left)
{
    struct rate rate;
    rate_init(&rate, 4, 1000);
    for (uint64_t i = 0; i < 4; i++) {
        CHECK_INT(rate_take(&rate, 100 * i, 1), 1);
    }
    rate_change(&rate, 2, 1000);
    CHECK_INT(rate_next_ms(&rate, 400), 1201);
    CHECK_INT(rate_take(&rate, 1200, 1), 0);
    CHECK_INT(rate_take(&rate, 1201, 2), 1);
    rate_deinit(&rate);
}

TEST(a_longer_window_keeps_what_is_remembered)
{
    struct rate rate;
    rate_init(&rate, 2, 1000);
    CHECK_INT(rate_take(&rate, 100, 2), 2);
    rate_change(&rate, 2, 5000);
    CHECK_INT(rate_next_ms(&rate, 2000), 5101);
    rate_change(&rate, 2, 1000);
    CHECK_INT(rate_next_ms(&rate, 2000), 2000);
    rate_deinit(&rate);
}

TEST(time_that_goes_back_counts_as_the_last)
{
    struct rate rate;
    rate_init(&rate, 2, 1000);
    CHECK_INT(rate_take(&rate, 500, 1), 1);
    CHECK_INT(rate_take(&rate, 490, 1), 1);
    CHECK_INT(rate_next_ms(&rate, 500), 1501);
    rate_deinit(&rate);
}

TEST(small_rates_need_no_memory_and_big_ones_little)
{
    struct rate rate;
    rate_init(&rate, 2, 1000);
    rate_take(&rate, 1, 1);
    rate_take(&rate, 2, 1);
    CHECK_INT(rate_memory(&rate), 0);
    rate_deinit(&rate);
    rate_init(&rate, 1000000, 3600000);
    for (uint64_t now_ms = 1; now_ms < 7200000; now_ms += 100) {
        rate_take(&rate, now_ms, 20);
    }
    CHECK_INT(rate_memory(&rate), 128 * sizeof(struct rate_group));
    rate_deinit(&rate);
    rate_init(&rate, 1024, 3600000);
    for (uint64_t now_ms = 1; now_ms < 7200000; now_ms += 100) {
        rate_take(&rate, now_ms, 20);
    }
    CHECK(rate_memory(&rate) <= RATE_GROUPS_MAX * sizeof(struct rate_group));
    rate_deinit(&rate);
}

static uint64_t random_n(struct rng *rng)
{
    static const uint64_t typical[] = {1,   2,    3,    10,   50,   64,    65,
                                       250, 1000, 1024, 1025, 5000, 100000};
    return rng_chance(rng, 500000) ? typical[rng_below(rng, 13)] : 1 + rng_below(rng, 3000);
}

static uint64_t random_window(struct rng *rng)
{
    static const uint64_t typical[] = {1, 7, 63, 64, 65, 127, 1000, 1025, 5000, 60000, 3600000};
    return rng_chance(rng, 700000) ? typical[rng_below(rng, 11)] : 1 + rng_below(rng, 100000);
}

/* Random supply at random times, sometimes a drought, sometimes a flood. */
TEST(no_window_ever_holds_more_than_n)
{
    struct rng rng;
    rng_init(&rng, 1);
    for (int world = 0; world < 400; world++) {
        uint64_t n = random_n(&rng), window_ms = random_window(&rng);
        struct rate rate;
        rate_init(&rate, n, window_ms);
        event_count = 0;
        uint64_t now_ms = rng_below(&rng, 100000);
        for (int step = 0; step < 1000; step++) {
            uint64_t want = 1 + rng_below(&rng, rng_chance(&rng, 200000) ? 2 * n : n / 20 + 2);
            uint64_t next_ms = rate_next_ms(&rate, now_ms), free = rate_free(&rate, now_ms);
            uint32_t granted = rate_take(&rate, now_ms, (uint32_t)want);
            CHECK((next_ms == now_ms) == (granted > 0));
            CHECK_INT(granted, want < free ? want : free);
            happened(now_ms, granted);
            next_ms = rate_next_ms(&rate, now_ms);
            now_ms = rng_chance(&rng, 300000)
                         ? next_ms
                         : now_ms + rng_below(&rng, window_ms / (1 + rng_below(&rng, 50)) + 2);
        }
        CHECK(worst(window_ms) <= n);
        rate_deinit(&rate);
    }
}

TEST(with_supply_at_least_95_percent_of_n_start)
{
    struct rng rng;
    rng_init(&rng, 2);
    for (int world = 0; world < 400; world++) {
        uint64_t n = random_n(&rng), window_ms = 100 + random_window(&rng);
        struct rate rate;
        rate_init(&rate, n, window_ms);
        event_count = 0;
        uint64_t now_ms = rng_below(&rng, 100000);
        const uint64_t begin_ms = now_ms, end_ms = now_ms + 50 * window_ms;
        /* Supply is there all the time, in pieces: each time one is free, some are taken. */
        uint64_t piece = 1 + rng_below(&rng, n);
        piece = piece < n / 100 ? n / 100 : piece;
        for (; now_ms < end_ms; now_ms = rate_next_ms(&rate, now_ms)) {
            happened(now_ms, rate_take(&rate, now_ms, (uint32_t)piece));
        }
        CHECK(all_starts() * window_ms * 100 >= 95 * n * (end_ms - begin_ms));
        CHECK(worst(window_ms) <= n);
        rate_deinit(&rate);
    }
}

/* The same when starts come one after the other: slots, once spread, must not lose more. */
TEST(with_steady_supply_at_least_95_percent_of_n_start)
{
    struct rng rng;
    rng_init(&rng, 7);
    for (int world = 0; world < 100; world++) {
        uint64_t n = random_n(&rng), window_ms = 500 + random_window(&rng);
        struct rate rate;
        rate_init(&rate, n, window_ms);
        event_count = 0;
        const uint64_t step_ms = window_ms / 500, end_ms = 20 * window_ms;
        for (uint64_t now_ms = 0; now_ms < end_ms; now_ms += step_ms) {
            uint64_t piece = n * step_ms * 102 / (window_ms * 100) + 1;
            happened(now_ms, rate_take(&rate, now_ms, (uint32_t)piece));
        }
        CHECK(all_starts() * 100 >= 95 * 20 * n);
        CHECK(worst(window_ms) <= n);
        rate_deinit(&rate);
    }
}

TEST(changes_on_the_way_never_let_more_than_the_larger_n_through)
{
    struct rng rng;
    rng_init(&rng, 3);
    for (int world = 0; world < 200; world++) {
        uint64_t a = random_n(&rng), b = random_n(&rng), window_ms = random_window(&rng);
        struct rate rate;
        rate_init(&rate, a, window_ms);
        event_count = 0;
        uint64_t now_ms = 0;
        for (int step = 0; step < 1000; step++) {
            if (rng_chance(&rng, 10000)) {
                rate_change(&rate, rng_chance(&rng, 500000) ? a : b, window_ms);
            }
            happened(now_ms, rate_take(&rate, now_ms, 1 + (uint32_t)rng_below(&rng, a / 20 + 2)));
            now_ms += rng_below(&rng, window_ms / 20 + 2);
        }
        CHECK(worst(window_ms) <= (a > b ? a : b));
        rate_deinit(&rate);
    }
}

/* ---- over a restart ---- */

TEST(a_durable_rate_grants_only_what_was_written)
{
    struct rate rate;
    struct rate_mark marks[RATE_MARKS_MAX];
    rate_init(&rate, 640, 3600000);
    rate_make_durable(&rate);
    CHECK_INT(rate_take(&rate, 1, 5), 0);
    CHECK(rate_next_ms(&rate, 1) == UINT64_MAX);
    CHECK(rate_needs_block(&rate));
    CHECK_INT(rate_block_size(&rate), 10);
    CHECK_INT(rate_reserve_block(&rate, 1, 1000, marks), 1);
    CHECK(marks[0].wall_ms == INT64_MAX && marks[0].starts == 10);
    CHECK(!rate_needs_block(&rate));
    CHECK_INT(rate_take(&rate, 2, 5), 0);
    rate_block_written(&rate, true);
    CHECK(!rate_needs_block(&rate));
    CHECK_INT(rate_take(&rate, 3, 7), 7);
    CHECK(rate_needs_block(&rate));
    CHECK_INT(rate_reserve_block(&rate, 4, 1003, marks), 2);
    CHECK(marks[0].wall_ms == 1002 && marks[0].starts == 7);
    CHECK(marks[1].wall_ms == INT64_MAX && marks[1].starts == 13);
    rate_block_written(&rate, false);
    CHECK_INT(rate_take(&rate, 5, 100), 3);
    rate_deinit(&rate);
}

TEST(a_retired_rate_gives_up_what_is_reserved_once_all_is_forgotten)
{
    struct rate rate;
    struct rate_mark marks[RATE_MARKS_MAX];
    rate_init(&rate, 640, 60000);
    rate_make_durable(&rate);
    CHECK_INT(rate_forgets_ms(&rate, 5), 5);
    rate_reserve_block(&rate, 1, 1000, marks);
    CHECK(!rate_retire(&rate, 1)); /* a block is being written */
    rate_block_written(&rate, true);
    CHECK_INT(rate_take(&rate, 100, 4), 4);
    CHECK_INT(rate_forgets_ms(&rate, 100), 60101);
    CHECK(!rate_retire(&rate, 60100)); /* a start is remembered */
    CHECK(rate_retire(&rate, 60101));
    CHECK(!rate_needs_block(&rate)); /* while the marks are being deleted */
    CHECK_INT(rate_take(&rate, 60102, 1), 0);
    rate_block_written(&rate, true);
    CHECK_INT(rate_take(&rate, 60103, 1), 0);
    CHECK(rate_needs_block(&rate));
    rate_deinit(&rate);
}

TEST(short_windows_and_unlimited_rates_write_nothing)
{
    struct rate rate;
    rate_init(&rate, 5, RATE_DURABLE_WINDOW_MS - 1);
    rate_make_durable(&rate);
    CHECK(!rate_needs_block(&rate));
    CHECK_INT(rate_take(&rate, 1, 9), 5);
    rate_change(&rate, RATE_UNLIMITED, 0);
    CHECK(!rate_needs_block(&rate));
    CHECK_INT(rate_take(&rate, 1, 9), 9);
    rate_deinit(&rate);
}

TEST(marks_are_counted_at_their_time_and_in_the_future_as_now)
{
    struct rate rate;
    const struct rate_mark marks[] = {{1000000, 2}, {1900000, 3}, {9000000, 1}, {INT64_MAX, 1}};
    rate_init(&rate, 7, 3600000);
    rate_restore(&rate, 50, 2000000, marks, 4); /* booted 50 ms ago: ages reach before time 0 */
    CHECK_INT(rate_take(&rate, 50, 9), 0);
    CHECK_INT(rate_next_ms(&rate, 50), 50 + 3600001 - 1000000);
    CHECK_INT(rate_take(&rate, 50 + 2600001, 9), 2);
    CHECK_INT(rate_take(&rate, 50 + 3500000, 9), 0);
    CHECK_INT(rate_take(&rate, 50 + 3500001, 9), 3);
    CHECK_INT(rate_take(&rate, 50 + 3600001, 9), 2);
    rate_deinit(&rate);
}

TEST(marks_older_than_the_window_are_forgotten)
{
    struct rate rate;
    const struct rate_mark marks[] = {{0, 5}};
    rate_init(&rate, 5, 60000);
    rate_restore(&rate, 10, 60001, marks, 1);
    CHECK_INT(rate_take(&rate, 10, 9), 5);
    rate_deinit(&rate);
}

TEST(a_rate_that_begins_full_waits_for_its_window)
{
    struct rate rate;
    rate_init(&rate, 5, 1000);
    rate_begin_full(&rate, 100);
    CHECK_INT(rate_take(&rate, 1100, 1), 0);
    CHECK_INT(rate_next_ms(&rate, 500), 1101);
    CHECK_INT(rate_take(&rate, 1101, 9), 5);
    rate_deinit(&rate);
    rate_init(&rate, 5, 1000);
    rate_begin_full(&rate, 100);
    CHECK_INT(rate_take(&rate, 5000, 9), 5); /* first used long after */
    rate_deinit(&rate);
}

/* A process that writes its marks with some delay and dies at any moment, then comes back, perhaps
 * on a machine that booted anew. Walls keep going. Judged by wall time over all lives. */
struct life {
    struct rng *rng;
    struct rate rate;
    struct rate_mark stable[RATE_MARKS_MAX], written[RATE_MARKS_MAX];
    size_t stable_count, written_count;
    uint64_t stable_at_ms; /* monotonic: when the write in flight comes home; 0: none */
    uint64_t now_ms, write_max_ms;
    int64_t wall_ms;
    bool writes_fail;
};

static void begin_life(struct life *life, uint64_t n, uint64_t window_ms)
{
    rate_init(&life->rate, n, window_ms);
    rate_make_durable(&life->rate);
    rate_restore(&life->rate, life->now_ms, life->wall_ms, life->stable, life->stable_count);
    life->stable_at_ms = 0;
}

static void end_life(struct life *life)
{
    rate_deinit(&life->rate);
    if (life->stable_at_ms != 0 && rng_chance(life->rng, 500000)) {
        /* It had reached the disk, though nobody heard of it. */
        memcpy(life->stable, life->written, sizeof(life->written));
        life->stable_count = life->written_count;
    }
    uint64_t away_ms =
        rng_below(life->rng, 1 + life->rate.window_ms / (1 + rng_below(life->rng, 9)));
    life->wall_ms += (int64_t)away_ms;
    life->now_ms =
        rng_chance(life->rng, 500000) ? rng_below(life->rng, 1000) : life->now_ms + away_ms;
}

static void keep_writing(struct life *life)
{
    if (life->stable_at_ms != 0 && life->now_ms >= life->stable_at_ms) {
        bool stable = !(life->writes_fail && rng_chance(life->rng, 300000));
        if (stable) {
            memcpy(life->stable, life->written, sizeof(life->written));
            life->stable_count = life->written_count;
        }
        rate_block_written(&life->rate, stable);
        life->stable_at_ms = 0;
    }
    if (life->stable_at_ms == 0 && rate_needs_block(&life->rate)) {
        life->written_count =
            rate_reserve_block(&life->rate, life->now_ms, life->wall_ms, life->written);
        CHECK(life->written_count <= RATE_MARKS_MAX);
        life->stable_at_ms = life->now_ms + 1 + rng_below(life->rng, life->write_max_ms);
    }
}

static void pass_time(struct life *life, uint64_t ms)
{
    life->now_ms += ms;
    life->wall_ms += (int64_t)ms;
}

TEST(no_window_holds_more_than_n_over_any_number_of_restarts)
{
    struct rng rng;
    rng_init(&rng, 4);
    for (int world = 0; world < 300; world++) {
        uint64_t n = random_n(&rng), window_ms = RATE_DURABLE_WINDOW_MS + random_window(&rng);
        static struct life life;
        life = (struct life){.rng = &rng,
                             .now_ms = rng_below(&rng, 10000),
                             .wall_ms = 1700000000000,
                             .write_max_ms = 1 + rng_below(&rng, 200),
                             .writes_fail = rng_chance(&rng, 300000)};
        event_count = 0;
        begin_life(&life, n, window_ms);
        for (int step = 0; step < 3000; step++) {
            if (rng_chance(&rng, 5000)) {
                end_life(&life);
                begin_life(&life, n, window_ms);
            }
            keep_writing(&life);
            uint64_t want = 1 + rng_below(&rng, n / 10 + 2);
            happened((uint64_t)life.wall_ms, rate_take(&life.rate, life.now_ms, (uint32_t)want));
            pass_time(&life, rng_below(&rng, rng_chance(&rng, 300000) ? 300 : window_ms / 30));
        }
        CHECK(worst(window_ms) <= n);
        rate_deinit(&life.rate);
    }
}

TEST(writing_blocks_costs_no_supply)
{
    static const uint64_t counts[] = {1, 10, 64, 250, 1000, 5000};
    struct rng rng;
    rng_init(&rng, 5);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        const uint64_t n = counts[i], window_ms = 60000;
        static struct life life;
        life = (struct life){.rng = &rng, .wall_ms = 1700000000000, .write_max_ms = 100};
        event_count = 0;
        begin_life(&life, n, window_ms);
        while (life.now_ms < 20 * window_ms) {
            keep_writing(&life);
            uint64_t want = n / 50 + 1;
            happened((uint64_t)life.wall_ms, rate_take(&life.rate, life.now_ms, (uint32_t)want));
            pass_time(&life, 5);
        }
        CHECK(all_starts() * 100 >= 95 * 20 * n);
        CHECK(worst(window_ms) <= n);
        rate_deinit(&life.rate);
    }
}

TEST(a_restart_costs_at_most_two_blocks)
{
    struct rng rng;
    rng_init(&rng, 6);
    const uint64_t n = 6400, window_ms = 3600000;
    static struct life life;
    life = (struct life){.rng = &rng, .wall_ms = 1700000000000, .write_max_ms = 20};
    begin_life(&life, n, window_ms);
    uint64_t used = 0;
    while (used < 3200) {
        keep_writing(&life);
        used += rate_take(&life.rate, life.now_ms, 10);
        pass_time(&life, 30);
    }
    rate_deinit(&life.rate);
    begin_life(&life, n, window_ms);
    uint64_t more = 0;
    for (int step = 0; step < 5000; step++) {
        keep_writing(&life);
        more += rate_take(&life.rate, life.now_ms, 10);
        pass_time(&life, 30);
    }
    CHECK(more >= n - used - 2 * rate_block_size(&life.rate));
    CHECK(more <= n - used);
    rate_deinit(&life.rate);
}

/* ---- between workers ---- */

struct taker {
    pthread_t thread;
    struct shared_rate *shared;
    uint64_t granted;
};

static void *take_often(void *argument)
{
    struct taker *taker = argument;
    for (uint64_t now_ms = 1; now_ms <= 20000; now_ms++) {
        taker->granted += shared_rate_take(taker->shared, now_ms / 20, 3);
        CHECK(shared_rate_next_ms(taker->shared, now_ms / 20) >= now_ms / 20);
    }
    return NULL;
}

TEST(threads_together_get_n_and_no_more)
{
    struct shared_rate shared;
    struct taker takers[4];
    shared_rate_init(&shared);
    shared_rate_set(&shared, 5000, 100000);
    uint64_t sum = 0;
    for (size_t i = 0; i < 4; i++) {
        takers[i] = (struct taker){.shared = &shared};
        CHECK_INT(pthread_create(&takers[i].thread, NULL, take_often, &takers[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(takers[i].thread, NULL);
        sum += takers[i].granted;
    }
    CHECK_INT(sum, 5000);
    shared_rate_deinit(&shared);
}

TEST(setting_a_shared_rate_again_changes_nothing)
{
    struct shared_rate shared;
    shared_rate_init(&shared);
    shared_rate_set(&shared, 2, 1000);
    CHECK_INT(shared_rate_take(&shared, 1, 5), 2);
    shared_rate_set(&shared, 2, 1000);
    CHECK_INT(shared_rate_take(&shared, 2, 5), 0);
    CHECK_INT(shared_rate_next_ms(&shared, 2), 1002);
    shared_rate_deinit(&shared);
}

TEST(who_waits_at_a_shared_rate_is_woken_once_by_a_change)
{
    struct shared_rate shared;
    struct limit_wakes wakes = {0};
    shared_rate_init(&shared);
    shared_rate_wait(&shared, 3);
    shared_rate_wait(&shared, 63);
    shared_rate_wake(&shared, &wakes);
    CHECK(wakes.workers == (UINT64_C(1) << 3 | UINT64_C(1) << 63));
    wakes.workers = 0;
    shared_rate_wake(&shared, &wakes);
    CHECK(wakes.workers == 0);
    shared_rate_deinit(&shared);
}

TEST(the_rate_inside_is_reached_under_its_lock)
{
    struct shared_rate shared;
    shared_rate_init(&shared);
    shared_rate_set(&shared, 5, 1000);
    rate_begin_full(shared_rate_lock(&shared), 10);
    shared_rate_unlock(&shared);
    CHECK_INT(shared_rate_take(&shared, 20, 1), 0);
    shared_rate_deinit(&shared);
}
