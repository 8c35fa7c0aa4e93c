/* A request goes through two rounds: MX (skipped where smtp-hosts names hosts), then the addresses
 * of all hosts at once. Candidates stand in one array from the start; a round only fills it. When
 * the last answer is in, the route is built in one block of memory. Only the families that can be
 * used are asked for; where that leaves nothing, a third round asks for the other one, because "no
 * address" bounces and "no address for this virtual MTA" waits. */
#include "resolve.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/io.h"
#include "mx_hosts.h"
#include "policy/domain.h"

#define ROUTE_LIFE_MIN_MS 30000 /* a route is asked for again after its TTL, at least so long */
#define ROUTE_LIFE_MAX_MS 3600000
#define LOOKUP_MX_MAX     4  /* `lookup-mx:` entries of one smtp-hosts */
#define GROUP_SHIFT       16 /* ranks of candidates: place in smtp-hosts, then MX preference */
#define LOCAL_MAX         4096
#define LOCAL_LIFE_MS     10000 /* to list this host's addresses costs a talk with the kernel */

struct resolver {
    struct io *io;
    struct resolver_options options;
    struct rng rng;
    uint64_t local_until_ms;
    size_t local_count;
    struct address local[LOCAL_MAX]; /* sorted */
};

struct candidate {
    char name[DNS_NAME_MAX];
    uint32_t rank; /* lower is tried first */
    uint16_t port;
    bool from_mx; /* prohibited-hosts applies */
    bool asked;
    struct address literal; /* family ADDRESS_NONE: look it up */
    struct dns_query query;
    struct resolve_work *work;
};

struct mx_question {
    struct dns_query query;
    struct resolve_work *work;
    char domain[DNS_NAME_MAX];
    uint16_t group;   /* place in smtp-hosts of the entry it comes from */
    bool for_mailbox; /* asks for the recipient's own domain: bounce-upon-no-mx applies */
};

struct resolve_work {
    struct resolve_request *request;
    struct mx_question mx[LOOKUP_MX_MAX];
    uint32_t mx_count, outstanding;
    struct candidate candidates[ROUTE_HOSTS_MAX];
    uint32_t candidate_count;
    bool null_mx, no_mx, not_found, failed, skipped_self, skipped_prohibited, wrong_family;
    bool other_family_asked;
    uint32_t own_rank; /* of the best MX that is this host; none at or above it is used */
    uint32_t ttl_s;
};

struct resolver *resolver_create(const struct resolver_options *options)
{
    struct resolver *resolver = calloc(1, sizeof *resolver);
    if (resolver != NULL) {
        resolver->io = options->io;
        resolver->options = *options;
        rng_init(&resolver->rng, options->seed);
    }
    return resolver;
}

void resolver_destroy(struct resolver *resolver)
{
    free(resolver);
}

void route_unref(struct route *route)
{
    if (route != NULL && --route->refs == 0) {
        free(route);
    }
}

void route_keep(struct route *route, bool (*keep)(const void *owner, const char *host),
                const void *owner)
{
    struct route all = *route;
    route->host_count = route->address_count = 0;
    for (uint32_t i = 0; i < all.host_count; i++) {
        struct route_host host = all.hosts[i];
        if (!keep(owner, host.name)) {
            continue;
        }
        memmove(&route->addresses[route->address_count], &all.addresses[host.first_address],
                host.address_count * sizeof route->addresses[0]);
        host.first_address = (uint16_t)route->address_count;
        route->address_count += host.address_count;
        route->hosts[route->host_count++] = host;
    }
}

/* ---- candidates ---- */

static struct candidate *add_candidate(struct resolve_work *work, struct bytes name, uint32_t rank,
                                       uint16_t port, bool from_mx)
{
    if (work->candidate_count == ROUTE_HOSTS_MAX || name.len >= DNS_NAME_MAX) {
        return NULL;
    }
    struct candidate *candidate = &work->candidates[work->candidate_count++];
    memcpy(candidate->name, name.data, name.len);
    candidate->name[name.len] = '\0';
    candidate->rank = rank;
    candidate->port = port;
    candidate->from_mx = from_mx;
    candidate->work = work;
    return candidate;
}

