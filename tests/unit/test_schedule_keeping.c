/* What of sites and queues survives a kill: rates and retry clocks, as named states. */
#include "test.h"

#include "base/rng.h"
#include "rate_state.h"
#include "schedule_world.h"

#define VMTAS                                                                                      \
    "<virtual-mta a>\n smtp-source-host 127.0.0.2 a.example\n</virtual-mta>\n"                     \
    "<virtual-mta b>\n smtp-source-host 127.0.0.3 b.example\n</virtual-mta>\n"
#define RATED(rate) VMTAS "<domain *>\n max-smtp-out 1\n " rate "\n</domain>\n"
#define MESSAGES    "rate:message:one.example/a"
#define CONNECTIONS "rate:connect:one.example/a"
#define CLOCK       "clock:1:one.example/a"
#define MINUTE_MS   60000

static uint32_t take(struct site *site, uint32_t want)
{
    uint64_t again_ms;
    uint32_t granted =
        schedule_take_rate(site->scheduler, &(struct attempt){.site = site}, want, &again_ms);
    CHECK(granted > 0 || again_ms > world.io.now_ms);
    return granted;
}

/* With supply: as many as it gets while blocks are written. */
static uint32_t take_all(struct site *site, uint32_t want)
{
    uint32_t sum = 0;
    for (int round = 0; round < 20 && sum < want; round++) {
        sum += take(site, want - sum);
        run();
    }
    return sum;
}

static uint32_t states_on_disk(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < stored.count; i++) {
        count += stored.states[i].value[0] != '\0';
    }
    return count;
}

/* All mail of the n-th connection is delivered and the connection closes. */
static void deliver_and_close(uint32_t n)
{
    establish(n);
    answer(n, 250, "2.0.0");
    close_attempt(n);
    run();
}

/* ---- rates ------------------------------------------------------------------------------ */

TEST(no_connection_opens_before_the_first_block_is_stable)
{
    begin_world(RATED("max-msg-rate 5/m"));
    world.writes_held = true;
    struct message *message = arrive("a", "r@one.example");
    run();
    CHECK_INT(open_count(), 0);
    CHECK_INT(world.write_count, 1);
    CHECK_INT(take(site_of(message), 1), 0);
    pass(MINUTE_MS);
    CHECK_INT(open_count(), 0);
    CHECK_INT(world.write_count, 1); /* one under way, however long */
    world.writes_held = false;
    run();
    CHECK_INT(open_count(), 1);
    CHECK_INT(take(site_of(message), 1), 1);
    end_world();
}

TEST(rates_of_less_than_a_minute_write_nothing)
{
    begin_world(RATED("max-msg-rate 5/59s\n max-connect-rate 100/s"));
    struct message *message = arrive("a", "r@one.example");
    run();
    CHECK_INT(open_count(), 1);
    CHECK_INT(take(site_of(message), 9), 5);
    CHECK(site_of(message)->keeping == NULL);
    CHECK_INT(world.stable_count + world.write_count, 0);
    end_world();
}

TEST(starts_before_a_kill_count_after_it_on_whichever_worker)
{
    for (uint32_t owner = 0; owner < WORKERS; owner++) {
        begin_world(RATED("max-msg-rate 5/m"));
        struct message *message = arrive("a", "r@one.example");
        run();
        CHECK_INT(take_all(site_of(message), 9), 5);
        uint64_t began_ms = world.io.now_ms;
        begin_life(RATED("max-msg-rate 5/m"), 20000, owner);
        message = arrive_at(owner, "a", "r@one.example", TLS_NEED_DEFAULT);
        run();
        CHECK_INT(open_count(), 0);
        CHECK_INT(take_all(site_of(message), 9), 0);
        pass(began_ms + MINUTE_MS - world.io.now_ms);
        CHECK_INT(open_count(), 0);
        pass(20001); /* what was reserved may have been used just before the kill */
        CHECK_INT(open_count(), 1);
        CHECK_INT(take_all(site_of(message), 9), 5);
        end_world();
    }
}

/* effect: domain max-connect-rate */
TEST(connections_before_a_kill_count_after_it)
{
    begin_world(RATED("max-connect-rate 1/h"));
    arrive("a", "r@one.example");
    run();
    CHECK_INT(open_count(), 1);
    begin_life(RATED("max-connect-rate 1/h"), 1000, 1);
    arrive_at(1, "a", "r@one.example", TLS_NEED_DEFAULT);
    run();
    pass(59 * MINUTE_MS);
    CHECK_INT(open_count(), 0);
    pass(2 * MINUTE_MS);
    CHECK_INT(open_count(), 1);
    end_world();
}

