/* A program comes and goes; the follower stays.
 *
 *     STARTING -> RUNNING                       the first turn of the loop
 *     RUNNING -> CLOSING -> WAITING             asked: its input ends, then it does
 *     RUNNING or CLOSING -> KILLED -> WAITING   it does not read, or does not end
 *     RUNNING -> WAITING                        unasked
 *     WAITING -> RUNNING                        after retry-interval, or at once after a reload
 *     any without a program -> ENDED
 *
 * With each program the journal is followed anew from what counts as given: bytes are counted from
 * the program's start, so that is all there is to remember. Looks at what the program has read are
 * cheap and come with a timer while there is one, as do its end and its complaints: one operation
 * alone is ever in flight, the wait for room in the pipe. */
#include "accounting_pipe.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "accounting_format.h"
#include "accounting_layout.h"
#include "accounting_pipe_private.h"
#include "base/logger.h"
#include "journal.h"

#define BUFFER_BYTES     (272 * 1024)
#define FILL_BYTES       (64 * 1024) /* with more than this gathered, ask for no more */
#define POSITION_MS      1000
#define END_POLL_MS      50
#define ERROR_LINE_BYTES 400

static_assert(BUFFER_BYTES > ACCOUNTING_RECORD_MAX(EVENT_BYTES_MAX),
              "an empty buffer takes any event");

static struct accounting_pipe *pipe_of(struct accounting_sink *sink)
{
    return CONTAINER_OF(sink, struct accounting_pipe, sink);
}

static const struct accounting_pipe *const_pipe_of(const struct accounting_sink *sink)
{
    return (const struct accounting_pipe *)sink;
}

/* ---- following ------------------------------------------------------------------------------- */

/* It takes what comes: nobody has asked the program to go. */
static bool takes_events(const struct accounting_pipe *pipe)
{
    return pipe->phase == PIPE_RUNNING && pipe->next_layout == NULL &&
           !(pipe->ending && pipe->end == ACCOUNTING_END_AT_ONCE);
}

static bool on_event(struct spool_follower *follower, uint64_t sequence, struct bytes bytes)
{
    struct pipe_log *log = CONTAINER_OF(follower, struct pipe_log, follower);
    struct accounting_pipe *pipe = log->pipe;
    struct event event;
    if (!takes_events(pipe) || !accounting_given_has_room(&pipe->given) ||
        buffer_room(&pipe->gathered) < ACCOUNTING_RECORD_MAX(bytes.len)) {
        return false;
    }
    if (sequence <= log->seen_sequence) {
        return true;
    }
    log->seen_sequence = sequence;
    if (!journal_decode(bytes, &event)) {
        LOG_WARNING("accounting pipe %s: an event of the journal cannot be read and is left out",
                    pipe->name);
    } else if (accounting_layout_takes(pipe->layout, &event)) {
        struct accounting_place place = {.log_id = spool_log_id(log->spool), .sequence = sequence};
        size_t before = pipe->gathered.len;
        accounting_format(pipe->layout, place, &event, &pipe->gathered);
        pipe->made += pipe->gathered.len - before;
        pipe->record_end = pipe->made;
    }
    accounting_given_mark(&pipe->given,
                          (struct accounting_mark){.end = pipe->record_end,
                                                   .sequence = sequence,
                                                   .log = (uint32_t)(log - pipe->logs)});
    return true;
}

static void on_batch_end(struct spool_follower *follower)
{
    struct pipe_log *log = CONTAINER_OF(follower, struct pipe_log, follower);
    struct accounting_pipe *pipe = log->pipe;
    log->asked = false;
    accounting_pipe_advance(pipe);
}

static void unfollow(struct accounting_pipe *pipe)
{
    for (uint32_t i = 0; pipe->following && i < pipe->log_count; i++) {
        spool_unfollow(&pipe->logs[i].follower);
    }
    pipe->following = false;
}

/* From what counts as given on. Between leaving the journal and following it nothing else happens:
 * it keeps what it has. */
void accounting_pipe_follow_anew(struct accounting_pipe *pipe)
{
    unfollow(pipe);
    pipe->following = true;
    for (uint32_t i = 0; i < pipe->log_count; i++) {
        struct pipe_log *log = &pipe->logs[i];
        log->asked = false;
        log->seen_sequence = pipe->reached.logs[i].sequence;
        spool_follow(log->spool, &log->follower, log->seen_sequence);
    }
}