static uint32_t rank_of(uint16_t group, uint16_t preference)
{
    return (uint32_t)group << GROUP_SHIFT | preference;
}

static uint16_t default_port(const struct resolve_work *work)
{
    return (uint16_t)work->request->settings->default_smtp_port;
}

/* Fisher-Yates, then a stable sort by preference: equal ones stay shuffled (RFC 5321 5.1). */
static void order_mx(struct resolver *resolver, struct dns_mx *mx, uint32_t count)
{
    for (uint32_t i = count; i > 1; i--) {
        uint32_t other = (uint32_t)rng_below(&resolver->rng, i);
        struct dns_mx kept = mx[i - 1];
        mx[i - 1] = mx[other];
        mx[other] = kept;
    }
    for (uint32_t i = 1; i < count; i++) {
        struct dns_mx moved = mx[i];
        uint32_t place = i;
        for (; place > 0 && mx[place - 1].preference > moved.preference; place--) {
            mx[place] = mx[place - 1];
        }
        mx[place] = moved;
    }
}

static bool is_own_name(const struct resolver *resolver, const char *host)
{
    const char *own = resolver->options.own_name;
    return own != NULL && *own != '\0' &&
           bytes_equal_nocase(bytes_from_string(own), bytes_from_string(host));
}

/* RFC 5321 5.1: where we are an MX ourselves, only better preferences are tried. */
static uint32_t cut_at_self(struct resolve_work *work, const struct dns_mx *mx, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (is_own_name(work->request->resolver, mx[i].host)) {
            work->skipped_self = true;
            while (i > 0 && mx[i - 1].preference == mx[i].preference) {
                i--;
            }
            return i;
        }
    }
    return count;
}

static bool is_address_text(const char *host)
{
    struct address ignored;
    return address_parse(bytes_from_string(host), &ignored);
}

static void take_mx_answer(struct mx_question *question)
{
    struct resolve_work *work = question->work;
    struct dns_query *query = &question->query;
    order_mx(work->request->resolver, query->mx, query->mx_count);
    if (query->mx_count == 1 && strcmp(query->mx[0].host, ".") == 0) {
        work->null_mx = true; /* RFC 7505: this domain takes no mail */
        return;
    }
    if (question->for_mailbox) {
        mx_hosts_read(&work->request->mx, work->request->mx_best, query->mx, query->mx_count);
    }
    uint32_t count = cut_at_self(work, query->mx, query->mx_count);
    for (uint32_t i = 0; i < count; i++) {
        const struct dns_mx *mx = &query->mx[i];
        if (strcmp(mx->host, ".") != 0 && !is_address_text(mx->host)) {
            add_candidate(work, bytes_from_string(mx->host),
                          rank_of(question->group, mx->preference), default_port(work), true);
        }
    }
}

/* ---- the answer ---- */

static void finish(struct resolve_work *work, struct route *route)
{
    struct resolve_request *request = work->request;
    for (uint32_t i = 0; i < work->mx_count; i++) {
        dns_query_deinit(&work->mx[i].query);
    }
    for (uint32_t i = 0; i < work->candidate_count; i++) {
        if (work->candidates[i].asked) {
            dns_query_deinit(&work->candidates[i].query);
        }
    }
    free(work);
    request->work = NULL;
    request->done(request, route);
}

/* RFC 5321 5.1 falls back to the domain's own address; policy may want an MX, at once or from mail
 * of some age on (then the caller decides by it). */
static void explain_no_mx(const struct resolve_work *work, struct reply *reply)
{
    bool at_once = work->request->settings->bounce_upon_no_mx_ms == 0;
    reply_make(reply, at_once ? 550 : 450, at_once ? "5.1.2" : "4.1.2", "domain has no MX");
    work->request->no_mx = !at_once;
}

