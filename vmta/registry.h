/* Who owns which site: one table for all workers.
 *
 * A site has one owner, chosen least loaded when its first recipient arrives and free to change
 * once it is empty. Recipients on their way to an owner are counted here, so that a site is never
 * given away while some still arrive. Any thread; a mutex inside, taken once per recipient. With
 * one worker nobody needs it. */
#ifndef VMTA_REGISTRY_H
#define VMTA_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct registry;

/* keeper: the worker that writes the log; it is given fewer sites. NULL: no memory. */
struct registry *registry_create(uint32_t workers, uint32_t keeper, size_t sites_max);
void registry_destroy(struct registry *registry); /* NULL is accepted */

/* A site in the table. Stays as long as a recipient that was counted is on its way. */
struct registry_site {
    uint32_t owner;
    struct bytes name; /* "domain/vmta", as it first came */
};

/* One recipient goes to this site ("domain/vmta", in any case). NULL: no memory; the keeper serves
 * it then: right, if not balanced. */
const struct registry_site *registry_arrive(struct registry *registry, struct bytes site);

/* The owner has none left of `arrived` recipients that came since it last asked. True: the entry
 * is gone, the owner may forget the site. False: others are on their way. */
bool registry_leave(struct registry *registry, struct bytes site, uint64_t arrived);

/* The owner now, or UINT32_MAX: nobody. */
uint32_t registry_owner(struct registry *registry, struct bytes site);

uint32_t registry_sites(struct registry *registry, uint32_t worker);

#endif
