#include "engine.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "accounting.h"
#include "arrivals.h"
#include "base/arena.h"
#include "base/logger.h"
#include "callers.h"
#include "common_rates.h"
#include "control.h"
#include "io/io.h"
#include "io/work.h"
#include "local_delivery.h"
#include "policy/config.h"
#include "schedule.h"
#include "source_check.h"
#include "spools.h"
#include "vmta/limits.h"
#include "vmta/mx_table.h"
#include "vmta/open_sites.h"
#include "vmta/registry.h"

#define EX_USAGE_          64 /* the first of sysexits, EX_CONFIG_ the last */
#define EX_SOFTWARE_       70
#define EX_OSERR_          71
#define EX_CONFIG_         78
#define MAILBOX_LEN        1024
#define SETTLE_LETTERS_MAX 256
#define SEGMENT_BYTES      (64u * 1024 * 1024)
#define LIMITS_MAX         1000000      /* named limits: virtual MTAs, domains */
#define UPLOAD_BYTES_MAX   (256u << 20) /* bodies on their way in, all workers */
#define RCPTS_MAX          20000000     /* resident at once; memory is what limits before */
#define WALL_STEP_MS       2000 /* a difference the kernel's slewing does not make in one turn */
#define MEMORY_CHECK_MS    250
/* Threads for what blocks. A command keeps one as long as it runs, and so may pickup: two are left
 * for files. */
#define HELPERS              (LOCAL_COMMANDS_MAX + 1 + 2)
#define HELPER_JOBS_MAX      (LOCAL_COMMANDS_MAX + 1 + LOCAL_FILES_MAX)
#define DESCRIPTORS_RESERVED 256 /* segments, files, control, resolver */

static struct worker *keeper(struct engine *engine)
{
    return &engine->workers[ENGINE_KEEPER];
}

/* ---- making ---- */

static uint32_t count_workers(const struct engine_options *options)
{
    uint64_t count = options->workers;
    if (count == 0) {
        count = config_global(options->config)->workers;
    }
    if (count == 0) { /* auto */
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        count = online < 1 ? 1 : (uint64_t)online;
    }
    return count > ENGINE_WORKERS_MAX ? ENGINE_WORKERS_MAX : (uint32_t)count;
}

/* K12: as many descriptors as the system lets us have; what the configuration wants beyond is cut,
 * and said. */
static uint64_t raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return 1024;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur;
}

static uint64_t cut_to_descriptors(const char *directive, uint64_t wanted, uint64_t available)
{
    if (wanted <= available || wanted == UINT64_MAX) {
        return wanted < available ? wanted : available;
    }
    LOG_WARNING("%s %" PRIu64 " needs more descriptors than this process may have: cut to %" PRIu64
                " (raise LimitNOFILE)",
                directive, wanted, available);
    return available;
}

static void set_total_limits(struct engine *engine, uint64_t descriptors)
{
    uint64_t available = descriptors > 2 * DESCRIPTORS_RESERVED ? descriptors - DESCRIPTORS_RESERVED
                                                                : descriptors / 2;
    uint64_t out = cut_to_descriptors("total-max-smtp-out",
                                      config_global(engine->config)->total_max_smtp_out, available);
    struct limit *total = limits_entry(engine->limits, LIMIT_TOTAL, BYTES("smtp-out"));
    struct limit_wakes wakes = {0};
    limit_set_max(total, out, &wakes);
}

struct engine *engine_create(const struct engine_options *options, struct error *error)
{
    struct engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        error_set(error, EX_SOFTWARE_, "out of memory");
        return NULL;
    }
    engine->options = *options;
    engine->config = options->config;
    engine->worker_count = count_workers(options);
    uint32_t mailbox_len = options->mailbox_len == 0 ? MAILBOX_LEN : options->mailbox_len;
    engine->mailboxes = mailboxes_create(engine->worker_count, mailbox_len);
    engine->limits = limits_create(LIMITS_MAX);
    engine->callers = callers_create(ENGINE_SESSIONS_MAX);
    engine->common_rates = common_rates_create();
    engine->open_sites = open_sites_create();
    engine->helpers = work_pool_create(HELPERS, HELPER_JOBS_MAX);
    engine->mx_table = mx_table_create(MX_TABLE_DOMAINS_MAX);
    bool alone = engine->worker_count == 1;
    if (!alone) {
        engine->registry = registry_create(engine->worker_count, ENGINE_KEEPER, SCHEDULE_SITES_MAX);
    }
    if (engine->mailboxes == NULL || engine->limits == NULL || engine->callers == NULL ||
        engine->common_rates == NULL || engine->open_sites == NULL || engine->helpers == NULL ||
        engine->mx_table == NULL || (!alone && engine->registry == NULL)) {
        error_set(error, EX_SOFTWARE_, "out of memory");
        engine->config = NULL; /* still the caller's */
        engine_destroy(engine);
        return NULL;
    }
    set_total_limits(engine, raise_descriptor_limit());
    atomic_store(&engine->running, true);
    return engine;
}

