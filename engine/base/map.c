/* Linear probing; removal moves what follows back into the gap, so there are no tombstones and a
 * map that only churns never rehashes and never allocates. At most three quarters full. */
#include "base/map.h"

#include <assert.h>
#include <stdlib.h>

#define CAPACITY_MIN ((size_t)16)

void map_init(struct map *map, size_t max)
{
    assert(max < SIZE_MAX / 16);
    *map = (struct map){.max = max};
}

void map_deinit(struct map *map)
{
    free(map->slots);
    *map = (struct map){.max = map->max};
}

/* Callers' hashes may be poor in their low bits: spread them once more. */
static size_t home_of(size_t capacity, uint64_t hash)
{
    uint64_t spread = hash * 0x9E3779B97F4A7C15;
    return (size_t)(spread ^ (spread >> 32)) & (capacity - 1);
}

static void place(struct map_entry **slots, size_t capacity, struct map_entry *entry)
{
    size_t at = home_of(capacity, entry->hash);
    while (slots[at] != NULL) {
        at = (at + 1) & (capacity - 1);
    }
    slots[at] = entry;
}

static bool grow(struct map *map)
{
    size_t capacity = map->capacity == 0 ? CAPACITY_MIN : map->capacity * 2;
    struct map_entry **slots = calloc(capacity, sizeof(struct map_entry *));
    if (slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->slots[i] != NULL) {
            place(slots, capacity, map->slots[i]);
        }
    }
    free(map->slots);
    map->slots = slots;
    map->capacity = capacity;
    return true;
}

bool map_insert(struct map *map, uint64_t hash, struct map_entry *entry)
{
    if (map->count == map->max) {
        return false;
    }
    if (map->count + 1 > map->capacity / 4 * 3 && !grow(map)) {
        return false;
    }
    entry->hash = hash;
    place(map->slots, map->capacity, entry);
    map->count++;
    return true;
}

void map_remove(struct map *map, struct map_entry *entry)
{
    assert(map->count > 0);
    const size_t wrap = map->capacity - 1;
    size_t gap = home_of(map->capacity, entry->hash);
    while (map->slots[gap] != entry) {
        assert(map->slots[gap] != NULL); /* else it was never inserted */
        gap = (gap + 1) & wrap;
    }
    for (size_t at = (gap + 1) & wrap; map->slots[at] != NULL; at = (at + 1) & wrap) {
        /* What lies further from its home than from the gap is still found when moved there. */
        size_t home = home_of(map->capacity, map->slots[at]->hash);
        if (((at - home) & wrap) >= ((at - gap) & wrap)) {
            map->slots[gap] = map->slots[at];
            gap = at;
        }
    }
    map->slots[gap] = NULL;
    map->count--;
}

struct map_entry *map_find(const struct map *map, uint64_t hash,
                           bool (*equal)(const struct map_entry *entry, const void *key),
                           const void *key)
{
    if (map->count == 0) {
        return NULL;
    }
    size_t at = home_of(map->capacity, hash);
    for (; map->slots[at] != NULL; at = (at + 1) & (map->capacity - 1)) {
        if (map->slots[at]->hash == hash && equal(map->slots[at], key)) {
            return map->slots[at];
        }
    }
    return NULL;
}

struct map_entry *map_walk(const struct map *map, size_t *cursor)
{
    while (*cursor < map->capacity) {
        struct map_entry *entry = map->slots[(*cursor)++];
        if (entry != NULL) {
            return entry;
        }
    }
    return NULL;
}
