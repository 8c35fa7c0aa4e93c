/* Operations from the submitting call until they come home. The ring (io_uring.c) moves them to the
 * kernel and back; here short transfers go on, and cancels find their op wherever it is.
 *
 * The caller's op is the whole bookkeeping, so nothing is allocated per operation. */
#include <assert.h>
#include <errno.h>
#include <limits.h>

#include "io/io_kernel.h"

bool io_busy(const struct io_op *op)
{
    return op->state != IO_HOME;
}

static void count_fd(struct io *io, int fd, int change)
{
    if ((uint32_t)fd < io->watched_fds) {
        io->ops_by_fd[fd] = (uint16_t)(io->ops_by_fd[fd] + change);
    }
}

void io_start(struct io *io, struct io_op *op)
{
    assert(!io_busy(op));
    assert(op->fd >= 0);
    count_fd(io, op->fd, 1);
    ring_submit(io, op);
}

void io_finish_later(struct io *io, struct io_op *op, int result)
{
    if (!io_busy(op)) {
        count_fd(io, op->fd, 1);
    }
    op->state = IO_READY;
    op->detail[0] = (uint32_t)result;
    list_push_back(&io->ready, &op->node);
}

/* ---- submitting ------------------------------------------------------------------------- */

static void start_kind(struct io *io, struct io_op *op, enum io_kind kind, int fd)
{
    assert(!io_busy(op));
    op->kind = (uint8_t)kind;
    op->fd = fd;
    io_start(io, op);
}

void io_connect(struct io *io, struct io_op *op, int fd, const struct address *peer)
{
    assert(!io_busy(op));
    op->detail[0] = io_address_to_kernel(peer, &op->peer);
    start_kind(io, op, IO_KIND_CONNECT, fd);
}

void io_recv(struct io *io, struct io_op *op, int fd)
{
    op->data = NULL;
    start_kind(io, op, IO_KIND_RECV, fd);
}

/* Skips pieces of no length at the front. */
static void skip_empty(struct io_op *op)
{
    while (op->iov_count > 0 && op->iov->iov_len == 0) {
        op->iov++;
        op->iov_count--;
    }
}

/* Prepares a transfer from iov; false: there is nothing to move. */
static bool begin_transfer(struct io_op *op, struct iovec *iov, size_t iov_count)
{
    assert(!io_busy(op));
    op->iov = iov;
    op->iov_count = iov_count;
    op->left = op->moved = 0;
    op->detail[0] = 0;
    for (size_t i = 0; i < iov_count; i++) {
        op->left += iov[i].iov_len;
    }
    assert(op->left <= INT_MAX); /* the result says the total */
    skip_empty(op);
    return op->left > 0;
}

static void start_transfer(struct io *io, struct io_op *op, enum io_kind kind, int fd)
{
    if (op->left > 0) {
        start_kind(io, op, kind, fd);
    } else {
        op->kind = (uint8_t)kind;
        op->fd = fd;
        io_finish_later(io, op, 0);
    }
}

void io_send(struct io *io, struct io_op *op, int fd, struct iovec *iov, size_t iov_count)
{
    begin_transfer(op, iov, iov_count);
    start_transfer(io, op, IO_KIND_SEND, fd);
}

void io_poll(struct io *io, struct io_op *op, int fd, uint32_t events)
{
    assert(!io_busy(op));
    op->detail[0] = events;
    start_kind(io, op, IO_KIND_POLL, fd);
}

void io_read(struct io *io, struct io_op *op, int fd, void *data, size_t len, uint64_t offset)
{
    assert(!io_busy(op));
    assert(len <= INT_MAX);
    op->left = len;
    op->moved = 0;
    op->detail[0] = (uintptr_t)data;
    op->detail[1] = offset;
    start_transfer(io, op, IO_KIND_READ, fd);
}

void io_write(struct io *io, struct io_op *op, int fd, struct iovec *iov, size_t iov_count,
              uint64_t offset)
{
    begin_transfer(op, iov, iov_count);
    op->detail[1] = offset;
    start_transfer(io, op, IO_KIND_WRITE, fd);
}

void io_write_synced(struct io *io, struct io_op *op, int fd, struct iovec *iov, size_t iov_count,
                     uint64_t offset)
{
    begin_transfer(op, iov, iov_count);
    op->detail[1] = offset;
    start_transfer(io, op, IO_KIND_WRITE_SYNCED, fd);
}

