/* One TCP connection over io, in the clear or in TLS.
 *
 * CONNECTING -> OPEN (-> HANDSHAKE -> OPEN | BROKEN) -> LINGERING -> CLOSING -> CLOSED. One receive
 * is always submitted while reading, one send at a time. Closing is a state: what is in flight is
 * cancelled, comes home, then the descriptor is closed and `closed` is called from the next turn.
 *
 * A send that fails does not end the connection: the peer may have said why before it reset us,
 * and those bytes are still to be read. The receive then finds the end, or a short time does.
 *
 * In TLS the owner's pieces are encrypted a few records at a time; whatever else OpenSSL wants to
 * say (handshake, key updates, alerts) goes out when nothing is in flight. */
#include "net/connection.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_BYTES   16384              /* of clear text; RFC 8446 5.1 */
#define FLIGHT_BYTES   (4 * RECORD_BYTES) /* encrypted at once, and kept until sent */
#define SEND_FAILED_MS 2000               /* for what the peer said before it reset us */
#define ALERT_MS       1000               /* for the alert of a failed handshake to go out */

enum connection_state { CONNECTING, OPEN, HANDSHAKE, BROKEN, LINGERING, CLOSING, CLOSED };

static void receive(struct connection *connection);
static void push_output(struct connection *connection);

static enum connection_state state_of(const struct connection *connection)
{
    return (enum connection_state)connection->state;
}

/* ---- closing ---------------------------------------------------------------------------- */

/* The last step, once nothing is in flight: the descriptor may be recycled from here on. */
static void close_when_home(struct connection *connection)
{
    if (io_busy(&connection->recv_op) || io_busy(&connection->send_op)) {
        return;
    }
    if (connection->fd >= 0) {
        if (connection->abort) {
            io_close_abort(connection->io, connection->fd);
        } else {
            io_close(connection->io, connection->fd);
        }
        connection->fd = -1;
    }
    connection->state = CLOSED;
    timer_start(io_timers(connection->io), &connection->turn, 0);
}

static void begin_closing(struct connection *connection)
{
    connection->state = CLOSING;
    timer_stop(io_timers(connection->io), &connection->deadline);
    timer_stop(io_timers(connection->io), &connection->turn);
    io_cancel(connection->io, &connection->recv_op);
    io_cancel(connection->io, &connection->send_op);
    close_when_home(connection);
}

/* Goes on with a gentle close: output first, then the peer's FIN. */
static void linger(struct connection *connection)
{
    if (connection->eof && !io_busy(&connection->send_op)) {
        begin_closing(connection);
        return;
    }
    receive(connection);
}

void connection_close(struct connection *connection, enum connection_close how)
{
    enum connection_state state = state_of(connection);
    if (state >= CLOSING) {
        return;
    }
    connection->abort |= how == CONNECTION_CLOSE_ABORT;
    bool usable = state == OPEN && !connection->send_failed && !connection->tls_broken &&
                  !connection->lost_told;
    if (how != CONNECTION_CLOSE_GENTLY || (state != LINGERING && !usable)) {
        begin_closing(connection);
        return;
    }
    if (state == LINGERING) {
        return;
    }
    connection->state = LINGERING;
    timer_stop(io_timers(connection->io), &connection->deadline);
    timer_start(io_timers(connection->io), &connection->turn,
                io_now_ms(connection->io) + CONNECTION_LINGER_MS);
    free(connection->held);
    connection->held = NULL;
    if (connection->tls != NULL && !connection->sending) {
        tls_close_notify(connection->tls);
        push_output(connection);
    }
    receive(connection);
}

static void tell_closed(struct connection *connection)
{
    tls_session_destroy(connection->tls);
    connection->tls = NULL;
    free(connection->held);
    connection->held = NULL;
    connection->events->closed(connection); /* the memory may be gone after this */
}

/* ---- ends that the owner did not ask for ------------------------------------------------- */

