/* A rate's marks as a named state in the spool, written a block ahead of need (vmta/rates.h).
 *
 * Knows neither sites nor workers: whoever owns the rate asks at the right moments, under the
 * rate's lock where it has one. It reads its `kept` only while the rate says that nothing is being
 * written, and calls rate_block_written when that is stable. */
#ifndef ENGINE_RATE_STATE_H
#define ENGINE_RATE_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "kept.h"
#include "vmta/rates.h"

struct rate_state {
    struct kept kept;
    const char *prefix; /* of the key; static */
    struct bytes name;  /* the rest of it; the owner's, as long as this */
    uint64_t n, window_ms;
};

/* Who writes, and when. */
struct rate_writer {
    struct spool *spool;
    uint32_t worker;
    uint64_t now_ms;
    int64_t wall_ms;
};

/* Reserves a block and writes it if it is time to. */
void rate_state_reserve(struct rate_state *state, struct rate *rate,
                        const struct rate_writer *writer);

/* True: the rate remembers nothing and nothing of it is in the spool. Else deletes what is, if
 * that is worth nothing: ask again when a write is stable or the rate has forgotten its starts. */
bool rate_state_drop(struct rate_state *state, struct rate *rate, const struct rate_writer *writer);

/* A state as it was found at start. */
struct rate_found {
    uint64_t n, window_ms;
    size_t count;
    struct rate_mark marks[RATE_MARKS_MAX];
};
bool rate_state_parse(struct bytes value, struct rate_found *out);

#endif
