/* The members of a virtual MTA pool and whose turn it is.
 *
 * Of any N turns a member has its share by weight, give or take VMTA_POOL_STRAY_MAX. Within that
 * who asks may prefer members. Pure state of one worker, which counts for itself: with several
 * workers each goes round by itself. */
#ifndef VMTA_VMTA_POOL_H
#define VMTA_VMTA_POOL_H

#include <stdbool.h>
#include <stdint.h>

/* Turns by which a member that is preferred, or never is, may be ahead of its share or behind. */
#define VMTA_POOL_STRAY_MAX 8

struct vmta_pool;

/* weights: of each member, from 1 to UINT32_MAX; borrowed until the call returns. first: how many
 * turns are taken as past, so that several workers do not begin with the same member. count is at
 * least 1. NULL: no memory. */
struct vmta_pool *vmta_pool_create(const uint64_t *weights, uint32_t count, uint32_t first);
void vmta_pool_destroy(struct vmta_pool *pool); /* NULL is accepted */

struct vmta_pool_preference {
    bool (*prefers)(const void *owner, uint32_t place);
    const void *owner;
};

/* Takes a turn: the member's place in `weights`. Without a preference (NULL), and where nobody is
 * preferred, it is the turn of who is owed most; equal ones in the order of the configuration. */
uint32_t vmta_pool_next(struct vmta_pool *pool, const struct vmta_pool_preference *preference);

#endif
