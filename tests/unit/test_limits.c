#include "vmta/limits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/rng.h"
#include "vmta/rates.h"

#include "test.h"

static uint64_t woken_by_release(struct limit *limit, uint64_t n)
{
    struct limit_wakes wakes = {0};
    limit_release(limit, n, &wakes);
    return wakes.workers;
}

static uint64_t woken_by_max(struct limit *limit, uint64_t max)
{
    struct limit_wakes wakes = {0};
    limit_set_max(limit, max, &wakes);
    return wakes.workers;
}

static uint64_t woken_by_passing_on(struct limit *limit)
{
    struct limit_wakes wakes = {0};
    limit_pass_on(limit, &wakes);
    return wakes.workers;
}

static struct limit *limit_of(struct limits *limits, uint64_t max)
{
    struct limit *limit = limits_entry(limits, LIMIT_VMTA, BYTES("v"));
    woken_by_max(limit, max);
    return limit;
}

/* ---- the table ---- */

TEST(entries_are_found_by_kind_and_name_without_case)
{
    struct limits *limits = limits_create(10);
    struct limit *a = limits_entry(limits, LIMIT_DOMAIN, BYTES("Example.org"));
    CHECK(a != NULL && a == limits_entry(limits, LIMIT_DOMAIN, BYTES("example.ORG")));
    CHECK(a != limits_entry(limits, LIMIT_SITE, BYTES("example.org")));
    CHECK(a != limits_entry(limits, LIMIT_DOMAIN, BYTES("example.com")));
    CHECK(limit_kind_of(a) == LIMIT_DOMAIN);
    CHECK_BYTES(limit_name(a), "Example.org");
    CHECK_STRING(limit_kind_word(LIMIT_VMTA), "virtual-mta");
    limits_destroy(limits);
    limits_destroy(NULL);
}

TEST(a_full_table_gives_no_new_entries)
{
    struct limits *limits = limits_create(2);
    CHECK(limits_entry(limits, LIMIT_DOMAIN, BYTES("a")) != NULL);
    CHECK(limits_entry(limits, LIMIT_SITE, BYTES("a")) != NULL);
    CHECK(limits_entry(limits, LIMIT_DOMAIN, BYTES("b")) == NULL);
    CHECK(limits_entry(limits, LIMIT_SITE, BYTES("b")) == NULL);
    CHECK(limits_entry(limits, LIMIT_DOMAIN, BYTES("A")) != NULL);
    limits_destroy(limits);
}

static void on_each(void *owner, struct limit *limit)
{
    buffer_put_bytes(owner, limit_name(limit));
}

TEST(all_limits_are_visited_in_order_of_creation)
{
    struct limits *limits = limits_create(10);
    limits_entry(limits, LIMIT_SITE, BYTES("z"));
    limits_entry(limits, LIMIT_SITE, BYTES("a"));
    limits_entry(limits, LIMIT_TOTAL, BYTES("m"));
    char memory[10];
    struct buffer names;
    buffer_init(&names, memory, sizeof(memory));
    limits_each(limits, on_each, &names);
    CHECK_BYTES(buffer_bytes(&names), "zam");
    limits_destroy(limits);
}

/* ---- one limit ---- */

TEST(takes_up_to_max_and_no_more)
{
    struct limits *limits = limits_create(1);
    struct limit *limit = limit_of(limits, 5);
    CHECK(limit_take(limit, 3));
    CHECK(!limit_take(limit, 3));
    CHECK(!limit_take(limit, UINT64_MAX));
    CHECK(limit_take(limit, 2));
    CHECK_INT(limit_used(limit), 5);
    woken_by_release(limit, 5);
    CHECK_INT(limit_used(limit), 0);
    limits_destroy(limits);
}

TEST(a_new_limit_has_no_maximum)
{
    struct limits *limits = limits_create(1);
    struct limit *limit = limits_entry(limits, LIMIT_TOTAL, BYTES("t"));
    CHECK(limit_max(limit) == UINT64_MAX && limit_take(limit, UINT64_MAX));
    CHECK(!limit_take(limit, 1));
    limits_destroy(limits);
}

