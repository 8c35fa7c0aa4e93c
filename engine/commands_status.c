/* The replies that are no table of queues: status, settings, routes, versions. */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "commands.h"
#include "commands_show.h"
#include "commands_text.h"

#define LINE_MAX 1024

/* A line of a status: "LABEL   text". */
struct line {
    struct buffer out;
    char memory[LINE_MAX];
};

static void begin(struct line *line, const char *label)
{
    buffer_init(&line->out, line->memory, sizeof line->memory);
    buffer_printf(&line->out, "%-12s ", label);
}

static void end(struct line *line)
{
    printf("%.*s\n", BYTES_FMT(buffer_bytes(&line->out)));
}

static uint64_t number(const struct json *object, const char *name)
{
    int64_t value = json_get_integer(object, name, 0);
    return value < 0 ? 0 : (uint64_t)value;
}

static void put_string(struct line *line, const struct json *object, const char *name)
{
    text_put_safe(&line->out, bytes_from_string(json_get_string(object, name)));
}

static void put_count(struct line *line, const struct json *object, const char *name,
                      const char *what)
{
    text_put_count(&line->out, number(object, name));
    buffer_put_string(&line->out, what);
}

static void put_size(struct line *line, const struct json *object, const char *name,
                     const char *what)
{
    text_put_size(&line->out, number(object, name));
    buffer_put_string(&line->out, what);
}

/* ---- status ---- */

static void print_state(const struct json *reply)
{
    struct line line;
    begin(&line, "state");
    put_string(&line, reply, "state");
    buffer_put_string(&line.out, " for ");
    text_put_age(&line.out, number(reply, "uptimeMs"));
    buffer_put_string(&line.out, ", version ");
    put_string(&line, reply, "version");
    buffer_put_string(&line.out, ", ");
    put_count(&line, reply, "workers", " workers");
    end(&line);
}

static void print_traffic(const struct json *traffic)
{
    struct line line;
    begin(&line, "received");
    put_count(&line, traffic, "messagesIn", " messages, ");
    put_count(&line, traffic, "rcptsIn", " recipients; ");
    put_count(&line, traffic, "messagesRefused", " messages refused");
    end(&line);
    begin(&line, "results");
    put_count(&line, traffic, "delivered", " delivered, ");
    put_count(&line, traffic, "deferred", " deferred, ");
    put_count(&line, traffic, "bounced", " bounced");
    end(&line);
}

static void print_now(const struct json *connections, const struct json *queue)
{
    struct line line;
    begin(&line, "connections");
    put_count(&line, connections, "in", " in, ");
    put_count(&line, connections, "out", " out (");
    put_count(&line, connections, "opened", " opened since start)");
    end(&line);
    begin(&line, "queued");
    put_count(&line, queue, "rcpts", " recipients in ");
    put_count(&line, queue, "queues", " queues");
    end(&line);
}

static void print_sink(const struct json *sink)
{
    struct line line;
    if (sink != NULL) {
        begin(&line, "dummy-smtp");
        put_count(&line, sink, "messages", " messages thrown away, ");
        put_count(&line, sink, "recipients", " recipients, ");
        put_size(&line, sink, "bytes", "");
        end(&line);
    }
}

static void print_spool(const struct json *spool)
{
    struct line line;
    begin(&line, "spool");
    put_size(&line, spool, "bytesUsed", " used");
    if (json_member(spool, "bytesMax") != NULL) {
        buffer_put_string(&line.out, " of ");
        put_size(&line, spool, "bytesMax", "");
    }
    buffer_put_string(&line.out, ", ");
    put_size(&line, spool, "bytesLive", " live; ");
    put_count(&line, spool, "messages", " messages, ");
    put_count(&line, spool, "recipients", " recipients");
    end(&line);
    begin(&line, "");
    put_count(&line, spool, "segments", " segments, ");
    put_count(&line, spool, "segmentsFree", " free, ");
    put_count(&line, spool, "reclaimedSegments", " reclaimed; ");
    put_count(&line, spool, "syncs", " syncs");
    end(&line);
}

