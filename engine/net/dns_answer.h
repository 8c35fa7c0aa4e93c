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
    DNS_TYPE_PTR = 12,
    DNS_TYPE_MX = 15,
    DNS_TYPE_TXT = 16,
    DNS_TYPE_AAAA = 28
};

struct dns_answer {
    uint32_t ttl_s; /* lowest of the records used; of a negative answer: the SOA's */
    bool is_alias, has_ttl;
    uint32_t mx_count, address_count, text_count, text_bytes;
    struct dns_mx mx[DNS_MX_MAX];
    struct address addresses[DNS_ADDRESSES_MAX];
    struct bytes texts[DNS_TEXTS_MAX]; /* in text_memory: the answer may not be moved */
    char text_memory[DNS_TEXT_BYTES_MAX];
};

/* Reads the records of `type` out of a message. False: broken, a chain of aliases that leads back
 * to itself included. More than the caps: of MX the best preferences are kept, of addresses and
 * texts the first. A PTR's name and the joined strings of a TXT are texts. */
bool dns_answer_parse(const uint8_t *message, size_t len, enum dns_type type,
                      struct dns_answer *out);

#endif
