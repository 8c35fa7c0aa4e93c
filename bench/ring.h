/* A small ring for the bench programs: io_uring with callbacks, nothing else.
 *
 * Knows nothing of SMTP and nothing of the engine: the yardstick must not stand on what it
 * measures. One ring belongs to one thread. A ring_op is the caller's memory, lent to the ring
 * from the call that submits it until its last `done`; `done` never runs inside the submitting
 * call. Descriptors are the caller's: shut down, wait for the ops to come home, then close.
 *
 * Results are as the kernel's: 0 or a count, or -errno. */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct ring;

struct ring_op {
    void (*done)(struct ring_op *op, int result);
    const char *data; /* ring_recv: what was received, valid until done returns */
    int fd;
    /* private: */
    uint8_t kind;
    bool busy;
};

struct ring_options {
    uint32_t recv_buffer_bytes; /* size of one provided buffer */
    uint32_t recv_buffer_count; /* a power of two, at most 32768 */
};

static inline void ring_op_init(struct ring_op *op, void (*done)(struct ring_op *, int))
{
    *op = (struct ring_op){.done = done, .fd = -1};
}

/* Submitted and not yet home. */
static inline bool ring_busy(const struct ring_op *op)
{
    return op->busy;
}

/* Ends the program with a message where the kernel refuses; owned by the caller's thread. */
struct ring *ring_create(const struct ring_options *options);
void ring_destroy(struct ring *ring); /* NULL is accepted */

/* done once per connection (its descriptor) until an error, which is the last. */
void ring_accept(struct ring *ring, struct ring_op *op, int fd);

/* done once, 0 or -errno; `address` stays valid until then. */
void ring_connect(struct ring *ring, struct ring_op *op, int fd, const struct sockaddr *address,
                  socklen_t address_len);

/* done for every piece received; the last call has a result <= 0 (0: the peer ended). */
void ring_recv(struct ring *ring, struct ring_op *op, int fd);

/* Everything is sent or it is an error (MSG_WAITALL). `data` stays valid until done. */
void ring_send(struct ring *ring, struct ring_op *op, int fd, const void *data, size_t len);

/* The same for a vector; `message` and all it names stay valid until done. */
void ring_sendmsg(struct ring *ring, struct ring_op *op, int fd, const struct msghdr *message);

/* The same without a call of done where all went well: the caller learns it from
 * the peer's answer. The op is not busy and must outlive the socket; done runs on errors. */
void ring_sendmsg_silent(struct ring *ring, struct ring_op *op, int fd,
                         const struct msghdr *message);

void ring_read(struct ring *ring, struct ring_op *op, int fd, void *data, size_t len);

/* Submits and waits for something to happen or until timeout_ns has passed (0: no limit). */
void ring_wait(struct ring *ring, uint64_t timeout_ns);

/* Calls `done` for what has happened: one pass, so that timers get their turn. */
void ring_run_done(struct ring *ring);

/* How often the kernel was entered. */
uint64_t ring_enter_count(const struct ring *ring);

#endif