static void tell_lost(struct connection *connection, int error)
{
    if (connection->lost_told || state_of(connection) != OPEN) {
        return;
    }
    connection->lost_told = true;
    timer_stop(io_timers(connection->io), &connection->deadline);
    timer_stop(io_timers(connection->io), &connection->turn);
    connection->events->lost(connection, error);
}

/* The handshake has failed: an alert may be waiting, which tells the peer why. */
static void fail_handshake(struct connection *connection, int error)
{
    connection->state = BROKEN;
    connection->result = error;
    timer_stop(io_timers(connection->io), &connection->deadline);
    push_output(connection);
    uint64_t wait_ms = io_busy(&connection->send_op) ? ALERT_MS : 0;
    timer_start(io_timers(connection->io), &connection->turn, io_now_ms(connection->io) + wait_ms);
}

static void tell_not_secured(struct connection *connection)
{
    if (!connection->lost_told) {
        connection->lost_told = true;
        connection->events->secured(connection, connection->result);
    }
}

static void on_end(struct connection *connection, int error)
{
    connection->eof = true;
    switch (state_of(connection)) {
    case OPEN:
        tell_lost(connection, connection->send_failed ? connection->result : error);
        break;
    case HANDSHAKE:
        fail_handshake(connection, error == 0 ? -ECONNRESET : error);
        break;
    case LINGERING:
        linger(connection);
        break;
    case CONNECTING:
    case BROKEN:
    case CLOSING:
    case CLOSED:
        break;
    }
}

/* ---- receiving -------------------------------------------------------------------------- */

static void receive(struct connection *connection)
{
    enum connection_state state = state_of(connection);
    bool wanted = state == HANDSHAKE || state == LINGERING ||
                  (state == OPEN && connection->reading && !connection->lost_told);
    if (wanted && !connection->eof && connection->held == NULL && !io_busy(&connection->recv_op)) {
        io_recv(connection->io, &connection->recv_op, connection->fd);
    }
}

/* Hands on what TLS has decrypted, as long as the owner wants it. */
static void read_clear(struct connection *connection)
{
    while (state_of(connection) == OPEN && connection->reading && !connection->lost_told) {
        uint8_t clear[RECORD_BYTES];
        enum tls_result result;
        size_t n = tls_read(connection->tls, clear, sizeof(clear), &result);
        if (n > 0) {
            connection->events->received(connection, clear, n);
        } else if (result == TLS_CLOSED) {
            on_end(connection, 0);
        } else if (result == TLS_FAILED) {
            connection->tls_broken = true;
            push_output(connection);
            tell_lost(connection, -EPROTO);
        } else {
            return;
        }
    }
}

static void shake(struct connection *connection)
{
    switch (tls_handshake(connection->tls)) {
    case TLS_OK:
        push_output(connection);
        break;
    case TLS_ESTABLISHED:
        connection->state = OPEN;
        timer_stop(io_timers(connection->io), &connection->deadline);
        push_output(connection);
        connection->events->secured(connection, 0);
        break;
    case TLS_CLOSED:
    case TLS_FAILED:
        fail_handshake(connection, -EPROTO);
        break;
    }
}

static void take_cipher(struct connection *connection, const uint8_t *data, size_t len)
{
    /* A failure shows in the calls below. */
    (void)tls_receive(connection->tls, data, len);
    if (state_of(connection) == HANDSHAKE) {
        shake(connection);
    }
    if (state_of(connection) == OPEN) {
        read_clear(connection);
        push_output(connection);
    }
}

static void hold(struct connection *connection, const uint8_t *data, size_t len)
{
    assert(connection->held == NULL);
    connection->held = malloc(len);
    if (connection->held == NULL) {
        tell_lost(connection, -ENOMEM);
        return;
    }
    memcpy(connection->held, data, len);
    connection->held_len = len;
}

