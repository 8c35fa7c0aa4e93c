/* What the client says next, written when the owner asks for it and not before.
 *
 * One step writes one line, or finds that nothing may be said now: something that must be answered
 * first is outstanding, the ring or the buffer is full, a body is going out. The buffer keeps back
 * the room of the final dot, so that a body never has to wait for it. */
#include <assert.h>

#include "smtp/client_internal.h"

#define DOT_LEN        3   /* ".\r\n" */
#define ENVID_MAX      100 /* RFC 3461 4.4, encoded */
#define ORCPT_MAX      500 /* RFC 3461 4.2, encoded */
#define NOTIFY_NEVER   1u  /* bits as in engine/message.h */
#define NOTIFY_SUCCESS 2u
#define NOTIFY_FAILURE 4u
#define NOTIFY_DELAY   8u

bool client_address_is_sendable(struct bytes address, bool utf8)
{
    for (size_t i = 0; i < address.len; i++) {
        unsigned char c = (unsigned char)address.data[i];
        if (c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8)) {
            return false;
        }
    }
    return address.len > 0 && address.len <= CLIENT_ADDRESS_MAX;
}

/* ---- lines ------------------------------------------------------------------------------ */

static void open_line(struct client *client, struct buffer *line)
{
    assert(client->out_len + DOT_LEN <= CLIENT_OUT_BYTES);
    buffer_init(line, client->out + client->out_len, CLIENT_OUT_BYTES - DOT_LEN - client->out_len);
}

/* False: no room before what waits has been sent; nothing was written. */
static bool close_line(struct client *client, struct buffer *line, enum client_kind kind,
                       const struct client_transaction *transaction, uint32_t rcpt)
{
    buffer_put(line, "\r\n", 2);
    if (line->overflowed) {
        assert(client->out_len > 0);
        return false;
    }
    client->out_len += (uint32_t)line->len;
    client_push(client, kind, transaction, rcpt);
    return true;
}

static bool say(struct client *client, const char *text, enum client_kind kind,
                const struct client_transaction *transaction)
{
    struct buffer line;
    open_line(client, &line);
    buffer_put_string(&line, text);
    return close_line(client, &line, kind, transaction, 0);
}

/* RFC 3461 4: printable ASCII but "+" and "=" stands for itself. */
static bool put_xtext(struct buffer *out, struct bytes text, size_t max)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t from = out->len;
    for (size_t i = 0; i < text.len && out->len - from <= max; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c > 32 && c < 127 && c != '+' && c != '=') {
            buffer_put_char(out, (char)c);
        } else {
            buffer_put(out, (char[]){'+', hex[c >> 4], hex[c & 15]}, 3);
        }
    }
    return out->len - from <= max;
}

/* Leaves out what cannot be said within the limits of the RFC. */
static void put_envid(struct buffer *line, struct bytes envid)
{
    char memory[ENVID_MAX + 8];
    struct buffer text;
    buffer_init(&text, memory, sizeof(memory));
    if (envid.len > 0 && put_xtext(&text, envid, ENVID_MAX)) {
        buffer_put_string(line, " ENVID=");
        buffer_put_bytes(line, buffer_bytes(&text));
    }
}

/* "rfc822;a@b": the type as it is, the address in xtext. A utf-8 address goes out as it is (RFC
 * 6533 3: utf-8-addr-unitext) where SMTPUTF8 is spoken, else not at all. */
static void put_orcpt(struct buffer *line, struct bytes orcpt, bool smtputf8)
{
    char memory[ORCPT_MAX + 8];
    struct buffer text;
    ptrdiff_t semicolon = bytes_find(orcpt, ';', 0);
    if (semicolon <= 0 || orcpt.len > ORCPT_MAX) {
        return;
    }
    buffer_init(&text, memory, sizeof(memory));
    struct bytes type = bytes_slice(orcpt, 0, (size_t)semicolon + 1);
    struct bytes address = bytes_slice(orcpt, (size_t)semicolon + 1, orcpt.len);
    if (!bytes_equal_nocase(type, BYTES("utf-8;"))) {
        buffer_put_bytes(&text, type);
        if (!put_xtext(&text, address, ORCPT_MAX - type.len)) {
            return;
        }
    } else if (smtputf8 && client_address_is_sendable(address, true) &&
               bytes_find(address, ' ', 0) < 0) {
        buffer_put_bytes(&text, orcpt);
    } else {
        return;
    }
    buffer_put_string(line, " ORCPT=");
    buffer_put_bytes(line, buffer_bytes(&text));
}

