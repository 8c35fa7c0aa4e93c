/* Tables of queues and their sums, and what acts on queues. The rest is in commands_status.c. */
#include "commands_show.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "commands.h"
#include "commands_text.h"

#define COLUMNS_MAX     12
#define ERROR_WIDTH_MIN 30 /* characters of a last error that are worth a place in the line */
#define INDENT          "    "

static uint64_t number(const struct json *object, const char *name)
{
    int64_t value = json_get_integer(object, name, 0);
    return value < 0 ? 0 : (uint64_t)value;
}

static struct bytes string(const struct json *object, const char *name)
{
    return bytes_from_string(json_get_string(object, name));
}

static void complain(struct bytes name, const char *before, const char *behind)
{
    fprintf(stderr, "posthaste: %s", before);
    text_print(stderr, name);
    fprintf(stderr, "%s\n", behind);
}

/* ---- tables ---- */

/* CELL_LIMIT: a number or a rate, as text. */
enum cell { CELL_NAME, CELL_COUNT, CELL_SIZE, CELL_LIMIT, CELL_STATE, CELL_ERROR };

struct cell_column {
    const char *header, *member;
    enum cell cell;
};

static const struct cell_column queue_columns[] = {
    {"queue", "name", CELL_NAME},
    {"recipients", "rcpts", CELL_COUNT},
    {"ready", "ready", CELL_COUNT},
    {"size", "bytes", CELL_SIZE},
    {"conn", "connections", CELL_COUNT},
    {"delivered", "delivered", CELL_COUNT},
    {"deferred", "deferred", CELL_COUNT},
    {"bounced", "bounced", CELL_COUNT},
    {"state", "", CELL_STATE},
    {"last error", "lastError", CELL_ERROR},
    {NULL, NULL, CELL_NAME},
};

static void put_word(struct buffer *out, const char *word)
{
    buffer_printf(out, "%s%s", out->len > 0 ? ", " : "", word);
}

static void put_state(struct buffer *out, const struct json *row)
{
    uint64_t wait_ms = number(row, "retryInMs");
    if (json_get_bool(row, "paused", false)) {
        put_word(out, "paused");
    }
    if (json_get_bool(row, "orphaned", false)) {
        put_word(out, "orphaned");
    }
    if (bytes_equal(string(row, "mode"), BYTES("backoff"))) {
        put_word(out, "backoff");
    }
    if (number(row, "disabledSources") > 0) {
        put_word(out, "sources disabled");
    }
    if (wait_ms > 0) {
        put_word(out, "retry in ");
        text_put_age(out, wait_ms);
    }
    if (out->len == 0) {
        buffer_put_char(out, '-');
    }
}

static void put_error(struct buffer *out, const struct json *row)
{
    struct bytes text = string(row, "lastError");
    if (text.len > 0 && json_member(row, "lastErrorAgeMs") != NULL) {
        text_put_age(out, number(row, "lastErrorAgeMs"));
        buffer_put_string(out, " ago: ");
    }
    text_put_safe(out, text.len > 0 ? text : BYTES("-"));
}

static void put_cell(struct buffer *out, const struct cell_column *column, const struct json *row)
{
    switch (column->cell) {
    case CELL_NAME:
    case CELL_LIMIT:
        text_put_safe(out, string(row, column->member));
        break;
    case CELL_COUNT:
        text_put_count(out, number(row, column->member));
        break;
    case CELL_SIZE:
        text_put_size(out, number(row, column->member));
        break;
    case CELL_STATE:
        put_state(out, row);
        break;
    case CELL_ERROR:
        put_error(out, row);
        break;
    }
}

static size_t make_columns(const struct cell_column *cells, const struct json *rows,
                           struct text_column columns[COLUMNS_MAX])
{
    char memory[TEXT_CELL_MAX];
    struct buffer out;
    size_t count = 0;
    for (; cells[count].header != NULL; count++) {
        enum cell cell = cells[count].cell;
        columns[count] = (struct text_column){.header = cells[count].header,
                                              .right = cell == CELL_COUNT || cell == CELL_SIZE ||
                                                       cell == CELL_LIMIT};
        text_column_fit(&columns[count], bytes_from_string(cells[count].header));
        for (size_t i = 0; i < json_count(rows); i++) {
            buffer_init(&out, memory, sizeof memory);
            put_cell(&out, &cells[count], json_at(rows, i));
            text_column_fit(&columns[count], buffer_bytes(&out));
        }
    }
    return count;
}

/* On a terminal the last error, which is text without end, is cut where the line ends; where next
 * to nothing would be left of it, it takes a line of its own. */
