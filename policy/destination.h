/* Which queue a recipient joins: the virtual MTA and domain of its message, or where the policy
 * sends them.
 *
 * reroute-to-virtual-mta first, then queue-to, then those of the queue reached, DESTINATION_STEPS
 * at most. A configuration whose rules lead in a circle is refused at load. */
#ifndef POLICY_DESTINATION_H
#define POLICY_DESTINATION_H

#include "policy/config.h"

#define DESTINATION_STEPS 8

/* The names of a queue; the domain in lower case. `vmta` empty: {default}. */
struct destination {
    struct bytes vmta, domain;
};

/* Whether any rule of this configuration sends mail elsewhere: most have none. */
bool config_has_routes(const struct config *config);

/* From the queue of a message to the one it joins. A virtual MTA that is not configured (any more)
 * keeps its queues. What comes back points into `config` or is `from`'s. */
struct destination destination_of(const struct config *config, struct destination from);

#endif
