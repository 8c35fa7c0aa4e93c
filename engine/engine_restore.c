/* What the spool knows comes back: named states to their owners, then messages to their queues. On
 * the keeper, before any worker runs. */
#include <stdlib.h>

#include "accounting.h"
#include "arrivals.h"
#include "common_rates.h"
#include "engine.h"
#include "io/io.h"
#include "schedule.h"
#include "spools.h"
#include "vmta/registry.h"

#define EX_SOFTWARE_ 70 /* of sysexits */

static struct io *keeper_io(const struct engine *engine)
{
    return engine->workers[ENGINE_KEEPER].io;
}

static void restore_pause(struct engine *engine, struct bytes text)
{
    char *pattern = bytes_to_string(text);
    for (uint32_t i = 0; pattern != NULL && i < engine->worker_count; i++) {
        schedule_pause(engine->schedulers[i], pattern); /* before the workers run */
    }
    free(pattern);
}

static void restore_paused_job(struct engine *engine, struct bytes id)
{
    for (uint32_t i = 0; i < engine->worker_count; i++) {
        paused_jobs_add(&engine->schedulers[i]->paused_jobs, id);
    }
}

static void restore_of_site(struct engine *engine, struct bytes site, struct bytes key,
                            struct bytes value)
{
    const struct io *io = keeper_io(engine);
    const struct kept_time at = {io_now_ms(io), io_wall_ms(io)};
    const struct registry_site *known =
        engine->registry == NULL ? NULL : registry_arrive(engine->registry, site);
    uint32_t worker = known == NULL ? ENGINE_KEEPER : known->owner;
    schedule_restore(engine->schedulers[worker], key, value, &at);
}

static void on_state(void *owner, struct bytes key, struct bytes value)
{
    struct engine *engine = owner;
    const struct io *io = keeper_io(engine);
    const struct kept_time at = {io_now_ms(io), io_wall_ms(io)};
    struct bytes pause = BYTES("pause:"), paused_job = BYTES("paused-job:"), site;
    if (schedule_state_is_mode(key)) {
        return; /* on_mode_state has taken it */
    }
    if (bytes_starts_with(key, pause)) {
        restore_pause(engine, bytes_slice(key, pause.len, key.len));
    } else if (bytes_starts_with(key, paused_job)) {
        restore_paused_job(engine, bytes_slice(key, paused_job.len, key.len));
    } else if (schedule_state_site(key, &site)) {
        restore_of_site(engine, site, key, value);
    } else {
        common_rates_restore(engine->common_rates, key, value, at.now_ms, at.wall_ms);
    }
}

static void on_mode_state(void *owner, struct bytes key, struct bytes value)
{
    struct bytes site;
    if (schedule_state_is_mode(key) && schedule_state_site(key, &site)) {
        restore_of_site(owner, site, key, value);
    }
}

static void restore_states(struct engine *engine)
{
    struct io *io = keeper_io(engine);
    struct spool *home = spools_home(engine->spools);
    if (!spools_are_fresh(engine->spools)) {
        uint64_t now_ms = io_now_ms(io);
        common_rates_begin_full(engine->common_rates, now_ms);
        for (uint32_t i = 0; i < engine->worker_count; i++) {
            schedule_begin_full(engine->schedulers[i], now_ms);
        }
    }
    spool_each_state(home, on_mode_state, engine); /* they decide which rates hold */
    spool_each_state(home, on_state, engine);
    common_rates_start(engine->common_rates, io, home, ENGINE_KEEPER);
}

int engine_restore(struct engine *engine, struct error *error)
{
    engine->arrivals = arrivals_create(&(struct arrivals_options){
        .io = keeper_io(engine),
        .spools = engine->spools,
        .mailboxes = engine->mailboxes,
        .registry = engine->registry,
        .mx_table = engine->mx_table,
        .schedulers = engine->schedulers,
        .config = engine->config,
        .keeper = ENGINE_KEEPER,
        .workers = engine->worker_count,
    });
    if (engine->arrivals == NULL) {
        return error_set(error, EX_SOFTWARE_, "out of memory");
    }
    uint32_t log_count;
    struct spool *const *logs = spools_all(engine->spools, &log_count);
    engine->accounting = accounting_create(&(struct accounting_options){.io = keeper_io(engine),
                                                                        .logs = logs,
                                                                        .log_count = log_count,
                                                                        .config = engine->config,
                                                                        .worker = ENGINE_KEEPER},
                                           error);
    if (engine->accounting == NULL) {
        return -1;
    }
    arrivals_record_received(engine->arrivals, accounting_wants_received(engine->accounting));
    spools_mark_home(engine->spools, ENGINE_KEEPER);
    restore_states(engine);
    for (uint32_t i = 0; i < log_count; i++) {
        spool_on_arrival(logs[i], arrivals_take, engine->arrivals);
        spool_each_message(logs[i], arrivals_take_found, engine->arrivals);
    }
    engine->restored = true;
    return 0;
}
