/* Exact rates: at most N starts in every interval of length M, and no less than 0.95 N with
 * supply.
 *
 * A rate knows no clock and no disk: monotonic milliseconds are passed in. Times are whole
 * milliseconds, so a start counts until more than M later: at s + M it still stands in the way, at
 * s + M + 1 no longer. A time before the last start's is taken as that one's. What was taken stays
 * spent. `struct rate` belongs to one thread, `struct shared_rate` to all. Memory grows with the
 * starts remembered, up to RATE_GROUPS_MAX groups; when there is none the rate becomes coarser,
 * never looser: no function here fails.
 *
 * Over a restart. A rate that was made durable (rate_make_durable) and has a window of a minute or
 * more grants only starts that its owner has written down before: a block of N/64 at a time.
 *
 *     if (rate_needs_block(rate)) count = rate_reserve_block(rate, now, wall, marks);
 *     … write the marks; they replace those written before; when they are stable:
 *     rate_block_written(rate, true);
 *
 * At the next start rate_restore with the marks last written. It sees every start that happened,
 * at its time, and what was reserved and perhaps used as of now. A durable rate with a shorter
 * window writes nothing; it begins full instead (rate_begin_full). */
#ifndef VMTA_RATES_H
#define VMTA_RATES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RATE_UNLIMITED         UINT64_MAX
#define RATE_EXACT_MAX         1024 /* starts; above, they are remembered in slots of M/64 */
#define RATE_SLOTS             64
#define RATE_GROUPS_MAX        1024  /* remembered at once */
#define RATE_INLINE_GROUPS     2     /* without memory of their own */
#define RATE_DURABLE_WINDOW_MS 60000 /* windows this long survive a restart */
#define RATE_HELD_WAIT_MS      1000  /* what is under way, or a claim, ends at no known time */
#define RATE_MARKS_MAX         68 /* RATE_SLOTS, the two cut at the ends, reserved ones; and one */

struct limit_wakes;

/* Starts that are forgotten together. */
struct rate_group {
    uint64_t free_ms; /* the first time at which they no longer count */
    uint64_t starts;
};

struct rate {
    /* private: */
    uint64_t n, window_ms;
    uint64_t total;          /* of all groups */
    uint64_t newest_from_ms; /* first start of the newest group */
    struct rate_group *more; /* NULL: the groups are inline */
    uint32_t capacity, first, count;
    bool durable, writing;
    uint64_t reserved;                     /* written and not yet taken */
    uint64_t block;                        /* being written */
    uint64_t held;                         /* under way: counted without a time */
    uint64_t wanted;                       /* so much could not be held, because less is reserved */
    uint64_t claimed_by, claimed_until_ms; /* who waits for much; 0: nobody */
    struct rate_group inline_groups[RATE_INLINE_GROUPS];
};

/* n starts per window_ms (> 0). RATE_UNLIMITED: grants all, remembers nothing; 0: grants none. */
void rate_init(struct rate *rate, uint64_t n, uint64_t window_ms);
void rate_deinit(struct rate *rate);

/* Starts that are remembered count under the new rate; those that the old window had already
 * forgotten do not. */
void rate_change(struct rate *rate, uint64_t n, uint64_t window_ms);

/* Takes up to `want` starts at now_ms and says how many. */
uint32_t rate_take(struct rate *rate, uint64_t now_ms, uint32_t want);

/* How many rate_take would grant. Where several rates must agree, ask this of the ones of one's own
 * first and take the shared ones last: what one grants and another refuses is spent for nothing. */
uint64_t rate_free(const struct rate *rate, uint64_t now_ms);

/* When the next start is free; now_ms if it is. UINT64_MAX: no time will make it so, because N is
 * 0, or because a block has to be written first (then ask again when that is done). */
uint64_t rate_next_ms(const struct rate *rate, uint64_t now_ms);

/* When it will have forgotten every start; now_ms if it remembers none. */
uint64_t rate_forgets_ms(const struct rate *rate, uint64_t now_ms);

