/* From blocks to tables, names and indices. */
#include <assert.h>

#include "base/idna.h"
#include "policy/acct_pipe.h"
#include "policy/load.h"
#include "policy/reply_rules.h"

static const size_t row_sizes[SCOPE_COUNT] = {
    [SCOPE_LISTENER] = sizeof(struct config_listener),
    [SCOPE_VMTA] = sizeof(struct config_vmta),
    [SCOPE_POOL] = sizeof(struct config_pool),
    [SCOPE_SPOOL] = sizeof(struct config_spool),
    [SCOPE_ACCT_FILE] = sizeof(struct config_acct_file),
    [SCOPE_USER] = sizeof(struct config_user),
    [SCOPE_PROVIDER] = sizeof(struct config_provider),
};

static struct table *table_of(struct config *config, enum directive_scope scope)
{
    struct table *tables[SCOPE_COUNT] = {
        [SCOPE_LISTENER] = &config->listeners,   [SCOPE_VMTA] = &config->vmtas,
        [SCOPE_POOL] = &config->pools,           [SCOPE_SPOOL] = &config->spools,
        [SCOPE_ACCT_FILE] = &config->acct_files, [SCOPE_USER] = &config->users,
        [SCOPE_PROVIDER] = &config->providers,
    };
    return tables[scope];
}

static struct setting_origin origin_of(const struct block *block)
{
    return (struct setting_origin){.file = block->place.file, .line = block->place.line};
}

/* Room for every row; the {default} virtual MTA is one more. */
static bool take_tables(struct config *config)
{
    size_t counts[SCOPE_COUNT] = {[SCOPE_VMTA] = 1};
    for (const struct block *b = config->first_block; b != NULL; b = b->next) {
        counts[b->scope]++;
    }
    for (int scope = 0; scope < SCOPE_COUNT; scope++) {
        struct table *table = table_of(config, (enum directive_scope)scope);
        if (table != NULL && counts[scope] > 0) {
            table->items = config_take(config, counts[scope] * row_sizes[scope]);
            if (table->items == NULL) {
                return false;
            }
        }
    }
    return true;
}

static void *add_row(struct config *config, enum directive_scope scope)
{
    struct table *table = table_of(config, scope);
    return (char *)table->items + table->count++ * row_sizes[scope];
}

/* Defaults, then what the block says. */
static void fill(const struct config *config, const struct block *block, void *settings,
                 void *origins)
{
    memcpy(settings, config->defaults[block->scope], directive_settings_size(block->scope));
    settings_apply(block, settings, origins);
}

static void build_pool(struct config *config, struct block *block)
{
    struct config_pool *pool = add_row(config, SCOPE_POOL);
    pool->name = block->argument;
    pool->origin = origin_of(block);
    fill(config, block, &pool->settings, &pool->origins);
    pool->scope_id = (uint32_t)config->pools.count; /* below every virtual MTA's: see build_vmta */
    block->scope_id = pool->scope_id;
    block->object = pool;
}

static void build_listener(struct config *config, struct block *block)
{
    struct listener_origins origins = {0};
    struct config_listener *listener = add_row(config, SCOPE_LISTENER);
    listener->range = block->range;
    listener->port = block->port;
    listener->origin = origin_of(block);
    fill(config, block, &listener->settings, &origins);
}

static void build_spool(struct config *config, struct block *block)
{
    struct spool_origins origins = {0};
    struct config_spool *spool = add_row(config, SCOPE_SPOOL);
    spool->directory = block->argument;
    spool->origin = origin_of(block);
    fill(config, block, &spool->settings, &origins);
}

