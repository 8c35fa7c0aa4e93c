/* The rates that several queues share, whichever workers own them: of a domain, a virtual MTA, a
 * provider; of a queue and a source address in it where they are kept by name as well; and what of
 * them survives a restart.
 *
 * Entries live until destroyed or released, so their pointers may be kept. Any worker may take;
 * whoever sees that a block is due writes it. States that are worth nothing any more are deleted by
 * a walk of the keeper's, a few entries at a time. */
#ifndef ENGINE_COMMON_RATES_H
#define ENGINE_COMMON_RATES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "rate_state.h"

struct io;
struct common_rates;
struct common_rate;

/* What a rate is of, and the prefix of its named state. Rates that are taken together are locked in
 * this order. */
#define COMMON_RATE_KINDS(X)                                                                       \
    X(SOURCE, "rate:source:")                                                                      \
    X(VMTA, "rate:vmta:")                                                                          \
    X(DOMAIN, "rate:domain:")                                                                      \
    X(PROVIDER, "rate:provider:")                                                                  \
    X(PROVIDER_CONNECTS, "rate:provider-connect:")                                                 \
    X(SOURCE_CONNECTS, "rate:source-connect:")                                                     \
    X(QUEUE_VOLUME, "volume:queue:")                                                               \
    X(SOURCE_VOLUME, "volume:source:")                                                             \
    X(VMTA_VOLUME, "volume:vmta:")                                                                 \
    X(PROVIDER_VOLUME, "volume:provider:")

enum common_rate_kind {
#define X(kind, prefix) COMMON_RATE_##kind,
    COMMON_RATE_KINDS(X)
#undef X
        COMMON_RATE_COUNT,
};

/* Those of one site that count recipients, by kind; NULL: none of that kind. */
#define COMMON_RATE_MESSAGE_KINDS COMMON_RATE_PROVIDER_CONNECTS
/* Those that count bytes, from this one to the last. */
#define COMMON_RATE_VOLUMES COMMON_RATE_QUEUE_VOLUME

/* NULL: no memory. */
struct common_rates *common_rates_create(void);
void common_rates_destroy(struct common_rates *rates); /* NULL is accepted */

/* ---- at start, on the keeper, before any worker asks ---- */

/* The spool was used before: rates that write nothing begin full, as of since_ms. */
void common_rates_begin_full(struct common_rates *rates, uint64_t since_ms);
/* A named state that was found; false: it is none of ours. */
bool common_rates_restore(struct common_rates *rates, struct bytes key, struct bytes value,
                          uint64_t now_ms, int64_t wall_ms);
/* Begins the walk over what may be deleted; its timer is the keeper's io's. */
void common_rates_start(struct common_rates *rates, struct io *io, struct spool *spool,
                        uint32_t keeper);

/* ---- any worker ---- */

/* The rate of this kind and name (ASCII case ignored, at most COMMON_RATE_NAME_MAX bytes), n starts
 * per window_ms from here on. NULL: no memory. */
#define COMMON_RATE_NAME_MAX 490 /* with the prefix KEPT_KEY_MAX at most */
struct common_rate_key {
    enum common_rate_kind kind;
    struct bytes name;
};
struct common_rate *common_rates_set(struct common_rates *rates, const struct common_rate_key *key,
                                     uint64_t n, uint64_t window_ms);

/* Of the rates of source addresses and queues, as many as there are queues: each common_rates_set
 * is undone by this, and what nobody has set goes once it remembers nothing. NULL is accepted. */
void common_rates_release(struct common_rates *rates, struct common_rate *rate);

/* Takes up to `want` of each of them, the same from all, and says how many. Entries may be NULL;
 * the others stand in the order of kinds, at most COMMON_RATE_COUNT. */
uint32_t common_rates_take(struct common_rate *const *rates, size_t count,
                           const struct rate_writer *writer, uint32_t want);

/* Amounts that count when they are done (vmta/rates.h), of each of them; as above. What holds
 * some stays, also released. False: not now, *again_ms says when to ask again. */
struct common_rate_amount {
    uint64_t n, who;
};
bool common_rates_hold(struct common_rate *const *rates, size_t count,
                       const struct rate_writer *writer, const struct common_rate_amount *amount,
                       uint64_t *again_ms);
void common_rates_settle(struct common_rate *const *rates, size_t count,
                         const struct rate_writer *writer, uint64_t n, bool used);
/* When it could be held; writer->now_ms if at once. */
uint64_t common_rates_hold_ms(struct common_rate *const *rates, size_t count,
                              const struct rate_writer *writer,
                              const struct common_rate_amount *amount);

/* When to ask again; writer->now_ms if each has one free. */
uint64_t common_rates_next_ms(struct common_rate *const *rates, size_t count,
                              const struct rate_writer *writer);

#endif
