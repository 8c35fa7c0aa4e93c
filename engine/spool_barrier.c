/* Barriers: told when all that the keeper had handed over is on stable storage.
 *
 * A barrier waits to be placed until nothing of the keeper's is outside the log, which is at the
 * end of its turn; then it waits for the sync that covers that position. After a failed sync the
 * position means nothing any more: it is placed again when what was lost is appended anew. */
#include <assert.h>

#include "spool_private.h"

#define UNPLACED UINT64_MAX

static bool all_handed_over(const struct spool *spool)
{
    const struct outcome_batch *batch = spool->workers[spool->options.keeper].batch;
    return !spool->batches_blocked &&
           (batch == NULL || (!batch->away && !batch->full && batch->ready == batch->filled));
}

static void fire(struct spool *spool)
{
    struct list due;
    struct list_node *next;
    list_init(&due);
    for (struct list_node *node = list_first(&spool->barriers); node != NULL; node = next) {
        struct spool_barrier *barrier = CONTAINER_OF(node, struct spool_barrier, node);
        next = list_next(&spool->barriers, node);
        if (barrier->position != UNPLACED && barrier->position <= log_synced(spool->log)) {
            list_remove(node);
            list_push_back(&due, node);
        }
    }
    struct list_node *node;
    while ((node = list_pop_front(&due)) != NULL) {
        struct spool_barrier *barrier = CONTAINER_OF(node, struct spool_barrier, node);
        barrier->durable(barrier);
    }
}

static void on_barrier_timer(struct timer *timer)
{
    fire(CONTAINER_OF(timer, struct spool, barrier_timer));
}

void barriers_init(struct spool *spool)
{
    list_init(&spool->barriers);
    timer_init(&spool->barrier_timer, on_barrier_timer);
}

void barriers_place(struct spool *spool)
{
    if (list_empty(&spool->barriers) || !all_handed_over(spool)) {
        return;
    }
    uint64_t position = log_position(spool->log);
    for (struct list_node *node = list_first(&spool->barriers); node != NULL;
         node = list_next(&spool->barriers, node)) {
        struct spool_barrier *barrier = CONTAINER_OF(node, struct spool_barrier, node);
        if (barrier->position != UNPLACED) {
            continue;
        }
        barrier->position = position;
        if (position > log_synced(spool->log)) {
            log_want_sync(spool->log);
        } else { /* nothing to wait for, but never inside the call */
            timer_start(io_timers(spool->io), &spool->barrier_timer, io_now_ms(spool->io));
        }
    }
}

void barriers_synced(struct spool *spool)
{
    fire(spool);
}

void barriers_lost(struct spool *spool)
{
    for (struct list_node *node = list_first(&spool->barriers); node != NULL;
         node = list_next(&spool->barriers, node)) {
        CONTAINER_OF(node, struct spool_barrier, node)->position = UNPLACED;
    }
}

void spool_when_durable(struct spool *spool, struct spool_barrier *barrier)
{
    assert(barrier->durable != NULL);
    barrier->position = UNPLACED;
    list_push_back(&spool->barriers, &barrier->node);
}

void spool_barrier_cancel(struct spool_barrier *barrier)
{
    list_remove(&barrier->node);
}
