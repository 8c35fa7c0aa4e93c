#include "local_job.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attempt_private.h"
#include "base/date.h"
#include "io/deposit.h"
#include "io/io.h"
#include "io/work.h"
#include "local_command.h"
#include "local_delivery.h"
#include "site.h"
#include "smtp/unix_lines.h"

#define PIECE_BYTES     (32 * 1024) /* converted at a time; twice that of a helper's stack */
#define RCPT_LINE_BYTES 32          /* of newfile-pickup: what a line has besides the address */

static const char envelope_end[] = "x-envelope-end: yes\n";

struct local_job {
    struct work work;
    struct attempt *attempt;
    struct transaction *transaction;
    enum queue_type type; /* of all it does */
    bool is_command;
    bool is_mailbox; /* … of files; neither: a new file */
    bool has_envelope;
    char destination[PATH_MAX]; /* a directory, or the file that is appended to */
    char name[DEPOSIT_NAME_MAX];
    /* The helper's while it works. */
    struct bytes head; /* what stands before the message; its memory is ours */
    char *head_memory;
    struct bytes window;
    bool begun, last, give_up;
    int result;   /* 0 or -errno */
    bool written; /* it is all with the deposit: for the commands */
    uint32_t rcpt_index;
    struct local_command command;
    struct unix_lines lines;
    struct deposit deposit;
};

/* ---- on a helper thread ---- */

/* Nothing at the start of the message may be read as one more line of its envelope. */
static bool hides_end_of_envelope(const struct local_job *job)
{
    return job->has_envelope && job->window.len > 0 && strchr("xX \t", job->window.data[0]) != NULL;
}

static int begin(struct local_job *job)
{
    int result = job->is_mailbox || job->is_command
                     ? deposit_begin_append(&job->deposit)
                     : deposit_begin_file(&job->deposit, job->destination, job->name);
    job->begun = true;
    unix_lines_init(&job->lines, job->is_mailbox);
    result = result < 0 ? result : deposit_write(&job->deposit, job->head.data, job->head.len);
    if (result == 0 && hides_end_of_envelope(job)) {
        result = deposit_write(&job->deposit, envelope_end, sizeof envelope_end - 1);
    }
    return result;
}

