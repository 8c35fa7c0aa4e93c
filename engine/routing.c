#include "routing.h"

struct destination routing_by_rules(const struct routing *routing, struct destination from)
{
    return destination_of(routing->config, from);
}

struct destination routing_of(struct routing *routing, struct destination from)
{
    return routing_by_hosts(routing, routing_by_rules(routing, from));
}

struct destination routing_by_hosts(struct routing *routing, struct destination to)
{
    if (routing->mx_table == NULL || !config_has_rollups(routing->config)) {
        return to;
    }
    char hosts[MX_HOSTS_LEN_MAX];
    struct mx_hosts mx;
    struct buffer name;
    buffer_init(&name, routing->memory, sizeof routing->memory);
    const struct config_vmta *vmta =
        config_vmta(routing->config, to.vmta.len == 0 ? BYTES("{default}") : to.vmta);
    if (mx_table_find(routing->mx_table, to.domain, routing->now_ms, &mx, hosts) &&
        config_rollup(routing->config, vmta, to.domain, &mx, &name)) {
        to.domain = buffer_bytes(&name);
    }
    return to;
}
