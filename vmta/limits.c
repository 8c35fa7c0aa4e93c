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

#define CACHE_LINE 64

struct limit {
    /* Hot, in a line of its own. */
    _Alignas(CACHE_LINE) _Atomic uint64_t used;
    _Atomic uint64_t max;
    _Atomic uint64_t waiting, tried, idle; /* bitmaps of workers */
    _Atomic uint32_t last_woken, last_idle, promised;
    _Atomic uint8_t priority[LIMIT_WORKERS_MAX]; /* of who waits */
    /* Cold: what the table finds it by. */
    _Alignas(CACHE_LINE) struct map_entry entry;
    struct list_node node;
    enum limit_kind kind;
    uint32_t joined;   /* limits_join, less limits_leave */
    struct bytes name; /* owned */
};

struct limits {
    pthread_mutex_t lock;
    struct map map;
    struct list all; /* in order of creation */
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
    map_init(&limits->map, max_entries);
    list_init(&limits->all);
    return limits;
}

static void limit_free(struct limit *limit)
{
    free((char *)(uintptr_t)limit->name.data);
    free(limit);
}

void limits_destroy(struct limits *limits)
{
    if (limits == NULL) {
        return;
    }
    struct list_node *node;
    while ((node = list_pop_front(&limits->all)) != NULL) {
        limit_free(CONTAINER_OF(node, struct limit, node));
    }
    map_deinit(&limits->map);
    pthread_mutex_destroy(&limits->lock);
    free(limits);
}

static bool has_key(const struct map_entry *entry, const void *wanted)
{
    const struct limit *limit = CONTAINER_OF(entry, struct limit, entry);
    const struct key *key = wanted;
    return limit->kind == key->kind && bytes_equal_nocase(limit->name, key->name);
}

static uint64_t hash_of(const struct key *key)
{
    return bytes_hash_nocase(key->name) + key->kind;
}

static struct limit *limit_create(struct limits *limits, const struct key *key)
{
    struct limit *limit = aligned_alloc(CACHE_LINE, sizeof(*limit));
    char *name = bytes_to_string(key->name);
    if (limit == NULL || name == NULL) {
        goto fail;
    }
    *limit =
        (struct limit){.max = UINT64_MAX, .kind = key->kind, .name = bytes_of(name, key->name.len)};
    if (!map_insert(&limits->map, hash_of(key), &limit->entry)) {
        goto fail;
    }
    list_push_back(&limits->all, &limit->node);
    return limit;
fail:
    free(name);
    free(limit);
    return NULL;
}

static struct limit *find_or_create(struct limits *limits, const struct key *key)
{
    struct map_entry *entry = map_find(&limits->map, hash_of(key), has_key, key);
    return entry == NULL ? limit_create(limits, key) : CONTAINER_OF(entry, struct limit, entry);
}

struct limit *limits_entry(struct limits *limits, enum limit_kind kind, struct bytes name)
{
    const struct key key = {kind, name};
    pthread_mutex_lock(&limits->lock);
    struct limit *limit = find_or_create(limits, &key);
    pthread_mutex_unlock(&limits->lock);
    return limit;
}

struct limit *limits_join(struct limits *limits, enum limit_kind kind, struct bytes name)
{
    const struct key key = {kind, name};
    pthread_mutex_lock(&limits->lock);
    struct limit *limit = find_or_create(limits, &key);
    if (limit != NULL) {
        limit->joined++;
    }
    pthread_mutex_unlock(&limits->lock);
    return limit;
}

void limits_leave(struct limits *limits, struct limit *limit)
{
    pthread_mutex_lock(&limits->lock);
    assert(limit->joined > 0);
    bool gone = --limit->joined == 0;
    if (gone) {
        assert(atomic_load(&limit->used) == 0);
        map_remove(&limits->map, &limit->entry);
        list_remove(&limit->node);
    }
    pthread_mutex_unlock(&limits->lock);
    if (gone) {
        limit_free(limit);
    }
}

void limits_each(struct limits *limits, void (*each)(void *owner, struct limit *limit), void *owner)
{
    pthread_mutex_lock(&limits->lock);
    for (struct list_node *node = list_first(&limits->all); node != NULL;
         node = list_next(&limits->all, node)) {
        each(owner, CONTAINER_OF(node, struct limit, node));
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
    return limit->kind;
}

struct bytes limit_name(const struct limit *limit)
{
    return limit->name;
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

static uint8_t priority_of(const struct limit *limit, uint32_t worker)
{
    return atomic_load_explicit(&limit->priority[worker], memory_order_relaxed);
}

/* Of these workers those of the highest priority. */
static uint64_t most_urgent(const struct limit *limit, uint64_t bits)
{
    uint8_t highest = 0;
    uint64_t urgent = 0;
    for (; bits != 0; bits &= bits - 1) {
        uint32_t worker = (uint32_t)__builtin_ctzll(bits);
        uint8_t priority = priority_of(limit, worker);
        if (priority > highest) {
            highest = priority;
            urgent = 0;
        }
        urgent |= priority == highest ? bit_of(worker) : 0;
    }
    return urgent;
}

/* Clears the next waiting bit in turn, leaving out `except`, and adds it to the wakes. */
static bool wake_next(struct limit *limit, uint64_t except, struct limit_wakes *wakes)
{
    uint64_t bits;
    while ((bits = atomic_load(&limit->waiting) & ~except) != 0) {
        uint32_t last = atomic_load_explicit(&limit->last_woken, memory_order_relaxed);
        uint32_t worker = next_in_turn(most_urgent(limit, bits), last);
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

void limit_wait(struct limit *limit, uint32_t worker)
{
    atomic_fetch_or(&limit->waiting, bit_of(worker));
}

void limit_set_priority(struct limit *limit, uint32_t worker, uint8_t priority)
{
    atomic_store_explicit(&limit->priority[worker], priority, memory_order_relaxed);
}

uint64_t limit_waiting_above(const struct limit *limit, uint8_t priority)
{
    uint64_t above = 0;
    for (uint64_t bits = atomic_load(&limit->waiting); bits != 0; bits &= bits - 1) {
        uint32_t worker = (uint32_t)__builtin_ctzll(bits);
        above |= priority_of(limit, worker) > priority ? bit_of(worker) : 0;
    }
    return above;
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

uint64_t limit_waiting(const struct limit *limit)
{
    return atomic_load(&limit->waiting);
}

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

/* Places that have to come free so that all who are wanted get in. What is free now is on its way
 * to somebody who has been woken and whose bit is cleared: it helps none of these. */
static uint64_t lacking(const struct limit *limit, uint64_t wanted)
{
    uint64_t used = atomic_load(&limit->used), max = atomic_load(&limit->max);
    bool is_above = wanted > 0 && used > max; /* max was lowered */
    return wanted + (is_above ? used - max : 0);
}

bool limit_is_short(const struct limit *limit, uint64_t wanted)
{
    uint64_t count = lacking(limit, wanted);
    return count > atomic_load(&limit->promised);
}

bool limit_promise(struct limit *limit, uint64_t wanted)
{
    for (;;) {
        uint64_t count = lacking(limit, wanted);
        uint32_t promised = atomic_load(&limit->promised);
        if (count <= promised) {
            return false;
        }
        if (atomic_compare_exchange_strong(&limit->promised, &promised, promised + 1)) {
            return true;
        }
    }
}

void limit_promise_also(struct limit *limit)
{
    atomic_fetch_add(&limit->promised, 1);
}

void limit_keep_promise(struct limit *limit)
{
    uint32_t before = atomic_fetch_sub(&limit->promised, 1);
    assert(before > 0);
}
