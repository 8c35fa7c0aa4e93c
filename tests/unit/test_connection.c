/* Connections over real sockets on loopback, in the clear and in TLS. */
#include "net/connection.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "certificates.h"
#include "test.h"

struct party {
    struct connection connection;
    char got[4096]; /* the first bytes received */
    size_t got_len;
    int opened, secured, lost; /* results; 1: not told yet */
    int sent_count, closed_count;
    bool in_call; /* we are inside a call to the connection */
    struct iovec iov[4];
};

struct world {
    struct io *io;
    struct io_acceptor acceptor;
    struct address address;
    int listen_fd, accepted_fd;
    bool stopped;
    struct tls_worker *tls;
    struct tls_profile *server, *client;
    struct certificate certificate;
};

static struct party *party_of(struct connection *connection)
{
    struct party *party = connection->owner;
    CHECK(!party->in_call);
    CHECK_INT(party->closed_count, 0);
    return party;
}

static void on_opened(struct connection *connection, int result)
{
    party_of(connection)->opened = result;
}

static void on_received(struct connection *connection, const uint8_t *data, size_t len)
{
    struct party *party = party_of(connection);
    for (size_t i = 0; i < len && party->got_len + i < sizeof(party->got); i++) {
        party->got[party->got_len + i] = (char)data[i];
    }
    party->got_len += len;
    CHECK_INT(party->lost, 1);
}

static void on_sent(struct connection *connection)
{
    party_of(connection)->sent_count++;
    CHECK(!connection_sending(connection));
}

static void on_secured(struct connection *connection, int result)
{
    CHECK_INT(party_of(connection)->secured, 1);
    party_of(connection)->secured = result;
}

static void on_lost(struct connection *connection, int error)
{
    CHECK_INT(party_of(connection)->lost, 1);
    party_of(connection)->lost = error;
}

static void on_closed(struct connection *connection)
{
    party_of(connection)->closed_count++;
    CHECK(connection->tls == NULL);
}

static const struct connection_events events = {
    .opened = on_opened,
    .received = on_received,
    .sent = on_sent,
    .secured = on_secured,
    .lost = on_lost,
    .closed = on_closed,
};

static void on_accepted(struct io_acceptor *acceptor, int fd)
{
    CONTAINER_OF(acceptor, struct world, acceptor)->accepted_fd = fd;
}

static void on_stopped(struct io_acceptor *acceptor)
{
    CONTAINER_OF(acceptor, struct world, acceptor)->stopped = true;
}

static void open_world(struct world *world)
{
    struct error error = {0};
    memset(world, 0, sizeof(*world));
    world->io = io_create(
        &(struct io_options){.entries = 64, .recv_buffer_bytes = 4096, .recv_buffer_count = 64},
        &error);
    if (world->io == NULL) {
        printf("%s\n", error.text);
        abort();
    }
    world->accepted_fd = -1;
    assert(address_parse(BYTES("127.0.0.1"), &world->address));
    world->listen_fd = io_listen(world->io, &world->address, 16);
    assert(world->listen_fd >= 0);
    assert(io_local_address(world->io, world->listen_fd, &world->address) == 0);
    world->acceptor.accepted = on_accepted;
    world->acceptor.stopped = on_stopped;
    io_accept_start(world->io, &world->acceptor, world->listen_fd);
}

#define RUN_UNTIL(world, condition, limit_ms)                                                      \
    do {                                                                                           \
        uint64_t run_end_ms = io_now_ms((world)->io) + (limit_ms);                                 \
        while (!(condition) && io_now_ms((world)->io) < run_end_ms) {                              \
            assert(io_run((world)->io, run_end_ms) == 0);                                          \
        }                                                                                          \
    } while (0)

static void open_tls(struct world *world)
{
    static const struct certificate_wish usual = {.name = "mx.example", .days_to = 10};
    struct error error = {0};
    certificate_make(&usual, &world->certificate);
    world->tls = tls_worker_create(1, &error);
    world->server = tls_profile_create(
        world->tls,
        &(struct tls_profile_settings){.server = true,
                                       .certificate_file = world->certificate.certificate_file,
                                       .key_file = world->certificate.key_file,
                                       .versions = TLS_1_3},
        &error);
    world->client =
        tls_profile_create(world->tls, &(struct tls_profile_settings){.versions = TLS_1_3}, &error);
    assert(world->server != NULL && world->client != NULL);
}