/* ---- start ---- */

static void on_missing_source(void *owner, const struct source_problem *problem)
{
    struct error *error = owner;
    if (error->code == 0) {
        error_set(error, EX_CONFIG_, "%s:%u: %s", problem->file, problem->line, problem->text);
    }
}

int engine_open_spool(struct engine *engine, struct error *error)
{
    if (source_check(keeper(engine)->io, engine->config, on_missing_source, error) > 0) {
        return -1;
    }
    const struct global_settings *global = config_global(engine->config);
    uint64_t segment_bytes =
        engine->options.segment_bytes == 0 ? SEGMENT_BYTES : engine->options.segment_bytes;
    engine->spools = spools_open(keeper(engine)->io, engine->config,
                                 &(struct spool_options){
                                     .segment_bytes = segment_bytes,
                                     .max_bytes = global->spool_max_bytes,
                                     .min_free_bytes = global->spool_min_free_mb << 20,
                                     .max_recipients = RCPTS_MAX,
                                     .upload_bytes_max = UPLOAD_BYTES_MAX,
                                     .journal_sync_ms = (uint32_t)global->journal_sync_ms,
                                     .sync = global->spool_sync,
                                     .workers = engine->worker_count,
                                     .keeper = ENGINE_KEEPER,
                                     .mailboxes = engine->mailboxes,
                                 },
                                 error);
    return engine->spools == NULL ? -1 : 0;
}

static void set_state(struct engine *engine, enum engine_state state)
{
    engine->state = state;
    if (engine->options.state_changed != NULL) {
        engine->options.state_changed(engine->options.owner, state);
    }
}

/* ---- memory, and signs of life ---- */

/* Mail that is here goes on; none comes in while so much is in use. */
static void on_memory_timer(struct timer *timer)
{
    struct engine *engine = CONTAINER_OF(timer, struct engine, memory_timer);
    uint64_t max_bytes = config_global(engine->config)->max_memory_bytes;
    bool full = max_bytes != UINT64_MAX && memory_allocated() >= max_bytes;
    if (full != engine->memory_is_full) {
        engine->memory_is_full = full;
        spools_refuse(engine->spools, full ? "max-memory is reached" : NULL);
        LOG_WARNING("%s", full ? "max-memory is reached: new mail is answered 452 4.3.1"
                               : "memory in use is below max-memory: mail is taken again");
    }
    if (max_bytes != UINT64_MAX) {
        struct io *io = keeper(engine)->io;
        timer_start(io_timers(io), timer, io_now_ms(io) + MEMORY_CHECK_MS);
    }
}

static void on_alive_timer(struct timer *timer)
{
    struct engine *engine = CONTAINER_OF(timer, struct engine, alive_timer);
    struct io *io = keeper(engine)->io;
    engine->options.alive(engine->options.owner);
    timer_start(io_timers(io), timer, io_now_ms(io) + engine->options.alive_every_ms);
}

static void start_timers(struct engine *engine)
{
    timer_init(&engine->memory_timer, on_memory_timer);
    on_memory_timer(&engine->memory_timer);
    timer_init(&engine->alive_timer, on_alive_timer);
    if (engine->options.alive != NULL) {
        on_alive_timer(&engine->alive_timer);
    }
}

int engine_started(struct engine *engine, struct error *error)
{
    engine->started_ms = io_now_ms(keeper(engine)->io);
    engine->started_wall_ms = io_wall_ms(keeper(engine)->io);
    engine->control = control_create(engine, error);
    if (engine->control == NULL) {
        return -1;
    }
    start_timers(engine);
    set_state(engine, ENGINE_RUNNING);
    LOG_INFO("posthaste %s: %u worker%s, %s", POSTHASTE_VERSION, engine->worker_count,
             engine->worker_count == 1 ? "" : "s", io_features(keeper(engine)->io));
    return 0;
}

