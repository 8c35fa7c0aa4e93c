#include "outcome_rules.h"

#include <stdio.h>
#include <string.h>

#include "attempt.h"
#include "base/logger.h"
#include "policy/pattern.h"
#include "policy/retry.h"
#include "schedule.h"
#include "site.h"
#include "site_mode.h"

#define TOLD_EXTRA_MS  1000   /* beyond the wait a reply asks for: their clock is not ours */
#define TOLD_SOURCE_MS 600000 /* so long after it the same source address is used */

void outcome_rules_reset(struct outcome_rules *rules, struct pattern_matcher *matcher)
{
    *rules = (struct outcome_rules){.matcher = matcher};
}

/* ---- finding ---- */

/* Many recipients share the reply to one final dot; each RCPT has its own. */
static bool is_same_reply(const struct outcome_rules *rules, const struct attempt *attempt,
                          const struct site *site, enum client_stage stage, struct bytes line)
{
    return stage != CLIENT_STAGE_RCPT && attempt != NULL && rules->attempt == attempt &&
           rules->at_ms == io_now_ms(site->scheduler->io) &&
           rules->rules == site->settings->smtp_pattern_list.rules &&
           bytes_equal(line, bytes_of(rules->line, rules->line_len));
}

static void note_costly(struct outcome_rules *rules, const struct site *site)
{
    const struct reply_rule *rule = rules->finding.too_costly;
    site->scheduler->costly_replies++;
    if (!rules->costly_logged) {
        rules->costly_logged = true;
        LOG_WARNING("queue %s: the rule at %s:%u takes too long for a reply of %zu bytes: no rule "
                    "is applied to it (said once, counted in show status)",
                    site->name, rule->origin.file, rule->origin.line, rules->line_len);
    }
}

static void find(struct outcome_rules *rules, const struct attempt *attempt, struct site *site,
                 struct bytes line)
{
    rules->rules = site->settings->smtp_pattern_list.rules;
    rules->attempt = attempt;
    rules->at_ms = io_now_ms(site->scheduler->io);
    memcpy(rules->line, line.data, line.len);
    rules->line_len = line.len;
    rules->finding = reply_rules_find(rules->rules, rules->matcher, line);
    rules->fires =
        rules->finding.rule != NULL &&
        (rules->finding.rule->trigger.window_ms == 0 ||
         schedule_count_match(site, rules->finding.rule->rule_index, rules->finding.rule->trigger));
    if (rules->finding.too_costly != NULL) {
        note_costly(rules, site);
    }
}

/* ---- acting ---- */

static uint64_t or_else(uint64_t time_ms, uint64_t otherwise_ms)
{
    return time_ms == REPLY_TIME_NONE ? otherwise_ms : time_ms;
}

static void change_mode(struct site *site, const struct reply_actions *actions, const char *why)
{
    if (actions->mode == REPLY_MODE_BACKOFF) {
        schedule_enter_backoff(
            site, or_else(actions->backoff_ms, site->settings->backoff_to_normal_after_ms),
            actions->has_backoff_rate ? &actions->backoff_rate : NULL, why);
    } else if (actions->mode == REPLY_MODE_NORMAL) {
        schedule_leave_backoff(site, why);
    }
}

static void leave_out(struct site *site, const struct attempt *attempt,
                      const struct reply_actions *actions, const char *why)
{
    uint64_t retry_ms = retry_interval_ms(site_retry_after(site), 0);
    if (actions->disable_source) {
        schedule_disable_source(
            site, &attempt->source_address,
            or_else(actions->disable_source_ms, site->settings->reenable_source_ip_after_ms), why);
    }
    if (actions->skip_mx) {
        schedule_skip_host(site, &attempt->connection.peer, or_else(actions->skip_mx_ms, retry_ms));
    }
}

static void act(struct site *site, const struct attempt *attempt, const struct reply_finding *found,
                const struct reply *reply, struct bytes line)
{
    const struct reply_rule *rule = found->rule;
    const struct reply_actions *actions = &rule->actions;
    char why[OUTCOME_LINE_MAX + 300];
    snprintf(why, sizeof why, "%s:%u: %.*s", rule->origin.file, rule->origin.line, BYTES_FMT(line));
    change_mode(site, actions, why);
    if (attempt != NULL) {
        leave_out(site, attempt, actions, why);
    }
    if (actions->defer_queue) {
        uint64_t retry_ms = retry_interval_ms(site_retry_after(site), 0);
        schedule_hold_site(site, or_else(actions->defer_queue_ms, retry_ms));
    }
    if (actions->bounce_queue) {
        schedule_bounce_all(site, reply);
    }
    if (found->wait_ms > 0 && attempt != NULL) {
        schedule_stay_with_source(site, &attempt->source_address, found->wait_ms + TOLD_SOURCE_MS);
    }
}

struct reaction outcome_react(struct outcome_rules *rules, const struct attempt *attempt,
                              struct site *site, enum client_stage stage, const struct reply *reply)
{
    struct reaction reaction = {0};
    if (site->settings->smtp_pattern_list.rules == NULL) {
        return reaction;
    }
    char memory[OUTCOME_LINE_MAX];
    struct buffer line;
    buffer_init(&line, memory, sizeof memory);
    reply_print(reply, &line);
    if (!is_same_reply(rules, attempt, site, stage, buffer_bytes(&line))) {
        find(rules, attempt, site, buffer_bytes(&line));
        if (rules->fires) {
            act(site, attempt, &rules->finding, reply, buffer_bytes(&line));
        }
    }
    if (rules->fires) {
        const struct reply_actions *actions = &rules->finding.rule->actions;
        reaction.bounce_rcpt = actions->bounce_rcpt || actions->bounce_queue;
        reaction.wait_ms = rules->finding.wait_ms > 0 ? rules->finding.wait_ms + TOLD_EXTRA_MS : 0;
    }
    return reaction;
}
