/* Bytes in flight. A pipe is a ring that stands for both sides' buffers and the wire between: the
 * writer puts while there is room, segments mark how far the bytes have come, the reader takes
 * what has arrived, and the news of the room travels back. */
#include "sim_pipe.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "sim_parts.h"

#define CAPACITY_MIN    1024
#define CAPACITY_MAX    (256 * 1024)
#define TINY_MAX        64
#define SLOW_US_MAX     (20 * SIM_SECOND)
#define TCP_GIVES_UP_US (924 * SIM_SECOND) /* tcp(7), tcp_retries2 = 15 */
#define PIECE_US_MAX    200                /* between two segments of one put */

static void on_arrival(struct sim_event *event);
static void on_window(struct sim_event *event);

void pipe_init(struct sim_pipe *pipe, struct sim_connection *connection, int from)
{
    struct sim *sim = connection->sim;
    *pipe = (struct sim_pipe){.sim = sim};
    pipe->from = &connection->ends[from];
    pipe->to = &connection->ends[1 - from];
    bool tiny = sim_chance(sim, sim->odds.tiny_window) && !connection->local;
    pipe->capacity =
        tiny ? sim_between(sim, 1, TINY_MAX) : sim_spread(sim, CAPACITY_MIN, CAPACITY_MAX);
    sim_event_init(&pipe->arrival, on_arrival);
    sim_event_init(&pipe->window, on_window);
}

/* ---- sending ---------------------------------------------------------------------------- */

static void queue_arrival(struct sim_pipe *pipe)
{
    if (pipe->arrival.queued) {
        return;
    }
    if (pipe->segment_count > 0) {
        sim_event_at(pipe->sim, &pipe->arrival, pipe->segments[pipe->segment_first].due_us);
    } else if (pipe->fin && !pipe->fin_arrived) {
        uint64_t due = pipe->sim->now_us + pipe->from->connection->latency_us;
        sim_event_at(pipe->sim, &pipe->arrival,
                     due > pipe->last_due_us ? due : pipe->last_due_us + 1);
    }
}

static void add_segment(struct sim_pipe *pipe, size_t len)
{
    struct sim *sim = pipe->sim;
    if (pipe->segment_count == SIM_SEGMENTS_MAX) {
        uint32_t last = (pipe->segment_first + pipe->segment_count - 1) % SIM_SEGMENTS_MAX;
        pipe->segments[last].len += len;
        return;
    }
    uint64_t latency = pipe->from->connection->latency_us;
    uint64_t due = sim->now_us + latency + sim_between(sim, 0, latency / 4 + 1);
    if (sim_chance(sim, sim->odds.net_slow) && !pipe->from->connection->local) {
        due += sim_spread(sim, SIM_MS, SLOW_US_MAX);
    }
    if (due <= pipe->last_due_us) {
        due = pipe->last_due_us + sim_between(sim, 1, PIECE_US_MAX);
    }
    pipe->last_due_us = due;
    uint32_t place = (pipe->segment_first + pipe->segment_count) % SIM_SEGMENTS_MAX;
    pipe->segments[place] = (struct sim_segment){.due_us = due, .len = len};
    pipe->segment_count++;
}

static void cut_into_segments(struct sim_pipe *pipe, size_t len)
{
    struct sim *sim = pipe->sim;
    size_t left = len;
    while (left > 0) {
        size_t piece = left;
        if (sim_chance(sim, sim->odds.short_segments)) {
            piece = sim_spread(sim, 1, left);
        }
        add_segment(pipe, piece);
        left -= piece;
    }
    queue_arrival(pipe);
}

static void copy_in(struct sim_pipe *pipe, const uint8_t *data, size_t len)
{
    if (pipe->ring == NULL) {
        pipe->ring = sim_take(pipe->capacity);
    }
    size_t at = (pipe->head + pipe->len) % pipe->capacity;
    size_t first = len < pipe->capacity - at ? len : pipe->capacity - at;
    memcpy(pipe->ring + at, data, first);
    memcpy(pipe->ring, data + first, len - first);
    pipe->len += len;
}

static int take_error(struct sim_socket *socket, int afterwards)
{
    int error = socket->error;
    socket->error = 0;
    return error != 0 ? error : afterwards;
}

static void on_timeout(struct sim_event *event)
{
    struct sim_connection *connection = CONTAINER_OF(event, struct sim_connection, timeout);
    for (int i = 0; i < 2; i++) {
        struct sim_socket *end = &connection->ends[i];
        if (end->closed || !end->open || end->out->len == end->out->arrived) {
            continue; /* nothing unacknowledged: it will never know */
        }
        end->broken = true;
        end->error = -ETIMEDOUT;
        if (end->calls != NULL) {
            end->calls->readable(end);
            end->calls->writable(end);
        }
    }
}

