/* Which sites, queues and virtual MTAs there are: made as mail arrives, configured from the
 * policy, freed when empty. */
#include <assert.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attempt.h"
#include "base/logger.h"
#include "common_rates.h"
#include "host_places.h"
#include "outbound.h"
#include "outcome.h"
#include "policy/config.h"
#include "policy/domain.h"
#include "schedule.h"
#include "schedule_private.h"
#include "schedule_scan.h"
#include "site_mode.h"
#include "site_sources.h"
#include "volume_rates.h"

/* ---- limits that are shared ---- */

/* Whose gate it is. */
struct gate_of {
    enum limit_kind kind;
    enum gate_slot slot;
    struct bytes name;
};

/* NULL: unlimited. */
static struct gate *common_gate(struct scheduler *scheduler, const struct gate_of *of, uint64_t max)
{
    if (max == 0 || max == UINT64_MAX) {
        return NULL;
    }
    struct limit *limit = limits_entry(scheduler->limits, of->kind, of->name);
    if (limit == NULL) {
        return NULL;
    }
    struct limit_wakes wakes = {0};
    limit_set_max(limit, max, &wakes);
    return gates_obtain(&scheduler->gates, limit, of->slot);
}

/* ---- virtual MTAs ---- */

static bool same_lane(const struct map_entry *entry, const void *key)
{
    const struct vmta_lane *lane = CONTAINER_OF(entry, struct vmta_lane, entry);
    return bytes_equal_nocase(bytes_from_string(lane->vmta.name), *(const struct bytes *)key);
}

/* The gate of pool-max-smtp-out; NULL: in no pool, or unlimited. */
static struct gate *pool_gate(struct scheduler *scheduler, const struct config_vmta *vmta)
{
    if (vmta == NULL || vmta->pool == NULL) {
        return NULL;
    }
    return common_gate(scheduler, &(struct gate_of){LIMIT_POOL, GATE_POOL, vmta->pool->name},
                       vmta->pool->settings.pool_max_smtp_out);
}

/* An orphan (its virtual MTA has left the configuration) keeps its mail and has no address. */
static void configure_lane(struct scheduler *scheduler, struct vmta_lane *lane, struct bytes name)
{
    lane->settings = config_vmta(scheduler->config, name);
    if (!vmta_init(&lane->vmta, name)) {
        return;
    }
    uint64_t max = 0;
    if (lane->settings != NULL) {
        outbound_add_sources(scheduler->io, lane->settings, scheduler->host_name, &lane->vmta);
        max = lane->settings->settings.max_smtp_out;
    }
    struct limit_wakes wakes = {0};
    limit_set_max(lane->gate->limit, max, &wakes);
    lane->pool_gate = pool_gate(scheduler, lane->settings);
    gates_ring(&scheduler->gates, wakes.workers);
}

static struct vmta_lane *lane_for(struct scheduler *scheduler, struct bytes name)
{
    if (name.len == 0) {
        name = BYTES("{default}");
    }
    uint64_t hash = bytes_hash_nocase(name);
    struct map_entry *entry = map_find(&scheduler->lanes, hash, same_lane, &name);
    if (entry != NULL) {
        return CONTAINER_OF(entry, struct vmta_lane, entry);
    }
    struct limit *limit = limits_entry(scheduler->limits, LIMIT_VMTA, name);
    struct limit *resident = limits_entry(scheduler->limits, LIMIT_RECIPIENTS, name);
    struct limit *resident_bytes = limits_entry(scheduler->limits, LIMIT_MEMORY, name);
    if (limit == NULL || resident == NULL || resident_bytes == NULL) {
        return NULL;
    }
    struct gate *gate = gates_obtain(&scheduler->gates, limit, GATE_VMTA);
    struct vmta_lane *lane = calloc(1, sizeof *lane);
    if (gate == NULL || lane == NULL || !map_insert(&scheduler->lanes, hash, &lane->entry)) {
        free(lane);
        return NULL;
    }
    lane->resident = resident;
    lane->resident_bytes = resident_bytes;
    list_init(&lane->ready);
    lane->gate = gate;
    list_push_back(&scheduler->all_lanes, &lane->all_node);
    configure_lane(scheduler, lane, name);
    return lane;
}

