#include "queue.h"

#include <assert.h>
#include <stdlib.h>

/* Ready recipients may wait for days behind a rate or a pause, and the list is in order of
 * readiness, not of age. So the list is walked for expired ones now and then: an eighth of
 * bounce-after, at least a second and at most ten minutes apart. That bounds how late an expiry is
 * and costs little: a recipient is looked at a few times an hour. */
#define SWEEP_MIN_MS 1000
#define SWEEP_MAX_MS 600000

static uint64_t sweep_interval_ms(const struct queue *queue)
{
    uint64_t interval = queue->bounce_after_ms / 8;
    if (interval < SWEEP_MIN_MS) {
        return SWEEP_MIN_MS;
    }
    return interval > SWEEP_MAX_MS ? SWEEP_MAX_MS : interval;
}

static bool is_expired(const struct queue *queue, const struct rcpt *rcpt, uint64_t now_ms)
{
    int64_t age_ms = (int64_t)now_ms - rcpt_message(rcpt)->accepted_ms;
    if (rcpt->condemned) {
        return true;
    }
    return queue->bounce_after_ms != UINT64_MAX && age_ms >= (int64_t)queue->bounce_after_ms;
}

static uint64_t expiry_ms(const struct queue *queue, const struct rcpt *rcpt)
{
    if (rcpt->condemned) {
        return 0;
    }
    if (queue->bounce_after_ms == UINT64_MAX) {
        return UINT64_MAX;
    }
    int64_t due = rcpt_message(rcpt)->accepted_ms + (int64_t)queue->bounce_after_ms;
    return due < 0 ? 0 : (uint64_t)due;
}

/* ---- the parts ---- */

static struct queue_part *part_of(struct queue *queue, const struct rcpt *rcpt)
{
    return &queue->parts[rcpt->part];
}

/* Of the two, what a walk has not seen goes first. */
static struct rcpt *first_ready_in(const struct queue_part *part)
{
    struct list_node *node = list_first(&part->ready);
    return node == NULL ? NULL : CONTAINER_OF(node, struct rcpt, ready);
}

struct rcpt *queue_first_ready(const struct queue *queue)
{
    struct rcpt *rcpt = first_ready_in(&queue->parts[!queue->part]);
    return rcpt != NULL ? rcpt : first_ready_in(&queue->parts[queue->part]);
}

struct rcpt *queue_next_ready(const struct queue *queue, const struct rcpt *rcpt)
{
    struct list_node *node = list_next(&queue->parts[rcpt->part].ready, &rcpt->ready);
    if (node != NULL) {
        return CONTAINER_OF(node, struct rcpt, ready);
    }
    return rcpt->part == queue->part ? NULL : first_ready_in(&queue->parts[queue->part]);
}

static struct heap_node *first_deferred(const struct queue *queue)
{
    struct heap_node *a = heap_first(&queue->parts[0].deferred);
    struct heap_node *b = heap_first(&queue->parts[1].deferred);
    if (a == NULL || b == NULL) {
        return a != NULL ? a : b;
    }
    return a->key <= b->key ? a : b;
}

static void init_parts(struct queue_part parts[2])
{
    for (int i = 0; i < 2; i++) {
        list_init(&parts[i].ready);
        heap_init(&parts[i].deferred);
    }
}

static void start_timer(struct queue *queue)
{
    uint64_t due_ms = UINT64_MAX;
    struct heap_node *first = first_deferred(queue);
    if (first != NULL) {
        due_ms = first->key;
    }
    if (queue->ready_count > 0) {
        due_ms = queue->sweep_ms < due_ms ? queue->sweep_ms : due_ms;
        if (queue->not_before_ms != 0 && queue->not_before_ms < due_ms) {
            due_ms = queue->not_before_ms;
        }
    }
    if (due_ms == UINT64_MAX) {
        timer_stop(queue->timers, &queue->timer);
    } else {
        timer_start(queue->timers, &queue->timer, due_ms);
    }
}

static void push_deferred(struct queue *queue, struct rcpt *rcpt, uint64_t due_ms)
{
    uint64_t limit_ms = expiry_ms(queue, rcpt);
    rcpt->deferred = (struct heap_node){.key = due_ms < limit_ms ? due_ms : limit_ms};
    rcpt->state = RCPT_DEFERRED;
    heap_insert(&part_of(queue, rcpt)->deferred, &rcpt->deferred);
    queue->deferred_count++;
}

