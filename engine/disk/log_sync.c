/* Group commit, sealing, and what a failed write or sync means.
 *
 * One sync at most is under way. What somebody waits for stays staged meanwhile and goes when it
 * ends: the slower the disk, the more share the next. If nothing written before waits for a sync,
 * that is one write which is durable when it comes home (RWF_DSYNC): both writes and syncs are
 * handed to a kernel thread, and so there is one hand-over instead of two or more. Else it is
 * written and an fdatasync follows.
 *
 * Sealing: SEAL_RECORDS       the old segment's records become durable; nothing in the next is
 *                             synced before, and so nothing in it is answered before
 *          SEAL_FOOTER        footer pieces are written, one at a time
 *          SEAL_SYNC_FOOTER   the footer becomes durable
 *          SEAL_TRAILER       the trailer is written: who finds it may rely on all before it
 *          SEAL_SYNC_TRAILER  the trailer becomes durable
 * From SEAL_FOOTER on nobody waits for it: a restart that finds no trailer scans the records.
 *
 * After a failed write or sync the kernel may have dropped the dirty pages and a second sync
 * would lie. So the segment ends at what was synced before, for good: the next segment's header
 * says so (a cut), also against a restart that finds more records there. The owner appends again
 * what must not be lost. A second failure before a sync succeeds ends it all, but the cut is
 * still written first: what is refused must not come back. Where that fails on every segment
 * tried, what had reached the disk may come back, and log_in_doubt says so. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/logger.h"
#include "disk/log_private.h"

/* ---- sealing ------------------------------------------------------------------------------ */

static void seal_write(struct log *log, size_t len, uint64_t offset)
{
    log->seal_iov = (struct iovec){log->piece, len};
    io_write(log->io, &log->seal_op, log->sealing->fd, &log->seal_iov, 1, offset);
}

static void write_trailer(struct log *log)
{
    const struct log_footer *footer = &log->footer;
    uint32_t start = (uint32_t)(log->footer_offset - footer->first_bytes - footer->rest_bytes);
    log->seal_state = SEAL_TRAILER;
    log_footer_trailer(log, footer, start, log->piece);
    seal_write(log, LOG_TRAILER_BYTES, log->sealing->bytes - LOG_TRAILER_BYTES);
}

static void seal_finish(struct log *log)
{
    struct log_segment *segment = log->sealing;
    segment->sealed = true;
    segment->state = SEGMENT_CLOSED;
    log_entries_drop(log, segment);
    log->sealing = NULL;
    log->seal_state = SEAL_NONE;
    log_room_now(log);
}

/* What was written of footer or trailer becomes durable; then comes what follows `state`. */
static void seal_sync(struct log *log, enum log_seal_state state)
{
    log->seal_state = state;
    if (log->options.sync) {
        io_fdatasync(log->io, &log->seal_op, log->sealing->fd);
    } else if (state == SEAL_SYNC_FOOTER) {
        write_trailer(log);
    } else {
        seal_finish(log);
    }
}

static void write_footer(struct log *log)
{
    uint32_t len = log_footer_piece(log, &log->footer, log->piece);
    if (len == 0) {
        seal_sync(log, SEAL_SYNC_FOOTER);
        return;
    }
    log->footer_offset += len;
    assert(log->footer_offset <= log->sealing->bytes - LOG_TRAILER_BYTES);
    seal_write(log, len, log->footer_offset - len);
}

/* Whether the records of the segment being sealed are safe: if so, syncs are of the open one. */
static bool sealing_is_safe(const struct log *log)
{
    return log->sealing == NULL || log->synced >= log->open->base_position;
}

static void seal_advance(struct log *log)
{
    if (log->seal_state == SEAL_RECORDS && sealing_is_safe(log)) {
        log->seal_state = SEAL_FOOTER;
        log->footer_offset = log->sealing->records_end;
        log_footer_begin(&log->footer, log->sealing);
        write_footer(log);
    }
}

