/* A site: the queues of one virtual MTA that share connections to one destination.
 *
 * Belongs to one worker. Its caps, rates and connections hold for all its queues together; who
 * may send next is the scheduler's to say (schedule.h). Site = (virtual MTA, domain); a roll-up
 * by MX set makes it wider. */
#ifndef ENGINE_SITE_H
#define ENGINE_SITE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/map.h"
#include "base/timers.h"
#include "common_rates.h"
#include "queue.h"
#include "resolve.h"
#include "vmta/ramp.h"
#include "vmta/rates.h"

struct scheduler;
struct host_wish;
struct site_keeping;
struct site_mode;
struct site_sources;
struct vmta_lane;
struct domain_settings;
struct gate;

/* Bytes of its name: with what the keys of its states put before it, the spool takes 512. */
#define SITE_NAME_MAX 440

/* A site is in exactly one place. */
enum site_wait {
    SITE_QUIET,        /* nothing sendable, or all its connections are busy with it */
    SITE_READY,        /* in its virtual MTA's ready list, to open a connection */
    SITE_WAITING_GATE, /* in the list of one full limit */
    SITE_WAITING_TIME, /* timer runs: rate, connect rate, suspended addresses, hold; or a block
                          of a rate is being written */
    SITE_KEPT,         /* empty, but its rates remember starts: gone when they do not */
};

struct site {
    struct map_entry entry;      /* scheduler's map, by (virtual MTA, domain) */
    struct list_node all_node;   /* scheduler's list of all sites, in order of making */
    struct list_node node;       /* place as `wait` says */
    struct list_node dirty_node; /* scheduler's list of sites to look at this turn */
    struct scheduler *scheduler;
    struct vmta_lane *lane;
    const struct domain_settings *settings;
    struct gate *domain_gate;   /* domain-max-smtp-out, shared by virtual MTAs; NULL = none */
    struct gate *provider_gate; /* max-smtp-out of its provider; NULL = none */
    struct common_rate *common_rates[COMMON_RATE_COUNT]; /* by kind; NULL = none */
    bool has_common_rates;                               /* any of them */
    bool has_guests;    /* some recipients were sent here by a rule */
    bool astray;        /* by the rules of now its own mail belongs elsewhere */
    bool sifting;       /* some are put aside, to be looked at one by one */
    bool is_rollup;     /* its mail is that of several domains: routing.h */
    bool recheck;       /* the rules changed while some were aside: all is to be looked at again */
    struct list queues; /* struct queue */
    struct list sendable;   /* struct queue, round robin */
    struct list attempts;   /* every connection */
    struct list idle;       /* those that wait for mail */
    uint32_t attempt_count; /* opening, busy and idle */
    uint32_t opening_count;
    struct rate message_rate, connect_rate;
    uint64_t volume_wanted, volume_due_ms; /* volume_rates.h: bytes it waits for (0: none), till */
    struct site_keeping *keeping; /* of rates that survive a restart; NULL: there are none */
    struct site_sources *sources; /* limits of each source address; NULL: there are none */
    struct host_wish *host_wish;  /* host_places.h; NULL: it waits for no place at a host */
    uint64_t host_looked_ms;      /* a connection last found every host full */
    uint32_t seeking_count;       /* connections that look for a place at a host */
    struct site_mode *mode;       /* site_mode.h; NULL: normal, as it always was */
    enum site_wait wait;
    struct gate *waits_at; /* SITE_WAITING_GATE: where */
    struct gate *woken_by; /* a wake of this gate is its to use or to pass on */
    struct timer timer;
    uint64_t hold_opening_ms; /* a further connection failed while others work: no new one
                                 before this */
    struct ramp ramp;         /* smtp-out-rampup-interval */
    struct route *route;      /* NULL until resolved; with its expiry */
    uint32_t route_turn;      /* where the next connection starts among equal hosts */
    uint64_t arrived_count;   /* recipients since the registry of owners last heard of it */
    /* counts for `show` */
    uint64_t delivered, deferred, bounced;
    uint32_t domain_len;
    char name[]; /* "domain/vmta" */
};

static inline struct bytes site_domain(const struct site *site)
{
    return (struct bytes){site->name, site->domain_len};
}

/* Recipients that could leave now, over all its queues. */
uint32_t site_sendable_count(const struct site *site);
/* All recipients. */
uint32_t site_rcpt_count(const struct site *site);

/* Puts each queue into `sendable` or takes it out, as it now is. */
void site_refresh(struct site *site, uint64_t now_ms);

/* Into a list by `node`: in front of those of a lower priority; behind those of the same, or, with
 * `first`, in front of them. The cost is the sites of a higher one, and nothing without them. */
void site_insert(struct list *list, struct site *site, bool first);

/* Of all its queues, 0..100. */
uint8_t site_priority(const struct site *site);

/* The queue for this need, or NULL. */
struct queue *site_queue(const struct site *site, enum tls_need tls_need);

#endif
