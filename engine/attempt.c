/* The life of one connection: which address is next, from which source, in which TLS. What goes
 * over it is in attempt_dialogue.c. */
#include "attempt.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attempt_private.h"
#include "base/logger.h"
#include "host_places.h"
#include "io/io.h"
#include "local_delivery.h"
#include "local_job.h"
#include "outcome.h"
#include "policy/domain.h"
#include "queue.h"
#include "schedule.h"
#include "site.h"
#include "site_mode.h"
#include "site_sources.h"

/* Waiting for the resolver; apart, because it is large and soon over. */
struct resolve_job {
    struct resolve_request request;
    struct attempt *attempt;
};

struct attempts *attempts_create(const struct attempts_options *options)
{
    struct attempts *attempts = calloc(1, sizeof *attempts);
    if (attempts == NULL) {
        return NULL;
    }
    attempts->io = options->io;
    attempts->scheduler = options->scheduler;
    attempts->spools = options->spools;
    attempts->resolver = options->resolver;
    attempts->outcomes = options->outcomes;
    attempts->worker = options->worker;
    attempts->dialogue_log = options->dialogue_log;
    attempts->helpers = options->helpers;
    attempts->freebind = options->allow_no_source_address;
    outbound_tls_init(&attempts->tls, options->tls);
    host_faults_init(&attempts->host_faults);
    attempts->slab = slab_create("attempts", sizeof(struct attempt), options->attempts_max);
    attempts->preparer = preparer_create(&(struct preparer_options){
        .spools = options->spools,
        .worker = options->worker,
        .bytes_max = options->prepared_bytes_max,
        .transactions_max = 2 * options->attempts_max * CLIENT_IN_FLIGHT_MAX,
    });
    if (attempts->slab == NULL || attempts->preparer == NULL) {
        attempts_destroy(attempts);
        return NULL;
    }
    return attempts;
}

void attempts_destroy(struct attempts *attempts)
{
    if (attempts == NULL) {
        return;
    }
    outbound_tls_deinit(&attempts->tls);
    host_faults_deinit(&attempts->host_faults);
    preparer_destroy(attempts->preparer);
    slab_destroy(attempts->slab);
    free(attempts);
}

struct preparer *attempts_preparer(struct attempts *attempts)
{
    return attempts->preparer;
}

bool attempt_suits(const struct attempt *attempt, const struct queue *queue)
{
    enum tls_need level = outbound_tls_level(queue->site->settings, queue->tls_need);
    return level <= (enum tls_need)attempt->tls_level;
}

/* ---- failure and the way on ---- */

void attempt_note_failure(struct attempt *attempt, enum client_stage stage, const char *stage_name,
                          const struct reply *reply)
{
    if (attempt->failure == NULL) {
        attempt->failure = malloc(sizeof *attempt->failure);
    }
    if (attempt->failure != NULL) {
        *attempt->failure = *reply;
    }
    attempt->failure_stage = (uint8_t)stage;
    attempt->failure_stage_name = stage_name;
    attempt->failure_said = true;
}

void attempt_note_error(struct attempt *attempt, const char *stage_name, const char *enhanced,
                        const char *what, const char *detail)
{
    char text[ERROR_TEXT_MAX + 128];
    snprintf(text, sizeof text, "%s %s", what, detail);
    struct reply reply;
    reply_make(&reply, 421, enhanced, text);
    attempt_note_failure(attempt, CLIENT_STAGE_GREETING, stage_name, &reply);
    attempt->failure_said = false;
}

static void destroy(struct attempt *attempt)
{
    struct attempts *attempts = attempt->attempts;
    timer_stop(io_timers(attempts->io), &attempt->timer);
    timer_stop(io_timers(attempts->io), &attempt->watchdog);
    schedule_closed(attempts->scheduler, attempt);
    route_unref(attempt->route);
    free(attempt->failure);
    slab_give(attempts->slab, attempt);
}

/* No such domain, a null MX; or every host greeted with 5xx, and policy or RFC 7504 (521) takes
 * that as its last word. */
static bool is_final_for_queue(const struct attempt *attempt)
{
    if (!reply_is_permanent(attempt->failure)) {
        return false;
    }
    bool all_refused =
        attempt->greeting_5xx_count > 0 && attempt->greeting_5xx_count == attempt->addresses_tried;
    return attempt->bounce_queue ||
           (all_refused &&
            (attempt->site->settings->bounce_upon_5xx_greeting || attempt->failure->code == 521));
}

