/* The idea: a site is in one place only (site.h), and moves when something happens to it: mail
 * arrives, a connection opens, rests or ends, a limit frees a place, a time passes. Events mark
 * the site; schedule_run looks at each marked one once and then opens connections, virtual MTAs in
 * turn and the sites of one in turn. The cost is per event, whatever the number of sites. */
#include "schedule.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attempt.h"
#include "base/logger.h"
#include "outcome.h"
#include "policy/config.h"
#include "policy/domain.h"
#include "prepare.h"
#include "queue.h"
#include "schedule_private.h"
#include "spool.h"

#define STALLED_WAIT_MS 5    /* outcomes wait to be written: soon over */
#define HELD_WAIT_MS    1000 /* the journal is full or a sink holds */
#define NO_ROOM_WAIT_MS 1000
#define GATE_RETRY_MS   1000
#define BLOCK_WAIT_MS   100 /* a block of starts is on its way to the disk */

static uint64_t now_ms(const struct scheduler *scheduler)
{
    return io_now_ms(scheduler->io);
}

/* ---- where a site waits ---- */

static void leave_place(struct site *site)
{
    struct scheduler *scheduler = site->scheduler;
    list_remove(&site->node);
    timer_stop(io_timers(scheduler->io), &site->timer);
    if (site->wait == SITE_READY && list_empty(&site->lane->ready)) {
        list_remove(&site->lane->ready_node);
    }
    if (site->wait == SITE_WAITING_GATE && list_empty(&site->waits_at->waiting)) {
        list_remove(&site->waits_at->node);
        limit_stop_waiting(site->waits_at->limit, scheduler->worker);
    }
    site->wait = SITE_QUIET;
}

static void make_ready(struct site *site)
{
    struct scheduler *scheduler = site->scheduler;
    leave_place(site);
    site->wait = SITE_READY;
    list_push_back(&site->lane->ready, &site->node);
    if (!list_linked(&site->lane->ready_node)) {
        list_push_back(&scheduler->lanes_ready, &site->lane->ready_node);
    }
}

static void settle_wake(struct site *site);

static void wait_until(struct site *site, uint64_t due_ms)
{
    leave_place(site);
    site->wait = SITE_WAITING_TIME;
    if (due_ms != UINT64_MAX) { /* else somebody wakes it: schedule_wake_site */
        timer_start(io_timers(site->scheduler->io), &site->timer, due_ms);
    }
    settle_wake(site); /* others need not wait so long */
}

static void wait_for_gate(struct site *site, struct gate *gate)
{
    bool keeps_turn = site->woken_by == gate;
    leave_place(site);
    site->wait = SITE_WAITING_GATE;
    site->waits_at = gate;
    if (keeps_turn) {
        /* Full again: whoever releases next wakes it again. It was the first and tried in vain,
         * as the one behind each that opens does; at the back it might never be served. */
        site->woken_by = NULL;
        list_push_front(&gate->waiting, &site->node);
    } else {
        list_push_back(&gate->waiting, &site->node);
    }
    struct scheduler *scheduler = site->scheduler;
    if (!list_linked(&gate->node)) {
        list_push_back(&scheduler->waiting_gates, &gate->node);
    }
    if (!timer_running(&scheduler->gate_timer)) {
        timer_start(io_timers(scheduler->io), &scheduler->gate_timer,
                    now_ms(scheduler) + GATE_RETRY_MS);
    }
    settle_wake(site); /* of another limit, where there may be room still */
}

static void on_site_timer(struct timer *timer)
{
    struct site *site = CONTAINER_OF(timer, struct site, timer);
    site->wait = SITE_QUIET;
    schedule_mark(site->scheduler, site);
}

void schedule_mark(struct scheduler *scheduler, struct site *site)
{
    if (!list_linked(&site->dirty_node)) {
        list_push_back(&scheduler->dirty, &site->dirty_node);
    }
}

/* ---- gates ---- */

static void gate_init(struct gate *gate, struct limit *limit)
{
    *gate = (struct gate){.limit = limit};
    list_init(&gate->waiting);
}

