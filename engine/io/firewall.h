/* Does a firewall of this host stop connections to a peer before they leave it?
 *
 * connect() does not say. The SYN that an output rule drops is sent again until time is up, as if
 * it were lost far away, and what a rule rejects looks like the peer's own answer. For the doctor
 * (probe_call.c); knows no ring, never waits. */
#ifndef IO_FIREWALL_H
#define IO_FIREWALL_H

#include <stdbool.h>

#include "base/address.h"

/* True: it does. False: it does not, or we have not the right (CAP_NET_RAW) to find out. source
 * NULL: whichever the system picks. peer with port. */
bool firewall_denies(const struct address *source, const struct address *peer);

#endif
