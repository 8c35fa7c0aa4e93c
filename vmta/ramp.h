/* The ramp of a queue: its connections grow by one each interval, not all at once.
 *
 * Pure state of one worker, time passed in. What counts is the most there were at once: one that
 * takes the place of another needs no wait, only one more than ever does. The ramp begins anew
 * when there has been no connection for an interval. Zeroed memory is a ramp at its foot. */
#ifndef VMTA_RAMP_H
#define VMTA_RAMP_H

#include <stdint.h>

struct ramp {
    /* private: */
    uint64_t most;           /* connections at once since its foot */
    uint64_t raised_ms;      /* when it became as many */
    uint64_t empty_since_ms; /* none is open since; meaningful with open == 0 */
};

struct ramp_now {
    uint64_t now_ms, interval_ms; /* 0: no ramp */
    uint64_t open;                /* connections at this moment */
};

/* When one more may open; at most now_ms if at once. */
uint64_t ramp_next_ms(const struct ramp *ramp, const struct ramp_now *now);

/* One opens: `open` is without it. */
void ramp_opened(struct ramp *ramp, const struct ramp_now *now);

/* One has closed: `open` is without it. */
void ramp_closed(struct ramp *ramp, const struct ramp_now *now);

#endif