static void put_notify(struct buffer *line, uint8_t notify)
{
    static const struct {
        uint8_t bit;
        const char *name;
    } names[] = {{NOTIFY_SUCCESS, "SUCCESS"}, {NOTIFY_FAILURE, "FAILURE"}, {NOTIFY_DELAY, "DELAY"}};
    if (notify == 0) {
        return;
    }
    buffer_put_string(line, " NOTIFY=");
    if ((notify & NOTIFY_NEVER) != 0) {
        buffer_put_string(line, "NEVER"); /* RFC 3461 4.1: never with another */
        return;
    }
    bool first = true;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if ((notify & names[i].bit) != 0) {
            buffer_put_string(line, first ? "" : ",");
            buffer_put_string(line, names[i].name);
            first = false;
        }
    }
}

/* ---- a transaction's commands ----------------------------------------------------------- */

/* Body behind the command without waiting for any answer. Not to a peer that may be gone: what it
 * had not even begun to answer would count as possibly delivered. */
static bool is_eager(const struct client *client, const struct client_transaction *transaction)
{
    return client_pipelines(client) && client_chunks(client) && !client->may_leave &&
           transaction->body_size <= CLIENT_EAGER_BODY_MAX &&
           (client_nth(client, 0) == transaction || client_flies(client));
}

/* Says RSET where the peer may hold the leavings of another transaction, for then it would deliver
 * this body to that one's recipients. With several bodies in flight nobody knows yet how the one
 * before ends; a failed BDAT leaves the state indeterminate (RFC 3030 2). */
static bool write_reset(struct client *client, struct client_transaction *transaction)
{
    bool in_flight = client_nth(client, 0) != transaction && client_flies(client);
    enum client_kind kind =
        client->reset_wanted == 0 ? CLIENT_KIND_RSET : (enum client_kind)client->reset_wanted;
    if ((client->reset_wanted != 0 || in_flight) && !say(client, "RSET", kind, NULL)) {
        return false;
    }
    client->reset_wanted = 0;
    transaction->state = CLIENT_CLEAN;
    return true;
}

static bool write_mail(struct client *client, struct client_transaction *transaction)
{
    uint32_t capabilities = client->peer.capabilities;
    struct buffer line;
    open_line(client, &line);
    buffer_put_string(&line, "MAIL FROM:<");
    buffer_put_bytes(&line, transaction->sender);
    buffer_put_char(&line, '>');
    if ((capabilities & CLIENT_CAP_SIZE) != 0) {
        buffer_put_string(&line, " SIZE=");
        buffer_put_u64(&line, transaction->body_size);
    }
    if (transaction->eight_bit) {
        buffer_put_string(&line, " BODY=8BITMIME");
    }
    if (transaction->smtputf8) {
        buffer_put_string(&line, " SMTPUTF8");
    }
    if ((capabilities & CLIENT_CAP_DSN) != 0) {
        if (transaction->ret_full || transaction->ret_hdrs) {
            buffer_put_string(&line, transaction->ret_full ? " RET=FULL" : " RET=HDRS");
        }
        put_envid(&line, transaction->envid);
    }
    if (!close_line(client, &line, CLIENT_KIND_MAIL, transaction, 0)) {
        return false;
    }
    client->orphan_accepted = false;
    transaction->uses_bdat = client_chunks(client);
    transaction->state = CLIENT_RCPTS;
    return true;
}

/* The next one that may be written at all. */
static bool write_rcpt(struct client *client, struct client_transaction *transaction)
{
    struct client_rcpt rcpt = {.notify = 0};
    while (transaction->rcpts_sent < transaction->rcpt_count) {
        client->events->rcpt_at(client->owner, transaction, transaction->rcpts_sent, &rcpt);
        if (client_address_is_sendable(rcpt.address, transaction->smtputf8)) {
            break;
        }
        transaction->rcpts_sent++; /* refused when the transaction was begun */
    }
    if (transaction->rcpts_sent == transaction->rcpt_count) {
        transaction->state = CLIENT_RCPTS_SAID;
        return true;
    }
    struct buffer line;
    open_line(client, &line);
    buffer_put_string(&line, "RCPT TO:<");
    buffer_put_bytes(&line, rcpt.address);
    buffer_put_char(&line, '>');
    if ((client->peer.capabilities & CLIENT_CAP_DSN) != 0) {
        put_notify(&line, rcpt.notify);
        put_orcpt(&line, rcpt.orcpt, transaction->smtputf8);
    }
    if (!close_line(client, &line, CLIENT_KIND_RCPT, transaction, transaction->rcpts_sent)) {
        return false;
    }
    transaction->rcpts_sent++;
    return true;
}

