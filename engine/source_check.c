#include "source_check.h"

#include <stdio.h>

#include "io/io.h"
#include "policy/config.h"

static bool is_missing(struct io *io, const struct source_host *host)
{
    uint8_t whole = host->range.base.family == ADDRESS_IPV4 ? 32 : 128;
    return host->range.prefix == whole && !io_address_is_local(io, &host->range.base);
}

size_t source_check(struct io *io, const struct config *config,
                    void (*found)(void *owner, const struct source_problem *problem), void *owner)
{
    size_t vmta_count, count = 0;
    const struct config_vmta *vmtas = config_vmtas(config, &vmta_count);
    if (config_global(config)->allow_no_source_address) {
        return 0;
    }
    for (size_t i = 0; i < vmta_count; i++) {
        const struct source_host_array *hosts = &vmtas[i].settings.source_hosts;
        for (size_t place = 0; place < hosts->count; place++) {
            if (!is_missing(io, &hosts->items[place])) {
                continue;
            }
            char address[ADDRESS_TEXT_MAX], text[256];
            snprintf(text, sizeof text,
                     "virtual MTA %.*s: source address %s is not on this host "
                     "(add it, or set allow-no-source-address yes)",
                     BYTES_FMT(vmtas[i].name),
                     address_text(&hosts->items[place].range.base, address));
            struct source_problem problem = {
                .file = vmtas[i].origin.file, .line = vmtas[i].origin.line, .text = text};
            found(owner, &problem);
            count++;
        }
    }
    return count;
}