TEST(short_windows_begin_full_after_a_restart_and_not_on_a_fresh_spool)
{
    begin_world(RATED("max-msg-rate 5/10s\n domain-max-msg-rate 7/20s"));
    struct message *message = arrive("a", "r@one.example");
    run();
    CHECK_INT(take(site_of(message), 9), 5);
    begin_life(RATED("max-msg-rate 5/10s\n domain-max-msg-rate 7/20s"), 100, 0);
    message = arrive("a", "r@one.example");
    struct message *late = arrive("b", "r@two.example");
    run();
    CHECK_INT(open_count(), 0);
    pass(10001);
    CHECK_INT(open_count(), 0); /* the domain's: 20 s */
    pass(10000);
    CHECK_INT(open_count(), 2);
    CHECK_INT(take(site_of(message), 9), 5);
    CHECK_INT(take(site_of(late), 9), 5);
    struct message *new_site = arrive("a", "r@three.example"); /* long after the start */
    run();
    CHECK_INT(take(site_of(new_site), 9), 5);
    end_world();
}

TEST(a_domain_s_rate_is_one_for_all_workers_and_survives)
{
    begin_world(RATED("domain-max-msg-rate 6/m"));
    struct message *here = arrive("a", "r@one.example");
    struct message *there = arrive_at(1, "b", "r@one.example", TLS_NEED_DEFAULT);
    run();
    pass(1000);
    CHECK_INT(open_count(), 2);
    uint32_t taken = take_all(site_of(here), 2);
    taken += take_all(site_of(there), 9);
    CHECK_INT(taken, 6);
    begin_life(RATED("domain-max-msg-rate 6/m"), 1000, 1);
    here = arrive("a", "r@one.example");
    run();
    CHECK_INT(take_all(site_of(here), 9), 0);
    pass(MINUTE_MS + 1);
    CHECK_INT(take_all(site_of(here), 9), 6);
    end_world();
}

TEST(an_empty_site_goes_and_its_state_with_it_when_its_starts_are_forgotten)
{
    begin_world(RATED("max-msg-rate 5/m\n max-connect-rate 100/h"));
    struct site *site = site_of(arrive("a", "r@one.example"));
    run();
    CHECK_INT(take(site, 1), 1);
    deliver_and_close(0);
    CHECK_INT(map_count(&world.schedulers[0]->sites), 1);
    CHECK_INT(site->wait, SITE_KEPT);
    CHECK_INT(states_on_disk(), 2);
    pass(MINUTE_MS + 1);
    CHECK_INT(map_count(&world.schedulers[0]->sites), 1); /* the connection's hour */
    pass(60 * MINUTE_MS);
    CHECK_INT(map_count(&world.schedulers[0]->sites), 0);
    CHECK_INT(states_on_disk(), 0);
    end_world();
}

TEST(a_site_that_gets_mail_while_its_state_is_deleted_waits_for_a_new_block)
{
    begin_world(RATED("max-msg-rate 5/m"));
    struct message *message = arrive("a", "r@one.example");
    run();
    CHECK_INT(take(site_of(message), 1), 1);
    deliver_and_close(0);
    world.writes_held = true;
    pass(MINUTE_MS + 1);
    CHECK_INT(world.write_count, 1); /* the deletion */
    message = arrive("a", "r@one.example");
    run();
    CHECK_INT(open_count(), 0);
    CHECK_INT(take(site_of(message), 1), 0);
    world.writes_held = false;
    run();
    CHECK_INT(open_count(), 1);
    CHECK(value_of(MESSAGES)[0] != '\0');
    end_world();
}

TEST(states_of_sites_without_mail_are_found_kept_and_dropped)
{
    begin_world(RATED("max-msg-rate 5/m"));
    struct message *message = arrive("a", "r@one.example");
    run();
    CHECK_INT(take(site_of(message), 1), 1);
    begin_life(RATED("max-msg-rate 5/m"), 30000, 1);
    run();
    CHECK_INT(map_count(&world.schedulers[1]->sites), 1);
    pass(MINUTE_MS + 1);
    CHECK_INT(map_count(&world.schedulers[1]->sites), 0);
    CHECK_INT(states_on_disk(), 0);
    end_world();
}

