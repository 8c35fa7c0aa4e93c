/* Connections from the inside: what sim_net.c (making them) and sim_pipe.c (bytes) share. */
#ifndef SIM_PIPE_H
#define SIM_PIPE_H

#include "sim_net.h"

#define SIM_SEGMENTS_MAX 64 /* in flight in one direction; more are glued to the last */

struct sim_segment {
    uint64_t due_us;
    size_t len; /* bytes */
};

/* Bytes on their way from one socket to the other, and those that have arrived unread. */
struct sim_pipe {
    struct sim *sim;
    struct sim_socket *from, *to;
    struct sim_event arrival; /* of the first segment, or of the FIN behind the last */
    struct sim_event window;  /* the news of room on its way to the writer */
    uint8_t *ring;
    size_t capacity, head, len, arrived; /* arrived <= len: readable */
    struct sim_segment segments[SIM_SEGMENTS_MAX];
    uint32_t segment_first, segment_count;
    uint64_t last_due_us; /* nothing overtakes */
    bool fin, fin_arrived, starved;
};

struct sim_connection {
    struct list_node node; /* in net->connections */
    struct sim *sim;
    uint64_t id, latency_us;
    struct sim_socket ends[2]; /* [0] connected, [1] was accepted */
    struct sim_pipe pipes[2];  /* [i] carries what ends[i] sends */
    struct sim_event handshake, result, timeout;
    struct sim_event resets[2]; /* on its way to ends[i] */
    struct address to;
    const char *path;
    int outcome;
    uint32_t syn_count;
    bool accepted; /* ends[1] exists */
    bool dark;     /* nothing arrives any more */
    bool local;    /* Unix socket: no faults, no distance */
};

struct sim_net {
    struct sim *sim;
    struct list listeners, connections;
    size_t connection_count;
    uint32_t ports_per_destination;
    uint16_t next_port;
    struct address *addresses;
    size_t address_count, address_capacity;
    struct sim_host {
        struct address address;
        enum sim_host_state state;
    } * hosts;
    size_t host_count, host_capacity;
};

void pipe_init(struct sim_pipe *pipe, struct sim_connection *connection, int from);

/* Sends a reset on its way to ends[to]; the sending side is broken at once. */
void connection_reset(struct sim_connection *connection, int to);

/* Frees it when nobody holds an end any more. */
void connection_reap(struct sim_connection *connection);

static inline int socket_index(const struct sim_socket *socket, const struct sim_connection *of)
{
    return socket == &of->ends[0] ? 0 : 1;
}

#endif
