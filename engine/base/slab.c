/* A list of free objects through the objects themselves. Under AddressSanitizer what lies in the
 * list is poisoned, so that a use after slab_give is seen as one after free would be. */
#include "base/slab.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define POISONING 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONING 1
#endif
#endif
#ifdef POISONING
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size)   ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

#define BLOCK_BYTES ((size_t)64 * 1024)
#define ALIGNMENT   ((size_t)16)

struct block {
    struct block *next;
    _Alignas(16) char objects[];
};

struct free_object {
    struct free_object *next;
};

struct slab {
    const char *name;
    size_t object_size; /* as asked for */
    size_t stride;      /* from one object to the next */
    size_t per_block, max;
    size_t made, used, high_water;
    struct block *blocks;
    struct free_object *free;
};

struct slab *slab_create(const char *name, size_t object_size, size_t max)
{
    assert(object_size > 0);
    assert(object_size < SIZE_MAX / 2);
    struct slab *slab = calloc(1, sizeof(*slab));
    if (slab == NULL) {
        return NULL;
    }
    slab->name = name;
    slab->object_size = object_size;
    slab->stride = (object_size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    slab->per_block = slab->stride >= BLOCK_BYTES ? 1 : BLOCK_BYTES / slab->stride;
    slab->max = max;
    return slab;
}

void slab_destroy(struct slab *slab)
{
    if (slab == NULL) {
        return;
    }
    assert(slab->used == 0);
    while (slab->blocks != NULL) {
        struct block *block = slab->blocks;
        slab->blocks = block->next;
        ASAN_UNPOISON_MEMORY_REGION(block->objects, slab->per_block * slab->stride);
        free(block);
    }
    free(slab);
}

static void push_free(struct slab *slab, void *object)
{
    struct free_object *head = object;
    head->next = slab->free;
    slab->free = head;
    ASAN_POISON_MEMORY_REGION(object, slab->stride);
}

static bool add_block(struct slab *slab)
{
    size_t count = slab->max - slab->made;
    count = count < slab->per_block ? count : slab->per_block;
    struct block *block = malloc(sizeof(*block) + slab->per_block * slab->stride);
    if (block == NULL) {
        return false;
    }
    block->next = slab->blocks;
    slab->blocks = block;
    for (size_t i = count; i > 0; i--) {
        push_free(slab, block->objects + (i - 1) * slab->stride);
    }
    slab->made += count;
    return true;
}

void *slab_take(struct slab *slab)
{
    if (slab->used == slab->max || (slab->free == NULL && !add_block(slab))) {
        return NULL;
    }
    struct free_object *object = slab->free;
    assert(object != NULL);
    ASAN_UNPOISON_MEMORY_REGION(object, slab->object_size);
    slab->free = object->next;
    slab->used++;
    slab->high_water = slab->used > slab->high_water ? slab->used : slab->high_water;
    return memset(object, 0, slab->object_size);
}

void slab_give(struct slab *slab, void *object)
{
    if (object == NULL) {
        return;
    }
    assert(slab->used > 0);
    slab->used--;
    ASAN_UNPOISON_MEMORY_REGION(object, slab->stride);
    push_free(slab, object);
}

size_t slab_used(const struct slab *slab)
{
    return slab->used;
}

size_t slab_high_water(const struct slab *slab)
{
    return slab->high_water;
}