TEST(states_of_what_is_no_longer_configured_are_dropped)
{
    begin_world(RATED("max-msg-rate 5/m\n domain-max-msg-rate 50/m"));
    struct message *message = arrive("b", "r@one.example");
    run();
    pass(200);
    CHECK_INT(take(site_of(message), 1), 1);
    CHECK_INT(states_on_disk(), 2);
    begin_life("<virtual-mta a>\n smtp-source-host 127.0.0.2 a.example\n</virtual-mta>\n", 100, 0);
    run();
    CHECK_INT(map_count(&world.schedulers[0]->sites), 0); /* unlimited now */
    pass(MINUTE_MS + 2000);
    CHECK_INT(states_on_disk(), 0);
    end_world();
}

TEST(a_state_that_cannot_be_read_costs_nothing_else)
{
    static const char *const values[] = {"",
                                         "5",
                                         "5 60000",
                                         "x 60000 ",
                                         "5 60000 1 1",
                                         "5 60000 99999999999999999999 1 ",
                                         "5 0 1 1 ",
                                         "5 60000 1 x ",
                                         "5 60000 1 "};
    struct rate_found found;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        CHECK(!rate_state_parse(bytes_from_string(values[i]), &found));
    }
    CHECK(rate_state_parse(BYTES("5 60000 7 1 9223372036854775807 2 "), &found));
    CHECK_INT(found.count, 2);
    CHECK(found.marks[0].wall_ms == 7 && found.marks[1].wall_ms == INT64_MAX);
    static const char *const foreign[] = {"pause:*/*",   "acct:x",  "rate:message:nobody",
                                          "clock:9:a/b", "clock:1", "rate:connect:"};
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        struct bytes site;
        CHECK(!schedule_state_site(bytes_from_string(foreign[i]), &site));
    }
    begin_world(RATED("max-msg-rate 5/m"));
    snprintf(state_of(MESSAGES)->value, 100, "nonsense");
    snprintf(state_of(CLOCK)->value, 100, "1");
    begin_life(RATED("max-msg-rate 5/m"), 100, 0);
    struct message *message = arrive("a", "r@one.example");
    run();
    CHECK_INT(take(site_of(message), 1), 1);
    end_world();
}

TEST(a_reload_makes_a_rate_kept_and_lets_it_go_again)
{
    begin_world(RATED("max-msg-rate 5/10s"));
    struct message *message = arrive("a", "r@one.example");
    run();
    CHECK_INT(take(site_of(message), 2), 2);
    struct config *long_window = load_good(RATED("max-msg-rate 5/m"));
    struct config *unlimited = load_good(RATED(""));
    schedule_reload(world.schedulers[0], long_window);
    run();
    CHECK_INT(take_all(site_of(message), 9), 3);
    CHECK(value_of(MESSAGES)[0] != '\0');
    schedule_reload(world.schedulers[0], unlimited);
    CHECK_INT(take(site_of(message), 9), 9);
    deliver_and_close(0);
    pass(1);
    CHECK_INT(map_count(&world.schedulers[0]->sites), 0);
    CHECK_INT(states_on_disk(), 0);
    end_world();
    unload(long_window);
    unload(unlimited);
}

/* ---- retry clocks ----------------------------------------------------------------------- */

#define RETRIED VMTAS "<domain *>\n max-smtp-out 1\n retry-after 10m,20m,40m\n</domain>\n"

TEST(the_retry_clock_goes_on_after_a_kill_where_it_was)
{
    begin_world(RETRIED);
    arrive("a", "r@one.example");
    run();
    fail_to_open(0);
    pass(10 * MINUTE_MS);
    fail_to_open(1); /* now 20 minutes */
    pass(1000);
    begin_life(RETRIED, 5 * MINUTE_MS, 1);
    struct message *message = arrive_at(1, "a", "r@one.example", TLS_NEED_DEFAULT);
    run();
    CHECK_INT(message->rcpts[0].queue->retry_index, 2);
    CHECK_INT(open_count(), 0);
    pass(15 * MINUTE_MS - 1001);
    CHECK_INT(open_count(), 0);
    pass(1);
    CHECK_INT(open_count(), 1);
    fail_to_open(0);
    CHECK_INT(message->rcpts[0].queue->not_before_ms, world.io.now_ms + 40 * MINUTE_MS);
    end_world();
}

