/* A scheduler with real queues, sites and outcomes, over connections, a spool, letters and a clock
 * of the test's own. Include once per binary, after test.h.
 *
 * Two workers share limits; letters between them lie in a list until deliver_letters, answers to
 * them until the next. A connection opens when the test says so (establish) and takes mail when
 * the scheduler offers it.
 * Named states are stable in the next turn, unless the test holds them back, and are found again
 * by the schedulers of the next life (begin_life). */
#ifndef TESTS_UNIT_SCHEDULE_WORLD_H
#define TESTS_UNIT_SCHEDULE_WORLD_H

#include <stdlib.h>

#include "attempt.h"
#include "common_rates.h"
#include "config_files.h"
#include "io/io.h"
#include "journal.h"
#include "message.h"
#include "outcome.h"
#include "policy/domain.h"
#include "prepare.h"
#include "schedule.h"
#include "schedule_private.h"
#include "spools.h"
#include "vmta/limits.h"

#define ATTEMPTS_MAX 64
#define EVENTS_MAX   4096
#define WORKERS      2
#define STATES_MAX   32

struct io {
    struct timers timers;
    uint64_t now_ms;
};

struct attempts {
    struct attempt *made[ATTEMPTS_MAX];
    uint32_t count, offers;
    bool greedy; /* who is offered mail takes one message */
};

struct state {
    char key[512], value[4096]; /* no value: it is not there */
};

/* What is on disk, and so survives this life. */
static struct stored {
    struct state states[STATES_MAX];
    uint32_t count;
} stored;

struct state_write {
    struct spool_write *write;
    struct state state;
};

static struct world {
    struct io io;
    struct attempts attempts;
    struct limits *limits;
    struct common_rates *common_rates;
    struct config *config;
    struct scheduler *schedulers[WORKERS];
    struct outcomes *outcomes[WORKERS];
    struct list letters;
    struct message *messages[EVENTS_MAX];
    uint32_t message_count;
    char events[EVENTS_MAX]; /* types, in order */
    uint64_t next_attempt_ms[EVENTS_MAX];
    char category[64], class[16]; /* of the last event */
    struct rcpt *sent_on[EVENTS_MAX];
    uint32_t sent_on_count;
    uint32_t event_count, recall_count, quit_count, letter_count;
    bool held;
    struct state_write writes[STATES_MAX]; /* not yet stable */
    uint32_t write_count, stable_count;
    bool writes_held;
    uint32_t held_log; /* 0: none */
} world;

/* ---- what stands below and beside the scheduler ---- */

uint64_t io_now_ms(const struct io *io)
{
    return io->now_ms;
}

int64_t io_wall_ms(const struct io *io)
{
    return (int64_t)io->now_ms + 1000000;
}

struct timers *io_timers(struct io *io)
{
    return &io->timers;
}

size_t io_local_addresses(struct io *io, struct address *out, size_t max)
{
    (void)io, (void)out, (void)max;
    return 0;
}

void mailbox_post(struct mailboxes *mailboxes, uint32_t from, uint32_t to, enum mailbox_lane lane,
                  struct letter *letter)
{
    (void)mailboxes, (void)from, (void)to, (void)lane;
    world.letter_count++;
    list_push_back(&world.letters, &letter->node);
}

bool spools_held(const struct spools *spools)
{
    (void)spools;
    return world.held;
}

bool spools_holds(const struct spools *spools, const struct message *message)
{
    (void)spools;
    return world.held_log != 0 && message_log_index(message) == world.held_log;
}

bool spools_stalled(const struct spools *spools, uint32_t worker)
{
    (void)spools, (void)worker;
    return false;
}

struct spool *spools_home(const struct spools *spools)
{
    (void)spools;
    return NULL;
}

struct spool *spools_of(const struct spools *spools, const struct message *message)
{
    (void)spools, (void)message;
    return NULL;
}

struct spool *spools_for_event(const struct spools *spools)
{
    (void)spools;
    return NULL;
}

uint64_t spool_log_id(const struct spool *spool)
{
    (void)spool;
    return 7;
}

void spool_put_outcome(struct spool *spool, uint32_t worker, const struct spool_outcome *outcome)
{
    (void)spool, (void)worker;
    struct event event;
    CHECK(journal_decode(outcome->event, &event));
    CHECK(world.event_count < EVENTS_MAX);
    world.next_attempt_ms[world.event_count] = event.next_attempt_wall_ms;
    world.events[world.event_count++] = (char)event.type;
    snprintf(world.category, sizeof world.category, "%.*s", BYTES_FMT(event.bounce_category));
    snprintf(world.class, sizeof world.class, "%.*s", BYTES_FMT(event.bounce_class));
}

