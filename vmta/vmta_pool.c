/* Members lie by weight, heaviest first. Pass p of a round gives a turn to those of a weight over
 * p, which are always the first so many: a turn costs the same whatever the weights are. */
#include "vmta/vmta_pool.h"

#include <stdlib.h>

struct member {
    uint64_t weight;
    uint32_t place;
};

struct vmta_pool {
    uint32_t count, at;
    uint64_t pass;
    struct member members[];
};

/* Equal ones in the order of the configuration. */
static int heavier_first(const void *left, const void *right)
{
    const struct member *a = left, *b = right;
    if (a->weight != b->weight) {
        return a->weight > b->weight ? -1 : 1;
    }
    return a->place < b->place ? -1 : 1;
}

struct vmta_pool *vmta_pool_create(const uint64_t *weights, uint32_t count, uint32_t first)
{
    struct vmta_pool *pool = malloc(sizeof *pool + count * sizeof pool->members[0]);
    if (pool == NULL) {
        return NULL;
    }
    pool->count = count;
    pool->at = first % count;
    pool->pass = 0;
    for (uint32_t i = 0; i < count; i++) {
        pool->members[i] = (struct member){.weight = weights[i], .place = i};
    }
    qsort(pool->members, count, sizeof pool->members[0], heavier_first);
    return pool;
}

void vmta_pool_destroy(struct vmta_pool *pool)
{
    free(pool);
}

uint32_t vmta_pool_next(struct vmta_pool *pool)
{
    if (pool->at == pool->count || pool->members[pool->at].weight <= pool->pass) {
        pool->at = 0;
        pool->pass = pool->members[0].weight > pool->pass + 1 ? pool->pass + 1 : 0;
    }
    return pool->members[pool->at++].place;
}
