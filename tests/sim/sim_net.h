/* The simulated network: TCP connections as two sockets and two pipes of bytes in flight.
 *
 * Knows neither io_ops nor scripts: a socket has an owner with callbacks, a worker's descriptor
 * (sim_socket.c) or a scripted peer (sim_peer.c). Latency belongs to the pair of addresses;
 * bytes arrive in order, cut anywhere, late. A socket lives from net_socket (or the arrival of a
 * connection) until its owner calls net_close. */
#ifndef SIM_NET_H
#define SIM_NET_H

#include "base/address.h"
#include "base/list.h"
#include "sim.h"

struct sim_net;
struct sim_connection;
struct sim_pipe;
struct sim_socket;

/* What an owner hears; it may put and take there, but not close. None is called inside a call of
 * the owner's own. */
struct sim_socket_calls {
    void (*connected)(struct sim_socket *socket, int result);
    void (*readable)(struct sim_socket *socket); /* bytes, the end of them, or an error */
    void (*writable)(struct sim_socket *socket); /* there is room again, or an error */
};

struct sim_socket {
    const struct sim_socket_calls *calls;
    void *owner;
    struct address local, remote;
    /* private: */
    struct sim_connection *connection;
    struct sim_pipe *in, *out;
    struct list_node backlog; /* while it waits to be accepted */
    int error;                /* pending, told once */
    bool open, shut, broken, closed, connecting;
};

struct sim_listener {
    /* A connection stands in the backlog; take it with net_accept, now or later. */
    void (*incoming)(struct sim_listener *listener);
    void *owner;
    /* private: */
    struct list_node node;
    struct sim_net *net;
    struct address address;
    const char *path; /* a Unix socket's; else NULL */
    struct list backlog;
    uint32_t backlog_len, backlog_max;
    bool of_engine;
};

/* ---- listening -------------------------------------------------------------------------- */

/* Begins to listen; the listener is the caller's memory until net_unlisten. 0, -EADDRINUSE when
 * the other side (engine or scripts) listens there, -EADDRNOTAVAIL when an engine's address is
 * not its host's. */
int net_listen(struct sim_net *net, struct sim_listener *listener);
void net_unlisten(struct sim_listener *listener); /* what waited is reset */

/* The first of the backlog, or NULL; its calls and owner are to be set at once. */
struct sim_socket *net_accept(struct sim_listener *listener);

/* ---- connecting ------------------------------------------------------------------------- */

struct sim_socket *net_socket(struct sim_net *net);

/* From socket->local (family none: chosen; port 0: chosen) to `to`; `path` for a Unix socket.
 * `connected` comes later. -EADDRNOTAVAIL at once when the ports to there are used up. */
int net_connect(struct sim_socket *socket, const struct address *to, const char *path);

/* The owner lets go, also of a connection being made. FIN after what was sent; a reset when
 * `abort` or when received bytes were not read, as TCP does. The socket is gone. */
void net_close(struct sim_socket *socket, bool abort);

/* ---- bytes ------------------------------------------------------------------------------ */

/* As much as the buffers of both sides hold: the count, 0 = wait for `writable`, or -errno. */
int64_t net_put(struct sim_socket *socket, const void *data, size_t len);

/* What has arrived, at most `max`: the count, 0 = the other side has closed its half,
 * -EAGAIN = wait for `readable`, or -errno. */
int64_t net_take(struct sim_socket *socket, void *out, size_t max);

bool net_readable(const struct sim_socket *socket);
bool net_writable(const struct sim_socket *socket);
void net_shutdown(struct sim_socket *socket); /* half close */

/* ---- hosts ------------------------------------------------------------------------------ */

enum sim_host_state { SIM_HOST_UP, SIM_HOST_DARK, SIM_HOST_UNREACHABLE };

/* How attempts to connect to an address fare from now on; ports not compared. */
void sim_host_set(struct sim *sim, const struct address *address, enum sim_host_state state);

/* The engine's host gains or loses an address. */
void sim_address_add(struct sim *sim, const struct address *address);
void sim_address_remove(struct sim *sim, const struct address *address);
bool net_address_is_local(const struct sim_net *net, const struct address *address);
size_t net_addresses(const struct sim_net *net, struct address *out, size_t max);

/* Connections being made or open at the connecting end for which `counts` holds. */
uint32_t sim_count_connections(const struct sim *sim,
                               bool (*counts)(void *owner, const struct address *from,
                                              const struct address *to),
                               void *owner);

/* Connections alive now, ends that nobody holds included. */
size_t sim_connections(const struct sim *sim);

#endif
