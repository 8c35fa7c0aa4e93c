/* A request becomes a job; a job asks every worker one question by letter, and when the last answer
 * is home the reply is written. Rows are collected as they are and put in order at the end. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accounting.h"
#include "attempt.h"
#include "base/arena.h"
#include "base/logger.h"
#include "control_private.h"
#include "control_scan.h"
#include "io/io.h"
#include "log_rotation.h"
#include "policy/config.h"
#include "policy/domain.h"
#include "policy/explain.h"
#include "queue.h"
#include "schedule.h"
#include "session.h"
#include "spools.h"

/* ---- the course of a job ---- */

static void free_job(struct control_job *job)
{
    for (uint32_t i = 0; i < job->engine->worker_count; i++) {
        control_free_rows(&job->questions[i]);
    }
    route_unref(job->route);
    control_scan_free(job->scan);
    free(job);
}

static void put_error(struct json_writer *writer, const struct error *error)
{
    json_put_string(writer, "status", BYTES("error"));
    json_put_u64(writer, "code", (uint64_t)error->code);
    json_put_string(writer, "message", bytes_from_string(error->text));
}

static void put_reply(struct control_job *job, struct buffer *out)
{
    struct json_writer writer;
    json_writer_init(&writer, out);
    json_begin_object(&writer, NULL);
    if (job->error.code != 0) {
        put_error(&writer, &job->error);
    } else {
        json_put_string(&writer, "status", BYTES("success"));
        job->command->answer(job, &writer);
    }
    if (job->command != NULL && job->command->scan != NULL) {
        json_put_bool(&writer, "end", true);
    }
    json_end_object(&writer);
}

static void write_reply(struct control_job *job)
{
    struct control_client *client = job->client;
    char *memory = malloc(CONTROL_REPLY_MAX);
    struct buffer out;
    if (memory != NULL) {
        buffer_init(&out, memory, CONTROL_REPLY_MAX - 1);
        put_reply(job, &out);
        if (out.overflowed) {
            error_set(&job->error, 74, "the answer is longer than %d bytes: ask for less",
                      CONTROL_REPLY_MAX);
            buffer_clear(&out);
            put_reply(job, &out);
        }
        memory[out.len++] = '\n';
    }
    size_t len = memory == NULL ? 0 : out.len;
    free_job(job);
    control_reply(client, memory, len);
}

void control_finish(struct control_job *job, bool gone)
{
    struct control_client *client = job->client;
    if (!gone) {
        write_reply(job);
        return;
    }
    free_job(job);
    control_reply(client, NULL, 0);
}

static void on_answer(struct letter *letter)
{
    struct control_question *question = CONTAINER_OF(letter, struct control_question, letter);
    struct control_job *job = question->job;
    if (question->result == -ENOSPC && job->error.code == 0) {
        error_set(&job->error, 73, "%d pauses are kept already: resume some of them", PAUSES_MAX);
    }
    if (--job->outstanding == 0) {
        write_reply(job);
    }
}

static void on_question(struct letter *letter)
{
    struct control_question *question = CONTAINER_OF(letter, struct control_question, letter);
    struct engine *engine = question->job->engine;
    question->job->command->at_worker(question);
    letter->deliver = on_answer;
    mailbox_post(engine->mailboxes, question->worker->index, ENGINE_KEEPER, MAILBOX_URGENT, letter);
}

static void ask_workers(struct control_job *job)
{
    struct engine *engine = job->engine;
    job->outstanding = engine->worker_count;
    for (uint32_t i = 0; i < engine->worker_count; i++) {
        struct control_question *question = &job->questions[i];
        question->job = job;
        question->worker = &engine->workers[i];
        question->letter.deliver = on_question;
        mailbox_post(engine->mailboxes, ENGINE_KEEPER, i, MAILBOX_URGENT, &question->letter);
    }
}

/* ---- status and version ---- */

static void count_worker(struct control_question *question)
{
    const struct worker *worker = question->worker;
    const struct scheduler *scheduler = worker->scheduler;
    struct sessions_status sessions;
    sessions_status(worker->sessions, &sessions);
    struct dummy_smtp_status sink;
    dummy_smtp_status(worker->dummy_smtp, &sink);
    question->totals = (struct control_totals){
        .rcpts = scheduler->rcpt_count,
        .connections = scheduler->attempt_count,
        .sites = map_count(&scheduler->sites),
        .delivered = scheduler->delivered_rcpts,
        .deferred = scheduler->deferred_rcpts,
        .bounced = scheduler->bounced_rcpts,
        .costly_replies = scheduler->costly_replies,
        .opened = scheduler->opened,
        .turns = worker->turns,
        .sessions = sessions.open,
        .messages_in = sessions.messages,
        .rcpts_in = sessions.recipients,
        .messages_refused = sessions.messages_refused,
        .sink = sink,
    };
}

