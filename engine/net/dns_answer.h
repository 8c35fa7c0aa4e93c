/* What a DNS answer says: the records we ask for, with their TTLs. Pure but for names, which
 * c-ares expands (it knows the compression loops). */
#ifndef NET_DNS_ANSWER_H
#define NET_DNS_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/dns.h"

enum dns_type {
    DNS_TYPE_A = 1,
    DNS_TYPE_CNAME = 5,
    DNS_TYPE_SOA = 6,
    DNS_TYPE_MX = 15,
    DNS_TYPE_AAAA = 28
};

struct dns_answer {
    uint32_t ttl_s; /* lowest of the records used; of a negative answer: the SOA's */
    bool is_alias, has_ttl;
    uint32_t mx_count, address_count;
    struct dns_mx mx[DNS_MX_MAX];
    struct address addresses[DNS_ADDRESSES_MAX];
};

/* Reads the records of `type` out of a message. False: broken, a chain of aliases that leads back
 * to itself included. More than the caps: of MX the best preferences are kept, of addresses the
 * first. */
bool dns_answer_parse(const uint8_t *message, size_t len, enum dns_type type,
                      struct dns_answer *out);

#endif
