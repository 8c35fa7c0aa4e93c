/* The receiving side's dialogue: bytes in, replies out, a call for each message accepted.
 *
 * Knows no socket, no TLS, no clock. Takes everything a well-behaved client may send and answers
 * strictly: a parameter whose capability was not offered is 555, a command out of order is 503.
 * One session per connection, used from its thread; the rules are shared and outlive it. */
#ifndef BENCH_SINK_SESSION_H
#define BENCH_SINK_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "bench/eod.h"
#include "bench/outgoing.h"

#define SINK_LINE_MAX 1024   /* bytes of a command line; RFC 5321 4.5.3.1.4 and its extensions */
#define SINK_RCPT_MAX 100000 /* recipients of one message */

/* CAPABILITY(name): as EHLO offers it and --caps names it. */
#define SINK_CAPABILITIES                                                                          \
    CAPABILITY(PIPELINING)                                                                         \
    CAPABILITY(SIZE)                                                                               \
    CAPABILITY(8BITMIME)                                                                           \
    CAPABILITY(SMTPUTF8)                                                                           \
    CAPABILITY(ENHANCEDSTATUSCODES)                                                                \
    CAPABILITY(CHUNKING)                                                                           \
    CAPABILITY(DSN)                                                                                \
    CAPABILITY(STARTTLS)

enum sink_capability {
#define CAPABILITY(name) SINK_OFFERS_##name,
    SINK_CAPABILITIES
#undef CAPABILITY
        SINK_CAPABILITY_COUNT
};

struct sink_session;

/* Told what of a message passes by, in the order of the wire; NULL: nobody wants to know. */
struct sink_watcher {
    void (*ehlo)(struct sink_session *session, struct bytes name);
    void (*mail)(struct sink_session *session, struct bytes address);
    void (*rcpt)(struct sink_session *session, struct bytes address);
    void (*content)(struct sink_session *session, struct bytes piece);
    void (*accepted)(struct sink_session *session);
};

struct sink_rules {
    const char *host_name;
    uint32_t capabilities;                /* bits 1 << enum sink_capability */
    uint64_t size_max;                    /* bytes of a message */
    uint32_t deny_percent, defer_percent; /* of recipients, by a hash of the address */
    const struct sink_watcher *watcher;
    /* Totals, written by every session. */
    uint64_t message_count, rcpt_count, byte_count, denied_count, deferred_count;
};

enum sink_next {
    SINK_GO_ON,
    SINK_START_TLS, /* the reply to STARTTLS is out; what the client sends next is TLS */
    SINK_CLOSE,     /* close once what is out is sent */
};

struct sink_session {
    struct sink_rules *rules;
    struct outgoing out;
    void *user; /* the connection's and the watcher's */
    bool encrypted;
    uint64_t message_bytes; /* of the message in progress; of the accepted one in accepted() */
    /* private: */
    uint8_t phase, reading;
    bool chunk_last, chunk_refused;
    uint32_t rcpt_count;
    uint64_t chunk_left;
    struct eod eod;
    uint32_t line_len;
    char line[SINK_LINE_MAX];
};

/* Puts the greeting out. */
void sink_session_init(struct sink_session *session, struct sink_rules *rules);
void sink_session_deinit(struct sink_session *session);

/* After the handshake: the client begins again with EHLO (RFC 3207 4.2). */
void sink_session_encrypted(struct sink_session *session);

/* Takes bytes from the front of `in`, all of them unless the answer is not SINK_GO_ON. */
enum sink_next sink_session_input(struct sink_session *session, struct bytes *in);

/* 0–99: the same for an address in any case and at any time. FNV-1a, 64 bits, modulo 100. */
uint32_t sink_address_percentile(struct bytes address);

#endif
