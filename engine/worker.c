#include "worker.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "attempt.h"
#include "base/logger.h"
#include "engine.h"
#include "io/io.h"
#include "io/mailbox.h"
#include "listener.h"
#include "net/dns.h"
#include "net/tls.h"
#include "outcome.h"
#include "policy/config.h"
#include "resolve.h"
#include "schedule.h"
#include "session.h"
#include "spool.h"
#include "vmta/registry.h"

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
    mailboxes_attach(engine->mailboxes, index, worker->io);
    return 0;
}

/* ---- callbacks that the modules ask by ---- */

static const struct config *on_config(void *owner)
{
    return ((struct worker *)owner)->config;
}

static bool on_vmta_known(void *owner, struct bytes name, struct bytes *canonical)
{
    const struct config_vmta *vmta = config_vmta(((struct worker *)owner)->config, name);
    if (vmta == NULL) {
        return false;
    }
    *canonical = vmta->name;
    return true;
}

static bool on_admit(void *owner, struct bytes vmta, uint32_t rcpt_count)
{
    struct worker *worker = owner;
    return engine_admits(worker->engine, worker->config, vmta, rcpt_count);
}

static bool on_is_own_listener(void *owner, const struct address *address)
{
    const struct worker *worker = owner;
    size_t count;
    const struct config_listener *listeners = config_listeners(worker->config, &count);
    for (size_t i = 0; i < count; i++) {
        if (listeners[i].port == address->port &&
            address_range_holds(&listeners[i].range, address) &&
            io_address_is_local(worker->io, address)) {
            return true;
        }
    }
    return false;
}