/* Why there is no route: what may pass before what will not, then the most telling reason. */
static void explain_failure(const struct resolve_work *work, struct reply *reply)
{
    if (work->null_mx) {
        reply_make(reply, 556, "5.1.10", "domain accepts no mail (null MX)");
    } else if (work->failed) {
        reply_make(reply, 451, "4.4.3", "DNS lookup failed");
    } else if (work->wrong_family) {
        reply_make(reply, 451, "4.4.4",
                   "no host has an address of a family that the virtual MTA can use");
    } else if (work->skipped_self) {
        reply_make(reply, 554, "5.4.6", "mail loops back to this host");
    } else if (work->skipped_prohibited) {
        reply_make(reply, 554, "5.4.6", "MX points to a prohibited address");
    } else if (work->no_mx) {
        explain_no_mx(work, reply);
    } else if (work->not_found) {
        reply_make(reply, 550, "5.1.2", "domain does not exist");
    } else {
        reply_make(reply, 550, "5.4.4", "domain has no host with an address");
    }
}

static void fail(struct resolve_work *work)
{
    explain_failure(work, &work->request->failure);
    finish(work, NULL);
}

/* ---- this host's own addresses ---- */

static int compare_addresses(const void *a, const void *b)
{
    const struct address *first = a, *second = b;
    int families = (int)first->family - (int)second->family;
    return families != 0 ? families : memcmp(first->ip, second->ip, sizeof first->ip);
}

static bool is_local(struct resolver *resolver, const struct address *address)
{
    uint64_t now_ms = io_now_ms(resolver->io);
    if (now_ms >= resolver->local_until_ms) {
        resolver->local_count = io_local_addresses(resolver->io, resolver->local, LOCAL_MAX);
        resolver->local_until_ms = now_ms + LOCAL_LIFE_MS;
        qsort(resolver->local, resolver->local_count, sizeof resolver->local[0], compare_addresses);
    }
    return bsearch(address, resolver->local, resolver->local_count, sizeof resolver->local[0],
                   compare_addresses) != NULL;
}

static bool is_own_listener(const struct resolver *resolver, const struct address *address)
{
    const struct resolver_options *options = &resolver->options;
    return options->is_own_listener != NULL && options->is_own_listener(options->owner, address);
}

/* Mail for loopback never is ours by MX: that is somebody's mistake, and just this host is left
 * out (prohibited-hosts). */
static bool is_ourselves(struct resolver *resolver, const struct address *address)
{
    return !address_is_loopback(address) &&
           (is_local(resolver, address) || is_own_listener(resolver, address));
}

/* RFC 5321 5.1: a host that turns out to be this one, by whatever name, cuts the list, too. */
static void find_own_rank(struct resolve_work *work)
{
    work->own_rank = UINT32_MAX;
    for (uint32_t i = 0; i < work->candidate_count; i++) {
        const struct candidate *candidate = &work->candidates[i];
        for (uint32_t k = 0; candidate->from_mx && k < candidate->query.address_count; k++) {
            struct address address = candidate->query.addresses[k];
            address.port = candidate->port;
            if (candidate->rank < work->own_rank &&
                is_ourselves(work->request->resolver, &address)) {
                work->own_rank = candidate->rank;
                work->skipped_self = true;
            }
        }
    }
}

/* ---- which hosts and addresses ---- */

static bool is_prohibited(const struct domain_settings *settings, const struct address *address)
{
    for (size_t i = 0; i < settings->prohibited_hosts.count; i++) {
        if (address_range_holds(&settings->prohibited_hosts.items[i], address)) {
            return true;
        }
    }
    return false;
}

/* May this address be connected to? Notes why not. */
static bool is_usable(struct resolve_work *work, const struct candidate *candidate,
                      const struct address *address)
{
    const struct resolve_request *request = work->request;
    if (candidate->from_mx && is_prohibited(request->settings, address)) {
        work->skipped_prohibited = true;
        return false;
    }
    if (is_own_listener(request->resolver, address) ||
        (candidate->from_mx && is_ourselves(request->resolver, address))) {
        work->skipped_self = true;
        return false;
    }
    bool family = address->family == ADDRESS_IPV4 ? request->ipv4 : request->ipv6;
    work->wrong_family |= !family;
    return family;
}

static void add_address(struct route *route, const struct address *address)
{
    if (route->address_count < ROUTE_ADDRESSES_MAX) {
        route->addresses[route->address_count++] = *address;
        route->hosts[route->host_count].address_count++;
    }
}

