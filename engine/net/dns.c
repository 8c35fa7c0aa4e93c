/* A lookup is one question; queries that ask the same meanwhile wait on it together. Its answer
 * goes into the cache and into the queries. Addresses are two lookups, A and AAAA.
 *
 * At most ASKING_MAX lookups are with the servers at once, the others wait in order: a queue of
 * many thousand domains would else be one burst of datagrams, of which the receive buffer keeps
 * the first few. Timeouts are the library's to find; it is called once per tick while it has
 * something to wait for, since to ask it for the next timeout costs a walk over all of them. */
#include "net/dns.h"

#include <ares.h>
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "net/dns_answer.h"
#include "net/dns_records.h"

#define WATCHES_MAX        256   /* sockets of the resolver library at once */
#define LOOKUPS_MAX        20000 /* questions under way and waiting */
#define ASKING_MAX         128   /* what a socket buffer of the default size holds */
#define TICK_MS            100
#define CACHE_MAX          50000
#define TTL_MAX_S          86400
#define NEGATIVE_TTL_S     60 /* where the answer names none */
#define NEGATIVE_TTL_MAX_S 300

struct watch {
    struct io_op op;
    struct dns *dns;
    struct list_node node;
    int fd;
    uint32_t events; /* wanted; 0: the library has closed the socket */
    bool in_library; /* on_ready arms or drops it when the library is done */
};

struct cached {
    struct map_entry entry;
    struct list_node node; /* oldest first */
    uint64_t expires_ms;
    enum dns_status status;
    enum dns_type type;
    struct dns_records records;
    char name[];
};

struct lookup {
    struct map_entry entry;
    struct list_node node; /* in dns->unasked */
    struct dns *dns;
    struct list waiting; /* struct waiter */
    enum dns_type type;
    char name[DNS_NAME_MAX];
};

/* One query's interest in one lookup. */
struct waiter {
    struct list_node node;
    struct dns_query *query;
};

struct dns {
    struct io *io;
    ares_channel channel;
    struct map cache, lookups;
    struct list cache_order, watches;
    struct list unasked; /* struct lookup */
    struct timer tick;
    uint32_t cache_max, watch_count, asking_count;
    bool destroying, asking;
    struct dns_status_counts counts;
};

struct name_key {
    const char *name;
    enum dns_type type;
};

static uint64_t key_hash(const struct name_key *key)
{
    return bytes_hash_nocase(bytes_from_string(key->name)) * 31 + (uint64_t)key->type;
}

/* ---- driving the library ---- */

static void start_tick(struct dns *dns)
{
    if (dns->asking_count > 0 && !timer_running(&dns->tick)) {
        timer_start(io_timers(dns->io), &dns->tick, io_now_ms(dns->io) + TICK_MS);
    }
}

static void on_tick(struct timer *timer)
{
    struct dns *dns = CONTAINER_OF(timer, struct dns, tick);
    ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    start_tick(dns);
}

static void drop_watch(struct watch *watch)
{
    list_remove(&watch->node);
    watch->dns->watch_count--;
    free(watch);
}

static void on_ready(struct io_op *op, int result)
{
    struct watch *watch = CONTAINER_OF(op, struct watch, op);
    struct dns *dns = watch->dns;
    if (watch->events == 0) {
        drop_watch(watch);
        return;
    }
    uint32_t events = result < 0 ? 0 : (uint32_t)result;
    bool readable = (events & (POLLIN | POLLERR | POLLHUP)) != 0;
    bool writable = (events & POLLOUT) != 0;
    int fd = watch->fd;
    watch->in_library = true;
    ares_process_fd(dns->channel, readable ? fd : ARES_SOCKET_BAD, writable ? fd : ARES_SOCKET_BAD);
    watch->in_library = false;
    if (watch->events == 0) {
        drop_watch(watch);
    } else if (!io_busy(&watch->op)) { /* else the library wants other events, and it is armed */
        io_poll(dns->io, &watch->op, watch->fd, watch->events);
    }
}

