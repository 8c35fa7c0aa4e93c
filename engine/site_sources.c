#include "site_sources.h"

#include <assert.h>
#include <stdlib.h>

#include "attempt.h"
#include "base/logger.h"
#include "common_rates.h"
#include "io/io.h"
#include "policy/domain.h"
#include "schedule.h"
#include "schedule_private.h"
#include "site.h"
#include "site_mode.h"

#define AGAIN_MS 1000 /* no memory; or free places are all spoken for */

/* ---- what holds for an address ---- */

static uint64_t max_of(const struct range_limit_array *limits, const struct address *address)
{
    uint64_t max = UINT64_MAX;
    int narrowest = -1;
    for (size_t i = 0; i < limits->count; i++) {
        const struct range_limit *limit = &limits->items[i];
        if (limit->range.prefix >= narrowest && address_range_holds(&limit->range, address)) {
            narrowest = limit->range.prefix;
            max = limit->limit == 0 ? UINT64_MAX : limit->limit; /* 0: as everywhere, unlimited */
        }
    }
    return max;
}

static struct rate_value rate_of(const struct range_rate_array *rates,
                                 const struct address *address)
{
    struct rate_value rate = {.count = UINT64_MAX};
    int narrowest = -1;
    for (size_t i = 0; i < rates->count; i++) {
        const struct range_rate *one = &rates->items[i];
        if (one->range.prefix >= narrowest && address_range_holds(&one->range, address)) {
            narrowest = one->range.prefix;
            rate = one->rate;
        }
    }
    return rate;
}

/* False: no room. */
static bool set_rate(const struct site *site, struct site_source *item, enum common_rate_kind kind,
                     struct rate_value rate)
{
    if (rate.count == UINT64_MAX || rate.window_ms == 0) {
        return true;
    }
    char memory[COMMON_RATE_NAME_MAX], address[ADDRESS_TEXT_MAX];
    struct buffer name;
    buffer_init(&name, memory, sizeof memory);
    buffer_printf(&name, "%s %s", address_text(&item->address, address), site->name);
    assert(!name.overflowed);
    struct common_rate *set = common_rates_set(site->scheduler->common_rates,
                                               &(struct common_rate_key){kind, buffer_bytes(&name)},
                                               rate.count, rate.window_ms);
    struct common_rate **slot = kind == COMMON_RATE_SOURCE            ? &item->messages
                                : kind == COMMON_RATE_SOURCE_CONNECTS ? &item->connects
                                                                      : &item->volume;
    *slot = set;
    return set != NULL;
}

static bool set_limits(const struct site *site, struct site_source *item)
{
    const struct domain_settings *settings = site->settings;
    item->max = max_of(&settings->source_ip_max_smtp_out, &item->address);
    return set_rate(site, item, COMMON_RATE_SOURCE,
                    rate_of(&settings->source_ip_max_msg_rate, &item->address)) &&
           set_rate(site, item, COMMON_RATE_SOURCE_CONNECTS,
                    rate_of(&settings->source_ip_max_connect_rate, &item->address)) &&
           set_rate(site, item, COMMON_RATE_SOURCE_VOLUME,
                    rate_of(&settings->source_ip_max_data_volume_rate, &item->address));
}

/* ---- life ---- */

static bool is_wanted(const struct site *site)
{
    const struct domain_settings *settings = site->settings;
    return settings->source_ip_max_smtp_out.count > 0 ||
           settings->source_ip_max_msg_rate.count > 0 ||
           settings->source_ip_max_connect_rate.count > 0 ||
           settings->source_ip_max_data_volume_rate.count > 0;
}

static struct site_source *item_of(const struct attempt *attempt)
{
    struct site_sources *sources = attempt->site->sources;
    if (sources == NULL || !attempt->holds_source) {
        return NULL;
    }
    for (uint32_t i = 0; i < sources->count; i++) {
        uint32_t place = (attempt->source_index + i) % sources->count; /* the first, if no reload */
        if (address_equal_ip(&sources->items[place].address, &attempt->source_address)) {
            return &sources->items[place];
        }
    }
    return NULL;
}

