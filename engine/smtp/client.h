/* The SMTP client core: bytes in, bytes out, one answer per recipient. Sans I/O.
 *
 * Knows no sockets, clock, TLS, spool or policy. The owner (engine/attempt.c) moves bytes,
 * watches the deadline and decides when a transaction may begin. A ring of outstanding commands
 * is the whole state: sending pushes, a complete reply pops exactly one and goes to the handler
 * of that command; lock-step is the ring with room for one. Everything is in the owner's memory.
 * Callbacks may call back into the client, except client_receive. */
#ifndef SMTP_CLIENT_H
#define SMTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "smtp/reply.h"
#include "smtp/sasl.h"

enum client_stage { /* where something failed: the `stage` of events */
                    CLIENT_STAGE_GREETING,
                    CLIENT_STAGE_EHLO,
                    CLIENT_STAGE_STARTTLS,
                    CLIENT_STAGE_AUTH,
                    CLIENT_STAGE_MAIL,
                    CLIENT_STAGE_RCPT,
                    CLIENT_STAGE_DATA,
                    CLIENT_STAGE_BODY,
                    CLIENT_STAGE_FINAL,
                    CLIENT_STAGE_QUIT,
};
const char *client_stage_name(enum client_stage stage); /* "mail", "rcpt", … */

enum client_capability {
    CLIENT_CAP_PIPELINING = 1 << 0,
    CLIENT_CAP_CHUNKING = 1 << 1,
    CLIENT_CAP_8BITMIME = 1 << 2,
    CLIENT_CAP_SMTPUTF8 = 1 << 3,
    CLIENT_CAP_SIZE = 1 << 4,
    CLIENT_CAP_DSN = 1 << 5,
    CLIENT_CAP_STARTTLS = 1 << 6,
    CLIENT_CAP_ENHANCEDSTATUSCODES = 1 << 7,
};

/* What the peer said in EHLO; forgotten at STARTTLS (C10). */
struct client_peer {
    uint32_t capabilities; /* after `ignore`, and without CHUNKING once BDAT was refused */
    uint64_t size_max;     /* SIZE; 0 = none given */
    uint32_t rcpt_max;     /* LIMITS RCPTMAX (RFC 9422); 0 = none given */
    uint32_t mechanisms;   /* enum sasl_mechanism bits of AUTH */
    bool said_helo;        /* fell back to HELO (C11) */
    char names[256];       /* the keywords offered, comma separated: dlvEsmtpAvailable */
};

/* TLS as the owner wants it on this connection. */
enum client_tls { CLIENT_TLS_NEVER, CLIENT_TLS_OFFERED, CLIENT_TLS_REQUIRED };

struct client_settings {
    const char *helo_name; /* our EHLO name; valid as long as the client */
    enum client_tls tls;
    uint32_t ignore; /* enum client_capability bits not to be used */
    /* Bodies on the wire at once, >= 1 (max-msg-in-flight); over 1 only where the peer offers
     * CHUNKING and PIPELINING. With 1, one more transaction may be carried without its body. */
    uint32_t in_flight_max;
    bool tell_replies;    /* calls `replied` */
    bool reuse_after_421; /* smtp-421-means-mx-unavailable no */
    /* Without a user name no AUTH is said. Where there is one no mail goes without it. What it
     * points to may be exchanged between two calls. */
    struct sasl_credentials auth;
};

/* One recipient of a transaction, as the core asks for it while it writes RCPT. */
struct client_rcpt {
    struct bytes address, orcpt;
    uint8_t notify; /* engine/message.h bits, RFC 3461; 0 = none */
};

/* The owner's memory, from client_begin until transaction_ended. (A body that was handed out may
 * still be lent to a send then: that is the owner's to know.) */
struct client_transaction {
    struct bytes sender, envid;
    uint64_t body_size;  /* bytes as they are sent, unstuffed, for SIZE= and BDAT */
    uint32_t rcpt_count; /* 1 … CLIENT_RCPTS_MAX */
    bool eight_bit, smtputf8, ret_hdrs, ret_full;
    uint8_t *rcpt_accepted; /* rcpt_count bytes of the owner's; 1: its RCPT was accepted */
    /* private: */
    uint32_t rcpts_sent, rcpts_answered, accepted_count;
    uint8_t state;
    bool carried, mail_answered, uses_bdat;
};

/* How a transaction ended for every recipient that has no answer of its own yet (all but those
 * that rcpt_refused named). `reply` is NULL but for REPLY, UNSUITABLE and RETRY_DATA. */
