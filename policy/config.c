#include "policy/config.h"

#include <assert.h>
#include <stdlib.h>

#include "policy/config_private.h"
#include "policy/reply_rules.h"

static struct config_cache *create_cache(void)
{
    struct config_cache *cache = calloc(1, sizeof(*cache));
    if (cache == NULL) {
        return NULL;
    }
    cache->arena = arena_create(CONFIG_CACHE_MEMORY_MAX);
    if (cache->arena == NULL) {
        free(cache);
        return NULL;
    }
    pthread_mutex_init(&cache->mutex, NULL);
    map_init(&cache->domains, CONFIG_CACHE_MAX);
    map_init(&cache->sources, CONFIG_CACHE_MAX);
    return cache;
}

static void destroy_cache(struct config_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    map_deinit(&cache->domains);
    map_deinit(&cache->sources);
    arena_destroy(cache->arena);
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

struct config *config_create(void)
{
    struct config *config = calloc(1, sizeof(*config));
    if (config == NULL) {
        return NULL;
    }
    map_init(&config->names, CONFIG_PATTERNS_MAX);
    map_init(&config->domains.entries, CONFIG_PATTERNS_MAX);
    map_init(&config->sources.entries, CONFIG_PATTERNS_MAX);
    config->last_block = &config->first_block;
    config->global = (struct block){.scope = SCOPE_GLOBAL, .argument = {"", 0}};
    config->global.last = &config->global.first;
    config->global.last_rule = &config->global.first_rule;
    config->default_block = (struct block){.scope = SCOPE_VMTA, .place.file = "(built in)"};
    directive_index_init(&config->index);
    config->arena = arena_create(CONFIG_MEMORY_MAX);
    config->cache = create_cache();
    if (config->arena == NULL || config->cache == NULL) {
        config_free(config);
        return NULL;
    }
    return config;
}

void config_free(struct config *config)
{
    if (config == NULL) {
        return;
    }
    destroy_cache(config->cache);
    map_deinit(&config->names);
    map_deinit(&config->domains.entries);
    map_deinit(&config->sources.entries);
    pattern_set_deinit(&config->patterns);
    arena_destroy(config->arena);
    free(config);
}

const struct global_settings *config_global(const struct config *config)
{
    return &config->global_settings;
}

struct bytes config_host_name(const struct config *config)
{
    const struct string_array *names = &config->global_settings.host_names;
    return names->count > 0 ? names->items[0] : (struct bytes){"", 0};
}

#define TABLE(function, row, table)                                                                \
    const struct row *function(const struct config *config, size_t *count)                         \
    {                                                                                              \
        *count = config->table.count;                                                              \
        return config->table.count == 0 ? NULL : config->table.items;                              \
    }

TABLE(config_listeners, config_listener, listeners)
TABLE(config_vmtas, config_vmta, vmtas)
TABLE(config_pools, config_pool, pools)
TABLE(config_spools, config_spool, spools)
TABLE(config_acct_files, config_acct_file, acct_files)
TABLE(config_users, config_user, users)
TABLE(config_providers, config_provider, providers)

static const void *find_object(const struct config *config, enum directive_scope scope,
                               struct bytes name)
{
    const struct name_entry *entry = names_find(config, scope, name);
    return entry == NULL ? NULL : entry->block->object;
}

const struct config_vmta *config_vmta(const struct config *config, struct bytes name)
{
    return find_object(config, SCOPE_VMTA, name);
}

const struct config_pool *config_pool(const struct config *config, struct bytes name)
{
    return find_object(config, SCOPE_POOL, name);
}

const struct config_provider *config_provider(const struct config *config, struct bytes name)
{
    return name.len == 0 ? NULL : find_object(config, SCOPE_PROVIDER, name);
}

const struct config_user *config_user(const struct config *config, struct bytes name)
{
    return find_object(config, SCOPE_USER, name);
}

const struct reply_rules *config_reply_rules(const struct config *config, struct bytes name)
{
    return name.len == 0 ? NULL : find_object(config, SCOPE_SMTP_PATTERN_LIST, name);
}

const struct rule_list *config_rules(const struct config *config, enum directive_scope scope,
                                     struct bytes name)
{
    assert(scope < SCOPE_COUNT);
    if (name.len == 0) {
        return config->unnamed_rules[scope].count == 0 ? NULL : &config->unnamed_rules[scope];
    }
    const struct name_entry *entry = names_find(config, scope, name);
    return entry == NULL ? NULL : &entry->block->rules;
}
