/* Connections in worlds with faults: whatever the network does, each ends with `closed`, once and
 * last, and what was received is a beginning of what was sent. */
#include "../unit/test.h"

#include <assert.h>
#include <stdlib.h>

#include "base/rng.h"
#include "io/io.h"
#include "net/connection.h"
#include "sim.h"

#define PAIRS      4
#define SEND_MAX   200000
#define STREAM_MAX 1000000

/* The bytes of both streams, known to all. */
static uint8_t pattern[STREAM_MAX];

struct party {
    struct connection connection;
    struct world *world;
    struct party *peer;
    struct iovec iov[3];
    uint64_t sent_bytes, sending_bytes, got_bytes; /* of the clear stream */
    bool exists, open, in_call, server, closing, paused;
    int closed_count, lost_count, secured_count, sent_awaited;
};

struct world {
    struct sim *sim;
    struct io *io;
    struct rng rng;
    struct io_acceptor acceptor;
    struct address address;
    struct tls_worker *tls;
    struct tls_profile *server_profile, *client_profile;
    struct party clients[PAIRS], servers[PAIRS];
    uint32_t accepted;
    int listen_fd;
    bool stopped, with_tls, polite;
};

static struct party *party_of(struct connection *connection)
{
    struct party *party = connection->owner;
    CHECK(!party->in_call);
    CHECK_INT(party->closed_count, 0);
    return party;
}

static void start_close(struct party *party, enum connection_close how)
{
    if (party->closing) {
        return;
    }
    party->closing = true;
    party->in_call = true;
    connection_close(&party->connection, how);
    party->in_call = false;
}

static void start_tls(struct party *party)
{
    struct world *world = party->world;
    struct tls_client_options options = {.server_name = "mx"};
    struct tls_session *session = party->server
                                      ? tls_server_create(world->server_profile)
                                      : tls_client_create(world->client_profile, &options);
    assert(session != NULL);
    party->in_call = true;
    connection_start_tls(&party->connection, session, 20000);
    party->in_call = false;
}

static void ready(struct party *party)
{
    if (party->world->with_tls) {
        start_tls(party);
    } else {
        party->open = true;
    }
}

static void on_opened(struct connection *connection, int result)
{
    struct party *party = party_of(connection);
    CHECK(!party->closing);
    if (result == 0) {
        ready(party);
    } else {
        start_close(party, CONNECTION_CLOSE_NOW);
    }
}

static void on_received(struct connection *connection, const uint8_t *data, size_t len)
{
    struct party *party = party_of(connection);
    CHECK(party->open && !party->closing && party->lost_count == 0);
    CHECK(!party->paused);
    assert(party->got_bytes + len <= STREAM_MAX);
    CHECK(memcmp(data, pattern + party->got_bytes, len) == 0);
    party->got_bytes += len;
    if (!party->world->polite && rng_chance(&party->world->rng, 20000)) {
        start_close(party, (enum connection_close)rng_below(&party->world->rng, 3));
    }
}

static void on_sent(struct connection *connection)
{
    struct party *party = party_of(connection);
    CHECK(!party->closing && party->lost_count == 0);
    CHECK_INT(party->sent_awaited, 1);
    party->sent_awaited = 0;
    party->sent_bytes += party->sending_bytes;
    memset(party->iov, 0xee, sizeof(party->iov)); /* ours again */
}

static void on_secured(struct connection *connection, int result)
{
    struct party *party = party_of(connection);
    CHECK(!party->closing);
    CHECK_INT(party->secured_count++, 0);
    if (result == 0) {
        party->open = true;
    } else {
        start_close(party, CONNECTION_CLOSE_NOW);
    }
}

static void on_lost(struct connection *connection, int error)
{
    struct party *party = party_of(connection);
    CHECK(!party->closing);
    CHECK_INT(party->lost_count++, 0);
    start_close(party, error == 0 ? CONNECTION_CLOSE_GENTLY : CONNECTION_CLOSE_NOW);
}

