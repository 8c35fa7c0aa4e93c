/* Outcomes and named states on their way into the log.
 *
 * A worker writes items into a batch, 256 KiB that are its own, and at the end of a turn lends
 * the keeper what is new in it: one letter, however many items. The keeper appends them, sends
 * the letter back, and keeps reading the batch's memory until the sync that covers them: only
 * then does what an outcome made void (an older state, a finished message) stop counting as
 * live, and if the sync fails the items are appended again from there, those of all workers in the
 * order they had: a recipient may have gone from one worker to another in between. A full batch
 * comes home when all of it is synced. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "spool_private.h"

#define BATCHES_AT_START 2

static struct outcome_batch *batch_of(struct letter *letter)
{
    return CONTAINER_OF(letter, struct outcome_batch, letter);
}

static struct outcome_item *item_at(struct outcome_batch *batch, uint32_t offset)
{
    assert(offset < batch->handed);
    return (struct outcome_item *)(void *)(batch->data + offset);
}

/* ---- the keeper: appending ---------------------------------------------------------------- */

static void on_batch(struct letter *letter);
static void on_batch_home(struct letter *letter);

static int append_outcome(struct spool *spool, struct outcome_item *item)
{
    struct log_record record = {.type = item->event_len > 0 ? LOG_OUTCOME : LOG_STATE,
                                .flags = item->event_len > 0 ? LOG_EVENT : 0,
                                .sequence = log_take_sequence(spool->log)};
    struct bytes event = bytes_of(item->bytes, item->event_len);
    if (item->kind != ITEM_EVENT) {
        record.flags |= item->kind == ITEM_FINAL ? LOG_RCPT | LOG_FINAL : LOG_RCPT;
        record.ref = message_id(rcpt_message(item->rcpt));
        record.index = item->rcpt->index;
        record.due_wall_ms = item->due_wall_ms;
        record.attempts = item->attempts;
        record.retry_index = item->retry_index;
    }
    int result = log_append(spool->log, LOG_FOR_OUTCOMES, &record, &event, 1, &item->place);
    if (result != 0) {
        return result;
    }
    item->sequence = record.sequence;
    if (item->kind != ITEM_EVENT) {
        uint64_t *state_place = &item->rcpt->state_place;
        assert(!place_is_final(*state_place));
        item->old_place = *state_place;
        *state_place = item->kind == ITEM_FINAL ? PLACE_FINAL : item->place;
    }
    if (item->kind == ITEM_DEFERRED) {
        log_count_live(spool->log, item->place, SPOOL_STATE_BYTES);
    }
    if (item->event_len > 0) {
        follow_appended(spool, item->sequence, item->place, event);
    }
    return 0;
}

/* False: the log has no room now. */
static bool append_item(struct spool *spool, struct outcome_batch *batch, struct outcome_item *item)
{
    int result = item->kind == ITEM_KEYED ? keyed_append(spool, item) : append_outcome(spool, item);
    if (result != 0) {
        assert(result != -EMSGSIZE);
        return false;
    }
    item->position = log_position(spool->log);
    if (item->order == 0) {
        item->order = ++spool->items_appended;
        atomic_fetch_add_explicit(&batch->worker->taken_count, 1, memory_order_release);
    }
    return true;
}

static void send_home(struct spool *spool, struct outcome_batch *batch)
{
    assert(batch->here);
    batch->here = false;
    uint32_t worker = batch->worker->index;
    if (is_keeper(spool, worker)) {
        on_batch_home(&batch->letter);
        return;
    }
    batch->letter.deliver = on_batch_home;
    mailbox_post(spool->options.mailboxes, spool->options.keeper, worker, MAILBOX_URGENT,
                 &batch->letter);
}

/* After anything has changed: what the keeper is done with goes. */
static void batch_check(struct spool *spool, struct outcome_batch *batch)
{
    bool settled = batch->settled == batch->handed;
    if (settled) {
        list_remove(&batch->keeper);
    }
    if (batch->here && batch->taken == batch->handed && (settled || !batch->full)) {
        send_home(spool, batch);
    }
}

static void take_item(struct spool *spool, struct outcome_batch *batch)
{
    struct outcome_item *item = item_at(batch, batch->taken);
    spool->batches_blocked = !append_item(spool, batch, item);
    batch->taken += spool->batches_blocked ? 0 : item->size;
}