/* Connections that there are already have the places they had. */
static void count_places(struct site_sources *sources)
{
    for (struct list_node *node = list_first(&sources->site->attempts); node != NULL;
         node = list_next(&sources->site->attempts, node)) {
        struct attempt *attempt = CONTAINER_OF(node, struct attempt, site_node);
        struct site_source *item = item_of(attempt);
        attempt->holds_source = item != NULL;
        if (item != NULL) {
            item->open++;
            sources->held++;
        }
    }
}

static void on_timer(struct timer *timer)
{
    struct site_sources *sources = CONTAINER_OF(timer, struct site_sources, timer);
    schedule_mark(sources->site->scheduler, sources->site);
}

static void destroy(struct site_sources *sources)
{
    if (sources == NULL) {
        return;
    }
    struct scheduler *scheduler = sources->site->scheduler;
    timer_stop(io_timers(scheduler->io), &sources->timer);
    for (uint32_t i = 0; i < sources->count; i++) {
        common_rates_release(scheduler->common_rates, sources->items[i].messages);
        common_rates_release(scheduler->common_rates, sources->items[i].connects);
        common_rates_release(scheduler->common_rates, sources->items[i].volume);
    }
    free(sources);
}

static struct site_sources *create(struct site *site)
{
    const struct vmta *vmta = &site->lane->vmta;
    struct site_sources *sources =
        calloc(1, sizeof *sources + vmta->source_count * sizeof *sources->items);
    if (sources == NULL) {
        return NULL;
    }
    sources->site = site;
    timer_init(&sources->timer, on_timer);
    while (sources->count < vmta->source_count) {
        struct site_source *item = &sources->items[sources->count];
        item->address = vmta->sources[sources->count++].address;
        if (!set_limits(site, item)) {
            destroy(sources);
            return NULL;
        }
    }
    return sources;
}

void site_sources_set(struct site *site)
{
    struct site_sources *before = site->sources;
    site->sources = is_wanted(site) ? create(site) : NULL;
    if (site->sources != NULL) {
        count_places(site->sources);
    } else if (is_wanted(site)) {
        LOG_ERROR("out of memory: queue %s waits, its source addresses have limits", site->name);
    }
    destroy(before);
}

void site_sources_free(struct site *site)
{
    destroy(site->sources);
    site->sources = NULL;
}

/* ---- when ---- */

static uint64_t rate_ms(const struct site *site, struct common_rate *rate, uint64_t now_ms)
{
    if (rate == NULL) {
        return now_ms;
    }
    const struct rate_writer writer = schedule_rate_writer(site->scheduler);
    return common_rates_next_ms(&rate, 1, &writer);
}

static uint64_t item_ms(const struct site *site, const struct site_source *item, uint64_t now_ms)
{
    if (item->open >= item->max) {
        return UINT64_MAX;
    }
    uint64_t messages_ms = rate_ms(site, item->messages, now_ms);
    uint64_t connects_ms = rate_ms(site, item->connects, now_ms);
    uint64_t due_ms = messages_ms > connects_ms ? messages_ms : connects_ms;
    return item->volume_due_ms > due_ms ? item->volume_due_ms : due_ms;
}

/* How the sources of a family (ADDRESS_NONE: any) stand. */
struct standing {
    bool any;          /* there is one that nothing but these limits forbids */
    uint64_t places;   /* free now */
    uint64_t first_ms; /* when the next one may be */
};

static struct standing standing_of(const struct site *site, enum address_family family,
                                   uint64_t now_ms)
{
    const struct vmta *vmta = &site->lane->vmta;
    struct standing now = {.first_ms = UINT64_MAX};
    for (uint32_t i = 0; i < vmta->source_count && i < site->sources->count; i++) {
        const struct address *address = &vmta->sources[i].address;
        bool serves =
            family == ADDRESS_NONE || address->family == ADDRESS_NONE || address->family == family;
        if (!serves || !site_source_allowed(site, address, now_ms)) {
            continue;
        }
        const struct site_source *item = &site->sources->items[i];
        uint64_t suspended_ms = vmta->sources[i].suspended_until_ms;
        uint64_t due_ms = suspended_ms > now_ms ? suspended_ms : item_ms(site, item, now_ms);
        now.any |= suspended_ms <= now_ms;
        if (due_ms > now_ms) {
            now.first_ms = due_ms < now.first_ms ? due_ms : now.first_ms;
        } else {
            /* One at a time where they are counted over time: the next may have to wait. */
            uint64_t more = item->connects != NULL ? 1 : item->max - item->open;
            now.places = more > UINT64_MAX - now.places ? UINT64_MAX : now.places + more;
        }
    }
    return now;
}

