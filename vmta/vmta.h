/* A virtual MTA at run time: its source addresses, in turn, and which of them are unusable.
 *
 * Pure state of one worker, time passed in. It never invents an address: when all are suspended
 * nothing leaves, whatever waits. */
#ifndef VMTA_VMTA_H
#define VMTA_VMTA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/bytes.h"

#define VMTA_SOURCES_MAX    4096    /* addresses of one virtual MTA, CIDR ranges expanded */
#define VMTA_SUSPEND_MS     60000   /* first suspension of an address that cannot be bound */
#define VMTA_SUSPEND_MAX_MS 3600000 /* it doubles up to this */

struct vmta_source {
    struct address address; /* family ADDRESS_NONE: whatever the system picks, any family */
    char *helo_name;        /* EHLO name, owned */
    /* private: */
    uint64_t suspended_until_ms, suspension_ms, bind_failures;
};

struct vmta {
    char *name; /* owned */
    struct vmta_source *sources;
    uint32_t source_count;
    /* private: */
    uint32_t next_source;
};

/* name is copied. False: no memory. */
bool vmta_init(struct vmta *vmta, struct bytes name);
void vmta_deinit(struct vmta *vmta);

/* Adds an address; helo_name is copied. False: over VMTA_SOURCES_MAX or no memory. */
bool vmta_add_source(struct vmta *vmta, const struct address *address, struct bytes helo_name);

/* Has it an address of this family at all? (A source without address has both.) */
bool vmta_has_family(const struct vmta *vmta, enum address_family family);

/* Is this address among them? Family ADDRESS_NONE asks for the source without address. */
bool vmta_has_source(const struct vmta *vmta, const struct address *address);

/* Which sources may be picked, beside those that are suspended. */
struct vmta_filter {
    bool (*allows)(void *owner, const struct vmta_source *source, uint64_t now_ms);
    void *owner;
};

/* The next usable source of the family that the filter (NULL: none) allows, round robin; NULL when
 * none is, and then *again_ms is when the first suspension ends (UINT64_MAX: none does). */
struct vmta_source *vmta_pick_source(struct vmta *vmta, enum address_family family,
                                     const struct vmta_filter *filter, uint64_t now_ms,
                                     uint64_t *again_ms);

/* bind said EADDRNOTAVAIL: this address alone is left out for a growing while (C25, C42). */
void vmta_source_failed(struct vmta_source *source, uint64_t now_ms);
void vmta_source_worked(struct vmta_source *source);

#endif