static bool on_site_emptied(void *owner, struct site *site)
{
    const struct worker *worker = owner;
    return registry_leave(worker->engine->registry, bytes_from_string(site->name),
                          site->arrived_count);
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
    worker->scheduler = scheduler_create(&(struct scheduler_options){
        .io = worker->io,
        .spool = engine->spool,
        .limits = engine->limits,
        .mailboxes = engine->mailboxes,
        .config = worker->config,
        .worker = worker->index,
        .workers = engine->worker_count,
        .host_name = worker->host_name,
        .others = engine->schedulers,
        .site_emptied = engine->registry == NULL ? NULL : on_site_emptied,
        .owner = worker,
    });
    worker->tls = tls_worker_create(io_random(worker->io), error);
    worker->outcomes = outcomes_create(&(struct outcomes_options){.io = worker->io,
                                                                  .spool = engine->spool,
                                                                  .scheduler = worker->scheduler,
                                                                  .worker = worker->index});
    worker->attempts = attempts_create(&(struct attempts_options){
        .io = worker->io,
        .scheduler = worker->scheduler,
        .spool = engine->spool,
        .resolver = worker->resolver,
        .outcomes = worker->outcomes,
        .tls = worker->tls,
        .worker = worker->index,
        .attempts_max = ATTEMPTS_MAX,
        .prepared_bytes_max = PREPARED_BYTES_MAX,
        .allow_no_source_address = config_global(worker->config)->allow_no_source_address,
    });
    if (worker->scheduler == NULL || worker->tls == NULL || worker->outcomes == NULL ||
        worker->attempts == NULL) {
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
    worker->sessions = sessions_create(&(struct sessions_options){
        .io = worker->io,
        .worker = worker->index,
        .spool = worker->engine->spool,
        .callers = worker->engine->callers,
        .sessions_max = max > ENGINE_SESSIONS_MAX ? ENGINE_SESSIONS_MAX : (uint32_t)max,
        .receive_buffer_bytes = RECV_BUFFER_BYTES,
        .host_name = worker->engine->options.host_name,
        .owner = worker,
        .config = on_config,
        .vmta_known = on_vmta_known,
        .admit = on_admit,
    });
    return worker->sessions == NULL ? error_set(error, 71, "out of memory") : 0;
}

int worker_prepare(struct worker *worker, struct error *error)
{
    note_host_name(worker);
    spool_attach(worker->engine->spool, worker->index, worker->io);
    if (create_names(worker, error) < 0 || create_delivery(worker, error) < 0 ||
        create_sessions(worker, error) < 0) {
        return -1;
    }
    return 0;
}

static const char *text_or_null(struct bytes text)
{
    return text.len == 0 ? NULL : text.data;
}

static int open_listener(struct worker *worker, const struct address *address,
                         const struct config_listener *from, struct error *error)
{
    if (worker->listener_count == WORKER_LISTENERS_MAX) {
        return error_set(error, 78, "more than %d listening addresses", WORKER_LISTENERS_MAX);
    }
    const char *source = text_or_null(from->settings.source);
    const char *host_name = text_or_null(from->settings.host_name);
    struct listener *listener =
        listener_open(&(struct listener_options){.io = worker->io,
                                                 .sessions = worker->sessions,
                                                 .address = *address,
                                                 .host_name = host_name,
                                                 .source_name = source},
                      error);
    if (listener == NULL) {
        return -1;
    }
    worker->listeners[worker->listener_count++] = listener;
    return 0;
}

/* A range of listening addresses: one that holds everything is the wildcard address, of IPv4 and,
 * where there is IPv6, of that; any other stands for this host's addresses in it. */
static int open_range(struct worker *worker, const struct config_listener *from,
                      struct error *error)
{
    const struct address_range *range = &from->range;
    if (range->prefix == 0) {
        struct address any = {.family = ADDRESS_IPV4, .port = from->port};
        if (open_listener(worker, &any, from, error) < 0) {
            return -1;
        }
        any.family = ADDRESS_IPV6;
        struct error ignored;
        if (open_listener(worker, &any, from, &ignored) < 0) {
            LOG_INFO("no IPv6 on this host: %s", ignored.text);
        }
        return 0;
    }
    uint8_t whole = range->base.family == ADDRESS_IPV4 ? 32 : 128;
    if (range->prefix == whole) {
        struct address address = range->base;
        address.port = from->port;
        return open_listener(worker, &address, from, error);
    }
    struct address local[WORKER_LISTENERS_MAX];
    size_t count = io_local_addresses(worker->io, local, WORKER_LISTENERS_MAX);
    for (size_t i = 0; i < count; i++) {
        local[i].port = from->port;
        if (address_range_holds(range, &local[i]) &&
            open_listener(worker, &local[i], from, error) < 0) {
            return -1;
        }
    }
    return 0;
}

int worker_start(struct worker *worker, struct error *error)
{
    size_t count;
    const struct config_listener *listeners = config_listeners(worker->config, &count);
    for (size_t i = 0; i < count; i++) {
        if (open_range(worker, &listeners[i], error) < 0) {
            return -1;
        }
    }
    return 0;
}

static void on_listener_closed(void *owner)
{
    uint32_t *open_count = owner;
    (*open_count)--;
}

static void on_sessions_stopped(void *owner);

void worker_unstart(struct worker *worker)
{
    if (worker->sessions == NULL) {
        return;
    }
    uint32_t open_count = worker->listener_count;
    for (uint32_t i = 0; i < worker->listener_count; i++) {
        listener_close(worker->listeners[i], on_listener_closed, &open_count);
    }
    worker->listener_count = 0;
    sessions_stop(worker->sessions, on_sessions_stopped);
    while (open_count > 0 || !worker->sessions_stopped) {
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
        spool_flush(engine->spool, worker->index);
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

static void close_listeners(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->listener_count; i++) {
        listener_close(worker->listeners[i], NULL, NULL);
    }
    worker->listener_count = 0;
}

void worker_drain(struct worker *worker)
{
    if (worker->draining) {
        return;
    }
    worker->draining = true;
    close_listeners(worker);
    sessions_drain(worker->sessions, on_sessions_drained);
    schedule_drain(worker->scheduler);
}

bool worker_drained(const struct worker *worker)
{
    return worker->sessions_drained && scheduler_attempt_count(worker->scheduler) == 0;
}

static void on_sessions_stopped(void *owner)
{
    ((struct worker *)owner)->sessions_stopped = true;
}

void worker_abort(struct worker *worker)
{
    worker->aborted = true;
    close_listeners(worker);
    sessions_stop(worker->sessions, on_sessions_stopped);
    schedule_abort(worker->scheduler);
}

bool worker_gone(const struct worker *worker)
{
    return worker->sessions_stopped && scheduler_attempt_count(worker->scheduler) == 0;
}

void worker_reload(struct worker *worker, const struct config *config)
{
    worker->config = config;
    note_host_name(worker);
    sessions_reload(worker->sessions);
    schedule_reload(worker->scheduler, config);
}

void worker_destroy(struct worker *worker)
{
    sessions_destroy(worker->sessions);
    scheduler_destroy(worker->scheduler);
    attempts_destroy(worker->attempts);
    outcomes_destroy(worker->outcomes);
    resolver_destroy(worker->resolver);
    dns_destroy(worker->dns);
    tls_worker_destroy(worker->tls);
    *worker = (struct worker){.engine = worker->engine, .io = worker->io, .index = worker->index};
}
