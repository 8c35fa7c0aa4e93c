/* One message on its way in: its envelope, its body, its place in the spool.
 *
 * From MAIL until the spool has answered, or was told to drop it. Knows no sockets and no
 * protocol state; what the policy says comes in as values. Lives in a pool of its worker's and
 * outlives the session that began it where a commit is still with the spool. Body bytes that the
 * spool cannot take at once wait in a spare buffer, one at most: the owner must stop feeding
 * until `flowed`. */
#ifndef ENGINE_RECEPTION_H
#define ENGINE_RECEPTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/crypto.h"
#include "message.h"
#include "policy/config.h"
#include "policy/value.h"
#include "smtp/body.h"
#include "smtp/header_notes.h"
#include "smtp/path.h"
#include "smtp/server.h"
#include "spool.h"

struct slab;

#define RECEPTION_RCPTS_MAX    100001 /* of one message: 100000 of the client, and a bcc */
#define RECEPTION_INLINE_BYTES 512    /* of recipients that need no page */
#define RECEPTION_PAGE_BYTES   4096
#define RECEPTION_ADDED_MAX    2048 /* bytes that the owner adds to a message: trace fields */

/* Where the receptions of one worker come from. */
struct receptions {
    struct slab *pool, *pages, *spares, *notes;
    uint32_t spare_bytes;           /* of one spare */
    struct envelope_rcpt *envelope; /* scratch for a commit, grown to the largest seen */
    uint32_t envelope_capacity;
};

/* receptions_max at once; fed_bytes: the most that is fed at a time. False: no memory. */
bool receptions_init(struct receptions *receptions, uint32_t receptions_max, uint32_t fed_bytes);
void receptions_deinit(struct receptions *receptions); /* none may be out */

/* Recipients, one behind the other. */
struct reception_page {
    /* private: */
    struct reception_page *next;
    uint32_t used, capacity;
    char bytes[];
};

struct reception_events {
    /* The spool takes bytes again, and all that waited are with it. */
    void (*flowed)(void *owner);
    /* The answer to reception_commit. */
    void (*answered)(void *owner, enum spool_answer answer);
    /* The end of the header has come: the last place to add fields, by reception_add. */
    void (*header_end)(void *owner);
    enum header_fate (*fate)(void *owner, struct bytes name);
    /* Is the value of this header field to be noted? */
    bool (*wants)(void *owner, struct bytes name);
    /* Given back to its pool: the last call, also after reception_drop. */
    void (*released)(void *house);
};

/* The owner's note of the virtual MTA where that is chosen before the message's end. */
struct reception_choice {
    const char *refusal; /* of static text; NULL: chosen */
    bool made;
    uint8_t vmta_len, pool_len;
    char vmta[CONFIG_VMTA_NAME_LEN_MAX], pool[VALUE_NAME_LEN_MAX];
};

struct reception {
    struct body body;
    /* What MAIL said. */
    uint16_t sender_len, envid_len;
    uint8_t ret;
    bool smtputf8, sender_utf8, rcpt_utf8;
    bool notes_lost;            /* no memory for what `wants` asked for */
    bool date_at_delivery;      /* the owner's: MESSAGE_DATE_AT_DELIVERY */
    bool verp;                  /* the owner's: MESSAGE_VERP */
    struct header_notes *notes; /* NULL: none was wanted */
    char sender[PATH_TEXT_MAX];
    char envid[PARAMS_ENVID_MAX];
    uint32_t rcpt_count;
    struct reception_choice early;
    char id_text[21]; /* the queue id, once answered with SPOOL_OK */
    /* private: */
    struct spool_upload upload;
    struct receptions *home;
    const struct reception_events *events;
    void *owner, *house;
    struct crypto_digest digest;
    uint64_t size;
    struct reception_page *first, *last; /* NULL: only the inline one */
    char *spare;                         /* bytes the spool has not taken; NULL: none */
    uint32_t spare_from, spare_to;
    bool committed, answered;
    _Alignas(struct reception_page) char inline_page[sizeof(struct reception_page) +
                                                     RECEPTION_INLINE_BYTES];
};

/* A message begins. owner is what events but `released` are given, house what that one is. NULL:
 * the pool is used up. */
struct reception *reception_open(struct receptions *receptions, struct spool *spool,
                                 uint32_t worker, const struct server_mail *mail,
                                 const struct reception_events *events, void *owner, void *house);

enum reception_answer { RECEPTION_OK, RECEPTION_NO_ROOM };
/* NO_ROOM: memory or the spool's booking is used up (452 4.3.1). */
enum reception_answer reception_rcpt(struct reception *reception, const struct server_rcpt *rcpt);

/* The one recipient's address, or empty where there are more. Valid until the next call. */
struct bytes reception_only_rcpt(const struct reception *reception);

/* All of them, rcpt_count long. Valid until the next call on any reception of this worker. */
const struct envelope_rcpt *reception_rcpts(struct reception *reception);

/* The body is about to come: sets up reception->body, whose bytes go to the spool. */
void reception_begin_body(struct reception *reception, const struct body_limits *limits);

/* Bytes of our own into the message, at its start or in header_end; RECEPTION_ADDED_MAX at most,
 * all together. */
void reception_add(struct reception *reception, struct bytes bytes);

/* True: the spool is behind. Feed no more, and do not commit, until `flowed`. */
bool reception_blocked(const struct reception *reception);

/* What is decided at the end of the message. */
struct reception_verdict {
    struct bytes vmta, job, envid, helo, source_ip, user, pool, headers;
    int64_t accepted_wall_ms;
    bool source_hidden, picked_up;
};

/* The message is whole: `answered` follows, never inside. Not while blocked. */
void reception_commit(struct reception *reception, const struct reception_verdict *verdict);

/* The owner is done with it, answered or not: no callback but `released` comes any more. */
void reception_drop(struct reception *reception);

#endif
