/* What an answer becomes in the record: categories by the rules in force. */
#include "outcome.h"

#include "test.h"

#include "schedule_world.h"

#define RULES "<bounce-category-patterns>\n/so/ %s\n</bounce-category-patterns>\n"

static void begin_with_category(const char *category)
{
    char text[256];
    snprintf(text, sizeof text, RULES, category);
    begin_world(text);
    arrive("{default}", "a@one.example");
    run();
    establish(0);
}

static void reload(const char *category)
{
    char text[256];
    struct config *before = world.config;
    snprintf(text, sizeof text, RULES, category);
    world.config = load_good(text);
    for (uint32_t i = 0; i < WORKERS; i++) {
        schedule_reload(world.schedulers[i], world.config);
        outcomes_reload(world.outcomes[i], world.config);
    }
    config_free(before);
}

TEST(a_bounce_has_the_category_of_the_rule_its_reply_meets)
{
    begin_with_category("mine");
    answer(0, 550, "5.1.1");
    CHECK_INT(world.events[0], EVENT_BOUNCED);
    CHECK_STRING(world.category, "mine");
    CHECK_STRING(world.class, "hard");
    end_world();
}

TEST(a_deferral_has_one_too)
{
    begin_with_category("spam-related");
    answer(0, 451, "4.7.1");
    CHECK_INT(world.events[0], EVENT_TRANSIENT);
    CHECK_STRING(world.category, "spam-related");
    CHECK_STRING(world.class, "block");
    end_world();
}

TEST(a_reply_that_no_rule_knows_goes_by_its_codes)
{
    begin_with_category("mine");
    answer_with(0, 550, "5.2.1", "away");
    CHECK_STRING(world.category, "inactive-mailbox");
    end_world();
}

TEST(the_same_reply_is_sorted_anew_after_a_reload)
{
    begin_with_category("before");
    answer(0, 550, "5.1.1");
    CHECK_STRING(world.category, "before");
    reload("behind");
    arrive("{default}", "b@one.example");
    run();
    answer(0, 550, "5.1.1");
    CHECK_STRING(world.category, "behind");
    end_world();
}

TEST(the_next_reply_is_not_taken_for_the_last)
{
    begin_with_category("mine");
    answer(0, 550, "5.1.1");
    arrive("{default}", "b@one.example");
    run();
    answer_with(0, 550, "5.1.1", "no");
    CHECK_STRING(world.category, "bad-mailbox");
    end_world();
}

TEST(c38_a_reply_that_is_too_costly_to_sort_is_other_and_is_counted)
{
    static char text[REPLY_TEXT_MAX];
    begin_with_category("mine\n/(a+)+$9|(a+)+b/ costly");
    memset(text, 'a', sizeof text - 1);
    memcpy(text + 600, "-b-", 3);
    answer_with(0, 550, "5.1.1", text);
    CHECK_INT(world.events[0], EVENT_BOUNCED);
    CHECK_STRING(world.category, "other");
    uint64_t counted = 0;
    for (uint32_t i = 0; i < WORKERS; i++) {
        counted += world.schedulers[i]->costly_replies;
    }
    CHECK_INT(counted, 1);
    end_world();
}
