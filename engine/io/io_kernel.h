/* What the files of the kernel's implementation of io.h share, and nobody else includes.
 *
 * Knows no liburing: that is io_uring.c's alone. Everything here runs on the io's own thread,
 * except io_bring_home. */
#ifndef IO_IO_KERNEL_H
#define IO_IO_KERNEL_H

#include <stdatomic.h>
#include <time.h>

#include "io/io.h"
#include "io/work.h"

/* Name, the text in io_features. Newest first where one needs the other: that is the order in
 * which they are given up when the kernel says EINVAL. */
#define IO_FEATURES(FEATURE)                                                                       \
    FEATURE(DEFER_TASKRUN, "defer-taskrun")     /* 6.1; needs SINGLE_ISSUER */                     \
    FEATURE(SINGLE_ISSUER, "single-issuer")     /* 6.0 */                                          \
    FEATURE(COOP_TASKRUN, "coop-taskrun")       /* 5.19 */                                         \
    FEATURE(SUBMIT_ALL, "submit-all")           /* 5.18 */                                         \
    FEATURE(BUFFER_RING, "buffer-ring")         /* 5.19; else IORING_OP_PROVIDE_BUFFERS */         \
    FEATURE(MULTISHOT, "multishot-accept")      /* 5.19; else one accept after the other */        \
    FEATURE(REGISTERED_RING, "registered-ring") /* 5.18: no descriptor look-up per enter */        \
    FEATURE(CQE_SKIP, "cqe-skip")               /* 5.17: no completion for closes and cancels */

enum io_feature_index {
#define FEATURE(name, text) IO_FEATURE_INDEX_##name,
    IO_FEATURES(FEATURE)
#undef FEATURE
        IO_FEATURE_COUNT,
};

enum io_feature {
#define FEATURE(name, text) IO_FEATURE_##name = 1u << IO_FEATURE_INDEX_##name,
    IO_FEATURES(FEATURE)
#undef FEATURE
};

/* For tests: features (a sum of enum io_feature) that io_create takes for missing, so that the
 * paths of old kernels run on new ones. */
extern uint32_t io_pretend_missing;

enum io_kind {
    IO_KIND_NONE,
    IO_KIND_ACCEPT,
    IO_KIND_CONNECT,
    IO_KIND_RECV,
    IO_KIND_SEND,
    IO_KIND_POLL,
    IO_KIND_READ,
    IO_KIND_WRITE,
    IO_KIND_WRITE_SYNCED,
    IO_KIND_SYNC,
};

/* Where an op is between the submitting call and its done. */
enum io_state {
    IO_HOME,
    IO_FLYING,  /* the kernel's, or in the submission queue */
    IO_PARKED,  /* in io->parked: a send before the turn's end, or no room in the queue */
    IO_STARVED, /* a receive for which the ring had no buffer: io->starved */
    IO_READY,   /* its result is known without the kernel: io->ready */
};

/* In io_op.state beside enum io_state: a cancel is on its way, short transfers end here. */
#define IO_CANCELLED 0x80u
#define IO_STATE(op) ((enum io_state)((op)->state & ~IO_CANCELLED))

/* What io_op.detail means: [0] of a connect the length of its address, of a poll its events, of a
 * read its memory, of a send or write the bytes already moved of the first piece, of an op that is
 * ready its result; [1] of a read or write the file offset. */

enum io_wake_state {
    IO_AWAKE,  /* running: a wake-up needs no system call */
    IO_ASLEEP, /* in the kernel: the first wake-up rings the eventfd */
    IO_WOKEN,  /* the next or present sleep is not to be */
};

#define IO_RANDOM_COUNT 32

/* Begins the ring's own struct (io_uring.c). */
struct io {
    uint32_t features; /* a sum of enum io_feature */
    uint32_t flying_count, starved_count;
    uint64_t now_ms;
    int64_t wall_ms;
    struct list parked, starved, ready;
    struct list cancels; /* ops in flight whose cancel found no room */

    /* Ops in flight by descriptor, to catch a close under one of them. */
    uint16_t *ops_by_fd;
    uint32_t watched_fds;

    uint32_t random_left;
    uint64_t random[IO_RANDOM_COUNT];
    struct io_op wake_op;
    uint64_t wake_value;
    int wake_fd;
    bool closing;
    struct timers timers;

    /* Written by other threads: a cache line of its own. */
    _Alignas(64) _Atomic uint32_t wake_state;
    _Atomic uint32_t visitors;       /* threads in io_bring_home */
    struct work *_Atomic homecoming; /* the last of a stack linked by node.next */
};

static inline bool io_has(const struct io *io, enum io_feature feature)
{
    return (io->features & feature) != 0;
}

/* Found out now: not asked for again. */
static inline void io_lacks(struct io *io, enum io_feature feature)
{
    io->features &= ~(uint32_t)feature;
}

/* ---- io_uring.c: the ring ----------------------------------------------------------------- */

/* Puts an op that is lent to io, first time or again, into the queue (or parks it). */
void ring_submit(struct io *io, struct io_op *op);

/* Asks the kernel to end a flying op; false: no room. */
bool ring_cancel(struct io *io, struct io_op *op);

/* What found no room before goes first now. */
void ring_submit_parked(struct io *io);

/* True: nothing waits in user space that a sleep would hold up. */
bool ring_may_sleep(const struct io *io);

/* One system call, and more only if the kernel left deferred work over: hands over all that is
 * queued; `sleep`: waits until something completes, at most `limit` (NULL: for ever). 0, or -errno
 * if the ring failed. */
int ring_enter(struct io *io, bool sleep, const struct timespec *limit);

/* Calls io_complete for every completion that is there now; those caused meanwhile are for the
 * next turn. Then sends starved receives on their way again. */
void ring_complete(struct io *io);

/* ---- io_ops.c ----------------------------------------------------------------------------- */

/* Lends op (kind and fd set, home) to the ring. */
void io_start(struct io *io, struct io_op *op);

/* Comes home with `result` in the next turn, without the kernel. Op is not in flight. */
void io_finish_later(struct io *io, struct io_op *op, int result);

/* The kernel's answer to a flying op; `more`: it keeps the op and will answer again. */
void io_complete(struct io *io, struct io_op *op, int result, bool more);

/* Brings home what io_finish_later has kept. */
void io_complete_ready(struct io *io);

/* ---- io_turn.c ---------------------------------------------------------------------------- */

void io_read_clocks(struct io *io);

/* Arms the wake-up; 0 or -errno. */
int io_wake_open(struct io *io);

/* Waits until no other thread is inside io and brings the wake-up's own op home. */
void io_wake_close(struct io *io);

/* Hands a job that was run back: work->done runs in the home's next turn. Any thread. */
void io_bring_home(struct io *home, struct work *work);

/* ---- io_refusal.c ------------------------------------------------------------------------- */

/* Says what refused a ring with errno `code`, and what to do about it. */
void io_explain_refusal(struct error *error, int code);

/* ---- io_accept.c -------------------------------------------------------------------------- */

/* An accept was answered; if not `more`, the op is home. */
void io_accept_event(struct io_op *op, int result, bool more);

/* ---- io_sockets.c ------------------------------------------------------------------------- */

/* The kernel's form of `address`, IPv4 as a sockaddr_in in the same memory. The length of it. */
socklen_t io_address_to_kernel(const struct address *address, struct sockaddr_in6 *out);

/* 0, or -errno where the socket is not connected though the ring said so. */
int io_connect_confirm(int fd);

#endif