static void take(struct connection *connection, const uint8_t *data, size_t len)
{
    switch (state_of(connection)) {
    case HANDSHAKE:
        take_cipher(connection, data, len);
        break;
    case OPEN:
        if (connection->lost_told) {
            break;
        }
        if (!connection->reading) {
            hold(connection, data, len);
        } else if (connection->tls != NULL) {
            take_cipher(connection, data, len);
        } else {
            connection->events->received(connection, data, len);
        }
        break;
    case CONNECTING:
    case BROKEN:
    case LINGERING:
    case CLOSING:
    case CLOSED:
        break;
    }
}

static void on_received(struct io_op *op, int result)
{
    struct connection *connection = CONTAINER_OF(op, struct connection, recv_op);
    if (state_of(connection) == CLOSING) {
        close_when_home(connection);
        return;
    }
    if (result > 0) {
        take(connection, op->data, (size_t)result);
        receive(connection);
    } else {
        on_end(connection, result);
    }
}

/* ---- sending ---------------------------------------------------------------------------- */

/* Copies from the owner's pieces until `out` is full. */
static size_t gather(struct connection *connection, uint8_t *out, size_t max)
{
    size_t len = 0;
    while (connection->iov_count > 0 && len < max) {
        struct iovec *piece = connection->iov;
        size_t n = piece->iov_len < max - len ? piece->iov_len : max - len;
        memcpy(out + len, piece->iov_base, n);
        len += n;
        piece->iov_base = (uint8_t *)piece->iov_base + n;
        piece->iov_len -= n;
        if (piece->iov_len == 0) {
            connection->iov++;
            connection->iov_count--;
        }
    }
    return len;
}

/* Small pieces share records: a record costs more than copying them. */
static bool encrypt(struct connection *connection)
{
    for (size_t done = 0; connection->iov_count > 0 && done < FLIGHT_BYTES; done += RECORD_BYTES) {
        uint8_t clear[RECORD_BYTES];
        size_t len = gather(connection, clear, sizeof(clear));
        if (tls_write(connection->tls, clear, len) != 0) {
            return false;
        }
    }
    return true;
}

/* TLS: sends what waits, encrypting more of the owner's when nothing does. */
static void push_output(struct connection *connection)
{
    if (connection->tls == NULL || connection->send_failed || io_busy(&connection->send_op) ||
        state_of(connection) >= CLOSING) {
        return;
    }
    if (connection->iov_count > 0 && !connection->tls_broken && !encrypt(connection)) {
        connection->tls_broken = true;
    }
    struct bytes output = tls_output(connection->tls);
    if (output.len > 0) {
        connection->tls_iov =
            (struct iovec){.iov_base = (void *)(uintptr_t)output.data, .iov_len = output.len};
        io_send(connection->io, &connection->send_op, connection->fd, &connection->tls_iov, 1);
    }
}

/* Reading may still bring what the peer said; it, or this short time, ends the connection. */
static void on_send_failed(struct connection *connection, int error)
{
    connection->send_failed = true;
    switch (state_of(connection)) {
    case OPEN:
        connection->result = error;
        if (connection->eof || !connection->reading) {
            tell_lost(connection, error);
        } else {
            timer_start(io_timers(connection->io), &connection->turn,
                        io_now_ms(connection->io) + SEND_FAILED_MS);
        }
        break;
    case HANDSHAKE:
        fail_handshake(connection, error);
        break;
    case LINGERING:
        begin_closing(connection);
        break;
    case BROKEN:
        timer_start(io_timers(connection->io), &connection->turn, 0);
        break;
    case CONNECTING:
    case CLOSING:
    case CLOSED:
        break;
    }
}

/* All that was handed over is with the kernel. */
static void on_all_sent(struct connection *connection)
{
    bool was_sending = connection->sending;
    connection->sending = false;
    switch (state_of(connection)) {
    case OPEN:
        if (was_sending && !connection->lost_told) {
            connection->events->sent(connection);
        }
        break;
    case LINGERING:
        if (was_sending && connection->tls != NULL) {
            tls_close_notify(connection->tls);
            push_output(connection);
        }
        linger(connection);
        break;
    case BROKEN:
        timer_start(io_timers(connection->io), &connection->turn, 0);
        break;
    case CONNECTING:
    case HANDSHAKE:
    case CLOSING:
    case CLOSED:
        break;
    }
}

