/* The verbs: what each needs, refuses and does. Rows stand in the order of a dialogue. */
#include <assert.h>

#include "smtp/server_internal.h"

#define ANYWHERE (IN(HELLO) | IN(READY) | IN(SENDER) | IN(RECIPIENT) | IN(CHUNKS))

/* ---- HELO, EHLO ---- */

static const char *check_hello(const struct smtp_server *server, struct command *command)
{
    struct bytes name = command->argument;
    for (size_t i = 0; i < name.len; i++) {
        /* It goes into a Received field: nothing that could end a comment or begin a line. */
        if (name.data[i] <= ' ' || name.data[i] >= 0x7f || strchr("()<>\\\"", name.data[i])) {
            return "501 5.5.2 The name after HELO or EHLO is malformed";
        }
    }
    return name.len == 0 || name.len > 255 ? "501 5.5.4 HELO and EHLO need your host name" : NULL;
}

static void begin_session(struct smtp_server *server, const struct command *command, bool extended)
{
    /* RFC 5321 4.1.4: as if RSET had been given. */
    server_drop_transaction(server);
    server->phase = READY;
    server->events->hello(server->owner, command->argument, extended);
}

static void proceed_helo(struct smtp_server *server, struct command *command)
{
    begin_session(server, command, false);
    server_put(server, BYTES("250 "));
    server_put(server, server->settings->host_name);
    server_put(server, BYTES("\r\n"));
}

static void proceed_ehlo(struct smtp_server *server, struct command *command)
{
    const struct server_settings *settings = server->settings;
    char text[SERVER_REPLY_MAX];
    struct buffer reply;
    begin_session(server, command, true);
    buffer_init(&reply, text, sizeof(text));
    buffer_printf(&reply, "250-%.*s\r\n%s250-SIZE %llu\r\n250-8BITMIME\r\n",
                  BYTES_FMT(settings->host_name),
                  settings->hides_pipelining ? "" : "250-PIPELINING\r\n",
                  (unsigned long long)settings->size_max);
    if (settings->smtputf8) {
        buffer_put_string(&reply, "250-SMTPUTF8\r\n");
    }
    if (settings->chunking) {
        buffer_put_string(&reply, "250-CHUNKING\r\n");
    }
    if (settings->verp) {
        buffer_put_string(&reply, "250-VERP\r\n");
    }
    buffer_put_string(&reply, "250-ENHANCEDSTATUSCODES\r\n250 DSN\r\n");
    assert(!reply.overflowed);
    server_put(server, buffer_bytes(&reply));
}

/* ---- MAIL, RCPT ---- */

static struct params_offered offered(const struct smtp_server *server)
{
    return (struct params_offered){
        .smtputf8 = server->settings->smtputf8, .dsn = true, .verp = server->settings->verp};
}

static const char *params_refusal(enum params_result result)
{
    switch (result) {
    case PARAMS_OK:
        return NULL;
    case PARAMS_SYNTAX:
        return "501 5.5.4 A parameter is malformed or given twice";
    case PARAMS_UNKNOWN:
        return "555 5.5.4 A parameter is not known here";
    case PARAMS_TOO_LARGE:
        return "552 5.3.4 The message is larger than is accepted here";
    }
    return NULL;
}

/* "FROM:<…>" or "TO:<…>", with the white space before the path that many send. Leaves the
 * parameters in *text. */
static bool parse_path(struct bytes *text, struct bytes word, struct path *path,
                       enum path_result *result)
{
    if (!bytes_starts_with_nocase(*text, word)) {
        return false;
    }
    struct bytes rest = bytes_slice(*text, word.len, text->len);
    while (rest.len > 0 && rest.data[0] == ' ') {
        rest = bytes_slice(rest, 1, rest.len);
    }
    *result = path_parse(&rest, path);
    *text = rest;
    return true;
}

/* RFC 6409 5.1, 6.2: what a submission may leave out. */
static bool qualify(const struct smtp_server *server, struct path *path)
{
    return path->len > 0 && path->domain_len == 0 && server->settings->suffix.len > 0 &&
           path_qualify(path, server->settings->suffix);
}