/* ---- orders: one letter to each worker, answered when done ---- */

static void give_orders(struct engine *engine, void (*deliver)(struct letter *letter))
{
    assert(engine->orders_out == 0);
    engine->orders_out = engine->worker_count;
    for (uint32_t i = 0; i < engine->worker_count; i++) {
        struct engine_order *order = &engine->orders[i];
        order->engine = engine;
        order->worker = &engine->workers[i];
        order->letter.deliver = deliver;
        mailbox_post(engine->mailboxes, ENGINE_KEEPER, i, MAILBOX_URGENT, &order->letter);
    }
}

static void answer_order(struct engine_order *order, void (*deliver)(struct letter *letter))
{
    order->letter.deliver = deliver;
    mailbox_post(order->engine->mailboxes, order->worker->index, ENGINE_KEEPER, MAILBOX_URGENT,
                 &order->letter);
}

static struct engine_order *order_of(struct letter *letter)
{
    return CONTAINER_OF(letter, struct engine_order, letter);
}

/* ---- stop ---- */

static void on_settled(void *owner)
{
    struct engine *engine = owner;
    set_state(engine, ENGINE_STOPPED);
    atomic_store(&engine->running, false);
    for (uint32_t i = 0; i < engine->worker_count; i++) {
        io_wake(engine->workers[i].io);
    }
}

static void on_control_stopped(void *owner)
{
    struct engine *engine = owner;
    spools_stop(engine->spools, on_settled, engine); /* the positions that accounting wrote last */
}

static void on_accounting_stopped(void *owner)
{
    struct engine *engine = owner;
    control_stop(engine->control, on_control_stopped, engine);
}

static void on_spool_settled(void *owner)
{
    struct engine *engine = owner;
    accounting_stop(engine->accounting, on_accounting_stopped, engine);
}

static void on_drained(struct letter *letter)
{
    struct engine *engine = order_of(letter)->engine;
    if (--engine->orders_out == 0) {
        spools_stop(engine->spools, on_spool_settled, engine);
    }
}

/* On each worker, until nothing of it is left: the time is up for all at once. */
static void on_drain_poll(struct timer *timer)
{
    struct engine_order *order = CONTAINER_OF(timer, struct engine_order, poll);
    struct worker *worker = order->worker;
    uint64_t now_ms = io_now_ms(worker->io);
    if (!worker->aborted && (worker_drained(worker) || now_ms >= order->until_ms ||
                             atomic_load(&order->engine->stop_now_wanted))) {
        worker_abort(worker);
    }
    if (worker_gone(worker)) {
        schedule_write_clocks(worker->scheduler);
        spools_flush(order->engine->spools, worker->index); /* goes before the answer */
        answer_order(order, on_drained);
        return;
    }
    timer_start(io_timers(worker->io), &order->poll, now_ms + 10);
}

static void on_drain(struct letter *letter)
{
    struct engine_order *order = order_of(letter);
    struct worker *worker = order->worker;
    worker_drain(worker);
    order->until_ms = io_now_ms(worker->io) + config_global(worker->config)->shutdown_timeout_ms;
    timer_init(&order->poll, on_drain_poll);
    timer_start(io_timers(worker->io), &order->poll, 0);
}

void engine_drain(struct engine *engine)
{
    if (engine->state != ENGINE_RUNNING || engine->orders_out > 0) {
        return;
    }
    LOG_INFO("stopping: no more mail is taken, what is on the wire may end");
    set_state(engine, ENGINE_DRAINING);
    give_orders(engine, on_drain);
}

/* ---- reload ---- */

static void tell_reloading(struct engine *engine, bool under_way)
{
    if (engine->options.reloading != NULL) {
        engine->options.reloading(engine->options.owner, under_way);
    }
}

static void on_reloaded(struct letter *letter)
{
    struct engine *engine = order_of(letter)->engine;
    if (--engine->orders_out == 0) {
        config_free(engine->old_config);
        engine->old_config = NULL;
        tell_reloading(engine, false);
        LOG_INFO("configuration reloaded");
    }
}

