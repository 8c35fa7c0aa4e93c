/* One message and its recipients, in memory.
 *
 * A message is one block of memory, made by the spool's keeper when the message is on stable
 * storage (or found at restart), and freed by the keeper when its last recipient is final. All
 * but the fields marked below is immutable from then on and may be read by any worker that holds
 * one of its recipients. A recipient belongs to the owner of its queue, from queue_arrive until
 * the outcome is handed to the spool. 128 bytes and the text for one recipient: this is what a
 * million queued recipients cost, so nothing is kept that can be derived. */
#ifndef ENGINE_MESSAGE_H
#define ENGINE_MESSAGE_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"

struct queue;
struct registry_site; /* vmta/registry.h */

/* RFC 3461: what the sender asked for, per recipient. */
enum notify { NOTIFY_NEVER = 1, NOTIFY_SUCCESS = 2, NOTIFY_FAILURE = 4, NOTIFY_DELAY = 8 };
enum ret { RET_UNSET, RET_FULL, RET_HDRS };

/* How much TLS a message demands beyond its domain's policy; the stricter wins. */
enum tls_need {
    TLS_NEED_NONE,
    TLS_NEED_DEFAULT,
    TLS_NEED_OPPORTUNISTIC,
    TLS_NEED_REQUIRE,
    TLS_NEED_VERIFY,
    TLS_NEED_DANE,
};

/* What the body needs of a peer, found at acceptance. */
enum message_flags {
    MESSAGE_EIGHT_BIT = 1 << 0,     /* octets over 127 in the body: BODY=8BITMIME needed */
    MESSAGE_SMTPUTF8 = 1 << 1,      /* non-ASCII in an address or header: SMTPUTF8 needed */
    MESSAGE_DOT_LINES = 1 << 2,     /* some line begins with a dot: stuffing needed */
    MESSAGE_SOURCE_HIDDEN = 1 << 3, /* srcMta is not to be told */
    /* In memory only: */
    MESSAGE_LOG_BITS = 0x3F << 4, /* see message_log_index */
    MESSAGE_TIMED = 1 << 14,      /* has a not-before or expires time */
    MESSAGE_FOREIGN = 1 << 15,    /* see message_code.h */
    /* Kept like the first ones: */
    MESSAGE_DATE_AT_DELIVERY = 1 << 10, /* a Date field is put before the header when it is sent */
    MESSAGE_VERP = 1 << 11,             /* the sender names the recipient: a transaction for each */
    MESSAGE_PICKED_UP = 1 << 12,        /* came as a file, not by SMTP */
    MESSAGE_FLAGS_KNOWN =
        ((1 << 4) - 1) | MESSAGE_DATE_AT_DELIVERY | MESSAGE_VERP | MESSAGE_PICKED_UP,
};

enum rcpt_state {
    RCPT_READY,    /* in its queue's ready list (union: ready) */
    RCPT_DEFERRED, /* in its queue's heap until due (union: deferred) */
    RCPT_TAKEN,    /* prepared or on the wire (union: ready links it to its transaction) */
    RCPT_MOVING,   /* on its way between workers (union: ready links it in a batch) */
    RCPT_FINAL,    /* handed to the spool: the keeper's */
};

struct rcpt {
    union {
        struct {
            struct list_node ready;
            int64_t due_wall_ms; /* not before this; 0 = at once. Not there while RCPT_DEFERRED */
        };
        struct heap_node deferred; /* key: due, monotonic ms */
    };
    union {
        struct queue *queue;              /* NULL until it arrived in one */
        const struct registry_site *site; /* RCPT_MOVING to another worker: where to */
    };
    uint64_t state_place;    /* keeper's: where the newest state record lies, 0 = none */
    uint32_t index;          /* place in the message's rcpts */
    uint32_t address_offset; /* into the message's text */
    uint16_t address_len;
    uint16_t attempts;   /* transactions in which its RCPT was sent, saturating */
    uint8_t domain_len;  /* the domain is the end of the address */
    uint8_t retry_index; /* place in the recipient's retry list, saturating */
    uint8_t state : 4;   /* enum rcpt_state */
    bool part : 1;       /* its queue's: what a walk has seen, or not yet (queue.h) */
    bool parked : 1;     /* deferred for as long as its job is paused */
    bool condemned : 1;  /* deleted while on the wire: not sent again */
    uint8_t notify;      /* enum notify bits; 0 = not asked */
};

