#include "base/map.h"

#include "base/list.h"
#include "base/rng.h"

#include "test.h"

#define ITEMS 2000

struct item {
    struct map_entry entry;
    uint32_t key;
    bool inside;
};

static struct item items[ITEMS];

static bool has_key(const struct map_entry *entry, const void *key)
{
    return CONTAINER_OF(entry, struct item, entry)->key == *(const uint32_t *)key;
}

static struct item *find(const struct map *map, uint64_t hash, uint32_t key)
{
    struct map_entry *entry = map_find(map, hash, has_key, &key);
    return entry == NULL ? NULL : CONTAINER_OF(entry, struct item, entry);
}

/* Random inserting and removing agrees with a plain array. Few hashes make long runs of equals. */
static void agrees_with_a_model(uint64_t hashes, uint64_t seed)
{
    struct map map;
    struct rng rng;
    rng_init(&rng, seed);
    map_init(&map, ITEMS);
    memset(items, 0, sizeof(items));
    size_t count = 0;
    for (uint32_t step = 0; step < 40000; step++) {
        uint32_t key = (uint32_t)rng_below(&rng, ITEMS);
        struct item *item = &items[key];
        item->key = key;
        if (item->inside) {
            map_remove(&map, &item->entry);
            count--;
        } else {
            CHECK(map_insert(&map, key % hashes, &item->entry));
            count++;
        }
        item->inside = !item->inside;
        uint32_t other = (uint32_t)rng_below(&rng, ITEMS);
        CHECK(find(&map, other % hashes, other) == (items[other].inside ? &items[other] : NULL));
    }
    CHECK_INT(map_count(&map), count);
    size_t cursor = 0, walked = 0;
    while (map_walk(&map, &cursor) != NULL) {
        walked++;
    }
    CHECK_INT(walked, count);
    map_deinit(&map);
}

TEST(random_use_agrees_with_a_model)
{
    agrees_with_a_model(UINT64_MAX, 1);
}

TEST(equal_hashes_stand_side_by_side)
{
    agrees_with_a_model(50, 2);
}

TEST(limit_is_hard)
{
    struct map map;
    struct map_entry entries[4];
    map_init(&map, 3);
    for (uint64_t i = 0; i < 3; i++) {
        CHECK(map_insert(&map, i, &entries[i]));
    }
    CHECK(!map_insert(&map, 3, &entries[3]));
    map_remove(&map, &entries[1]);
    CHECK(map_insert(&map, 3, &entries[3]));
    map_deinit(&map);
}

TEST(churn_at_a_steady_size_takes_no_memory)
{
    struct map map;
    map_init(&map, ITEMS);
    for (uint64_t i = 0; i < 1000; i++) {
        CHECK(map_insert(&map, i, &items[i].entry));
    }
    const struct map_entry *const *before = (const struct map_entry *const *)map.slots;
    for (uint64_t i = 0; i < 100000; i++) {
        map_remove(&map, &items[i % 1000].entry);
        CHECK(map_insert(&map, i * 7919, &items[i % 1000].entry));
    }
    CHECK((const struct map_entry *const *)map.slots == before);
    map_deinit(&map);
}

TEST(empty_map_finds_nothing)
{
    struct map map;
    map_init(&map, 10);
    size_t cursor = 0;
    CHECK(find(&map, 1, 1) == NULL);
    CHECK(map_walk(&map, &cursor) == NULL);
    map_deinit(&map);
}
