/* Where mail goes: to the queue that the rules send it to (policy/destination.h), and from there to
 * the roll-up of its MX hosts, once those are known (policy/rollup.h).
 *
 * Mail for a domain whose hosts are not known yet goes to the domain's own queue: the first attempt
 * there learns them, and what waits moves on. */
#ifndef ENGINE_ROUTING_H
#define ENGINE_ROUTING_H

#include "policy/destination.h"
#include "vmta/mx_table.h"

struct routing {
    const struct config *config;
    struct mx_table *mx_table; /* NULL: no roll-ups */
    uint64_t now_ms;
    char memory[ROLLUP_NAME_LEN_MAX]; /* of the last answer's domain */
};

/* From the virtual MTA and domain of a message to the queue that it joins. What comes back lives
 * as long as `routing`, until it is asked again. */
struct destination routing_of(struct routing *routing, struct destination from);

/* The two steps of it: by the rules; and on to the roll-up of the MX hosts of that domain. */
struct destination routing_by_rules(const struct routing *routing, struct destination from);
struct destination routing_by_hosts(struct routing *routing, struct destination to);

#endif
