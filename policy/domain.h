/* The policy of a queue: what holds for one virtual MTA and one destination domain.
 *
 * Order, general to specific, the later winning per directive: defaults; the global <domain>
 * blocks; those of the virtual MTA's pool; those of the virtual MTA. Within each: `*`, then by
 * length of the name `[*.]name` before `*.name`, then the exact name; of equal patterns one made
 * by a macro before one written out, then file order. */
#ifndef POLICY_DOMAIN_H
#define POLICY_DOMAIN_H

#include "policy/config.h"

/* `domain` is a name (case, a final dot, U-labels or A-labels do not matter), an address literal
 * `[…]` or a reserved name `{…}`; NULL for `vmta` means {default}. Never NULL; equal matching sets
 * give the same pointer, so pointers may be compared. Lives as long as `config`. Any thread: there
 * is a mutex inside, so ask once per queue and configuration and keep the answer. */
const struct domain_settings *config_domain(const struct config *config,
                                            const struct config_vmta *vmta, struct bytes domain);

/* A share of a rate; of so little that it is not one each window: one each longer window. */
struct rate_value rate_share_of(const struct rate_value *rate, uint32_t percent);

#endif
