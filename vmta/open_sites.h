/* Which sites have connections now, over all workers: one counter for many names, found by hash.
 *
 * A hint: a site without any may be said to have some, where it shares its counter with another;
 * never the other way round. Any thread, no locks. Whoever counts a connection in counts it out. */
#ifndef VMTA_OPEN_SITES_H
#define VMTA_OPEN_SITES_H

#include <stdbool.h>

#include "base/bytes.h"

struct open_sites;

struct open_sites *open_sites_create(void);        /* NULL: no memory */
void open_sites_destroy(struct open_sites *sites); /* NULL is accepted */

/* A connection of this site ("domain/vmta", in any case) is up; it is gone. */
void open_sites_add(struct open_sites *sites, struct bytes name);
void open_sites_remove(struct open_sites *sites, struct bytes name);

bool open_sites_has(const struct open_sites *sites, struct bytes name);

#endif
