/* What commands about single recipients and jobs print: `list`, `delete`, `pause job`. */
#include <stdio.h>

#include "base/bytes.h"
#include "base/json.h"
#include "commands.h"
#include "commands_show.h"
#include "commands_text.h"

static uint64_t number(const struct json *object, const char *name)
{
    int64_t value = json_get_integer(object, name, 0);
    return value < 0 ? 0 : (uint64_t)value;
}

static struct bytes string(const struct json *object, const char *name)
{
    return bytes_from_string(json_get_string(object, name));
}

static void print_age(const char *before, uint64_t ms)
{
    char memory[64];
    struct buffer out;
    buffer_init(&out, memory, sizeof memory);
    text_put_age(&out, ms);
    printf("%s%.*s", before, BYTES_FMT(buffer_bytes(&out)));
}

static void print_text(const char *before, struct bytes text)
{
    if (text.len > 0) {
        printf("%s", before);
        text_print(stdout, text);
    }
}

/* Rows come while they are found: no columns, as their widths are not known yet. */
void show_list_row(const struct json *row)
{
    print_text("", string(row, "rcpt"));
    printf("  from <");
    text_print(stdout, string(row, "orig"));
    printf(">");
    print_text("  ", string(row, "queue"));
    print_text("  ", string(row, "state"));
    if (number(row, "retryInMs") > 0) {
        print_age(", retry in ", number(row, "retryInMs"));
    }
    print_age("  queued ", number(row, "ageMs"));
    printf(" ago  attempts %llu", (unsigned long long)number(row, "attempts"));
    print_text("  job ", string(row, "jobId"));
    print_text("  envid ", string(row, "envId"));
    print_text("  ", string(row, "msgId"));
    printf("\n");
}

void show_list(const struct answer *answer)
{
    uint64_t rows = number(answer->reply, "rows");
    if (json_get_bool(answer->reply, "more", false)) {
        printf("… %llu shown, there are more (--maxitems=N)\n", (unsigned long long)rows);
    } else if (rows == 0) {
        printf("no recipients match\n");
    }
}

void show_delete(const struct answer *answer)
{
    bool dry = json_member(answer->reply, "wouldDelete") != NULL;
    uint64_t count = number(answer->reply, dry ? "wouldDelete" : "deleted");
    uint64_t on_wire = number(answer->reply, "onTheWire");
    printf("%llu recipient%s %sdeleted\n", (unsigned long long)count, count == 1 ? "" : "s",
           dry ? "would be " : "");
    if (on_wire > 0) {
        printf("%llu %s being delivered: what fails now is not tried again\n",
               (unsigned long long)on_wire, on_wire == 1 ? "is" : "are");
    }
}

static void print_job(const struct answer *answer, const char *deed)
{
    uint64_t count = number(answer->reply, "rcpts"), on_wire = number(answer->reply, "onTheWire");
    printf("%s job ", deed);
    text_print(stdout, bytes_from_string(answer->name));
    printf(": %llu recipient%s", (unsigned long long)count, count == 1 ? " waits" : "s wait");
    if (on_wire > 0) {
        printf(", %llu %s being delivered", (unsigned long long)on_wire,
               on_wire == 1 ? "is" : "are");
    }
    printf("\n");
}

void show_pause_job(const struct answer *answer)
{
    print_job(answer, "paused");
}

void show_resume_job(const struct answer *answer)
{
    print_job(answer, "resumed");
}

int accept_resume_job(const struct answer *answer)
{
    if (json_get_bool(answer->reply, "wasPaused", false)) {
        return EXIT_OK;
    }
    fprintf(stderr, "posthaste: no job is paused as ");
    text_print(stderr, bytes_from_string(answer->name));
    fprintf(stderr, " (posthaste show jobs lists them)\n");
    return EXIT_UNKNOWN_NAME;
}
