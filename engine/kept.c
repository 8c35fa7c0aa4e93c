#include "kept.h"

#include <assert.h>

static void on_stable(struct spool_write *write)
{
    struct kept *kept = CONTAINER_OF(write, struct kept, write);
    assert(kept->writing);
    kept->writing = false;
    kept->exists = !kept->deleting;
    kept->stable(kept);
}

void kept_init(struct kept *kept, bool exists, void (*stable)(struct kept *kept))
{
    *kept = (struct kept){.stable = stable, .exists = exists, .write = {.stable = on_stable}};
}

void kept_put(struct kept *kept, struct spool *spool, uint32_t worker, struct bytes key,
              struct bytes value)
{
    assert(!kept->writing);
    kept->writing = true;
    kept->deleting = value.len == 0;
    kept->exists = true; /* until a deletion is stable */
    spool_write_state(spool, worker, key, value, &kept->write);
}