static void ask(struct accounting_pipe *pipe)
{
    if (!takes_events(pipe) || pipe->gathered.len > FILL_BYTES ||
        !accounting_given_has_room(&pipe->given)) {
        return; /* a look asks again */
    }
    for (uint32_t i = 0; i < pipe->log_count; i++) {
        struct pipe_log *log = &pipe->logs[i];
        if (!log->asked) {
            log->asked = true;
            spool_follow_next(&log->follower);
        }
    }
}

static bool is_at_end(const struct accounting_pipe *pipe)
{
    for (uint32_t i = 0; pipe->end == ACCOUNTING_END_OF_JOURNAL && i < pipe->log_count; i++) {
        if (!spool_follow_at_end(&pipe->logs[i].follower)) {
            return false;
        }
    }
    return true;
}

/* ---- the position ---------------------------------------------------------------------------- */

static bool is_durable(const struct accounting_pipe *pipe)
{
    for (uint32_t i = 0; i < pipe->log_count; i++) {
        if (pipe->reached.logs[i].sequence != pipe->durable.logs[i].sequence) {
            return false;
        }
    }
    return true;
}

void accounting_pipe_put_position(struct accounting_pipe *pipe)
{
    char key_text[ACCOUNTING_KEY_MAX], value_text[ACCOUNTING_POSITION_MAX];
    struct buffer key, value;
    if (pipe->putting || is_durable(pipe)) {
        return;
    }
    timer_stop(io_timers(pipe->io), &pipe->position_timer);
    pipe->put = pipe->reached;
    buffer_init(&key, key_text, sizeof key_text);
    buffer_put_string(&key, ACCOUNTING_KEY_PREFIX);
    buffer_put_string(&key, pipe->name);
    buffer_init(&value, value_text, sizeof value_text);
    bool fits = accounting_position_put(&value, &pipe->put);
    assert(fits);
    assert(!key.overflowed);
    pipe->putting = true;
    spool_put_state(pipe->logs[0].spool, pipe->worker, buffer_bytes(&key), buffer_bytes(&value));
    spool_when_durable(pipe->logs[0].spool, &pipe->barrier);
}

static void on_durable(struct spool_barrier *barrier)
{
    struct accounting_pipe *pipe = CONTAINER_OF(barrier, struct accounting_pipe, barrier);
    pipe->putting = false;
    pipe->durable = pipe->put;
    for (uint32_t i = 0; i < pipe->log_count; i++) {
        if (pipe->durable.logs[i].sequence != 0) {
            spool_follow_durable(&pipe->logs[i].follower, pipe->durable.logs[i].sequence);
        }
    }
    accounting_pipe_advance(pipe);
}

static void on_position_timer(struct timer *timer)
{
    accounting_pipe_put_position(CONTAINER_OF(timer, struct accounting_pipe, position_timer));
}

void accounting_pipe_note_given(struct accounting_pipe *pipe)
{
    accounting_given_advance(&pipe->given, &pipe->reached);
    if (!is_durable(pipe) && !timer_running(&pipe->position_timer)) {
        accounting_pipe_timer(pipe, &pipe->position_timer, POSITION_MS);
    }
}

/* ---- the next step --------------------------------------------------------------------------- */

static void close_if_done(struct accounting_pipe *pipe)
{
    bool wanted = pipe->next_layout != NULL || (pipe->ending && is_at_end(pipe));
    if (wanted && pipe->phase == PIPE_RUNNING && pipe->gathered.len == 0) {
        accounting_program_close(pipe);
    }
}

void accounting_pipe_advance(struct accounting_pipe *pipe)
{
    if (pipe->phase == PIPE_RUNNING) {
        accounting_program_write(pipe);
        close_if_done(pipe);
        ask(pipe);
    }
}

/* ---- the end --------------------------------------------------------------------------------- */

static void stop_timers(struct accounting_pipe *pipe)
{
    struct timer *all[] = {&pipe->start, &pipe->look, &pipe->position_timer, &pipe->end_timer};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        timer_stop(io_timers(pipe->io), all[i]);
    }
}

