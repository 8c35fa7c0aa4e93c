/* Scripted peers. All that the network tells is put off to one event per peer, so a script may do
 * anything in its callbacks, and nothing of the peer is touched after calling one. */
#include "sim_peer.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "sim_parts.h"

#define TELL_US_MAX 50 /* a peer is a program too */
#define BACKLOG     128

static void tell_soon(struct sim_peer *peer)
{
    if (!peer->event.queued) {
        sim_event_in(peer->sim, &peer->event, sim_between(peer->sim, 1, TELL_US_MAX));
    }
}

static void pump(struct sim_peer *peer)
{
    if (peer->unsent_len == 0 || !peer->socket->open) {
        return;
    }
    int64_t count = net_put(peer->socket, peer->unsent, peer->unsent_len);
    if (count < 0) {
        peer->unsent_len = 0;
        peer->result = (int)count;
        tell_soon(peer);
        return;
    }
    peer->unsent_len -= (size_t)count;
    memmove(peer->unsent, peer->unsent + count, peer->unsent_len);
    if (peer->unsent_len == 0 && peer->closing) {
        net_shutdown(peer->socket);
    }
}

/* ---- what the network tells ------------------------------------------------------------- */

static void on_connected(struct sim_socket *socket, int result)
{
    struct sim_peer *peer = socket->owner;
    peer->result = result;
    peer->tell_opened = true;
    tell_soon(peer);
}

static void on_readable(struct sim_socket *socket)
{
    tell_soon(socket->owner);
}

static void on_writable(struct sim_socket *socket)
{
    pump(socket->owner);
}

static const struct sim_socket_calls peer_calls = {
    .connected = on_connected,
    .readable = on_readable,
    .writable = on_writable,
};

/* ---- what the script hears -------------------------------------------------------------- */

static void tell_opened(struct sim_peer *peer)
{
    int result = peer->result;
    peer->tell_opened = false;
    peer->local = peer->socket->local;
    peer->remote = peer->socket->remote;
    if (result != 0) {
        sim_peer_abort(peer);
    } else {
        pump(peer);
        tell_soon(peer);
    }
    if (peer->opened != NULL) {
        peer->opened(peer, result);
    }
}

static void tell_ended(struct sim_peer *peer, int result)
{
    peer->finished = true;
    sim_note(peer->sim, "peer ended", peer->remote.port, (uint64_t)(int64_t)result);
    peer->ended(peer, result);
}

static void on_event(struct sim_event *event)
{
    struct sim_peer *peer = CONTAINER_OF(event, struct sim_peer, event);
    char piece[SIM_PEER_PIECE_MAX];
    if (peer->tell_opened) {
        tell_opened(peer);
        return;
    }
    if (!peer->socket->open || peer->finished) {
        return;
    }
    if (peer->result != 0) {
        tell_ended(peer, peer->result);
        return;
    }
    if (peer->paused || !net_readable(peer->socket)) {
        return;
    }
    int64_t count = net_take(peer->socket, piece, sizeof(piece));
    if (count <= 0) {
        tell_ended(peer, (int)count);
        return;
    }
    if (net_readable(peer->socket)) {
        tell_soon(peer);
    }
    sim_note_bytes(peer->sim, "peer got", piece, (size_t)count);
    peer->data(peer, piece, (size_t)count);
}

/* ---- opening ---------------------------------------------------------------------------- */

static void attach(struct sim *sim, struct sim_peer *peer, struct sim_socket *socket)
{
    assert(peer->data != NULL);
    assert(peer->ended != NULL);
    peer->sim = sim;
    peer->socket = socket;
    peer->unsent = NULL;
    peer->unsent_len = peer->unsent_capacity = 0;
    peer->result = 0;
    peer->tell_opened = peer->paused = peer->finished = peer->closing = false;
    peer->local = socket->local;
    peer->remote = socket->remote;
    sim_event_init(&peer->event, on_event);
    socket->calls = &peer_calls;
    socket->owner = peer;
}

