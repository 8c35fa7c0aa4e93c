/* Idle connections give way to who waits for a place behind a full limit. Time stands still unless
 * a test lets it pass: what happens here happens at once. */
#include "test.h"

#include "schedule_world.h"

/* So many connections in all from a; as many to one domain. */
static void begin_with(const char *max)
{
    char configuration[512];
    snprintf(configuration, sizeof configuration,
             "<virtual-mta a>\n smtp-source-host 127.0.0.2 a.example\n max-smtp-out %s\n"
             "</virtual-mta>\n"
             "<virtual-mta b>\n smtp-source-host 127.0.0.3 b.example\n</virtual-mta>\n"
             "<domain *>\n max-smtp-out 10\n</domain>\n"
             "<domain shared.example>\n domain-max-smtp-out 1\n</domain>\n",
             max);
    begin_world(configuration);
}

static void arrive_on(uint32_t worker, const char *address)
{
    arrive_at(worker, "a", address, TLS_NEED_DEFAULT);
}

/* A connection of this worker to this domain that has nothing to do: the n-th that was opened. */
static uint32_t idle_connection(uint32_t worker, const char *vmta, const char *address)
{
    uint32_t n = world.attempts.count;
    arrive_at(worker, vmta, address, TLS_NEED_DEFAULT);
    run();
    CHECK_INT(world.attempts.count, n + 1);
    establish(n);
    answer(n, 250, "2.0.0");
    CHECK(list_linked(&world.attempts.made[n]->idle_node));
    return n;
}

static void idle_connections(uint32_t worker, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char address[64];
        snprintf(address, sizeof address, "r@idle%u.example", i);
        idle_connection(worker, "a", address);
    }
}

/* Mail for so many domains that have no connection. */
static void wait_on(uint32_t worker, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char address[64];
        snprintf(address, sizeof address, "r@waits%u.example", i);
        arrive_on(worker, address);
    }
}

static bool is_quitting(uint32_t n)
{
    return world.attempts.made[n]->quitting;
}

/* ---- one worker ---- */

TEST(an_idle_connection_gives_way_at_once)
{
    begin_with("1");
    uint32_t idle = idle_connection(0, "a", "r@one.example");
    arrive_on(0, "r@two.example");
    run();
    CHECK(is_quitting(idle));
    CHECK_INT(world.attempts.count, 1); /* the place is not free before it is closed */
    close_attempt(idle);
    run();
    CHECK_STRING(world.attempts.made[1]->site->name, "two.example/a");
    end_world();
}

TEST(a_busy_connection_gives_way_when_it_has_nothing_more_to_do)
{
    begin_with("1");
    arrive_on(0, "r@one.example");
    arrive_on(0, "r@one.example");
    run();
    arrive_on(0, "r@two.example");
    run();
    establish(0);
    answer(0, 250, "2.0.0");
    CHECK(world.attempts.made[0]->next != NULL);
    CHECK(!is_quitting(0)); /* it has mail of its own */
    answer(0, 250, "2.0.0");
    CHECK(is_quitting(0));
    end_world();
}

TEST(a_connection_is_kept_for_its_own_queue)
{
    begin_with("1");
    for (int i = 0; i < 3; i++) {
        arrive_on(0, "r@one.example"); /* the second and third would like a connection each */
    }
    run();
    establish(0);
    for (int i = 0; i < 3; i++) {
        answer(0, 250, "2.0.0");
    }
    CHECK(list_linked(&world.attempts.made[0]->idle_node));
    arrive_on(0, "r@one.example");
    run();
    CHECK(world.attempts.made[0]->next != NULL);
    CHECK_INT(world.quit_count, 0);
    end_world();
}

TEST(a_queue_that_has_nothing_left_waits_no_more_in_the_same_turn)
{
    begin_with("1");
    arrive_on(0, "r@one.example");
    arrive_on(0, "r@one.example");
    run();
    establish(0);
    reply_to(0, 250, "2.0.0", "so");
    reply_to(0, 250, "2.0.0", "so"); /* both replies came at once, as with BDAT they may */
    CHECK(list_linked(&world.attempts.made[0]->idle_node));
    end_world();
}

TEST(one_that_is_not_strict_enough_gives_way_to_its_own_queue)
{
    begin_with("1");
    uint32_t idle = idle_connection(0, "a", "r@one.example");
    arrive_at(0, "a", "r@one.example", TLS_NEED_REQUIRE);
    run();
    CHECK(is_quitting(idle));
    end_world();
}

TEST(the_one_that_has_rested_longest_gives_way)
{
    begin_with("3");
    idle_connections(0, 3);
    arrive_on(0, "r@idle0.example"); /* works, and rests again */
    run();
    answer(0, 250, "2.0.0");
    wait_on(0, 1);
    run();
    CHECK(!is_quitting(0));
    CHECK(is_quitting(1));
    CHECK(!is_quitting(2));
    end_world();
}

TEST(as_many_give_way_as_wait)
{
    begin_with("5");
    idle_connections(0, 5);
    wait_on(0, 2);
    run();
    CHECK_INT(world.quit_count, 2);
    pass(1000); /* who waits tries again; the two are on their way */
    pass(1000);
    CHECK_INT(world.quit_count, 2);
    close_attempt(0);
    run();
    CHECK_INT(world.attempts.count, 6);
    close_attempt(1);
    run();
    CHECK_INT(world.attempts.count, 7);
    CHECK_INT(world.quit_count, 2);
    end_world();
}

