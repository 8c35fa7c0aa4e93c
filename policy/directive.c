#include "policy/directive.h"

#include <assert.h>

#include "policy/settings.h"

#define NAME_LEN_MAX 64 /* longest name that is compared for suggestions */

/* The structs of each scope, for offsetof in the rows. */
#define SETTINGS_GLOBAL         struct global_settings
#define SETTINGS_SOURCE         struct source_settings
#define SETTINGS_SOURCE_GROUP   struct source_group_settings
#define SETTINGS_LISTENER       struct listener_settings
#define SETTINGS_USER           struct user_settings
#define SETTINGS_DOMAIN         struct domain_settings
#define SETTINGS_VMTA           struct vmta_settings
#define SETTINGS_POOL           struct pool_settings
#define SETTINGS_SPOOL          struct spool_settings
#define SETTINGS_ACCT_FILE      struct acct_file_settings
#define SETTINGS_DNS            struct dns_settings
#define SETTINGS_PROXY          struct proxy_settings
#define SETTINGS_KEY_LIST       struct key_list_settings
#define SETTINGS_ALIAS_BLOCK    struct alias_block_settings
#define SETTINGS_PROCESSOR      struct processor_settings
#define SETTINGS_ADDRESS_LIST   struct address_list_settings
#define SETTINGS_EMAIL_PATTERNS struct email_patterns_settings
#define SETTINGS_API_LISTENER   struct api_listener_settings
#define SETTINGS_API            struct api_settings
#define SETTINGS_PROVIDER       struct provider_settings
#define SETTINGS_REDIS          struct redis_settings
#define ORIGINS_GLOBAL          struct global_origins
#define ORIGINS_SOURCE          struct source_origins
#define ORIGINS_SOURCE_GROUP    struct source_group_origins
#define ORIGINS_LISTENER        struct listener_origins
#define ORIGINS_USER            struct user_origins
#define ORIGINS_DOMAIN          struct domain_origins
#define ORIGINS_VMTA            struct vmta_origins
#define ORIGINS_POOL            struct pool_origins
#define ORIGINS_SPOOL           struct spool_origins
#define ORIGINS_ACCT_FILE       struct acct_file_origins
#define ORIGINS_DNS             struct dns_origins
#define ORIGINS_PROXY           struct proxy_origins
#define ORIGINS_KEY_LIST        struct key_list_origins
#define ORIGINS_ALIAS_BLOCK     struct alias_block_origins
#define ORIGINS_PROCESSOR       struct processor_origins
#define ORIGINS_ADDRESS_LIST    struct address_list_origins
#define ORIGINS_EMAIL_PATTERNS  struct email_patterns_origins
#define ORIGINS_API_LISTENER    struct api_listener_origins
#define ORIGINS_API             struct api_origins
#define ORIGINS_PROVIDER        struct provider_origins
#define ORIGINS_REDIS           struct redis_origins

