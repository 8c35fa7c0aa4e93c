#include "base/rng.h"

#include <assert.h>

/* splitmix64: spreads a seed of any quality over the state, which must not be all zero. */
static uint64_t split_mix(uint64_t *seed)
{
    *seed += 0x9E3779B97F4A7C15;
    uint64_t z = *seed;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

void rng_init(struct rng *rng, uint64_t seed)
{
    for (unsigned i = 0; i < 4; i++) {
        rng->state[i] = split_mix(&seed);
    }
}

static uint64_t rotate_left(uint64_t x, unsigned by)
{
    return (x << by) | (x >> (64 - by));
}

/* xoshiro256** 1.0 by Blackman and Vigna. */
uint64_t rng_next(struct rng *rng)
{
    uint64_t *s = rng->state;
    const uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    const uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* Lemire's method: the high half of a product is uniform once the few low halves that would make
 * some results more frequent are drawn again. */
uint64_t rng_below(struct rng *rng, uint64_t bound)
{
    assert(bound > 0);
    __extension__ unsigned __int128 product = (unsigned __int128)rng_next(rng) * bound;
    if ((uint64_t)product < bound) {
        const uint64_t threshold = -bound % bound;
        while ((uint64_t)product < threshold) {
            product = rng_next(rng);
            product *= bound;
        }
    }
    return (uint64_t)(product >> 64);
}

bool rng_chance(struct rng *rng, uint32_t per_million)
{
    return rng_below(rng, 1000000) < per_million;
}