static void on_sent(struct connection *connection, int result)
{
    if (result < 0) {
        on_send_failed(connection, result);
        return;
    }
    if (connection->tls != NULL && connection->tls_iov.iov_base != NULL) {
        connection->tls_iov.iov_base = NULL;
        tls_output_sent(connection->tls, (size_t)result);
        push_output(connection);
        if (connection->tls_broken && state_of(connection) == OPEN) {
            tell_lost(connection, -EPROTO);
            return;
        }
    }
    if (!io_busy(&connection->send_op)) {
        on_all_sent(connection);
    }
}

static void on_connected(struct connection *connection, int result)
{
    timer_stop(io_timers(connection->io), &connection->deadline);
    if (result == 0) {
        connection->state = OPEN;
        (void)io_local_address(connection->io, connection->fd, &connection->source);
        receive(connection);
    } else if (connection->result != 0) {
        result = connection->result; /* the deadline cancelled it */
    }
    connection->events->opened(connection, result);
}

static void on_send_op(struct io_op *op, int result)
{
    struct connection *connection = CONTAINER_OF(op, struct connection, send_op);
    if (state_of(connection) == CLOSING) {
        close_when_home(connection);
    } else if (state_of(connection) == CONNECTING) {
        on_connected(connection, result);
    } else {
        on_sent(connection, result);
    }
}

void connection_send(struct connection *connection, struct iovec *iov, size_t iov_count)
{
    assert(state_of(connection) == OPEN);
    assert(!connection->sending);
    assert(iov_count >= 1 && iov_count <= CONNECTION_IOV_MAX);
    connection->sending = true;
    if (connection->send_failed || connection->lost_told) {
        return; /* `lost` was told or comes */
    }
    if (connection->tls == NULL) {
        io_send(connection->io, &connection->send_op, connection->fd, iov, iov_count);
        return;
    }
    connection->iov = iov;
    connection->iov_count = iov_count;
    push_output(connection);
    if (!io_busy(&connection->send_op)) { /* nothing to encrypt, or TLS has failed */
        timer_start(io_timers(connection->io), &connection->turn, 0);
    }
}

bool connection_sending(const struct connection *connection)
{
    return connection->sending;
}

/* ---- timers ----------------------------------------------------------------------------- */

static void on_deadline(struct timer *timer)
{
    struct connection *connection = CONTAINER_OF(timer, struct connection, deadline);
    switch (state_of(connection)) {
    case CONNECTING:
        connection->result = -ETIMEDOUT;
        io_cancel(connection->io, &connection->send_op);
        break;
    case OPEN:
        tell_lost(connection, -ETIMEDOUT);
        break;
    case HANDSHAKE:
        connection->state = BROKEN;
        connection->result = -ETIMEDOUT;
        tell_not_secured(connection);
        break;
    case BROKEN:
    case LINGERING:
    case CLOSING:
    case CLOSED:
        break;
    }
}

/* What was held back while reading was paused. */
static void take_held(struct connection *connection)
{
    uint8_t *held = connection->held;
    if (held != NULL && connection->reading) {
        connection->held = NULL;
        take(connection, held, connection->held_len);
        free(held);
    } else if (connection->tls != NULL && connection->reading) {
        take_cipher(connection, NULL, 0);
    }
    if (state_of(connection) == OPEN) {
        receive(connection);
    }
}

static void on_turn_open(struct connection *connection)
{
    if (connection->send_failed) {
        tell_lost(connection, connection->result);
    } else if (connection->tls_broken) {
        tell_lost(connection, -EPROTO);
    } else if (connection->sending && !io_busy(&connection->send_op)) {
        on_all_sent(connection);
    }
    if (state_of(connection) == OPEN) {
        take_held(connection);
    }
}