static void print_error(struct bytes cell, size_t used)
{
    size_t width = text_terminal_width(stdout);
    if (width > 0 && width < used + ERROR_WIDTH_MIN && cell.len > 1) {
        printf("\n" INDENT);
        used = strlen(INDENT);
    }
    if (width > used) {
        cell = text_cut(cell, width - used);
    }
    printf("%.*s", BYTES_FMT(cell));
}

static void print_row(const struct cell_column *cells, const struct text_column *columns,
                      size_t count, const struct json *row)
{
    char memory[TEXT_CELL_MAX];
    struct buffer out;
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        buffer_init(&out, memory, sizeof memory);
        put_cell(&out, &cells[i], row);
        if (cells[i].cell == CELL_ERROR) {
            print_error(buffer_bytes(&out), used);
        } else {
            used += text_column_print(stdout, &columns[i], buffer_bytes(&out), i + 1 == count);
        }
    }
    printf("\n");
}

static void print_table(const struct answer *answer, const char *member,
                        const struct cell_column *cells)
{
    struct text_column columns[COLUMNS_MAX];
    const struct json *rows = json_member(answer->reply, member);
    uint64_t total = number(answer->reply, "total");
    size_t shown = json_count(rows);
    if (shown == 0) {
        printf("no %s%s\n", member, answer->exact || answer->name[0] == '\0' ? "" : " match");
        return;
    }
    size_t count = make_columns(cells, rows, columns);
    for (size_t i = 0; i < count; i++) {
        text_column_print(stdout, &columns[i], bytes_from_string(columns[i].header),
                          i + 1 == count);
    }
    printf("\n");
    for (size_t i = 0; i < shown; i++) {
        print_row(cells, columns, count, json_at(rows, i));
    }
    if (total > shown) {
        printf("… %zu of %llu shown (--maxitems=N)\n", shown, (unsigned long long)total);
    }
}

void show_queues(const struct answer *answer)
{
    print_table(answer, "queues", queue_columns);
}

static const struct cell_column *sum_columns(bool by_domain)
{
#define SUM_COLUMNS(key)                                                                           \
    {                                                                                              \
        {key, "name", CELL_NAME}, {"recipients", "rcpts", CELL_COUNT},                             \
            {"ready", "ready", CELL_COUNT}, {"size", "bytes", CELL_SIZE},                          \
            {"conn", "connections", CELL_COUNT}, {"delivered", "delivered", CELL_COUNT},           \
            {"deferred", "deferred", CELL_COUNT}, {"bounced", "bounced", CELL_COUNT},              \
        {                                                                                          \
            NULL, NULL, CELL_NAME                                                                  \
        }                                                                                          \
    }
    static const struct cell_column domains[] = SUM_COLUMNS("domain");
    static const struct cell_column vmtas[] = SUM_COLUMNS("virtual MTA");
    return by_domain ? domains : vmtas;
}

void show_domains(const struct answer *answer)
{
    print_table(answer, "domains", sum_columns(true));
}

void show_vmtas(const struct answer *answer)
{
    print_table(answer, "vmtas", sum_columns(false));
}

static const struct cell_column provider_columns[] = {
    {"provider", "name", CELL_NAME},
    {"recipients", "rcpts", CELL_COUNT},
    {"ready", "ready", CELL_COUNT},
    {"size", "bytes", CELL_SIZE},
    {"conn", "connections", CELL_COUNT},
    {"max conn", "maxSmtpOut", CELL_LIMIT},
    {"max rate", "maxMsgRate", CELL_LIMIT},
    {"max conn rate", "maxConnectRate", CELL_LIMIT},
    {NULL, NULL, CELL_NAME},
};

void show_providers(const struct answer *answer)
{
    print_table(answer, "providers", provider_columns);
}

static const struct cell_column job_columns[] = {
    {"job", "name", CELL_NAME},
    {"recipients", "rcpts", CELL_COUNT},
    {"ready", "ready", CELL_COUNT},
    {"deferred", "deferred", CELL_COUNT},
    {"on the wire", "onTheWire", CELL_COUNT},
    {"state", "", CELL_STATE},
    {NULL, NULL, CELL_NAME},
};

void show_jobs(const struct answer *answer)
{
    uint64_t others = number(answer->reply, "others");
    print_table(answer, "jobs", job_columns);
    if (others > 0) {
        printf("… and %llu recipients of further jobs\n", (unsigned long long)others);
    }
}

/* ---- one queue ---- */