/* Both families in turn, the first to come first: one that leads nowhere must not use up all
 * tries. */
static void add_in_turn(struct route *route, const struct address *usable, uint32_t count,
                        uint32_t max)
{
    uint8_t first = usable[0].family;
    uint32_t next[2] = {0, 0}; /* of the first family, of the other */
    uint32_t added = 0;
    for (uint32_t turn = 0; added < max && added < count; turn ^= 1) {
        uint32_t at = next[turn];
        while (at < count && (usable[at].family == first) != (turn == 0)) {
            at++;
        }
        next[turn] = at + 1;
        if (at < count) {
            add_address(route, &usable[at]);
            added++;
        }
    }
}

static void add_host(struct resolve_work *work, struct route *route,
                     const struct candidate *candidate, const struct address *addresses,
                     uint32_t count, uint32_t share)
{
    struct route_host *host = &route->hosts[route->host_count];
    *host = (struct route_host){.preference = candidate->rank,
                                .first_address = (uint16_t)route->address_count};
    memcpy(host->name, candidate->name, sizeof host->name);
    struct address usable[DNS_ADDRESSES_MAX];
    uint32_t usable_count = 0;
    for (uint32_t i = 0; i < count && i < DNS_ADDRESSES_MAX; i++) {
        usable[usable_count] = addresses[i];
        usable[usable_count].port = candidate->port;
        usable_count += is_usable(work, candidate, &usable[usable_count]);
    }
    if (usable_count > 0) {
        add_in_turn(route, usable, usable_count, share);
    }
    if (host->address_count > 0) {
        route->host_count++;
    }
}

/* An MX that is an alias (RFC 2181 10.3 forbids it) is used only where no other host is left. */
static void add_hosts(struct resolve_work *work, struct route *route, bool aliases)
{
    /* One host with many addresses leaves room for the next. */
    uint32_t share = ROUTE_ADDRESSES_MAX / work->candidate_count;
    for (uint32_t i = 0; i < work->candidate_count; i++) {
        const struct candidate *candidate = &work->candidates[i];
        bool literal = candidate->literal.family != ADDRESS_NONE;
        bool alias = !literal && candidate->from_mx && candidate->query.is_alias;
        if (alias != aliases || (candidate->from_mx && candidate->rank >= work->own_rank)) {
            continue;
        }
        if (literal) {
            add_host(work, route, candidate, &candidate->literal, 1, share);
        } else {
            add_host(work, route, candidate, candidate->query.addresses,
                     candidate->query.address_count, share);
        }
    }
}

/* Of the best MX hosts, whether they are used or not. */
static void note_mx_addresses(struct resolve_work *work)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < work->candidate_count; i++) {
        best = work->candidates[i].rank < best ? work->candidates[i].rank : best;
    }
    for (uint32_t i = 0; i < work->candidate_count; i++) {
        const struct candidate *candidate = &work->candidates[i];
        for (uint32_t k = 0; candidate->rank == best && k < candidate->query.address_count; k++) {
            mx_hosts_add_address(&work->request->mx, &candidate->query.addresses[k]);
        }
    }
}

static bool ask_other_family(struct resolve_work *work);

static void build(struct resolve_work *work)
{
    size_t size = sizeof(struct route) + ROUTE_HOSTS_MAX * sizeof(struct route_host) +
                  ROUTE_ADDRESSES_MAX * sizeof(struct address);
    struct route *route = calloc(1, size);
    if (route == NULL) {
        work->failed = true;
        fail(work);
        return;
    }
    route->refs = 1;
    route->hosts = (struct route_host *)(route + 1);
    route->addresses = (struct address *)(route->hosts + ROUTE_HOSTS_MAX);
    find_own_rank(work);
    add_hosts(work, route, false);
    if (route->host_count == 0) {
        add_hosts(work, route, true);
    }
    if (route->host_count == 0) {
        free(route);
        if (!ask_other_family(work)) {
            fail(work);
        }
        return;
    }
    uint64_t life_ms = (uint64_t)work->ttl_s * 1000;
    life_ms = life_ms < ROUTE_LIFE_MIN_MS ? ROUTE_LIFE_MIN_MS : life_ms;
    life_ms = life_ms > ROUTE_LIFE_MAX_MS ? ROUTE_LIFE_MAX_MS : life_ms;
    route->expires_ms = io_now_ms(work->request->resolver->io) + life_ms;
    note_mx_addresses(work);
    finish(work, route);
}

