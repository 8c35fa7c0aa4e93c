/* Amounts that count when they are done: no window has more than N, at whatever time between its
 * begin and its end each is counted; nothing is stuck for ever. */
#include "vmta/rates.h"

#include "base/rng.h"
#include "test.h"

#define ME  1
#define YOU 2

static bool take(struct rate *rate, uint64_t now_ms, uint64_t n, uint64_t who)
{
    if (!rate_may_hold(rate, now_ms, n, who)) {
        rate_claim(rate, now_ms, n, who);
        CHECK(rate_hold_ms(rate, now_ms, n) > now_ms);
        return false;
    }
    rate_hold(rate, n);
    return true;
}

TEST(what_is_under_way_counts_until_a_window_after_its_end)
{
    struct rate rate;
    rate_init(&rate, 1000, 60000);
    CHECK(take(&rate, 1000, 600, ME));
    CHECK(!take(&rate, 1000, 500, ME));
    CHECK(take(&rate, 1000, 400, ME));
    rate_settle(&rate, 90000, 600, true);
    CHECK(!take(&rate, 90000, 1, ME));
    rate_settle(&rate, 91000, 400, false); /* not used: free again */
    CHECK(!take(&rate, 91000, 401, ME));
    CHECK_INT(rate_hold_ms(&rate, 91000, 401), 150001);
    CHECK(take(&rate, 91000, 400, ME));
    rate_settle(&rate, 91000, 400, true);
    CHECK(!take(&rate, 150000, 600, ME));
    CHECK(take(&rate, 150001, 600, ME));
    rate_deinit(&rate);
}

TEST(one_larger_than_all_goes_alone_and_is_paid_back)
{
    struct rate rate;
    rate_init(&rate, 1000, 1000);
    CHECK(take(&rate, 0, 10, ME));
    CHECK(!take(&rate, 0, 3500, ME));
    rate_settle(&rate, 0, 10, true);
    CHECK(!take(&rate, 1000, 3500, ME));
    CHECK(take(&rate, 1001, 3500, ME));
    CHECK(!take(&rate, 1001, 1, ME));
    rate_settle(&rate, 2000, 3500, true);
    CHECK(!take(&rate, 6000, 1, ME));
    CHECK(take(&rate, 6001, 1, ME)); /* four windows: 3500 at 1000 each */
    rate_deinit(&rate);
}

TEST(who_waits_for_much_is_not_passed_by_for_ever)
{
    struct rate rate;
    rate_init(&rate, 1000, 1000);
    uint64_t now_ms = 10;
    CHECK(take(&rate, now_ms, 1000, YOU));
    rate_settle(&rate, now_ms, 1000, true);
    uint64_t had = 0, others = 0;
    for (; now_ms < 20000; now_ms += 10) {
        for (int i = 0; i < 5; i++) {
            if (take(&rate, now_ms, 40, YOU)) {
                rate_settle(&rate, now_ms, 40, true);
                others++;
            }
        }
        if (take(&rate, now_ms, 900, ME)) {
            rate_settle(&rate, now_ms, 900, true);
            had++;
        }
    }
    CHECK(had >= 5);
    CHECK(others >= 5);
    rate_deinit(&rate);
}

TEST(a_claim_of_who_has_gone_ends)
{
    struct rate rate;
    rate_init(&rate, 1000, 1000);
    CHECK(take(&rate, 0, 500, YOU));
    CHECK(!take(&rate, 0, 900, ME));
    rate_settle(&rate, 0, 500, true);
    CHECK(!take(&rate, 1, 10, YOU));
    CHECK(take(&rate, 1001 + RATE_HELD_WAIT_MS, 10, YOU));
    rate_deinit(&rate);
}

TEST(a_block_is_as_large_as_what_is_wanted)
{
    struct rate rate;
    struct rate_mark marks[RATE_MARKS_MAX];
    rate_init(&rate, 6400, 60000);
    rate_make_durable(&rate);
    CHECK(!take(&rate, 0, 900, ME));
    CHECK(rate_needs_block(&rate));
    size_t count = rate_reserve_block(&rate, 0, 1000000, marks);
    CHECK_INT(count, 1);
    CHECK_INT(marks[0].starts, 900);
    rate_block_written(&rate, true);
    CHECK(take(&rate, 0, 900, ME));
    CHECK(rate_needs_block(&rate));
    count = rate_reserve_block(&rate, 0, 1000000, marks);
    CHECK_INT(marks[0].starts, 900 + 100); /* what is under way, and a block */
    rate_deinit(&rate);
}

