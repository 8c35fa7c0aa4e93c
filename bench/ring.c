#include "bench/ring.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define SUBMISSION_ENTRIES 4096
#define COMPLETION_ENTRIES 32768
#define BUFFER_GROUP       0
#define BATCH              256 /* completions taken before their slots are given back */

enum op_kind { OP_ONCE, OP_ACCEPT, OP_RECV };

struct ring {
    struct io_uring uring;
    struct io_uring_buf_ring *buffers;
    char *buffer_memory;
    struct ring_options options;
    uint64_t enter_count;
};

static void fail(const char *what, int error)
{
    fprintf(stderr, "ring: %s: %s\n", what, strerror(error));
    exit(EX_OSERR);
}

/* DEFER_TASKRUN halves the cost of a message against a plain ring; kernels before 6.1 have only
 * COOP_TASKRUN, which comes near it. */
static void open_ring(struct ring *ring)
{
    static const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN,
        IORING_SETUP_COOP_TASKRUN,
    };
    int result = -EINVAL;
    for (size_t i = 0; i < sizeof flags / sizeof *flags && result == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags = flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL,
            .cq_entries = COMPLETION_ENTRIES,
        };
        result = io_uring_queue_init_params(SUBMISSION_ENTRIES, &ring->uring, &params);
    }
    if (result < 0) {
        fail("io_uring_setup", -result);
    }
    io_uring_register_ring_fd(&ring->uring);
}

static char *buffer_at(const struct ring *ring, unsigned id)
{
    return ring->buffer_memory + (size_t)id * ring->options.recv_buffer_bytes;
}

static void give_buffer(struct ring *ring, unsigned id)
{
    io_uring_buf_ring_add(ring->buffers, buffer_at(ring, id), ring->options.recv_buffer_bytes,
                          (unsigned short)id,
                          io_uring_buf_ring_mask(ring->options.recv_buffer_count), 0);
    io_uring_buf_ring_advance(ring->buffers, 1);
}

static void register_buffers(struct ring *ring)
{
    uint32_t count = ring->options.recv_buffer_count;
    void *table = NULL, *memory = NULL;
    if (posix_memalign(&table, 4096, count * sizeof(struct io_uring_buf)) != 0 ||
        posix_memalign(&memory, 4096, (size_t)count * ring->options.recv_buffer_bytes) != 0) {
        fail("receive buffers", ENOMEM);
    }
    ring->buffers = table;
    ring->buffer_memory = memory;
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)table, .ring_entries = count, .bgid = BUFFER_GROUP};
    int result = io_uring_register_buf_ring(&ring->uring, &registration, 0);
    if (result < 0) {
        fail("register receive buffers", -result);
    }
    io_uring_buf_ring_init(ring->buffers);
    for (uint32_t id = 0; id < count; id++) {
        give_buffer(ring, id);
    }
}

struct ring *ring_create(const struct ring_options *options)
{
    uint32_t count = options->recv_buffer_count;
    assert(count > 0 && count <= 32768);
    assert((count & (count - 1)) == 0);
    struct ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL) {
        fail("memory", ENOMEM);
    }
    ring->options = *options;
    open_ring(ring);
    register_buffers(ring);
    return ring;
}

void ring_destroy(struct ring *ring)
{
    if (ring == NULL) {
        return;
    }
    io_uring_queue_exit(&ring->uring);
    free(ring->buffers);
    free(ring->buffer_memory);
    free(ring);
}

static struct io_uring_sqe *next_entry(struct ring *ring)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->uring);
    while (entry == NULL) {
        int result = io_uring_submit(&ring->uring);
        if (result < 0 && result != -EBUSY && result != -EAGAIN && result != -EINTR) {
            fail("submit", -result);
        }
        ring->enter_count++;
        entry = io_uring_get_sqe(&ring->uring);
    }
    return entry;
}

static void lend(struct io_uring_sqe *entry, struct ring_op *op, int fd, enum op_kind kind)
{
    assert(!op->busy);
    op->fd = fd;
    op->kind = (uint8_t)kind;
    op->busy = true;
    io_uring_sqe_set_data(entry, op);
}

void ring_accept(struct ring *ring, struct ring_op *op, int fd)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_multishot_accept(entry, fd, NULL, NULL, SOCK_CLOEXEC);
    lend(entry, op, fd, OP_ACCEPT);
}