/* ---- the rounds ---- */

static void note_ttl(struct resolve_work *work, const struct dns_query *query)
{
    if (query->ttl_s < work->ttl_s) {
        work->ttl_s = query->ttl_s;
    }
}

static void on_addresses(struct dns_query *query)
{
    struct resolve_work *work = CONTAINER_OF(query, struct candidate, query)->work;
    work->failed |= query->status == DNS_FAILED;
    note_ttl(work, query);
    if (--work->outstanding > 0) {
        return;
    }
    if (work->request->cancelled) {
        finish(work, NULL);
    } else {
        build(work);
    }
}

/* Several `lookup-mx:` answers come in any order; equal ranks stay as they are. */
static void sort_candidates(struct resolve_work *work)
{
    for (uint32_t i = 1; i < work->candidate_count; i++) {
        struct candidate moved = work->candidates[i];
        uint32_t place = i;
        for (; place > 0 && work->candidates[place - 1].rank > moved.rank; place--) {
            work->candidates[place] = work->candidates[place - 1];
        }
        work->candidates[place] = moved;
    }
}

static void ask_candidate(struct resolve_work *work, struct candidate *candidate, bool ipv4,
                          bool ipv6)
{
    candidate->query.done = on_addresses;
    candidate->asked = true;
    work->outstanding++;
    dns_lookup_addresses(work->request->resolver->options.dns, &candidate->query, candidate->name,
                         ipv4, ipv6);
}

static void ask_addresses(struct resolve_work *work)
{
    const struct resolve_request *request = work->request;
    sort_candidates(work);
    for (uint32_t i = 0; i < work->candidate_count; i++) {
        if (work->candidates[i].literal.family == ADDRESS_NONE) {
            ask_candidate(work, &work->candidates[i], request->ipv4, request->ipv6);
        }
    }
    if (work->outstanding == 0) {
        build(work);
    }
}

/* Hosts without an address may have one of the family that was not asked for. False: no. */
static bool ask_other_family(struct resolve_work *work)
{
    const struct resolve_request *request = work->request;
    if (work->other_family_asked || work->failed || request->ipv4 == request->ipv6) {
        return false;
    }
    work->other_family_asked = true;
    for (uint32_t i = 0; i < work->candidate_count; i++) {
        struct candidate *candidate = &work->candidates[i];
        if (candidate->asked && candidate->query.status == DNS_NO_DATA) {
            dns_query_deinit(&candidate->query);
            ask_candidate(work, candidate, !request->ipv4, !request->ipv6);
        }
    }
    return work->outstanding > 0;
}

/* RFC 5321 5.1: without MX the domain itself is the host, unless policy forbids that. */
static void take_implicit_mx(struct mx_question *question)
{
    struct resolve_work *work = question->work;
    if (question->for_mailbox && work->request->settings->bounce_upon_no_mx_ms != UINT64_MAX) {
        work->no_mx = true;
        return;
    }
    add_candidate(work, bytes_from_string(question->domain), rank_of(question->group, 0),
                  default_port(work), true);
}

static void after_mx(struct resolve_work *work)
{
    if (work->request->cancelled) {
        finish(work, NULL);
    } else if (work->candidate_count == 0) {
        fail(work);
    } else {
        ask_addresses(work);
    }
}

static void on_mx(struct dns_query *query)
{
    struct mx_question *question = CONTAINER_OF(query, struct mx_question, query);
    struct resolve_work *work = question->work;
    note_ttl(work, query);
    switch (query->status) {
    case DNS_OK:
        take_mx_answer(question);
        break;
    case DNS_NO_DATA:
        take_implicit_mx(question);
        break;
    case DNS_NOT_FOUND:
        work->not_found = true;
        break;
    case DNS_FAILED:
        work->failed = true;
        break;
    }
    if (--work->outstanding == 0) {
        after_mx(work);
    }
}

