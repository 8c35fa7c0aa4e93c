/* Each turn every member earns its weight, and who has the turn pays the sum of all: what a member
 * has is what it is owed, in turns times that sum. So the bounds hold for ever and nothing has to
 * be forgotten. Costs one pass over the members. */
#include "vmta/vmta_pool.h"

#include <assert.h>
#include <stdlib.h>

struct member {
    int64_t weight, owed;
};

struct vmta_pool {
    uint32_t count;
    int64_t sum; /* of the weights */
    struct member members[];
};

struct vmta_pool *vmta_pool_create(const uint64_t *weights, uint32_t count, uint32_t first)
{
    struct vmta_pool *pool = malloc(sizeof *pool + count * sizeof pool->members[0]);
    if (pool == NULL) {
        return NULL;
    }
    pool->count = count;
    pool->sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        assert(weights[i] > 0 && weights[i] <= UINT32_MAX);
        pool->members[i] = (struct member){.weight = (int64_t)weights[i]};
        pool->sum += pool->members[i].weight;
    }
    for (uint32_t i = 0; i < first % count; i++) {
        vmta_pool_next(pool, NULL);
    }
    return pool;
}

void vmta_pool_destroy(struct vmta_pool *pool)
{
    free(pool);
}

/* Everybody earns; who is owed most. */
static uint32_t earn(struct vmta_pool *pool)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < pool->count; i++) {
        struct member *member = &pool->members[i];
        member->owed += member->weight;
        if (member->owed > pool->members[most].owed) {
            most = i;
        }
    }
    return most;
}

/* Of those preferred who would not get too far ahead, the one that is owed most; `count`: none. */
static uint32_t preferred(const struct vmta_pool *pool,
                          const struct vmta_pool_preference *preference)
{
    uint32_t best = pool->count;
    int64_t least = (1 - VMTA_POOL_STRAY_MAX) * pool->sum;
    for (uint32_t i = 0; i < pool->count; i++) {
        int64_t owed = pool->members[i].owed;
        bool better = owed >= least && (best == pool->count || owed > pool->members[best].owed);
        if (better && preference->prefers(preference->owner, i)) {
            best = i;
        }
    }
    return best;
}

uint32_t vmta_pool_next(struct vmta_pool *pool, const struct vmta_pool_preference *preference)
{
    uint32_t turn = earn(pool);
    bool weights_decide = pool->members[turn].owed >= VMTA_POOL_STRAY_MAX * pool->sum;
    if (preference != NULL && !weights_decide) {
        uint32_t sticky = preferred(pool, preference);
        turn = sticky == pool->count ? turn : sticky;
    }
    pool->members[turn].owed -= pool->sum;
    return turn;
}
