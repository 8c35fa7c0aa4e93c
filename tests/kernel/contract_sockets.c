/* The facts about sockets. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "contract_parts.h"

#define CROWD 24 /* pairs: several times the buffers, and more than the queue's entries */

static void exchange(struct contract *contract, int near, int far)
{
    struct tracked seen;
    WANT_INT(contract_send(contract, near, "EHLO there\r\n", 12), 12);
    WANT_INT(contract_recv(contract, far, &seen), 12);
    WANT(memcmp(seen.data, "EHLO there\r\n", 12) == 0);
    WANT_INT(contract_send(contract, far, "250 here\r\n", 10), 10);
    WANT_INT(contract_recv(contract, near, &seen), 10);
    WANT(memcmp(seen.data, "250 here\r\n", 10) == 0);
}

void contract_a_connection_carries_bytes_both_ways(struct contract *contract)
{
    struct pair pair;
    pairs_open(contract, &pair, 1, "127.0.0.1");
    exchange(contract, pair.near, pair.far);
    pairs_close(contract, &pair, 1);
}

void contract_ipv6_carries_bytes_too(struct contract *contract)
{
    struct pair pair;
    pairs_open(contract, &pair, 1, "::1");
    struct address far_name, near_name;
    WANT_INT(io_local_address(contract->io, pair.near, &near_name), 0);
    WANT_INT(io_peer_address(contract->io, pair.far, &far_name), 0);
    WANT(address_equal_ip(&near_name, &far_name));
    WANT_INT(near_name.port, far_name.port);
    exchange(contract, pair.near, pair.far);
    pairs_close(contract, &pair, 1);
}

void contract_a_unix_listener_replaces_an_old_socket_and_stops(struct contract *contract)
{
    char path[256];
    snprintf(path, sizeof path, "%s/control", contract->directory);
    int old_fd = io_listen_unix(contract->io, path, 0600);
    WANT(old_fd >= 0);
    io_close(contract->io, old_fd);
    WANT_INT(io_run(contract->io, 0), 0);
    int listen_fd = io_listen_unix(contract->io, path, 0600);
    WANT(listen_fd >= 0);
    struct accepting accepting;
    accepting_start(contract, &accepting, listen_fd);
    accepting_stop(contract, &accepting);
    io_close(contract->io, listen_fd);
    WANT_INT(io_run(contract->io, 0), 0);
    WANT_INT(io_file_unlink(contract->io, path), 0);
}

/* ---- sending ------------------------------------------------------------------------------ */

#define LARGE_LEN (8u << 20)

static uint8_t pattern(size_t place)
{
    return (uint8_t)(place * 31 + (place >> 8) * 7 + (place >> 16));
}

/* Reads until `wanted` bytes have come, checking each. */
struct reader {
    struct io_op op;
    struct io *io;
    int fd, end;
    size_t seen, wrong;
};

static void on_read(struct io_op *op, int result)
{
    struct reader *reader = CONTAINER_OF(op, struct reader, op);
    if (result <= 0) {
        reader->end = result == 0 ? 1 : result;
        return;
    }
    for (int i = 0; i < result; i++) {
        reader->wrong += op->data[i] != pattern(reader->seen + (size_t)i);
    }
    reader->seen += (size_t)result;
    io_recv(reader->io, op, reader->fd);
}

static void reader_start(struct contract *contract, struct reader *reader, int fd)
{
    *reader = (struct reader){.io = contract->io, .fd = fd};
    io_op_init(&reader->op, on_read);
    io_recv(contract->io, &reader->op, fd);
}

