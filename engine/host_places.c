#include "host_places.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "attempt.h"
#include "base/logger.h"
#include "io/io.h"
#include "local_delivery.h"
#include "policy/config.h"
#include "schedule.h"
#include "schedule_private.h"
#include "site.h"

#define LOOK_AGAIN_MS 900  /* after one that looked in vain; gates.c wakes one each second */
#define NO_ROOM_MS    1000 /* the table is full */
#define NAME_MAX_LEN  (DNS_NAME_MAX + ADDRESS_TEXT_MAX + 1)

/* One host at one of its addresses, from one source address. */
struct host_wish {
    struct address peer, source;
    char host_name[DNS_NAME_MAX];
};

/* ---- what holds for a host ---- */

/* How specific a pattern is that holds the name; 0: it does not. */
static size_t rank_of(const struct domain_pattern *pattern, struct bytes name)
{
    struct bytes wanted = pattern->name;
    switch (pattern->kind) {
    case DOMAIN_ANY:
        return 1;
    case DOMAIN_EXACT:
        return bytes_equal_nocase(wanted, name) ? SIZE_MAX : 0;
    case DOMAIN_WITH_SUBS:
    case DOMAIN_SUBS:
        break;
    case DOMAIN_RANGE: /* those are ip-connection-limit's */
    case DOMAIN_LOCAL:
        return 0;
    }
    if (pattern->kind == DOMAIN_WITH_SUBS && bytes_equal_nocase(wanted, name)) {
        return 2 * wanted.len;
    }
    if (name.len <= wanted.len || name.data[name.len - wanted.len - 1] != '.') {
        return 0;
    }
    struct bytes end = {name.data + name.len - wanted.len, wanted.len};
    bool below = bytes_equal_nocase(end, wanted);
    return below ? 2 * wanted.len + (pattern->kind == DOMAIN_SUBS) : 0;
}

static uint64_t max_of(uint64_t limit)
{
    return limit == 0 ? UINT64_MAX : limit; /* 0: as everywhere, unlimited */
}

static uint64_t host_max(const struct global_settings *settings, struct bytes name)
{
    uint64_t max = UINT64_MAX;
    size_t best = 1;
    for (size_t i = 0; i < settings->mx_connection_limits.count; i++) {
        const struct domain_limit *limit = &settings->mx_connection_limits.items[i];
        size_t rank = rank_of(&limit->domain, name);
        if (rank >= best) {
            best = rank;
            max = max_of(limit->limit);
        }
    }
    return max;
}

static uint64_t address_max(const struct global_settings *settings, const struct address *address)
{
    uint64_t max = UINT64_MAX;
    int narrowest = -1;
    for (size_t i = 0; i < settings->ip_connection_limits.count; i++) {
        const struct range_limit *limit = &settings->ip_connection_limits.items[i];
        if (limit->range.prefix >= narrowest && address_range_holds(&limit->range, address)) {
            narrowest = limit->range.prefix;
            max = max_of(limit->limit);
        }
    }
    return max;
}

static const struct global_settings *settings_of(const struct site *site)
{
    return config_global(site->scheduler->config);
}

static bool are_there_limits(const struct site *site)
{
    const struct global_settings *settings = settings_of(site);
    return settings->mx_connection_limits.count > 0 || settings->ip_connection_limits.count > 0;
}

/* ---- the gates of a wish ---- */

/* False: there is no room for it in the table. */
static bool join(struct site *site, struct gate_passing of, struct bytes what,
                 const struct address *source, struct gate_places *places)
{
    if (of.max == UINT64_MAX) {
        return true;
    }
    char memory[NAME_MAX_LEN], text[ADDRESS_TEXT_MAX];
    struct buffer name;
    buffer_init(&name, memory, sizeof memory);
    buffer_printf(&name, "%.*s %s", BYTES_FMT(what),
                  source->family == ADDRESS_NONE ? "*" : address_text(source, text));
    assert(!name.overflowed);
    of.name = buffer_bytes(&name);
    struct gates *gates = &site->scheduler->gates;
    places->gates[of.slot] = gates_join(gates, &of);
    if (places->gates[of.slot] != NULL) {
        return true;
    }
    if (!gates->full_said) {
        gates->full_said = true;
        LOG_ERROR("%s: more than %u limits of connections to hosts are in use: what would need "
                  "another one waits",
                  site->name, GATES_PASSING_MAX);
    }
    return false;
}

