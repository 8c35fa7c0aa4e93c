#include "contract_parts.h"

#include <string.h>

void contract_run_for(struct contract *contract, uint64_t ms)
{
    uint64_t end_ms = io_now_ms(contract->io) + ms;
    while (io_now_ms(contract->io) < end_ms) {
        WANT_INT(io_run(contract->io, end_ms), 0);
    }
}

static void on_done(struct io_op *op, int result)
{
    struct tracked *tracked = CONTAINER_OF(op, struct tracked, op);
    tracked->result = result;
    tracked->count++;
    if (op->data != NULL && result > 0 && (size_t)result <= sizeof tracked->data) {
        memcpy(tracked->data, op->data, (size_t)result);
    }
}

void tracked_init(struct tracked *tracked)
{
    memset(tracked, 0, sizeof *tracked);
    io_op_init(&tracked->op, on_done);
}

int tracked_wait(struct contract *contract, struct tracked *tracked)
{
    RUN_UNTIL(!io_busy(&tracked->op));
    WANT_INT(tracked->count, 1);
    return tracked->result;
}

static void on_accepted(struct io_acceptor *acceptor, int fd)
{
    struct accepting *accepting = CONTAINER_OF(acceptor, struct accepting, acceptor);
    if (fd < 0) {
        accepting->errors++;
    } else if (accepting->count < ACCEPTED_MAX) {
        accepting->fds[accepting->count++] = fd;
    }
}

static void on_stopped(struct io_acceptor *acceptor)
{
    CONTAINER_OF(acceptor, struct accepting, acceptor)->stopped++;
}

void accepting_start(struct contract *contract, struct accepting *accepting, int listen_fd)
{
    memset(accepting, 0, sizeof *accepting);
    accepting->acceptor.accepted = on_accepted;
    accepting->acceptor.stopped = on_stopped;
    io_accept_start(contract->io, &accepting->acceptor, listen_fd);
}

void accepting_stop(struct contract *contract, struct accepting *accepting)
{
    io_accept_stop(&accepting->acceptor);
    RUN_UNTIL(accepting->stopped > 0);
    WANT_INT(accepting->stopped, 1);
    WANT_INT(accepting->errors, 0);
}

struct address contract_address(const char *ip)
{
    struct address address = {0};
    if (!address_parse(bytes_from_string(ip), &address)) {
        printf("no address: %s\n", ip);
    }
    return address;
}

int contract_listen(struct contract *contract, const char *ip, struct address *out)
{
    struct address any_port = contract_address(ip);
    int fd = io_listen(contract->io, &any_port, ACCEPTED_MAX);
    WANT(fd >= 0);
    WANT_INT(io_local_address(contract->io, fd, out), 0);
    WANT(out->port != 0);
    WANT(address_equal_ip(out, &any_port));
    return fd;
}

int contract_connect(struct contract *contract, const struct address *address)
{
    struct tracked connect;
    tracked_init(&connect);
    int fd = io_socket_bound(contract->io, NULL, address->family, false);
    WANT(fd >= 0);
    io_connect(contract->io, &connect.op, fd, address);
    WANT_INT(tracked_wait(contract, &connect), 0);
    return fd;
}

void pairs_open(struct contract *contract, struct pair *pairs, int count, const char *ip)
{
    struct accepting accepting;
    struct address address;
    int listen_fd = contract_listen(contract, ip, &address);
    accepting_start(contract, &accepting, listen_fd);
    /* One after the other, so that accepted descriptors belong to connected ones by their place. */
    for (int i = 0; i < count; i++) {
        pairs[i].near = contract_connect(contract, &address);
        RUN_UNTIL(accepting.count == i + 1);
        pairs[i].far = accepting.fds[i];
    }
    accepting_stop(contract, &accepting);
    io_close(contract->io, listen_fd);
}

void pairs_close(struct contract *contract, struct pair *pairs, int count)
{
    for (int i = 0; i < count; i++) {
        io_close(contract->io, pairs[i].near);
        io_close(contract->io, pairs[i].far);
    }
    WANT_INT(io_run(contract->io, 0), 0);
}

int contract_send(struct contract *contract, int fd, const void *data, size_t len)
{
    struct tracked send;
    struct iovec piece = {.iov_len = len};
    memcpy(&piece.iov_base, &data, sizeof data); /* const is dropped by the interface, not by us */
    tracked_init(&send);
    io_send(contract->io, &send.op, fd, &piece, 1);
    return tracked_wait(contract, &send);
}

int contract_recv(struct contract *contract, int fd, struct tracked *tracked)
{
    tracked_init(tracked);
    io_recv(contract->io, &tracked->op, fd);
    return tracked_wait(contract, tracked);
}
