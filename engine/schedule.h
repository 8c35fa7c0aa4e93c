/* Who sends next, on which connection: one scheduler per worker.
 *
 * Owns the worker's sites and queues. Decides when a connection opens and which message it
 * carries; speaks no SMTP. A release of a limit wakes who waits for it in O(1): a site is in one
 * list, and nothing ever walks over all sites to find work. Virtual MTAs take turns, and so do
 * the sites of one. Work is marked as it comes and done in schedule_run, once per turn. */
#ifndef ENGINE_SCHEDULE_H
#define ENGINE_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/map.h"
#include "gates.h"
#include "io/io.h"
#include "message.h"
#include "routing.h"
#include "site.h"
#include "vmta/limits.h"
#include "vmta/paused_jobs.h"
#include "vmta/pauses.h"
#include "vmta/vmta.h"

struct attempt;
struct common_rates;
struct notice;
struct open_sites;
struct config;
struct config_vmta;
struct scan;
struct spools;
struct attempts;
struct outcomes;
struct transaction;

#define SCHEDULE_RCPTS_MAX 1000    /* recipients of one transaction (RFC 5321 4.5.3.1.8: 100) */
#define SCHEDULE_SITES_MAX 1000000 /* of one worker */
#define SCHEDULE_VMTAS_MAX 100000
#define SCHEDULE_OPEN_MAX  256 /* connections begun in one turn, all sites of a worker */

/* One virtual MTA as this worker sees it. */
struct vmta_lane {
    struct map_entry entry;
    struct list_node all_node;
    struct list_node ready_node; /* in the scheduler's ring while sites are ready */
    struct list ready;           /* struct site, SITE_READY */
    struct gate *gate;           /* max-smtp-out of the virtual MTA */
    struct gate *pool_gate;      /* pool-max-smtp-out of its pool; NULL: none */
    struct vmta vmta;
    const struct config_vmta *settings;      /* NULL: vanished from the configuration (orphaned) */
    struct limit *resident, *resident_bytes; /* recipients and body bytes queued, all workers */
};

struct scheduler {
    struct io *io;
    uint64_t started_ms;
    struct spools *spools;
    struct limits *limits;
    struct attempts *attempts;
    struct outcomes *outcomes;
    struct mailboxes *mailboxes;
    const struct config *config;
    struct mx_table *mx_table; /* NULL: no roll-ups */
    uint32_t worker, workers;
    const char *host_name; /* the EHLO name where none is configured */
    struct map sites, lanes;
    struct list all_sites, all_lanes;
    struct list lanes_ready;  /* ring of virtual MTAs with ready sites */
    struct list dirty;        /* sites to look at */
    struct list clocks_moved; /* struct queue_clock: retry clocks to be written */
    struct timer clock_timer;
    uint64_t full_since_ms; /* rates that write nothing begin full as of then; 0: empty */
    struct common_rates *common_rates;
    struct open_sites *open_sites;
    struct gates gates;
    struct gate *total; /* total-max-smtp-out */
    struct gate *files; /* deliveries into files, of all workers; and into commands */
    struct gate *commands;
    struct pauses pauses;
    struct paused_jobs paused_jobs;
    uint64_t rcpt_count;       /* resident here */
    uint32_t attempt_count;    /* connections */
    bool draining;             /* open nothing, begin nothing */
    struct scan *scan;         /* schedule_scan.h; NULL: none runs. Borrowed */
    struct scheduler **others; /* by worker; the engine's */
    /* A site is empty; false: it must stay, recipients are on their way to it. */
    bool (*site_emptied)(void *owner, struct site *site);
    /* A recipient goes to this site, or, if that has no domain, to the keeper, which knows where
     * it belongs. False: no memory, it stays. */
    bool (*send_on)(void *owner, struct rcpt *rcpt, struct destination site);
    void (*tell)(void *owner, const struct notice *notice);
    void *owner;
    uint64_t opened, delivered_rcpts, deferred_rcpts, bounced_rcpts;
    uint64_t costly_replies;                /* that no bounce category was found for: outcome.c */
    struct rcpt *taken[SCHEDULE_RCPTS_MAX]; /* scratch of schedule_next */
};

struct scheduler_options {
    struct io *io;
    struct spools *spools;
    struct limits *limits;
    struct common_rates *common_rates;
    struct open_sites *open_sites; /* all workers'; NULL: nobody asks */
    struct mailboxes *mailboxes;
    const struct config *config;
    struct mx_table *mx_table; /* shared by all workers; NULL: no roll-ups */
    uint32_t worker, workers;
    const char *host_name;     /* EHLO name of virtual MTAs that have none; borrowed */
    struct scheduler **others; /* array of `workers`, filled by the engine before they run */
    bool (*site_emptied)(void *owner, struct site *site); /* NULL: one worker */
    bool (*send_on)(void *owner, struct rcpt *rcpt, struct destination site);
    void (*tell)(void *owner, const struct notice *notice); /* NULL: nobody is told anything */
    void *owner;
};

