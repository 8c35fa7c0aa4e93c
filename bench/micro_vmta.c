/* What a limit and a rate cost uncontended: nanoseconds per operation.
 *
 *     ninja -C build bench/micro_vmta && build/bench/micro_vmta */
#include <inttypes.h>
#include <stdio.h>

#include "micro.h"
#include "vmta/limits.h"
#include "vmta/rates.h"

#define ROUNDS 2000000

static struct limits *limits;
static struct limit *limit;
static struct shared_rate shared;
static struct rate rate;
static uint64_t now_ms, granted;

static void take_and_release(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct limit_wakes wakes = {0};
        granted += limit_take_or_wait(limit, 1, 0);
        limit_release(limit, 1, &wakes);
    }
}

static void take_exact(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        granted += rate_take(&rate, now_ms++, 1);
    }
}

static void take_shared(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        granted += shared_rate_take(&shared, now_ms++, 1);
    }
}

int main(void)
{
    limits = limits_create(1);
    limit = limits_entry(limits, LIMIT_TOTAL, BYTES("total"));
    struct limit_wakes wakes = {0};
    limit_set_max(limit, 100, &wakes);
    micro_measure("limit: take and release", take_and_release, ROUNDS, 0);
    rate_init(&rate, 1000, 2000);
    micro_measure("rate: take, ring of 1000", take_exact, ROUNDS, 0);
    rate_deinit(&rate);
    rate_init(&rate, 1000000, 3600000);
    micro_measure("rate: take, slots", take_exact, ROUNDS, 0);
    rate_deinit(&rate);
    shared_rate_init(&shared);
    shared_rate_set(&shared, 1000000, 3600000);
    micro_measure("shared rate: take, slots", take_shared, ROUNDS, 0);
    shared_rate_deinit(&shared);
    printf("(%" PRIu64 " granted)\n", granted);
    limits_destroy(limits);
    return 0;
}
