/* The next segment, ready before it is needed.
 *
 * A new file gets its blocks at once but is not filled with zeroes: to write it twice costs more
 * than what each sync then has to note of blocks written for the first time. A segment that was
 * released is used again in the order of release: only its header is written anew. The header is
 * synced before the segment counts as ready, so headers reach the disk in order of generation, and
 * what the oldest segments held is overwritten first.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/logger.h"
#include "disk/log_private.h"

#define RETRY_MS     5000
#define FAILURES_MAX 3

static void prepare_step(struct log *log);

/* ---- choosing ----------------------------------------------------------------------------- */

static int open_new(struct log *log, const char *path)
{
    int fd = io_file_open(log->io, path, IO_OPEN_READ | IO_OPEN_WRITE | IO_OPEN_CREATE);
    if (fd < 0) {
        return fd;
    }
    int result = io_file_allocate(log->io, fd, log->options.segment_bytes);
    if (result != 0) {
        io_file_close(log->io, fd);
        io_file_unlink(log->io, path);
        return result;
    }
    return fd;
}

static struct log_segment *create_file(struct log *log)
{
    uint32_t number = 0;
    while (number < log->file_max && log->files[number] != NULL) {
        number++;
    }
    char path[LOG_PATH_MAX];
    log_segment_path(log, number, path);
    int fd = open_new(log, path);
    if (fd < 0) {
        LOG_ERROR("spool %s: cannot create a segment: %s", log->directory, strerror(-fd));
        return NULL;
    }
    log->names_unsynced = true;
    struct log_segment *segment = log_segment_add(log, number, fd, log->options.segment_bytes);
    if (segment == NULL) {
        io_file_close(log->io, fd);
    }
    log_look_at_volume(log);
    return segment;
}

/* A log that is full of half-dead segments needs one to copy into before it can release any. The
 * limit is the operator's wish, not the end of the volume: it is exceeded for a moment. */
static struct log_segment *overdraw(struct log *log)
{
    uint64_t free_bytes = 0;
    if (!log->starved || log->segment_count >= log_segments_allowed(log) + LOG_OVERDRAFT ||
        io_space_free(log->io, log->directory, &free_bytes) != 0 ||
        free_bytes < log->options.segment_bytes) {
        return NULL;
    }
    LOG_WARNING("spool %s: full; one segment more than the limit is made to compact it",
                log->directory);
    return create_file(log);
}

/* Of the released ones the oldest; those of another size (the configuration changed) go. */
static struct log_segment *choose(struct log *log)
{
    struct list_node *node;
    while ((node = list_pop_front(&log->free)) != NULL) {
        struct log_segment *segment = CONTAINER_OF(node, struct log_segment, node);
        if (segment->bytes == log->options.segment_bytes) {
            return segment;
        }
        log_segment_delete(log, segment);
    }
    log_look_at_volume(log);
    return log->creatable > 0 ? create_file(log) : overdraw(log);
}

/* ---- steps -------------------------------------------------------------------------------- */

static void build_header(struct log *log, const struct log_segment *segment)
{
    struct log_header header = {.log_id = log->id,
                                .segment_bytes = segment->bytes,
                                .generation = log->newest + 1,
                                .oldest = log->oldest,
                                .start_count = log->start_count,
                                .cut_count = log->cut_count};
    memcpy(header.cuts, log->cuts, sizeof header.cuts);
    log_header_encode(&header, log->header);
    log->header_stale = false;
}

static void write_header(struct log *log)
{
    log->prepare_state = PREPARE_HEADER;
    build_header(log, log->preparing);
    log->prepare_iov = (struct iovec){log->header, LOG_HEADER_BYTES};
    io_write(log->io, &log->prepare_op, log->preparing->fd, &log->prepare_iov, 1, 0);
}

static void prepare_failed(struct log *log, int result);

/* Where names are not on disk yet: a segment whose name is lost is lost with all that is in it,
 * and one whose removal is lost comes back. */
static void begin_header(struct log *log)
{
    int result = log->names_unsynced ? log_names_changed(log) : 0;
    if (result != 0) {
        prepare_failed(log, result);
    } else {
        write_header(log);
    }
}

static void prepare_done(struct log *log)
{
    struct log_segment *segment = log->preparing;
    log->preparing = NULL;
    log->prepare_state = PREPARE_NONE;
    log->prepare_failures = 0;
    segment->generation = log->newest + 1;
    segment->state = SEGMENT_NEXT;
    log->next = segment;
    log->starved = false;
    if (!log_entries_take(log, segment)) {
        log->next = NULL;
        log->preparing = segment;
        timer_start(io_timers(log->io), &log->prepare_timer, io_now_ms(log->io) + RETRY_MS);
        return;
    }
    if (log->failing && log->open == NULL) {
        log_failure_end(log);
    } else {
        log_room_now(log);
    }
}

