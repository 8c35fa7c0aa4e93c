/* Mail of the engine's own to who runs it: a queue has gone into backoff mode or come out of it, a
 * source address has been disabled (backoff-notify, disabled-source-ip-notify).
 *
 * One per worker. A notice is a small message with the null sender, accepted into the spool like
 * any other and sent from the virtual MTA of the queue it is about. It may be lost, with a line in
 * the log, where the spool takes no mail; nobody waits for it. Bounded: for one queue and kind one
 * notice in NOTICE_EVERY_MS, NOTICES_MAX in that time of all queues together (of this worker).
 * A recipient whose own notice would join the queue it is about is left out. */
#ifndef ENGINE_NOTICES_H
#define ENGINE_NOTICES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "policy/destination.h"

struct io;
struct notices;
struct spools;
struct string_array;

#define NOTICE_EVERY_MS 600000
#define NOTICES_MAX     60 /* within NOTICE_EVERY_MS, of all queues */
#define NOTICE_RCPTS    8  /* of one notice; those behind are left out */

enum notice_kind {
    NOTICE_BACKOFF,  /* into backoff mode */
    NOTICE_NORMAL,   /* out of it */
    NOTICE_DISABLED, /* a source address */
};

struct notices_options {
    struct io *io;
    struct spools *spools;
    uint32_t worker;
    const char *host_name; /* ours; borrowed, may change its text */
};

/* NULL: no memory. */
struct notices *notices_create(const struct notices_options *options);
void notices_destroy(struct notices *notices); /* idle; NULL is accepted */

/* Everything borrowed until the call returns. */
struct notice {
    enum notice_kind kind;
    struct destination queue;
    const struct config *config; /* where mail to the recipients would go */
    const struct string_array *rcpts;
    const char *what; /* in words, behind "queue D/V: " */
    const char *why;  /* "" for none; made printable here */
    uint64_t waiting; /* recipients in the queue */
};

/* Sends it, or does not: see above. Without recipients nothing happens. */
void notices_tell(struct notices *notices, const struct notice *notice);

/* From here on nothing is sent. Idle: nothing is under way, it may be destroyed. */
void notices_stop(struct notices *notices);
bool notices_idle(const struct notices *notices);

#endif
