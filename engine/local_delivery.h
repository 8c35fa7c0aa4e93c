/* Deliveries that need no peer: `type discard` of a <domain>.
 *
 * Such an attempt counts in the limits and rates of its queue as a connection does, but never
 * resolves, connects or reads a body: it takes messages from the scheduler and tells their
 * outcomes at once, on the worker that owns the site. */
#ifndef ENGINE_LOCAL_DELIVERY_H
#define ENGINE_LOCAL_DELIVERY_H

#include <stdbool.h>

#include "base/bytes.h"
#include "policy/domain.h"

struct attempt;

#define LOCAL_MESSAGES_MAX 100 /* of one attempt: others have their turn between two */

/* Mail of these settings is delivered here, not by SMTP. */
static inline bool local_delivery_takes(const struct domain_settings *settings)
{
    return settings->type == QUEUE_DISCARD;
}

/* What records call the way of delivery (dlvType). */
static inline struct bytes local_delivery_name(const struct domain_settings *settings)
{
    return local_delivery_takes(settings) ? BYTES("discard") : BYTES("smtp");
}

/* Delivers what the scheduler gives this attempt, which has just been opened and to which nothing
 * has happened. It has nothing more to do when this returns: its owner ends it. */
void local_delivery_run(struct attempt *attempt);

#endif
