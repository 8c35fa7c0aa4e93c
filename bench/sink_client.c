#include "bench/sink_client.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/list.h"
#include "bench/sink_record.h"

#define PLAIN_BYTES         16384 /* decrypted at a time: one TLS record */
#define SENDING_FIRST_BYTES 512   /* a flight of replies is below; a TLS handshake takes more */

struct sink_client {
    struct ring_op recv, send;
    struct timer held_back;
    struct sink_server *server;
    struct sink_session session;
    struct tls *tls; /* NULL: plaintext */
    bool closing;    /* once all is sent */
    bool start_tls;  /* once the 220 is handed to the kernel */
    char *sending;   /* lent to the kernel while `send` is busy */
    uint32_t sending_capacity;
};

/* ---- the end ----------------------------------------------------------------------------- */

static void free_client(struct sink_client *client)
{
    sink_record_forget(&client->session);
    sink_session_deinit(&client->session);
    tls_destroy(client->tls);
    free(client->sending);
    free(client);
}

/* The socket is closed when both directions are home; until then `recv` keeps the client. */
static void close_when_home(struct sink_client *client)
{
    if (ring_busy(&client->recv) || ring_busy(&client->send)) {
        return;
    }
    timer_stop(client->server->timers, &client->held_back);
    close(client->recv.fd);
    assert(client->server->open_count > 0);
    client->server->open_count--;
    free_client(client);
}

/* Makes `recv` come home. */
static void hang_up(struct sink_client *client)
{
    client->closing = true;
    shutdown(client->recv.fd, SHUT_RDWR);
}

/* ---- sending ----------------------------------------------------------------------------- */

static bool make_sending_room(struct sink_client *client, size_t len)
{
    assert(!ring_busy(&client->send));
    if (len <= client->sending_capacity) {
        return true;
    }
    size_t capacity = len < SENDING_FIRST_BYTES ? SENDING_FIRST_BYTES : len;
    char *sending = realloc(client->sending, capacity);
    if (sending == NULL) {
        return false;
    }
    client->sending = sending;
    client->sending_capacity = (uint32_t)capacity;
    return true;
}

static void send_copy(struct sink_client *client, struct bytes data)
{
    if (!make_sending_room(client, data.len)) {
        hang_up(client);
        return;
    }
    memcpy(client->sending, data.data, data.len);
    ring_send(client->server->ring, &client->send, client->recv.fd, client->sending, data.len);
}

static void begin_tls(struct sink_client *client)
{
    client->start_tls = false;
    client->tls = tls_create(client->server->tls);
    if (client->tls == NULL) {
        hang_up(client);
    }
}

/* Sends what may leave, encrypted if it must be; one send is in flight at a time, so that two
 * flights never overtake each other. */
static void send_free(struct sink_client *client)
{
    struct outgoing *out = &client->session.out;
    if (ring_busy(&client->send)) {
        return;
    }
    struct bytes plain = outgoing_free(out);
    if (client->tls != NULL) {
        if (plain.len > 0 && !tls_write(client->tls, plain)) {
            hang_up(client);
            return;
        }
        outgoing_drop_free(out);
        plain = tls_outgoing(client->tls);
    }
    if (plain.len > 0) {
        send_copy(client, plain);
        if (client->tls != NULL) {
            tls_outgoing_drop(client->tls);
        } else {
            outgoing_drop_free(out);
        }
    }
    if (client->start_tls && outgoing_empty(out)) {
        begin_tls(client);
    }
    if (client->closing && outgoing_empty(out) && !ring_busy(&client->send)) {
        hang_up(client);
    }
}

static void release_replies(struct sink_client *client)
{
    struct sink_server *server = client->server;
    uint64_t due_ms = server->latency_ms == 0 ? 0 : server->now_ms + server->latency_ms;
    outgoing_release_at(&client->session.out, due_ms);
    if (due_ms != 0 && !timer_running(&client->held_back) &&
        !outgoing_empty(&client->session.out)) {
        timer_start(server->timers, &client->held_back, due_ms);
    }
    send_free(client);
}

static void on_held_back_due(struct timer *timer)
{
    struct sink_client *client = CONTAINER_OF(timer, struct sink_client, held_back);
    uint64_t next_ms = outgoing_due(&client->session.out, client->server->now_ms);
    if (next_ms != 0) {
        timer_start(client->server->timers, &client->held_back, next_ms);
    }
    send_free(client);
}

static void on_sent(struct ring_op *op, int result)
{
    struct sink_client *client = CONTAINER_OF(op, struct sink_client, send);
    if (!ring_busy(&client->recv)) {
        close_when_home(client);
    } else if (result < 0) {
        hang_up(client);
    } else {
        send_free(client);
    }
}

/* ---- receiving --------------------------------------------------------------------------- */

static void take_input(struct sink_client *client, struct bytes in)
{
    if (client->closing || client->start_tls) {
        return; /* RFC 3207 4.2: what was sent before the handshake is not to be believed */
    }
    switch (sink_session_input(&client->session, &in)) {
    case SINK_GO_ON:
        break;
    case SINK_START_TLS:
        client->start_tls = true;
        break;
    case SINK_CLOSE:
        client->closing = true;
        break;
    }
}

static void take_encrypted(struct sink_client *client, struct bytes in)
{
    static char plain[PLAIN_BYTES];
    bool was_ready = tls_ready(client->tls);
    if (!tls_receive(client->tls, in)) {
        client->closing = true; /* behind the alert that says why */
        return;
    }
    int len;
    while ((len = tls_read(client->tls, plain, sizeof plain)) > 0) {
        if (!client->session.encrypted) {
            sink_session_encrypted(&client->session);
        }
        take_input(client, bytes_of(plain, (size_t)len));
    }
    if (!was_ready && tls_ready(client->tls)) {
        client->server->handshake_count++;
    }
    if (len < 0) {
        client->closing = true;
    }
}

static void on_received(struct ring_op *op, int result)
{
    struct sink_client *client = CONTAINER_OF(op, struct sink_client, recv);
    if (result <= 0) {
        close_when_home(client);
        return;
    }
    struct bytes in = bytes_of(op->data, (size_t)result);
    if (client->tls != NULL) {
        take_encrypted(client, in);
    } else {
        take_input(client, in);
    }
    release_replies(client);
}

/* ---- the beginning ----------------------------------------------------------------------- */

void sink_client_accept(struct sink_server *server, int fd)
{
    struct sink_client *client = malloc(sizeof *client);
    if (client == NULL) {
        close(fd);
        return;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    client->server = server;
    client->tls = NULL;
    client->closing = client->start_tls = false;
    client->sending = NULL;
    client->sending_capacity = 0;
    ring_op_init(&client->recv, on_received);
    ring_op_init(&client->send, on_sent);
    timer_init(&client->held_back, on_held_back_due);
    sink_session_init(&client->session, server->rules);
    if (server->record != NULL && !sink_record_attach(server->record, &client->session, fd)) {
        close(fd);
        free_client(client);
        return;
    }
    server->connection_count++;
    server->open_count++;
    ring_recv(server->ring, &client->recv, fd);
    release_replies(client);
}