/* ---- sites ---- */

static void set_common_rate(struct site *site, enum common_rate_kind kind, struct bytes name,
                            struct rate_value rate)
{
    struct common_rate *set = NULL;
    if (rate.count != UINT64_MAX && rate.window_ms != 0) {
        set = common_rates_set(site->scheduler->common_rates, &(struct common_rate_key){kind, name},
                               rate.count, rate.window_ms);
    }
    site->common_rates[kind] = set;
    site->has_common_rates |= set != NULL && kind < COMMON_RATE_MESSAGE_KINDS;
}

static void share_with_provider(struct site *site)
{
    struct scheduler *scheduler = site->scheduler;
    const struct config_provider *provider =
        config_provider(scheduler->config, site->settings->provider);
    site->provider_gate = NULL;
    if (provider == NULL) {
        site->common_rates[COMMON_RATE_PROVIDER] = NULL;
        site->common_rates[COMMON_RATE_PROVIDER_CONNECTS] = NULL;
        return;
    }
    const struct provider_settings *settings = &provider->settings;
    site->provider_gate =
        common_gate(scheduler, &(struct gate_of){LIMIT_PROVIDER, GATE_PROVIDER, provider->name},
                    settings->max_smtp_out);
    set_common_rate(site, COMMON_RATE_PROVIDER, provider->name, settings->max_msg_rate);
    set_common_rate(site, COMMON_RATE_PROVIDER_CONNECTS, provider->name,
                    settings->max_connect_rate);
}

/* The caps and rates that it shares with other sites, as its settings say. */
static void share_limits(struct site *site)
{
    const struct vmta_lane *lane = site->lane;
    site->has_common_rates = false;
    site->domain_gate = common_gate(site->scheduler,
                                    &(struct gate_of){LIMIT_DOMAIN, GATE_DOMAIN, site_domain(site)},
                                    site->settings->domain_max_smtp_out);
    set_common_rate(site, COMMON_RATE_DOMAIN, site_domain(site),
                    site->settings->domain_max_msg_rate);
    set_common_rate(site, COMMON_RATE_VMTA, bytes_from_string(lane->vmta.name),
                    lane->settings == NULL ? (struct rate_value){.count = UINT64_MAX}
                                           : lane->settings->settings.max_smtp_msg_rate);
    share_with_provider(site);
    volume_rates_set(site);
    site_sources_set(site);
}

static void init_rate(struct rate *rate, struct rate_value value)
{
    rate_init(rate, value.window_ms == 0 ? UINT64_MAX : value.count, value.window_ms);
}

static void expire_rcpt(struct queue *queue, struct rcpt *rcpt)
{
    outcome_expired(queue->site->scheduler->outcomes, queue, rcpt);
}

static void on_queue_changed(struct queue *queue)
{
    schedule_mark(queue->site->scheduler, queue->site);
}

static bool job_is_paused(const struct queue *queue, const struct rcpt *rcpt)
{
    const struct paused_jobs *jobs = &queue->site->scheduler->paused_jobs;
    return !paused_jobs_none(jobs) && paused_jobs_hold(jobs, message_job(rcpt_message(rcpt)));
}

struct queue *schedule_obtain_queue(struct site *site, enum tls_need tls_need)
{
    struct queue *queue = site_queue(site, tls_need);
    if (queue == NULL) {
        queue = malloc(sizeof *queue);
        if (queue == NULL) {
            return NULL;
        }
        queue_init(queue, site, tls_need, io_timers(site->scheduler->io),
                   site->settings->bounce_after_ms, on_queue_changed, expire_rcpt);
        queue_set_holds(queue, job_is_paused);
        queue->paused = pauses_hold(&site->scheduler->pauses, site->name);
        list_push_back(&site->queues, &queue->site_node);
    }
    return queue;
}

static bool same_site(const struct map_entry *entry, const void *key)
{
    return bytes_equal(bytes_from_string(CONTAINER_OF(entry, struct site, entry)->name),
                       *(const struct bytes *)key);
}

