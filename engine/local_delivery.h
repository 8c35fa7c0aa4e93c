/* Deliveries that need no peer: `type discard` and `type file` of a <domain>.
 *
 * Such an attempt counts in the rates of its queue as a connection does, but never resolves or
 * connects: it takes message after message from the scheduler, on the worker that owns the site.
 * What is discarded has its outcome at once; a file is written by a helper thread (local_job.h),
 * one message of an attempt at a time. */
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

/* Mail of these settings is delivered here, not by SMTP. */
static inline bool local_delivery_takes(const struct domain_settings *settings)
{
    return settings->type == QUEUE_DISCARD || settings->type == QUEUE_FILE;
}

/* … with a limit of its own in place of those of connections (max-smtp-out and the like). */
static inline bool local_delivery_is_work(const struct domain_settings *settings)
{
    return settings->type == QUEUE_FILE;
}

/* What records call the way of delivery (dlvType). */
static inline struct bytes local_delivery_name(const struct domain_settings *settings)
{
    switch (settings->type) {
    case QUEUE_DISCARD:
        return BYTES("discard");
    case QUEUE_FILE:
        return BYTES("file");
    case QUEUE_SMTP:
    case QUEUE_PIPE:
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

/* Every recipient has this answer; frees the transaction. */
void local_delivery_answer(struct attempt *attempt, struct transaction *transaction,
                           const struct reply *reply);

#endif
