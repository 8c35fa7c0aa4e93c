#include "net/tickets.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct ticket {
    uint8_t *data;
    size_t len;
    bool reusable;
};

struct kept {
    struct map_entry entry;
    struct list_node age;
    uint64_t key;
    uint32_t count;
    struct ticket tickets[TICKETS_PER_KEY]; /* newest last */
};

void tickets_init(struct tickets *tickets, size_t max_keys)
{
    assert(max_keys > 0);
    map_init(&tickets->keys, max_keys);
    list_init(&tickets->by_age);
    tickets->max = max_keys;
}

static bool is_key(const struct map_entry *entry, const void *key)
{
    const struct kept *kept = (const void *)((const char *)entry - offsetof(struct kept, entry));
    return kept->key == *(const uint64_t *)key;
}

static struct kept *find(const struct tickets *tickets, uint64_t key)
{
    struct map_entry *entry = map_find(&tickets->keys, key, is_key, &key);
    return entry == NULL ? NULL : CONTAINER_OF(entry, struct kept, entry);
}

static void drop_ticket(struct kept *kept, uint32_t at)
{
    free(kept->tickets[at].data);
    kept->count--;
    memmove(&kept->tickets[at], &kept->tickets[at + 1],
            (kept->count - at) * sizeof(kept->tickets[0]));
}

static void drop_key(struct tickets *tickets, struct kept *kept)
{
    while (kept->count > 0) {
        drop_ticket(kept, kept->count - 1);
    }
    map_remove(&tickets->keys, &kept->entry);
    list_remove(&kept->age);
    free(kept);
}

void tickets_deinit(struct tickets *tickets)
{
    while (!list_empty(&tickets->by_age)) {
        drop_key(tickets, CONTAINER_OF(list_first(&tickets->by_age), struct kept, age));
    }
    map_deinit(&tickets->keys);
}

static struct kept *add_key(struct tickets *tickets, uint64_t key)
{
    if (map_count(&tickets->keys) >= tickets->max) {
        drop_key(tickets, CONTAINER_OF(list_first(&tickets->by_age), struct kept, age));
    }
    struct kept *kept = calloc(1, sizeof(*kept));
    if (kept == NULL) {
        return NULL;
    }
    kept->key = key;
    if (!map_insert(&tickets->keys, key, &kept->entry)) {
        free(kept);
        return NULL;
    }
    list_push_back(&tickets->by_age, &kept->age);
    return kept;
}

static void refresh(struct tickets *tickets, struct kept *kept)
{
    list_remove(&kept->age);
    list_push_back(&tickets->by_age, &kept->age);
}

void tickets_put(struct tickets *tickets, uint64_t key, uint8_t *data, size_t len, bool reusable)
{
    struct kept *kept = find(tickets, key);
    if (kept == NULL && len <= TICKET_BYTES_MAX) {
        kept = add_key(tickets, key);
    }
    if (kept == NULL || len > TICKET_BYTES_MAX) {
        free(data);
        return;
    }
    while (kept->count >= (reusable ? 1u : TICKETS_PER_KEY)) {
        drop_ticket(kept, 0);
    }
    kept->tickets[kept->count++] = (struct ticket){.data = data, .len = len, .reusable = reusable};
    refresh(tickets, kept);
}

bool tickets_newest(struct tickets *tickets, uint64_t key,
                    bool (*use)(void *owner, const uint8_t *data, size_t len), void *owner)
{
    struct kept *kept = find(tickets, key);
    if (kept == NULL) {
        return false;
    }
    refresh(tickets, kept);
    assert(kept->count > 0);
    struct ticket *newest = &kept->tickets[kept->count - 1];
    bool used = use(owner, newest->data, newest->len);
    if (!used || !newest->reusable) {
        drop_ticket(kept, kept->count - 1);
    }
    if (kept->count == 0) {
        drop_key(tickets, kept);
    }
    return used;
}

size_t tickets_keys(const struct tickets *tickets)
{
    return map_count(&tickets->keys);
}
