/* Nobody is forgotten, without a lock, because both sides announce before they look, and all of it
 * is sequentially consistent: who waits sets its bit and then looks at `used` again; who releases
 * lowers `used` and then looks at the bits. One of the two sees the other.
 *
 * The same holds for `tried`, a second bit set by who waits before that look. It keeps those that
 * want more than is free from waking each other in circles: limit_pass_on passes over them, and
 * every release clears it. */
#include "vmta/limits.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/map.h"
#include "vmta/rates.h"

#define CACHE_LINE 64

/* What the maps find and the table owns: a limit or a rate. */
struct entry {
    struct map_entry map_entry;
    struct list_node node;
    enum limit_kind kind;
    struct bytes name; /* owned */
};

struct limit {
    /* Hot, in a line of its own. */
    _Alignas(CACHE_LINE) _Atomic uint64_t used;
    _Atomic uint64_t max;
    _Atomic uint64_t waiting, tried, idle; /* bitmaps of workers */
    _Atomic uint32_t last_woken, last_idle;
    _Alignas(CACHE_LINE) struct entry entry;
};

struct rate_entry {
    struct entry entry;
    struct shared_rate rate;
};

struct limits {
    pthread_mutex_t lock;
    size_t max_entries;
    struct map limits, rates;
    struct list limit_list, rate_list; /* in order of creation */
};

struct key {
    enum limit_kind kind;
    struct bytes name;
};

/* ---- the table ---------------------------------------------------------------------------------
 */

struct limits *limits_create(size_t max_entries)
{
    struct limits *limits = calloc(1, sizeof(*limits));
    if (limits == NULL) {
        return NULL;
    }
    pthread_mutex_init(&limits->lock, NULL);
    limits->max_entries = max_entries;
    map_init(&limits->limits, max_entries);
    map_init(&limits->rates, max_entries);
    list_init(&limits->limit_list);
    list_init(&limits->rate_list);
    return limits;
}

void limits_destroy(struct limits *limits)
{
    if (limits == NULL) {
        return;
    }
    struct list_node *node;
    while ((node = list_pop_front(&limits->limit_list)) != NULL) {
        struct limit *limit = CONTAINER_OF(node, struct limit, entry.node);
        free((char *)(uintptr_t)limit->entry.name.data);
        free(limit);
    }
    while ((node = list_pop_front(&limits->rate_list)) != NULL) {
        struct rate_entry *rate = CONTAINER_OF(node, struct rate_entry, entry.node);
        shared_rate_deinit(&rate->rate);
        free((char *)(uintptr_t)rate->entry.name.data);
        free(rate);
    }
    map_deinit(&limits->limits);
    map_deinit(&limits->rates);
    pthread_mutex_destroy(&limits->lock);
    free(limits);
}

static bool has_key(const struct map_entry *map_entry, const void *wanted)
{
    const struct entry *entry = CONTAINER_OF(map_entry, struct entry, map_entry);
    const struct key *key = wanted;
    return entry->kind == key->kind && bytes_equal_nocase(entry->name, key->name);
}

static uint64_t hash_of(const struct key *key)
{
    return bytes_hash_nocase(key->name) + key->kind;
}

static struct entry *find(const struct map *map, const struct key *key)
{
    struct map_entry *found = map_find(map, hash_of(key), has_key, key);
    return found == NULL ? NULL : CONTAINER_OF(found, struct entry, map_entry);
}

/* Names the entry and puts it into the table. False: full or no memory. */
static bool add(struct limits *limits, struct map *map, struct list *list, struct entry *entry,
                const struct key *key)
{
    if (map_count(&limits->limits) + map_count(&limits->rates) >= limits->max_entries) {
        return false;
    }
    char *name = bytes_to_string(key->name);
    if (name == NULL || !map_insert(map, hash_of(key), &entry->map_entry)) {
        free(name);
        return false;
    }
    entry->kind = key->kind;
    entry->name = bytes_of(name, key->name.len);
    list_push_back(list, &entry->node);
    return true;
}

