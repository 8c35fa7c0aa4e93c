/* TLS in memory: a client and a server session, fed at random splits. Includes the source, to be a
 * peer that does what ours never would. */
#include "net/tls.c"

#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/rng.h"
#include "certificates.h"
#include "test.h"

struct world {
    struct tls_worker *worker;
    struct tls_profile *server, *client;
    struct certificate certificate;
    struct rng rng;
};

#define NEW_VERSIONS (TLS_1_2 | TLS_1_3)

static struct tls_profile *client_profile(struct world *world, uint32_t versions,
                                          const char *ca_file)
{
    struct error error = {0};
    struct tls_profile_settings settings = {.versions = versions, .ca_file = ca_file};
    struct tls_profile *profile = tls_profile_create(world->worker, &settings, &error);
    CHECK(profile != NULL);
    return profile;
}

static void open_world(struct world *world, uint32_t versions, const struct certificate_wish *wish)
{
    static const struct certificate_wish usual = {.name = "mx.example", .days_to = 10};
    struct error error = {0};
    memset(world, 0, sizeof(*world));
    rng_init(&world->rng, 1);
    certificate_make(wish == NULL ? &usual : wish, &world->certificate);
    world->worker = tls_worker_create(1, &error);
    assert(world->worker != NULL);
    world->server = tls_profile_create(
        world->worker,
        &(struct tls_profile_settings){.server = true,
                                       .certificate_file = world->certificate.certificate_file,
                                       .key_file = world->certificate.key_file,
                                       .versions = versions},
        &error);
    assert(world->server != NULL);
    world->client = client_profile(world, versions, world->certificate.certificate_file);
}

static void close_world(struct world *world)
{
    tls_profile_destroy(world->client);
    tls_profile_destroy(world->server);
    tls_worker_destroy(world->worker);
    certificate_remove(&world->certificate);
}

/* One side, and what it has read. */
struct side {
    struct tls_session *session;
    bool established, failed, closed;
    char *got;
    size_t got_len, got_max;
};

static void read_all(struct side *side)
{
    enum tls_result result = TLS_OK;
    size_t n;
    do {
        char data[1000];
        n = tls_read(side->session, data, sizeof(data), &result);
        if (n > 0 && side->got_len + n <= side->got_max) {
            memcpy(side->got + side->got_len, data, n);
        }
        side->got_len += n;
    } while (n > 0);
    side->closed |= result == TLS_CLOSED;
    side->failed |= result == TLS_FAILED;
}

static void advance(struct side *side)
{
    if (!side->established && !side->failed) {
        enum tls_result result = tls_handshake(side->session);
        side->established = result == TLS_ESTABLISHED;
        side->failed = result == TLS_FAILED;
    }
    if (side->established) {
        read_all(side);
    }
}

/* Moves at most piece_max bytes at a time from one to the other. True: something moved. */
static bool move(struct world *world, struct side *from, struct side *to, size_t piece_max)
{
    struct bytes output = tls_output(from->session);
    if (output.len == 0) {
        return false;
    }
    size_t n = 1 + rng_below(&world->rng, piece_max);
    n = n < output.len ? n : output.len;
    (void)tls_receive(to->session, output.data, n);
    tls_output_sent(from->session, n);
    advance(to);
    return true;
}

static void converse(struct world *world, struct side *client, struct side *server,
                     size_t piece_max)
{
    advance(client);
    for (int i = 0; i < 10000000; i++) {
        bool moved = move(world, client, server, piece_max);
        moved |= move(world, server, client, piece_max);
        if (!moved) {
            return;
        }
    }
    CHECK(false);
}

static void make_pair(struct world *world, const struct tls_client_options *options,
                      struct side *client, struct side *server)
{
    *client = (struct side){.session = tls_client_create(world->client, options)};
    *server = (struct side){.session = tls_server_create(world->server)};
    assert(client->session != NULL && server->session != NULL);
}

static void drop_pair(struct side *client, struct side *server)
{
    tls_session_destroy(client->session);
    tls_session_destroy(server->session);
    free(client->got);
    free(server->got);
}

static const struct tls_client_options plain_options = {.server_name = "mx.example"};

