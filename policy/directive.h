/* The tables of directives and blocks, and how a name is found in them.
 *
 * Made from directives.def and blocks.def; read-only, any thread. */
#ifndef POLICY_DIRECTIVE_H
#define POLICY_DIRECTIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "policy/value.h"

/* Scopes of rules and of skipped blocks come behind those that have settings. */
enum directive_scope {
    SCOPE_GLOBAL,
    SCOPE_SOURCE,
    SCOPE_SOURCE_GROUP,
    SCOPE_LISTENER,
    SCOPE_USER,
    SCOPE_DOMAIN,
    SCOPE_VMTA,
    SCOPE_POOL,
    SCOPE_SPOOL,
    SCOPE_ACCT_FILE,
    SCOPE_DNS,
    SCOPE_PROXY,
    SCOPE_KEY_LIST,
    SCOPE_ALIAS_BLOCK,
    SCOPE_PROCESSOR,
    SCOPE_ADDRESS_LIST,
    SCOPE_EMAIL_PATTERNS,
    SCOPE_API_LISTENER,
    SCOPE_API,
    SCOPE_PROVIDER,
    SCOPE_REDIS,
    SCOPE_PATTERN_LIST,
    SCOPE_SMTP_PATTERN_LIST,
    SCOPE_BOUNCE_PATTERNS,
    SCOPE_ROLLUP_LIST,
    SCOPE_REWRITE_LIST,
    SCOPE_IGNORED,
    SCOPE_COUNT,
};

enum directive_kind {
    KIND_DIRECTIVE,
    KIND_REPEATED,
    KIND_SPECIAL,
    KIND_ALIAS,
    KIND_LEGACY,
};

enum directive_effect {
    EFFECT_YES,
    EFFECT_NOT_YET,
    EFFECT_LEGACY,
};

enum directive_special {
    SPECIAL_INCLUDE,
    SPECIAL_MACRO,
    SPECIAL_SPOOL,
    SPECIAL_LISTENER,
    SPECIAL_RULE,
};

struct directive {
    const char *name;
    enum directive_scope scope;
    enum directive_kind kind;
    enum directive_effect effect;
    enum value_type type;           /* of KIND_DIRECTIVE and KIND_REPEATED */
    enum directive_special special; /* of KIND_SPECIAL */
    uint32_t offset, origin_offset; /* of the field in its settings and origins */
    uint32_t size;                  /* of the field: of an array for KIND_REPEATED */
    const char *default_text;       /* "": none */
    const char *accepts;
    const char *help;            /* for people; the reason, of KIND_LEGACY */
    const char *target;          /* of KIND_ALIAS: the name that counts */
    const char *before, *behind; /* of KIND_ALIAS: put around the value */
};

enum block_argument {
    ARGUMENT_NONE,
    ARGUMENT_NAME,
    ARGUMENT_OPTIONAL_NAME,
    ARGUMENT_SOURCE,   /* a CIDR range or a name */
    ARGUMENT_LISTENER, /* CIDR:PORT */
    ARGUMENT_DOMAIN,   /* a pattern, with macros */
    ARGUMENT_PATH,
    ARGUMENT_COMMAND, /* a path, or "|command" */
    ARGUMENT_ADDRESS, /* IP:PORT */
    ARGUMENT_ANY,
};

struct block_row {
    const char *tag;
    enum directive_scope scope;
    uint32_t parents; /* bits of scopes */
    enum block_argument argument;
    enum directive_effect effect;
    const char *help;
};

/* Every row, in the order of the files. */
const struct directive *directive_table(size_t *count);
const struct block_row *directive_blocks(size_t *count);

/* Bytes of a scope's settings and origins; 0 for scopes without. */
size_t directive_settings_size(enum directive_scope scope);
size_t directive_origins_size(enum directive_scope scope);

/* "<domain>", "the top level": for messages. */
const char *directive_scope_text(enum directive_scope scope);

/* Finds names fast; filled by directive_index_init. */
#define DIRECTIVE_INDEX_SLOTS 2048
struct directive_index {
    /* private: */
    uint16_t by_scope[DIRECTIVE_INDEX_SLOTS]; /* row + 1; 0: empty */
    uint16_t by_name[DIRECTIVE_INDEX_SLOTS];  /* first row of that name, + 1 */
};

void directive_index_init(struct directive_index *index);

/* Case is ignored. NULL: no such name in that scope. */
const struct directive *directive_find(const struct directive_index *index,
                                       enum directive_scope scope, struct bytes name);

/* The first row of that name in any scope, or NULL. A name that ends in * is found as it is
 * written, and by directive_find_wildcard for the names it stands for. */
const struct directive *directive_find_anywhere(const struct directive_index *index,
                                                struct bytes name);
const struct directive *directive_find_wildcard(struct bytes name);
const struct block_row *directive_find_block(struct bytes tag);

/* The name nearest to a misspelt one: of a directive of the scope, else of any; of a tag. NULL:
 * nothing is near. */
const char *directive_suggest(enum directive_scope scope, struct bytes name);
const char *directive_suggest_block(struct bytes tag);

/* Whether the same name is in effect in another scope. */
bool directive_works_elsewhere(const struct directive *directive);

/* Writes the blocks a name may stand in, as "<domain> or <virtual-mta>". */
void directive_describe_scopes(struct bytes name, struct buffer *out);

/* Letters to insert, drop, change or swap between the two, case ignored; `max` + 1 if more. */
size_t directive_distance(struct bytes a, struct bytes b, size_t max);

#endif