enum client_end {
    CLIENT_END_REPLY,       /* reply decides (2xx delivered, 4xx deferred, 5xx bounced) */
    CLIENT_END_LOST,        /* connection lost or protocol error before the body was complete */
    CLIENT_END_LOST_AFTER,  /* … after the whole body was sent: afterDotLost */
    CLIENT_END_UNATTEMPTED, /* given back: nothing was decided, no record (design: carrying) */
    CLIENT_END_UNSUITABLE,  /* peer lacks 8BITMIME / SMTPUTF8 / SIZE: reply says 5.6.3, 5.6.7, 5.3.4
                             */
    CLIENT_END_RETRY_DATA,  /* BDAT refused as unknown (C33): begin it again, DATA will be used;
                               for other connections to the host set CHUNKING in `ignore` */
};

enum client_over {
    /* Ended and nothing was refused: our QUIT was answered; or the peer said 421 to an idle
     * session or to a carried MAIL (which is given back): `reply`. We may close after the peer
     * did, or a short wait. */
    CLIENT_OVER_QUIT,
    /* The peer refused the session: `reply` at `stage`. From MAIL on it is a 421 that has had its
     * record in the transaction already. */
    CLIENT_OVER_REPLY,
    CLIENT_OVER_PROTOCOL, /* it does not speak SMTP: close at once, defer; reply may be NULL */
    CLIENT_OVER_TLS,      /* TLS was wanted and is not to be had here: `reply` at STARTTLS (C9) */
    /* AUTH was wanted and is refused (`reply` is the peer's), or nothing that the peer offers may
     * be used (`reply` is 454 and says why). Nothing of it is about the mail. */
    CLIENT_OVER_AUTH,
    /* What is on the wire must not be finished: a carried or recalled transaction (C40), or a body
     * that the peer cut short with its reply (C14). Close at once; nothing more to record. */
    CLIENT_OVER_ABANDON,
    CLIENT_OVER_LOOP, /* greeting or EHLO bears our own name (C37) */
};

struct client;

struct client_events {
    /* The greeting lets us in; NULL: it is not of interest. `reply` until it returns. */
    void (*greeted)(struct client *client, void *owner, const struct reply *reply);
    /* Session is up (greeting, EHLO, TLS and AUTH as wanted). transaction may begin. */
    void (*established)(struct client *client, void *owner);
    /* 220 to STARTTLS: discard received bytes, do the handshake, then client_secured(). */
    void (*start_tls)(struct client *client, void *owner);
    /* Recipient `index` has an answer of its own that is no success (RCPT refused), now final.
     * A 452 4.5.3 "too many recipients" comes here as well: what it means is the owner's. */
    void (*rcpt_refused)(struct client *client, void *owner, struct client_transaction *transaction,
                         uint32_t index, const struct reply *reply);
    /* Once per transaction, last: how it ended for those accepted (CLIENT_END_REPLY: `reply` at
     * `stage`). The transaction's memory is the owner's again. */
    void (*transaction_ended)(struct client *client, void *owner,
                              struct client_transaction *transaction, enum client_end end,
                              enum client_stage stage, const struct reply *reply);
    /* What to write for recipient `index`; the slices stay valid until the transaction ends. May
     * be asked more than once. An address with control characters, with 8-bit ones in a
     * transaction without smtputf8, or over CLIENT_ADDRESS_MAX is refused by the core itself
     * (5.1.3) and never reaches the wire. */
    void (*rcpt_at)(void *owner, const struct client_transaction *transaction, uint32_t index,
                    struct client_rcpt *out);
    /* The session is over; every transaction has ended before. Close the connection. `reply` is
     * NULL if no reply led here. */
    void (*over)(struct client *client, void *owner, enum client_over how, enum client_stage stage,
                 const struct reply *reply);
    /* A reply is complete, for a log; before anything comes of it. NULL where nobody has
     * tell_replies. */
    void (*replied)(void *owner, uint16_t code, struct bytes first_line);
};

#define CLIENT_OUT_BYTES       2048 /* commands wait here until sent; two RCPTs with DSN fit */
#define CLIENT_OUTSTANDING_MAX 64   /* commands sent and not yet answered; then we wait */
#define CLIENT_IN_FLIGHT_MAX   8    /* transactions on the wire at once */
#define CLIENT_RCPTS_MAX       1000 /* recipients of one transaction */
#define CLIENT_ADDRESS_MAX     512  /* bytes; RFC 5321 4.5.3.1 allows 64 + 1 + 255 */

/* A body up to this is sent behind its BDAT before the RCPTs are answered; a larger one waits for
 * a recipient that was accepted: one round trip costs less than a body nobody takes. */
#define CLIENT_EAGER_BODY_MAX (256 * 1024)

struct client_command {
    uint8_t kind;
    uint8_t transaction; /* place in `transactions` */
    uint16_t rcpt;
};