static void ring_wakes(struct scheduler *scheduler, struct gate *gate, uint64_t workers);

/* Room behind this gate, and nobody here who waits: the wake goes on to the next worker. */
static void pass_to_others(struct scheduler *scheduler, struct gate *gate)
{
    struct limit_wakes wakes = {0};
    limit_pass_on(gate->limit, &wakes);
    ring_wakes(scheduler, gate, wakes.workers & ~(UINT64_C(1) << scheduler->worker));
}

/* Room behind this gate: the site that has waited longest tries again, and when it has (or has
 * lost interest) it passes the wake on: see settle_wake. */
static void wake_gate(struct scheduler *scheduler, struct gate *gate)
{
    struct list_node *node = list_first(&gate->waiting);
    if (node == NULL) {
        pass_to_others(scheduler, gate);
        return;
    }
    struct site *site = CONTAINER_OF(node, struct site, node);
    make_ready(site);
    site->woken_by = gate;
    if (list_empty(&gate->waiting)) {
        list_remove(&gate->node);
    }
}

/* The wake this site was given is no longer needed by it: the next one who waits gets it. */
static void settle_wake(struct site *site)
{
    struct gate *gate = site->woken_by;
    site->woken_by = NULL;
    if (gate != NULL) {
        wake_gate(site->scheduler, gate);
    }
}

static void wake_all_gates(struct scheduler *scheduler)
{
    struct list_node *next;
    for (struct list_node *node = list_first(&scheduler->waiting_gates); node != NULL;
         node = next) {
        next = list_next(&scheduler->waiting_gates, node);
        wake_gate(scheduler, CONTAINER_OF(node, struct gate, node));
    }
}

static void on_bell_home(struct letter *letter)
{
    struct scheduler_bell *bell = CONTAINER_OF(letter, struct scheduler_bell, letter);
    bell->in_flight = false;
    if (bell->again) {
        bell->again = false;
        schedule_ring(bell->from, bell->to->worker);
    }
}

static void on_bell(struct letter *letter)
{
    struct scheduler_bell *bell = CONTAINER_OF(letter, struct scheduler_bell, letter);
    wake_all_gates(bell->to);
    letter->deliver = on_bell_home;
    mailbox_post(bell->to->mailboxes, bell->to->worker, bell->from->worker, MAILBOX_URGENT, letter);
}

void schedule_ring(struct scheduler *scheduler, uint32_t worker)
{
    struct scheduler_bell *bell = &scheduler->bells[worker];
    if (bell->in_flight) {
        bell->again = true;
        return;
    }
    bell->from = scheduler;
    bell->to = scheduler->others[worker];
    bell->in_flight = true;
    bell->letter.deliver = on_bell;
    mailbox_post(scheduler->mailboxes, scheduler->worker, worker, MAILBOX_URGENT, &bell->letter);
}

static void ring_wakes(struct scheduler *scheduler, struct gate *gate, uint64_t workers)
{
    if ((workers & (UINT64_C(1) << scheduler->worker)) != 0) {
        wake_gate(scheduler, gate);
    }
    for (uint32_t i = 0; i < scheduler->workers; i++) {
        if (i != scheduler->worker && (workers & (UINT64_C(1) << i)) != 0) {
            schedule_ring(scheduler, i);
        }
    }
}

/* A wake can be lost between workers in one case: it was under way to a site that had just given
 * up waiting. So whoever still waits tries again once a second. */
static void on_gate_timer(struct timer *timer)
{
    struct scheduler *scheduler = CONTAINER_OF(timer, struct scheduler, gate_timer);
    wake_all_gates(scheduler);
    if (!list_empty(&scheduler->waiting_gates)) {
        timer_start(io_timers(scheduler->io), timer, now_ms(scheduler) + GATE_RETRY_MS);
    }
}

static void release(struct scheduler *scheduler, struct gate *gate)
{
    struct limit_wakes wakes = {0};
    limit_release(gate->limit, 1, &wakes);
    ring_wakes(scheduler, gate, wakes.workers);
}

/* ---- opening connections ---- */

