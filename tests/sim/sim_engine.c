#include "sim_engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attempt.h"
#include "engine.h"
#include "io/io.h"
#include "policy/config.h"
#include "policy/defaults.h"
#include "schedule.h"
#include "sim_memory.h"
#include "spools.h"
#include "worker.h"

struct sim_engine {
    struct sim *sim;
    struct engine *engine;
    struct sim_engine_options options;
};

/* ---- the configuration, from memory ----------------------------------------------------- */

static int on_read(void *owner, const char *path, struct bytes *out)
{
    (void)path;
    const struct sim_engine *engine = owner;
    size_t len = strlen(engine->options.configuration);
    char *copy = malloc(len + 1);
    if (copy == NULL) {
        return -ENOMEM;
    }
    memcpy(copy, engine->options.configuration, len + 1);
    *out = bytes_of(copy, len);
    return 0;
}

static int on_glob(void *owner, const char *pattern, void (*found)(void *to, const char *path),
                   void *to)
{
    (void)owner;
    (void)pattern;
    (void)found;
    (void)to;
    return 0;
}

static struct config *on_load(void *owner, struct error *error)
{
    struct config_report report = {0};
    struct config_files files = {
        .owner = owner, .read = on_read, .glob = on_glob, .defaults = config_defaults()};
    struct config *config = config_load("posthaste.conf", &files, &report);
    for (size_t i = 0; i < report.count && config == NULL; i++) {
        if (!report.messages[i].warning) {
            error_set(error, 78, "line %u: %s", report.messages[i].line, report.messages[i].text);
        }
    }
    config_report_deinit(&report);
    return config;
}

/* ---- start ------------------------------------------------------------------------------ */

static void on_turn(void *owner)
{
    struct worker *worker = owner;
    worker_turn(worker);
}

/* What engine_run does with a thread per worker, one after the other. */
static int start_workers(struct engine *engine, struct error *error)
{
    for (uint32_t i = 0; i < engine->worker_count; i++) {
        if (worker_create(&engine->workers[i], engine, i, error) < 0) {
            return -1;
        }
    }
    if (engine_open_spool(engine, error) < 0) {
        return -1;
    }
    for (uint32_t i = 0; i < engine->worker_count; i++) {
        if (worker_prepare(&engine->workers[i], error) < 0) {
            return -1;
        }
    }
    if (engine_restore(engine, error) < 0) {
        return -1;
    }
    for (uint32_t i = 0; i < engine->worker_count; i++) {
        if (worker_start(&engine->workers[i], error) < 0) {
            return -1;
        }
    }
    return engine_started(engine, error);
}

static struct engine *make_engine(struct sim_engine *self, struct error *error)
{
    struct config *config = on_load(self, error);
    if (config == NULL) {
        return NULL;
    }
    struct engine *engine = engine_create(
        &(struct engine_options){
            .config = config,
            .config_path = "posthaste.conf",
            .workers = self->options.workers,
            .mailbox_len = self->options.mailbox_len,
            .segment_bytes = self->options.segment_bytes,
            .load = on_load,
            .owner = self,
        },
        error);
    if (engine == NULL) {
        config_free(config);
    }
    return engine;
}

struct sim_engine *sim_engine_start(struct sim *sim, const struct sim_engine_options *options,
                                    struct error *error)
{
    struct sim_engine *self = sim_take(sizeof(*self));
    self->sim = sim;
    self->options = *options;
    sim_memory_enter();
    self->engine = make_engine(self, error);
    bool started = self->engine != NULL && start_workers(self->engine, error) == 0;
    sim_memory_leave();
    if (!started) { /* the process ends; nothing of it is left */
        sim_crash(sim, SIM_KILL);
        sim_give(self);
        return NULL;
    }
    for (uint32_t i = 0; i < self->engine->worker_count; i++) {
        sim_drive(self->engine->workers[i].io, on_turn, &self->engine->workers[i]);
    }
    return self;
}

/* ---- end -------------------------------------------------------------------------------- */

void sim_engine_stop(struct sim_engine *self)
{
    engine_want_stop(self->engine);
}