static void prepare_step(struct log *log)
{
    switch (log->prepare_state) {
    case PREPARE_NONE:
        break;
    case PREPARE_HEADER:
        log->prepare_state = PREPARE_SYNC;
        io_fdatasync(log->io, &log->prepare_op, log->preparing->fd);
        return;
    case PREPARE_SYNC:
        if (log->header_stale) {
            write_header(log);
        } else {
            prepare_done(log);
        }
        return;
    }
}

/* After a failure: with no segment to go on with, it ends. */
static void prepare_or_stop(struct log *log)
{
    timer_stop(io_timers(log->io), &log->prepare_timer);
    log_prepare_start(log);
    if (log->prepare_state == PREPARE_NONE && !log->stopped) {
        log_stop(log);
    }
}

static void prepare_failed(struct log *log, int result)
{
    struct log_segment *segment = log->preparing;
    LOG_ERROR("spool %s: preparing a segment failed: %s", log->directory, strerror(-result));
    log->preparing = NULL;
    log->prepare_state = PREPARE_NONE;
    log->prepare_failures++;
    log_segment_delete(log, segment);
    if (log->failing && log->open == NULL) {
        /* The second failure. Another segment may still take the cuts. */
        log->ending = true;
        if (log->prepare_failures < FAILURES_MAX) {
            prepare_or_stop(log);
        } else {
            log_stop(log);
        }
        return;
    }
    log->creatable = 0; /* until the volume is looked at again */
    timer_start(io_timers(log->io), &log->prepare_timer, io_now_ms(log->io) + RETRY_MS);
}

static void on_prepared(struct io_op *op, int result)
{
    struct log *log = CONTAINER_OF(op, struct log, prepare_op);
    if (log->quiescing || log->stopped) {
        log->prepare_result = result; /* log_resume goes on from here */
        return;
    }
    if (result < 0) {
        prepare_failed(log, result);
    } else {
        prepare_step(log);
    }
}

void log_resume(struct log *log)
{
    if (!log->quiescing) {
        return;
    }
    log->quiescing = false;
    if (log->prepare_state == PREPARE_NONE) {
        log_prepare_start(log);
    } else if (!io_busy(&log->prepare_op)) {
        on_prepared(&log->prepare_op, log->prepare_result);
    }
}

static void on_prepare_timer(struct timer *timer)
{
    log_prepare_start(CONTAINER_OF(timer, struct log, prepare_timer));
}

void log_prepare_init(struct log *log)
{
    io_op_init(&log->prepare_op, on_prepared);
    timer_init(&log->prepare_timer, on_prepare_timer);
}

void log_prepare_start(struct log *log)
{
    bool wanted = log->next == NULL && !log->quiescing && !log->stopped && log->begun;
    if (!wanted || log->prepare_state != PREPARE_NONE || timer_running(&log->prepare_timer)) {
        return;
    }
    if (log->preparing == NULL) {
        log->preparing = choose(log);
    }
    if (log->preparing == NULL) {
        timer_start(io_timers(log->io), &log->prepare_timer, io_now_ms(log->io) + RETRY_MS);
        return;
    }
    log->preparing->state = SEGMENT_PREPARING;
    begin_header(log);
}

void log_prepare_again(struct log *log)
{
    log->header_stale = true;
    if (log->next != NULL) {
        assert(log->preparing == NULL);
        log->preparing = log->next;
        log->next = NULL;
        write_header(log);
        return;
    }
    prepare_or_stop(log);
}

/* ---- at start ----------------------------------------------------------------------------- */

/* A start takes a segment even if that is one more than the limit: else a log that is full could
 * not be opened to be emptied. */
int log_prepare_blocking(struct log *log, struct error *error)
{
    struct log_segment *segment = choose(log);
    segment = segment != NULL ? segment : create_file(log);
    if (segment == NULL) {
        return error_set(error, 73, "spool %s: no room for a segment of %llu bytes", log->directory,
                         (unsigned long long)log->options.segment_bytes);
    }
    int result = log_names_changed(log);
    if (result == 0) {
        build_header(log, segment);
        int64_t written = io_file_write_at(log->io, segment->fd, log->header, LOG_HEADER_BYTES, 0);
        result = written < 0 ? (int)written : io_file_sync(log->io, segment->fd);
    }
    if (result != 0) {
        log_segment_delete(log, segment);
        return error_set(error, 74, "spool %s: cannot write a segment: %s", log->directory,
                         strerror(-result));
    }
    segment->generation = log->newest + 1;
    segment->state = SEGMENT_NEXT;
    log->next = segment;
    return log_entries_take(log, segment) ? 0 : error_set(error, 71, "no memory for the spool");
}
