/* The engine's memory, told apart from the simulator's.
 *
 * A crash forgets an engine where it stands, so nobody runs its destructors. Test programs of
 * the simulator are linked with --wrap for malloc and its kin: what is allocated between
 * sim_memory_enter and sim_memory_leave is remembered and can be dropped as a whole. The
 * simulator's own files use sim_take and sim_give, which are never remembered. One thread. */
#ifndef SIM_MEMORY_H
#define SIM_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed; aborts without memory. */
void *sim_take(size_t size);
void *sim_grow(void *block, size_t old_size, size_t size); /* the rest zeroed */
void sim_give(void *block);                                /* NULL is accepted */

/* The same on behalf of the engine: what work_pool_create makes dies with it. */
void *sim_engine_take(size_t size); /* NULL: no memory */
void sim_engine_give(void *block);

/* Nest; between them what is allocated belongs to the engine. */
void sim_memory_enter(void);
void sim_memory_leave(void);

/* Frees all that the engine has allocated and not freed. The count of blocks. */
size_t sim_memory_drop(void);
size_t sim_memory_blocks(void);

/* The n-th engine allocation from now on fails (1: the next one); 0: none. */
void sim_memory_fail(uint64_t n);

#endif
