/* The simulated network, seen by a worker's io and by scripted peers. */
#include "../unit/test.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "io/io.h"
#include "sim.h"
#include "sim_peer.h"

static struct address address(const char *text)
{
    struct address out = {0};
    CHECK(address_parse_port(bytes_from_string(text), &out) ||
          address_parse(bytes_from_string(text), &out));
    return out;
}

/* One world with one io run by hand, on a host with two addresses, and one MX. */
struct scene {
    struct sim *sim;
    struct io *io;
    struct address mx;
};

static struct scene scene_open(uint64_t seed, uint32_t ports, uint32_t fd_max)
{
    struct error error;
    struct address ours[] = {address("192.0.2.1"), address("192.0.2.2"), address("2001:db8::1")};
    struct io_options options = {.recv_buffer_bytes = 512};
    struct scene scene = {.mx = address("198.51.100.25:25")};
    scene.sim = sim_create(&(struct sim_options){
        .seed = seed,
        .calm = true,
        .fd_max = fd_max,
        .ports_per_destination = ports,
        .addresses = ours,
        .address_count = 3,
    });
    scene.io = io_create(&options, &error);
    return scene;
}

static void scene_close(struct scene *scene)
{
    io_destroy(scene->io);
    sim_destroy(scene->sim);
}

/* An operation that remembers how it came home. */
struct seen {
    struct io_op op;
    int result, count;
    char data[512];
};

static void on_done(struct io_op *op, int result)
{
    struct seen *seen = CONTAINER_OF(op, struct seen, op);
    seen->result = result;
    seen->count++;
    if (op->data != NULL && result > 0) {
        memcpy(seen->data, op->data, (size_t)result);
        seen->data[result] = '\0';
    }
}

static int wait_for(struct scene *scene, struct seen *seen)
{
    while (io_busy(&seen->op)) {
        CHECK_INT(io_run(scene->io, UINT64_MAX), 0);
    }
    CHECK_INT(seen->count, 1);
    return seen->result;
}

static struct seen *fresh(struct seen *seen)
{
    *seen = (struct seen){0};
    io_op_init(&seen->op, on_done);
    return seen;
}

static int connect_from(struct scene *scene, const char *source, int *fd)
{
    struct seen seen;
    struct address from = address(source);
    *fd = io_socket_bound(scene->io, &from, from.family, false);
    CHECK(*fd >= 0);
    io_connect(scene->io, &fresh(&seen)->op, *fd, &scene->mx);
    return wait_for(scene, &seen);
}

/* A peer that remembers what it heard. */
struct mx {
    struct sim_peer_listener listener;
    struct sim_peer peer;
    char heard[4096];
    size_t heard_len, total;
    int accepted, ended, end_result;
    const char *greeting;
    bool full;
};

static void on_opened(struct sim_peer *peer, int result)
{
    struct mx *mx = CONTAINER_OF(peer, struct mx, peer);
    if (result == 0 && mx->greeting != NULL) {
        sim_peer_send(peer, mx->greeting, strlen(mx->greeting));
    }
    mx->end_result = result;
}

static void on_data(struct sim_peer *peer, const char *data, size_t len)
{
    struct mx *mx = CONTAINER_OF(peer, struct mx, peer);
    mx->total += len;
    if (mx->heard_len + len < sizeof(mx->heard)) {
        memcpy(mx->heard + mx->heard_len, data, len);
        mx->heard_len += len;
    }
}

static void on_ended(struct sim_peer *peer, int result)
{
    struct mx *mx = CONTAINER_OF(peer, struct mx, peer);
    mx->ended++;
    mx->end_result = result;
}

static void mx_init(struct mx *mx, const char *greeting)
{
    *mx = (struct mx){.greeting = greeting};
    mx->peer = (struct sim_peer){.opened = on_opened, .data = on_data, .ended = on_ended};
}

static struct sim_peer *on_incoming(struct sim_peer_listener *listener, const struct address *from,
                                    const struct address *to)
{
    struct mx *mx = CONTAINER_OF(listener, struct mx, listener);
    mx->accepted++;
    return mx->full ? NULL : &mx->peer;
}