static bool write_bdat(struct client *client, struct client_transaction *transaction)
{
    struct buffer line;
    bool answered = transaction->rcpts_answered == transaction->rcpt_count &&
                    transaction->mail_answered && client_nth(client, 0) == transaction;
    if (!answered && !is_eager(client, transaction)) {
        return false;
    }
    open_line(client, &line);
    buffer_put_string(&line, "BDAT ");
    buffer_put_u64(&line, transaction->body_size);
    buffer_put_string(&line, " LAST");
    if (!close_line(client, &line, CLIENT_KIND_BDAT, transaction, 0)) {
        return false;
    }
    transaction->state = CLIENT_BODY_NEXT;
    return true;
}

static bool write_data(struct client *client, struct client_transaction *transaction)
{
    if (transaction->uses_bdat && client_chunks(client)) {
        return write_bdat(client, transaction);
    }
    transaction->uses_bdat = false;
    if (!say(client, "DATA", CLIENT_KIND_DATA, transaction)) {
        return false;
    }
    transaction->state = CLIENT_DATA_SAID;
    return true;
}

/* The first that still has something to say. */
static struct client_transaction *speaker(const struct client *client)
{
    for (uint32_t n = 0; n < client->transactions_count; n++) {
        struct client_transaction *transaction = client_nth(client, n);
        if (transaction->state != CLIENT_BODY_SAID) {
            return transaction;
        }
    }
    return NULL;
}

static bool write_transaction(struct client *client)
{
    /* Without PIPELINING every command waits for the answer to the one before. One place in the
     * ring is kept for the reply to a body. */
    if ((!client_pipelines(client) && client->outstanding_count > 0) ||
        client->outstanding_count >= CLIENT_OUTSTANDING_MAX - 1) {
        return false;
    }
    struct client_transaction *transaction = speaker(client);
    if (transaction == NULL) {
        if (!client->quit_wanted || client->transactions_count > 0 ||
            !say(client, "QUIT", CLIENT_KIND_QUIT, NULL)) {
            return false;
        }
        client->state = CLIENT_QUITTING;
        return true;
    }
    switch ((enum client_progress)transaction->state) {
    case CLIENT_QUEUED:
        return !client->draining && write_reset(client, transaction);
    case CLIENT_CLEAN:
        return !client->draining && write_mail(client, transaction);
    case CLIENT_RCPTS:
        return !client->draining && write_rcpt(client, transaction);
    case CLIENT_RCPTS_SAID:
        return !client->draining && write_data(client, transaction);
    case CLIENT_DATA_SAID:
    case CLIENT_BODY_NEXT:
    case CLIENT_BODY_GOING:
    case CLIENT_BODY_SAID:
        break;
    }
    return false;
}

static bool write_hello(struct client *client, const char *verb, enum client_kind kind)
{
    struct buffer line;
    open_line(client, &line);
    buffer_put_string(&line, verb);
    buffer_put_string(&line, client->settings->helo_name);
    if (!close_line(client, &line, kind, NULL, 0)) {
        return false;
    }
    if (kind == CLIENT_KIND_EHLO) {
        client->parser.line = client_take_ehlo_line;
        client->parser.owner = client;
    }
    client->state = CLIENT_HELLO;
    return true;
}

