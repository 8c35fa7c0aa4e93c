/* What `list` and `delete` do with each recipient that they were asked about. */
#include <assert.h>

#include "base/json.h"
#include "control_private.h"
#include "control_scan.h"
#include "io/io.h"
#include "outcome.h"
#include "queue.h"
#include "schedule.h"
#include "site.h"

#define TEXT_MAX    768 /* bytes of one text in a row: six times that in JSON, at most */
#define DELETE_COST 3   /* of SCAN_PER_TURN, beside 1 for looking: about 1,000 in a turn */

/* ---- list ---- */

static void put_text(struct json_writer *writer, const char *name, struct bytes text)
{
    if (text.len > 0) {
        json_put_string(writer, name,
                        bytes_slice(text, 0, text.len < TEXT_MAX ? text.len : TEXT_MAX));
    }
}

static const char *state_name(const struct rcpt *rcpt)
{
    return rcpt->state == RCPT_TAKEN      ? "on-the-wire"
           : rcpt->parked                 ? "job-paused"
           : rcpt->state == RCPT_DEFERRED ? "deferred"
                                          : "ready";
}

static void put_row(struct control_scan *scan, const struct queue *queue, const struct rcpt *rcpt)
{
    const struct message *message = rcpt_message(rcpt);
    uint64_t now_ms = io_now_ms(scan->worker->io);
    int64_t age_ms = (int64_t)now_ms - message->accepted_ms;
    struct json_writer writer;
    char id[21];
    message_id_text(spool_log_id(spools_of(scan->job->engine->spools, message)),
                    message_id(message), id);
    json_writer_init(&writer, &scan->page);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "rcpt", bytes_slice(rcpt_address(rcpt), 0, TEXT_MAX));
    json_put_string(&writer, "orig", bytes_slice(message_sender(message), 0, TEXT_MAX));
    json_put_string(&writer, "queue", bytes_from_string(queue->site->name));
    json_put_string(&writer, "state", bytes_from_string(state_name(rcpt)));
    put_text(&writer, "jobId", message_job(message));
    put_text(&writer, "envId", message_envid(message));
    json_put_string(&writer, "msgId", bytes_from_string(id));
    json_put_u64(&writer, "ageMs", age_ms > 0 ? (uint64_t)age_ms : 0);
    if (rcpt->state == RCPT_DEFERRED && !rcpt->parked) {
        uint64_t due_ms = rcpt->deferred.key;
        json_put_u64(&writer, "retryInMs", due_ms > now_ms ? due_ms - now_ms : 0);
    }
    json_put_u64(&writer, "attempts", rcpt->attempts);
    json_put_u64(&writer, "bytes", message->body_size);
    json_end_object(&writer);
    buffer_put_char(&scan->page, '\n');
    assert(!scan->page.overflowed);
}

static void list_found(struct control_scan *scan, struct queue *queue, struct rcpt *rcpt)
{
    assert(scan->rows_left > 0);
    scan->rows_left--;
    scan->count++;
    put_row(scan, queue, rcpt);
}

const struct control_scan_kind control_list = {.needs_rows = true, .found = list_found};

void control_answer_list(struct control_job *job, struct json_writer *writer)
{
    json_put_u64(writer, "rows", job->scan->count);
    json_put_bool(writer, "more", job->scan->more);
}

/* ---- delete ---- */

/* On the wire it cannot be taken back: what is not delivered now is not tried again. */
static void delete_found(struct control_scan *scan, struct queue *queue, struct rcpt *rcpt)
{
    bool on_wire = rcpt->state == RCPT_TAKEN;
    scan->on_wire += on_wire ? 1 : 0;
    scan->count += on_wire ? 0 : 1;
    if (scan->dry_run) {
        return;
    }
    rcpt->condemned = true;
    if (on_wire) {
        return;
    }
    const struct message *message = rcpt_message(rcpt);
    bool removed = queue_remove(queue, rcpt);
    assert(removed);
    outcome_expired(scan->worker->outcomes, queue, rcpt);
    scan->scan.left -= scan->scan.left < DELETE_COST ? scan->scan.left : DELETE_COST;
    control_scan_wrote(scan, message);
}

const struct control_scan_kind control_delete = {.needs_selector = true, .found = delete_found};

void control_answer_delete(struct control_job *job, struct json_writer *writer)
{
    json_put_u64(writer, job->scan->dry_run ? "wouldDelete" : "deleted", job->scan->count);
    json_put_u64(writer, "onTheWire", job->scan->on_wire);
}
