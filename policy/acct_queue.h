/* Which queues an accounting file is about: `queue-filter a.com/v1,![*.]b.com/v2`.
 *
 * The first word that holds a queue decides: its records are kept, or with `!` left out. What no
 * word holds is kept only where every word begins with `!`. Pure; any thread. */
#ifndef POLICY_ACCT_QUEUE_H
#define POLICY_ACCT_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "policy/value.h"

#define ACCT_QUEUE_WORDS_MAX 64

struct acct_queue_filter {
    uint32_t count; /* 0: every queue */
    bool keeps_others;
    /* private: */
    struct acct_queue_word {
        enum domain_kind kind;
        bool left_out;
        struct address_range range;
        uint16_t domain_len, vmta_len; /* vmta_len 0: every virtual MTA */
        char domain[VALUE_DOMAIN_LEN_MAX + 1], vmta[VALUE_NAME_LEN_MAX + 1];
    } words[ACCT_QUEUE_WORDS_MAX];
};

/* Keeps nothing of `words`. 0, or -1 with error: which word is none, and the forms there are. */
int acct_queue_filter_parse(const struct string_array *words, struct acct_queue_filter *out,
                            struct error *error);

/* Are records of this queue, "domain/virtual-mta" in A-labels, kept? */
bool acct_queue_filter_keeps(const struct acct_queue_filter *filter, struct bytes queue);

#endif
