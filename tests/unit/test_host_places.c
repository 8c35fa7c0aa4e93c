/* Limits of connections to receiving hosts and addresses: what counts, who waits, who is woken.
 * Connections look for their place when the test says so. */
#include "test.h"

#include "host_places.h"
#include "schedule_world.h"

#define LIMITS(lines)                                                                              \
    lines "\n<virtual-mta a>\n smtp-source-host 127.0.0.2 a.example\n</virtual-mta>\n"             \
          "<virtual-mta b>\n smtp-source-host 127.0.0.3 b.example\n</virtual-mta>\n"               \
          "<domain *>\n max-smtp-out 10\n</domain>\n"

static struct route_host hosts[] = {
    {.name = "one.mx.example"}, {.name = "two.mx.example"}, {.name = "mx.other.example"}};
static const struct address peers[] = {{.family = ADDRESS_IPV4, .ip = {192, 0, 2, 1}},
                                       {.family = ADDRESS_IPV4, .ip = {192, 0, 2, 2}},
                                       {.family = ADDRESS_IPV4, .ip = {10, 0, 0, 1}}};
#define NONE (-1)

/* The n-th connection that was opened goes from host to host, `count` of them from `first` on.
 * Where it found its place; or it found none, is gone, and its site waits. */
static int look(uint32_t n, uint32_t first, uint32_t count)
{
    struct attempt *attempt = world.attempts.made[n];
    attempt->source_address = attempt->site->lane->vmta.sources[0].address;
    for (uint32_t i = first; i < first + count; i++) {
        host_places_aim(attempt, &hosts[i], &peers[i]);
        if (host_places_free(attempt, &attempt->source_address) &&
            host_places_take(attempt, &attempt->source_address)) {
            host_places_decide(attempt);
            run();
            return (int)i;
        }
        CHECK(host_places_were_full(attempt));
    }
    CHECK(host_places_wish(attempt));
    close_attempt(n);
    run();
    return NONE;
}

/* The connection that looks is the last that was opened. */
static int last_looks(uint32_t first, uint32_t count)
{
    return look(world.attempts.count - 1, first, count);
}

static void leave(uint32_t n)
{
    close_attempt(n);
    run();
}

static void arrive_twelve(const char *vmta, const char *address)
{
    for (int i = 0; i < 12; i++) {
        arrive(vmta, address);
    }
    run();
}

/* How many of one site get a place at this host. */
static uint32_t places_at(const char *limits, uint32_t host)
{
    begin_world(limits);
    arrive_twelve("a", "r@one.example");
    uint32_t count = 0;
    while (open_count() > count && last_looks(host, 1) != NONE) {
        count++;
    }
    end_world();
    return count;
}

TEST(the_more_specific_pattern_counts_and_of_equal_ones_the_last)
{
    static const char limits[] =
        LIMITS("mx-connection-limit one.mx.example 2\nmx-connection-limit * 7\n"
               "mx-connection-limit [*.]example 6\nmx-connection-limit *.mx.example 1\n"
               "mx-connection-limit *.mx.example 3");
    CHECK_INT(places_at(limits, 0), 2);
    CHECK_INT(places_at(limits, 1), 3);
    CHECK_INT(places_at(limits, 2), 6);
    CHECK_INT(places_at(LIMITS("mx-connection-limit * 4\nmx-connection-limit *.mx.example 0"), 0),
              10); /* as many as the queue may have */
}

TEST(the_narrowest_range_counts)
{
    static const char limits[] = LIMITS("ip-connection-limit 192.0.2.2/32 2\n"
                                        "ip-connection-limit 192.0.2/24 3\n"
                                        "ip-connection-limit 0/0 4");
    CHECK_INT(places_at(limits, 0), 3);
    CHECK_INT(places_at(limits, 1), 2);
    CHECK_INT(places_at(limits, 2), 4);
}

TEST(the_smaller_of_both_limits_holds_and_each_source_has_its_own)
{
    begin_world(LIMITS("mx-connection-limit * 1\nip-connection-limit 0/0 2"));
    arrive_twelve("a", "r@one.example");
    CHECK_INT(last_looks(0, 1), 0);
    CHECK_INT(last_looks(0, 1), NONE);
    arrive_twelve("b", "r@one.example");
    CHECK_INT(last_looks(0, 1), 0);
    CHECK_INT(last_looks(0, 1), NONE);
    CHECK_INT(world.event_count, 0);
    end_world();
}

TEST(one_connection_of_a_site_looks_at_a_time)
{
    begin_world(LIMITS("mx-connection-limit * 5"));
    arrive_twelve("a", "r@one.example");
    CHECK_INT(world.attempts.count, 1);
    CHECK_INT(look(0, 0, 1), 0);
    CHECK_INT(world.attempts.count, 2);
    leave(1); /* it ended before it knew where to */
    CHECK_INT(world.attempts.count, 3);
    end_world();
}

