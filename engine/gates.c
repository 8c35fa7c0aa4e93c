#include "gates.h"

#include <stdlib.h>

#include "io/io.h"
#include "site.h"

#define GATE_RETRY_MS 1000

/* ---- gates ---- */

static bool same_gate(const struct map_entry *entry, const void *limit)
{
    return CONTAINER_OF(entry, struct gate, entry)->limit == limit;
}

struct gate *gates_obtain(struct gates *gates, struct limit *limit)
{
    uint64_t hash = bytes_hash_nocase(limit_name(limit)) + limit_kind_of(limit);
    struct map_entry *entry = map_find(&gates->by_limit, hash, same_gate, limit);
    if (entry != NULL) {
        return CONTAINER_OF(entry, struct gate, entry);
    }
    struct gate *gate = calloc(1, sizeof *gate);
    if (gate == NULL || !map_insert(&gates->by_limit, hash, &gate->entry)) {
        free(gate);
        return NULL;
    }
    gate->limit = limit;
    list_init(&gate->waiting);
    return gate;
}

/* ---- waking ---- */

static void tell(struct gates *gates, struct gate *gate, uint64_t workers);

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
}

void gates_settle(struct gates *gates, struct site *site)
{
    struct gate *gate = site->woken_by;
    site->woken_by = NULL;
    if (gate != NULL) {
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
    if ((workers & (UINT64_C(1) << gates->worker)) != 0) {
        wake(gates, gate);
    }
    gates_ring(gates, workers);
}

/* ---- waiting ---- */

void gates_wait(struct gates *gates, struct gate *gate, struct site *site)
{
    site->waits_at = gate;
    if (site->woken_by == gate) {
        /* Full again: whoever releases next wakes it again. It was the first and tried in vain,
         * as the one behind each that opens does; at the back it might never be served. */
        site->woken_by = NULL;
        list_push_front(&gate->waiting, &site->node);
    } else {
        list_push_back(&gate->waiting, &site->node);
    }
    if (!list_linked(&gate->node)) {
        list_push_back(&gates->waiting, &gate->node);
    }
    if (!timer_running(&gates->timer)) {
        timer_start(io_timers(gates->io), &gates->timer, io_now_ms(gates->io) + GATE_RETRY_MS);
    }
    gates_settle(gates, site); /* of another limit, where there may be room still */
}

void gates_leave(struct gates *gates, const struct site *site)
{
    struct gate *gate = site->waits_at;
    if (list_empty(&gate->waiting)) {
        list_remove(&gate->node);
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

void gates_release(struct gates *gates, struct gate *gate)
{
    struct limit_wakes wakes = {0};
    limit_release(gate->limit, 1, &wakes);
    tell(gates, gate, wakes.workers);
}

bool gates_take(struct gates *gates, struct gate *const *wanted, size_t count, struct gate **full)
{
    for (size_t i = 0; i < count; i++) {
        if (limit_take_or_wait(wanted[i]->limit, 1, gates->worker)) {
            continue;
        }
        for (size_t taken = i; taken-- > 0;) {
            gates_release(gates, wanted[taken]);
        }
        *full = wanted[i];
        return false;
    }
    return true;
}

/* ---- life ---- */

void gates_init(struct gates *gates, size_t gates_max)
{
    map_init(&gates->by_limit, gates_max);
    list_init(&gates->waiting);
    timer_init(&gates->timer, on_timer);
}

void gates_deinit(struct gates *gates)
{
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_walk(&gates->by_limit, &cursor)) != NULL) {
        free(CONTAINER_OF(entry, struct gate, entry));
    }
    map_deinit(&gates->by_limit);
}