static void on_sealed(struct io_op *op, int result)
{
    struct log *log = CONTAINER_OF(op, struct log, seal_op);
    if (result < 0) {
        log_fail(log, "footer", result);
    }
    if (log->failing) {
        log_failure_advance(log);
        return;
    }
    switch (log->seal_state) {
    case SEAL_NONE:
    case SEAL_RECORDS:
        assert(log->seal_state > SEAL_RECORDS);
        break;
    case SEAL_FOOTER:
        write_footer(log);
        break;
    case SEAL_SYNC_FOOTER:
        write_trailer(log);
        break;
    case SEAL_TRAILER:
        seal_sync(log, SEAL_SYNC_TRAILER);
        break;
    case SEAL_SYNC_TRAILER:
        seal_finish(log);
        break;
    }
}

void log_seal_start(struct log *log)
{
    assert(log->seal_state == SEAL_NONE);
    log->sealing->state = SEGMENT_SEALING;
    log->seal_state = SEAL_RECORDS;
    log_stage_submit(log);
    log_sync_advance(log);
}

/* ---- syncing ------------------------------------------------------------------------------ */

static void synced_to(struct log *log, uint64_t position)
{
    log->failures_in_row = 0;
    if (position <= log->synced) {
        log_sync_advance(log);
        return;
    }
    log->synced = position;
    log_sync_advance(log);
    log->options.owner.synced(log->options.owner.owner);
}

bool log_syncing(const struct log *log)
{
    const struct log_write *first = &log->writes[log->write_first];
    return io_busy(&log->sync_op) || (log->write_count > 0 && first->synced);
}

bool log_write_may_sync(const struct log *log)
{
    return log->options.sync && log->submitted == log->synced && sealing_is_safe(log);
}

void log_synced_by_write(struct log *log, uint64_t position)
{
    log->counters.syncs++;
    synced_to(log, position);
}

static void on_synced(struct io_op *op, int result)
{
    struct log *log = CONTAINER_OF(op, struct log, sync_op);
    log->counters.syncs++;
    if (result < 0) {
        log_fail(log, "sync", result);
    }
    if (log->failing) {
        log_failure_advance(log);
        return;
    }
    synced_to(log, log->sync_target);
}

void log_sync_advance(struct log *log)
{
    if (log->failing || log->stopped || log->open == NULL) {
        return;
    }
    seal_advance(log);
    log_flush(log);
    const struct log_segment *segment = sealing_is_safe(log) ? log->open : log->sealing;
    uint64_t limit = log->written;
    if (segment == log->sealing && limit > log->open->base_position) {
        limit = log->open->base_position;
    }
    if (limit <= log->synced || log_syncing(log)) {
        return;
    }
    bool ends_segment = log->seal_state == SEAL_RECORDS && limit == log->open->base_position;
    if (!log->options.sync) {
        synced_to(log, limit); /* the operator said so: what is written counts as safe */
    } else if (log->wanted > log->synced || ends_segment) {
        log->sync_target = limit;
        io_fdatasync(log->io, &log->sync_op, segment->fd);
    }
}

void log_want_sync(struct log *log)
{
    log->wanted = log->appended;
}

static void on_sync_timer(struct timer *timer)
{
    struct log *log = CONTAINER_OF(timer, struct log, sync_timer);
    log_want_sync(log);
    log_sync_advance(log);
}

void log_sync_init(struct log *log)
{
    io_op_init(&log->sync_op, on_synced);
    io_op_init(&log->seal_op, on_sealed);
    timer_init(&log->sync_timer, on_sync_timer);
}

/* ---- failure ------------------------------------------------------------------------------ */

bool log_all_home(const struct log *log)
{
    return log->write_count == 0 && !io_busy(&log->sync_op) && !io_busy(&log->seal_op);
}