static int write_window(struct local_job *job)
{
    char memory[2 * PIECE_BYTES + UNIX_LINES_HELD];
    struct buffer out;
    for (size_t at = 0; at < job->window.len; at += PIECE_BYTES) {
        size_t left = job->window.len - at;
        buffer_init(&out, memory, sizeof memory);
        unix_lines_feed(&job->lines,
                        bytes_of(job->window.data + at, left < PIECE_BYTES ? left : PIECE_BYTES),
                        &out);
        int result = deposit_write(&job->deposit, out.data, out.len);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static int commit(struct local_job *job)
{
    char memory[UNIX_LINES_HELD + 1];
    struct buffer out;
    buffer_init(&out, memory, sizeof memory);
    unix_lines_end(&job->lines, &out);
    if (job->is_mailbox) {
        buffer_put_char(&out, '\n'); /* an empty line ends it */
    }
    int result = deposit_write(&job->deposit, out.data, out.len);
    if (result < 0 || job->is_command) {
        return result;
    }
    return job->is_mailbox ? deposit_commit_append(&job->deposit, job->destination)
                           : deposit_commit_file(&job->deposit);
}

static void on_run(struct work *work)
{
    struct local_job *job = CONTAINER_OF(work, struct local_job, work);
    int result = 0;
    if (job->written) {
        local_command_run(&job->command, &job->deposit);
        return;
    }
    if (!job->give_up) {
        result = job->begun ? 0 : begin(job);
        result = result < 0 ? result : write_window(job);
        result = result < 0 || !job->last ? result : commit(job);
    }
    if (result < 0 || job->give_up) {
        deposit_abandon(&job->deposit);
    }
    job->result = result;
}

/* ---- on the worker ---- */

/* The message has been dealt with. */
static void end(struct local_job *job)
{
    job->attempt->at_local = NULL;
    prepare_free(job->transaction);
    job->transaction = NULL;
    free(job->head_memory);
    job->head_memory = NULL;
}

static void end_all(struct local_job *job, const struct reply *reply)
{
    for (uint32_t i = 0; i < job->transaction->rcpt_count; i++) {
        local_delivery_answer(job->attempt, job->transaction, i, reply);
    }
    end(job);
}

static void end_delivered(struct local_job *job)
{
    char text[PATH_MAX + DEPOSIT_NAME_MAX + 32];
    bool appended = job->is_mailbox;
    snprintf(text, sizeof text, "%s %s%s%s", appended ? "appended to" : "written to",
             job->destination, appended ? "" : "/", appended ? "" : job->name);
    struct reply reply;
    reply_make(&reply, 250, "2.0.0", text);
    end_all(job, &reply);
}

static void end_failed(struct local_job *job, const char *why)
{
    char text[PATH_MAX + 128];
    snprintf(text, sizeof text, "cannot write to %s: %s",
             job->is_command ? "memory" : job->destination, why);
    struct reply reply;
    reply_make(&reply, 451, "4.3.0", text);
    end_all(job, &reply);
}

static void read_next(struct local_job *job)
{
    prepare_window(job->transaction, false);
}

/* The helpers' queue has room for all that may be under way at once. */
static void submit(struct local_job *job)
{
    struct attempts *attempts = job->attempt->attempts;
    bool taken = work_submit(attempts->helpers, attempts->io, &job->work);
    assert(taken);
}

/* True: one for the next recipient is on its way. One that was deleted meanwhile, and those behind
 * it, are the queue's to deal with. */
static bool run_command(struct local_job *job)
{
    const struct attempt *attempt = job->attempt;
    struct transaction *transaction = job->transaction;
    bool leaving = attempt->state == ATTEMPT_CLOSING || attempt->quitting;
    for (; job->rcpt_index < transaction->rcpt_count && !leaving; job->rcpt_index++) {
        struct reply reply;
        struct rcpt *rcpt = transaction->rcpts[job->rcpt_index];
        if (rcpt->condemned) {
            return false;
        }
        if (local_command_prepare(&job->command, attempt->site, rcpt, &reply)) {
            submit(job);
            return true;
        }
        local_delivery_answer(job->attempt, transaction, job->rcpt_index, &reply);
    }
    return false;
}

static void end_commands(struct local_job *job)
{
    deposit_abandon(&job->deposit); /* memory: nothing to wait for */
    local_delivery_give_back(job->transaction, job->rcpt_index,
                             io_now_ms(job->attempt->attempts->io));
    end(job);
}

/* It is written, or a command has ended. */
static void go_on_with_commands(struct local_job *job)
{
    if (job->written) {
        struct reply reply;
        local_command_reply(&job->command, &reply);
        local_command_release(&job->command);
        local_delivery_answer(job->attempt, job->transaction, job->rcpt_index++, &reply);
    }
    job->written = true;
    if (!run_command(job)) {
        end_commands(job);
        local_delivery_go_on(job->attempt);
    }
}

static void on_done(struct work *work)
{
    struct local_job *job = CONTAINER_OF(work, struct local_job, work);
    if (job->give_up) {
        end_failed(job, "the message cannot be read from the spool");
    } else if (job->result < 0) {
        end_failed(job, strerror(-job->result));
    } else if (!job->last) {
        read_next(job);
        return;
    } else if (job->is_command) {
        go_on_with_commands(job);
        return;
    } else {
        end_delivered(job);
    }
    local_delivery_go_on(job->attempt);
}

static void write_next(struct local_job *job)
{
    job->last = prepare_at_end(job->transaction);
    job->window = job->transaction->window;
    submit(job);
}

void local_job_on_prepared(struct local_job *job)
{
    job->give_up = job->transaction->failed;
    write_next(job);
}

/* An address as a word of a From_ line. */
static void put_word(struct buffer *out, struct bytes address)
{
    for (size_t i = 0; i < address.len; i++) {
        char c = address.data[i];
        buffer_put_char(out, c > ' ' || c < 0 ? c : '_');
    }
}

static void put_from_line(struct local_job *job, struct buffer *out)
{
    struct bytes sender = job->transaction->core.sender;
    char date[DATE_ASCTIME_MAX];
    buffer_put_string(out, "From ");
    put_word(out, sender.len == 0 ? BYTES("MAILER-DAEMON") : sender);
    buffer_printf(out, " %s\n", date_asctime(io_wall_ms(job->attempt->attempts->io), date));
}

static void put_envelope(struct local_job *job, struct buffer *out)
{
    const struct transaction *transaction = job->transaction;
    buffer_printf(out, "x-sender: %.*s\n", BYTES_FMT(transaction->core.sender));
    for (uint32_t i = 0; i < transaction->rcpt_count; i++) {
        buffer_printf(out, "x-receiver: %.*s\n", BYTES_FMT(rcpt_address(transaction->rcpts[i])));
    }
}

static bool make_head(struct local_job *job)
{
    const struct transaction *transaction = job->transaction;
    size_t capacity = transaction->core.sender.len + 128;
    for (uint32_t i = 0; i < transaction->rcpt_count; i++) {
        capacity += rcpt_address(transaction->rcpts[i]).len + RCPT_LINE_BYTES;
    }
    job->head_memory = malloc(capacity);
    if (job->head_memory == NULL) {
        return false;
    }
    struct buffer out;
    buffer_init(&out, job->head_memory, capacity);
    if (job->has_envelope) {
        put_envelope(job, &out);
    } else if (job->is_mailbox) {
        put_from_line(job, &out);
    }
    job->head = buffer_bytes(&out);
    return true;
}

/* Sorted by time, and never one of another message: two random numbers would have to be equal, and
 * then nothing is overwritten. */
static void make_name(struct local_job *job)
{
    struct io *io = job->attempt->attempts->io;
    snprintf(job->name, sizeof job->name, "%013" PRId64 "-%016" PRIx64 ".msg", io_wall_ms(io),
             io_random(io));
}

static void take_settings(struct local_job *job)
{
    const struct domain_settings *settings = job->attempt->site->settings;
    job->is_command = settings->type == QUEUE_PIPE;
    job->is_mailbox = !job->is_command && settings->file_format == FILE_APPEND_MBOX;
    job->has_envelope = !job->is_command && settings->file_format == FILE_NEWFILE_PICKUP;
    snprintf(job->destination, sizeof job->destination, "%.*s",
             BYTES_FMT(settings->file_destination));
}

void local_job_deliver(struct local_job *job, struct transaction *transaction)
{
    job->transaction = transaction;
    job->begun = job->give_up = job->written = false;
    job->rcpt_index = 0;
    job->deposit.fd = -1;
    take_settings(job);
    make_name(job);
    if (!make_head(job)) {
        job->give_up = true; /* the helper does nothing then, and the outcome comes from there */
        write_next(job);
    } else if (prepare_at_end(transaction)) {
        write_next(job); /* an empty body */
    } else {
        read_next(job);
    }
}

bool local_job_fits(const struct local_job *job)
{
    return job->attempt->site->settings->type == (uint32_t)job->type;
}

void local_job_hurry(struct local_job *job)
{
    atomic_store(&job->command.errand.cancelled, true);
}

struct local_job *local_job_create(struct attempt *attempt)
{
    struct local_job *job = calloc(1, sizeof *job);
    if (job != NULL) {
        job->attempt = attempt;
        job->type = (enum queue_type)attempt->site->settings->type;
        job->work.run = on_run;
        job->work.done = on_done;
    }
    return job;
}

void local_job_destroy(struct local_job *job)
{
    if (job != NULL) {
        assert(job->transaction == NULL);
        free(job);
    }
}
