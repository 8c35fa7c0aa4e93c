/* The invariants of a world, held against what hosts, sockets and accounting files show. */
#include <stdio.h>
#include <string.h>

#include "scenario_private.h"
#include "sim_records.h"

#define RATE_JITTER_US (2 * SIM_SECOND) /* from the decision to the host's clock */

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

/* A host of every domain counts for none. */
static bool is_of(const struct scenario *scenario, const struct domain_plan *domain,
                  const struct address *address)
{
    bool is_shared = scenario->shares_host && domain == &scenario->domains[0];
    for (uint32_t i = is_shared ? 1 : 0; i < domain->host_count; i++) {
        if (address_equal_ip(&domain->addresses[i], address)) {
            return true;
        }
    }
    return false;
}

/* Of these virtual MTAs to these domains, of those that the world has. */
struct group {
    uint32_t vmta, vmta_count, domain, domain_count;
};

#define ALL_VMTAS   .vmta = 0, .vmta_count = VMTAS_MAX
#define ALL_DOMAINS .domain = 0, .domain_count = DOMAINS_MAX

static bool is_to(const struct scenario *scenario, const struct group *group,
                  const struct address *to)
{
    for (uint32_t i = group->domain;
         i < group->domain + group->domain_count && i < scenario->domain_count; i++) {
        if (is_of(scenario, &scenario->domains[i], to)) {
            return true;
        }
    }
    return false;
}

static bool is_from(const struct scenario *scenario, const struct group *group,
                    const struct address *from)
{
    uint32_t vmta = vmta_of(scenario, from);
    return vmta >= group->vmta && vmta < group->vmta + group->vmta_count;
}

struct counting {
    const struct scenario *scenario;
    const struct group *group;
};

static bool counts(void *owner, const struct address *from, const struct address *to)
{
    const struct counting *counting = owner;
    return is_from(counting->scenario, counting->group, from) &&
           is_to(counting->scenario, counting->group, to);
}

static void check_count(struct scenario *scenario, const struct group *group, uint32_t max)
{
    struct counting counting = {scenario, group};
    uint32_t open = max == 0 ? 0 : sim_count_connections(scenario->sim, counts, &counting);
    if (open > max) {
        scenario_wrong(scenario,
                       "%u connections from %u virtual MTAs from v%u on to %u domains from d%u on, "
                       "at most %u are allowed",
                       open, group->vmta_count, group->vmta, group->domain_count, group->domain,
                       max);
    }
}

struct between {
    const struct address *source, *host;
};

static bool is_between(void *owner, const struct address *from, const struct address *to)
{
    const struct between *between = owner;
    return address_equal_ip(between->source, from) && address_equal_ip(between->host, to);
}

static void check_host(struct scenario *scenario, const struct vmta_plan *vmta,
                       const struct address *host)
{
    for (uint32_t i = 0; i < vmta->source_count; i++) {
        struct between between = {&vmta->sources[i], host};
        uint32_t open = sim_count_connections(scenario->sim, is_between, &between);
        if (open > scenario->host_places) {
            char from[ADDRESS_TEXT_MAX], to[ADDRESS_TEXT_MAX];
            scenario_wrong(scenario, "%u connections from %s to %s, at most %u are allowed", open,
                           address_text(between.source, from), address_text(host, to),
                           scenario->host_places);
        }
    }
}

static void check_hosts(struct scenario *scenario)
{
    for (uint32_t d = 0; d < scenario->domain_count; d++) {
        const struct domain_plan *domain = &scenario->domains[d];
        for (uint32_t i = 0; i < domain->host_count; i++) {
            for (uint32_t v = 0; v < scenario->vmta_count; v++) {
                check_host(scenario, &scenario->vmtas[v], &domain->addresses[i]);
            }
        }
    }
}

/* The limits of connections, counted where they are owed: at the engine's own sockets. */
void scenario_check_connections(struct scenario *scenario)
{
    check_count(scenario, &(struct group){ALL_VMTAS, ALL_DOMAINS}, scenario->total_places);
    check_count(scenario, &(struct group){.vmta = 0, .vmta_count = POOL_MEMBERS, ALL_DOMAINS},
                scenario->pool_places);
    check_count(scenario, &(struct group){ALL_VMTAS, .domain = 0, .domain_count = PROVIDER_DOMAINS},
                scenario->provider_places);
    for (uint32_t v = 0; v < scenario->vmta_count; v++) {
        check_count(scenario, &(struct group){v, 1, ALL_DOMAINS}, scenario->vmta_places);
        for (uint32_t d = 0; d < scenario->domain_count; d++) {
            check_count(scenario, &(struct group){v, 1, d, 1}, scenario->vmtas[v].connections_max);
        }
    }
    for (uint32_t d = 0; d < scenario->domain_count; d++) {
        check_count(scenario, &(struct group){ALL_VMTAS, .domain = d, .domain_count = 1},
                    scenario->domain_places);
    }
    if (scenario->host_places > 0) {
        check_hosts(scenario);
    }
    const char *stranded = scenario->engine == NULL ? NULL : sim_engine_stranded(scenario->engine);
    if (stranded != NULL) {
        scenario_wrong(scenario, "mail waits at the limit %s, and a connection rests there",
                       stranded);
    }
}

