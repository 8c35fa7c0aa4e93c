/* One call of the doctor: from one source address to a domain's mail hosts, as the engine would
 * connect, ended by a verdict.
 *
 * RESOLVING → CONNECTING (→ TLS) → TALKING (greeting, EHLO, STARTTLS, EHLO, QUIT) → closed. A host
 * that does not let us in leads to the next, PROBE_HOSTS_MAX at most; what went wrong at the first
 * one is the verdict. Resolver, connection, TLS and the SMTP dialogue are the engine's own; knows
 * no queue and no scheduler. One thread's; a call is its owner's memory until `ended`. */
#ifndef ENGINE_PROBE_CALL_H
#define ENGINE_PROBE_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "net/connection.h"
#include "outbound.h"
#include "probe.h"
#include "resolve.h"
#include "smtp/client.h"

#define PROBE_HOSTS_MAX  2     /* addresses tried in one call */
#define PROBE_CONNECT_MS 10000 /* three SYNs and their time to come back; policy may say less */
#define PROBE_ANSWER_MS  30000 /* greetings are delayed on purpose, by up to half a minute */
#define PROBE_QUIT_MS    3000  /* the verdict is there already */

/* What all calls share. */
struct probe_tools {
    struct io *io;
    struct resolver *resolver;
    struct outbound_tls tls;
    bool freebind; /* allow-no-source-address */
};

struct probe_call {
    /* The last callback: `verdict` is whole. Never inside a call of the owner's. */
    void (*ended)(struct probe_call *call);
    struct probe_verdict verdict;
    /* private: */
    struct probe_tools *tools;
    const struct vmta *vmta;
    const struct vmta_source *source;
    const struct domain_settings *settings;
    struct resolve_request request;
    struct route *route;
    uint32_t tried; /* bits: addresses of the route */
    uint32_t tried_count;
    uint16_t port; /* 0: the route's */
    bool resolving, aborted, closing, judged, try_next, tls_wanted;
    const char *host_name; /* in the route; "" before */
    struct reply greeting;
    struct client_settings client_settings;
    struct client client;
    struct connection connection;
    struct iovec iov;
};

struct probe_call_options {
    struct probe_tools *tools;
    const struct vmta *vmta;
    const struct vmta_source *source; /* one of vmta's */
    const struct domain_settings *settings;
    const char *domain; /* A-labels; with vmta's name it stays valid in the verdict */
    uint16_t port;
};

/* `ended` is set by the owner before; all else is filled. */
void probe_call_start(struct probe_call *call, const struct probe_call_options *options);

/* There is no time left: ends soon, as not ok unless it was found to be. */
void probe_call_abort(struct probe_call *call);

#endif
