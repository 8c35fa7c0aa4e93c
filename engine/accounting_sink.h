/* What accounting.c sees of each <acct-file>: a sink of records, be it a file or a pipe.
 *
 * The kind's own module (accounting_file.h, accounting_pipe.h) makes it and owns its memory;
 * accounting.c owns the sink, calls it on the keeper's thread and destroys it. */
#ifndef ENGINE_ACCOUNTING_SINK_H
#define ENGINE_ACCOUNTING_SINK_H

#include <stdbool.h>
#include <stdint.h>

#include "accounting_position.h"
#include "base/error.h"
#include "base/list.h"

struct accounting_sink;
struct config_acct_file;
struct io;
struct spool;

#define ACCOUNTING_KEY_PREFIX "acct:" /* of its state in the spool; the sink's name follows */
#define ACCOUNTING_KEY_MAX    512     /* the spool's */

struct accounting_sink_options {
    struct io *io;
    struct spool *const *logs; /* it follows all; the first holds its position */
    uint32_t log_count;
    uint32_t worker;
    const struct config_acct_file *config;      /* borrowed until the call returns */
    const struct accounting_position *position; /* where it was; NULL: it begins */
};

enum accounting_end {
    ACCOUNTING_END_OF_JOURNAL, /* when it has all that is synced */
    ACCOUNTING_END_AT_ONCE,    /* when it has written what it holds */
};

struct accounting_sink_kind {
    /* New settings of the same name. 0, or -1 with error: the old ones stay. */
    int (*configure)(struct accounting_sink *sink, const struct config_acct_file *config,
                     struct error *error);
    /* Does it want `r` records? */
    bool (*wants_received)(const struct accounting_sink *sink);
    /* Where it is durable; for a sink of the same name that comes later. */
    const struct accounting_position *(*position)(const struct accounting_sink *sink);
    /* `rotate acct`. */
    void (*rotate)(struct accounting_sink *sink);
    /* Writes what there is, puts the position, lets go of the journal; then sink->ended, never
     * inside. What cannot be written stays in the journal for the next start. */
    void (*end)(struct accounting_sink *sink, enum accounting_end end);
    /* Not while an operation is in flight: after `ended`, or before the loop has turned. */
    void (*destroy)(struct accounting_sink *sink);
};

struct accounting_sink {
    const struct accounting_sink_kind *kind; /* the maker's, with the name: both for good */
    const char *name;                        /* as configured: a path, or "|" and a command */
    struct list_node node;                   /* the owner's, and so are the following */
    void (*ended)(void *owner, struct accounting_sink *sink); /* set before `end` is called */
    void *owner;
};

#endif