static void finish_end(struct accounting_pipe *pipe)
{
    bool all = is_durable(pipe) && is_at_end(pipe);
    unfollow(pipe);
    spool_barrier_cancel(&pipe->barrier);
    stop_timers(pipe);
    pipe->phase = PIPE_ENDED;
    if (!all) {
        LOG_WARNING("accounting pipe %s: its last records stay in the journal until the next start",
                    pipe->name);
    }
    accounting_pipe_timer(pipe, &pipe->end_timer, 0);
}

static void on_end_timer(struct timer *timer)
{
    struct accounting_pipe *pipe = CONTAINER_OF(timer, struct accounting_pipe, end_timer);
    bool no_program = pipe->phase == PIPE_STARTING || pipe->phase == PIPE_WAITING;
    if (pipe->phase == PIPE_ENDED) {
        pipe->sink.ended(pipe->sink.owner, &pipe->sink);
    } else if (no_program && (is_durable(pipe) || io_now_ms(pipe->io) >= pipe->end_by_ms)) {
        finish_end(pipe);
    } else {
        accounting_pipe_timer(pipe, &pipe->end_timer, END_POLL_MS);
        accounting_pipe_put_position(pipe);
        accounting_pipe_advance(pipe); /* the journal may have ended without another batch */
    }
}

