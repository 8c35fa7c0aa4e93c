/* io.h's sockets: a worker's descriptors and operations on the simulated network. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/crypto.h"
#include "io/io.h"
#include "sim_disk.h"
#include "sim_net.h"
#include "sim_parts.h"
#include "sim_pipe.h"

#define LISTEN_PORT_FIRST 20000 /* given to who listens at port 0 */
#define UNIX_PATH_MAX     108   /* unix(7) */
#define UNIX_BACKLOG      128

/* What a descriptor of an engine's socket stands for. */
struct handle {
    struct sim *sim;
    struct sim_socket *socket;
    struct sim_op *connector, *reader, *writer, *poller; /* one of each at a time */
};

struct listen_handle {
    struct sim *sim;
    struct sim_listener listener;
    struct sim_op *acceptor;
    char path[UNIX_PATH_MAX];
};

static struct handle *handle_of(struct io *io, int fd)
{
    return sim_fd_object(io->sim, fd, SIM_FD_SOCKET);
}

/* EMFILE and its kin come in the middle of things, not only when the table is full. */
static int shortage(struct sim *sim, uint32_t per_million)
{
    static const int errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    return sim_chance(sim, per_million) ? -errors[sim_between(sim, 0, 3)] : 0;
}

/* ---- what the network tells a descriptor ------------------------------------------------ */

static short poll_events(const struct sim_socket *socket)
{
    int events = 0;
    events |= net_readable(socket) ? POLLIN : 0;
    events |= net_writable(socket) ? POLLOUT : 0;
    return (short)events;
}

static void poll_check(struct handle *handle)
{
    struct sim_op *op = handle->poller;
    int events = op == NULL ? 0 : poll_events(handle->socket) & (int)op->poll.events;
    if (events != 0) {
        handle->poller = NULL;
        sim_op_finish(op, events);
    }
}

static void on_connected(struct sim_socket *socket, int result)
{
    struct handle *handle = socket->owner;
    struct sim_op *op = handle->connector;
    handle->connector = NULL;
    if (op != NULL) {
        sim_op_finish(op, result);
    }
}

static void on_readable(struct sim_socket *socket)
{
    struct handle *handle = socket->owner;
    struct sim_op *op = handle->reader;
    handle->reader = NULL;
    if (op != NULL) {
        sim_op_finish(op, 0); /* how much is decided when it is delivered */
    }
    poll_check(handle);
}

static void send_on(struct sim_op *op, struct handle *handle);

static void on_writable(struct sim_socket *socket)
{
    struct handle *handle = socket->owner;
    if (handle->writer != NULL) {
        send_on(handle->writer, handle);
    }
    poll_check(handle);
}

static const struct sim_socket_calls handle_calls = {
    .connected = on_connected,
    .readable = on_readable,
    .writable = on_writable,
};

static int handle_create(struct sim *sim, struct sim_socket *socket)
{
    struct handle *handle = sim_take(sizeof(*handle));
    handle->sim = sim;
    handle->socket = socket;
    int fd = sim_fd_take(sim, SIM_FD_SOCKET, handle);
    if (fd < 0) {
        sim_give(handle);
        return fd;
    }
    socket->calls = &handle_calls;
    socket->owner = handle;
    return fd;
}

/* ---- connecting ------------------------------------------------------------------------- */

int io_socket_bound(struct io *io, const struct address *source, uint8_t family, bool freebind)
{
    struct sim *sim = io->sim;
    int result = shortage(sim, sim->odds.socket_fails);
    if (result != 0) {
        return result;
    }
    if (source != NULL && !freebind && !net_address_is_local(sim->net, source)) {
        return -EADDRNOTAVAIL;
    }
    assert(source == NULL || source->family == family);
    struct sim_socket *socket = net_socket(sim->net);
    if (source != NULL) {
        socket->local = *source;
        socket->local.port = 0;
    }
    int fd = handle_create(sim, socket);
    if (fd < 0) {
        net_close(socket, true);
    }
    return fd;
}

static void unhook(struct sim_op *op)
{
    struct handle *handle = sim_fd_object(op->io->sim, op->fd, SIM_FD_SOCKET);
    struct sim_op **places[] = {&handle->connector, &handle->reader, &handle->writer,
                                &handle->poller};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (*places[i] == op) {
            *places[i] = NULL;
        }
    }
}

