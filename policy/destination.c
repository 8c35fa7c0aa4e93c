#include "policy/destination.h"

#include <string.h>

#include "policy/domain.h"
#include "policy/load.h"

bool config_has_routes(const struct config *config)
{
    return config->has_routes;
}

static struct bytes vmta_name(struct bytes name)
{
    return name.len == 0 ? BYTES("{default}") : name;
}

/* One rule. False: this is where the mail waits. */
static bool step(const struct config *config, struct destination *at)
{
    const struct config_vmta *vmta = config_vmta(config, vmta_name(at->vmta));
    if (vmta == NULL) {
        return false;
    }
    const struct domain_settings *settings = config_domain(config, vmta, at->domain);
    struct bytes to = settings->reroute_to_vmta;
    if (to.len > 0 && !bytes_equal_nocase(to, vmta->name)) {
        at->vmta = to;
        return true;
    }
    to = settings->queue_to;
    if (to.len > 0 && !bytes_equal_nocase(to, at->domain)) {
        at->domain = to;
        return true;
    }
    return false;
}

struct destination destination_of(const struct config *config, struct destination from)
{
    for (int i = 0; config->has_routes && i < DESTINATION_STEPS; i++) {
        if (!step(config, &from)) {
            break;
        }
    }
    return from;
}

/* ---- at load ---- */

/* As if every queue were in backoff mode. */
static bool step_or_stand_in(const struct config *config, struct destination *at)
{
    if (step(config, at)) {
        return true;
    }
    const struct config_vmta *vmta = config_vmta(config, vmta_name(at->vmta));
    struct bytes to =
        vmta == NULL ? BYTES("") : config_domain(config, vmta, at->domain)->backoff_reroute_to_vmta;
    if (to.len == 0 || bytes_equal_nocase(to, vmta->name)) {
        return false;
    }
    at->vmta = to;
    return true;
}

static bool ends(const struct config *config, struct destination at)
{
    for (int i = 0; i <= DESTINATION_STEPS; i++) {
        if (!step_or_stand_in(config, &at)) {
            return true;
        }
    }
    return false;
}

/* A domain that the block's pattern fits, as far as a name can say it. */
static struct bytes example_of(const struct block *block, char *memory, size_t size)
{
    struct buffer out;
    buffer_init(&out, memory, size);
    struct bytes pattern = block->argument;
    for (size_t i = 0; i < pattern.len; i++) {
        if (pattern.data[i] == '*') {
            buffer_put_char(&out, 'x');
        } else if (pattern.data[i] != '[' && pattern.data[i] != ']') {
            buffer_put_char(&out, pattern.data[i]);
        }
    }
    return buffer_bytes(&out);
}

static void check_from(struct loader *loader, const struct block *block,
                       const struct setting *setting, struct bytes vmta)
{
    char memory[512];
    struct destination at = {.vmta = vmta, .domain = example_of(block, memory, sizeof memory)};
    if (!ends(loader->config, at)) {
        report_error(loader->report, &setting->place,
                     "%s: leads in a circle, or over more than %d queues, from %.*s/%.*s",
                     setting->directive->name, DESTINATION_STEPS,
                     BYTES_FMT(example_of(block, memory, sizeof memory)),
                     BYTES_FMT(vmta_name(vmta)));
    }
}

/* A queue that is named like a roll-up has no MX of its own. */
static void check_hosts(struct loader *loader, const struct setting *setting, struct bytes vmta)
{
    struct bytes to = *(const struct bytes *)setting->data;
    const struct config_vmta *of = config_vmta(loader->config, vmta_name(vmta));
    if (bytes_ends_with_nocase(to, BYTES(".rollup")) &&
        config_domain(loader->config, of, to)->smtp_hosts.count == 0) {
        report_warning(loader->report, &setting->place,
                       "queue-to: %.*s has no hosts: name them with smtp-hosts in <domain %.*s>, "
                       "such as lookup-mx:example.com",
                       BYTES_FMT(to), BYTES_FMT(to));
    }
}

/* Seen from every virtual MTA whose queues the block holds for; of a global one, from {default}
 * and from the one it names. */
static void check_route(struct loader *loader, const struct block *block,
                        const struct setting *setting)
{
    const struct bytes *value = setting->data;
    bool reroutes = setting->directive->type == VALUE_NAME;
    const struct block *scope = block->parent;
    bool in_vmta = scope != NULL && scope->scope == SCOPE_VMTA;
    if (!reroutes) {
        check_hosts(loader, setting, in_vmta ? scope->argument : BYTES(""));
    }
    if (in_vmta) {
        check_from(loader, block, setting, scope->argument);
        return;
    }
    check_from(loader, block, setting, BYTES(""));
    if (reroutes) {
        check_from(loader, block, setting, *value);
    }
}

static bool is_called(const struct setting *setting, const char *name)
{
    return strcmp(setting->directive->name, name) == 0;
}

static void each_domain_setting(struct loader *loader,
                                void (*act)(struct loader *loader, const struct block *block,
                                            const struct setting *setting))
{
    for (const struct block *b = loader->config->first_block; b != NULL; b = b->next) {
        for (const struct setting *s = b->first; s != NULL && b->scope == SCOPE_DOMAIN;
             s = s->next) {
            act(loader, b, s);
        }
    }
}

static bool is_route(const struct setting *setting)
{
    return is_called(setting, "queue-to") || is_called(setting, "reroute-to-virtual-mta");
}

static void note_route(struct loader *loader, const struct block *block,
                       const struct setting *setting)
{
    (void)block;
    loader->config->has_routes = loader->config->has_routes || is_route(setting);
}

static void check_setting(struct loader *loader, const struct block *block,
                          const struct setting *setting)
{
    if (is_route(setting) || is_called(setting, "backoff-reroute-to-virtual-mta")) {
        check_route(loader, block, setting);
    }
}

void check_destinations(struct loader *loader)
{
    each_domain_setting(loader, note_route);
    each_domain_setting(loader, check_setting);
}
