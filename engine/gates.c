/* Who waits, asks: connections that rest behind the full limit close, longest idle first, own ones
 * at once, those of another worker by a plea, a letter. Whoever closes one promises its place
 * first, and nobody closes more than there are waiters without a promise: own ones are counted,
 * another worker's waiting bit counts as one, or as many as its plea says. A connection that comes
 * to rest looks by itself. What was undercounted asks again: every wake that ends in vain does,
 * and every plea that comes home.
 *
 * A plea finds a worker by its idle bit in the limit. The bit is set when a connection rests and
 * taken back only by a plea that finds none, so connections that rest and work in turn cost a few
 * pointers. One plea per gate is under way; it visits those with the bit one by one, and each
 * either promises what is wanted or loses the bit: so they end. */
#include "gates.h"

#include <assert.h>
#include <stdlib.h>

#include "io/io.h"
#include "site.h"

#define GATE_RETRY_MS 1000
#define ABOVE_MAX     64 /* of those who wait with a higher priority are counted at once */

/* ---- gates ---- */

static uint64_t bit_of(const struct gates *gates)
{
    return UINT64_C(1) << gates->worker;
}

static bool same_gate(const struct map_entry *entry, const void *limit)
{
    return CONTAINER_OF(entry, struct gate, entry)->limit == limit;
}

static uint64_t hash_of(const struct limit *limit)
{
    return bytes_hash_nocase(limit_name(limit)) + limit_kind_of(limit);
}

static struct gate *find(const struct gates *gates, const struct limit *limit)
{
    struct map_entry *entry = map_find(&gates->by_limit, hash_of(limit), same_gate, limit);
    return entry == NULL ? NULL : CONTAINER_OF(entry, struct gate, entry);
}

struct gate *gates_obtain(struct gates *gates, struct limit *limit, enum gate_slot slot)
{
    struct gate *gate = find(gates, limit);
    if (gate != NULL) {
        assert(gate->slot == slot);
        return gate;
    }
    gate = calloc(1, sizeof *gate);
    if (gate == NULL || !map_insert(&gates->by_limit, hash_of(limit), &gate->entry)) {
        free(gate);
        return NULL;
    }
    gate->limit = limit;
    gate->slot = slot;
    list_init(&gate->waiting);
    list_init(&gate->idle);
    return gate;
}

/* ---- gates that come and go ---- */

static void tell(struct gates *gates, struct gate *gate, uint64_t workers);

static bool is_used(const struct gates *gates, const struct gate *gate)
{
    return gate == gates->joined_last || gate->held_count > 0 || gate->woken_count > 0 ||
           gate->waiting_count > 0 || gate->plea.in_flight;
}

/* Wherever one more has no use for it. It stays for now: its callers may have its pointer. */
static void note_use(struct gates *gates, struct gate *gate)
{
    if (gate->passing && !is_used(gates, gate) && !list_linked(&gate->unused_node)) {
        list_push_back(&gates->unused, &gate->unused_node);
    }
}

static void drop(struct gates *gates, struct gate *gate)
{
    struct limit *limit = gate->limit;
    limit_stop_waiting(limit, gates->worker);
    limit_set_idle(limit, gates->worker, false);
    map_remove(&gates->by_limit, &gate->entry);
    free(gate);
    limits_leave(gates->limits, limit);
    gates->passing_count--;
}

/* Room for one more. False: all are in use. */
static bool make_room(struct gates *gates)
{
    struct list_node *node;
    while (gates->passing_count >= GATES_PASSING_MAX &&
           (node = list_pop_front(&gates->unused)) != NULL) {
        struct gate *gate = CONTAINER_OF(node, struct gate, unused_node);
        if (!is_used(gates, gate)) {
            drop(gates, gate);
        } /* else it is noted again when it is not */
    }
    return gates->passing_count < GATES_PASSING_MAX;
}

