/* A scenario from the inside: scenario.c runs it, scenario_make.c draws it, scenario_trouble.c
 * upsets it. */
#ifndef SIM_SCENARIO_PRIVATE_H
#define SIM_SCENARIO_PRIVATE_H

#include "scenario.h"
#include "sim_client.h"
#include "sim_engine.h"
#include "sim_ledger.h"
#include "sim_mx.h"

#define VMTAS_MAX         3
#define SOURCES_MAX       2 /* of one virtual MTA */
#define DOMAINS_MAX       5
#define HOSTS_MAX         3 /* of one domain */
#define CLIENTS_MAX       3
#define CONFIGURATION_MAX 8192 /* bytes */
#define ACCOUNTING        "/acct"
#define LISTENER          "192.0.2.10"

struct domain_plan {
    char name[64];
    uint32_t host_count;
    struct sim_mx *hosts[HOSTS_MAX];
    struct address addresses[HOSTS_MAX];
};

struct vmta_plan {
    char name[32], helo[64];
    uint32_t source_count;
    struct address sources[SOURCES_MAX];
    uint32_t connections_max; /* to one domain */
};

/* What a world's rate holds for. */
enum rate_of {
    RATE_OF_QUEUE,
    RATE_OF_DOMAIN,
    RATE_OF_VMTA,
    RATE_OF_PROVIDER,
    RATE_OF_SOURCE, /* of each source address in a queue */
    RATE_OF_COUNT,
};

#define POOL_MEMBERS     2 /* the first virtual MTAs are in the pool, as far as there are any */
#define PROVIDER_DOMAINS 2 /* the first domains name the provider */

struct scenario {
    struct scenario_options options;
    struct scenario_result *result;
    struct sim *sim;
    struct sim_farm *farm;
    struct ledger *ledger;
    struct sim_engine *engine; /* NULL: it is down */
    struct sim_engine_options engine_options;
    uint32_t starts; /* of the engine so far */
    uint32_t vmta_count, domain_count, client_count, message_count;
    struct vmta_plan vmtas[VMTAS_MAX];
    struct domain_plan domains[DOMAINS_MAX];
    struct sim_client *clients[CLIENTS_MAX];
    struct address listener;
    struct sim_event trouble, restart, relief;
    uint32_t relief_of; /* which trouble ends when relief fires */
    struct address relief_address;
    /* Recipients in a window, or bytes delivered, counted as `rate_of` says; 0: no limit. Where
     * there is one, hosts are prompt, and neither network nor clocks play tricks: so that arrivals
     * tell when the engine decided. */
    uint32_t rate_max;
    uint64_t rate_window_us;
    enum rate_of rate_of;
    bool rate_of_bytes;
    /* Connections at once: from each virtual MTA, from all, to each domain; 0: no limit. Where
     * there is one they are also kept open for a while when there is nothing to send. */
    uint32_t vmta_places, total_places, domain_places, idle_s;
    /* The same from a pool's members together, and to a provider's domains together: the first
     * virtual MTAs and the first domains. */
    uint32_t pool_places, provider_places;
    uint32_t source_places; /* in a queue, from each source address */
    uint32_t host_places;   /* to each host, from each source address; a limit by name or address */
    bool shares_host;       /* the first host of the first domain is one of every domain */
    uint64_t sound_us;      /* when its storage was last seen to be sound */
    bool at_peace, stopping;
    char configuration[CONFIGURATION_MAX];
};

/* Says what is wrong, unless something was before. */
void scenario_wrong(struct scenario *scenario, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- scenario_make.c -------------------------------------------------------------------- */

void scenario_make(struct scenario *scenario);
/* The second virtual MTA takes over what waits for the first in backoff mode. */
bool scenario_has_stand_in(const struct scenario *scenario);
/* The first virtual MTA carries the second's mail for the first domain. */
bool scenario_has_reroute(const struct scenario *scenario);

/* ---- scenario_checks.c ------------------------------------------------------------------ */

/* Called by the hosts' farm for each RCPT answered. */
void scenario_on_rcpt(void *owner, const struct sim_mx_record *record, uint32_t index);
void scenario_check_connections(struct scenario *scenario);

/* At the end, over everything that hosts and accounting files have recorded. */
void scenario_check_all(struct scenario *scenario);
/* The d and b in the accounting files so far. */
uint64_t scenario_count_outcomes(struct scenario *scenario);

/* ---- scenario_trouble.c ----------------------------------------------------------------- */

/* The engine has ended just now: what it had not made durable is forgotten. */
void scenario_engine_ended(struct scenario *scenario, uint64_t margin_us);
void scenario_start_engine(struct scenario *scenario);
void scenario_begin_trouble(struct scenario *scenario);
void scenario_end_trouble(struct scenario *scenario);

#endif