static void close_world(struct world *world)
{
    io_accept_stop(&world->acceptor);
    RUN_UNTIL(world, world->stopped, 1000);
    io_close(world->io, world->listen_fd);
    if (world->tls != NULL) {
        tls_profile_destroy(world->client);
        tls_profile_destroy(world->server);
        tls_worker_destroy(world->tls);
        certificate_remove(&world->certificate);
    }
    io_destroy(world->io);
}

static void be_new(struct party *party)
{
    memset(party, 0, sizeof(*party));
    party->opened = party->secured = party->lost = 1;
}

static void open_to(struct world *world, struct party *party, const struct address *peer,
                    const struct address *source, uint64_t timeout_ms)
{
    be_new(party);
    party->in_call = true;
    connection_open(
        &party->connection, world->io, &events, party,
        &(struct connection_target){.source = source, .peer = *peer, .timeout_ms = timeout_ms});
    party->in_call = false;
}

/* Two ends of one connection, both of them ours. */
static void make_pair(struct world *world, struct party *client, struct party *server)
{
    open_to(world, client, &world->address, NULL, 5000);
    be_new(server);
    RUN_UNTIL(world, world->accepted_fd >= 0 && client->opened != 1, 5000);
    CHECK_INT(client->opened, 0);
    connection_accept(&server->connection, world->io, &events, server, world->accepted_fd);
    world->accepted_fd = -1;
}

/* A connection whose other end is a plain descriptor, as the kernel gives it. */
static int make_raw_pair(struct world *world, struct party *client)
{
    open_to(world, client, &world->address, NULL, 5000);
    RUN_UNTIL(world, world->accepted_fd >= 0 && client->opened != 1, 5000);
    int fd = world->accepted_fd;
    world->accepted_fd = -1;
    return fd;
}

static void send_bytes(struct party *party, const char *data, size_t len)
{
    party->iov[0] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    party->in_call = true;
    connection_send(&party->connection, party->iov, 1);
    party->in_call = false;
}

static void send_text(struct party *party, const char *text)
{
    send_bytes(party, text, strlen(text));
}

static void close_party(struct world *world, struct party *party, enum connection_close how)
{
    party->in_call = true;
    connection_close(&party->connection, how);
    party->in_call = false;
    RUN_UNTIL(world, party->closed_count > 0, 7000);
    CHECK_INT(party->closed_count, 1);
}

static void close_pair(struct world *world, struct party *client, struct party *server)
{
    close_party(world, client, CONNECTION_CLOSE_NOW);
    close_party(world, server, CONNECTION_CLOSE_NOW);
}

/* ---- opening ---------------------------------------------------------------------------- */

TEST(bytes_go_both_ways_from_the_source_address)
{
    struct world world;
    struct party client, server;
    struct address source;
    open_world(&world);
    assert(address_parse(BYTES("127.0.0.9"), &source));
    open_to(&world, &client, &world.address, &source, 5000);
    be_new(&server);
    RUN_UNTIL(&world, world.accepted_fd >= 0 && client.opened != 1, 5000);
    CHECK_INT(client.opened, 0);
    connection_accept(&server.connection, world.io, &events, &server, world.accepted_fd);
    CHECK(address_equal_ip(&server.connection.peer, &source));
    CHECK_INT(client.connection.source.port, server.connection.peer.port);
    send_text(&server, "220 hello\r\n");
    send_text(&client, "EHLO x\r\n");
    RUN_UNTIL(&world, client.got_len == 11 && server.got_len == 8 && client.sent_count == 1, 5000);
    CHECK_STRING(client.got, "220 hello\r\n");
    CHECK_STRING(server.got, "EHLO x\r\n");
    close_pair(&world, &client, &server);
    close_world(&world);
}