void show_queue(const struct answer *answer)
{
    const struct json *rows = json_member(answer->reply, "queues");
    if (json_count(rows) != 1) {
        show_queues(answer);
        return;
    }
    for (const struct cell_column *cells = queue_columns; cells->header != NULL; cells++) {
        char memory[TEXT_CELL_MAX];
        struct buffer out;
        buffer_init(&out, memory, sizeof memory);
        put_cell(&out, cells, json_at(rows, 0));
        printf("%-12s %.*s\n", cells->header,
               BYTES_FMT(out.len == 0 ? BYTES("-") : buffer_bytes(&out)));
    }
}

int accept_all(const struct answer *answer)
{
    (void)answer;
    return EXIT_OK;
}

static int report_no_queue(const struct answer *answer)
{
    complain(bytes_from_string(answer->name), "there is no queue ",
             ": nothing waits there (posthaste show queues lists those that exist)");
    return EXIT_UNKNOWN_NAME;
}

int accept_found(const struct answer *answer)
{
    bool none = json_count(json_member(answer->reply, "queues")) == 0;
    return answer->exact && none ? report_no_queue(answer) : EXIT_OK;
}

/* ---- what acts on queues ---- */

static void print_deed(const struct answer *answer, const char *deed)
{
    uint64_t count = number(answer->reply, "queues");
    printf("%s ", deed);
    text_print(stdout, bytes_from_string(answer->name));
    if (count == 0) {
        printf(": no queue of that name has mail now\n");
    } else {
        printf(": %llu queue%s\n", (unsigned long long)count, count == 1 ? "" : "s");
    }
}

void show_pause(const struct answer *answer)
{
    print_deed(answer, "paused");
}

/* The pause stands even then: the virtual MTA may be configured a moment later. */
int accept_pause(const struct answer *answer)
{
    if (!answer->exact || number(answer->reply, "queues") > 0 ||
        json_get_bool(answer->reply, "vmtaKnown", true)) {
        return EXIT_OK;
    }
    complain(bytes_from_string(answer->name), "no virtual MTA of that name is configured: ",
             " is paused all the same; if it is a mistake, resume it");
    return EXIT_UNKNOWN_NAME;
}

void show_resume(const struct answer *answer)
{
    print_deed(answer, "resumed");
}

int accept_resume(const struct answer *answer)
{
    uint64_t still = number(answer->reply, "stillPaused");
    if (still > 0) {
        char text[128];
        snprintf(text, sizeof text, "%llu queue%s by another pause: posthaste resume queue '",
                 (unsigned long long)still, still == 1 ? " is held" : "s are held");
        complain(string(answer->reply, "pausedBy"), text, "'");
        return EXIT_UNKNOWN_NAME;
    }
    if (answer->exact && number(answer->reply, "queues") + number(answer->reply, "pauses") == 0) {
        complain(bytes_from_string(answer->name), "nothing is paused as ",
                 ", and there is no queue of that name");
        return EXIT_UNKNOWN_NAME;
    }
    return EXIT_OK;
}

void show_schedule(const struct answer *answer)
{
    print_deed(answer, "due now");
}

void show_change(const struct answer *answer)
{
    print_deed(answer, "done for");
}

/* An address that is none of the queue's, or that was not disabled, is not counted. */
int accept_change(const struct answer *answer)
{
    if (number(answer->reply, "queues") > 0) {
        return EXIT_OK;
    }
    complain(bytes_from_string(answer->name), "nothing was done: no queue with mail matches ",
             ", or the address is not its own, or was not disabled");
    return EXIT_UNKNOWN_NAME;
}

void show_sources(const struct answer *answer)
{
    const struct json *rows = json_member(answer->reply, "sources");
    size_t count = json_count(rows);
    for (size_t i = 0; i < count; i++) {
        const struct json *row = json_at(rows, i);
        text_print(stdout, string(row, "source"));
        printf("  ");
        text_print(stdout, string(row, "queue"));
        char memory[TEXT_CELL_MAX];
        struct buffer out;
        buffer_init(&out, memory, sizeof memory);
        if (json_member(row, "reenabledInMs") != NULL) {
            buffer_put_string(&out, "  enabled again in ");
            text_put_age(&out, number(row, "reenabledInMs"));
        }
        printf("%.*s\n", BYTES_FMT(buffer_bytes(&out)));
    }
    if (count == 0) {
        printf("no source address is disabled\n");
    }
}

int accept_scheduled(const struct answer *answer)
{
    bool none = number(answer->reply, "queues") == 0;
    return answer->exact && none ? report_no_queue(answer) : EXIT_OK;
}
