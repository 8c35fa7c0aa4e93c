/* Where the chunks of a body lie. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "spool_private.h"

#define SMALL_CAPACITY 4

static struct body_list *take(struct spool *spool, uint32_t capacity)
{
    struct body_list *list = capacity == SMALL_CAPACITY ? spool->spare_body : NULL;
    if (list != NULL) {
        spool->spare_body = NULL;
        return list;
    }
    list = calloc(1, sizeof *list + capacity * sizeof list->pieces[0]);
    if (list != NULL) {
        list->capacity = capacity;
    }
    return list;
}

void body_list_drop(struct spool *spool, struct body_list *list)
{
    if (list == NULL || list->capacity != SMALL_CAPACITY || spool->spare_body != NULL) {
        free(list);
        return;
    }
    list->count = 0;
    spool->spare_body = list;
}

struct body_list *body_list_grow(struct spool *spool, struct body_list *list, uint32_t count)
{
    if (list != NULL && count <= list->capacity) {
        return list;
    }
    uint32_t capacity = SMALL_CAPACITY;
    while (capacity < count) {
        capacity *= 2;
    }
    struct body_list *larger = take(spool, capacity);
    if (larger != NULL && list != NULL) {
        larger->count = list->count;
        for (uint32_t i = 0; i < list->count; i++) {
            atomic_store_explicit(&larger->pieces[i].place, atomic_load(&list->pieces[i].place),
                                  memory_order_relaxed);
            larger->pieces[i].end = list->pieces[i].end;
        }
        body_list_drop(spool, list);
    }
    return larger;
}

struct body_list *message_body_list(const struct message *message)
{
    uint64_t word = atomic_load(&message->body_place);
    return (word & 1) != 0 ? (struct body_list *)(uintptr_t)(word - 1) : NULL;
}

uint32_t message_chunk_count(const struct message *message)
{
    const struct body_list *list = message_body_list(message);
    return list != NULL ? list->count : message->body_size > 0 ? 1 : 0;
}

_Atomic uint64_t *message_chunk_word(struct message *message, uint32_t index)
{
    struct body_list *list = message_body_list(message);
    if (index >= message_chunk_count(message)) {
        return NULL;
    }
    return list != NULL ? &list->pieces[index].place : &message->body_place;
}

uint64_t message_chunk_len(const struct message *message, uint32_t index)
{
    const struct body_list *list = message_body_list(message);
    assert(index < message_chunk_count(message));
    if (list == NULL) {
        return message->body_size;
    }
    return list->pieces[index].end - (index == 0 ? 0 : list->pieces[index - 1].end);
}