static void mx_open(struct scene *scene, struct mx *mx, const char *greeting)
{
    mx_init(mx, greeting);
    mx->listener.incoming = on_incoming;
    sim_peer_listen(scene->sim, &mx->listener, &scene->mx);
}

static void mx_close(struct mx *mx)
{
    sim_peer_close(&mx->peer);
    sim_peer_unlisten(&mx->listener);
}

TEST(a_peer_greets_and_hears_what_is_sent)
{
    struct scene scene = scene_open(1, 0, 0);
    struct mx mx;
    struct seen seen;
    int fd;
    struct iovec pieces[] = {{(void *)(uintptr_t) "EHLO ", 5}, {(void *)(uintptr_t) "a\r\n", 3}};
    mx_open(&scene, &mx, "220 mx\r\n");
    CHECK_INT(connect_from(&scene, "192.0.2.2", &fd), 0);
    io_recv(scene.io, &fresh(&seen)->op, fd);
    CHECK_INT(wait_for(&scene, &seen), 8);
    CHECK_STRING(seen.data, "220 mx\r\n");
    io_send(scene.io, &fresh(&seen)->op, fd, pieces, 2);
    CHECK_INT(wait_for(&scene, &seen), 8);
    sim_run_for(scene.sim, SIM_SECOND);
    CHECK_INT(mx.heard_len, 8);
    CHECK(memcmp(mx.heard, "EHLO a\r\n", 8) == 0);
    struct address source = address("192.0.2.2");
    CHECK(address_equal_ip(&mx.peer.remote, &source));
    io_close(scene.io, fd);
    sim_run_for(scene.sim, SIM_SECOND);
    CHECK_INT(mx.ended, 1);
    CHECK_INT(mx.end_result, 0);
    mx_close(&mx);
    CHECK_INT(sim_connections(scene.sim), 0);
    scene_close(&scene);
}

TEST(binding_to_a_foreign_address_is_refused_unless_freebind)
{
    struct scene scene = scene_open(1, 0, 0);
    struct address foreign = address("192.0.2.77");
    CHECK_INT(io_socket_bound(scene.io, &foreign, ADDRESS_IPV4, false), -EADDRNOTAVAIL);
    int fd = io_socket_bound(scene.io, &foreign, ADDRESS_IPV4, true);
    CHECK(fd >= 0);
    io_close(scene.io, fd);
    sim_address_add(scene.sim, &foreign);
    fd = io_socket_bound(scene.io, &foreign, ADDRESS_IPV4, false);
    CHECK(fd >= 0);
    io_close(scene.io, fd);
    sim_address_remove(scene.sim, &foreign);
    CHECK(!io_address_is_local(scene.io, &foreign));
    scene_close(&scene);
}

TEST(hosts_refuse_are_unreachable_or_silent)
{
    struct scene scene = scene_open(2, 0, 0);
    int fd;
    CHECK_INT(connect_from(&scene, "192.0.2.1", &fd), -ECONNREFUSED);
    io_close(scene.io, fd);
    sim_host_set(scene.sim, &scene.mx, SIM_HOST_UNREACHABLE);
    int result = connect_from(&scene, "192.0.2.1", &fd);
    CHECK(result == -EHOSTUNREACH || result == -ENETUNREACH);
    io_close(scene.io, fd);
    sim_host_set(scene.sim, &scene.mx, SIM_HOST_DARK);
    uint64_t start_us = sim_now_us(scene.sim);
    CHECK_INT(connect_from(&scene, "192.0.2.1", &fd), -ETIMEDOUT);
    CHECK(sim_now_us(scene.sim) - start_us > 100 * SIM_SECOND);
    io_close(scene.io, fd);
    scene_close(&scene);
}