static void network_faults(struct sim_connection *connection)
{
    struct sim *sim = connection->sim;
    if (connection->local) {
        return;
    }
    if (sim_chance(sim, sim->odds.net_reset)) {
        sim_note(sim, "net reset", connection->id, 0);
        connection_reset(connection, 0);
        connection_reset(connection, 1);
    }
    if (!connection->dark && sim_chance(sim, sim->odds.net_dark)) {
        sim_note(sim, "net dark", connection->id, 0);
        connection->dark = true;
    }
    if (connection->dark && !connection->timeout.queued) {
        sim_event_init(&connection->timeout, on_timeout);
        sim_event_in(sim, &connection->timeout, TCP_GIVES_UP_US);
    }
}

int64_t net_put(struct sim_socket *socket, const void *data, size_t len)
{
    if (socket->broken || socket->error != 0) {
        return take_error(socket, -EPIPE);
    }
    assert(socket->open);
    if (socket->shut) {
        return -EPIPE;
    }
    struct sim_pipe *pipe = socket->out;
    size_t room = pipe->capacity - pipe->len;
    size_t count = len < room ? len : room;
    if (count < len) {
        pipe->starved = true;
    }
    if (count > 0) {
        copy_in(pipe, data, count);
        cut_into_segments(pipe, count);
        network_faults(socket->connection);
    }
    return (int64_t)count;
}

bool net_writable(const struct sim_socket *socket)
{
    if (socket->broken || socket->error != 0) {
        return true;
    }
    return socket->open && socket->out->len < socket->out->capacity;
}

void net_shutdown(struct sim_socket *socket)
{
    if (socket->shut || socket->broken || !socket->open) {
        return;
    }
    socket->shut = true;
    socket->out->fin = true;
    queue_arrival(socket->out);
}

/* ---- arriving --------------------------------------------------------------------------- */

static void on_arrival(struct sim_event *event)
{
    struct sim_pipe *pipe = CONTAINER_OF(event, struct sim_pipe, arrival);
    struct sim_connection *connection = pipe->from->connection;
    if (connection->dark) {
        return;
    }
    if (pipe->segment_count > 0) {
        pipe->arrived += pipe->segments[pipe->segment_first].len;
        pipe->segment_first = (pipe->segment_first + 1) % SIM_SEGMENTS_MAX;
        pipe->segment_count--;
    } else {
        assert(pipe->fin);
        pipe->fin_arrived = true;
    }
    queue_arrival(pipe);
    struct sim_socket *to = pipe->to;
    if (to->closed) {
        if (!pipe->fin_arrived) { /* RFC 9293 3.10.7.1: data for a closed end is answered so */
            connection_reset(connection, socket_index(pipe->from, connection));
        }
        return;
    }
    if (to->calls != NULL) { /* NULL: still in a backlog */
        to->calls->readable(to);
    }
}

bool net_readable(const struct sim_socket *socket)
{
    if (socket->broken || socket->error != 0) {
        return true;
    }
    return socket->open && (socket->in->arrived > 0 || socket->in->fin_arrived);
}

static void copy_out(struct sim_pipe *pipe, uint8_t *out, size_t len)
{
    size_t first = len < pipe->capacity - pipe->head ? len : pipe->capacity - pipe->head;
    memcpy(out, pipe->ring + pipe->head, first);
    memcpy(out + first, pipe->ring, len - first);
    pipe->head = (pipe->head + len) % pipe->capacity;
    pipe->len -= len;
    pipe->arrived -= len;
}

int64_t net_take(struct sim_socket *socket, void *out, size_t max)
{
    struct sim_pipe *pipe = socket->in;
    if (pipe != NULL && pipe->arrived > 0) { /* also before the news of a reset, as Linux does */
        size_t count = pipe->arrived < max ? pipe->arrived : max;
        copy_out(pipe, out, count);
        if (pipe->starved && !pipe->window.queued) {
            sim_event_in(pipe->sim, &pipe->window, socket->connection->latency_us + 1);
        }
        return (int64_t)count;
    }
    if (socket->broken || socket->error != 0) {
        return take_error(socket, 0);
    }
    assert(socket->open);
    return pipe->fin_arrived ? 0 : -EAGAIN;
}

static void on_window(struct sim_event *event)
{
    struct sim_pipe *pipe = CONTAINER_OF(event, struct sim_pipe, window);
    if (pipe->from->connection->dark) {
        return;
    }
    pipe->starved = false;
    if (!pipe->from->closed && pipe->from->calls != NULL) {
        pipe->from->calls->writable(pipe->from);
    }
}
