/* A session is in one of five phases, and what it reads is one of a few things:
 *
 *   phase  HELLO -> READY -> SENDER -> RECIPIENT (-> CHUNKS) -> READY
 *   state  COMMAND lines, DATA until the final dot, the octets of a CHUNK, then WAITING for the
 *          owner's answer; LONG_LINE and SKIPPED_CHUNK are read over; CLOSING ends it.
 *
 * A command is a row of a table: in which phases it may come, a check that parses and refuses and
 * changes nothing, and what it does. Rows stand in the order of a dialogue.
 *
 * Never is the payload of a message taken for commands: a chunk is read over whole even where
 * BDAT is refused, and bytes that came behind DATA in the same flight end the session (S17, S26),
 * since they were sent before the client could know whether they would be a body. */
#include "smtp/server.h"

#include <assert.h>

#include "base/utf8.h"
#include "smtp/server_internal.h"

/* ---- replies ---- */

static size_t out_room(const struct smtp_server *server)
{
    return SERVER_OUT_BYTES - server->out_len;
}

void server_put(struct smtp_server *server, struct bytes text)
{
    assert(server->workspace != NULL);
    assert(text.len <= out_room(server));
    memcpy(server->workspace->out + server->out_len, text.data, text.len);
    server->out_len = (uint16_t)(server->out_len + text.len);
}

void server_say(struct smtp_server *server, const char *reply)
{
    server_put(server, bytes_from_string(reply));
    server_put(server, BYTES("\r\n"));
    if (reply[0] == '4' && server->settings->transient_ends) {
        server_drop_transaction(server);
        server->state = CLOSING;
    }
}

void server_drop_transaction(struct smtp_server *server)
{
    if (server->phase >= SENDER) {
        server->events->reset(server->owner);
        server->phase = READY;
    }
    server->body = NULL;
}

void server_close_with(struct smtp_server *server, const char *reply)
{
    server_drop_transaction(server);
    server_say(server, reply);
    server->state = CLOSING;
}

/* A protocol error; the last of many ends the session. */
void server_say_error(struct smtp_server *server, const char *reply)
{
    server->errors_total++;
    if (++server->errors >= SERVER_ERRORS_MAX) {
        server_close_with(server, "421 4.7.0 Too many errors");
        return;
    }
    server_say(server, reply);
}

/* A refusal is the client's fault in form (then it counts), or just a no. An address that is
 * none comes from a list, not from the client's program. */
void server_say_refusal(struct smtp_server *server, const char *reply)
{
    struct bytes text = bytes_from_string(reply);
    if (bytes_starts_with(text, BYTES("50")) && !bytes_starts_with(text, BYTES("501 5.1."))) {
        server_say_error(server, reply);
    } else {
        server_say(server, reply);
    }
}

static const char *phase_refusal(const struct smtp_server *server, const struct verb *verb)
{
    if ((verb->phases & IN(server->phase)) != 0) {
        return NULL;
    }
    switch ((enum phase)server->phase) {
    case HELLO:
        return "503 5.5.1 Send EHLO first";
    case READY:
        return "503 5.5.1 Send MAIL first";
    case SENDER:
        if (server->rcpt_refused && (verb->flags & ASKS_FOR_RCPT) != 0) {
            return "554 5.5.1 No valid recipients";
        }
        return "503 5.5.1 Not now: RCPT is next";
    case RECIPIENT:
        return "503 5.5.1 Not now: a transaction is open";
    case CHUNKS:
        return "503 5.5.1 Not now: the message comes by BDAT";
    }
    return NULL;
}

/* Faults of the line itself, before anybody asks what it means. */
static const char *line_refusal(struct bytes line)
{
    bool ascii = true;
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.data[i];
        if (c < ' ' || c == 0x7f) {
            return "500 5.5.2 Control character in the command";
        }
        ascii = ascii && c < 0x80;
    }
    return ascii || utf8_is_valid(line) ? NULL : "501 5.5.2 The command is neither ASCII nor UTF-8";
}

/* Too much talk without mail. A client that gives up on refused recipients means well. */
static bool is_too_much_talk(struct smtp_server *server, const struct verb *verb)
{
    bool gives_up =
        (verb->flags & ENDS_RECIPIENTS) != 0 &&
        (server->phase >= RECIPIENT || (server->phase == SENDER && server->rcpt_refused));
    return (verb->flags & IDLE_TALK) != 0 && !gives_up &&
           ++server->idle_talk > SERVER_IDLE_TALK_MAX;
}

static void run_verb(struct smtp_server *server, const struct verb *verb, struct bytes argument,
                     bool more_follows)
{
    struct command command = {.argument = argument};
    if (more_follows && (verb->flags & LAST_OF_GROUP) != 0) {
        server_close_with(server, "554 5.5.0 You must wait for the reply to this command");
        return;
    }
    if (is_too_much_talk(server, verb)) {
        server_close_with(server, "421 4.7.0 Too many commands without a message");
        return;
    }
    const char *refusal = phase_refusal(server, verb);
    if (refusal == NULL) {
        refusal = verb->check(server, &command);
    }
    if (refusal == NULL) {
        verb->proceed(server, &command);
    } else if ((verb->flags & OPENS_CHUNK) != 0 && more_follows) {
        /* A chunk of unknown size: what follows may be its octets, never commands. */
        server_close_with(server, refusal);
    } else {
        server->rcpt_refused |= (verb->flags & GIVES_RCPT) != 0 && server->phase == SENDER;
        server_say_refusal(server, refusal);
    }
}

