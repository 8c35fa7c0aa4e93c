/* `check` and `explain`: what the configuration says, without a running engine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "commands.h"
#include "commands_text.h"
#include "io/files.h"
#include "outside_check.h"
#include "policy/config.h"
#include "policy/defaults.h"
#include "policy/explain.h"

#define JSON_LINE_MAX (64 * 1024)
#define OUTSIDE_MS    60000 /* for all lookups of check --dns */

static void print_message(const struct config_message *message)
{
    fprintf(stderr, "%s", message->file);
    if (message->line > 0) {
        fprintf(stderr, ":%u", message->line);
    }
    if (message->column > 0) {
        fprintf(stderr, ":%u", message->column);
    }
    fprintf(stderr, ": %s: ", message->warning ? "warning" : "error");
    text_print(stderr, bytes_from_string(message->text)); /* names in it may come from DNS */
    fprintf(stderr, "\n");
}

static struct config *load(const char *path, struct config_report *report)
{
    struct config_files files = {.read = files_read,
                                 .glob = files_glob,
                                 .is_public = files_is_public,
                                 .defaults = config_defaults()};
    return config_load(path, &files, report);
}

/* The first error, and where the others are. */
static void take_first_error(const char *path, const struct config_report *report,
                             struct error *error)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct config_message *message = &report->messages[i];
        if (!message->warning) {
            error_set(error, EXIT_CONFIG, "%s:%u:%u: %s (errors: %zu; posthaste -c %s check)",
                      message->file, message->line, message->column, message->text, report->errors,
                      path);
            return;
        }
    }
    error_set(error, EXIT_CONFIG, "%s has errors (posthaste -c %s check)", path, path);
}

struct config *commands_load(const char *path, struct error *error)
{
    struct config_report report = {0};
    struct config *config = load(path, &report);
    for (size_t i = 0; i < report.count; i++) {
        print_message(&report.messages[i]);
    }
    if (config == NULL) {
        take_first_error(path, &report, error);
    }
    config_report_deinit(&report);
    return config;
}

static void put_message(struct json_writer *writer, const struct config_message *message)
{
    json_begin_object(writer, NULL);
    json_put_string(writer, "file", bytes_from_string(message->file));
    json_put_u64(writer, "line", message->line);
    json_put_u64(writer, "column", message->column);
    json_put_string(writer, "severity", bytes_from_string(message->warning ? "warning" : "error"));
    json_put_string(writer, "text", bytes_from_string(message->text));
    json_end_object(writer);
}

static void print_report_json(const struct config_report *report)
{
    size_t capacity = 1024 + report->count * 4 * ERROR_TEXT_MAX;
    char *memory = malloc(capacity);
    if (memory == NULL) {
        return;
    }
    struct buffer out;
    struct json_writer writer;
    buffer_init(&out, memory, capacity);
    json_writer_init(&writer, &out);
    json_begin_object(&writer, NULL);
    json_put_u64(&writer, "errors", report->errors);
    json_put_u64(&writer, "warnings", report->warnings);
    json_begin_array(&writer, "messages");
    for (size_t i = 0; i < report->count; i++) {
        put_message(&writer, &report->messages[i]);
    }
    json_end_array(&writer);
    json_end_object(&writer);
    printf("%.*s\n", BYTES_FMT(buffer_bytes(&out)));
    free(memory);
}

/* Adds to the report. False: it could not begin, and that is said. */
static bool look_outside(const struct config *config, struct config_report *report)
{
    char host_name[256];
    struct error error = {0};
    bool named = files_host_name(host_name, sizeof host_name) == 0;
    if (outside_check(&(struct outside_options){.config = config,
                                                .host_name = named ? host_name : "localhost",
                                                .timeout_ms = OUTSIDE_MS},
                      report, &error) == 0) {
        return true;
    }
    fprintf(stderr, "posthaste: %s\n", error.text);
    return false;
}

static int print_report(const struct command_line *line, const struct config_report *report,
                        bool strict)
{
    if (line->json) {
        print_report_json(report);
    }
    for (size_t i = 0; !line->json && i < report->count; i++) {
        print_message(&report->messages[i]);
    }
    if (!line->json) {
        printf("%s: %zu errors, %zu warnings\n", line->config_path, report->errors,
               report->warnings);
    }
    return report->errors > 0 || (strict && report->warnings > 0) ? EXIT_CONFIG : EXIT_OK;
}