static void begin_connect(struct sim_op *op)
{
    struct handle *handle = handle_of(op->io, op->fd);
    int result = net_connect(handle->socket, &op->connect.peer, NULL);
    if (result != 0) {
        sim_op_finish(op, result);
        return;
    }
    handle->connector = op;
}

void io_connect(struct io *io, struct io_op *op, int fd, const struct address *peer)
{
    handle_of(io, fd);
    struct sim_op *started = sim_op_start(io, op, SIM_OP_CONNECT, fd, begin_connect);
    started->connect.peer = *peer;
    started->unhook = unhook;
}

/* ---- receiving -------------------------------------------------------------------------- */

static void begin_recv(struct sim_op *op)
{
    struct handle *handle = handle_of(op->io, op->fd);
    assert(handle->reader == NULL); /* two receives on one socket would race for its bytes */
    if (net_readable(handle->socket)) {
        sim_op_finish(op, 0);
    } else {
        handle->reader = op;
    }
}

static void deliver_recv(struct sim_op *op)
{
    if (op->result == -ECANCELED) {
        sim_op_come_home(op);
        return;
    }
    struct io *io = op->io;
    struct sim *sim = io->sim;
    struct handle *handle = handle_of(io, op->fd);
    size_t max = io->recv_buffer_bytes;
    if (sim_chance(sim, sim->odds.recv_prefix)) {
        max = sim_spread(sim, 1, max);
    }
    /* A buffer of its own each time: who looks at the bytes after `done` is found out. */
    uint8_t *buffer = sim_take(io->recv_buffer_bytes);
    int64_t count = net_take(handle->socket, buffer, max);
    assert(count != -EAGAIN);
    sim_note(sim, "recv", io->index, (uint64_t)count);
    sim_note_bytes(sim, "recv bytes", buffer, count > 0 ? (size_t)count : 0);
    struct io_op *home = sim_op_release(op);
    home->data = buffer;
    home->done(home, (int)count);
    sim_give(buffer);
}

void io_recv(struct io *io, struct io_op *op, int fd)
{
    handle_of(io, fd);
    struct sim_op *started = sim_op_start(io, op, SIM_OP_RECV, fd, begin_recv);
    started->unhook = unhook;
    started->deliver = deliver_recv;
}

/* ---- sending ---------------------------------------------------------------------------- */

static uint64_t iov_digest(const struct iovec *iov, size_t count)
{
    struct crypto_digest digest;
    crypto_digest_begin(&digest);
    for (size_t i = 0; i < count; i++) {
        crypto_digest_add(&digest, iov[i].iov_base, iov[i].iov_len);
    }
    return crypto_digest_end(&digest);
}

/* The part of iov that begins `moved` bytes in. */
static struct iovec iov_at(const struct iovec *iov, size_t count, size_t moved)
{
    for (size_t i = 0; i < count; i++) {
        if (moved < iov[i].iov_len) {
            return (struct iovec){(uint8_t *)iov[i].iov_base + moved, iov[i].iov_len - moved};
        }
        moved -= iov[i].iov_len;
    }
    return (struct iovec){0};
}

static void send_on(struct sim_op *op, struct handle *handle)
{
    handle->writer = NULL;
    while (op->send.moved < op->send.total) {
        struct iovec part = iov_at(op->send.iov, op->send.iov_count, op->send.moved);
        int64_t count = net_put(handle->socket, part.iov_base, part.iov_len);
        if (count < 0) {
            sim_op_finish(op, (int)count);
            return;
        }
        op->send.moved += (size_t)count;
        if ((size_t)count < part.iov_len) {
            handle->writer = op;
            return;
        }
    }
    /* What it named was io's until now. */
    assert(iov_digest(op->send.iov, op->send.iov_count) == op->send.digest);
    sim_note(op->io->sim, "send bytes", op->send.total, op->send.digest);
    sim_op_finish(op, (int)op->send.total);
}

static void begin_send(struct sim_op *op)
{
    struct handle *handle = handle_of(op->io, op->fd);
    assert(handle->writer == NULL); /* two sends on one socket would mix their bytes */
    send_on(op, handle);
}

