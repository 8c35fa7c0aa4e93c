#include "vmta/open_sites.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#define COUNTERS 65536 /* 256 KiB; with 1,000 open sites one in 65 of the others is mistaken */

struct open_sites {
    atomic_uint counts[COUNTERS];
};

struct open_sites *open_sites_create(void)
{
    return calloc(1, sizeof(struct open_sites));
}

void open_sites_destroy(struct open_sites *sites)
{
    free(sites);
}

static uint32_t place_of(struct bytes name)
{
    uint64_t hash = bytes_hash_nocase(name);
    return (uint32_t)(hash ^ hash >> 32) % COUNTERS;
}

void open_sites_add(struct open_sites *sites, struct bytes name)
{
    atomic_fetch_add_explicit(&sites->counts[place_of(name)], 1, memory_order_relaxed);
}

void open_sites_remove(struct open_sites *sites, struct bytes name)
{
    uint32_t before =
        atomic_fetch_sub_explicit(&sites->counts[place_of(name)], 1, memory_order_relaxed);
    assert(before > 0);
}

bool open_sites_has(const struct open_sites *sites, struct bytes name)
{
    return atomic_load_explicit(&sites->counts[place_of(name)], memory_order_relaxed) > 0;
}