static bool wants_connection(const struct site *site)
{
    return !site->scheduler->draining && !list_empty(&site->sendable) &&
           site->attempt_count < site->settings->max_smtp_out &&
           site_sendable_count(site) > site->opening_count;
}

/* When its rates allow the next message; now if at once, UINT64_MAX when a block is written. */
static uint64_t rates_open_ms(struct site *site, uint64_t now)
{
    if (site->keeping != NULL) {
        schedule_reserve(site);
    }
    uint64_t due_ms = rate_next_ms(&site->message_rate, now);
    if (site->domain_rate != NULL) {
        uint64_t shared_ms = schedule_domain_next_ms(site);
        due_ms = shared_ms > due_ms ? shared_ms : due_ms;
    }
    return due_ms;
}

/* Time to wait before a connection may open, 0 if none: holds and rates, without taking any. */
static uint64_t opening_wait_until(struct site *site, uint64_t now)
{
    const struct scheduler *scheduler = site->scheduler;
    if (spool_attempts_held(scheduler->spool)) {
        return now + HELD_WAIT_MS;
    }
    uint64_t due_ms = rates_open_ms(site, now);
    uint64_t connect_ms = rate_next_ms(&site->connect_rate, now);
    due_ms = connect_ms > due_ms ? connect_ms : due_ms;
    due_ms = site->hold_opening_ms > due_ms ? site->hold_opening_ms : due_ms;
    return due_ms > now ? due_ms : 0;
}

static size_t gates_of(struct site *site, struct gate *domain_gate, struct gate *gates[3])
{
    size_t count = 0;
    gates[count++] = &site->lane->gate;
    gates[count++] = &site->scheduler->total;
    if (domain_gate != NULL) {
        gates[count++] = domain_gate;
    }
    return count;
}

static void release_gates(struct site *site, struct gate *domain_gate)
{
    struct gate *gates[3];
    size_t count = gates_of(site, domain_gate, gates);
    for (size_t i = 0; i < count; i++) {
        release(site->scheduler, gates[i]);
    }
}

/* All or none; where one is full the site waits there. */
static bool take_gates(struct site *site)
{
    struct gate *gates[3];
    size_t count = gates_of(site, site->domain_gate, gates);
    for (size_t i = 0; i < count; i++) {
        if (limit_take_or_wait(gates[i]->limit, 1, site->scheduler->worker)) {
            continue;
        }
        for (size_t taken = i; taken-- > 0;) {
            release(site->scheduler, gates[taken]);
        }
        wait_for_gate(site, gates[i]);
        return false;
    }
    return true;
}

static bool is_leaving(const struct attempt *attempt)
{
    return attempt->used_up || attempt->quitting || attempt->state == ATTEMPT_CLOSING;
}

static bool has_connection(const struct site *site, const struct queue *queue)
{
    for (struct list_node *node = list_first(&site->attempts); node != NULL;
         node = list_next(&site->attempts, node)) {
        const struct attempt *attempt = CONTAINER_OF(node, struct attempt, site_node);
        if (!is_leaving(attempt) && attempt_suits(attempt, queue)) {
            return true;
        }
    }
    return false;
}

/* Of the sendable queues that no connection is strict enough for; usually NULL. */
static struct queue *strictest_without_connection(const struct site *site)
{
    struct queue *strictest = NULL;
    for (struct list_node *node = list_first(&site->sendable); node != NULL;
         node = list_next(&site->sendable, node)) {
        struct queue *queue = CONTAINER_OF(node, struct queue, sendable_node);
        if (!has_connection(site, queue) &&
            (strictest == NULL || queue->tls_need > strictest->tls_need)) {
            strictest = queue;
        }
    }
    return strictest;
}

/* Whom the next connection is for: queues in turn, but first who has none; that of the strictest
 * serves all. */
static struct queue *queue_to_open_for(struct site *site)
{
    struct queue *queue = strictest_without_connection(site);
    if (queue == NULL) {
        queue = CONTAINER_OF(list_first(&site->sendable), struct queue, sendable_node);
    }
    list_remove(&queue->sendable_node);
    list_push_back(&site->sendable, &queue->sendable_node);
    return queue;
}