static void push_ready(struct queue *queue, struct rcpt *rcpt, bool front, uint64_t now_ms)
{
    if (queue_holds(queue, rcpt) && !rcpt->condemned) {
        rcpt->parked = true;
        push_deferred(queue, rcpt, UINT64_MAX);
        return;
    }
    rcpt->ready = (struct list_node){0};
    rcpt->state = RCPT_READY;
    if (front) {
        list_push_front(&part_of(queue, rcpt)->ready, &rcpt->ready);
    } else {
        list_push_back(&part_of(queue, rcpt)->ready, &rcpt->ready);
    }
    if (queue->ready_count++ == 0) {
        queue->sweep_ms = now_ms + sweep_interval_ms(queue);
    }
    if (rcpt->condemned) {
        queue->sweep_ms = now_ms;
    }
}

static void take_ready(struct queue *queue, struct rcpt *rcpt)
{
    assert(rcpt->state == RCPT_READY && queue->ready_count > 0);
    list_remove(&rcpt->ready);
    queue->ready_count--;
}

static void take_deferred(struct queue *queue, struct rcpt *rcpt)
{
    assert(rcpt->state == RCPT_DEFERRED && queue->deferred_count > 0);
    heap_remove(&part_of(queue, rcpt)->deferred, &rcpt->deferred);
    rcpt->due_wall_ms = 0; /* the heap's pointers lay there */
    rcpt->parked = false;
    queue->deferred_count--;
}

static void leave(struct queue *queue, struct rcpt *rcpt)
{
    uint64_t size = rcpt_message(rcpt)->body_size;
    assert(queue->bytes >= size);
    queue->bytes -= size;
    rcpt->queue = NULL;
    rcpt->state = RCPT_FINAL;
}

static void expire(struct queue *queue, struct rcpt *rcpt)
{
    leave(queue, rcpt);
    queue->expired(queue, rcpt);
}

static void wake_deferred(struct queue *queue, uint64_t now_ms)
{
    for (uint32_t i = 0; i < QUEUE_WAKE_MAX; i++) {
        struct heap_node *first = first_deferred(queue);
        if (first == NULL || first->key > now_ms) {
            return;
        }
        struct rcpt *rcpt = CONTAINER_OF(first, struct rcpt, deferred);
        take_deferred(queue, rcpt);
        if (is_expired(queue, rcpt, now_ms)) {
            expire(queue, rcpt);
        } else {
            push_ready(queue, rcpt, false, now_ms);
        }
    }
}

static void sweep_ready(struct queue *queue, uint64_t now_ms)
{
    struct rcpt *next;
    uint32_t expired = 0;
    for (struct rcpt *rcpt = queue_first_ready(queue); rcpt != NULL; rcpt = next) {
        next = queue_next_ready(queue, rcpt);
        if (is_expired(queue, rcpt, now_ms)) {
            if (expired++ == QUEUE_WAKE_MAX) {
                queue->sweep_ms = now_ms; /* goes on in the next turn */
                return;
            }
            take_ready(queue, rcpt);
            expire(queue, rcpt);
        }
    }
    queue->sweep_ms = now_ms + sweep_interval_ms(queue);
}

static void on_timer(struct timer *timer)
{
    struct queue *queue = CONTAINER_OF(timer, struct queue, timer);
    uint64_t now_ms = queue->timers->now_ms;
    wake_deferred(queue, now_ms);
    if (queue->ready_count > 0 && queue->sweep_ms <= now_ms) {
        sweep_ready(queue, now_ms);
    }
    if (queue->not_before_ms != 0 && queue->not_before_ms <= now_ms) {
        queue->not_before_ms = 0;
    }
    start_timer(queue);
    queue->changed(queue); /* last: an emptied queue may be freed inside */
}

void queue_init(struct queue *queue, struct site *site, enum tls_need tls_need,
                struct timers *timers, uint64_t bounce_after_ms,
                void (*changed)(struct queue *queue),
                void (*expired)(struct queue *queue, struct rcpt *rcpt))
{
    *queue = (struct queue){.site = site,
                            .tls_need = (uint8_t)tls_need,
                            .timers = timers,
                            .bounce_after_ms = bounce_after_ms,
                            .changed = changed,
                            .expired = expired};
    init_parts(queue->parts);
    timer_init(&queue->timer, on_timer);
}

void queue_deinit(struct queue *queue)
{
    timer_stop(queue->timers, &queue->timer);
    list_remove(&queue->site_node);
    list_remove(&queue->sendable_node);
    free(queue->last_error);
    free(queue->aside);
    queue->last_error = NULL;
    queue->aside = NULL;
}

void queue_put(struct queue *queue, struct rcpt *rcpt, uint64_t due_ms, uint64_t now_ms)
{
    rcpt->part = queue->part;
    queue_put_back(queue, rcpt, due_ms, now_ms);
}

