/* Bodies, straight from the segment files, on any worker.
 *
 * A read pins the segment (log_pin) for one chunk at a time and loads the chunk's word anew each
 * time, so a slow reader holds nothing between two chunks. Whether the bytes are still those that
 * came in is for the reader to check, by the message's digest. */
#include <assert.h>
#include <errno.h>

#include "spool_private.h"

static void read_piece(struct spool_read *read);

/* The chunk that holds this byte of the body. */
static uint32_t chunk_at(const struct message *message, uint64_t offset, uint64_t *start,
                         uint64_t *end)
{
    const struct body_list *list = message_body_list(message);
    *start = 0;
    *end = message->body_size;
    if (list == NULL) {
        return 0;
    }
    uint32_t low = 0, high = list->count - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (list->pieces[middle].end > offset) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    *start = low == 0 ? 0 : list->pieces[low - 1].end;
    *end = list->pieces[low].end;
    return low;
}

static const _Atomic uint64_t *word_of(const struct message *message, uint32_t chunk)
{
    const struct body_list *list = message_body_list(message);
    return list != NULL ? &list->pieces[chunk].place : &message->body_place;
}

static void on_read(struct io_op *op, int result)
{
    struct spool_read *read = CONTAINER_OF(op, struct spool_read, op);
    log_unpin(read->spool->log, read->place);
    if (result >= 0 && (uint32_t)result < read->piece) {
        result = -EBADMSG;
    }
    if (result >= 0 && read->abandoned) {
        result = -ECANCELED; /* the message may be gone */
    }
    if (result < 0) {
        read->done(read, result);
        return;
    }
    read->offset += read->piece;
    read->data += read->piece;
    read->len -= read->piece;
    if (read->len == 0) {
        read->done(read, 0);
        return;
    }
    read_piece(read);
}

static void on_hole(struct timer *timer)
{
    struct spool_read *read = CONTAINER_OF(timer, struct spool_read, hole);
    read->done(read, -EBADMSG);
}

static void read_piece(struct spool_read *read)
{
    struct spool *spool = read->spool;
    struct io *io = spool->workers[read->worker].io;
    uint64_t start, end;
    uint32_t chunk = chunk_at(read->message, read->offset, &start, &end);
    read->place = log_pin(spool->log, word_of(read->message, chunk));
    if (read->place == 0 || end <= read->offset) {
        /* The chunk was found damaged. Told later: never inside the call. */
        if (read->place != 0) {
            log_unpin(spool->log, read->place);
        }
        timer_init(&read->hole, on_hole);
        timer_start(io_timers(io), &read->hole, 0);
        return;
    }
    uint64_t left = end - read->offset;
    read->piece = left < read->len ? (uint32_t)left : read->len;
    io_op_init(&read->op, on_read);
    io_read(io, &read->op, log_place_fd(spool->log, read->place), read->data, read->piece,
            log_place_offset(read->place) + LOG_HEAD_BYTES + (read->offset - start));
}

void spool_read_body(struct spool *spool, uint32_t worker, struct spool_read *read,
                     const struct message *message, uint64_t offset, char *data, uint32_t len)
{
    assert(len > 0 && len <= SPOOL_CHUNK_MAX);
    assert(offset + len <= message->body_size);
    read->spool = spool;
    read->worker = worker;
    read->message = message;
    read->offset = offset;
    read->data = data;
    read->len = len;
    read->abandoned = false;
    read_piece(read);
}

void spool_read_abandon(struct spool_read *read)
{
    read->abandoned = true;
}
