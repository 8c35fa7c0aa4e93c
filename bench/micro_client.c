/* What mail out costs below the scheduler: the client core alone, or with connections and io.
 *
 *     build/bench/micro_client
 *     build/bench/micro_client ADDRESS:PORT [CONNECTIONS [MESSAGES [BYTES [tls|bdat|lockstep|N in
 * flight]…]]]
 *
 * Alone: nanoseconds of CPU per message, each carried behind the one before. With an address: all
 * MESSAGES go over CONNECTIONS at once, one flight each; prints messages a second and the CPU of
 * this process per message. Exit code 1 if one was not accepted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/address.h"
#include "io/io.h"
#include "micro.h"
#include "net/connection.h"
#include "smtp/client.h"

struct sender {
    struct connection connection;
    struct client client;
    struct client_transaction transactions[CLIENT_IN_FLIGHT_MAX];
    uint8_t accepted[CLIENT_IN_FLIGHT_MAX];
    uint32_t next;
    struct iovec iov[CONNECTION_IOV_MAX];
    bool closed;
};

static struct client_settings settings = {.helo_name = "bench.example", .in_flight_max = 1};
static struct tls_profile *profile;
static char *body;
static size_t body_len;
static uint64_t left, accepted, failed;

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- the core's owner ------------------------------------------------------------------- */

static void begin_one(struct sender *sender)
{
    if (left == 0 || (!client_may_begin(&sender->client) && !client_may_carry(&sender->client))) {
        return;
    }
    uint32_t at = sender->next++ % CLIENT_IN_FLIGHT_MAX;
    left--;
    sender->transactions[at] =
        (struct client_transaction){.sender = BYTES("bounce-1234567@sender.example"),
                                    .body_size = body_len,
                                    .rcpt_count = 1,
                                    .rcpt_accepted = &sender->accepted[at]};
    client_begin(&sender->client, &sender->transactions[at]);
}

static void on_established(struct client *client, void *owner)
{
    begin_one(owner);
}

static void on_start_tls(struct client *client, void *owner)
{
    struct sender *sender = owner;
    struct tls_client_options options = {.server_name = "sink.test", .resume_key = 1};
    connection_start_tls(&sender->connection, tls_client_create(profile, &options), 10000);
}

static void on_rcpt_refused(struct client *client, void *owner,
                            struct client_transaction *transaction, uint32_t index,
                            const struct reply *reply)
{
}

static void on_ended(struct client *client, void *owner, struct client_transaction *transaction,
                     enum client_end end, enum client_stage stage, const struct reply *reply)
{
    if (end == CLIENT_END_REPLY && reply_is_positive(reply)) {
        accepted++;
    } else {
        failed++;
    }
}

static void on_rcpt_at(void *owner, const struct client_transaction *transaction, uint32_t index,
                       struct client_rcpt *out)
{
    *out = (struct client_rcpt){.address = BYTES("recipient@destination.example")};
}

static void on_over(struct client *client, void *owner, enum client_over how,
                    enum client_stage stage, const struct reply *reply)
{
    struct sender *sender = owner;
    if (how != CLIENT_OVER_QUIT) {
        fprintf(stderr, "session over (%d) at %s\n", (int)how, client_stage_name(stage));
    }
    connection_close(&sender->connection,
                     how == CLIENT_OVER_QUIT ? CONNECTION_CLOSE_GENTLY : CONNECTION_CLOSE_NOW);
}

static const struct client_events client_events = {
    .established = on_established,
    .start_tls = on_start_tls,
    .rcpt_refused = on_rcpt_refused,
    .transaction_ended = on_ended,
    .rcpt_at = on_rcpt_at,
    .over = on_over,
};

/* ---- the core alone --------------------------------------------------------------------- */

#define ALONE_MESSAGES 2000000

static void hear(struct sender *sender, const char *bytes)
{
    client_receive(&sender->client, bytes, strlen(bytes));
}

/* One flight, as the owner asks for it. */
static void flush(struct sender *sender)
{
    struct client_output out;
    do {
        client_next_output(&sender->client, &out);
        if (out.kind == CLIENT_BODY) {
            begin_one(sender);
            client_body_ended(&sender->client, out.body);
        }
    } while (out.kind != CLIENT_NOTHING);
    client_sent(&sender->client);
}

static void run_alone(void)
{
    static struct sender sender;
    left = ALONE_MESSAGES;
    body_len = 4096;
    client_init(&sender.client, &settings, &client_events, &sender);
    hear(&sender, "220 mx.example ESMTP\r\n");
    flush(&sender);
    hear(&sender, "250-mx.example\r\n250-SIZE 10485760\r\n250 PIPELINING\r\n");
    flush(&sender);
    hear(&sender, "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n");
    flush(&sender);
    double from = seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (accepted + 1 < ALONE_MESSAGES) {
        /* The first ends before anything may be carried, the others bring the next one's 354. */
        hear(&sender, "250 2.0.0 Ok: queued as 4CFB2A1234\r\n");
        begin_one(&sender);
        flush(&sender);
        hear(&sender, "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n");
        flush(&sender);
    }
    double took = seconds(CLOCK_PROCESS_CPUTIME_ID) - from;
    micro_row("client core, a message", took / ALONE_MESSAGES * 1e9, "ns");
    micro_row("client core, memory of a connection", (double)sizeof(struct client), "bytes");
    client_lost(&sender.client);
}

/* ---- with connections ------------------------------------------------------------------- */