int command_check(const struct command_line *line)
{
    bool strict = false, dns = false;
    for (int i = 1; i < line->count; i++) {
        if (strcmp(line->words[i], "--strict") == 0) {
            strict = true;
        } else if (strcmp(line->words[i], "--dns") == 0) {
            dns = true;
        } else {
            return commands_usage(line, "unknown argument '%s'", line->words[i]);
        }
    }
    struct config_report report = {0};
    struct config *config = load(line->config_path, &report);
    bool looked = !dns || config == NULL || look_outside(config, &report);
    int result = print_report(line, &report, strict);
    config_report_deinit(&report);
    config_free(config);
    return looked ? result : EXIT_OSERR;
}

/* ---- explain ---- */

static void print_setting(void *to, const struct explain_line *line)
{
    (void)to;
    printf("%-40s %-32.*s ", line->name, BYTES_FMT(line->value));
    if (line->file == NULL) {
        printf("default");
    } else {
        printf("%s:%u", line->file, line->line);
    }
    printf("%s\n", line->in_effect ? "" : " (not yet in effect)");
    for (size_t i = 0; i < line->overridden_count; i++) {
        const struct explain_overridden *before = &line->overridden[i];
        printf("%-40s %-32.*s %s:%u\n", "  overrides", BYTES_FMT(before->value), before->file,
               before->line);
    }
}

static void put_overridden(struct json_writer *writer, const struct explain_line *line)
{
    json_begin_array(writer, "overrides");
    for (size_t i = 0; i < line->overridden_count; i++) {
        json_begin_object(writer, NULL);
        json_put_string(writer, "value", line->overridden[i].value);
        json_put_string(writer, "file", bytes_from_string(line->overridden[i].file));
        json_put_u64(writer, "line", line->overridden[i].line);
        json_end_object(writer);
    }
    json_end_array(writer);
}

static void print_setting_json(void *to, const struct explain_line *line)
{
    bool *first = to;
    char memory[JSON_LINE_MAX];
    struct buffer out;
    struct json_writer writer;
    buffer_init(&out, memory, sizeof memory);
    json_writer_init(&writer, &out);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "name", bytes_from_string(line->name));
    json_put_string(&writer, "value", line->value);
    json_put_string(&writer, "file", bytes_from_string(line->file));
    json_put_u64(&writer, "line", line->line);
    json_put_bool(&writer, "inEffect", line->in_effect);
    put_overridden(&writer, line);
    json_end_object(&writer);
    printf("%s%.*s\n", *first ? "" : ",", BYTES_FMT(buffer_bytes(&out)));
    *first = false;
}

/* "domain/vmta", or "domain" for the default virtual MTA. */
static bool split_queue(const struct config *config, const char *queue, struct bytes *domain,
                        const struct config_vmta **vmta)
{
    struct bytes name = bytes_from_string(queue);
    ptrdiff_t slash = bytes_find(name, '/', 0);
    *domain = slash < 0 ? name : bytes_slice(name, 0, (size_t)slash);
    struct bytes vmta_name =
        slash < 0 ? BYTES("{default}") : bytes_slice(name, (size_t)slash + 1, name.len);
    *vmta = config_vmta(config, vmta_name);
    if (*vmta == NULL) {
        fprintf(stderr, "posthaste: no virtual MTA '%.*s' in the configuration\n",
                BYTES_FMT(vmta_name));
        return false;
    }
    return true;
}

int command_explain(const struct command_line *line)
{
    if (line->count != 2) {
        return commands_usage(line, "one queue is needed");
    }
    struct config *config = commands_load(line->config_path, NULL);
    if (config == NULL) {
        return EXIT_CONFIG;
    }
    struct bytes domain;
    const struct config_vmta *vmta;
    int result = EXIT_UNKNOWN_NAME;
    if (split_queue(config, line->words[1], &domain, &vmta)) {
        bool first = true;
        struct explain_sink sink = {.on_line = line->json ? print_setting_json : print_setting,
                                    .to = &first};
        printf("%s", line->json ? "[" : "");
        explain_domain(config, vmta, domain, &sink);
        explain_vmta(config, vmta, &sink);
        printf("%s", line->json ? "]\n" : "");
        result = EXIT_OK;
    }
    config_free(config);
    return result;
}
