/* An open-addressing hash map from a 64-bit hash to an intrusive entry.
 *
 * The caller embeds struct map_entry, computes the hash and compares keys itself: the map only
 * finds candidates. Iteration order is not promised and must never reach behaviour: sort, or
 * keep a list beside. One thread. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_entry {
    uint64_t hash; /* set by map_insert; the caller does not change it while inserted */
};

struct map {
    /* private: */
    struct map_entry **slots;
    size_t capacity, count, max; /* capacity: a power of two, or 0 */
};

/* At most `max` entries; memory is taken as it fills, doubling. */
void map_init(struct map *map, size_t max);
void map_deinit(struct map *map); /* entries are the caller's; they are not touched */

/* False: `max` reached or no memory. Equal hashes may stand side by side. */
bool map_insert(struct map *map, uint64_t hash, struct map_entry *entry);
void map_remove(struct map *map, struct map_entry *entry);

/* First entry with this hash for which `equal(entry, key)` holds, or NULL. */
struct map_entry *map_find(const struct map *map, uint64_t hash,
                           bool (*equal)(const struct map_entry *entry, const void *key),
                           const void *key);

static inline size_t map_count(const struct map *map)
{
    return map->count;
}

/* Walks all: start with *cursor = 0; NULL at the end. The map must not change meanwhile. */
struct map_entry *map_walk(const struct map *map, size_t *cursor);

#endif
