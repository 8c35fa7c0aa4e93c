/* An accounting pipe: a follower of the journal that gives its records to a program, as CSV.
 *
 * Each record reaches the program at least once, in the order of its log, with one exception: what
 * `max-lag` lets go with `on-lag skip`. A record counts as given once the program has read it whole
 * and has then read on, or has stayed alive `write-timeout` without anything more to read, or has
 * read to the end of its input and ended with status 0. Only such records are let go, and the
 * position, put every second as a state of the home log, moves over them alone. So a program that
 * has dealt with what it read before it reads again loses nothing, whichever of the two dies. What
 * it took with its last read, and what waited in the pipe, comes again after its end; after the
 * engine's, besides, what was given in the second before.
 *
 * The next program gets what the last one had taken record by record, so that one that dies after a
 * few records moves on all the same. It is started without a shell; each time the header line comes
 * first. One that ends unasked, or leaves records unread for `write-timeout` (then it is killed),
 * is started again after `retry-interval` or with a reload. Until then records wait in the journal;
 * here are never more than one buffer and what the kernel's pipe holds. At the end of the engine,
 * or when it leaves with a reload, its input is closed and it is waited for: 5 s after its last
 * read, 15 s in all, then it is killed. Owned by accounting.c, on the keeper's thread. */
#ifndef ENGINE_ACCOUNTING_PIPE_H
#define ENGINE_ACCOUNTING_PIPE_H

#include "accounting_sink.h"

/* Starts the program on the first turn of the loop; whether it can be started is told in the log.
 * Other columns, which a reload brings, start it anew; a rotation is nothing to it. NULL with
 * error. */
struct accounting_sink *accounting_pipe_create(const struct accounting_sink_options *options,
                                               struct error *error);

#endif