static struct watch *find_watch(const struct dns *dns, int fd)
{
    for (struct list_node *node = list_first(&dns->watches); node != NULL;
         node = list_next(&dns->watches, node)) {
        struct watch *watch = CONTAINER_OF(node, struct watch, node);
        if (watch->fd == fd && watch->events != 0) {
            return watch;
        }
    }
    return NULL;
}

/* The library tells which socket it wants watched for what; neither: it is about to close it. */
static void on_socket_state(void *owner, ares_socket_t fd, int readable, int writable)
{
    struct dns *dns = owner;
    struct watch *watch = find_watch(dns, fd);
    uint32_t events = (readable ? POLLIN : 0u) | (writable ? POLLOUT : 0u);
    if (watch == NULL && events != 0 && dns->watch_count < WATCHES_MAX) {
        watch = calloc(1, sizeof *watch);
        if (watch == NULL) {
            return; /* the query times out */
        }
        watch->dns = dns;
        watch->fd = fd;
        io_op_init(&watch->op, on_ready);
        list_push_back(&dns->watches, &watch->node);
        dns->watch_count++;
    }
    if (watch == NULL || watch->events == events) {
        return;
    }
    watch->events = events;
    if (watch->in_library) {
        return;
    }
    if (io_busy(&watch->op)) {
        io_cancel(dns->io, &watch->op); /* comes home and is armed anew, or dropped */
    } else if (events != 0) {
        io_poll(dns->io, &watch->op, fd, events);
    }
}

/* ---- the cache ---- */

static bool same_cached(const struct map_entry *entry, const void *key)
{
    const struct cached *cached = CONTAINER_OF(entry, struct cached, entry);
    const struct name_key *wanted = key;
    return cached->type == wanted->type &&
           bytes_equal_nocase(bytes_from_string(cached->name), bytes_from_string(wanted->name));
}

static void forget(struct dns *dns, struct cached *cached)
{
    map_remove(&dns->cache, &cached->entry);
    list_remove(&cached->node);
    dns_records_deinit(&cached->records);
    free(cached);
}

static struct cached *find_cached(struct dns *dns, const struct name_key *key)
{
    struct map_entry *entry = map_find(&dns->cache, key_hash(key), same_cached, key);
    if (entry == NULL) {
        return NULL;
    }
    struct cached *cached = CONTAINER_OF(entry, struct cached, entry);
    if (cached->expires_ms <= io_now_ms(dns->io)) {
        forget(dns, cached);
        return NULL;
    }
    return cached;
}

/* How long an answer holds, in the cache and for who asked. */
static uint32_t life_s(enum dns_status status, const struct dns_answer *answer)
{
    uint32_t ttl_s = answer->ttl_s;
    if (status == DNS_FAILED) {
        return 0;
    }
    if (status != DNS_OK) {
        ttl_s = answer->has_ttl ? ttl_s : NEGATIVE_TTL_S;
        ttl_s = ttl_s > NEGATIVE_TTL_MAX_S ? NEGATIVE_TTL_MAX_S : ttl_s;
    }
    ttl_s = ttl_s > TTL_MAX_S ? TTL_MAX_S : ttl_s;
    return ttl_s == 0 ? 1 : ttl_s;
}

/* A view; valid as long as the answer. */
static struct dns_records records_of(struct dns_answer *answer)
{
    return (struct dns_records){
        .is_alias = answer->is_alias,
        .mx_count = answer->mx_count,
        .address_count = answer->address_count,
        .text_count = answer->text_count,
        .mx = answer->mx,
        .addresses = answer->addresses,
        .texts = answer->texts,
    };
}

