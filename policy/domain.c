#include "policy/domain.h"

#include <assert.h>

#include "base/idna.h"
#include "policy/config_private.h"
#include "policy/reply_rules.h"
#include "policy/rollup.h"

/* IPv4 or IPv6 in brackets: RFC 5321 4.1.3. */
static bool is_literal(struct bytes domain, struct address *out)
{
    return domain.len > 2 && domain.data[0] == '[' && address_parse(domain, out);
}

static void add_named(struct matches *matches, const struct config *config, uint32_t scope_id,
                      enum domain_kind kind, struct bytes name)
{
    struct domain_pattern pattern = {.kind = kind, .name = name};
    matches_add(matches, pattern_index_find(&config->domains, scope_id, &pattern));
}

static bool is_local(const struct config *config, struct bytes domain)
{
    const struct string_array *names = &config->global_settings.host_names;
    for (size_t i = 0; i < names->count; i++) {
        if (bytes_equal_nocase(names->items[i], domain)) {
            return true;
        }
    }
    return false;
}

/* Suffixes from the shortest: `com`, then `example.com`. For each, `[*.]` before `*.`. */
static void add_suffixes(struct matches *matches, const struct config *config, uint32_t scope_id,
                         struct bytes domain)
{
    for (size_t i = domain.len; i-- > 0;) {
        if (domain.data[i] == '.') {
            struct bytes suffix = bytes_slice(domain, i + 1, domain.len);
            add_named(matches, config, scope_id, DOMAIN_WITH_SUBS, suffix);
            add_named(matches, config, scope_id, DOMAIN_SUBS, suffix);
        }
    }
    add_named(matches, config, scope_id, DOMAIN_WITH_SUBS, domain);
}

static void add_scope(struct matches *matches, const struct config *config, uint32_t scope_id,
                      struct bytes domain)
{
    struct address literal;
    add_named(matches, config, scope_id, DOMAIN_ANY, (struct bytes){"", 0});
    if (is_literal(domain, &literal)) {
        matches_add_ranges(matches, &config->domains, scope_id, &literal);
    } else if (domain.len <= VALUE_DOMAIN_LEN_MAX) {
        add_suffixes(matches, config, scope_id, domain);
        if (config->local_domains && is_local(config, domain)) {
            add_named(matches, config, scope_id, DOMAIN_LOCAL, (struct bytes){"", 0});
        }
    }
    add_named(matches, config, scope_id, DOMAIN_EXACT, domain);
}

struct rate_value rate_share_of(const struct rate_value *rate, uint32_t percent)
{
    if (rate->count == UNLIMITED) {
        return *rate;
    }
    if (rate->count * percent >= 100) {
        return (struct rate_value){rate->count / 100 * percent + rate->count % 100 * percent / 100,
                                   rate->window_ms};
    }
    return (struct rate_value){1, rate->window_ms * 100 / (rate->count * percent)};
}

static void finish_backoff(struct domain_settings *settings, struct domain_origins *origins)
{
    struct rate_share *share = &settings->backoff_max_msg_rate;
    if (origins->backoff_max_msg_rate.file == NULL) {
        share->rate = settings->max_msg_rate;
        origins->backoff_max_msg_rate = origins->max_msg_rate;
    } else if (share->percent > 0) {
        share->rate = rate_share_of(&settings->max_msg_rate, share->percent);
    }
}

/* Directives whose default is another directive's value, and values that stand for others. */
static void finish_domain(const struct config *config, void *settings_of, void *origins_of)
{
    struct domain_settings *settings = settings_of;
    struct domain_origins *origins = origins_of;
#define FOLLOW(field, model)                                                                       \
    if (origins->field.file == NULL) {                                                             \
        settings->field = settings->model;                                                         \
        origins->field = origins->model;                                                           \
    }
    FOLLOW(retry_recipients_after, retry_after)
    FOLLOW(backoff_max_connect_rate, max_connect_rate)
    FOLLOW(backoff_max_data_volume_rate, max_data_volume_rate)
#undef FOLLOW
    finish_backoff(settings, origins);
    settings->smtp_pattern_list.rules =
        config_reply_rules(config, settings->smtp_pattern_list.name);
    if (origins->auto_mx_rollup.file == NULL) {
        settings->auto_mx_rollup = config->global_settings.auto_mx_rollup;
        origins->auto_mx_rollup = config->global_origins.auto_mx_rollup;
    }
}

/* A domain in UTF-8 becomes its A-labels, in `ascii`; one that has none stays as it is. */
static struct bytes canonical(struct bytes domain, struct buffer *ascii)
{
    bool is_ascii = true;
    if (domain.len > 1 && domain.data[domain.len - 1] == '.') {
        domain.len--;
    }
    for (size_t i = 0; i < domain.len && is_ascii; i++) {
        is_ascii = (unsigned char)domain.data[i] < 0x80;
    }
    return !is_ascii && idna_to_ascii(domain, ascii) ? buffer_bytes(ascii) : domain;
}

const struct resolved *domain_resolve(const struct config *config, const struct config_vmta *vmta,
                                      struct bytes domain)
{
    static const struct resolver resolver = {.scope = SCOPE_DOMAIN, .finish = finish_domain};
    struct matches matches;
    char memory[IDNA_DOMAIN_MAX + 1];
    struct buffer ascii;
    buffer_init(&ascii, memory, sizeof(memory));
    domain = rollup_policy_name(canonical(domain, &ascii));
    matches.count = 0;
    add_scope(&matches, config, 0, domain);
    if (vmta != NULL && vmta->pool != NULL) {
        add_scope(&matches, config, vmta->pool->scope_id, domain);
    }
    if (vmta != NULL && vmta->scope_id != 0) {
        add_scope(&matches, config, vmta->scope_id, domain);
    }
    return matches_resolve(config, &config->cache->domains, &matches, &resolver);
}

const struct domain_settings *config_domain(const struct config *config,
                                            const struct config_vmta *vmta, struct bytes domain)
{
    assert(config != NULL);
    return domain_resolve(config, vmta, domain)->settings;
}