static void batch_take(struct spool *spool, struct outcome_batch *batch)
{
    while (batch->taken < batch->handed && !spool->batches_blocked) {
        take_item(spool, batch);
    }
}

/* The batch whose next item was lost, and was the first to be appended of all lost; or NULL. */
static struct outcome_batch *batch_with_lost(struct spool *spool)
{
    struct outcome_batch *found = NULL;
    uint64_t first = UINT64_MAX;
    struct list_node *node = list_first(&spool->batches);
    for (; node != NULL; node = list_next(&spool->batches, node)) {
        struct outcome_batch *batch = CONTAINER_OF(node, struct outcome_batch, keeper);
        uint64_t order = batch->taken < batch->handed ? item_at(batch, batch->taken)->order : 0;
        if (order != 0 && order < first) {
            first = order;
            found = batch;
        }
    }
    return found;
}

static void on_batch(struct letter *letter)
{
    struct outcome_batch *batch = batch_of(letter);
    struct spool *spool = batch->worker->spool;
    batch->here = true;
    batch->handed = batch->ready;
    if (!list_linked(&batch->keeper)) {
        list_push_back(&spool->batches, &batch->keeper);
    }
    spool_settle(spool);
    batch_take(spool, batch);
    batch_check(spool, batch);
}

void outcomes_retry(struct spool *spool)
{
    struct outcome_batch *lost;
    spool->batches_blocked = false;
    while (!spool->batches_blocked && (lost = batch_with_lost(spool)) != NULL) {
        take_item(spool, lost);
    }
    struct list_node *node = list_first(&spool->batches);
    while (node != NULL) {
        struct outcome_batch *batch = CONTAINER_OF(node, struct outcome_batch, keeper);
        node = list_next(&spool->batches, node);
        batch_take(spool, batch);
        batch_check(spool, batch);
    }
}

/* ---- the keeper: synced, lost ------------------------------------------------------------- */

static void rcpt_done(struct spool *spool, struct rcpt *rcpt)
{
    struct message *message = rcpt_message(rcpt);
    assert(rcpt->state_place == PLACE_FINAL);
    assert(message->open_count > 0);
    rcpt->state_place = PLACE_FINAL_SAFE;
    spool->open_rcpts--;
    atomic_fetch_sub(&spool->booked_rcpts, 1);
    if (--message->open_count == 0) {
        spool_message_done(spool, message);
    }
}

static void item_synced(struct spool *spool, struct outcome_item *item)
{
    if (item->kind == ITEM_KEYED) {
        keyed_safe(spool, item);
        return;
    }
    if (item->event_len > 0 && item->sequence > spool->follow.safe_sequence) {
        spool->follow.safe_sequence = item->sequence;
    }
    if (item->kind != ITEM_EVENT && item->old_place != PLACE_NONE) {
        log_count_live(spool->log, item->old_place, -SPOOL_STATE_BYTES);
    }
    if (item->kind == ITEM_FINAL) {
        rcpt_done(spool, item->rcpt);
    }
}

void outcomes_synced(struct spool *spool)
{
    struct list_node *node = list_first(&spool->batches);
    while (node != NULL) {
        struct outcome_batch *batch = CONTAINER_OF(node, struct outcome_batch, keeper);
        node = list_next(&spool->batches, node);
        while (batch->settled < batch->taken) {
            struct outcome_item *item = item_at(batch, batch->settled);
            if (item->position > spool->synced_seen) {
                break;
            }
            batch->settled += item->size;
            item_synced(spool, item);
        }
        batch_check(spool, batch);
    }
}

static void item_lost(struct spool *spool, struct outcome_item *item, uint64_t cut_place)
{
    if (item->kind == ITEM_KEYED) {
        keyed_lost(spool, item, cut_place);
    } else if (item->kind != ITEM_EVENT) {
        if (item->kind == ITEM_DEFERRED) {
            log_count_live(spool->log, item->place, -SPOOL_STATE_BYTES);
        }
        /* Of several lost states of one recipient the first knows the one that is not lost. */
        if (item->old_place < cut_place) {
            item->rcpt->state_place = item->old_place;
        }
    }
    item->place = item->old_place = PLACE_NONE;
    item->position = item->sequence = 0;
}

