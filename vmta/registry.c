#include "vmta/registry.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/map.h"

#define WORKERS_MAX 64
/* The keeper's own work (every body, every outcome) counts as so many sites in a hundred. */
#define KEEPER_LOAD_PERCENT 50

struct registry_entry {
    struct map_entry entry;
    uint64_t expected; /* recipients sent to the owner and not yet reported as left */
    struct registry_site site;
    char name[];
};

struct registry {
    pthread_mutex_t mutex;
    struct map map;
    uint32_t workers, keeper;
    uint32_t sites[WORKERS_MAX];
};

struct registry *registry_create(uint32_t workers, uint32_t keeper, size_t sites_max)
{
    assert(workers > 0 && workers <= WORKERS_MAX && keeper < workers);
    struct registry *registry = calloc(1, sizeof *registry);
    if (registry == NULL) {
        return NULL;
    }
    pthread_mutex_init(&registry->mutex, NULL);
    map_init(&registry->map, sites_max);
    registry->workers = workers;
    registry->keeper = keeper;
    return registry;
}

void registry_destroy(struct registry *registry)
{
    if (registry == NULL) {
        return;
    }
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_walk(&registry->map, &cursor)) != NULL) {
        free(CONTAINER_OF(entry, struct registry_entry, entry));
    }
    map_deinit(&registry->map);
    pthread_mutex_destroy(&registry->mutex);
    free(registry);
}

static bool same_site(const struct map_entry *entry, const void *key)
{
    const struct registry_entry *site = CONTAINER_OF(entry, struct registry_entry, entry);
    return bytes_equal_nocase(site->site.name, *(const struct bytes *)key);
}

static struct registry_entry *find(const struct registry *registry, struct bytes site)
{
    struct map_entry *entry = map_find(&registry->map, bytes_hash_nocase(site), same_site, &site);
    return entry == NULL ? NULL : CONTAINER_OF(entry, struct registry_entry, entry);
}

static uint64_t load_of(const struct registry *registry, uint32_t worker)
{
    uint64_t load = (uint64_t)registry->sites[worker] * 100;
    if (worker == registry->keeper) {
        load += load * KEEPER_LOAD_PERCENT / 100 + 100;
    }
    return load;
}

static uint32_t least_loaded(const struct registry *registry)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < registry->workers; i++) {
        if (load_of(registry, i) < load_of(registry, best)) {
            best = i;
        }
    }
    return best;
}

static struct registry_entry *create(struct registry *registry, struct bytes site)
{
    struct registry_entry *entry = malloc(sizeof *entry + site.len);
    if (entry == NULL) {
        return NULL;
    }
    *entry = (struct registry_entry){
        .site = {.owner = least_loaded(registry), .name = bytes_of(entry->name, site.len)}};
    memcpy(entry->name, site.data, site.len);
    if (!map_insert(&registry->map, bytes_hash_nocase(site), &entry->entry)) {
        free(entry);
        return NULL;
    }
    registry->sites[entry->site.owner]++;
    return entry;
}

const struct registry_site *registry_arrive(struct registry *registry, struct bytes site)
{
    pthread_mutex_lock(&registry->mutex);
    struct registry_entry *entry = find(registry, site);
    if (entry == NULL) {
        entry = create(registry, site);
    }
    if (entry != NULL) {
        entry->expected++;
    }
    pthread_mutex_unlock(&registry->mutex);
    return entry == NULL ? NULL : &entry->site;
}

bool registry_leave(struct registry *registry, struct bytes site, uint64_t arrived)
{
    pthread_mutex_lock(&registry->mutex);
    struct registry_entry *entry = find(registry, site);
    bool gone = true;
    if (entry != NULL) {
        assert(entry->expected >= arrived);
        entry->expected -= arrived;
        gone = entry->expected == 0;
        if (gone) {
            registry->sites[entry->site.owner]--;
            map_remove(&registry->map, &entry->entry);
            free(entry);
        }
    }
    pthread_mutex_unlock(&registry->mutex);
    return gone;
}

uint32_t registry_owner(struct registry *registry, struct bytes site)
{
    pthread_mutex_lock(&registry->mutex);
    const struct registry_entry *entry = find(registry, site);
    uint32_t owner = entry == NULL ? UINT32_MAX : entry->site.owner;
    pthread_mutex_unlock(&registry->mutex);
    return owner;
}

uint32_t registry_sites(struct registry *registry, uint32_t worker)
{
    pthread_mutex_lock(&registry->mutex);
    uint32_t sites = registry->sites[worker];
    pthread_mutex_unlock(&registry->mutex);
    return sites;
}
