/* Who is connected: how many sessions in all, and how many from one address.
 *
 * Shared by every worker, lock-free: a table of atomics made once at start. Knows no sockets and
 * no policy; the maxima are arguments because they differ by source and change by reload. Two
 * workers that count at the same instant may exceed a per-address maximum by one each. */
#ifndef ENGINE_CALLERS_H
#define ENGINE_CALLERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"

struct callers;

/* Room for sessions_max at once, all workers. NULL: no memory. */
struct callers *callers_create(uint32_t sessions_max);
void callers_destroy(struct callers *callers); /* NULL is accepted */

enum callers_answer {
    CALLERS_WELCOME,
    CALLERS_HOUSE_FULL,   /* total_max, or the table's own room, is used up */
    CALLERS_ADDRESS_FULL, /* per_address_max sessions of this address are here */
};

/* One more from this address (its port does not count). On WELCOME *ticket is to be handed to
 * callers_leave exactly once. */
enum callers_answer callers_enter(struct callers *callers, const struct address *address,
                                  uint64_t total_max, uint64_t per_address_max, uint32_t *ticket);
void callers_leave(struct callers *callers, uint32_t ticket);

uint32_t callers_count(const struct callers *callers);

#endif
