/* Limits of bytes delivered over time: of a queue, its virtual MTA, its provider, and of each
 * source address in it (…max-data-volume-rate).
 *
 * A transaction counts once, with the size of its message, if it was delivered or may have been.
 * While it is under way its bytes are held in each rate (vmta/rates.h), so that no window has more
 * than it may. Where they find no room the site waits, or those of its connections that have the
 * same source address, until they do: also a smaller message behind it, which would else go past
 * it for ever. Mail that never leaves the machine does not count. */
#ifndef ENGINE_VOLUME_RATES_H
#define ENGINE_VOLUME_RATES_H

#include <stdbool.h>
#include <stdint.h>

#include "common_rates.h"

struct attempt;
struct site;
struct transaction;

#define VOLUME_RATES (COMMON_RATE_COUNT - COMMON_RATE_VOLUMES)

/* What one transaction holds. Zeroed memory holds nothing. */
struct volume_held {
    struct common_rate *rates[VOLUME_RATES]; /* in the order of kinds; NULL: none of that kind */
    uint64_t bytes;                          /* 0: nothing is held */
};

/* As the settings and the mode now are; undone at the end. */
void volume_rates_set(struct site *site);
void volume_rates_free(struct site *site);

/* When the site may send again; now_ms if at once. */
uint64_t volume_next_ms(struct site *site, uint64_t now_ms);

/* MAIL is about to be sent. False: not now, and the site or the source address waits. */
bool volume_hold(struct attempt *attempt, struct transaction *transaction, uint64_t *again_ms);

/* It is over; also where it holds nothing. */
void volume_settle(struct attempt *attempt, struct transaction *transaction, bool delivered);

#endif