/* Opens one, or puts the site where it has to wait. */
static void try_open(struct site *site)
{
    struct scheduler *scheduler = site->scheduler;
    if (!wants_connection(site)) {
        leave_place(site); /* other connections have taken what there was */
        return;
    }
    uint64_t now = now_ms(scheduler);
    uint64_t due_ms = opening_wait_until(site, now);
    if (due_ms != 0) {
        wait_until(site, due_ms);
        return;
    }
    if (!take_gates(site)) {
        return;
    }
    struct attempt *attempt = attempt_open(scheduler->attempts, site, queue_to_open_for(site));
    if (attempt == NULL) {
        release_gates(site, site->domain_gate);
        wait_until(site, now + NO_ROOM_WAIT_MS);
        return;
    }
    rate_take(&site->connect_rate, now, 1);
    attempt->domain_gate = site->domain_gate;
    list_push_back(&site->attempts, &attempt->site_node);
    site->attempt_count++;
    scheduler->attempt_count++;
    site->opening_count++;
    scheduler->opened++;
    leave_place(site);
    if (wants_connection(site)) {
        make_ready(site);
    }
}

static void open_connection(struct site *site)
{
    try_open(site);
    settle_wake(site);
}

/* ---- looking at a site ---- */

static bool must_wait(struct site *site);

/* Each idle connection is asked once. Who takes nothing rests again; another may still suit. */
static void offer_to_idle(struct site *site)
{
    if (list_empty(&site->idle) || list_empty(&site->sendable) || must_wait(site)) {
        return;
    }
    struct list unasked;
    struct list_node *node;
    list_init(&unasked);
    list_splice_back(&unasked, &site->idle);
    while (!list_empty(&site->sendable) && (node = list_first(&unasked)) != NULL) {
        attempt_offer(CONTAINER_OF(node, struct attempt, idle_node)); /* takes it out */
    }
    list_splice_back(&site->idle, &unasked);
}

/* A site that came back with fresh rates within their window would exceed them: it stays so long,
 * empty; and then until nothing of it is left in the spool. */
static void keep_or_free(struct site *site)
{
    uint64_t now = now_ms(site->scheduler);
    uint64_t until_ms = rate_forgets_ms(&site->message_rate, now);
    uint64_t connects_ms = rate_forgets_ms(&site->connect_rate, now);
    until_ms = connects_ms > until_ms ? connects_ms : until_ms;
    if (until_ms <= now) {
        if (schedule_drop_kept(site)) {
            schedule_free_site(site);
        }
    } else if (site->wait != SITE_KEPT) {
        wait_until(site, until_ms);
        site->wait = SITE_KEPT;
    }
}

static void look_at(struct site *site)
{
    struct scheduler *scheduler = site->scheduler;
    site_refresh(site, now_ms(scheduler));
    if (site_rcpt_count(site) == 0 && list_empty(&site->attempts)) {
        keep_or_free(site);
        return;
    }
    if (site->wait == SITE_KEPT) {
        leave_place(site);
    }
    offer_to_idle(site); /* also while no further one may open */
    if (!wants_connection(site)) {
        if (site->wait != SITE_WAITING_TIME || list_empty(&site->sendable)) {
            leave_place(site);
            settle_wake(site);
        }
    } else if (site->wait == SITE_QUIET) {
        make_ready(site);
    }
}

bool schedule_run(struct scheduler *scheduler)
{
    struct list dirty;
    list_init(&dirty);
    list_splice_back(&dirty, &scheduler->dirty);
    struct list_node *node;
    while ((node = list_pop_front(&dirty)) != NULL) {
        look_at(CONTAINER_OF(node, struct site, dirty_node));
    }
    for (uint32_t opened = 0; opened < SCHEDULE_OPEN_MAX; opened++) {
        node = list_pop_front(&scheduler->lanes_ready);
        if (node == NULL) {
            break;
        }
        struct vmta_lane *lane = CONTAINER_OF(node, struct vmta_lane, ready_node);
        struct list_node *first = list_first(&lane->ready);
        assert(first != NULL);
        list_push_back(&scheduler->lanes_ready, node);
        open_connection(CONTAINER_OF(first, struct site, node));
    }
    return !list_empty(&scheduler->dirty) || !list_empty(&scheduler->lanes_ready);
}