uint64_t site_sources_next_ms(struct site *site, uint64_t now_ms)
{
    if (site->sources == NULL && is_wanted(site)) {
        site_sources_set(site);
        if (site->sources == NULL) {
            return now_ms + AGAIN_MS;
        }
    }
    if (site->sources == NULL) {
        return 0;
    }
    assert(site->sources->held <= site->attempt_count);
    const struct standing now = standing_of(site, ADDRESS_NONE, now_ms);
    uint64_t without_place = site->attempt_count - site->sources->held;
    uint64_t due_ms = !now.any || now.places > without_place ? 0 : now.first_ms;
    return site->sources->hold_ms > due_ms ? site->sources->hold_ms : due_ms;
}

bool site_sources_hold(struct site *site, enum address_family family, uint64_t now_ms)
{
    if (site->sources == NULL) {
        return false;
    }
    const struct standing now = standing_of(site, family, now_ms);
    if (now.any) {
        site->sources->hold_ms = now.places > 0 ? now_ms + AGAIN_MS : now.first_ms;
    }
    return now.any;
}

/* ---- of one connection ---- */

bool site_source_is_free(struct site *site, const struct vmta_source *source, uint64_t now_ms)
{
    if (site->sources == NULL) {
        return true;
    }
    size_t place = (size_t)(source - site->lane->vmta.sources);
    return place < site->sources->count &&
           item_ms(site, &site->sources->items[place], now_ms) <= now_ms;
}

void site_source_take(struct attempt *attempt, const struct vmta_source *source)
{
    struct site *site = attempt->site;
    if (site->sources == NULL) {
        return;
    }
    assert(!attempt->holds_source);
    attempt->source_index = (uint32_t)(source - site->lane->vmta.sources);
    assert(attempt->source_index < site->sources->count);
    struct site_source *item = &site->sources->items[attempt->source_index];
    if (item->connects != NULL) {
        const struct rate_writer writer = schedule_rate_writer(site->scheduler);
        common_rates_take(&item->connects, 1, &writer, 1);
    }
    attempt->holds_source = true;
    item->open++;
    site->sources->held++;
    schedule_wake_site(site); /* it may have waited for where this one goes */
}

void site_source_release(struct attempt *attempt)
{
    struct site *site = attempt->site;
    struct site_source *item = item_of(attempt);
    attempt->holds_source = false;
    if (item != NULL) {
        assert(item->open > 0);
        item->open--;
        site->sources->held--;
    }
    if (site->sources != NULL) {
        site->sources->hold_ms = 0;
        schedule_wake_site(site);
    }
}

struct common_rate *site_source_messages(const struct attempt *attempt)
{
    const struct site_source *item = item_of(attempt);
    return item == NULL ? NULL : item->messages;
}

struct common_rate *site_source_volume(const struct attempt *attempt)
{
    const struct site_source *item = item_of(attempt);
    return item == NULL ? NULL : item->volume;
}

void site_source_wait(const struct attempt *attempt, uint64_t due_ms)
{
    struct site_source *item = item_of(attempt);
    if (item != NULL) {
        item->volume_due_ms = due_ms;
    }
}

uint64_t site_source_send_ms(const struct attempt *attempt, uint64_t now_ms)
{
    const struct site_source *item = item_of(attempt);
    if (item == NULL) {
        return now_ms;
    }
    uint64_t due_ms = rate_ms(attempt->site, item->messages, now_ms);
    return item->volume_due_ms > due_ms ? item->volume_due_ms : due_ms;
}

bool site_source_may_send(const struct attempt *attempt, uint64_t now_ms)
{
    struct site_sources *sources = attempt->site->sources;
    uint64_t due_ms = site_source_send_ms(attempt, now_ms);
    if (due_ms > now_ms && (!timer_running(&sources->timer) || due_ms < sources->timer_ms)) {
        sources->timer_ms = due_ms;
        timer_start(io_timers(attempt->site->scheduler->io), &sources->timer, due_ms);
    }
    return due_ms <= now_ms;
}