TEST(a_full_host_is_passed_over)
{
    begin_world(LIMITS("mx-connection-limit * 1"));
    arrive_twelve("a", "r@one.example");
    CHECK_INT(last_looks(0, 2), 0);
    CHECK_INT(last_looks(0, 2), 1);
    CHECK_INT(last_looks(0, 2), NONE);
    CHECK_INT(open_count(), 2);
    leave(0);
    CHECK_INT(open_count(), 2); /* its place is the next one's, before it has looked */
    CHECK_INT(last_looks(0, 2), 0);
    CHECK_INT(open_count(), 2);
    end_world();
}

TEST(a_place_of_its_own_that_nobody_waits_for_is_its_next_one)
{
    begin_world(LIMITS("mx-connection-limit * 1"));
    arrive_twelve("a", "r@one.example");
    CHECK_INT(last_looks(0, 2), 0);
    CHECK_INT(last_looks(0, 2), 1);
    CHECK_INT(last_looks(0, 2), NONE); /* waits at the first host */
    leave(1);                          /* … and there is room at the second */
    CHECK_INT(open_count(), 2);
    CHECK_INT(last_looks(1, 1), 1);
    end_world();
}

TEST(who_waits_is_woken_also_on_another_worker)
{
    begin_world(LIMITS("mx-connection-limit * 1"));
    arrive("a", "r@one.example");
    run();
    CHECK_INT(last_looks(0, 1), 0);
    establish(0);
    arrive_at(1, "a", "r@two.example", TLS_NEED_DEFAULT);
    run();
    CHECK_INT(last_looks(0, 1), NONE);
    answer(0, 250, "2.0.0"); /* nothing more to do */
    leave(0);
    CHECK_INT(open_count(), 1);
    CHECK_INT(last_looks(0, 1), 0);
    end_world();
}

TEST(who_waits_looks_elsewhere_once_a_second)
{
    begin_world(LIMITS("mx-connection-limit * 1"));
    arrive("a", "r@one.example");
    arrive("b", "r@one.example");
    run();
    CHECK_INT(look(0, 0, 1), 0);
    arrive("a", "r@two.example");
    run();
    CHECK_INT(last_looks(0, 1), NONE);
    uint32_t before = world.attempts.count;
    for (int i = 0; i < 10; i++) {
        pass(1000);
        if (world.attempts.count > before + (uint32_t)i) {
            CHECK_INT(last_looks(0, 1), NONE);
        }
    }
    CHECK(world.attempts.count >= before + 4 && world.attempts.count <= before + 10);
    pass(2000);
    CHECK_INT(last_looks(0, 2), 1); /* another host has come */
    end_world();
}

TEST(an_idle_connection_gives_way_to_who_waits_for_its_host)
{
    begin_world(LIMITS("mx-connection-limit * 1"));
    arrive("a", "r@one.example");
    run();
    CHECK_INT(look(0, 0, 1), 0);
    establish(0);
    answer(0, 250, "2.0.0");
    CHECK(list_linked(&world.attempts.made[0]->idle_node));
    arrive("a", "r@two.example");
    run();
    CHECK_INT(last_looks(0, 1), NONE);
    CHECK(world.attempts.made[0]->quitting);
    end_world();
}

TEST(a_place_moves_with_its_connection_from_host_to_host)
{
    begin_world(LIMITS("mx-connection-limit * 1"));
    arrive("a", "r@one.example");
    run();
    CHECK_INT(look(0, 0, 1), 0);
    CHECK_INT(look(0, 1, 1), 1); /* the first one failed */
    arrive("a", "r@two.example");
    run();
    CHECK_INT(last_looks(0, 1), 0);
    end_world();
}

TEST(a_table_without_room_lets_nobody_through)
{
    begin_world(LIMITS(""));
    struct gates *gates = &world.schedulers[0]->gates;
    static struct gate_places held[GATES_PASSING_MAX];
    for (uint32_t i = 0; i <= GATES_PASSING_MAX + 10; i++) {
        char name[32];
        snprintf(name, sizeof name, "host%u *", i);
        struct gate *gate =
            gates_join(gates, &(struct gate_passing){.kind = LIMIT_MX_HOST,
                                                     .slot = GATE_MX_HOST,
                                                     .name = bytes_from_string(name),
                                                     .max = 1});
        CHECK((gate != NULL) == (i < GATES_PASSING_MAX));
        if (gate != NULL) {
            held[i].gates[GATE_MX_HOST] = gate;
            CHECK(gates_try(gates, &held[i]));
            CHECK(!gates_try(gates, &held[i]));
        }
    }
    gates_release(gates, &held[7]);
    struct gate *gate = gates_join(gates, &(struct gate_passing){.kind = LIMIT_MX_HOST,
                                                                 .slot = GATE_MX_HOST,
                                                                 .name = BYTES("one more *"),
                                                                 .max = 1});
    CHECK(gate != NULL);
    CHECK_INT(gates->passing_count, GATES_PASSING_MAX);
    for (uint32_t i = 0; i < GATES_PASSING_MAX; i++) {
        gates_release(gates, &held[i]);
    }
    end_world();
}
