#include "policy/report.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define REPORT_MEMORY_MAX  (64u * 1024 * 1024)
#define REPORT_FIRST_COUNT 16

/* The newest message's copy of the name, where it is the same file. */
static const char *keep_name(struct config_report *report, const char *file)
{
    if (report->count > 0 && strcmp(report->messages[report->count - 1].file, file) == 0) {
        return report->messages[report->count - 1].file;
    }
    if (report->arena == NULL) {
        report->arena = arena_create(REPORT_MEMORY_MAX);
    }
    struct bytes copy = {NULL, 0};
    if (report->arena != NULL) {
        copy = arena_copy(report->arena, bytes_from_string(file));
    }
    return copy.data == NULL ? "" : copy.data;
}

static bool grow(struct config_report *report)
{
    if (report->count < report->capacity) {
        return true;
    }
    size_t capacity = report->capacity == 0 ? REPORT_FIRST_COUNT : report->capacity * 2;
    struct config_message *more = realloc(report->messages, capacity * sizeof(*report->messages));
    if (more == NULL) {
        return false;
    }
    report->messages = more;
    report->capacity = capacity;
    return true;
}

static void add(struct config_report *report, const struct place *place, bool warning,
                const char *format, va_list arguments) __attribute__((format(printf, 4, 0)));

static void add(struct config_report *report, const struct place *place, bool warning,
                const char *format, va_list arguments)
{
    assert(place->file != NULL);
    if (warning) {
        report->warnings++;
    } else {
        report->errors++;
    }
    if (!report_has_room(report) || !grow(report)) {
        return;
    }
    struct config_message *message = &report->messages[report->count];
    *message = (struct config_message){.warning = warning,
                                       .file = keep_name(report, place->file),
                                       .line = place->line,
                                       .column = place->column};
    vsnprintf(message->text, sizeof(message->text), format, arguments);
    report->count++;
}

void report_error(struct config_report *report, const struct place *place, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(report, place, false, format, arguments);
    va_end(arguments);
}

void report_warning(struct config_report *report, const struct place *place, const char *format,
                    ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(report, place, true, format, arguments);
    va_end(arguments);
}

bool report_has_room(const struct config_report *report)
{
    return report->count < CONFIG_MESSAGES_MAX;
}

void config_report_deinit(struct config_report *report)
{
    free(report->messages);
    arena_destroy(report->arena);
    *report = (struct config_report){0};
}
