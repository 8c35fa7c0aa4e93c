#include "vmta_choice.h"

#include <stdlib.h>

#include "policy/config.h"
#include "vmta/vmta_pool.h"

struct vmta_chooser {
    struct vmta_chooser_options options;
    /* By the pool's place in the configuration; made when a pool is first chosen from. */
    struct vmta_pool **turns;
    size_t pool_count;
};

struct vmta_chooser *vmta_chooser_create(const struct vmta_chooser_options *options)
{
    struct vmta_chooser *chooser = calloc(1, sizeof *chooser);
    if (chooser != NULL) {
        chooser->options = *options;
    }
    return chooser;
}

static void forget_turns(struct vmta_chooser *chooser)
{
    for (size_t i = 0; i < chooser->pool_count; i++) {
        vmta_pool_destroy(chooser->turns[i]);
    }
    free(chooser->turns);
    chooser->turns = NULL;
    chooser->pool_count = 0;
}

void vmta_chooser_destroy(struct vmta_chooser *chooser)
{
    if (chooser != NULL) {
        forget_turns(chooser);
        free(chooser);
    }
}

void vmta_chooser_reload(struct vmta_chooser *chooser, const struct config *config)
{
    forget_turns(chooser);
    chooser->options.config = config;
}

static bool admits(const struct vmta_chooser *chooser, struct bytes vmta, uint32_t rcpt_count)
{
    return chooser->options.admits(chooser->options.owner, vmta, rcpt_count);
}

bool vmta_would_take(const struct vmta_chooser *chooser, struct bytes name, uint32_t rcpt_count)
{
    const struct config_vmta *vmta = config_vmta(chooser->options.config, name);
    if (vmta != NULL) {
        return admits(chooser, vmta->name, rcpt_count);
    }
    const struct config_pool *pool = config_pool(chooser->options.config, name);
    for (size_t i = 0; pool != NULL && i < pool->settings.members.count; i++) {
        if (admits(chooser, pool->settings.members.items[i].name, rcpt_count)) {
            return true;
        }
    }
    return false;
}

/* ---- pools ---- */

static struct vmta_pool *make_turns(const struct vmta_chooser *chooser,
                                    const struct pool_member_array *members)
{
    uint64_t *weights = calloc(members->count, sizeof *weights);
    if (weights == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < members->count; i++) {
        weights[i] = members->items[i].weight;
    }
    struct vmta_pool *turns =
        vmta_pool_create(weights, (uint32_t)members->count, chooser->options.worker);
    free(weights);
    return turns;
}

/* NULL: no memory. */
static struct vmta_pool *turns_of(struct vmta_chooser *chooser, const struct config_pool *pool)
{
    size_t count;
    const struct config_pool *pools = config_pools(chooser->options.config, &count);
    if (chooser->turns == NULL) {
        chooser->turns = calloc(count, sizeof *chooser->turns);
        if (chooser->turns == NULL) {
            return NULL;
        }
        chooser->pool_count = count;
    }
    struct vmta_pool **turns = &chooser->turns[pool - pools];
    if (*turns == NULL) {
        *turns = make_turns(chooser, &pool->settings.members);
    }
    return *turns;
}

static bool take_member(const struct vmta_chooser *chooser, const struct config_pool *pool,
                        size_t place, uint32_t rcpt_count, struct vmta_choice *choice)
{
    struct bytes name = pool->settings.members.items[place].name;
    const struct config_vmta *vmta = config_vmta(chooser->options.config, name);
    if (vmta == NULL || !admits(chooser, vmta->name, rcpt_count)) {
        return false;
    }
    *choice = (struct vmta_choice){.vmta = vmta->name, .pool = pool->name};
    return true;
}

struct candidate {
    const struct vmta_chooser *chooser;
    const struct config_pool *pool;
    const struct vmta_wish *wish;
};

static bool is_connected(const void *owner, uint32_t place)
{
    const struct candidate *candidate = owner;
    const struct vmta_chooser_options *options = &candidate->chooser->options;
    struct bytes name = candidate->pool->settings.members.items[place].name;
    return options->connected(options->owner, name, candidate->wish->domain) &&
           admits(candidate->chooser, name, candidate->wish->rcpt_count);
}

static enum vmta_answer choose_member(struct vmta_chooser *chooser, const struct config_pool *pool,
                                      const struct vmta_wish *wish, struct vmta_choice *choice)
{
    size_t count = pool->settings.members.count;
    struct vmta_pool *turns = turns_of(chooser, pool);
    const struct candidate candidate = {chooser, pool, wish};
    const struct vmta_pool_preference connected = {is_connected, &candidate};
    bool sticky = chooser->options.connected != NULL && wish->domain.len > 0;
    for (size_t i = 0; turns != NULL && i < count; i++) {
        uint32_t place = vmta_pool_next(turns, sticky ? &connected : NULL);
        if (take_member(chooser, pool, place, wish->rcpt_count, choice)) {
            return VMTA_CHOSEN;
        }
    }
    /* Those turns may all have been of one that is heavy and full. */
    for (size_t i = 0; turns != NULL && i < count; i++) {
        if (take_member(chooser, pool, i, wish->rcpt_count, choice)) {
            return VMTA_CHOSEN;
        }
    }
    return VMTA_FULL;
}

enum vmta_answer vmta_choose(struct vmta_chooser *chooser, const struct vmta_wish *wish,
                             struct vmta_choice *choice)
{
    const struct config_vmta *vmta = config_vmta(chooser->options.config, wish->name);
    if (vmta == NULL) {
        const struct config_pool *pool = config_pool(chooser->options.config, wish->name);
        return pool == NULL ? VMTA_UNKNOWN : choose_member(chooser, pool, wish, choice);
    }
    if (!admits(chooser, vmta->name, wish->rcpt_count)) {
        return VMTA_FULL;
    }
    *choice = (struct vmta_choice){.vmta = vmta->name, .pool = BYTES("")};
    return VMTA_CHOSEN;
}
