/* A clock, a resolver and one request, for tests of engine/resolve.c. Include once per binary,
 * after test.h. */
#ifndef TESTS_UNIT_RESOLVE_WORLD_H
#define TESTS_UNIT_RESOLVE_WORLD_H

#include <stdlib.h>

#include "policy/domain.h"
#include "resolve.h"

/* ---- io: a clock and timers ---- */

struct io {
    struct timers timers;
    uint64_t now_ms;
    struct address local[2];
    size_t local_count;
};

static struct io io;

struct timers *io_timers(struct io *of)
{
    return &of->timers;
}

uint64_t io_now_ms(const struct io *of)
{
    return of->now_ms;
}

size_t io_local_addresses(struct io *of, struct address *out, size_t max)
{
    CHECK(max >= of->local_count);
    memcpy(out, of->local, of->local_count * sizeof *out);
    return of->local_count;
}

/* ---- dns: a table of answers, given a turn later ---- */

#define RECORDS_MAX 300

enum record_kind { RECORD_MX, RECORD_ADDRESS, RECORD_ALIAS, RECORD_STATUS };

struct record {
    enum record_kind kind;
    char name[64], host[64];
    uint16_t preference;
    struct address address;
    enum dns_status status;
};

static struct record records[RECORDS_MAX];
static size_t record_count;
static unsigned mx_questions, address_questions, open_questions, owned;

static struct record *add(enum record_kind kind, const char *name)
{
    CHECK(record_count < RECORDS_MAX);
    struct record *record = &records[record_count++];
    *record = (struct record){.kind = kind};
    snprintf(record->name, sizeof record->name, "%s", name);
    return record;
}

static void add_mx(const char *name, uint16_t preference, const char *host)
{
    struct record *record = add(RECORD_MX, name);
    record->preference = preference;
    snprintf(record->host, sizeof record->host, "%s", host);
}

static struct address address_of(const char *text)
{
    struct address address = {0};
    if (!address_parse(bytes_from_string(text), &address)) {
        CHECK(address_parse_port(bytes_from_string(text), &address));
    }
    return address;
}

static void add_address(const char *name, const char *ip)
{
    add(RECORD_ADDRESS, name)->address = address_of(ip);
}

static void set_status(const char *name, enum dns_status status)
{
    add(RECORD_STATUS, name)->status = status;
}

static bool is_named(const struct record *record, const struct dns_query *query)
{
    return strcmp(record->name, query->name) == 0;
}

static bool is_answer(const struct record *record, const struct dns_query *query)
{
    if (!is_named(record, query) || record->kind != (enum record_kind)query->type) {
        return false;
    }
    return record->kind == RECORD_MX || (query->state & (1u << record->address.family)) != 0;
}

static void put_answer(struct dns_query *query, const struct record *record)
{
    if (record->kind == RECORD_MX && query->mx_count < DNS_MX_MAX) {
        struct dns_mx *mx = &query->mx[query->mx_count++];
        snprintf(mx->host, sizeof mx->host, "%s", record->host);
        mx->preference = record->preference;
    } else if (record->kind == RECORD_ADDRESS && query->address_count < DNS_ADDRESSES_MAX) {
        query->addresses[query->address_count++] = record->address;
    }
}

static void on_answer(struct timer *timer)
{
    struct dns_query *query = CONTAINER_OF(timer, struct dns_query, turn);
    bool known = false;
    query->ttl_s = 300;
    query->status = DNS_OK;
    for (size_t i = 0; i < record_count; i++) {
        known |= is_named(&records[i], query);
        if (is_answer(&records[i], query)) {
            put_answer(query, &records[i]);
        }
        query->is_alias |= is_named(&records[i], query) && records[i].kind == RECORD_ALIAS;
    }
    if (query->mx_count + query->address_count == 0) {
        query->status = known ? DNS_NO_DATA : DNS_NOT_FOUND;
    }
    for (size_t i = 0; i < record_count; i++) {
        if (records[i].kind == RECORD_STATUS && is_named(&records[i], query)) {
            query->status = records[i].status;
            query->mx_count = query->address_count = 0;
        }
    }
    open_questions--;
    query->done(query);
}

static void ask(struct dns_query *query, enum record_kind kind, const char *name)
{
    void (*done)(struct dns_query *) = query->done;
    *query = (struct dns_query){.done = done, .type = (uint8_t)kind};
    snprintf(query->name, sizeof query->name, "%s", name);
    query->mx = calloc(DNS_MX_MAX, sizeof *query->mx);
    query->addresses = calloc(DNS_ADDRESSES_MAX, sizeof *query->addresses);
    owned++;
    open_questions++;
    timer_init(&query->turn, on_answer);
    timer_start(&io.timers, &query->turn, io.now_ms + 5);
}

