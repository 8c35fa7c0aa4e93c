/* Lists of rules, first match first: pattern lists, replies, bounce categories, roll-ups, rewrites.
 *
 * Holds what the lists say, checked and compiled; does not match. Immutable, owned by the
 * configuration. */
#ifndef POLICY_RULES_H
#define POLICY_RULES_H

#include "policy/config.h"
#include "policy/directive.h"

#define RULES_NESTED_MAX 16 /* <pattern-list> in <pattern-list> */
#define RULE_ACTIONS_MAX 16 /* actions of one rule */

enum rule_keyword {
    RULE_HEADER,    /* subject: the header's name */
    RULE_MAIL_FROM, /* in <rewrite-list> subject and result are addresses */
    RULE_RCPT_TO,
    RULE_ALWAYS,      /* `*` */
    RULE_REPLY,       /* its actions are in policy/reply_rules.h */
    RULE_CATEGORY,    /* a line of <bounce-category-patterns>: one action, the category */
    RULE_MX,          /* subject: host or *.domain; actions: NAME.rollup and rollup-by-ip */
    RULE_FROM_DOMAIN, /* subject: a domain; one action: the new one */
};

/* What a rule says is done: `name=value`, or a word alone. */
struct rule_action {
    struct bytes name, value; /* value is empty where there is none */
};

struct reply_rule; /* policy/reply_rules.h */

struct rule {
    enum rule_keyword keyword;
    struct bytes subject;
    const struct pattern *pattern; /* NULL: none */
    const struct rule_action *actions;
    size_t action_count;
    const struct rule_list *nested; /* instead of actions; NULL: none */
    const struct reply_rule *reply; /* of RULE_REPLY */
    struct setting_origin origin;
    /* private: */
    struct rule *next;
};

struct rule_list {
    struct bytes name; /* empty: the lists without a name */
    const struct rule *rules;
    size_t count;
};

/* The list of that scope (SCOPE_PATTERN_LIST …) and name; lists without a name are one per scope,
 * their blocks joined in file order. NULL: there is none. */
const struct rule_list *config_rules(const struct config *config, enum directive_scope scope,
                                     struct bytes name);

#endif