/* ---- asked by attempts ---- */

/* Not now: the site is looked at again when its time has come. */
static bool must_wait(struct site *site)
{
    struct scheduler *scheduler = site->scheduler;
    uint64_t now = now_ms(scheduler);
    uint64_t due_ms = rates_open_ms(site, now);
    if (spool_outcomes_stalled(scheduler->spool, scheduler->worker)) {
        due_ms = now + STALLED_WAIT_MS;
    } else if (spool_attempts_held(scheduler->spool)) {
        due_ms = now + HELD_WAIT_MS;
    }
    if (due_ms <= now) {
        return false;
    }
    wait_until(site, due_ms);
    return true;
}

static struct queue *first_suiting(struct site *site, const struct attempt *attempt)
{
    for (struct list_node *node = list_first(&site->sendable); node != NULL;
         node = list_next(&site->sendable, node)) {
        struct queue *queue = CONTAINER_OF(node, struct queue, sendable_node);
        if (attempt_suits(attempt, queue)) {
            return queue;
        }
    }
    return NULL;
}

static uint32_t rcpts_per_transaction(const struct attempt *attempt)
{
    uint64_t max = attempt->site->settings->max_rcpt_per_message;
    uint32_t peer_max = attempt->client.peer.rcpt_max; /* LIMITS RCPTMAX (RFC 9422) */
    uint32_t count = max == 0 || max > SCHEDULE_RCPTS_MAX ? SCHEDULE_RCPTS_MAX : (uint32_t)max;
    return peer_max != 0 && peer_max < count ? peer_max : count;
}

/* With every place taken a queue that none of the connections is strict enough for would wait as
 * long as the others have mail: then this connection makes room, unless one does already. */
static bool stands_in_the_way(const struct site *site, const struct attempt *attempt)
{
    if (site->attempt_count < site->settings->max_smtp_out) {
        return false;
    }
    for (struct list_node *node = list_first(&site->attempts); node != NULL;
         node = list_next(&site->attempts, node)) {
        if (is_leaving(CONTAINER_OF(node, struct attempt, site_node))) {
            return false;
        }
    }
    const struct queue *queue = strictest_without_connection(site);
    return queue != NULL && !attempt_suits(attempt, queue);
}

struct transaction *schedule_next(struct scheduler *scheduler, struct attempt *attempt)
{
    struct site *site = attempt->site;
    uint64_t now = now_ms(scheduler);
    if (list_empty(&site->sendable)) {
        site_refresh(site, now); /* some may have been given back this very turn */
    }
    if (scheduler->draining || list_empty(&site->sendable) || must_wait(site)) {
        return NULL;
    }
    if (stands_in_the_way(site, attempt)) {
        attempt->used_up = true;
        return NULL;
    }
    struct queue *queue = first_suiting(site, attempt);
    if (queue == NULL || !queue_sendable(queue, now)) {
        return NULL;
    }
    uint32_t count = queue_take(queue, rcpts_per_transaction(attempt), scheduler->taken);
    list_remove(&queue->sendable_node);
    if (queue_sendable(queue, now)) {
        list_push_back(&site->sendable, &queue->sendable_node);
    }
    if (count == 0) { /* all were expired; what is left comes with the next turn */
        schedule_mark(scheduler, site);
        return NULL;
    }
    struct transaction *transaction = prepare_create(attempts_preparer(scheduler->attempts),
                                                     attempt, queue, scheduler->taken, count);
    if (transaction == NULL) {
        for (uint32_t i = count; i-- > 0;) {
            queue_give_back(queue, scheduler->taken[i], now);
        }
        return NULL;
    }
    transaction->taken_ms = now;
    return transaction;
}

