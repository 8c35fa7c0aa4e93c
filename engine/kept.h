/* One small named state that is kept in the spool, with at most one write under way: so the value
 * written last is the newest, whichever workers wrote.
 *
 * Knows neither the key nor what the value means. One thread at a time uses it; while a write is
 * under way, the one that wrote. */
#ifndef ENGINE_KEPT_H
#define ENGINE_KEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "spool.h"

#define KEPT_KEY_MAX 512 /* bytes: what the spool takes */

struct kept {
    /* The write is stable; here or by now there may be another. */
    void (*stable)(struct kept *kept);
    bool exists;  /* a value is in the spool, or on its way there */
    bool writing; /* from kept_put until `stable` */
    /* private: */
    bool deleting;
    struct spool_write write;
};

/* exists: its value was found at start. */
void kept_init(struct kept *kept, bool exists, void (*stable)(struct kept *kept));

/* Requires !writing. An empty value deletes. The memory is lent until `stable`. */
void kept_put(struct kept *kept, struct spool *spool, uint32_t worker, struct bytes key,
              struct bytes value);

#endif