/* Before READY nothing was sent for anybody: one record for the queue, and its clock moves on,
 * unless other connections of the site work: then only no further one is opened for a while. */
static void report_failure(struct attempt *attempt)
{
    struct queue *queue = attempt->queue;
    struct attempts *attempts = attempt->attempts;
    if (queue == NULL && attempt->messages_sent == 0 && !attempt->quitting) {
        /* It let us in and left before anything was said: no record, but no race either. */
        attempt->site->hold_opening_ms = io_now_ms(attempts->io) + ATTEMPT_FRUITLESS_MS;
    }
    if (queue == NULL || attempt->failure == NULL) {
        return;
    }
    if (is_final_for_queue(attempt)) {
        /* What does not fit one turn follows with the queue's next attempt, at once. */
        outcome_bounce_ready(attempts->outcomes, attempt, queue, attempt->failure_stage_name,
                             attempt->failure);
        return;
    }
    struct site *site = attempt->site;
    if (attempt->no_mx) {
        outcome_bounce_older(attempts->outcomes, attempt, queue, attempt->failure_stage_name,
                             site->settings->bounce_upon_no_mx_ms);
        if (queue->ready_count == 0) {
            return;
        }
    }
    bool others_work = site->attempt_count > site->opening_count;
    if (others_work) {
        site->hold_opening_ms = io_now_ms(attempts->io) + ATTEMPT_HELD_MS * 60;
    }
    outcome_of_queue(attempts->outcomes, attempt, queue, (enum client_stage)attempt->failure_stage,
                     attempt->failure_stage_name, attempt->failure, !others_work);
}

void attempt_finish(struct attempt *attempt)
{
    report_failure(attempt);
    destroy(attempt);
}

static void try_address(struct attempt *attempt);

/* ---- source addresses and connecting ---- */

static bool allows_source(void *owner, const struct vmta_source *source, uint64_t now_ms)
{
    struct attempt *attempt = owner;
    bool allowed = site_source_allowed(attempt->site, &source->address, now_ms);
    if (!allowed) {
        attempt_log_disabled(attempt, &source->address);
    }
    return allowed && site_source_is_free(attempt->site, source, now_ms) &&
           host_places_free(attempt, &source->address);
}

static bool is_held(void *owner, const struct vmta_source *source, uint64_t now_ms)
{
    struct attempt *attempt = owner;
    return address_equal_ip(&source->address, &attempt->source_address) &&
           site_source_allowed(attempt->site, &source->address, now_ms) &&
           host_places_free(attempt, &source->address);
}

/* Where addresses have limits, that of which it has a place already, as long as it will do: else
 * a host tried in vain would cost a start of a rate, and the next one might never be tried. */
static struct vmta_source *pick_source(struct attempt *attempt, enum address_family family)
{
    struct vmta *vmta = &attempt->site->lane->vmta;
    uint64_t now_ms = io_now_ms(attempt->attempts->io), again_ms;
    if (attempt->holds_source) {
        const struct vmta_filter held = {is_held, attempt};
        struct vmta_source *source = vmta_pick_source(vmta, family, &held, now_ms, &again_ms);
        if (source != NULL) {
            return source;
        }
        site_source_release(attempt);
    }
    const struct vmta_filter filter = {allows_source, attempt};
    struct vmta_source *source = vmta_pick_source(vmta, family, &filter, now_ms, &again_ms);
    if (source != NULL) {
        site_source_take(attempt, source);
    }
    return source;
}

static bool open_to(struct attempt *attempt, const struct address *peer)
{
    struct attempts *attempts = attempt->attempts;
    struct vmta_source *source = pick_source(attempt, (enum address_family)peer->family);
    if (source == NULL || !host_places_take(attempt, &source->address)) {
        return false;
    }
    attempt->source = source;
    attempt->source_address = source->address;
    snprintf(attempt->helo_name, sizeof attempt->helo_name, "%s", source->helo_name);
    address_text(&source->address, attempt->source_text);
    attempt->client.peer.names[0] = '\0'; /* those were another host's */
    attempt->end_words = NULL;
    attempt->log_number = 0;
    attempt->state = ATTEMPT_CONNECTING;
    extern const struct connection_events attempt_connection_events;
    connection_open(
        &attempt->connection, attempts->io, &attempt_connection_events, attempt,
        &(struct connection_target){
            .source = source->address.family == ADDRESS_NONE ? NULL : &attempt->source_address,
            .peer = *peer,
            .timeout_ms = attempt->site->settings->connect_timeout_ms,
            .freebind = attempts->freebind,
        });
    host_places_decide(attempt);
    return true;
}