static void end_pipe(struct accounting_sink *sink, enum accounting_end end)
{
    struct accounting_pipe *pipe = pipe_of(sink);
    assert(!pipe->ending);
    pipe->ending = true;
    pipe->end = end;
    pipe->end_by_ms = io_now_ms(pipe->io) + PIPE_STOP_MS;
    pipe->end_all_by_ms = io_now_ms(pipe->io) + PIPE_STOP_ALL_MS;
    pipe->given.idle_ms = io_now_ms(pipe->io); /* a shorter time holds from now on */
    accounting_pipe_timer(pipe, &pipe->end_timer, END_POLL_MS);
    accounting_pipe_advance(pipe);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void take_settings(struct accounting_pipe *pipe, const struct config_acct_file *config)
{
    pipe->retry_ms = config->settings.retry_interval_ms;
    pipe->write_timeout_ms = config->settings.write_timeout_ms;
    for (uint32_t i = 0; i < pipe->log_count; i++) {
        pipe->logs[i].follower.max_lag_bytes = config->settings.max_lag_bytes;
        pipe->logs[i].follower.hold = config->settings.on_lag == ON_LAG_HOLD;
    }
}

static struct accounting_layout *layout_for(const struct config_acct_file *config,
                                            struct error *error)
{
    struct accounting_layout *layout = accounting_layout_create(&config->settings, false, error);
    if (layout == NULL) {
        error_prefix(error, "accounting pipe %.*s", BYTES_FMT(config->name));
    }
    return layout;
}

/* With a header of its own it must be another program's. */
static int configure_pipe(struct accounting_sink *sink, const struct config_acct_file *config,
                          struct error *error)
{
    struct accounting_pipe *pipe = pipe_of(sink);
    struct accounting_layout *layout = layout_for(config, error);
    if (layout == NULL) {
        return -1;
    }
    take_settings(pipe, config);
    accounting_layout_destroy(pipe->next_layout);
    pipe->next_layout = NULL;
    if (bytes_equal(layout->header, pipe->layout->header)) {
        accounting_layout_destroy(pipe->layout);
        pipe->layout = layout;
    } else {
        pipe->next_layout = layout;
    }
    if (pipe->phase == PIPE_WAITING) {
        accounting_pipe_timer(pipe, &pipe->start, 0);
    }
    accounting_pipe_advance(pipe);
    return 0;
}

static bool pipe_wants_received(const struct accounting_sink *sink)
{
    const struct accounting_pipe *pipe = const_pipe_of(sink);
    const struct accounting_layout *layout =
        pipe->next_layout != NULL ? pipe->next_layout : pipe->layout;
    return accounting_layout_wants(layout, EVENT_RECEIVED);
}

static const struct accounting_position *pipe_position(const struct accounting_sink *sink)
{
    return &const_pipe_of(sink)->durable;
}

/* There is no file to begin anew. */
static void rotate_pipe(struct accounting_sink *sink)
{
}

static void destroy_pipe(struct accounting_sink *sink)
{
    struct accounting_pipe *pipe = pipe_of(sink);
    assert(!io_busy(&pipe->writable));
    unfollow(pipe);
    spool_barrier_cancel(&pipe->barrier);
    stop_timers(pipe);
    program_release(&pipe->program);
    accounting_layout_destroy(pipe->layout);
    accounting_layout_destroy(pipe->next_layout);
    for (size_t i = 0; pipe->words[i] != NULL; i++) {
        free(pipe->words[i]);
    }
    free(pipe->gathered.data);
    free(pipe->complaint.data);
    free(pipe->logs);
    free(pipe);
}

static const struct accounting_sink_kind pipe_kind = {
    .configure = configure_pipe,
    .wants_received = pipe_wants_received,
    .position = pipe_position,
    .rotate = rotate_pipe,
    .end = end_pipe,
    .destroy = destroy_pipe,
};

static bool take_words(struct accounting_pipe *pipe, const struct string_array *words)
{
    assert(words->count > 0);
    assert(words->count <= CONFIG_COMMAND_WORDS_MAX);
    for (size_t i = 0; i < words->count; i++) {
        pipe->words[i] = bytes_to_string(words->items[i]);
        if (pipe->words[i] == NULL) {
            return false;
        }
    }
    return true;
}

static bool allocate(struct accounting_pipe *pipe, const struct accounting_sink_options *options)
{
    char *gathered = malloc(BUFFER_BYTES), *complaint = malloc(ERROR_LINE_BYTES);
    buffer_init(&pipe->gathered, gathered, gathered == NULL ? 0 : BUFFER_BYTES);
    buffer_init(&pipe->complaint, complaint, complaint == NULL ? 0 : ERROR_LINE_BYTES);
    pipe->logs = calloc(options->log_count, sizeof *pipe->logs);
    return gathered != NULL && complaint != NULL && pipe->logs != NULL &&
           take_words(pipe, &options->config->words);
}

static void init_timers(struct accounting_pipe *pipe)
{
    pipe->barrier.durable = on_durable;
    timer_init(&pipe->start, accounting_program_on_start);
    timer_init(&pipe->look, accounting_program_on_look);
    timer_init(&pipe->position_timer, on_position_timer);
    timer_init(&pipe->end_timer, on_end_timer);
}

static void attach_logs(struct accounting_pipe *pipe, const struct accounting_sink_options *options)
{
    uint64_t log_ids[ACCOUNTING_LOGS_MAX];
    pipe->log_count = options->log_count;
    for (uint32_t i = 0; i < pipe->log_count; i++) {
        struct spool_follower *follower = &pipe->logs[i].follower;
        pipe->logs[i].pipe = pipe;
        pipe->logs[i].spool = options->logs[i];
        follower->event = on_event;
        follower->batch_end = on_batch_end;
        snprintf(follower->name, sizeof follower->name, "%.127s", pipe->name);
        log_ids[i] = spool_log_id(options->logs[i]);
    }
    if (options->position != NULL) {
        pipe->durable = *options->position;
    }
    accounting_position_align(&pipe->durable, log_ids, pipe->log_count);
    pipe->reached = pipe->durable;
}

struct accounting_sink *accounting_pipe_create(const struct accounting_sink_options *options,
                                               struct error *error)
{
    const struct config_acct_file *config = options->config;
    if (config->name.len >= ACCOUNTING_PATH_MAX) {
        error_set(error, EX_CONFIG, "accounting pipe %.*s: a command this long cannot be kept",
                  BYTES_FMT(config->name));
        return NULL;
    }
    struct accounting_pipe *pipe = calloc(1, sizeof *pipe);
    if (pipe == NULL) {
        error_set(error, EX_OSERR, "out of memory");
        return NULL;
    }
    pipe->sink.kind = &pipe_kind;
    pipe->sink.name = pipe->name;
    pipe->io = options->io;
    pipe->worker = options->worker;
    memcpy(pipe->name, config->name.data, config->name.len);
    program_init(&pipe->program);
    init_timers(pipe);
    pipe->layout = layout_for(config, error);
    bool allocated = allocate(pipe, options);
    if (!allocated && pipe->layout != NULL) {
        error_set(error, EX_OSERR, "out of memory");
    }
    if (!allocated || pipe->layout == NULL) {
        destroy_pipe(&pipe->sink);
        return NULL;
    }
    attach_logs(pipe, options);
    take_settings(pipe, config);
    accounting_pipe_follow_anew(pipe); /* from here on the journal keeps what it needs */
    accounting_pipe_timer(pipe, &pipe->start, 0);
    return &pipe->sink;
}
