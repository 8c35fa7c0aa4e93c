/* Sites as rows of a reply: each worker collects its own, the answer puts all of them in order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attempt.h"
#include "control_private.h"
#include "io/io.h"
#include "queue.h"
#include "schedule.h"
#include "site_mode.h"

void control_free_rows(struct control_question *question)
{
    for (size_t i = 0; i < question->row_count; i++) {
        free(question->rows[i].name);
        free(question->rows[i].last_error);
        free(question->rows[i].disabled);
    }
    free(question->rows);
}

/* ---- rows of sites ---- */

static void fill_mode(struct control_row *row, const struct site *site, uint64_t now_ms)
{
    if (site->mode == NULL) {
        return;
    }
    const struct mode *mode = &site->mode->state;
    row->backoff = mode->backoff;
    row->backoff_since_ms = mode->backoff ? now_ms - mode->since_ms : 0;
    row->now_ms = now_ms;
    if (mode->disabled_count > 0) {
        row->disabled = calloc(mode->disabled_count, sizeof *row->disabled);
    }
    if (row->disabled != NULL) {
        row->disabled_count = mode->disabled_count;
        memcpy(row->disabled, mode->disabled, mode->disabled_count * sizeof *row->disabled);
    }
}

void control_add_queues(struct control_row *row, const struct site *site)
{
    row->connections += site->attempt_count;
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        const struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        row->rcpts += queue_rcpt_count(queue);
        row->ready += queue->ready_count;
        row->bytes += queue->bytes;
    }
}

static void fill_row(struct control_row *row, const struct site *site, uint64_t now_ms)
{
    row->name = strdup(site->name);
    control_add_queues(row, site);
    row->delivered = site->delivered;
    row->deferred = site->deferred;
    row->bounced = site->bounced;
    row->orphaned = site->lane->settings == NULL;
    fill_mode(row, site, now_ms);
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        const struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        row->paused |= queue->paused;
        if (queue->not_before_ms > now_ms && queue->not_before_ms - now_ms > row->retry_in_ms) {
            row->retry_in_ms = queue->not_before_ms - now_ms;
        }
        if (queue->last_error != NULL && row->last_error == NULL) {
            row->last_error = strdup(queue->last_error->text);
            int64_t age_ms = io_wall_ms(site->scheduler->io) - queue->last_error->wall_ms;
            row->last_error_age_ms = age_ms > 0 ? (uint64_t)age_ms : 0;
        }
    }
}

static void add_row(void *owner, struct site *site)
{
    struct control_question *question = owner;
    if (question->row_count == CONTROL_ROWS_MAX) {
        return;
    }
    if (question->row_count == question->row_capacity) {
        size_t capacity = question->row_capacity == 0 ? 64 : question->row_capacity * 2;
        struct control_row *grown = realloc(question->rows, capacity * sizeof *grown);
        if (grown == NULL) {
            return;
        }
        question->rows = grown;
        question->row_capacity = capacity;
    }
    struct control_row *row = &question->rows[question->row_count++];
    *row = (struct control_row){0};
    fill_row(row, site, io_now_ms(question->worker->io));
}

void control_collect_rows(struct control_question *question)
{
    schedule_each_site(question->worker->scheduler, question->job->pattern, add_row, question);
}

/* All workers' rows in one array of pointers; the count. */
struct control_row **control_all_rows(const struct control_job *job, size_t *count)
{
    size_t total = 0;
    for (uint32_t i = 0; i < job->engine->worker_count; i++) {
        total += job->questions[i].row_count;
    }
    struct control_row **rows = calloc(total + 1, sizeof *rows);
    *count = 0;
    for (uint32_t i = 0; rows != NULL && i < job->engine->worker_count; i++) {
        for (size_t place = 0; place < job->questions[i].row_count; place++) {
            rows[(*count)++] = &job->questions[i].rows[place];
        }
    }
    return rows;
}

int control_by_name(const void *left, const void *right)
{
    const struct control_row *const *a = left, *const *b = right;
    return strcmp((*a)->name, (*b)->name);
}

static int by_rcpts(const void *left, const void *right)
{
    const struct control_row *const *a = left, *const *b = right;
    if ((*a)->rcpts != (*b)->rcpts) {
        return (*a)->rcpts < (*b)->rcpts ? 1 : -1;
    }
    return strcmp((*a)->name, (*b)->name);
}

