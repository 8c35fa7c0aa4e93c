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

/* False: it leads in a circle, or too far. */
static bool follow(const struct config *config, struct destination *at)
{
    for (int i = 0; i < DESTINATION_STEPS; i++) {
        if (!step(config, at)) {
            return true;
        }
    }
    return !step(config, at);
}

struct destination destination_of(const struct config *config, struct destination from)
{
    if (config->has_routes) {
        follow(config, &from);
    }
    return from;
}

/* ---- at load ---- */

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
    if (!follow(loader->config, &at)) {
        report_error(loader->report, &setting->place,
                     "%s: leads in a circle, or over more than %d queues, from %.*s/%.*s",
                     setting->directive->name, DESTINATION_STEPS,
                     BYTES_FMT(example_of(block, memory, sizeof memory)),
                     BYTES_FMT(vmta_name(vmta)));
    }
}

/* Seen from every virtual MTA whose queues the block holds for; of a global one, from {default}
 * and from the one it names. */
static void check_route(struct loader *loader, const struct block *block,
                        const struct setting *setting)
{
    const struct bytes *value = setting->data;
    bool reroutes = setting->directive->type == VALUE_NAME;
    struct domain_pattern domain;
    if (!reroutes && value->len > 0 &&
        (!value_parse_domain(*value, &domain) || domain.kind != DOMAIN_EXACT)) {
        report_error(loader->report, &setting->place, "queue-to: '%.*s' is no domain",
                     BYTES_FMT(*value));
        return;
    }
    const struct block *scope = block->parent;
    if (scope != NULL && scope->scope == SCOPE_VMTA) {
        check_from(loader, block, setting, scope->argument);
        return;
    }
    check_from(loader, block, setting, BYTES(""));
    if (reroutes) {
        check_from(loader, block, setting, *value);
    }
}

void check_destinations(struct loader *loader)
{
    bool found = false;
    for (const struct block *b = loader->config->first_block; b != NULL; b = b->next) {
        for (const struct setting *s = b->first; s != NULL && b->scope == SCOPE_DOMAIN;
             s = s->next) {
            found = found || strcmp(s->directive->name, "queue-to") == 0 ||
                    strcmp(s->directive->name, "reroute-to-virtual-mta") == 0;
        }
    }
    loader->config->has_routes = found;
    for (const struct block *b = loader->config->first_block; found && b != NULL; b = b->next) {
        for (const struct setting *s = b->first; s != NULL && b->scope == SCOPE_DOMAIN;
             s = s->next) {
            if (strcmp(s->directive->name, "queue-to") == 0 ||
                strcmp(s->directive->name, "reroute-to-virtual-mta") == 0) {
                check_route(loader, b, s);
            }
        }
    }
}