/* NULL: no memory. */
struct scheduler *scheduler_create(const struct scheduler_options *options);
/* The attempts and outcomes made for this scheduler, before it runs. */
void scheduler_attach(struct scheduler *scheduler, struct attempts *attempts,
                      struct outcomes *outcomes);
void scheduler_destroy(struct scheduler *scheduler); /* attempts must be gone */

/* ---- at start, before it runs and before the first arrival ---- */

/* The spool was used before: rates that write nothing begin full, as of since_ms. */
void schedule_begin_full(struct scheduler *scheduler, uint64_t since_ms);

/* A site's mode: to be restored before its rates, which it changes. */
bool schedule_state_is_mode(struct bytes key);

/* The site ("domain/vmta") that a named state is about; false: it is none of ours. */
bool schedule_state_site(struct bytes key, struct bytes *site);

struct kept_time {
    uint64_t now_ms;
    int64_t wall_ms;
};
/* A state that was found, to the owner of its site: which is there from now on, and counts one
 * arrival, as if a recipient had come. */
void schedule_restore(struct scheduler *scheduler, struct bytes key, struct bytes value,
                      const struct kept_time *at);

/* ---- while it runs ---- */

/* A recipient arrives at the owner of its site. */
void schedule_arrive(struct scheduler *scheduler, struct rcpt *rcpt, struct destination to);

/* The rules may have changed since recipients arrived: those that belong elsewhere are returned. */
void schedule_check_places(struct scheduler *scheduler);

/* Does what was marked: wakes sites, offers mail to idle connections, opens new ones. Once per
 * turn. True: more is left for the next turn, do not sleep. */
bool schedule_run(struct scheduler *scheduler);

/* The site should be looked at in this turn's schedule_run. */
void schedule_mark(struct scheduler *scheduler, struct site *site);

/* ---- asked by attempts ---- */

/* What this connection may send next, taken from its site's queues, or NULL: nothing, or not
 * now (then the site has been put where it waits). The recipients are RCPT_TAKEN. */
struct transaction *schedule_next(struct scheduler *scheduler, struct attempt *attempt);

/* MAIL is about to be sent: takes the message rates for `want` recipients; the count granted. 0:
 * *again_ms says when to ask again. */
uint32_t schedule_take_rate(struct scheduler *scheduler, const struct attempt *attempt,
                            uint32_t want, uint64_t *again_ms);

/* Whose MX hosts an attempt for this queue looks for: its domain; of a roll-up, that of the first
 * recipient that waits. False: nobody does. */
bool schedule_domain_to_resolve(const struct site *site, const struct queue *queue,
                                char out[DNS_NAME_MAX]);
/* They are known, until `until_ms`. False: the mail belongs elsewhere, it goes there without this
 * attempt. */
bool schedule_hosts_known(struct site *site, const struct queue *queue, const char *domain,
                          const struct mx_hosts *mx, uint64_t until_ms);

/* The connection is up. */
void schedule_opened(struct scheduler *scheduler, struct attempt *attempt);
/* It has nothing to do: it is offered mail (attempt_offer) or told to quit where others wait for
 * its place. False: they do already, and it must quit now. */
bool schedule_idle(struct scheduler *scheduler, struct attempt *attempt);
/* It is idle no more, if it was. */
void schedule_busy(struct attempt *attempt);
/* It is gone; its limits are released. */
void schedule_closed(struct scheduler *scheduler, struct attempt *attempt);

/* The queue's retry clock was moved or reset: it is written within a second. */
void schedule_clock_moved(struct scheduler *scheduler, struct queue *queue);
/* At once; at the end of a drain. */
void schedule_write_clocks(struct scheduler *scheduler);

/* ---- asked by control ---- */

/* "domain/vmta" glob; each matching site in order of making. */
void schedule_each_site(struct scheduler *scheduler, const char *pattern,
                        void (*found)(void *owner, struct site *site), void *owner);
/* Pauses hold for queues to come, too. The count of queues now there that match; -ENOSPC: too many
 * patterns. */
int schedule_pause(struct scheduler *scheduler, const char *pattern);
int schedule_resume(struct scheduler *scheduler, const char *pattern);
uint32_t schedule_retry_now(struct scheduler *scheduler, const char *pattern);

/* The new configuration: sites and lanes take their settings from it. The old is no longer
 * referenced by this scheduler, its sites, lanes or attempts when this returns. */
void schedule_reload(struct scheduler *scheduler, const struct config *config);

/* No new transactions and connections; idle connections close. */
void schedule_drain(struct scheduler *scheduler);

/* Ends every connection now; what was on the wire is deferred. */
void schedule_abort(struct scheduler *scheduler);

/* Connections of all sites, also those that are closing. */
uint32_t scheduler_attempt_count(const struct scheduler *scheduler);

/* A recipient has left for good: it no longer counts for its virtual MTA. */
void schedule_rcpt_final(struct scheduler *scheduler, const struct queue *queue,
                         const struct rcpt *rcpt);

#endif
