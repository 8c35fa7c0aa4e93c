/* The facts about listeners and addresses. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "contract_parts.h"

#define NOT_OURS "192.0.2.77" /* RFC 5737: documentation, on no host */

static void close_accepted(struct contract *contract, struct accepting *accepting, int listen_fd)
{
    for (int i = 0; i < accepting->count; i++) {
        io_close(contract->io, accepting->fds[i]);
    }
    io_close(contract->io, listen_fd);
    WANT_INT(io_run(contract->io, 0), 0);
}

void contract_a_stopped_acceptor_says_so_last(struct contract *contract)
{
    struct accepting accepting;
    struct address address;
    int listen_fd = contract_listen(contract, "127.0.0.1", &address);
    accepting_start(contract, &accepting, listen_fd);
    contract_run_for(contract, 5);
    io_accept_stop(&accepting.acceptor);
    io_accept_stop(&accepting.acceptor);
    WANT_INT(accepting.stopped, 0);
    RUN_UNTIL(accepting.stopped > 0);
    int fd = contract_connect(contract, &address);
    contract_run_for(contract, 10);
    WANT_INT(accepting.stopped, 1);
    WANT_INT(accepting.count, 0);
    io_close(contract->io, fd);
    close_accepted(contract, &accepting, listen_fd);
}

void contract_a_paused_acceptor_leaves_connections_in_the_backlog(struct contract *contract)
{
    struct accepting accepting;
    struct address address;
    int fds[3];
    int listen_fd = contract_listen(contract, "127.0.0.1", &address);
    accepting_start(contract, &accepting, listen_fd);
    contract_run_for(contract, 5);
    io_accept_pause(&accepting.acceptor);
    contract_run_for(contract, 5); /* what was under way has settled */
    for (int i = 0; i < 3; i++) {
        fds[i] = contract_connect(contract, &address);
    }
    contract_run_for(contract, 20);
    WANT_INT(accepting.count, 0);
    io_accept_resume(&accepting.acceptor);
    WANT_INT(accepting.count, 0);
    RUN_UNTIL(accepting.count == 3);
    accepting_stop(contract, &accepting);
    for (int i = 0; i < 3; i++) {
        io_close(contract->io, fds[i]);
    }
    close_accepted(contract, &accepting, listen_fd);
}

void contract_an_acceptor_paused_and_resumed_at_once_goes_on(struct contract *contract)
{
    struct accepting accepting;
    struct address address;
    int listen_fd = contract_listen(contract, "127.0.0.1", &address);
    accepting_start(contract, &accepting, listen_fd);
    contract_run_for(contract, 5);
    io_accept_pause(&accepting.acceptor);
    io_accept_resume(&accepting.acceptor);
    io_accept_pause(&accepting.acceptor);
    io_accept_resume(&accepting.acceptor);
    io_accept_resume(&accepting.acceptor);
    contract_run_for(contract, 5);
    int fd = contract_connect(contract, &address);
    RUN_UNTIL(accepting.count == 1);
    accepting_stop(contract, &accepting);
    io_close(contract->io, fd);
    close_accepted(contract, &accepting, listen_fd);
}

void contract_an_acceptor_may_be_stopped_while_paused(struct contract *contract)
{
    struct address address;
    for (int settled = 0; settled < 2; settled++) {
        struct accepting accepting;
        int listen_fd = contract_listen(contract, "127.0.0.1", &address);
        accepting_start(contract, &accepting, listen_fd);
        io_accept_pause(&accepting.acceptor);
        contract_run_for(contract, settled * 10);
        WANT_INT(accepting.stopped, 0);
        accepting_stop(contract, &accepting);
        contract_run_for(contract, 5);
        WANT_INT(accepting.stopped, 1);
        close_accepted(contract, &accepting, listen_fd);
    }
}

void contract_the_peer_sees_the_source_address_we_bound(struct contract *contract)
{
    struct accepting accepting;
    struct address address, seen, source = contract_address("127.0.0.77");
    struct tracked connect;
    source.port = 4711; /* ignored */
    int listen_fd = contract_listen(contract, "127.0.0.1", &address);
    accepting_start(contract, &accepting, listen_fd);
    int fd = io_socket_bound(contract->io, &source, ADDRESS_IPV4, false);
    WANT(fd >= 0);
    tracked_init(&connect);
    io_connect(contract->io, &connect.op, fd, &address);
    WANT_INT(tracked_wait(contract, &connect), 0);
    RUN_UNTIL(accepting.count == 1);
    WANT_INT(io_peer_address(contract->io, accepting.fds[0], &seen), 0);
    WANT(address_equal_ip(&seen, &source));
    WANT_INT(io_local_address(contract->io, fd, &source), 0);
    WANT(address_equal_ip(&seen, &source));
    WANT_INT(seen.port, source.port);
    WANT_INT(io_peer_address(contract->io, fd, &seen), 0);
    WANT(address_equal_ip(&seen, &address));
    WANT_INT(seen.port, address.port);
    accepting_stop(contract, &accepting);
    io_close(contract->io, fd);
    close_accepted(contract, &accepting, listen_fd);
}

