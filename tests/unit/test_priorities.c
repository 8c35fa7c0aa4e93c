/* Queues of a higher priority get places first. Time stands still unless a test lets it pass. */
#include "test.h"

#include "schedule_world.h"

#define PRIORITIES(low)                                                                            \
    "total-max-smtp-out 1\n"                                                                       \
    "<virtual-mta a>\n smtp-source-host 127.0.0.2 a.example\n</virtual-mta>\n"                     \
    "<domain *>\n max-smtp-out 10\n</domain>\n"                                                    \
    "<domain low.example>\n queue-priority 10\n" low "</domain>\n"                                 \
    "<domain high.example>\n queue-priority 90\n</domain>\n"

static void begin(const char *configuration)
{
    begin_world(configuration);
    struct limit_wakes wakes = {0};
    limit_set_max(limits_entry(world.limits, LIMIT_TOTAL, BYTES("smtp-out")), 1, &wakes);
}

static void arrive_on(uint32_t worker, const char *address)
{
    arrive_at(worker, "a", address, TLS_NEED_DEFAULT);
    run();
}

static const char *last_opened(void)
{
    return world.attempts.made[world.attempts.count - 1]->site->name;
}

static void leave(uint32_t n)
{
    close_attempt(n);
    run();
}

/* Takes the only place, with mail left. */
static void low_works(const char *configuration)
{
    begin(configuration);
    for (int i = 0; i < 5; i++) {
        arrive_on(0, "r@low.example");
    }
    establish(0);
    CHECK(world.attempts.made[0]->next != NULL);
}

TEST(who_has_a_higher_priority_is_woken_first_whoever_came_before)
{
    for (uint32_t worker = 0; worker < WORKERS; worker++) {
        begin(PRIORITIES(""));
        arrive_on(0, "r@first.example");
        establish(0);
        arrive_on(0, "r@low.example");
        arrive_on(0, "r@usual.example");
        arrive_on(1, "r@other.example");
        arrive_on(worker, "r@high.example");
        answer(0, 250, "2.0.0");
        leave(0);
        CHECK_STRING(last_opened(), "high.example/a");
        end_world();
    }
}

TEST(the_same_priority_waits_in_turn)
{
    begin(PRIORITIES(""));
    arrive_on(0, "r@first.example");
    establish(0);
    arrive_on(0, "r@one.example");
    arrive_on(0, "r@two.example");
    answer(0, 250, "2.0.0");
    leave(0);
    CHECK_STRING(last_opened(), "one.example/a");
    end_world();
}

TEST(a_connection_of_a_lower_queue_ends_after_its_message)
{
    for (uint32_t worker = 0; worker < WORKERS; worker++) {
        low_works(PRIORITIES(""));
        arrive_on(worker, "r@high.example");
        CHECK(!world.attempts.made[0]->used_up);
        answer(0, 250, "2.0.0");
        CHECK(world.attempts.made[0]->used_up);
        CHECK(world.attempts.made[0]->next == NULL);
        leave(0);
        CHECK_STRING(last_opened(), "high.example/a");
        end_world();
    }
}

TEST(it_goes_on_where_its_queue_does_not_allow_that_or_is_not_lower)
{
    low_works(PRIORITIES(" allow-priority-interruption no\n"));
    arrive_on(0, "r@high.example");
    answer(0, 250, "2.0.0");
    CHECK(world.attempts.made[0]->next != NULL);
    end_world();
    low_works(PRIORITIES(" queue-priority 90\n"));
    arrive_on(0, "r@high.example");
    answer(0, 250, "2.0.0");
    CHECK(world.attempts.made[0]->next != NULL);
    end_world();
}

TEST(no_more_connections_end_than_are_wanted)
{
    begin(PRIORITIES(""));
    struct limit_wakes wakes = {0};
    limit_set_max(limits_entry(world.limits, LIMIT_TOTAL, BYTES("smtp-out")), 3, &wakes);
    for (int i = 0; i < 12; i++) {
        arrive_on(0, "r@low.example");
    }
    CHECK_INT(world.attempts.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        establish(i);
    }
    arrive_on(1, "r@high.example");
    uint32_t ended = 0;
    for (uint32_t i = 0; i < 3; i++) {
        answer(i, 250, "2.0.0");
        ended += world.attempts.made[i]->used_up;
    }
    CHECK_INT(ended, 1);
    end_world();
}

TEST(a_lower_one_gets_what_no_higher_one_wants)
{
    low_works(PRIORITIES(""));
    arrive_on(1, "r@high.example");
    answer(0, 250, "2.0.0");
    leave(0);
    uint32_t high = world.attempts.count - 1;
    CHECK_STRING(last_opened(), "high.example/a");
    establish(high);
    answer(high, 250, "2.0.0"); /* it would rest, but the lower one waits */
    CHECK(world.attempts.made[high]->quitting);
    leave(high);
    CHECK_STRING(last_opened(), "low.example/a");
    end_world();
}