TEST(releases_wake_those_who_wait_in_turn)
{
    struct limits *limits = limits_create(1);
    struct limit *limit = limit_of(limits, 1);
    CHECK(limit_take_or_wait(limit, 1, 0));
    CHECK(!limit_take_or_wait(limit, 1, 5));
    CHECK(!limit_take_or_wait(limit, 1, 63));
    CHECK(!limit_take_or_wait(limit, 1, 0));
    static const uint32_t turns[] = {5, 63, 0, 5};
    for (size_t i = 0; i < 4; i++) {
        CHECK(woken_by_release(limit, 1) == UINT64_C(1) << turns[i]);
        CHECK(limit_take_or_wait(limit, 1, turns[i]));
        CHECK(!limit_take_or_wait(limit, 1, turns[i]));
    }
    limits_destroy(limits);
}

TEST(who_stopped_waiting_is_not_woken)
{
    struct limits *limits = limits_create(1);
    struct limit *limit = limit_of(limits, 1);
    CHECK(limit_take(limit, 1));
    CHECK(!limit_take_or_wait(limit, 1, 1));
    CHECK(!limit_take_or_wait(limit, 1, 2));
    limit_stop_waiting(limit, 1);
    CHECK(woken_by_release(limit, 1) == 1 << 2);
    CHECK(woken_by_passing_on(limit) == 0);
    limits_destroy(limits);
}

TEST(what_the_woken_one_leaves_wakes_the_next)
{
    struct limits *limits = limits_create(1);
    struct limit *limit = limit_of(limits, 4);
    CHECK(limit_take(limit, 4));
    CHECK(!limit_take_or_wait(limit, 1, 1));
    CHECK(!limit_take_or_wait(limit, 1, 2));
    CHECK(!limit_take_or_wait(limit, 1, 3));
    CHECK(woken_by_release(limit, 2) == 1 << 1);
    CHECK(limit_take_or_wait(limit, 1, 1));
    CHECK(woken_by_passing_on(limit) == 1 << 2);
    CHECK(limit_take_or_wait(limit, 1, 2));
    CHECK(woken_by_passing_on(limit) == 0);
    limits_destroy(limits);
}

TEST(those_who_want_more_than_is_free_do_not_wake_each_other_in_circles)
{
    struct limits *limits = limits_create(1);
    struct limit *limit = limit_of(limits, 10);
    CHECK(limit_take(limit, 10));
    CHECK(!limit_take_or_wait(limit, 8, 1));
    CHECK(!limit_take_or_wait(limit, 9, 2));
    CHECK(woken_by_release(limit, 3) == 1 << 1);
    CHECK(!limit_take_or_wait(limit, 8, 1));
    CHECK(woken_by_passing_on(limit) == 1 << 2);
    CHECK(!limit_take_or_wait(limit, 9, 2));
    CHECK(woken_by_passing_on(limit) == 0);
    CHECK(woken_by_release(limit, 5) == 1 << 1);
    CHECK(limit_take_or_wait(limit, 8, 1));
    limits_destroy(limits);
}

TEST(a_higher_max_counts_as_that_many_releases)
{
    struct limits *limits = limits_create(1);
    struct limit *limit = limit_of(limits, 1);
    CHECK(limit_take(limit, 1));
    for (uint32_t worker = 1; worker <= 4; worker++) {
        CHECK(!limit_take_or_wait(limit, 1, worker));
    }
    CHECK(woken_by_max(limit, 3) == (1 << 1 | 1 << 2));
    CHECK(woken_by_max(limit, UINT64_MAX) == (1 << 3 | 1 << 4));
    limits_destroy(limits);
}

