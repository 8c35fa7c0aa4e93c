/* Deliveries that need no peer: `type discard`, `file` and `pipe` of a <domain>.
 *
 * Such an attempt counts in the rates of its queue as a connection does, but never resolves or
 * connects: it takes message after message from the scheduler, on the worker that owns the site.
 * What is discarded has its outcome at once; files are written and commands run by helper threads
 * (local_job.h), one message of an attempt at a time. */
#ifndef ENGINE_LOCAL_DELIVERY_H
#define ENGINE_LOCAL_DELIVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "policy/domain.h"

struct attempt;
struct reply;
struct transaction;

#define LOCAL_MESSAGES_MAX 100 /* of one attempt: others have their turn between two */
#define LOCAL_FILES_MAX    8   /* files being written at once, by all workers */
#define LOCAL_COMMANDS_MAX 8   /* commands running at once, by all workers */

/* Mail of these settings is delivered here, not by SMTP. */
static inline bool local_delivery_takes(const struct domain_settings *settings)
{
    return settings->type == QUEUE_DISCARD || settings->type == QUEUE_FILE ||
           settings->type == QUEUE_PIPE;
}

/* … with a limit of its own in place of those of connections (max-smtp-out and the like). */
static inline bool local_delivery_is_work(const struct domain_settings *settings)
{
    return settings->type == QUEUE_FILE || settings->type == QUEUE_PIPE;
}

/* What records call the way of delivery (dlvType). */
static inline struct bytes local_delivery_name(const struct domain_settings *settings)
{
    switch (settings->type) {
    case QUEUE_DISCARD:
        return BYTES("discard");
    case QUEUE_FILE:
        return BYTES("file");
    case QUEUE_PIPE:
        return BYTES("pipe");
    case QUEUE_SMTP:
    case QUEUE_HTTP:
        break;
    }
    return BYTES("smtp");
}

/* Delivers what the scheduler gives this attempt, which has just been opened and to which nothing
 * has happened; ends it when there is no more, perhaps inside. */
void local_delivery_run(struct attempt *attempt);

/* From local_job: the message has been dealt with, on to the next or to the end. */
void local_delivery_go_on(struct attempt *attempt);

/* The recipient of this place has this answer. */
void local_delivery_answer(struct attempt *attempt, struct transaction *transaction, uint32_t index,
                           const struct reply *reply);

/* Those from this place on stay in their queue, as if never taken. */
void local_delivery_give_back(struct transaction *transaction, uint32_t first, uint64_t now_ms);

#endif
