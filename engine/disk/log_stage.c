/* Appends: one copy into a ring of bytes, and from there to the open segment in few writes.
 *
 * Positions run through all segments; a segment knows the position of its first record, so a
 * position is a place and back. What lies between `submitted` and `appended` waits for the end
 * of the turn, for 4 ms, or for 256 KiB to come together. Writes end in any order; `written`
 * moves over those at the front. When all is written the ring begins anew at its first byte:
 * under light load the same hot kilobytes are used over and over. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "disk/log_private.h"

static char *ring_at(const struct log *log, uint64_t position)
{
    return log->ring + (position - log->ring_base) % log->ring_bytes;
}

static void ring_put(struct log *log, uint64_t position, const void *data, size_t len)
{
    char *at = ring_at(log, position);
    size_t first = (size_t)(log->ring + log->ring_bytes - at);
    first = first < len ? first : len;
    if (len > 0) {
        memcpy(at, data, first);
        memcpy(log->ring, (const char *)data + first, len - first);
    }
}

/* ---- writing ------------------------------------------------------------------------------ */

static struct log_segment *segment_of_position(const struct log *log, uint64_t position)
{
    bool before = log->sealing != NULL && position < log->open->base_position;
    return before ? log->sealing : log->open;
}

static void on_written(struct io_op *op, int result);

static void submit_one(struct log *log, bool synced)
{
    struct log_segment *segment = segment_of_position(log, log->submitted);
    uint64_t end = segment == log->sealing ? log->open->base_position : log->appended;
    uint64_t len = end - log->submitted;
    len = len < LOG_WRITE_MAX ? len : LOG_WRITE_MAX;
    assert(len > 0);
    uint32_t index = (log->write_first + log->write_count) % LOG_WRITES_MAX;
    struct log_write *write = &log->writes[index];
    log->write_count++;
    io_op_init(&write->op, on_written);
    write->log = log;
    write->finished = false;
    write->synced = synced;
    write->to = log->submitted + len;
    char *at = ring_at(log, log->submitted);
    uint64_t first = (uint64_t)(log->ring + log->ring_bytes - at);
    first = first < len ? first : len;
    write->iov[0] = (struct iovec){at, first};
    write->iov[1] = (struct iovec){log->ring, len - first};
    uint64_t offset = LOG_HEADER_BYTES + (log->submitted - segment->base_position);
    assert(offset + len <= segment->bytes);
    log->submitted += len;
    (synced ? io_write_synced : io_write)(log->io, &write->op, segment->fd, write->iov,
                                          first < len ? 2 : 1, offset);
}

/* What is due, as far as writes are free. */
static void submit_due(struct log *log)
{
    while (log->submitted < log->due && log->write_count < LOG_WRITES_MAX) {
        submit_one(log, false);
    }
}

void log_stage_submit(struct log *log)
{
    if (!log->failing && !log->stopped) {
        log->due = log->appended;
        submit_due(log);
    }
}

static void on_written(struct io_op *op, int result)
{
    struct log_write *write = CONTAINER_OF(op, struct log_write, op);
    struct log *log = write->log;
    uint64_t synced = 0;
    write->finished = true;
    write->result = result;
    while (log->write_count > 0 && log->writes[log->write_first].finished) {
        const struct log_write *first = &log->writes[log->write_first];
        if (first->result < 0) {
            log_fail(log, "write", first->result);
        } else if (!log->failing) {
            log->written = first->to;
            synced = first->synced ? first->to : synced;
        }
        log->write_first = (log->write_first + 1) % LOG_WRITES_MAX;
        log->write_count--;
    }
    if (log->failing) {
        log_failure_advance(log);
        return;
    }
    if (log->written == log->appended) {
        log->ring_base = log->appended;
    }
    submit_due(log);
    if (synced > 0) {
        log_synced_by_write(log, synced);
    } else {
        log_sync_advance(log);
    }
    log_room_now(log);
}

/* Not while a sync is under way: what comes together meanwhile shares the next. */
void log_flush(struct log *log)
{
    if (log->wanted <= log->submitted || log_syncing(log) || log->failing || log->stopped) {
        return;
    }
    if (log_write_may_sync(log) && log->appended - log->submitted <= LOG_WRITE_MAX) {
        submit_one(log, true);
    } else {
        log_stage_submit(log);
    }
}

static void on_write_timer(struct timer *timer)
{
    log_stage_submit(CONTAINER_OF(timer, struct log, write_timer));
}

void log_stage_init(struct log *log)
{
    timer_init(&log->write_timer, on_write_timer);
}

/* ---- appending ---------------------------------------------------------------------------- */

void log_room_now(struct log *log)
{
    if (log->room_wanted && !log->failing && log->begun) {
        log->room_wanted = false;
        log->options.owner.room(log->options.owner.owner);
    }
}

