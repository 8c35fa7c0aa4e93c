/* Reading segments again: footer entries for reclaiming, records for followers, single records.
 *
 * A footer's checksum is known only when all of it was read, after its entries were handed out.
 * That is safe for a reclaim: an entry only says where to look, the owner's index says whether it
 * is so. At the end the walk says that the footer was damaged, and the owner walks the records. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "disk/log_private.h"

#define WALK_BUFFER_BYTES (1024u * 1024)
#define STEPS_PER_CALL    4096 /* of 8 bytes, in search of the next intact record */

enum walk_mode { WALK_NONE, WALK_MEMORY, WALK_FOOTER, WALK_RECORDS };

struct log_walk {
    struct log *log;
    void (*ready)(void *owner);
    void *owner;
    bool abandoned;
    enum walk_mode mode;
    uint32_t generation, next_entry, seed;
    uint32_t crc;         /* of the footer's section so far */
    uint64_t section_end; /* file offset */
    bool rest;            /* in the second section */
    struct log_stream stream;
    uint64_t skip; /* what was handed out last */
    struct timer again;
    char buffer[WALK_BUFFER_BYTES];
};

static void on_filled(struct log_stream *stream)
{
    struct log_walk *walk = CONTAINER_OF(stream, struct log_walk, stream);
    if (walk->abandoned) {
        walk->log->walks_abandoned--;
        free(walk);
        return;
    }
    walk->ready(walk->owner);
}

static void on_again(struct timer *timer)
{
    struct log_walk *walk = CONTAINER_OF(timer, struct log_walk, again);
    walk->ready(walk->owner);
}

struct log_walk *log_walk_create(struct log *log, void (*ready)(void *owner), void *owner)
{
    struct log_walk *walk = calloc(1, sizeof *walk);
    if (walk != NULL) {
        walk->log = log;
        walk->ready = ready;
        walk->owner = owner;
        log_stream_init(&walk->stream, log->io, walk->buffer, sizeof walk->buffer, on_filled);
        timer_init(&walk->again, on_again);
    }
    return walk;
}

bool log_walk_busy(const struct log_walk *walk)
{
    return io_busy(&walk->stream.op);
}

void log_walk_destroy(struct log_walk *walk)
{
    if (walk == NULL) {
        return;
    }
    timer_stop(io_timers(walk->log->io), &walk->again);
    if (log_walk_busy(walk)) {
        walk->abandoned = true;
        walk->log->walks_abandoned++;
        return;
    }
    free(walk);
}

static struct log_segment *start(struct log_walk *walk, uint32_t generation)
{
    walk->generation = generation;
    walk->next_entry = 0;
    walk->skip = 0;
    walk->mode = WALK_NONE;
    walk->seed = log_seed(walk->log->id, generation);
    return log_segment_at(walk->log, generation);
}

int log_walk_entries(struct log_walk *walk, uint32_t generation)
{
    struct log_segment *segment = start(walk, generation);
    if (segment == NULL) {
        return -ENOENT;
    }
    assert(segment->state == SEGMENT_CLOSED);
    walk->mode = segment->sealed ? WALK_FOOTER : WALK_MEMORY;
    if (segment->sealed) {
        const struct log_trailer *trailer = &segment->trailer;
        walk->crc = walk->seed;
        walk->section_end = (uint64_t)trailer->footer_offset + trailer->first_bytes;
        walk->rest = false;
        log_stream_begin(&walk->stream, segment->fd, trailer->footer_offset,
                         (uint64_t)trailer->footer_offset + trailer->first_bytes +
                             trailer->rest_bytes);
    }
    return 0;
}

static uint64_t synced_end(const struct log *log, const struct log_segment *segment)
{
    if (segment->state == SEGMENT_CLOSED) {
        return segment->records_end;
    }
    if (log->synced <= segment->base_position) {
        return LOG_HEADER_BYTES;
    }
    uint64_t end = LOG_HEADER_BYTES + (log->synced - segment->base_position);
    return end < segment->records_end ? end : segment->records_end;
}

int log_walk_records(struct log_walk *walk, uint32_t generation, uint32_t from_offset)
{
    struct log_segment *segment = start(walk, generation);
    if (segment == NULL) {
        return -ENOENT;
    }
    uint64_t end = synced_end(walk->log, segment);
    uint64_t from = from_offset < LOG_HEADER_BYTES ? LOG_HEADER_BYTES : from_offset;
    walk->mode = WALK_RECORDS;
    log_stream_begin(&walk->stream, segment->fd, from < end ? from : end, end);
    return 0;
}

static int next_in_memory(struct log_walk *walk, struct log_record *record, uint64_t *place)
{
    const struct log_segment *segment = log_segment_at(walk->log, walk->generation);
    assert(segment != NULL);
    if (walk->next_entry == segment->entry_count) {
        return -ENODATA;
    }
    const struct log_entry *entry = &segment->entries[walk->next_entry++];
    *record = entry->record;
    *place = (uint64_t)walk->generation << 32 | entry->offset;
    return 1;
}

/* Why nothing could be seen. */
static int absent(const struct log_walk *walk)
{
    return io_busy(&walk->stream.op) ? 0 : walk->stream.error != 0 ? walk->stream.error : -ENODATA;
}

