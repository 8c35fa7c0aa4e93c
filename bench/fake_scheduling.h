/* What a scheduler stands on, in its place: io with a clock that stands still, a spool that only
 * says whether it may, connections that open and close when told.
 *
 * For measuring: whatever is done here is O(1) and allocates nothing once it runs, so that the
 * scheduler's cost is what is seen; tests have a world with outcomes and two workers
 * (tests/unit/schedule_world.h). engine/gates.c, schedule*.c, queue.c, site.c and
 * message.c are the real ones. One world at a time; include once per binary. */
#ifndef BENCH_FAKE_SCHEDULING_H
#define BENCH_FAKE_SCHEDULING_H

#include <assert.h>
#include <stdlib.h>

#include "attempt.h"
#include "io/io.h"
#include "io/mailbox.h"
#include "outcome.h"
#include "prepare.h"
#include "schedule.h"
#include "spools.h"
#include "tests/unit/config_files.h"

#define FAKE_LIMITS_MAX 1000000
#define FAKE_RCPTS_MAX  100
#define FAKE_NAME_MAX   128
#define FAKE_START_MS   1000000

struct io {
    struct timers timers;
    uint64_t now_ms;
};

struct spools {
    bool held, stalled;
};

struct attempts {
    struct list open, home; /* struct fake_attempt; those at home are used again */
    uint32_t open_max;      /* more cannot be opened: no memory */
    uint64_t offered, quit, aborted, recalled, reloaded;
};

struct fake_attempt {
    struct attempt attempt;
    struct list_node node; /* in attempts->open by age, or ->home */
    struct transaction transaction;
    struct rcpt *rcpts[FAKE_RCPTS_MAX];
};

static struct fake_scheduling {
    struct io io;
    struct spools spools;
    struct attempts attempts;
    struct config *config;
    struct limits *limits;
    struct scheduler *scheduler, *schedulers[1];
    uint64_t expired;
} fake;

/* ---- the world -------------------------------------------------------------------------- */

/* False: the configuration is not good (and what is wrong has been printed). */
static inline bool fake_begin(const char *configuration, uint64_t total_max)
{
    fake = (struct fake_scheduling){.io = {.now_ms = FAKE_START_MS}};
    fake.attempts.open_max = UINT32_MAX;
    list_init(&fake.attempts.open);
    list_init(&fake.attempts.home);
    timers_init(&fake.io.timers, fake.io.now_ms);
    fake.config = load_good(configuration);
    if (fake.config == NULL) {
        return false;
    }
    struct limit_wakes nobody = {0};
    fake.limits = limits_create(FAKE_LIMITS_MAX);
    limit_set_max(limits_entry(fake.limits, LIMIT_TOTAL, BYTES("smtp-out")), total_max, &nobody);
    fake.scheduler = scheduler_create(&(struct scheduler_options){.io = &fake.io,
                                                                  .spools = &fake.spools,
                                                                  .limits = fake.limits,
                                                                  .config = fake.config,
                                                                  .workers = 1,
                                                                  .others = fake.schedulers});
    assert(fake.scheduler != NULL);
    fake.schedulers[0] = fake.scheduler;
    scheduler_attach(fake.scheduler, &fake.attempts, NULL);
    return true;
}

/* A message of one recipient, its sender and body of no interest; the caller's. */
static inline struct message *fake_message(const char *vmta, const char *domain, uint64_t due_ms)
{
    char address[FAKE_NAME_MAX];
    int len = snprintf(address, sizeof(address), "recipient@%s", domain);
    assert(len > 0 && (size_t)len < sizeof(address));
    struct envelope_rcpt rcpt = {.address = bytes_of(address, (size_t)len),
                                 .domain_len = (uint16_t)strlen(domain)};
    struct envelope envelope = {.sender = BYTES("sender@sender.example"),
                                .vmta = bytes_from_string(vmta),
                                .not_before_wall_ms = (int64_t)due_ms,
                                .body_size = 4096,
                                .rcpts = &rcpt,
                                .rcpt_count = 1};
    struct message *message = message_create(&envelope);
    assert(message != NULL);
    message->accepted_ms = (int64_t)fake.io.now_ms;
    return message;
}