static void keep(struct dns *dns, const struct name_key *key, enum dns_status status,
                 struct dns_answer *answer)
{
    struct cached *old = find_cached(dns, key);
    if (old != NULL) {
        forget(dns, old);
    }
    size_t len = strlen(key->name);
    struct cached *cached = calloc(1, sizeof *cached + len + 1);
    if (cached == NULL) {
        return;
    }
    memcpy(cached->name, key->name, len);
    cached->type = key->type;
    cached->status = status;
    cached->expires_ms = io_now_ms(dns->io) + (uint64_t)life_s(status, answer) * 1000;
    struct dns_records records = records_of(answer);
    if (!dns_records_copy(&cached->records, &records) ||
        !map_insert(&dns->cache, key_hash(key), &cached->entry)) {
        dns_records_deinit(&cached->records);
        free(cached);
        return;
    }
    list_push_back(&dns->cache_order, &cached->node);
    if (map_count(&dns->cache) > dns->cache_max) {
        forget(dns, CONTAINER_OF(list_first(&dns->cache_order), struct cached, node));
    }
}

/* ---- into a query ---- */

/* A before AAAA or after: a good answer beats none, "try later" beats "there is none". */
static void merge_status(struct dns_query *query, enum dns_status status)
{
    if (query->state == 0 || status == DNS_OK ||
        (query->status != DNS_OK && status == DNS_FAILED)) {
        query->status = status;
    }
    if (query->status == DNS_NOT_FOUND && status == DNS_NO_DATA) {
        query->status = DNS_NO_DATA;
    }
    query->state = 1;
}

static void add_addresses(struct dns_query *query, const struct address *addresses, uint32_t count)
{
    count = count < query->family_max ? count : query->family_max;
    if (count == 0) {
        return;
    }
    struct address *grown =
        realloc(query->addresses, (query->address_count + count) * sizeof *grown);
    if (grown == NULL) {
        return;
    }
    query->addresses = grown;
    memcpy(grown + query->address_count, addresses, count * sizeof *grown);
    query->address_count += count;
}

static void add_mx(struct dns_query *query, const struct dns_mx *mx, uint32_t count)
{
    if (count == 0 || query->mx != NULL) {
        return;
    }
    query->mx = malloc(count * sizeof *mx);
    if (query->mx != NULL) {
        memcpy(query->mx, mx, count * sizeof *mx);
        query->mx_count = count;
    }
}

static void add_texts(struct dns_query *query, const struct bytes *texts, uint32_t count)
{
    if (count == 0 || query->texts != NULL) {
        return;
    }
    query->texts = dns_texts_copy(texts, count);
    query->text_count = query->texts == NULL ? 0 : count;
}

static void on_turn(struct timer *timer)
{
    struct dns_query *query = CONTAINER_OF(timer, struct dns_query, turn);
    query->done(query);
}

/* One of the query's lookups is answered; after the last the query is done, a turn later. */
static void answered(struct dns_query *query)
{
    assert(query->pending > 0);
    if (--query->pending == 0) {
        timer_start(io_timers(query->dns->io), &query->turn, 0);
    }
}

static void give(struct dns_query *query, enum dns_status status, uint32_t ttl_s,
                 const struct dns_records *records)
{
    merge_status(query, status);
    query->is_alias |= records->is_alias;
    query->ttl_s = ttl_s < query->ttl_s ? ttl_s : query->ttl_s;
    add_mx(query, records->mx, records->mx_count);
    add_addresses(query, records->addresses, records->address_count);
    add_texts(query, records->texts, records->text_count);
    answered(query);
}

static void give_cached(struct dns *dns, struct dns_query *query, const struct cached *cached)
{
    uint64_t left_ms = cached->expires_ms - io_now_ms(dns->io);
    give(query, cached->status, (uint32_t)(left_ms / 1000), &cached->records);
}

/* ---- lookups ---- */

static bool same_lookup(const struct map_entry *entry, const void *key)
{
    const struct lookup *lookup = CONTAINER_OF(entry, struct lookup, entry);
    const struct name_key *wanted = key;
    return lookup->type == wanted->type &&
           bytes_equal_nocase(bytes_from_string(lookup->name), bytes_from_string(wanted->name));
}

