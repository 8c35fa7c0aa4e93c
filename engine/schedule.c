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
#include "gates.h"
#include "host_places.h"
#include "local_delivery.h"
#include "outcome.h"
#include "policy/config.h"
#include "policy/domain.h"
#include "prepare.h"
#include "queue.h"
#include "schedule_private.h"
#include "schedule_scan.h"
#include "site_mode.h"
#include "site_sources.h"
#include "spools.h"
#include "vmta/open_sites.h"

#define STALLED_WAIT_MS 5     /* outcomes wait to be written: soon over */
#define PASSED_WAIT_MS  10000 /* of several journals this one is: they may be very many */
#define PASSED_MAX      64    /* messages put aside in one go */
#define NO_ROOM_WAIT_MS 1000

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
    if (site->wait == SITE_WAITING_GATE) {
        gates_leave(&scheduler->gates, site);
    }
    site->wait = SITE_QUIET;
}

static void make_ready(struct site *site)
{
    struct scheduler *scheduler = site->scheduler;
    leave_place(site);
    site->wait = SITE_READY;
    site_insert(&site->lane->ready, site, false);
    if (!list_linked(&site->lane->ready_node)) {
        list_push_back(&scheduler->lanes_ready, &site->lane->ready_node);
    }
}

static void settle_wake(struct site *site)
{
    gates_settle(&site->scheduler->gates, site);
}

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
    leave_place(site);
    site->wait = SITE_WAITING_GATE;
    gates_wait(&site->scheduler->gates, gate, site);
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

/* ---- opening connections ---- */

static bool wants_connection(const struct site *site)
{
    return !site->scheduler->draining && !list_empty(&site->sendable) &&
           site->attempt_count < site_max_smtp_out(site) &&
           site_sendable_count(site) > site->opening_count;
}

static struct gate_places places_for(const struct site *site)
{
    if (local_delivery_is_work(site->settings)) {
        const struct scheduler *scheduler = site->scheduler;
        bool is_file = site->settings->type == QUEUE_FILE;
        return (struct gate_places){
            .gates = {[GATE_TOTAL] = is_file ? scheduler->files : scheduler->commands}};
    }
    return (struct gate_places){.priority = site_priority(site),
                                .gates = {[GATE_VMTA] = site->lane->gate,
                                          [GATE_TOTAL] = site->scheduler->total,
                                          [GATE_DOMAIN] = site->domain_gate,
                                          [GATE_PROVIDER] = site->provider_gate,
                                          [GATE_POOL] = site->lane->pool_gate}};
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
    uint64_t due_ms = schedule_opening_wait_until(site, now);
    if (due_ms != 0) {
        wait_until(site, due_ms);
        return;
    }
    struct gate_places places = places_for(site);
    host_places_add(site, &places);
    struct gate *full = gates_take(&scheduler->gates, &places);
    if (full != NULL && host_places_elsewhere(site, full)) {
        places = places_for(site);
        full = gates_take(&scheduler->gates, &places);
    }
    if (full != NULL) {
        wait_for_gate(site, full);
        return;
    }
    if (!schedule_common_take_connect(site)) { /* another worker was faster */
        gates_release(&scheduler->gates, &places);
        wait_until(site, now + SCHEDULE_BLOCK_WAIT_MS);
        return;
    }
    struct attempt *attempt = attempt_open(scheduler->attempts, site, queue_to_open_for(site));
    if (attempt == NULL) {
        gates_release(&scheduler->gates, &places);
        wait_until(site, now + NO_ROOM_WAIT_MS);
        return;
    }
    schedule_count_opening(site, now);
    attempt->places = places;
    host_places_opened(attempt);
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
    if (schedule_mode_is_on(site)) {
        until_ms = UINT64_MAX; /* its timer marks the site */
    }
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
    schedule_act_on_mode(site);
    if (site->astray || site->sifting) {
        schedule_return_strays(site);
    }
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
    bool more = schedule_scan_run(scheduler);
    return more || !list_empty(&scheduler->dirty) || !list_empty(&scheduler->lanes_ready);
}

/* ---- asked by attempts ---- */

