/* The one door to the kernel: sockets, files, wake-ups between workers, and time.
 *
 * One `struct io` belongs to one worker thread and is used from it alone, except io_wake. Two
 * implementations are chosen at link time: io_uring.c, and the simulator's (tests/sim). Nothing
 * else in the engine makes a system call that can wait or reads a clock.
 *
 * An io_op is the caller's memory, lent to io from the call that submits it until `done` runs:
 * exactly once, also when cancelled, never inside the submitting call. Until then neither the op
 * nor any buffer it names may be touched or freed. Closing is a state: cancel, wait for the
 * operations to come home, then io_close the descriptor.
 *
 * Results are as the kernel's: 0 or a count, or -errno. */
#ifndef IO_IO_H
#define IO_IO_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/address.h"
#include "base/error.h"
#include "base/list.h"
#include "base/timers.h"

struct io;

struct io_op {
    /* result: a count or -errno. The op is the caller's again and may be submitted at once. */
    void (*done)(struct io_op *op, int result);
    /* For io_recv: what was received, valid only until `done` returns (then the buffer goes back
     * to the ring; an idle socket holds none). */
    const uint8_t *data;
    /* private: */
    struct list_node node;
    uint64_t detail[2];
    union {
        struct msghdr message;
        struct sockaddr_in6 peer; /* or the shorter sockaddr_in */
    };
    struct iovec *iov;
    size_t iov_count, left, moved;
    int fd;
    uint8_t kind, state;
    bool drained; /* the last receive left nothing behind: do not try the next before polling */
};

static inline void io_op_init(struct io_op *op, void (*done)(struct io_op *, int))
{
    *op = (struct io_op){.done = done};
}

/* Submitted and not yet done. */
bool io_busy(const struct io_op *op);

/* ---- life ------------------------------------------------------------------------------- */

struct io_options {
    uint32_t worker_index;
    uint32_t entries;           /* submission queue entries; rounded to a power of two */
    uint32_t recv_buffer_bytes; /* size of one provided buffer */
    uint32_t recv_buffer_count; /* how many the ring lends out at once: a power of two */
};

/* Must be called on the thread that will use it. NULL with `error` filled: one clear sentence
 * that names what refused (ENOSYS, EPERM, kernel.io_uring_disabled, RLIMIT_MEMLOCK …). */
struct io *io_create(const struct io_options *options, struct error *error);

/* Every op must be home. NULL is accepted. */
void io_destroy(struct io *io);

/* What the kernel offers and this io uses, for logs: "defer-taskrun multishot-accept …". */
const char *io_features(const struct io *io);

/* The loop's heart: submits all that was queued, waits until something completes, a wake-up
 * comes or the earlier of until_ms and the first timer passes (until_ms <= now: does not wait),
 * reads the clocks once, runs every `done` that is ready and then the timers due.
 * 0, or -errno if the ring itself failed (fatal). */
int io_run(struct io *io, uint64_t until_ms);

/* Makes a sleeping or coming io_run of that io return soon. Any thread. Wake-ups may merge. */
void io_wake(struct io *io);

/* The worker's timers; run by io_run. */
struct timers *io_timers(struct io *io);

/* ---- time ------------------------------------------------------------------------------- */

/* Monotonic milliseconds, time in suspend included; read once per io_run turn. Never 0. */
uint64_t io_now_ms(const struct io *io);

/* Milliseconds since 1970 UTC, as of the same turn. May jump; for records and people only. */
int64_t io_wall_ms(const struct io *io);

/* Finer and read anew at each call; for statistics only. */
uint64_t io_now_us(struct io *io);

/* 64 unpredictable bits (simulator: from the seed), for seeds and ids. */
uint64_t io_random(struct io *io);

/* ---- sockets ---------------------------------------------------------------------------- */

/* A listening TCP socket with SO_REUSEADDR and SO_REUSEPORT; IPv6 is V6ONLY. The descriptor or
 * -errno (EADDRINUSE, EACCES, EADDRNOTAVAIL). */
int io_listen(struct io *io, const struct address *address, int backlog);

/* A listening Unix stream socket at `path` (an old socket file is replaced), mode as given. */
int io_listen_unix(struct io *io, const char *path, uint32_t mode);

/* Accepts until stopped. What the kernel had already taken from the backlog when accepting was
 * paused or stopped is still handed over: it would be lost otherwise. */
struct io_acceptor {
    /* fd >= 0: a connection, now the callee's, TCP_NODELAY set. fd < 0: -errno of one failed
     * accept (EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED); accepting has paused and goes on
     * after io_accept_resume. */
    void (*accepted)(struct io_acceptor *acceptor, int fd);
    /* The last call, after io_accept_stop. */
    void (*stopped)(struct io_acceptor *acceptor);
    /* private: */
    struct io_op op;
    struct io *io;
    bool stopping, paused;
};

void io_accept_start(struct io *io, struct io_acceptor *acceptor, int listen_fd);
void io_accept_pause(struct io_acceptor *acceptor); /* connections wait in the backlog */
void io_accept_resume(struct io_acceptor *acceptor);
void io_accept_stop(struct io_acceptor *acceptor);