static const struct route_host *host_of(const struct route *route, uint32_t address_index)
{
    for (uint32_t i = 0; i < route->host_count; i++) {
        const struct route_host *host = &route->hosts[i];
        if (address_index >= host->first_address &&
            address_index < (uint32_t)host->first_address + host->address_count) {
            return host;
        }
    }
    return NULL;
}

static bool has_fault(const struct attempt *attempt, const struct address *address,
                      enum host_fault fault)
{
    const struct attempts *attempts = attempt->attempts;
    return host_faults_has(&attempts->host_faults, address, fault, io_now_ms(attempts->io));
}

void attempt_remember_fault(struct attempt *attempt, enum host_fault fault)
{
    struct attempts *attempts = attempt->attempts;
    host_faults_note(&attempts->host_faults, &attempt->connection.peer, fault,
                     io_now_ms(attempts->io) + ATTEMPT_FAULT_MS);
}

/* The address whose turn it is: connections of one site begin at different ones of the best
 * preference, go round those, and only then on to worse ones. */
static uint32_t address_index(const struct attempt *attempt)
{
    uint32_t turn = attempt->address_turn;
    return turn < attempt->best_count ? (attempt->address_start + turn) % attempt->best_count
                                      : turn;
}

static void try_address(struct attempt *attempt)
{
    const struct route *route = attempt->route;
    while (attempt->address_turn < route->address_count &&
           attempt->addresses_tried < ATTEMPT_ADDRESSES_MAX) {
        const struct address *peer = &route->addresses[address_index(attempt)];
        const struct route_host *host = host_of(route, address_index(attempt));
        attempt->host_name = host == NULL ? "" : host->name;
        address_text(peer, attempt->peer_text);
        attempt->addresses_tried++;
        if (attempt->tls_level == TLS_NEED_OPPORTUNISTIC && !attempt->plain_fallback) {
            attempt->plain_fallback = has_fault(attempt, peer, HOST_FAULT_TLS);
        }
        host_places_aim(attempt, host, peer);
        bool skipped = site_skips_host(attempt->site, peer, io_now_ms(attempt->attempts->io));
        if (!skipped && open_to(attempt, peer)) {
            return;
        }
        if (host_places_were_full(attempt)) {
            attempt->addresses_tried--; /* it was not */
            attempt->address_turn++;
            continue;
        }
        if (!skipped && site_sources_hold(attempt->site, (enum address_family)peer->family,
                                          io_now_ms(attempt->attempts->io))) {
            break; /* nobody's failure: the site waits until an address is free */
        }
        attempt->address_turn++;
        if (attempt->failure == NULL) {
            attempt_note_error(attempt, "connect", "4.4.4",
                               skipped ? "left out for a while by a rule of smtp-pattern-list:"
                                       : "no usable source address for",
                               attempt->peer_text);
        }
    }
    if (host_places_wish(attempt)) { /* nobody's failure: the site waits until there is room */
        free(attempt->failure);
        attempt->failure = NULL;
    }
    attempt_finish(attempt);
}

static void next_address(struct attempt *attempt)
{
    if (!attempt->repeat_address) {
        attempt->address_turn++;
    }
    attempt->repeat_address = false;
    attempt->plain_fallback = false;
    try_address(attempt);
}

/* ---- resolving ---- */

/* Addresses of the best preference: they stand first. */
static uint16_t best_addresses(const struct route *route)
{
    uint16_t count = 0;
    for (uint32_t i = 0; i < route->host_count; i++) {
        if (route->hosts[i].preference == route->hosts[0].preference) {
            count = (uint16_t)(count + route->hosts[i].address_count);
        }
    }
    return count;
}

static bool is_served(const void *owner, const char *host)
{
    const struct site *site = owner;
    return site->settings->smtp_hosts.count > 0 ||
           config_rollup_serves(site->scheduler->config, site_domain(site),
                                bytes_from_string(host));
}