TEST(ports_are_used_up_per_destination)
{
    struct scene scene = scene_open(3, 3, 0);
    struct mx mx;
    int fds[5];
    mx_open(&scene, &mx, NULL);
    for (int i = 0; i < 3; i++) {
        struct seen seen;
        struct address from = address("192.0.2.1");
        fds[i] = io_socket_bound(scene.io, &from, ADDRESS_IPV4, false);
        io_connect(scene.io, &fresh(&seen)->op, fds[i], &scene.mx);
        CHECK_INT(wait_for(&scene, &seen), 0);
        mx.full = true; /* one peer struct serves one connection */
    }
    CHECK_INT(connect_from(&scene, "192.0.2.1", &fds[3]), -EADDRNOTAVAIL);
    CHECK_INT(connect_from(&scene, "192.0.2.2", &fds[4]), 0); /* another source has its own */
    for (int i = 0; i < 5; i++) {
        io_close(scene.io, fds[i]);
    }
    mx_close(&mx);
    scene_close(&scene);
}

TEST(descriptors_run_out_and_come_back)
{
    struct scene scene = scene_open(3, 0, 5); /* 0 to 2 are taken */
    int first = io_socket_bound(scene.io, NULL, ADDRESS_IPV4, false);
    int second = io_socket_bound(scene.io, NULL, ADDRESS_IPV4, false);
    CHECK_INT(first, 3);
    CHECK_INT(second, 4);
    CHECK_INT(io_socket_bound(scene.io, NULL, ADDRESS_IPV4, false), -EMFILE);
    io_close(scene.io, first);
    CHECK_INT(io_socket_bound(scene.io, NULL, ADDRESS_IPV4, false), 3); /* at once used again */
    io_close(scene.io, 3);
    io_close(scene.io, second);
    scene_close(&scene);
}

TEST(a_peer_that_does_not_read_stops_the_sender)
{
    struct scene scene = scene_open(4, 0, 0);
    struct mx mx;
    struct seen seen;
    int fd;
    size_t len = 1 << 20;
    struct iovec piece = {calloc(1, len), len};
    mx_open(&scene, &mx, NULL);
    CHECK_INT(connect_from(&scene, "192.0.2.1", &fd), 0);
    sim_run_for(scene.sim, SIM_SECOND);
    sim_peer_pause(&mx.peer);
    io_send(scene.io, &fresh(&seen)->op, fd, &piece, 1);
    io_run(scene.io, io_now_ms(scene.io) + 600000);
    CHECK(io_busy(&seen.op));
    sim_peer_resume(&mx.peer);
    CHECK_INT(wait_for(&scene, &seen), (int)len);
    io_close(scene.io, fd);
    sim_run_for(scene.sim, 600 * SIM_SECOND);
    CHECK_INT(mx.total, len);
    CHECK_INT(mx.ended, 1);
    mx_close(&mx);
    free(piece.iov_base);
    scene_close(&scene);
}

TEST(closing_with_bytes_unread_resets_the_peer)
{
    struct scene scene = scene_open(5, 0, 0);
    struct mx mx;
    int fd;
    mx_open(&scene, &mx, "220 mx\r\n");
    CHECK_INT(connect_from(&scene, "192.0.2.1", &fd), 0);
    sim_run_for(scene.sim, SIM_SECOND);
    io_close(scene.io, fd);
    sim_run_for(scene.sim, SIM_SECOND);
    CHECK_INT(mx.end_result, -ECONNRESET);
    mx_close(&mx);
    scene_close(&scene);
}

TEST(what_arrived_before_a_reset_can_still_be_read)
{
    struct scene scene = scene_open(6, 0, 0);
    struct mx mx;
    struct seen seen;
    int fd;
    mx_open(&scene, &mx, "421 bye\r\n");
    CHECK_INT(connect_from(&scene, "192.0.2.1", &fd), 0);
    sim_run_for(scene.sim, SIM_SECOND);
    sim_peer_abort(&mx.peer);
    sim_run_for(scene.sim, SIM_SECOND);
    io_recv(scene.io, &fresh(&seen)->op, fd);
    CHECK_INT(wait_for(&scene, &seen), 9);
    io_recv(scene.io, &fresh(&seen)->op, fd);
    CHECK_INT(wait_for(&scene, &seen), -ECONNRESET);
    io_close(scene.io, fd);
    mx_close(&mx);
    scene_close(&scene);
}

