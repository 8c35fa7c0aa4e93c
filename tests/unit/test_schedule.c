#include "test.h"

#include "schedule_world.h"

#define VMTAS                                                                                      \
    "<virtual-mta a>\n smtp-source-host 127.0.0.2 a.example\n</virtual-mta>\n"                     \
    "<virtual-mta b>\n smtp-source-host 127.0.0.3 b.example\n</virtual-mta>\n"

TEST(each_idle_connection_is_offered_mail_once_though_none_takes_it)
{
    begin_world(VMTAS "<domain *>\n max-smtp-out 3\n</domain>\n");
    for (int i = 0; i < 3; i++) {
        arrive("a", "r@one.example");
    }
    run();
    for (uint32_t i = 0; i < 3; i++) {
        establish(i);
    }
    for (uint32_t i = 0; i < 3; i++) {
        answer(i, 250, "2.0.0");
    }
    world.attempts.greedy = false;
    world.attempts.offers = 0;
    arrive("a", "r@one.example");
    run();
    CHECK_INT(world.attempts.offers, 3);
    end_world();
}

TEST(an_idle_connection_gets_mail_though_no_further_one_may_open)
{
    begin_world(VMTAS "<domain *>\n max-smtp-out 3\n</domain>\n");
    struct message *first = arrive("a", "r@one.example");
    run();
    struct site *site = site_of(first);
    establish(0);
    answer(0, 250, "2.0.0");
    CHECK(site == world.attempts.made[0]->site);
    site->hold_opening_ms = world.io.now_ms + 60000;
    world.attempts.greedy = false;
    arrive("a", "r@one.example");
    run(); /* wants a second connection and has to wait */
    CHECK_INT(site->wait, SITE_WAITING_TIME);
    world.attempts.greedy = true;
    arrive("a", "r@one.example");
    run();
    CHECK(world.attempts.made[0]->next != NULL);
    end_world();
}

TEST(messages_of_a_held_log_wait_and_those_of_another_go)
{
    begin_world("<virtual-mta a>\n smtp-source-host 127.0.0.2 a.example\n</virtual-mta>\n"
                "<domain one.example>\n max-smtp-out 1\n</domain>\n");
    world.held_log = 1;
    struct message *held = arrive("a", "held@one.example");
    struct message *free_one = arrive("a", "free@one.example");
    message_set_log_index(held, 1);
    run();
    establish(0);
    CHECK(world.attempts.made[0]->next != NULL);
    CHECK(world.attempts.made[0]->next->rcpts[0] == &free_one->rcpts[0]);
    CHECK_INT(held->rcpts[0].state, RCPT_DEFERRED);
    CHECK_INT(held->rcpts[0].attempts, 0);
    answer(0, 250, "2.0.0");
    pass(9000);
    CHECK(world.attempts.made[0]->next == NULL);
    world.held_log = 0;
    pass(2000);
    CHECK(world.attempts.made[0]->next != NULL);
    CHECK(world.attempts.made[0]->next->rcpts[0] == &held->rcpts[0]);
    answer(0, 250, "2.0.0");
    end_world();
}

TEST(a_wake_goes_on_when_the_woken_site_then_waits_for_something_else)
{
    /* b may have one connection to one domain and two in all. */
    begin_world("<virtual-mta a>\n smtp-source-host 127.0.0.2 a.example\n max-smtp-out 1\n"
                "</virtual-mta>\n"
                "<domain two.example>\n max-connect-rate 1/h\n</domain>\n");
    arrive("a", "r@one.example");
    run();
    CHECK_INT(open_count(), 1);
    struct message *two = arrive("a", "r@two.example"), *three = arrive("a", "r@three.example");
    run();
    CHECK_INT(site_of(two)->wait, SITE_WAITING_GATE);
    CHECK_INT(site_of(three)->wait, SITE_WAITING_GATE);
    CHECK_INT(rate_take(&site_of(two)->connect_rate, world.io.now_ms, 1), 1);
    world.held = false;
    establish(0);
    answer(0, 250, "2.0.0");
    close_attempt(0);
    run();
    CHECK_INT(site_of(two)->wait, SITE_WAITING_TIME);
    CHECK_INT(open_count(), 1); /* three has got the place */
    end_world();
}

