/* A message comes in, the keeper's side: chunks and the commit become records.
 *
 * What finds no room in the log's staging waits in the order it came; its buffers stay lent, so
 * the senders are slowed by their own share of memory. A message exists from its commit's append
 * in the map (footers and reclaiming must find it), and for everybody else from the sync. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/logger.h"
#include "message_code.h"
#include "spool_private.h"

static struct spool_upload *upload_of(struct letter *letter)
{
    return CONTAINER_OF(letter, struct spool_upload, letter);
}

/* ---- places of an upload's chunks ---------------------------------------------------------- */

static void drop_places(struct spool *spool, struct spool_upload *upload)
{
    uint64_t start = 0;
    for (uint32_t i = 0; upload->body != NULL && i < upload->body->count; i++) {
        const struct body_piece *piece = &upload->body->pieces[i];
        log_count_live(spool->log, atomic_load(&piece->place),
                       -(int64_t)log_record_size(piece->end - start));
        start = piece->end;
    }
    body_list_drop(spool, upload->body);
    upload->body = NULL;
    list_remove(&upload->node);
}

static void refuse(struct spool *spool, struct spool_upload *upload, enum spool_answer answer)
{
    assert(answer != SPOOL_OK);
    if (upload->answer == SPOOL_OK) {
        upload->answer = (uint8_t)answer;
    }
    drop_places(spool, upload);
}

static enum spool_answer answer_of(int result)
{
    return result == -ENOSPC ? SPOOL_FULL : SPOOL_FAILED;
}

static bool note_place(struct spool *spool, struct spool_upload *upload, uint64_t place,
                       uint32_t len)
{
    struct body_list *body = body_list_grow(spool, upload->body, upload->chunks_placed + 1);
    if (body == NULL) {
        return false;
    }
    upload->body = body;
    uint64_t start = body->count == 0 ? 0 : body->pieces[body->count - 1].end;
    struct body_piece *piece = &body->pieces[body->count++];
    atomic_store_explicit(&piece->place, place, memory_order_relaxed);
    piece->end = start + len;
    upload->chunks_placed++;
    log_count_live(spool->log, place, (int64_t)log_record_size(len));
    return true;
}

/* ---- chunks ------------------------------------------------------------------------------- */

/* False: no room now. */
static bool append_chunk(struct spool *spool, struct spool_upload *upload,
                         struct spool_chunk *chunk)
{
    if (upload->answer != SPOOL_OK) {
        return true;
    }
    if (upload->upload_id == 0) {
        upload->upload_id = log_take_sequence(spool->log);
    }
    struct log_record record = {.type = LOG_CHUNK,
                                .ref = upload->upload_id,
                                .index = upload->chunks_placed,
                                .sequence = upload->upload_id};
    struct bytes data = bytes_of(chunk->data, chunk->len);
    uint64_t place;
    int result = log_append(spool->log, LOG_FOR_ACCEPTING, &record, &data, 1, &place);
    if (result == -EAGAIN) {
        return false;
    }
    if (result != 0 || !note_place(spool, upload, place, chunk->len)) {
        refuse(spool, upload, result == 0 ? SPOOL_FULL : answer_of(result));
        return true;
    }
    upload->position = log_position(spool->log);
    if (!list_linked(&upload->node)) {
        list_push_back(&spool->uploads, &upload->node);
    }
    return true;
}

static bool handle_chunk(struct spool *spool, struct spool_chunk *chunk)
{
    if (!append_chunk(spool, chunk->upload, chunk)) {
        return false;
    }
    upload_chunk_send_home(spool, chunk);
    return true;
}

void keeper_on_chunk(struct letter *letter)
{
    struct spool_chunk *chunk = CONTAINER_OF(letter, struct spool_chunk, letter);
    struct spool *spool = chunk->upload->spool;
    spool_settle(spool);
    if (!list_empty(&spool->waiting) || !handle_chunk(spool, chunk)) {
        list_push_back(&spool->waiting, &letter->node);
    }
}

