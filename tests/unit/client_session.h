/* A client core in the hands of a test: its events as words, what it says as bytes, and messages to
 * give it. Included once by each test of the core. */
#ifndef TESTS_UNIT_CLIENT_SESSION_H
#define TESTS_UNIT_CLIENT_SESSION_H

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>

#include "smtp/client.h"
#include "test.h"

#define BODY "Subject: x\r\n\r\nhello\r\n"

struct message {
    struct client_transaction transaction;
    const char *name;
    const char *rcpts[8];
    struct client_rcpt extra; /* notify and orcpt for all */
    uint8_t accepted[8];
};

struct session {
    struct client client;
    struct client_settings settings;
    char log[8192];   /* events, one word group each, separated by "; " */
    char said[65536]; /* bytes on the wire since the last look */
    size_t log_len, said_len;
    struct message *recall_at_end; /* taken back from within transaction_ended */
    bool hold_body;                /* bodies are handed out and not ended */
    struct client_transaction *held;
};

static inline void note(struct session *session, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static inline void note(struct session *session, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(session->log + session->log_len, sizeof(session->log) - session->log_len,
                      format, arguments);
    va_end(arguments);
    assert(n >= 0 && session->log_len + (size_t)n < sizeof(session->log));
    session->log_len += (size_t)n;
}

/* What was noted since the last look. */
static inline const char *noted(struct session *session)
{
    static char seen[8192];
    memcpy(seen, session->log, session->log_len + 1);
    session->log_len = 0;
    session->log[0] = '\0';
    return seen;
}

static inline struct message *message_of(struct client_transaction *transaction)
{
    return (struct message *)(void *)((char *)transaction - offsetof(struct message, transaction));
}

static inline void on_established(struct client *client, void *owner)
{
    note(owner, "established; ");
}

static inline void on_start_tls(struct client *client, void *owner)
{
    note(owner, "start tls; ");
}

static inline void on_rcpt_refused(struct client *client, void *owner,
                                   struct client_transaction *transaction, uint32_t index,
                                   const struct reply *reply)
{
    note(owner, "%s rcpt %u refused %u; ", message_of(transaction)->name, index, reply->code);
}

static const char *const end_names[] = {"reply",       "lost",       "lost after",
                                        "unattempted", "unsuitable", "retry data"};
static const char *const over_names[] = {"quit", "reply",   "protocol", "tls",
                                         "auth", "abandon", "loop"};

static inline void on_ended(struct client *client, void *owner,
                            struct client_transaction *transaction, enum client_end end,
                            enum client_stage stage, const struct reply *reply)
{
    struct session *session = owner;
    note(session, "%s ended %s at %s", message_of(transaction)->name, end_names[end],
         client_stage_name(stage));
    if (reply != NULL) {
        note(session, " %u", reply->code);
    }
    note(session, "; ");
    if (session->recall_at_end != NULL) {
        struct message *message = session->recall_at_end;
        session->recall_at_end = NULL;
        CHECK(client_recall(client, &message->transaction));
    }
}

static inline void on_rcpt_at(void *owner, const struct client_transaction *transaction,
                              uint32_t index, struct client_rcpt *out)
{
    const struct message *message =
        (const void *)((const char *)transaction - offsetof(struct message, transaction));
    *out = message->extra;
    out->address = bytes_from_string(message->rcpts[index]);
}

static inline void on_over(struct client *client, void *owner, enum client_over how,
                           enum client_stage stage, const struct reply *reply)
{
    note(owner, "over %s at %s", over_names[how], client_stage_name(stage));
    if (reply != NULL) {
        note(owner, " %u", reply->code);
    }
    note(owner, "; ");
    CHECK_INT(client->transactions_count, 0);
}

static const struct client_events events = {
    .established = on_established,
    .start_tls = on_start_tls,
    .rcpt_refused = on_rcpt_refused,
    .transaction_ended = on_ended,
    .rcpt_at = on_rcpt_at,
    .over = on_over,
};

static inline void put_said(struct session *session, const char *data, size_t len)
{
    assert(session->said_len + len < sizeof(session->said));
    memcpy(session->said + session->said_len, data, len);
    session->said_len += len;
    session->said[session->said_len] = '\0';
}

/* Asks for output until there is none, as the owner does; the flight is then on the wire. */
static inline void flush(struct session *session)
{
    struct client_output out;
    for (;;) {
        client_next_output(&session->client, &out);
        switch (out.kind) {
        case CLIENT_NOTHING:
            client_sent(&session->client);
            return;
        case CLIENT_COMMANDS:
            put_said(session, out.commands.data, out.commands.len);
            break;
        case CLIENT_BODY:
            if (session->hold_body) {
                put_said(session, BODY, 5);
                session->held = out.body;
                break;
            }
            put_said(session, BODY, out.body->body_size);
            client_body_ended(&session->client, out.body);
            break;
        }
    }
}

/* All that was said since the last look. */
static inline const char *said(struct session *session)
{
    static char seen[65536];
    flush(session);
    memcpy(seen, session->said, session->said_len + 1);
    session->said_len = 0;
    session->said[0] = '\0';
    return seen;
}

static inline void hear(struct session *session, const char *bytes)
{
    client_receive(&session->client, bytes, strlen(bytes));
}

static inline void meet(struct session *session)
{
    static const struct client_settings defaults = {.helo_name = "us.example", .in_flight_max = 1};
    memset(session, 0, sizeof(*session));
    session->settings = defaults;
    client_init(&session->client, &session->settings, &events, session);
}

/* Greeting and EHLO with these lines ("250-PIPELINING\r\n…" without the last). */
static inline void shake(struct session *session, const char *lines)
{
    char reply[1024];
    hear(session, "220 mx.example ready\r\n");
    CHECK_STRING(said(session), "EHLO us.example\r\n");
    snprintf(reply, sizeof(reply), "250-mx.example\r\n%s250 HELP\r\n", lines);
    hear(session, reply);
}

static inline void open_session(struct session *session, const char *lines)
{
    meet(session);
    shake(session, lines);
    CHECK_STRING(noted(session), "established; ");
}

static inline void write_message(struct message *message, const char *name, int rcpt_count)
{
    static const char *const addresses[] = {"a@x", "b@x", "c@x", "d@x", "e@x", "f@x", "g@x", "h@x"};
    memset(message, 0, sizeof(*message));
    message->name = name;
    memcpy(message->rcpts, addresses, sizeof(addresses));
    message->transaction.sender = BYTES("s@y");
    message->transaction.body_size = strlen(BODY);
    message->transaction.rcpt_count = (uint32_t)rcpt_count;
    message->transaction.rcpt_accepted = message->accepted;
}

static inline void begin(struct session *session, struct message *message, const char *name,
                         int rcpt_count)
{
    write_message(message, name, rcpt_count);
    CHECK(client_may_begin(&session->client) || client_may_carry(&session->client));
    client_begin(&session->client, &message->transaction);
}

#define PIPELINING "250-PIPELINING\r\n"
#define CHUNKING   "250-CHUNKING\r\n"
#define OK         "250 ok\r\n"

/* A first message that is delivered, so that the next may be carried. */
static inline void deliver_one(struct session *session)
{
    static struct message first;
    begin(session, &first, "0", 1);
    said(session);
    if ((session->client.peer.capabilities & CLIENT_CAP_CHUNKING) != 0) {
        hear(session, OK OK OK);
    } else {
        hear(session, OK OK "354 go\r\n");
        said(session);
        hear(session, OK);
    }
    noted(session);
}

#endif
