/* The limits of connections to one receiving host (mx-connection-limit) and to one of its addresses
 * (ip-connection-limit), from one source address, over all queues and workers.
 *
 * Of several patterns or ranges that hold one the more specific counts, of equal ones the last
 * written. Which host it will be is known only when the route is, so a connection looks for its
 * place while it goes from host to host; who finds every one full ends without failure, and its
 * site waits (gates.h) at one of them with its next connection: a wish. Where there are such limits
 * one connection of a site at a time looks, so that few look in vain. Belongs to the site's
 * worker; the places are in attempt->places. */
#ifndef ENGINE_HOST_PLACES_H
#define ENGINE_HOST_PLACES_H

#include <stdbool.h>
#include <stdint.h>

struct address;
struct attempt;
struct gate;
struct gate_places;
struct host_wish;
struct route_host;
struct site;

/* ---- of one connection ---- */

/* With a place that its site waited for it begins there: where in its route. False: anywhere. */
bool host_places_begin(const struct attempt *attempt, uint16_t *address_index);

/* It is about to try this address of this host (NULL: none is named). */
void host_places_aim(struct attempt *attempt, const struct route_host *host,
                     const struct address *peer);

/* Is there room for one more from that source? Its own places are room. */
bool host_places_free(struct attempt *attempt, const struct address *source);

/* Takes the places there, from that source, and gives back those of another host. False: another
 * worker was faster. */
bool host_places_take(struct attempt *attempt, const struct address *source);

/* Since the last aim a source was refused because there was no room. */
bool host_places_were_full(const struct attempt *attempt);

/* No address of the route has room, though it was tried: true if any was full; the site will wait
 * there. */
bool host_places_wish(struct attempt *attempt);

/* It has found its place, or ended. */
void host_places_decide(struct attempt *attempt);

/* It is gone; its places are given back right after. */
void host_places_closed(const struct attempt *attempt);

/* ---- of a site ---- */

/* A connection was opened: does it look for its place? */
void host_places_opened(struct attempt *attempt);

/* Must the next connection wait for one that looks? It wakes the site. */
bool host_places_look(const struct site *site);

/* Adds those the site waits for. */
void host_places_add(struct site *site, struct gate_places *places);

/* This gate is full: should a connection look whether there is room elsewhere? Then the site waits
 * there no more. */
bool host_places_elsewhere(struct site *site, struct gate *full);

/* The rules may have changed; also at its end. */
void host_places_forget(struct site *site);

#endif