TEST(the_retry_clock_is_written_once_a_second_and_gone_when_reset)
{
    begin_world(RETRIED);
    arrive("a", "r@one.example");
    struct queue *queue = arrive("a", "r@one.example")->rcpts[0].queue;
    run();
    fail_to_open(0);
    CHECK_INT(world.stable_count, 0);
    schedule_retry_now(world.schedulers[0], "*");
    run();
    fail_to_open(1); /* in the same second */
    pass(1000);
    CHECK_INT(world.stable_count, 1);
    CHECK(strncmp(value_of(CLOCK), "2 ", 2) == 0);
    pass(5 * MINUTE_MS);
    CHECK_INT(world.stable_count, 1);
    schedule_retry_now(world.schedulers[0], "*");
    pass(1000);
    CHECK_STRING(value_of(CLOCK), "2 0");
    establish(2);
    answer(2, 250, "2.0.0");
    CHECK_INT(queue->retry_index, 0);
    pass(1000);
    CHECK_STRING(value_of(CLOCK), "");
    end_world();
}

TEST(a_queue_that_never_failed_writes_no_clock)
{
    begin_world(RETRIED);
    struct message *message = arrive("a", "r@one.example");
    run();
    struct queue *queue = message->rcpts[0].queue;
    establish(0);
    answer(0, 250, "2.0.0");
    pass(5000);
    CHECK(queue->clock == NULL);
    CHECK_INT(world.stable_count + world.write_count, 0);
    end_world();
}

TEST(the_clock_of_a_queue_that_is_gone_goes_with_it)
{
    begin_world(RETRIED);
    arrive("a", "r@one.example");
    run();
    fail_to_open(0);
    pass(1000);
    CHECK_INT(states_on_disk(), 1);
    begin_life(RETRIED, 1000, 0); /* its mail is not found again */
    run();
    CHECK_INT(map_count(&world.schedulers[0]->sites), 0);
    CHECK_INT(states_on_disk(), 0);
    end_world();
}

/* ---- over any number of kills ----------------------------------------------------------- */

#define STARTS_MAX 20000

static struct {
    uint64_t at_ms[STARTS_MAX];
    uint32_t count;
} starts;

static uint32_t worst(uint64_t window_ms)
{
    uint32_t most = 0, first = 0;
    for (uint32_t i = 0; i < starts.count; i++) {
        while (starts.at_ms[i] - starts.at_ms[first] > window_ms) {
            first++;
        }
        most = i - first + 1 > most ? i - first + 1 : most;
    }
    return most;
}

/* Takes at random from two sites of the domain, whose rate is what counts. */
TEST(no_window_holds_more_than_n_over_kills_and_owners)
{
    struct rng rng;
    rng_init(&rng, 1);
    for (int round = 0; round < 60; round++) {
        char configuration[512];
        uint32_t n = 1 + (uint32_t)rng_below(&rng, 200);
        uint64_t window_s =
            rng_chance(&rng, 300000) ? 5 + rng_below(&rng, 55) : 60 + rng_below(&rng, 600);
        bool shared = rng_chance(&rng, 500000);
        snprintf(configuration, sizeof configuration,
                 VMTAS "<domain *>\n max-smtp-out 1\n %s %u/%llus\n</domain>\n",
                 shared ? "domain-max-msg-rate" : "max-msg-rate", n, (unsigned long long)window_s);
        starts.count = 0;
        begin_world(configuration);
        for (int life = 0; life < 5; life++) {
            uint32_t owner = (uint32_t)rng_below(&rng, WORKERS);
            if (life > 0) {
                begin_life(configuration, rng_below(&rng, window_s * 500), owner);
            }
            struct message *one = arrive_at(owner, "a", "r@one.example", TLS_NEED_DEFAULT);
            struct message *two = arrive_at(owner, "b", "r@one.example", TLS_NEED_DEFAULT);
            for (int step = 0; step < 100 && starts.count + 10 < STARTS_MAX; step++) {
                world.writes_held = rng_chance(&rng, 500000);
                run();
                bool other = shared && rng_chance(&rng, 500000);
                uint32_t granted =
                    take(site_of(other ? two : one), 1 + (uint32_t)rng_below(&rng, 10));
                for (; granted > 0; granted--) {
                    starts.at_ms[starts.count++] = world.io.now_ms;
                }
                pass(rng_below(&rng, window_s * 20));
            }
        }
        CHECK(worst(window_s * 1000) <= n);
        end_world();
    }
}