void io_send(struct io *io, struct io_op *op, int fd, struct iovec *iov, size_t iov_count)
{
    handle_of(io, fd);
    struct sim_op *started = sim_op_start(io, op, SIM_OP_SEND, fd, begin_send);
    started->unhook = unhook;
    started->send.iov = iov;
    started->send.iov_count = iov_count;
    for (size_t i = 0; i < iov_count; i++) {
        started->send.total += iov[i].iov_len;
    }
    started->send.digest = iov_digest(iov, iov_count);
}

void io_shutdown(struct io *io, int fd)
{
    io->activity++;
    net_shutdown(handle_of(io, fd)->socket);
}

/* ---- waiting ---------------------------------------------------------------------------- */

static void begin_poll(struct sim_op *op)
{
    struct handle *handle = handle_of(op->io, op->fd);
    assert(handle->poller == NULL);
    handle->poller = op;
    poll_check(handle);
}

void io_poll(struct io *io, struct io_op *op, int fd, uint32_t events)
{
    struct sim_op *started = sim_op_start(io, op, SIM_OP_POLL, fd, begin_poll);
    started->unhook = unhook;
    started->poll.events = events;
}

/* ---- listening -------------------------------------------------------------------------- */

static void accept_check(struct listen_handle *handle)
{
    struct sim_op *op = handle->acceptor;
    if (op == NULL || op->state != SIM_OP_WAITING) {
        return;
    }
    const struct io_acceptor *acceptor = op->accept.acceptor;
    bool work = !acceptor->paused && !list_empty(&handle->listener.backlog);
    if (work || acceptor->stopping) {
        sim_op_finish(op, 0);
    }
}

static void on_incoming(struct sim_listener *listener)
{
    accept_check(listener->owner);
}

static int listen_open(struct io *io, const struct address *address, const char *path, int backlog)
{
    struct sim *sim = io->sim;
    struct listen_handle *handle = sim_take(sizeof(*handle));
    handle->sim = sim;
    handle->listener = (struct sim_listener){.incoming = on_incoming, .owner = handle};
    handle->listener.of_engine = true;
    handle->listener.backlog_max = backlog < 1 ? 1 : (uint32_t)backlog;
    if (path != NULL) {
        assert(strlen(path) < UNIX_PATH_MAX);
        memcpy(handle->path, path, strlen(path) + 1);
        handle->listener.path = handle->path;
    } else {
        assert(address != NULL);
        handle->listener.address = *address;
        if (address->port == 0) {
            handle->listener.address.port =
                (uint16_t)(LISTEN_PORT_FIRST + ++sim->connections_made % 10000);
        }
    }
    int result = net_listen(sim->net, &handle->listener);
    if (result == 0) {
        result = sim_fd_take(sim, SIM_FD_LISTENER, handle);
        if (result < 0) {
            net_unlisten(&handle->listener);
        }
    }
    if (result < 0) {
        sim_give(handle);
    }
    return result;
}

int io_listen(struct io *io, const struct address *address, int backlog)
{
    return listen_open(io, address, NULL, backlog);
}

int io_listen_unix(struct io *io, const char *path, uint32_t mode)
{
    (void)mode;
    struct sim_disk *disk = io->sim->disk;
    if (disk_find(disk, path) != NULL) {
        disk_unlink(disk, path);
    }
    int result = disk_create(disk, path, false, NULL);
    return result != 0 ? result : listen_open(io, NULL, path, UNIX_BACKLOG);
}

/* ---- accepting -------------------------------------------------------------------------- */

/* One connection handed over; false: none, or accepting has stopped or paused. */
static bool accept_one(struct listen_handle *handle, struct io_acceptor *acceptor)
{
    struct sim *sim = handle->sim;
    if (acceptor->paused || list_empty(&handle->listener.backlog)) {
        return false;
    }
    int fd = shortage(sim, sim->odds.accept_fails);
    if (fd == 0) {
        struct sim_socket *socket = net_accept(&handle->listener);
        fd = handle_create(sim, socket);
        if (fd < 0) { /* the kernel would have left it in the backlog */
            list_push_front(&handle->listener.backlog, &socket->backlog);
            handle->listener.backlog_len++;
        }
    }
    acceptor->paused = fd < 0;
    sim_note(sim, "accepted", acceptor->io->index, (uint64_t)(int64_t)fd);
    acceptor->accepted(acceptor, fd);
    return true;
}

