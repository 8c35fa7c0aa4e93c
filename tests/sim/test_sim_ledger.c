/* The ledger finds what is wrong, and nothing else. */
#include "../unit/test.h"

#include "sim.h"
#include "sim_ledger.h"

#define RCPT "a@d.example"

/* One offer, accepted for one recipient. */
static struct ledger *accepted(void)
{
    struct ledger *ledger = ledger_create();
    ledger_offer(ledger, "m", 1, 77);
    ledger_recipient(ledger, "m", RCPT);
    ledger_promise(ledger, "m", LEDGER_YES, 5);
    return ledger;
}

static void took(struct ledger *ledger, uint64_t at_us, bool reply_read)
{
    ledger_took(ledger, &(struct ledger_take){.token = "m",
                                              .rcpt = RCPT,
                                              .group = 1,
                                              .body_digest = 77,
                                              .at_us = at_us,
                                              .reply_read = reply_read});
}

static void expect(struct ledger *ledger, const char *words)
{
    const char *seen = ledger_check(ledger);
    if (words == NULL) {
        CHECK(seen == NULL);
    } else {
        CHECK(seen != NULL && strstr(seen, words) != NULL);
    }
    if (test_failed) {
        printf("said: %s\n", seen == NULL ? "(nothing)" : seen);
    }
    ledger_destroy(ledger);
}

TEST(a_message_taken_once_and_recorded_once_is_right)
{
    struct ledger *ledger = accepted();
    CHECK_INT(ledger_open_count(ledger), 1);
    took(ledger, 10, true);
    ledger_outcome(ledger, "m", RCPT, 'd');
    CHECK_INT(ledger_open_count(ledger), 0);
    expect(ledger, NULL);
}

TEST(a_bounce_is_an_end_too)
{
    struct ledger *ledger = accepted();
    ledger_outcome(ledger, "m", RCPT, 'b');
    expect(ledger, NULL);
}

TEST(a_lost_message_is_found)
{
    expect(accepted(), "has 0 outcomes");
}

TEST(two_outcomes_are_found)
{
    struct ledger *ledger = accepted();
    took(ledger, 10, true);
    ledger_outcome(ledger, "m", RCPT, 'd');
    ledger_outcome(ledger, "m", RCPT, 'b');
    expect(ledger, "has 2 outcomes");
}

TEST(a_delivery_that_no_host_saw_is_found)
{
    struct ledger *ledger = accepted();
    ledger_outcome(ledger, "m", RCPT, 'd');
    expect(ledger, "no host took it");
}

TEST(a_bounce_of_what_was_taken_is_found)
{
    struct ledger *ledger = accepted();
    took(ledger, 10, true);
    ledger_outcome(ledger, "m", RCPT, 'b');
    expect(ledger, "a host took it");
}

TEST(a_duplicate_after_a_reply_that_was_read_is_found)
{
    struct ledger *ledger = accepted();
    took(ledger, 10, true);
    took(ledger, 20, true);
    ledger_outcome(ledger, "m", RCPT, 'd');
    expect(ledger, "delivered again");
}

TEST(a_duplicate_after_a_reply_that_was_read_is_found_though_its_own_is_lost)
{
    struct ledger *ledger = accepted();
    took(ledger, 10, true);
    took(ledger, 20, false);
    ledger_outcome(ledger, "m", RCPT, 'd');
    expect(ledger, "delivered again");
}

TEST(a_duplicate_after_a_lost_reply_or_a_crash_is_allowed)
{
    struct ledger *ledger = accepted();
    took(ledger, 10, false);
    took(ledger, SIM_HOUR, true);
    ledger_forget(ledger, SIM_HOUR - SIM_SECOND, SIM_HOUR + SIM_SECOND);
    took(ledger, 2 * SIM_HOUR, true);
    ledger_outcome(ledger, "m", RCPT, 'd');
    expect(ledger, NULL);
}

TEST(a_crash_long_after_excuses_nothing)
{
    struct ledger *ledger = accepted();
    took(ledger, SIM_HOUR, true);
    ledger_forget(ledger, 2 * SIM_HOUR - SIM_SECOND, 2 * SIM_HOUR);
    took(ledger, 3 * SIM_HOUR, true);
    ledger_outcome(ledger, "m", RCPT, 'd');
    expect(ledger, "delivered again");
}

TEST(what_was_refused_must_not_appear)
{
    struct ledger *ledger = accepted();
    ledger_promise(ledger, "m", LEDGER_NO, 5);
    took(ledger, 10, true);
    expect(ledger, "was never accepted");
}

TEST(what_was_refused_late_may_come_back_only_when_storage_failed)
{
    for (int failed = 0; failed < 2; failed++) {
        struct ledger *ledger = accepted();
        ledger_promise(ledger, "m", LEDGER_LATE_NO, SIM_HOUR);
        if (failed) {
            ledger_forget(ledger, SIM_HOUR - SIM_SECOND, SIM_HOUR + SIM_SECOND);
        }
        took(ledger, 3 * SIM_HOUR, true);
        ledger_outcome(ledger, "m", RCPT, 'd');
        expect(ledger, failed ? NULL : "was never accepted");
    }
}

TEST(what_is_unknown_may_be_or_not_be)
{
    for (int outcomes = 0; outcomes < 3; outcomes++) {
        struct ledger *ledger = accepted();
        ledger_promise(ledger, "m", LEDGER_UNKNOWN, 5);
        for (int i = 0; i < outcomes; i++) {
            took(ledger, 10, false);
            ledger_outcome(ledger, "m", RCPT, 'd');
        }
        expect(ledger, outcomes == 2 ? "has 2 outcomes" : NULL);
    }
}

TEST(a_recipient_that_was_refused_must_not_appear)
{
    struct ledger *ledger = accepted();
    took(ledger, 10, true);
    ledger_outcome(ledger, "m", RCPT, 'd');
    ledger_outcome(ledger, "m", "other@d.example", 'b');
    expect(ledger, "other@d.example was never accepted");
}

TEST(a_foreign_source_is_found)
{
    struct ledger *ledger = accepted();
    ledger_took(ledger,
                &(struct ledger_take){
                    .token = "m", .rcpt = RCPT, .group = 2, .body_digest = 77, .at_us = 10});
    expect(ledger, "another virtual MTA");
}

TEST(a_changed_body_is_found)
{
    struct ledger *ledger = accepted();
    ledger_took(ledger,
                &(struct ledger_take){
                    .token = "m", .rcpt = RCPT, .group = 1, .body_digest = 78, .at_us = 10});
    expect(ledger, "another body");
}
