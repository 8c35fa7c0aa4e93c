/* What the simulator's own files share: the insides of a world, an io and an operation.
 *
 * For tests/sim/sim*.c alone; tests and scripts use sim.h, sim_peer.h, sim_disk.h. */
#ifndef SIM_PARTS_H
#define SIM_PARTS_H

#include "base/list.h"
#include "base/timers.h"
#include "io/io.h"
#include "sim.h"
#include "sim_memory.h"

struct dns_query;
struct sim_net;
struct sim_disk;
struct sim_zones;

/* ---- descriptors ------------------------------------------------------------------------ */

enum sim_fd_kind { SIM_FD_FREE, SIM_FD_SOCKET, SIM_FD_LISTENER, SIM_FD_FILE };

struct sim_fd {
    enum sim_fd_kind kind;
    uint32_t in_flight; /* operations: a descriptor with any must not be closed */
    void *object;
};

/* The lowest free number, as the kernel gives: a stale one soon names somebody else's.
 * -EMFILE when all are taken. */
int sim_fd_take(struct sim *sim, enum sim_fd_kind kind, void *object);
void sim_fd_give(struct sim *sim, int fd);

/* Asserts that fd is of this kind. */
void *sim_fd_object(struct sim *sim, int fd, enum sim_fd_kind kind);

/* ---- the world -------------------------------------------------------------------------- */

struct sim {
    struct rng rng;        /* times and faults */
    struct rng engine_rng; /* io_random */
    struct sim_odds odds;
    struct heap events;
    struct sim_event clock_fault;
    uint64_t seed, now_us, steps, digest, connections_made;
    int64_t wall_offset_us;
    bool tracing;
    void (*noted)(void *owner, const char *what);
    void *noted_owner;
    struct list ios;
    struct io *running;  /* whose turn is under way, or NULL */
    uint64_t blocked_us; /* spent in blocking calls by the running turn */
    struct sim_fd *fds;
    uint32_t fd_max;
    struct sim_net *net;
    struct sim_disk *disk;
    struct sim_zones *zones; /* NULL: none yet */
};

/* When the next event is due; UINT64_MAX: none is queued. */
uint64_t sim_next_us(const struct sim *sim);

struct sim_net *sim_net_create(struct sim *sim, const struct sim_options *options);
void sim_net_destroy(struct sim_net *net);
/* The engine's connections and listeners go; after a power loss nobody is told. */
void sim_net_crash(struct sim_net *net, enum sim_crash kind);
struct sim_disk *sim_disk_create(struct sim *sim, uint64_t bytes_max);
void sim_disk_destroy(struct sim_disk *disk);
void sim_zones_destroy(struct sim_zones *zones); /* NULL is accepted */
void sim_disk_crash(struct sim_disk *disk, enum sim_crash kind);

/* sim_file.c, at a crash: the first `len` bytes of a write under way reach the page cache; every
 * file of the engine is closed. */
struct sim_op;
void sim_file_write_part(struct sim_op *op, uint64_t len);
void sim_files_close(struct sim *sim);

/* ---- an io and its operations ----------------------------------------------------------- */

struct io {
    struct list_node node; /* in sim->ios */
    struct sim *sim;
    uint32_t index, recv_buffer_bytes;
    struct timers timers;
    struct list in_flight; /* sim_op.node: all that is not home */
    struct list ready;     /* sim_op.ready: to be delivered by the next io_run */
    uint64_t now_ms, until_ms;
    int64_t wall_ms;
    bool woken;
    void (*turn)(void *owner);
    void *owner;
    struct sim_event turn_event;
    uint64_t turn_due_us;   /* of turn_event while queued */
    uint64_t activity;      /* submissions, wake-ups: does not stand still */
    uint64_t activity_seen; /* as io_run returned */
    bool delivered;         /* by the last io_run: it would not have slept */
    /* Put off from the end of the last turn, where the real loop would still be asleep. */
    void (*before_turn)(void *owner, uint32_t index);
    void *before_owner;
    uint32_t before_index;
    uint64_t turns_awake;
};

enum sim_op_kind {
    SIM_OP_ACCEPT = 1,
    SIM_OP_CONNECT,
    SIM_OP_RECV,
    SIM_OP_SEND,
    SIM_OP_POLL,
    SIM_OP_READ,
    SIM_OP_WRITE,
    SIM_OP_SYNC,
    SIM_OP_WORK,
    SIM_OP_DNS,
};

enum sim_op_state {
    SIM_OP_HOME,
    SIM_OP_STARTING, /* submitted; `begin` runs soon */
    SIM_OP_WAITING,  /* begun; whoever finishes it calls sim_op_finish */
    SIM_OP_READY,    /* on the io's ready list */
};

/* Of the simulator's memory, from submit until delivered: what an io_op has no room for. */
struct sim_op {
    struct sim_event event; /* begin, then completion of what takes time */
    struct sim_event cancel;
    struct list_node node, ready;
    struct io *io;
    struct io_op *op; /* NULL for SIM_OP_WORK, SIM_OP_DNS */
    enum sim_op_kind kind;
    enum sim_op_state state;
    int fd, result;
    bool cancelled;
    void (*begin)(struct sim_op *op);
    /* Called by io_run; frees or keeps the op. sim_op_come_home is the usual one. */
    void (*deliver)(struct sim_op *op);
    /* Takes it off the socket or file it may wait at; harmless when it does not. NULL: waits at
     * nothing. */
    void (*unhook)(struct sim_op *op);
    /* At a crash: frees what it holds. NULL: nothing. */
    void (*drop)(struct sim_op *op);
    union {
        struct {
            struct iovec *iov;
            size_t iov_count, moved, total;
            uint64_t digest; /* of the bytes at submit: lent buffers must not change */
        } send;
        struct {
            struct address peer;
        } connect;
        struct {
            uint32_t events;
        } poll;
        struct {
            void *file; /* referenced by the op */
            void *data;
            struct iovec *iov;
            size_t iov_count, len;
            uint64_t offset;
            void *snapshot; /* of a sync */
            bool synced;    /* a write that is to be one, too */
        } file;
        struct {
            void *work;
            void *pool;
        } work;
        struct {
            struct dns_query *query;
            bool fails;
        } dns;
        struct {
            void *acceptor;
        } accept;
    };
};

struct sim_op *sim_op_start(struct io *io, struct io_op *op, enum sim_op_kind kind, int fd,
                            void (*begin)(struct sim_op *op));
void sim_op_finish(struct sim_op *op, int result);

/* Frees the sim_op and runs done(op, result). */
void sim_op_come_home(struct sim_op *op);
/* The first half of it: the io_op is the caller's again. */
struct io_op *sim_op_release(struct sim_op *op);
void sim_op_request_cancel(struct sim_op *op);

/* The io has something to deliver: its turn comes soon. */
void sim_io_kick(struct io *io);

/* A blocking call took this long: the worker's next turn comes that much later. */
void sim_block(struct sim *sim, uint64_t us);

#endif
