/* Who waits for what: the recipients of one (virtual MTA, domain, TLS need).
 *
 * Belongs to one worker, the owner of its site. A recipient is in exactly one place: the ready
 * list, the deferred heap, or taken by a transaction. All times are monotonic; wall time is for
 * records. The queue knows no connections and no limits: it tells its site through `changed`
 * that it may have become sendable or no longer is. */
#ifndef ENGINE_QUEUE_H
#define ENGINE_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/timers.h"
#include "message.h"

struct queue_aside;
struct queue_clock;
struct site;

#define QUEUE_WAKE_MAX  1024 /* recipients moved from deferred to ready, or expired, in one turn */
#define QUEUE_ERROR_MAX 160  /* bytes of the last error kept for `show` */

/* Where recipients wait. There are two, alike but for what a walk has seen of them: outside a walk
 * the second is empty. */
struct queue_part {
    struct list ready;    /* struct rcpt, RCPT_READY */
    struct heap deferred; /* struct rcpt, RCPT_DEFERRED, by due time */
};

struct queue_error {
    int64_t wall_ms;
    char text[QUEUE_ERROR_MAX];
};

struct queue {
    struct site *site;
    struct list_node site_node;     /* in site->queues */
    struct list_node sendable_node; /* in site->sendable while it may send */
    struct queue_part parts[2];     /* by rcpt->part */
    uint32_t ready_count, deferred_count, taken_count;
    struct queue_aside *aside; /* NULL: none; owned */
    uint64_t bytes;            /* body bytes of all recipients here, for `show` */
    uint64_t not_before_ms;    /* the queue's retry clock; 0 = none */
    uint8_t retry_index;       /* place in retry-after; reset by a delivery */
    uint8_t tls_need;          /* enum tls_need of every message here */
    bool part;                 /* where arrivals go */
    bool paused;
    struct queue_error *last_error; /* NULL = none; owned */
    struct queue_clock *clock;      /* the scheduler's: its retry clock in the spool, or NULL */
    /* private: */
    struct timers *timers;
    struct timer timer; /* first of: deferred due, not_before, expiry sweep */
    void (*changed)(struct queue *queue);
    void (*expired)(struct queue *queue, struct rcpt *rcpt);
    bool (*holds)(const struct queue *queue, const struct rcpt *rcpt);
    uint64_t sweep_ms; /* next walk over the ready list for expired recipients */
    uint64_t bounce_after_ms;
};

/* changed: something may be sendable now, or a timer passed. expired: the recipient has been taken
 * out, its time in the queue is over, the callee writes its bounce. */
void queue_init(struct queue *queue, struct site *site, enum tls_need tls_need,
                struct timers *timers, uint64_t bounce_after_ms,
                void (*changed)(struct queue *queue),
                void (*expired)(struct queue *queue, struct rcpt *rcpt));

/* Recipients still there are the caller's to drop (shutdown); their nodes are not touched. */
void queue_deinit(struct queue *queue);

/* Who is held back for a while of its own, whatever the queue does (a paused job): it is parked
 * when it would become ready, among the deferred, where it still expires, until queue_unpark. NULL:
 * nobody. */
void queue_set_holds(struct queue *queue,
                     bool (*holds)(const struct queue *queue, const struct rcpt *rcpt));
static inline bool queue_holds(const struct queue *queue, const struct rcpt *rcpt)
{
    return queue->holds != NULL && queue->holds(queue, rcpt);
}
/* One that is ready and held back now. */
void queue_park(struct queue *queue, struct rcpt *rcpt);
/* Ready at once if it is parked, and not held back any more; the others stay as they are. */
void queue_unpark(struct queue *queue, struct rcpt *rcpt, uint64_t now_ms);

/* A recipient arrives (new, restarted or moved): ready, or deferred until due_ms. */
void queue_put(struct queue *queue, struct rcpt *rcpt, uint64_t due_ms, uint64_t now_ms);

/* Takes up to `max` ready recipients that belong to one message into `out`, in order; the count. Of
 * a message with MESSAGE_VERP only one.
 * They are RCPT_TAKEN. Expired ones that stand in front end here. 0: nothing is ready. */
uint32_t queue_take(struct queue *queue, uint32_t max, struct rcpt **out);

/* Those that are ready, in order; NULL at the end. */
struct rcpt *queue_first_ready(const struct queue *queue);
struct rcpt *queue_next_ready(const struct queue *queue, const struct rcpt *rcpt);

/* Its time in the queue is over, or it was condemned. */
bool queue_expired(const struct queue *queue, const struct rcpt *rcpt, uint64_t now_ms);

/* What a transaction does with each recipient it took: */
void queue_give_back(struct queue *queue, struct rcpt *rcpt, uint64_t now_ms); /* unattempted */
void queue_defer(struct queue *queue, struct rcpt *rcpt, uint64_t due_ms, uint64_t now_ms);
void queue_done(struct queue *queue, struct rcpt *rcpt); /* final: about to be the spool's */

/* Takes one waiting recipient out whatever its state, for bounce, delete or move; false if it is
 * taken by a transaction. */
bool queue_remove(struct queue *queue, struct rcpt *rcpt);

/* All that waits is put aside, to be looked at one by one; it counts as here and does not leave
 * meanwhile. What arrives from now on is not among it. False: some is aside already. */
bool queue_put_aside(struct queue *queue);

/* One of those, out of the queue, and when it may leave (0: at once); NULL: none is left. */
struct rcpt *queue_take_aside(struct queue *queue, uint64_t *due_ms);

/* As queue_put, for one of those. */
void queue_put_back(struct queue *queue, struct rcpt *rcpt, uint64_t due_ms, uint64_t now_ms);

/* A walk shows each recipient that is here when it begins, once, over as many turns as its caller
 * takes; meanwhile mail arrives and leaves as ever. It has ended when queue_walk_next says NULL,
 * nothing is aside, and queue_walk_taken was asked about those that are taken; only then does the
 * next one begin. */
void queue_walk_begin(struct queue *queue);
/* The next that waits; it stays, or queue_remove takes it. */
struct rcpt *queue_walk_next(struct queue *queue);
/* For one that is taken: it was not shown before, and now it was. */
bool queue_walk_taken(struct queue *queue, struct rcpt *rcpt);

/* The retry clock: nothing leaves before due_ms. 0 opens the queue again at once. */
void queue_hold_until(struct queue *queue, uint64_t due_ms, uint64_t now_ms);
void queue_pause(struct queue *queue, bool paused);

/* `schedule`: everything deferred is ready, the retry clock is cleared. */
void queue_retry_now(struct queue *queue, uint64_t now_ms);

/* After a reload. */
void queue_set_bounce_after(struct queue *queue, uint64_t bounce_after_ms, uint64_t now_ms);

static inline bool queue_sendable(const struct queue *queue, uint64_t now_ms)
{
    return queue->ready_count > 0 && !queue->paused && queue->not_before_ms <= now_ms;
}

uint32_t queue_rcpt_count(const struct queue *queue);

static inline bool queue_empty(const struct queue *queue)
{
    return queue_rcpt_count(queue) == 0;
}

void queue_note_error(struct queue *queue, int64_t wall_ms, struct bytes text);

#endif
