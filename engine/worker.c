#include "worker.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "arrivals.h"
#include "attempt.h"
#include "base/logger.h"
#include "dummy_smtp.h"
#include "engine.h"
#include "io/io.h"
#include "io/mailbox.h"
#include "listening.h"
#include "net/dns.h"
#include "net/tls.h"
#include "notices.h"
#include "outcome.h"
#include "pickup.h"
#include "policy/config.h"
#include "resolve.h"
#include "schedule.h"
#include "session.h"
#include "spools.h"
#include "vmta/open_sites.h"
#include "vmta/registry.h"
#include "vmta_choice.h"

#define RING_ENTRIES       4096
#define RECV_BUFFER_BYTES  8192
#define RECV_BUFFERS       1024 /* 8 MiB a worker, lent only while bytes are handled */
#define PREPARED_BYTES_MAX (64 * 1024 * 1024) /* bodies in memory on their way out, per worker */
#define ATTEMPTS_MAX       20000              /* connections out of one worker */

int worker_create(struct worker *worker, struct engine *engine, uint32_t index, struct error *error)
{
    *worker = (struct worker){.engine = engine, .index = index, .config = engine->config};
    worker->io = io_create(&(struct io_options){.worker_index = index,
                                                .entries = RING_ENTRIES,
                                                .recv_buffer_bytes = RECV_BUFFER_BYTES,
                                                .recv_buffer_count = RECV_BUFFERS},
                           error);
    if (worker->io == NULL) {
        return -1;
    }
    dialogue_log_init(&worker->dialogue_log, worker->io, index);
    mailboxes_attach(engine->mailboxes, index, worker->io);
    return 0;
}

/* ---- callbacks that the modules ask by ---- */

static const struct config *on_config(void *owner)
{
    return ((struct worker *)owner)->config;
}

static bool on_admits(void *owner, struct bytes vmta, uint32_t rcpt_count)
{
    struct worker *worker = owner;
    return engine_admits(worker->engine, worker->config, vmta, rcpt_count);
}

/* Of the queue that the rules of now send such mail to. */
static bool on_connected(void *owner, struct bytes vmta, struct bytes domain)
{
    const struct worker *worker = owner;
    struct destination to =
        destination_of(worker->config, (struct destination){.vmta = vmta, .domain = domain});
    char memory[SITE_NAME_MAX];
    struct buffer name;
    buffer_init(&name, memory, sizeof memory);
    buffer_put_bytes(&name, to.domain);
    buffer_put_char(&name, '/');
    buffer_put_bytes(&name, to.vmta);
    return !name.overflowed && open_sites_has(worker->engine->open_sites, buffer_bytes(&name));
}

static bool on_is_own_listener(void *owner, const struct address *address)
{
    const struct worker *worker = owner;
    return listening_is_ours(worker->io, worker->config, address);
}

static bool on_site_emptied(void *owner, struct site *site)
{
    const struct worker *worker = owner;
    return registry_leave(worker->engine->registry, bytes_from_string(site->name),
                          site->arrived_count);
}

static bool on_send_on(void *owner, struct rcpt *rcpt, struct destination to)
{
    const struct worker *worker = owner;
    return arrivals_send_on(worker->engine->arrivals, worker->index, rcpt, to);
}

static void on_tell(void *owner, const struct notice *notice)
{
    notices_tell(((struct worker *)owner)->notices, notice);
}

/* ---- phases ---- */

/* Our name among mail servers: as configured, else as the system has it. Copied, because the
 * configuration goes with the next reload. */
static void note_host_name(struct worker *worker)
{
    struct bytes name = config_host_name(worker->config);
    const char *system_name = worker->engine->options.host_name;
    if (name.len == 0) {
        name = bytes_from_string(system_name == NULL ? "localhost" : system_name);
    }
    snprintf(worker->host_name, sizeof worker->host_name, "%.*s", BYTES_FMT(name));
}

static int create_names(struct worker *worker, struct error *error)
{
    const struct global_settings *global = config_global(worker->config);
    worker->dns =
        dns_create(worker->io,
                   &(struct dns_options){.servers = global->name_servers.items,
                                         .server_count = (uint32_t)global->name_servers.count},
                   error);
    if (worker->dns == NULL) {
        return -1;
    }
    worker->resolver = resolver_create(&(struct resolver_options){
        .io = worker->io,
        .dns = worker->dns,
        .seed = io_random(worker->io),
        .own_name = worker->host_name,
        .is_own_listener = on_is_own_listener,
        .owner = worker,
    });
    return worker->resolver == NULL ? error_set(error, 71, "out of memory") : 0;
}

