/* A pairing heap: melding makes the larger root the first child of the smaller. Removing a root
 * melds its children in pairs from left to right, then the pairs from right to left; that second
 * pass is what makes it O(log n) amortised. */
#include "base/heap.h"

#include <assert.h>
#include <stddef.h>

/* Both are roots without siblings; NULL is an empty heap. On equal keys `a` stays above. */
static struct heap_node *meld(struct heap_node *a, struct heap_node *b)
{
    if (a == NULL || b == NULL) {
        return a == NULL ? b : a;
    }
    if (b->key < a->key) {
        struct heap_node *smaller = b;
        b = a;
        a = smaller;
    }
    b->prev = a;
    b->next = a->child;
    if (a->child != NULL) {
        a->child->prev = b;
    }
    a->child = b;
    return a;
}

/* Takes the node out of the chain of siblings that begins at *chain. */
static struct heap_node *pop_sibling(struct heap_node **chain)
{
    struct heap_node *node = *chain;
    if (node != NULL) {
        *chain = node->next;
        node->next = node->prev = NULL;
    }
    return node;
}

static struct heap_node *meld_siblings(struct heap_node *first)
{
    struct heap_node *pairs = NULL; /* a stack: the rightmost pair is on top */
    while (first != NULL) {
        struct heap_node *left = pop_sibling(&first);
        struct heap_node *right = pop_sibling(&first);
        struct heap_node *pair = meld(left, right);
        pair->next = pairs;
        pairs = pair;
    }
    struct heap_node *root = NULL;
    while (pairs != NULL) {
        root = meld(pop_sibling(&pairs), root);
    }
    return root;
}

void heap_insert(struct heap *heap, struct heap_node *node)
{
    node->child = node->next = node->prev = NULL;
    heap->root = meld(heap->root, node);
    heap->count++;
}

/* Cuts a node that is not the root from its parent or left sibling. */
static void cut(struct heap_node *node)
{
    assert(node->prev != NULL);
    if (node->prev->child == node) {
        node->prev->child = node->next;
    } else {
        assert(node->prev->next == node);
        node->prev->next = node->next;
    }
    if (node->next != NULL) {
        node->next->prev = node->prev;
    }
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    assert(heap->count > 0);
    bool was_root = heap->root == node;
    if (!was_root) {
        cut(node);
    }
    struct heap_node *rest = meld_siblings(node->child);
    heap->root = was_root ? rest : meld(heap->root, rest);
    node->child = node->next = node->prev = NULL;
    heap->count--;
    assert((heap->root == NULL) == (heap->count == 0));
}
