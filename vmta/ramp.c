#include "vmta/ramp.h"

#include <stdbool.h>

static uint64_t after(uint64_t from_ms, uint64_t interval_ms)
{
    return from_ms > UINT64_MAX - interval_ms ? UINT64_MAX : from_ms + interval_ms;
}

/* Connections that the next one has to exceed to be one step up. */
static uint64_t height(const struct ramp *ramp, const struct ramp_now *now)
{
    bool rested = now->open == 0 && after(ramp->empty_since_ms, now->interval_ms) <= now->now_ms;
    return rested ? 0 : ramp->most;
}

uint64_t ramp_next_ms(const struct ramp *ramp, const struct ramp_now *now)
{
    /* The first is never kept waiting: a queue that has none would not move. */
    if (now->interval_ms == 0 || now->open == 0 || now->open < height(ramp, now)) {
        return 0;
    }
    return after(ramp->raised_ms, now->interval_ms);
}

void ramp_opened(struct ramp *ramp, const struct ramp_now *now)
{
    uint64_t before = height(ramp, now);
    ramp->most = before;
    if (now->open + 1 > before) {
        ramp->most = now->open + 1;
        ramp->raised_ms = now->now_ms;
    }
}

void ramp_closed(struct ramp *ramp, const struct ramp_now *now)
{
    if (now->open == 0) {
        ramp->empty_since_ms = now->now_ms;
    }
}
