/* Roll-ups: which queue a domain's mail joins because of its MX hosts.
 *
 * <mx-rollup-list> groups domains by hosts that it names. It counts the hosts of the lowest
 * preference only. All hosts that a roll-up lists by name must be among them, and where it has
 * patterns each of them must fit one of its lines; of several that fit the first counts. With
 * rollup-by-ip, domains share a queue only if those hosts have the same addresses.
 *
 * auto-mx-rollup groups domains that have the same MX hosts in the same order. A domain that a
 * <domain> block names keeps its own queue, and so its own policy, unless that block says
 * auto-mx-rollup itself.
 *
 * The queue is called NAME.rollup; of an automatic one NAME is the first of the hosts by the
 * alphabet. Automatic ones, and those by address, have eight hexadecimal digits and a dot before
 * that, which say which group it is: the policy is that of <domain NAME.rollup>. */
#ifndef POLICY_ROLLUP_H
#define POLICY_ROLLUP_H

#include "policy/config.h"

#define MX_HOSTS_LEN_MAX    1024 /* bytes of mx_hosts.best: more than fits is in no roll-up */
#define ROLLUP_NAME_LEN_MAX 255  /* bytes of a queue's name */

/* What DNS says of a domain. */
struct mx_hosts {
    struct bytes best;     /* those of the lowest preference: lower case, sorted, one space between;
                              empty: no MX */
    uint64_t plan_hash;    /* of all hosts and the order of their preferences */
    uint64_t address_hash; /* of the addresses of the best, in any order */
};

/* Some domain may be rolled up: else nothing of all this need be looked at. */
bool config_has_rollups(const struct config *config);

/* The queue that mail for `domain` of this virtual MTA joins, in lower case. False: its own.
 * `name` has room for ROLLUP_NAME_LEN_MAX. */
bool config_rollup(const struct config *config, const struct config_vmta *vmta, struct bytes domain,
                   const struct mx_hosts *mx, struct buffer *name);

/* Whether a roll-up's mail goes to this MX host: those that list hosts go to these alone. */
bool config_rollup_serves(const struct config *config, struct bytes rollup, struct bytes host);

/* NAME.rollup without the digits before it. */
struct bytes rollup_policy_name(struct bytes domain);

#endif
