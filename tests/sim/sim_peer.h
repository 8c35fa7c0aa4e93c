/* A scripted peer's end of a simulated connection: an MX, an injecting client, any other host.
 *
 * Knows no protocol. The peer is the script's memory, embedded in its session, from the call that
 * opens it until sim_peer_close; then nothing is called any more. Callbacks come from the world's
 * event queue, one at a time: a script may send, close and free its session in any of them. */
#ifndef SIM_PEER_H
#define SIM_PEER_H

#include "sim_net.h"

#define SIM_PEER_PIECE_MAX 4096 /* bytes given to `data` at once */

struct sim_peer {
    /* First of all: 0, also for an accepted one, or -errno of sim_peer_connect; after an error it
     * is closed. NULL: not of interest. */
    void (*opened)(struct sim_peer *peer, int result);
    void (*data)(struct sim_peer *peer, const char *data, size_t len);
    /* 0: the other side has closed its half; else -errno and nothing more can be sent. The script
     * still has to close. */
    void (*ended)(struct sim_peer *peer, int result);
    struct address local, remote; /* valid from `incoming` or `opened` on */
    /* private: */
    struct sim *sim;
    struct sim_socket *socket; /* NULL when closed */
    struct sim_event event;    /* there is something to tell */
    uint8_t *unsent;
    size_t unsent_len, unsent_capacity;
    int result;
    bool tell_opened, paused, finished, closing;
};

/* The callbacks must be set; from->port 0: any. `path`: a Unix socket; then the addresses are
 * NULL. */
void sim_peer_connect(struct sim *sim, struct sim_peer *peer, const struct address *from,
                      const struct address *to, const char *path);

struct sim_peer_listener {
    /* Where to put the new connection: a peer with its callbacks set, or NULL: reset it. */
    struct sim_peer *(*incoming)(struct sim_peer_listener *listener, const struct address *from,
                                 const struct address *to);
    /* private: */
    struct sim *sim;
    struct sim_listener listener;
    struct sim_event event;
};

/* `backlog` connections may wait, which only matters to one that does not accept. */
void sim_peer_listen(struct sim *sim, struct sim_peer_listener *listener,
                     const struct address *address);
void sim_peer_unlisten(struct sim_peer_listener *listener);

/* Copies; what the network does not take at once goes later. After `ended` with an error, or when
 * closed, it is dropped. */
void sim_peer_send(struct sim_peer *peer, const void *data, size_t len);
bool sim_peer_open(const struct sim_peer *peer);
size_t sim_peer_unsent(const struct sim_peer *peer);

/* A peer that does not read: its buffers fill and the engine's sends stop. */
void sim_peer_pause(struct sim_peer *peer);
void sim_peer_resume(struct sim_peer *peer);

/* Half close, and all of it, without waiting for what is unsent. abort: a reset. */
void sim_peer_shutdown(struct sim_peer *peer);
void sim_peer_close(struct sim_peer *peer); /* closing twice is harmless */
void sim_peer_abort(struct sim_peer *peer);

#endif
