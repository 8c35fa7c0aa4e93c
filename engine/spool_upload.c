/* A message comes in, the worker's side.
 *
 * Body bytes are collected in buffers of 8, 64 or 256 KiB from the worker's share of
 * upload_bytes_max; a small message never holds a large one. A full buffer is lent to the keeper
 * by letter and comes home as soon as it was copied into the log's staging. When no buffer is to
 * be had the caller stops reading and is told to go on by `flowed`, from a timer, never from
 * inside another call. Buffers need not be large: a full 8 KiB one can always go off as a chunk,
 * so uploads cannot block each other for good.
 *
 * The upload's letter carries commit and abort to the keeper, and the answer back. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "spool_private.h"

static const uint32_t class_bytes[CHUNK_CLASSES] = {8 * 1024, 64 * 1024, SPOOL_CHUNK_MAX};

static struct spool_worker *worker_of(const struct spool_upload *upload)
{
    return &upload->spool->workers[upload->worker];
}

/* ---- buffers ------------------------------------------------------------------------------ */

static void on_flow(struct timer *timer)
{
    struct spool_worker *worker = CONTAINER_OF(timer, struct spool_worker, flow_timer);
    struct list waiters;
    list_init(&waiters);
    list_splice_back(&waiters, &worker->flow_waiters);
    struct list_node *node;
    while ((node = list_pop_front(&waiters)) != NULL) {
        struct spool_upload *upload = CONTAINER_OF(node, struct spool_upload, wait_node);
        upload->flowed(upload);
    }
}

static void wake_waiters(struct spool_worker *worker)
{
    if (!list_empty(&worker->flow_waiters) && !timer_running(&worker->flow_timer)) {
        timer_start(io_timers(worker->io), &worker->flow_timer, io_now_ms(worker->io));
    }
}

void upload_worker_init(struct spool_worker *worker)
{
    for (int i = 0; i < CHUNK_CLASSES; i++) {
        list_init(&worker->chunks_free[i]);
    }
    list_init(&worker->flow_waiters);
    timer_init(&worker->flow_timer, on_flow);
}

static void free_chunk(struct spool_worker *worker, struct list_node *node)
{
    struct spool_chunk *chunk = CONTAINER_OF(node, struct spool_chunk, node);
    worker->chunk_bytes -= chunk->capacity;
    free(chunk);
}

void upload_worker_deinit(struct spool_worker *worker)
{
    struct list_node *node;
    for (int i = 0; i < CHUNK_CLASSES; i++) {
        while ((node = list_pop_front(&worker->chunks_free[i])) != NULL) {
            free_chunk(worker, node);
        }
    }
    if (worker->io != NULL) {
        timer_stop(io_timers(worker->io), &worker->flow_timer);
    }
}

/* Free buffers of other sizes make way. */
static bool make_way(struct spool_worker *worker, uint32_t bytes)
{
    for (int i = CHUNK_CLASSES - 1; i >= 0; i--) {
        struct list_node *node;
        while (worker->chunk_bytes + bytes > worker->chunk_bytes_max &&
               (node = list_pop_front(&worker->chunks_free[i])) != NULL) {
            free_chunk(worker, node);
        }
    }
    return worker->chunk_bytes + bytes <= worker->chunk_bytes_max;
}

static struct spool_chunk *take_chunk(struct spool_worker *worker, int size_class)
{
    struct list_node *node = list_pop_front(&worker->chunks_free[size_class]);
    if (node != NULL) {
        return CONTAINER_OF(node, struct spool_chunk, node);
    }
    uint32_t bytes = class_bytes[size_class];
    if (!make_way(worker, bytes)) {
        return NULL;
    }
    struct spool_chunk *chunk = malloc(sizeof *chunk + bytes);
    if (chunk != NULL) {
        *chunk = (struct spool_chunk){.capacity = bytes, .size_class = (uint8_t)size_class};
        worker->chunk_bytes += bytes;
    }
    return chunk;
}