static void build_acct_file(struct loader *loader, struct block *block)
{
    struct config *config = loader->config;
    struct acct_file_origins origins = {0};
    struct config_acct_file *file = add_row(config, SCOPE_ACCT_FILE);
    file->is_pipe = block->argument.data[0] == '|';
    file->path =
        bytes_trim(bytes_slice(block->argument, file->is_pipe ? 1 : 0, block->argument.len));
    file->name = bytes_trim(block->argument);
    file->origin = origin_of(block);
    fill(config, block, &file->settings, &origins);
    if (file->is_pipe && origins.on_lag.file == NULL) {
        file->settings.on_lag = ON_LAG_SKIP; /* a hung command must not stop the mail */
    }
    if (file->is_pipe) {
        acct_pipe_words(loader, block, file->path, &file->words);
    }
}

static void build_user(struct config *config, struct block *block)
{
    struct user_origins origins = {0};
    struct config_user *user = add_row(config, SCOPE_USER);
    user->name = block->argument;
    user->origin = origin_of(block);
    fill(config, block, &user->settings, &origins);
    block->object = user;
}

static void build_provider(struct loader *loader, struct block *block)
{
    struct provider_origins origins = {0};
    struct config_provider *provider = add_row(loader->config, SCOPE_PROVIDER);
    provider->name = block->argument;
    provider->origin = origin_of(block);
    fill(loader->config, block, &provider->settings, &origins);
    block->object = provider;
    if (provider->name.len > CONFIG_VMTA_NAME_LEN_MAX ||
        loader->config->providers.count > CONFIG_VMTAS_MAX) {
        report_error(loader->report, &block->place,
                     "too many providers (%d), or a name longer than %d bytes", CONFIG_VMTAS_MAX,
                     CONFIG_VMTA_NAME_LEN_MAX);
    }
}

/* The names that must be unique each within its kind of block. */
static bool has_unique_name(const struct block *block)
{
    switch (block->scope) {
    case SCOPE_VMTA:
    case SCOPE_POOL:
    case SCOPE_USER:
    case SCOPE_SOURCE_GROUP:
    case SCOPE_PATTERN_LIST:
    case SCOPE_SMTP_PATTERN_LIST:
    case SCOPE_REWRITE_LIST:
    case SCOPE_ADDRESS_LIST:
    case SCOPE_PROXY:
    case SCOPE_KEY_LIST:
    case SCOPE_PROVIDER:
        return block->argument.len > 0;
    case SCOPE_GLOBAL:
    case SCOPE_SOURCE:
    case SCOPE_LISTENER:
    case SCOPE_DOMAIN:
    case SCOPE_SPOOL:
    case SCOPE_ACCT_FILE:
    case SCOPE_DNS:
    case SCOPE_ALIAS_BLOCK:
    case SCOPE_PROCESSOR:
    case SCOPE_EMAIL_PATTERNS:
    case SCOPE_API_LISTENER:
    case SCOPE_API:
    case SCOPE_REDIS:
    case SCOPE_BOUNCE_PATTERNS:
    case SCOPE_ROLLUP_LIST:
    case SCOPE_IGNORED:
    case SCOPE_COUNT:
        break;
    }
    return false;
}

static void build_name(struct loader *loader, struct block *block)
{
    struct config *config = loader->config;
    bool is_source = block->scope == SCOPE_SOURCE && !block->has_range;
    if (!is_source && !has_unique_name(block)) {
        return;
    }
    const struct name_entry *entry = names_find(config, block->scope, block->argument);
    if (entry != NULL && is_source) {
        return; /* blocks of one source add up */
    }
    if (entry != NULL) {
        report_error(loader->report, &block->place, "<%s %.*s> is defined twice: first at %s:%u",
                     block->row->tag, BYTES_FMT(block->argument), entry->block->place.file,
                     entry->block->place.line);
        return;
    }
    if (!names_add(config, block->scope, block->argument, block)) {
        loader_no_memory(loader);
    }
}

static bool build_rules(struct config *config, struct block *block)
{
    if (block->rule_count == 0) {
        return true;
    }
    struct rule *rules = config_take(config, block->rule_count * sizeof(*rules));
    if (rules == NULL) {
        return false;
    }
    size_t count = 0;
    for (const struct rule *rule = block->first_rule; rule != NULL; rule = rule->next) {
        rules[count++] = *rule;
    }
    block->rules = (struct rule_list){.name = block->argument, .rules = rules, .count = count};
    return true;
}