/* effect: domain domain-max-smtp-out */
TEST(a_wake_of_one_limit_goes_on_when_its_site_finds_another_one_full)
{
    begin_world("<virtual-mta a>\n smtp-source-host 127.0.0.2 a.example\n max-smtp-out 1\n"
                "</virtual-mta>\n"
                "<virtual-mta b>\n smtp-source-host 127.0.0.3 b.example\n</virtual-mta>\n"
                "<domain full.example>\n domain-max-smtp-out 1\n</domain>\n");
    arrive("a", "r@one.example");
    arrive("b", "r@full.example");
    run();
    CHECK_INT(open_count(), 2);
    struct message *full = arrive("a", "r@full.example"), *other = arrive("a", "r@other.example");
    run();
    CHECK_INT(site_of(full)->wait, SITE_WAITING_GATE);
    establish(0);
    answer(0, 250, "2.0.0");
    close_attempt(0);
    run();
    CHECK(site_of(full)->waits_at == site_of(full)->domain_gate);
    CHECK_INT(site_of(other)->attempt_count, 1);
    end_world();
}

#define TURNS 9

/* One place, three queues that always have more: who opens, connection by connection. */
TEST(queues_that_wait_at_a_full_limit_take_turns)
{
    static const char *const queues[] = {"one.example/a", "two.example/a", "three.example/a"};
    begin_world("<virtual-mta a>\n smtp-source-host 127.0.0.2 a.example\n max-smtp-out 1\n"
                "</virtual-mta>\n<domain *>\n max-smtp-out 1\n</domain>\n");
    for (int round = 0; round < TURNS; round++) {
        arrive("a", "r@one.example");
        arrive("a", "r@two.example");
        arrive("a", "r@three.example");
    }
    run();
    for (uint32_t turn = 0; turn < TURNS; turn++) {
        CHECK_INT(world.attempts.count, turn + 1);
        CHECK_STRING(world.attempts.made[turn]->site->name, queues[turn % 3]);
        world.attempts.greedy = false;
        establish(turn);
        answer(turn, 250, "2.0.0");
        close_attempt(turn);
        run();
    }
    end_world();
}

/* Where the woken one opens, the next is woken to find out whether there is room for it, too. */
TEST(trying_in_vain_does_not_cost_the_turn)
{
    begin_world("<virtual-mta a>\n smtp-source-host 127.0.0.2 a.example\n max-smtp-out 1\n"
                "</virtual-mta>\n");
    arrive("a", "r@one.example");
    arrive("a", "r@two.example");
    arrive("a", "r@three.example");
    arrive("a", "r@four.example");
    run();
    establish(0);
    answer(0, 250, "2.0.0");
    close_attempt(0);
    run();
    CHECK_STRING(world.attempts.made[1]->site->name, "two.example/a");
    establish(1);
    answer(1, 250, "2.0.0");
    close_attempt(1);
    run();
    CHECK_STRING(world.attempts.made[2]->site->name, "three.example/a");
    end_world();
}

TEST(a_higher_maximum_after_a_reload_opens_at_once)
{
    begin_world("<virtual-mta a>\n smtp-source-host 127.0.0.2 a.example\n max-smtp-out 1\n"
                "</virtual-mta>\n");
    arrive("a", "r@one.example");
    arrive("a", "r@two.example");
    run();
    CHECK_INT(open_count(), 1);
    struct config *old = world.config;
    world.config = load_good(VMTAS);
    for (uint32_t i = 0; i < WORKERS; i++) {
        schedule_reload(world.schedulers[i], world.config);
    }
    config_free(old);
    run();
    CHECK_INT(open_count(), 2);
    end_world();
}

