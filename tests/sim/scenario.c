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
#include "sim_records.h"

#define TROUBLE_HOURS_MAX 8
#define PEACE_HOURS_MAX   120 /* bounce-after is at most 48 h; then the last tries */
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

/* ---- what hosts see --------------------------------------------------------------------- */

/* Whose address this is; UINT32_MAX: nobody's. */
static uint32_t vmta_of(const struct scenario *scenario, const struct address *source)
{
    for (uint32_t i = 0; i < scenario->vmta_count; i++) {
        for (uint32_t j = 0; j < scenario->vmtas[i].source_count; j++) {
            if (address_equal_ip(&scenario->vmtas[i].sources[j], source)) {
                return i;
            }
        }
    }
    return UINT32_MAX;
}

static bool is_of(const struct domain_plan *domain, const struct address *address)
{
    for (uint32_t i = 0; i < domain->host_count; i++) {
        if (address_equal_ip(&domain->addresses[i], address)) {
            return true;
        }
    }
    return false;
}

struct counting {
    const struct scenario *scenario;
    uint32_t vmta;
    const struct domain_plan *domain;
};

static bool counts(void *owner, const struct address *from, const struct address *to)
{
    const struct counting *counting = owner;
    return is_of(counting->domain, to) && vmta_of(counting->scenario, from) == counting->vmta;
}

/* max-smtp-out, counted where it is owed: at the engine's own sockets. */
static void check_connections(struct scenario *scenario)
{
    for (uint32_t v = 0; v < scenario->vmta_count; v++) {
        for (uint32_t d = 0; d < scenario->domain_count; d++) {
            struct counting counting = {scenario, v, &scenario->domains[d]};
            uint32_t open = sim_count_connections(scenario->sim, counts, &counting);
            if (open > scenario->vmtas[v].connections_max) {
                scenario_wrong(scenario, "%u connections from %s to %s, at most %u are allowed",
                               open, scenario->vmtas[v].name, scenario->domains[d].name,
                               scenario->vmtas[v].connections_max);
            }
        }
    }
}

static void on_rcpt(void *owner, const struct sim_mx_record *record, uint32_t index)
{
    (void)index;
    struct scenario *scenario = owner;
    check_connections(scenario);
    uint32_t vmta = vmta_of(scenario, &record->source);
    char text[ADDRESS_TEXT_MAX];
    if (vmta == UINT32_MAX) {
        scenario_wrong(scenario, "a connection came from %s, which is no virtual MTA's",
                       address_text(&record->source, text));
    } else if (strcmp(record->helo, scenario->vmtas[vmta].helo) != 0) {
        scenario_wrong(scenario, "%s said it was %s", address_text(&record->source, text),
                       record->helo);
    }
}

/* ---- the accounting files --------------------------------------------------------------- */

static void token_of(const struct sim_record *record, char token[SIM_RECORD_FIELD_MAX])
{
    size_t len = strcspn(record->orig, "@");
    memcpy(token, record->orig, len);
    token[len] = '\0';
}

static void on_record_count(void *owner, const struct sim_record *record)
{
    struct scenario *scenario = owner;
    bool ends = strcmp(record->type, "d") == 0 || strcmp(record->type, "b") == 0;
    scenario->records_seen += ends && record->orig[0] == 'm';
}

static void on_record(void *owner, const struct sim_record *record)
{
    struct scenario *scenario = owner;
    char token[SIM_RECORD_FIELD_MAX];
    token_of(record, token);
    if (strcmp(record->type, "d") == 0 || strcmp(record->type, "b") == 0) {
        ledger_outcome(scenario->ledger, token, record->rcpt, record->type[0]);
        scenario->result->delivered += record->type[0] == 'd';
        scenario->result->bounced += record->type[0] == 'b';
    }
}

/* RFC 5321 4.3.2: the first digit decides. */
static bool is_yes(uint16_t code)
{
    return code / 100 == 2;
}

/* What a liar answered is worth nothing; that it was sent something is all that is known. */
static bool was_taken(const struct sim_mx_record *record, uint32_t rcpt)
{
    return record->lied || (is_yes(record->final_code) && is_yes(record->rcpts[rcpt].code));
}

static void enter_takes(struct scenario *scenario)
{
    const struct sim_mx_record *record = NULL;
    while ((record = sim_farm_next(scenario->farm, record)) != NULL) {
        char token[SIM_MX_TEXT_MAX];
        size_t len = strcspn(record->sender, "@");
        memcpy(token, record->sender, len);
        token[len] = '\0';
        for (uint32_t i = 0; i < record->rcpt_count; i++) {
            struct ledger_take take = {
                .token = token,
                .rcpt = record->rcpts[i].address,
                .group = vmta_of(scenario, &record->source),
                .body_digest = record->body_digest,
                .at_us = record->ended_us,
                .reply_read = record->quit,
                .lied = record->lied,
            };
            if (was_taken(record, i)) {
                ledger_took(scenario->ledger, &take);
            }
        }
    }
}

/* ---- the course of things --------------------------------------------------------------- */

static bool is_over(struct scenario *scenario)
{
    return scenario->result->wrong[0] != '\0';
}

/* One look around, every few seconds of the world. */
static void look(struct scenario *scenario)
{
    check_connections(scenario);
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
    if (sim_engine_stopped(scenario->engine)) {
        size_t forgotten = sim_engine_destroy(scenario->engine);
        scenario->engine = NULL;
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

/* Has everything promised come to its end, as far as the accounting files tell? */
static bool settled(struct scenario *scenario)
{
    for (uint32_t i = 0; i < scenario->client_count; i++) {
        if (!sim_client_finished(scenario->clients[i])) {
            return false;
        }
    }
    scenario->records_seen = 0;
    sim_records_read(scenario->sim, ACCOUNTING, on_record_count, scenario);
    return scenario->records_seen >= scenario->result->promised;
}

static void have_peace(struct scenario *scenario)
{
    scenario_end_trouble(scenario);
    if (scenario->engine != NULL && scenario->stopping) {
        pass_time(scenario, STOP_US_MAX);
    }
    if (scenario->engine == NULL) {
        sim_event_cancel(scenario->sim, &scenario->restart);
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
    if (!is_over(scenario)) {
        sim_engine_stop(scenario->engine);
        pass_time(scenario, STOP_US_MAX);
        if (scenario->engine != NULL) {
            scenario_wrong(scenario, "the engine does not stop");
        }
    }
    if (is_over(scenario)) {
        return;
    }
    scenario->result->promised = ledger_open_count(scenario->ledger);
    enter_takes(scenario);
    if (sim_records_read(scenario->sim, ACCOUNTING, on_record, scenario) < 0) {
        scenario_wrong(scenario, "an accounting file is no CSV with type, orig and rcpt");
    }
    const char *wrong = ledger_check(scenario->ledger);
    if (wrong != NULL) {
        scenario_wrong(scenario, "%s", wrong);
    }
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
    sim_farm_watch(scenario->farm, NULL, on_rcpt, scenario);
    prepare_disk(scenario);
    scenario_make(scenario);
    scenario_begin_trouble(scenario);
    scenario_start_engine(scenario);
    pass_time(scenario, sim_spread(scenario->sim, SIM_HOUR / 4, TROUBLE_HOURS_MAX * SIM_HOUR));
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