struct client {
    struct client_peer peer;
    const struct client_settings *settings;
    const struct client_events *events;
    void *owner;
    bool secured;
    bool masked; /* a greeting of asterisks: an old firewall rewrites what the host says */
    /* private: */
    struct client_transaction *transactions[CLIENT_IN_FLIGHT_MAX];
    struct client_transaction *body; /* handed out and not ended */
    uint32_t transactions_first, transactions_count;
    struct client_command outstanding[CLIENT_OUTSTANDING_MAX];
    uint32_t outstanding_first, outstanding_count;
    uint32_t barriers; /* outstanding commands behind which nothing may be sent */
    uint32_t out_len, out_taken;
    uint8_t state, reset_wanted;
    bool over, quit_wanted, last_final_positive, lone_dot_wanted;
    bool draining;        /* nothing new may be sent: what is on the wire is waited for */
    bool unsolicited;     /* the reply that is coming in began when none was awaited */
    bool orphan_accepted; /* a RCPT whose transaction has ended got a 2xx */
    bool auth_cancelled;  /* "*" was said: only a refusal may follow */
    uint8_t mechanism;    /* enum sasl_mechanism of the AUTH that is under way */
    uint32_t auth_answers;
    bool has_served; /* the peer has decided a transaction on this connection */
    bool may_leave;  /* the peer has said 421: no body before it has answered */
    struct reply_parser parser;
    char out[CLIENT_OUT_BYTES];
};

/* settings, events and owner outlive the client. The greeting is awaited. */
void client_init(struct client *client, const struct client_settings *settings,
                 const struct client_events *events, void *owner);

/* Bytes from the peer; all are taken. After `over` they are ignored. */
void client_receive(struct client *client, const void *data, size_t len);

/* The peer closed or the connection failed, or a deadline passed: ends every transaction (LOST or
 * LOST_AFTER, per transaction; carried ones without a body byte UNATTEMPTED). No `over` follows. */
void client_lost(struct client *client);

/* The TLS handshake is done: EHLO again. */
void client_secured(struct client *client);

/* The session is established and nothing is in flight: client_begin may be called. */
bool client_may_begin(const struct client *client);

/* client_begin may be called though something is in flight, to be carried behind it: the body of
 * the last one begun has been handed out (its final dot and the next MAIL share a flight), the
 * peer offers PIPELINING, the last final reply on this connection was 2xx, and there is room. */
bool client_may_carry(const struct client *client);

/* How the body of a transaction begun now would be asked for: by BDAT, so as it lies in the spool.
 * For preparing ahead; struct client_output.stuffed is the last word, since a refused BDAT changes
 * the answer. */
bool client_sends_bdat(const struct client *client);

/* Starts a transaction; it may end inside this call with CLIENT_END_UNSUITABLE, or with REPLY if
 * no recipient can be written. Requires client_may_begin or client_may_carry. */
void client_begin(struct client *client, struct client_transaction *transaction);

/* Takes a begun transaction back. True: transaction_ended(UNATTEMPTED) was called and no byte of
 * its body will be sent. If its MAIL was on the wire this connection carries nothing any more: it
 * waits for the replies to earlier bodies, then is over (CLIENT_OVER_ABANDON), at once if there
 * are none. False: its body has begun; the reply decides. */
bool client_recall(struct client *client, struct client_transaction *transaction);

/* Says QUIT when no transaction is in flight any more; none can be begun from here on. */
void client_quit(struct client *client);

/* ---- output: ask until CLIENT_NOTHING, send all pieces in order in one flight -------------
 *
 * Asking may be worth it after every call but client_may_*, client_waiting. A body in the spool
 * ends with CRLF (or is empty): what follows it is only the dot. */

enum client_output_kind { CLIENT_NOTHING, CLIENT_COMMANDS, CLIENT_BODY };

struct client_output {
    enum client_output_kind kind;
    struct bytes commands; /* CLIENT_COMMANDS: valid until client_sent */
    bool secret;           /* they bear credentials: not for a log */
    /* CLIENT_BODY: send the whole body of this transaction now, dot-stuffed if `stuffed`, else as
     * it lies in the spool; then call client_body_ended and ask on. */
    struct client_transaction *body;
    bool stuffed;
};

void client_next_output(struct client *client, struct client_output *out);
void client_body_ended(struct client *client, struct client_transaction *transaction);

/* All pieces handed out so far are on the wire: the command buffer is free again. May be called
 * in the midst of a body. */
void client_sent(struct client *client);

/* Which command's answer is awaited, for the deadline: its stage. False: none (idle, or in the
 * TLS handshake, which has a deadline of its own). BODY: the final reply, but the body is still
 * being handed out. */
bool client_waiting(const struct client *client, enum client_stage *stage);

/* The same in words for the log: "MAIL FROM", "end of data" …; "" if nothing is awaited. */
const char *client_awaiting(const struct client *client);

/* Some of a reply has come, but not its end. */
bool client_reply_begun(const struct client *client);

#endif