static void on_resolved(struct resolve_request *request, struct route *route)
{
    struct resolve_job *job = CONTAINER_OF(request, struct resolve_job, request);
    struct attempt *attempt = job->attempt;
    attempt->resolving = NULL;
    if (attempt->state == ATTEMPT_CLOSING) {
        route_unref(route);
        free(job);
        destroy(attempt);
        return;
    }
    attempt_log_resolved(attempt, route, &request->failure);
    if (route == NULL) {
        attempt_note_failure(attempt, CLIENT_STAGE_GREETING, "dns", &request->failure);
        attempt->bounce_queue = true;
        attempt->no_mx = request->no_mx;
        free(job);
        attempt_finish(attempt);
        return;
    }
    attempt->route = route;
    bool stays = schedule_hosts_known(attempt->site, attempt->queue, request->domain, &request->mx,
                                      route->expires_ms);
    free(job);
    if (!stays) {
        attempt_finish(attempt); /* nobody's failure */
        return;
    }
    if (attempt->site->is_rollup) {
        route_keep(route, is_served, attempt->site);
    }
    if (route->address_count == 0) {
        attempt_note_error(attempt, "dns", "4.4.4", "no host has an address that is named for",
                           attempt->site->name);
        attempt_finish(attempt);
        return;
    }
    attempt->best_count = best_addresses(route);
    if (attempt->best_count > 0) {
        attempt->address_start = (uint16_t)(attempt->site->route_turn++ % attempt->best_count);
    }
    uint16_t begin = 0;
    if (host_places_begin(attempt, &begin)) {
        bool is_best = begin < attempt->best_count;
        attempt->address_start = is_best ? begin : attempt->address_start;
        attempt->address_turn = is_best ? 0 : begin;
    }
    try_address(attempt);
}

static void start_resolving(struct attempt *attempt)
{
    struct attempts *attempts = attempt->attempts;
    char domain[DNS_NAME_MAX];
    if (!schedule_domain_to_resolve(attempt->site, attempt->queue, domain)) {
        attempt_finish(attempt); /* others took what waited */
        return;
    }
    struct resolve_job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        attempt_note_error(attempt, "dns", "4.3.0", "out of memory", "");
        attempt_finish(attempt);
        return;
    }
    job->attempt = attempt;
    job->request.done = on_resolved;
    attempt->resolving = job;
    const struct vmta *vmta = &attempt->site->lane->vmta;
    resolve_domain(attempts->resolver, &job->request, domain, attempt->site->settings,
                   vmta_has_family(vmta, ADDRESS_IPV4), vmta_has_family(vmta, ADDRESS_IPV6));
}

/* ---- TLS ---- */

void attempts_forget_profiles(struct attempts *attempts)
{
    outbound_tls_forget(&attempts->tls);
}

void attempt_start_tls(struct attempt *attempt)
{
    struct attempts *attempts = attempt->attempts;
    const struct domain_settings *settings = attempt->site->settings;
    struct error error = {0};
    if (connection_sending(&attempt->connection)) {
        attempt->tls_wanted = true; /* the answer was faster than the news of our own send */
        return;
    }
    struct tls_session *session =
        outbound_tls_session(&attempts->tls, settings,
                             &(struct outbound_peer){
                                 .host_name = attempt->host_name,
                                 .address = &attempt->connection.peer,
                                 .vmta_name = attempt->site->lane->vmta.name,
                                 .level = (enum tls_need)attempt->tls_level,
                             },
                             &error);
    if (session == NULL) {
        attempt_note_error(attempt, "starttls", "4.7.5", "TLS cannot be set up:", error.text);
        attempt_close(attempt, CONNECTION_CLOSE_NOW, true);
        return;
    }
    connection_start_tls(&attempt->connection, session, settings->smtp_greeting_timeout_ms);
}

/* ---- the connection's callbacks ---- */

static void begin_talking(struct attempt *attempt)
{
    struct client_settings *client = &attempt->client_settings;
    *client = outbound_client_settings(attempt->site->settings, (enum tls_need)attempt->tls_level,
                                       attempt->helo_name);
    attempt->log_data = attempt->site->settings->log_data;
    attempt->log_commands = attempt->site->settings->log_commands || attempt->log_data;
    client->tell_replies = attempt->log_commands && !attempt->log_data; /* they are in the data */
    if (attempt->plain_fallback) {
        client->tls = CLIENT_TLS_NEVER;
    }
    if (has_fault(attempt, &attempt->connection.peer, HOST_FAULT_CHUNKING)) {
        client->ignore |= CLIENT_CAP_CHUNKING;
    }
    attempt->peer_left = attempt->silent_final = false;
    attempt->state = ATTEMPT_TALKING;
    client_init(&attempt->client, client, &attempt_client_events, attempt);
    attempt_watch(attempt);
}