TEST(a_lower_max_lets_nobody_in_until_enough_is_released)
{
    struct limits *limits = limits_create(1);
    struct limit *limit = limit_of(limits, 3);
    CHECK(limit_take(limit, 3));
    CHECK(woken_by_max(limit, 1) == 0);
    CHECK(!limit_take_or_wait(limit, 1, 7));
    CHECK(woken_by_release(limit, 1) == 0);
    CHECK(woken_by_release(limit, 1) == 0);
    CHECK(woken_by_release(limit, 1) == 1 << 7);
    limits_destroy(limits);
}

TEST(idle_holders_are_named_in_turn_and_never_the_one_who_asks)
{
    struct limits *limits = limits_create(1);
    struct limit *limit = limit_of(limits, 1);
    CHECK(limit_idle_holder(limit, 0) == LIMIT_NOBODY);
    limit_set_idle(limit, 0, true);
    CHECK(limit_idle_holder(limit, 0) == LIMIT_NOBODY);
    limit_set_idle(limit, 3, true);
    limit_set_idle(limit, 9, true);
    CHECK_INT(limit_idle_holder(limit, 0), 3);
    CHECK_INT(limit_idle_holder(limit, 0), 9);
    CHECK_INT(limit_idle_holder(limit, 0), 3);
    CHECK_INT(limit_idle_holder(limit, 9), 0);
    limit_set_idle(limit, 3, false);
    CHECK_INT(limit_idle_holder(limit, 0), 9);
    limits_destroy(limits);
}

TEST(no_more_places_are_promised_than_are_wanted)
{
    struct limits *limits = limits_create(1);
    struct limit *limit = limit_of(limits, 3);
    CHECK(limit_take(limit, 3));
    CHECK(!limit_is_short(limit, 0));
    CHECK(!limit_promise(limit, 0));
    CHECK(limit_promise(limit, 1));
    CHECK(!limit_promise(limit, 1));
    CHECK(limit_is_short(limit, 2));
    limit_promise_also(limit);
    CHECK(!limit_is_short(limit, 2));
    limit_keep_promise(limit);
    woken_by_release(limit, 1);
    CHECK(!limit_promise(limit, 1));
    CHECK(limit_promise(limit, 2)); /* what is free is somebody else's by now */
    limits_destroy(limits);
}

TEST(above_a_lowered_max_more_places_are_promised)
{
    struct limits *limits = limits_create(1);
    struct limit *limit = limit_of(limits, 3);
    CHECK(limit_take(limit, 3));
    woken_by_max(limit, 1);
    for (int i = 0; i < 3; i++) {
        CHECK(limit_promise(limit, 1));
    }
    CHECK(!limit_promise(limit, 1));
    limits_destroy(limits);
}

/* ---- several threads ---------------------------------------------------------------------------
 * Workers take, hold and give back; who must wait sleeps on its bell and nothing else, so a lost
 * wake is a sleep that ends only by the timeout, which is a failure. */

enum { WORKERS = 6, STRANDED_S = 20 };

struct worker {
    struct stress *stress;
    uint32_t index;
    uint64_t seed;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t rung;
    bool bell;
};

struct stress {
    struct limit *limit;
    uint64_t top; /* never more than this */
    uint32_t want_max, rounds;
    _Atomic uint64_t held;
    _Atomic uint32_t exceeded, stranded, finished;
    struct worker workers[WORKERS];
};

static void ring(struct worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    worker->bell = true;
    pthread_cond_signal(&worker->rung);
    pthread_mutex_unlock(&worker->lock);
}

static void ring_all(struct stress *stress, const struct limit_wakes *wakes)
{
    for (uint32_t i = 0; i < WORKERS; i++) {
        if ((wakes->workers >> i & 1) != 0) {
            ring(&stress->workers[i]);
        }
    }
}

/* True: it rang (at once, or within the time given to it). */
static bool heard(struct worker *worker, time_t seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    pthread_mutex_lock(&worker->lock);
    while (!worker->bell && seconds > 0 &&
           pthread_cond_timedwait(&worker->rung, &worker->lock, &until) == 0) {
    }
    bool bell = worker->bell;
    worker->bell = false;
    pthread_mutex_unlock(&worker->lock);
    return bell;
}