void queue_put_back(struct queue *queue, struct rcpt *rcpt, uint64_t due_ms, uint64_t now_ms)
{
    assert(rcpt->queue == NULL);
    rcpt->queue = queue;
    queue->bytes += rcpt_message(rcpt)->body_size;
    if (due_ms <= now_ms && !is_expired(queue, rcpt, now_ms)) {
        push_ready(queue, rcpt, false, now_ms);
    } else {
        push_deferred(queue, rcpt, due_ms);
    }
    start_timer(queue);
    queue->changed(queue);
}

bool queue_expired(const struct queue *queue, const struct rcpt *rcpt, uint64_t now_ms)
{
    return is_expired(queue, rcpt, now_ms);
}

uint32_t queue_take(struct queue *queue, uint32_t max, struct rcpt **out)
{
    uint32_t count = 0, expired = 0;
    const struct message *message = NULL;
    while (count < max) {
        struct rcpt *rcpt = queue_first_ready(queue);
        if (rcpt == NULL) {
            break;
        }
        if (is_expired(queue, rcpt, queue->timers->now_ms)) {
            if (expired++ == QUEUE_WAKE_MAX) {
                break;
            }
            take_ready(queue, rcpt); /* the sweep would have come for it */
            expire(queue, rcpt);
            continue;
        }
        if (message != NULL && rcpt_message(rcpt) != message) {
            break;
        }
        message = rcpt_message(rcpt);
        max = (message->flags & MESSAGE_VERP) != 0 ? 1 : max;
        take_ready(queue, rcpt);
        rcpt->state = RCPT_TAKEN;
        queue->taken_count++;
        out[count++] = rcpt;
    }
    return count;
}

static void untake(struct queue *queue, struct rcpt *rcpt)
{
    assert(rcpt->queue == queue && rcpt->state == RCPT_TAKEN && queue->taken_count > 0);
    queue->taken_count--;
}

void queue_give_back(struct queue *queue, struct rcpt *rcpt, uint64_t now_ms)
{
    untake(queue, rcpt);
    push_ready(queue, rcpt, true, now_ms);
    start_timer(queue);
    queue->changed(queue);
}

void queue_defer(struct queue *queue, struct rcpt *rcpt, uint64_t due_ms, uint64_t now_ms)
{
    untake(queue, rcpt);
    push_deferred(queue, rcpt, due_ms <= now_ms ? now_ms + 1 : due_ms);
    start_timer(queue);
}

void queue_done(struct queue *queue, struct rcpt *rcpt)
{
    untake(queue, rcpt);
    leave(queue, rcpt);
}

bool queue_remove(struct queue *queue, struct rcpt *rcpt)
{
    assert(rcpt->queue == queue);
    if (rcpt->state == RCPT_READY) {
        take_ready(queue, rcpt);
    } else if (rcpt->state == RCPT_DEFERRED) {
        take_deferred(queue, rcpt);
    } else {
        return false;
    }
    leave(queue, rcpt);
    return true;
}

/* ---- held back ---- */

void queue_set_holds(struct queue *queue,
                     bool (*holds)(const struct queue *queue, const struct rcpt *rcpt))
{
    queue->holds = holds;
}

void queue_park(struct queue *queue, struct rcpt *rcpt)
{
    take_ready(queue, rcpt);
    rcpt->parked = true;
    push_deferred(queue, rcpt, UINT64_MAX);
    start_timer(queue);
}

void queue_unpark(struct queue *queue, struct rcpt *rcpt, uint64_t now_ms)
{
    if (rcpt->state != RCPT_DEFERRED || !rcpt->parked) {
        return;
    }
    take_deferred(queue, rcpt);
    push_ready(queue, rcpt, false, now_ms);
    start_timer(queue);
    queue->changed(queue);
}

/* ---- put aside ---- */

struct queue_aside {
    struct queue_part parts[2];
    uint32_t count;
};

uint32_t queue_rcpt_count(const struct queue *queue)
{
    uint32_t aside = queue->aside == NULL ? 0 : queue->aside->count;
    return queue->ready_count + queue->deferred_count + queue->taken_count + aside;
}

bool queue_put_aside(struct queue *queue)
{
    uint32_t count = queue->ready_count + queue->deferred_count;
    if (queue->aside != NULL || count == 0) {
        return queue->aside == NULL;
    }
    struct queue_aside *aside = malloc(sizeof *aside);
    if (aside == NULL) {
        return false;
    }
    init_parts(aside->parts);
    for (int i = 0; i < 2; i++) {
        list_splice_back(&aside->parts[i].ready, &queue->parts[i].ready);
        aside->parts[i].deferred = queue->parts[i].deferred;
    }
    init_parts(queue->parts);
    aside->count = count;
    queue->ready_count = queue->deferred_count = 0;
    queue->aside = aside;
    start_timer(queue);
    queue->changed(queue);
    return true;
}

