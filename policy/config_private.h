/* The inside of a configuration, for the files of policy/ only. */
#ifndef POLICY_CONFIG_PRIVATE_H
#define POLICY_CONFIG_PRIVATE_H

#include <pthread.h>

#include "base/arena.h"
#include "base/map.h"
#include "policy/config.h"
#include "policy/directive.h"
#include "policy/pattern.h"
#include "policy/report.h"
#include "policy/rules.h"

/* One value in one block: `size` bytes to copy to the field, and where it comes from. */
struct setting {
    const struct directive *directive;
    const void *data;
    struct place place;
    uint32_t order; /* of lines, over all files */
    struct setting *next;
};

/* One block of the file; the top level is one too. */
struct block {
    const struct block_row *row; /* NULL: the top level */
    enum directive_scope scope;
    struct bytes argument;
    struct place place;
    uint32_t order;
    struct block *parent; /* the block it stands in */
    struct setting *first, **last;
    struct rule *first_rule, **last_rule;
    size_t rule_count;
    struct block *next; /* file order */

    /* set when the tables are built */
    struct address_range range; /* of sources and listeners */
    uint16_t port;
    bool has_range;
    uint32_t scope_id; /* of virtual MTAs and pools: whose <domain> blocks these are */
    void *object;      /* its entry in a table */
    struct rule_list rules;
};

/* A name in a name space, which is a scope. */
struct name_entry {
    struct map_entry entry;
    enum directive_scope space;
    struct bytes name;
    struct block *block;
};

/* Blocks that hold for one pattern, more general first. */
struct matched_block {
    const struct block *block;
    struct matched_block *next;
};

struct pattern_entry {
    struct map_entry entry;
    uint32_t scope_id; /* 0: the top level */
    uint32_t number;   /* in order of making: identifies the entry in hashes */
    struct domain_pattern pattern;
    struct matched_block *by_macro, **by_macro_last; /* these first */
    struct matched_block *literal, **literal_last;
};

/* Prefix lengths that occur, so that only those are looked up. */
struct prefix_set {
    bool ipv4[33], ipv6[129];
};

/* Patterns of domains, or of sources. */
struct pattern_index {
    struct map entries;
    struct prefix_set prefixes;
    uint32_t next_number;
};

#define MATCHES_MAX 1024 /* patterns that one domain can match: 3 scopes, 128 labels, 2 kinds */

struct matches {
    const struct pattern_entry *entries[MATCHES_MAX];
    size_t count;
};

/* What came of one set of matching patterns. */
struct resolved {
    struct map_entry entry;
    size_t match_count;
    const struct pattern_entry **matches;
    void *settings, *origins;
};

struct table {
    void *items;
    size_t count;
};

struct config {
    struct arena *arena;
    struct pattern_set patterns;
    struct directive_index index;
    struct block global;
    struct block default_block; /* stands for the {default} virtual MTA */
    struct block *first_block, **last_block;
    const void *defaults[SCOPE_COUNT]; /* settings of each scope before any line */

    struct global_settings global_settings;
    struct global_origins global_origins;
    struct table listeners, vmtas, pools, spools, acct_files, users, providers;
    struct map names;
    struct pattern_index domains, sources;
    struct rule_list unnamed_rules[SCOPE_COUNT];
    bool local_domains;           /* some <domain local> */
    bool has_routes;              /* some queue-to or reroute-to-virtual-mta */
    bool has_rollups;             /* some domain may be rolled up: policy/rollup.h */
    const struct rollup *rollups; /* of <mx-rollup-list> */
    size_t rollup_count;

    /* Behind a const pointer: the caches of answers, guarded by the mutex. */
    struct config_cache *cache;
};

struct config_cache {
    pthread_mutex_t mutex;
    struct arena *arena;
    struct map domains, sources; /* of struct resolved */
};

#define CONFIG_CACHE_MEMORY_MAX (1024ull * 1024 * 1024)
#define CONFIG_CACHE_MAX        4000000 /* answers kept */

/* Arena memory of this configuration, zeroed; NULL is reported once by the caller. */
static inline void *config_take(struct config *config, size_t size)
{
    return arena_take(config->arena, size);
}

/* config.c: an empty configuration; NULL: no memory. */
struct config *config_create(void);

/* settings.c: copies the values of a block over settings and origins. */
void settings_apply(const struct block *block, void *settings, void *origins);

/* settings.c: the defaults of every scope. False: no memory. */
bool settings_make_defaults(struct config *config);

/* settings.c: makes arrays of the values that may be repeated. False: no memory. */
bool settings_gather(struct config *config, struct block *block);

/* names.c */
bool names_add(struct config *config, enum directive_scope space, struct bytes name,
               struct block *block);
struct name_entry *names_find(const struct config *config, enum directive_scope space,
                              struct bytes name);

/* matching.c: finds or makes the entry of a pattern. NULL: no room. */
struct pattern_entry *pattern_index_entry(struct config *config, struct pattern_index *index,
                                          uint32_t scope_id, const struct domain_pattern *pattern);
const struct pattern_entry *pattern_index_find(const struct pattern_index *index, uint32_t scope_id,
                                               const struct domain_pattern *pattern);
bool pattern_entry_add(struct config *config, struct pattern_entry *entry,
                       const struct block *block, bool by_macro);
void matches_add(struct matches *matches, const struct pattern_entry *entry);

/* matching.c: adds every range that holds the address, shortest prefix first. */
void matches_add_ranges(struct matches *matches, const struct pattern_index *index,
                        uint32_t scope_id, const struct address *address);

/* matching.c: settings for a set of matches, made once. `begin` fills in what lies below every
 * match, `finish` what follows from the rest; each may be NULL. The mutex is taken inside. */
struct resolver {
    enum directive_scope scope;
    void (*begin)(const struct config *config, void *settings, void *origins);
    void (*finish)(const struct config *config, void *settings, void *origins);
};
const struct resolved *matches_resolve(const struct config *config, struct map *cache,
                                       const struct matches *matches,
                                       const struct resolver *resolver);

/* domain.c, access.c: the same answers with origins, for explain. */
const struct resolved *domain_resolve(const struct config *config, const struct config_vmta *vmta,
                                      struct bytes domain);
const struct resolved *source_resolve(const struct config *config, const struct address *peer,
                                      const char *name);

#endif
