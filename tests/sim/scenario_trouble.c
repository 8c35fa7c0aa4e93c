/* What upsets a scenario: one trouble after the other, most with a relief some time later. */
#include <stdio.h>

#include "scenario_private.h"
#include "sim_disk.h"
#include "sim_dns.h"

#define TROUBLE_US_MIN (10 * SIM_SECOND)
#define TROUBLE_US_MAX (2 * SIM_HOUR)
#define RATED_US_MAX   (600 * SIM_SECOND) /* between troubles where rates are held against it */
#define RELIEF_US_MIN  SIM_SECOND
#define RELIEF_US_MAX  SIM_HOUR
#define DOWN_US_MIN    (100 * SIM_MS)
#define DOWN_US_MAX    (900 * SIM_SECOND)
#define DURABLE_US     (30 * SIM_SECOND) /* an outcome is: slow disks included */
#define WRITTEN_US     (200 * SIM_MS)    /* with prompt disks it is written by then */
#define KILL_US_MAX    (60 * SIM_SECOND) /* from one kill to the next, where nothing else happens */
#define WORKERS_MAX    4

enum trouble {
    KILL,
    POWER_LOSS,
    ORDERLY_STOP,
    DISK_FAILS,
    SYNC_FAILS,
    DISK_FULL,
    ADDRESS_LOST,
    HOST_DARK,
    NAMES_FAIL,
    TROUBLE_COUNT,
};

static const char *const names[] = {"kill",         "power loss", "stop",
                                    "disk fails",   "sync fails", "disk full",
                                    "address lost", "host dark",  "names fail"};

/* ---- the engine ------------------------------------------------------------------------- */

void scenario_engine_ended(struct scenario *scenario, uint64_t margin_us)
{
    uint64_t now_us = sim_now_us(scenario->sim);
    uint64_t begin_us = now_us < scenario->sound_us ? now_us : scenario->sound_us;
    ledger_forget(scenario->ledger, begin_us > margin_us ? begin_us - margin_us : 0, now_us);
}

void scenario_start_engine(struct scenario *scenario)
{
    struct sim *sim = scenario->sim;
    struct error error = {0};
    static const uint32_t in_turn[] = {1, 4, 2};
    uint64_t drawn = sim_between(sim, 1, WORKERS_MAX);
    scenario->engine_options.workers =
        scenario->options.workers != 0 ? scenario->options.workers : (uint32_t)drawn;
    if (scenario->options.kills) {
        scenario->engine_options.workers = in_turn[scenario->starts++ % 3];
    }
    scenario->stopping = false;
    scenario->sound_us = sim_now_us(sim);
    scenario->engine = sim_engine_start(sim, &scenario->engine_options, &error);
    sim_note(sim, "engine start", scenario->engine_options.workers, scenario->engine != NULL);
    if (scenario->engine == NULL) {
        if (scenario->at_peace) {
            scenario_wrong(scenario, "the engine does not start: %s", error.text);
            return;
        }
        /* A disk that fails may well keep it from starting: its supervisor tries again. */
        sim_event_in(sim, &scenario->restart, sim_spread(sim, SIM_SECOND, DOWN_US_MAX));
    }
}

static void on_restart(struct sim_event *event)
{
    struct scenario *scenario = CONTAINER_OF(event, struct scenario, restart);
    if (scenario->engine == NULL) {
        scenario_start_engine(scenario);
    }
}

static void crash(struct scenario *scenario, enum sim_crash kind)
{
    struct sim *sim = scenario->sim;
    if (scenario->engine == NULL) {
        return;
    }
    scenario->result->crashes++;
    sim_engine_crash(scenario->engine, kind);
    scenario->engine = NULL;
    if (scenario->options.kills) { /* on a disk that does its work: what is written is kept */
        scenario->sound_us = sim_now_us(sim);
        scenario_engine_ended(scenario, WRITTEN_US);
        sim_event_in(sim, &scenario->restart, DOWN_US_MIN);
        return;
    }
    scenario_engine_ended(scenario, DURABLE_US);
    sim_event_in(sim, &scenario->restart, sim_spread(sim, DOWN_US_MIN, DOWN_US_MAX));
}

/* ---- troubles and reliefs --------------------------------------------------------------- */

static struct address some_address(struct scenario *scenario, enum trouble trouble)
{
    struct sim *sim = scenario->sim;
    if (trouble == ADDRESS_LOST) {
        const struct vmta_plan *vmta =
            &scenario->vmtas[sim_between(sim, 0, scenario->vmta_count - 1)];
        return vmta->sources[sim_between(sim, 0, vmta->source_count - 1)];
    }
    const struct domain_plan *domain =
        &scenario->domains[sim_between(sim, 0, scenario->domain_count - 1)];
    return domain->addresses[sim_between(sim, 0, domain->host_count - 1)];
}

static void set_names(struct scenario *scenario, enum dns_status status)
{
    for (uint32_t i = 0; i < scenario->domain_count; i++) {
        sim_dns_set_status(scenario->sim, scenario->domains[i].name, status);
    }
}

