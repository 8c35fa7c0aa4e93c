/* Intrusive circular doubly linked lists.
 *
 * Knows nothing of what it links; never allocates. A node is in at most one list; the struct
 * that embeds it owns its memory. Every operation is O(1). */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct list_node {
    struct list_node *prev, *next;
};

/* A list head; an empty list points at itself. */
struct list {
    struct list_node head;
};

/* The struct of `type` whose member `member` is the node at `pointer`. */
#define CONTAINER_OF(pointer, type, member) ((type *)((uintptr_t)(pointer)-offsetof(type, member)))

static inline void list_init(struct list *list)
{
    list->head.prev = list->head.next = &list->head;
}

static inline bool list_empty(const struct list *list)
{
    return list->head.next == &list->head;
}

/* A node that is in no list: prev and next NULL. Zeroed memory is such a node. */
static inline bool list_linked(const struct list_node *node)
{
    return node->next != NULL;
}

static inline void list_insert_after(struct list_node *place, struct list_node *node)
{
    assert(!list_linked(node));
    node->prev = place;
    node->next = place->next;
    place->next->prev = node;
    place->next = node;
}

static inline void list_push_back(struct list *list, struct list_node *node)
{
    list_insert_after(list->head.prev, node);
}

static inline void list_push_front(struct list *list, struct list_node *node)
{
    list_insert_after(&list->head, node);
}

/* Takes the node out of the list it is in; a node in no list stays as it is. */
static inline void list_remove(struct list_node *node)
{
    if (!list_linked(node)) {
        return;
    }
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = NULL;
}

/* The first node, or NULL. */
static inline struct list_node *list_first(const struct list *list)
{
    return list_empty(list) ? NULL : list->head.next;
}

/* The node after `node`, or NULL at the end. */
static inline struct list_node *list_next(const struct list *list, const struct list_node *node)
{
    return node->next == &list->head ? NULL : node->next;
}

/* Takes out and returns the first node, or NULL. */
static inline struct list_node *list_pop_front(struct list *list)
{
    struct list_node *node = list_first(list);
    if (node != NULL) {
        list_remove(node);
    }
    return node;
}

/* Moves all of `from` to the end of `to`; `from` is empty after. */
static inline void list_splice_back(struct list *to, struct list *from)
{
    if (list_empty(from)) {
        return;
    }
    from->head.next->prev = to->head.prev;
    to->head.prev->next = from->head.next;
    from->head.prev->next = &to->head;
    to->head.prev = from->head.prev;
    list_init(from);
}

#endif