void contract_a_send_of_8_mb_to_a_slow_reader_comes_home_once_and_whole(struct contract *contract)
{
    struct pair pair;
    uint8_t *large = malloc(LARGE_LEN);
    struct tracked send;
    struct reader reader;
    for (size_t i = 0; i < LARGE_LEN; i++) {
        large[i] = pattern(i);
    }
    pairs_open(contract, &pair, 1, "127.0.0.1");
    tracked_init(&send);
    struct iovec piece = {large, LARGE_LEN};
    io_send(contract->io, &send.op, pair.near, &piece, 1);
    contract_run_for(contract, 30);
    WANT_INT(send.count, 0); /* nobody reads: no socket buffer holds that much */
    reader_start(contract, &reader, pair.far);
    RUN_UNTIL(reader.seen == LARGE_LEN || reader.end != 0);
    WANT_INT(reader.wrong, 0);
    WANT_INT(tracked_wait(contract, &send), LARGE_LEN);
    io_shutdown(contract->io, pair.near);
    RUN_UNTIL(reader.end != 0);
    WANT_INT(reader.end, 1);
    pairs_close(contract, &pair, 1);
    free(large);
}

#define PIECES 2000 /* beyond IOV_MAX; every seventh is empty */

void contract_a_send_of_many_pieces_keeps_their_order(struct contract *contract)
{
    struct pair pair;
    struct iovec *pieces = calloc(PIECES, sizeof *pieces);
    uint8_t *bytes = malloc(PIECES * 600u);
    size_t total = 0;
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = (struct iovec){bytes + total, i % 7 == 0 ? 0 : i % 600};
        for (size_t end = total + pieces[i].iov_len; total < end; total++) {
            bytes[total] = pattern(total);
        }
    }
    pairs_open(contract, &pair, 1, "127.0.0.1");
    struct tracked send;
    struct reader reader;
    tracked_init(&send);
    io_send(contract->io, &send.op, pair.near, pieces, PIECES);
    reader_start(contract, &reader, pair.far);
    RUN_UNTIL(reader.seen == total || reader.end != 0);
    WANT_INT(reader.wrong, 0);
    WANT_INT(tracked_wait(contract, &send), total);
    io_cancel(contract->io, &reader.op);
    RUN_UNTIL(reader.end != 0);
    pairs_close(contract, &pair, 1);
    free(bytes);
    free(pieces);
}

void contract_a_send_of_nothing_comes_home_with_0(struct contract *contract)
{
    struct pair pair;
    struct tracked send;
    pairs_open(contract, &pair, 1, "127.0.0.1");
    tracked_init(&send);
    io_send(contract->io, &send.op, pair.near, NULL, 0);
    WANT_INT(send.count, 0);
    WANT_INT(tracked_wait(contract, &send), 0);
    WANT_INT(contract_send(contract, pair.near, "", 0), 0);
    pairs_close(contract, &pair, 1);
}

/* ---- ends --------------------------------------------------------------------------------- */

void contract_a_receive_ends_with_0_when_the_peer_has_closed(struct contract *contract)
{
    struct pair pair;
    struct tracked seen;
    pairs_open(contract, &pair, 1, "127.0.0.1");
    WANT_INT(contract_send(contract, pair.near, "QUIT\r\n", 6), 6);
    io_close(contract->io, pair.near);
    WANT_INT(contract_recv(contract, pair.far, &seen), 6);
    WANT_INT(contract_recv(contract, pair.far, &seen), 0);
    WANT_INT(contract_recv(contract, pair.far, &seen), 0);
    io_close(contract->io, pair.far);
    WANT_INT(io_run(contract->io, 0), 0);
}

void contract_after_a_half_close_the_other_direction_still_works(struct contract *contract)
{
    struct pair pair;
    struct tracked seen;
    pairs_open(contract, &pair, 1, "127.0.0.1");
    io_shutdown(contract->io, pair.near);
    WANT_INT(contract_recv(contract, pair.far, &seen), 0);
    WANT_INT(contract_send(contract, pair.far, "221\r\n", 5), 5);
    WANT_INT(contract_recv(contract, pair.near, &seen), 5);
    pairs_close(contract, &pair, 1);
}

void contract_an_aborted_connection_is_seen_as_reset(struct contract *contract)
{
    struct pair pair;
    struct tracked seen;
    pairs_open(contract, &pair, 1, "127.0.0.1");
    tracked_init(&seen);
    io_recv(contract->io, &seen.op, pair.far);
    io_close_abort(contract->io, pair.near);
    WANT_INT(tracked_wait(contract, &seen), -ECONNRESET);
    io_close(contract->io, pair.far);
    WANT_INT(io_run(contract->io, 0), 0);
}