/* Each gate has joined its limit once. */
static struct gate *join(struct gates *gates, struct limit *limit, enum gate_slot slot)
{
    struct gate *gate = find(gates, limit);
    if (gate != NULL) {
        limits_leave(gates->limits, limit);
        return gate;
    }
    gate = make_room(gates) ? gates_obtain(gates, limit, slot) : NULL;
    if (gate == NULL) {
        limits_leave(gates->limits, limit);
        return NULL;
    }
    gate->passing = true;
    gates->passing_count++;
    return gate;
}

struct gate *gates_join(struct gates *gates, const struct gate_passing *of)
{
    struct limit *limit = limits_join(gates->limits, of->kind, of->name);
    struct gate *gate = limit == NULL ? NULL : join(gates, limit, of->slot);
    if (gate == NULL) {
        return NULL;
    }
    if (limit_max(limit) != of->max) {
        struct limit_wakes wakes = {0};
        limit_set_max(limit, of->max, &wakes);
        tell(gates, gate, wakes.workers);
    }
    struct gate *before = gates->joined_last;
    gates->joined_last = gate;
    if (before != NULL) {
        note_use(gates, before);
    }
    return gate;
}

/* ---- waking ---- */

/* Room behind this gate, and nobody here who waits: the wake goes on to the next worker. */
static void pass_to_others(struct gates *gates, struct gate *gate)
{
    struct limit_wakes wakes = {0};
    limit_pass_on(gate->limit, &wakes);
    gates_ring(gates, wakes.workers);
}

/* Room behind this gate: the site that has waited longest tries again, and when it has (or has
 * lost interest) it passes the wake on: see gates_settle. */
static void wake(struct gates *gates, struct gate *gate)
{
    struct list_node *node = list_first(&gate->waiting);
    if (node == NULL) {
        pass_to_others(gates, gate);
        return;
    }
    struct site *site = CONTAINER_OF(node, struct site, node);
    gates->woken(site);
    site->woken_by = gate;
    gate->woken_count++;
}

/* It has been woken by this gate no more. */
static void end_wake(struct gates *gates, struct gate *gate, struct site *site)
{
    assert(gate->woken_count > 0);
    site->woken_by = NULL;
    gate->woken_count--;
    note_use(gates, gate);
}

void gates_settle(struct gates *gates, struct site *site)
{
    struct gate *gate = site->woken_by;
    if (gate != NULL) {
        end_wake(gates, gate, site);
        wake(gates, gate);
    }
}

void gates_wake_all(struct gates *gates)
{
    struct list_node *next;
    for (struct list_node *node = list_first(&gates->waiting); node != NULL; node = next) {
        next = list_next(&gates->waiting, node);
        wake(gates, CONTAINER_OF(node, struct gate, node));
    }
}

/* ---- between workers ---- */

static void ring(struct gates *gates, uint32_t worker);

static void on_bell_home(struct letter *letter)
{
    struct gates_bell *bell = CONTAINER_OF(letter, struct gates_bell, letter);
    bell->in_flight = false;
    if (bell->again) {
        bell->again = false;
        ring(bell->from, bell->to->worker);
    }
}

static void on_bell(struct letter *letter)
{
    struct gates_bell *bell = CONTAINER_OF(letter, struct gates_bell, letter);
    gates_wake_all(bell->to);
    letter->deliver = on_bell_home;
    mailbox_post(bell->to->mailboxes, bell->to->worker, bell->from->worker, MAILBOX_URGENT, letter);
}

static void ring(struct gates *gates, uint32_t worker)
{
    struct gates_bell *bell = &gates->bells[worker];
    if (bell->in_flight) {
        bell->again = true;
        return;
    }
    bell->from = gates;
    bell->to = gates->of_worker(gates, worker);
    bell->in_flight = true;
    bell->letter.deliver = on_bell;
    mailbox_post(gates->mailboxes, gates->worker, worker, MAILBOX_URGENT, &bell->letter);
}