/* The rules of a <smtp-pattern-list> in one array, as they are matched. */
static bool build_reply_rules(struct config *config, struct block *block)
{
    struct reply_rules *list = config_take(config, sizeof(*list));
    struct reply_rule *rules = config_take(config, block->rule_count * sizeof(*rules) + 1);
    if (list == NULL || rules == NULL) {
        return false;
    }
    uint32_t count = 0;
    for (const struct rule *rule = block->first_rule; rule != NULL; rule = rule->next) {
        rules[count] = *rule->reply;
        rules[count].rule_index = count;
        count++;
    }
    *list = (struct reply_rules){.name = block->argument, .rules = rules, .count = count};
    block->object = list;
    return true;
}

/* Blocks of a list that has no name follow one another as one list. */
static bool join_rules(struct config *config, enum directive_scope scope)
{
    size_t count = 0;
    for (const struct block *b = config->first_block; b != NULL; b = b->next) {
        count += b->scope == scope ? b->rules.count : 0;
    }
    struct rule *rules = count == 0 ? NULL : config_take(config, count * sizeof(*rules));
    if (count > 0 && rules == NULL) {
        return false;
    }
    size_t at = 0;
    for (const struct block *b = config->first_block; b != NULL; b = b->next) {
        if (b->scope == scope && b->rules.count > 0) {
            memcpy(&rules[at], b->rules.rules, b->rules.count * sizeof(*rules));
            at += b->rules.count;
        }
    }
    config->unnamed_rules[scope] =
        (struct rule_list){.name = {"", 0}, .rules = rules, .count = count};
    return true;
}

/* {default}: the global source addresses and name, and no <domain> of its own. */
static bool build_default_vmta(struct config *config)
{
    struct config_vmta *vmta = add_row(config, SCOPE_VMTA);
    memcpy(&vmta->settings, config->defaults[SCOPE_VMTA], sizeof(vmta->settings));
    vmta->name = BYTES("{default}");
    config->default_block.object = vmta;
    return names_add(config, SCOPE_VMTA, vmta->name, &config->default_block);
}

static void build_vmta(struct loader *loader, struct block *block)
{
    struct config *config = loader->config;
    struct config_vmta *vmta = add_row(config, SCOPE_VMTA);
    vmta->name = block->argument;
    vmta->origin = origin_of(block);
    vmta->vmta_index = (uint32_t)(config->vmtas.count - 1);
    fill(config, block, &vmta->settings, &vmta->origins);
    vmta->scope_id = CONFIG_VMTAS_MAX + vmta->vmta_index;
    block->scope_id = vmta->scope_id;
    block->object = vmta;
    if (vmta->name.len > CONFIG_VMTA_NAME_LEN_MAX || config->vmtas.count > CONFIG_VMTAS_MAX) {
        report_error(loader->report, &block->place,
                     "too many virtual MTAs (%d), or a name longer than %d bytes", CONFIG_VMTAS_MAX,
                     CONFIG_VMTA_NAME_LEN_MAX);
    }
}

static void build_block(struct loader *loader, struct block *block)
{
    struct config *config = loader->config;
    if (block->scope == SCOPE_VMTA) {
        build_vmta(loader, block);
    } else if (block->scope == SCOPE_POOL) {
        build_pool(config, block);
        if (config->pools.count > CONFIG_VMTAS_MAX) {
            report_error(loader->report, &block->place, "too many pools (%d)", CONFIG_VMTAS_MAX);
        }
    } else if (block->scope == SCOPE_LISTENER) {
        build_listener(config, block);
    } else if (block->scope == SCOPE_SPOOL) {
        build_spool(config, block);
    } else if (block->scope == SCOPE_ACCT_FILE) {
        build_acct_file(loader, block);
    } else if (block->scope == SCOPE_USER) {
        build_user(config, block);
    } else if (block->scope == SCOPE_PROVIDER) {
        build_provider(loader, block);
    }
    build_name(loader, block);
    bool is_replies = block->scope == SCOPE_SMTP_PATTERN_LIST;
    if (!build_rules(config, block) || (is_replies && !build_reply_rules(config, block))) {
        loader_no_memory(loader);
    }
}