TEST(c42_a_source_that_is_not_here_fails_in_bind)
{
    struct world world;
    struct party client;
    struct address source;
    open_world(&world);
    assert(address_parse(BYTES("192.0.2.1"), &source));
    open_to(&world, &client, &world.address, &source, 5000);
    CHECK_INT(client.opened, 1);
    RUN_UNTIL(&world, client.opened != 1, 1000);
    CHECK_INT(client.opened, -EADDRNOTAVAIL);
    CHECK(client.connection.bind_failed);
    close_party(&world, &client, CONNECTION_CLOSE_NOW);
    close_world(&world);
}

TEST(a_refused_connection_says_so)
{
    struct world world;
    struct party client;
    struct address nobody;
    open_world(&world);
    assert(address_parse_port(BYTES("127.0.0.1:1"), &nobody));
    open_to(&world, &client, &nobody, NULL, 5000);
    RUN_UNTIL(&world, client.opened != 1, 1000);
    CHECK_INT(client.opened, -ECONNREFUSED);
    CHECK(!client.connection.bind_failed);
    close_party(&world, &client, CONNECTION_CLOSE_GENTLY);
    close_world(&world);
}

/* A listener whose backlog is full drops what comes. */
TEST(a_connect_that_is_not_answered_times_out)
{
    struct world world;
    struct party clients[4];
    struct address full;
    int timed_out = 0;
    open_world(&world);
    assert(address_parse(BYTES("127.0.0.1"), &full));
    int fd = io_listen(world.io, &full, 0);
    assert(io_local_address(world.io, fd, &full) == 0);
    for (int i = 0; i < 4; i++) {
        open_to(&world, &clients[i], &full, NULL, 300);
    }
    RUN_UNTIL(&world,
              clients[0].opened != 1 && clients[1].opened != 1 && clients[2].opened != 1 &&
                  clients[3].opened != 1,
              3000);
    for (int i = 0; i < 4; i++) {
        timed_out += clients[i].opened == -ETIMEDOUT;
        close_party(&world, &clients[i], CONNECTION_CLOSE_ABORT);
    }
    CHECK(timed_out > 0);
    io_close(world.io, fd);
    close_world(&world);
}

TEST(a_connection_can_be_closed_while_it_connects)
{
    struct world world;
    struct party client;
    open_world(&world);
    open_to(&world, &client, &world.address, NULL, 5000);
    close_party(&world, &client, CONNECTION_CLOSE_NOW);
    CHECK_INT(client.opened, 1);
    RUN_UNTIL(&world, world.accepted_fd >= 0, 200);
    if (world.accepted_fd >= 0) {
        io_close(world.io, world.accepted_fd);
    }
    close_world(&world);
}

/* ---- moving ----------------------------------------------------------------------------- */

static char big[8 * 1024 * 1024];

static void fill_big(void)
{
    for (size_t i = 0; i < sizeof(big); i++) {
        big[i] = (char)(i * 31 + (i >> 9));
    }
}

TEST(a_large_send_waits_for_a_reader_that_pauses)
{
    struct world world;
    struct party client, server;
    open_world(&world);
    fill_big();
    make_pair(&world, &client, &server);
    connection_pause_reading(&server.connection);
    send_bytes(&client, big, sizeof(big));
    RUN_UNTIL(&world, client.sent_count > 0 || server.got_len > 0, 300);
    CHECK_INT(server.got_len, 0);
    CHECK_INT(client.sent_count, 0);
    CHECK(connection_sending(&client.connection));
    connection_resume_reading(&server.connection);
    CHECK_INT(server.got_len, 0);
    RUN_UNTIL(&world, server.got_len >= sizeof(big), 10000);
    CHECK_INT(server.got_len, sizeof(big));
    CHECK(memcmp(server.got, big, sizeof(server.got)) == 0);
    CHECK_INT(client.sent_count, 1);
    close_pair(&world, &client, &server);
    close_world(&world);
}