void spool_write_state(struct spool *spool, uint32_t worker, struct bytes key, struct bytes value,
                       struct spool_write *write)
{
    (void)spool, (void)worker;
    CHECK(world.write_count < STATES_MAX);
    struct state_write *out = &world.writes[world.write_count++];
    out->write = write;
    snprintf(out->state.key, sizeof out->state.key, "%.*s", BYTES_FMT(key));
    snprintf(out->state.value, sizeof out->state.value, "%.*s", BYTES_FMT(value));
}

static struct state *state_of(const char *key)
{
    for (uint32_t i = 0; i < stored.count; i++) {
        if (strcmp(stored.states[i].key, key) == 0) {
            return &stored.states[i];
        }
    }
    CHECK(stored.count < STATES_MAX);
    snprintf(stored.states[stored.count].key, sizeof stored.states[0].key, "%s", key);
    return &stored.states[stored.count++];
}

/* What it is on disk; "": it is not there. */
static inline const char *value_of(const char *key)
{
    return state_of(key)->value;
}

static bool settle_writes(void)
{
    if (world.writes_held || world.write_count == 0) {
        return false;
    }
    static struct state_write writes[STATES_MAX];
    uint32_t count = world.write_count;
    memcpy(writes, world.writes, sizeof writes);
    world.write_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(state_of(writes[i].state.key)->value, writes[i].state.value,
               sizeof writes[i].state.value);
        world.stable_count++;
        writes[i].write->stable(writes[i].write);
    }
    return true;
}

void tls_info(const struct tls_session *session, struct tls_info *out)
{
    (void)session;
    *out = (struct tls_info){0};
}

void route_unref(struct route *route)
{
    CHECK(route == NULL);
}

/* ---- connections of the test's own ---- */

struct preparer *attempts_preparer(struct attempts *attempts)
{
    (void)attempts;
    return NULL;
}

void attempts_forget_profiles(struct attempts *attempts)
{
    (void)attempts;
}

bool attempt_suits(const struct attempt *attempt, const struct queue *queue)
{
    return queue->tls_need <= attempt->tls_level;
}

struct attempt *attempt_open(struct attempts *attempts, struct site *site, struct queue *queue)
{
    if (attempts->count == ATTEMPTS_MAX) {
        return NULL;
    }
    struct attempt *attempt = calloc(1, sizeof *attempt);
    attempt->attempts = attempts;
    attempt->site = site;
    attempt->queue = queue;
    attempt->tls_level = queue->tls_need;
    attempt->state = ATTEMPT_CONNECTING;
    attempt->host_name = "mx.example";
    list_init(&attempt->on_wire);
    attempts->made[attempts->count++] = attempt;
    return attempt;
}

struct transaction *prepare_create(struct preparer *preparer, struct attempt *attempt,
                                   struct queue *queue, struct rcpt *const *rcpts, uint32_t count)
{
    (void)preparer;
    struct transaction *transaction = calloc(1, sizeof *transaction);
    transaction->attempt = attempt;
    transaction->queue = queue;
    transaction->rcpts = calloc(count, sizeof *transaction->rcpts);
    memcpy(transaction->rcpts, rcpts, count * sizeof *rcpts);
    transaction->rcpt_count = count;
    return transaction;
}

/* It takes a message, if it is to and there is one, or rests. */
static void go_on(struct attempt *attempt)
{
    bool may_take = !attempt->used_up && !attempt->quitting;
    if (attempt->attempts->greedy && may_take && attempt->next == NULL) {
        attempt->next = schedule_next(attempt->site->scheduler, attempt);
    }
    if (attempt->next == NULL && !attempt->quitting &&
        !schedule_idle(attempt->site->scheduler, attempt)) {
        attempt_quit(attempt);
    }
}

void attempt_offer(struct attempt *attempt)
{
    struct attempts *attempts = attempt->attempts;
    CHECK(++attempts->offers < 1000);
    schedule_busy(attempt);
    go_on(attempt);
}

void attempt_recall(struct attempt *attempt, const struct queue *queue)
{
    (void)attempt, (void)queue;
    world.recall_count++;
}

void attempt_quit(struct attempt *attempt)
{
    schedule_busy(attempt);
    attempt->quitting = true;
    world.quit_count++;
}

void attempt_reload(struct attempt *attempt)
{
    attempt->source = NULL;
}

