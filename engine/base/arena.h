/* Bump allocation that is freed as a whole; and the one place that knows jemalloc.
 *
 * For things built once and dropped together (a configuration). Pointers are valid until
 * arena_destroy. One thread at a time. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/bytes.h"

struct arena;

/* max_bytes is the hard limit of the sum; NULL: no memory. */
struct arena *arena_create(size_t max_bytes);
void arena_destroy(struct arena *arena); /* NULL is accepted */

/* Zeroed, aligned to 16; NULL when the limit is reached. */
void *arena_take(struct arena *arena, size_t size);

/* Copies; the copy ends with a NUL that is not counted. NULL data on failure with len 0. */
struct bytes arena_copy(struct arena *arena, struct bytes b);
size_t arena_used(const struct arena *arena);

/* Bytes that the allocator has handed to this process and it has not given back. */
size_t memory_allocated(void);

#endif
