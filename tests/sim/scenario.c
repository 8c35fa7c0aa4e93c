/* Running a scenario: trouble, peace, the end, and the checks. */
#include "scenario.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/logger.h"
#include "io/io.h"
#include "scenario_private.h"
#include "sim_disk.h"
#include "sim_memory.h"

#define TROUBLE_HOURS_MAX 8
#define KILLS_US          (SIM_HOUR / 4) /* where kills are all the trouble */
#define PEACE_HOURS_MAX   120            /* bounce-after is at most 48 h; then the last tries */
#define STOP_US_MAX       (600 * SIM_SECOND)
#define STEPS_MAX         50000000
#define TURNS_AWAKE_MAX   200000 /* a worker that never sleeps so long spins */
#define LOOK_US           (10 * SIM_SECOND)

void scenario_wrong(struct scenario *scenario, const char *format, ...)
{
    va_list arguments;
    if (scenario->result->wrong[0] != '\0') {
        return;
    }
    va_start(arguments, format);
    vsnprintf(scenario->result->wrong, sizeof(scenario->result->wrong), format, arguments);
    va_end(arguments);
}

/* ---- the course of things --------------------------------------------------------------- */

static bool is_over(struct scenario *scenario)
{
    return scenario->result->wrong[0] != '\0';
}

/* One look around, every few seconds of the world. */
static void look(struct scenario *scenario)
{
    scenario_check_connections(scenario);
    const char *violation = sim_farm_violation(scenario->farm);
    if (violation != NULL) {
        scenario_wrong(scenario, "the engine broke the protocol: %s", violation);
    }
    if (sim_steps(scenario->sim) > STEPS_MAX) {
        scenario_wrong(scenario, "the world does not end: %d steps", STEPS_MAX);
    }
    if (scenario->engine == NULL) {
        return;
    }
    if (sim_engine_turns_awake(scenario->engine) > TURNS_AWAKE_MAX) {
        scenario_wrong(scenario, "a worker has not slept for %d turns", TURNS_AWAKE_MAX);
    }
    if (sim_engine_sound(scenario->engine)) {
        scenario->sound_us = sim_now_us(scenario->sim);
    }
    if (sim_engine_stopped(scenario->engine)) {
        size_t forgotten = sim_engine_destroy(scenario->engine);
        scenario->engine = NULL;
        scenario_engine_ended(scenario, 0);
        if (forgotten > 0) {
            scenario_wrong(scenario, "the engine stopped and forgot to free %zu blocks", forgotten);
        }
        sim_memory_drop();
        if (!scenario->at_peace) {
            sim_event_in(scenario->sim, &scenario->restart, SIM_SECOND);
        }
    }
}

static void pass_time(struct scenario *scenario, uint64_t us)
{
    uint64_t end = sim_now_us(scenario->sim) + us;
    while (sim_now_us(scenario->sim) < end && !is_over(scenario)) {
        uint64_t left = end - sim_now_us(scenario->sim);
        sim_run_for(scenario->sim, left < LOOK_US ? left : LOOK_US);
        look(scenario);
    }
}

/* Has everything promised come to its end, as far as the accounting files tell? Nothing may be
 * queued any more, because they also tell of what was delivered without a promise: a client that
 * heard no answer sends again. */
static bool settled(struct scenario *scenario)
{
    for (uint32_t i = 0; i < scenario->client_count; i++) {
        if (!sim_client_finished(scenario->clients[i])) {
            return false;
        }
    }
    bool queued = scenario->engine != NULL && sim_engine_queued(scenario->engine) > 0;
    return !queued && scenario_count_outcomes(scenario) >= scenario->result->promised;
}

static void stop_engine(struct scenario *scenario)
{
    if (is_over(scenario) || scenario->engine == NULL) {
        return;
    }
    if (!scenario->stopping) {
        sim_engine_stop(scenario->engine);
    }
    pass_time(scenario, STOP_US_MAX);
    if (scenario->engine != NULL) {
        scenario_wrong(scenario, "the engine does not stop");
    }
}

static void have_peace(struct scenario *scenario)
{
    scenario_end_trouble(scenario);
    sim_event_cancel(scenario->sim, &scenario->restart);
    stop_engine(scenario); /* a spool that failed twice asks for it */
    if (!is_over(scenario)) {
        scenario_start_engine(scenario);
    }
    for (int hour = 0; hour < PEACE_HOURS_MAX && !is_over(scenario); hour++) {
        pass_time(scenario, SIM_HOUR);
        scenario->result->promised = ledger_open_count(scenario->ledger);
        if (settled(scenario)) {
            return;
        }
    }
}

static void finish(struct scenario *scenario)
{
    stop_engine(scenario);
    if (is_over(scenario)) {
        return;
    }
    scenario->result->promised = ledger_open_count(scenario->ledger);
    scenario_check_all(scenario);
}

/* ---- life ------------------------------------------------------------------------------- */

static void on_log(enum logger_level level, const char *line)
{
    (void)level;
    (void)line;
}

static void on_log_traced(enum logger_level level, const char *line)
{
    printf("             log %d: %s\n", (int)level, line);
}

/* The directories that an installation would have made. */
static void prepare_disk(struct scenario *scenario)
{
    struct io *io = io_create(&(struct io_options){.recv_buffer_bytes = 512}, NULL);
    io_directory_create(io, "/spool");
    io_directory_create(io, ACCOUNTING);
    io_directory_create(io, "/run");
    io_destroy(io);
    sim_disk_settle(scenario->sim);
}

static void tear_down(struct scenario *scenario)
{
    if (scenario->engine != NULL) {
        sim_engine_crash(scenario->engine, SIM_KILL);
    }
    for (uint32_t i = 0; i < scenario->client_count; i++) {
        sim_client_destroy(scenario->clients[i]);
    }
    sim_farm_destroy(scenario->farm);
    ledger_destroy(scenario->ledger);
    sim_destroy(scenario->sim);
    sim_give(scenario);
}

void scenario_run(const struct scenario_options *options, struct scenario_result *result)
{
    struct scenario *scenario = sim_take(sizeof(*scenario));
    *result = (struct scenario_result){0};
    scenario->options = *options;
    scenario->result = result;
    logger_set_sink(options->trace ? on_log_traced : on_log);
    scenario->sim = sim_create(&(struct sim_options){.seed = options->seed});
    sim_trace(scenario->sim, options->trace);
    uint64_t start_us = sim_now_us(scenario->sim);
    scenario->farm = sim_farm_create(scenario->sim);
    scenario->ledger = ledger_create();
    sim_farm_watch(scenario->farm, NULL, scenario_on_rcpt, scenario);
    prepare_disk(scenario);
    scenario_make(scenario);
    scenario_begin_trouble(scenario);
    scenario_start_engine(scenario);
    uint64_t trouble_us = sim_spread(scenario->sim, SIM_HOUR / 4, TROUBLE_HOURS_MAX * SIM_HOUR);
    pass_time(scenario, options->kills ? KILLS_US : trouble_us);
    if (!is_over(scenario)) {
        have_peace(scenario);
    }
    finish(scenario);
    result->digest = sim_digest(scenario->sim);
    result->steps = sim_steps(scenario->sim);
    result->hours = (double)(sim_now_us(scenario->sim) - start_us) / (double)SIM_HOUR;
    tear_down(scenario);
    logger_set_sink(NULL);
}