static struct control_totals sum_totals(const struct control_job *job)
{
    struct control_totals sum = {0};
    for (uint32_t i = 0; i < job->engine->worker_count; i++) {
        const struct control_totals *one = &job->questions[i].totals;
        sum.rcpts += one->rcpts;
        sum.connections += one->connections;
        sum.sites += one->sites;
        sum.delivered += one->delivered;
        sum.deferred += one->deferred;
        sum.bounced += one->bounced;
        sum.costly_replies += one->costly_replies;
        sum.opened += one->opened;
        sum.turns += one->turns;
        sum.sessions += one->sessions;
        sum.messages_in += one->messages_in;
        sum.rcpts_in += one->rcpts_in;
        sum.messages_refused += one->messages_refused;
        sum.sink.connections += one->sink.connections;
        sum.sink.messages += one->sink.messages;
        sum.sink.recipients += one->sink.recipients;
        sum.sink.bytes += one->sink.bytes;
    }
    return sum;
}

static void put_spool(struct json_writer *writer, const struct spool_status *spool)
{
    json_put_u64(writer, "segments", spool->segments);
    json_put_u64(writer, "segmentsFree", spool->segments_free);
    json_put_u64(writer, "bytesUsed", spool->bytes_used);
    json_put_u64(writer, "bytesLive", spool->bytes_live);
    if (spool->bytes_max <= INT64_MAX) { /* else there is no limit */
        json_put_u64(writer, "bytesMax", spool->bytes_max);
    }
    json_put_u64(writer, "messages", spool->messages);
    json_put_u64(writer, "recipients", spool->recipients);
    json_put_u64(writer, "syncs", spool->syncs);
    json_put_u64(writer, "syncFailures", spool->sync_failures);
    json_put_u64(writer, "damagedRecords", spool->damaged_records);
    json_put_u64(writer, "reclaimedSegments", spool->reclaimed_segments);
    json_put_string(writer, "hold", bytes_from_string(spool->hold_reason));
}

/* The sum, and one for each log. */
static void put_spools(struct json_writer *writer, const struct spools *spools)
{
    struct spool_status sum;
    uint32_t count;
    spools_status(spools, &sum);
    spools_all(spools, &count);
    json_begin_object(writer, "spool");
    put_spool(writer, &sum);
    json_end_object(writer);
    json_begin_array(writer, "spools");
    for (uint32_t i = 0; i < count; i++) {
        struct spools_log log;
        char log_id[17];
        spools_log_status(spools, i, &log);
        snprintf(log_id, sizeof log_id, "%016" PRIx64, log.log_id);
        json_begin_object(writer, NULL);
        json_put_string(writer, "directory", bytes_from_string(log.directory));
        json_put_string(writer, "logId", bytes_from_string(log_id));
        json_put_u64(writer, "priority", log.priority);
        json_put_bool(writer, "home", log.home);
        json_put_bool(writer, "deliverOnly", log.deliver_only);
        put_spool(writer, &log.status);
        json_end_object(writer);
    }
    json_end_array(writer);
}

/* What the built-in sink has thrown away: no part of the traffic. */
static void put_sink(struct json_writer *writer, const struct dummy_smtp_status *sink)
{
    json_begin_object(writer, "dummySmtp");
    json_put_u64(writer, "connections", sink->connections);
    json_put_u64(writer, "messages", sink->messages);
    json_put_u64(writer, "recipients", sink->recipients);
    json_put_u64(writer, "bytes", sink->bytes);
    json_end_object(writer);
}

