/* The rates of domains that all virtual MTAs and workers share (domain-max-msg-rate), and what of
 * them survives a restart.
 *
 * Entries live until destroyed, so their pointers may be kept. Any worker may take; whoever sees
 * that a block is due writes it. States that are worth nothing any more are deleted by a walk of
 * the keeper's, a few entries at a time. */
#ifndef ENGINE_DOMAIN_RATES_H
#define ENGINE_DOMAIN_RATES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "rate_state.h"

struct io;
struct domain_rates;
struct domain_rate;

/* NULL: no memory. */
struct domain_rates *domain_rates_create(void);
void domain_rates_destroy(struct domain_rates *rates); /* NULL is accepted */

/* ---- at start, on the keeper, before any worker asks ---- */

/* The spool was used before: rates that write nothing begin full, as of since_ms. */
void domain_rates_begin_full(struct domain_rates *rates, uint64_t since_ms);
/* A named state that was found; false: it is none of ours. */
bool domain_rates_restore(struct domain_rates *rates, struct bytes key, struct bytes value,
                          uint64_t now_ms, int64_t wall_ms);
/* Begins the walk over what may be deleted; its timer is the keeper's io's. */
void domain_rates_start(struct domain_rates *rates, struct io *io, struct spool *spool,
                        uint32_t keeper);

/* ---- any worker ---- */

/* The domain's rate, n starts (recipients) per window_ms from here on. NULL: no memory. */
struct domain_rate *domain_rates_set(struct domain_rates *rates, struct bytes domain, uint64_t n,
                                     uint64_t window_ms);

/* Takes up to `want`, and says how many. */
uint32_t domain_rate_take(struct domain_rate *rate, const struct rate_writer *writer,
                          uint32_t want);

/* When to ask again; writer->now_ms if one is free. */
uint64_t domain_rate_next_ms(struct domain_rate *rate, const struct rate_writer *writer);

#endif