static int create_delivery(struct worker *worker, struct error *error)
{
    struct engine *engine = worker->engine;
    worker->notices = notices_create(&(struct notices_options){.io = worker->io,
                                                               .spools = engine->spools,
                                                               .worker = worker->index,
                                                               .host_name = worker->host_name});
    worker->scheduler = scheduler_create(&(struct scheduler_options){
        .io = worker->io,
        .spools = engine->spools,
        .limits = engine->limits,
        .common_rates = engine->common_rates,
        .open_sites = engine->open_sites,
        .mailboxes = engine->mailboxes,
        .config = worker->config,
        .mx_table = engine->mx_table,
        .worker = worker->index,
        .workers = engine->worker_count,
        .host_name = worker->host_name,
        .others = engine->schedulers,
        .site_emptied = engine->registry == NULL ? NULL : on_site_emptied,
        .send_on = on_send_on,
        .tell = on_tell,
        .owner = worker,
    });
    worker->tls = tls_worker_create(io_random(worker->io), error);
    worker->outcomes = outcomes_create(&(struct outcomes_options){.io = worker->io,
                                                                  .spools = engine->spools,
                                                                  .scheduler = worker->scheduler,
                                                                  .config = worker->config,
                                                                  .worker = worker->index});
    worker->attempts = attempts_create(&(struct attempts_options){
        .io = worker->io,
        .scheduler = worker->scheduler,
        .spools = engine->spools,
        .resolver = worker->resolver,
        .outcomes = worker->outcomes,
        .tls = worker->tls,
        .dialogue_log = &worker->dialogue_log,
        .helpers = engine->helpers,
        .worker = worker->index,
        .attempts_max = ATTEMPTS_MAX,
        .prepared_bytes_max = PREPARED_BYTES_MAX,
        .allow_no_source_address = config_global(worker->config)->allow_no_source_address,
    });
    if (worker->notices == NULL || worker->scheduler == NULL || worker->tls == NULL ||
        worker->outcomes == NULL || worker->attempts == NULL) {
        return error_set(error, 71, "worker %u: out of memory", worker->index);
    }
    scheduler_attach(worker->scheduler, worker->attempts, worker->outcomes);
    engine->schedulers[worker->index] = worker->scheduler;
    return 0;
}

static int create_sessions(struct worker *worker, struct error *error)
{
    const struct global_settings *global = config_global(worker->config);
    uint64_t max = global->total_max_smtp_in;
    worker->vmtas = vmta_chooser_create(&(struct vmta_chooser_options){
        .config = worker->config,
        .worker = worker->index,
        .admits = on_admits,
        .connected = on_connected,
        .owner = worker,
    });
    worker->sessions = sessions_create(&(struct sessions_options){
        .io = worker->io,
        .worker = worker->index,
        .spools = worker->engine->spools,
        .vmtas = worker->vmtas,
        .callers = worker->engine->callers,
        .dialogue_log = &worker->dialogue_log,
        .sessions_max = max > ENGINE_SESSIONS_MAX ? ENGINE_SESSIONS_MAX : (uint32_t)max,
        .receive_buffer_bytes = RECV_BUFFER_BYTES,
        .host_name = worker->engine->options.host_name,
        .owner = worker,
        .config = on_config,
    });
    worker->dummy_smtp =
        dummy_smtp_create(&(struct dummy_smtp_options){.io = worker->io,
                                                       .worker = worker->index,
                                                       .config = worker->config,
                                                       .connections = &worker->engine->dummy_smtp,
                                                       .receive_buffer_bytes = RECV_BUFFER_BYTES,
                                                       .host_name = worker->host_name});
    return worker->vmtas == NULL || worker->sessions == NULL || worker->dummy_smtp == NULL
               ? error_set(error, 71, "out of memory")
               : 0;
}

int worker_prepare(struct worker *worker, struct error *error)
{
    note_host_name(worker);
    spools_attach(worker->engine->spools, worker->index, worker->io);
    if (create_names(worker, error) < 0 || create_delivery(worker, error) < 0 ||
        create_sessions(worker, error) < 0) {
        return -1;
    }
    return 0;
}

int worker_start(struct worker *worker, struct error *error)
{
    if (listening_open(&worker->listening, worker->io, worker->sessions, worker->config, error) <
        0) {
        return -1;
    }
    if (worker->index == ENGINE_KEEPER) {
        worker->pickup = pickup_create(&(struct pickup_options){.io = worker->io,
                                                                .sessions = worker->sessions,
                                                                .helpers = worker->engine->helpers,
                                                                .config = worker->config});
        if (worker->pickup == NULL) {
            return error_set(error, 71, "out of memory");
        }
    }
    return dummy_smtp_open(worker->dummy_smtp, error);
}

