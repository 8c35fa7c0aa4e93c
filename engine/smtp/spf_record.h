/* The terms of an SPF record, and the macros in their names (RFC 7208 5, 6, 7). For spf.c. */
#ifndef SMTP_SPF_RECORD_H
#define SMTP_SPF_RECORD_H

#include "smtp/spf.h"

enum spf_kind {
    SPF_ALL,
    SPF_INCLUDE,
    SPF_A,
    SPF_MX,
    SPF_PTR,
    SPF_IP4,
    SPF_IP6,
    SPF_EXISTS,
    SPF_REDIRECT,
    SPF_EXPLANATION,
    SPF_OTHER, /* a modifier that nobody knows: of no effect */
};

struct spf_term {
    enum spf_kind kind;
    char qualifier;         /* '+', '-', '~', '?' */
    struct bytes domain;    /* as written, macros in it; empty: the record's own */
    struct address network; /* IP4, IP6: with prefix4 or prefix6 */
    uint8_t prefix4, prefix6;
};

/* The version section alone: is this record one of SPF at all? */
bool spf_record_is(struct bytes text);

/* The next term at or behind *at, which moves behind it. 0: none is left; 1: *out is filled; -1: a
 * syntax error. */
int spf_term_next(struct bytes record, size_t *at, struct spf_term *out);

/* The whole record has terms only, redirect and exp at most once. */
bool spf_record_is_valid(struct bytes record);

/* What the letters of macros stand for. */
struct spf_macros {
    const char *sender, *helo, *domain;
    const struct address *ip;
};

/* The name with its macros expanded, cut from the left to what a name may have. macros NULL: only
 * the syntax is looked at, out is not written. False: a syntax error. */
bool spf_expand(struct bytes name, const struct spf_macros *macros, char out[SPF_NAME_MAX]);

#endif
