/* From what is asked for (a domain, an address) to the blocks that hold for it, to their settings.
 *
 * Every pattern of every scope is an entry in one hash map, keyed by scope, kind and name, so the
 * cost of a question depends on the labels of the name and the prefix lengths in use, never on how
 * many blocks there are. The set of entries found is itself a key: the settings that follow from it
 * are made once and kept. Questions are asked once per queue and configuration, so one mutex does.
 */
#include <assert.h>

#include "policy/config_private.h"

struct wanted {
    uint32_t scope_id;
    const struct domain_pattern *pattern;
};

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash ^= value + 0x9e3779b97f4a7c15u + (hash << 6) + (hash >> 2);
    return hash * 0xff51afd7ed558ccdu;
}

static uint64_t hash_of(uint32_t scope_id, const struct domain_pattern *pattern)
{
    uint64_t hash = pattern->kind == DOMAIN_RANGE
                        ? mix(address_hash(&pattern->range.base), pattern->range.prefix)
                        : bytes_hash_nocase(pattern->name);
    return mix(mix(hash, scope_id), (uint64_t)pattern->kind);
}

static bool is_wanted(const struct map_entry *entry, const void *key)
{
    const struct pattern_entry *have = (const struct pattern_entry *)entry;
    const struct wanted *wanted = key;
    const struct domain_pattern *pattern = wanted->pattern;
    if (have->scope_id != wanted->scope_id || have->pattern.kind != pattern->kind) {
        return false;
    }
    if (pattern->kind == DOMAIN_RANGE) {
        return have->pattern.range.prefix == pattern->range.prefix &&
               address_equal_ip(&have->pattern.range.base, &pattern->range.base);
    }
    return bytes_equal_nocase(have->pattern.name, pattern->name);
}

const struct pattern_entry *pattern_index_find(const struct pattern_index *index, uint32_t scope_id,
                                               const struct domain_pattern *pattern)
{
    struct wanted wanted = {scope_id, pattern};
    return (const struct pattern_entry *)map_find(&index->entries, hash_of(scope_id, pattern),
                                                  is_wanted, &wanted);
}

struct pattern_entry *pattern_index_entry(struct config *config, struct pattern_index *index,
                                          uint32_t scope_id, const struct domain_pattern *pattern)
{
    struct wanted wanted = {scope_id, pattern};
    uint64_t hash = hash_of(scope_id, pattern);
    struct map_entry *found = map_find(&index->entries, hash, is_wanted, &wanted);
    if (found != NULL) {
        return (struct pattern_entry *)found;
    }
    struct pattern_entry *entry = config_take(config, sizeof(*entry));
    if (entry == NULL) {
        return NULL;
    }
    *entry = (struct pattern_entry){
        .scope_id = scope_id, .number = index->next_number++, .pattern = *pattern};
    entry->by_macro_last = &entry->by_macro;
    entry->literal_last = &entry->literal;
    if (pattern->kind == DOMAIN_RANGE) {
        bool is_ipv4 = pattern->range.base.family == ADDRESS_IPV4;
        *(is_ipv4 ? &index->prefixes.ipv4[pattern->range.prefix]
                  : &index->prefixes.ipv6[pattern->range.prefix]) = true;
    }
    return map_insert(&index->entries, hash, &entry->entry) ? entry : NULL;
}

bool pattern_entry_add(struct config *config, struct pattern_entry *entry,
                       const struct block *block, bool by_macro)
{
    struct matched_block *matched = config_take(config, sizeof(*matched));
    if (matched == NULL) {
        return false;
    }
    matched->block = block;
    struct matched_block ***last = by_macro ? &entry->by_macro_last : &entry->literal_last;
    **last = matched;
    *last = &matched->next;
    return true;
}

void matches_add(struct matches *matches, const struct pattern_entry *entry)
{
    if (entry != NULL) {
        assert(matches->count < MATCHES_MAX);
        matches->entries[matches->count++] = entry;
    }
}