void log_fail(struct log *log, const char *what, int result)
{
    if (log->failing || log->stopped) {
        return;
    }
    log->failing = true;
    log->failures_in_row++;
    log->counters.sync_failures++;
    timer_stop(io_timers(log->io), &log->write_timer);
    timer_stop(io_timers(log->io), &log->sync_timer);
    LOG_ERROR("spool %s: %s of a segment failed: %s; messages not yet acknowledged are refused, "
              "outcomes are written again to a new segment",
              log->directory, what, strerror(-result));
}

/* Nothing at or behind `offset` exists; the entries stay in memory, there is no footer. */
static void cut_segment(struct log *log, struct log_segment *segment, uint32_t offset)
{
    uint32_t kept = 0;
    segment->event_bytes = segment->event_first = segment->event_last = 0;
    segment->event_count = 0;
    segment->detail_bound = 0;
    while (kept < segment->entry_count && segment->entries[kept].offset < offset) {
        const struct log_record *record = &segment->entries[kept++].record;
        segment->detail_bound += log_detail_bound(record);
        if ((record->flags & LOG_EVENT) != 0) {
            log_segment_note_event(segment, record);
        }
    }
    segment->entry_count = kept;
    segment->records_end = offset;
    segment->state = SEGMENT_CLOSED;
    assert(log->cut_count < LOG_CUTS_MAX);
    log->cuts[log->cut_count++] = (struct log_cut){segment->generation, offset};
}

/* Nothing can be appended again. The owner has heard what was lost; now it hears that this is the
 * end: what waits for room must be refused. */
void log_stop(struct log *log)
{
    assert(log->open == NULL);
    log->stopped = true;
    log->failing = false;
    LOG_ERROR("spool %s: writing failed twice in a row: no mail is accepted and no delivery is "
              "attempted until the volume works and the engine is started again",
              log->directory);
    log->options.owner.lost(log->options.owner.owner, UINT64_MAX);
}

/* The header has room for the cuts of this failure and, if it is not the last, of one more. */
static bool is_last_failure(const struct log *log)
{
    return log->failures_in_row >= 2 || log->cut_count + 4 > LOG_CUTS_MAX;
}

void log_failure_advance(struct log *log)
{
    if (!log->failing || log->open == NULL || !log_all_home(log)) {
        return;
    }
    log->ending = is_last_failure(log);
    bool safe = sealing_is_safe(log);
    struct log_segment *segment = safe ? log->open : log->sealing;
    assert(log->synced >= segment->base_position);
    uint32_t offset = (uint32_t)(LOG_HEADER_BYTES + (log->synced - segment->base_position));
    uint64_t cut_place = (uint64_t)segment->generation << 32 | offset;
    if (log->sealing != NULL && safe) {
        cut_segment(log, log->sealing, log->sealing->records_end); /* only its footer is lost */
    }
    cut_segment(log, segment, offset);
    if (!safe) {
        cut_segment(log, log->open, LOG_HEADER_BYTES);
    }
    log->cut_unwritten = true;
    log->options.owner.lost(log->options.owner.owner, cut_place);
    /* One that is left with no record is none for a restart: the next follows what it followed. */
    bool empty = segment->entry_count == 0;
    log->last_generation = empty ? segment->before : segment->generation;
    log->last_end = empty ? segment->before_end : offset;
    log->open = log->sealing = NULL;
    log->seal_state = SEAL_NONE;
    log->submitted = log->written = log->wanted = log->synced = log->appended;
    log->ring_base = log->appended;
    log->prepare_failures = 0;
    log_prepare_again(log);
}

/* The next segment is ready, its header knows of the cuts. */
void log_failure_end(struct log *log)
{
    assert(log->failing && log->open == NULL);
    log->cut_unwritten = false;
    if (log->ending) {
        log_stop(log);
        return;
    }
    struct log_segment *next = log->next;
    log->next = NULL;
    log->failing = false;
    log_begin_segment(log, next, log->last_generation, log->last_end);
    log->room_wanted = true;
    log_room_now(log);
    log_prepare_start(log);
}