static enum dns_status status_of(int ares_status, bool broken)
{
    if (broken) {
        return DNS_FAILED;
    }
    if (ares_status == ARES_SUCCESS) {
        return DNS_OK;
    }
    if (ares_status == ARES_ENOTFOUND || ares_status == ARES_EBADNAME) {
        return DNS_NOT_FOUND; /* a name that cannot be asked for cannot exist either */
    }
    return ares_status == ARES_ENODATA ? DNS_NO_DATA : DNS_FAILED;
}

static const char *failure_words(int ares_status, bool broken)
{
    if (broken) {
        return "broken answer";
    }
    /* What the library says where every server was asked and each has refused or failed. */
    return ares_status == ARES_ECONNREFUSED ? "no name server gave an answer"
                                            : ares_strerror(ares_status);
}

static bool has_records(const struct dns_answer *answer)
{
    return answer->mx_count + answer->address_count + answer->text_count > 0;
}

static void give_all(struct lookup *lookup, enum dns_status status, const char *failure,
                     struct dns_answer *answer)
{
    struct dns_records records = records_of(answer);
    struct list_node *node;
    while ((node = list_pop_front(&lookup->waiting)) != NULL) {
        struct waiter *waiter = CONTAINER_OF(node, struct waiter, node);
        if (status == DNS_FAILED) {
            waiter->query->failure = failure;
        }
        give(waiter->query, status, life_s(status, answer), &records);
        free(waiter);
    }
}

static void ask_waiting(struct dns *dns);

static void on_answer(void *owner, int ares_status, int timeouts, unsigned char *message, int len)
{
    (void)timeouts;
    struct lookup *lookup = owner;
    struct dns *dns = lookup->dns;
    struct dns_answer answer = {0};
    bool broken = message != NULL && !dns_answer_parse(message, (size_t)len, lookup->type, &answer);
    enum dns_status status = status_of(ares_status, broken);
    if (status == DNS_OK && !has_records(&answer)) {
        status = DNS_NO_DATA; /* a CNAME without what it points to */
    }
    struct name_key key = {lookup->name, lookup->type};
    if (status == DNS_FAILED) {
        answer = (struct dns_answer){0};
        dns->counts.failures++;
    } else if (!dns->destroying) {
        keep(dns, &key, status, &answer);
    }
    map_remove(&dns->lookups, &lookup->entry);
    give_all(lookup, status, failure_words(ares_status, broken), &answer);
    free(lookup);
    dns->asking_count--;
    ask_waiting(dns);
}

/* The library may answer inside the call, so that on_answer comes back to here: the outermost call
 * goes on for all. */
static void ask_waiting(struct dns *dns)
{
    if (dns->asking || dns->destroying) {
        return;
    }
    dns->asking = true;
    struct list_node *node;
    while (dns->asking_count < ASKING_MAX && (node = list_pop_front(&dns->unasked)) != NULL) {
        struct lookup *lookup = CONTAINER_OF(node, struct lookup, node);
        dns->asking_count++;
        ares_query(dns->channel, lookup->name, 1 /* IN */, (int)lookup->type, on_answer, lookup);
    }
    dns->asking = false;
    start_tick(dns);
}

static struct lookup *start_lookup(struct dns *dns, const struct name_key *key)
{
    struct lookup *lookup = calloc(1, sizeof *lookup);
    if (lookup == NULL) {
        return NULL;
    }
    lookup->dns = dns;
    lookup->type = key->type;
    snprintf(lookup->name, sizeof lookup->name, "%s", key->name);
    list_init(&lookup->waiting);
    if (!map_insert(&dns->lookups, key_hash(key), &lookup->entry)) {
        free(lookup);
        return NULL;
    }
    list_push_back(&dns->unasked, &lookup->node);
    return lookup;
}

