/* The one source of randomness: a seeded generator (xoshiro256**).
 *
 * Same seed, same numbers. Not for secrets (base/crypto.h has those). One thread. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
    /* private: */
    uint64_t state[4];
};

void rng_init(struct rng *rng, uint64_t seed);
uint64_t rng_next(struct rng *rng);

/* Uniform in [0, bound); bound > 0. */
uint64_t rng_below(struct rng *rng, uint64_t bound);

/* True with probability `per_million` / 1,000,000. */
bool rng_chance(struct rng *rng, uint32_t per_million);

#endif