void contract_a_send_to_a_peer_that_went_away_fails_without_a_signal(struct contract *contract)
{
    struct pair pair;
    struct tracked seen;
    pairs_open(contract, &pair, 1, "127.0.0.1");
    io_close_abort(contract->io, pair.near);
    WANT_INT(contract_recv(contract, pair.far, &seen), -ECONNRESET);
    int result = contract_send(contract, pair.far, "250\r\n", 5);
    WANT(result == -EPIPE || result == -ECONNRESET);
    io_close(contract->io, pair.far);
    WANT_INT(io_run(contract->io, 0), 0);
}

/* ---- cancelling --------------------------------------------------------------------------- */

void contract_a_cancelled_receive_comes_home_once(struct contract *contract)
{
    struct pair pair;
    struct tracked seen;
    pairs_open(contract, &pair, 1, "127.0.0.1");
    for (int waited = 0; waited < 2; waited++) { /* at once, and when it has long waited */
        tracked_init(&seen);
        io_recv(contract->io, &seen.op, pair.far);
        contract_run_for(contract, waited * 10);
        io_cancel(contract->io, &seen.op);
        io_cancel(contract->io, &seen.op);
        WANT_INT(seen.count, 0);
        WANT_INT(tracked_wait(contract, &seen), -ECANCELED);
        contract_run_for(contract, 10);
        WANT_INT(seen.count, 1);
    }
    exchange(contract, pair.near, pair.far); /* the connection is none the worse */
    pairs_close(contract, &pair, 1);
}

void contract_a_cancelled_send_comes_home_once(struct contract *contract)
{
    struct pair pair;
    struct tracked send;
    uint8_t *large = calloc(1, LARGE_LEN);
    pairs_open(contract, &pair, 1, "127.0.0.1");
    tracked_init(&send);
    struct iovec pieces[2] = {{large, LARGE_LEN / 2}, {large, LARGE_LEN / 2}};
    io_send(contract->io, &send.op, pair.near, pieces, 2);
    contract_run_for(contract, 30); /* part of it is sent */
    io_cancel(contract->io, &send.op);
    WANT_INT(tracked_wait(contract, &send), -ECANCELED);
    contract_run_for(contract, 10);
    WANT_INT(send.count, 1);
    pairs_close(contract, &pair, 1);
    free(large);
}

#define CONNECTS 8

/* Whether a connect hangs here is the implementation's affair: what counts is once. */
void contract_a_cancelled_connect_comes_home_once(struct contract *contract)
{
    struct address address = contract_address("127.0.0.1");
    struct tracked connects[CONNECTS];
    int fds[CONNECTS];
    int listen_fd = io_listen(contract->io, &address, 1);
    WANT(listen_fd >= 0);
    WANT_INT(io_local_address(contract->io, listen_fd, &address), 0);
    for (int i = 0; i < CONNECTS; i++) {
        fds[i] = io_socket_bound(contract->io, NULL, ADDRESS_IPV4, false);
        tracked_init(&connects[i]);
        io_connect(contract->io, &connects[i].op, fds[i], &address);
    }
    contract_run_for(contract, 20);
    for (int i = 0; i < CONNECTS; i++) {
        io_cancel(contract->io, &connects[i].op);
    }
    for (int i = 0; i < CONNECTS; i++) {
        int result = tracked_wait(contract, &connects[i]);
        WANT(result == 0 || result == -ECANCELED);
        io_close(contract->io, fds[i]);
    }
    io_close(contract->io, listen_fd);
    contract_run_for(contract, 10);
    WANT_INT(connects[0].count, 1);
}

void contract_a_cancelled_poll_comes_home_once(struct contract *contract)
{
    struct pair pair;
    struct tracked poll;
    pairs_open(contract, &pair, 1, "127.0.0.1");
    tracked_init(&poll);
    io_poll(contract->io, &poll.op, pair.far, POLLIN);
    contract_run_for(contract, 10);
    io_cancel(contract->io, &poll.op);
    WANT_INT(tracked_wait(contract, &poll), -ECANCELED);
    pairs_close(contract, &pair, 1);
}

