#include "volume_rates.h"

#include "attempt.h"
#include "base/logger.h"
#include "io/io.h"
#include "policy/config.h"
#include "policy/domain.h"
#include "prepare.h"
#include "schedule.h"
#include "schedule_private.h"
#include "site.h"
#include "site_mode.h"
#include "site_sources.h"

/* ---- which ---- */

static void set(struct site *site, enum common_rate_kind kind, struct bytes name,
                const struct rate_value *rate)
{
    struct common_rates *rates = site->scheduler->common_rates;
    struct common_rate *before = site->common_rates[kind], *now = NULL;
    if (rate != NULL && rate->count != UINT64_MAX && rate->window_ms != 0) {
        now = common_rates_set(rates, &(struct common_rate_key){kind, name}, rate->count,
                               rate->window_ms);
        if (now == NULL) {
            LOG_ERROR("out of memory: a limit of bytes of queue %s does not hold", site->name);
        }
    }
    common_rates_release(rates, before);
    site->common_rates[kind] = now;
}

void volume_rates_set(struct site *site)
{
    const struct config_vmta *vmta = site->lane->settings;
    const struct config_provider *provider =
        config_provider(site->scheduler->config, site->settings->provider);
    const struct rate_value queue = site_max_data_volume_rate(site);
    set(site, COMMON_RATE_QUEUE_VOLUME, bytes_from_string(site->name), &queue);
    set(site, COMMON_RATE_VMTA_VOLUME, bytes_from_string(site->lane->vmta.name),
        vmta == NULL ? NULL : &vmta->settings.max_smtp_data_volume_rate);
    set(site, COMMON_RATE_PROVIDER_VOLUME, provider == NULL ? (struct bytes){0} : provider->name,
        provider == NULL ? NULL : &provider->settings.max_data_volume_rate);
    site->volume_wanted = 0; /* it asks again */
}

void volume_rates_free(struct site *site)
{
    for (int kind = COMMON_RATE_VOLUMES; kind < COMMON_RATE_COUNT; kind++) {
        common_rates_release(site->scheduler->common_rates, site->common_rates[kind]);
        site->common_rates[kind] = NULL;
    }
}

/* ---- when ---- */

static struct common_rate_amount amount_of(const struct site *site, uint64_t bytes)
{
    return (struct common_rate_amount){bytes, (uint64_t)(uintptr_t)site};
}

static uint64_t site_ms(const struct site *site, uint64_t bytes)
{
    const struct rate_writer writer = schedule_rate_writer(site->scheduler);
    const struct common_rate_amount amount = amount_of(site, bytes);
    return common_rates_hold_ms(&site->common_rates[COMMON_RATE_VOLUMES], VOLUME_RATES, &writer,
                                &amount);
}

uint64_t volume_next_ms(struct site *site, uint64_t now_ms)
{
    if (site->volume_wanted == 0) {
        return now_ms;
    }
    if (site->volume_due_ms <= now_ms) {
        site->volume_due_ms = site_ms(site, site->volume_wanted);
        site->volume_wanted = site->volume_due_ms <= now_ms ? 0 : site->volume_wanted;
    }
    return site->volume_due_ms > now_ms ? site->volume_due_ms : now_ms;
}

/* ---- of one transaction ---- */

bool volume_hold(struct attempt *attempt, struct transaction *transaction, uint64_t *again_ms)
{
    struct site *site = attempt->site;
    struct volume_held *held = &transaction->volume;
    bool any = false;
    for (size_t i = 0; i < VOLUME_RATES; i++) {
        held->rates[i] = site->common_rates[COMMON_RATE_VOLUMES + i];
        any |= held->rates[i] != NULL;
    }
    struct common_rate *of_source = site_source_volume(attempt);
    held->rates[COMMON_RATE_SOURCE_VOLUME - COMMON_RATE_VOLUMES] = of_source;
    uint64_t bytes = transaction->message->body_size;
    if ((!any && of_source == NULL) || bytes == 0) {
        return true;
    }
    const struct rate_writer writer = schedule_rate_writer(site->scheduler);
    const struct common_rate_amount amount = amount_of(site, bytes);
    if (common_rates_hold(held->rates, VOLUME_RATES, &writer, &amount, again_ms)) {
        held->bytes = bytes;
        return true;
    }
    uint64_t due_ms = site_ms(site, bytes);
    if (due_ms > writer.now_ms) {
        site->volume_wanted = bytes;
        site->volume_due_ms = due_ms;
    } else {
        site_source_wait(attempt, *again_ms);
    }
    return false;
}

void volume_settle(struct attempt *attempt, struct transaction *transaction, bool delivered)
{
    struct site *site = attempt->site;
    struct volume_held *held = &transaction->volume;
    if (held->bytes == 0) {
        return;
    }
    const struct rate_writer writer = schedule_rate_writer(site->scheduler);
    common_rates_settle(held->rates, VOLUME_RATES, &writer, held->bytes, delivered);
    held->bytes = 0;
    if (!delivered && site->volume_wanted > 0) {
        site->volume_due_ms = writer.now_ms; /* there may be room now */
        schedule_wake_site(site);
    }
}
