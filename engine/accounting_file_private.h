/* What the two halves of an accounting file share: accounting_file.c (following, opening, ending)
 * and accounting_steps.c (writing, the position, rotation). Nobody else includes it. */
#ifndef ENGINE_ACCOUNTING_FILE_PRIVATE_H
#define ENGINE_ACCOUNTING_FILE_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "accounting_directory.h"
#include "accounting_file.h"
#include "accounting_position.h"
#include "base/bytes.h"
#include "base/timers.h"
#include "io/io.h"
#include "spool.h"

struct accounting_layout;

enum accounting_phase {
    PHASE_STARTING, /* opened; the loop has not turned yet */
    PHASE_IDLE,
    PHASE_WRITING,
    PHASE_SYNCING,
    PHASE_PUBLISHING, /* the position is put and not yet durable */
    PHASE_CLOSING,    /* rotation: the old file is being synced */
    PHASE_BEGINNING,  /* the position that names a new file is not yet durable */
    PHASE_FAILED,
    PHASE_ENDED,
};

/* One of the logs it follows. */
struct accounting_log {
    struct accounting_file *file;
    struct spool *spool;
    struct spool_follower follower;
    bool asked;                /* a batch may come */
    uint64_t seen_sequence;    /* last event taken into `filling`, or passed over */
    uint64_t writing_sequence; /* of the buffer that is being written */
};

struct accounting_file {
    struct accounting_sink sink;
    struct io *io;
    struct accounting_log *logs; /* the home log first; positions count them in this order */
    uint32_t log_count;
    uint32_t worker;
    enum accounting_phase phase, opened_phase; /* opened: what follows STARTING */
    struct accounting_directory directory;
    struct accounting_layout *layout, *next_layout; /* next: after a reload, when it can be used */
    uint64_t max_bytes, move_interval_ms;

    bool following;
    struct buffer filling, writing;

    int fd;                             /* -1 = none */
    struct accounting_position written; /* what the file holds, synced or not */
    struct accounting_position put;     /* the position that is on its way */
    struct accounting_position durable;
    uint64_t synced_bytes;
    char finished[ACCOUNTING_NAME_MAX]; /* the file before, to be moved; "" = none */
    bool position_due, rotate_wanted;

    struct io_op op;
    struct iovec iov[2];
    struct spool_barrier barrier;
    struct timer start, position_timer, interval_timer, retry, sweep, end_timer;
    uint64_t complained_ms; /* 0: all is well */

    bool ending;
    uint64_t end_by_ms;
    enum accounting_end end;
};

/* Chooses the next step. Called when one has ended and when something new is wanted. */
void accounting_file_advance(struct accounting_file *file);

/* True: the step of this name is to be done now. Only in PHASE_IDLE. */
bool accounting_rotation_is_due(struct accounting_file *file);
bool accounting_position_is_due(const struct accounting_file *file);

/* Each leaves PHASE_IDLE (or fails) and comes back to accounting_file_advance. */
void accounting_rotate_now(struct accounting_file *file);
void accounting_sync_now(struct accounting_file *file);
void accounting_write_now(struct accounting_file *file); /* `filling` is not empty */

/* What was seen so far is what the next write brings. */
void accounting_take_seen(struct accounting_file *file);
/* All that was taken so is in the file, as far as it holds such records. */
void accounting_note_written(struct accounting_file *file);
/* The position says all that is written. */
bool accounting_is_durable(const struct accounting_file *file);

/* A new file under `written`, its position not yet put. 0 or -errno. */
int accounting_begin_file(struct accounting_file *file);
void accounting_put_position(struct accounting_file *file, enum accounting_phase phase);
void accounting_on_durable(struct spool_barrier *barrier);

/* (Re)starts the timer of move-interval. */
void accounting_watch_interval(struct accounting_file *file);
void accounting_on_interval(struct timer *timer);
void accounting_on_position_timer(struct timer *timer);

/* Gives up what is not durable and tries again later, or is the end. */
void accounting_file_fail(struct accounting_file *file, const char *doing, int error);
void accounting_close_file(struct accounting_file *file);

/* Nothing more is to come from the journal. */
bool accounting_at_end(const struct accounting_file *file);
uint64_t accounting_header_hash(const struct accounting_layout *layout);

static inline void accounting_start_timer(struct accounting_file *file, struct timer *timer,
                                          uint64_t after_ms)
{
    timer_start(io_timers(file->io), timer, io_now_ms(file->io) + after_ms);
}

#endif