static void answer_status(struct control_job *job, struct json_writer *writer)
{
    struct engine *engine = job->engine;
    struct control_totals sum = sum_totals(job);
    json_put_string(writer, "version", BYTES(POSTHASTE_VERSION));
    json_put_string(writer, "state",
                    engine->state == ENGINE_RUNNING ? BYTES("running") : BYTES("draining"));
    json_put_u64(writer, "workers", engine->worker_count);
    json_put_u64(writer, "uptimeMs",
                 io_now_ms(engine->workers[ENGINE_KEEPER].io) - engine->started_ms);
    json_begin_object(writer, "traffic");
    json_put_u64(writer, "messagesIn", sum.messages_in);
    json_put_u64(writer, "rcptsIn", sum.rcpts_in);
    json_put_u64(writer, "messagesRefused", sum.messages_refused);
    json_put_u64(writer, "delivered", sum.delivered);
    json_put_u64(writer, "deferred", sum.deferred);
    json_put_u64(writer, "bounced", sum.bounced);
    json_put_u64(writer, "costlyReplies", sum.costly_replies);
    json_end_object(writer);
    json_begin_object(writer, "connections");
    json_put_u64(writer, "in", sum.sessions);
    json_put_u64(writer, "out", sum.connections);
    json_put_u64(writer, "opened", sum.opened);
    json_end_object(writer);
    if (config_global(engine->config)->dummy_smtp_port != 0) {
        put_sink(writer, &sum.sink);
    }
    json_begin_object(writer, "queue");
    json_put_u64(writer, "rcpts", sum.rcpts);
    json_put_u64(writer, "queues", sum.sites);
    json_end_object(writer);
    put_spools(writer, engine->spools);
    json_put_u64(writer, "memoryBytes", memory_allocated());
}

static void answer_version(struct control_job *job, struct json_writer *writer)
{
    json_put_string(writer, "version", BYTES(POSTHASTE_VERSION));
    json_put_string(writer, "io",
                    bytes_from_string(io_features(job->engine->workers[ENGINE_KEEPER].io)));
}

/* ---- settings and routes ---- */

static void put_setting(void *to, const struct explain_line *line)
{
    struct json_writer *writer = to;
    json_begin_object(writer, NULL);
    json_put_string(writer, "name", bytes_from_string(line->name));
    json_put_string(writer, "value", line->value);
    json_put_string(writer, "file", bytes_from_string(line->file));
    json_put_u64(writer, "line", line->line);
    json_put_bool(writer, "inEffect", line->in_effect);
    json_begin_array(writer, "overrides");
    for (size_t i = 0; i < line->overridden_count; i++) {
        json_begin_object(writer, NULL);
        json_put_string(writer, "value", line->overridden[i].value);
        json_put_string(writer, "file", bytes_from_string(line->overridden[i].file));
        json_put_u64(writer, "line", line->overridden[i].line);
        json_end_object(writer);
    }
    json_end_array(writer);
    json_end_object(writer);
}

void control_split_queue(const struct control_job *job, struct bytes *domain, struct bytes *vmta)
{
    struct bytes name = bytes_from_string(job->pattern);
    ptrdiff_t slash = bytes_find(name, '/', 0);
    *domain = slash < 0 ? name : bytes_slice(name, 0, (size_t)slash);
    *vmta = slash < 0 ? BYTES("{default}") : bytes_slice(name, (size_t)slash + 1, name.len);
}

static void answer_settings(struct control_job *job, struct json_writer *writer)
{
    struct bytes domain, vmta_name;
    control_split_queue(job, &domain, &vmta_name);
    const struct config *config = job->engine->config;
    const struct config_vmta *vmta = config_vmta(config, vmta_name);
    json_put_bool(writer, "orphaned", vmta == NULL);
    json_begin_array(writer, "settings");
    struct explain_sink sink = {.on_line = put_setting, .to = writer};
    explain_domain(config, vmta, domain, &sink);
    if (vmta != NULL) {
        explain_vmta(config, vmta, &sink);
    }
    json_end_array(writer);
}

static void put_host(struct json_writer *writer, const struct route *route,
                     const struct route_host *host)
{
    json_begin_object(writer, NULL);
    json_put_string(writer, "host", bytes_from_string(host->name));
    json_put_u64(writer, "preference", host->preference);
    json_begin_array(writer, "addresses");
    for (uint32_t i = 0; i < host->address_count; i++) {
        char text[ADDRESS_TEXT_MAX];
        const struct address *address = &route->addresses[host->first_address + i];
        json_put_string(writer, NULL, bytes_from_string(address_port_text(address, text)));
    }
    json_end_array(writer);
    json_end_object(writer);
}

static void answer_resolve(struct control_job *job, struct json_writer *writer)
{
    json_put_string(writer, "domain", bytes_from_string(job->pattern));
    if (job->route == NULL) {
        char text[REPLY_TEXT_MAX + 32];
        struct buffer out;
        buffer_init(&out, text, sizeof text);
        reply_print(&job->resolve.failure, &out);
        json_put_string(writer, "failure", buffer_bytes(&out));
        return;
    }
    json_begin_array(writer, "hosts");
    for (uint32_t i = 0; i < job->route->host_count; i++) {
        put_host(writer, job->route, &job->route->hosts[i]);
    }
    json_end_array(writer);
}