/* ---- commits ------------------------------------------------------------------------------ */

/* Never inside the committing call: a letter to oneself waits for the next turn. */
static void answer(struct spool *spool, struct spool_upload *upload)
{
    upload->letter.deliver = upload_answered;
    mailbox_post(spool->options.mailboxes, spool->options.keeper, upload->worker, MAILBOX_URGENT,
                 &upload->letter);
}

/* The message takes over the places of its chunks. */
static void attach_body(struct spool *spool, struct message *message, struct spool_upload *upload)
{
    struct body_list *body = upload->body;
    upload->body = NULL;
    if (body != NULL && body->count == 1) {
        atomic_store(&message->body_place, atomic_load(&body->pieces[0].place));
        body_list_drop(spool, body);
    } else if (body != NULL) {
        atomic_store(&message->body_place, (uint64_t)(uintptr_t)body + 1);
    }
}

static int append_commit(struct spool *spool, struct spool_upload *upload, struct message *message)
{
    struct buffer payload;
    buffer_init(&payload, spool->payload, LOG_PAYLOAD_MAX);
    if (!message_encode(message, NULL, &payload)) {
        return -EMSGSIZE;
    }
    struct log_record record = {.type = LOG_MESSAGE,
                                .sequence = upload->upload_id,
                                .ref = upload->chunks_placed,
                                .index = message->rcpt_count};
    struct bytes part = buffer_bytes(&payload);
    return log_append(spool->log, LOG_FOR_ACCEPTING, &record, &part, 1, &message->record_place);
}

static void count_in(struct spool *spool, struct spool_upload *upload, struct message *message)
{
    log_count_live(spool->log, message->record_place, (int64_t)spool_message_bytes(message));
    attach_body(spool, message, upload);
    list_remove(&upload->node);
    upload->position = log_position(spool->log);
    list_push_back(&spool->commits, &upload->node);
    log_want_sync(spool->log);
}

static void refuse_commit(struct spool *spool, struct spool_upload *upload, enum spool_answer why)
{
    refuse(spool, upload, why);
    message_free(upload->message);
    upload->message = NULL;
    answer(spool, upload);
}

/* False: no room now. */
static bool handle_commit(struct spool *spool, struct spool_upload *upload)
{
    if (upload->chunk != NULL) {
        if (!append_chunk(spool, upload, upload->chunk)) {
            return false;
        }
        struct spool_chunk *chunk = upload->chunk;
        upload->chunk = NULL;
        upload_chunk_send_home(spool, chunk);
    }
    struct message *message = upload->message;
    if (upload->answer != SPOOL_OK || message == NULL) {
        refuse_commit(spool, upload, SPOOL_FULL);
        return true;
    }
    if (upload->upload_id == 0) {
        upload->upload_id = log_take_sequence(spool->log);
    }
    message_set_log_index(message, spool->index);
    if (!spool_insert(spool, message, upload->upload_id)) {
        refuse_commit(spool, upload, SPOOL_FULL);
        return true;
    }
    int result = append_commit(spool, upload, message);
    if (result != 0) {
        map_remove(&spool->messages, &message->entry);
    }
    if (result == -EAGAIN) {
        return false;
    }
    if (result != 0) {
        refuse_commit(spool, upload, answer_of(result));
        return true;
    }
    count_in(spool, upload, message);
    return true;
}

void keeper_on_commit(struct letter *letter)
{
    struct spool_upload *upload = upload_of(letter);
    struct spool *spool = upload->spool;
    spool_settle(spool);
    if (!list_empty(&spool->waiting) || !handle_commit(spool, upload)) {
        list_push_back(&spool->waiting, &letter->node);
    }
}

/* The chunks' letters came before on the same lane; they may still wait here. */
static bool handle_abort(struct spool *spool, struct spool_upload *upload)
{
    drop_places(spool, upload);
    answer(spool, upload);
    return true;
}

