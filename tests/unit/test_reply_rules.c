/* Which rule of a <smtp-pattern-list> a reply meets, and what it asks for. */
#include "policy/reply_rules.h"

#include "config_files.h"
#include "policy/domain.h"
#include "policy/pattern.h"
#include "test.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct config *config;
static struct pattern_matcher *matcher;
static const struct reply_rules *rules;

/* `lines` is the inside of the list "s". */
static void begin(const char *lines)
{
    char text[4096];
    snprintf(text, sizeof text,
             "<smtp-pattern-list s>\n%s</smtp-pattern-list>\n"
             "<domain *>\nsmtp-pattern-list S\n</domain>\n",
             lines);
    config = load_good(text);
    CHECK(config != NULL);
    matcher = pattern_matcher_create();
    rules = config_domain(config, NULL, text_of("a.example"))->smtp_pattern_list.rules;
    CHECK(rules != NULL);
}

static struct reply_finding find(const char *line)
{
    return reply_rules_find(rules, matcher, text_of(line));
}

static void done(void)
{
    pattern_matcher_destroy(matcher);
    unload(config);
}

/* The actions of a rule alone in its list. */
static struct reply_actions actions_of(const char *actions)
{
    char line[512];
    snprintf(line, sizeof line, "reply /x/ %s\n", actions);
    begin(line);
    struct reply_actions found = rules->rules[0].actions;
    done();
    return found;
}

TEST(the_first_rule_that_matches_is_the_one)
{
    begin("reply /too many/ mode=backoff\nreply /many/ skip-mx\nreply // mode=normal\n");
    CHECK_INT(rules->count, 3);
    CHECK_INT(find("421 4.7.0 Too many messages").rule->rule_index, 0);
    CHECK_INT(find("421 4.7.0 many messages").rule->rule_index, 1);
    CHECK_INT(find("250 2.0.0 ok").rule->rule_index, 2);
    CHECK_INT(find("421 4.7.0 many").rule->origin.line, 3);
    CHECK_BYTES(find("421 4.7.0 many").rule->text, "skip-mx");
    done();
}

TEST(a_reply_that_no_rule_names_has_none)
{
    begin("reply /too many/ mode=backoff\n");
    CHECK(find("550 5.1.1 no such user").rule == NULL);
    CHECK(find("550 5.1.1 no such user").too_costly == NULL);
    CHECK(reply_rules_find(NULL, matcher, text_of("421 too many")).rule == NULL);
    done();
}

TEST(the_code_is_part_of_what_is_matched)
{
    begin("reply /^421 4\\.7\\.0 .*\\[TS/ mode=backoff\n");
    CHECK(find("421 4.7.0 [TSS04] later").rule != NULL);
    CHECK(find("451 4.7.0 [TSS04] later").rule == NULL);
    done();
}

TEST(every_action_has_its_place)
{
    CHECK_INT(actions_of("mode=backoff").mode, REPLY_MODE_BACKOFF);
    CHECK_INT(actions_of("mode=backoff").backoff_ms, REPLY_TIME_NONE);
    CHECK_INT(actions_of("MODE=Normal").mode, REPLY_MODE_NORMAL);
    CHECK_INT(actions_of("skip-mx").mode, REPLY_MODE_STAYS);
    CHECK(actions_of("skip-mx").skip_mx);
    CHECK(actions_of("bounce-queue").bounce_queue);
    CHECK(actions_of("bounce-rcpt").bounce_rcpt);
    CHECK(actions_of("defer-queue").defer_queue);
    CHECK(actions_of("disable-source-ip").disable_source);
    CHECK_INT(actions_of("disable-source-ip").disable_source_ms, REPLY_TIME_NONE);
    CHECK(actions_of("retry-as-told").retry_as_told);
    CHECK_INT(actions_of("mode=backoff,backoff-to-normal-after=2h").backoff_ms, 7200000);
    CHECK(actions_of("mode=backoff backoff-to-normal-after=never").backoff_ms == NEVER);
    struct reply_actions both = actions_of("disable-source-ip,reenable-after=1h bounce-rcpt");
    CHECK_INT(both.disable_source_ms, 3600000);
    CHECK(both.disable_source && both.bounce_rcpt);
}

TEST(a_duration_is_for_all_that_lasts_and_has_no_time_of_its_own)
{
    struct reply_actions actions =
        actions_of("duration=30m mode=backoff skip-mx defer-queue disable-source-ip");
    CHECK_INT(actions.backoff_ms, 1800000);
    CHECK_INT(actions.skip_mx_ms, 1800000);
    CHECK_INT(actions.defer_queue_ms, 1800000);
    CHECK_INT(actions.disable_source_ms, 1800000);
    actions = actions_of("mode=backoff,disable-source-ip,reenable-after=4h,duration=30m");
    CHECK_INT(actions.backoff_ms, 1800000);
    CHECK_INT(actions.disable_source_ms, 14400000);
}