/* A new TCP socket, bound to `source` (port ignored; NULL: any) with IP_BIND_ADDRESS_NO_PORT,
 * TCP_NODELAY set; freebind: IP_FREEBIND. The descriptor or -errno: EADDRNOTAVAIL here means the
 * *address* is not on this host. */
int io_socket_bound(struct io *io, const struct address *source, uint8_t family, bool freebind);

/* done(0) connected; EADDRNOTAVAIL here means ports to this destination are used up. */
void io_connect(struct io *io, struct io_op *op, int fd, const struct address *peer);

/* One receive into a buffer of the ring's own: done(n), op->data holds n bytes; done(0): the
 * peer has closed its side. Waiting for data holds no buffer. If the ring's buffers are all lent,
 * the receive waits for one by itself (no error is seen). */
void io_recv(struct io *io, struct io_op *op, int fd);

/* Sends everything in iov, in order: done(total) or -errno after any part was sent. iov and what
 * it names belong to io until done. No SIGPIPE. */
void io_send(struct io *io, struct io_op *op, int fd, struct iovec *iov, size_t iov_count);

/* Half close: no more will be sent. */
void io_shutdown(struct io *io, int fd);

/* Asks that the op be ended early; its done runs later with -ECANCELED or with what it had
 * reached. Calling it for an op that is home does nothing. */
void io_cancel(struct io *io, struct io_op *op);

/* Closes a descriptor that has no op in flight. abort: a TCP reset instead of FIN. */
void io_close(struct io *io, int fd);
void io_close_abort(struct io *io, int fd);

int io_local_address(struct io *io, int fd, struct address *out);
int io_peer_address(struct io *io, int fd, struct address *out);

/* Is this address configured on this host? (Freebind tests pass their own.) */
bool io_address_is_local(struct io *io, const struct address *address);

/* All addresses of this host, at most `max`; the count. */
size_t io_local_addresses(struct io *io, struct address *out, size_t max);

/* done(events) once: for descriptors that a library owns. events as for poll(2). */
void io_poll(struct io *io, struct io_op *op, int fd, uint32_t events);

/* A UDP socket for the resolver's simulated twin is not needed: DNS has a seam of its own
 * (net/dns.h). */

/* ---- files ------------------------------------------------------------------------------ */

/* Asynchronous. Reads and writes move all bytes asked for (a short read means end of file);
 * buffers belong to io until done. */
void io_read(struct io *io, struct io_op *op, int fd, void *data, size_t len, uint64_t offset);
void io_write(struct io *io, struct io_op *op, int fd, struct iovec *iov, size_t iov_count,
              uint64_t offset);
/* The same, and what was written is on stable storage when it is done (RWF_DSYNC): one hand-over
 * for what would be two. Says nothing about other bytes of the file. */
void io_write_synced(struct io *io, struct io_op *op, int fd, struct iovec *iov, size_t iov_count,
                     uint64_t offset);
void io_fdatasync(struct io *io, struct io_op *op, int fd);

/* Blocking: for start, reload, rotation and helper threads (io/work.h), not for the steady state
 * of a worker. Each returns >= 0 or -errno. */
#define IO_OPEN_READ      0x1u
#define IO_OPEN_WRITE     0x2u
#define IO_OPEN_CREATE    0x4u /* mode 0640 */
#define IO_OPEN_EXCLUSIVE 0x8u /* with CREATE: EEXIST if it is there */
#define IO_OPEN_APPEND    0x10u
#define IO_OPEN_TRUNCATE  0x20u
#define IO_OPEN_WORLD     0x40u /* with CREATE: mode 0644, whatever the umask */

struct io_file_info {
    uint64_t size, inode;
    uint32_t owner; /* uid */
    bool is_directory;
    bool in_memory; /* on tmpfs or ramfs: gone with the power */
};

int io_file_open(struct io *io, const char *path, uint32_t flags);
int io_file_info(struct io *io, int fd, struct io_file_info *out);
int io_file_truncate(struct io *io, int fd, uint64_t size);
/* Makes the file this long, with the volume's blocks behind it, so that a write within does not
 * meet -ENOSPC; what was not written reads as zeroes. On a file system that reserves no blocks
 * the file gets its length only. */
int io_file_allocate(struct io *io, int fd, uint64_t size);
int io_file_lock(struct io *io, int fd); /* exclusive flock, not waiting: -EWOULDBLOCK */
int io_file_sync(struct io *io, int fd);
int64_t io_file_read_at(struct io *io, int fd, void *data, size_t len, uint64_t offset);
int64_t io_file_write_at(struct io *io, int fd, const void *data, size_t len, uint64_t offset);
int io_file_rename(struct io *io, const char *from, const char *to);
int io_file_unlink(struct io *io, const char *path);
int io_directory_create(struct io *io, const char *path); /* EEXIST counts as 0 */
int io_directory_sync(struct io *io, const char *path);
/* Calls `entry` per name but . and .., in sorted order; its non-zero result ends the walk and is
 * returned. */
int io_directory_walk(struct io *io, const char *path, int (*entry)(void *owner, const char *name),
                      void *owner);
/* Bytes free for us on the volume that holds `path`. */
int io_space_free(struct io *io, const char *path, uint64_t *bytes_out);
void io_file_close(struct io *io, int fd);

#endif
