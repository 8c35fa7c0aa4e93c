#include "common_rates.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/logger.h"
#include "base/map.h"
#include "io/io.h"

#define RATES_MAX     1000000
#define BLOCK_WAIT_MS 100 /* another worker may be writing: nobody tells when it is stable */
#define WALK_EVERY_MS 1000
#define WALK_MAX      256 /* entries looked at in one step */

static const char *const prefixes[] = {
#define X(kind, prefix) [COMMON_RATE_##kind] = (prefix),
    COMMON_RATE_KINDS(X)
#undef X
};

struct common_rate {
    struct map_entry entry;
    enum common_rate_kind kind;
    struct list_node node;
    uint32_t users; /* that have set it and not released it; under the table's lock */
    struct shared_rate shared;
    struct rate_state state; /* under shared's lock */
    char name[];
};

struct common_rates {
    uint64_t full_since_ms; /* 0: nothing begins full */
    pthread_mutex_t lock;
    struct map map;
    struct list all; /* struct common_rate, in order of making */
    /* The keeper's: */
    struct io *io;
    struct spool *spool;
    uint32_t keeper;
    struct timer timer;
    struct list_node *next; /* to be looked at; NULL: from the beginning */
};

/* ---- entries ---- */

static bool has_key(const struct map_entry *entry, const void *wanted)
{
    const struct common_rate *rate = CONTAINER_OF(entry, struct common_rate, entry);
    const struct common_rate_key *key = wanted;
    return rate->kind == key->kind && bytes_equal_nocase(rate->state.name, key->name);
}

static uint64_t hash_of(const struct common_rate_key *key)
{
    return bytes_hash_nocase(key->name) + key->kind;
}

static void on_stable(struct kept *kept)
{
    struct common_rate *rate = CONTAINER_OF(kept, struct common_rate, state.kept);
    rate_block_written(shared_rate_lock(&rate->shared), true);
    shared_rate_unlock(&rate->shared);
}

static struct common_rate *make(struct common_rates *rates, const struct common_rate_key *key)
{
    struct common_rate *rate = calloc(1, sizeof *rate + key->name.len + 1);
    if (rate == NULL || !map_insert(&rates->map, hash_of(key), &rate->entry)) {
        free(rate);
        return NULL;
    }
    memcpy(rate->name, key->name.data, key->name.len);
    rate->kind = key->kind;
    shared_rate_init(&rate->shared);
    rate->state.prefix = prefixes[key->kind];
    rate->state.name = bytes_of(rate->name, key->name.len);
    kept_init(&rate->state.kept, false, on_stable);
    list_push_back(&rates->all, &rate->node);
    return rate;
}

/* For one more user, or for none yet. */
static struct common_rate *obtain(struct common_rates *rates, const struct common_rate_key *key,
                                  uint32_t users, bool *is_new)
{
    pthread_mutex_lock(&rates->lock);
    struct map_entry *entry = map_find(&rates->map, hash_of(key), has_key, key);
    *is_new = entry == NULL;
    struct common_rate *rate =
        entry == NULL ? make(rates, key) : CONTAINER_OF(entry, struct common_rate, entry);
    if (rate != NULL) {
        rate->users += users;
    }
    pthread_mutex_unlock(&rates->lock);
    return rate;
}

void common_rates_release(struct common_rates *rates, struct common_rate *rate)
{
    if (rate != NULL) {
        pthread_mutex_lock(&rates->lock);
        assert(rate->users > 0);
        rate->users--;
        pthread_mutex_unlock(&rates->lock);
    }
}