static void on_opened(struct connection *connection, int result)
{
    struct attempt *attempt = connection->owner;
    if (attempt->state == ATTEMPT_CLOSING) {
        return; /* aborted meanwhile; `closed` follows */
    }
    if (result == 0) {
        if (attempt->source != NULL) { /* a reload may have replaced it */
            vmta_source_worked(attempt->source);
        }
        attempt_log_opened(attempt);
        begin_talking(attempt);
        return;
    }
    if (connection->bind_failed) {
        if (attempt->source != NULL) {
            vmta_source_failed(attempt->source, io_now_ms(attempt->attempts->io));
        }
        LOG_WARNING("%s: source address %s is not on this host: suspended", attempt->site->name,
                    attempt->source_text);
        attempt_note_error(attempt, "connect", "4.4.0", "bind failed on source address",
                           attempt->source_text);
        attempt->repeat_address = true; /* from another of our addresses */
        attempt_close(attempt, CONNECTION_CLOSE_NOW, true);
        return;
    }
    attempt->no_port = result == -EADDRNOTAVAIL;
    char text[ADDRESS_TEXT_MAX + 64];
    snprintf(text, sizeof text, "%s: %s", attempt->peer_text,
             attempt->no_port ? "every local port is in use for it" : strerror(-result));
    attempt_note_error(attempt, "connect", "4.4.1", "cannot connect to", text);
    attempt_close(attempt, CONNECTION_CLOSE_NOW, true);
}

static void on_received(struct connection *connection, const uint8_t *data, size_t len)
{
    struct attempt *attempt = connection->owner;
    uint32_t head = attempt->client.outstanding_first;
    bool begun = client_reply_begun(&attempt->client);
    if (attempt->log_data && attempt->state != ATTEMPT_CLOSING) {
        attempt_log_received(attempt, bytes_of((const char *)data, len));
    }
    client_receive(&attempt->client, data, len);
    schedule_act_on_mode(attempt->site); /* before a body follows that a reply now forbids */
    if (attempt->state == ATTEMPT_CLOSING) {
        return;
    }
    if (attempt->client.outstanding_first != head ||
        (!begun && client_reply_begun(&attempt->client))) {
        attempt_watch(attempt); /* a reply was complete: the next one's time begins */
    }
    attempt_pump(attempt);
}

static void on_sent(struct connection *connection)
{
    struct attempt *attempt = connection->owner;
    attempt_free_lingering(attempt);
    if (attempt->state == ATTEMPT_CLOSING) {
        return;
    }
    client_sent(&attempt->client);
    if (attempt->tls_wanted) {
        attempt->tls_wanted = false;
        attempt_start_tls(attempt);
        return;
    }
    attempt_watch(attempt);
    attempt_pump(attempt);
}

static void on_secured(struct connection *connection, int result)
{
    struct attempt *attempt = connection->owner;
    if (attempt->state == ATTEMPT_CLOSING) {
        return;
    }
    if (result == 0) {
        attempt_log_tls(attempt, NULL);
        client_secured(&attempt->client);
        attempt_watch(attempt);
        attempt_pump(attempt);
        return;
    }
    const char *why = connection->tls == NULL ? "" : tls_failure(connection->tls);
    attempt_log_tls(attempt, why);
    attempt_note_error(attempt, "starttls", "4.7.5", "TLS handshake failed:", why);
    if (attempt->tls_level == TLS_NEED_OPPORTUNISTIC) {
        LOG_INFO("%s: TLS with %s failed (%s): going on in the clear", attempt->site->name,
                 attempt->host_name, why);
        attempt_remember_fault(attempt, HOST_FAULT_TLS);
        attempt->repeat_address = true; /* without TLS */
    }
    attempt_close(attempt, CONNECTION_CLOSE_NOW, true);
}

static void on_lost(struct connection *connection, int error)
{
    struct attempt *attempt = connection->owner;
    if (attempt->state == ATTEMPT_CLOSING) {
        return;
    }
    enum client_stage stage = CLIENT_STAGE_GREETING;
    client_waiting(&attempt->client, &stage);
    const char *words = error == 0            ? "connection closed by peer"
                        : error == -ETIMEDOUT ? "timed out"
                                              : strerror(-error);
    attempt_note_error(attempt, client_stage_name(stage), "4.4.2", words, attempt->peer_text);
    bool was_ready = attempt->state == ATTEMPT_READY;
    attempt->peer_left = true;
    attempt->silent_final = error == -ETIMEDOUT && stage == CLIENT_STAGE_FINAL &&
                            !connection_sending(connection) &&
                            !client_reply_begun(&attempt->client);
    attempt->state = ATTEMPT_CLOSING;
    client_lost(&attempt->client);
    attempt_close(attempt, error == 0 ? CONNECTION_CLOSE_NOW : CONNECTION_CLOSE_ABORT, !was_ready);
}