static void put_row(struct json_writer *writer, const struct control_row *row, bool is_queue)
{
    json_begin_object(writer, NULL);
    json_put_string(writer, "name", bytes_from_string(row->name));
    json_put_u64(writer, "rcpts", row->rcpts);
    json_put_u64(writer, "ready", row->ready);
    json_put_u64(writer, "bytes", row->bytes);
    json_put_u64(writer, "kbytes", row->bytes / 1024);
    json_put_u64(writer, "connections", row->connections);
    json_put_u64(writer, "delivered", row->delivered);
    json_put_u64(writer, "deferred", row->deferred);
    json_put_u64(writer, "bounced", row->bounced);
    if (is_queue) {
        json_put_bool(writer, "paused", row->paused);
        json_put_bool(writer, "orphaned", row->orphaned);
        json_put_string(writer, "mode", row->backoff ? BYTES("backoff") : BYTES("normal"));
        if (row->backoff) {
            json_put_u64(writer, "backoffSinceMs", row->backoff_since_ms);
        }
        json_put_u64(writer, "disabledSources", row->disabled_count);
        json_put_u64(writer, "retryInMs", row->retry_in_ms);
        json_put_string(writer, "lastError", bytes_from_string(row->last_error));
        if (row->last_error != NULL) {
            json_put_u64(writer, "lastErrorAgeMs", row->last_error_age_ms);
        }
    }
    json_end_object(writer);
}

/* Whether the reply takes one row more and its end: a name and an error in words at their longest,
 * each byte escaped, take half of this. */
bool control_has_room(const struct json_writer *writer)
{
    return buffer_room(writer->out) > 16 * 1024;
}

static void put_rows(struct control_job *job, struct json_writer *writer, const char *name,
                     int (*order)(const void *, const void *))
{
    size_t count;
    struct control_row **rows = control_all_rows(job, &count);
    if (rows != NULL) {
        qsort(rows, count, sizeof *rows, order);
    }
    json_begin_array(writer, name);
    for (size_t i = 0; rows != NULL && i < count && i < job->max_items && control_has_room(writer);
         i++) {
        put_row(writer, rows[i], true);
    }
    json_end_array(writer);
    json_put_u64(writer, "total", count);
    free(rows);
}

void control_answer_queues(struct control_job *job, struct json_writer *writer)
{
    put_rows(job, writer, "queues", control_by_name);
}

void control_answer_top_queues(struct control_job *job, struct json_writer *writer)
{
    put_rows(job, writer, "queues", by_rcpts);
}

/* ---- sums by domain or by virtual MTA ---- */

/* Cuts each name to its key, so that equal keys stand side by side after sorting by name. */
static void cut_names(struct control_row **rows, size_t count, bool by_domain)
{
    for (size_t i = 0; i < count; i++) {
        char *slash = strchr(rows[i]->name, '/');
        if (slash == NULL) {
            continue;
        }
        if (by_domain) {
            *slash = '\0';
        } else {
            memmove(rows[i]->name, slash + 1, strlen(slash + 1) + 1);
        }
    }
}

static void add_up(struct control_row *sum, const struct control_row *row)
{
    sum->rcpts += row->rcpts;
    sum->ready += row->ready;
    sum->bytes += row->bytes;
    sum->connections += row->connections;
    sum->delivered += row->delivered;
    sum->deferred += row->deferred;
    sum->bounced += row->bounced;
}

/* order: of the sums; NULL: by name. */
static void put_sums(struct control_job *job, struct json_writer *writer, const char *name,
                     bool by_domain, int (*order)(const void *, const void *))
{
    size_t count, kept = 0;
    struct control_row **rows = control_all_rows(job, &count);
    if (rows == NULL) {
        return;
    }
    cut_names(rows, count, by_domain);
    qsort(rows, count, sizeof *rows, control_by_name);
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && strcmp(rows[kept - 1]->name, rows[i]->name) == 0) {
            add_up(rows[kept - 1], rows[i]);
        } else {
            rows[kept++] = rows[i];
        }
    }
    if (order != NULL) {
        qsort(rows, kept, sizeof *rows, order);
    }
    json_begin_array(writer, name);
    for (size_t i = 0; i < kept && i < job->max_items && control_has_room(writer); i++) {
        put_row(writer, rows[i], false);
    }
    json_end_array(writer);
    json_put_u64(writer, "total", kept);
    free(rows);
}

void control_answer_domains(struct control_job *job, struct json_writer *writer)
{
    put_sums(job, writer, "domains", true, NULL);
}

void control_answer_top_domains(struct control_job *job, struct json_writer *writer)
{
    put_sums(job, writer, "domains", true, by_rcpts);
}

void control_answer_vmtas(struct control_job *job, struct json_writer *writer)
{
    put_sums(job, writer, "vmtas", false, NULL);
}