void gates_ring(struct gates *gates, uint64_t workers)
{
    for (uint32_t i = 0; i < gates->workers; i++) {
        if (i != gates->worker && (workers & (UINT64_C(1) << i)) != 0) {
            ring(gates, i);
        }
    }
}

static void tell(struct gates *gates, struct gate *gate, uint64_t workers)
{
    if ((workers & bit_of(gates)) != 0) {
        wake(gates, gate);
    }
    gates_ring(gates, workers);
}

/* ---- giving way ---- */

/* Places that are wanted behind this gate, as far as this worker can tell. */
static uint64_t wanted(const struct gates *gates, const struct gate *gate)
{
    uint64_t others = limit_waiting(gate->limit) & ~bit_of(gates);
    return gate->waiting_count + (uint64_t)__builtin_popcountll(others);
}

/* The place behind this gate has been promised; so all its places are. */
static void promise_others(struct gate_places *places, const struct gate *promised)
{
    places->promised = true;
    for (int slot = 0; slot < GATE_SLOTS; slot++) {
        const struct gate *gate = places->gates[slot];
        if (gate != NULL && gate != promised) {
            limit_promise_also(gate->limit);
        }
    }
}

/* Connections of ours that rest here close, as many as are short of this count. */
static void make_way(struct gates *gates, struct gate *gate, uint64_t count)
{
    struct list_node *node;
    while ((node = list_first(&gate->idle)) != NULL && limit_promise(gate->limit, count)) {
        struct list_node *nodes = node - gate->slot;
        struct gate_places *places = CONTAINER_OF(nodes, struct gate_places, idle_nodes);
        promise_others(places, gate);
        gates->give_way(places);
        assert(!list_linked(node));
    }
}

static void on_plea(struct letter *letter);

/* Sites of ours wait here: whoever rests makes way, here and then on other workers. */
static void ask(struct gates *gates, struct gate *gate)
{
    assert(gate->waiting_count > 0);
    if (!list_empty(&gate->idle)) {
        make_way(gates, gate, wanted(gates, gate));
    }
    uint32_t holder = limit_idle_holder(gate->limit, gates->worker);
    if (holder == LIMIT_NOBODY || gate->plea.in_flight ||
        !limit_is_short(gate->limit, wanted(gates, gate))) {
        return;
    }
    gate->plea = (struct gate_plea){
        .letter = {.deliver = on_plea},
        .from = gates,
        .to = gates->of_worker(gates, holder),
        .waiting_count = gate->waiting_count,
        .in_flight = true,
    };
    mailbox_post(gates->mailboxes, gates->worker, holder, MAILBOX_URGENT, &gate->plea.letter);
}

static void on_plea_home(struct letter *letter)
{
    struct gate *gate = CONTAINER_OF(letter, struct gate, plea.letter);
    gate->plea.in_flight = false;
    if (gate->waiting_count > 0) {
        ask(gate->plea.from, gate);
    }
    note_use(gate->plea.from, gate);
}

/* On the worker that is asked. Late, it meets nobody who waits and does nothing. */
static void on_plea(struct letter *letter)
{
    const struct gate *asking = CONTAINER_OF(letter, struct gate, plea.letter);
    const struct gate_plea *plea = &asking->plea;
    struct gates *gates = plea->to;
    struct limit *limit = asking->limit;
    struct gate *gate = find(gates, limit);
    if (gate != NULL) {
        bool still_waits = (limit_waiting(limit) & bit_of(plea->from)) != 0;
        uint64_t more = still_waits ? plea->waiting_count - 1 : 0; /* one is counted by its bit */
        make_way(gates, gate, wanted(gates, gate) + more);
    }
    if (gate == NULL || list_empty(&gate->idle)) {
        limit_set_idle(limit, gates->worker, false);
    }
    letter->deliver = on_plea_home;
    mailbox_post(gates->mailboxes, gates->worker, plea->from->worker, MAILBOX_URGENT, letter);
}