void attempt_abort(struct attempt *attempt)
{
    attempt->state = ATTEMPT_CLOSING;
}

/* ---- what the test does ---- */

static bool note_sent_on(void *owner, struct rcpt *rcpt, struct destination to)
{
    (void)owner;
    (void)to;
    world.sent_on[world.sent_on_count++] = rcpt;
    return true;
}

static struct scheduler *make_scheduler(uint32_t worker)
{
    struct scheduler *scheduler = scheduler_create(&(struct scheduler_options){
        .io = &world.io,
        .limits = world.limits,
        .common_rates = world.common_rates,
        .config = world.config,
        .worker = worker,
        .workers = WORKERS,
        .host_name = "host.example",
        .others = world.schedulers,
        .send_on = note_sent_on,
    });
    world.outcomes[worker] = outcomes_create(&(struct outcomes_options){
        .io = &world.io, .scheduler = scheduler, .config = world.config, .worker = worker});
    scheduler_attach(scheduler, &world.attempts, world.outcomes[worker]);
    return scheduler;
}

static void begin_at(const char *configuration, uint64_t now_ms)
{
    world = (struct world){.io = {.now_ms = now_ms}, .attempts = {.greedy = true}};
    timers_init(&world.io.timers, world.io.now_ms);
    list_init(&world.letters);
    world.limits = limits_create(20000);
    world.common_rates = common_rates_create();
    world.config = load_good(configuration);
    CHECK(world.config != NULL);
    for (uint32_t i = 0; i < WORKERS; i++) {
        world.schedulers[i] = make_scheduler(i);
    }
}

static void begin_world(const char *configuration)
{
    stored = (struct stored){0};
    begin_at(configuration, 5000000);
}

static void deliver_letters(void)
{
    struct list letters;
    struct list_node *node;
    list_init(&letters);
    list_splice_back(&letters, &world.letters);
    while ((node = list_pop_front(&letters)) != NULL) {
        struct letter *letter = CONTAINER_OF(node, struct letter, node);
        letter->deliver(letter);
    }
}

static void run(void)
{
    for (int turn = 0; turn < 100; turn++) {
        bool more = false;
        deliver_letters();
        for (uint32_t i = 0; i < WORKERS; i++) {
            more |= schedule_run(world.schedulers[i]);
        }
        more |= settle_writes() || !list_empty(&world.letters);
        if (!more) {
            return;
        }
    }
    bool rests = false;
    CHECK(rests); /* the schedulers do not */
}

static inline void pass(uint64_t ms)
{
    world.io.now_ms += ms;
    timers_run(&world.io.timers, world.io.now_ms);
    run();
}

static struct message *make_message(const char *vmta, const char *address, enum tls_need need)
{
    struct bytes to = bytes_from_string(address);
    struct envelope_rcpt rcpt = {
        .address = to, .domain_len = (uint16_t)(to.len - (size_t)bytes_find(to, '@', 0) - 1)};
    struct message *message = message_create(&(struct envelope){.sender = BYTES("s@example.org"),
                                                                .vmta = bytes_from_string(vmta),
                                                                .accepted_wall_ms = 1,
                                                                .body_size = 100,
                                                                .tls_need = (uint8_t)need,
                                                                .rcpts = &rcpt,
                                                                .rcpt_count = 1});
    message->accepted_ms = (int64_t)world.io.now_ms;
    world.messages[world.message_count++] = message;
    return message;
}

static struct message *arrive_at(uint32_t worker, const char *vmta, const char *address,
                                 enum tls_need need)
{
    struct message *message = make_message(vmta, address, need);
    schedule_arrive(world.schedulers[worker], &message->rcpts[0],
                    (struct destination){bytes_from_string(vmta), rcpt_domain(&message->rcpts[0])});
    return message;
}

/* Sent there by a rule. */
static inline struct message *arrive_as_guest(const char *vmta, const char *address,
                                              const char *domain)
{
    struct message *message = make_message(vmta, address, TLS_NEED_DEFAULT);
    schedule_arrive(world.schedulers[0], &message->rcpts[0],
                    (struct destination){bytes_from_string(vmta), bytes_from_string(domain)});
    return message;
}

static inline struct message *arrive(const char *vmta, const char *address)
{
    return arrive_at(0, vmta, address, TLS_NEED_DEFAULT);
}

/* The n-th connection that was opened is up; it takes a message if there is one. */
static inline void establish(uint32_t n)
{
    struct attempt *attempt = world.attempts.made[n];
    attempt->state = ATTEMPT_READY;
    attempt->queue = NULL;
    schedule_opened(attempt->site->scheduler, attempt);
    attempt->next = schedule_next(attempt->site->scheduler, attempt);
    go_on(attempt);
    run();
}