TEST(a_rule_says_how_slow_its_backoff_is)
{
    struct reply_actions actions = actions_of("mode=backoff backoff-max-msg-rate=50%");
    CHECK(actions.has_backoff_rate);
    CHECK_INT(actions.backoff_rate.percent, 50);
    actions = actions_of("mode=backoff backoff-max-msg-rate=100/h");
    CHECK_INT(actions.backoff_rate.percent, 0);
    CHECK_INT(actions.backoff_rate.rate.count, 100);
    CHECK(!actions_of("mode=backoff").has_backoff_rate);
}

TEST(a_trigger_is_a_count_of_matches_in_a_time)
{
    begin("reply /x/ mode=backoff trigger=5/10m\nreply /y/ mode=backoff\n");
    CHECK_INT(rules->rules[0].trigger.count, 5);
    CHECK_INT(rules->rules[0].trigger.window_ms, 600000);
    CHECK_INT(rules->rules[1].trigger.window_ms, 0);
    done();
}

TEST(actions_that_do_not_go_together_are_refused)
{
    static const struct {
        const char *actions, *message;
    } cases[] = {
        {"mode=backoff mode=normal", "2:1: error: mode=backoff and mode=normal exclude"},
        {"skip-mx,bounce-queue", "2:1: error: skip-mx and bounce-queue exclude"},
        {"defer-queue,bounce-queue", "2:1: error: defer-queue and bounce-queue exclude"},
        {"retry-as-told,bounce-queue", "2:1: error: retry-as-told and bounce-queue exclude"},
        {"retry-as-told,bounce-rcpt", "2:1: error: retry-as-told and bounce-rcpt exclude"},
        {"retry-as-told,disable-source-ip", "2:1: error: retry-as-told and disable-source-ip"},
        {"bounce-rcpt,reenable-after=1h", "2:1: error: reenable-after needs disable-source-ip"},
        {"bounce-rcpt duration=1h", "2:1: error: duration needs mode=backoff, skip-mx"},
        {"skip-mx backoff-max-msg-rate=50%", "2:1: error: backoff-max-msg-rate needs mode="},
        {"reenable-after=1h", "2:1: error: reenable-after needs disable-source-ip"},
        {"", "2:1: error: an action is missing, such as mode=backoff"},
        {"trigger=2/1h", "2:1: error: an action is missing"},
        {"mode=sleepy", "2:11: error: 'mode=sleepy': write mode=backoff or mode=normal"},
        {"explode", "2:11: error: 'explode': unknown action"},
        {"skip-mx=yes", "2:11: error: 'skip-mx=yes': this action takes no value"},
        {"mode=backoff duration=soon", "2:24: error: 'duration=soon': write a time"},
        {"mode=backoff duration=0s", "2:24: error: 'duration=0s': write a time"},
        {"mode=backoff trigger=5", "2:24: error: 'trigger=5': write how many matches"},
        {"mode=backoff trigger=unlimited", "2:24: error: 'trigger=unlimited': write how"},
        {"mode=backoff backoff-max-msg-rate=0%", "2:24: error: 'backoff-max-msg-rate=0%': write"},
        {"mode=backoff backoff-max-msg-rate=101%", "2:24: error: 'backoff-max-msg-rate=101%'"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[512];
        snprintf(text, sizeof text, "<smtp-pattern-list s>\nreply /x/ %s\n</smtp-pattern-list>\n",
                 cases[i].actions);
        CHECK(fails_with(text, cases[i].message));
    }
}

TEST(a_time_without_what_it_is_of_is_only_warned_about)
{
    CHECK(warns_with("<smtp-pattern-list s>\nreply /x/ skip-mx backoff-to-normal-after=1h\n"
                     "</smtp-pattern-list>\n",
                     "2:1: warning: backoff-to-normal-after has no effect without mode=backoff"));
}

TEST(lists_are_found_by_name_and_an_empty_name_clears)
{
    config = load_good("<smtp-pattern-list one>\nreply /x/ skip-mx\n</smtp-pattern-list>\n"
                       "<smtp-pattern-list two>\n</smtp-pattern-list>\n"
                       "<domain *>\nsmtp-pattern-list one\n</domain>\n"
                       "<domain b.example>\nsmtp-pattern-list two\n</domain>\n"
                       "<domain c.example>\nsmtp-pattern-list \"\"\n</domain>\n");
    const struct reply_list *list =
        &config_domain(config, NULL, text_of("a.example"))->smtp_pattern_list;
    CHECK_BYTES(list->name, "one");
    CHECK(list->rules == config_reply_rules(config, text_of("ONE")));
    CHECK_INT(list->rules->count, 1);
    list = &config_domain(config, NULL, text_of("b.example"))->smtp_pattern_list;
    CHECK_INT(list->rules->count, 0);
    CHECK(config_domain(config, NULL, text_of("c.example"))->smtp_pattern_list.rules == NULL);
    CHECK(config_reply_rules(config, text_of("three")) == NULL);
    unload(config);
}

TEST(a_share_of_the_normal_rate_is_worked_out)
{
    static const struct {
        const char *normal, *share;
        uint64_t count, window_ms;
    } cases[] = {
        {"100/h", "50%", 50, 3600000}, {"100/h", "200/h", 200, 3600000},   {"3/m", "50%", 1, 60000},
        {"1/m", "10%", 1, 600000},     {"unlimited", "50%", UNLIMITED, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[256];
        snprintf(text, sizeof text,
                 "<domain *>\nmax-msg-rate %s\nbackoff-max-msg-rate %s\n</domain>\n",
                 cases[i].normal, cases[i].share);
        config = load_good(text);
        const struct rate_value *rate =
            &config_domain(config, NULL, text_of("a.example"))->backoff_max_msg_rate.rate;
        CHECK(rate->count == cases[i].count);
        CHECK_INT(rate->window_ms, cases[i].window_ms);
        unload(config);
    }
}

TEST(a_more_special_domain_has_a_share_of_its_own_rate)
{
    config = load_good("<domain *>\nbackoff-max-msg-rate 50%\nmax-msg-rate 10/m\n</domain>\n"
                       "<domain b.example>\nmax-msg-rate 80/m\n</domain>\n");
    CHECK_INT(config_domain(config, NULL, text_of("b.example"))->backoff_max_msg_rate.rate.count,
              40);
    unload(config);
}

TEST(the_wait_that_a_reply_asks_for_is_read)
{
    static const struct {
        const char *text;
        uint64_t seconds;
    } cases[] = {
        {"451 4.7.1 Greylisted, try again in 5 minutes", 300},
        {"450 4.2.0 please come back in 300 seconds", 300},
        {"451 4.7.1 Greylisting in action, please come back in 00:04:59", 299},
        {"451 come back in 1:00:00", 3600},
        {"421 retry in 90s", 90},
        {"421 try after 1 hour.", 3600},
        {"451 Wait 10 min, then retry", 600},
        {"451 wait 2hrs", 7200},
        {"451 4.7.1 wait 15-minutes", 900},
        {"451 4.7.1 wait 5-10 minutes", 600},
        {"451 192.0.2.5 minutes", 0},
        {"451 from host mx5 min", 0},
        {"451 4.2.1 later", 0},
        {"451 at 14:30", 0},
        {"451 in 0 seconds or 7 seconds", 7},
        {"451 in 5 minuets", 0},
        {"451 in 999999999999999999999 hours", 86400},
        {"451 in 00:99999999999999999999:00", 86400},
        {"451 in 5", 0},
        {"5 minutes", 300},
        {"", 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t seconds = reply_wait_ms(text_of(cases[i].text)) / 1000;
        if (seconds != cases[i].seconds) {
            printf("%s\n", cases[i].text);
        }
        CHECK_INT(seconds, cases[i].seconds);
    }
}

TEST(the_wait_is_read_from_where_the_rule_matches)
{
    begin("reply /try again/ retry-as-told\nreply /come back/ mode=backoff\n");
    CHECK_INT(find("421 10 messages in 60 minutes: try again in 5 minutes").wait_ms, 300000);
    CHECK_INT(find("421 try again later").wait_ms, 0);
    CHECK_INT(find("421 come back in 5 minutes").wait_ms, 0);
    done();
}

TEST(c38_a_rule_that_is_too_costly_for_a_reply_ends_the_search)
{
    char line[1024];
    memset(line, 'a', sizeof line);
    memcpy(line, "421 ", 4);
    begin("reply /nothing/ skip-mx\nreply /(a+)+$9|(a+)+b/ mode=backoff\nreply /a/ skip-mx\n");
    line[700] = 'b';
    line[699] = '-';
    struct reply_finding finding = reply_rules_find(rules, matcher, bytes_of(line, sizeof line));
    CHECK(finding.rule == NULL);
    CHECK(finding.too_costly == &rules->rules[1]);
    done();
}
