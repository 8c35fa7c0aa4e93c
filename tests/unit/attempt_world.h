/* One connection with the real client core, transactions and queues, to a host that the test plays.
 * Scheduler, outcomes, spool, resolver, sockets and clock are the test's own. Include once per
 * binary, after test.h.
 *
 * `wire` is what the host has been sent; host_says answers. Everything that is under way comes
 * home in settle. */
#ifndef TESTS_UNIT_ATTEMPT_WORLD_H
#define TESTS_UNIT_ATTEMPT_WORLD_H

#include <stdlib.h>

#include "attempt.h"
#include "config_files.h"
#include "host_places.h"
#include "io/io.h"
#include "io/work.h"
#include "net/tls.h"
#include "outcome.h"
#include "policy/domain.h"
#include "schedule.h"
#include "site.h"
#include "site_mode.h"
#include "site_sources.h"
#include "spools.h"

#define MESSAGES_MAX 16
#define WIRE_MAX     (4u << 20)

struct io {
    struct timers timers;
    uint64_t now_ms;
};

static struct world {
    struct io io;
    struct config *config;
    struct vmta_lane lane;
    struct scheduler scheduler;
    struct site *site;
    struct queue queues[2]; /* default, and one that requires TLS */
    struct attempts *attempts;
    struct attempt *attempt; /* NULL: gone */
    struct resolve_request *resolving;
    const struct domain_settings *resolving_with;
    struct connection *connection; /* open, or being closed */
    struct spool_read *read;
    struct message *messages[MESSAGES_MAX];
    const char *bodies[MESSAGES_MAX];
    uint32_t abandoned_count, message_count, opened_count, tq_count;
    char outcomes[64]; /* d, b, t in order */
    bool opening, sending, closing, hold_sends, slow_rates, tls_started, place_wanted, paused;
    enum connection_close how;
    uint64_t deadline_ms;
    char wire[WIRE_MAX];
    size_t wire_len;
} world;

/* ---- io, resolver ---- */

uint64_t io_now_ms(const struct io *io)
{
    return io->now_ms;
}

int64_t io_wall_ms(const struct io *io)
{
    return (int64_t)io->now_ms;
}

uint64_t io_random(struct io *io)
{
    return 4; /* no test of this world delivers into files */
}

bool work_submit(struct work_pool *pool, struct io *home, struct work *work)
{
    (void)pool, (void)home, (void)work;
    return false;
}

struct timers *io_timers(struct io *io)
{
    return &io->timers;
}

void resolve_domain(struct resolver *resolver, struct resolve_request *request, const char *domain,
                    const struct domain_settings *settings, bool ipv4, bool ipv6)
{
    (void)resolver, (void)domain, (void)ipv4, (void)ipv6;
    world.resolving = request;
    world.resolving_with = settings;
}

void resolve_change_settings(struct resolve_request *request,
                             const struct domain_settings *settings)
{
    CHECK(request == world.resolving);
    world.resolving_with = settings;
}

void resolve_cancel(struct resolve_request *request)
{
    CHECK(request == world.resolving);
}

/* No site here is a roll-up. */
void route_keep(struct route *route, bool (*keep)(const void *owner, const char *host),
                const void *owner)
{
    (void)keep;
    (void)owner;
    CHECK(route == NULL);
}

void route_unref(struct route *route)
{
    if (route != NULL && --route->refs == 0) {
        free(route);
    }
}

static struct route *make_route(void)
{
    struct route *route =
        calloc(1, sizeof *route + sizeof(struct route_host) + sizeof(struct address));
    route->refs = 1;
    route->host_count = route->address_count = 1;
    route->hosts = (struct route_host *)(route + 1);
    route->addresses = (struct address *)(route->hosts + 1);
    snprintf(route->hosts[0].name, sizeof route->hosts[0].name, "mx.example");
    route->hosts[0].address_count = 1;
    route->addresses[0] =
        (struct address){.family = ADDRESS_IPV4, .port = 25, .ip = {192, 0, 2, 1}};
    return route;
}

/* ---- the connection ---- */

void connection_open(struct connection *connection, struct io *io,
                     const struct connection_events *events, void *owner,
                     const struct connection_target *target)
{
    *connection = (struct connection){.events = events, .owner = owner, .io = io};
    connection->peer = target->peer;
    world.connection = connection;
    world.opened_count++;
    world.opening = true;
    world.sending = world.closing = world.tls_started = false;
}

void connection_send(struct connection *connection, struct iovec *iov, size_t iov_count)
{
    CHECK(connection == world.connection && !world.sending && !world.closing);
    for (size_t i = 0; i < iov_count; i++) {
        CHECK(world.wire_len + iov[i].iov_len < WIRE_MAX);
        memcpy(world.wire + world.wire_len, iov[i].iov_base, iov[i].iov_len);
        world.wire_len += iov[i].iov_len;
    }
    world.wire[world.wire_len] = '\0';
    world.sending = true;
}