static void on_listener_closed(void *owner)
{
    uint32_t *open_count = owner;
    (*open_count)--;
}

static void on_sessions_stopped(void *owner);

void worker_unstart(struct worker *worker)
{
    if (worker->sessions == NULL || worker->dummy_smtp == NULL) {
        return;
    }
    uint32_t open_count = worker->listening.count;
    listening_close(&worker->listening, on_listener_closed, &open_count);
    pickup_stop(worker->pickup);
    sessions_stop(worker->sessions, on_sessions_stopped);
    dummy_smtp_stop(worker->dummy_smtp);
    while (open_count > 0 || !worker->sessions_stopped || !pickup_is_idle(worker->pickup) ||
           !dummy_smtp_gone(worker->dummy_smtp)) {
        int result = io_run(worker->io, UINT64_MAX);
        assert(result == 0);
    }
}

/* ---- the loop ---- */

void worker_turn(struct worker *worker)
{
    struct engine *engine = worker->engine;
    worker->turns++;
    uint32_t delivered = mailbox_receive(engine->mailboxes, worker->index, WORKER_LETTERS_MAX);
    if (worker->index == ENGINE_KEEPER) {
        engine_poll(engine);
    }
    bool more = delivered == WORKER_LETTERS_MAX;
    if (worker->scheduler != NULL) {
        more |= schedule_run(worker->scheduler);
        spools_flush(engine->spools, worker->index);
    }
    bool asleep = !more && mailbox_sleep(engine->mailboxes, worker->index);
    int result = io_run(worker->io, asleep ? UINT64_MAX : 0);
    assert(result == 0); /* the ring itself is broken: nothing can go on */
    mailbox_awake(engine->mailboxes, worker->index);
}

/* ---- drain, reload, end ---- */

static void on_sessions_drained(void *owner)
{
    ((struct worker *)owner)->sessions_drained = true;
}

void worker_drain(struct worker *worker)
{
    if (worker->draining) {
        return;
    }
    worker->draining = true;
    listening_close(&worker->listening, NULL, NULL);
    pickup_stop(worker->pickup);
    sessions_drain(worker->sessions, on_sessions_drained);
    schedule_drain(worker->scheduler);
}

bool worker_drained(const struct worker *worker)
{
    return worker->sessions_drained && pickup_is_idle(worker->pickup) &&
           scheduler_attempt_count(worker->scheduler) == 0;
}

static void on_sessions_stopped(void *owner)
{
    ((struct worker *)owner)->sessions_stopped = true;
}

void worker_abort(struct worker *worker)
{
    worker->aborted = true;
    listening_close(&worker->listening, NULL, NULL);
    pickup_stop(worker->pickup);
    sessions_stop(worker->sessions, on_sessions_stopped);
    notices_stop(worker->notices);
    dummy_smtp_stop(worker->dummy_smtp);
    schedule_abort(worker->scheduler);
}

bool worker_gone(const struct worker *worker)
{
    return worker->sessions_stopped && pickup_is_idle(worker->pickup) &&
           dummy_smtp_gone(worker->dummy_smtp) && notices_idle(worker->notices) &&
           scheduler_attempt_count(worker->scheduler) == 0;
}

void worker_reload(struct worker *worker, const struct config *config)
{
    worker->config = config;
    note_host_name(worker);
    vmta_chooser_reload(worker->vmtas, config);
    sessions_reload(worker->sessions);
    if (worker->pickup != NULL) {
        pickup_reload(worker->pickup, config);
    }
    dummy_smtp_reload(worker->dummy_smtp, config); /* first: a port may change hands */
    listening_reload(&worker->listening, config);
    schedule_reload(worker->scheduler, config);
    outcomes_reload(worker->outcomes, config);
}

void worker_destroy(struct worker *worker)
{
    pickup_destroy(worker->pickup);
    sessions_destroy(worker->sessions);
    dummy_smtp_destroy(worker->dummy_smtp);
    vmta_chooser_destroy(worker->vmtas);
    scheduler_destroy(worker->scheduler);
    notices_destroy(worker->notices);
    attempts_destroy(worker->attempts);
    outcomes_destroy(worker->outcomes);
    resolver_destroy(worker->resolver);
    dns_destroy(worker->dns);
    tls_worker_destroy(worker->tls);
    dialogue_log_deinit(&worker->dialogue_log);
    *worker = (struct worker){.engine = worker->engine, .io = worker->io, .index = worker->index};
}
