#include "policy/rollup.h"

#include <ctype.h>
#include <inttypes.h>

#include "policy/domain.h"
#include "policy/load.h"

#define DIGITS 8

static const struct bytes ending = BYTES_INIT(".rollup");

/* One name of <mx-rollup-list>. */
struct rollup {
    struct bytes name;
    const struct bytes *hosts; /* names, and *.DOMAIN */
    size_t count;
    bool has_patterns, by_ip;
    struct setting_origin origin; /* of its first line */
};

/* ---- names ---- */

bool config_has_rollups(const struct config *config)
{
    return config->has_rollups;
}

struct bytes rollup_policy_name(struct bytes domain)
{
    if (!bytes_ends_with_nocase(domain, ending) || domain.len <= DIGITS + 1 + ending.len ||
        domain.data[DIGITS] != '.') {
        return domain;
    }
    for (size_t i = 0; i < DIGITS; i++) {
        if (!isxdigit((unsigned char)domain.data[i])) {
            return domain;
        }
    }
    return bytes_slice(domain, DIGITS + 1, domain.len);
}

static bool put_name(struct buffer *out, const uint64_t *group, struct bytes name,
                     struct bytes last)
{
    buffer_clear(out);
    if (group != NULL) {
        buffer_printf(out, "%08" PRIx32 ".", (uint32_t)(*group ^ *group >> 32));
    }
    for (size_t i = 0; i < name.len; i++) {
        buffer_put_char(out, (char)tolower((unsigned char)name.data[i]));
    }
    buffer_put_bytes(out, last);
    return !out->overflowed && out->len <= ROLLUP_NAME_LEN_MAX;
}

/* ---- hosts ---- */

/* One after the other; false at the end. */
static bool next_host(struct bytes *rest, struct bytes *host)
{
    if (rest->len == 0) {
        return false;
    }
    ptrdiff_t space = bytes_find(*rest, ' ', 0);
    size_t len = space < 0 ? rest->len : (size_t)space;
    *host = bytes_slice(*rest, 0, len);
    *rest = bytes_slice(*rest, len + (space >= 0), rest->len);
    return true;
}

static bool is_pattern(struct bytes line)
{
    return bytes_starts_with(line, BYTES("*."));
}

static bool fits_line(struct bytes line, struct bytes host)
{
    return is_pattern(line) ? bytes_ends_with_nocase(host, bytes_slice(line, 1, line.len))
                            : bytes_equal_nocase(line, host);
}

static bool fits_some_line(const struct rollup *rollup, struct bytes host)
{
    bool fits = false;
    for (size_t i = 0; i < rollup->count && !fits; i++) {
        fits = fits_line(rollup->hosts[i], host);
    }
    return fits;
}

static bool is_among(struct bytes hosts, struct bytes name)
{
    struct bytes host;
    while (next_host(&hosts, &host)) {
        if (bytes_equal_nocase(host, name)) {
            return true;
        }
    }
    return false;
}

static bool fits(const struct rollup *rollup, struct bytes best)
{
    struct bytes rest = best, host;
    for (size_t i = 0; i < rollup->count; i++) {
        if (!is_pattern(rollup->hosts[i]) && !is_among(best, rollup->hosts[i])) {
            return false;
        }
    }
    while (rollup->has_patterns && next_host(&rest, &host)) {
        if (!fits_some_line(rollup, host)) {
            return false;
        }
    }
    return true;
}

/* ---- which one ---- */

/* Patterns alone do not say where the mail goes: they need the hosts of <domain NAME.rollup>. */
static bool leads_somewhere(const struct config *config, const struct config_vmta *vmta,
                            const struct rollup *rollup)
{
    return !rollup->has_patterns || rollup->by_ip ||
           config_domain(config, vmta, rollup->name)->smtp_hosts.count > 0;
}

static const struct rollup *listed(const struct config *config, const struct config_vmta *vmta,
                                   struct bytes best)
{
    for (size_t i = 0; i < config->rollup_count; i++) {
        const struct rollup *rollup = &config->rollups[i];
        if (fits(rollup, best) && leads_somewhere(config, vmta, rollup)) {
            return rollup;
        }
    }
    return NULL;
}

/* As its own block says, or, if it is not named by any, as `*` does. */
static bool is_automatic(const struct config *config, const struct config_vmta *vmta,
                         struct bytes domain)
{
    const struct resolved *own = domain_resolve(config, vmta, domain);
    const struct resolved *any = domain_resolve(config, vmta, BYTES("{any}"));
    const struct domain_settings *settings = own->settings;
    if (!settings->auto_mx_rollup || own == any) {
        return settings->auto_mx_rollup;
    }
    const struct setting_origin *said =
        &((const struct domain_origins *)own->origins)->auto_mx_rollup;
    const struct setting_origin *in_any =
        &((const struct domain_origins *)any->origins)->auto_mx_rollup;
    return said->file != in_any->file || said->line != in_any->line;
}