TEST(the_end_of_the_peer_comes_after_its_bytes)
{
    struct world world;
    struct party client;
    open_world(&world);
    int fd = make_raw_pair(&world, &client);
    CHECK_INT(write(fd, "421 bye\r\n", 9), 9);
    io_close(world.io, fd);
    RUN_UNTIL(&world, client.lost != 1, 1000);
    CHECK_INT(client.lost, 0);
    CHECK_STRING(client.got, "421 bye\r\n");
    close_party(&world, &client, CONNECTION_CLOSE_NOW);
    close_world(&world);
}

TEST(c14_what_the_peer_said_before_its_reset_is_read)
{
    struct world world;
    struct party client;
    open_world(&world);
    int fd = make_raw_pair(&world, &client);
    send_bytes(&client, big, sizeof(big));
    RUN_UNTIL(&world, false, 50);
    CHECK_INT(write(fd, "552 too big\r\n", 13), 13);
    io_close(world.io, fd); /* with unread bytes: a reset */
    RUN_UNTIL(&world, client.lost != 1, 5000);
    CHECK(client.lost <= 0); /* the reset, or the end behind it, whichever the kernel tells us */
    CHECK_STRING(client.got, "552 too big\r\n");
    CHECK_INT(client.sent_count, 0);
    close_party(&world, &client, CONNECTION_CLOSE_NOW);
    close_world(&world);
}

TEST(c17_a_deadline_ends_a_send_that_nobody_reads)
{
    struct world world;
    struct party client;
    open_world(&world);
    int fd = make_raw_pair(&world, &client);
    send_bytes(&client, big, sizeof(big));
    connection_set_deadline(&client.connection, io_now_ms(world.io) + 200);
    RUN_UNTIL(&world, client.lost != 1, 2000);
    CHECK_INT(client.lost, -ETIMEDOUT);
    close_party(&world, &client, CONNECTION_CLOSE_ABORT);
    io_close(world.io, fd);
    close_world(&world);
}

TEST(a_deadline_can_be_moved_and_taken_away)
{
    struct world world;
    struct party client, server;
    open_world(&world);
    make_pair(&world, &client, &server);
    connection_set_deadline(&client.connection, io_now_ms(world.io) + 50);
    connection_set_deadline(&client.connection, UINT64_MAX);
    RUN_UNTIL(&world, client.lost != 1, 150);
    CHECK_INT(client.lost, 1);
    connection_set_deadline(&client.connection, io_now_ms(world.io) + 50);
    RUN_UNTIL(&world, client.lost != 1, 1000);
    CHECK_INT(client.lost, -ETIMEDOUT);
    close_pair(&world, &client, &server);
    close_world(&world);
}

/* ---- closing ---------------------------------------------------------------------------- */

TEST(a_gentle_close_waits_for_the_fin_of_the_peer)
{
    struct world world;
    struct party client;
    char byte;
    open_world(&world);
    int fd = make_raw_pair(&world, &client);
    connection_close(&client.connection, CONNECTION_CLOSE_GENTLY);
    RUN_UNTIL(&world, client.closed_count > 0, 100);
    CHECK_INT(client.closed_count, 0);
    CHECK_INT(recv(fd, &byte, 1, MSG_DONTWAIT), -1); /* no FIN from us yet */
    CHECK_INT(write(fd, "221 bye\r\n", 9), 9);
    shutdown(fd, SHUT_WR);
    RUN_UNTIL(&world, client.closed_count > 0, 1000);
    CHECK_INT(client.closed_count, 1);
    CHECK_INT(client.got_len, 0);
    CHECK_INT(client.lost, 1);
    io_close(world.io, fd);
    close_world(&world);
}

TEST(c19_a_gentle_close_waits_five_seconds_at_most)
{
    struct world world;
    struct party client;
    open_world(&world);
    int fd = make_raw_pair(&world, &client);
    uint64_t before_ms = io_now_ms(world.io);
    close_party(&world, &client, CONNECTION_CLOSE_GENTLY);
    uint64_t took_ms = io_now_ms(world.io) - before_ms;
    CHECK(took_ms >= 4900 && took_ms < 6000);
    io_close(world.io, fd);
    close_world(&world);
}

