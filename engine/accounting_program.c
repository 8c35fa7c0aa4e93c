/* The program of an accounting pipe: its start, what is written to it, what it has read, its end.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "accounting_layout.h"
#include "accounting_pipe_private.h"
#include "base/logger.h"

#define LOOK_MS         100
#define CAREFUL_LOOK_MS 10
#define ERRORS_BYTES    (16 * 1024) /* of standard error, per look */

/* ---- the program ----------------------------------------------------------------------------- */

static void wait_to_start(struct accounting_pipe *pipe, uint64_t after_ms)
{
    pipe->phase = PIPE_WAITING;
    accounting_pipe_timer(pipe, &pipe->start, after_ms);
}

/* Where the program before it died, each record waits until the one before is read: that one has
 * been dealt with when the next is taken, however quickly this program dies. Otherwise one that
 * dies after a few records would get the same ones for ever. */
static bool is_careful(const struct accounting_pipe *pipe)
{
    return pipe->made - pipe->gathered.len < pipe->careful_end;
}

static void start_look(struct accounting_pipe *pipe)
{
    accounting_pipe_timer(pipe, &pipe->look, is_careful(pipe) ? CAREFUL_LOOK_MS : LOOK_MS);
}

static void start_program(struct accounting_pipe *pipe)
{
    if (pipe->next_layout != NULL) {
        accounting_layout_destroy(pipe->layout);
        pipe->layout = pipe->next_layout;
        pipe->next_layout = NULL;
    }
    int result = program_start(&pipe->program, pipe->words);
    if (result < 0) {
        LOG_ERROR("accounting pipe %s: starting it: %s: tried again in %llu s; records wait in the "
                  "journal",
                  pipe->name, strerror(-result), (unsigned long long)pipe->retry_ms / 1000);
        wait_to_start(pipe, pipe->retry_ms);
        return;
    }
    pipe->phase = PIPE_RUNNING;
    accounting_pipe_follow_anew(pipe);
    accounting_given_begin(&pipe->given, io_now_ms(pipe->io));
    buffer_clear(&pipe->gathered);
    buffer_clear(&pipe->complaint);
    buffer_put_bytes(&pipe->gathered, pipe->layout->header);
    pipe->made = pipe->gathered.len;
    pipe->record_end = 0;
    pipe->careful_end = pipe->made + pipe->careful_bytes;
    pipe->careful_bytes = 0;
    start_look(pipe);
    accounting_pipe_advance(pipe);
}

void accounting_program_on_start(struct timer *timer)
{
    struct accounting_pipe *pipe = CONTAINER_OF(timer, struct accounting_pipe, start);
    if (!pipe->ending) {
        start_program(pipe);
    }
}

static void kill_program(struct accounting_pipe *pipe)
{
    pipe->phase = PIPE_KILLED;
    program_kill(&pipe->program);
    io_cancel(pipe->io, &pipe->writable); /* at home when it is a look later, or the one after */
}

static void on_writable(struct io_op *op, int result)
{
    accounting_pipe_advance(CONTAINER_OF(op, struct accounting_pipe, writable));
}

/* What was read and left alone counts as given only of a program that is still there. */
static void look_at_reading(struct accounting_pipe *pipe, bool ended)
{
    uint64_t read = pipe->made - pipe->gathered.len - program_unread(&pipe->program);
    accounting_given_read(&pipe->given, read, pipe->made, io_now_ms(pipe->io),
                          ended ? UINT64_MAX : pipe->write_timeout_ms);
    accounting_pipe_note_given(pipe);
}

/* Bytes of `gathered` that may be written now: a record is a line. */
static size_t writable_len(const struct accounting_pipe *pipe)
{
    if (!is_careful(pipe)) {
        return pipe->gathered.len;
    }
    ptrdiff_t end = bytes_find(buffer_bytes(&pipe->gathered), '\n', 0);
    return end < 0 || program_unread(&pipe->program) > 0 ? 0 : (size_t)end + 1;
}

void accounting_program_write(struct accounting_pipe *pipe)
{
    size_t len;
    look_at_reading(pipe, false); /* what is read beyond this says that this was dealt with */
    while ((len = writable_len(pipe)) > 0 && !io_busy(&pipe->writable)) {
        int64_t taken = program_write(&pipe->program, pipe->gathered.data, len);
        if (taken > 0) {
            buffer_consume(&pipe->gathered, (size_t)taken);
        } else if (taken == -EAGAIN) {
            io_op_init(&pipe->writable, on_writable);
            io_poll(pipe->io, &pipe->writable, program_input(&pipe->program), PROGRAM_POLL_ROOM);
        } else {
            LOG_ERROR("accounting pipe %s: writing to it: %s: killed", pipe->name,
                      strerror((int)-taken));
            kill_program(pipe);
            return;
        }
    }
}