TEST(several_connections_that_fail_in_one_round_move_the_retry_clock_once)
{
    begin_world(VMTAS "<domain *>\n max-smtp-out 3\n retry-after 10m,20m,40m\n</domain>\n");
    struct message *message = NULL;
    for (int i = 0; i < 3; i++) {
        message = arrive("a", "r@one.example");
    }
    run();
    CHECK_INT(open_count(), 3);
    struct queue *queue = message->rcpts[0].queue;
    uint64_t begin_ms = world.io.now_ms;
    for (uint32_t i = 0; i < 3; i++) {
        fail_to_open(i);
        pass(5);
    }
    CHECK_INT(world.event_count, 3); /* a tq each */
    CHECK_INT(queue->retry_index, 1);
    CHECK_INT(queue->not_before_ms, begin_ms + 600000);
    CHECK_INT(world.next_attempt_ms[2], world.next_attempt_ms[0]);
    pass(600000);
    CHECK_INT(open_count(), 3);
    CHECK(world.attempts.made[3] != NULL);
    fail_to_open(3);
    CHECK_INT(queue->retry_index, 2);
    end_world();
}

#define MINUTE_MS 60000

/* Nothing opens until the wait is over to the millisecond, and then it does. */
static void check_waits(uint64_t wait_ms)
{
    pass(wait_ms - 1);
    CHECK_INT(open_count(), 0);
    pass(1);
    CHECK_INT(open_count(), 1);
}

/* effect: domain retry-after */
TEST(a_list_of_waits_is_kept_step_by_step_and_begins_anew_after_a_delivery)
{
    begin_world(VMTAS "<domain *>\n max-smtp-out 1\n retry-after 10m,45m\n</domain>\n");
    static const uint64_t waits_min[] = {10, 45, 45};
    uint32_t next = 0;
    arrive("a", "r@one.example");
    arrive("a", "r@one.example");
    run();
    for (size_t i = 0; i < sizeof waits_min / sizeof *waits_min; i++) {
        fail_to_open(next++);
        check_waits(waits_min[i] * MINUTE_MS);
    }
    establish(next);
    answer(next, 250, "2.0.0");
    close_attempt(next++);
    run();
    CHECK_INT(open_count(), 1); /* for the other message */
    fail_to_open(next);
    check_waits(10 * MINUTE_MS);
    end_world();
}

/* effect: domain retry-recipients-after */
TEST(a_deferred_recipient_waits_by_the_same_list_where_it_has_none_of_its_own)
{
    begin_world(VMTAS "<domain *>\n max-smtp-out 1\n retry-after 10m,45m\n</domain>\n"
                      "<domain own.example>\n retry-recipients-after 20m,1h\n</domain>\n");
    static const struct {
        const char *address;
        uint64_t waits_min[3];
    } rows[] = {{"r@one.example", {10, 45, 45}}, {"r@own.example", {20, 60, 60}}};
    uint32_t next = 0;
    for (size_t row = 0; row < 2; row++) {
        arrive("a", rows[row].address);
        run();
        for (size_t i = 0; i < 3; i++) {
            establish(next);
            answer(next, 450, "4.2.0");
            close_attempt(next++);
            check_waits(rows[row].waits_min[i] * MINUTE_MS);
        }
        establish(next);
        answer(next, 250, "2.0.0");
        close_attempt(next++);
        run();
    }
    end_world();
}

