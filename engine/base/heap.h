/* An intrusive pairing heap: the entry with the smallest key first.
 *
 * Insert and peek O(1), pop and
 * remove O(log n) amortised, no allocation, no recursion. One thread. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct heap_node {
    uint64_t key;
    /* private: */
    struct heap_node *child, *next, *prev; /* prev: left sibling, or the parent of a first child */
};

struct heap {
    /* private: */
    struct heap_node *root;
    uint64_t count;
};

static inline void heap_init(struct heap *heap)
{
    heap->root = 0;
    heap->count = 0;
}

static inline bool heap_empty(const struct heap *heap)
{
    return heap->root == 0;
}

/* The smallest, or NULL. */
static inline struct heap_node *heap_first(const struct heap *heap)
{
    return heap->root;
}

/* Takes node->key as it stands; equal keys leave in no promised but a repeatable order. */
void heap_insert(struct heap *heap, struct heap_node *node);
void heap_remove(struct heap *heap, struct heap_node *node);

#endif
