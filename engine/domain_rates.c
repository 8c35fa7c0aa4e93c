#include "domain_rates.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/logger.h"
#include "base/map.h"
#include "io/io.h"

#define PREFIX        "rate:domain:"
#define RATES_MAX     1000000
#define BLOCK_WAIT_MS 100 /* another worker may be writing: nobody tells when it is stable */
#define WALK_EVERY_MS 1000
#define WALK_MAX      256 /* entries looked at in one step */

struct domain_rate {
    struct map_entry entry;
    struct list_node node;
    struct shared_rate shared;
    struct rate_state state; /* under shared's lock */
    char name[];
};

struct domain_rates {
    uint64_t full_since_ms; /* 0: nothing begins full */
    pthread_mutex_t lock;
    struct map map;
    struct list all; /* struct domain_rate, in order of making; only grows */
    /* The keeper's: */
    struct io *io;
    struct spool *spool;
    uint32_t keeper;
    struct timer timer;
    struct list_node *walked; /* last looked at */
};

/* ---- entries ---- */

static bool has_name(const struct map_entry *entry, const void *name)
{
    const struct domain_rate *rate = CONTAINER_OF(entry, struct domain_rate, entry);
    return bytes_equal_nocase(rate->state.name, *(const struct bytes *)name);
}

static void on_stable(struct kept *kept)
{
    struct domain_rate *rate = CONTAINER_OF(kept, struct domain_rate, state.kept);
    rate_block_written(shared_rate_lock(&rate->shared), true);
    shared_rate_unlock(&rate->shared);
}

static struct domain_rate *make(struct domain_rates *rates, struct bytes domain)
{
    struct domain_rate *rate = calloc(1, sizeof *rate + domain.len + 1);
    if (rate == NULL || !map_insert(&rates->map, bytes_hash_nocase(domain), &rate->entry)) {
        free(rate);
        return NULL;
    }
    memcpy(rate->name, domain.data, domain.len);
    shared_rate_init(&rate->shared);
    rate->state.prefix = PREFIX;
    rate->state.name = bytes_of(rate->name, domain.len);
    kept_init(&rate->state.kept, false, on_stable);
    list_push_back(&rates->all, &rate->node);
    return rate;
}

static struct domain_rate *obtain(struct domain_rates *rates, struct bytes domain, bool *is_new)
{
    pthread_mutex_lock(&rates->lock);
    struct map_entry *entry = map_find(&rates->map, bytes_hash_nocase(domain), has_name, &domain);
    *is_new = entry == NULL;
    struct domain_rate *rate =
        entry == NULL ? make(rates, domain) : CONTAINER_OF(entry, struct domain_rate, entry);
    pthread_mutex_unlock(&rates->lock);
    return rate;
}

struct domain_rate *domain_rates_set(struct domain_rates *rates, struct bytes domain, uint64_t n,
                                     uint64_t window_ms)
{
    bool is_new;
    struct domain_rate *rate = obtain(rates, domain, &is_new);
    if (rate == NULL) {
        return NULL;
    }
    shared_rate_set(&rate->shared, n, window_ms);
    struct rate *inside = shared_rate_lock(&rate->shared);
    rate_make_durable(inside);
    rate->state.n = n;
    rate->state.window_ms = window_ms;
    if (is_new && rates->full_since_ms != 0 && window_ms < RATE_DURABLE_WINDOW_MS) {
        rate_begin_full(inside, rates->full_since_ms);
    }
    shared_rate_unlock(&rate->shared);
    return rate;
}

/* ---- taking ---- */

uint32_t domain_rate_take(struct domain_rate *rate, const struct rate_writer *writer, uint32_t want)
{
    struct rate *inside = shared_rate_lock(&rate->shared);
    uint32_t granted = rate_take(inside, writer->now_ms, want);
    rate_state_reserve(&rate->state, inside, writer);
    shared_rate_unlock(&rate->shared);
    return granted;
}