bool gates_idle(struct gates *gates, struct gate_places *places)
{
    if (places->promised) {
        return false; /* since it worked: gates_must_yield */
    }
    for (int slot = 0; slot < GATE_SLOTS; slot++) {
        struct gate *gate = places->gates[slot];
        if (gate == NULL) {
            continue;
        }
        limit_set_idle(gate->limit, gates->worker, true); /* and only then who waits */
        if (limit_promise(gate->limit, wanted(gates, gate))) {
            promise_others(places, gate);
            return false;
        }
    }
    for (int slot = 0; slot < GATE_SLOTS; slot++) {
        if (places->gates[slot] != NULL) {
            list_push_back(&places->gates[slot]->idle, &places->idle_nodes[slot]);
        }
    }
    return true;
}

void gates_busy(struct gate_places *places)
{
    for (int slot = 0; slot < GATE_SLOTS; slot++) {
        list_remove(&places->idle_nodes[slot]);
    }
}

/* ---- priorities ---- */

static uint8_t highest_waiting(const struct gate *gate)
{
    const struct list_node *first = list_first(&gate->waiting);
    return first == NULL ? 0 : site_priority(CONTAINER_OF(first, struct site, node));
}

/* One of a higher priority waits there, here or on another worker. */
static bool is_outranked(const struct gates *gates, const struct gate *gate, uint8_t priority)
{
    uint64_t above = limit_waiting_above(gate->limit, priority) & ~bit_of(gates);
    return above != 0 || highest_waiting(gate) > priority;
}

/* How many, as far as this worker can tell; not more than there are places to wait for. */
static uint64_t wanted_above(const struct gates *gates, const struct gate *gate, uint8_t priority)
{
    uint64_t above = limit_waiting_above(gate->limit, priority) & ~bit_of(gates);
    uint64_t count = (uint64_t)__builtin_popcountll(above);
    for (const struct list_node *node = list_first(&gate->waiting);
         node != NULL && count < ABOVE_MAX &&
         site_priority(CONTAINER_OF(node, struct site, node)) > priority;
         node = list_next(&gate->waiting, node)) {
        count++;
    }
    return count;
}

bool gates_must_yield(struct gates *gates, struct gate_places *places, uint8_t priority)
{
    for (int slot = 0; slot < GATE_SLOTS && !places->promised; slot++) {
        struct gate *gate = places->gates[slot];
        if (gate == NULL || limit_waiting(gate->limit) == 0) {
            continue;
        }
        uint64_t wanted = wanted_above(gates, gate, priority);
        if (wanted > 0 && limit_promise(gate->limit, wanted)) {
            promise_others(places, gate);
        }
    }
    return places->promised;
}

/* ---- waiting ---- */

void gates_wait(struct gates *gates, struct gate *gate, struct site *site)
{
    site->waits_at = gate;
    if (site->woken_by == gate) {
        /* Full again: whoever releases next wakes it again. It was the first and tried in vain,
         * as the one behind each that opens does; at the back it might never be served. */
        end_wake(gates, gate, site);
        site_insert(&gate->waiting, site, true);
    } else {
        site_insert(&gate->waiting, site, false);
    }
    limit_set_priority(gate->limit, gates->worker, highest_waiting(gate));
    gate->waiting_count++;
    if (!list_linked(&gate->node)) {
        list_push_back(&gates->waiting, &gate->node);
    }
    if (!timer_running(&gates->timer)) {
        timer_start(io_timers(gates->io), &gates->timer, io_now_ms(gates->io) + GATE_RETRY_MS);
    }
    gates_settle(gates, site); /* of another limit, where there may be room still */
    ask(gates, gate);
}

void gates_leave(struct gates *gates, const struct site *site)
{
    struct gate *gate = site->waits_at;
    assert(gate->waiting_count > 0);
    gate->waiting_count--;
    if (list_empty(&gate->waiting)) {
        list_remove(&gate->node);
        limit_stop_waiting(gate->limit, gates->worker);
        note_use(gates, gate);
    } else {
        limit_set_priority(gate->limit, gates->worker, highest_waiting(gate));
    }
}