/* AUTH, or the answer to the challenge that has come. */
static bool write_auth(struct client *client)
{
    const struct sasl_credentials *credentials = &client->settings->auth;
    enum sasl_mechanism mechanism = (enum sasl_mechanism)client->mechanism;
    const struct reply *reply = &client->parser.reply;
    uint32_t answers = client->auth_answers;
    bool said = true;
    struct buffer line;
    open_line(client, &line);
    if (client->state == CLIENT_SAY_AUTH) {
        sasl_put_command(mechanism, credentials, &answers, &line);
    } else {
        /* One that was cut, or that the next reply is written over already, is none. */
        bool whole = reply_parser_at_start(&client->parser) && reply->text_len < REPLY_TEXT_MAX;
        struct bytes challenge = whole ? reply_text(reply) : BYTES("");
        said = sasl_put_answer(mechanism, credentials, &answers, challenge, &line);
    }
    if (!close_line(client, &line, CLIENT_KIND_AUTH, NULL, 0)) {
        return false;
    }
    client->auth_answers = answers;
    client->auth_cancelled = !said;
    client->state = CLIENT_HELLO;
    return true;
}

/* One line, or false: nothing may be said now. */
static bool write_step(struct client *client)
{
    if (client->lone_dot_wanted) {
        client->lone_dot_wanted = !say(client, ".", CLIENT_KIND_LONE_DOT, NULL);
        return !client->lone_dot_wanted;
    }
    if (client->barriers > 0 || client->body != NULL) {
        return false;
    }
    enum client_session state = (enum client_session)client->state;
    if (client->quit_wanted && state >= CLIENT_SAY_EHLO && state <= CLIENT_SAY_AUTH) {
        state = client->state = CLIENT_READY;
    }
    switch (state) {
    case CLIENT_SAY_EHLO:
        return write_hello(client, "EHLO ", CLIENT_KIND_EHLO);
    case CLIENT_SAY_HELO:
        return write_hello(client, "HELO ", CLIENT_KIND_HELO);
    case CLIENT_SAY_STARTTLS:
        client->state = CLIENT_HELLO;
        return say(client, "STARTTLS", CLIENT_KIND_STARTTLS, NULL);
    case CLIENT_SAY_AUTH:
    case CLIENT_SAY_ANSWER:
        return write_auth(client);
    case CLIENT_READY:
        return write_transaction(client);
    case CLIENT_GREETING:
    case CLIENT_HELLO:
    case CLIENT_TLS:
    case CLIENT_QUITTING:
        break;
    }
    return false;
}

/* ---- the owner's side ------------------------------------------------------------------- */

static struct client_transaction *body_due(struct client *client)
{
    struct client_transaction *transaction = speaker(client);
    if (transaction == NULL || transaction->state != CLIENT_BODY_NEXT ||
        client->out_len + DOT_LEN > CLIENT_OUT_BYTES) {
        return NULL;
    }
    transaction->state = CLIENT_BODY_GOING;
    if (!transaction->uses_bdat) {
        client_push(client, CLIENT_KIND_FINAL, transaction, 0);
    }
    return transaction;
}

void client_next_output(struct client *client, struct client_output *out)
{
    *out = (struct client_output){.kind = CLIENT_NOTHING};
    if (client->over) {
        return;
    }
    while (write_step(client)) {
    }
    if (client->out_taken < client->out_len) {
        out->kind = CLIENT_COMMANDS;
        out->commands =
            bytes_of(client->out + client->out_taken, client->out_len - client->out_taken);
        client->out_taken = client->out_len;
        /* A barrier: nothing else is behind it. */
        out->secret = client->outstanding_count > 0 &&
                      client->outstanding[client->outstanding_first].kind == CLIENT_KIND_AUTH;
        return;
    }
    if (client->body == NULL) {
        client->body = body_due(client);
        if (client->body != NULL) {
            out->kind = CLIENT_BODY;
            out->body = client->body;
            out->stuffed = !client->body->uses_bdat;
        }
    }
}

void client_body_ended(struct client *client, struct client_transaction *transaction)
{
    if (client->over) {
        return;
    }
    assert(client->body == transaction);
    client->body = NULL;
    transaction->state = CLIENT_BODY_SAID;
    if (!transaction->uses_bdat) {
        /* RFC 5321 4.1.1.4: the CRLF that ends the body is the first of CRLF "." CRLF. */
        assert(client->out_len + DOT_LEN <= CLIENT_OUT_BYTES);
        memcpy(client->out + client->out_len, ".\r\n", DOT_LEN);
        client->out_len += DOT_LEN;
    }
}

void client_sent(struct client *client)
{
    assert(client->out_taken <= client->out_len);
    client->out_len -= client->out_taken;
    memmove(client->out, client->out + client->out_taken, client->out_len);
    client->out_taken = 0;
}