TEST(a_gentle_close_finishes_what_is_being_sent)
{
    struct world world;
    struct party client, server;
    open_world(&world);
    make_pair(&world, &client, &server);
    send_bytes(&client, big, sizeof(big));
    connection_close(&client.connection, CONNECTION_CLOSE_GENTLY);
    RUN_UNTIL(&world, server.got_len == sizeof(big), 5000);
    CHECK_INT(server.got_len, sizeof(big));
    close_party(&world, &server, CONNECTION_CLOSE_NOW);
    RUN_UNTIL(&world, client.closed_count > 0, 1000);
    CHECK_INT(client.closed_count, 1);
    close_world(&world);
}

TEST(an_abort_takes_the_send_in_flight_home_and_resets)
{
    struct world world;
    struct party client;
    char data[100];
    open_world(&world);
    int fd = make_raw_pair(&world, &client);
    send_bytes(&client, big, sizeof(big));
    RUN_UNTIL(&world, false, 20);
    close_party(&world, &client, CONNECTION_CLOSE_ABORT);
    CHECK_INT(client.sent_count, 0);
    RUN_UNTIL(&world, false, 20);
    ssize_t n;
    do {
        n = recv(fd, data, sizeof(data), MSG_DONTWAIT);
    } while (n > 0);
    CHECK_INT(n, -1);
    CHECK_INT(errno, ECONNRESET);
    io_close(world.io, fd);
    close_world(&world);
}

/* ---- TLS -------------------------------------------------------------------------------- */

static void secure(struct world *world, struct party *client, struct party *server, bool verify)
{
    struct tls_client_options options = {.server_name = "mx.example", .verify = verify};
    open_tls(world);
    client->in_call = server->in_call = true;
    connection_start_tls(&client->connection, tls_client_create(world->client, &options), 3000);
    connection_start_tls(&server->connection, tls_server_create(world->server), 3000);
    client->in_call = server->in_call = false;
    RUN_UNTIL(world, client->secured != 1 && server->secured != 1, 5000);
}

TEST(bytes_go_both_ways_in_tls)
{
    struct world world;
    struct party client, server;
    open_world(&world);
    make_pair(&world, &client, &server);
    secure(&world, &client, &server, false);
    CHECK_INT(client.secured, 0);
    CHECK_INT(server.secured, 0);
    send_text(&client, "EHLO x\r\n");
    send_text(&server, "250 ok\r\n");
    RUN_UNTIL(&world, client.got_len == 8 && server.got_len == 8, 5000);
    CHECK_STRING(client.got, "250 ok\r\n");
    CHECK_STRING(server.got, "EHLO x\r\n");
    CHECK_INT(client.sent_count + server.sent_count, 2);
    close_pair(&world, &client, &server);
    close_world(&world);
}

TEST(a_large_send_in_tls_goes_a_few_records_at_a_time)
{
    struct world world;
    struct party client, server;
    open_world(&world);
    make_pair(&world, &client, &server);
    secure(&world, &client, &server, false);
    connection_pause_reading(&server.connection);
    client.iov[0] = (struct iovec){.iov_base = big, .iov_len = 10};
    client.iov[1] = (struct iovec){.iov_base = big + 10, .iov_len = 0};
    client.iov[2] = (struct iovec){.iov_base = big + 10, .iov_len = sizeof(big) - 13};
    client.iov[3] = (struct iovec){.iov_base = big + sizeof(big) - 3, .iov_len = 3};
    connection_send(&client.connection, client.iov, 4);
    RUN_UNTIL(&world, client.sent_count > 0, 300);
    CHECK_INT(client.sent_count, 0);
    CHECK(tls_output(client.connection.tls).len < 128 * 1024);
    connection_resume_reading(&server.connection);
    RUN_UNTIL(&world, server.got_len >= sizeof(big) && client.sent_count > 0, 20000);
    CHECK_INT(server.got_len, sizeof(big));
    CHECK(memcmp(server.got, big, sizeof(server.got)) == 0);
    CHECK_INT(client.sent_count, 1);
    CHECK_INT(tls_output(client.connection.tls).len, 0);
    close_pair(&world, &client, &server);
    close_world(&world);
}

