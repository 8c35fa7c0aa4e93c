/* The commands that ask a running daemon: from words to a request, from a reply to text and an exit
 * code. Finds the control socket through the configuration file and speaks to nothing else. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/json.h"
#include "commands.h"
#include "commands_select.h"
#include "commands_show.h"
#include "commands_text.h"
#include "control.h"
#include "control_client.h"
#include "control_path.h"
#include "policy/value.h"

#define TIMEOUT_SECONDS 60 /* for an answer, unless --timeout says */
#define TIMEOUT_MAX     3600
#define JOB_LEN_MAX     400 /* bytes of an id, as the daemon keeps pauses */
#define ITEMS_MAX       1000000
#define NAME_LEN_MAX    511         /* bytes of "domain/virtual-mta", as the daemon keeps pauses */
#define REQUEST_MAX     (16 * 1024) /* four values of SELECTION_TEXT_MAX, each byte escaped */

#define REPLY_MAX       1100 /* bytes of a reply: the rules see less */

/* SOURCE: an address, then a queue. MODE: a queue, and --mode=. LIST, DELETE: a selection.
 * JOB: its id. */
enum client_argument {
    NONE,
    QUEUE,
    EXACT_QUEUE,
    QUEUE_OR_ALL,
    DOMAIN,
    REPLY,
    SOURCE,
    MODE,
    LIST,
    DELETE,
    JOB
};

struct client_command {
    const char *name;
    enum client_argument argument;
    unsigned items;
    void (*show)(const struct answer *answer);
    int (*accept)(const struct answer *answer);
};

static const struct client_command client_commands[] = {
#define CLIENT(name, arguments, argument, items, shows, accepts, help, about)                      \
    {name, argument, items, shows, accepts},
#include "commands.def"
};

/* What the words of the line ask for. */
struct wish {
    const struct client_command *command;
    char name[NAME_LEN_MAX + 1]; /* of a queue or domain; "" if none */
    const char *reply;           /* NULL: none */
    const char *source, *mode;   /* NULL: none */
    uint64_t reenable_ms;        /* 0: none */
    struct selection selection;
    bool dry_run, dsn;
    bool exact;
    uint64_t items, timeout_seconds;
};

/* ---- from words ---- */

static const struct client_command *find_client_command(const char *name)
{
    size_t i = 0;
    while (strcmp(client_commands[i].name, name) != 0) {
        i++; /* every CLIENT row of commands_table is here too */
    }
    return &client_commands[i];
}

static bool take_number(const char *word, const char *option, uint64_t max, uint64_t *out)
{
    size_t len = strlen(option);
    uint64_t value;
    if (strncmp(word, option, len) != 0 ||
        !bytes_to_u64(bytes_from_string(word + len), max, &value) || value == 0) {
        return false;
    }
    *out = value;
    return true;
}

/* "domain/virtual-mta", or "domain" for the virtual MTA {default}. */
static bool take_name(struct wish *wish, const char *word)
{
    struct buffer out;
    const char *slash = strchr(word, '/');
    size_t domain_len = slash == NULL ? strlen(word) : (size_t)(slash - word);
    bool wants_queue = wish->command->argument != DOMAIN;
    buffer_init(&out, wish->name, sizeof wish->name - 1);
    text_put_domain(&out, bytes_of(word, domain_len));
    if (wants_queue) {
        buffer_put_string(&out, slash == NULL ? "/{default}" : slash);
    }
    wish->name[out.len] = '\0';
    wish->exact = strpbrk(wish->name, "*?[") == NULL;
    bool one_slash = slash == NULL || (wants_queue && slash[1] != '\0' && !strchr(slash + 1, '/'));
    return !out.overflowed && domain_len > 0 && one_slash;
}

static int check_wish(const struct command_line *line, const struct wish *wish)
{
    enum client_argument argument = wish->command->argument;
    bool optional = argument == NONE || argument == QUEUE_OR_ALL || argument == REPLY ||
                    argument == LIST || argument == DELETE;
    if (argument == DELETE && wish->name[0] == '\0' && selection_is_empty(&wish->selection)) {
        return commands_usage(line, "say which recipients (all of them: --queue='*/*')");
    }
    if (wish->dsn) {
        return commands_usage(line, "--dsn is not yet in effect, nothing was deleted");
    }
    if (argument == REPLY && wish->reply == NULL) {
        return commands_usage(line, "a reply is needed");
    }
    if (argument == SOURCE && wish->source == NULL) {
        return commands_usage(line, "a source address is needed");
    }
    if (argument == MODE && wish->mode == NULL) {
        return commands_usage(line, "--mode=normal or --mode=backoff is needed");
    }
    if (wish->name[0] == '\0' && !optional) {
        return commands_usage(line, "%s is needed",
                              argument == DOMAIN ? "a domain"
                              : argument == JOB  ? "the id of a job"
                                                 : "a queue");
    }
    bool wants_one = argument == EXACT_QUEUE || argument == DOMAIN || argument == REPLY;
    if (wish->name[0] != '\0' && !wish->exact && wants_one) {
        return commands_usage(line, "one name is needed, without wildcards");
    }
    return EXIT_OK;
}