static void on_reload_settled(struct letter *letter)
{
    /* A turn later: sessions may use what the old one gave them until then. */
    answer_order(order_of(letter), on_reloaded);
}

static void on_reload(struct letter *letter)
{
    struct engine_order *order = order_of(letter);
    worker_reload(order->worker, order->engine->config);
    if (order->worker->index == ENGINE_KEEPER) {
        control_reload(order->engine->control);
    }
    letter->deliver = on_reload_settled;
    mailbox_post(order->engine->mailboxes, order->worker->index, order->worker->index,
                 MAILBOX_URGENT, letter);
}

static bool same_name_servers(const struct global_settings *a, const struct global_settings *b)
{
    bool same = a->name_servers.count == b->name_servers.count;
    for (size_t i = 0; same && i < a->name_servers.count; i++) {
        same = address_equal_ip(&a->name_servers.items[i], &b->name_servers.items[i]) &&
               a->name_servers.items[i].port == b->name_servers.items[i].port;
    }
    return same;
}

static bool same_spools(const struct config *was, const struct config *is)
{
    size_t was_count, is_count;
    const struct config_spool *was_spools = config_spools(was, &was_count);
    const struct config_spool *is_spools = config_spools(is, &is_count);
    bool same = was_count == is_count;
    for (size_t i = 0; same && i < is_count; i++) {
        same = bytes_equal(was_spools[i].directory, is_spools[i].directory) &&
               was_spools[i].settings.priority == is_spools[i].settings.priority &&
               was_spools[i].settings.deliver_only == is_spools[i].settings.deliver_only &&
               was_spools[i].settings.min_free_bytes == is_spools[i].settings.min_free_bytes;
    }
    return same;
}

/* What is read once, when the engine starts. */
static void warn_needs_restart(const struct config *old_config, const struct config *config)
{
    const struct global_settings *was = config_global(old_config), *is = config_global(config);
    const struct {
        const char *directive;
        bool changed;
    } settings[] = {
        {"workers", was->workers != is->workers},
        {"control-socket", !bytes_equal(was->control_socket, is->control_socket)},
        {"name-server", !same_name_servers(was, is)},
        {"<spool>", !same_spools(old_config, config)},
        {"spool-max-size", was->spool_max_bytes != is->spool_max_bytes},
        {"spool-min-free-space", was->spool_min_free_mb != is->spool_min_free_mb},
        {"spool-sync", was->spool_sync != is->spool_sync},
        {"journal-sync", was->journal_sync_ms != is->journal_sync_ms},
        {"total-max-smtp-in", was->total_max_smtp_in != is->total_max_smtp_in},
        {"allow-no-source-address", was->allow_no_source_address != is->allow_no_source_address},
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        if (settings[i].changed) {
            LOG_WARNING("reload: %s is different now: that takes effect at the next start",
                        settings[i].directive);
        }
    }
}

int engine_reload(struct engine *engine, struct error *error)
{
    if (engine->options.load == NULL || engine->state != ENGINE_RUNNING || engine->orders_out > 0) {
        return error_set(error, 75, "busy: another reload or a stop is under way, try again");
    }
    tell_reloading(engine, true);
    struct config *config = engine->options.load(engine->options.owner, error);
    if (config != NULL && source_check(keeper(engine)->io, config, on_missing_source, error) > 0) {
        config_free(config);
        config = NULL;
    }
    if (config == NULL) {
        LOG_ERROR("reload refused, the old configuration stays in force: %s", error->text);
        tell_reloading(engine, false);
        return -1;
    }
    warn_needs_restart(engine->config, config);
    engine->old_config = engine->config;
    engine->config = config;
    set_total_limits(engine, raise_descriptor_limit());
    accounting_reload(engine->accounting, config);
    arrivals_reload(engine->arrivals, config);
    arrivals_record_received(engine->arrivals, accounting_wants_received(engine->accounting));
    on_memory_timer(&engine->memory_timer);
    give_orders(engine, on_reload);
    return 0;
}

/* ---- wishes from signals ---- */

void engine_want_stop(struct engine *engine)
{
    if (atomic_exchange(&engine->stop_wanted, true)) {
        atomic_store(&engine->stop_now_wanted, true);
    }
    io_wake(keeper(engine)->io);
}