static inline void free_transaction(struct transaction *transaction)
{
    free(transaction->rcpts);
    free(transaction);
}

/* What it carries is answered so; then it goes on, in the same turn. */
static inline void reply_to(uint32_t n, uint16_t code, const char *enhanced, const char *text)
{
    struct attempt *attempt = world.attempts.made[n];
    struct transaction *transaction = attempt->next;
    CHECK(transaction != NULL);
    struct reply reply;
    reply_make(&reply, code, enhanced, text);
    for (uint32_t i = 0; i < transaction->rcpt_count; i++) {
        outcome_of_rcpt(world.outcomes[attempt->site->scheduler->worker], attempt,
                        transaction->rcpts[i], CLIENT_STAGE_FINAL, &reply, false);
    }
    free_transaction(transaction);
    attempt->next = NULL;
    go_on(attempt);
}

static inline void answer_with(uint32_t n, uint16_t code, const char *enhanced, const char *text)
{
    reply_to(n, code, enhanced, text);
    run();
}

static inline void answer(uint32_t n, uint16_t code, const char *enhanced)
{
    answer_with(n, code, enhanced, "so");
}

static inline void close_attempt(uint32_t n)
{
    struct attempt *attempt = world.attempts.made[n];
    if (attempt == NULL) {
        return;
    }
    struct transaction *transaction = attempt->next;
    for (uint32_t i = 0; transaction != NULL && i < transaction->rcpt_count; i++) {
        queue_give_back(transaction->queue, transaction->rcpts[i], world.io.now_ms);
    }
    if (transaction != NULL) {
        free_transaction(transaction);
    }
    world.attempts.made[n] = NULL;
    schedule_closed(attempt->site->scheduler, attempt);
    free(attempt);
}

/* It could not be opened. */
static inline void fail_to_open(uint32_t n)
{
    struct attempt *attempt = world.attempts.made[n];
    struct reply reply;
    reply_make(&reply, 421, "4.4.1", "cannot connect");
    outcome_of_queue(world.outcomes[attempt->site->scheduler->worker], attempt, attempt->queue,
                     CLIENT_STAGE_GREETING, "connect", &reply, true);
    close_attempt(n);
    run();
}

static inline struct site *site_of(const struct message *message)
{
    return message->rcpts[0].queue->site;
}

static inline uint32_t open_count(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world.attempts.count; i++) {
        count += world.attempts.made[i] != NULL;
    }
    return count;
}

static void end_world(void)
{
    for (uint32_t i = 0; i < WORKERS; i++) {
        world.schedulers[i]->draining = true;
    }
    for (uint32_t i = 0; i < world.attempts.count; i++) {
        close_attempt(i);
    }
    deliver_letters(); /* there, and home */
    deliver_letters();
    for (uint32_t i = 0; i < WORKERS; i++) {
        scheduler_destroy(world.schedulers[i]);
        outcomes_destroy(world.outcomes[i]);
    }
    list_init(&world.letters);
    for (uint32_t i = 0; i < world.message_count; i++) {
        message_free(world.messages[i]);
    }
    common_rates_destroy(world.common_rates);
    limits_destroy(world.limits);
    unload(world.config);
}

/* A kill, and away_ms later the next life: its states go to the schedulers of `owner`. What was
 * written and not yet stable is lost. */
static inline void begin_life(const char *configuration, uint64_t away_ms, uint32_t owner)
{
    uint64_t now_ms = world.io.now_ms + away_ms;
    end_world();
    begin_at(configuration, now_ms);
    const struct kept_time at = {now_ms, io_wall_ms(&world.io)};
    common_rates_begin_full(world.common_rates, now_ms);
    for (uint32_t i = 0; i < WORKERS; i++) {
        schedule_begin_full(world.schedulers[i], now_ms);
    }
    for (uint32_t i = 0; i < stored.count; i++) {
        struct bytes site, key = bytes_from_string(stored.states[i].key);
        struct bytes value = bytes_from_string(stored.states[i].value);
        if (value.len == 0) {
            continue;
        }
        if (schedule_state_site(key, &site)) {
            schedule_restore(world.schedulers[owner], key, value, &at);
        } else {
            CHECK(common_rates_restore(world.common_rates, key, value, at.now_ms, at.wall_ms));
        }
    }
    common_rates_start(world.common_rates, &world.io, NULL, 0);
}

#endif
