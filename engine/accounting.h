/* Accounting files: followers of the journal that write CSV or JSON lines.
 *
 * One per <acct-file>, all on the keeper's worker. A file holds each record exactly once, also
 * after a crash: it is synced, then the position {sequence; file name, inode, length} is written
 * as state of the
 * home log; at start a longer file is cut to that length and the rest is replayed. Of several logs
 * all are followed, each from where this file had it, or from where the file of the same path had
 * it that its former engine wrote, or from its oldest event. A pipe gets each record at least
 * once. */
#ifndef ENGINE_ACCOUNTING_H
#define ENGINE_ACCOUNTING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct accounting;
struct config;
struct io;
struct spool;

struct accounting_options {
    struct io *io;             /* the keeper's */
    struct spool *const *logs; /* all that are followed; the first holds the positions */
    uint32_t log_count;
    const struct config *config;
    uint32_t worker; /* the keeper's index */
};

/* Restores positions, repairs files; follows from the first turn of the loop on. After spool_open,
 * before any append. NULL with error, its code as sysexits (a directory that cannot be written
 * names itself). */
struct accounting *accounting_create(const struct accounting_options *options, struct error *error);

/* Does some file want `r` records? */
bool accounting_wants_received(const struct accounting *accounting);

/* Files that left the configuration end, new ones begin; those that stay go on. One that comes back
 * before it has ended begins again when it has. */
void accounting_reload(struct accounting *accounting, const struct config *config);

/* Rotates every file now (`rotate acct`). */
void accounting_rotate(struct accounting *accounting);

/* Brings every file up to what is in the journal, syncs, writes positions; then `stopped`, never
 * inside. */
void accounting_stop(struct accounting *accounting, void (*stopped)(void *owner), void *owner);
void accounting_destroy(struct accounting *accounting); /* NULL is accepted */

#endif