static struct site *create_site(struct scheduler *scheduler, struct vmta_lane *lane,
                                struct bytes name, uint32_t domain_len)
{
    struct site *site = calloc(1, sizeof *site + name.len + 1);
    if (site == NULL) {
        return NULL;
    }
    schedule_site_init(site);
    memcpy(site->name, name.data, name.len);
    site->domain_len = domain_len;
    site->scheduler = scheduler;
    site->lane = lane;
    site->settings = config_domain(scheduler->config, lane->settings, site_domain(site));
    site->is_rollup = bytes_ends_with_nocase(site_domain(site), BYTES(".rollup"));
    if (!map_insert(&scheduler->sites, bytes_hash(name), &site->entry)) {
        free(site);
        return NULL;
    }
    init_rate(&site->message_rate, site_max_msg_rate(site));
    init_rate(&site->connect_rate, site_max_connect_rate(site));
    schedule_begin_rates(site);
    share_limits(site);
    list_push_back(&scheduler->all_sites, &site->all_node);
    return site;
}

struct site *schedule_obtain_site(struct scheduler *scheduler, struct bytes vmta,
                                  struct bytes domain)
{
    struct vmta_lane *lane = lane_for(scheduler, vmta);
    if (lane == NULL) {
        return NULL;
    }
    char memory[SITE_NAME_MAX];
    struct buffer name;
    buffer_init(&name, memory, sizeof memory);
    if (!buffer_put_bytes(&name, domain) || !buffer_put_char(&name, '/') ||
        !buffer_put_string(&name, lane->vmta.name)) {
        return NULL;
    }
    struct bytes key = buffer_bytes(&name);
    struct map_entry *entry = map_find(&scheduler->sites, bytes_hash(key), same_site, &key);
    if (entry != NULL) {
        return CONTAINER_OF(entry, struct site, entry);
    }
    return create_site(scheduler, lane, key, (uint32_t)domain.len);
}

void schedule_free_site(struct site *site)
{
    struct scheduler *scheduler = site->scheduler;
    assert(list_empty(&site->attempts));
    schedule_leave_place(site);
    if (scheduler->site_emptied != NULL && !scheduler->site_emptied(scheduler->owner, site)) {
        site->arrived_count = 0;
        return;
    }
    struct list_node *node;
    while ((node = list_first(&site->queues)) != NULL) {
        struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        schedule_free_clock(queue);
        queue_deinit(queue);
        free(queue);
    }
    map_remove(&scheduler->sites, &site->entry);
    schedule_scan_forget(scheduler, site);
    list_remove(&site->all_node);
    list_remove(&site->dirty_node);
    rate_deinit(&site->message_rate);
    rate_deinit(&site->connect_rate);
    free(site->keeping);
    host_places_forget(site);
    schedule_free_mode(site);
    site_sources_free(site);
    volume_rates_free(site);
    route_unref(site->route);
    free(site);
}

/* ---- arriving ---- */

static uint64_t due_ms(const struct scheduler *scheduler, const struct rcpt *rcpt)
{
    uint64_t now = io_now_ms(scheduler->io);
    int64_t wait_ms = rcpt->due_wall_ms == 0 ? 0 : rcpt->due_wall_ms - io_wall_ms(scheduler->io);
    return wait_ms <= 0 ? now : now + (uint64_t)wait_ms;
}

/* Not what a restart brings back. */
static bool is_new(const struct scheduler *scheduler, const struct rcpt *rcpt)
{
    return rcpt->attempts == 0 && rcpt->due_wall_ms == 0 &&
           rcpt_message(rcpt)->accepted_ms >= (int64_t)scheduler->started_ms;
}