/* Out of its part, the ready ones first. */
static struct rcpt *first_aside(struct queue_aside *aside, uint64_t *due_ms)
{
    struct list_node *node = list_pop_front(&aside->parts[0].ready);
    node = node != NULL ? node : list_pop_front(&aside->parts[1].ready);
    *due_ms = 0;
    if (node != NULL) {
        return CONTAINER_OF(node, struct rcpt, ready);
    }
    struct heap *deferred = &aside->parts[heap_empty(&aside->parts[0].deferred)].deferred;
    struct heap_node *first = heap_first(deferred);
    *due_ms = first->key;
    heap_remove(deferred, first);
    return CONTAINER_OF(first, struct rcpt, deferred);
}

struct rcpt *queue_take_aside(struct queue *queue, uint64_t *due_ms)
{
    struct queue_aside *aside = queue->aside;
    if (aside == NULL) {
        return NULL;
    }
    struct rcpt *rcpt = first_aside(aside, due_ms);
    *due_ms = rcpt->parked ? 0 : *due_ms; /* if it still is held, it is parked anew */
    rcpt->parked = false;
    rcpt->due_wall_ms = 0;
    if (--aside->count == 0) {
        free(aside);
        queue->aside = NULL;
    }
    leave(queue, rcpt);
    return rcpt;
}

/* ---- walks ---- */

void queue_walk_begin(struct queue *queue)
{
    queue->part = !queue->part;
}

struct rcpt *queue_walk_next(struct queue *queue)
{
    struct queue_part *from = &queue->parts[!queue->part], *to = &queue->parts[queue->part];
    struct heap_node *first = heap_first(&from->deferred);
    if (first != NULL) {
        struct rcpt *rcpt = CONTAINER_OF(first, struct rcpt, deferred);
        heap_remove(&from->deferred, first);
        rcpt->part = queue->part;
        heap_insert(&to->deferred, first);
        return rcpt;
    }
    struct rcpt *rcpt = first_ready_in(from);
    if (rcpt != NULL) {
        list_remove(&rcpt->ready);
        rcpt->part = queue->part;
        list_push_back(&to->ready, &rcpt->ready);
    }
    return rcpt;
}

bool queue_walk_taken(struct queue *queue, struct rcpt *rcpt)
{
    assert(rcpt->queue == queue && rcpt->state == RCPT_TAKEN);
    bool shown = rcpt->part == queue->part;
    rcpt->part = queue->part;
    return !shown;
}

/* ---- clocks ---- */

void queue_hold_until(struct queue *queue, uint64_t due_ms, uint64_t now_ms)
{
    queue->not_before_ms = due_ms <= now_ms ? 0 : due_ms;
    start_timer(queue);
    queue->changed(queue);
}

void queue_pause(struct queue *queue, bool paused)
{
    queue->paused = paused;
    queue->changed(queue);
}

void queue_retry_now(struct queue *queue, uint64_t now_ms)
{
    struct heap all[2] = {queue->parts[0].deferred, queue->parts[1].deferred};
    struct heap_node *first;
    queue->not_before_ms = 0;
    queue->deferred_count = 0;
    for (int i = 0; i < 2; i++) {
        heap_init(&queue->parts[i].deferred); /* who is parked goes there again */
        while ((first = heap_first(&all[i])) != NULL) {
            struct rcpt *rcpt = CONTAINER_OF(first, struct rcpt, deferred);
            heap_remove(&all[i], first);
            rcpt->due_wall_ms = 0;
            rcpt->parked = false;
            push_ready(queue, rcpt, false, now_ms);
        }
    }
    start_timer(queue);
    queue->changed(queue);
}

void queue_set_bounce_after(struct queue *queue, uint64_t bounce_after_ms, uint64_t now_ms)
{
    queue->bounce_after_ms = bounce_after_ms;
    queue->sweep_ms = now_ms;
    start_timer(queue);
}

void queue_note_error(struct queue *queue, int64_t wall_ms, struct bytes text)
{
    if (queue->last_error == NULL) {
        queue->last_error = malloc(sizeof *queue->last_error);
        if (queue->last_error == NULL) {
            return; /* only `show` misses it */
        }
    }
    size_t len = text.len < QUEUE_ERROR_MAX - 1 ? text.len : QUEUE_ERROR_MAX - 1;
    memcpy(queue->last_error->text, text.data, len);
    queue->last_error->text[len] = '\0';
    queue->last_error->wall_ms = wall_ms;
}