TEST(the_end_in_tls_is_told_with_and_without_close_notify)
{
    for (int gently = 0; gently < 2; gently++) {
        struct world world;
        struct party client, server;
        open_world(&world);
        make_pair(&world, &client, &server);
        secure(&world, &client, &server, false);
        send_text(&server, "250 ok\r\n");
        RUN_UNTIL(&world, server.sent_count > 0, 1000);
        connection_close(&server.connection,
                         gently ? CONNECTION_CLOSE_GENTLY : CONNECTION_CLOSE_NOW);
        RUN_UNTIL(&world, client.lost != 1, 1000);
        CHECK_INT(client.lost, 0);
        CHECK_STRING(client.got, "250 ok\r\n");
        close_party(&world, &client, CONNECTION_CLOSE_NOW);
        RUN_UNTIL(&world, server.closed_count > 0, 1000);
        CHECK_INT(server.closed_count, 1);
        close_world(&world);
    }
}

TEST(a_certificate_that_does_not_verify_fails_both_sides_with_words)
{
    struct world world;
    struct party client, server;
    open_world(&world);
    make_pair(&world, &client, &server);
    secure(&world, &client, &server, true);
    CHECK_INT(client.secured, -EPROTO);
    CHECK(strstr(tls_failure(client.connection.tls), "self-signed") != NULL);
    RUN_UNTIL(&world, server.secured != 1 || server.lost != 1, 1000);
    CHECK(server.secured == -EPROTO || server.lost == -EPROTO); /* the alert has arrived */
    close_pair(&world, &client, &server);
    close_world(&world);
}

TEST(c8_plaintext_instead_of_a_handshake_fails_it)
{
    struct world world;
    struct party client;
    struct tls_client_options options = {.server_name = "mx.example"};
    open_world(&world);
    open_tls(&world);
    int fd = make_raw_pair(&world, &client);
    CHECK_INT(write(fd, "250 injected\r\n", 14), 14);
    connection_start_tls(&client.connection, tls_client_create(world.client, &options), 3000);
    RUN_UNTIL(&world, client.secured != 1, 1000);
    CHECK_INT(client.secured, -EPROTO);
    CHECK_INT(client.got_len, 0);
    close_party(&world, &client, CONNECTION_CLOSE_NOW);
    io_close(world.io, fd);
    close_world(&world);
}

TEST(a_handshake_nobody_answers_times_out)
{
    struct world world;
    struct party client;
    struct tls_client_options options = {.server_name = "mx.example"};
    open_world(&world);
    open_tls(&world);
    int fd = make_raw_pair(&world, &client);
    connection_start_tls(&client.connection, tls_client_create(world.client, &options), 100);
    RUN_UNTIL(&world, client.secured != 1, 1000);
    CHECK_INT(client.secured, -ETIMEDOUT);
    CHECK_STRING(tls_failure(client.connection.tls), "the handshake was not finished");
    close_party(&world, &client, CONNECTION_CLOSE_NOW);
    io_close(world.io, fd);
    close_world(&world);
}

TEST(a_peer_that_closes_in_the_handshake_fails_it)
{
    struct world world;
    struct party client;
    struct tls_client_options options = {.server_name = "mx.example"};
    open_world(&world);
    open_tls(&world);
    int fd = make_raw_pair(&world, &client);
    connection_start_tls(&client.connection, tls_client_create(world.client, &options), 3000);
    shutdown(fd, SHUT_WR);
    RUN_UNTIL(&world, client.secured != 1, 1000);
    CHECK_INT(client.secured, -ECONNRESET);
    close_party(&world, &client, CONNECTION_CLOSE_GENTLY);
    io_close(world.io, fd);
    close_world(&world);
}

TEST(garbage_in_an_established_session_loses_it)
{
    struct world world;
    struct party client, server;
    open_world(&world);
    make_pair(&world, &client, &server);
    secure(&world, &client, &server, false);
    RUN_UNTIL(&world, false, 20);
    int fd = server.connection.fd;
    CHECK_INT(write(fd, "this is no record of TLS at all", 31), 31);
    RUN_UNTIL(&world, client.lost != 1, 1000);
    CHECK_INT(client.lost, -EPROTO);
    close_pair(&world, &client, &server);
    close_world(&world);
}
