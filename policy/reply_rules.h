/* What a remote host's reply does to a queue, beyond deferring or bouncing: the rules of a
 * <smtp-pattern-list>.
 *
 * Pure: says which rule holds for a reply and what it asks for. Who counts the matches of a rule
 * with a trigger, keeps modes and disabled addresses and moves the clocks is the caller. Rules are
 * immutable, owned by the configuration; any thread, one matcher each. */
#ifndef POLICY_REPLY_RULES_H
#define POLICY_REPLY_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "policy/settings.h"
#include "policy/value.h"

struct config;
struct pattern;
struct pattern_matcher;

#define REPLY_WAIT_MAX_MS (24ull * 3600 * 1000) /* the longest wait taken from a reply */

enum reply_mode { REPLY_MODE_STAYS, REPLY_MODE_BACKOFF, REPLY_MODE_NORMAL };

/* All of them apply. A time of REPLY_TIME_NONE: the rule does not say, the domain's setting holds
 * (backoff-to-normal-after, reenable-source-ip-after) or, where there is none, the retry clock. */
#define REPLY_TIME_NONE 0

struct reply_actions {
    enum reply_mode mode;
    uint64_t backoff_ms; /* of REPLY_MODE_BACKOFF; NEVER: until something else ends it */
    bool has_backoff_rate;
    struct rate_share backoff_rate; /* while this rule's backoff lasts, instead of the domain's; a
                                       share's rate is not set here: it is of the domain's */
    bool skip_mx;                   /* leave this host out, try the next */
    uint64_t skip_mx_ms;
    bool defer_queue; /* as if the connection had failed */
    uint64_t defer_queue_ms;
    bool disable_source; /* no connections of this queue from this address */
    uint64_t disable_source_ms;
    bool bounce_queue;  /* all that waits in it */
    bool bounce_rcpt;   /* a 4xx to RCPT is final */
    bool retry_as_told; /* when the reply says, from the same source address */
};

struct reply_rule {
    const struct pattern *pattern;
    struct reply_actions actions;
    /* The actions apply when so many matches lie within the window, this one included; until then
     * the reply is no other rule's either. Window 0: at each match. */
    struct rate_value trigger;
    uint32_t rule_index;          /* its place in the list: a key for the caller's counts */
    struct bytes text;            /* its actions as written */
    struct setting_origin origin; /* of its line */
    /* private: */
    uint32_t given; /* bits of enum reply_word */
    uint64_t duration_ms;
};

struct reply_rules {
    struct bytes name;
    const struct reply_rule *rules;
    uint32_t count;
};

struct reply_finding {
    const struct reply_rule *rule; /* the first that matches; NULL: none */
    /* With retry_as_told: the wait the reply asks for, from where the rule matches; 0: none. */
    uint64_t wait_ms;
    const struct reply_rule *too_costly; /* the search ended at this one, and found nothing */
};

/* The list of that name, ignoring case. NULL: there is none. */
const struct reply_rules *config_reply_rules(const struct config *config, struct bytes name);

/* `line` is the reply as one line, "421 4.7.0 text" (reply_print). Allocates nothing. NULL rules
 * find nothing. */
struct reply_finding reply_rules_find(const struct reply_rules *rules,
                                      struct pattern_matcher *matcher, struct bytes line);

/* The first time in a text: "5 minutes", "300 seconds", "90s", "1 hour", "00:04:59"; at most
 * REPLY_WAIT_MAX_MS. 0: there is none. */
uint64_t reply_wait_ms(struct bytes text);

/* For the loader. Adds one action, `name` or `name=value`; NULL, or what is wrong with it. */
const char *reply_rule_add(struct reply_rule *rule, struct bytes name, struct bytes value);

/* After the last one: NULL, or what does not go together; *harmless: it only has no effect. */
const char *reply_rule_finish(struct reply_rule *rule, bool *harmless);

#endif