static void on_turn(struct timer *timer)
{
    struct connection *connection = CONTAINER_OF(timer, struct connection, turn);
    switch (state_of(connection)) {
    case CONNECTING:
        connection->events->opened(connection, connection->result);
        break;
    case OPEN:
        on_turn_open(connection);
        break;
    case BROKEN:
        tell_not_secured(connection);
        break;
    case LINGERING:
        begin_closing(connection);
        break;
    case CLOSED:
        tell_closed(connection);
        break;
    case HANDSHAKE:
    case CLOSING:
        break;
    }
}

/* ---- entry points ----------------------------------------------------------------------- */

static void fill(struct connection *connection, struct io *io,
                 const struct connection_events *events, void *owner, int fd)
{
    *connection = (struct connection){.events = events, .owner = owner, .io = io, .fd = fd};
    io_op_init(&connection->recv_op, on_received);
    io_op_init(&connection->send_op, on_send_op);
    timer_init(&connection->deadline, on_deadline);
    timer_init(&connection->turn, on_turn);
    connection->reading = true;
}

void connection_open(struct connection *connection, struct io *io,
                     const struct connection_events *events, void *owner,
                     const struct connection_target *target)
{
    int fd = io_socket_bound(io, target->source, target->peer.family, target->freebind);
    fill(connection, io, events, owner, fd);
    connection->state = CONNECTING;
    connection->peer = target->peer;
    if (target->source != NULL) {
        connection->source = *target->source;
    }
    if (fd < 0) {
        connection->result = fd;
        /* Only bind says this here: the address is not on this host. */
        connection->bind_failed = fd == -EADDRNOTAVAIL;
        timer_start(io_timers(io), &connection->turn, 0);
        return;
    }
    timer_start(io_timers(io), &connection->deadline, io_now_ms(io) + target->timeout_ms);
    io_connect(io, &connection->send_op, fd, &connection->peer);
}

void connection_accept(struct connection *connection, struct io *io,
                       const struct connection_events *events, void *owner, int fd)
{
    assert(fd >= 0);
    fill(connection, io, events, owner, fd);
    connection->state = OPEN;
    /* A peer that is gone already leaves no address; the receive will say so. */
    (void)io_peer_address(io, fd, &connection->peer);
    (void)io_local_address(io, fd, &connection->source);
    receive(connection);
}

void connection_start_tls(struct connection *connection, struct tls_session *session,
                          uint64_t timeout_ms)
{
    assert(state_of(connection) == OPEN);
    assert(connection->tls == NULL && !connection->sending);
    connection->tls = session;
    connection->state = HANDSHAKE;
    connection->reading = true;
    free(connection->held);
    connection->held = NULL;
    timer_start(io_timers(connection->io), &connection->deadline,
                io_now_ms(connection->io) + timeout_ms);
    if (connection->eof) {
        fail_handshake(connection, -ECONNRESET);
        return;
    }
    /* The client's first words; a server has nothing to say yet. */
    if (tls_handshake(session) == TLS_FAILED) {
        fail_handshake(connection, -EPROTO);
        return;
    }
    push_output(connection);
    receive(connection);
}

void connection_pause_reading(struct connection *connection)
{
    connection->reading = false;
}

void connection_resume_reading(struct connection *connection)
{
    if (connection->reading || state_of(connection) != OPEN) {
        return;
    }
    connection->reading = true;
    if (!timer_running(&connection->turn)) {
        timer_start(io_timers(connection->io), &connection->turn, 0);
    }
}

void connection_set_deadline(struct connection *connection, uint64_t due_ms)
{
    if (state_of(connection) != OPEN || connection->lost_told) {
        return;
    }
    if (due_ms == UINT64_MAX) {
        timer_stop(io_timers(connection->io), &connection->deadline);
    } else {
        timer_start(io_timers(connection->io), &connection->deadline, due_ms);
    }
}