void keeper_on_abort(struct letter *letter)
{
    struct spool_upload *upload = upload_of(letter);
    struct spool *spool = upload->spool;
    if (list_empty(&spool->waiting)) {
        handle_abort(spool, upload);
    } else {
        list_push_back(&spool->waiting, &letter->node);
    }
}

void keeper_retry(struct spool *spool)
{
    struct list_node *node;
    bool done = true;
    while (done && (node = list_pop_front(&spool->waiting)) != NULL) {
        struct letter *letter = CONTAINER_OF(node, struct letter, node);
        if (letter->deliver == keeper_on_chunk) {
            done = handle_chunk(spool, CONTAINER_OF(letter, struct spool_chunk, letter));
        } else if (letter->deliver == keeper_on_commit) {
            done = handle_commit(spool, upload_of(letter));
        } else {
            done = handle_abort(spool, upload_of(letter));
        }
        if (!done) {
            list_push_front(&spool->waiting, node);
        }
    }
}

/* ---- synced, lost ------------------------------------------------------------------------- */

static void commit_done(struct spool *spool, struct spool_upload *upload)
{
    struct message *message = upload->message;
    upload->message = NULL;
    message_id_text(log_id(spool->log), message_id(message), upload->id_text);
    /* What was booked for its recipients stays so until each is done. */
    int64_t more = (int64_t)message->rcpt_count - upload->rcpts_reserved;
    atomic_fetch_add(&spool->booked_rcpts, (uint64_t)more);
    upload->rcpts_reserved = 0;
    spool->open_rcpts += message->rcpt_count;
    if (spool->arrived != NULL) {
        spool->arrived(spool->arrived_owner, message);
    }
    if (is_keeper(spool, upload->worker)) {
        upload_answered(&upload->letter); /* we are in the sync's completion, not in the commit */
    } else {
        answer(spool, upload);
    }
}

void keeper_commits_synced(struct spool *spool)
{
    struct list_node *node;
    while ((node = list_first(&spool->commits)) != NULL) {
        struct spool_upload *upload = CONTAINER_OF(node, struct spool_upload, node);
        if (upload->position > spool->synced_seen) {
            break;
        }
        list_remove(node);
        commit_done(spool, upload);
    }
}

void keeper_answer_failed(struct spool *spool)
{
    bool in_doubt = log_in_doubt(spool->log);
    uint32_t count = 0;
    struct list_node *node;
    while ((node = list_pop_front(&spool->failed)) != NULL) {
        struct spool_upload *upload = CONTAINER_OF(node, struct spool_upload, node);
        upload->answer = in_doubt ? SPOOL_IN_DOUBT : SPOOL_FAILED;
        answer(spool, upload);
        count++;
    }
    if (in_doubt && count > 0) {
        LOG_ERROR("spool %s: %u messages are refused, but the disk did not take that down: those "
                  "that reached it before are found at the next start and may be delivered twice",
                  spool->options.directory, count);
    }
}

/* What is lost may still be on disk. Nobody is told so before the log says on disk that it does
 * not count: a restart would bring back what was refused. */
void keeper_lost(struct spool *spool)
{
    struct list_node *node;
    while ((node = list_pop_front(&spool->commits)) != NULL) {
        struct spool_upload *upload = CONTAINER_OF(node, struct spool_upload, node);
        struct message *message = upload->message;
        upload->message = NULL;
        spool_message_done(spool, message);
        list_push_back(&spool->failed, &upload->node);
    }
    node = list_first(&spool->uploads);
    while (node != NULL) {
        struct spool_upload *upload = CONTAINER_OF(node, struct spool_upload, node);
        node = list_next(&spool->uploads, node);
        if (upload->position > spool->synced_seen) {
            refuse(spool, upload, SPOOL_FAILED);
        }
    }
}
