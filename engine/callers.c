/* The table has one word per address: the upper half of its hash and a count. An address is
 * looked for in a window of neighbouring words; a word whose count is zero is free, whatever
 * address it had. Two addresses share a word only if 32 bits of their hashes agree within a
 * window, which then counts them together: with 10,000 callers a chance of one in 30,000. */
#include "callers.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#define WINDOW    16 /* words looked at per address */
#define NO_TICKET UINT32_MAX

struct callers {
    _Atomic uint32_t count;
    uint32_t mask; /* words - 1 */
    _Atomic uint64_t words[];
};

static uint64_t word_of(uint64_t tag, uint32_t count)
{
    return tag << 32 | count;
}

static uint32_t count_of(uint64_t word)
{
    return (uint32_t)word;
}

static bool is_of(uint64_t word, uint64_t tag)
{
    return word >> 32 == tag && count_of(word) > 0;
}

struct callers *callers_create(uint32_t sessions_max)
{
    assert(sessions_max > 0);
    assert(sessions_max <= 1u << 24);
    uint32_t words = 64;
    while (words < sessions_max * 4) {
        words *= 2;
    }
    struct callers *callers = calloc(1, sizeof(*callers) + words * sizeof(callers->words[0]));
    if (callers != NULL) {
        callers->mask = words - 1;
    }
    return callers;
}

void callers_destroy(struct callers *callers)
{
    free(callers);
}

static uint64_t count_address(const struct callers *callers, uint64_t hash)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < WINDOW; i++) {
        uint64_t word = atomic_load(&callers->words[(hash + i) & callers->mask]);
        sum += is_of(word, hash >> 32) ? count_of(word) : 0;
    }
    return sum;
}

/* One more in this word, if it is the address' own, or free and `also_free`. */
static bool take_word(_Atomic uint64_t *place, uint64_t tag, bool also_free)
{
    uint64_t word = atomic_load(place);
    while (is_of(word, tag) || (also_free && count_of(word) == 0)) {
        if (atomic_compare_exchange_weak(place, &word, word_of(tag, count_of(word) + 1))) {
            return true;
        }
    }
    return false;
}

static uint32_t take_ticket(struct callers *callers, uint64_t hash)
{
    for (uint32_t i = 0; i < 2 * WINDOW; i++) {
        uint32_t place = (uint32_t)(hash + i % WINDOW) & callers->mask;
        if (take_word(&callers->words[place], hash >> 32, i >= WINDOW)) {
            return place;
        }
    }
    return NO_TICKET;
}

enum callers_answer callers_enter(struct callers *callers, const struct address *address,
                                  uint64_t total_max, uint64_t per_address_max, uint32_t *ticket)
{
    struct address host = *address;
    host.port = 0;
    uint64_t hash = address_hash(&host);
    if (atomic_fetch_add(&callers->count, 1) >= total_max) {
        atomic_fetch_sub(&callers->count, 1);
        return CALLERS_HOUSE_FULL;
    }
    bool welcome = count_address(callers, hash) < per_address_max;
    uint32_t taken = welcome ? take_ticket(callers, hash) : NO_TICKET;
    if (taken == NO_TICKET) {
        atomic_fetch_sub(&callers->count, 1);
        return welcome ? CALLERS_HOUSE_FULL : CALLERS_ADDRESS_FULL;
    }
    *ticket = taken;
    return CALLERS_WELCOME;
}

void callers_leave(struct callers *callers, uint32_t ticket)
{
    assert(ticket <= callers->mask);
    uint64_t before = atomic_fetch_sub(&callers->words[ticket], 1);
    assert(count_of(before) > 0);
    uint32_t count = atomic_fetch_sub(&callers->count, 1);
    assert(count > 0);
}

uint32_t callers_count(const struct callers *callers)
{
    return atomic_load(&callers->count);
}
