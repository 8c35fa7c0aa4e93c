/* What a site must wait for before it opens a connection or sends: holds, rates, the ramp. Places
 * at once are gates.c's. */
#include "attempt.h"
#include "host_places.h"
#include "io/io.h"
#include "policy/domain.h"
#include "schedule.h"
#include "schedule_private.h"
#include "site_mode.h"
#include "site_sources.h"
#include "spools.h"
#include "volume_rates.h"

uint64_t schedule_rates_open_ms(struct site *site, uint64_t now)
{
    if (site->keeping != NULL) {
        schedule_reserve(site);
    }
    uint64_t due_ms = rate_next_ms(&site->message_rate, now);
    if (site->has_common_rates) {
        uint64_t shared_ms = schedule_common_next_ms(site);
        due_ms = shared_ms > due_ms ? shared_ms : due_ms;
    }
    uint64_t volume_ms = volume_next_ms(site, now);
    return volume_ms > due_ms ? volume_ms : due_ms;
}

static struct ramp_now ramp_of(const struct site *site)
{
    return (struct ramp_now){.now_ms = io_now_ms(site->scheduler->io),
                             .interval_ms = site->settings->smtp_out_rampup_interval_ms,
                             .open = site->attempt_count};
}

void schedule_count_closed(struct site *site)
{
    const struct ramp_now now = ramp_of(site);
    ramp_closed(&site->ramp, &now);
    if (now.interval_ms > 0) {
        schedule_wake_site(site); /* it need not wait for what takes the place of this one */
    }
}

uint64_t schedule_opening_wait_until(struct site *site, uint64_t now)
{
    const struct scheduler *scheduler = site->scheduler;
    if (spools_held(scheduler->spools)) {
        return now + SCHEDULE_HELD_WAIT_MS;
    }
    uint64_t due_ms = schedule_rates_open_ms(site, now);
    uint64_t connect_ms = rate_next_ms(&site->connect_rate, now);
    due_ms = connect_ms > due_ms ? connect_ms : due_ms;
    const struct ramp_now ramp_now = ramp_of(site);
    uint64_t ramp_ms = ramp_next_ms(&site->ramp, &ramp_now);
    due_ms = ramp_ms > due_ms ? ramp_ms : due_ms;
    if (site->common_rates[COMMON_RATE_PROVIDER_CONNECTS] != NULL) {
        connect_ms = schedule_common_connect_next_ms(site);
        due_ms = connect_ms > due_ms ? connect_ms : due_ms;
    }
    if (host_places_look(site)) {
        return UINT64_MAX;
    }
    uint64_t sources_ms = site_sources_next_ms(site, now);
    due_ms = sources_ms > due_ms ? sources_ms : due_ms;
    due_ms = site->hold_opening_ms > due_ms ? site->hold_opening_ms : due_ms;
    return due_ms > now ? due_ms : 0;
}

void schedule_count_opening(struct site *site, uint64_t now)
{
    const struct ramp_now ramp_now = ramp_of(site);
    rate_take(&site->connect_rate, now, 1);
    ramp_opened(&site->ramp, &ramp_now);
}

uint32_t schedule_take_rate(struct scheduler *scheduler, const struct attempt *attempt,
                            uint32_t want, uint64_t *again_ms)
{
    struct site *site = attempt->site;
    struct common_rate *source = site_source_messages(attempt);
    uint64_t now = io_now_ms(scheduler->io);
    /* The own rate first says how many it could grant, so that no start of the shared one is
     * taken in vain. */
    uint64_t free_here = rate_free(&site->message_rate, now);
    uint32_t granted = free_here < want ? (uint32_t)free_here : want;
    if ((site->has_common_rates || source != NULL) && granted > 0) {
        granted = schedule_common_take(site, source, granted);
    }
    if (granted > 0) {
        granted = rate_take(&site->message_rate, now, granted);
    }
    if (granted == 0) {
        uint64_t open_ms = schedule_rates_open_ms(site, now);
        uint64_t source_ms = site_source_send_ms(attempt, now);
        open_ms = source_ms > open_ms ? source_ms : open_ms;
        *again_ms = open_ms == UINT64_MAX ? now + SCHEDULE_BLOCK_WAIT_MS : open_ms;
    } else if (site->keeping != NULL) {
        schedule_reserve(site); /* ahead of need */
    }
    return granted;
}
