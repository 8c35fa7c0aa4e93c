/* The SMTP server core: bytes in, replies out, a message at a time. Sans I/O (RFC 5321).
 *
 * Knows no sockets, clock, TLS, spool or policy. The owner (engine/session.c) moves bytes, keeps
 * the deadlines and decides about senders, recipients and messages by the callbacks. All of it is
 * in the owner's memory: a small struct per connection, and a workspace that is needed only while
 * a line is incomplete or a reply unsent, so that idle connections share a few. One thread.
 *
 * Replies are in order, each with an enhanced status code (RFC 2034) but for the greeting, the
 * answer to HELO and EHLO, and 354. What the client sent before it could know the answer
 * (RFC 2920) is worked off in one go, and its replies leave together. */
#ifndef SMTP_SERVER_H
#define SMTP_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "smtp/body.h"
#include "smtp/params.h"

#define SERVER_COMMAND_MAX 512 /* bytes with CRLF: RFC 5321 4.5.3.1.4 */
/* MAIL and RCPT with parameters: RFC 3461 and 6531 add some 600 bytes; source routes more. */
#define SERVER_LINE_MAX 4096
/* A line is read over to its end up to here (500); an endless one ends the session (421, S14). */
#define SERVER_SKIP_MAX (16 * 1024 * 1024)
/* A message over its limit is read over to its end, which is refused; one that is over this ends
 * the session. */
#define SERVER_EXCESS_FACTOR 4
#define SERVER_OUT_BYTES     4096
#define SERVER_REPLY_MAX     768 /* bytes of the longest reply: EHLO with a host name of 255 */
#define SERVER_ERRORS_MAX    20  /* protocol errors without a message between them: then 421 */
#define SERVER_IDLE_TALK_MAX 100 /* NOOP, VRFY, RSET … without a message between them: then 421 */
#define SERVER_BARE_LF_MAX   3   /* commands ended by a bare LF: then 421 */

/* What is in force; the owner may exchange it between two calls. */
struct server_settings {
    struct bytes host_name; /* 1–255 bytes */
    struct bytes suffix;    /* the domain of an address without one; empty: it is refused */
    uint64_t size_max;      /* of a message; at most 2^60 */
    uint32_t rcpts_max;     /* of one transaction */
    bool chunking, smtputf8;
    bool verp;             /* MAIL may say VERP; what it means is the owner's matter */
    bool hides_pipelining; /* PIPELINING is not offered; who pipelines is served all the same */
    bool literals;         /* user@[192.0.2.1] is a recipient */
    bool too_many_fails;   /* a recipient over rcpts_max: the message is refused at DATA */
    bool transient_ends;   /* a 4xx reply is the session's last */
    bool tell_commands;    /* calls `command` */
    bool tell_content;     /* calls `content` */
    bool draining;         /* outside of a transaction every command but QUIT gets 421 4.3.2 */
};

struct server_mail {
    struct bytes sender; /* canonical; empty: the null sender */
    bool sender_utf8;    /* the local part is not ASCII */
    const struct mail_params *params;
};

struct server_rcpt {
    struct bytes address; /* canonical, always with a domain */
    uint16_t domain_len;
    bool utf8; /* the local part is not ASCII */
    const struct rcpt_params *params;
};

/* Everything handed over is valid until the callback returns. A reply that a callback returns is
 * one line without CRLF, with code and enhanced code, at most 500 bytes, valid until the core is
 * called again; NULL means yes. None may call into the core. */
struct server_events {
    /* HELO or EHLO with this name: printable ASCII without spaces, 1–255 bytes. */
    void (*hello)(void *owner, struct bytes name, bool extended);
    /* A transaction begins, if the answer is yes. */
    const char *(*mail)(void *owner, const struct server_mail *mail);
    const char *(*rcpt)(void *owner, const struct server_rcpt *rcpt);
    /* The first byte of the message is awaited: *body is to be set to one freshly initialised,
     * the owner's until the transaction ends. */
    const char *(*data)(void *owner, struct body **body);
    /* The message is whole and nothing is wrong with it. The transaction is over for the core.
     * NULL: smtp_server_answer follows, after this call. */
    const char *(*end)(void *owner);
    /* The transaction is dropped. Once per transaction that has begun and did not reach `end`. */
    void (*reset)(void *owner);
    /* A line that a command is awaited in, for a log, before it is carried out. Empty where it is
     * no command: then it may be anything, a secret or a message's text. NULL where nobody has
     * tell_commands. */
    void (*command)(void *owner, struct bytes line);
    /* Bytes of a message that is being received, as they came, for a log: with the line of its dot.
     * NULL where nobody has tell_content. */
    void (*content)(void *owner, struct bytes bytes);
};

/* What is in it before it is lent does not matter. */
struct server_workspace {
    /* private: */
    _Alignas(16) char line[SERVER_LINE_MAX + 1]; /* and the LF */
    char out[SERVER_OUT_BYTES];
};

enum server_waits {
    SERVER_WAITS_COMMAND,
    SERVER_WAITS_DATA,   /* bytes of a message */
    SERVER_WAITS_ANSWER, /* smtp_server_answer: nothing is read meanwhile */
    SERVER_WAITS_CLOSE,  /* send what is left and close */
};

struct smtp_server {
    /* The owner's to set, before each call. */
    const struct server_settings *settings;
    struct server_workspace *workspace;
    /* The owner's to read. */
    uint64_t errors_total, messages;
    /* private: */
    const struct server_events *events;
    void *owner;
    struct body *body;
    const char *chunk_refusal; /* what a chunk that is read over will be answered */
    uint64_t chunk_left, chunk_size, message_taken;
    uint32_t rcpt_count, line_skipped;
    uint16_t line_len, out_len;
    uint8_t phase, state, errors, idle_talk, bare_lfs;
    bool chunk_last, smtputf8, rcpt_refused, doomed;
};

/* events and owner outlive the server. Nothing is said yet. */
void smtp_server_init(struct smtp_server *server, const struct server_events *events, void *owner);

/* Says 220. */
void smtp_server_greet(struct smtp_server *server);

/* Says this one line (as a callback would return it) and is done: SERVER_WAITS_CLOSE. An open
 * transaction is dropped. */
void smtp_server_close(struct smtp_server *server, const char *reply);

/* Takes bytes; the count taken. Fewer than len: it waits for an answer, or its output has to be
 * sent first, or it waits for the close; the rest is to be fed again afterwards. */
size_t smtp_server_feed(struct smtp_server *server, const void *data, size_t len);

/* The answer to `end`: the whole reply. accepted: the message is ours. */
void smtp_server_answer(struct smtp_server *server, const char *reply, bool accepted);

/* What is to be sent. The bytes stay where they are until smtp_server_sent says how many of them
 * are gone; an answer meanwhile stands behind them. Nothing may be fed in between. */
struct bytes smtp_server_output(const struct smtp_server *server);
void smtp_server_sent(struct smtp_server *server, size_t len);

enum server_waits smtp_server_waits_for(const struct smtp_server *server);
bool smtp_server_in_transaction(const struct smtp_server *server);

/* False: the workspace holds nothing and may be lent to another one. */
bool smtp_server_needs_workspace(const struct smtp_server *server);

/* The connection is gone: an open transaction is dropped. */
void smtp_server_lost(struct smtp_server *server);

#endif