void accounting_program_close(struct accounting_pipe *pipe)
{
    assert(pipe->phase == PIPE_RUNNING);
    assert(pipe->gathered.len == 0);
    pipe->phase = PIPE_CLOSING;
    pipe->closed_ms = io_now_ms(pipe->io);
    program_close_input(&pipe->program);
}

/* ---- what a look sees ------------------------------------------------------------------------ */

static void tell_complaint(struct accounting_pipe *pipe)
{
    if (pipe->complaint.len > 0) {
        LOG_WARNING("accounting pipe %s: says: %.*s", pipe->name,
                    BYTES_FMT(buffer_bytes(&pipe->complaint)));
    }
    buffer_clear(&pipe->complaint);
}

/* The logger bounds how often lines of one form are written. */
static void read_complaints(struct accounting_pipe *pipe)
{
    char text[ERRORS_BYTES];
    size_t len = program_read_errors(&pipe->program, text, sizeof text);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n') {
            tell_complaint(pipe);
        } else if (buffer_room(&pipe->complaint) > 0) {
            buffer_put_char(&pipe->complaint, text[i]); /* what is too long is cut */
        }
    }
}

static bool is_stuck(const struct accounting_pipe *pipe)
{
    uint64_t now_ms = io_now_ms(pipe->io), limit_ms = pipe->write_timeout_ms;
    if (pipe->ending && limit_ms > PIPE_STOP_MS) {
        limit_ms = PIPE_STOP_MS;
    }
    return now_ms - pipe->given.idle_ms >= limit_ms ||
           (pipe->ending && now_ms >= pipe->end_all_by_ms);
}

static void tell_end(const struct accounting_pipe *pipe, int status)
{
    char how[40] = "it was killed";
    if (status != PROGRAM_KILLED) {
        snprintf(how, sizeof how, "it ended with status %d", status);
    }
    LOG_ERROR("accounting pipe %s: %s: started again in %llu s; records wait in the journal",
              pipe->name, how, (unsigned long long)pipe->retry_ms / 1000);
}

/* One that read all and then ended well has dealt with all. */
static void on_program_end(struct accounting_pipe *pipe, int status)
{
    bool asked = pipe->phase == PIPE_CLOSING;
    if (asked && status == 0 && pipe->given.read == pipe->made) {
        accounting_given_all(&pipe->given);
        accounting_pipe_note_given(pipe);
    } else if (asked) {
        LOG_WARNING("accounting pipe %s: it did not end well (%d): its last records come again",
                    pipe->name, status);
    }
    pipe->careful_bytes = asked ? 0 : pipe->given.read - pipe->given.given;
    tell_complaint(pipe);
    program_release(&pipe->program);
    buffer_clear(&pipe->gathered);
    accounting_pipe_follow_anew(pipe);
    pipe->end_by_ms = io_now_ms(pipe->io) + PIPE_STOP_MS;
    if (pipe->ending) {
        pipe->phase = PIPE_WAITING;
        accounting_pipe_put_position(pipe);
    } else if (asked) {
        wait_to_start(pipe, 0); /* by a reload */
    } else {
        tell_end(pipe, status);
        wait_to_start(pipe, pipe->retry_ms);
    }
}

/* It has the time that it needs to read what waits, and then some. */
static bool is_slow_to_end(const struct accounting_pipe *pipe)
{
    uint64_t now_ms = io_now_ms(pipe->io), since_ms = pipe->closed_ms;
    if (pipe->given.read_ms > since_ms) {
        since_ms = pipe->given.read_ms;
    }
    return now_ms - since_ms >= PIPE_STOP_MS || now_ms - pipe->closed_ms >= PIPE_STOP_ALL_MS;
}

static void look_at_time(struct accounting_pipe *pipe)
{
    if (pipe->phase == PIPE_RUNNING && is_stuck(pipe)) {
        LOG_ERROR("accounting pipe %s: it does not read: killed", pipe->name);
        kill_program(pipe);
    } else if (pipe->phase == PIPE_CLOSING && is_slow_to_end(pipe)) {
        LOG_ERROR("accounting pipe %s: it does not end with its input: killed", pipe->name);
        kill_program(pipe);
    }
}

void accounting_program_on_look(struct timer *timer)
{
    struct accounting_pipe *pipe = CONTAINER_OF(timer, struct accounting_pipe, look);
    int status;
    bool ended = program_has_ended(&pipe->program, &status); /* before the looks: they see all */
    read_complaints(pipe);
    look_at_reading(pipe, ended);
    if (!ended) {
        look_at_time(pipe);
    } else if (io_busy(&pipe->writable)) {
        io_cancel(pipe->io, &pipe->writable);
    } else {
        on_program_end(pipe, status);
        return;
    }
    start_look(pipe);
    accounting_pipe_advance(pipe);
}