static void tell_command(struct smtp_server *server, struct bytes line)
{
    ptrdiff_t space = bytes_find(line, ' ', 0);
    struct bytes name = bytes_slice(line, 0, space < 0 ? line.len : (size_t)space);
    bool known = server_find_verb(name) != NULL;
    server->events->command(server->owner, known ? line : bytes_of(NULL, 0));
}

/* line without its line end. */
static void run_line(struct smtp_server *server, struct bytes line, bool more_follows)
{
    const char *refusal = line_refusal(line);
    if (server->settings->tell_commands) {
        tell_command(server, line);
    }
    if (refusal != NULL) {
        server_say_error(server, refusal);
        return;
    }
    ptrdiff_t space = bytes_find(line, ' ', 0);
    struct bytes name = bytes_slice(line, 0, space < 0 ? line.len : (size_t)space);
    const struct verb *verb = server_find_verb(name);
    if (server->settings->draining && server->phase < SENDER &&
        (verb == NULL || (verb->flags & ENDS_SESSION) == 0)) {
        server_close_with(server, "421 4.3.2 Shutting down; try again");
    } else if (line.len + 2 > SERVER_COMMAND_MAX &&
               (verb == NULL || (verb->flags & LONG_ARGUMENT) == 0)) {
        server_say_error(server, "500 5.5.2 Line too long");
    } else if (verb == NULL) {
        server_say_error(server, "500 5.5.2 Command not recognized");
    } else {
        run_verb(server, verb, bytes_trim(bytes_slice(line, name.len, line.len)), more_follows);
    }
}

/* line ends with LF. */
static void end_line(struct smtp_server *server, struct bytes line, bool more_follows)
{
    if (line.len - 1 > SERVER_LINE_MAX) {
        server_say_error(server, "500 5.5.2 Line too long");
        return;
    }
    if (line.len < 2 || line.data[line.len - 2] != '\r') {
        /* RFC 5321 2.3.8: only CRLF ends a line. Taken as an end all the same to find the next
         * command; the one it ends is not carried out. */
        if (++server->bare_lfs >= SERVER_BARE_LF_MAX) {
            server_close_with(server, "421 4.7.0 Too many bare LFs");
            return;
        }
        server_say_error(server, "500 5.5.2 Bare LF: commands end with CRLF");
        return;
    }
    run_line(server, bytes_slice(line, 0, line.len - 2), more_follows);
}

static size_t feed_command(struct smtp_server *server, struct bytes input)
{
    /* RFC 8446 5.1: a TLS handshake record begins so, a command never does. Nobody would
     * understand a reply (S34). */
    if (server->line_len == 0 && input.data[0] == 0x16) {
        server_drop_transaction(server);
        server->errors_total++;
        server->state = CLOSING;
        return input.len;
    }
    ptrdiff_t newline = bytes_find(input, '\n', 0);
    bool whole = newline >= 0;
    size_t taken = whole ? (size_t)newline + 1 : input.len;
    struct bytes line = bytes_slice(input, 0, taken);
    size_t len = server->line_len + taken - whole; /* without the LF */
    if (len > SERVER_LINE_MAX) {
        server->line_len = 0;
        server->line_skipped = (uint32_t)len;
        server->state = LONG_LINE;
        return taken - whole;
    }
    if (server->line_len > 0 || !whole) {
        memcpy(server->workspace->line + server->line_len, line.data, line.len);
        server->line_len = (uint16_t)(server->line_len + line.len);
        line = bytes_of(server->workspace->line, server->line_len);
    }
    if (whole) {
        server->line_len = 0;
        end_line(server, line, taken < input.len);
    }
    return taken;
}

static size_t feed_long_line(struct smtp_server *server, struct bytes input)
{
    ptrdiff_t newline = bytes_find(input, '\n', 0);
    if (newline >= 0) {
        server->state = COMMAND;
        server_say_error(server, "500 5.5.2 Line too long");
        return (size_t)newline + 1;
    }
    server->line_skipped += (uint32_t)input.len;
    if (server->line_skipped > SERVER_SKIP_MAX) {
        server_close_with(server, "421 4.7.0 A line without an end");
    }
    return input.len;
}

/* ---- messages ---- */

void server_finish_message(struct smtp_server *server)
{
    const char *refusal = body_refusal(server->body);
    server->state = COMMAND;
    if (refusal != NULL) {
        server_drop_transaction(server);
        server_say(server, refusal);
        return;
    }
    server->phase = READY;
    server->body = NULL;
    server->state = WAITING;
    refusal = server->events->end(server->owner);
    if (refusal != NULL) {
        smtp_server_answer(server, refusal, false);
    }
}

