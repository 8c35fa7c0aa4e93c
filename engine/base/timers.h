/* A hierarchical timer wheel: 4 levels of 256 slots, 1 ms ticks, 49 days of range.
 *
 * Knows no clock: the owner passes monotonic milliseconds in. Timers are embedded in their
 * owner's structs; the wheel never allocates. One wheel belongs to one thread. Start, stop O(1).
 * A timer further away than the range is kept and moved down as time passes. */
#ifndef BASE_TIMERS_H
#define BASE_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

#define TIMERS_LEVELS 4
#define TIMERS_SLOTS  256

struct timer {
    /* Called from timers_run, the timer already stopped: it may be started again or freed. */
    void (*fired)(struct timer *timer);
    /* private: */
    struct list_node node;
    uint64_t due_ms;
};

struct timers {
    /* private: */
    uint64_t now_ms;
    uint32_t count;
    uint64_t occupied[TIMERS_LEVELS][TIMERS_SLOTS / 64];
    struct list slots[TIMERS_LEVELS][TIMERS_SLOTS];
};

void timers_init(struct timers *timers, uint64_t now_ms);

static inline void timer_init(struct timer *timer, void (*fired)(struct timer *))
{
    *timer = (struct timer){.fired = fired};
}

static inline bool timer_running(const struct timer *timer)
{
    return list_linked(&timer->node);
}

/* (Re)starts the timer; due now or in the past means the next timers_run. */
void timer_start(struct timers *timers, struct timer *timer, uint64_t due_ms);
void timer_stop(struct timers *timers, struct timer *timer);

/* Fires everything due at or before now_ms, in order of due time (ties: order of starting).
 * now_ms never goes back. Timers started meanwhile that are already due fire in this run's
 * next call, so that a callback which restarts itself at once cannot hold the loop. */
void timers_run(struct timers *timers, uint64_t now_ms);

/* A time at or before which nothing is due (UINT64_MAX: no timer). May be earlier than the
 * first due time by up to one slot of a higher level; never later. */
uint64_t timers_next_ms(const struct timers *timers);

#endif