static void give_chunk(struct spool_worker *worker, struct spool_chunk *chunk)
{
    chunk->len = 0;
    chunk->upload = NULL;
    list_push_front(&worker->chunks_free[chunk->size_class], &chunk->node);
    wake_waiters(worker);
}

/* ---- letters ------------------------------------------------------------------------------ */

static void on_chunk_home(struct letter *letter)
{
    struct spool_chunk *chunk = CONTAINER_OF(letter, struct spool_chunk, letter);
    struct spool_upload *upload = chunk->upload;
    upload_chunk_home(worker_of(upload), chunk);
}

void upload_chunk_home(struct spool_worker *worker, struct spool_chunk *chunk)
{
    assert(chunk->upload->chunks_out > 0);
    chunk->upload->chunks_out--;
    give_chunk(worker, chunk);
}

void upload_chunk_send_home(struct spool *spool, struct spool_chunk *chunk)
{
    uint32_t worker = chunk->upload->worker;
    if (is_keeper(spool, worker)) {
        upload_chunk_home(&spool->workers[worker], chunk);
        return;
    }
    chunk->letter.deliver = on_chunk_home;
    mailbox_post(spool->options.mailboxes, spool->options.keeper, worker, MAILBOX_URGENT,
                 &chunk->letter);
}

static void post_to_keeper(struct spool_upload *upload, struct letter *letter,
                           void (*deliver)(struct letter *letter))
{
    struct spool *spool = upload->spool;
    letter->deliver = deliver;
    if (is_keeper(spool, upload->worker)) {
        deliver(letter);
        return;
    }
    mailbox_post(spool->options.mailboxes, upload->worker, spool->options.keeper, MAILBOX_BULK,
                 letter);
}

static void send_chunk(struct spool_upload *upload)
{
    struct spool_chunk *chunk = upload->chunk;
    upload->chunk = NULL;
    upload->chunks_sent++;
    upload->chunks_out++;
    chunk->upload = upload;
    post_to_keeper(upload, &chunk->letter, keeper_on_chunk);
}

/* ---- receiving ---------------------------------------------------------------------------- */

void spool_upload_begin(struct spool *spool, uint32_t worker, struct spool_upload *upload)
{
    assert(upload->state == UPLOAD_IDLE);
    assert(upload->answered != NULL);
    upload->spool = spool;
    upload->worker = worker;
    upload->state = UPLOAD_OPEN;
    upload->answer = SPOOL_OK;
    upload->upload_id = upload->body_size = upload->position = 0;
    upload->rcpts_reserved = upload->chunks_sent = upload->chunks_out = 0;
    upload->chunks_placed = 0;
    upload->chunk = NULL;
    upload->message = NULL;
    upload->body = NULL;
    upload->released = NULL;
    upload->forgotten = false;
    upload->id_text[0] = '\0';
}

bool spool_upload_reserve_rcpt(struct spool_upload *upload)
{
    struct spool *spool = upload->spool;
    assert(upload->state == UPLOAD_OPEN);
    uint64_t booked = atomic_fetch_add(&spool->booked_rcpts, 1);
    if (booked >= spool->options.max_recipients ||
        booked >= atomic_load_explicit(&spool->bookable_rcpts, memory_order_relaxed)) {
        atomic_fetch_sub(&spool->booked_rcpts, 1);
        return false;
    }
    upload->rcpts_reserved++;
    return true;
}

/* The buffer for what comes next, or the next larger one with what there is. */
static bool obtain_chunk(struct spool_upload *upload, size_t len)
{
    struct spool_worker *worker = worker_of(upload);
    if (upload->chunks_out >= SPOOL_CHUNKS_OUT_MAX) {
        return false;
    }
    int wanted = upload->chunks_sent > 0 ? CHUNK_LARGE : CHUNK_SMALL;
    while (wanted < CHUNK_LARGE && class_bytes[wanted] < len) {
        wanted++;
    }
    for (int i = wanted; i >= 0 && upload->chunk == NULL; i--) {
        upload->chunk = take_chunk(worker, i);
    }
    return upload->chunk != NULL;
}

