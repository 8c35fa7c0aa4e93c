/* `set queue --mode`, `disable source`, `enable source`, `show disabled sources`: what operators do
 * to modes and source addresses of queues that exist. */
#include <stdlib.h>
#include <string.h>

#include "control_private.h"
#include "policy/settings.h"
#include "schedule.h"
#include "site_mode.h"

#define BY_HAND "by command"

static void take_mode(struct control_job *job, const struct json *request)
{
    const char *mode = json_get_string(request, "mode");
    if (mode != NULL && strcmp(mode, "backoff") == 0) {
        job->change.kind = CONTROL_TO_BACKOFF;
    } else if (mode != NULL && strcmp(mode, "normal") == 0) {
        job->change.kind = CONTROL_TO_NORMAL;
    } else {
        error_set(&job->error, 64, "mode is neither normal nor backoff");
    }
}

static void take_source(struct control_job *job, const struct json *request)
{
    const char *source = json_get_string(request, "source");
    if (source == NULL || !address_parse(bytes_from_string(source), &job->change.source)) {
        error_set(&job->error, 64, "source '%s' is no address", source == NULL ? "" : source);
    }
    int64_t after_ms = json_get_integer(request, "reenableAfterMs", 0);
    job->change.for_ms = after_ms > 0 ? (uint64_t)after_ms : NEVER;
}

void control_take_change(struct control_job *job, const struct json *request)
{
    if (strcmp(job->command->name, "set queue") == 0) {
        take_mode(job, request);
        return;
    }
    bool enables = strcmp(job->command->name, "enable source") == 0;
    job->change.kind = enables ? CONTROL_ENABLE : CONTROL_DISABLE;
    take_source(job, request);
}

static bool change(struct site *site, const struct control_change *change)
{
    switch (change->kind) {
    case CONTROL_TO_BACKOFF:
        schedule_enter_backoff(site, site->settings->backoff_to_normal_after_ms, NULL, BY_HAND);
        return true;
    case CONTROL_TO_NORMAL:
        schedule_leave_backoff(site, BY_HAND);
        return true;
    case CONTROL_DISABLE:
        if (!vmta_has_source(&site->lane->vmta, &change->source)) {
            return false; /* not one of its addresses */
        }
        schedule_disable_source(site, &change->source, change->for_ms, BY_HAND);
        return true;
    case CONTROL_ENABLE:
        return schedule_enable_source(site, &change->source);
    }
    return false;
}

static void change_site(void *owner, struct site *site)
{
    struct control_question *question = owner;
    if (change(site, &question->job->change)) {
        question->result++;
    }
}

void control_change_at_worker(struct control_question *question)
{
    schedule_each_site(question->worker->scheduler, question->job->pattern, change_site, question);
}

static void put_source(struct json_writer *writer, const struct control_row *row,
                       const struct mode_disabled *disabled)
{
    char text[ADDRESS_TEXT_MAX];
    json_begin_object(writer, NULL);
    json_put_string(writer, "source", bytes_from_string(address_text(&disabled->address, text)));
    json_put_string(writer, "queue", bytes_from_string(row->name));
    if (disabled->until_ms != NEVER) {
        json_put_u64(writer, "reenabledInMs",
                     disabled->until_ms > row->now_ms ? disabled->until_ms - row->now_ms : 0);
    }
    json_end_object(writer);
}

void control_answer_sources(struct control_job *job, struct json_writer *writer)
{
    size_t count, total = 0;
    struct control_row **rows = control_all_rows(job, &count);
    if (rows != NULL) {
        qsort(rows, count, sizeof *rows, control_by_name);
    }
    json_begin_array(writer, "sources");
    for (size_t i = 0; rows != NULL && i < count; i++) {
        for (uint32_t place = 0; place < rows[i]->disabled_count; place++) {
            if (total++ < job->max_items && control_has_room(writer)) {
                put_source(writer, rows[i], &rows[i]->disabled[place]);
            }
        }
    }
    json_end_array(writer);
    json_put_u64(writer, "total", total);
    free(rows);
}
