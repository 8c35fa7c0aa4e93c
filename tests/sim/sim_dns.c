/* Zones as one list of records, and dns.h answering from them after a while. */
#include "sim_dns.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "sim_parts.h"

#define ALIASES_MAX   8
#define ANSWER_US_MIN 100
#define ANSWER_US_MAX (80 * SIM_MS)
#define GIVE_UP_US    (9 * SIM_SECOND) /* three tries of three seconds */
#define TTL_S_MAX     3600

enum record_type { RECORD_MX, RECORD_ADDRESS, RECORD_ALIAS, RECORD_STATUS };

struct record {
    struct list_node node;
    enum record_type type;
    char name[DNS_NAME_MAX], target[DNS_NAME_MAX];
    uint16_t preference;
    struct address address;
    enum dns_status status;
};

struct sim_zones {
    struct list records; /* in the order of being added, which is the order of answers */
};

struct dns {
    struct io *io;
    struct dns_status_counts counts;
};

/* ---- zones ------------------------------------------------------------------------------ */

static struct sim_zones *zones_of(struct sim *sim)
{
    if (sim->zones == NULL) {
        sim->zones = sim_take(sizeof(*sim->zones));
        list_init(&sim->zones->records);
    }
    return sim->zones;
}

static void copy_name(char out[DNS_NAME_MAX], const char *name)
{
    size_t len = strlen(name);
    assert(len < DNS_NAME_MAX);
    memcpy(out, name, len + 1);
}

static struct record *record_add(struct sim *sim, enum record_type type, const char *name)
{
    struct record *record = sim_take(sizeof(*record));
    record->type = type;
    copy_name(record->name, name);
    list_push_back(&zones_of(sim)->records, &record->node);
    return record;
}

void sim_dns_add_mx(struct sim *sim, const char *domain, uint16_t preference, const char *host)
{
    struct record *record = record_add(sim, RECORD_MX, domain);
    record->preference = preference;
    copy_name(record->target, host);
}

void sim_dns_add_address(struct sim *sim, const char *host, const struct address *address)
{
    record_add(sim, RECORD_ADDRESS, host)->address = *address;
}

void sim_dns_add_alias(struct sim *sim, const char *name, const char *target)
{
    copy_name(record_add(sim, RECORD_ALIAS, name)->target, target);
}

/* The first record of a type after `after` (NULL: of all), or NULL. */
static struct record *record_next(struct sim_zones *zones, const struct record *after,
                                  enum record_type type, const char *name)
{
    const struct list_node *n = after == NULL ? &zones->records.head : &after->node;
    for (struct list_node *next = list_next(&zones->records, n); next != NULL;
         next = list_next(&zones->records, next)) {
        struct record *record = CONTAINER_OF(next, struct record, node);
        if (record->type == type && strcasecmp(record->name, name) == 0) {
            return record;
        }
    }
    return NULL;
}

void sim_dns_set_status(struct sim *sim, const char *name, enum dns_status status)
{
    struct record *record = record_next(zones_of(sim), NULL, RECORD_STATUS, name);
    if (record == NULL) {
        record = record_add(sim, RECORD_STATUS, name);
    }
    record->status = status;
}

void sim_dns_remove(struct sim *sim, const char *name)
{
    struct sim_zones *zones = zones_of(sim);
    for (int type = RECORD_MX; type <= RECORD_STATUS; type++) {
        struct record *record = NULL;
        while ((record = record_next(zones, NULL, (enum record_type)type, name)) != NULL) {
            list_remove(&record->node);
            sim_give(record);
        }
    }
}

void sim_zones_destroy(struct sim_zones *zones)
{
    struct list_node *node = NULL;
    while (zones != NULL && (node = list_pop_front(&zones->records)) != NULL) {
        sim_give(CONTAINER_OF(node, struct record, node));
    }
    sim_give(zones);
}

/* ---- answers ---------------------------------------------------------------------------- */

static bool name_exists(struct sim_zones *zones, const char *name)
{
    return record_next(zones, NULL, RECORD_MX, name) != NULL ||
           record_next(zones, NULL, RECORD_ADDRESS, name) != NULL ||
           record_next(zones, NULL, RECORD_ALIAS, name) != NULL;
}

/* Follows aliases; NULL: too many. */
static const char *canonical(struct sim_zones *zones, struct dns_query *query)
{
    const char *name = query->name;
    for (int i = 0; i < ALIASES_MAX; i++) {
        const struct record *alias = record_next(zones, NULL, RECORD_ALIAS, name);
        if (alias == NULL) {
            return name;
        }
        query->is_alias = true;
        name = alias->target;
    }
    return NULL;
}

static void fail(struct dns_query *query, const char *why)
{
    query->status = DNS_FAILED;
    query->failure = why;
}

static bool wanted(const struct dns_query *query, const struct record *record)
{
    return (query->pending & (1u << record->address.family)) != 0;
}