void engine_want_reload(struct engine *engine)
{
    atomic_store(&engine->reload_wanted, true);
    io_wake(keeper(engine)->io);
}

void engine_want_reopen(struct engine *engine)
{
    atomic_store(&engine->reopen_wanted, true);
    io_wake(keeper(engine)->io);
}

/* Nothing that waits is moved by it: deadlines are monotonic. People want to know all the same. */
static void watch_wall_clock(struct engine *engine)
{
    const struct io *io = keeper(engine)->io;
    int64_t offset_ms = io_wall_ms(io) - (int64_t)io_now_ms(io);
    int64_t step_ms = offset_ms - engine->wall_offset_ms;
    if (engine->wall_offset_ms != 0 && (step_ms > WALL_STEP_MS || step_ms < -WALL_STEP_MS)) {
        LOG_WARNING("the wall clock was set %s by %" PRId64 " s: records carry the new time, "
                    "nothing is sent earlier or expires for it",
                    step_ms > 0 ? "forward" : "back", (step_ms > 0 ? step_ms : -step_ms) / 1000);
    }
    engine->wall_offset_ms = offset_ms;
}

void engine_poll(struct engine *engine)
{
    watch_wall_clock(engine);
    if (engine->state != ENGINE_RUNNING) {
        return;
    }
    if (engine->orders_out == 0 && atomic_exchange(&engine->reload_wanted, false)) {
        struct error error = {0};
        engine_reload(engine, &error); /* logs what is wrong */
    }
    log_rotation_look(&engine->log_rotation, engine->config, io_wall_ms(keeper(engine)->io));
    if (atomic_exchange(&engine->reopen_wanted, false)) {
        logger_reopen();
        accounting_rotate(engine->accounting);
    }
    if (atomic_load(&engine->stop_wanted)) {
        engine_drain(engine);
    }
}

/* ---- admission ---- */

bool engine_admits(struct engine *engine, const struct config *config, struct bytes vmta,
                   uint32_t rcpt_count)
{
    const struct config_vmta *settings = config_vmta(config, vmta);
    if (settings == NULL) {
        return true; /* the session has refused it by its own rule */
    }
    uint64_t max = settings->settings.max_queued_recipients;
    if (max != UINT64_MAX && max != 0) {
        struct limit *rcpts = limits_entry(engine->limits, LIMIT_RECIPIENTS, settings->name);
        if (rcpts != NULL && limit_used(rcpts) + rcpt_count > max) {
            return false;
        }
    }
    uint64_t share = settings->settings.spool_share_percent;
    if (share >= 100) {
        return true;
    }
    struct spool_status status;
    spools_status(engine->spools, &status);
    struct limit *bytes = limits_entry(engine->limits, LIMIT_MEMORY, settings->name);
    return bytes == NULL || limit_used(bytes) < status.bytes_max / 100 * share;
}

/* ---- end ---- */

void engine_close_followers(struct engine *engine)
{
    control_destroy(engine->control);
    accounting_destroy(engine->accounting);
    engine->control = NULL;
    engine->accounting = NULL;
}

void engine_close_spool(struct engine *engine)
{
    arrivals_destroy(engine->arrivals);
    spools_close(engine->spools);
    engine->arrivals = NULL;
    engine->spools = NULL;
}

/* ---- running with threads ---- */

struct run {
    struct engine *engine;
    pthread_barrier_t barrier;
    atomic_bool failed;
    pthread_mutex_t mutex;
    struct error *error; /* the first one */
};

struct run_thread {
    struct run *run;
    uint32_t index;
    pthread_t thread;
};

static void note_failure(struct run *run, const struct error *error)
{
    pthread_mutex_lock(&run->mutex);
    if (!atomic_exchange(&run->failed, true)) {
        *run->error = *error;
        /* Lower layers set an errno; the exit code is one of sysexits. */
        if (run->error->code < EX_USAGE_ || run->error->code > EX_CONFIG_) {
            run->error->code = EX_OSERR_;
        }
    }
    pthread_mutex_unlock(&run->mutex);
}

/* One phase on this thread, then everybody waits for everybody. False: somebody failed. */
static bool phase(struct run *run, int result, const struct error *error)
{
    if (result < 0) {
        note_failure(run, error);
    }
    pthread_barrier_wait(&run->barrier);
    bool failed = atomic_load(&run->failed);
    pthread_barrier_wait(&run->barrier); /* all have read it before one fails in the next phase */
    return !failed;
}