/* The address with all but its first `prefix` bits zero. */
static struct address_range range_around(const struct address *address, uint8_t prefix)
{
    struct address_range range = {.base = *address, .prefix = prefix};
    range.base.port = 0;
    for (size_t i = 0; i < sizeof(range.base.ip); i++) {
        if (i * 8 >= prefix) {
            range.base.ip[i] = 0;
        } else if (i * 8 + 8 > prefix) {
            range.base.ip[i] &= (uint8_t)(0xff << (i * 8 + 8 - prefix));
        }
    }
    return range;
}

void matches_add_ranges(struct matches *matches, const struct pattern_index *index,
                        uint32_t scope_id, const struct address *address)
{
    /* 0/0 is IPv4 by its form, and means every address there is. */
    struct domain_pattern everything = {.kind = DOMAIN_RANGE, .range.base.family = ADDRESS_IPV4};
    if (address->family == ADDRESS_IPV6 && index->prefixes.ipv4[0]) {
        matches_add(matches, pattern_index_find(index, scope_id, &everything));
    }
    const bool *used =
        address->family == ADDRESS_IPV4 ? index->prefixes.ipv4 : index->prefixes.ipv6;
    unsigned longest = address->family == ADDRESS_IPV4 ? 32 : 128;
    for (unsigned prefix = 0; prefix <= longest; prefix++) {
        if (used[prefix]) {
            struct domain_pattern pattern = {.kind = DOMAIN_RANGE,
                                             .range = range_around(address, (uint8_t)prefix)};
            matches_add(matches, pattern_index_find(index, scope_id, &pattern));
        }
    }
}

static bool is_same_set(const struct map_entry *entry, const void *key)
{
    const struct resolved *have = (const struct resolved *)entry;
    const struct matches *matches = key;
    return have->match_count == matches->count &&
           (matches->count == 0 || memcmp(have->matches, matches->entries,
                                          matches->count * sizeof(matches->entries[0])) == 0);
}

static struct resolved *make(const struct config *config, struct arena *arena,
                             const struct matches *matches, const struct resolver *resolver)
{
    size_t settings_size = directive_settings_size(resolver->scope);
    size_t list_size = matches->count * sizeof(matches->entries[0]);
    struct resolved *made = arena_take(arena, sizeof(*made));
    const struct pattern_entry **list = arena_take(arena, list_size + 1);
    void *settings = arena_take(arena, settings_size);
    void *origins = arena_take(arena, directive_origins_size(resolver->scope));
    if (made == NULL || list == NULL || settings == NULL || origins == NULL) {
        return NULL;
    }
    memcpy(list, matches->entries, list_size);
    memcpy(settings, config->defaults[resolver->scope], settings_size);
    *made = (struct resolved){
        .match_count = matches->count, .matches = list, .settings = settings, .origins = origins};
    if (resolver->begin != NULL) {
        resolver->begin(config, settings, origins);
    }
    for (size_t i = 0; i < matches->count; i++) {
        const struct matched_block *m = matches->entries[i]->by_macro;
        for (; m != NULL; m = m->next) {
            settings_apply(m->block, settings, origins);
        }
        for (m = matches->entries[i]->literal; m != NULL; m = m->next) {
            settings_apply(m->block, settings, origins);
        }
    }
    if (resolver->finish != NULL) {
        resolver->finish(config, settings, origins);
    }
    return made;
}

const struct resolved *matches_resolve(const struct config *config, struct map *cache,
                                       const struct matches *matches,
                                       const struct resolver *resolver)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < matches->count; i++) {
        hash = mix(hash, matches->entries[i]->number);
    }
    pthread_mutex_lock(&config->cache->mutex);
    struct resolved *resolved = (struct resolved *)map_find(cache, hash, is_same_set, matches);
    if (resolved == NULL) {
        resolved = make(config, config->cache->arena, matches, resolver);
        /* A policy made up for lack of memory would send mail by the wrong rules. The limit is far
         * above what the distinct sets of any configuration need. */
        assert(resolved != NULL);
        bool kept = map_insert(cache, hash, &resolved->entry);
        assert(kept);
    }
    pthread_mutex_unlock(&config->cache->mutex);
    return resolved;
}