/* What macro_expand hands its patterns to. */
struct domain_target {
    struct block *block;
    uint32_t scope_id;
};

/* IDN names are kept as A-labels, so that either form of a domain finds them. */
static bool to_a_labels(struct loader *loader, struct domain_pattern *pattern)
{
    char memory[IDNA_DOMAIN_MAX + 1];
    struct buffer ascii;
    bool is_ascii = true;
    for (size_t i = 0; i < pattern->name.len; i++) {
        is_ascii &= (unsigned char)pattern->name.data[i] < 0x80;
    }
    if (is_ascii) {
        return true;
    }
    buffer_init(&ascii, memory, sizeof(memory));
    if (!idna_to_ascii(pattern->name, &ascii)) {
        return false;
    }
    pattern->name = arena_copy(loader->config->arena, buffer_bytes(&ascii));
    return pattern->name.data != NULL;
}

static void on_pattern(struct loader *loader, struct bytes text, bool by_macro, void *to)
{
    const struct domain_target *target = to;
    struct config *config = loader->config;
    struct domain_pattern pattern;
    if (!value_parse_domain(text, &pattern)) {
        report_error(loader->report, &target->block->place,
                     "<domain %.*s>: write a domain: example.com, *.example.com, "
                     "[*.]example.com, [10/8], local or *",
                     (int)(text.len > 100 ? 100 : text.len), text.data);
        return;
    }
    if (!to_a_labels(loader, &pattern)) {
        report_error(loader->report, &target->block->place,
                     "<domain %.*s>: no valid internationalised domain name (IDNA2008)",
                     (int)(text.len > 100 ? 100 : text.len), text.data);
        return;
    }
    if (++loader->pattern_count > CONFIG_PATTERNS_MAX) {
        loader_no_memory(loader);
        return;
    }
    config->local_domains |= pattern.kind == DOMAIN_LOCAL;
    struct pattern_entry *entry =
        pattern_index_entry(config, &config->domains, target->scope_id, &pattern);
    if (entry == NULL || !pattern_entry_add(config, entry, target->block, by_macro)) {
        loader_no_memory(loader);
    }
}

static void build_domain(struct loader *loader, struct block *block)
{
    struct domain_target target = {.block = block, .scope_id = block->parent->scope_id};
    if (block->parent->scope == SCOPE_POOL) {
        ((struct config_pool *)block->parent->object)->has_domains = true;
    }
    macro_expand(loader, block->argument, &block->place, on_pattern, &target);
}

static void build_source(struct loader *loader, struct block *block)
{
    struct config *config = loader->config;
    struct domain_pattern pattern = {.kind = block->has_range ? DOMAIN_RANGE : DOMAIN_EXACT,
                                     .name = block->argument,
                                     .range = block->range};
    struct pattern_entry *entry = pattern_index_entry(config, &config->sources, 0, &pattern);
    if (entry == NULL || !pattern_entry_add(config, entry, block, false)) {
        loader_no_memory(loader);
    }
}

/* The pool whose settings and <domain> blocks a virtual MTA takes over. */
static void join_pool(struct loader *loader, const struct block *block,
                      const struct config_pool *pool, struct bytes member)
{
    const struct name_entry *entry = names_find(loader->config, SCOPE_VMTA, member);
    if (entry == NULL) {
        return; /* check.c says so */
    }
    struct config_vmta *vmta = entry->block->object;
    if (vmta->pool == NULL) {
        vmta->pool = pool;
    } else if (vmta->pool->has_domains && pool->has_domains && vmta->pool != pool) {
        report_error(loader->report, &block->place,
                     "virtual MTA '%.*s' is in the pools '%.*s' and '%.*s', which both have "
                     "<domain>: it is not clear which holds",
                     BYTES_FMT(vmta->name), BYTES_FMT(vmta->pool->name), BYTES_FMT(pool->name));
    } else if (pool->has_domains) {
        vmta->pool = pool;
    }
}