TEST(it_gives_way_behind_each_limit_it_counts_in)
{
    struct limit_wakes nobody = {0};
    begin_with("10");
    uint32_t of_domain = idle_connection(0, "a", "r@shared.example");
    arrive_at(0, "b", "r@shared.example", TLS_NEED_DEFAULT);
    run();
    CHECK(is_quitting(of_domain));
    close_attempt(of_domain);
    run();
    uint32_t of_total = idle_connection(0, "a", "r@one.example");
    limit_set_max(world.schedulers[0]->total->limit, 2, &nobody);
    arrive_at(0, "b", "r@two.example", TLS_NEED_DEFAULT);
    run();
    CHECK(is_quitting(of_total));
    end_world();
}

TEST(what_is_above_a_lowered_maximum_gives_way_too)
{
    struct limit_wakes nobody = {0};
    begin_with("4");
    idle_connections(0, 4);
    limit_set_max(world.attempts.made[0]->places.gates[GATE_VMTA]->limit, 2, &nobody);
    wait_on(0, 1);
    run();
    CHECK_INT(world.quit_count, 3);
    end_world();
}

/* ---- several workers ---- */

TEST(an_idle_connection_of_another_worker_gives_way)
{
    begin_with("1");
    uint32_t idle = idle_connection(0, "a", "r@one.example");
    arrive_on(1, "r@two.example");
    run();
    CHECK(is_quitting(idle));
    close_attempt(idle);
    run();
    CHECK(world.attempts.made[1]->site->scheduler == world.schedulers[1]);
    end_world();
}

TEST(a_busy_connection_of_another_worker_gives_way_when_it_has_nothing_more_to_do)
{
    begin_with("1");
    arrive_on(0, "r@one.example");
    run();
    arrive_on(1, "r@two.example");
    run();
    establish(0);
    CHECK(!is_quitting(0));
    answer(0, 250, "2.0.0");
    CHECK(is_quitting(0));
    end_world();
}

TEST(own_connections_give_way_before_those_of_others)
{
    begin_with("2");
    idle_connection(0, "a", "r@one.example");
    uint32_t own = idle_connection(1, "a", "r@two.example");
    arrive_on(1, "r@three.example");
    run();
    CHECK(is_quitting(own));
    CHECK_INT(world.quit_count, 1);
    end_world();
}

TEST(a_plea_that_comes_too_late_closes_nothing)
{
    begin_with("1");
    uint32_t idle = idle_connection(0, "a", "r@one.example");
    arrive_on(1, "r@two.example");
    schedule_run(world.schedulers[1]);
    CHECK(!list_empty(&world.letters));
    CHECK_INT(schedule_pause(world.schedulers[1], "two.example/a"), 1);
    schedule_run(world.schedulers[1]);
    run();
    CHECK(!is_quitting(idle));
    CHECK_INT(schedule_resume(world.schedulers[1], "two.example/a"), 1);
    run(); /* and the next one finds it still */
    CHECK(is_quitting(idle));
    end_world();
}

TEST(a_plea_for_several_that_comes_too_late_closes_nothing)
{
    begin_with("3");
    idle_connections(0, 3);
    wait_on(1, 3);
    schedule_run(world.schedulers[1]);
    deliver_letters();
    CHECK_INT(world.quit_count, 1); /* it was sent when the first came */
    deliver_letters();
    CHECK(!list_empty(&world.letters)); /* now for all three */
    schedule_pause(world.schedulers[1], "waits*");
    schedule_run(world.schedulers[1]);
    run();
    CHECK_INT(world.quit_count, 1);
    end_world();
}

TEST(one_plea_is_enough_for_all_who_wait)
{
    begin_with("8");
    idle_connections(0, 8);
    world.letter_count = 0;
    wait_on(1, 5);
    run();
    CHECK_INT(world.quit_count, 5);
    /* One for the first, before the others had come; one for the rest. And home. */
    CHECK(world.letter_count <= 4);
    pass(1000);
    pass(1000);
    CHECK_INT(world.quit_count, 5);
    CHECK(world.letter_count <= 4);
    end_world();
}

TEST(a_worker_without_an_idle_connection_is_asked_once)
{
    begin_with("1");
    idle_connection(0, "a", "r@one.example");
    arrive_on(0, "r@one.example");
    run(); /* it works */
    world.letter_count = 0;
    arrive_on(1, "r@two.example");
    run();
    CHECK_INT(world.letter_count, 2);
    arrive_on(1, "r@three.example");
    run();
    pass(1000);
    CHECK_INT(world.letter_count, 2);
    CHECK_INT(world.quit_count, 0);
    end_world();
}

static uint32_t busy_count(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world.attempts.count; i++) {
        count += world.attempts.made[i] != NULL && world.attempts.made[i]->next != NULL;
    }
    return count;
}

/* Closes one that is quitting, the first or the last; a connection that opens then begins. */
static bool close_one(bool last)
{
    uint32_t count = world.attempts.count, found = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (world.attempts.made[i] != NULL && is_quitting(i) && (last || found == UINT32_MAX)) {
            found = i;
        }
    }
    if (found == UINT32_MAX) {
        return false;
    }
    close_attempt(found);
    run();
    for (uint32_t i = count; i < world.attempts.count; i++) {
        establish(i);
    }
    return true;
}

/* Whoever closes first, all get in one after the other, and none closes that is not wanted. */
TEST(places_go_round_among_workers)
{
    for (uint32_t waiting = 1; waiting <= 4; waiting++) {
        for (int last = 0; last < 2; last++) {
            begin_with("8");
            idle_connections(0, 4);
            idle_connections(1, 4);
            wait_on(0, waiting);
            wait_on(1, waiting);
            run();
            while (close_one(last != 0)) {
                CHECK_INT(open_count(), 8);
            }
            CHECK_INT(busy_count(), 2 * waiting);
            CHECK_INT(world.quit_count, 2 * waiting);
            end_world();
        }
    }
}