static void on_resolved(struct resolve_request *request, struct route *route)
{
    struct control_job *job = CONTAINER_OF(request, struct control_job, resolve);
    list_remove(&job->node);
    job->route = route;
    write_reply(job);
}

/* ---- what acts ---- */

static void pause_at_worker(struct control_question *question)
{
    question->result = schedule_pause(question->worker->scheduler, question->job->pattern);
}

/* The rows say which queues stay paused, by a wider pattern. */
static void resume_at_worker(struct control_question *question)
{
    question->result = schedule_resume(question->worker->scheduler, question->job->pattern);
    control_collect_rows(question);
}

static void retry_at_worker(struct control_question *question)
{
    question->result = (int)schedule_retry_now(question->worker->scheduler, question->job->pattern);
}

void control_answer_count(struct control_job *job, struct json_writer *writer)
{
    int64_t count = 0;
    for (uint32_t i = 0; i < job->engine->worker_count; i++) {
        count += job->questions[i].result > 0 ? job->questions[i].result : 0;
    }
    json_put_i64(writer, "queues", count);
}

static void keep_pause(struct control_job *job, bool paused)
{
    char key[600];
    snprintf(key, sizeof key, "pause:%s", job->pattern);
    spool_put_state(spools_home(job->engine->spools), ENGINE_KEEPER, bytes_from_string(key),
                    paused ? BYTES("1") : BYTES(""));
}

static void answer_pause(struct control_job *job, struct json_writer *writer)
{
    keep_pause(job, true);
    control_answer_count(job, writer);
    const char *slash = strchr(job->pattern, '/');
    struct bytes vmta = bytes_from_string(slash == NULL ? "" : slash + 1);
    if (strpbrk(job->pattern, "*?[") == NULL) {
        json_put_bool(writer, "vmtaKnown", config_vmta(job->engine->config, vmta) != NULL);
    }
}

/* The first pause that holds a queue, or NULL. */
static const char *holding_pause(const struct control_job *job, const char *queue)
{
    const struct pauses *pauses = &job->engine->schedulers[ENGINE_KEEPER]->pauses;
    const char *pattern;
    for (size_t i = 0; (pattern = pauses_at(pauses, i)) != NULL; i++) {
        if (pauses_covers(pattern, queue)) {
            return pattern;
        }
    }
    return NULL;
}

static void answer_resume(struct control_job *job, struct json_writer *writer)
{
    uint64_t still_paused = 0;
    const char *paused_by = NULL;
    for (uint32_t i = 0; i < job->engine->worker_count; i++) {
        const struct control_question *question = &job->questions[i];
        for (size_t place = 0; place < question->row_count; place++) {
            if (question->rows[place].paused) {
                still_paused++;
                paused_by = holding_pause(job, question->rows[place].name);
            }
        }
    }
    control_answer_count(job, writer);
    json_put_u64(writer, "pauses", job->forgotten);
    json_put_u64(writer, "stillPaused", still_paused);
    json_put_string(writer, "pausedBy", bytes_from_string(paused_by));
}

static void answer_nothing(struct control_job *job, struct json_writer *writer)
{
    (void)job;
    (void)writer;
}

const struct control_command control_commands[] = {
    {"show status", count_worker, answer_status},
    {"show version", NULL, answer_version},
    {"show queues", control_collect_rows, control_answer_queues},
    {"show queue", control_collect_rows, control_answer_queues},
    {"show topqueues", control_collect_rows, control_answer_top_queues},
    {"show domains", control_collect_rows, control_answer_domains},
    {"show topdomains", control_collect_rows, control_answer_top_domains},
    {"show providers", control_collect_providers, control_answer_providers},
    {"show vmtas", control_collect_rows, control_answer_vmtas},
    {"show settings", NULL, answer_settings},
    {"resolve", NULL, answer_resolve},
    {"test-bounce", NULL, control_answer_reply},
    {"show disabled sources", control_collect_rows, control_answer_sources},
    {"set queue", control_change_at_worker, control_answer_count},
    {"disable source", control_change_at_worker, control_answer_count},
    {"enable source", control_change_at_worker, control_answer_count},
    {"list", NULL, control_answer_list, &control_list},
    {"delete", NULL, control_answer_delete, &control_delete},
    {"show jobs", NULL, control_answer_jobs, &control_show_jobs},
    {"pause job", NULL, control_answer_job, &control_pause_job},
    {"resume job", NULL, control_answer_job, &control_resume_job},
    {"pause queue", pause_at_worker, answer_pause},
    {"resume queue", resume_at_worker, answer_resume},
    {"schedule", retry_at_worker, control_answer_count},
    {"reload", NULL, answer_nothing},
    {"drain", NULL, answer_nothing},
    {"rotate log", NULL, answer_nothing},
    {"rotate acct", NULL, answer_nothing},
    {NULL, NULL, NULL},
};