static const char *check_mail(const struct smtp_server *server, struct command *command)
{
    struct bytes rest = command->argument;
    enum path_result result;
    if (!parse_path(&rest, BYTES("FROM:"), &command->path, &result)) {
        return "501 5.5.4 Syntax: MAIL FROM:<address>";
    }
    bool complete = result == PATH_OK && (command->path.len == 0 || command->path.domain_len > 0 ||
                                          qualify(server, &command->path));
    if (!complete) {
        return "501 5.1.7 The sender's address is malformed";
    }
    struct params_offered what = offered(server);
    const char *refusal = params_refusal(mail_params_parse(rest, &what, &command->params.mail));
    if (refusal != NULL) {
        return refusal;
    }
    if (command->path.utf8_given && !command->params.mail.smtputf8) {
        return "553 5.6.7 The sender's address needs SMTPUTF8";
    }
    return command->params.mail.size > server->settings->size_max
               ? "552 5.3.4 The message is larger than is accepted here"
               : NULL;
}

static void proceed_mail(struct smtp_server *server, struct command *command)
{
    const char *refusal = server->events->mail(
        server->owner, &(struct server_mail){.sender = path_text(&command->path),
                                             .sender_utf8 = command->path.utf8,
                                             .params = &command->params.mail});
    if (refusal != NULL) {
        server_say(server, refusal);
        return;
    }
    server->phase = SENDER;
    server->rcpt_count = 0;
    server->message_taken = 0;
    server->rcpt_refused = server->doomed = false;
    server->smtputf8 = command->params.mail.smtputf8;
    server_say(server, "250 2.1.0 Ok");
}

static const char *check_recipient(const struct smtp_server *server, struct path *path)
{
    static const char malformed[] = "501 5.1.3 The recipient's address is malformed";
    if (path->len == 0 || (path->literal && !server->settings->literals)) {
        return malformed;
    }
    /* RFC 5321 4.5.1: postmaster needs no domain, and is the one here. */
    if (path->domain_len == 0 && bytes_equal_nocase(path_text(path), BYTES("postmaster"))) {
        path_qualify(path, server->settings->host_name);
    }
    if (path->domain_len == 0 && !qualify(server, path)) {
        return malformed;
    }
    return path->utf8_given && !server->smtputf8
               ? "553 5.6.7 The recipient's address needs SMTPUTF8"
               : NULL;
}

static const char *check_rcpt(const struct smtp_server *server, struct command *command)
{
    struct bytes rest = command->argument;
    enum path_result result;
    if (!parse_path(&rest, BYTES("TO:"), &command->path, &result)) {
        return "501 5.5.4 Syntax: RCPT TO:<address>";
    }
    if (result != PATH_OK) {
        return "501 5.1.3 The recipient's address is malformed";
    }
    const char *refusal = check_recipient(server, &command->path);
    if (refusal != NULL) {
        return refusal;
    }
    struct params_offered what = offered(server);
    return params_refusal(rcpt_params_parse(rest, &what, server->smtputf8, &command->params.rcpt));
}

static const char doomed[] = "554 5.5.3 Too many recipients; the message is refused for all";

static const char *count_refusal(struct smtp_server *server)
{
    if (server->rcpt_count < server->settings->rcpts_max) {
        return NULL;
    }
    server->doomed = server->settings->too_many_fails;
    /* RFC 5321 4.5.3.1.10: those accepted so far stand. */
    return server->doomed ? doomed
                          : "452 4.5.3 Too many recipients; send the rest in another transaction";
}

static void proceed_rcpt(struct smtp_server *server, struct command *command)
{
    struct server_rcpt rcpt = {.address = path_text(&command->path),
                               .domain_len = command->path.domain_len,
                               .utf8 = command->path.utf8,
                               .params = &command->params.rcpt};
    const char *refusal = count_refusal(server);
    if (refusal == NULL) {
        refusal = server->events->rcpt(server->owner, &rcpt);
    }
    if (refusal != NULL) {
        server->rcpt_refused = true;
        server_say(server, refusal);
        return;
    }
    server->phase = RECIPIENT;
    server->rcpt_count++;
    server_say(server, "250 2.1.5 Ok");
}

/* ---- DATA, BDAT ---- */

