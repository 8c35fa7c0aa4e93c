/* Drawing a scenario: virtual MTAs, domains with their hosts, clients with their messages, and the
 * configuration that says so to the engine. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/rng.h"
#include "scenario_private.h"
#include "sim_dns.h"

#define MESSAGES_MAX  12 /* of one client */
#define LOAD          60 /* of one, where kills are to meet mail */
#define RCPTS_MAX     5
#define BODY_LEN_MAX  30000
#define START_US_MAX  (600 * SIM_SECOND)
#define RATED_WORLDS  200000 /* per million */
#define TIGHT_WORLDS  300000 /* per million */
#define TIGHT_SEED    0x7469676874
#define SHARED_WORLDS 500000 /* per million, of those with a rate or with places */
#define HOST_WORLDS   200000 /* per million */
#define HOST_SEED     0x686f7374
#define VOLUME_WORLDS 300000 /* per million, of those with a rate */
#define VOLUME_SEED   0x6279746573
#define SOURCE_WORLDS 300000 /* the same, of source addresses */
#define SHARED_SEED   0x736861726564
#define IDLE_S_MAX    600
#define SEGMENT_MIN   (1024u * 1024)
#define SEGMENT_MAX   (4u * 1024 * 1024)

static struct address address_of(const char *text)
{
    struct address out = {0};
    bool parsed = address_parse(bytes_from_string(text), &out);
    assert(parsed);
    return out;
}

static void make_vmtas(struct scenario *scenario)
{
    struct sim *sim = scenario->sim;
    scenario->vmta_count = (uint32_t)sim_between(sim, 1, VMTAS_MAX);
    for (uint32_t i = 0; i < scenario->vmta_count; i++) {
        struct vmta_plan *vmta = &scenario->vmtas[i];
        snprintf(vmta->name, sizeof(vmta->name), "v%u", i);
        snprintf(vmta->helo, sizeof(vmta->helo), "v%u.sim.example", i);
        vmta->source_count = (uint32_t)sim_between(sim, 1, SOURCES_MAX);
        vmta->connections_max = (uint32_t)sim_spread(sim, 1, 16);
        for (uint32_t j = 0; j < vmta->source_count; j++) {
            char text[ADDRESS_TEXT_MAX];
            snprintf(text, sizeof(text), "192.0.2.%u", 20 + i * SOURCES_MAX + j);
            vmta->sources[j] = address_of(text);
            sim_address_add(sim, &vmta->sources[j]);
        }
    }
}

static void make_domains(struct scenario *scenario)
{
    struct sim *sim = scenario->sim;
    scenario->domain_count = (uint32_t)sim_between(sim, 1, DOMAINS_MAX);
    for (uint32_t i = 0; i < scenario->domain_count; i++) {
        struct domain_plan *domain = &scenario->domains[i];
        snprintf(domain->name, sizeof(domain->name), "d%u.example", i);
        domain->host_count = (uint32_t)sim_between(sim, 1, HOSTS_MAX);
        for (uint32_t j = 0; j < domain->host_count; j++) {
            char text[ADDRESS_TEXT_MAX], host[80];
            snprintf(text, sizeof(text), "198.51.100.%u", 10 + i * HOSTS_MAX + j);
            snprintf(host, sizeof(host), "mx%u.%s", j, domain->name);
            domain->addresses[j] = address_of(text);
            domain->hosts[j] = sim_mx_create(scenario->farm, host, &domain->addresses[j]);
            sim_mx_draw_manners(domain->hosts[j]);
            if (scenario->rate_max > 0) {
                sim_mx_behave(domain->hosts[j]);
            }
            sim_dns_add_mx(sim, domain->name, (uint16_t)sim_between(sim, 0, 1), host);
        }
        if (i > 0 && scenario->shares_host) {
            sim_dns_add_mx(sim, domain->name, 0, "mx0.d0.example");
        }
    }
}

/* ---- the configuration ------------------------------------------------------------------ */