/* ---- from a request to a job ---- */

static const struct control_command *find_command(const char *name)
{
    for (const struct control_command *command = control_commands; command->name != NULL;
         command++) {
        if (name != NULL && strcmp(command->name, name) == 0) {
            return command;
        }
    }
    return NULL;
}

static bool is_command(const struct control_job *job, const char *name)
{
    return strcmp(job->command->name, name) == 0;
}

static struct control_job *create_job(struct control_client *client, struct bytes line)
{
    struct engine *engine = client->control->engine;
    struct control_job *job =
        calloc(1, sizeof *job + engine->worker_count * sizeof job->questions[0]);
    if (job == NULL) {
        return NULL;
    }
    job->client = client;
    job->engine = engine;
    struct json *request = json_parse(line, CONTROL_LINE_MAX, &job->error);
    if (request == NULL) {
        job->error.code = 64;
        return job;
    }
    const char *name = json_get_string(request, "command");
    const char *pattern = json_get_string(request, "queue");
    job->command = find_command(name);
    snprintf(job->pattern, sizeof job->pattern, "%s", pattern == NULL ? "*" : pattern);
    job->max_items = (uint64_t)json_get_integer(request, "maxitems", CONTROL_ITEMS_DEFAULT);
    if (job->command == NULL) {
        error_set(&job->error, 64, "unknown command '%s'", name == NULL ? "" : name);
    } else if (is_command(job, "test-bounce")) {
        control_take_reply(job, request);
    } else if (job->command->at_worker == control_change_at_worker) {
        control_take_change(job, request);
    } else if (job->command->scan != NULL) {
        control_scan_create(job, request);
        return job;
    }
    json_free(request);
    return job;
}

static void start_resolve(struct control_job *job)
{
    struct worker *worker = &job->engine->workers[ENGINE_KEEPER];
    job->resolve.done = on_resolved;
    list_push_back(&job->client->control->resolving, &job->node);
    resolve_domain(worker->resolver, &job->resolve, job->pattern,
                   config_domain(worker->config, NULL, bytes_from_string(job->pattern)), true,
                   true);
}

void control_reload(struct control *control)
{
    for (struct list_node *node = list_first(&control->resolving); node != NULL;
         node = list_next(&control->resolving, node)) {
        struct control_job *job = CONTAINER_OF(node, struct control_job, node);
        resolve_change_settings(&job->resolve, config_domain(control->engine->config, NULL,
                                                             bytes_from_string(job->pattern)));
    }
}

/* Every pause that the pattern covers is forgotten on disk, too. */
static void forget_pauses(struct control_job *job)
{
    const struct pauses *pauses = &job->engine->schedulers[ENGINE_KEEPER]->pauses;
    struct control_job one = {.engine = job->engine};
    const char *pattern;
    for (size_t i = 0; (pattern = pauses_at(pauses, i)) != NULL; i++) {
        if (pauses_covers(job->pattern, pattern)) {
            snprintf(one.pattern, sizeof one.pattern, "%s", pattern);
            keep_pause(&one, false);
            job->forgotten++;
        }
    }
}

void control_start(struct control_client *client, struct bytes line)
{
    struct control_job *job = create_job(client, line);
    if (job == NULL) {
        control_reply(client, NULL, 0);
        return;
    }
    if (job->error.code != 0) {
        write_reply(job);
    } else if (job->command->scan != NULL) {
        control_scan_start(job);
    } else if (is_command(job, "resolve")) {
        start_resolve(job);
    } else if (job->command->at_worker != NULL) {
        if (is_command(job, "resume queue")) {
            forget_pauses(job);
        }
        ask_workers(job);
    } else {
        if (is_command(job, "reload")) {
            engine_reload(job->engine, &job->error);
        } else if (is_command(job, "drain")) {
            engine_drain(job->engine);
        } else if (is_command(job, "rotate log")) {
            log_rotation_now(job->engine->config, &job->error);
        } else if (is_command(job, "rotate acct")) {
            accounting_rotate(job->engine->accounting);
        }
        write_reply(job);
    }
}