static bool start_worker(struct run *run, struct worker *worker, uint32_t index)
{
    struct engine *engine = run->engine;
    struct error error = {0};
    bool is_keeper = index == ENGINE_KEEPER;
    return phase(run, worker_create(worker, engine, index, &error), &error) &&
           phase(run, is_keeper ? engine_open_spool(engine, &error) : 0, &error) &&
           phase(run, worker_prepare(worker, &error), &error) &&
           phase(run, is_keeper ? engine_restore(engine, &error) : 0, &error) &&
           phase(run, worker_start(worker, &error), &error) &&
           phase(run, is_keeper ? engine_started(engine, &error) : 0, &error);
}

static void on_settled_early(void *owner)
{
    *(bool *)owner = true;
}

/* The start has failed with the spool open: what it and its followers have begun comes home. On
 * the keeper; nothing of the path is run. */
static void settle_early(struct engine *engine)
{
    bool settled = engine->accounting == NULL;
    if (!settled) {
        accounting_stop(engine->accounting, on_settled_early, &settled);
    }
    for (int stage = 0; engine->spools != NULL && stage < 2; stage++) {
        if (stage == 1) {
            settled = false;
            spools_stop(engine->spools, on_settled_early, &settled);
        }
        while (!settled) {
            mailbox_receive(engine->mailboxes, ENGINE_KEEPER, SETTLE_LETTERS_MAX);
            spools_flush(engine->spools, ENGINE_KEEPER);
            (void)io_run(keeper(engine)->io, UINT64_MAX);
        }
    }
}

/* A ring may be taken down by its own thread only; and what workers share goes when none of them
 * uses it any more. */
static void end_worker(struct run *run, struct worker *worker, uint32_t index)
{
    struct engine *engine = run->engine;
    pthread_barrier_wait(&run->barrier);
    if (index == ENGINE_KEEPER) {
        engine_close_followers(engine);
    }
    pthread_barrier_wait(&run->barrier);
    worker_destroy(worker);
    pthread_barrier_wait(&run->barrier);
    if (index == ENGINE_KEEPER) {
        engine_close_spool(engine);
    }
    pthread_barrier_wait(&run->barrier);
    io_destroy(worker->io);
    worker->io = NULL;
}

static void *run_worker(void *argument)
{
    struct run_thread *thread = argument;
    struct engine *engine = thread->run->engine;
    struct worker *worker = &engine->workers[thread->index];
    if (start_worker(thread->run, worker, thread->index)) {
        while (atomic_load(&engine->running)) {
            worker_turn(worker);
        }
    }
    if (atomic_load(&thread->run->failed)) {
        worker_unstart(worker);
        pthread_barrier_wait(&thread->run->barrier);
        if (thread->index == ENGINE_KEEPER) {
            settle_early(engine);
        }
    }
    end_worker(thread->run, worker, thread->index);
    return NULL;
}

int engine_run(struct engine *engine, struct error *error)
{
    struct run run = {.engine = engine, .error = error, .mutex = PTHREAD_MUTEX_INITIALIZER};
    struct run_thread threads[ENGINE_WORKERS_MAX];
    pthread_barrier_init(&run.barrier, NULL, engine->worker_count);
    for (uint32_t i = 0; i < engine->worker_count; i++) {
        threads[i] = (struct run_thread){.run = &run, .index = i};
        int result = pthread_create(&threads[i].thread, NULL, run_worker, &threads[i]);
        assert(result == 0);
    }
    for (uint32_t i = 0; i < engine->worker_count; i++) {
        pthread_join(threads[i].thread, NULL);
    }
    pthread_barrier_destroy(&run.barrier);
    return atomic_load(&run.failed) ? error->code : 0;
}

void engine_destroy(struct engine *engine)
{
    if (engine == NULL) {
        return;
    }
    work_pool_destroy(engine->helpers);
    callers_destroy(engine->callers);
    registry_destroy(engine->registry);
    mx_table_destroy(engine->mx_table);
    open_sites_destroy(engine->open_sites);
    common_rates_destroy(engine->common_rates);
    limits_destroy(engine->limits);
    mailboxes_destroy(engine->mailboxes);
    config_free(engine->config);
    config_free(engine->old_config);
    free(engine);
}