static void grow_or_send(struct spool_upload *upload, size_t left)
{
    struct spool_worker *worker = worker_of(upload);
    struct spool_chunk *chunk = upload->chunk;
    for (int i = CHUNK_LARGE; i > chunk->size_class; i--) {
        bool needed = i == chunk->size_class + 1 || chunk->len + left > class_bytes[i - 1];
        struct spool_chunk *larger = needed ? take_chunk(worker, i) : NULL;
        if (larger != NULL) {
            memcpy(larger->data, chunk->data, chunk->len);
            larger->len = chunk->len;
            upload->chunk = larger;
            give_chunk(worker, chunk);
            return;
        }
    }
    send_chunk(upload);
}

size_t spool_upload_write(struct spool_upload *upload, const void *data, size_t len)
{
    assert(upload->state == UPLOAD_OPEN);
    size_t done = 0;
    while (done < len) {
        size_t left = len - done;
        if (upload->chunk == NULL && !obtain_chunk(upload, left)) {
            struct spool_worker *worker = worker_of(upload);
            assert(upload->flowed != NULL);
            if (!list_linked(&upload->wait_node)) {
                list_push_back(&worker->flow_waiters, &upload->wait_node);
            }
            break;
        }
        struct spool_chunk *chunk = upload->chunk;
        size_t room = chunk->capacity - chunk->len;
        if (room == 0) {
            grow_or_send(upload, left);
            continue;
        }
        size_t part = left < room ? left : room;
        memcpy(chunk->data + chunk->len, (const char *)data + done, part);
        chunk->len += (uint32_t)part;
        done += part;
    }
    upload->body_size += done;
    return done;
}

void spool_upload_commit(struct spool_upload *upload, const struct envelope *envelope)
{
    assert(upload->state == UPLOAD_OPEN);
    assert(envelope->rcpt_count > 0);
    struct envelope with_size = *envelope;
    with_size.body_size = upload->body_size;
    list_remove(&upload->wait_node);
    upload->message = message_create(&with_size); /* NULL: the keeper refuses */
    upload->state = UPLOAD_COMMITTING;
    if (upload->chunk != NULL) {
        upload->chunk->upload = upload;
        upload->chunks_sent++;
        upload->chunks_out++;
    }
    post_to_keeper(upload, &upload->letter, keeper_on_commit);
}

/* ---- the end ------------------------------------------------------------------------------ */

static void unbook(struct spool_upload *upload, uint32_t count)
{
    uint64_t before = atomic_fetch_sub(&upload->spool->booked_rcpts, count);
    assert(before >= count);
    upload->rcpts_reserved -= count;
}

/* The letter is home: after a commit with the answer, after an abort with nothing. */
void upload_answered(struct letter *letter)
{
    struct spool_upload *upload = CONTAINER_OF(letter, struct spool_upload, letter);
    assert(upload->state == UPLOAD_COMMITTING || upload->state == UPLOAD_ABORTING);
    assert(upload->chunks_out == 0);
    bool forgotten = upload->state == UPLOAD_ABORTING || upload->forgotten;
    unbook(upload, upload->rcpts_reserved);
    upload->state = UPLOAD_IDLE;
    if (!forgotten) {
        upload->answered(upload, (enum spool_answer)upload->answer);
    } else if (upload->released != NULL) {
        upload->released(upload);
    }
}

void spool_upload_abort(struct spool_upload *upload, void (*released)(struct spool_upload *upload))
{
    list_remove(&upload->wait_node);
    upload->released = released;
    if (upload->state == UPLOAD_COMMITTING || upload->state == UPLOAD_ABORTING) {
        upload->forgotten = true;
        return;
    }
    if (upload->state == UPLOAD_OPEN) {
        unbook(upload, upload->rcpts_reserved);
        if (upload->chunk != NULL) {
            give_chunk(worker_of(upload), upload->chunk);
            upload->chunk = NULL;
        }
        if (upload->chunks_sent > 0) {
            upload->state = UPLOAD_ABORTING;
            post_to_keeper(upload, &upload->letter, keeper_on_abort);
            return;
        }
    }
    upload->state = UPLOAD_IDLE;
    if (released != NULL) {
        released(upload);
    }
}