static void ask(struct dns_query *query, enum dns_type type)
{
    struct dns *dns = query->dns;
    struct name_key key = {query->name, type};
    dns->counts.queries++;
    query->pending++;
    struct cached *cached = find_cached(dns, &key);
    if (cached != NULL) {
        dns->counts.cache_hits++;
        give_cached(dns, query, cached);
        return;
    }
    struct map_entry *entry = map_find(&dns->lookups, key_hash(&key), same_lookup, &key);
    struct lookup *lookup =
        entry != NULL ? CONTAINER_OF(entry, struct lookup, entry) : start_lookup(dns, &key);
    struct waiter *waiter = lookup == NULL ? NULL : calloc(1, sizeof *waiter);
    if (waiter == NULL) { /* a lookup made for nobody fills the cache */
        query->failure = "too many lookups at once";
        give(query, DNS_FAILED, 0, &(struct dns_records){0});
        return;
    }
    waiter->query = query;
    list_push_back(&lookup->waiting, &waiter->node);
    ask_waiting(dns);
}

static void prepare(struct dns *dns, struct dns_query *query, const char *name)
{
    void (*done)(struct dns_query *) = query->done;
    *query = (struct dns_query){.done = done, .dns = dns, .ttl_s = TTL_MAX_S, .status = DNS_FAILED};
    snprintf(query->name, sizeof query->name, "%s", name);
    timer_init(&query->turn, on_turn);
}

void dns_lookup_mx(struct dns *dns, struct dns_query *query, const char *domain)
{
    prepare(dns, query, domain);
    ask(query, DNS_TYPE_MX);
}

void dns_lookup_addresses(struct dns *dns, struct dns_query *query, const char *host, bool ipv4,
                          bool ipv6)
{
    assert(ipv4 || ipv6);
    prepare(dns, query, host);
    /* Each family has its share: many addresses of the first must not hide the second. */
    query->family_max = ipv4 && ipv6 ? DNS_ADDRESSES_MAX / 2 : DNS_ADDRESSES_MAX;
    query->pending = 1; /* so that a cached first half does not end it */
    if (ipv6) {
        ask(query, DNS_TYPE_AAAA);
    }
    if (ipv4) {
        ask(query, DNS_TYPE_A);
    }
    answered(query);
}

/* RFC 1035 3.5, RFC 3596 2.5: the address from its end, a label per byte or half byte. */
static void name_of_address(const struct address *address, char out[DNS_NAME_MAX])
{
    struct buffer name;
    buffer_init(&name, out, DNS_NAME_MAX - 1);
    bool ipv4 = address->family == ADDRESS_IPV4;
    for (int i = ipv4 ? 3 : 15; i >= 0; i--) {
        unsigned byte = address->ip[i];
        if (ipv4) {
            buffer_printf(&name, "%u.", byte);
        } else {
            buffer_printf(&name, "%x.%x.", byte & 0xF, byte >> 4);
        }
    }
    buffer_put_string(&name, ipv4 ? "in-addr.arpa" : "ip6.arpa");
    out[name.len] = '\0';
}

void dns_lookup_names(struct dns *dns, struct dns_query *query, const struct address *address)
{
    char name[DNS_NAME_MAX];
    assert(address->family != ADDRESS_NONE);
    name_of_address(address, name);
    prepare(dns, query, name);
    ask(query, DNS_TYPE_PTR);
}

void dns_lookup_texts(struct dns *dns, struct dns_query *query, const char *name)
{
    prepare(dns, query, name);
    ask(query, DNS_TYPE_TXT);
}

void dns_query_deinit(struct dns_query *query)
{
    free(query->mx);
    free(query->addresses);
    free(query->texts);
    query->mx = NULL;
    query->addresses = NULL;
    query->texts = NULL;
    query->mx_count = query->address_count = query->text_count = 0;
}

/* ---- life ---- */