bool config_rollup(const struct config *config, const struct config_vmta *vmta, struct bytes domain,
                   const struct mx_hosts *mx, struct buffer *name)
{
    const struct domain_settings *settings = config_domain(config, vmta, domain);
    if (!config->has_rollups || mx->best.len == 0 || settings->disable_mx_rollup ||
        settings->smtp_hosts.count > 0 || bytes_ends_with_nocase(domain, ending)) {
        return false;
    }
    const struct rollup *rollup = listed(config, vmta, mx->best);
    if (rollup != NULL) {
        return put_name(name, rollup->by_ip ? &mx->address_hash : NULL, rollup->name, BYTES(""));
    }
    struct bytes rest = mx->best, first;
    return is_automatic(config, vmta, domain) && next_host(&rest, &first) &&
           put_name(name, &mx->plan_hash, first, ending);
}

bool config_rollup_serves(const struct config *config, struct bytes rollup, struct bytes host)
{
    for (size_t i = 0; i < config->rollup_count; i++) {
        const struct rollup *each = &config->rollups[i];
        if (!each->by_ip && bytes_equal_nocase(each->name, rollup)) {
            return fits_some_line(each, host);
        }
    }
    return true;
}

/* ---- at load ---- */

static bool is_asked_for(const struct config *config)
{
    bool asked = config->global_settings.auto_mx_rollup || config->rollup_count > 0;
    for (const struct block *b = config->first_block; b != NULL && !asked; b = b->next) {
        for (const struct setting *s = b->first; s != NULL && b->scope == SCOPE_DOMAIN;
             s = s->next) {
            asked = asked || strcmp(s->directive->name, "auto-mx-rollup") == 0;
        }
    }
    return asked;
}

static struct rollup *find(struct rollup *rollups, size_t count, struct bytes name)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal_nocase(rollups[i].name, name)) {
            return &rollups[i];
        }
    }
    return NULL;
}

/* Lines of one name, wherever they stand. */
static void gather_hosts(struct rollup *rollup, const struct rule_list *list, struct bytes *hosts)
{
    rollup->hosts = hosts;
    for (size_t i = 0; i < list->count; i++) {
        const struct rule *rule = &list->rules[i];
        if (!bytes_equal_nocase(rule->actions[0].name, rollup->name)) {
            continue;
        }
        hosts[rollup->count++] = rule->subject;
        rollup->has_patterns = rollup->has_patterns || is_pattern(rule->subject);
        rollup->by_ip = rollup->by_ip || rule->action_count > 1;
    }
}

static void check_hosts(struct loader *loader, const struct rollup *rollup)
{
    if (!leads_somewhere(loader->config, config_vmta(loader->config, BYTES("{default}")), rollup)) {
        struct place place = {.file = rollup->origin.file, .line = rollup->origin.line};
        report_warning(loader->report, &place,
                       "%.*s has patterns and no hosts: say rollup-by-ip, or name hosts with "
                       "smtp-hosts in <domain %.*s>; without either it rolls up nothing",
                       BYTES_FMT(rollup->name), BYTES_FMT(rollup->name));
    }
}

void load_rollups(struct loader *loader)
{
    struct config *config = loader->config;
    const struct rule_list *list = config_rules(config, SCOPE_ROLLUP_LIST, BYTES(""));
    size_t lines = list == NULL ? 0 : list->count;
    struct rollup *rollups = lines == 0 ? NULL : config_take(config, lines * sizeof *rollups);
    struct bytes *hosts = lines == 0 ? NULL : config_take(config, lines * sizeof *hosts);
    if (lines > 0 && (rollups == NULL || hosts == NULL)) {
        loader_no_memory(loader);
        return;
    }
    config->rollups = rollups;
    for (size_t i = 0; i < lines; i++) {
        const struct rule *rule = &list->rules[i];
        if (find(rollups, config->rollup_count, rule->actions[0].name) == NULL) {
            struct rollup *rollup = &rollups[config->rollup_count++];
            rollup->name = rule->actions[0].name;
            rollup->origin = rule->origin;
            gather_hosts(rollup, list, hosts);
            hosts += rollup->count;
            check_hosts(loader, rollup);
        }
    }
    config->has_rollups = is_asked_for(config);
}