/* Of several: which they are, and what each holds. */
static void print_logs(const struct json *logs)
{
    for (size_t i = 0; json_count(logs) > 1 && i < json_count(logs); i++) {
        const struct json *log = json_at(logs, i);
        const char *hold = json_get_string(log, "hold");
        struct line line;
        begin(&line, "");
        put_string(&line, log, "directory");
        buffer_put_string(&line.out, ": ");
        put_size(&line, log, "bytesUsed", " used, ");
        put_count(&line, log, "recipients", " recipients");
        if (json_get_bool(log, "deliverOnly", false)) {
            buffer_put_string(&line.out, ", deliver-only");
        } else if (hold != NULL && hold[0] != '\0') {
            buffer_put_string(&line.out, ", takes no new mail: ");
            put_string(&line, log, "hold");
        }
        end(&line);
    }
}

/* What an operator must not overlook stands last, above the prompt. */
static void print_trouble(const struct json *reply, const struct json *spool)
{
    struct line line;
    const char *hold = json_get_string(spool, "hold"), *state = json_get_string(reply, "state");
    if (state != NULL && strcmp(state, "running") != 0) {
        begin(&line, "!");
        buffer_put_string(&line.out, "no new mail is accepted: ");
        put_string(&line, reply, "state");
        end(&line);
    }
    if (hold != NULL && hold[0] != '\0') {
        begin(&line, "!");
        buffer_put_string(&line.out, "the spool takes no new mail: ");
        put_string(&line, spool, "hold");
        end(&line);
    }
    if (number(spool, "syncFailures") > 0) {
        begin(&line, "!");
        buffer_put_string(&line.out, "syncs that failed: ");
        put_count(&line, spool, "syncFailures", " (check the disk)");
        end(&line);
    }
    if (number(spool, "damagedRecords") > 0) {
        begin(&line, "!");
        buffer_put_string(&line.out, "damaged records on the spool: ");
        put_count(&line, spool, "damagedRecords", " (see the log)");
        end(&line);
    }
    if (number(json_member(reply, "traffic"), "costlyReplies") > 0) {
        begin(&line, "!");
        buffer_put_string(&line.out, "replies of category other, being too costly to sort: ");
        put_count(&line, json_member(reply, "traffic"), "costlyReplies", " (see the log)");
        end(&line);
    }
}

void show_status(const struct answer *answer)
{
    const struct json *reply = answer->reply, *spool = json_member(reply, "spool");
    struct line line;
    print_state(reply);
    print_traffic(json_member(reply, "traffic"));
    print_now(json_member(reply, "connections"), json_member(reply, "queue"));
    print_sink(json_member(reply, "dummySmtp"));
    print_spool(spool);
    print_logs(json_member(reply, "spools"));
    begin(&line, "memory");
    put_size(&line, reply, "memoryBytes", "");
    end(&line);
    print_trouble(reply, spool);
}

void show_version(const struct answer *answer)
{
    const char *version = json_get_string(answer->reply, "version");
    struct line line;
    begin(&line, "daemon");
    put_string(&line, answer->reply, "version");
    end(&line);
    begin(&line, "io");
    put_string(&line, answer->reply, "io");
    end(&line);
    if (version == NULL || strcmp(version, POSTHASTE_VERSION) != 0) {
        begin(&line, "program");
        buffer_put_string(&line.out,
                          POSTHASTE_VERSION " (another version: restart the daemon to use it)");
        end(&line);
    }
}

/* ---- settings ---- */

#define CELLS 3 /* columns of a table here */

/* A table of three columns; `put` writes the cell of a row. */
static void print_cells(const struct json *rows, struct text_column columns[CELLS],
                        void (*put)(struct buffer *out, const struct json *row, size_t column))
{
    char memory[TEXT_CELL_MAX];
    struct buffer out;
    for (size_t column = 0; column < CELLS; column++) {
        for (size_t i = 0; i < json_count(rows); i++) {
            buffer_init(&out, memory, sizeof memory);
            put(&out, json_at(rows, i), column);
            text_column_fit(&columns[column], buffer_bytes(&out));
        }
    }
    for (size_t column = 0; column < CELLS; column++) {
        text_column_print(stdout, &columns[column], bytes_from_string(columns[column].header),
                          column + 1 == CELLS);
    }
    for (size_t i = 0; i < json_count(rows) * CELLS; i++) {
        size_t column = i % CELLS;
        printf("%s", column == 0 ? "\n" : "");
        buffer_init(&out, memory, sizeof memory);
        put(&out, json_at(rows, i / CELLS), column);
        text_column_print(stdout, &columns[column], buffer_bytes(&out), column + 1 == CELLS);
    }
    printf("\n");
}

