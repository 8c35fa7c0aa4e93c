/* TLS sessions to be resumed, as serialized bytes by key.
 *
 * Knows no TLS. At most TICKETS_PER_KEY a key and as many keys as said at the start; the key that
 * was longest unused makes room. One thread. */
#ifndef NET_TICKETS_H
#define NET_TICKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/map.h"

#define TICKETS_PER_KEY  4
#define TICKET_BYTES_MAX (16 * 1024) /* a longer one is not kept; usual is 1 KB */

struct tickets {
    /* private: */
    struct map keys;
    struct list by_age; /* longest unused first */
    size_t max;
};

void tickets_init(struct tickets *tickets, size_t max_keys);
void tickets_deinit(struct tickets *tickets);

/* Takes `data`, `len` bytes from malloc, in every case. reusable: not used up by tickets_newest;
 * a newer one takes its place. Else the oldest of the key makes room. */
void tickets_put(struct tickets *tickets, uint64_t key, uint8_t *data, size_t len, bool reusable);

/* The newest of the key, for `use` to look at while it runs; it is dropped after, unless it is
 * reusable and `use` said true. False: there is none. */
bool tickets_newest(struct tickets *tickets, uint64_t key,
                    bool (*use)(void *owner, const uint8_t *data, size_t len), void *owner);

size_t tickets_keys(const struct tickets *tickets);

#endif
