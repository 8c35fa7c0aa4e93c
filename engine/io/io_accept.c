/* Accepting: one multishot accept per listener, or one single accept after the other.
 *
 * The op is armed while the acceptor neither stops nor is paused. Pausing and stopping cancel it;
 * what happens next is decided when it comes home (settle), by the flags as they are then, so
 * pause, resume and stop may follow each other at any pace. */
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>

#include "io/io_kernel.h"

static void arm(struct io_acceptor *acceptor)
{
    assert(!io_busy(&acceptor->op));
    acceptor->op.kind = IO_KIND_ACCEPT;
    io_start(acceptor->io, &acceptor->op);
}

/* The op is home: arm it again, or say that it was the last time. */
static void settle(struct io_acceptor *acceptor)
{
    if (acceptor->stopping) {
        acceptor->stopped(acceptor);
    } else if (!acceptor->paused) {
        arm(acceptor);
    }
}

void io_accept_event(struct io_op *op, int result, bool more)
{
    struct io_acceptor *acceptor = CONTAINER_OF(op, struct io_acceptor, op);
    if (result >= 0) {
        acceptor->accepted(acceptor, result);
    } else if (result == -EINVAL && io_has(acceptor->io, IO_FEATURE_MULTISHOT)) {
        io_lacks(acceptor->io, IO_FEATURE_MULTISHOT);
    } else if (result != -ECANCELED && result != -EINTR) {
        acceptor->paused = true;
        acceptor->accepted(acceptor, result);
    }
    /* The callback may have armed it or queued its end; then that decides. */
    if (!more && !io_busy(op)) {
        settle(acceptor);
    }
}

void io_accept_start(struct io *io, struct io_acceptor *acceptor, int listen_fd)
{
    assert(acceptor->accepted != NULL);
    assert(acceptor->stopped != NULL);
    acceptor->io = io;
    acceptor->stopping = acceptor->paused = false;
    io_op_init(&acceptor->op, NULL);
    acceptor->op.fd = listen_fd;
    /* Accepted sockets inherit it: one call here instead of one per connection. Unix sockets
     * refuse it, and need it not. */
    int on = 1;
    setsockopt(listen_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    arm(acceptor);
}

void io_accept_pause(struct io_acceptor *acceptor)
{
    acceptor->paused = true;
    io_cancel(acceptor->io, &acceptor->op);
}

void io_accept_resume(struct io_acceptor *acceptor)
{
    acceptor->paused = false;
    if (!acceptor->stopping && !io_busy(&acceptor->op)) {
        arm(acceptor);
    }
}

void io_accept_stop(struct io_acceptor *acceptor)
{
    if (acceptor->stopping) {
        return;
    }
    acceptor->stopping = true;
    if (io_busy(&acceptor->op)) {
        io_cancel(acceptor->io, &acceptor->op);
    } else {
        io_finish_later(acceptor->io, &acceptor->op, -ECANCELED);
    }
}