static void put_place(struct buffer *out, const struct json *row)
{
    const char *file = json_get_string(row, "file");
    if (file == NULL || file[0] == '\0') {
        buffer_put_string(out, "default");
    } else {
        text_put_safe(out, bytes_from_string(file));
        buffer_printf(out, ":%llu", (unsigned long long)number(row, "line"));
    }
}

static void put_origin(struct buffer *out, const struct json *row)
{
    put_place(out, row);
    if (!json_get_bool(row, "inEffect", true)) {
        buffer_put_string(out, " (not yet in effect)");
    }
    const struct json *overrides = json_member(row, "overrides");
    for (size_t i = 0; i < json_count(overrides); i++) {
        const struct json *before = json_at(overrides, i);
        buffer_put_string(out, i == 0 ? ", overrides " : ", ");
        text_put_safe(out, bytes_from_string(json_get_string(before, "value")));
        buffer_put_string(out, " of ");
        put_place(out, before);
    }
}

static void put_setting_cell(struct buffer *out, const struct json *row, size_t column)
{
    static const char *const members[] = {"name", "value"};
    if (column < 2) {
        text_put_safe(out, bytes_from_string(json_get_string(row, members[column])));
    } else {
        put_origin(out, row);
    }
}

void show_settings(const struct answer *answer)
{
    struct text_column columns[] = {{.header = "setting"}, {.header = "value"}, {.header = "from"}};
    print_cells(json_member(answer->reply, "settings"), columns, put_setting_cell);
}

int accept_settings(const struct answer *answer)
{
    if (!json_get_bool(answer->reply, "orphaned", false)) {
        return EXIT_OK;
    }
    fprintf(stderr, "posthaste: the running configuration has no virtual MTA for ");
    text_print(stderr, bytes_from_string(answer->name));
    fprintf(stderr, ": these are the settings without one\n");
    return EXIT_UNKNOWN_NAME;
}

/* ---- reload and drain ---- */

void show_reload(const struct answer *answer)
{
    (void)answer;
    printf("reloaded: the new configuration is in force\n");
}

void show_drain(const struct answer *answer)
{
    (void)answer;
    printf("draining: no new mail is taken; the daemon stops when what is on the wire has ended "
           "(shutdown-timeout at most)\n");
}

void show_rotate(const struct answer *answer)
{
    (void)answer;
    printf("rotated\n");
}

/* ---- routes ---- */

static void put_host_cell(struct buffer *out, const struct json *host, size_t column)
{
    const struct json *addresses = json_member(host, "addresses");
    struct bytes text;
    if (column == 0) {
        text_put_count(out, number(host, "preference"));
    } else if (column == 1) {
        text_put_safe(out, bytes_from_string(json_get_string(host, "host")));
    } else if (json_count(addresses) == 0) {
        buffer_put_string(out, "no address");
    }
    for (size_t i = 0; column == 2 && i < json_count(addresses); i++) {
        if (json_as_string(json_at(addresses, i), &text)) {
            buffer_put_string(out, i == 0 ? "" : ", ");
            text_put_safe(out, text);
        }
    }
}

void show_resolve(const struct answer *answer)
{
    struct text_column columns[] = {
        {.header = "preference", .right = true}, {.header = "host"}, {.header = "addresses"}};
    if (json_member(answer->reply, "failure") == NULL) {
        print_cells(json_member(answer->reply, "hosts"), columns, put_host_cell);
    }
}

int accept_route(const struct answer *answer)
{
    const char *failure = json_get_string(answer->reply, "failure");
    if (failure == NULL) {
        return EXIT_OK;
    }
    fprintf(stderr, "posthaste: ");
    text_print(stderr, bytes_from_string(answer->name));
    fprintf(stderr, ": ");
    text_print(stderr, bytes_from_string(failure));
    fprintf(stderr, "\n");
    return failure[0] == '4' ? EXIT_TRY_AGAIN : EXIT_UNKNOWN_NAME;
}