TEST(a_peer_may_half_close_and_still_hear)
{
    struct scene scene = scene_open(7, 0, 0);
    struct mx mx;
    struct seen seen;
    struct iovec piece = {(void *)(uintptr_t) "QUIT\r\n", 6};
    int fd;
    mx_open(&scene, &mx, NULL);
    CHECK_INT(connect_from(&scene, "192.0.2.1", &fd), 0);
    sim_run_for(scene.sim, SIM_SECOND);
    sim_peer_shutdown(&mx.peer);
    io_recv(scene.io, &fresh(&seen)->op, fd);
    CHECK_INT(wait_for(&scene, &seen), 0);
    io_send(scene.io, &fresh(&seen)->op, fd, &piece, 1);
    CHECK_INT(wait_for(&scene, &seen), 6);
    sim_run_for(scene.sim, SIM_SECOND);
    CHECK_INT(mx.heard_len, 6);
    io_close(scene.io, fd);
    mx_close(&mx);
    scene_close(&scene);
}

/* An acceptor that closes what it gets, in the way asked. */
struct server {
    struct io_acceptor acceptor;
    int fd, accepted, errors;
};

static void on_accepted(struct io_acceptor *acceptor, int fd)
{
    struct server *server = CONTAINER_OF(acceptor, struct server, acceptor);
    if (fd < 0) {
        server->errors++;
        io_accept_resume(acceptor);
        return;
    }
    server->accepted++;
    server->fd = fd;
}

static void on_stopped(struct io_acceptor *acceptor)
{
}

TEST(a_client_reaches_the_engines_listener)
{
    struct scene scene = scene_open(8, 0, 0);
    struct server server = {.acceptor = {.accepted = on_accepted, .stopped = on_stopped}};
    struct address any = address("0.0.0.0:25"), from = address("203.0.113.9");
    struct address to = address("192.0.2.1:25");
    struct seen seen;
    struct mx client;
    sim_odds(scene.sim)->accept_fails = 900000;
    int listen_fd = io_listen(scene.io, &any, 10);
    io_accept_start(scene.io, &server.acceptor, listen_fd);
    mx_init(&client, "EHLO client\r\n");
    sim_peer_connect(scene.sim, &client.peer, &from, &to, NULL);
    while (server.accepted == 0) {
        io_run(scene.io, UINT64_MAX);
    }
    CHECK(server.errors > 0);
    io_recv(scene.io, &fresh(&seen)->op, server.fd);
    CHECK_INT(wait_for(&scene, &seen), 13);
    struct address peer;
    CHECK_INT(io_peer_address(scene.io, server.fd, &peer), 0);
    CHECK(address_equal_ip(&peer, &from));
    CHECK_INT(io_local_address(scene.io, server.fd, &peer), 0);
    CHECK(address_equal_ip(&peer, &to));
    io_accept_stop(&server.acceptor);
    io_run(scene.io, io_now_ms(scene.io) + 10);
    io_close(scene.io, server.fd);
    io_close(scene.io, listen_fd);
    sim_run_for(scene.sim, SIM_SECOND);
    CHECK_INT(client.ended, 1);
    sim_peer_close(&client.peer);
    scene_close(&scene);
}

TEST(a_crash_resets_peers_and_a_power_loss_tells_nobody)
{
    for (int power = 0; power < 2; power++) {
        struct scene scene = scene_open(9, 0, 0);
        struct mx mx;
        int fd;
        mx_open(&scene, &mx, "220 mx\r\n");
        CHECK_INT(connect_from(&scene, "192.0.2.1", &fd), 0);
        sim_run_for(scene.sim, SIM_SECOND);
        sim_crash(scene.sim, power ? SIM_POWER : SIM_KILL);
        sim_run_for(scene.sim, SIM_HOUR);
        CHECK_INT(mx.ended, 1 - power);
        mx_close(&mx);
        sim_destroy(scene.sim);
    }
}

/* ---- many things at once ---------------------------------------------------------------- */

#define TALKS 8