static bool fits(const struct log_segment *segment, const struct log_record *record)
{
    uint64_t end = segment->records_end + log_record_size(record->len);
    uint64_t footer = log_footer_bound(segment) + LOG_ENTRY_BYTES + log_detail_bound(record);
    return segment->entry_count < segment->entry_max && end + footer <= segment->bytes;
}

static void put_record(struct log *log, const struct log_record *record, const struct bytes *parts,
                       uint32_t part_count)
{
    struct log_segment *segment = log->open;
    char head[LOG_HEAD_BYTES];
    static const char padding[8] = {0};
    log_head_encode(record, log_seed(log->id, segment->generation), parts, part_count, head);
    uint64_t position = log->appended;
    ring_put(log, position, head, sizeof head);
    position += sizeof head;
    for (uint32_t i = 0; i < part_count; i++) {
        ring_put(log, position, parts[i].data, parts[i].len);
        position += parts[i].len;
    }
    uint64_t size = log_record_size(record->len);
    ring_put(log, position, padding, log->appended + size - position);
    if (record->type != LOG_BEGIN) {
        segment->entries[segment->entry_count++] =
            (struct log_entry){.record = *record, .offset = segment->records_end};
    }
    segment->detail_bound += log_detail_bound(record);
    segment->records_end += (uint32_t)size;
    log->appended += size;
    log->counters.appended_bytes += size;
    if ((record->flags & LOG_EVENT) != 0) {
        log_segment_note_event(segment, record);
    }
}

/* The first record of each segment says where the one before ended: after a crash that is how a
 * hole between the two is seen. */
void log_begin_segment(struct log *log, struct log_segment *segment, uint32_t before,
                       uint32_t before_end)
{
    struct log_record begin = {.type = LOG_BEGIN, .ref = before, .index = before_end};
    segment->state = SEGMENT_OPEN;
    segment->base_position = log->appended;
    segment->before = before;
    segment->before_end = before_end;
    log_segment_enter(log, segment, segment->generation);
    log->open = segment;
    put_record(log, &begin, NULL, 0);
}

/* 0, or -EAGAIN while the next segment is not ready or the one before not sealed. */
static int next_segment(struct log *log)
{
    if (log->sealing != NULL || log->next == NULL) {
        log->starved = log->next == NULL && log->sealing == NULL;
        log_prepare_start(log);
        return -EAGAIN;
    }
    struct log_segment *next = log->next;
    log->next = NULL;
    log->sealing = log->open;
    log_begin_segment(log, next, log->sealing->generation, log->sealing->records_end);
    log_seal_start(log);
    log_prepare_start(log);
    return 0;
}

static void start_timers(struct log *log, enum log_purpose purpose)
{
    struct timers *timers = io_timers(log->io);
    uint64_t now_ms = io_now_ms(log->io);
    if (log->quiescing || purpose == LOG_FOR_ACCEPTING) {
        return; /* somebody waits for it, and asks with log_want_sync */
    }
    if (!timer_running(&log->write_timer)) {
        timer_start(timers, &log->write_timer, now_ms + LOG_WRITE_AFTER_MS);
    }
    if (!timer_running(&log->sync_timer)) {
        timer_start(timers, &log->sync_timer, now_ms + log->options.sync_after_ms);
    }
}

static int make_room(struct log *log, enum log_purpose purpose, const struct log_record *record)
{
    if (log->failing || log->open == NULL) {
        return -EAGAIN;
    }
    if (purpose == LOG_FOR_ACCEPTING && log_segments_free(log) <= LOG_RESERVE_SEGMENTS) {
        return -ENOSPC;
    }
    if (!fits(log->open, record) && next_segment(log) != 0) {
        return -EAGAIN;
    }
    uint64_t size = log_record_size(record->len);
    if (log->ring_bytes - (log->appended - log->written) < size) {
        log_stage_submit(log);
        return -EAGAIN;
    }
    return 0;
}

int log_append(struct log *log, enum log_purpose purpose, struct log_record *record,
               const struct bytes *parts, uint32_t part_count, uint64_t *place_out)
{
    assert(log->begun);
    size_t len = 0;
    for (uint32_t i = 0; i < part_count; i++) {
        len += parts[i].len;
    }
    if (len > LOG_PAYLOAD_MAX || len > log->options.segment_bytes / 3) {
        return -EMSGSIZE;
    }
    if (log->stopped) {
        return -EIO;
    }
    record->len = (uint32_t)len;
    int result = make_room(log, purpose, record);
    if (result != 0) {
        log->room_wanted = log->room_wanted || result == -EAGAIN;
        return result;
    }
    assert(fits(log->open, record));
    *place_out = (uint64_t)log->open->generation << 32 | log->open->records_end;
    put_record(log, record, parts, part_count);
    start_timers(log, purpose);
    if (log->appended - log->submitted >= LOG_STAGE_EAGER) {
        log_stage_submit(log);
    }
    return 0;
}

uint64_t log_position(const struct log *log)
{
    return log->appended;
}

uint64_t log_synced(const struct log *log)
{
    return log->synced;
}