static struct limit *limit_create(struct limits *limits, const struct key *key)
{
    struct limit *limit = aligned_alloc(CACHE_LINE, sizeof(*limit));
    if (limit == NULL) {
        return NULL;
    }
    *limit = (struct limit){.max = UINT64_MAX};
    if (!add(limits, &limits->limits, &limits->limit_list, &limit->entry, key)) {
        free(limit);
        return NULL;
    }
    return limit;
}

struct limit *limits_entry(struct limits *limits, enum limit_kind kind, struct bytes name)
{
    const struct key key = {kind, name};
    pthread_mutex_lock(&limits->lock);
    struct entry *entry = find(&limits->limits, &key);
    struct limit *limit =
        entry == NULL ? limit_create(limits, &key) : CONTAINER_OF(entry, struct limit, entry);
    pthread_mutex_unlock(&limits->lock);
    return limit;
}

static struct rate_entry *rate_create(struct limits *limits, const struct key *key)
{
    struct rate_entry *rate = calloc(1, sizeof(*rate));
    if (rate == NULL) {
        return NULL;
    }
    if (!add(limits, &limits->rates, &limits->rate_list, &rate->entry, key)) {
        free(rate);
        return NULL;
    }
    shared_rate_init(&rate->rate);
    return rate;
}

struct shared_rate *limits_rate_entry(struct limits *limits, enum limit_kind kind,
                                      struct bytes name)
{
    const struct key key = {kind, name};
    pthread_mutex_lock(&limits->lock);
    struct entry *entry = find(&limits->rates, &key);
    struct rate_entry *rate =
        entry == NULL ? rate_create(limits, &key) : CONTAINER_OF(entry, struct rate_entry, entry);
    pthread_mutex_unlock(&limits->lock);
    return rate == NULL ? NULL : &rate->rate;
}

void limits_each(struct limits *limits, void (*each)(void *owner, struct limit *limit), void *owner)
{
    pthread_mutex_lock(&limits->lock);
    for (struct list_node *node = list_first(&limits->limit_list); node != NULL;
         node = list_next(&limits->limit_list, node)) {
        each(owner, CONTAINER_OF(node, struct limit, entry.node));
    }
    pthread_mutex_unlock(&limits->lock);
}

const char *limit_kind_word(enum limit_kind kind)
{
    switch (kind) {
#define X(name, word)                                                                              \
    case LIMIT_##name:                                                                             \
        return word;
        LIMIT_KINDS(X)
#undef X
    }
    return "?";
}

enum limit_kind limit_kind_of(const struct limit *limit)
{
    return limit->entry.kind;
}

struct bytes limit_name(const struct limit *limit)
{
    return limit->entry.name;
}

/* ---- bitmaps of workers ------------------------------------------------------------------------
 */

static uint64_t bit_of(uint32_t worker)
{
    assert(worker < LIMIT_WORKERS_MAX);
    return UINT64_C(1) << worker;
}

/* The first worker of the bitmap after `last`, around; bits is not 0. */
static uint32_t next_in_turn(uint64_t bits, uint32_t last)
{
    uint64_t after = last >= LIMIT_WORKERS_MAX - 1 ? 0 : bits & (UINT64_MAX << (last + 1));
    return (uint32_t)__builtin_ctzll(after != 0 ? after : bits);
}

/* Clears the next waiting bit in turn, leaving out `except`, and adds it to the wakes. */
static bool wake_next(struct limit *limit, uint64_t except, struct limit_wakes *wakes)
{
    uint64_t bits;
    while ((bits = atomic_load(&limit->waiting) & ~except) != 0) {
        uint32_t last = atomic_load_explicit(&limit->last_woken, memory_order_relaxed);
        uint32_t worker = next_in_turn(bits, last);
        if ((atomic_fetch_and(&limit->waiting, ~bit_of(worker)) & bit_of(worker)) != 0) {
            atomic_store_explicit(&limit->last_woken, worker, memory_order_relaxed);
            wakes->workers |= bit_of(worker);
            return true;
        }
        /* Somebody else cleared it between the two: look again. */
    }
    return false;
}