/* --mode=, --reenable-after= and the address of a SOURCE; false: another word. */
static bool take_change(struct wish *wish, const char *word)
{
    static const char mode[] = "--mode=", after[] = "--reenable-after=";
    struct address address;
    if (wish->command->argument == MODE && strncmp(word, mode, sizeof mode - 1) == 0) {
        wish->mode = word + sizeof mode - 1;
        return strcmp(wish->mode, "normal") == 0 || strcmp(wish->mode, "backoff") == 0;
    }
    if (wish->command->argument != SOURCE) {
        return false;
    }
    if (strncmp(word, after, sizeof after - 1) == 0) {
        return value_parse_interval(bytes_from_string(word + sizeof after - 1),
                                    &wish->reenable_ms) &&
               wish->reenable_ms > 0;
    }
    if (wish->source == NULL && address_parse(bytes_from_string(word), &address)) {
        wish->source = word;
        return true;
    }
    return false;
}

/* Of LIST and DELETE. */
static enum selection_result take_selection(struct wish *wish, const char *word)
{
    static const char queue[] = "--queue=";
    enum client_argument argument = wish->command->argument;
    if (argument != LIST && argument != DELETE) {
        return SELECTION_OTHER;
    }
    if (strncmp(word, queue, sizeof queue - 1) == 0) {
        return take_name(wish, word + sizeof queue - 1) ? SELECTION_TAKEN : SELECTION_BAD;
    }
    if (argument == DELETE && strcmp(word, "--dry-run") == 0) {
        wish->dry_run = true;
        return SELECTION_TAKEN;
    }
    if (argument == DELETE && strcmp(word, "--dsn") == 0) {
        wish->dsn = true;
        return SELECTION_TAKEN;
    }
    enum selection_result result = selection_take(&wish->selection, word);
    return result == SELECTION_OTHER ? SELECTION_BAD : result;
}

static int read_words(const struct command_line *line, struct wish *wish)
{
    *wish = (struct wish){.command = find_client_command(line->command->name),
                          .timeout_seconds = TIMEOUT_SECONDS};
    wish->items = wish->command->items;
    for (int i = line->name_count; i < line->count; i++) {
        const char *word = line->words[i];
        if ((wish->items > 0 && take_number(word, "--maxitems=", ITEMS_MAX, &wish->items)) ||
            take_number(word, "--timeout=", TIMEOUT_MAX, &wish->timeout_seconds) ||
            take_change(wish, word)) {
            continue;
        }
        enum selection_result selected = take_selection(wish, word);
        if (selected == SELECTION_BAD) {
            return commands_usage(line, "argument '%s' is not understood", word);
        }
        if (selected == SELECTION_TAKEN) {
            continue;
        }
        if (wish->command->argument == REPLY && wish->reply == NULL) {
            wish->reply = word;
            continue;
        }
        if (wish->command->argument == REPLY && wish->name[0] != '\0') {
            return commands_usage(line, "'%s' is one word too many: quote the reply", word);
        }
        if (wish->command->argument == JOB && wish->name[0] == '\0' &&
            strlen(word) <= JOB_LEN_MAX) {
            memcpy(wish->name, word, strlen(word) + 1);
            continue;
        }
        if (word[0] == '-' || wish->command->argument == NONE || wish->name[0] != '\0') {
            return commands_usage(line, "argument '%s' is not understood", word);
        }
        if (!take_name(wish, word)) {
            return commands_usage(line, "'%s' is no name of a %s", word,
                                  wish->command->argument == DOMAIN ? "domain" : "queue");
        }
    }
    return check_wish(line, wish);
}

/* ---- to the daemon ---- */

static struct bytes write_request(const struct wish *wish, char memory[REQUEST_MAX])
{
    struct buffer out;
    struct json_writer writer;
    buffer_init(&out, memory, REQUEST_MAX);
    json_writer_init(&writer, &out);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "command", bytes_from_string(wish->command->name));
    if (wish->name[0] != '\0') {
        bool is_job = wish->command->argument == JOB;
        json_put_string(&writer, is_job ? "jobId" : "queue", bytes_from_string(wish->name));
    }
    if (wish->reply != NULL) {
        struct bytes reply = bytes_from_string(wish->reply);
        json_put_string(&writer, "reply", bytes_slice(reply, 0, REPLY_MAX));
    }
    if (wish->source != NULL) {
        json_put_string(&writer, "source", bytes_from_string(wish->source));
    }
    if (wish->mode != NULL) {
        json_put_string(&writer, "mode", bytes_from_string(wish->mode));
    }
    if (wish->reenable_ms > 0) {
        json_put_u64(&writer, "reenableAfterMs", wish->reenable_ms);
    }
    if (wish->items > 0) {
        json_put_u64(&writer, "maxitems", wish->items);
    }
    selection_put(&writer, &wish->selection);
    if (wish->dry_run) {
        json_put_bool(&writer, "dryRun", true);
    }
    json_end_object(&writer);
    return buffer_bytes(&out);
}