static void on_closed(struct connection *connection)
{
    struct attempt *attempt = connection->owner;
    attempt_free_lingering(attempt);
    attempt_end_transactions(attempt);
    attempt_log_ended(attempt);
    if (attempt->try_next_address && !attempt->attempts->scheduler->draining) {
        attempt->try_next_address = false;
        next_address(attempt);
    } else {
        attempt_finish(attempt);
    }
}

const struct connection_events attempt_connection_events = {
    .opened = on_opened,
    .received = on_received,
    .sent = on_sent,
    .secured = on_secured,
    .lost = on_lost,
    .closed = on_closed,
};

/* ---- entry points ---- */

void attempt_reload(struct attempt *attempt)
{
    const struct site *site = attempt->site;
    attempt->source = NULL;
    if (attempt->resolving != NULL) {
        resolve_change_settings(&attempt->resolving->request, site->settings);
        return;
    }
    if (attempt->state == ATTEMPT_RESOLVING || attempt->state == ATTEMPT_CLOSING) {
        return;
    }
    attempt->client_settings.auth = outbound_credentials(site->settings); /* the old ones go */
    bool ours = vmta_has_source(&site->lane->vmta, &attempt->source_address);
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        const struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        if (!ours || !attempt_suits(attempt, queue)) {
            attempt_recall(attempt, queue);
        }
    }
    if (!ours || local_delivery_takes(site->settings)) {
        attempt_quit(attempt);
    }
}

void attempt_close(struct attempt *attempt, enum connection_close how, bool try_next)
{
    attempt->state = ATTEMPT_CLOSING;
    attempt->try_next_address = try_next;
    schedule_busy(attempt);
    timer_stop(io_timers(attempt->attempts->io), &attempt->timer);
    connection_close(&attempt->connection, how);
}

static void on_watchdog(struct timer *timer)
{
    struct attempt *attempt = CONTAINER_OF(timer, struct attempt, watchdog);
    LOG_ERROR("%s: no progress on the connection to %s in spite of its deadlines: aborted, "
              "messages are queued again",
              attempt->site->name, attempt->peer_text);
    attempt_note_error(
        attempt, "connect", "4.4.2",
        "no progress in spite of all deadlines, aborted by the watchdog:", attempt->peer_text);
    attempt_abort(attempt);
}

static void on_start(struct timer *timer)
{
    struct attempt *attempt = CONTAINER_OF(timer, struct attempt, timer);
    timer_init(&attempt->timer, attempt_on_timer);
    if (local_delivery_takes(attempt->site->settings)) {
        local_delivery_run(attempt);
    } else {
        start_resolving(attempt);
    }
}

struct attempt *attempt_open(struct attempts *attempts, struct site *site, struct queue *queue)
{
    struct attempt *attempt = slab_take(attempts->slab);
    if (attempt == NULL) {
        return NULL;
    }
    attempt->attempts = attempts;
    attempt->site = site;
    attempt->queue = queue;
    attempt->opened_ms = io_now_ms(attempts->io);
    attempt->state = ATTEMPT_RESOLVING;
    attempt->tls_level = (uint8_t)outbound_tls_level(site->settings, queue->tls_need);
    attempt->host_name = "";
    list_init(&attempt->on_wire);
    list_init(&attempt->lingering);
    timer_init(&attempt->watchdog, on_watchdog);
    timer_init(&attempt->timer, on_start);
    timer_start(io_timers(attempts->io), &attempt->timer, 0);
    return attempt;
}

void attempt_abort(struct attempt *attempt)
{
    if (attempt->state == ATTEMPT_CLOSING) {
        return;
    }
    enum attempt_state state = attempt->state;
    attempt->state = ATTEMPT_CLOSING;
    if (state == ATTEMPT_RESOLVING) {
        if (attempt->resolving != NULL) {
            resolve_cancel(&attempt->resolving->request); /* goes on in on_resolved */
        } else if (attempt->local != NULL) {
            local_job_hurry(attempt->local); /* goes on in local_delivery_go_on */
        } else {
            destroy(attempt);
        }
        return;
    }
    attempt->end_words = "broken off by us";
    if (state != ATTEMPT_CONNECTING) {
        client_lost(&attempt->client);
    }
    attempt_close(attempt, CONNECTION_CLOSE_ABORT, false);
}
