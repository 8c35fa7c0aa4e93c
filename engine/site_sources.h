/* The limits of each single source address in a site: connections at once, connections,
 * recipients and bytes over time (source-ip-max-…).
 *
 * Belongs to the site's worker. A site without such limits has none of this (site->sources is
 * NULL). Of several ranges that hold an address the narrowest counts, of equal ones the last
 * written. A connection takes a place of one address before it connects, keeps to it while it goes
 * from host to host, and gives it back when it is gone. Connections that are still resolving have
 * none: as many places are kept free for them. The rates are common_rates.h's, which keep them
 * over restarts and for a site that goes and comes back. */
#ifndef ENGINE_SITE_SOURCES_H
#define ENGINE_SITE_SOURCES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/timers.h"

struct attempt;
struct common_rate;
struct site;
struct vmta_source;

struct site_source {
    struct address address;
    uint64_t max, open;                               /* connections */
    struct common_rate *messages, *connects, *volume; /* NULL: none */
    uint64_t volume_due_ms;                           /* a message found no room in it */
};

struct site_sources {
    struct site *site;
    struct timer timer; /* a connection that rests may send again */
    uint64_t timer_ms;
    uint64_t hold_ms; /* none of the family that is wanted was free: not before this */
    uint32_t count;   /* as in the virtual MTA, in its order */
    uint32_t held;    /* connections that have a place */
    struct site_source items[];
};

/* As the settings and the virtual MTA now are. Without memory there are none, and nothing opens:
 * site_sources_next_ms tries again. */
void site_sources_set(struct site *site);
void site_sources_free(struct site *site);

/* When a connection may open as far as these go: at most now_ms if at once; UINT64_MAX: when one
 * gets its place or ends, which wakes the site. */
uint64_t site_sources_next_ms(struct site *site, uint64_t now_ms);

/* ---- of one connection ---- */

/* May one more leave from there now? True where there are no limits. */
bool site_source_is_free(struct site *site, const struct vmta_source *source, uint64_t now_ms);

/* It leaves from this source, which is free and of its site's virtual MTA. */
void site_source_take(struct attempt *attempt, const struct vmta_source *source);
void site_source_release(struct attempt *attempt); /* also where it has none */

/* No source of this family is free. True: only because of these limits; then the site opens
 * nothing until one may be. */
bool site_sources_hold(struct site *site, enum address_family family, uint64_t now_ms);

/* When it may send, as far as its address goes; now_ms if at once. */
uint64_t site_source_send_ms(const struct attempt *attempt, uint64_t now_ms);

/* May it send now? False: the site is looked at again when it may. */
bool site_source_may_send(const struct attempt *attempt, uint64_t now_ms);

/* The rate its recipients count in; NULL: none. */
struct common_rate *site_source_messages(const struct attempt *attempt);

/* The same of bytes; and when to ask it again, if there was no room. */
struct common_rate *site_source_volume(const struct attempt *attempt);
void site_source_wait(const struct attempt *attempt, uint64_t due_ms);

#endif
