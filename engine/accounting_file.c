/* A file takes one step at a time: write a buffer, or sync and put the position, or begin the next
 * file. While a step runs, events gather in the other buffer; when that is full, the journal
 * waits. Each step ends in advance(), which picks the next:
 *
 *     IDLE -> WRITING -> IDLE                              what has gathered
 *     IDLE -> SYNCING -> PUBLISHING -> IDLE                the position, every second or 1 MB
 *     IDLE -> CLOSING -> BEGINNING -> IDLE                 rotation
 *     any of them -> FAILED -> BEGINNING or IDLE           the volume refused: try again
 *
 * Exactly once rests on three rules. The file is synced before its position is put. The journal
 * is let go only when the position is durable. And nothing is written to a new file before the
 * position that names it is durable: until then the old position, to which a crash goes back,
 * knows only the old file. After trouble the file is cut to the durable position and the journal
 * read again from there, as at a start.
 *
 * It gives up: records of about a second are written twice after a crash (the first writing is
 * cut away); a full volume holds the journal. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "accounting_file_private.h"
#include "accounting_format.h"
#include "accounting_layout.h"
#include "base/logger.h"
#include "journal.h"
#include "policy/config.h"

#define BUFFER_BYTES   (272 * 1024)
#define FILL_BYTES     (64 * 1024) /* with more than this gathered, ask for no more */
#define SWEEP_MS       3600000
#define SWEEP_AGAIN_MS 1000
#define END_MS         5000 /* without progress at the end: the spool answers no more */
#define END_POLL_MS    50

static_assert(BUFFER_BYTES > ACCOUNTING_RECORD_MAX(EVENT_BYTES_MAX),
              "an empty buffer takes any event");

static struct accounting_file *file_of(struct accounting_sink *sink)
{
    return CONTAINER_OF(sink, struct accounting_file, sink);
}

static const struct accounting_file *const_file_of(const struct accounting_sink *sink)
{
    return (const struct accounting_file *)sink;
}

static void stop_timers(struct accounting_file *file)
{
    struct timer *all[] = {&file->start, &file->position_timer, &file->interval_timer,
                           &file->retry, &file->sweep,          &file->end_timer};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        timer_stop(io_timers(file->io), all[i]);
    }
}

/* ---- following ------------------------------------------------------------------------------- */

static bool on_event(struct spool_follower *follower, uint64_t sequence, struct bytes bytes)
{
    struct accounting_log *log = CONTAINER_OF(follower, struct accounting_log, follower);
    struct accounting_file *file = log->file;
    struct event event;
    bool leaves = file->ending && file->end == ACCOUNTING_END_AT_ONCE;
    if (leaves || file->phase == PHASE_FAILED || file->phase == PHASE_ENDED ||
        buffer_room(&file->filling) < ACCOUNTING_RECORD_MAX(bytes.len)) {
        return false;
    }
    if (sequence <= log->seen_sequence) {
        return true; /* whatever gives it twice: it is in the file */
    }
    log->seen_sequence = sequence;
    if (!journal_decode(bytes, &event)) {
        LOG_WARNING("accounting file %s: an event of the journal cannot be read and is left out",
                    file->directory.path);
    } else if (accounting_layout_takes(file->layout, &event)) {
        struct accounting_place place = {.log_id = spool_log_id(log->spool), .sequence = sequence};
        accounting_format(file->layout, place, &event, &file->filling);
    }
    return true;
}

static void on_batch_end(struct spool_follower *follower)
{
    struct accounting_log *log = CONTAINER_OF(follower, struct accounting_log, follower);
    struct accounting_file *file = log->file;
    log->asked = false;
    file->end_by_ms = io_now_ms(file->io) + END_MS;
    accounting_file_advance(file);
}

static void follow(struct accounting_file *file)
{
    assert(!file->following);
    file->following = true;
    for (uint32_t i = 0; i < file->log_count; i++) {
        struct accounting_log *log = &file->logs[i];
        log->asked = false;
        log->seen_sequence = file->durable.logs[i].sequence;
        spool_follow(log->spool, &log->follower, log->seen_sequence);
    }
}

static void unfollow(struct accounting_file *file)
{
    for (uint32_t i = 0; file->following && i < file->log_count; i++) {
        spool_unfollow(&file->logs[i].follower);
    }
    file->following = false;
}

