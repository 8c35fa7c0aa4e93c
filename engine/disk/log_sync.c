/* Group commit, sealing, and what a failed write or sync means.
 *
 * One sync at most is under way. What somebody waits for stays staged meanwhile and goes when it
 * ends: the slower the disk, the more share the next. If nothing written before waits for a sync,
 * that is one write which is durable when it comes home (RWF_DSYNC): both writes and syncs are
 * handed to a kernel thread, and so there is one hand-over instead of two or more. Else it is
 * written and an fdatasync follows.
 *
 * Sealing: SEAL_DRAIN         what is staged for the old segment is being written
 *          SEAL_FOOTER        footer pieces are written, one at a time
 *          SEAL_SYNC_FOOTER   records and footer become durable
 *          SEAL_TRAILER       the trailer is written: who finds it may rely on all before it
 *          SEAL_SYNC_TRAILER  the trailer becomes durable; only then is the next segment synced,
 *                             and so nothing in it is answered before
 * Syncs for those who wait in the old segment go on between the footer's writes.
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

static void write_footer(struct log *log)
{
    uint32_t len = log_footer_piece(log, &log->footer, log->piece);
    if (len == 0) {
        log->seal_state = SEAL_SYNC_FOOTER;
        return;
    }
    log->footer_offset += len;
    assert(log->footer_offset <= log->sealing->bytes - LOG_TRAILER_BYTES);
    seal_write(log, len, log->footer_offset - len);
}

static void seal_advance(struct log *log)
{
    if (log->seal_state == SEAL_DRAIN && log->written >= log->open->base_position) {
        log->seal_state = SEAL_FOOTER;
        log->footer_offset = log->sealing->records_end;
        log_footer_begin(&log->footer, log->sealing);
        write_footer(log);
    }
}

static void on_seal_written(struct io_op *op, int result)
{
    struct log *log = CONTAINER_OF(op, struct log, seal_op);
    if (result < 0) {
        log_fail(log, "footer", result);
    }
    if (log->failing) {
        log_failure_advance(log);
        return;
    }
    if (log->seal_state == SEAL_FOOTER) {
        write_footer(log);
    } else {
        assert(log->seal_state == SEAL_TRAILER);
        log->seal_state = SEAL_SYNC_TRAILER;
    }
    log_sync_advance(log);
}

void log_seal_start(struct log *log)
{
    assert(log->seal_state == SEAL_NONE);
    log->sealing->state = SEGMENT_SEALING;
    log->seal_state = SEAL_DRAIN;
    log_stage_submit(log);
    log_sync_advance(log);
}

static void seal_finish(struct log *log)
{
    struct log_segment *segment = log->sealing;
    segment->sealed = true;
    segment->state = SEGMENT_CLOSED;
    log_entries_drop(log, segment);
    log->sealing = NULL;
    log->seal_state = SEAL_NONE;
}

/* ---- syncing ------------------------------------------------------------------------------ */

/* As far as the segment to be synced goes, and is written. */
static uint64_t sync_limit(const struct log *log)
{
    if (log->sealing == NULL || log->written < log->open->base_position) {
        return log->written;
    }
    return log->open->base_position;
}

/* A sync has ended, or what stands for one. */
static void synced_to(struct log *log, uint64_t position, enum log_seal_state ended)
{
    bool moved = position > log->synced;
    log->synced = moved ? position : log->synced;
    if (ended == SEAL_SYNC_FOOTER) {
        write_trailer(log);
    } else if (ended == SEAL_SYNC_TRAILER) {
        seal_finish(log);
    }
    log_sync_advance(log);
    if (moved) {
        log->options.owner.synced(log->options.owner.owner);
    }
    if (ended == SEAL_SYNC_TRAILER) {
        log_room_now(log);
    }
}

bool log_syncing(const struct log *log)
{
    const struct log_write *first = &log->writes[log->write_first];
    return io_busy(&log->sync_op) || (log->write_count > 0 && first->synced);
}

void log_synced_by_write(struct log *log, uint64_t position)
{
    log->counters.syncs++;
    log->failures_in_row = 0;
    synced_to(log, position, SEAL_NONE);
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
    log->failures_in_row = 0;
    synced_to(log, log->sync_target, log->sync_for);
}

/* What the sealing waits for, if that is a sync. */
static enum log_seal_state sync_of_seal(const struct log *log)
{
    bool waits = log->seal_state == SEAL_SYNC_FOOTER || log->seal_state == SEAL_SYNC_TRAILER;
    return waits ? log->seal_state : SEAL_NONE;
}

/* Without syncs what is written counts as safe: the operator said so. */
static void advance_unsynced(struct log *log)
{
    enum log_seal_state ends = sync_of_seal(log);
    uint64_t limit = sync_limit(log);
    if (limit > log->synced || ends != SEAL_NONE) {
        synced_to(log, limit, ends);
    }
}

void log_sync_advance(struct log *log)
{
    if (log->failing || log->stopped || log->open == NULL) {
        return;
    }
    seal_advance(log);
    log_flush(log);
    if (!log->options.sync) {
        advance_unsynced(log);
        return;
    }
    uint64_t limit = sync_limit(log);
    enum log_seal_state ends = sync_of_seal(log);
    bool wanted = log->wanted > log->synced && limit > log->synced;
    if (log_syncing(log) || (ends == SEAL_NONE && !wanted)) {
        return;
    }
    const struct log_segment *segment = log->sealing != NULL ? log->sealing : log->open;
    log->sync_target = limit;
    log->sync_for = ends;
    io_fdatasync(log->io, &log->sync_op, segment->fd);
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
    io_op_init(&log->seal_op, on_seal_written);
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
    struct log_segment *segment = log->sealing != NULL ? log->sealing : log->open;
    assert(log->synced >= segment->base_position);
    uint32_t offset = (uint32_t)(LOG_HEADER_BYTES + (log->synced - segment->base_position));
    uint64_t cut_place = (uint64_t)segment->generation << 32 | offset;
    cut_segment(log, segment, offset);
    if (log->sealing != NULL) {
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