static bool has_room(const struct limit *limit)
{
    return atomic_load(&limit->used) < atomic_load(&limit->max);
}

/* Room was made: those that found too little of it have a reason to try again. */
static void forget_tried(struct limit *limit)
{
    if (atomic_load(&limit->tried) != 0) {
        atomic_store(&limit->tried, 0);
    }
}

/* ---- taking and releasing ----------------------------------------------------------------------
 */

void limit_set_max(struct limit *limit, uint64_t max, struct limit_wakes *wakes)
{
    uint64_t before = atomic_exchange(&limit->max, max);
    if (max <= before) {
        return;
    }
    forget_tried(limit);
    for (uint64_t more = max - before; more > 0 && has_room(limit); more--) {
        if (!wake_next(limit, 0, wakes)) {
            return;
        }
    }
}

uint64_t limit_max(const struct limit *limit)
{
    return atomic_load(&limit->max);
}

uint64_t limit_used(const struct limit *limit)
{
    return atomic_load(&limit->used);
}

bool limit_take(struct limit *limit, uint64_t n)
{
    uint64_t used = atomic_load(&limit->used);
    do {
        uint64_t max = atomic_load(&limit->max);
        if (n > max || used > max - n) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&limit->used, &used, used + n));
    return true;
}

bool limit_take_or_wait(struct limit *limit, uint64_t n, uint32_t worker)
{
    if (limit_take(limit, n)) {
        return true;
    }
    const uint64_t bit = bit_of(worker);
    uint64_t before = atomic_fetch_or(&limit->waiting, bit);
    atomic_fetch_or(&limit->tried, bit);
    if (!limit_take(limit, n)) {
        return false;
    }
    /* Others of this worker may have been waiting before: then the bit is theirs and stays, and
     * so does their right to be woken by what is still free. */
    if ((before & bit) == 0) {
        atomic_fetch_and(&limit->waiting, ~bit);
    }
    atomic_fetch_and(&limit->tried, ~bit);
    return true;
}

void limit_stop_waiting(struct limit *limit, uint32_t worker)
{
    atomic_fetch_and(&limit->waiting, ~bit_of(worker));
}

void limit_release(struct limit *limit, uint64_t n, struct limit_wakes *wakes)
{
    uint64_t before = atomic_fetch_sub(&limit->used, n);
    assert(before >= n);
    forget_tried(limit);
    if (has_room(limit)) {
        wake_next(limit, 0, wakes);
    }
}

void limit_pass_on(struct limit *limit, struct limit_wakes *wakes)
{
    if (has_room(limit)) {
        wake_next(limit, atomic_load(&limit->tried), wakes);
    }
}

/* ---- idle connections --------------------------------------------------------------------------
 */

void limit_set_idle(struct limit *limit, uint32_t worker, bool has_idle)
{
    const uint64_t bit = bit_of(worker);
    bool had_idle = (atomic_load(&limit->idle) & bit) != 0;
    if (has_idle && !had_idle) {
        atomic_fetch_or(&limit->idle, bit);
    } else if (!has_idle && had_idle) {
        atomic_fetch_and(&limit->idle, ~bit);
    }
}

uint32_t limit_idle_holder(struct limit *limit, uint32_t not_worker)
{
    uint64_t bits = atomic_load(&limit->idle) & ~bit_of(not_worker);
    if (bits == 0) {
        return LIMIT_NOBODY;
    }
    uint32_t last = atomic_load_explicit(&limit->last_idle, memory_order_relaxed);
    uint32_t worker = next_in_turn(bits, last);
    atomic_store_explicit(&limit->last_idle, worker, memory_order_relaxed);
    return worker;
}
