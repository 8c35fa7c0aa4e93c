/* Names of virtual MTAs, lists, users …: each scope is a name space of its own. */
#include "policy/config_private.h"

struct wanted {
    enum directive_scope space;
    struct bytes name;
};

static uint64_t hash_of(enum directive_scope space, struct bytes name)
{
    return bytes_hash_nocase(name) + (uint64_t)space * 0x9e3779b97f4a7c15u;
}

static bool is_wanted(const struct map_entry *entry, const void *key)
{
    const struct name_entry *named = (const struct name_entry *)entry;
    const struct wanted *wanted = key;
    return named->space == wanted->space && bytes_equal_nocase(named->name, wanted->name);
}

bool names_add(struct config *config, enum directive_scope space, struct bytes name,
               struct block *block)
{
    struct name_entry *entry = config_take(config, sizeof(*entry));
    if (entry == NULL) {
        return false;
    }
    *entry = (struct name_entry){.space = space, .name = name, .block = block};
    return map_insert(&config->names, hash_of(space, name), &entry->entry);
}

struct name_entry *names_find(const struct config *config, enum directive_scope space,
                              struct bytes name)
{
    struct wanted wanted = {space, name};
    return (struct name_entry *)map_find(&config->names, hash_of(space, name), is_wanted, &wanted);
}