void contract_cancel_of_an_op_that_is_home_does_nothing(struct contract *contract)
{
    struct pair pair;
    struct tracked seen;
    pairs_open(contract, &pair, 1, "127.0.0.1");
    tracked_init(&seen);
    io_cancel(contract->io, &seen.op);
    WANT(!io_busy(&seen.op));
    WANT_INT(contract_send(contract, pair.near, "x", 1), 1);
    WANT_INT(contract_recv(contract, pair.far, &seen), 1);
    io_cancel(contract->io, &seen.op);
    contract_run_for(contract, 10);
    WANT_INT(seen.count, 1);
    io_recv(contract->io, &seen.op, pair.far); /* an old cancel must not find it */
    contract_run_for(contract, 10);
    WANT_INT(seen.count, 1);
    io_cancel(contract->io, &seen.op);
    RUN_UNTIL(seen.count == 2);
    WANT_INT(seen.result, -ECANCELED);
    pairs_close(contract, &pair, 1);
}

/* ---- done, and when ----------------------------------------------------------------------- */

void contract_nothing_comes_home_inside_the_submitting_call(struct contract *contract)
{
    struct pair pair;
    struct tracked ops[4];
    char reply[] = "250\r\n";
    struct iovec piece = {reply, 5};
    pairs_open(contract, &pair, 1, "127.0.0.1");
    WANT_INT(contract_send(contract, pair.near, "x", 1), 1);
    contract_run_for(contract, 5);
    for (int i = 0; i < 4; i++) {
        tracked_init(&ops[i]);
    }
    io_recv(contract->io, &ops[0].op, pair.far); /* its byte is there already */
    io_send(contract->io, &ops[1].op, pair.far, &piece, 1);
    io_send(contract->io, &ops[2].op, pair.near, NULL, 0);
    io_poll(contract->io, &ops[3].op, pair.near, POLLOUT);
    io_cancel(contract->io, &ops[3].op);
    for (int i = 0; i < 4; i++) {
        WANT(io_busy(&ops[i].op));
        WANT_INT(ops[i].count, 0);
    }
    WANT_INT(tracked_wait(contract, &ops[0]), 1);
    WANT_INT(tracked_wait(contract, &ops[1]), 5);
    WANT_INT(tracked_wait(contract, &ops[2]), 0);
    tracked_wait(contract, &ops[3]);
    pairs_close(contract, &pair, 1);
}

#define ROUNDS 200

/* Both ends of a ping-pong: each sends one byte from the done of its receive. */
struct player {
    struct io_op recv, send;
    struct io *io;
    struct iovec piece;
    char ball;
    bool stopping; /* a ball may come before the cancel does */
    int fd, rounds;
};

static void on_ball(struct io_op *op, int result)
{
    struct player *player = CONTAINER_OF(op, struct player, recv);
    if (result != 1 || player->stopping) {
        return;
    }
    player->rounds++;
    io_recv(player->io, &player->recv, player->fd);
    io_send(player->io, &player->send, player->fd, &player->piece, 1);
}

static void on_hit(struct io_op *op, int result)
{
}

static void player_init(struct contract *contract, struct player *player, int fd)
{
    *player = (struct player){.io = contract->io, .fd = fd, .ball = 'o'};
    player->piece = (struct iovec){&player->ball, 1};
    io_op_init(&player->recv, on_ball);
    io_op_init(&player->send, on_hit);
    io_recv(contract->io, &player->recv, fd);
}

void contract_an_op_may_be_submitted_again_from_its_own_done(struct contract *contract)
{
    struct pair pair;
    struct player near, far;
    pairs_open(contract, &pair, 1, "127.0.0.1");
    player_init(contract, &near, pair.near);
    player_init(contract, &far, pair.far);
    io_send(contract->io, &near.send, pair.near, &near.piece, 1);
    RUN_UNTIL(near.rounds >= ROUNDS);
    near.stopping = far.stopping = true;
    io_cancel(contract->io, &near.recv);
    io_cancel(contract->io, &far.recv);
    RUN_UNTIL(!io_busy(&near.recv) && !io_busy(&near.send));
    io_cancel(contract->io, &far.recv);
    RUN_UNTIL(!io_busy(&far.recv) && !io_busy(&far.send));
    pairs_close(contract, &pair, 1);
}

