/* SPF: may this address send mail as this domain? RFC 7208, check_host() without the lookups.
 *
 * Pure: it says what it wants of DNS, one question at a time, and is given the answer. Everything
 * is in the owner's memory; an evaluation ends after a bounded number of questions, whatever the
 * answers. The macros of explanations (exp=) are not looked at. */
#ifndef SMTP_SPF_H
#define SMTP_SPF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "base/bytes.h"

#define SPF_NAME_MAX    256  /* bytes of a domain name with its NUL */
#define SPF_RECORD_MAX  2048 /* of one record; longer ones are a permanent error */
#define SPF_LOOKUPS_MAX 10   /* RFC 7208 4.6.4: terms that cause lookups */
#define SPF_VOIDS_MAX   2    /* … and lookups that find nothing */
#define SPF_HOSTS_MAX   10   /* … and hosts of one mx or ptr */

enum spf_result {
    SPF_NONE, /* no record: nothing is said */
    SPF_NEUTRAL,
    SPF_PASS,
    SPF_FAIL,
    SPF_SOFTFAIL,
    SPF_TEMPERROR, /* DNS failed: ask again later */
    SPF_PERMERROR, /* the records cannot be understood */
};

const char *spf_result_name(enum spf_result result); /* "none", "softfail" … */

enum spf_question {
    SPF_ASK_TEXTS,     /* TXT records of the name */
    SPF_ASK_ADDRESSES, /* its addresses, of the family of `ip` */
    SPF_ASK_ADDRESS,   /* its A records, whatever the family (exists) */
    SPF_ASK_MX,        /* its MX hosts, in any order */
    SPF_ASK_NAMES,     /* the PTR names of `ip`; the name is not used */
    SPF_DONE,
};

enum spf_dns { SPF_DNS_FOUND, SPF_DNS_NOTHING, SPF_DNS_FAILED };

struct spf_answer {
    enum spf_dns status;       /* NOTHING: no such name, or no such record */
    const struct bytes *texts; /* TEXTS: one per record; MX and NAMES: the host names */
    const struct address *addresses;
    size_t text_count, address_count;
};

struct spf_frame { /* one record under evaluation; those below wait for it */
    char domain[SPF_NAME_MAX], record[SPF_RECORD_MAX];
    size_t record_len, term_at, at; /* the term under evaluation, and the next one */
    bool redirected;
};

struct spf {
    enum spf_question question; /* what is wanted now */
    char name[SPF_NAME_MAX];    /* of what */
    enum spf_result result;     /* with SPF_DONE */
    char term[64];              /* the start of the term that decided; "" by default */
    /* private: */
    struct address ip;
    const char *helo, *sender;
    uint32_t lookups, voids, depth;
    bool waiting; /* for the answer to `question`, or done */
    struct spf_frame frames[SPF_LOOKUPS_MAX + 1];
    char hosts[SPF_HOSTS_MAX][SPF_NAME_MAX]; /* of the mx or ptr under evaluation */
    size_t host_count, host_next;
};

/* The first question stands in spf->question, or SPF_DONE. sender: "local@domain", for macros;
 * helo and sender are borrowed until it is done. */
void spf_begin(struct spf *spf, const struct address *ip, const char *domain, const char *helo,
               const char *sender);

/* The answer to spf->question; the next one, or SPF_DONE, stands there afterwards. */
void spf_answer(struct spf *spf, const struct spf_answer *answer);

#endif