void gates_turn_away(struct gates *gates, struct gate *gate, struct site *site)
{
    if (site->woken_by == gate) {
        end_wake(gates, gate, site); /* full: whoever releases next wakes the next one */
    }
    if (gate->waiting_count == 0) {
        limit_stop_waiting(gate->limit, gates->worker);
    }
}

/* A wake can be lost between workers in one case: it was under way to a site that had just given
 * up waiting. So whoever still waits tries again once a second. */
static void on_timer(struct timer *timer)
{
    struct gates *gates = CONTAINER_OF(timer, struct gates, timer);
    gates_wake_all(gates);
    if (!list_empty(&gates->waiting)) {
        timer_start(io_timers(gates->io), timer, io_now_ms(gates->io) + GATE_RETRY_MS);
    }
}

/* ---- taking and giving back ---- */

static void release(struct gates *gates, struct gate *gate)
{
    struct limit_wakes wakes = {0};
    assert(gate->held_count > 0);
    gate->held_count--;
    limit_release(gate->limit, 1, &wakes);
    tell(gates, gate, wakes.workers);
    note_use(gates, gate);
}

void gates_release(struct gates *gates, struct gate_places *places)
{
    gates_busy(places);
    for (int slot = 0; slot < GATE_SLOTS; slot++) {
        struct gate *gate = places->gates[slot];
        if (gate != NULL && places->promised) {
            limit_keep_promise(gate->limit);
        }
        if (gate != NULL) {
            release(gates, gate);
        }
    }
    *places = (struct gate_places){0};
}

static bool may_take(const struct gates *gates, const struct gate *gate, uint8_t priority)
{
    return limit_waiting(gate->limit) == 0 || !is_outranked(gates, gate, priority);
}

/* False: the worker is on the list of those to be woken. */
static bool take_or_wait(struct gates *gates, struct gate *gate, uint8_t priority)
{
    bool may = may_take(gates, gate, priority);
    if (may && limit_take(gate->limit, 1)) {
        return true;
    }
    uint8_t highest = highest_waiting(gate);
    limit_set_priority(gate->limit, gates->worker, highest > priority ? highest : priority);
    if (may) {
        return limit_take_or_wait(gate->limit, 1, gates->worker);
    }
    limit_wait(gate->limit, gates->worker);
    return false;
}

static bool take_one(struct gates *gates, struct gate *gate, uint8_t priority, bool may_wait)
{
    bool taken = may_wait ? take_or_wait(gates, gate, priority) : limit_take(gate->limit, 1);
    gate->held_count += taken;
    return taken;
}

static struct gate *take(struct gates *gates, const struct gate_places *places, bool may_wait)
{
    for (int slot = 0; slot < GATE_SLOTS; slot++) {
        struct gate *gate = places->gates[slot];
        if (gate == NULL || take_one(gates, gate, places->priority, may_wait)) {
            continue;
        }
        while (slot-- > 0) {
            if (places->gates[slot] != NULL) {
                release(gates, places->gates[slot]);
            }
        }
        return gate;
    }
    return NULL;
}

struct gate *gates_take(struct gates *gates, const struct gate_places *places)
{
    return take(gates, places, true);
}

bool gates_try(struct gates *gates, const struct gate_places *places)
{
    return take(gates, places, false) == NULL;
}

/* ---- life ---- */

void gates_init(struct gates *gates, size_t gates_max)
{
    map_init(&gates->by_limit, gates_max);
    list_init(&gates->waiting);
    list_init(&gates->unused);
    timer_init(&gates->timer, on_timer);
}

void gates_deinit(struct gates *gates)
{
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_walk(&gates->by_limit, &cursor)) != NULL) {
        struct gate *gate = CONTAINER_OF(entry, struct gate, entry);
        if (gate->passing) {
            limits_leave(gates->limits, gate->limit);
        }
        free(gate);
    }
    map_deinit(&gates->by_limit);
}
