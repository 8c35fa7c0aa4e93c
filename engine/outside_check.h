/* What only the outside can tell about a configuration: are the source addresses on this host, does
 * DNS know each by its EHLO name, there and back, and does SPF cover it?
 *
 * Asks this host and its name servers; no mail host. Needs no running daemon. */
#ifndef ENGINE_OUTSIDE_CHECK_H
#define ENGINE_OUTSIDE_CHECK_H

#include <stdint.h>

#include "base/error.h"

struct config;
struct config_report;

struct outside_options {
    const struct config *config;
    const char *host_name; /* ours, where none is configured */
    uint64_t timeout_ms;   /* for all of it */
};

/* Adds what it finds to the report, in the order of virtual MTAs and addresses: an error for what
 * keeps the engine from starting, else warnings. 0, or -1 with error if it cannot begin. */
int outside_check(const struct outside_options *options, struct config_report *report,
                  struct error *error);

#endif