/* Not now: the site is looked at again when its time has come. */
static bool must_wait(struct site *site)
{
    struct scheduler *scheduler = site->scheduler;
    uint64_t now = now_ms(scheduler);
    uint64_t due_ms = schedule_rates_open_ms(site, now);
    if (spools_stalled(scheduler->spools, scheduler->worker)) {
        due_ms = now + STALLED_WAIT_MS;
    } else if (spools_held(scheduler->spools)) {
        due_ms = now + SCHEDULE_HELD_WAIT_MS;
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
    if (site->attempt_count < site_max_smtp_out(site)) {
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

/* Messages whose log is held wait, for those of the other logs to go on. */
static uint32_t take_rcpts(struct scheduler *scheduler, struct queue *queue, uint32_t max,
                           uint64_t now)
{
    for (uint32_t passed = 0; passed < PASSED_MAX; passed++) {
        uint32_t count = queue_take(queue, max, scheduler->taken);
        if (count == 0 || !spools_holds(scheduler->spools, rcpt_message(scheduler->taken[0]))) {
            return count;
        }
        for (uint32_t i = 0; i < count; i++) {
            queue_defer(queue, scheduler->taken[i], now + PASSED_WAIT_MS, now);
        }
    }
    return 0;
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
    if (!site_source_may_send(attempt, now)) {
        return NULL; /* those from other addresses may */
    }
    if (stands_in_the_way(site, attempt)) {
        attempt->used_up = true;
        return NULL;
    }
    if (site->settings->allow_priority_interruption &&
        gates_must_yield(&scheduler->gates, &attempt->places, site_priority(site))) {
        attempt->used_up = true;
        return NULL;
    }
    struct queue *queue = first_suiting(site, attempt);
    if (queue == NULL || !queue_sendable(queue, now)) {
        return NULL;
    }
    uint32_t count = take_rcpts(scheduler, queue, rcpts_per_transaction(attempt), now);
    if (site->is_rollup) {
        count = schedule_keep_fitting(site, queue, scheduler->taken, count);
    }
    list_remove(&queue->sendable_node);
    if (queue_sendable(queue, now)) {
        list_push_back(&site->sendable, &queue->sendable_node);
    }
    if (site->wait == SITE_WAITING_GATE && !wants_connection(site)) {
        leave_place(site); /* else who rests would give way to it */
    }
    if (count == 0) { /* all were expired, or are held; what is left comes with the next turn */
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
    if (scheduler->open_sites != NULL && !attempt->counted_up) {
        attempt->counted_up = true;
        open_sites_add(scheduler->open_sites, bytes_from_string(attempt->site->name));
    }
    schedule_mark(scheduler, attempt->site);
}

bool schedule_idle(struct scheduler *scheduler, struct attempt *attempt)
{
    if (!gates_idle(&scheduler->gates, &attempt->places)) {
        return false;
    }
    list_push_back(&attempt->site->idle, &attempt->idle_node);
    return true;
}

void schedule_busy(struct attempt *attempt)
{
    list_remove(&attempt->idle_node);
    gates_busy(&attempt->places);
}

void schedule_closed(struct scheduler *scheduler, struct attempt *attempt)
{
    struct site *site = attempt->site;
    stop_opening(attempt);
    if (attempt->counted_up) {
        open_sites_remove(scheduler->open_sites, bytes_from_string(site->name));
    }
    schedule_busy(attempt);
    list_remove(&attempt->site_node);
    assert(site->attempt_count > 0);
    site->attempt_count--;
    scheduler->attempt_count--;
    host_places_closed(attempt);
    host_places_decide(attempt);
    gates_release(&scheduler->gates, &attempt->places);
    site_source_release(attempt);
    schedule_check_pool(site);
    schedule_count_closed(site);
    schedule_mark(scheduler, site);
}

/* ---- life ---- */

static struct gates *gates_of_worker(const struct gates *gates, uint32_t worker)
{
    const struct scheduler *scheduler = CONTAINER_OF(gates, struct scheduler, gates);
    return &scheduler->others[worker]->gates;
}

static void give_way(struct gate_places *places)
{
    struct attempt *attempt = CONTAINER_OF(places, struct attempt, places);
    attempt_quit(attempt);
}

static struct gate *local_gate(struct scheduler *scheduler, struct bytes name, uint64_t max)
{
    struct limit *limit = limits_entry(scheduler->limits, LIMIT_TOTAL, name);
    if (limit == NULL) {
        return NULL;
    }
    struct limit_wakes wakes = {0}; /* nobody waits yet */
    limit_set_max(limit, max, &wakes);
    return gates_obtain(&scheduler->gates, limit, GATE_TOTAL);
}

static bool init_gates(struct scheduler *scheduler)
{
    struct gates *gates = &scheduler->gates;
    gates_init(gates, SCHEDULE_SITES_MAX + 3 * SCHEDULE_VMTAS_MAX + GATES_PASSING_MAX + 3);
    gates->io = scheduler->io;
    gates->mailboxes = scheduler->mailboxes;
    gates->limits = scheduler->limits;
    gates->worker = scheduler->worker;
    gates->workers = scheduler->workers;
    gates->woken = make_ready;
    gates->give_way = give_way;
    gates->of_worker = gates_of_worker;
    struct limit *total = limits_entry(scheduler->limits, LIMIT_TOTAL, BYTES("smtp-out"));
    scheduler->total = total == NULL ? NULL : gates_obtain(gates, total, GATE_TOTAL);
    scheduler->files = local_gate(scheduler, BYTES("files"), LOCAL_FILES_MAX);
    scheduler->commands = local_gate(scheduler, BYTES("commands"), LOCAL_COMMANDS_MAX);
    return scheduler->total != NULL && scheduler->files != NULL && scheduler->commands != NULL;
}

struct scheduler *scheduler_create(const struct scheduler_options *options)
{
    struct scheduler *scheduler = calloc(1, sizeof *scheduler);
    if (scheduler == NULL) {
        return NULL;
    }
    scheduler->io = options->io;
    scheduler->spools = options->spools;
    scheduler->limits = options->limits;
    scheduler->mailboxes = options->mailboxes;
    scheduler->config = options->config;
    scheduler->mx_table = options->mx_table;
    scheduler->worker = options->worker;
    scheduler->started_ms = io_now_ms(options->io);
    scheduler->workers = options->workers;
    scheduler->host_name = options->host_name;
    scheduler->others = options->others;
    scheduler->site_emptied = options->site_emptied;
    scheduler->send_on = options->send_on;
    scheduler->tell = options->tell;
    scheduler->owner = options->owner;
    map_init(&scheduler->sites, SCHEDULE_SITES_MAX);
    map_init(&scheduler->lanes, SCHEDULE_VMTAS_MAX);
    pauses_init(&scheduler->pauses);
    paused_jobs_init(&scheduler->paused_jobs);
    scheduler->common_rates = options->common_rates;
    scheduler->open_sites = options->open_sites;
    schedule_keeping_init(scheduler);
    list_init(&scheduler->all_sites);
    list_init(&scheduler->all_lanes);
    list_init(&scheduler->lanes_ready);
    list_init(&scheduler->dirty);
    if (!init_gates(scheduler)) {
        scheduler_destroy(scheduler);
        return NULL;
    }
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

void schedule_leave_place(struct site *site)
{
    leave_place(site);
    settle_wake(site);
}