static const char *check_no_argument(const struct smtp_server *server, struct command *command)
{
    return command->argument.len > 0 ? "501 5.5.4 No argument is allowed here" : NULL;
}

/* The body is needed from here on; NULL, or the refusal that ends the transaction. */
static const char *open_body(struct smtp_server *server)
{
    if (server->doomed) {
        return doomed;
    }
    const char *refusal = server->events->data(server->owner, &server->body);
    assert(refusal != NULL || server->body != NULL);
    return refusal;
}

static void proceed_data(struct smtp_server *server, struct command *command)
{
    const char *refusal = open_body(server);
    if (refusal != NULL) {
        server_drop_transaction(server);
        server_say(server, refusal);
        return;
    }
    server->state = DATA;
    server_say(server, "354 End data with <CR><LF>.<CR><LF>");
}

/* RFC 3030 2: "n" or "n LAST". Without a size the chunk's end cannot be found: OPENS_CHUNK. */
static const char *check_bdat(const struct smtp_server *server, struct command *command)
{
    struct bytes rest = command->argument;
    ptrdiff_t space = bytes_find(rest, ' ', 0);
    struct bytes size = bytes_slice(rest, 0, space < 0 ? rest.len : (size_t)space);
    struct bytes last = bytes_trim(bytes_slice(rest, size.len, rest.len));
    command->chunk_last = bytes_equal_nocase(last, BYTES("LAST"));
    if (!bytes_to_u64(size, UINT64_MAX, &command->chunk_size) ||
        (last.len > 0 && !command->chunk_last)) {
        return "501 5.5.4 Syntax: BDAT size [LAST]";
    }
    return NULL;
}

static bool fits(const struct smtp_server *server, uint64_t size)
{
    uint64_t size_max = server->settings->size_max;
    return server->body->size <= size_max && size <= size_max - server->body->size;
}

/* Why this chunk cannot be taken, though its octets must be read. */
static const char *chunk_refusal(struct smtp_server *server, uint64_t size)
{
    if (!server->settings->chunking) {
        return "502 5.5.1 CHUNKING is not offered here";
    }
    if (server->phase < RECIPIENT) {
        return server->rcpt_refused && server->phase == SENDER
                   ? "554 5.5.1 No valid recipients"
                   : "503 5.5.1 BDAT needs MAIL and RCPT before it";
    }
    const char *refusal = server->phase == RECIPIENT ? open_body(server) : NULL;
    if (refusal == NULL && !fits(server, size)) {
        refusal = "552 5.3.4 The message is larger than is accepted here";
    }
    if (refusal != NULL) {
        server_drop_transaction(server);
    }
    return refusal;
}

void server_end_chunk(struct smtp_server *server)
{
    server->state = COMMAND;
    if (server->chunk_last) {
        body_finish(server->body);
        server_finish_message(server);
        return;
    }
    char text[64];
    struct buffer reply;
    buffer_init(&reply, text, sizeof(text));
    buffer_printf(&reply, "250 2.0.0 Ok: %llu octets\r\n", (unsigned long long)server->chunk_size);
    server_put(server, buffer_bytes(&reply));
}

void server_end_skipped_chunk(struct smtp_server *server)
{
    server->state = COMMAND;
    server_say_refusal(server, server->chunk_refusal);
}

static void proceed_bdat(struct smtp_server *server, struct command *command)
{
    server->chunk_size = server->chunk_left = command->chunk_size;
    server->chunk_last = command->chunk_last;
    if (command->chunk_size > server_excess_limit(server)) {
        server_close_with(server, "552 5.3.4 The chunk is far larger than is accepted here");
        return;
    }
    server->chunk_refusal = chunk_refusal(server, command->chunk_size);
    if (server->chunk_refusal != NULL) {
        server->state = SKIPPED_CHUNK;
    } else {
        server->phase = CHUNKS;
        server->state = CHUNK;
    }
    if (server->chunk_left == 0) {
        if (server->chunk_refusal != NULL) {
            server_end_skipped_chunk(server);
        } else {
            server_end_chunk(server);
        }
    }
}

/* ---- the rest ---- */

