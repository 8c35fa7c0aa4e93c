/* The records of one answer, as a value: what the cache keeps and what queries are given.
 *
 * Knows no name, no time and no question. */
#ifndef NET_DNS_RECORDS_H
#define NET_DNS_RECORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/bytes.h"

struct dns_mx;

struct dns_records {
    bool is_alias; /* the name was a CNAME */
    uint32_t mx_count, address_count, text_count;
    struct dns_mx *mx;
    struct address *addresses;
    struct bytes *texts;
};

/* *out is the caller's until deinit. False: no memory, nothing is left behind. */
bool dns_records_copy(struct dns_records *out, const struct dns_records *from);
void dns_records_deinit(struct dns_records *records);

/* One block of memory, from malloc, with the texts behind the array, each with a NUL behind it.
 * NULL: there are none, or no memory. */
struct bytes *dns_texts_copy(const struct bytes *texts, uint32_t count);

#endif