static const struct directive table[] = {
#define DIRECTIVE(in, word, ident, value, text, narrowed, has_effect, what)                        \
    {.name = word,                                                                                 \
     .scope = SCOPE_##in,                                                                          \
     .kind = KIND_DIRECTIVE,                                                                       \
     .effect = EFFECT_##has_effect,                                                                \
     .type = VALUE_##value,                                                                        \
     .offset = offsetof(SETTINGS_##in, ident),                                                     \
     .origin_offset = offsetof(ORIGINS_##in, ident),                                               \
     .size = sizeof(((SETTINGS_##in *)0)->ident),                                                  \
     .default_text = text,                                                                         \
     .accepts = narrowed,                                                                          \
     .help = what},
#define REPEATED(in, word, ident, value, narrowed, has_effect, what)                               \
    {.name = word,                                                                                 \
     .scope = SCOPE_##in,                                                                          \
     .kind = KIND_REPEATED,                                                                        \
     .effect = EFFECT_##has_effect,                                                                \
     .type = VALUE_##value,                                                                        \
     .offset = offsetof(SETTINGS_##in, ident),                                                     \
     .origin_offset = offsetof(ORIGINS_##in, ident),                                               \
     .size = sizeof(((SETTINGS_##in *)0)->ident),                                                  \
     .default_text = "",                                                                           \
     .accepts = narrowed,                                                                          \
     .help = what},
#define SPECIAL(in, word, handler, has_effect, what)                                               \
    {.name = word,                                                                                 \
     .scope = SCOPE_##in,                                                                          \
     .kind = KIND_SPECIAL,                                                                         \
     .effect = EFFECT_##has_effect,                                                                \
     .special = SPECIAL_##handler,                                                                 \
     .default_text = "",                                                                           \
     .accepts = "",                                                                                \
     .help = what},
#define ALIAS(in, word, newer, in_front, at_end)                                                   \
    {.name = word,                                                                                 \
     .scope = SCOPE_##in,                                                                          \
     .kind = KIND_ALIAS,                                                                           \
     .effect = EFFECT_YES,                                                                         \
     .default_text = "",                                                                           \
     .accepts = "",                                                                                \
     .help = "",                                                                                   \
     .target = newer,                                                                              \
     .before = in_front,                                                                           \
     .behind = at_end},
#define LEGACY(in, word, reason)                                                                   \
    {.name = word,                                                                                 \
     .scope = SCOPE_##in,                                                                          \
     .kind = KIND_LEGACY,                                                                          \
     .effect = EFFECT_LEGACY,                                                                      \
     .default_text = "",                                                                           \
     .accepts = "",                                                                                \
     .help = reason},
#include "policy/directives.def"
};

static const struct block_row blocks[] = {
#define IN(in) (1u << SCOPE_##in)
#define BLOCK(word, in, around, what, has_effect, text)                                            \
    {.tag = word,                                                                                  \
     .scope = SCOPE_##in,                                                                          \
     .parents = around,                                                                            \
     .argument = ARGUMENT_##what,                                                                  \
     .effect = EFFECT_##has_effect,                                                                \
     .help = text},
#include "policy/blocks.def"
#undef IN
};

static const struct {
    size_t settings_size, origins_size;
    const char *text;
} scopes[SCOPE_COUNT] = {
#define SCOPE_ROW(id, tag, text)                                                                   \
    [SCOPE_##id] = {sizeof(struct tag##_settings), sizeof(struct tag##_origins), text},
    SETTINGS_SCOPES(SCOPE_ROW)
#undef SCOPE_ROW
        [SCOPE_PATTERN_LIST] = {0, 0, "<pattern-list>"},
    [SCOPE_SMTP_PATTERN_LIST] = {0, 0, "<smtp-pattern-list>"},
    [SCOPE_BOUNCE_PATTERNS] = {0, 0, "<bounce-category-patterns>"},
    [SCOPE_ROLLUP_LIST] = {0, 0, "<mx-rollup-list>"},
    [SCOPE_REWRITE_LIST] = {0, 0, "<rewrite-list>"},
    [SCOPE_IGNORED] = {0, 0, "a skipped block"},
};

#define TABLE_COUNT (sizeof(table) / sizeof(table[0]))
#define BLOCK_COUNT (sizeof(blocks) / sizeof(blocks[0]))

_Static_assert(TABLE_COUNT * 3 / 2 < DIRECTIVE_INDEX_SLOTS, "the index must stay sparse");

const struct directive *directive_table(size_t *count)
{
    *count = TABLE_COUNT;
    return table;
}

const struct block_row *directive_blocks(size_t *count)
{
    *count = BLOCK_COUNT;
    return blocks;
}

size_t directive_settings_size(enum directive_scope scope)
{
    assert(scope < SCOPE_COUNT);
    return scopes[scope].settings_size;
}

size_t directive_origins_size(enum directive_scope scope)
{
    assert(scope < SCOPE_COUNT);
    return scopes[scope].origins_size;
}

const char *directive_scope_text(enum directive_scope scope)
{
    assert(scope < SCOPE_COUNT);
    return scopes[scope].text;
}

static size_t slot_of(struct bytes name, uint64_t scope)
{
    return (size_t)((bytes_hash_nocase(name) + scope * 0x9e3779b97f4a7c15u) >> 17) %
           DIRECTIVE_INDEX_SLOTS;
}

static bool has_name(const struct directive *row, struct bytes name)
{
    return bytes_equal_nocase(bytes_from_string(row->name), name);
}

void directive_index_init(struct directive_index *index)
{
    *index = (struct directive_index){0};
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        struct bytes name = bytes_from_string(table[i].name);
        size_t slot = slot_of(name, 1 + table[i].scope);
        while (index->by_scope[slot] != 0) {
            slot = (slot + 1) % DIRECTIVE_INDEX_SLOTS;
        }
        index->by_scope[slot] = (uint16_t)(i + 1);

        slot = slot_of(name, 0);
        while (index->by_name[slot] != 0 && !has_name(&table[index->by_name[slot] - 1], name)) {
            slot = (slot + 1) % DIRECTIVE_INDEX_SLOTS;
        }
        if (index->by_name[slot] == 0) {
            index->by_name[slot] = (uint16_t)(i + 1);
        }
    }
}

const struct directive *directive_find(const struct directive_index *index,
                                       enum directive_scope scope, struct bytes name)
{
    size_t slot = slot_of(name, 1 + (uint64_t)scope);
    for (; index->by_scope[slot] != 0; slot = (slot + 1) % DIRECTIVE_INDEX_SLOTS) {
        const struct directive *row = &table[index->by_scope[slot] - 1];
        if (row->scope == scope && has_name(row, name)) {
            return row;
        }
    }
    return NULL;
}

const struct directive *directive_find_anywhere(const struct directive_index *index,
                                                struct bytes name)
{
    size_t slot = slot_of(name, 0);
    for (; index->by_name[slot] != 0; slot = (slot + 1) % DIRECTIVE_INDEX_SLOTS) {
        const struct directive *row = &table[index->by_name[slot] - 1];
        if (has_name(row, name)) {
            return row;
        }
    }
    return NULL;
}

const struct directive *directive_find_wildcard(struct bytes name)
{
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        struct bytes pattern = bytes_from_string(table[i].name);
        if (pattern.len > 1 && pattern.data[pattern.len - 1] == '*' &&
            bytes_starts_with_nocase(name, bytes_slice(pattern, 0, pattern.len - 1))) {
            return &table[i];
        }
    }
    return NULL;
}

const struct block_row *directive_find_block(struct bytes tag)
{
    for (size_t i = 0; i < BLOCK_COUNT; i++) {
        if (bytes_equal_nocase(bytes_from_string(blocks[i].tag), tag)) {
            return &blocks[i];
        }
    }
    return NULL;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: three rows of the classic table are enough. */
size_t directive_distance(struct bytes a, struct bytes b, size_t max)
{
    size_t rows[3][NAME_LEN_MAX + 1];
    size_t longer = a.len > b.len ? a.len - b.len : b.len - a.len;
    if (a.len > NAME_LEN_MAX || b.len > NAME_LEN_MAX || longer > max) {
        return max + 1;
    }
    for (size_t k = 0; k <= b.len; k++) {
        rows[0][k] = k;
    }
    for (size_t i = 1; i <= a.len; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *twice = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t k = 1; k <= b.len; k++) {
            char x = lower(a.data[i - 1]), y = lower(b.data[k - 1]);
            row[k] = least(least(above[k], row[k - 1]) + 1, above[k - 1] + (x != y));
            if (i > 1 && k > 1 && x == lower(b.data[k - 2]) && lower(a.data[i - 2]) == y) {
                row[k] = least(row[k], twice[k - 2] + 1);
            }
        }
    }
    return rows[a.len % 3][b.len] > max ? max + 1 : rows[a.len % 3][b.len];
}

/* How far off a word may be and still be meant: a third of it, at most 3. */
static size_t tolerance(struct bytes name)
{
    return least(name.len / 3, 3);
}

static const char *nearest(struct bytes name, bool any_scope, enum directive_scope scope)
{
    const char *best = NULL;
    size_t best_distance = tolerance(name);
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        if (!any_scope && table[i].scope != scope) {
            continue;
        }
        size_t distance = directive_distance(name, bytes_from_string(table[i].name), best_distance);
        if (distance <= best_distance && distance > 0) {
            best = table[i].name;
            best_distance = distance - 1; /* the first of equals wins */
        }
    }
    return best;
}

const char *directive_suggest(enum directive_scope scope, struct bytes name)
{
    const char *best = nearest(name, false, scope);
    return best != NULL ? best : nearest(name, true, scope);
}

const char *directive_suggest_block(struct bytes tag)
{
    const char *best = NULL;
    size_t best_distance = tolerance(tag);
    for (size_t i = 0; i < BLOCK_COUNT && best_distance > 0; i++) {
        size_t distance = directive_distance(tag, bytes_from_string(blocks[i].tag), best_distance);
        if (distance <= best_distance) {
            best = blocks[i].tag;
            best_distance = distance - 1;
        }
    }
    return best;
}

bool directive_works_elsewhere(const struct directive *directive)
{
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        if (table[i].effect == EFFECT_YES && table[i].scope != directive->scope &&
            strcmp(table[i].name, directive->name) == 0) {
            return true;
        }
    }
    return false;
}

void directive_describe_scopes(struct bytes name, struct buffer *out)
{
    const char *separator = "";
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        if (has_name(&table[i], name)) {
            buffer_printf(out, "%s%s", separator, scopes[table[i].scope].text);
            separator = " or ";
        }
    }
}