/* ---- amounts that count when they are done ----
 *
 * What is under way is held, and counts until it ends and for a window more if it is then used; so
 * no window has more than N, wherever in it each amount is counted: at its begin, at its end or
 * between. One larger than N goes where nothing else counts, and then as many windows as N goes
 * into it. Who waits for much (more than N/8) keeps others from what comes free, so that it is not
 * for ever passed by. */

/* Is there room for n, for `who` (not 0)? */
bool rate_may_hold(const struct rate *rate, uint64_t now_ms, uint64_t n, uint64_t who);
/* It may be held, and is: out of what others may have. */
void rate_hold(struct rate *rate, uint64_t n);
/* It may not be held, and who waits for it. */
void rate_claim(struct rate *rate, uint64_t now_ms, uint64_t n, uint64_t who);
/* When to ask again; a time after now_ms. */
uint64_t rate_hold_ms(const struct rate *rate, uint64_t now_ms, uint64_t n);
/* n that was held is under way no more: it counts as of now, or has not been used. */
void rate_settle(struct rate *rate, uint64_t now_ms, uint64_t n, bool used);

/* Bytes of memory beyond the struct. */
size_t rate_memory(const struct rate *rate);

/* ---- over a restart ---- */

/* Starts as they are written down. */
struct rate_mark {
    int64_t wall_ms; /* INT64_MAX: reserved, perhaps used up to the very end */
    uint64_t starts;
};

/* From now on the rate survives a restart, if its window is long enough. */
void rate_make_durable(struct rate *rate);

/* Is it time to reserve another block? Asked when there is something to send; about half a block
 * ahead of need, and not while one is being written. */
bool rate_needs_block(const struct rate *rate);
uint64_t rate_block_size(const struct rate *rate); /* max(1, N/64 rounded up) */

/* Only after rate_needs_block: fills `marks` with what to write, oldest first, and returns how
 * many. They are all of the rate's past: earlier marks may be dropped once they are stable. */
size_t rate_reserve_block(struct rate *rate, uint64_t now_ms, int64_t wall_ms,
                          struct rate_mark marks[RATE_MARKS_MAX]);

/* The marks are stable (the block may be used from now on), or could not be written. */
void rate_block_written(struct rate *rate, bool stable);

/* Nothing is remembered and nothing being written, so the marks are worth nothing: what is still
 * reserved is given up, they may be deleted, and when that is stable: rate_block_written. False:
 * not now. */
bool rate_retire(struct rate *rate, uint64_t now_ms);

/* For a rate just initialised: counts written starts as of their time; one in the future counts as
 * now. Marks of one rate, in their order. */
void rate_restore(struct rate *rate, uint64_t now_ms, int64_t wall_ms,
                  const struct rate_mark *marks, size_t count);

/* For a rate just initialised: as if N starts had happened at since_ms, the time this process
 * began; those of the process before it are all older. */
void rate_begin_full(struct rate *rate, uint64_t since_ms);

/* ---- between workers ---- */

struct shared_rate {
    /* private: */
    pthread_mutex_t lock;
    struct rate rate;
    _Atomic uint64_t waiting; /* bitmap of workers */
};

void shared_rate_init(struct shared_rate *shared); /* unlimited */
void shared_rate_deinit(struct shared_rate *shared);

/* As rate_change; setting what is set already does nothing. */
void shared_rate_set(struct shared_rate *shared, uint64_t n, uint64_t window_ms);

uint32_t shared_rate_take(struct shared_rate *shared, uint64_t now_ms, uint32_t want);
uint64_t shared_rate_next_ms(struct shared_rate *shared, uint64_t now_ms);

/* At a full rate each worker sets a timer for shared_rate_next_ms; only a change of the rate or a
 * written block can make that come earlier. Who waits says so here, before it asks for the time;
 * who made the change wakes all that did. */
void shared_rate_wait(struct shared_rate *shared, uint32_t worker);
void shared_rate_wake(struct shared_rate *shared, struct limit_wakes *wakes);

/* The rate inside, for the functions above, until unlocked. Short and without waiting. */
struct rate *shared_rate_lock(struct shared_rate *shared);
void shared_rate_unlock(struct shared_rate *shared);

#endif