uint32_t schedule_take_rate(struct scheduler *scheduler, struct site *site, uint32_t want,
                            uint64_t *again_ms)
{
    uint64_t now = now_ms(scheduler);
    /* The own rate first says how many it could grant, so that no start of the shared one is
     * taken in vain. */
    uint64_t free_here = rate_free(&site->message_rate, now);
    uint32_t granted = free_here < want ? (uint32_t)free_here : want;
    if (site->domain_rate != NULL && granted > 0) {
        granted = schedule_domain_take(site, granted);
    }
    if (granted > 0) {
        granted = rate_take(&site->message_rate, now, granted);
    }
    if (granted == 0) {
        uint64_t open_ms = rates_open_ms(site, now);
        *again_ms = open_ms == UINT64_MAX ? now + BLOCK_WAIT_MS : open_ms;
    } else if (site->keeping != NULL) {
        schedule_reserve(site); /* ahead of need */
    }
    return granted;
}

static void stop_opening(struct attempt *attempt)
{
    struct site *site = attempt->site;
    if (!attempt->counted_open) {
        attempt->counted_open = true;
        assert(site->opening_count > 0);
        site->opening_count--;
    }
}

void schedule_opened(struct scheduler *scheduler, struct attempt *attempt)
{
    stop_opening(attempt);
    schedule_mark(scheduler, attempt->site);
}

void schedule_idle(struct scheduler *scheduler, struct attempt *attempt)
{
    (void)scheduler;
    list_push_back(&attempt->site->idle, &attempt->idle_node);
}

void schedule_closed(struct scheduler *scheduler, struct attempt *attempt)
{
    struct site *site = attempt->site;
    stop_opening(attempt);
    list_remove(&attempt->idle_node);
    list_remove(&attempt->site_node);
    assert(site->attempt_count > 0);
    site->attempt_count--;
    scheduler->attempt_count--;
    release_gates(site, attempt->domain_gate);
    schedule_mark(scheduler, site);
}

/* ---- life ---- */

struct scheduler *scheduler_create(const struct scheduler_options *options)
{
    struct scheduler *scheduler = calloc(1, sizeof *scheduler);
    if (scheduler == NULL) {
        return NULL;
    }
    scheduler->io = options->io;
    scheduler->spool = options->spool;
    scheduler->limits = options->limits;
    scheduler->mailboxes = options->mailboxes;
    scheduler->config = options->config;
    scheduler->worker = options->worker;
    scheduler->workers = options->workers;
    scheduler->host_name = options->host_name;
    scheduler->others = options->others;
    scheduler->site_emptied = options->site_emptied;
    scheduler->owner = options->owner;
    map_init(&scheduler->sites, SCHEDULE_SITES_MAX);
    map_init(&scheduler->lanes, SCHEDULE_VMTAS_MAX);
    map_init(&scheduler->gates, SCHEDULE_SITES_MAX);
    pauses_init(&scheduler->pauses);
    scheduler->domain_rates = options->domain_rates;
    timer_init(&scheduler->gate_timer, on_gate_timer);
    schedule_keeping_init(scheduler);
    list_init(&scheduler->all_sites);
    list_init(&scheduler->all_lanes);
    list_init(&scheduler->lanes_ready);
    list_init(&scheduler->dirty);
    list_init(&scheduler->waiting_gates);
    gate_init(&scheduler->total, limits_entry(scheduler->limits, LIMIT_TOTAL, BYTES("smtp-out")));
    return scheduler;
}

void scheduler_attach(struct scheduler *scheduler, struct attempts *attempts,
                      struct outcomes *outcomes)
{
    scheduler->attempts = attempts;
    scheduler->outcomes = outcomes;
}

void schedule_site_init(struct site *site)
{
    timer_init(&site->timer, on_site_timer);
    list_init(&site->queues);
    list_init(&site->sendable);
    list_init(&site->attempts);
    list_init(&site->idle);
}

void schedule_wake_site(struct site *site)
{
    if (site->wait == SITE_WAITING_TIME) {
        leave_place(site);
    }
    schedule_mark(site->scheduler, site);
}

void schedule_wake_all(struct scheduler *scheduler)
{
    wake_all_gates(scheduler);
}

void schedule_gate_init(struct gate *gate, struct limit *limit)
{
    gate_init(gate, limit);
}

void schedule_leave_place(struct site *site)
{
    leave_place(site);
    settle_wake(site);
}