void schedule_arrive(struct scheduler *scheduler, struct rcpt *rcpt, struct destination to)
{
    const struct message *message = rcpt_message(rcpt);
    struct site *site = schedule_obtain_site(scheduler, to.vmta, to.domain);
    struct queue *queue =
        site == NULL ? NULL : schedule_obtain_queue(site, (enum tls_need)message->tls_need);
    if (queue == NULL) {
        /* It is safe in the spool and comes back with a restart; nothing better can be done. */
        LOG_ERROR("out of memory for queue %.*s/%.*s: recipient waits in the spool",
                  BYTES_FMT(to.domain), BYTES_FMT(to.vmta));
        return;
    }
    scheduler->rcpt_count++;
    site->arrived_count++;
    site->has_guests = site->has_guests || !schedule_is_home(site, rcpt);
    limit_take(site->lane->resident, 1);
    limit_take(site->lane->resident_bytes, message->body_size);
    uint64_t now_ms = io_now_ms(scheduler->io);
    queue_put(queue, rcpt, due_ms(scheduler, rcpt), now_ms);
    struct bytes mate;
    if (schedule_in_stalled_pool(site, rcpt, &mate) && mate.len > 0) {
        schedule_put_aside(site);
    }
    if (site->settings->retry_upon_new_mail && is_new(scheduler, rcpt) &&
        queue->not_before_ms > now_ms) {
        queue_hold_until(queue, 0, now_ms); /* the place in retry-after stays */
        schedule_clock_moved(scheduler, queue);
    }
}

void schedule_rcpt_gone(struct scheduler *scheduler, const struct site *site,
                        const struct rcpt *rcpt)
{
    struct limit_wakes nobody = {0};
    limit_release(site->lane->resident, 1, &nobody);
    limit_release(site->lane->resident_bytes, rcpt_message(rcpt)->body_size, &nobody);
    assert(scheduler->rcpt_count > 0);
    scheduler->rcpt_count--;
}

void schedule_rcpt_final(struct scheduler *scheduler, const struct queue *queue,
                         const struct rcpt *rcpt)
{
    schedule_rcpt_gone(scheduler, queue->site, rcpt);
}

/* ---- asked by control ---- */

void schedule_each_site(struct scheduler *scheduler, const char *pattern,
                        void (*found)(void *owner, struct site *site), void *owner)
{
    struct list_node *next;
    for (struct list_node *node = list_first(&scheduler->all_sites); node != NULL; node = next) {
        next = list_next(&scheduler->all_sites, node);
        struct site *site = CONTAINER_OF(node, struct site, all_node);
        if (fnmatch(pattern, site->name, FNM_CASEFOLD) == 0) {
            found(owner, site);
        }
    }
}

struct site_command {
    uint32_t count;
};

/* Each queue as the pauses now say; those that are paused get their prepared mail back. */
static void apply_pauses(void *owner, struct site *site)
{
    struct site_command *command = owner;
    bool paused = pauses_hold(&site->scheduler->pauses, site->name);
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        queue_pause(queue, paused);
        struct list_node *next;
        for (struct list_node *a = list_first(&site->attempts); paused && a != NULL; a = next) {
            next = list_next(&site->attempts, a);
            attempt_recall(CONTAINER_OF(a, struct attempt, site_node), queue);
        }
    }
    command->count++;
}

int schedule_pause(struct scheduler *scheduler, const char *pattern)
{
    struct site_command command = {0};
    if (!pauses_add(&scheduler->pauses, pattern)) {
        return -ENOSPC;
    }
    schedule_each_site(scheduler, pattern, apply_pauses, &command);
    return (int)command.count;
}

int schedule_resume(struct scheduler *scheduler, const char *pattern)
{
    struct site_command command = {0};
    pauses_remove(&scheduler->pauses, pattern);
    schedule_each_site(scheduler, pattern, apply_pauses, &command);
    return (int)command.count;
}

static void retry_site(void *owner, struct site *site)
{
    struct site_command *command = owner;
    uint64_t now = io_now_ms(site->scheduler->io);
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        queue_retry_now(queue, now);
        schedule_clock_moved(site->scheduler, queue);
    }
    site->hold_opening_ms = 0;
    if (site->mode != NULL) {
        site->mode->held_until_ms = 0;
    }
    command->count++;
}

uint32_t schedule_retry_now(struct scheduler *scheduler, const char *pattern)
{
    struct site_command command = {0};
    schedule_each_site(scheduler, pattern, retry_site, &command);
    return command.count;
}

/* ---- reload and drain ---- */

static void reload_lane(struct scheduler *scheduler, struct vmta_lane *lane)
{
    struct vmta old = lane->vmta;
    configure_lane(scheduler, lane, bytes_from_string(old.name));
    if (lane->settings == NULL) {
        LOG_WARNING("virtual MTA %s is no longer configured: its queues are kept, orphaned; one of "
                    "that name with <domain *> reroute-to-virtual-mta sends them on",
                    old.name);
    }
    vmta_deinit(&old);
}

