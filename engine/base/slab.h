/* A pool of equal objects with a hard limit.
 *
 * Objects come from blocks that are never given back until destroy, so the steady state allocates
 * nothing. One thread. Memory of an object is zeroed by slab_take. */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <stddef.h>
#include <stdint.h>

struct slab;

/* object_size in bytes; at most `max` objects at once. NULL: no memory. */
struct slab *slab_create(const char *name, size_t object_size, size_t max);

/* NULL is accepted. Objects still taken are an assertion failure: somebody forgot one. */
void slab_destroy(struct slab *slab);

/* A zeroed object, or NULL when `max` are out or memory is used up: push back. */
void *slab_take(struct slab *slab);

/* NULL is accepted. */
void slab_give(struct slab *slab, void *object);

size_t slab_used(const struct slab *slab);
size_t slab_high_water(const struct slab *slab);

#endif