static bool join_both(struct site *site, const struct host_wish *wish, struct gate_places *places)
{
    const struct global_settings *settings = settings_of(site);
    struct bytes host = bytes_from_string(wish->host_name);
    char text[ADDRESS_TEXT_MAX];
    struct bytes address = bytes_from_string(address_text(&wish->peer, text));
    const struct gate_passing of_host = {
        .kind = LIMIT_MX_HOST, .slot = GATE_MX_HOST, .max = host_max(settings, host)};
    const struct gate_passing of_address = {.kind = LIMIT_MX_ADDRESS,
                                            .slot = GATE_MX_ADDRESS,
                                            .max = address_max(settings, &wish->peer)};
    return join(site, of_host, host, &wish->source, places) &&
           join(site, of_address, address, &wish->source, places);
}

/* ---- of one connection ---- */

bool host_places_begin(const struct attempt *attempt, uint16_t *address_index)
{
    const struct host_wish *wish = attempt->site->host_wish;
    bool has_place = attempt->places.gates[GATE_MX_HOST] != NULL ||
                     attempt->places.gates[GATE_MX_ADDRESS] != NULL;
    for (uint32_t i = 0; wish != NULL && has_place && i < attempt->route->address_count; i++) {
        if (address_equal_ip(&attempt->route->addresses[i], &wish->peer)) {
            *address_index = (uint16_t)i;
            return true;
        }
    }
    return false;
}

void host_places_aim(struct attempt *attempt, const struct route_host *host,
                     const struct address *peer)
{
    attempt->aim_host = host;
    attempt->aim_peer = peer;
    attempt->aim_full = false;
}

static struct host_wish aim_from(const struct attempt *attempt, const struct address *source)
{
    struct host_wish wish = {.peer = *attempt->aim_peer, .source = *source};
    if (attempt->aim_host != NULL) {
        memcpy(wish.host_name, attempt->aim_host->name, sizeof wish.host_name);
    }
    return wish;
}

/* The first one is where its site may wait. */
static void note_full(struct attempt *attempt, const struct address *source)
{
    attempt->aim_full = true;
    if (attempt->full_peer == NULL) {
        attempt->full_host = attempt->aim_host;
        attempt->full_peer = attempt->aim_peer;
        attempt->full_source = *source;
    }
}

static bool has_room(const struct attempt *attempt, const struct gate_places *places, int slot)
{
    const struct gate *gate = places->gates[slot];
    return gate == NULL || gate == attempt->places.gates[slot] ||
           limit_used(gate->limit) < limit_max(gate->limit);
}

bool host_places_free(struct attempt *attempt, const struct address *source)
{
    if (!are_there_limits(attempt->site)) {
        return true;
    }
    const struct host_wish wish = aim_from(attempt, source);
    struct gate_places places = {0};
    bool room = join_both(attempt->site, &wish, &places) &&
                has_room(attempt, &places, GATE_MX_HOST) &&
                has_room(attempt, &places, GATE_MX_ADDRESS);
    if (!room) {
        note_full(attempt, source);
    }
    return room;
}

/* The places it has of hosts move from `from` to `to`, which has none. */
static void move(struct gate_places *from, struct gate_places *to)
{
    for (int slot = GATE_MX_HOST; slot <= GATE_MX_ADDRESS; slot++) {
        to->gates[slot] = from->gates[slot];
        from->gates[slot] = NULL;
    }
}

bool host_places_take(struct attempt *attempt, const struct address *source)
{
    struct site *site = attempt->site;
    struct gate_places *held = &attempt->places;
    struct gate_places wanted = {0};
    if (are_there_limits(site)) {
        const struct host_wish wish = aim_from(attempt, source);
        if (!join_both(site, &wish, &wanted)) {
            note_full(attempt, source);
            return false;
        }
    }
    if (wanted.gates[GATE_MX_HOST] == held->gates[GATE_MX_HOST] &&
        wanted.gates[GATE_MX_ADDRESS] == held->gates[GATE_MX_ADDRESS]) {
        return true;
    }
    struct gate_places others = {0};
    move(held, &others);
    gates_release(&site->scheduler->gates,
                  &others); /* then what is wanted stays joined: it is new */
    if (!gates_try(&site->scheduler->gates, &wanted)) {
        note_full(attempt, source);
        return false;
    }
    move(&wanted, held);
    return true;
}