static void ask_mx(struct resolve_work *work, struct bytes domain, uint16_t group, bool for_mailbox)
{
    if (work->mx_count == LOOKUP_MX_MAX || domain.len >= DNS_NAME_MAX) {
        return;
    }
    struct mx_question *question = &work->mx[work->mx_count++];
    memcpy(question->domain, domain.data, domain.len);
    question->domain[domain.len] = '\0';
    question->work = work;
    question->group = group;
    question->for_mailbox = for_mailbox;
    question->query.done = on_mx;
    work->outstanding++;
    dns_lookup_mx(work->request->resolver->options.dns, &question->query, question->domain);
}

static void take_smtp_hosts(struct resolve_work *work)
{
    const struct domain_settings *settings = work->request->settings;
    for (size_t i = 0; i < settings->smtp_hosts.count; i++) {
        const struct smtp_host *host = &settings->smtp_hosts.items[i];
        if (host->lookup_mx) {
            ask_mx(work, host->name, host->preference, false);
            continue;
        }
        char text[ADDRESS_TEXT_MAX];
        bool literal = host->address.family != ADDRESS_NONE;
        struct bytes name =
            literal ? bytes_from_string(address_text(&host->address, text)) : host->name;
        uint16_t port = host->port == 0 ? default_port(work) : host->port;
        struct candidate *candidate =
            add_candidate(work, name, rank_of(host->preference, 0), port, false);
        if (candidate != NULL) {
            candidate->literal = host->address;
        }
    }
}

static bool take_literal_domain(struct resolve_work *work)
{
    struct address address;
    if (work->request->domain[0] != '[' ||
        !address_parse(bytes_from_string(work->request->domain), &address)) {
        return false;
    }
    struct candidate *candidate =
        add_candidate(work, bytes_from_string(work->request->domain), 0, default_port(work), true);
    if (candidate != NULL) {
        candidate->literal = address;
    }
    return true;
}

static void begin(struct resolve_work *work)
{
    const struct resolve_request *request = work->request;
    if (!request->ipv4 && !request->ipv6) {
        work->wrong_family = true; /* an orphaned virtual MTA: no address to send from */
    } else if (request->settings->smtp_hosts.count > 0) {
        take_smtp_hosts(work);
    } else if (!take_literal_domain(work)) {
        ask_mx(work, bytes_from_string(request->domain), 0, true);
    }
    if (work->outstanding == 0) {
        after_mx(work);
    }
}

/* In the turn after the call, so that `done` never runs inside it. */
static void on_turn(struct timer *timer)
{
    struct resolve_request *request = CONTAINER_OF(timer, struct resolve_request, turn);
    if (request->work == NULL) {
        reply_make(&request->failure, 451, "4.3.0", "out of memory");
        request->done(request, NULL);
    } else if (request->cancelled) {
        finish(request->work, NULL);
    } else {
        begin(request->work);
    }
}

void resolve_domain(struct resolver *resolver, struct resolve_request *request, const char *domain,
                    const struct domain_settings *settings, bool ipv4, bool ipv6)
{
    request->resolver = resolver;
    request->settings = settings;
    request->ipv4 = ipv4;
    request->ipv6 = ipv6;
    request->cancelled = false;
    request->no_mx = false;
    request->mx = (struct mx_hosts){.best = BYTES("")};
    snprintf(request->domain, sizeof request->domain, "%s", domain);
    request->work = calloc(1, sizeof *request->work);
    if (request->work != NULL) {
        request->work->request = request;
        request->work->ttl_s = UINT32_MAX;
    }
    timer_init(&request->turn, on_turn);
    timer_start(io_timers(resolver->io), &request->turn, 0);
}

void resolve_change_settings(struct resolve_request *request,
                             const struct domain_settings *settings)
{
    request->settings = settings;
}

void resolve_cancel(struct resolve_request *request)
{
    request->cancelled = true;
    reply_make(&request->failure, 451, "4.3.2", "cancelled");
}