void connection_pause_reading(struct connection *connection)
{
    CHECK(connection == world.connection);
    world.paused = true;
}

void connection_resume_reading(struct connection *connection)
{
    CHECK(connection == world.connection);
    world.paused = false;
}

bool connection_sending(const struct connection *connection)
{
    (void)connection;
    return world.sending;
}

void connection_start_tls(struct connection *connection, struct tls_session *session,
                          uint64_t timeout_ms)
{
    (void)timeout_ms;
    CHECK(connection == world.connection && session != NULL && !world.sending);
    world.tls_started = true;
}

void connection_set_deadline(struct connection *connection, uint64_t due_ms)
{
    CHECK(connection == world.connection);
    world.deadline_ms = due_ms;
}

void connection_close(struct connection *connection, enum connection_close how)
{
    CHECK(connection == world.connection);
    world.closing = true;
    world.how = how;
}

struct tls_profile *tls_profile_create(struct tls_worker *worker,
                                       const struct tls_profile_settings *settings,
                                       struct error *error)
{
    (void)worker, (void)settings, (void)error;
    return (struct tls_profile *)&world;
}

void tls_profile_destroy(struct tls_profile *profile)
{
    CHECK(profile == (struct tls_profile *)&world);
}

struct tls_session *tls_client_create(struct tls_profile *profile,
                                      const struct tls_client_options *options)
{
    (void)profile, (void)options;
    return (struct tls_session *)&world;
}

const char *tls_failure(const struct tls_session *session)
{
    (void)session;
    return "";
}

void tls_info(const struct tls_session *session, struct tls_info *out)
{
    (void)session;
    *out = (struct tls_info){0};
}

/* ---- spool, scheduler, outcomes ---- */

struct spool *spools_of(const struct spools *spools, const struct message *message)
{
    (void)spools, (void)message;
    return NULL;
}

void spool_read_body(struct spool *spool, uint32_t worker, struct spool_read *read,
                     const struct message *message, uint64_t offset, char *data, uint32_t len)
{
    (void)spool, (void)worker;
    for (uint32_t i = 0; i < world.message_count; i++) {
        if (world.messages[i] == message) {
            memcpy(data, world.bodies[i] + offset, len);
        }
    }
    CHECK(world.read == NULL);
    world.read = read;
}

void spool_read_abandon(struct spool_read *read)
{
    CHECK(read == world.read);
    world.abandoned_count++;
}

struct transaction *schedule_next(struct scheduler *scheduler, struct attempt *attempt)
{
    (void)scheduler;
    for (int i = 0; i < 2; i++) {
        struct queue *queue = &world.queues[i];
        struct rcpt *taken[4];
        if (!queue_sendable(queue, world.io.now_ms) || !attempt_suits(attempt, queue)) {
            continue;
        }
        uint32_t count = queue_take(queue, 4, taken);
        struct transaction *transaction =
            prepare_create(attempts_preparer(world.attempts), attempt, queue, taken, count);
        transaction->taken_ms = world.io.now_ms;
        return transaction;
    }
    return NULL;
}

uint32_t schedule_take_rate(struct scheduler *scheduler, const struct attempt *attempt,
                            uint32_t want, uint64_t *again_ms)
{
    (void)scheduler, (void)attempt;
    *again_ms = world.io.now_ms + 600;
    return world.slow_rates ? 0 : want;
}

/* No address has limits. */
bool volume_hold(struct attempt *attempt, struct transaction *transaction, uint64_t *again_ms)
{
    (void)attempt, (void)transaction, (void)again_ms;
    return true;
}

void volume_settle(struct attempt *attempt, struct transaction *transaction, bool delivered)
{
    (void)attempt, (void)transaction, (void)delivered;
}

bool host_places_begin(const struct attempt *attempt, uint16_t *address_index)
{
    (void)attempt, (void)address_index;
    return false;
}

void host_places_aim(struct attempt *attempt, const struct route_host *host,
                     const struct address *peer)
{
    (void)attempt, (void)host, (void)peer;
}

bool host_places_free(struct attempt *attempt, const struct address *source)
{
    (void)attempt, (void)source;
    return true;
}

bool host_places_take(struct attempt *attempt, const struct address *source)
{
    (void)attempt, (void)source;
    return true;
}

bool host_places_were_full(const struct attempt *attempt)
{
    (void)attempt;
    return false;
}

bool host_places_wish(struct attempt *attempt)
{
    (void)attempt;
    return false;
}