void contract_binding_to_an_address_that_is_not_ours_is_refused(struct contract *contract)
{
    struct address foreign = contract_address(NOT_OURS);
    WANT(!io_address_is_local(contract->io, &foreign));
    WANT_INT(io_socket_bound(contract->io, &foreign, ADDRESS_IPV4, false), -EADDRNOTAVAIL);
    foreign = contract_address("2001:db8::77"); /* RFC 3849 */
    WANT_INT(io_socket_bound(contract->io, &foreign, ADDRESS_IPV6, false), -EADDRNOTAVAIL);
}

void contract_freebind_takes_an_address_that_is_not_ours(struct contract *contract)
{
    struct address foreign = contract_address(NOT_OURS), seen;
    int fd = io_socket_bound(contract->io, &foreign, ADDRESS_IPV4, true);
    WANT(fd >= 0);
    WANT_INT(io_local_address(contract->io, fd, &seen), 0);
    WANT(address_equal_ip(&seen, &foreign));
    io_close(contract->io, fd);
    WANT_INT(io_run(contract->io, 0), 0);
}

void contract_a_connection_to_a_closed_port_is_refused(struct contract *contract)
{
    struct address address;
    struct tracked connect;
    int listen_fd = contract_listen(contract, "127.0.0.1", &address);
    io_close(contract->io, listen_fd);
    contract_run_for(contract, 5);
    int fd = io_socket_bound(contract->io, NULL, ADDRESS_IPV4, false);
    WANT(fd >= 0);
    tracked_init(&connect);
    io_connect(contract->io, &connect.op, fd, &address);
    WANT_INT(connect.count, 0);
    WANT_INT(tracked_wait(contract, &connect), -ECONNREFUSED);
    io_close(contract->io, fd);
    WANT_INT(io_run(contract->io, 0), 0);
}

void contract_a_second_listener_shares_the_port(struct contract *contract)
{
    struct address address;
    int first_fd = contract_listen(contract, "127.0.0.1", &address);
    int second_fd = io_listen(contract->io, &address, 16);
    WANT(second_fd >= 0);
    WANT(second_fd != first_fd);
    io_close(contract->io, first_fd);
    io_close(contract->io, second_fd);
    WANT_INT(io_run(contract->io, 0), 0);
}

void contract_listening_on_an_address_that_is_not_ours_is_refused(struct contract *contract)
{
    struct address foreign = contract_address(NOT_OURS);
    foreign.port = 2525;
    WANT_INT(io_listen(contract->io, &foreign, 16), -EADDRNOTAVAIL);
}

void contract_local_addresses_hold_loopback(struct contract *contract)
{
    struct address all[256], loopback = contract_address("127.0.0.1");
    struct address other_loopback = contract_address("127.3.2.1");
    size_t count = io_local_addresses(contract->io, all, 256), found = 0;
    WANT(count > 0);
    WANT(count <= 256);
    for (size_t i = 0; i < count; i++) {
        WANT_INT(all[i].port, 0);
        found += address_equal_ip(&all[i], &loopback);
    }
    WANT(found > 0);
    WANT_INT(io_local_addresses(contract->io, all, 1), 1);
    WANT_INT(io_local_addresses(contract->io, all, 0), 0);
    WANT(io_address_is_local(contract->io, &loopback));
    WANT(io_address_is_local(contract->io, &other_loopback));
}

void contract_poll_says_when_a_socket_can_be_read(struct contract *contract)
{
    struct pair pair;
    struct tracked poll, seen;
    pairs_open(contract, &pair, 1, "127.0.0.1");
    tracked_init(&poll);
    io_poll(contract->io, &poll.op, pair.far, POLLIN);
    contract_run_for(contract, 10);
    WANT_INT(poll.count, 0);
    WANT_INT(contract_send(contract, pair.near, "x", 1), 1);
    WANT_INT(tracked_wait(contract, &poll) & POLLIN, POLLIN);
    WANT_INT(contract_recv(contract, pair.far, &seen), 1); /* poll took nothing */
    pairs_close(contract, &pair, 1);
}
