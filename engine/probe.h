/* The port-25 doctor: from every source address of the virtual MTAs one call to each domain, and
 * what came of it in words.
 *
 * Stands on the configuration alone: no spool, no running daemon. Some calls run side by side
 * (doctor.h); verdicts come in the order of domains, virtual MTAs and addresses. */
#ifndef ENGINE_PROBE_H
#define ENGINE_PROBE_H

#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "base/error.h"

#define PROBE_TEXT_MAX 1280 /* a reply and our words before it */
#define PROBE_TLS_PORT 465  /* RFC 8314 3.3: TLS from the first byte */

struct config;
struct config_vmta;

enum probe_result {
    PROBE_OK,
    PROBE_FAILED,
    PROBE_UNUSED, /* no host has this family, and the virtual MTA has addresses of the other */
};

struct probe_verdict {
    const char *domain, *vmta, *helo;
    char source[ADDRESS_TEXT_MAX]; /* "any" where none is configured and none was picked */
    char host[256];                /* "" before one was found */
    char peer[ADDRESS_TEXT_MAX];   /* with port; "" likewise */
    char tls[16];                  /* "TLSv1.3"; "" in the clear */
    enum probe_result result;
    char text[PROBE_TEXT_MAX]; /* "ok 220 …", "refused" …; what peers say may hold controls */
};

struct probe_options {
    const struct config *config;
    const struct config_vmta *vmta; /* NULL: every one */
    const char *host_name;          /* ours, where none is configured */
    const char *const *domains;     /* A-labels */
    size_t domain_count;
    uint16_t port;       /* 0: as policy says; PROBE_TLS_PORT: TLS at once */
    uint64_t timeout_ms; /* for all calls together */
    void (*verdict)(void *owner, const struct probe_verdict *verdict); /* valid until it returns */
    void *owner;
};

/* Returns when every verdict is told: 0, or -1 with error if it cannot begin. */
int probe_run(const struct probe_options *options, struct error *error);

#endif