struct message {
    struct map_entry entry; /* keeper's: by id, which is its hash */
    int64_t accepted_wall_ms;
    int64_t accepted_ms;   /* the same on the monotonic clock, may be negative; set on arrival, so
                              that ages are never differences of wall time */
    uint64_t record_place; /* keeper's: where the commit record lies */
    _Atomic uint64_t body_place; /* disk/log.h place of the one chunk, or a tagged pointer to a
                                    list of such words; changed by the keeper only */
    uint64_t body_digest;
    uint32_t body_size; /* bytes as spooled: CRLF lines, unstuffed */
    uint32_t rcpt_count;
    uint32_t open_count; /* keeper's: recipients not yet final */
    uint16_t flags;      /* enum message_flags */
    uint8_t ret, tls_need;
    /* Behind rcpts, the text: see message.c. */
    struct rcpt rcpts[];
};

_Static_assert(sizeof(struct message) == 64, "a million of them are in memory");
_Static_assert(sizeof(struct rcpt) == 64, "a million of them are in memory");

/* The commit record's sequence: unique in its log. */
static inline uint64_t message_id(const struct message *message)
{
    return message->entry.hash;
}

/* Which of the engine's logs it is in; the keeper's to set, before anybody else sees it. */
#define MESSAGE_LOG_SHIFT 4
#define MESSAGE_LOGS_MAX  64

static inline uint32_t message_log_index(const struct message *message)
{
    return (uint32_t)(message->flags & MESSAGE_LOG_BITS) >> MESSAGE_LOG_SHIFT;
}

static inline void message_set_log_index(struct message *message, uint32_t index)
{
    assert(index < MESSAGE_LOGS_MAX);
    message->flags = (uint16_t)((message->flags & ~MESSAGE_LOG_BITS) | index << MESSAGE_LOG_SHIFT);
}

static inline struct message *rcpt_message(const struct rcpt *rcpt)
{
    const struct rcpt *first = rcpt - rcpt->index;
    return (struct message *)((uintptr_t)first - offsetof(struct message, rcpts));
}

static inline const char *message_text(const struct message *message)
{
    return (const char *)&message->rcpts[message->rcpt_count];
}

int64_t message_not_before_wall_ms(const struct message *message); /* 0 = not set */
int64_t message_expires_wall_ms(const struct message *message);    /* 0 = not set */
size_t message_text_len(const struct message *message);            /* bytes of all text */
struct bytes message_sender(const struct message *message);        /* "" = the null sender */
struct bytes message_vmta(const struct message *message);
struct bytes message_job(const struct message *message);
struct bytes message_envid(const struct message *message);     /* as ENVID= had it, decoded */
struct bytes message_helo(const struct message *message);      /* who handed it in */
struct bytes message_source_ip(const struct message *message); /* text */
struct bytes message_user(const struct message *message);      /* authenticated user or "" */
struct bytes message_pool(const struct message *message);    /* that vmta was chosen from, or "" */
struct bytes message_headers(const struct message *message); /* for records: policy/acct_header.h */
struct bytes rcpt_address(const struct rcpt *rcpt);          /* local@domain */
struct bytes rcpt_domain(const struct rcpt *rcpt);           /* lower case A-labels */
struct bytes rcpt_orcpt(const struct rcpt *rcpt);            /* "rfc822;a@b", decoded, or "" */

/* What a message is made from; everything borrowed until the call returns. */
struct envelope_rcpt {
    struct bytes address, orcpt;
    uint16_t domain_len;
    uint8_t notify;
};

struct envelope {
    struct bytes sender, vmta, job, envid, helo, source_ip, user, pool, headers;
    int64_t accepted_wall_ms, not_before_wall_ms, expires_wall_ms;
    uint64_t body_digest, body_size;
    uint32_t flags; /* enum message_flags */
    uint8_t ret, tls_need;
    const struct envelope_rcpt *rcpts;
    uint32_t rcpt_count;
};

/* NULL: no memory, or a field over its 64 KiB (a domain: 255 bytes). The id, which spool_insert
 * gives it, and the places are the keeper's to set. */
struct message *message_create(const struct envelope *envelope);
void message_free(struct message *message);           /* NULL is accepted */
size_t message_memory(const struct message *message); /* bytes, as the allocator counts */

/* The id a client sees: [0-9A-Z]{20} from (log id, message id); out holds 21 bytes. */
void message_id_text(uint64_t log_id, uint64_t id, char out[21]);

#endif