static const char *check_nothing(const struct smtp_server *server, struct command *command)
{
    return NULL;
}

static const char *check_starttls(const struct smtp_server *server, struct command *command)
{
    return command->argument.len > 0 ? "501 5.5.4 STARTTLS has no argument"
                                     : "502 5.5.1 STARTTLS is not offered here";
}

static const char *check_auth(const struct smtp_server *server, struct command *command)
{
    return "502 5.5.1 AUTH is not offered here";
}

static const char *check_unimplemented(const struct smtp_server *server, struct command *command)
{
    return "502 5.5.1 This command is not implemented";
}

static void proceed_nothing(struct smtp_server *server, struct command *command)
{
    server_say(server, "250 2.0.0 Ok");
}

static void proceed_reset(struct smtp_server *server, struct command *command)
{
    server_drop_transaction(server);
    server_say(server, "250 2.0.0 Ok");
}

static void proceed_verify(struct smtp_server *server, struct command *command)
{
    server_say(server, "252 2.0.0 Send mail and it will be tried");
}

static void proceed_help(struct smtp_server *server, struct command *command)
{
    server_say(server, "214 2.0.0 HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT: RFC 5321");
}

static void proceed_quit(struct smtp_server *server, struct command *command)
{
    server_close_with(server, "221 2.0.0 Bye");
}

static void proceed_foreign(struct smtp_server *server, struct command *command)
{
    server_close_with(server, "554 5.5.1 This is a mail server");
}

static const struct verb verbs[] = {
    {"EHLO", ANYWHERE, LAST_OF_GROUP | IDLE_TALK, check_hello, proceed_ehlo},
    {"HELO", ANYWHERE, LAST_OF_GROUP | IDLE_TALK, check_hello, proceed_helo},
    {"STARTTLS", ANYWHERE, LAST_OF_GROUP, check_starttls, NULL},
    {"AUTH", ANYWHERE, LONG_ARGUMENT, check_auth, NULL},
    {"MAIL", IN(READY), LONG_ARGUMENT, check_mail, proceed_mail},
    {"RCPT", IN(SENDER) | IN(RECIPIENT), LONG_ARGUMENT | GIVES_RCPT, check_rcpt, proceed_rcpt},
    {"DATA", IN(RECIPIENT), LAST_OF_GROUP | ASKS_FOR_RCPT, check_no_argument, proceed_data},
    {"BDAT", ANYWHERE, OPENS_CHUNK, check_bdat, proceed_bdat},
    {"RSET", ANYWHERE, IDLE_TALK | ENDS_RECIPIENTS, check_no_argument, proceed_reset},
    {"NOOP", ANYWHERE, IDLE_TALK, check_nothing, proceed_nothing},
    {"VRFY", ANYWHERE, IDLE_TALK, check_nothing, proceed_verify},
    {"EXPN", ANYWHERE, IDLE_TALK, check_unimplemented, NULL},
    {"ETRN", ANYWHERE, IDLE_TALK, check_unimplemented, NULL},
    {"HELP", ANYWHERE, IDLE_TALK, check_nothing, proceed_help},
    {"QUIT", ANYWHERE, ENDS_SESSION, check_no_argument, proceed_quit},
    /* Other protocols': a browser made to speak to us would send its headers next (S34). */
    {"GET", ANYWHERE, LONG_ARGUMENT, check_nothing, proceed_foreign},
    {"POST", ANYWHERE, LONG_ARGUMENT, check_nothing, proceed_foreign},
    {"PUT", ANYWHERE, LONG_ARGUMENT, check_nothing, proceed_foreign},
    {"HEAD", ANYWHERE, LONG_ARGUMENT, check_nothing, proceed_foreign},
    {"OPTIONS", ANYWHERE, LONG_ARGUMENT, check_nothing, proceed_foreign},
    {"CONNECT", ANYWHERE, LONG_ARGUMENT, check_nothing, proceed_foreign},
};
#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

const struct verb *server_find_verb(struct bytes name)
{
    for (size_t i = 0; i < VERB_COUNT; i++) {
        if (bytes_equal_nocase(name, bytes_from_string(verbs[i].name))) {
            return &verbs[i];
        }
    }
    return NULL;
}