static void on_relief(struct sim_event *event)
{
    struct scenario *scenario = CONTAINER_OF(event, struct scenario, relief);
    struct sim *sim = scenario->sim;
    sim_disk_break(sim, false, false);
    sim_disk_set_quota(sim, UINT64_MAX);
    set_names(scenario, DNS_OK);
    if (scenario->relief_of == ADDRESS_LOST) {
        sim_address_add(sim, &scenario->relief_address);
    } else if (scenario->relief_of == HOST_DARK) {
        sim_host_set(sim, &scenario->relief_address, SIM_HOST_UP);
    }
    scenario->relief_of = TROUBLE_COUNT;
}

static void bring(struct scenario *scenario, enum trouble trouble)
{
    struct sim *sim = scenario->sim;
    scenario->relief_address = some_address(scenario, trouble);
    switch (trouble) {
    case KILL:
        crash(scenario, SIM_KILL);
        break;
    case POWER_LOSS:
        crash(scenario, SIM_POWER);
        break;
    case ORDERLY_STOP:
        if (scenario->engine != NULL && !scenario->stopping) {
            scenario->stopping = true;
            sim_engine_stop(scenario->engine);
        }
        break;
    case DISK_FAILS:
        sim_disk_break(sim, true, true);
        break;
    case SYNC_FAILS:
        sim_disk_break(sim, false, true);
        break;
    case DISK_FULL:
        sim_disk_set_quota(sim, sim_disk_used(sim) + sim_between(sim, 0, 100000));
        break;
    case ADDRESS_LOST:
        sim_address_remove(sim, &scenario->relief_address);
        break;
    case HOST_DARK:
        sim_host_set(sim, &scenario->relief_address, SIM_HOST_DARK);
        break;
    case NAMES_FAIL:
        set_names(scenario, DNS_FAILED);
        break;
    case TROUBLE_COUNT:
        break;
    }
}

/* Rates are worth looking at across restarts, while there is still mail. */
static enum trouble draw_trouble(struct scenario *scenario)
{
    bool restarts = scenario->rate_max > 0 && sim_chance(scenario->sim, 500000);
    return (enum trouble)sim_between(scenario->sim, 0, restarts ? ORDERLY_STOP : TROUBLE_COUNT - 1);
}

static uint64_t draw_pause_us(struct scenario *scenario)
{
    return sim_spread(scenario->sim, TROUBLE_US_MIN,
                      scenario->rate_max > 0 ? RATED_US_MAX : TROUBLE_US_MAX);
}

static void on_trouble(struct sim_event *event)
{
    struct scenario *scenario = CONTAINER_OF(event, struct scenario, trouble);
    struct sim *sim = scenario->sim;
    if (scenario->relief.queued) { /* one at a time can be told apart */
        on_relief(&scenario->relief);
        sim_event_cancel(sim, &scenario->relief);
    }
    if (scenario->options.kills) {
        bring(scenario, KILL);
        sim_event_in(sim, event, sim_spread(sim, SIM_SECOND, KILL_US_MAX));
        return;
    }
    enum trouble trouble = draw_trouble(scenario);
    sim_note(sim, names[trouble], trouble, 0);
    scenario->relief_of = trouble;
    bring(scenario, trouble);
    sim_event_in(sim, &scenario->relief, sim_spread(sim, RELIEF_US_MIN, RELIEF_US_MAX));
    sim_event_in(sim, event, draw_pause_us(scenario));
}

void scenario_begin_trouble(struct scenario *scenario)
{
    struct sim *sim = scenario->sim;
    sim_event_init(&scenario->trouble, on_trouble);
    sim_event_init(&scenario->restart, on_restart);
    sim_event_init(&scenario->relief, on_relief);
    scenario->relief_of = TROUBLE_COUNT;
    if (scenario->options.kills) {
        sim_event_in(sim, &scenario->trouble, sim_spread(sim, SIM_SECOND, KILL_US_MAX));
        return;
    }
    sim_clock_faults_start(sim);
    if (!sim_chance(sim, 200000)) { /* some worlds have only rude hosts */
        sim_event_in(sim, &scenario->trouble, draw_pause_us(scenario));
    }
}

void scenario_end_trouble(struct scenario *scenario)
{
    struct sim *sim = scenario->sim;
    sim_event_cancel(sim, &scenario->trouble);
    sim_event_cancel(sim, &scenario->relief);
    on_relief(&scenario->relief);
    *sim_odds(sim) = (struct sim_odds){0};
    for (uint32_t i = 0; i < scenario->domain_count; i++) {
        for (uint32_t j = 0; j < scenario->domains[i].host_count; j++) {
            sim_mx_behave(scenario->domains[i].hosts[j]);
        }
    }
    for (uint32_t i = 0; i < scenario->client_count; i++) {
        sim_client_manners(scenario->clients[i])->leaves = 0;
    }
    scenario->at_peace = true;
}