uint64_t domain_rate_next_ms(struct domain_rate *rate, const struct rate_writer *writer)
{
    struct rate *inside = shared_rate_lock(&rate->shared);
    rate_state_reserve(&rate->state, inside, writer);
    uint64_t next_ms = rate_next_ms(inside, writer->now_ms);
    shared_rate_unlock(&rate->shared);
    return next_ms == UINT64_MAX ? writer->now_ms + BLOCK_WAIT_MS : next_ms;
}

/* ---- over a restart ---- */

void domain_rates_begin_full(struct domain_rates *rates, uint64_t since_ms)
{
    rates->full_since_ms = since_ms;
}

bool domain_rates_restore(struct domain_rates *rates, struct bytes key, struct bytes value,
                          uint64_t now_ms, int64_t wall_ms)
{
    struct bytes prefix = BYTES(PREFIX);
    if (!bytes_starts_with(key, prefix)) {
        return false;
    }
    struct bytes domain = bytes_slice(key, prefix.len, key.len);
    struct rate_found found;
    bool is_new;
    struct domain_rate *rate =
        rate_state_parse(value, &found) ? obtain(rates, domain, &is_new) : NULL;
    if (rate == NULL) {
        LOG_ERROR("the rate of domain %.*s cannot be taken from the spool", BYTES_FMT(domain));
        return true;
    }
    shared_rate_set(&rate->shared, found.n, found.window_ms);
    struct rate *inside = shared_rate_lock(&rate->shared);
    rate_restore(inside, now_ms, wall_ms, found.marks, found.count);
    rate->state.kept.exists = true;
    shared_rate_unlock(&rate->shared);
    return true;
}

static void look_at(struct domain_rates *rates, struct domain_rate *rate)
{
    const struct rate_writer writer = {rates->spool, rates->keeper, io_now_ms(rates->io),
                                       io_wall_ms(rates->io)};
    struct rate *inside = shared_rate_lock(&rate->shared);
    rate_state_drop(&rate->state, inside, &writer);
    shared_rate_unlock(&rate->shared);
}

static void on_walk(struct timer *timer)
{
    struct domain_rates *rates = CONTAINER_OF(timer, struct domain_rates, timer);
    pthread_mutex_lock(&rates->lock);
    for (int i = 0; i < WALK_MAX; i++) {
        rates->walked =
            rates->walked == NULL ? list_first(&rates->all) : list_next(&rates->all, rates->walked);
        if (rates->walked == NULL) {
            break; /* from the beginning in the next step */
        }
        look_at(rates, CONTAINER_OF(rates->walked, struct domain_rate, node));
    }
    pthread_mutex_unlock(&rates->lock);
    timer_start(io_timers(rates->io), timer, io_now_ms(rates->io) + WALK_EVERY_MS);
}

void domain_rates_start(struct domain_rates *rates, struct io *io, struct spool *spool,
                        uint32_t keeper)
{
    rates->io = io;
    rates->spool = spool;
    rates->keeper = keeper;
    timer_init(&rates->timer, on_walk);
    timer_start(io_timers(io), &rates->timer, io_now_ms(io) + WALK_EVERY_MS);
}

/* ---- life ---- */

struct domain_rates *domain_rates_create(void)
{
    struct domain_rates *rates = calloc(1, sizeof *rates);
    if (rates == NULL) {
        return NULL;
    }
    pthread_mutex_init(&rates->lock, NULL);
    map_init(&rates->map, RATES_MAX);
    list_init(&rates->all);
    return rates;
}

void domain_rates_destroy(struct domain_rates *rates)
{
    if (rates == NULL) {
        return;
    }
    struct list_node *node;
    while ((node = list_pop_front(&rates->all)) != NULL) {
        struct domain_rate *rate = CONTAINER_OF(node, struct domain_rate, node);
        shared_rate_deinit(&rate->shared);
        free(rate);
    }
    map_deinit(&rates->map);
    pthread_mutex_destroy(&rates->lock);
    free(rates);
}
