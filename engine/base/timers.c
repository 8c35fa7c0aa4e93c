/* Which slot: the highest byte in which due time and now differ names the level, that byte of the
 * due time the slot. So level 0 holds what is due in the current 256 ms, level 1 the rest of the
 * current 65 s, and so on; when time enters a slot of a higher level, its timers move down.
 *
 * Two things follow. The first occupied slot of the lowest occupied level is always the next one,
 * so a run jumps from one occupied slot to the next by bitmap and skips all empty ticks. And a
 * timer never enters a slot before those that were started earlier for the same time, so ties
 * fire in the order of starting.
 *
 * At level 3 the slot of the current time and those before it are never used that way; slot 0 is
 * always among them and keeps what is due after the current 2^32 ms. */
#include "base/timers.h"

#include <assert.h>
#include <string.h>

#define LEVEL_BITS 8
#define FAR_LEVEL  (TIMERS_LEVELS - 1)
#define FAR_SLOT   0u

struct place {
    unsigned level, slot;
};

void timers_init(struct timers *timers, uint64_t now_ms)
{
    timers->now_ms = now_ms;
    timers->count = 0;
    memset(timers->occupied, 0, sizeof(timers->occupied));
    for (unsigned level = 0; level < TIMERS_LEVELS; level++) {
        for (unsigned slot = 0; slot < TIMERS_SLOTS; slot++) {
            list_init(&timers->slots[level][slot]);
        }
    }
}

static unsigned slot_of(uint64_t time_ms, unsigned level)
{
    return (unsigned)(time_ms >> (level * LEVEL_BITS)) & (TIMERS_SLOTS - 1);
}

static struct place place_of(const struct timers *timers, uint64_t due_ms)
{
    uint64_t differs = due_ms ^ timers->now_ms;
    if (differs >> (TIMERS_LEVELS * LEVEL_BITS) != 0) {
        return (struct place){FAR_LEVEL, FAR_SLOT};
    }
    unsigned level = 0;
    while (differs >> ((level + 1) * LEVEL_BITS) != 0) {
        level++;
    }
    return (struct place){level, slot_of(due_ms, level)};
}

static void put(struct timers *timers, struct timer *timer)
{
    struct place at = place_of(timers, timer->due_ms);
    list_push_back(&timers->slots[at.level][at.slot], &timer->node);
    timers->occupied[at.level][at.slot / 64] |= UINT64_C(1) << (at.slot % 64);
}

static void clear_occupied(struct timers *timers, struct place at)
{
    timers->occupied[at.level][at.slot / 64] &= ~(UINT64_C(1) << (at.slot % 64));
}

void timer_start(struct timers *timers, struct timer *timer, uint64_t due_ms)
{
    assert(timer->fired != NULL);
    timer_stop(timers, timer);
    timer->due_ms = due_ms < timers->now_ms ? timers->now_ms : due_ms;
    put(timers, timer);
    timers->count++;
}

void timer_stop(struct timers *timers, struct timer *timer)
{
    if (!timer_running(timer)) {
        return;
    }
    /* Alone in its list, its neighbour on both sides is the list's head; a head among the slots
     * (the other case is the list of those about to fire) says which slot becomes empty. */
    uintptr_t head = (uintptr_t)timer->node.prev;
    uintptr_t slots = (uintptr_t)timers->slots;
    if (timer->node.prev == timer->node.next && head >= slots &&
        head < slots + sizeof(timers->slots)) {
        unsigned index = (unsigned)((head - slots) / sizeof(struct list));
        clear_occupied(timers, (struct place){index / TIMERS_SLOTS, index % TIMERS_SLOTS});
    }
    list_remove(&timer->node);
    assert(timers->count > 0);
    timers->count--;
}

/* First occupied slot of the level at or after `from`, or TIMERS_SLOTS. */
static unsigned first_occupied(const struct timers *timers, unsigned level, unsigned from)
{
    for (unsigned word = from / 64; word < TIMERS_SLOTS / 64; word++) {
        uint64_t bits = timers->occupied[level][word];
        if (word == from / 64) {
            bits &= UINT64_MAX << (from % 64);
        }
        if (bits != 0) {
            return word * 64 + (unsigned)__builtin_ctzll(bits);
        }
    }
    return TIMERS_SLOTS;
}

/* Finds the next occupied slot and the time at which it begins; UINT64_MAX: none. */
static uint64_t next_slot(const struct timers *timers, struct place *at)
{
    if (timers->count == 0) {
        return UINT64_MAX;
    }
    for (unsigned level = 0; level < TIMERS_LEVELS; level++) {
        unsigned current = slot_of(timers->now_ms, level);
        unsigned from = level == 0 ? current : current + 1;
        unsigned slot = from == TIMERS_SLOTS ? from : first_occupied(timers, level, from);
        if (slot < TIMERS_SLOTS) {
            *at = (struct place){level, slot};
            unsigned shift = level * LEVEL_BITS;
            uint64_t above = timers->now_ms >> shift >> LEVEL_BITS << LEVEL_BITS;
            return (above | slot) << shift;
        }
    }
    if (list_empty(&timers->slots[FAR_LEVEL][FAR_SLOT])) {
        return UINT64_MAX; /* those that are running are about to fire */
    }
    *at = (struct place){FAR_LEVEL, FAR_SLOT};
    const unsigned range_bits = TIMERS_LEVELS * LEVEL_BITS;
    return ((timers->now_ms >> range_bits) + 1) << range_bits;
}

uint64_t timers_next_ms(const struct timers *timers)
{
    struct place at;
    return next_slot(timers, &at);
}

/* Time enters a slot of a higher level: its timers find their places anew, lower down. */
static void move_down(struct timers *timers, struct place from)
{
    struct list moving;
    list_init(&moving);
    list_splice_back(&moving, &timers->slots[from.level][from.slot]);
    clear_occupied(timers, from);
    struct list_node *node;
    while ((node = list_pop_front(&moving)) != NULL) {
        put(timers, CONTAINER_OF(node, struct timer, node));
    }
}

void timers_run(struct timers *timers, uint64_t now_ms)
{
    assert(now_ms >= timers->now_ms);
    /* All that is due is gathered before anything fires: what a callback starts, due or not, can
     * then only land in the wheel, for a later run. */
    struct list due;
    list_init(&due);
    struct place at;
    uint64_t next_ms;
    while ((next_ms = next_slot(timers, &at)) <= now_ms && next_ms != UINT64_MAX) {
        assert(next_ms >= timers->now_ms);
        timers->now_ms = next_ms;
        if (at.level == 0) {
            list_splice_back(&due, &timers->slots[at.level][at.slot]);
            clear_occupied(timers, at);
        } else {
            move_down(timers, at);
        }
    }
    timers->now_ms = now_ms;
    struct list_node *node;
    while ((node = list_pop_front(&due)) != NULL) {
        struct timer *timer = CONTAINER_OF(node, struct timer, node);
        timers->count--;
        timer->fired(timer);
    }
}
