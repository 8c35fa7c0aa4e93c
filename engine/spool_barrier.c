/* Waiting until what was handed over is on stable storage.
 *
 * A barrier needs the position behind everything handed over before it. While the log has no
 * room, some of that is not appended yet and there is no such position; after a failed sync what
 * was appended is to be appended again, and the position is void. In both cases it gets one
 * once the batches are through. */
#include <assert.h>

#include "spool_private.h"

#define NO_POSITION UINT64_MAX

static void on_timer(struct timer *timer)
{
    barriers_synced(CONTAINER_OF(timer, struct spool, barrier_timer));
}

void barrier_init(struct spool *spool)
{
    list_init(&spool->barriers);
    timer_init(&spool->barrier_timer, on_timer);
}

void barrier_deinit(struct spool *spool)
{
    timer_stop(io_timers(spool->io), &spool->barrier_timer);
}

void barriers_arm(struct spool *spool)
{
    if (list_empty(&spool->barriers)) {
        return;
    }
    outcomes_hand_over(spool, spool->options.keeper);
    if (spool->batches_blocked) {
        return; /* and again when there is room */
    }
    struct list_node *node = list_first(&spool->barriers);
    for (; node != NULL; node = list_next(&spool->barriers, node)) {
        struct spool_barrier *barrier = CONTAINER_OF(node, struct spool_barrier, node);
        if (barrier->position == NO_POSITION) {
            barrier->position = log_position(spool->log);
        }
    }
    log_want_sync(spool->log);
    timer_start(io_timers(spool->io), &spool->barrier_timer, io_now_ms(spool->io));
}

void barriers_synced(struct spool *spool)
{
    struct list safe;
    list_init(&safe);
    struct list_node *node = list_first(&spool->barriers);
    while (node != NULL) {
        struct spool_barrier *barrier = CONTAINER_OF(node, struct spool_barrier, node);
        node = list_next(&spool->barriers, node);
        if (barrier->position <= spool->synced_seen) {
            list_remove(&barrier->node);
            list_push_back(&safe, &barrier->node);
        }
    }
    while ((node = list_pop_front(&safe)) != NULL) {
        struct spool_barrier *barrier = CONTAINER_OF(node, struct spool_barrier, node);
        barrier->durable(barrier);
    }
}

void barriers_lost(struct spool *spool)
{
    struct list_node *node = list_first(&spool->barriers);
    for (; node != NULL; node = list_next(&spool->barriers, node)) {
        CONTAINER_OF(node, struct spool_barrier, node)->position = NO_POSITION;
    }
}

void spool_when_durable(struct spool *spool, struct spool_barrier *barrier)
{
    assert(barrier->durable != NULL);
    spool_settle(spool);
    barrier->position = NO_POSITION;
    list_push_back(&spool->barriers, &barrier->node);
    barriers_arm(spool);
}

void spool_barrier_cancel(struct spool_barrier *barrier)
{
    list_remove(&barrier->node);
}
