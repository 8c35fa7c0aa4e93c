/* `show providers`: what all sites whose domain names a provider do together, and what it allows.
 * Each worker sums up its own sites; the answer goes by the configuration, in its order. */
#include <stdlib.h>
#include <string.h>

#include "control_private.h"
#include "policy/config.h"
#include "policy/domain.h"
#include "policy/value.h"
#include "queue.h"
#include "schedule.h"

#define PROVIDERS_MAX 10000 /* rows of one worker */

/* A row for each provider of the worker's configuration, in its order. */
static void make_rows(struct control_question *question)
{
    size_t count;
    const struct config_provider *providers = config_providers(question->worker->config, &count);
    count = count < PROVIDERS_MAX ? count : PROVIDERS_MAX;
    question->rows = calloc(count + 1, sizeof *question->rows);
    for (size_t i = 0; question->rows != NULL && i < count; i++) {
        char *name = strndup(providers[i].name.data, providers[i].name.len);
        if (name == NULL) {
            break;
        }
        question->rows[question->row_count++] = (struct control_row){.name = name};
    }
}

static void add_site(void *owner, struct site *site)
{
    struct control_question *question = owner;
    const struct config *config = question->worker->config;
    size_t count;
    const struct config_provider *providers = config_providers(config, &count);
    const struct config_provider *provider = config_provider(config, site->settings->provider);
    size_t place = provider == NULL ? SIZE_MAX : (size_t)(provider - providers);
    if (place < question->row_count) {
        control_add_queues(&question->rows[place], site);
    }
}

void control_collect_providers(struct control_question *question)
{
    make_rows(question);
    schedule_each_site(question->worker->scheduler, "*", add_site, question);
}

static void put_limit(struct json_writer *writer, const char *name, enum value_type type,
                      const union value *value)
{
    char memory[64];
    struct buffer out;
    buffer_init(&out, memory, sizeof memory);
    value_print(type, "", value, &out);
    json_put_string(writer, name, buffer_bytes(&out));
}

static void put_provider(struct control_job *job, struct json_writer *writer,
                         const struct config_provider *provider, size_t place)
{
    const struct provider_settings *settings = &provider->settings;
    struct control_row sum = {0};
    for (uint32_t i = 0; i < job->engine->worker_count; i++) {
        const struct control_question *question = &job->questions[i];
        /* By place, and only if no reload has come between the question and the answer. */
        if (place < question->row_count &&
            bytes_equal_nocase(bytes_from_string(question->rows[place].name), provider->name)) {
            const struct control_row *row = &question->rows[place];
            sum.rcpts += row->rcpts;
            sum.ready += row->ready;
            sum.bytes += row->bytes;
            sum.connections += row->connections;
        }
    }
    json_begin_object(writer, NULL);
    json_put_string(writer, "name", provider->name);
    json_put_u64(writer, "rcpts", sum.rcpts);
    json_put_u64(writer, "ready", sum.ready);
    json_put_u64(writer, "bytes", sum.bytes);
    json_put_u64(writer, "connections", sum.connections);
    put_limit(writer, "maxSmtpOut", VALUE_LIMIT, &(union value){.LIMIT = settings->max_smtp_out});
    put_limit(writer, "maxMsgRate", VALUE_RATE, &(union value){.RATE = settings->max_msg_rate});
    put_limit(writer, "maxConnectRate", VALUE_RATE,
              &(union value){.RATE = settings->max_connect_rate});
    json_end_object(writer);
}

void control_answer_providers(struct control_job *job, struct json_writer *writer)
{
    size_t count;
    const struct config_provider *providers = config_providers(job->engine->config, &count);
    json_begin_array(writer, "providers");
    for (size_t i = 0; i < count && i < job->max_items && control_has_room(writer); i++) {
        put_provider(job, writer, &providers[i], i);
    }
    json_end_array(writer);
    json_put_u64(writer, "total", count);
}