static void add_line(struct scenario *scenario, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add_line(struct scenario *scenario, const char *format, ...)
{
    size_t len = strlen(scenario->configuration);
    va_list arguments;
    va_start(arguments, format);
    int added =
        vsnprintf(scenario->configuration + len, CONFIGURATION_MAX - len, format, arguments);
    va_end(arguments);
    assert(added > 0 && (size_t)added + 1 < CONFIGURATION_MAX - len);
    scenario->configuration[len + (size_t)added] = '\n';
    scenario->configuration[len + (size_t)added + 1] = '\0';
}

/* The rate of the world, where it is of this kind: of recipients or of bytes. The directive may
 * have a range before it. */
static void add_rate(struct scenario *scenario, enum rate_of of, const char *of_rcpts,
                     const char *of_bytes)
{
    if (scenario->rate_max > 0 && scenario->rate_of == of) {
        add_line(scenario, "  %s %u/%us", scenario->rate_of_bytes ? of_bytes : of_rcpts,
                 scenario->rate_max, (uint32_t)(scenario->rate_window_us / SIM_SECOND));
    }
}

static void add_provider(struct scenario *scenario)
{
    add_line(scenario, "<provider big>");
    if (scenario->provider_places > 0) {
        add_line(scenario, "  max-smtp-out %u", scenario->provider_places);
    }
    add_rate(scenario, RATE_OF_PROVIDER, "max-msg-rate", "max-data-volume-rate");
    add_line(scenario, "</provider>");
    for (uint32_t i = 0; i < PROVIDER_DOMAINS && i < scenario->domain_count; i++) {
        add_line(scenario, "<domain %s>\n  provider big\n</domain>", scenario->domains[i].name);
    }
}

static void add_pool(struct scenario *scenario)
{
    if (scenario->pool_places == 0) {
        return;
    }
    add_line(scenario, "<virtual-mta-pool some>\n  pool-max-smtp-out %u", scenario->pool_places);
    for (uint32_t i = 0; i < POOL_MEMBERS && i < scenario->vmta_count; i++) {
        add_line(scenario, "  virtual-mta %s", scenario->vmtas[i].name);
    }
    add_line(scenario, "</virtual-mta-pool>");
}

/* In a third of the worlds rules change modes, leave addresses and hosts out and hold queues; what
 * the limits say holds all the same, and all mail gets to its end. Drawn from the seed itself, so
 * that worlds of older seeds stay what they were but for this. */
static bool has_rules(const struct scenario *scenario)
{
    return scenario->options.seed % 3 == 0;
}

static void add_rules(struct scenario *scenario)
{
    uint32_t some = (uint32_t)(scenario->options.seed / 3 % 60) + 1;
    add_line(scenario, "<smtp-pattern-list moody>");
    add_line(scenario, "  reply /too busy/ mode=backoff duration=%um", some);
    add_line(scenario, "  reply /going down/ skip-mx duration=%um", some);
    add_line(scenario, "  reply /try again/ defer-queue duration=%um", some);
    add_line(scenario, "  reply /not now/ disable-source-ip duration=%um", some);
    add_line(scenario, "  reply /mailbox busy/ mode=backoff backoff-max-msg-rate=50%% "
                       "trigger=2/1h duration=2h");
    add_line(scenario, "  reply /later/ mode=normal");
    add_line(scenario, "</smtp-pattern-list>");
}

static void add_backoff(struct scenario *scenario)
{
    add_line(scenario, "  smtp-pattern-list moody\n  backoff-max-smtp-out 1");
    add_line(scenario, "  backoff-retry-after %um", (uint32_t)(scenario->options.seed % 20) + 1);
    add_line(scenario, "  backoff-to-normal-after-delivery %s",
             scenario->options.seed % 2 == 0 ? "yes" : "no");
}

/* In some worlds the second virtual MTA takes over the queues of the first in backoff mode; in
 * others the first takes the first domain of the second, always. Drawn as the rules are. */
bool scenario_has_stand_in(const struct scenario *scenario)
{
    return scenario->vmta_count > 1 && has_rules(scenario) && !scenario_has_reroute(scenario);
}

bool scenario_has_reroute(const struct scenario *scenario)
{
    return scenario->vmta_count > 1 && scenario->options.seed % 5 == 0;
}

static void add_stand_in(struct scenario *scenario, uint32_t vmta)
{
    if (vmta == 0 && scenario_has_stand_in(scenario)) {
        add_line(scenario, "    backoff-reroute-to-virtual-mta %s", scenario->vmtas[1].name);
    }
}

static void add_reroute(struct scenario *scenario, uint32_t vmta)
{
    if (vmta == 1 && scenario_has_reroute(scenario)) {
        add_line(scenario, "  <domain %s>\n    reroute-to-virtual-mta %s\n  </domain>",
                 scenario->domains[0].name, scenario->vmtas[0].name);
    }
}

/* In some worlds mail finds its queue by the MX hosts of its domain, also after restarts and while
 * DNS fails; drawn as the rules are. */
static void add_rollup(struct scenario *scenario)
{
    if (scenario->options.seed % 7 == 0) {
        add_line(scenario, "  auto-mx-rollup yes");
    }
}

static void make_configuration(struct scenario *scenario)
{
    struct sim *sim = scenario->sim;
    add_line(scenario, "host-name mail.sim.example");
    add_line(scenario, "smtp-listener %s:25", LISTENER);
    add_line(scenario, "control-socket /run/control.sock");
    add_line(scenario, "<spool /spool>\n</spool>");
    add_line(scenario, "spool-max-size 64m");
    if (scenario->total_places > 0) {
        add_line(scenario, "total-max-smtp-out %u", scenario->total_places);
    }
    if (scenario->host_places > 0) {
        add_line(scenario,
                 scenario->options.seed % 2 == 0 ? "mx-connection-limit *.example %u"
                                                 : "ip-connection-limit 198.51.100/24 %u",
                 scenario->host_places);
    }
    if (has_rules(scenario)) {
        add_rules(scenario);
    }
    add_line(scenario, "<source 203.0.113/24>");
    add_line(scenario, "  always-allow-relaying yes\n  process-x-virtual-mta yes\n</source>");
    for (uint32_t i = 0; i < scenario->vmta_count; i++) {
        const struct vmta_plan *vmta = &scenario->vmtas[i];
        add_line(scenario, "<virtual-mta %s>", vmta->name);
        if (scenario->vmta_places > 0) {
            add_line(scenario, "  max-smtp-out %u", scenario->vmta_places);
        }
        add_rate(scenario, RATE_OF_VMTA, "max-smtp-msg-rate", "max-smtp-data-volume-rate");
        for (uint32_t j = 0; j < vmta->source_count; j++) {
            char text[ADDRESS_TEXT_MAX];
            add_line(scenario, "  smtp-source-host %s %s", address_text(&vmta->sources[j], text),
                     vmta->helo);
        }
        add_line(scenario, "  <domain *>\n    max-smtp-out %u", vmta->connections_max);
        add_stand_in(scenario, i);
        add_line(scenario, "  </domain>");
        add_reroute(scenario, i);
        add_line(scenario, "</virtual-mta>");
    }
    add_line(scenario, "<domain *>");
    add_rollup(scenario);
    add_line(scenario, "  retry-after %us", (uint32_t)sim_spread(sim, 30, 1800));
    add_line(scenario, "  bounce-after %uh", (uint32_t)sim_between(sim, 24, 48));
    add_line(scenario, "  max-msg-per-connection %u", (uint32_t)sim_spread(sim, 1, 100));
    add_line(scenario, "  use-starttls %s", sim_chance(sim, 500000) ? "yes" : "no");
    if (scenario->domain_places > 0) {
        add_line(scenario, "  domain-max-smtp-out %u", scenario->domain_places);
    }
    if (scenario->idle_s > 0) {
        add_line(scenario, "  connection-idle-timeout %us", scenario->idle_s);
    }
    add_rate(scenario, RATE_OF_DOMAIN, "domain-max-msg-rate", "");
    add_rate(scenario, RATE_OF_QUEUE, "max-msg-rate", "max-data-volume-rate");
    add_rate(scenario, RATE_OF_SOURCE, "source-ip-max-msg-rate 0/0",
             "source-ip-max-data-volume-rate 0/0");
    if (scenario->source_places > 0) {
        add_line(scenario, "  source-ip-max-smtp-out 0/0 %u", scenario->source_places);
    }
    if (has_rules(scenario)) {
        add_backoff(scenario);
    }
    add_line(scenario, "</domain>");
    add_provider(scenario);
    add_pool(scenario);
    add_line(scenario, "<acct-file " ACCOUNTING "/acct.csv>\n  records d,b,t,tq\n</acct-file>");
}

/* ---- clients ---------------------------------------------------------------------------- */

static void make_message(struct scenario *scenario, struct sim_client *client)
{
    struct sim *sim = scenario->sim;
    char token[16], fields[64], rcpt[128];
    uint32_t number = scenario->message_count++;
    uint32_t vmta = (uint32_t)sim_between(sim, 0, scenario->vmta_count - 1);
    snprintf(token, sizeof(token), "m%u.v%u", number, vmta);
    snprintf(fields, sizeof(fields), "X-Virtual-MTA: %s\r\n", scenario->vmtas[vmta].name);
    struct sim_injection *one =
        sim_client_add(client, token, "bulk.example", fields, sim_spread(sim, 10, BODY_LEN_MAX));
    uint32_t rcpts = (uint32_t)sim_spread(sim, 1, RCPTS_MAX);
    for (uint32_t i = 0; i < rcpts; i++) {
        uint64_t domain = sim_between(sim, 0, scenario->domain_count - 1);
        snprintf(rcpt, sizeof(rcpt), "u%u.%u@%s", number, i, scenario->domains[domain].name);
        sim_injection_add_rcpt(one, rcpt);
    }
}

/* A try has ended: the ledger learns of it. */
static void on_decided(void *owner, struct sim_injection *injection, uint32_t number)
{
    static const enum ledger_promise promises[] = {
        [SIM_WAITING] = LEDGER_NO,
        [SIM_ACCEPTED] = LEDGER_YES,
        [SIM_REFUSED] = LEDGER_NO,
        [SIM_UNKNOWN] = LEDGER_UNKNOWN,
    };
    struct scenario *scenario = owner;
    const struct sim_offer *offer = &injection->offers[number];
    char token[SIM_CLIENT_TOKEN_MAX];
    sim_offer_token(injection, number, token);
    uint32_t vmta = (uint32_t)(strstr(token, ".v")[2] - '0');
    ledger_offer(scenario->ledger, token, vmta, injection->body_digest);
    enum ledger_promise promise = promises[offer->fate];
    promise = promise == LEDGER_NO && offer->end_sent ? LEDGER_LATE_NO : promise;
    ledger_promise(scenario->ledger, token, promise, offer->decided_us);
    for (uint32_t i = 0; i < injection->rcpt_count; i++) {
        if ((offer->accepted & 1u << i) != 0) {
            ledger_recipient(scenario->ledger, token, injection->rcpts[i]);
        }
    }
}

static void make_clients(struct scenario *scenario)
{
    struct sim *sim = scenario->sim;
    scenario->client_count = (uint32_t)sim_between(sim, 1, CLIENTS_MAX);
    for (uint32_t i = 0; i < scenario->client_count; i++) {
        char text[ADDRESS_TEXT_MAX];
        snprintf(text, sizeof(text), "203.0.113.%u", 1 + i);
        struct address from = address_of(text);
        struct sim_client *client = sim_client_create(sim, &from, &scenario->listener);
        scenario->clients[i] = client;
        sim_client_draw_manners(client);
        sim_client_watch(client, on_decided, scenario);
        uint64_t messages = scenario->options.kills ? LOAD : sim_spread(sim, 1, MESSAGES_MAX);
        for (uint64_t j = 0; j < messages; j++) {
            make_message(scenario, client);
        }
        sim_client_start(client, sim_between(sim, SIM_SECOND, START_US_MAX));
    }
}

/* Windows on both sides of the minute from which on they survive a restart by what is written. */
static void make_rate(struct scenario *scenario)
{
    static const uint32_t windows_s[] = {5, 20, 59, 60, 61, 120, 300, 1800};
    struct sim *sim = scenario->sim;
    size_t last = sizeof(windows_s) / sizeof(windows_s[0]) - 1;
    scenario->rate_max = (uint32_t)sim_spread(sim, 1, 40);
    scenario->rate_window_us = windows_s[sim_between(sim, 0, last)] * SIM_SECOND;
    scenario->rate_of = sim_chance(sim, 400000) ? RATE_OF_DOMAIN : RATE_OF_QUEUE;
    struct rng rng; /* numbers of its own: see make_places */
    rng_init(&rng, scenario->options.seed ^ SHARED_SEED);
    if (rng_chance(&rng, SHARED_WORLDS)) {
        scenario->rate_of = rng_chance(&rng, 500000) ? RATE_OF_VMTA : RATE_OF_PROVIDER;
    } else if (rng_chance(&rng, SOURCE_WORLDS)) {
        scenario->rate_of = RATE_OF_SOURCE;
    }
    rng_init(&rng, scenario->options.seed ^ VOLUME_SEED);
    scenario->rate_of_bytes =
        scenario->rate_of != RATE_OF_DOMAIN && rng_chance(&rng, VOLUME_WORLDS);
    scenario->rate_max *= scenario->rate_of_bytes ? 1 + (uint32_t)rng_below(&rng, 5000) : 1;
    *sim_odds(sim) = (struct sim_odds){0};
}

/* From numbers of their own, so that a seed's world is as it was but for them. */
static void make_places(struct scenario *scenario)
{
    struct rng rng;
    rng_init(&rng, scenario->options.seed ^ TIGHT_SEED);
    if (rng_chance(&rng, TIGHT_WORLDS)) {
        scenario->vmta_places = (uint32_t)rng_below(&rng, 4);
        scenario->total_places = (uint32_t)rng_below(&rng, 5);
        scenario->domain_places = (uint32_t)rng_below(&rng, 3);
        scenario->idle_s = 1 + (uint32_t)rng_below(&rng, IDLE_S_MAX);
        if (rng_chance(&rng, SHARED_WORLDS)) {
            scenario->pool_places = (uint32_t)rng_below(&rng, 3);
            scenario->provider_places = (uint32_t)rng_below(&rng, 3);
        }
        if (rng_chance(&rng, SOURCE_WORLDS)) {
            scenario->source_places = 1 + (uint32_t)rng_below(&rng, 2);
        }
    }
}

static void make_host_places(struct scenario *scenario)
{
    struct rng rng;
    rng_init(&rng, scenario->options.seed ^ HOST_SEED);
    if (rng_chance(&rng, HOST_WORLDS)) {
        scenario->host_places = 1 + (uint32_t)rng_below(&rng, 3);
        scenario->shares_host = scenario->rate_max == 0;
        scenario->idle_s = 1 + (uint32_t)rng_below(&rng, IDLE_S_MAX);
    }
}

void scenario_make(struct scenario *scenario)
{
    struct sim *sim = scenario->sim;
    scenario->listener = address_of(LISTENER);
    sim_address_add(sim, &scenario->listener);
    scenario->listener.port = 25;
    if (scenario->options.kills) {
        *sim_odds(sim) = (struct sim_odds){0};
    } else if (sim_chance(sim, RATED_WORLDS)) {
        make_rate(scenario);
    }
    make_places(scenario);
    make_host_places(scenario);
    make_vmtas(scenario);
    make_domains(scenario);
    make_configuration(scenario);
    make_clients(scenario);
    scenario->engine_options = (struct sim_engine_options){
        .configuration = scenario->configuration,
        .mailbox_len = 2,
        .segment_bytes = SEGMENT_MIN << sim_between(sim, 0, 2),
    };
    assert(scenario->engine_options.segment_bytes <= SEGMENT_MAX);
}