TEST(a_conversation_is_the_same_at_any_split)
{
    static const uint32_t tried[] = {TLS_1_2, TLS_1_3};
    static const size_t pieces[] = {1, 7, 500, 20000};
    for (size_t v = 0; v < 2; v++) {
        struct world world;
        open_world(&world, tried[v], NULL);
        for (size_t p = 0; p < 4; p++) {
            struct side client, server;
            make_pair(&world, &plain_options, &client, &server);
            converse(&world, &client, &server, pieces[p]);
            CHECK(client.established && server.established);
            static char body[100000];
            for (size_t i = 0; i < sizeof(body); i++) {
                body[i] = (char)(i * 7 + i / 251);
            }
            server.got = malloc(sizeof(body));
            server.got_max = sizeof(body);
            CHECK_INT(tls_write(client.session, body, sizeof(body)), 0);
            CHECK_INT(tls_write(server.session, "250 ok\r\n", 8), 0);
            converse(&world, &client, &server, pieces[p]);
            CHECK_INT(server.got_len, sizeof(body));
            CHECK(memcmp(server.got, body, sizeof(body)) == 0);
            CHECK_INT(client.got_len, 8);
            tls_close_notify(client.session);
            converse(&world, &client, &server, pieces[p]);
            CHECK(server.closed && !server.failed);
            drop_pair(&client, &server);
        }
        close_world(&world);
    }
}

TEST(the_protocol_and_the_cipher_are_told)
{
    struct world world;
    struct side client, server;
    struct tls_info info;
    open_world(&world, NEW_VERSIONS, NULL);
    make_pair(&world, &plain_options, &client, &server);
    converse(&world, &client, &server, 20000);
    tls_info(client.session, &info);
    CHECK_STRING(info.protocol, "TLSv1.3");
    CHECK(strncmp(info.cipher, "TLS_", 4) == 0);
    CHECK(!info.resumed && !info.verified);
    drop_pair(&client, &server);
    close_world(&world);
}

TEST(sessions_are_resumed_by_their_key_only)
{
    static const uint32_t tried[] = {TLS_1_2, TLS_1_3};
    for (size_t v = 0; v < 2; v++) {
        struct world world;
        int resumed = 0;
        open_world(&world, tried[v], NULL);
        for (int i = 0; i < 10; i++) {
            struct side client, server;
            struct tls_info info;
            struct tls_client_options options = plain_options;
            options.resume_key = i < 8 ? 77 : 0;
            make_pair(&world, &options, &client, &server);
            converse(&world, &client, &server, 20000);
            CHECK(client.established && server.established);
            tls_info(client.session, &info);
            resumed += info.resumed;
            drop_pair(&client, &server);
        }
        CHECK_INT(resumed, 7);
        close_world(&world);
    }
}

TEST(an_unverified_session_is_never_resumed_by_a_verified_one)
{
    struct world world;
    struct side client, server;
    struct tls_info info;
    struct tls_client_options options = plain_options;
    open_world(&world, NEW_VERSIONS, NULL);
    options.resume_key = 77;
    make_pair(&world, &options, &client, &server);
    converse(&world, &client, &server, 20000);
    drop_pair(&client, &server);
    options.verify = true;
    make_pair(&world, &options, &client, &server);
    converse(&world, &client, &server, 20000);
    tls_info(client.session, &info);
    CHECK(!info.resumed);
    CHECK(info.verified);
    drop_pair(&client, &server);
    close_world(&world);
}

static void check_failure(const struct certificate_wish *wish, const char *name, bool trusted,
                          const char *words)
{
    struct world world;
    struct side client, server;
    struct tls_client_options options = {.server_name = name, .verify = true};
    open_world(&world, NEW_VERSIONS, wish);
    if (!trusted) {
        tls_profile_destroy(world.client);
        world.client = client_profile(&world, NEW_VERSIONS, NULL);
    }
    make_pair(&world, &options, &client, &server);
    converse(&world, &client, &server, 20000);
    CHECK(client.failed && !client.established);
    if (strstr(tls_failure(client.session), words) == NULL) {
        CHECK_STRING(tls_failure(client.session), words);
    }
    drop_pair(&client, &server);
    close_world(&world);
}

TEST(c26_certificates_that_do_not_verify_fail_with_words)
{
    static const struct certificate_wish expired = {
        .name = "mx.example", .days_from = -20, .days_to = -10};
    check_failure(NULL, "other.example", true, "ostname mismatch");
    check_failure(&expired, "mx.example", true, "expired");
    check_failure(NULL, "mx.example", false, "self-signed");
}