TEST(a_queue_that_no_connection_is_strict_enough_for_gets_the_place_of_one)
{
    begin_world(VMTAS "<domain *>\n max-smtp-out 1\n</domain>\n");
    arrive("a", "r@one.example");
    run();
    establish(0);
    arrive_at(0, "a", "r@one.example", TLS_NEED_REQUIRE);
    arrive("a", "r@one.example");
    run();
    CHECK_INT(open_count(), 1);
    CHECK(world.attempts.made[0]->next != NULL); /* what it carries is not touched */
    answer(0, 250, "2.0.0");
    CHECK(world.attempts.made[0]->next == NULL);
    CHECK(world.attempts.made[0]->used_up);
    close_attempt(0);
    run();
    CHECK_INT(open_count(), 1);
    CHECK_INT(world.attempts.made[1]->tls_level, TLS_NEED_REQUIRE);
    establish(1);
    CHECK(world.attempts.made[1]->next != NULL);
    answer(1, 250, "2.0.0"); /* it suits both */
    CHECK(world.attempts.made[1]->next != NULL);
    CHECK(!world.attempts.made[1]->used_up);
    end_world();
}

/* effect: global host-name */
TEST(a_virtual_mta_without_a_name_says_the_host_s)
{
    begin_world("<virtual-mta a>\n smtp-source-host 127.0.0.2\n</virtual-mta>\n");
    struct message *message = arrive("a", "r@one.example");
    CHECK_STRING(site_of(message)->lane->vmta.sources[0].helo_name, "host.example");
    end_world();
}

TEST(queues_are_found_without_case)
{
    begin_world(VMTAS);
    struct message *message = arrive("a", "r@one.example");
    CHECK_INT(schedule_pause(world.schedulers[0], "ONE.Example/A"), 1);
    CHECK(message->rcpts[0].queue->paused);
    end_world();
}

TEST(expired_mail_is_not_taken_and_a_4xx_after_its_time_is_its_bounce)
{
    begin_world(VMTAS "<domain *>\n max-smtp-out 1\n bounce-after 1h\n</domain>\n");
    arrive("a", "r@one.example");
    run();
    establish(0);
    struct message *old = arrive("a", "r@one.example");
    old->accepted_ms = (int64_t)world.io.now_ms - 3600000;
    world.attempts.made[0]->next->message = NULL;
    rcpt_message(world.attempts.made[0]->next->rcpts[0])->accepted_ms = old->accepted_ms;
    answer(0, 450, "4.2.1");
    CHECK(world.attempts.made[0]->next == NULL);
    CHECK_STRING(world.events, "bb"); /* the one on the wire, the one that waited */
    end_world();
}

#define JOINED(rules) VMTAS "<domain x.example>\n max-msg-rate 1/h\n</domain>\n" rules

static void reload(struct config *config)
{
    for (uint32_t i = 0; i < WORKERS; i++) {
        schedule_reload(world.schedulers[i], config);
    }
}

/* The first is still aside when the rules change again. */
TEST(what_arrives_while_others_are_looked_at_is_looked_at_after_the_next_reload)
{
    begin_world(JOINED("<domain one.example>\nqueue-to x.example\n</domain>\n"));
    struct config *other =
        load_good(JOINED("<domain two.example>\nqueue-to x.example\n</domain>\n"));
    struct config *none = load_good(JOINED(""));
    arrive_as_guest("a", "r@two.example", "x.example");
    reload(other);
    struct message *late = arrive_as_guest("a", "r@three.example", "x.example");
    reload(none);
    for (int i = 0; i < 3; i++) {
        run();
    }
    CHECK_INT(world.sent_on_count, 2);
    CHECK(world.sent_on[1] == &late->rcpts[0]);
    CHECK_INT(world.schedulers[0]->rcpt_count, 0);
    end_world();
    unload(other);
    unload(none);
}

TEST(what_is_aside_when_the_rules_change_back_joins_its_queue_again)
{
    begin_world(JOINED(""));
    struct config *here = world.config;
    struct config *there =
        load_good(JOINED("<domain one.example>\nqueue-to x.example\n</domain>\n"));
    arrive("a", "r@one.example");
    reload(there);
    reload(here);
    run();
    CHECK_INT(world.sent_on_count, 0);
    CHECK_INT(open_count(), 1);
    end_world();
    unload(there);
}