/* One turn of the worker; the time stands still. True: there is more to do. */
static inline bool fake_turn(void)
{
    return schedule_run(fake.scheduler);
}

/* Turns until nothing is left to do. */
static inline void fake_settle(void)
{
    while (fake_turn()) {
    }
}

/* Time passes up to now_ms, each timer at its time. The count of times the worker woke up. */
static inline uint64_t fake_sleep_until(uint64_t now_ms)
{
    uint64_t wakes = 0;
    while (fake.io.now_ms < now_ms) {
        uint64_t next_ms = timers_next_ms(&fake.io.timers);
        fake.io.now_ms = next_ms < now_ms ? next_ms : now_ms;
        timers_run(&fake.io.timers, fake.io.now_ms);
        fake_settle();
        wakes++;
    }
    return wakes;
}

/* ---- connections ------------------------------------------------------------------------ */

/* The one that has been open longest; NULL: none is. */
static inline struct fake_attempt *fake_oldest(void)
{
    struct list_node *node = list_first(&fake.attempts.open);
    return node == NULL ? NULL : CONTAINER_OF(node, struct fake_attempt, node);
}

/* It is up and asks for mail; the count of recipients it got. */
static inline uint32_t fake_take(struct fake_attempt *fake_attempt)
{
    struct attempt *attempt = &fake_attempt->attempt;
    if (attempt->state != ATTEMPT_READY) {
        attempt->state = ATTEMPT_READY;
        attempt->queue = NULL;
        schedule_opened(fake.scheduler, attempt);
    }
    fake_attempt->transaction.rcpt_count = 0;
    return schedule_next(fake.scheduler, attempt) == NULL ? 0
                                                          : fake_attempt->transaction.rcpt_count;
}

/* What it took is delivered, or goes back to the queue. */
static inline void fake_finish(struct fake_attempt *fake_attempt, bool delivered)
{
    struct transaction *transaction = &fake_attempt->transaction;
    for (uint32_t i = 0; i < transaction->rcpt_count; i++) {
        if (delivered) {
            queue_done(transaction->queue, fake_attempt->rcpts[i]);
            schedule_rcpt_final(fake.scheduler, transaction->queue, fake_attempt->rcpts[i]);
        } else {
            queue_give_back(transaction->queue, fake_attempt->rcpts[i], fake.io.now_ms);
        }
    }
    transaction->rcpt_count = 0;
}

/* It has nothing to do, and is the youngest of those open from then on; or has again. */
static inline void fake_rest(struct fake_attempt *fake_attempt)
{
    bool rests = schedule_idle(fake.scheduler, &fake_attempt->attempt);
    assert(rests);
    list_remove(&fake_attempt->node);
    list_push_back(&fake.attempts.open, &fake_attempt->node);
}

static inline void fake_work(struct fake_attempt *fake_attempt)
{
    schedule_busy(&fake_attempt->attempt);
}

static inline void fake_close(struct fake_attempt *fake_attempt)
{
    schedule_closed(fake.scheduler, &fake_attempt->attempt);
    list_remove(&fake_attempt->node);
    list_push_back(&fake.attempts.home, &fake_attempt->node);
}

/* Messages are the caller's to free. */
static inline void fake_end(void)
{
    struct fake_attempt *open;
    while ((open = fake_oldest()) != NULL) {
        fake_finish(open, false);
        fake_close(open);
    }
    scheduler_destroy(fake.scheduler);
    struct list_node *node;
    while ((node = list_pop_front(&fake.attempts.home)) != NULL) {
        free(CONTAINER_OF(node, struct fake_attempt, node));
    }
    limits_destroy(fake.limits);
    unload(fake.config);
}

/* ---- in the place of the real ones ------------------------------------------------------- */