static int set_servers(struct dns *dns, const struct dns_options *options)
{
    char csv[4096] = "";
    struct buffer out;
    buffer_init(&out, csv, sizeof csv - 1);
    for (uint32_t i = 0; i < options->server_count; i++) {
        struct address server = options->servers[i];
        char text[ADDRESS_TEXT_MAX];
        server.port = server.port == 0 ? 53 : server.port;
        buffer_printf(&out, "%s%s", i == 0 ? "" : ",", address_port_text(&server, text));
    }
    csv[out.len] = '\0';
    return options->server_count == 0 ? ARES_SUCCESS
                                      : ares_set_servers_ports_csv(dns->channel, csv);
}

struct dns *dns_create(struct io *io, const struct dns_options *options, struct error *error)
{
    struct dns *dns = calloc(1, sizeof *dns);
    if (dns == NULL) {
        error_set(error, ENOMEM, "out of memory");
        return NULL;
    }
    dns->io = io;
    dns->cache_max = options->cache_max == 0 ? CACHE_MAX : options->cache_max;
    map_init(&dns->cache, dns->cache_max + 1);
    map_init(&dns->lookups, LOOKUPS_MAX);
    list_init(&dns->cache_order);
    list_init(&dns->watches);
    list_init(&dns->unasked);
    timer_init(&dns->tick, on_tick);
    static char lookups_by_dns[] = "b"; /* never the hosts file */
    struct ares_options ares = {
        .flags = ARES_FLAG_NOSEARCH, /* and a refusal or SERVFAIL asks the next server */
        .timeout = options->timeout_ms == 0 ? 3000 : (int)options->timeout_ms,
        .tries = options->tries == 0 ? 3 : (int)options->tries,
        .lookups = lookups_by_dns,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = dns,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
               ARES_OPT_SOCK_STATE_CB | ARES_OPT_ROTATE;
    ares_library_init(ARES_LIB_INIT_ALL);
    int result = ares_init_options(&dns->channel, &ares, mask);
    if (result == ARES_SUCCESS) {
        result = set_servers(dns, options);
    }
    if (result != ARES_SUCCESS) {
        error_set(error, result, "resolver: %s", ares_strerror(result));
        map_deinit(&dns->cache);
        map_deinit(&dns->lookups);
        free(dns);
        return NULL;
    }
    return dns;
}

uint32_t dns_clear(struct dns *dns, const char *name)
{
    uint32_t count = 0;
    struct list_node *next;
    for (struct list_node *node = list_first(&dns->cache_order); node != NULL; node = next) {
        next = list_next(&dns->cache_order, node);
        struct cached *cached = CONTAINER_OF(node, struct cached, node);
        if (strcmp(name, "*") == 0 ||
            bytes_equal_nocase(bytes_from_string(cached->name), bytes_from_string(name))) {
            forget(dns, cached);
            count++;
        }
    }
    return count;
}

void dns_counts(const struct dns *dns, struct dns_status_counts *out)
{
    *out = dns->counts;
    out->cached_names = map_count(&dns->cache);
    out->pending = map_count(&dns->lookups);
}

static void drop_lookup(struct dns *dns, struct lookup *lookup)
{
    assert(list_empty(&lookup->waiting));
    map_remove(&dns->lookups, &lookup->entry);
    list_remove(&lookup->node);
    free(lookup);
}

/* The loop has ended: operations of watches are dropped with the ring. */
void dns_destroy(struct dns *dns)
{
    if (dns == NULL) {
        return;
    }
    dns->destroying = true;
    ares_destroy(dns->channel);
    timer_stop(io_timers(dns->io), &dns->tick);
    struct list_node *node;
    while ((node = list_first(&dns->unasked)) != NULL) {
        drop_lookup(dns, CONTAINER_OF(node, struct lookup, node));
    }
    while ((node = list_first(&dns->watches)) != NULL) {
        struct watch *watch = CONTAINER_OF(node, struct watch, node);
        if (io_busy(&watch->op)) {
            io_run(dns->io, 0); /* lets the cancelled operation come home; it drops itself */
        } else {
            drop_watch(watch);
        }
    }
    dns_clear(dns, "*");
    map_deinit(&dns->cache);
    map_deinit(&dns->lookups);
    ares_library_cleanup();
    free(dns);
}