/* ---- crowds ------------------------------------------------------------------------------- */

/* Bytes for all of them at once, the receives waiting before or coming after. */
static void feed_crowd(struct contract *contract, const struct pair *pairs, bool receive_first)
{
    struct tracked receives[CROWD], sends[CROWD];
    uint8_t bytes[CONTRACT_RECV_BUFFER_BYTES];
    struct iovec piece = {bytes, sizeof bytes};
    memset(bytes, 'x', sizeof bytes);
    for (int i = 0; i < CROWD; i++) {
        tracked_init(&receives[i]);
        tracked_init(&sends[i]);
        if (receive_first) {
            io_recv(contract->io, &receives[i].op, pairs[i].far);
        }
        io_send(contract->io, &sends[i].op, pairs[i].near, &piece, 1);
    }
    contract_run_for(contract, 10);
    for (int i = 0; i < CROWD && !receive_first; i++) {
        io_recv(contract->io, &receives[i].op, pairs[i].far);
    }
    for (int i = 0; i < CROWD; i++) {
        int result = tracked_wait(contract, &receives[i]);
        WANT(result > 0);
        WANT(result <= CONTRACT_RECV_BUFFER_BYTES);
        WANT_INT(receives[i].data[0], 'x');
        WANT_INT(tracked_wait(contract, &sends[i]), sizeof bytes);
        while (result > 0 && result < (int)sizeof bytes) {
            struct tracked rest;
            int more = contract_recv(contract, pairs[i].far, &rest);
            result = more > 0 ? result + more : more;
        }
        WANT_INT(result, sizeof bytes);
    }
}

void contract_more_receivers_than_buffers_all_get_their_bytes(struct contract *contract)
{
    struct pair pairs[CROWD];
    pairs_open(contract, pairs, CROWD, "127.0.0.1");
    for (int round = 0; round < 3; round++) {
        feed_crowd(contract, pairs, true);
        feed_crowd(contract, pairs, false);
    }
    pairs_close(contract, pairs, CROWD);
}

void contract_receives_beyond_the_buffers_can_be_cancelled(struct contract *contract)
{
    struct pair pairs[CROWD];
    struct tracked receives[CROWD];
    pairs_open(contract, pairs, CROWD, "127.0.0.1");
    for (int with_bytes = 0; with_bytes < 2; with_bytes++) {
        for (int i = 0; i < CROWD; i++) {
            if (with_bytes) {
                WANT_INT(contract_send(contract, pairs[i].near, "x", 1), 1);
            }
            tracked_init(&receives[i]);
        }
        for (int i = 0; i < CROWD; i++) {
            io_recv(contract->io, &receives[i].op, pairs[i].far);
        }
        WANT_INT(io_run(contract->io, 0), 0);
        for (int i = 0; i < CROWD; i++) {
            io_cancel(contract->io, &receives[i].op);
        }
        for (int i = 0; i < CROWD; i++) {
            int result = tracked_wait(contract, &receives[i]);
            WANT(result == -ECANCELED || (with_bytes && result == 1));
        }
    }
    pairs_close(contract, pairs, CROWD);
}

void contract_more_ops_than_queue_entries_all_come_home(struct contract *contract)
{
    static struct tracked polls[300], sends[300];
    struct pair pair;
    pairs_open(contract, &pair, 1, "127.0.0.1");
    for (int i = 0; i < 300; i++) {
        tracked_init(&polls[i]);
        tracked_init(&sends[i]);
        io_poll(contract->io, &polls[i].op, pair.near, POLLOUT);
        io_send(contract->io, &sends[i].op, pair.near, NULL, 0);
    }
    for (int i = 0; i < 300; i++) {
        WANT_INT(tracked_wait(contract, &polls[i]) & POLLOUT, POLLOUT);
        WANT_INT(tracked_wait(contract, &sends[i]), 0);
    }
    pairs_close(contract, &pair, 1);
}
