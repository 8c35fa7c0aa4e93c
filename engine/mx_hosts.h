/* What an answer of DNS says of a domain's MX hosts, as roll-ups need it (policy/rollup.h). */
#ifndef ENGINE_MX_HOSTS_H
#define ENGINE_MX_HOSTS_H

#include "net/dns.h"
#include "policy/rollup.h"

/* `mx` in order of preference. All but the hash of addresses, which is 0. */
void mx_hosts_read(struct mx_hosts *out, char memory[static MX_HOSTS_LEN_MAX],
                   const struct dns_mx *mx, uint32_t count);

/* One more of the best hosts' addresses. */
void mx_hosts_add_address(struct mx_hosts *mx, const struct address *address);

#endif