static void ask(struct accounting_file *file)
{
    if (file->phase == PHASE_FAILED || file->phase == PHASE_STARTING || file->next_layout != NULL ||
        file->filling.len > FILL_BYTES ||
        (file->ending && file->end != ACCOUNTING_END_OF_JOURNAL)) {
        return;
    }
    for (uint32_t i = 0; i < file->log_count; i++) {
        struct accounting_log *log = &file->logs[i];
        if (!log->asked) {
            log->asked = true;
            spool_follow_next(&log->follower);
        }
    }
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Nothing is in flight. `ended` is called from the timer, never inside what led here. */
static void finish_end(struct accounting_file *file)
{
    assert(!io_busy(&file->op));
    unfollow(file);
    if (!accounting_is_durable(file) || file->phase == PHASE_FAILED) {
        LOG_WARNING("accounting file %s: its last records stay in the journal until the next start",
                    file->directory.path);
    }
    spool_barrier_cancel(&file->barrier);
    stop_timers(file);
    accounting_close_file(file);
    file->phase = PHASE_ENDED;
    accounting_start_timer(file, &file->end_timer, 0);
}

static void on_end_timer(struct timer *timer)
{
    struct accounting_file *file = CONTAINER_OF(timer, struct accounting_file, end_timer);
    if (file->phase == PHASE_ENDED) {
        file->sink.ended(file->sink.owner, &file->sink);
    } else if (io_busy(&file->op) || io_now_ms(file->io) < file->end_by_ms) {
        accounting_start_timer(file, &file->end_timer, END_POLL_MS);
        accounting_file_advance(file); /* the journal may have ended without another batch */
    } else {
        finish_end(file); /* the spool does not make the position durable */
    }
}

/* Everything wanted is durable, or cannot be had. */
static bool end_is_reached(const struct accounting_file *file)
{
    if (!file->ending) {
        return false;
    }
    return file->phase == PHASE_STARTING || file->phase == PHASE_FAILED ||
           (file->phase == PHASE_IDLE && accounting_at_end(file) && accounting_is_durable(file));
}

static void end_file(struct accounting_sink *sink, enum accounting_end end)
{
    struct accounting_file *file = file_of(sink);
    assert(!file->ending);
    file->ending = true;
    file->end = end;
    file->end_by_ms = io_now_ms(file->io) + END_MS;
    accounting_start_timer(file, &file->end_timer, END_POLL_MS);
    accounting_file_advance(file);
}

/* ---- the next step --------------------------------------------------------------------------- */

static bool has_seen_more(const struct accounting_file *file)
{
    for (uint32_t i = 0; i < file->log_count; i++) {
        if (file->logs[i].seen_sequence != file->written.logs[i].sequence) {
            return true;
        }
    }
    return false;
}

void accounting_file_advance(struct accounting_file *file)
{
    if (file->phase == PHASE_IDLE) {
        if (file->filling.len == 0 && has_seen_more(file)) {
            accounting_take_seen(file);
            accounting_note_written(file);
        }
        if (accounting_rotation_is_due(file)) {
            accounting_rotate_now(file);
        } else if (accounting_position_is_due(file)) {
            accounting_sync_now(file);
        } else if (file->filling.len > 0) {
            accounting_write_now(file);
        }
    }
    if (end_is_reached(file)) {
        finish_end(file);
    } else if (file->following) {
        ask(file);
    }
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Takes up the durable position, or begins a file: then the phase is BEGINNING and its position
 * is still to be put. 0 or -errno. */
static int open_file(struct accounting_file *file)
{
    file->written = file->durable;
    int fd = -ENOENT;
    if (file->durable.name[0] != '\0') {
        fd = accounting_directory_resume(&file->directory, &file->durable);
    }
    if (fd == -ENOENT) {
        int result = accounting_begin_file(file);
        file->phase = result < 0 ? file->phase : PHASE_BEGINNING;
        return result;
    }
    if (fd < 0) {
        return fd;
    }
    file->fd = fd;
    file->synced_bytes = file->durable.length_bytes;
    file->rotate_wanted = file->written.length_bytes > 0 &&
                          file->written.header_hash != accounting_header_hash(file->layout);
    file->phase = PHASE_IDLE;
    return 0;
}

/* The first turn, and the first after trouble. */
static void go_on(struct accounting_file *file)
{
    accounting_watch_interval(file);
    if (file->phase == PHASE_BEGINNING) {
        accounting_put_position(file, PHASE_BEGINNING);
    }
    accounting_file_advance(file);
}

static void fail_to_open(struct accounting_file *file, int error)
{
    accounting_file_fail(file, error == -EWOULDBLOCK ? "another process has it" : "opening it",
                         error);
}

static void on_start(struct timer *timer)
{
    struct accounting_file *file = CONTAINER_OF(timer, struct accounting_file, start);
    file->phase = file->opened_phase;
    if (file->phase == PHASE_FAILED) {
        fail_to_open(file, -EWOULDBLOCK);
    } else {
        go_on(file);
    }
}

/* Between leaving the journal and following it anew nothing else happens: it keeps what it has. */
static void on_retry(struct timer *timer)
{
    struct accounting_file *file = CONTAINER_OF(timer, struct accounting_file, retry);
    assert(file->phase == PHASE_FAILED);
    if (file->ending) {
        finish_end(file);
        return;
    }
    int result = open_file(file);
    if (result < 0) {
        fail_to_open(file, result);
        return;
    }
    unfollow(file);
    follow(file);
    go_on(file);
}

static void on_sweep(struct timer *timer)
{
    struct accounting_file *file = CONTAINER_OF(timer, struct accounting_file, sweep);
    bool more = accounting_directory_sweep(&file->directory, file->written.name,
                                           io_wall_ms(file->io), false);
    accounting_start_timer(file, &file->sweep, more ? SWEEP_AGAIN_MS : SWEEP_MS);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void take_settings(struct accounting_file *file, const struct config_acct_file *config)
{
    file->max_bytes = config->settings.max_bytes;
    file->move_interval_ms = config->settings.move_interval_ms;
    for (uint32_t i = 0; i < file->log_count; i++) {
        file->logs[i].follower.max_lag_bytes = config->settings.max_lag_bytes;
        file->logs[i].follower.hold = config->settings.on_lag == ON_LAG_HOLD;
    }
}

static struct accounting_layout *layout_for(const struct config_acct_file *config,
                                            struct error *error)
{
    bool json = bytes_ends_with_nocase(config->path, BYTES(".jsonl"));
    struct accounting_layout *layout = accounting_layout_create(&config->settings, json, error);
    if (layout == NULL) {
        error_prefix(error, "accounting file %.*s", BYTES_FMT(config->path));
    }
    return layout;
}

static bool allocate(struct accounting_file *file, uint32_t log_count)
{
    file->logs = calloc(log_count, sizeof *file->logs);
    if (file->logs == NULL) {
        return false;
    }
    file->log_count = log_count;
    char *filling = malloc(BUFFER_BYTES), *writing = malloc(BUFFER_BYTES);
    buffer_init(&file->filling, filling, filling == NULL ? 0 : BUFFER_BYTES);
    buffer_init(&file->writing, writing, writing == NULL ? 0 : BUFFER_BYTES);
    return filling != NULL && writing != NULL;
}

static void init_callbacks(struct accounting_file *file)
{
    for (uint32_t i = 0; i < file->log_count; i++) {
        struct spool_follower *follower = &file->logs[i].follower;
        follower->event = on_event;
        follower->batch_end = on_batch_end;
        snprintf(follower->name, sizeof follower->name, "%.127s", file->directory.path);
    }
    file->barrier.durable = accounting_on_durable;
    timer_init(&file->start, on_start);
    timer_init(&file->position_timer, accounting_on_position_timer);
    timer_init(&file->interval_timer, accounting_on_interval);
    timer_init(&file->retry, on_retry);
    timer_init(&file->sweep, on_sweep);
    timer_init(&file->end_timer, on_end_timer);
}

static int open_first(struct accounting_file *file, struct error *error)
{
    int result = open_file(file);
    if (result < 0 && result != -EWOULDBLOCK) {
        return error_set(error, EX_CANTCREAT, "accounting file %s: %s", file->directory.path,
                         strerror(-result));
    }
    file->opened_phase = result < 0 ? PHASE_FAILED : file->phase;
    bool more = accounting_directory_sweep(&file->directory, file->written.name,
                                           io_wall_ms(file->io), true);
    accounting_start_timer(file, &file->sweep, more ? SWEEP_AGAIN_MS : SWEEP_MS);
    file->phase = PHASE_STARTING;
    accounting_start_timer(file, &file->start, 0);
    follow(file); /* from here on the journal keeps what the file needs, be it open or not */
    return 0;
}

static void attach_logs(struct accounting_file *file, const struct accounting_sink_options *options)
{
    uint64_t log_ids[ACCOUNTING_LOGS_MAX];
    for (uint32_t i = 0; i < file->log_count; i++) {
        file->logs[i].file = file;
        file->logs[i].spool = options->logs[i];
        log_ids[i] = spool_log_id(options->logs[i]);
    }
    if (options->position != NULL) {
        file->durable = *options->position;
    }
    accounting_position_align(&file->durable, log_ids, file->log_count);
}

static int configure_file(struct accounting_sink *sink, const struct config_acct_file *config,
                          struct error *error)
{
    struct accounting_file *file = file_of(sink);
    struct accounting_layout *layout = layout_for(config, error);
    if (layout == NULL ||
        accounting_directory_finish_to(&file->directory, config->settings.move_to,
                                       config->settings.delete_after_ms, error) < 0) {
        accounting_layout_destroy(layout);
        return -1;
    }
    accounting_layout_destroy(file->next_layout);
    file->next_layout = layout;
    take_settings(file, config);
    file->directory.world_readable = config->settings.world_readable;
    file->directory.count_moved = config->settings.count_moved_records;
    timer_stop(io_timers(file->io), &file->interval_timer);
    if (file->phase != PHASE_FAILED && file->phase != PHASE_STARTING) {
        accounting_watch_interval(file);
    }
    accounting_file_advance(file);
    return 0;
}

static bool file_wants_received(const struct accounting_sink *sink)
{
    const struct accounting_file *file = const_file_of(sink);
    const struct accounting_layout *layout =
        file->next_layout != NULL ? file->next_layout : file->layout;
    return accounting_layout_wants(layout, EVENT_RECEIVED);
}

static const struct accounting_position *file_position(const struct accounting_sink *sink)
{
    return &const_file_of(sink)->durable;
}

static void rotate_file(struct accounting_sink *sink)
{
    struct accounting_file *file = file_of(sink);
    file->rotate_wanted = true;
    accounting_file_advance(file);
}

static void destroy_file(struct accounting_sink *sink)
{
    struct accounting_file *file = file_of(sink);
    assert(!io_busy(&file->op));
    unfollow(file);
    if (file->io != NULL) {
        spool_barrier_cancel(&file->barrier);
        stop_timers(file);
        accounting_close_file(file);
    }
    accounting_layout_destroy(file->layout);
    accounting_layout_destroy(file->next_layout);
    free(file->filling.data);
    free(file->writing.data);
    free(file->logs);
    free(file);
}

static const struct accounting_sink_kind file_kind = {
    .configure = configure_file,
    .wants_received = file_wants_received,
    .position = file_position,
    .rotate = rotate_file,
    .end = end_file,
    .destroy = destroy_file,
};

struct accounting_sink *accounting_file_create(const struct accounting_sink_options *options,
                                               struct error *error)
{
    const struct config_acct_file *config = options->config;
    struct accounting_file *file = calloc(1, sizeof *file);
    if (file == NULL || !allocate(file, options->log_count)) {
        error_set(error, EX_OSERR, "out of memory");
        if (file != NULL) {
            destroy_file(&file->sink);
        }
        return NULL;
    }
    file->io = options->io;
    file->worker = options->worker;
    file->fd = -1;
    attach_logs(file, options);
    take_settings(file, config);
    file->layout = layout_for(config, error);
    if (file->layout == NULL ||
        accounting_directory_init(&file->directory, file->io, config->path, error) < 0 ||
        accounting_directory_finish_to(&file->directory, config->settings.move_to,
                                       config->settings.delete_after_ms, error) < 0) {
        destroy_file(&file->sink);
        return NULL;
    }
    file->directory.world_readable = config->settings.world_readable;
    file->directory.count_moved = config->settings.count_moved_records;
    file->sink.kind = &file_kind;
    file->sink.name = file->directory.path;
    init_callbacks(file);
    if (open_first(file, error) < 0) {
        destroy_file(&file->sink);
        return NULL;
    }
    return &file->sink;
}