struct common_rate *common_rates_set(struct common_rates *rates, const struct common_rate_key *key,
                                     uint64_t n, uint64_t window_ms)
{
    bool is_new;
    assert(key->name.len <= COMMON_RATE_NAME_MAX);
    struct common_rate *rate = obtain(rates, key, 1, &is_new);
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

/* Locks them all, in order, so that what one grants no other refuses; the fewest that one has free,
 * at most `want`. */
static uint32_t lock_all(struct common_rate *const *rates, size_t count, uint64_t now_ms,
                         uint32_t want, struct rate *inside[COMMON_RATE_COUNT])
{
    const struct common_rate *before = NULL;
    assert(count <= COMMON_RATE_COUNT);
    for (size_t i = 0; i < count; i++) {
        if (rates[i] == NULL) {
            continue;
        }
        assert(before == NULL || before->kind < rates[i]->kind);
        before = rates[i];
        inside[i] = shared_rate_lock(&rates[i]->shared);
        uint64_t free = rate_free(inside[i], now_ms);
        want = free < want ? (uint32_t)free : want;
    }
    return want;
}

uint32_t common_rates_take(struct common_rate *const *rates, size_t count,
                           const struct rate_writer *writer, uint32_t want)
{
    struct rate *inside[COMMON_RATE_COUNT];
    uint32_t granted = lock_all(rates, count, writer->now_ms, want, inside);
    for (size_t i = 0; i < count; i++) {
        if (rates[i] == NULL) {
            continue;
        }
        if (granted > 0) {
            uint32_t taken = rate_take(inside[i], writer->now_ms, granted);
            assert(taken == granted);
        }
        rate_state_reserve(&rates[i]->state, inside[i], writer);
        shared_rate_unlock(&rates[i]->shared);
    }
    return granted;
}

static uint64_t next_ms(struct common_rate *rate, const struct rate_writer *writer)
{
    struct rate *inside = shared_rate_lock(&rate->shared);
    rate_state_reserve(&rate->state, inside, writer);
    uint64_t next_ms = rate_next_ms(inside, writer->now_ms);
    shared_rate_unlock(&rate->shared);
    return next_ms == UINT64_MAX ? writer->now_ms + BLOCK_WAIT_MS : next_ms;
}

uint64_t common_rates_next_ms(struct common_rate *const *rates, size_t count,
                              const struct rate_writer *writer)
{
    uint64_t latest_ms = writer->now_ms;
    for (size_t i = 0; i < count; i++) {
        uint64_t due_ms = rates[i] == NULL ? 0 : next_ms(rates[i], writer);
        latest_ms = due_ms > latest_ms ? due_ms : latest_ms;
    }
    return latest_ms;
}

/* ---- amounts that count when they are done ---- */

/* When this one could hold it; now if at once. Else `who` waits for it. */
static uint64_t hold_ms(struct common_rate *rate, struct rate *inside,
                        const struct rate_writer *writer, const struct common_rate_amount *amount)
{
    const uint64_t now_ms = writer->now_ms;
    if (rate_may_hold(inside, now_ms, amount->n, amount->who)) {
        return now_ms;
    }
    rate_claim(inside, now_ms, amount->n, amount->who);
    bool needs_block = inside->wanted > 0 || inside->writing;
    uint64_t due_ms = rate_hold_ms(inside, now_ms, amount->n);
    rate_state_reserve(&rate->state, inside, writer);
    return needs_block && due_ms > now_ms + BLOCK_WAIT_MS ? now_ms + BLOCK_WAIT_MS : due_ms;
}

bool common_rates_hold(struct common_rate *const *rates, size_t count,
                       const struct rate_writer *writer, const struct common_rate_amount *amount,
                       uint64_t *again_ms)
{
    struct rate *inside[COMMON_RATE_COUNT];
    lock_all(rates, count, writer->now_ms, 0, inside);
    uint64_t due_ms = writer->now_ms;
    for (size_t i = 0; i < count; i++) {
        uint64_t one_ms = rates[i] == NULL ? 0 : hold_ms(rates[i], inside[i], writer, amount);
        due_ms = one_ms > due_ms ? one_ms : due_ms;
    }
    for (size_t i = 0; i < count; i++) {
        if (rates[i] == NULL) {
            continue;
        }
        if (due_ms <= writer->now_ms) {
            rate_hold(inside[i], amount->n);
            rate_state_reserve(&rates[i]->state, inside[i], writer); /* ahead of need */
        }
        shared_rate_unlock(&rates[i]->shared);
    }
    *again_ms = due_ms;
    return due_ms <= writer->now_ms;
}

uint64_t common_rates_hold_ms(struct common_rate *const *rates, size_t count,
                              const struct rate_writer *writer,
                              const struct common_rate_amount *amount)
{
    uint64_t latest_ms = writer->now_ms;
    for (size_t i = 0; i < count; i++) {
        if (rates[i] != NULL) {
            struct rate *inside = shared_rate_lock(&rates[i]->shared);
            uint64_t due_ms = hold_ms(rates[i], inside, writer, amount);
            shared_rate_unlock(&rates[i]->shared);
            latest_ms = due_ms > latest_ms ? due_ms : latest_ms;
        }
    }
    return latest_ms;
}

void common_rates_settle(struct common_rate *const *rates, size_t count,
                         const struct rate_writer *writer, uint64_t n, bool used)
{
    for (size_t i = 0; i < count; i++) {
        if (rates[i] != NULL) {
            rate_settle(shared_rate_lock(&rates[i]->shared), writer->now_ms, n, used);
            shared_rate_unlock(&rates[i]->shared);
        }
    }
}

/* ---- over a restart ---- */

void common_rates_begin_full(struct common_rates *rates, uint64_t since_ms)
{
    rates->full_since_ms = since_ms;
}

/* False: it is the state of no rate of ours. */
static bool parse_key(struct bytes text, struct common_rate_key *out)
{
    for (int kind = 0; kind < COMMON_RATE_COUNT; kind++) {
        struct bytes prefix = bytes_from_string(prefixes[kind]);
        if (bytes_starts_with(text, prefix)) {
            *out = (struct common_rate_key){(enum common_rate_kind)kind,
                                            bytes_slice(text, prefix.len, text.len)};
            return true;
        }
    }
    return false;
}

bool common_rates_restore(struct common_rates *rates, struct bytes key, struct bytes value,
                          uint64_t now_ms, int64_t wall_ms)
{
    struct common_rate_key parsed;
    if (!parse_key(key, &parsed)) {
        return false;
    }
    struct rate_found found;
    bool is_new;
    struct common_rate *rate =
        rate_state_parse(value, &found) ? obtain(rates, &parsed, 0, &is_new) : NULL;
    if (rate == NULL) {
        LOG_ERROR("the state %.*s cannot be taken from the spool", BYTES_FMT(key));
        return true;
    }
    shared_rate_set(&rate->shared, found.n, found.window_ms);
    struct rate *inside = shared_rate_lock(&rate->shared);
    rate_restore(inside, now_ms, wall_ms, found.marks, found.count);
    rate->state.kept.exists = true;
    shared_rate_unlock(&rate->shared);
    return true;
}

static bool may_go(const struct common_rate *rate)
{
    bool is_released =
        rate->kind == COMMON_RATE_SOURCE || rate->kind == COMMON_RATE_SOURCE_CONNECTS ||
        rate->kind == COMMON_RATE_SOURCE_VOLUME || rate->kind == COMMON_RATE_QUEUE_VOLUME;
    return is_released && rate->users == 0;
}

static void destroy(struct common_rates *rates, struct common_rate *rate)
{
    map_remove(&rates->map, &rate->entry);
    list_remove(&rate->node);
    shared_rate_deinit(&rate->shared);
    free(rate);
}

static void look_at(struct common_rates *rates, struct common_rate *rate)
{
    const struct rate_writer writer = {rates->spool, rates->keeper, io_now_ms(rates->io),
                                       io_wall_ms(rates->io)};
    struct rate *inside = shared_rate_lock(&rate->shared);
    bool is_worth_nothing = rate_state_drop(&rate->state, inside, &writer);
    shared_rate_unlock(&rate->shared);
    if (is_worth_nothing && may_go(rate)) {
        destroy(rates, rate);
    }
}

static void on_walk(struct timer *timer)
{
    struct common_rates *rates = CONTAINER_OF(timer, struct common_rates, timer);
    pthread_mutex_lock(&rates->lock);
    struct list_node *node = rates->next == NULL ? list_first(&rates->all) : rates->next;
    for (int i = 0; i < WALK_MAX && node != NULL; i++) {
        rates->next = list_next(&rates->all, node);
        look_at(rates, CONTAINER_OF(node, struct common_rate, node));
        node = rates->next; /* at the end NULL: from the beginning in the next step */
    }
    pthread_mutex_unlock(&rates->lock);
    timer_start(io_timers(rates->io), timer, io_now_ms(rates->io) + WALK_EVERY_MS);
}

void common_rates_start(struct common_rates *rates, struct io *io, struct spool *spool,
                        uint32_t keeper)
{
    rates->io = io;
    rates->spool = spool;
    rates->keeper = keeper;
    timer_init(&rates->timer, on_walk);
    timer_start(io_timers(io), &rates->timer, io_now_ms(io) + WALK_EVERY_MS);
}

/* ---- life ---- */

struct common_rates *common_rates_create(void)
{
    struct common_rates *rates = calloc(1, sizeof *rates);
    if (rates == NULL) {
        return NULL;
    }
    pthread_mutex_init(&rates->lock, NULL);
    map_init(&rates->map, RATES_MAX);
    list_init(&rates->all);
    return rates;
}

void common_rates_destroy(struct common_rates *rates)
{
    if (rates == NULL) {
        return;
    }
    struct list_node *node;
    while ((node = list_pop_front(&rates->all)) != NULL) {
        struct common_rate *rate = CONTAINER_OF(node, struct common_rate, node);
        shared_rate_deinit(&rate->shared);
        free(rate);
    }
    map_deinit(&rates->map);
    pthread_mutex_destroy(&rates->lock);
    free(rates);
}