static void on_closed(struct connection *connection)
{
    struct party *party = party_of(connection);
    CHECK(party->closing);
    party->closed_count++;
    memset(&party->connection, 0xdd, sizeof(party->connection)); /* nobody looks any more */
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
    struct world *world = CONTAINER_OF(acceptor, struct world, acceptor);
    if (fd < 0) {
        io_accept_resume(acceptor);
        return;
    }
    if (world->accepted == PAIRS) {
        io_close(world->io, fd);
        return;
    }
    struct party *party = &world->servers[world->accepted++];
    party->world = world;
    party->exists = party->server = true;
    connection_accept(&party->connection, world->io, &events, party, fd);
    ready(party);
}

static void on_stopped(struct io_acceptor *acceptor)
{
    CONTAINER_OF(acceptor, struct world, acceptor)->stopped = true;
}

/* ---- what owners do --------------------------------------------------------------------- */

static void send_some(struct party *party)
{
    struct world *world = party->world;
    uint64_t from = party->sent_bytes;
    size_t left = 1 + rng_below(&world->rng, SEND_MAX), count = 0;
    if (from + left > STREAM_MAX || connection_sending(&party->connection)) {
        return;
    }
    party->sending_bytes = left;
    for (; count < 3 && left > 0; count++) {
        size_t n = count == 2 ? left : rng_below(&world->rng, left + 1);
        party->iov[count] = (struct iovec){.iov_base = pattern + from, .iov_len = n};
        from += n;
        left -= n;
    }
    party->sent_awaited = 1;
    party->in_call = true;
    connection_send(&party->connection, party->iov, count);
    party->in_call = false;
}

static void act(struct party *party)
{
    struct world *world = party->world;
    if (!party->exists || party->closing || party->closed_count > 0) {
        return;
    }
    switch (rng_below(&world->rng, 8)) {
    case 0:
    case 1:
    case 2:
        if (party->open) {
            send_some(party);
        }
        break;
    case 3:
        if (!party->open) {
            break;
        }
        connection_pause_reading(&party->connection);
        party->paused = true;
        break;
    case 4:
    case 5:
        party->paused = false;
        connection_resume_reading(&party->connection);
        break;
    case 6:
        if (party->open && !world->polite) {
            uint64_t wait_ms = rng_below(&world->rng, 60000);
            connection_set_deadline(&party->connection,
                                    wait_ms < 100 ? UINT64_MAX : io_now_ms(world->io) + wait_ms);
        }
        break;
    default:
        if (!world->polite && rng_chance(&world->rng, 50000)) {
            start_close(party, (enum connection_close)rng_below(&world->rng, 3));
        }
        break;
    }
}

/* ---- worlds ----------------------------------------------------------------------------- */

static void open_world(struct world *world, uint64_t seed)
{
    struct error error = {0};
    struct address ours;
    memset(world, 0, sizeof(*world));
    CHECK(address_parse(BYTES("192.0.2.1"), &ours));
    rng_init(&world->rng, seed);
    world->polite = seed % 4 == 0;
    world->with_tls = seed % 2 == 0;
    world->sim = sim_create(&(struct sim_options){
        .seed = seed, .calm = world->polite, .addresses = &ours, .address_count = 1});
    struct io_options options = {.recv_buffer_bytes = 512, .recv_buffer_count = 16};
    world->io = io_create(&options, &error);
    assert(world->io != NULL);
    world->tls = tls_worker_create(seed, &error);
    struct tls_profile_settings settings = {.server = true, .certificate_file = "mx"};
    world->server_profile = tls_profile_create(world->tls, &settings, &error);
    world->client_profile =
        tls_profile_create(world->tls, &(struct tls_profile_settings){.server = false}, &error);
    world->address = ours;
    world->address.port = 25;
    int fd = -1;
    for (int i = 0; i < 100 && fd < 0; i++) { /* a socket may fail */
        fd = io_listen(world->io, &world->address, 16);
    }
    assert(fd >= 0);
    world->acceptor.accepted = on_accepted;
    world->acceptor.stopped = on_stopped;
    world->listen_fd = fd;
    io_accept_start(world->io, &world->acceptor, fd);
    for (int i = 0; i < PAIRS; i++) {
        struct party *party = &world->clients[i];
        party->world = world;
        party->exists = true;
        party->in_call = true;
        connection_open(&party->connection, world->io, &events, party,
                        &(struct connection_target){.peer = world->address, .timeout_ms = 30000});
        party->in_call = false;
    }
}

