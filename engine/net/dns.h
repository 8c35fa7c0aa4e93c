/* DNS: MX, address, name and text lookups, asynchronous and cached.
 *
 * One per worker: a c-ares channel polled by the ring, and a cache in front that honours TTLs
 * (1 s – 1 day; negative answers 1 – 300 s; SERVFAIL and timeouts are not kept). Servers take
 * turns; one that fails or refuses hands the question to the next. The simulator has a twin.
 * Answers are copied into the query: they stay valid as long as the query's memory. */
#ifndef NET_DNS_H
#define NET_DNS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/list.h"
#include "io/io.h"

#define DNS_NAME_MAX       256   /* bytes with the terminating NUL */
#define DNS_MX_MAX         32    /* of a larger set the best preferences are kept */
#define DNS_ADDRESSES_MAX  32    /* per host, both families together */
#define DNS_TEXTS_MAX      64    /* of one name: PTR names or TXT records */
#define DNS_TEXT_BYTES_MAX 16384 /* all of them together */

struct dns;

struct dns_options {
    const struct address *servers; /* port 0 = 53; count 0: those of the system */
    uint32_t server_count;
    uint32_t timeout_ms, tries; /* of the first try, and how many per server; 0 = 3000, 3 */
    uint32_t cache_max;         /* entries; 0 = 50,000 */
};

enum dns_status {
    DNS_OK,
    DNS_NOT_FOUND, /* NXDOMAIN */
    DNS_NO_DATA,   /* the name is there, no record of this type */
    DNS_FAILED,    /* SERVFAIL, timeout, refused, broken answer: try later */
};

struct dns_mx {
    char host[DNS_NAME_MAX]; /* "." for the null MX (RFC 7505) */
    uint16_t preference;
};

struct dns_query {
    /* Exactly once, never inside the asking call. A query cannot be taken back: its memory stays
     * until then (a lookup is given up after `tries` waits per server, each round of servers twice
     * as long as the one before). */
    void (*done)(struct dns_query *query);
    enum dns_status status;
    uint32_t ttl_s;
    uint32_t mx_count;
    struct dns_mx *mx; /* dns_mx: owned by the query until dns_query_deinit */
    uint32_t address_count;
    struct address *addresses; /* dns_addresses: likewise; each family as DNS gave it */
    uint32_t text_count;
    struct bytes *texts; /* dns_names, dns_texts: likewise; each with a NUL behind it */
    bool is_alias;       /* the name was a CNAME */
    const char *failure; /* words for DNS_FAILED */
    /* private: */
    struct timer turn;
    struct dns *dns;
    char name[DNS_NAME_MAX];
    uint8_t type, pending, state, family_max;
};

/* Needs the worker's io. */
struct dns *dns_create(struct io *io, const struct dns_options *options, struct error *error);
void dns_destroy(struct dns *dns); /* queries must be home */

void dns_lookup_mx(struct dns *dns, struct dns_query *query, const char *domain);
/* A and AAAA together as wanted (at least one). */
void dns_lookup_addresses(struct dns *dns, struct dns_query *query, const char *host, bool ipv4,
                          bool ipv6);
/* The names of an address (PTR), as texts. */
void dns_lookup_names(struct dns *dns, struct dns_query *query, const struct address *address);
/* TXT records, each with its strings joined. */
void dns_lookup_texts(struct dns *dns, struct dns_query *query, const char *name);
void dns_query_deinit(struct dns_query *query);

/* Forgets a name, or all with "*"; the count. */
uint32_t dns_clear(struct dns *dns, const char *name);

struct dns_status_counts {
    uint64_t queries, cache_hits, failures, cached_names, pending;
};
void dns_counts(const struct dns *dns, struct dns_status_counts *out);

#endif