struct attempt *attempt_open(struct attempts *attempts, struct site *site, struct queue *queue)
{
    if (site->scheduler->attempt_count >= attempts->open_max) {
        return NULL;
    }
    struct list_node *node = list_pop_front(&attempts->home);
    struct fake_attempt *opened =
        node == NULL ? calloc(1, sizeof(*opened)) : CONTAINER_OF(node, struct fake_attempt, node);
    assert(opened != NULL);
    opened->attempt.attempts = attempts;
    opened->attempt.site = site;
    opened->attempt.queue = queue;
    opened->attempt.state = ATTEMPT_CONNECTING;
    opened->attempt.counted_open = false;
    opened->transaction.rcpt_count = 0;
    list_push_back(&attempts->open, &opened->node);
    return &opened->attempt;
}

void attempt_offer(struct attempt *attempt)
{
    attempt->attempts->offered++;
}

bool attempt_suits(const struct attempt *attempt, const struct queue *queue)
{
    return attempt->site == queue->site;
}

void attempt_recall(struct attempt *attempt, const struct queue *queue)
{
    attempt->attempts->recalled++;
}

void attempt_reload(struct attempt *attempt)
{
    attempt->attempts->reloaded++;
}

void attempt_quit(struct attempt *attempt)
{
    attempt->attempts->quit++;
}

void attempt_abort(struct attempt *attempt)
{
    attempt->attempts->aborted++;
}

struct preparer *attempts_preparer(struct attempts *attempts)
{
    return NULL;
}

void attempts_forget_profiles(struct attempts *attempts)
{
}

struct transaction *prepare_create(struct preparer *preparer, struct attempt *attempt,
                                   struct queue *queue, struct rcpt *const *rcpts, uint32_t count)
{
    struct fake_attempt *fake_attempt = CONTAINER_OF(attempt, struct fake_attempt, attempt);
    assert(count <= FAKE_RCPTS_MAX);
    memcpy(fake_attempt->rcpts, rcpts, count * sizeof(*rcpts));
    fake_attempt->transaction.queue = queue;
    fake_attempt->transaction.rcpt_count = count;
    return &fake_attempt->transaction;
}

bool outcome_bounce_ready(struct outcomes *outcomes, const struct attempt *attempt,
                          struct queue *queue, const char *stage_name, const struct reply *reply)
{
    (void)outcomes, (void)attempt, (void)queue, (void)stage_name, (void)reply;
    return false;
}

void outcome_expired(struct outcomes *outcomes, struct queue *queue, struct rcpt *rcpt)
{
    fake.expired++;
    schedule_rcpt_final(fake.scheduler, queue, rcpt);
}

bool spools_stalled(const struct spools *spools, uint32_t worker)
{
    return spools->stalled;
}

bool spools_held(const struct spools *spools)
{
    return spools->held;
}

struct spool *spools_home(const struct spools *spools)
{
    return NULL;
}

bool spools_holds(const struct spools *spools, const struct message *message)
{
    return false;
}

/* No rate measured here survives a restart, and no retry clock is written in time. */
void spool_write_state(struct spool *spool, uint32_t worker, struct bytes key, struct bytes value,
                       struct spool_write *write)
{
    (void)spool, (void)worker, (void)key, (void)value, (void)write;
    assert(false);
}

void route_unref(struct route *route)
{
    assert(route == NULL);
}

void mailbox_post(struct mailboxes *mailboxes, uint32_t from, uint32_t to, enum mailbox_lane lane,
                  struct letter *letter)
{
    assert(false); /* there is one worker */
}

struct timers *io_timers(struct io *io)
{
    return &io->timers;
}

uint64_t io_now_ms(const struct io *io)
{
    return io->now_ms;
}

/* The same as the other clock. */
int64_t io_wall_ms(const struct io *io)
{
    return (int64_t)io->now_ms;
}

size_t io_local_addresses(struct io *io, struct address *out, size_t max)
{
    return 0;
}

#endif