static bool all_closed(const struct world *world)
{
    for (int i = 0; i < PAIRS; i++) {
        if (world->clients[i].closed_count == 0 ||
            (world->servers[i].exists && world->servers[i].closed_count == 0)) {
            return false;
        }
    }
    return true;
}

static void run(struct world *world, uint64_t ms)
{
    uint64_t end_ms = io_now_ms(world->io) + ms;
    while (io_now_ms(world->io) < end_ms && !test_failed && !all_closed(world)) {
        CHECK_INT(io_run(world->io, io_now_ms(world->io) + 1 + rng_below(&world->rng, 50)), 0);
        for (int i = 0; i < PAIRS; i++) {
            act(&world->clients[i]);
            act(&world->servers[i]);
        }
    }
}

static void close_all(struct world *world)
{
    for (int i = 0; i < PAIRS; i++) {
        struct party *parties[] = {&world->clients[i], &world->servers[i]};
        for (int side = 0; side < 2; side++) {
            if (parties[side]->exists && parties[side]->closed_count == 0) {
                start_close(parties[side], (enum connection_close)rng_below(&world->rng, 3));
            }
        }
    }
    uint64_t end_ms = io_now_ms(world->io) + CONNECTION_LINGER_MS + 5000;
    while (io_now_ms(world->io) < end_ms && !test_failed && !all_closed(world)) {
        CHECK_INT(io_run(world->io, end_ms), 0);
    }
    CHECK(all_closed(world));
}

/* Without faults: all that was sent arrives. */
static void check_complete(struct world *world)
{
    for (int i = 0; i < PAIRS; i++) {
        world->clients[i].paused = world->servers[i].paused = false;
        connection_resume_reading(&world->clients[i].connection);
        connection_resume_reading(&world->servers[i].connection);
    }
    uint64_t end_ms = io_now_ms(world->io) + 60000;
    while (io_now_ms(world->io) < end_ms && !test_failed) {
        CHECK_INT(io_run(world->io, end_ms), 0);
    }
    uint64_t sent[2] = {0, 0}, got[2] = {0, 0};
    for (int i = 0; i < PAIRS; i++) {
        CHECK_INT(world->clients[i].sent_awaited + world->servers[i].sent_awaited, 0);
        CHECK_INT(world->clients[i].lost_count + world->servers[i].lost_count, 0);
        sent[0] += world->clients[i].sent_bytes;
        sent[1] += world->servers[i].sent_bytes;
        got[0] += world->servers[i].got_bytes;
        got[1] += world->clients[i].got_bytes;
    }
    CHECK_INT(sent[0], got[0]);
    CHECK_INT(sent[1], got[1]);
    CHECK(sent[0] > 0 && sent[1] > 0);
}

static void run_world(struct world *world, uint64_t seed)
{
    open_world(world, seed);
    run(world, 20000);
    if (world->polite) {
        check_complete(world);
    }
    close_all(world);
    io_accept_stop(&world->acceptor);
    for (int i = 0; i < 1000 && !world->stopped; i++) {
        CHECK_INT(io_run(world->io, io_now_ms(world->io) + 10), 0);
    }
    if (!test_failed) {
        io_close(world->io, world->listen_fd);
        tls_profile_destroy(world->client_profile);
        tls_profile_destroy(world->server_profile);
        tls_worker_destroy(world->tls);
        io_destroy(world->io);
        sim_destroy(world->sim);
    }
}

TEST(every_connection_ends_once_and_its_bytes_are_in_order)
{
    static struct world world;
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)(i * 31 + (i >> 8) * 7);
    }
    for (uint64_t seed = 1; seed <= 300; seed++) {
        run_world(&world, seed);
        if (test_failed) {
            printf("seed %" PRIu64 "\n", seed);
            return;
        }
    }
}
