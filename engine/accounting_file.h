/* One accounting file: a follower of the journal that writes each record exactly once.
 *
 * Knows the spool as a journal to follow and a place for its position, and io. Owned by
 * accounting.c; everything on the keeper's thread. */
#ifndef ENGINE_ACCOUNTING_FILE_H
#define ENGINE_ACCOUNTING_FILE_H

#include "accounting_sink.h"

/* Opens the file and cuts it to its position, or begins one; follows from the first turn of the
 * loop on. Other columns, which a reload brings, begin a new file; so does a rotation, if this one
 * has a record or is not where it was. NULL with error. */
struct accounting_sink *accounting_file_create(const struct accounting_sink_options *options,
                                               struct error *error);

#endif