/* What a virtual MTA does not say itself, from its pool and from the top level. Not its keys and
 * header files: those of pool and top level hold besides its own. */
static void inherit(struct config *config)
{
    struct config_vmta *vmtas = config->vmtas.items;
    for (size_t i = 0; i < config->vmtas.count; i++) {
        struct config_vmta *vmta = &vmtas[i];
#define INHERIT(from, from_origins, field, model)                                                  \
    if (vmta->origins.field.file == NULL && (from_origins).model.file != NULL) {                   \
        vmta->settings.field = (from).model;                                                       \
        vmta->origins.field = (from_origins).model;                                                \
    }
        if (vmta->pool != NULL) {
            const struct config_pool *pool = vmta->pool;
            INHERIT(pool->settings, pool->origins, max_smtp_out, max_smtp_out)
            INHERIT(pool->settings, pool->origins, max_smtp_msg_rate, max_smtp_msg_rate)
            INHERIT(pool->settings, pool->origins, max_smtp_data_volume_rate,
                    max_smtp_data_volume_rate)
            INHERIT(pool->settings, pool->origins, cold_virtual_mtas, cold_virtual_mtas)
            INHERIT(pool->settings, pool->origins, rewrite_list, rewrite_list)
        }
        INHERIT(config->global_settings, config->global_origins, source_hosts, source_hosts)
        if (vmta->origins.host_name.file == NULL && config->global_settings.host_names.count > 0) {
            vmta->settings.host_name = config->global_settings.host_names.items[0];
            vmta->origins.host_name = config->global_origins.host_names;
        }
#undef INHERIT
    }
}

static void build_global(struct config *config)
{
    memcpy(&config->global_settings, config->defaults[SCOPE_GLOBAL],
           sizeof(config->global_settings));
    settings_apply(&config->global, &config->global_settings, &config->global_origins);
}

/* Blocks that need the names and scopes of others. */
static void build_second(struct loader *loader, struct block *block)
{
    if (block->scope == SCOPE_DOMAIN) {
        build_domain(loader, block);
    } else if (block->scope == SCOPE_SOURCE) {
        build_source(loader, block);
    }
}

static void build_pools_members(struct loader *loader)
{
    for (const struct block *b = loader->config->first_block; b != NULL; b = b->next) {
        if (b->scope != SCOPE_POOL) {
            continue;
        }
        const struct config_pool *pool = b->object;
        for (size_t i = 0; i < pool->settings.members.count; i++) {
            join_pool(loader, b, pool, pool->settings.members.items[i].name);
        }
    }
}

void build_tables(struct loader *loader)
{
    struct config *config = loader->config;
    bool fine = settings_gather(config, &config->global) && take_tables(config);
    for (struct block *b = config->first_block; fine && b != NULL; b = b->next) {
        fine = settings_gather(config, b);
    }
    if (!fine) {
        loader_no_memory(loader);
        return;
    }
    build_global(config);
    if (!build_default_vmta(config)) {
        loader_no_memory(loader);
    }
    for (struct block *b = config->first_block; b != NULL; b = b->next) {
        build_block(loader, b);
    }
    for (struct block *b = config->first_block; b != NULL && !loader->failed; b = b->next) {
        build_second(loader, b);
    }
    if (!join_rules(config, SCOPE_BOUNCE_PATTERNS) || !join_rules(config, SCOPE_ROLLUP_LIST)) {
        loader_no_memory(loader);
    }
    build_pools_members(loader);
    inherit(config);
}
