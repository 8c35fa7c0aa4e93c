/* Bounce categories: what kind of failure a reply was, for accounting and list hygiene.
 *
 * Pure. The rules of <bounce-category-patterns> decide by the text, the operator's before the
 * program's own (config/bounce-categories.conf); what they do not know goes by the enhanced status
 * code, or by the SMTP code where there is none. */
#ifndef POLICY_BOUNCE_H
#define POLICY_BOUNCE_H

#include <stdbool.h>

#include "base/bytes.h"

struct pattern_matcher;
struct reply;
struct rule;
struct rule_list;

/* The 17 categories that operators' reports know, and the class of each: what list hygiene does.
 * A rule may name any other; its class goes by the reply's codes. */
#define BOUNCE_CATEGORIES(X)                                                                       \
    X("bad-configuration", "technical")                                                            \
    X("bad-connection", "soft")                                                                    \
    X("bad-domain", "hard")                                                                        \
    X("bad-mailbox", "hard")                                                                       \
    X("content-related", "technical")                                                              \
    X("inactive-mailbox", "hard")                                                                  \
    X("invalid-sender", "technical")                                                               \
    X("message-expired", "expired")                                                                \
    X("no-answer-from-host", "soft")                                                               \
    X("other", "soft")                                                                             \
    X("policy-related", "block")                                                                   \
    X("protocol-errors", "technical")                                                              \
    X("quota-issues", "soft")                                                                      \
    X("relaying-issues", "technical")                                                              \
    X("routing-errors", "soft")                                                                    \
    X("spam-related", "block")                                                                     \
    X("virus-related", "block")

/* What a reply may be about. A code alone speaks of the mailbox only in answer to a recipient: a
 * 550 to MAIL, DATA or the greeting is about us, and must not cost an address its place on a list.
 */
enum bounce_about {
    BOUNCE_ABOUT_RECIPIENT, /* RCPT, or the final dot */
    BOUNCE_ABOUT_SESSION,   /* anything else */
};

struct bounce_verdict {
    struct bytes category;   /* lives as long as the rules */
    const char *class;       /* hard, soft, block, technical, expired */
    const struct rule *rule; /* that decided; NULL: the codes did */
    bool too_costly;         /* `rule` was not through when the steps were used up: "other" */
};

/* `rules` is config_rules(…, SCOPE_BOUNCE_PATTERNS, …), or NULL. Allocates nothing. */
struct bounce_verdict bounce_classify(const struct rule_list *rules,
                                      struct pattern_matcher *matcher, const struct reply *reply,
                                      enum bounce_about about);

/* By the codes alone. */
struct bounce_verdict bounce_by_codes(const struct reply *reply, enum bounce_about about);

/* NULL: one of the 17, case ignored, or nothing like it. Else the one it may be misspelt from. */
const char *bounce_category_near(struct bytes category);

/* What rules are matched against: "5.1.1;smtp;550 5.1.1 no such user", cut to out's room. */
void bounce_subject(const struct reply *reply, struct buffer *out);

#endif
