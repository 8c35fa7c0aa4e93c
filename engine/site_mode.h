/* What replies and operators have done to a site: backoff mode, disabled source addresses, the
 * address a retry must come from, a queue that is being bounced.
 *
 * Belongs to the site's worker. A site as it always was has none of this (site->mode is NULL), and
 * then nothing here costs more than that look. Mode and disabled addresses are one named state in
 * the home log ("mode:" and the site's name); the rest ends with the process. Changing it never
 * touches a connection at once: schedule_act_on_mode does, outside of any connection's callback. */
#ifndef ENGINE_SITE_MODE_H
#define ENGINE_SITE_MODE_H

#include <stdbool.h>
#include <stdint.h>

#include "kept.h"
#include "local_delivery.h"
#include "policy/settings.h"
#include "site.h"
#include "smtp/reply.h"
#include "vmta/mode.h"
#include "vmta/rates.h"

#define SITE_TRIGGERS_MAX 64 /* rules with a trigger counted for one site */
#define SITE_SKIPPED_MAX  8  /* hosts left out at once; then the one left out longest comes back */

/* The matches of one rule within its window. */
struct site_trigger {
    uint32_t rule_index;
    struct rate rate; /* of one match fewer than fire */
};

struct site_mode {
    struct site *site;
    struct mode state;
    struct kept kept;
    bool unwritten;     /* it has changed while a write was under way */
    bool to_act;        /* connections are to be looked at */
    struct timer timer; /* something is over, or more is to be bounced */
    struct site_trigger *triggers;
    uint32_t trigger_count;
    struct mode_disabled skipped[SITE_SKIPPED_MAX]; /* hosts, by address */
    uint32_t next_skipped;
    struct address told_source; /* new connections use it while told_until_ms lasts */
    uint64_t told_until_ms;
    uint64_t held_until_ms; /* a rule holds its queues, also when a host answers meanwhile */
    struct reply *bounce;   /* all that waits bounces with it; NULL: nothing does */
};

static inline bool site_in_backoff(const struct site *site)
{
    return site->mode != NULL && site->mode->state.backoff;
}

/* Does a rule hold its queues, whatever a host that answers now may say? */
static inline bool site_is_held(const struct site *site, uint64_t now_ms)
{
    return site->mode != NULL && site->mode->held_until_ms > now_ms;
}

/* ---- the settings in force: the mode's, where it has one ---- */

uint64_t site_backoff_max_smtp_out(const struct site *site); /* never more than max-smtp-out */
struct rate_value site_backoff_msg_rate(const struct site *site);

static inline uint64_t site_max_smtp_out(const struct site *site)
{
    if (local_delivery_is_work(site->settings)) {
        return UINT64_MAX; /* these have a limit of their own */
    }
    return site_in_backoff(site) ? site_backoff_max_smtp_out(site) : site->settings->max_smtp_out;
}

static inline struct rate_value site_max_msg_rate(const struct site *site)
{
    return site_in_backoff(site) ? site_backoff_msg_rate(site) : site->settings->max_msg_rate;
}

static inline struct rate_value site_max_connect_rate(const struct site *site)
{
    return site_in_backoff(site) ? site->settings->backoff_max_connect_rate
                                 : site->settings->max_connect_rate;
}

static inline struct rate_value site_max_data_volume_rate(const struct site *site)
{
    return site_in_backoff(site) ? site->settings->backoff_max_data_volume_rate
                                 : site->settings->max_data_volume_rate;
}

static inline const struct interval_list *site_retry_after(const struct site *site)
{
    return site_in_backoff(site) ? &site->settings->backoff_retry_after
                                 : &site->settings->retry_after;
}

/* May a connection of the site leave from this address now? */
bool site_source_allowed(const struct site *site, const struct address *source, uint64_t now_ms);

/* Has a rule left this host out for now (skip-mx)? */
bool site_skips_host(const struct site *site, const struct address *host, uint64_t now_ms);

/* ---- changes ----
 *
 * `why` goes to the log. Without memory nothing changes, and the log says so. */

/* for_ms: NEVER, or how long. */
void schedule_enter_backoff(struct site *site, uint64_t for_ms, const struct rate_share *rate,
                            const char *why);
void schedule_leave_backoff(struct site *site, const char *why);

void schedule_disable_source(struct site *site, const struct address *source, uint64_t for_ms,
                             const char *why);
/* False: it was not disabled. */
bool schedule_enable_source(struct site *site, const struct address *source);

/* Greylisting: the next connections come from the address that was told to wait. */
void schedule_stay_with_source(struct site *site, const struct address *source, uint64_t for_ms);

void schedule_skip_host(struct site *site, const struct address *host, uint64_t for_ms);

/* Nothing leaves for so long, as if a connection had failed. */
void schedule_hold_site(struct site *site, uint64_t for_ms);

/* Everything that waits in the site's queues bounces with this reply, some each turn. */
void schedule_bounce_all(struct site *site, const struct reply *reply);

/* A rule with a trigger has matched: do so many matches lie within its window now? */
bool schedule_count_match(struct site *site, uint32_t rule_index, struct rate_value trigger);

/* Looks at the site's connections if a change asks for it: outside of their callbacks. */
void schedule_act_on_mode(struct site *site);

#endif