void ring_connect(struct ring *ring, struct ring_op *op, int fd, const struct sockaddr *address,
                  socklen_t address_len)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_connect(entry, fd, address, address_len);
    lend(entry, op, fd, OP_ONCE);
}

void ring_recv(struct ring *ring, struct ring_op *op, int fd)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_recv_multishot(entry, fd, NULL, 0, 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = BUFFER_GROUP;
    lend(entry, op, fd, OP_RECV);
}

void ring_send(struct ring *ring, struct ring_op *op, int fd, const void *data, size_t len)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_send(entry, fd, data, len, MSG_WAITALL | MSG_NOSIGNAL);
    lend(entry, op, fd, OP_ONCE);
}

void ring_sendmsg(struct ring *ring, struct ring_op *op, int fd, const struct msghdr *message)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_sendmsg(entry, fd, message, MSG_WAITALL | MSG_NOSIGNAL);
    lend(entry, op, fd, OP_ONCE);
}

void ring_sendmsg_silent(struct ring *ring, struct ring_op *op, int fd,
                         const struct msghdr *message)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_sendmsg(entry, fd, message, MSG_WAITALL | MSG_NOSIGNAL);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    lend(entry, op, fd, OP_ONCE);
    op->busy = false;
}

void ring_read(struct ring *ring, struct ring_op *op, int fd, void *data, size_t len)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_read(entry, fd, data, (unsigned)len, 0);
    lend(entry, op, fd, OP_ONCE);
}

/* A multishot that ended though nothing ended on the wire (buffers ran out, the completion queue
 * was full) is armed again unseen: both have room again once this batch is done. */
static void complete_recv(struct ring *ring, struct ring_op *op, const struct io_uring_cqe *cqe)
{
    int result = cqe->res;
    bool last = !(cqe->flags & IORING_CQE_F_MORE);
    if (last) {
        op->busy = false;
    }
    if (result == -ENOBUFS || result == -EINTR) {
        ring_recv(ring, op, op->fd);
        return;
    }
    if (result <= 0) {
        assert(last);
        op->done(op, result);
        return;
    }
    unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    op->data = buffer_at(ring, id);
    int fd = op->fd;
    if (last) {
        ring_recv(ring, op, fd);
    }
    op->done(op, result);
    give_buffer(ring, id);
}

static void complete(struct ring *ring, const struct io_uring_cqe *cqe)
{
    struct ring_op *op = io_uring_cqe_get_data(cqe);
    switch ((enum op_kind)op->kind) {
    case OP_RECV:
        complete_recv(ring, op, cqe);
        return;
    case OP_ACCEPT:
        if (!(cqe->flags & IORING_CQE_F_MORE)) {
            op->busy = false;
            if (cqe->res >= 0) {
                ring_accept(ring, op, op->fd);
            }
        }
        op->done(op, cqe->res);
        return;
    case OP_ONCE:
        op->busy = false;
        op->done(op, cqe->res);
        return;
    }
}

void ring_wait(struct ring *ring, uint64_t timeout_ns)
{
    int result;
    if (timeout_ns == 0) {
        result = io_uring_submit_and_wait(&ring->uring, 1);
    } else {
        struct io_uring_cqe *first;
        struct __kernel_timespec limit = {
            .tv_sec = (long long)(timeout_ns / 1000000000),
            .tv_nsec = (long long)(timeout_ns % 1000000000),
        };
        result = io_uring_submit_and_wait_timeout(&ring->uring, &first, 1, &limit, NULL);
    }
    ring->enter_count++;
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EBUSY &&
        result != -EAGAIN) {
        fail("wait", -result);
    }
}

void ring_run_done(struct ring *ring)
{
    struct io_uring_cqe *batch[BATCH];
    unsigned left = io_uring_cq_ready(&ring->uring);
    while (left > 0) {
        unsigned count = io_uring_peek_batch_cqe(&ring->uring, batch, left < BATCH ? left : BATCH);
        for (unsigned i = 0; i < count; i++) {
            complete(ring, batch[i]);
        }
        io_uring_cq_advance(&ring->uring, count);
        left = count == 0 ? 0 : left - count;
    }
}

uint64_t ring_enter_count(const struct ring *ring)
{
    return ring->enter_count;
}