void io_fdatasync(struct io *io, struct io_op *op, int fd)
{
    start_kind(io, op, IO_KIND_SYNC, fd);
}

void io_cancel(struct io *io, struct io_op *op)
{
    switch (IO_STATE(op)) {
    case IO_HOME:
    case IO_READY:
        break;
    case IO_STARVED:
    case IO_PARKED:
        io->starved_count -= IO_STATE(op) == IO_STARVED;
        list_remove(&op->node);
        io_finish_later(io, op, -ECANCELED);
        break;
    case IO_FLYING:
        if ((op->state & IO_CANCELLED) != 0) {
            break;
        }
        op->state |= IO_CANCELLED;
        if (!ring_cancel(io, op)) {
            list_push_back(&io->cancels, &op->node);
        }
        break;
    }
}

/* ---- coming home ------------------------------------------------------------------------ */

static void come_home(struct io *io, struct io_op *op, int result)
{
    count_fd(io, op->fd, -1);
    op->state = IO_HOME;
    op->done(op, result);
}

static void on_received(struct io *io, struct io_op *op, int result, bool cancelled)
{
    if (result == -ENOBUFS && !cancelled) {
        op->state = IO_STARVED;
        op->drained = false; /* bytes may be there */
        list_push_back(&io->starved, &op->node);
        io->starved_count++;
        return;
    }
    come_home(io, op, result == -ENOBUFS ? -ECANCELED : result);
}

/* Steps over `count` bytes of op->iov. */
static void advance_pieces(struct io_op *op, size_t count)
{
    size_t begun = op->detail[0] + count;
    while (op->iov_count > 0 && begun >= op->iov->iov_len) {
        begun -= op->iov->iov_len;
        op->iov++;
        op->iov_count--;
    }
    op->detail[0] = begun;
}

static void on_moved(struct io *io, struct io_op *op, int result, bool cancelled)
{
    if (result < 0) {
        come_home(io, op, result);
        return;
    }
    assert((size_t)result <= op->left);
    op->moved += (size_t)result;
    op->left -= (size_t)result;
    bool at_end = result == 0 && op->kind == IO_KIND_READ;
    if (op->left == 0 || at_end) {
        come_home(io, op, (int)op->moved);
        return;
    }
    if (cancelled || result == 0) {
        come_home(io, op, cancelled ? -ECANCELED : -EIO);
        return;
    }
    if (op->kind != IO_KIND_READ) {
        advance_pieces(op, (size_t)result);
    }
    op->detail[1] += op->kind != IO_KIND_SEND ? (uint64_t)result : 0;
    ring_submit(io, op);
}

void io_complete(struct io *io, struct io_op *op, int result, bool more)
{
    bool cancelled = (op->state & IO_CANCELLED) != 0;
    assert(IO_STATE(op) == IO_FLYING);
    if (!more) {
        io->flying_count--;
        list_remove(&op->node); /* from io->cancels, if it is there */
    }
    if (result == -EINTR && !cancelled && !more && op->kind != IO_KIND_ACCEPT) {
        ring_submit(io, op);
        return;
    }
    switch ((enum io_kind)op->kind) {
    case IO_KIND_ACCEPT:
        if (!more) {
            count_fd(io, op->fd, -1);
            op->state = IO_HOME;
        }
        io_accept_event(op, result, more);
        break;
    case IO_KIND_RECV:
        on_received(io, op, result, cancelled);
        break;
    case IO_KIND_SEND:
    case IO_KIND_READ:
    case IO_KIND_WRITE:
    case IO_KIND_WRITE_SYNCED:
        on_moved(io, op, result, cancelled);
        break;
    case IO_KIND_CONNECT:
        come_home(io, op, result == 0 ? io_connect_confirm(op->fd) : result);
        break;
    case IO_KIND_NONE:
    case IO_KIND_POLL:
    case IO_KIND_SYNC:
        come_home(io, op, result);
        break;
    }
}

void io_complete_ready(struct io *io)
{
    struct list ready;
    list_init(&ready);
    list_splice_back(&ready, &io->ready);
    struct list_node *node;
    while ((node = list_pop_front(&ready)) != NULL) {
        struct io_op *op = CONTAINER_OF(node, struct io_op, node);
        int result = (int)(uint32_t)op->detail[0];
        if (op->kind == IO_KIND_ACCEPT) {
            count_fd(io, op->fd, -1);
            op->state = IO_HOME;
            io_accept_event(op, result, false);
        } else {
            come_home(io, op, result);
        }
    }
}