void outcomes_lost(struct spool *spool, uint64_t cut_place)
{
    spool->batches_blocked = true; /* until there is room again */
    struct list_node *node = list_first(&spool->batches);
    for (; node != NULL; node = list_next(&spool->batches, node)) {
        struct outcome_batch *batch = CONTAINER_OF(node, struct outcome_batch, keeper);
        for (uint32_t at = batch->settled; at < batch->taken;) {
            struct outcome_item *item = item_at(batch, at);
            at += item->size;
            item_lost(spool, item, cut_place);
        }
        batch->taken = batch->settled;
    }
}

bool outcomes_settled(const struct spool *spool)
{
    return list_empty(&spool->batches);
}

/* ---- the worker --------------------------------------------------------------------------- */

static struct outcome_batch *batch_create(struct spool_worker *worker)
{
    struct outcome_batch *batch = aligned_alloc(_Alignof(struct outcome_batch), sizeof *batch);
    if (batch != NULL) {
        memset(batch, 0, offsetof(struct outcome_batch, data));
        batch->worker = worker;
        worker->batch_count++;
    }
    return batch;
}

static void batch_reset(struct outcome_batch *batch)
{
    assert(!batch->away && !list_linked(&batch->keeper));
    batch->filled = batch->ready = batch->handed = batch->taken = batch->settled = 0;
    batch->full = false;
}

bool outcome_worker_init(struct spool_worker *worker)
{
    list_init(&worker->batches_free);
    list_init(&worker->batches_full);
    for (int i = 0; i < BATCHES_AT_START; i++) {
        struct outcome_batch *batch = batch_create(worker);
        if (batch == NULL) {
            return false;
        }
        list_push_back(&worker->batches_free, &batch->node);
    }
    return true;
}

static void free_all(struct list *list)
{
    struct list_node *node;
    while ((node = list_pop_front(list)) != NULL) {
        free(CONTAINER_OF(node, struct outcome_batch, node));
    }
}

void outcome_worker_deinit(struct spool_worker *worker)
{
    free_all(&worker->batches_free);
    free_all(&worker->batches_full);
    free(worker->batch);
}

/* Hands over what is new in a batch, unless an earlier letter is still under way. */
static void batch_send(struct spool_worker *worker, struct outcome_batch *batch)
{
    struct spool *spool = worker->spool;
    bool nothing_new = batch->ready == batch->filled && !batch->full;
    if (batch->away || nothing_new) {
        return;
    }
    batch->away = true;
    batch->ready = batch->filled;
    if (is_keeper(spool, worker->index)) {
        on_batch(&batch->letter);
        return;
    }
    batch->letter.deliver = on_batch;
    mailbox_post(spool->options.mailboxes, worker->index, spool->options.keeper, MAILBOX_URGENT,
                 &batch->letter);
}

/* Outcomes of a worker reach the keeper in the order they were put: a batch follows only once all
 * that is in those before it has gone. One that is away when it becomes full keeps a rest. */
static void send_in_order(struct spool_worker *worker)
{
    struct list_node *node = list_first(&worker->batches_full);
    while (node != NULL) {
        struct outcome_batch *batch = CONTAINER_OF(node, struct outcome_batch, node);
        node = list_next(&worker->batches_full, node); /* sent, it may be free at once */
        if (!batch->away) {
            batch->full = true;
            batch_send(worker, batch);
        } else if (batch->ready < batch->filled) {
            return;
        }
    }
    if (worker->batch != NULL) {
        batch_send(worker, worker->batch);
    }
}

static void on_batch_home(struct letter *letter)
{
    struct outcome_batch *batch = batch_of(letter);
    struct spool_worker *worker = batch->worker;
    batch->away = false;
    if (batch == worker->batch) {
        return;
    }
    if (batch->full && batch->settled == batch->filled && batch->ready == batch->filled) {
        list_remove(&batch->node);
        batch_reset(batch);
        list_push_back(&worker->batches_free, &batch->node);
        worker->batches_used--;
        return;
    }
    batch->full = true; /* it became full while the letter was away */
    batch_send(worker, batch);
}

