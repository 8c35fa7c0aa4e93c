/* One accounting file: a follower of the journal that writes each record exactly once.
 *
 * Knows the spool as a journal to follow and a place for its position, and io. Owned by
 * accounting.c; everything on the keeper's thread. */
#ifndef ENGINE_ACCOUNTING_FILE_H
#define ENGINE_ACCOUNTING_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "accounting_position.h"
#include "base/error.h"
#include "base/list.h"

struct accounting_file;
struct config_acct_file;
struct io;
struct spool;

#define ACCOUNTING_KEY_PREFIX "acct:" /* of its state in the spool; the path follows */

struct accounting_file_options {
    struct io *io;
    struct spool *const *logs; /* it follows all; the first holds its position */
    uint32_t log_count;
    uint32_t worker;
    const struct config_acct_file *config;      /* borrowed until the call returns */
    const struct accounting_position *position; /* where it was; NULL: it begins */
};

/* Opens the file and cuts it to its position, or begins one; follows from the first turn of the
 * loop on. NULL with error. */
struct accounting_file *accounting_file_create(const struct accounting_file_options *options,
                                               struct error *error);

/* New settings of the same path. 0, or -1 with error: the old ones stay. Other columns begin a new
 * file. */
int accounting_file_configure(struct accounting_file *file, const struct config_acct_file *config,
                              struct error *error);

bool accounting_file_wants_received(const struct accounting_file *file);
const char *accounting_file_path(const struct accounting_file *file);

/* Where it is durable; for a file of the same path that comes later. */
const struct accounting_position *accounting_file_position(const struct accounting_file *file);

/* Begins a new file, if this one has a record or is not where it was. */
void accounting_file_rotate(struct accounting_file *file);

enum accounting_end {
    ACCOUNTING_END_OF_JOURNAL, /* when it has all that is synced */
    ACCOUNTING_END_AT_ONCE,    /* when it has written what it holds */
};

/* Writes, syncs, puts the position, lets go of the journal; then `ended`, never inside. What
 * cannot be written (the volume is full) stays in the journal for the next start. */
void accounting_file_end(struct accounting_file *file, enum accounting_end end,
                         void (*ended)(void *owner, struct accounting_file *file), void *owner);

/* Not while an operation is in flight: after `ended`, or before the loop has turned. NULL is
 * accepted. */
void accounting_file_destroy(struct accounting_file *file);

/* The owner's list. */
struct list_node *accounting_file_node(struct accounting_file *file);
struct accounting_file *accounting_file_of(struct list_node *node);

#endif