void sim_peer_connect(struct sim *sim, struct sim_peer *peer, const struct address *from,
                      const struct address *to, const char *path)
{
    assert((from != NULL && to != NULL) != (path != NULL));
    struct sim_socket *socket = net_socket(sim->net);
    if (from != NULL) {
        socket->local = *from;
    }
    attach(sim, peer, socket);
    int result = net_connect(socket, to, path);
    if (result != 0) {
        on_connected(socket, result);
    }
}

static void on_accept(struct sim_event *event)
{
    struct sim_peer_listener *listener = CONTAINER_OF(event, struct sim_peer_listener, event);
    struct sim_socket *socket = net_accept(&listener->listener);
    if (socket == NULL) {
        return;
    }
    sim_event_in(listener->sim, event, 1); /* perhaps there are more */
    struct sim_peer *peer = listener->incoming(listener, &socket->remote, &socket->local);
    if (peer == NULL) {
        net_close(socket, true);
        return;
    }
    attach(listener->sim, peer, socket);
    sim_note(listener->sim, "peer accepted", peer->remote.port, peer->local.port);
    peer->tell_opened = true;
    tell_soon(peer);
}

static void on_incoming(struct sim_listener *transport)
{
    struct sim_peer_listener *listener = transport->owner;
    if (!listener->event.queued) {
        sim_event_in(listener->sim, &listener->event, sim_between(listener->sim, 1, TELL_US_MAX));
    }
}

void sim_peer_listen(struct sim *sim, struct sim_peer_listener *listener,
                     const struct address *address)
{
    listener->sim = sim;
    listener->listener = (struct sim_listener){.incoming = on_incoming, .owner = listener};
    listener->listener.address = *address;
    listener->listener.backlog_max = BACKLOG;
    sim_event_init(&listener->event, on_accept);
    int result = net_listen(sim->net, &listener->listener);
    assert(result == 0);
}

void sim_peer_unlisten(struct sim_peer_listener *listener)
{
    sim_event_cancel(listener->sim, &listener->event);
    net_unlisten(&listener->listener);
}

/* ---- talking ---------------------------------------------------------------------------- */

bool sim_peer_open(const struct sim_peer *peer)
{
    return peer->socket != NULL;
}

size_t sim_peer_unsent(const struct sim_peer *peer)
{
    return peer->unsent_len;
}

void sim_peer_send(struct sim_peer *peer, const void *data, size_t len)
{
    if (len == 0 || peer->socket == NULL || peer->result != 0 || peer->closing) {
        return;
    }
    if (peer->unsent_len + len > peer->unsent_capacity) {
        size_t capacity = 2 * (peer->unsent_len + len);
        peer->unsent = sim_grow(peer->unsent, peer->unsent_capacity, capacity);
        peer->unsent_capacity = capacity;
    }
    memcpy(peer->unsent + peer->unsent_len, data, len);
    peer->unsent_len += len;
    pump(peer);
}

void sim_peer_pause(struct sim_peer *peer)
{
    peer->paused = true;
}

void sim_peer_resume(struct sim_peer *peer)
{
    peer->paused = false;
    if (peer->socket != NULL) {
        tell_soon(peer);
    }
}

void sim_peer_shutdown(struct sim_peer *peer)
{
    if (peer->socket == NULL) {
        return;
    }
    peer->closing = true;
    if (peer->unsent_len == 0) {
        net_shutdown(peer->socket);
    }
}

static void let_go(struct sim_peer *peer, bool abort)
{
    if (peer->socket == NULL) {
        return;
    }
    sim_event_cancel(peer->sim, &peer->event);
    struct sim_socket *socket = peer->socket;
    peer->socket = NULL;
    sim_give(peer->unsent);
    peer->unsent = NULL;
    peer->unsent_len = peer->unsent_capacity = 0;
    net_close(socket, abort);
}

void sim_peer_close(struct sim_peer *peer)
{
    let_go(peer, false);
}

void sim_peer_abort(struct sim_peer *peer)
{
    let_go(peer, true);
}
