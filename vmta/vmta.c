#include "vmta/vmta.h"

#include <assert.h>
#include <stdlib.h>

bool vmta_init(struct vmta *vmta, struct bytes name)
{
    *vmta = (struct vmta){.name = bytes_to_string(name)};
    return vmta->name != NULL;
}

void vmta_deinit(struct vmta *vmta)
{
    for (uint32_t i = 0; i < vmta->source_count; i++) {
        free(vmta->sources[i].helo_name);
    }
    free(vmta->sources);
    free(vmta->name);
    *vmta = (struct vmta){0};
}

bool vmta_add_source(struct vmta *vmta, const struct address *address, struct bytes helo_name)
{
    if (vmta->source_count == VMTA_SOURCES_MAX) {
        return false;
    }
    char *name = bytes_to_string(helo_name);
    struct vmta_source *grown =
        realloc(vmta->sources, (vmta->source_count + 1) * sizeof *vmta->sources);
    if (grown != NULL) {
        vmta->sources = grown;
    }
    if (name == NULL || grown == NULL) {
        free(name);
        return false;
    }
    grown[vmta->source_count++] = (struct vmta_source){.address = *address, .helo_name = name};
    return true;
}

static bool serves(const struct vmta_source *source, enum address_family family)
{
    return source->address.family == ADDRESS_NONE || source->address.family == family;
}

bool vmta_has_family(const struct vmta *vmta, enum address_family family)
{
    for (uint32_t i = 0; i < vmta->source_count; i++) {
        if (serves(&vmta->sources[i], family)) {
            return true;
        }
    }
    return false;
}

bool vmta_has_source(const struct vmta *vmta, const struct address *address)
{
    for (uint32_t i = 0; i < vmta->source_count; i++) {
        const struct address *own = &vmta->sources[i].address;
        if (own->family == address->family &&
            (own->family == ADDRESS_NONE || address_equal_ip(own, address))) {
            return true;
        }
    }
    return false;
}

static bool allows(const struct vmta_filter *filter, const struct vmta_source *source,
                   uint64_t now_ms)
{
    return filter == NULL || filter->allows(filter->owner, source, now_ms);
}

struct vmta_source *vmta_pick_source(struct vmta *vmta, enum address_family family,
                                     const struct vmta_filter *filter, uint64_t now_ms,
                                     uint64_t *again_ms)
{
    *again_ms = UINT64_MAX;
    for (uint32_t i = 0; i < vmta->source_count; i++) {
        uint32_t place = (vmta->next_source + i) % vmta->source_count;
        struct vmta_source *source = &vmta->sources[place];
        if (!serves(source, family) || !allows(filter, source, now_ms)) {
            continue;
        }
        if (source->suspended_until_ms <= now_ms) {
            vmta->next_source = place + 1;
            return source;
        }
        if (source->suspended_until_ms < *again_ms) {
            *again_ms = source->suspended_until_ms;
        }
    }
    return NULL;
}

void vmta_source_failed(struct vmta_source *source, uint64_t now_ms)
{
    source->bind_failures++;
    source->suspension_ms =
        source->suspension_ms == 0 ? VMTA_SUSPEND_MS : source->suspension_ms * 2;
    if (source->suspension_ms > VMTA_SUSPEND_MAX_MS) {
        source->suspension_ms = VMTA_SUSPEND_MAX_MS;
    }
    source->suspended_until_ms = now_ms + source->suspension_ms;
}

void vmta_source_worked(struct vmta_source *source)
{
    source->suspended_until_ms = 0;
    source->suspension_ms = 0;
}