static void pump(struct sender *sender)
{
    size_t count = 0;
    struct client_output out;
    if (connection_sending(&sender->connection) || sender->client.over) {
        return;
    }
    while (count + 2 <= CONNECTION_IOV_MAX) {
        begin_one(sender);
        client_next_output(&sender->client, &out);
        if (out.kind == CLIENT_NOTHING) {
            break;
        }
        if (out.kind == CLIENT_BODY) {
            sender->iov[count++] = (struct iovec){.iov_base = body, .iov_len = body_len};
            client_body_ended(&sender->client, out.body);
        } else {
            sender->iov[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)out.commands.data,
                                                  .iov_len = out.commands.len};
        }
    }
    if (left == 0 && client_may_begin(&sender->client)) {
        client_quit(&sender->client);
        client_next_output(&sender->client, &out);
        if (out.kind == CLIENT_COMMANDS) {
            sender->iov[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)out.commands.data,
                                                  .iov_len = out.commands.len};
        }
    }
    if (count > 0) {
        connection_send(&sender->connection, sender->iov, count);
    }
}

static void on_opened(struct connection *connection, int result)
{
    struct sender *sender = connection->owner;
    if (result != 0) {
        fprintf(stderr, "cannot connect: %s\n", strerror(-result));
        connection_close(connection, CONNECTION_CLOSE_NOW);
        return;
    }
    client_init(&sender->client, &settings, &client_events, sender);
}

static void on_received(struct connection *connection, const uint8_t *data, size_t len)
{
    struct sender *sender = connection->owner;
    client_receive(&sender->client, data, len);
    pump(sender);
}

static void on_sent(struct connection *connection)
{
    struct sender *sender = connection->owner;
    client_sent(&sender->client);
    pump(sender);
}

static void on_secured(struct connection *connection, int result)
{
    struct sender *sender = connection->owner;
    if (result != 0) {
        fprintf(stderr, "TLS: %s\n", tls_failure(connection->tls));
        client_lost(&sender->client);
        connection_close(connection, CONNECTION_CLOSE_NOW);
        return;
    }
    client_secured(&sender->client);
    pump(sender);
}

static void on_lost(struct connection *connection, int error)
{
    struct sender *sender = connection->owner;
    fprintf(stderr, "connection lost: %s\n", error == 0 ? "closed" : strerror(-error));
    client_lost(&sender->client);
    connection_close(connection, CONNECTION_CLOSE_NOW);
}

static void on_closed(struct connection *connection)
{
    ((struct sender *)connection->owner)->closed = true;
}

static const struct connection_events connection_events = {
    .opened = on_opened,
    .received = on_received,
    .sent = on_sent,
    .secured = on_secured,
    .lost = on_lost,
    .closed = on_closed,
};

static void make_body(void)
{
    static const char line[] = "a line of text of a usual length, so that there is something\r\n";
    body = malloc(body_len + sizeof(line));
    for (size_t at = 0; at < body_len; at += sizeof(line) - 1) {
        memcpy(body + at, line, sizeof(line));
    }
    memcpy(body + body_len - 2, "\r\n", 2);
}

static int run_over(struct io *io, const struct address *peer, uint32_t connections)
{
    uint64_t messages = left;
    struct sender *senders = calloc(connections, sizeof(*senders));
    double from = seconds(CLOCK_MONOTONIC), cpu_from = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (uint32_t i = 0; i < connections; i++) {
        connection_open(&senders[i].connection, io, &connection_events, &senders[i],
                        &(struct connection_target){.peer = *peer, .timeout_ms = 5000});
    }
    uint32_t closed = 0;
    while (closed < connections) {
        io_run(io, UINT64_MAX);
        while (closed < connections && senders[closed].closed) {
            closed++;
        }
    }
    double took = seconds(CLOCK_MONOTONIC) - from;
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_from;
    printf("%llu of %llu accepted, %.0f messages/s, %.2f us of CPU per message\n",
           (unsigned long long)accepted, (unsigned long long)messages, (double)accepted / took,
           cpu / (double)messages * 1e6);
    free(senders);
    return accepted == messages && failed == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct error error = {0};
    struct address peer;
    if (argc < 2) {
        run_alone();
        return 0;
    }
    if (!address_parse_port(bytes_from_string(argv[1]), &peer)) {
        fprintf(stderr, "%s: not an ADDRESS:PORT\n", argv[1]);
        return 64;
    }
    uint32_t connections = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 64;
    left = argc > 3 ? strtoull(argv[3], NULL, 10) : 100000;
    body_len = argc > 4 ? strtoul(argv[4], NULL, 10) : 4096;
    settings.ignore = CLIENT_CAP_CHUNKING;
    struct tls_worker *tls = tls_worker_create(1, &error);
    for (int i = 5; i < argc; i++) {
        if (strcmp(argv[i], "tls") == 0) {
            settings.tls = CLIENT_TLS_REQUIRED;
            profile = tls_profile_create(
                tls, &(struct tls_profile_settings){.versions = TLS_1_2 | TLS_1_3}, &error);
        } else if (strcmp(argv[i], "bdat") == 0) {
            settings.ignore &= ~(uint32_t)CLIENT_CAP_CHUNKING;
        } else if (strcmp(argv[i], "lockstep") == 0) {
            settings.ignore |= CLIENT_CAP_PIPELINING;
        } else {
            settings.in_flight_max = (uint32_t)strtoul(argv[i], NULL, 10);
        }
    }
    make_body();
    struct io *io = io_create(
        &(struct io_options){.entries = 1024, .recv_buffer_bytes = 1024, .recv_buffer_count = 4096},
        &error);
    if (io == NULL) {
        fprintf(stderr, "%s\n", error.text);
        return 71;
    }
    int result = run_over(io, &peer, connections);
    io_destroy(io);
    tls_profile_destroy(profile);
    tls_worker_destroy(tls);
    free(body);
    return result;
}