void dns_lookup_mx(struct dns *dns, struct dns_query *query, const char *domain)
{
    (void)dns;
    mx_questions++;
    ask(query, RECORD_MX, domain);
}

void dns_lookup_addresses(struct dns *dns, struct dns_query *query, const char *host, bool ipv4,
                          bool ipv6)
{
    (void)dns;
    CHECK(ipv4 || ipv6);
    address_questions++;
    ask(query, RECORD_ADDRESS, host);
    query->state = (uint8_t)((ipv4 ? 1u << ADDRESS_IPV4 : 0) | (ipv6 ? 1u << ADDRESS_IPV6 : 0));
}

void dns_query_deinit(struct dns_query *query)
{
    if (query->mx != NULL) {
        owned--;
    }
    free(query->mx);
    free(query->addresses);
    query->mx = NULL;
    query->addresses = NULL;
    query->mx_count = query->address_count = 0;
}

/* ---- one request ---- */

static struct domain_settings settings;
static struct address_range prohibited[3];
static struct smtp_host hosts[4];
static uint16_t own_port;
static uint64_t seed;

struct asking {
    struct resolve_request request;
    struct route *route;
    int done_count;
};

static struct asking asking;

static bool on_is_own_listener(void *owner, const struct address *address)
{
    (void)owner;
    return own_port != 0 && address->port == own_port && address->ip[0] == 203;
}

static void begin_world(void)
{
    io = (struct io){.now_ms = 1000};
    timers_init(&io.timers, io.now_ms);
    record_count = 0;
    mx_questions = address_questions = open_questions = owned = 0;
    own_port = 0;
    seed = 1;
    CHECK(address_range_parse(BYTES("127/8"), &prohibited[0]));
    CHECK(address_range_parse(BYTES("::1"), &prohibited[1]));
    CHECK(address_range_parse(BYTES("0/8"), &prohibited[2]));
    settings = (struct domain_settings){.default_smtp_port = 25,
                                        .bounce_upon_no_mx_ms = NEVER,
                                        .prohibited_hosts = {prohibited, 3}};
}

static void on_done(struct resolve_request *request, struct route *route)
{
    struct asking *which = CONTAINER_OF(request, struct asking, request);
    which->route = route;
    which->done_count++;
}

static void run(void)
{
    for (int i = 0; i < 100; i++) {
        timers_run(&io.timers, ++io.now_ms);
    }
}

static void resolve_families(const char *domain, bool ipv4, bool ipv6)
{
    struct resolver *resolver = resolver_create(&(struct resolver_options){
        .io = &io, .seed = seed, .own_name = "we.example", .is_own_listener = on_is_own_listener});
    asking = (struct asking){.request.done = on_done};
    resolve_domain(resolver, &asking.request, domain, &settings, ipv4, ipv6);
    CHECK_INT(asking.done_count, 0); /* never inside the asking call */
    run();
    CHECK_INT(asking.done_count, 1);
    CHECK_INT(open_questions, 0);
    CHECK_INT(owned, 0); /* every query was given back */
    resolver_destroy(resolver);
}

static void resolve(const char *domain)
{
    resolve_families(domain, true, true);
}

static void check_failure(uint16_t code, const char *enhanced)
{
    char seen[32];
    const struct reply *failure = &asking.request.failure;
    CHECK(asking.route == NULL);
    snprintf(seen, sizeof seen, "%u.%u.%u", failure->enhanced_class, failure->enhanced_subject,
             failure->enhanced_detail);
    CHECK_INT(failure->code, code);
    CHECK_STRING(seen, enhanced);
}

/* "host,host" in order of trying, or "-". */
static const char *route_hosts(void)
{
    static char text[4096];
    struct buffer out;
    buffer_init(&out, text, sizeof text - 1);
    for (uint32_t i = 0; asking.route != NULL && i < asking.route->host_count; i++) {
        buffer_printf(&out, "%s%s", i == 0 ? "" : ",", asking.route->hosts[i].name);
    }
    text[out.len] = '\0';
    return out.len == 0 ? "-" : text;
}

static const char *route_addresses(void)
{
    static char text[4096];
    struct buffer out;
    buffer_init(&out, text, sizeof text - 1);
    for (uint32_t i = 0; asking.route != NULL && i < asking.route->address_count; i++) {
        char one[ADDRESS_TEXT_MAX];
        buffer_printf(&out, "%s%s", i == 0 ? "" : ",",
                      address_port_text(&asking.route->addresses[i], one));
    }
    text[out.len] = '\0';
    return out.len == 0 ? "-" : text;
}

static void drop(void)
{
    route_unref(asking.route);
    asking.route = NULL;
}

#endif