static void change_rate(struct rate *rate, struct rate_value value)
{
    rate_change(rate, value.window_ms == 0 ? UINT64_MAX : value.count, value.window_ms);
}

void schedule_apply_rates(struct site *site)
{
    change_rate(&site->message_rate, site_max_msg_rate(site));
    change_rate(&site->connect_rate, site_max_connect_rate(site));
    schedule_keep_rates(site);
    volume_rates_set(site);
}

static void reload_site(void *owner, struct site *site)
{
    struct scheduler *scheduler = owner;
    site->settings = config_domain(scheduler->config, site->lane->settings, site_domain(site));
    schedule_apply_rates(site);
    schedule_forget_triggers(site); /* they count by the place of a rule in its list */
    share_limits(site);
    host_places_forget(site);
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        queue_set_bounce_after(CONTAINER_OF(node, struct queue, site_node),
                               site->settings->bounce_after_ms, io_now_ms(scheduler->io));
    }
    struct list_node *next;
    for (struct list_node *node = list_first(&site->attempts); node != NULL; node = next) {
        next = list_next(&site->attempts, node);
        attempt_reload(CONTAINER_OF(node, struct attempt, site_node));
    }
    schedule_wake_site(site); /* what it waited for may be allowed now */
}

void schedule_reload(struct scheduler *scheduler, const struct config *config)
{
    scheduler->config = config;
    for (struct list_node *node = list_first(&scheduler->all_lanes); node != NULL;
         node = list_next(&scheduler->all_lanes, node)) {
        reload_lane(scheduler, CONTAINER_OF(node, struct vmta_lane, all_node));
    }
    schedule_each_site(scheduler, "*", reload_site, scheduler);
    schedule_check_places(scheduler);
    gates_wake_all(&scheduler->gates);
    attempts_forget_profiles(scheduler->attempts);
}

static void drain_site(void *owner, struct site *site)
{
    (void)owner;
    struct list_node *next;
    for (struct list_node *node = list_first(&site->attempts); node != NULL; node = next) {
        next = list_next(&site->attempts, node);
        attempt_quit(CONTAINER_OF(node, struct attempt, site_node));
    }
}

void schedule_drain(struct scheduler *scheduler)
{
    scheduler->draining = true;
    schedule_each_site(scheduler, "*", drain_site, NULL);
}

static void abort_site(void *owner, struct site *site)
{
    (void)owner;
    struct list_node *next;
    for (struct list_node *node = list_first(&site->attempts); node != NULL; node = next) {
        next = list_next(&site->attempts, node);
        attempt_abort(CONTAINER_OF(node, struct attempt, site_node));
    }
}

void schedule_abort(struct scheduler *scheduler)
{
    scheduler->draining = true;
    schedule_each_site(scheduler, "*", abort_site, NULL);
}

uint32_t scheduler_attempt_count(const struct scheduler *scheduler)
{
    return scheduler->attempt_count;
}

/* ---- end of life ---- */

static void drop_site(void *owner, struct site *site)
{
    (void)owner;
    struct list_node *node;
    while ((node = list_first(&site->queues)) != NULL) {
        struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        list_remove(node);
        schedule_free_clock(queue);
        queue_deinit(queue);
        free(queue);
    }
    schedule_free_site(site);
}

void scheduler_destroy(struct scheduler *scheduler)
{
    if (scheduler == NULL) {
        return;
    }
    scheduler->site_emptied = NULL;
    schedule_each_site(scheduler, "*", drop_site, NULL);
    struct list_node *node;
    while ((node = list_pop_front(&scheduler->all_lanes)) != NULL) {
        struct vmta_lane *lane = CONTAINER_OF(node, struct vmta_lane, all_node);
        vmta_deinit(&lane->vmta);
        free(lane);
    }
    gates_deinit(&scheduler->gates);
    pauses_deinit(&scheduler->pauses);
    paused_jobs_deinit(&scheduler->paused_jobs);
    map_deinit(&scheduler->lanes);
    map_deinit(&scheduler->sites);
    free(scheduler);
}
