#include "policy/pattern_list.h"

#include "policy/pattern.h"
#include "policy/rules.h"

/* A walk through a list and those that it calls. */
struct walk {
    const struct config *config;
    struct pattern_matcher *matcher;
    const struct pattern_list_message *message;
    uint32_t looks_left, depth;
};

static const struct rule_list *called_by(const struct config *config, const struct rule *rule)
{
    if (rule->nested != NULL) {
        return rule->nested;
    }
    for (size_t i = 0; i < rule->action_count; i++) {
        if (bytes_equal_nocase(rule->actions[i].name, BYTES("call-to"))) {
            return config_rules(config, SCOPE_PATTERN_LIST, rule->actions[i].value);
        }
    }
    return NULL;
}

/* ---- wanted headers ---- */

static bool wants(struct walk *walk, const struct rule_list *list, struct bytes header)
{
    bool found = false;
    walk->depth++;
    for (size_t i = 0; i < list->count && !found && walk->looks_left > 0; i++) {
        const struct rule *rule = &list->rules[i];
        walk->looks_left--;
        found = rule->keyword == RULE_HEADER && bytes_equal_nocase(rule->subject, header);
        const struct rule_list *called = called_by(walk->config, rule);
        if (!found && called != NULL && walk->depth < PATTERN_LIST_DEPTH_MAX) {
            found = wants(walk, called, header);
        }
    }
    walk->depth--;
    return found;
}

bool pattern_list_wants(const struct config *config, const struct rule_list *list,
                        struct bytes header)
{
    struct walk walk = {.config = config, .looks_left = PATTERN_LIST_LOOKS_MAX};
    return wants(&walk, list, header);
}

/* ---- choosing ---- */

static bool matches(struct walk *walk, const struct rule *rule, struct bytes subject)
{
    if (walk->looks_left == 0) {
        return false;
    }
    walk->looks_left--;
    pattern_subject(walk->matcher, subject);
    return pattern_match(walk->matcher, rule->pattern) == PATTERN_MATCH;
}

static bool header_matches(struct walk *walk, const struct rule *rule)
{
    const struct pattern_list_message *message = walk->message;
    size_t cursor = 0;
    struct bytes name, value;
    while (message->next_header(message->owner, &cursor, &name, &value)) {
        if (bytes_equal_nocase(name, rule->subject) && matches(walk, rule, value)) {
            return true;
        }
    }
    return false;
}

static bool rcpt_matches(struct walk *walk, const struct rule *rule)
{
    const struct pattern_list_message *message = walk->message;
    size_t cursor = 0;
    struct bytes address;
    while (message->next_rcpt(message->owner, &cursor, &address)) {
        if (matches(walk, rule, address)) {
            return true;
        }
    }
    return false;
}

static bool rule_matches(struct walk *walk, const struct rule *rule)
{
    switch (rule->keyword) {
    case RULE_HEADER:
        return header_matches(walk, rule);
    case RULE_MAIL_FROM:
        return matches(walk, rule, walk->message->sender);
    case RULE_RCPT_TO:
        return rcpt_matches(walk, rule);
    case RULE_ALWAYS:
        return true;
    case RULE_REPLY:
    case RULE_CATEGORY:
    case RULE_MX:
    case RULE_FROM_DOMAIN:
        break;
    }
    return false;
}

static struct bytes named_by(const struct rule *rule)
{
    for (size_t i = 0; i < rule->action_count; i++) {
        if (bytes_equal_nocase(rule->actions[i].name, BYTES("virtual-mta"))) {
            return rule->actions[i].value;
        }
    }
    return BYTES("");
}

static struct bytes choose(struct walk *walk, const struct rule_list *list)
{
    struct bytes name = BYTES("");
    walk->depth++;
    for (size_t i = 0; i < list->count && name.len == 0 && walk->looks_left > 0; i++) {
        const struct rule *rule = &list->rules[i];
        walk->looks_left--;
        if (!rule_matches(walk, rule)) {
            continue;
        }
        name = named_by(rule);
        const struct rule_list *called = called_by(walk->config, rule);
        if (name.len == 0 && called != NULL && walk->depth < PATTERN_LIST_DEPTH_MAX) {
            name = choose(walk, called);
        }
    }
    walk->depth--;
    return name;
}

struct bytes pattern_list_choose(const struct config *config, const struct rule_list *list,
                                 struct pattern_matcher *matcher,
                                 const struct pattern_list_message *message)
{
    struct walk walk = {.config = config,
                        .matcher = matcher,
                        .message = message,
                        .looks_left = PATTERN_LIST_LOOKS_MAX};
    return choose(&walk, list);
}