uint64_t server_excess_limit(const struct smtp_server *server)
{
    return server->settings->size_max * SERVER_EXCESS_FACTOR + SERVER_SKIP_MAX;
}

/* A message has a size, a line has an end: whoever sends neither is not sending mail (S14). */
static void end_if_endless(struct smtp_server *server, size_t taken)
{
    server->message_taken += taken;
    if (server->body->line_len > SERVER_SKIP_MAX) {
        server_close_with(server, "421 4.7.0 A line without an end");
    } else if (server->message_taken > server_excess_limit(server)) {
        server_close_with(server, "552 5.3.4 The message is far larger than is accepted here");
    }
}

static void tell_content(struct smtp_server *server, struct bytes input, size_t taken)
{
    if (server->settings->tell_content) {
        server->events->content(server->owner, bytes_slice(input, 0, taken));
    }
}

static size_t feed_data(struct smtp_server *server, struct bytes input)
{
    bool ended = false;
    size_t taken = body_feed_data(server->body, input.data, input.len, &ended);
    tell_content(server, input, taken);
    if (ended) {
        server_finish_message(server);
    } else {
        end_if_endless(server, taken);
    }
    return taken;
}

static size_t feed_chunk(struct smtp_server *server, struct bytes input)
{
    size_t taken = input.len < server->chunk_left ? input.len : (size_t)server->chunk_left;
    bool skipped = server->state == SKIPPED_CHUNK;
    server->chunk_left -= taken;
    if (!skipped) {
        body_feed_octets(server->body, input.data, taken);
        tell_content(server, input, taken);
        end_if_endless(server, taken);
    }
    if (server->chunk_left == 0 && server->state != CLOSING) {
        if (skipped) {
            server_end_skipped_chunk(server);
        } else {
            server_end_chunk(server);
        }
    }
    return taken;
}

/* ---- entry points ---- */

void smtp_server_init(struct smtp_server *server, const struct server_events *events, void *owner)
{
    *server = (struct smtp_server){.events = events, .owner = owner};
}

void smtp_server_greet(struct smtp_server *server)
{
    server_put(server, BYTES("220 "));
    server_put(server, server->settings->host_name);
    server_put(server, BYTES(" ESMTP\r\n"));
}

void smtp_server_close(struct smtp_server *server, const char *reply)
{
    assert(server->state != WAITING);
    if (server->state != CLOSING) {
        server_close_with(server, reply);
    }
}

size_t smtp_server_feed(struct smtp_server *server, const void *data, size_t len)
{
    assert(server->settings != NULL);
    assert(server->workspace != NULL);
    size_t at = 0;
    while (at < len && server->state < WAITING && out_room(server) >= SERVER_REPLY_MAX) {
        struct bytes input = bytes_of((const char *)data + at, len - at);
        switch ((enum state)server->state) {
        case COMMAND:
            at += feed_command(server, input);
            break;
        case LONG_LINE:
            at += feed_long_line(server, input);
            break;
        case DATA:
            at += feed_data(server, input);
            break;
        case CHUNK:
        case SKIPPED_CHUNK:
            at += feed_chunk(server, input);
            break;
        case WAITING:
        case CLOSING:
            break;
        }
    }
    return at;
}

void smtp_server_answer(struct smtp_server *server, const char *reply, bool accepted)
{
    assert(server->state == WAITING);
    server->state = COMMAND;
    if (accepted) {
        server->messages++;
        server->errors = server->idle_talk = 0;
    }
    server_say(server, reply);
}

struct bytes smtp_server_output(const struct smtp_server *server)
{
    return server->out_len == 0 ? bytes_of(NULL, 0)
                                : bytes_of(server->workspace->out, server->out_len);
}

void smtp_server_sent(struct smtp_server *server, size_t len)
{
    assert(len <= server->out_len);
    server->out_len = (uint16_t)(server->out_len - len);
    if (server->out_len > 0) {
        memmove(server->workspace->out, server->workspace->out + len, server->out_len);
    }
}

enum server_waits smtp_server_waits_for(const struct smtp_server *server)
{
    switch ((enum state)server->state) {
    case COMMAND:
    case LONG_LINE:
        return SERVER_WAITS_COMMAND;
    case DATA:
    case CHUNK:
    case SKIPPED_CHUNK:
        return SERVER_WAITS_DATA;
    case WAITING:
        return SERVER_WAITS_ANSWER;
    case CLOSING:
        return SERVER_WAITS_CLOSE;
    }
    return SERVER_WAITS_CLOSE;
}

bool smtp_server_in_transaction(const struct smtp_server *server)
{
    return server->phase >= SENDER || server->state == WAITING;
}

bool smtp_server_needs_workspace(const struct smtp_server *server)
{
    return server->line_len > 0 || server->out_len > 0;
}

void smtp_server_lost(struct smtp_server *server)
{
    server_drop_transaction(server);
    server->line_len = server->out_len = 0;
    server->state = CLOSING;
}
