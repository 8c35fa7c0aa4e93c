/* One connection of the sink: socket, TLS, held-back replies around a sink_session.
 *
 * Knows the ring and the timers; the dialogue is the session's, the listeners are sink.c's.
 * Clients own themselves: from sink_client_accept until their socket is closed. One thread. */
#ifndef BENCH_SINK_CLIENT_H
#define BENCH_SINK_CLIENT_H

#include <stdint.h>

#include "base/timers.h"
#include "bench/ring.h"
#include "bench/sink_session.h"
#include "bench/tls.h"

struct sink_record;

/* Shared by all clients; outlives them. */
struct sink_server {
    struct ring *ring;
    struct timers *timers;
    struct sink_rules *rules;
    struct tls_context *tls;    /* NULL: no STARTTLS */
    struct sink_record *record; /* NULL: none is kept */
    uint32_t latency_ms;        /* by which every reply is held back */
    uint64_t now_ms;            /* monotonic, set by the loop before the ring's callbacks run */
    uint64_t connection_count, open_count, handshake_count;
};

/* Takes `fd`. Where no memory is left the connection is closed at once. */
void sink_client_accept(struct sink_server *server, int fd);

#endif