void host_places_decide(struct attempt *attempt)
{
    (void)attempt;
}

bool site_source_is_free(struct site *site, const struct vmta_source *source, uint64_t now_ms)
{
    (void)site, (void)source, (void)now_ms;
    return true;
}

void site_source_take(struct attempt *attempt, const struct vmta_source *source)
{
    (void)attempt, (void)source;
}

void site_source_release(struct attempt *attempt)
{
    (void)attempt;
}

bool site_sources_hold(struct site *site, enum address_family family, uint64_t now_ms)
{
    (void)site, (void)family, (void)now_ms;
    return false;
}

bool schedule_domain_to_resolve(const struct site *site, const struct queue *queue,
                                char out[DNS_NAME_MAX])
{
    (void)queue;
    snprintf(out, DNS_NAME_MAX, "%.*s", BYTES_FMT(site_domain(site)));
    return true;
}

bool schedule_hosts_known(struct site *site, const struct queue *queue, const char *domain,
                          const struct mx_hosts *mx, uint64_t until_ms)
{
    (void)site;
    (void)queue;
    (void)domain;
    (void)mx;
    (void)until_ms;
    return true;
}

void schedule_opened(struct scheduler *scheduler, struct attempt *attempt)
{
    (void)scheduler, (void)attempt;
}

bool schedule_idle(struct scheduler *scheduler, struct attempt *attempt)
{
    (void)scheduler;
    if (world.place_wanted) {
        attempt->places.promised = true;
        return false;
    }
    list_push_back(&world.site->idle, &attempt->idle_node);
    return true;
}

void schedule_busy(struct attempt *attempt)
{
    list_remove(&attempt->idle_node);
}

/* The site is as it always was. */
bool site_source_allowed(const struct site *site, const struct address *source, uint64_t now_ms)
{
    (void)site, (void)source, (void)now_ms;
    return true;
}

bool site_skips_host(const struct site *site, const struct address *host, uint64_t now_ms)
{
    (void)site, (void)host, (void)now_ms;
    return false;
}

void schedule_act_on_mode(struct site *site)
{
    (void)site;
}

void schedule_closed(struct scheduler *scheduler, struct attempt *attempt)
{
    (void)scheduler;
    CHECK(attempt == world.attempt);
    list_remove(&attempt->site_node);
    world.attempt = NULL;
}

void schedule_clock_moved(struct scheduler *scheduler, struct queue *queue)
{
    (void)scheduler, (void)queue;
}

static void note_outcome(char type)
{
    world.outcomes[strlen(world.outcomes)] = type;
}

void outcome_of_rcpt(struct outcomes *outcomes, const struct attempt *attempt, struct rcpt *rcpt,
                     enum client_stage stage, const struct reply *reply, bool after_dot_lost)
{
    (void)outcomes, (void)attempt, (void)stage, (void)after_dot_lost;
    if (reply_is_positive(reply) || reply_is_permanent(reply)) {
        note_outcome(reply_is_positive(reply) ? 'd' : 'b');
        queue_done(rcpt->queue, rcpt);
    } else {
        note_outcome('t');
        queue_defer(rcpt->queue, rcpt, world.io.now_ms + 3600000, world.io.now_ms);
    }
}

void outcome_of_queue(struct outcomes *outcomes, const struct attempt *attempt, struct queue *queue,
                      enum client_stage stage, const char *stage_name, const struct reply *reply,
                      bool hold_queue)
{
    (void)outcomes, (void)attempt, (void)queue, (void)stage, (void)stage_name, (void)reply;
    (void)hold_queue;
    world.tq_count++;
}

bool outcome_bounce_ready(struct outcomes *outcomes, const struct attempt *attempt,
                          struct queue *queue, const char *stage_name, const struct reply *reply)
{
    (void)outcomes, (void)attempt, (void)queue, (void)stage_name, (void)reply;
    return false;
}

void outcome_bounce_older(struct outcomes *outcomes, const struct attempt *attempt,
                          struct queue *queue, const char *stage_name, uint64_t age_ms)
{
    (void)outcomes, (void)attempt, (void)queue, (void)stage_name, (void)age_ms;
}

/* ---- what the test does ---- */

static void on_changed(struct queue *queue)
{
    (void)queue;
}

static void on_expired(struct queue *queue, struct rcpt *rcpt)
{
    (void)queue, (void)rcpt;
    bool expired = true;
    CHECK(!expired);
}

static void add_source(const char *text)
{
    struct address address;
    CHECK(address_parse(bytes_from_string(text), &address));
    vmta_add_source(&world.lane.vmta, &address, BYTES("us.example"));
}

