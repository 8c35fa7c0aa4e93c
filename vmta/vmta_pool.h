/* The members of a virtual MTA pool and whose turn it is.
 *
 * Members take turns; one of weight N has N turns in a round of its own. Pure state of one worker,
 * which counts for itself: with several workers each goes round by itself. */
#ifndef VMTA_VMTA_POOL_H
#define VMTA_VMTA_POOL_H

#include <stdint.h>

struct vmta_pool;

/* weights: of each member, at least 1; borrowed until the call returns. first: how many turns are
 * taken as past, so that several workers do not begin with the same member. count is at least 1.
 * NULL: no memory. */
struct vmta_pool *vmta_pool_create(const uint64_t *weights, uint32_t count, uint32_t first);
void vmta_pool_destroy(struct vmta_pool *pool); /* NULL is accepted */

/* Takes a turn: the member's place in `weights`. */
uint32_t vmta_pool_next(struct vmta_pool *pool);

#endif
