/* Who may do what: the <source> that holds for a client.
 *
 * Order, general to specific, the later winning per directive: defaults; the global
 * always-allow-relaying; every <source CIDR> that holds the address, shortest prefix first;
 * the <source NAME> that the listener or the user names. */
#ifndef POLICY_ACCESS_H
#define POLICY_ACCESS_H

#include "policy/config.h"

/* `listener_source_name` may be NULL or empty: no named source; `{auth}`, `{pickup}` and users'
 * sources are asked for the same way. `peer` may be NULL: no address (a file). Never NULL; equal
 * matching sets give the same pointer. Lives as long as `config`. Any thread: a mutex inside. */
const struct source_settings *config_source_for(const struct config *config,
                                                const struct address *peer,
                                                const char *listener_source_name);

/* Whether <source NAME> exists. */
bool config_has_source(const struct config *config, struct bytes name);

#endif