/* 0: goes on; else the end, good or bad. */
static int footer_section_end(struct log_walk *walk)
{
    const struct log_segment *segment = log_segment_at(walk->log, walk->generation);
    const struct log_trailer *trailer = &segment->trailer;
    if (log_stream_offset(&walk->stream) < walk->section_end) {
        return 0;
    }
    if (walk->crc != (walk->rest ? trailer->rest_crc : trailer->first_crc)) {
        return -EBADMSG;
    }
    if (walk->rest) {
        return -ENODATA;
    }
    walk->rest = true;
    walk->crc = walk->seed;
    walk->section_end += trailer->rest_bytes;
    return trailer->rest_bytes == 0 ? -ENODATA : 0;
}

static int next_in_footer(struct log_walk *walk, struct log_record *record, uint64_t *place,
                          struct bytes *detail)
{
    struct log_entry entry;
    int end = footer_section_end(walk);
    if (end != 0) {
        return end;
    }
    const char *data = log_stream_peek(&walk->stream, LOG_ENTRY_BYTES);
    if (data == NULL) {
        return absent(walk);
    }
    if (!log_entry_decode(data, &entry)) {
        return -EBADMSG;
    }
    uint64_t len = LOG_ENTRY_BYTES + log_padded(entry.detail_len);
    data = log_stream_peek(&walk->stream, len);
    if (data == NULL) {
        return absent(walk);
    }
    walk->crc = crypto_crc32c(walk->crc, data, len);
    *record = entry.record;
    *place = (uint64_t)walk->generation << 32 | entry.offset;
    *detail = bytes_of(data + LOG_ENTRY_BYTES, entry.detail_len);
    walk->skip = len;
    return 1;
}

/* One record at the cursor. 1: taken; 0: wait; 2: nothing good here; else the end. */
static int record_here(struct log_walk *walk, uint32_t payload_types, struct log_record *record,
                       struct bytes *detail)
{
    const char *data = log_stream_peek(&walk->stream, LOG_HEAD_BYTES);
    if (data == NULL) {
        return absent(walk);
    }
    if (!log_head_decode(data, record) ||
        log_stream_offset(&walk->stream) + log_record_size(record->len) > walk->stream.to) {
        return 2;
    }
    walk->skip = log_record_size(record->len);
    *detail = bytes_of(NULL, 0);
    if (record->type >= 32 || (payload_types & 1u << record->type) == 0 ||
        walk->skip > sizeof walk->buffer) {
        return 1;
    }
    data = log_stream_peek(&walk->stream, walk->skip);
    if (data == NULL) {
        int result = absent(walk);
        walk->skip = 0;
        return result;
    }
    if (!log_record_intact(data, walk->seed, record->len)) {
        return 2;
    }
    *detail = bytes_of(data + LOG_HEAD_BYTES, record->len);
    return 1;
}

static int next_record(struct log_walk *walk, uint32_t payload_types, struct log_record *record,
                       uint64_t *place, struct bytes *detail)
{
    for (uint32_t steps = 0; steps < STEPS_PER_CALL; steps++) {
        uint64_t offset = log_stream_offset(&walk->stream);
        int result = record_here(walk, payload_types, record, detail);
        *place = (uint64_t)walk->generation << 32 | offset;
        if (result == 1 && record->type == LOG_BEGIN) {
            log_stream_skip(&walk->stream, walk->skip);
            walk->skip = 0;
        } else if (result == 2) {
            walk->skip = 0;
            log_stream_skip(&walk->stream, 8);
        } else {
            return result;
        }
    }
    timer_start(io_timers(walk->log->io), &walk->again, 0);
    return 0;
}

int log_walk_next(struct log_walk *walk, uint32_t payload_types, struct log_record *record,
                  uint64_t *place, struct bytes *detail)
{
    *detail = bytes_of(NULL, 0);
    if (log_walk_busy(walk) || timer_running(&walk->again)) {
        return 0;
    }
    log_stream_skip(&walk->stream, walk->skip);
    walk->skip = 0;
    switch (walk->mode) {
    case WALK_MEMORY:
        return next_in_memory(walk, record, place);
    case WALK_FOOTER:
        return next_in_footer(walk, record, place, detail);
    case WALK_RECORDS:
        return next_record(walk, payload_types, record, place, detail);
    case WALK_NONE:
        break;
    }
    return -ENODATA;
}

void log_walk_put_back(struct log_walk *walk)
{
    walk->skip = 0;
    walk->next_entry -= walk->mode == WALK_MEMORY ? 1 : 0;
}

/* ---- single records ----------------------------------------------------------------------- */

static void on_record_read(struct io_op *op, int result)
{
    struct log_read *read = CONTAINER_OF(op, struct log_read, op);
    uint32_t seed = log_seed(read->log->id, log_place_generation(read->place));
    if (result >= 0) {
        bool good = (uint64_t)result == log_record_size(read->len) &&
                    log_head_decode(read->data, &read->record) && read->record.len == read->len &&
                    log_record_intact(read->data, seed, read->len);
        read->payload = bytes_of(read->data + LOG_HEAD_BYTES, read->len);
        result = good ? 0 : -EBADMSG;
    }
    read->done(read, result);
}

void log_read_record(struct log *log, struct log_read *read, uint64_t place, char *data,
                     uint32_t len)
{
    read->log = log;
    read->place = place;
    read->data = data;
    read->len = len;
    io_op_init(&read->op, on_record_read);
    io_read(log->io, &read->op, log_place_fd(log, place), data, log_record_size(len),
            log_place_offset(place));
}