static void deliver_accepts(struct sim_op *op)
{
    struct io_acceptor *acceptor = op->accept.acceptor;
    struct listen_handle *handle = sim_fd_object(op->io->sim, op->fd, SIM_FD_LISTENER);
    list_remove(&op->ready);
    op->state = SIM_OP_WAITING;
    if (acceptor->stopping) {
        handle->acceptor = NULL;
        sim_op_release(op);
        acceptor->stopped(acceptor);
        return;
    }
    while (!acceptor->stopping && accept_one(handle, acceptor)) {
    }
    accept_check(handle); /* stopped or resumed from within */
}

static void begin_accept(struct sim_op *op)
{
    accept_check(sim_fd_object(op->io->sim, op->fd, SIM_FD_LISTENER));
}

void io_accept_start(struct io *io, struct io_acceptor *acceptor, int listen_fd)
{
    struct listen_handle *handle = sim_fd_object(io->sim, listen_fd, SIM_FD_LISTENER);
    assert(handle->acceptor == NULL);
    acceptor->io = io;
    acceptor->stopping = acceptor->paused = false;
    struct sim_op *op = sim_op_start(io, &acceptor->op, SIM_OP_ACCEPT, listen_fd, begin_accept);
    op->deliver = deliver_accepts;
    op->accept.acceptor = acceptor;
    handle->acceptor = op;
}

void io_accept_pause(struct io_acceptor *acceptor)
{
    acceptor->paused = true;
}

static void acceptor_changed(struct io_acceptor *acceptor)
{
    acceptor->io->activity++;
    accept_check(sim_fd_object(acceptor->io->sim, acceptor->op.fd, SIM_FD_LISTENER));
}

void io_accept_resume(struct io_acceptor *acceptor)
{
    acceptor->paused = false;
    acceptor_changed(acceptor);
}

void io_accept_stop(struct io_acceptor *acceptor)
{
    acceptor->stopping = true;
    acceptor_changed(acceptor);
}

/* ---- closing ---------------------------------------------------------------------------- */

static void close_object(struct sim *sim, struct sim_fd *slot, bool abort)
{
    if (slot->kind == SIM_FD_LISTENER) {
        struct listen_handle *handle = slot->object;
        net_unlisten(&handle->listener);
        sim_give(handle);
        return;
    }
    assert(slot->kind == SIM_FD_SOCKET);
    struct handle *handle = slot->object;
    sim_note(sim, "close", handle->socket->connection->id, abort);
    net_close(handle->socket, abort);
    sim_give(handle);
}

static void close_fd(struct io *io, int fd, bool abort)
{
    assert(fd >= 0);
    struct sim_fd slot = io->sim->fds[fd];
    io->activity++;
    sim_fd_give(io->sim, fd);
    close_object(io->sim, &slot, abort);
}

void io_close(struct io *io, int fd)
{
    close_fd(io, fd, false);
}

void io_close_abort(struct io *io, int fd)
{
    close_fd(io, fd, true);
}

void sim_net_crash(struct sim_net *net, enum sim_crash kind)
{
    struct sim *sim = net->sim;
    for (uint32_t fd = 0; fd < sim->fd_max; fd++) {
        struct sim_fd *slot = &sim->fds[fd];
        if (slot->kind == SIM_FD_SOCKET && kind == SIM_POWER) {
            struct handle *handle = slot->object;
            handle->socket->connection->dark = true;
        }
        if (slot->kind == SIM_FD_SOCKET || slot->kind == SIM_FD_LISTENER) {
            close_object(sim, slot, false);
            slot->kind = SIM_FD_FREE;
        }
    }
}

/* ---- addresses -------------------------------------------------------------------------- */

int io_local_address(struct io *io, int fd, struct address *out)
{
    const struct sim_fd *slot = &io->sim->fds[fd];
    if (slot->kind == SIM_FD_LISTENER) {
        const struct listen_handle *handle = slot->object;
        *out = handle->listener.address;
        return 0;
    }
    *out = handle_of(io, fd)->socket->local;
    return 0;
}

int io_peer_address(struct io *io, int fd, struct address *out)
{
    const struct sim_socket *socket = handle_of(io, fd)->socket;
    if (!socket->open) {
        return -ENOTCONN;
    }
    *out = socket->remote;
    return 0;
}

bool io_address_is_local(struct io *io, const struct address *address)
{
    return net_address_is_local(io->sim->net, address);
}

size_t io_local_addresses(struct io *io, struct address *out, size_t max)
{
    return net_addresses(io->sim->net, out, max);
}