static void pass_on(struct stress *stress)
{
    struct limit_wakes wakes = {0};
    limit_pass_on(stress->limit, &wakes);
    ring_all(stress, &wakes);
}

static void take(struct worker *worker, uint64_t n)
{
    struct stress *stress = worker->stress;
    bool was_rung = heard(worker, 0);
    while (!limit_take_or_wait(stress->limit, n, worker->index)) {
        if (was_rung) {
            pass_on(stress);
        }
        was_rung = heard(worker, STRANDED_S);
        if (!was_rung) {
            atomic_fetch_add(&stress->stranded, 1);
        }
    }
    if (atomic_fetch_add(&stress->held, n) + n > stress->top) {
        atomic_fetch_add(&stress->exceeded, 1);
    }
    if (was_rung) {
        pass_on(stress);
    }
}

static void give(struct worker *worker, uint64_t n)
{
    struct limit_wakes wakes = {0};
    atomic_fetch_sub(&worker->stress->held, n);
    limit_release(worker->stress->limit, n, &wakes);
    ring_all(worker->stress, &wakes);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct stress *stress = worker->stress;
    struct rng rng;
    rng_init(&rng, worker->seed);
    for (uint32_t round = 0; round < stress->rounds; round++) {
        uint64_t n = 1 + rng_below(&rng, stress->want_max);
        take(worker, n);
        for (uint64_t spin = rng_below(&rng, 200); spin > 0; spin--) {
            atomic_thread_fence(memory_order_seq_cst);
        }
        give(worker, n);
    }
    /* One that has finished still owes it to the others to pass a late wake on. */
    if (atomic_fetch_add(&stress->finished, 1) + 1 == WORKERS) {
        const struct limit_wakes all = {UINT64_MAX};
        ring_all(stress, &all);
    }
    while (atomic_load(&stress->finished) < WORKERS) {
        if (heard(worker, STRANDED_S)) {
            pass_on(stress);
        }
    }
    return NULL;
}

static void *wobble(void *argument)
{
    struct stress *stress = argument;
    for (uint64_t i = 0; atomic_load(&stress->finished) < WORKERS; i++) {
        struct limit_wakes wakes = {0};
        limit_set_max(stress->limit, stress->top - (i & 1), &wakes);
        ring_all(stress, &wakes);
        const struct timespec pause = {0, 100000};
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void survives(uint64_t max, uint32_t want_max, uint32_t rounds, bool wobbling)
{
    static struct stress stress;
    struct limits *limits = limits_create(1);
    stress = (struct stress){
        .limit = limit_of(limits, max), .top = max, .want_max = want_max, .rounds = rounds};
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct worker *worker = &stress.workers[i];
        worker->stress = &stress;
        worker->index = i;
        worker->seed = max * 100 + i;
        pthread_mutex_init(&worker->lock, NULL);
        pthread_cond_init(&worker->rung, NULL);
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        CHECK_INT(pthread_create(&stress.workers[i].thread, NULL, work, &stress.workers[i]), 0);
    }
    pthread_t other;
    CHECK_INT(wobbling ? pthread_create(&other, NULL, wobble, &stress) : 0, 0);
    for (uint32_t i = 0; i < WORKERS; i++) {
        pthread_join(stress.workers[i].thread, NULL);
    }
    if (wobbling) {
        pthread_join(other, NULL);
    }
    CHECK_INT(stress.exceeded, 0);
    CHECK_INT(stress.stranded, 0);
    CHECK_INT(limit_used(stress.limit), 0);
    limits_destroy(limits);
}

TEST(threads_sharing_one_place_all_get_in)
{
    survives(1, 1, 20000, false);
}

TEST(threads_sharing_three_places_all_get_in)
{
    survives(3, 1, 20000, false);
}

TEST(threads_wanting_different_amounts_all_get_in)
{
    survives(7, 5, 20000, false);
}

TEST(threads_under_a_changing_maximum_all_get_in)
{
    survives(3, 2, 20000, true);
}