TEST(c26_without_verification_any_certificate_will_do)
{
    static const struct certificate_wish expired = {
        .name = "other.example", .days_from = -20, .days_to = -10, .rsa = true};
    struct world world;
    struct side client, server;
    open_world(&world, NEW_VERSIONS, &expired);
    make_pair(&world, &plain_options, &client, &server);
    converse(&world, &client, &server, 20000);
    CHECK(client.established && server.established);
    drop_pair(&client, &server);
    close_world(&world);
}

TEST(versions_that_do_not_meet_fail_on_both_sides)
{
    struct world world;
    struct side client, server;
    open_world(&world, TLS_1_3, NULL);
    tls_profile_destroy(world.client);
    world.client = client_profile(&world, TLS_1_2, NULL);
    make_pair(&world, &plain_options, &client, &server);
    converse(&world, &client, &server, 20000);
    CHECK(client.failed && server.failed);
    CHECK(strstr(tls_failure(client.session), "alert protocol version") != NULL);
    drop_pair(&client, &server);
    close_world(&world);
}

TEST(old_versions_work_where_the_operator_allows_them)
{
    static const uint32_t tried[] = {TLS_1_0, TLS_1_1};
    for (size_t v = 0; v < 2; v++) {
        struct world world;
        struct side client, server;
        struct tls_info info;
        open_world(&world, tried[v], NULL);
        make_pair(&world, &plain_options, &client, &server);
        converse(&world, &client, &server, 20000);
        CHECK(client.established && server.established);
        tls_info(client.session, &info);
        CHECK_STRING(info.protocol, v == 0 ? "TLSv1" : "TLSv1.1");
        drop_pair(&client, &server);
        close_world(&world);
    }
}

TEST(what_is_no_tls_fails_the_handshake)
{
    struct world world;
    struct side client, server;
    open_world(&world, NEW_VERSIONS, NULL);
    make_pair(&world, &plain_options, &client, &server);
    advance(&client);
    CHECK_STRING(tls_failure(client.session), "the handshake was not finished");
    (void)tls_receive(client.session, "250 I am no TLS server\r\n", 24);
    advance(&client);
    CHECK(client.failed);
    CHECK(tls_failure(client.session)[0] != '\0');
    CHECK_INT(tls_write(client.session, "x", 1), -EPROTO);
    drop_pair(&client, &server);
    close_world(&world);
}

TEST(more_than_may_wait_is_refused_whole)
{
    static char big[TLS_OUT_MAX];
    struct world world;
    struct side client, server;
    open_world(&world, NEW_VERSIONS, NULL);
    make_pair(&world, &plain_options, &client, &server);
    converse(&world, &client, &server, 20000);
    CHECK_INT(tls_write(client.session, big, sizeof(big)), -EMSGSIZE);
    CHECK_INT(tls_output(client.session).len, 0);
    CHECK_INT(tls_write(client.session, big, sizeof(big) / 2), 0);
    CHECK_INT(tls_write(client.session, big, sizeof(big) / 2), -EMSGSIZE);
    converse(&world, &client, &server, 20000);
    CHECK_INT(server.got_len, sizeof(big) / 2);
    drop_pair(&client, &server);
    close_world(&world);
}

TEST(output_that_is_being_sent_does_not_move)
{
    struct world world;
    struct side client, server;
    open_world(&world, NEW_VERSIONS, NULL);
    make_pair(&world, &plain_options, &client, &server);
    converse(&world, &client, &server, 20000);
    static char data[50000];
    CHECK_INT(tls_write(client.session, data, 100), 0);
    struct bytes before = tls_output(client.session);
    CHECK_INT(tls_write(client.session, data, sizeof(data)), 0);
    struct bytes after = tls_output(client.session);
    CHECK(before.data == after.data && before.len == after.len);
    converse(&world, &client, &server, 20000);
    CHECK_INT(server.got_len, 50100);
    drop_pair(&client, &server);
    close_world(&world);
}

struct setting_row {
    struct tls_profile_settings settings;
    const char *words;
};