static struct outcome_batch *batch_with_room(struct spool_worker *worker, size_t size)
{
    struct outcome_batch *batch = worker->batch;
    if (batch != NULL && batch->filled + size <= SPOOL_BATCH_BYTES) {
        return batch;
    }
    if (batch != NULL) {
        list_push_back(&worker->batches_full, &batch->node);
        worker->batch = NULL;
        send_in_order(worker);
    }
    struct list_node *node = list_pop_front(&worker->batches_free);
    batch = node != NULL ? CONTAINER_OF(node, struct outcome_batch, node) : batch_create(worker);
    /* What is on the wire is bounded, so this is; and an outcome must not be dropped. */
    assert(batch != NULL);
    worker->batches_used++;
    worker->batch = batch;
    return batch;
}

struct outcome_item *outcome_item_take(struct spool_worker *worker, size_t bytes)
{
    size_t size = (sizeof(struct outcome_item) + bytes + 7) & ~(size_t)7;
    assert(size <= SPOOL_BATCH_BYTES);
    struct outcome_batch *batch = batch_with_room(worker, size);
    struct outcome_item *item = (struct outcome_item *)(void *)(batch->data + batch->filled);
    *item = (struct outcome_item){.size = (uint32_t)size};
    batch->filled += (uint32_t)size;
    uint64_t put = atomic_load_explicit(&worker->put_count, memory_order_relaxed);
    if (put == atomic_load_explicit(&worker->taken_count, memory_order_relaxed)) {
        worker->stalled_taken = put;
        worker->stalled_since_ms = io_now_ms(worker->io);
    }
    atomic_store_explicit(&worker->put_count, put + 1, memory_order_relaxed);
    return item;
}

void spool_put_outcome(struct spool *spool, uint32_t index, const struct spool_outcome *outcome)
{
    struct spool_worker *worker = &spool->workers[index];
    struct outcome_item *item = outcome_item_take(worker, outcome->event.len);
    item->event_len = (uint32_t)outcome->event.len;
    if (outcome->event.len > 0) {
        memcpy(item->bytes, outcome->event.data, outcome->event.len);
    }
    switch (outcome->kind) {
    case SPOOL_EVENT:
        item->kind = ITEM_EVENT;
        assert(outcome->rcpt == NULL);
        assert(outcome->event.len > 0);
        return;
    case SPOOL_DEFERRED:
        item->kind = ITEM_DEFERRED;
        break;
    case SPOOL_FINAL:
        item->kind = ITEM_FINAL;
        outcome->rcpt->state = RCPT_FINAL;
        break;
    }
    item->rcpt = outcome->rcpt;
    item->due_wall_ms = item->kind == ITEM_DEFERRED ? outcome->rcpt->due_wall_ms : 0;
    item->attempts = outcome->rcpt->attempts;
    item->retry_index = outcome->rcpt->retry_index;
}

uint64_t spool_outcome_mark(const struct spool *spool, uint32_t index)
{
    return atomic_load_explicit(&spool->workers[index].put_count, memory_order_relaxed);
}

bool spool_outcome_passed(const struct spool *spool, uint32_t index, uint64_t mark)
{
    return atomic_load_explicit(&spool->workers[index].taken_count, memory_order_acquire) >= mark;
}

bool spool_outcomes_stalled(const struct spool *spool, uint32_t index)
{
    struct spool_worker *worker = &spool->workers[index];
    uint64_t taken = atomic_load_explicit(&worker->taken_count, memory_order_relaxed);
    uint64_t put = atomic_load_explicit(&worker->put_count, memory_order_relaxed);
    if (put - taken >= SPOOL_UNWRITTEN_MAX || worker->batches_used > SPOOL_BATCHES_MAX) {
        return true;
    }
    if (taken == put) {
        return false;
    }
    if (taken != worker->stalled_taken) {
        worker->stalled_taken = taken;
        worker->stalled_since_ms = io_now_ms(worker->io);
    }
    return io_now_ms(worker->io) - worker->stalled_since_ms > SPOOL_UNWRITTEN_MS;
}

void outcomes_hand_over(struct spool *spool, uint32_t index)
{
    send_in_order(&spool->workers[index]);
}

void spool_flush(struct spool *spool, uint32_t index)
{
    outcomes_hand_over(spool, index);
    if (is_keeper(spool, index)) {
        log_flush(spool->log);
        reclaim_consider(spool);
    }
}