/* ---- drawn ---- */

struct piece {
    uint64_t begin_ms, end_ms, n; /* n 0: not used */
};

#define PIECES_MAX 4096
static struct piece pieces[PIECES_MAX];
static size_t piece_count;

/* Counted at a place between begin and end that `at` says (0: begin, 1: end, 2: some): the most in
 * any window; one that is alone in it does not count. */
static uint64_t worst(uint64_t window_ms, int at)
{
    uint64_t most = 0;
    uint64_t when[PIECES_MAX];
    for (size_t i = 0; i < piece_count; i++) {
        uint64_t span = pieces[i].end_ms - pieces[i].begin_ms;
        when[i] = pieces[i].begin_ms + (at == 0 ? 0 : at == 1 ? span : (i * 7919) % (span + 1));
    }
    for (size_t i = 0; i < piece_count; i++) {
        uint64_t sum = 0, count = 0;
        for (size_t j = 0; j < piece_count; j++) {
            bool inside = when[j] >= when[i] && when[j] - when[i] <= window_ms;
            sum += inside ? pieces[j].n : 0;
            count += inside && pieces[j].n > 0;
        }
        most = count > 1 && sum > most ? sum : most;
    }
    return most;
}

/* A crash: what was under way is lost or was used in the last moment; its marks go on. */
static void crash(struct rate *rate, struct rng *rng, const struct rate_mark *marks, size_t count,
                  uint64_t now_ms)
{
    for (size_t i = 0; i < piece_count; i++) {
        if (pieces[i].end_ms == UINT64_MAX) {
            pieces[i].end_ms = now_ms;
            pieces[i].n = rng_chance(rng, 500000) ? pieces[i].n : 0;
        }
    }
    uint64_t n = rate->n, window_ms = rate->window_ms;
    rate_deinit(rate);
    rate_init(rate, n, window_ms);
    rate_make_durable(rate);
    rate_restore(rate, now_ms, (int64_t)(now_ms + 5000000), marks, count);
}

static void draw(uint64_t seed)
{
    struct rng rng;
    struct rate rate;
    struct rate_mark marks[RATE_MARKS_MAX];
    size_t mark_count = 0;
    rng_init(&rng, seed);
    const uint64_t n = 1 + rng_below(&rng, 5000);
    const uint64_t window_ms = rng_chance(&rng, 500000) ? 1 + rng_below(&rng, 2000) : 60000;
    const uint64_t step_ms = 1 + window_ms / (1 + rng_below(&rng, 200));
    rate_init(&rate, n, window_ms);
    bool durable = rng_chance(&rng, 500000) && window_ms >= RATE_DURABLE_WINDOW_MS;
    if (durable) {
        rate_make_durable(&rate);
    }
    piece_count = 0;
    uint64_t now_ms = 1;
    for (int step = 0; step < 1500; step++) {
        now_ms += rng_below(&rng, step_ms);
        if (durable && rate_needs_block(&rate)) {
            mark_count = rate_reserve_block(&rate, now_ms, (int64_t)(now_ms + 5000000), marks);
            rate_block_written(&rate, true);
        }
        uint64_t want = 1 + rng_below(&rng, rng_chance(&rng, 50000) ? 3 * n : 1 + n / 3);
        if (piece_count < PIECES_MAX && take(&rate, now_ms, want, 1 + rng_below(&rng, 3))) {
            pieces[piece_count++] = (struct piece){now_ms, UINT64_MAX, want};
        }
        for (size_t i = 0; i < piece_count; i++) {
            if (pieces[i].end_ms == UINT64_MAX && rng_chance(&rng, 200000)) {
                bool used = rng_chance(&rng, 700000);
                pieces[i].end_ms = now_ms;
                rate_settle(&rate, now_ms, pieces[i].n, used);
                pieces[i].n = used ? pieces[i].n : 0;
            }
        }
        if (durable && rng_chance(&rng, 5000)) {
            crash(&rate, &rng, marks, mark_count, now_ms);
        }
    }
    for (size_t i = 0; i < piece_count; i++) {
        pieces[i].end_ms = pieces[i].end_ms == UINT64_MAX ? now_ms : pieces[i].end_ms;
    }
    CHECK(piece_count > 0);
    for (int at = 0; at < 3; at++) {
        CHECK(worst(window_ms, at) <= n);
    }
    rate_deinit(&rate);
}

TEST(no_window_has_more_than_n_wherever_each_is_counted)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        draw(seed);
    }
}