static void begin_world(const char *configuration)
{
    memset(&world, 0, sizeof world);
    world.io.now_ms = 1000000;
    timers_init(&world.io.timers, world.io.now_ms);
    world.config = load_good(configuration);
    CHECK(world.config != NULL);
    vmta_init(&world.lane.vmta, BYTES("a"));
    add_source("192.0.2.99");
    world.site = calloc(1, sizeof *world.site + 32);
    snprintf(world.site->name, 32, "one.example/a");
    world.site->domain_len = (uint32_t)strlen("one.example");
    world.site->lane = &world.lane;
    world.site->settings = config_domain(world.config, NULL, BYTES("one.example"));
    list_init(&world.site->queues);
    list_init(&world.site->sendable);
    list_init(&world.site->attempts);
    list_init(&world.site->idle);
    for (int i = 0; i < 2; i++) {
        queue_init(&world.queues[i], world.site, i == 0 ? TLS_NEED_DEFAULT : TLS_NEED_REQUIRE,
                   &world.io.timers, UINT64_MAX, on_changed, on_expired);
        list_push_back(&world.site->queues, &world.queues[i].site_node);
    }
    world.attempts = attempts_create(&(struct attempts_options){.io = &world.io,
                                                                .scheduler = &world.scheduler,
                                                                .attempts_max = 10,
                                                                .prepared_bytes_max = 1 << 20});
}

/* Everything under way comes home. */
static void settle(void)
{
    for (int turn = 0; turn < 20; turn++) {
        timers_run(&world.io.timers, world.io.now_ms);
        if (world.read != NULL) {
            struct spool_read *read = world.read;
            world.read = NULL;
            read->done(read, 0);
        }
        if (world.sending && !world.hold_sends && !world.closing) {
            world.sending = false;
            world.connection->events->sent(world.connection);
        }
        if (world.closing) {
            world.sending = world.closing = false;
            world.connection->events->closed(world.connection);
        }
    }
}

static void pass(uint64_t ms)
{
    for (uint64_t end = world.io.now_ms + ms; world.io.now_ms < end;) {
        world.io.now_ms += end - world.io.now_ms < 500 ? end - world.io.now_ms : 500;
        settle();
    }
}

/* A message for queue 0 or 1; the body must stay where it is. */
static struct message *put(int queue, const char *body)
{
    struct envelope_rcpt rcpt = {.address = BYTES("r@one.example"), .domain_len = 11};
    bool dots = body[0] == '.' || strstr(body, "\n.") != NULL;
    struct message *message =
        message_create(&(struct envelope){.sender = BYTES("s@us.example"),
                                          .body_size = strlen(body),
                                          .flags = dots ? MESSAGE_DOT_LINES : 0,
                                          .rcpts = &rcpt,
                                          .rcpt_count = 1});
    world.messages[world.message_count] = message;
    world.bodies[world.message_count++] = body;
    queue_put(&world.queues[queue], &message->rcpts[0], 0, world.io.now_ms);
    return message;
}

static void host_says(const char *text)
{
    CHECK(world.connection != NULL);
    world.connection->events->received(world.connection, (const uint8_t *)text, strlen(text));
    settle();
}

static void forget_wire(void)
{
    world.wire_len = 0;
    world.wire[0] = '\0';
}

static bool was_sent(const char *text)
{
    return strstr(world.wire, text) != NULL;
}

static void open_attempt(int queue)
{
    world.attempt = attempt_open(world.attempts, world.site, &world.queues[queue]);
    list_push_back(&world.site->attempts, &world.attempt->site_node);
    settle();
}

static void answer_resolver(void)
{
    struct resolve_request *request = world.resolving;
    world.resolving = NULL;
    request->done(request, make_route());
}

/* Up to the host's EHLO answer, which offers these. */
static void connect_to(const char *ehlo_answer)
{
    open_attempt(0);
    answer_resolver();
    world.connection->events->opened(world.connection, 0);
    host_says("220 mx.example ESMTP\r\n");
    forget_wire();
    host_says(ehlo_answer);
}

static inline void peer_leaves(void)
{
    world.connection->events->lost(world.connection, 0);
    settle();
}

static void end_world(void)
{
    if (world.attempt != NULL) {
        attempt_abort(world.attempt);
        if (world.resolving != NULL) {
            struct resolve_request *request = world.resolving;
            world.resolving = NULL;
            request->done(request, NULL);
        }
        settle();
    }
    CHECK(world.attempt == NULL);
    attempts_destroy(world.attempts);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(world.queues[i].taken_count, 0);
        queue_deinit(&world.queues[i]);
    }
    for (uint32_t i = 0; i < world.message_count; i++) {
        message_free(world.messages[i]);
    }
    vmta_deinit(&world.lane.vmta);
    free(world.site);
    unload(world.config);
}

#endif