bool sim_engine_stopped(const struct sim_engine *self)
{
    return !atomic_load(&self->engine->running);
}

uint64_t sim_engine_turns_awake(const struct sim_engine *self)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < self->engine->worker_count; i++) {
        uint64_t turns = sim_turns_awake(self->engine->workers[i].io);
        most = turns > most ? turns : most;
    }
    return most;
}

bool sim_engine_sound(const struct sim_engine *self)
{
    struct spool_status status;
    spools_status(self->engine->spools, &status);
    return status.hold_reason == NULL;
}

uint64_t sim_engine_appended(const struct sim_engine *self)
{
    struct spool_status status;
    spools_status(self->engine->spools, &status);
    return status.appended_bytes;
}

uint64_t sim_engine_queued(const struct sim_engine *self)
{
    struct spool_status status;
    spools_status(self->engine->spools, &status);
    return status.recipients;
}

/* ---- idle connections that should give way
 * ---------------------------------------------------------- */

struct at_limit {
    const struct limit *limit;
    uint32_t resting, closing; /* connections that hold a place of it */
    bool pleads;
};

static void count_site(void *owner, struct site *site)
{
    struct at_limit *at = owner;
    for (struct list_node *node = list_first(&site->attempts); node != NULL;
         node = list_next(&site->attempts, node)) {
        const struct attempt *attempt = CONTAINER_OF(node, struct attempt, site_node);
        for (int slot = 0; slot < GATE_SLOTS; slot++) {
            const struct gate *gate = attempt->places.gates[slot];
            bool counts = gate != NULL && gate->limit == at->limit;
            at->resting += counts && list_linked(&attempt->idle_node);
            at->closing += counts && attempt->places.promised;
        }
    }
}

static struct at_limit look_at(const struct engine *engine, const struct limit *limit)
{
    struct at_limit at = {.limit = limit};
    for (uint32_t i = 0; i < engine->worker_count; i++) {
        struct scheduler *scheduler = engine->schedulers[i];
        schedule_each_site(scheduler, "*", count_site, &at);
        for (struct list_node *node = list_first(&scheduler->gates.waiting); node != NULL;
             node = list_next(&scheduler->gates.waiting, node)) {
            const struct gate *gate = CONTAINER_OF(node, struct gate, node);
            at.pleads |= gate->limit == limit && gate->plea.in_flight;
        }
    }
    return at;
}

const char *sim_engine_stranded(const struct sim_engine *self)
{
    for (uint32_t i = 0; i < self->engine->worker_count; i++) {
        const struct gates *gates = &self->engine->schedulers[i]->gates;
        for (struct list_node *node = list_first(&gates->waiting); node != NULL;
             node = list_next(&gates->waiting, node)) {
            const struct limit *limit = CONTAINER_OF(node, struct gate, node)->limit;
            bool woken = (limit_waiting(limit) & UINT64_C(1) << i) == 0; /* it tries soon */
            struct at_limit at = look_at(self->engine, limit);
            if (!woken && at.resting > 0 && at.closing == 0 && !at.pleads) {
                return limit_name(limit).data;
            }
        }
    }
    return NULL;
}

/* What the workers' threads do at their end, in the same steps. */
static void end_workers(struct engine *engine)
{
    engine_close_followers(engine);
    for (uint32_t i = 0; i < engine->worker_count; i++) {
        worker_destroy(&engine->workers[i]);
    }
    engine_close_spool(engine);
    for (uint32_t i = 0; i < engine->worker_count; i++) {
        io_destroy(engine->workers[i].io);
    }
}

size_t sim_engine_destroy(struct sim_engine *self)
{
    for (uint32_t i = 0; i < self->engine->worker_count; i++) {
        sim_undrive(self->engine->workers[i].io);
    }
    sim_memory_enter();
    end_workers(self->engine);
    engine_destroy(self->engine);
    sim_memory_leave();
    sim_give(self);
    return sim_memory_blocks();
}

void sim_engine_crash(struct sim_engine *self, enum sim_crash kind)
{
    sim_crash(self->sim, kind);
    sim_give(self);
}