bool host_places_were_full(const struct attempt *attempt)
{
    return attempt->aim_full;
}

void host_places_decide(struct attempt *attempt)
{
    struct site *site = attempt->site;
    if (attempt->seeks_host) {
        attempt->seeks_host = false;
        assert(site->seeking_count > 0);
        site->seeking_count--;
        schedule_wake_site(site); /* the next one may look */
    }
}

/* ---- of a site ---- */

static void wish_for(struct site *site, const struct host_wish *wish)
{
    if (site->host_wish == NULL) {
        site->host_wish = malloc(sizeof *site->host_wish);
    }
    if (site->host_wish != NULL) {
        *site->host_wish = *wish;
    }
}

bool host_places_wish(struct attempt *attempt)
{
    struct site *site = attempt->site;
    if (attempt->full_peer == NULL) {
        return false;
    }
    attempt->aim_host = attempt->full_host;
    attempt->aim_peer = attempt->full_peer;
    const struct host_wish wish = aim_from(attempt, &attempt->full_source);
    const uint64_t now_ms = io_now_ms(site->scheduler->io);
    wish_for(site, &wish);
    site->host_looked_ms = now_ms;
    struct gate_places places = {0};
    if (site->host_wish == NULL || !join_both(site, &wish, &places)) {
        site->hold_opening_ms = now_ms + NO_ROOM_MS;
    }
    return true;
}

void host_places_opened(struct attempt *attempt)
{
    const struct site *site = attempt->site;
    attempt->seeks_host = are_there_limits(site) && !local_delivery_takes(site->settings);
    attempt->site->seeking_count += attempt->seeks_host;
}

bool host_places_look(const struct site *site)
{
    return site->seeking_count > 0;
}

void host_places_add(struct site *site, struct gate_places *places)
{
    struct gate_places more = {0};
    if (site->host_wish != NULL && join_both(site, site->host_wish, &more)) {
        move(&more, places);
    }
}

bool host_places_elsewhere(struct site *site, struct gate *full)
{
    const uint64_t now_ms = io_now_ms(site->scheduler->io);
    if ((full->slot != GATE_MX_HOST && full->slot != GATE_MX_ADDRESS) ||
        now_ms < site->host_looked_ms + LOOK_AGAIN_MS) {
        return false;
    }
    gates_turn_away(&site->scheduler->gates, full, site);
    return true;
}

static bool waits_for_host(const struct site *site)
{
    return site->wait == SITE_WAITING_GATE &&
           (site->waits_at->slot == GATE_MX_HOST || site->waits_at->slot == GATE_MX_ADDRESS);
}

/* Nobody waits for the place of that kind, of those that are about to be given back. */
static bool is_unclaimed(const struct gate *gate)
{
    return gate == NULL || (gate->waiting_count == 0 && limit_waiting(gate->limit) == 0);
}

/* Its site has use for a place of its own that is free in a moment, if nobody else waits there. */
void host_places_closed(const struct attempt *attempt)
{
    struct site *site = attempt->site;
    const struct gate *host = attempt->places.gates[GATE_MX_HOST];
    const struct gate *address = attempt->places.gates[GATE_MX_ADDRESS];
    bool has_any = (host != NULL || address != NULL) && !attempt->seeks_host;
    if (site->host_wish == NULL || !has_any || !is_unclaimed(host) || !is_unclaimed(address)) {
        return;
    }
    assert(attempt->aim_peer != NULL);
    *site->host_wish = aim_from(attempt, &attempt->source_address);
    if (waits_for_host(site)) {
        schedule_leave_place(site);
    }
}

void host_places_forget(struct site *site)
{
    free(site->host_wish);
    site->host_wish = NULL;
}
