/* What receiving hosts were found not to do though they say they do; remembered for a while, by
 * address, so that every connection need not find out anew.
 *
 * Knows no connections and no clock. One worker's own. Bounded: the oldest is forgotten. */
#ifndef ENGINE_HOST_FAULTS_H
#define ENGINE_HOST_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/list.h"
#include "base/map.h"

#define HOST_FAULTS_MAX 10000 /* hosts */

enum host_fault {
    HOST_FAULT_TLS,      /* STARTTLS is refused, or its handshake fails */
    HOST_FAULT_CHUNKING, /* BDAT is refused as unknown */
    HOST_FAULT_COUNT,
};

struct host_faults {
    /* private: */
    struct map hosts;
    struct list oldest_first;
};

void host_faults_init(struct host_faults *faults);
void host_faults_deinit(struct host_faults *faults);

/* Remembers a fault of the host at this IP until then. Without memory nothing is remembered. */
void host_faults_note(struct host_faults *faults, const struct address *address,
                      enum host_fault fault, uint64_t until_ms);

bool host_faults_has(const struct host_faults *faults, const struct address *address,
                     enum host_fault fault, uint64_t now_ms);

#endif