static int fail(const struct error *error)
{
    fprintf(stderr, "posthaste: ");
    text_print(stderr, bytes_from_string(error->text));
    fprintf(stderr, "\n");
    return error->code;
}

/* Who may use the socket may not always read the configuration; a file named by -c that cannot be
 * read must not lead to another daemon. */
static int find_socket(const char *config_path, char path[CONTROL_CLIENT_PATH_MAX],
                       struct error *error)
{
    if (control_path_find(config_path, path, CONTROL_CLIENT_PATH_MAX, error) == 0) {
        return 0;
    }
    if (strcmp(config_path, COMMANDS_CONFIG_DEFAULT) != 0) {
        return -1;
    }
    fprintf(stderr, "posthaste: %s: trying %s\n", error->text, CONTROL_PATH_DEFAULT);
    snprintf(path, CONTROL_CLIENT_PATH_MAX, "%s", CONTROL_PATH_DEFAULT);
    return 0;
}

static int begin(const struct command_line *line, const struct wish *wish,
                 struct control_conversation *conversation, struct error *error)
{
    char path[CONTROL_CLIENT_PATH_MAX], memory[REQUEST_MAX];
    if (find_socket(line->config_path, path, error) < 0) {
        return -1;
    }
    struct control_request request = {.path = path,
                                      .line = write_request(wish, memory),
                                      .timeout_seconds = (unsigned)wish->timeout_seconds};
    return control_client_begin(conversation, &request, error);
}

/* ---- from its reply ---- */

/* As it is; on a terminal, controls that JSON lets pass are written as JSON escapes. */
static void print_json(struct bytes reply)
{
    bool terminal = isatty(STDOUT_FILENO);
    for (size_t i = 0; i < reply.len; i++) {
        unsigned char c = (unsigned char)reply.data[i], next = (unsigned char)reply.data[i + 1];
        if (terminal && (c < 0x20 || c == 0x7F)) {
            printf("\\u%04x", c);
        } else if (terminal && c == 0xC2 && next >= 0x80 && next < 0xA0) {
            printf("\\u%04x", next); /* C1: U+009B begins an escape sequence */
            i++;
        } else {
            putchar(c);
        }
    }
    putchar('\n');
}

/* The code of a refusal is an exit code where it can be one. */
static int report_refusal(const struct wish *wish, const struct json *reply)
{
    const char *message = json_get_string(reply, "message");
    int64_t code = json_get_integer(reply, "code", EXIT_IOERR);
    if (strcmp(wish->command->name, "reload") == 0 && code == EXIT_CONFIG) {
        fprintf(stderr, "posthaste: reload refused, the old configuration stays in force: ");
    } else {
        fprintf(stderr, "posthaste: the daemon refused: ");
    }
    text_print(stderr, bytes_from_string(message == NULL ? "it does not say why" : message));
    fprintf(stderr, "\n");
    return code >= EXIT_USAGE && code <= EXIT_CONFIG ? (int)code : EXIT_IOERR;
}

static int use_reply(const struct command_line *line, const struct wish *wish,
                     const struct json *reply)
{
    const char *status = json_get_string(reply, "status");
    if (status == NULL || strcmp(status, "success") != 0) {
        return report_refusal(wish, reply);
    }
    struct answer answer = {.reply = reply, .name = wish->name, .exact = wish->exact};
    int result = wish->command->accept(&answer);
    /* What an orphaned queue gets is worth seeing, too. */
    if (!line->json && (result == EXIT_OK || wish->command->show == show_settings)) {
        wish->command->show(&answer);
    }
    return result;
}

/* A line before the last. */
static bool is_row(const struct wish *wish, const struct json *reply)
{
    return wish->command->argument == LIST && json_member(reply, "status") == NULL;
}

/* One line of the daemon's; false: it was the last, *result is the exit code. */
static bool use_line(const struct command_line *line, const struct wish *wish, struct bytes text,
                     int *result)
{
    struct error error = {0};
    struct json *reply = json_parse(text, CONTROL_REPLY_MAX, &error);
    bool row = reply != NULL && is_row(wish, reply);
    if (reply == NULL) {
        error.code = EXIT_IOERR;
        error_prefix(&error, "what answered is no posthaste daemon");
        *result = fail(&error);
        return false;
    }
    if (line->json) {
        print_json(text);
    } else if (row) {
        show_list_row(reply);
    }
    if (!row) {
        *result = use_reply(line, wish, reply);
    }
    json_free(reply);
    return row;
}

int command_client(const struct command_line *line)
{
    struct wish wish;
    struct bytes text;
    struct error error = {0};
    struct control_conversation conversation = {0};
    int result = read_words(line, &wish);
    if (result != EXIT_OK) {
        return result;
    }
    bool more = begin(line, &wish, &conversation, &error) == 0;
    while (more && control_client_next(&conversation, &text, &error) == 0) {
        more = use_line(line, &wish, text, &result);
    }
    control_client_end(&conversation);
    return error.code != 0 ? fail(&error) : result;
}
