/* What the rules of a queue's smtp-pattern-list make of a reply (policy/reply_rules.h): they change
 * the mode of its site, hold or bounce it, leave a host or a source address out.
 *
 * Belongs to outcome.c; one per worker. The same reply for many recipients counts once. */
#ifndef ENGINE_OUTCOME_RULES_H
#define ENGINE_OUTCOME_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/reply_rules.h"
#include "smtp/client.h"
#include "smtp/reply.h"

#define OUTCOME_LINE_MAX (REPLY_TEXT_MAX + 32)

struct attempt;
struct pattern_matcher;
struct site;

struct outcome_rules {
    /* private: */
    struct pattern_matcher *matcher; /* borrowed */
    /* The reply looked at last, and what was found. */
    const struct reply_rules *rules;
    const struct attempt *attempt;
    uint64_t at_ms;
    char line[OUTCOME_LINE_MAX];
    size_t line_len; /* 0: none */
    struct reply_finding finding;
    bool fires;
    bool costly_logged; /* since the configuration was loaded */
};

/* What is left to the caller: about the recipient. */
struct reaction {
    bool bounce_rcpt; /* a 4xx is final */
    uint64_t wait_ms; /* the reply says when to come back; 0: it does not */
};

/* The configuration is another one: nothing of the old is used any more. */
void outcome_rules_reset(struct outcome_rules *rules, struct pattern_matcher *matcher);

/* Finds the rule for a reply that is not positive and does what it says. attempt: where it came,
 * NULL: on no connection. */
struct reaction outcome_react(struct outcome_rules *rules, const struct attempt *attempt,
                              struct site *site, enum client_stage stage,
                              const struct reply *reply);

#endif