static void add_answer(struct dns_query *query, const struct record *record)
{
    if (record->type == RECORD_MX && query->mx_count < DNS_MX_MAX) {
        struct dns_mx *mx = &query->mx[query->mx_count++];
        copy_name(mx->host, record->target);
        mx->preference = record->preference;
    } else if (record->type == RECORD_ADDRESS && wanted(query, record) &&
               query->address_count < DNS_ADDRESSES_MAX) {
        query->addresses[query->address_count++] = record->address;
    }
}

static void fill(struct sim *sim, struct dns_query *query)
{
    struct sim_zones *zones = zones_of(sim);
    const char *name = canonical(zones, query);
    if (name == NULL) {
        fail(query, "CNAME loop");
        return;
    }
    const struct record *status = record_next(zones, NULL, RECORD_STATUS, name);
    enum dns_status forced = status == NULL ? DNS_OK : status->status;
    if (forced == DNS_FAILED) {
        fail(query, "SERVFAIL");
        return;
    }
    enum record_type type = (enum record_type)query->type;
    if (type == RECORD_MX) {
        query->mx = sim_engine_take(DNS_MX_MAX * sizeof(*query->mx));
    } else {
        query->addresses = sim_engine_take(DNS_ADDRESSES_MAX * sizeof(*query->addresses));
    }
    if (query->mx == NULL && query->addresses == NULL) {
        fail(query, "out of memory");
        return;
    }
    for (struct record *record = record_next(zones, NULL, type, name);
         record != NULL && forced == DNS_OK; record = record_next(zones, record, type, name)) {
        add_answer(query, record);
    }
    query->ttl_s = (uint32_t)sim_between(sim, 1, TTL_S_MAX);
    query->status = forced;
    if (forced == DNS_OK && query->mx_count + query->address_count == 0) {
        query->status = name_exists(zones, name) ? DNS_NO_DATA : DNS_NOT_FOUND;
    }
}

static void deliver_answer(struct sim_op *op)
{
    struct dns_query *query = op->dns.query;
    struct sim *sim = op->io->sim;
    bool failed = op->dns.fails;
    sim_op_release(op);
    query->dns->counts.pending--;
    if (failed) {
        query->dns->counts.failures++;
        fail(query, "timeout");
    } else {
        fill(sim, query);
    }
    sim_note(sim, "dns", (uint64_t)query->status, query->mx_count + query->address_count);
    query->done(query);
}

static void on_answer(struct sim_event *event)
{
    sim_op_finish(CONTAINER_OF(event, struct sim_op, event), 0);
}

static void begin_query(struct sim_op *op)
{
    struct sim *sim = op->io->sim;
    op->dns.fails = sim_chance(sim, sim->odds.dns_fails);
    uint64_t us = sim_spread(sim, ANSWER_US_MIN, ANSWER_US_MAX);
    if (op->dns.fails || sim_chance(sim, sim->odds.dns_slow)) {
        us = sim_between(sim, us, GIVE_UP_US);
    }
    sim_event_init(&op->event, on_answer);
    sim_event_in(sim, &op->event, us);
}

/* ---- dns.h ------------------------------------------------------------------------------ */

struct dns *dns_create(struct io *io, const struct dns_options *options, struct error *error)
{
    (void)options;
    struct dns *dns = sim_engine_take(sizeof(*dns));
    if (dns == NULL) {
        error_set(error, 71, "out of memory");
        return NULL;
    }
    dns->io = io;
    return dns;
}

void dns_destroy(struct dns *dns)
{
    assert(dns == NULL || dns->counts.pending == 0);
    sim_engine_give(dns);
}

static void ask(struct dns *dns, struct dns_query *query, enum record_type type, const char *name,
                uint8_t families)
{
    void (*done)(struct dns_query * query) = query->done;
    *query = (struct dns_query){.done = done, .dns = dns, .type = (uint8_t)type};
    query->pending = families;
    copy_name(query->name, name);
    dns->counts.queries++;
    dns->counts.pending++;
    struct sim_op *op = sim_op_start(dns->io, NULL, SIM_OP_DNS, -1, begin_query);
    op->dns.query = query;
    op->deliver = deliver_answer;
}

void dns_lookup_mx(struct dns *dns, struct dns_query *query, const char *domain)
{
    ask(dns, query, RECORD_MX, domain, 0);
}

void dns_lookup_addresses(struct dns *dns, struct dns_query *query, const char *host, bool ipv4,
                          bool ipv6)
{
    assert(ipv4 || ipv6);
    unsigned families = (ipv4 ? 1u << ADDRESS_IPV4 : 0) | (ipv6 ? 1u << ADDRESS_IPV6 : 0);
    ask(dns, query, RECORD_ADDRESS, host, (uint8_t)families);
}

void dns_query_deinit(struct dns_query *query)
{
    sim_engine_give(query->mx);
    sim_engine_give(query->addresses);
    query->mx = NULL;
    query->addresses = NULL;
}

uint32_t dns_clear(struct dns *dns, const char *name)
{
    (void)dns;
    (void)name;
    return 0;
}

void dns_counts(const struct dns *dns, struct dns_status_counts *out)
{
    *out = dns->counts;
}