void scenario_on_rcpt(void *owner, const struct sim_mx_record *record, uint32_t index)
{
    (void)index;
    struct scenario *scenario = owner;
    scenario_check_connections(scenario);
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

static bool is_end(const struct sim_record *record)
{
    return strcmp(record->type, "d") == 0 || strcmp(record->type, "b") == 0;
}

static void on_record_count(void *owner, const struct sim_record *record)
{
    uint64_t *count = owner;
    *count += is_end(record) && record->orig[0] == 'm';
}

uint64_t scenario_count_outcomes(struct scenario *scenario)
{
    uint64_t count = 0;
    sim_records_read(scenario->sim, ACCOUNTING, on_record_count, &count);
    return count;
}

static void on_record(void *owner, const struct sim_record *record)
{
    struct scenario *scenario = owner;
    char token[SIM_RECORD_FIELD_MAX];
    token_of(record, token);
    if (is_end(record)) {
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

static bool is_of_first_domain(const struct scenario *scenario, const char *rcpt)
{
    return strcmp(strchr(rcpt, '@') + 1, scenario->domains[0].name) == 0;
}

/* By whose address it came, and for whom else that may be. */
static void set_groups(const struct scenario *scenario, struct ledger_take *take,
                       const struct address *source)
{
    take->group = vmta_of(scenario, source);
    if (take->group == 1 && scenario_has_stand_in(scenario)) {
        take->for_group = 1 + 0;
    } else if (scenario_has_reroute(scenario) && is_of_first_domain(scenario, take->rcpt)) {
        take->for_group = take->group == 0 ? 1 + 1 : 0;
        take->group = take->group == 1 ? UINT32_MAX : take->group;
    }
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
                .body_digest = record->body_digest,
                .at_us = record->ended_us,
                .reply_read = record->read,
                .lied = record->lied,
            };
            set_groups(scenario, &take, &record->source);
            if (was_taken(record, i)) {
                ledger_took(scenario->ledger, &take);
            }
        }
    }
}

/* ---- rates ------------------------------------------------------------------------------ */

/* What a transaction counts for. Of bytes those of the body are known here, a few less than all. */
static uint64_t weight_of(const struct scenario *scenario, const struct sim_mx_record *record)
{
    if (scenario->rate_of_bytes) {
        return record->body_whole && is_yes(record->final_code) ? record->body_len : 0;
    }
    return record->rcpt_count;
}

/* What of the group came in the window that begins with `from`. A message that is larger than all
 * that may come goes alone. */
static uint64_t count_window(const struct scenario *scenario, const struct sim_mx_record *from,
                             const struct group *group)
{
    uint64_t end_us = from->began_us + scenario->rate_window_us - RATE_JITTER_US;
    uint64_t count = 0;
    uint32_t messages = 0;
    for (const struct sim_mx_record *record = from; record != NULL && record->began_us < end_us;
         record = sim_farm_next(scenario->farm, record)) {
        bool to_it = false;
        for (uint32_t d = group->domain;
             d < group->domain + group->domain_count && d < scenario->domain_count; d++) {
            for (uint32_t i = 0; i < scenario->domains[d].host_count; i++) {
                to_it |= record->mx == scenario->domains[d].hosts[i];
            }
        }
        bool from_it = scenario->rate_of == RATE_OF_SOURCE
                           ? address_equal_ip(&from->source, &record->source)
                           : is_from(scenario, group, &record->source);
        uint64_t weight = to_it && from_it ? weight_of(scenario, record) : 0;
        count += weight;
        messages += weight > 0;
    }
    return scenario->rate_of_bytes && messages == 1 ? 0 : count;
}

static void check_rate(struct scenario *scenario, const struct sim_mx_record *from,
                       const struct group *group)
{
    uint64_t count = count_window(scenario, from, group);
    if (count > scenario->rate_max) {
        scenario_wrong(scenario,
                       "%llu %s in %u s from %u virtual MTAs from v%u on to %u domains from "
                       "d%u on, not %u",
                       (unsigned long long)count, scenario->rate_of_bytes ? "bytes" : "recipients",
                       (uint32_t)(scenario->rate_window_us / SIM_SECOND), group->vmta_count,
                       group->vmta, group->domain_count, group->domain, scenario->rate_max);
    }
}

static void check_rates(struct scenario *scenario)
{
    const struct sim_mx_record *record = NULL;
    while ((record = sim_farm_next(scenario->farm, record)) != NULL) {
        uint32_t vmta = vmta_of(scenario, &record->source);
        if (scenario->rate_of == RATE_OF_VMTA) {
            check_rate(scenario, record, &(struct group){vmta, 1, ALL_DOMAINS});
        } else if (scenario->rate_of == RATE_OF_PROVIDER) {
            check_rate(scenario, record,
                       &(struct group){ALL_VMTAS, .domain = 0, .domain_count = PROVIDER_DOMAINS});
        }
        bool of_each = scenario->rate_of != RATE_OF_VMTA && scenario->rate_of != RATE_OF_PROVIDER;
        for (uint32_t d = 0; of_each && d < scenario->domain_count; d++) {
            bool of_queue = scenario->rate_of != RATE_OF_DOMAIN;
            check_rate(scenario, record,
                       &(struct group){of_queue ? vmta : 0, of_queue ? 1 : VMTAS_MAX, d, 1});
        }
    }
}

/* ---- all of it -------------------------------------------------------------------------- */

void scenario_check_all(struct scenario *scenario)
{
    enter_takes(scenario);
    if (sim_records_read(scenario->sim, ACCOUNTING, on_record, scenario) < 0) {
        scenario_wrong(scenario, "an accounting file is no CSV with type, orig and rcpt");
    }
    const char *wrong = ledger_check(scenario->ledger);
    if (wrong != NULL) {
        scenario_wrong(scenario, "%s", wrong);
    }
    if (scenario->rate_max > 0) {
        check_rates(scenario);
    }
}
