/* What the two halves of an accounting pipe share: accounting_pipe.c (following, the position, the
 * end) and accounting_program.c (the program and what is written to it). Nobody else includes it.
 */
#ifndef ENGINE_ACCOUNTING_PIPE_PRIVATE_H
#define ENGINE_ACCOUNTING_PIPE_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "accounting_directory.h"
#include "accounting_given.h"
#include "accounting_pipe.h"
#include "accounting_position.h"
#include "base/bytes.h"
#include "base/timers.h"
#include "io/io.h"
#include "io/program.h"
#include "policy/config.h"
#include "spool.h"

#define PIPE_STOP_MS     5000  /* at the end: without a read, for its end, for the spool */
#define PIPE_STOP_ALL_MS 15000 /* of a program that goes on reading */

struct accounting_layout;

enum pipe_phase {
    PIPE_STARTING,
    PIPE_WAITING,
    PIPE_RUNNING,
    PIPE_CLOSING,
    PIPE_KILLED,
    PIPE_ENDED,
};

/* One of the logs it follows. */
struct pipe_log {
    struct accounting_pipe *pipe;
    struct spool *spool;
    struct spool_follower follower;
    bool asked;             /* a batch may come */
    uint64_t seen_sequence; /* last event taken into `gathered`, or passed over */
};

struct accounting_pipe {
    struct accounting_sink sink;
    struct io *io;
    struct pipe_log *logs; /* the home log first; positions count them in this order */
    uint32_t log_count;
    uint32_t worker;
    enum pipe_phase phase;
    char name[ACCOUNTING_PATH_MAX];
    char *words[CONFIG_COMMAND_WORDS_MAX + 1];
    struct accounting_layout *layout, *next_layout; /* next: when a program with it can begin */
    uint64_t retry_ms, write_timeout_ms;

    struct program program;
    struct io_op writable;
    struct buffer gathered;    /* not yet in the pipe */
    uint64_t made, record_end; /* bytes since the program's start; up to the last record's end */
    uint64_t careful_end;      /* up to here record by record */
    uint64_t careful_bytes;    /* so much the last program had taken and perhaps not dealt with */
    uint64_t closed_ms;
    struct accounting_given given;
    struct buffer complaint; /* a line of standard error that has begun */

    bool following, putting;
    struct accounting_position reached; /* what counts as given */
    struct accounting_position put;     /* the position that is on its way */
    struct accounting_position durable;
    struct spool_barrier barrier;
    struct timer start, look, position_timer, end_timer;

    bool ending;
    uint64_t end_all_by_ms; /* then the program is killed */
    uint64_t end_by_ms;     /* once there is no program: for the position */
    enum accounting_end end;
};

/* Follows the journal from what counts as given on. */
void accounting_pipe_follow_anew(struct accounting_pipe *pipe);
/* What is given may have grown: the position follows within a second, or is put now. */
void accounting_pipe_note_given(struct accounting_pipe *pipe);
void accounting_pipe_put_position(struct accounting_pipe *pipe);
/* Chooses the next step. Called when something has come or is wanted. */
void accounting_pipe_advance(struct accounting_pipe *pipe);

/* In PIPE_STARTING or PIPE_WAITING, a timer: starts the program. */
void accounting_program_on_start(struct timer *timer);
void accounting_program_on_look(struct timer *timer);
/* Only in PIPE_RUNNING: as much as the pipe takes. */
void accounting_program_write(struct accounting_pipe *pipe);
void accounting_program_close(struct accounting_pipe *pipe);

static inline void accounting_pipe_timer(struct accounting_pipe *pipe, struct timer *timer,
                                         uint64_t after_ms)
{
    timer_start(io_timers(pipe->io), timer, io_now_ms(pipe->io) + after_ms);
}

#endif
