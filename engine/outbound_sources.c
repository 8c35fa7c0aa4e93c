/* The source addresses of a virtual MTA, from its configuration. */
#include <stdlib.h>

#include "io/io.h"
#include "outbound.h"
#include "policy/config.h"
#include "vmta/vmta.h"

#define LOCAL_ADDRESSES_MAX 1024 /* of this host, for ranges of source addresses */

static struct bytes first_of(struct bytes first, struct bytes second)
{
    return first.len > 0 ? first : second;
}

static bool is_single(const struct address_range *range)
{
    return range->prefix == (range->base.family == ADDRESS_IPV4 ? 32 : 128);
}

/* A range stands for this host's addresses inside it; 127.0.0.1 is never meant. */
static void add_range(struct io *io, struct vmta *vmta, const struct address_range *range,
                      struct bytes helo)
{
    static const struct address_range loopback = {
        .base = {.family = ADDRESS_IPV4, .ip = {127, 0, 0, 1}}, .prefix = 32};
    struct address *local = calloc(LOCAL_ADDRESSES_MAX, sizeof *local);
    size_t count = local == NULL ? 0 : io_local_addresses(io, local, LOCAL_ADDRESSES_MAX);
    for (size_t i = 0; i < count; i++) {
        if (address_range_holds(range, &local[i]) && !address_range_holds(&loopback, &local[i])) {
            vmta_add_source(vmta, &local[i], helo);
        }
    }
    free(local);
}

void outbound_add_sources(struct io *io, const struct config_vmta *settings, const char *host_name,
                          struct vmta *vmta)
{
    const struct source_host_array *hosts = &settings->settings.source_hosts;
    struct bytes name = first_of(settings->settings.host_name, bytes_from_string(host_name));
    for (size_t i = 0; i < hosts->count; i++) {
        const struct source_host *host = &hosts->items[i];
        struct bytes helo = first_of(host->host_name, name);
        if (is_single(&host->range)) {
            vmta_add_source(vmta, &host->range.base, helo);
        } else {
            add_range(io, vmta, &host->range, helo);
        }
    }
    if (hosts->count == 0) {
        vmta_add_source(vmta, &(struct address){.family = ADDRESS_NONE}, name);
    }
}