/* One end sends numbered bytes, the other counts them, through every fault there is. */
struct talk {
    struct io_op connect, send, recv;
    struct io *io;
    struct mx mx;
    struct iovec piece;
    uint8_t bytes[3000];
    int fd, rounds, results;
    bool over;
};

static void talk_end(struct talk *talk)
{
    if (!talk->over || io_busy(&talk->send) || io_busy(&talk->recv) || io_busy(&talk->connect)) {
        return;
    }
    if (talk->fd >= 0) {
        io_close(talk->io, talk->fd);
        talk->fd = -1;
    }
}

static void on_talk_sent(struct io_op *op, int result)
{
    struct talk *talk = CONTAINER_OF(op, struct talk, send);
    talk->results += result;
    if (result == (int)talk->piece.iov_len && --talk->rounds > 0 && !talk->over) {
        io_send(talk->io, &talk->send, talk->fd, &talk->piece, 1);
        return;
    }
    talk->over = true;
    io_cancel(talk->io, &talk->recv);
    talk_end(talk);
}

static void on_talk_received(struct io_op *op, int result)
{
    struct talk *talk = CONTAINER_OF(op, struct talk, recv);
    talk->results += result;
    if (result > 0 && !talk->over) {
        io_recv(talk->io, &talk->recv, talk->fd);
        return;
    }
    talk->over = true;
    io_cancel(talk->io, &talk->send);
    talk_end(talk);
}

static void on_talk_connected(struct io_op *op, int result)
{
    struct talk *talk = CONTAINER_OF(op, struct talk, connect);
    if (result != 0) {
        talk->over = true;
        talk_end(talk);
        return;
    }
    io_send(talk->io, &talk->send, talk->fd, &talk->piece, 1);
    io_recv(talk->io, &talk->recv, talk->fd);
}

static void talk_start(struct scene *scene, struct talk *talk, int index)
{
    struct address to = scene->mx;
    to.port = (uint16_t)(to.port + index);
    *talk = (struct talk){.io = scene->io, .rounds = 20};
    talk->piece = (struct iovec){talk->bytes, sizeof(talk->bytes)};
    mx_init(&talk->mx, "220 hello\r\n");
    talk->mx.listener.incoming = on_incoming;
    sim_peer_listen(scene->sim, &talk->mx.listener, &to);
    io_op_init(&talk->connect, on_talk_connected);
    io_op_init(&talk->send, on_talk_sent);
    io_op_init(&talk->recv, on_talk_received);
    talk->fd = io_socket_bound(talk->io, NULL, ADDRESS_IPV4, false);
    CHECK(talk->fd >= 0);
    io_connect(talk->io, &talk->connect, talk->fd, &to);
}

static uint64_t talks_digest(uint64_t seed)
{
    struct scene scene = scene_open(seed, 0, 0);
    struct talk *talks = calloc(TALKS, sizeof(*talks));
    struct sim_odds *odds = sim_odds(scene.sim);
#define ODDS(name, per_million_max) odds->name = (per_million_max);
#include "sim_odds.def"
#undef ODDS
    odds->socket_fails = odds->wall_step = odds->suspend = 0;
    for (int i = 0; i < TALKS; i++) {
        talk_start(&scene, &talks[i], i);
    }
    for (int i = 0; i < 20000; i++) {
        io_run(scene.io, io_now_ms(scene.io) + 1000);
    }
    for (int i = 0; i < TALKS; i++) {
        talks[i].over = true;
        io_cancel(scene.io, &talks[i].send);
        io_cancel(scene.io, &talks[i].recv);
    }
    io_run(scene.io, io_now_ms(scene.io) + 1000);
    io_run(scene.io, io_now_ms(scene.io) + 1000);
    for (int i = 0; i < TALKS; i++) {
        CHECK_INT(talks[i].fd, -1);
        mx_close(&talks[i].mx);
    }
    uint64_t digest = sim_digest(scene.sim);
    scene_close(&scene);
    free(talks);
    return digest;
}

TEST(the_same_seed_gives_the_same_world)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        uint64_t first = talks_digest(seed), second = talks_digest(seed);
        CHECK(first == second);
        CHECK(first != talks_digest(seed + 1000));
    }
}
