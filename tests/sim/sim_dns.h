/* The zones of a simulated world, and through them the twin of net/dns.h.
 *
 * Names are compared without regard to case. What was never added does not exist. Zones may be
 * changed at any time; the twin keeps no cache. */
#ifndef SIM_DNS_H
#define SIM_DNS_H

#include "net/dns.h"
#include "sim.h"

void sim_dns_add_mx(struct sim *sim, const char *domain, uint16_t preference, const char *host);
void sim_dns_add_address(struct sim *sim, const char *host, const struct address *address);
void sim_dns_add_alias(struct sim *sim, const char *name, const char *target);

/* All lookups of this name end so: DNS_FAILED, DNS_NOT_FOUND, DNS_NO_DATA; DNS_OK: as added. */
void sim_dns_set_status(struct sim *sim, const char *name, enum dns_status status);

/* Forgets all records and the status of a name. */
void sim_dns_remove(struct sim *sim, const char *name);

#endif