TEST(settings_that_cannot_be_are_refused_with_words)
{
    struct world world;
    open_world(&world, NEW_VERSIONS, NULL);
    static const struct certificate_wish other = {.name = "other", .days_to = 1};
    struct certificate wrong;
    certificate_make(&other, &wrong);
    const char *right = world.certificate.certificate_file;
    const struct setting_row rows[] = {
        {{.versions = 0}, "no version"},
        {{.versions = TLS_1_2, .ciphers = "NOSUCH"}, "NOSUCH"},
        {{.versions = TLS_1_3, .ciphersuites = "NOSUCH"}, "NOSUCH"},
        {{.versions = TLS_1_3, .ca_file = "/no/such/file"}, "/no/such/file"},
        {{.versions = TLS_1_3, .server = true}, "needs a certificate"},
        {{.versions = TLS_1_3, .certificate_file = "/no/such"}, "/no/such"},
        {{.versions = TLS_1_3, .certificate_file = right, .key_file = wrong.key_file}, "key"},
        {{.versions = TLS_1_3, .certificate_file = right, .key_file = right}, "private key"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct error error = {0};
        CHECK(tls_profile_create(world.worker, &rows[i].settings, &error) == NULL);
        if (strstr(error.text, rows[i].words) == NULL) {
            CHECK_STRING(error.text, rows[i].words);
        }
    }
    certificate_remove(&wrong);
    close_world(&world);
}

TEST(an_idle_session_is_small)
{
    enum { PAIRS = 50 };
    struct world world;
    static struct side client[PAIRS], server[PAIRS];
    open_world(&world, NEW_VERSIONS, NULL);
    make_pair(&world, &plain_options, &client[0], &server[0]);
    converse(&world, &client[0], &server[0], 20000);
    size_t before = memory_allocated();
    for (int i = 1; i < PAIRS; i++) {
        make_pair(&world, &plain_options, &client[i], &server[i]);
        converse(&world, &client[i], &server[i], 20000);
        static char body[16384];
        tls_write(client[i].session, body, sizeof(body));
        tls_write(server[i].session, "250 ok\r\n", 8);
        converse(&world, &client[i], &server[i], 20000);
        CHECK(client[i].established);
    }
    size_t each = (memory_allocated() - before) / (2 * (PAIRS - 1));
    printf("memory of an idle TLS session: %zu bytes\n", each);
#ifndef WITHOUT_JEMALLOC
    CHECK(each > 0);
    CHECK(each < 30 * 1024); /* the goal of an open connection in TLS */
#endif
    for (int i = 0; i < PAIRS; i++) {
        drop_pair(&client[i], &server[i]);
    }
    close_world(&world);
}

TEST(c26_a_chain_of_a_hundred_is_refused_where_it_counts)
{
    static const struct certificate_wish chain = {.name = "mx.example", .days_to = 10, .depth = 99};
    struct world world;
    struct side client, server;
    struct tls_client_options options = {.server_name = "mx.example", .verify = true};
    open_world(&world, NEW_VERSIONS, &chain);
    make_pair(&world, &options, &client, &server);
    converse(&world, &client, &server, 20000);
    /* Trusted at its end, but nobody walks that far. */
    CHECK(client.failed);
    CHECK(strstr(tls_failure(client.session), "chain too long") != NULL);
    drop_pair(&client, &server);
    make_pair(&world, &plain_options, &client, &server);
    converse(&world, &client, &server, 20000);
    CHECK(client.established);
    drop_pair(&client, &server);
    close_world(&world);
}

TEST(c26_a_flood_of_key_updates_is_answered_within_bounds)
{
    struct world world;
    struct side client, server;
    open_world(&world, TLS_1_3, NULL);
    make_pair(&world, &plain_options, &client, &server);
    converse(&world, &client, &server, 20000);
    CHECK(client.established);
    size_t most = 0;
    for (int i = 0; i < 30000 && !client.failed; i++) {
        SSL_key_update(server.session->ssl, SSL_KEY_UPDATE_REQUESTED);
        tls_write(server.session, "x", 1);
        while (move(&world, &server, &client, 20000)) {
        }
        size_t waiting = tls_output(client.session).len + client.session->growing.len;
        most = waiting > most ? waiting : most; /* a peer that never reads what it ordered */
    }
    CHECK(most <= OUT_HARD_MAX);
    drop_pair(&client, &server);
    close_world(&world);
}

TEST(renegotiation_is_refused)
{
    struct world world;
    struct side client, server;
    open_world(&world, TLS_1_2, NULL);
    make_pair(&world, &plain_options, &client, &server);
    converse(&world, &client, &server, 20000);
    SSL_clear_options(client.session->ssl, SSL_OP_NO_RENEGOTIATION);
    CHECK_INT(SSL_renegotiate(client.session->ssl), 1);
    SSL_do_handshake(client.session->ssl);
    converse(&world, &client, &server, 20000);
    CHECK_INT(SSL_num_renegotiations(server.session->ssl), 0);
    CHECK(!server.failed || client.failed);
    drop_pair(&client, &server);
    close_world(&world);
}
