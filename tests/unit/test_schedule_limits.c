/* Limits that queues share: of a provider, a virtual MTA, a pool; over workers and restarts. */
#include "test.h"

#include "schedule_world.h"
#include "site_sources.h"

#define MINUTE_MS 60000
#define VMTA(name, address, more)                                                                  \
    "<virtual-mta " name ">\n smtp-source-host " address " " name ".example\n" more                \
    "</virtual-mta>\n"
#define VMTAS VMTA("a", "127.0.0.2", "") VMTA("b", "127.0.0.3", "")
/* Two domains of a provider, and others. */
#define PROVIDER(limits)                                                                           \
    VMTAS "<provider big>\n" limits "\n</provider>\n"                                              \
          "<domain one.example>\n provider big\n</domain>\n"                                       \
          "<domain two.example>\n provider big\n</domain>\n"

/* With supply: as many as it gets while blocks are written. */
static uint32_t take_all(struct site *site, uint32_t want)
{
    uint32_t sum = 0;
    for (int round = 0; round < 20 && sum < want; round++) {
        uint64_t again_ms;
        sum += schedule_take_rate(site->scheduler, &(struct attempt){.site = site}, want - sum,
                                  &again_ms);
        run();
    }
    return sum;
}

/* effect: provider max-smtp-out */
/* effect: domain provider */
TEST(a_provider_s_places_are_for_all_its_domains_virtual_mtas_and_workers)
{
    begin_world(PROVIDER("max-smtp-out 2"));
    arrive("a", "r@one.example");
    arrive_at(1, "b", "r@one.example", TLS_NEED_DEFAULT);
    run();
    CHECK_INT(open_count(), 2);
    struct message *waits = arrive("b", "r@two.example");
    arrive("a", "r@free.example");
    run();
    CHECK_INT(open_count(), 3);
    CHECK(site_of(waits)->waits_at == site_of(waits)->provider_gate);
    establish(1); /* on the other worker */
    answer(1, 250, "2.0.0");
    close_attempt(1);
    run();
    CHECK_INT(site_of(waits)->attempt_count, 1);
    end_world();
}

/* effect: provider max-msg-rate */
TEST(a_provider_s_message_rate_is_one_for_all_and_survives)
{
    begin_world(PROVIDER("max-msg-rate 6/m"));
    struct message *here = arrive("a", "r@one.example");
    struct message *there = arrive_at(1, "b", "r@two.example", TLS_NEED_DEFAULT);
    run();
    pass(1000);
    uint32_t taken = take_all(site_of(here), 2);
    taken += take_all(site_of(there), 9);
    CHECK_INT(taken, 6);
    begin_life(PROVIDER("max-msg-rate 6/m"), 1000, 1);
    here = arrive("b", "r@one.example");
    run();
    CHECK_INT(take_all(site_of(here), 9), 0);
    pass(MINUTE_MS + 1);
    CHECK_INT(take_all(site_of(here), 9), 6);
    end_world();
}

/* effect: provider max-connect-rate */
TEST(a_provider_s_connections_are_spread_over_time)
{
    begin_world(PROVIDER("max-connect-rate 2/10s"));
    arrive("a", "r@one.example");
    arrive_at(1, "b", "r@one.example", TLS_NEED_DEFAULT);
    arrive("b", "r@two.example");
    arrive_at(1, "a", "r@two.example", TLS_NEED_DEFAULT);
    arrive("a", "r@free.example");
    run();
    CHECK_INT(world.attempts.count, 3);
    pass(10000);
    CHECK_INT(world.attempts.count, 3);
    pass(100);
    CHECK_INT(world.attempts.count, 5);
    end_world();
}

/* effect: virtual-mta max-smtp-msg-rate */
/* effect: virtual-mta-pool max-smtp-msg-rate */
TEST(a_virtual_mta_s_message_rate_is_for_all_its_queues)
{
    static const char own[] =
        VMTA("a", "127.0.0.2", " max-smtp-msg-rate 4/m\n") VMTA("b", "127.0.0.3", "");
    static const char pooled[] = VMTAS "<virtual-mta-pool p>\n max-smtp-msg-rate 4/m\n"
                                       " virtual-mta a\n</virtual-mta-pool>\n";
    const char *const configurations[] = {own, pooled};
    for (int i = 0; i < 2; i++) {
        begin_world(configurations[i]);
        struct message *one = arrive("a", "r@one.example");
        struct message *two = arrive_at(1, "a", "r@two.example", TLS_NEED_DEFAULT);
        struct message *other = arrive("b", "r@one.example");
        run();
        pass(1000);
        uint32_t taken = take_all(site_of(one), 3);
        taken += take_all(site_of(two), 9);
        CHECK_INT(taken, 4);
        CHECK_INT(take_all(site_of(other), 9), 9);
        pass(MINUTE_MS + 1);
        CHECK_INT(take_all(site_of(two), 9), 4);
        end_world();
    }
}

/* effect: virtual-mta-pool pool-max-smtp-out */
TEST(a_pool_s_places_are_shared_by_its_members)
{
    begin_world(VMTAS VMTA("c", "127.0.0.4",
                           "") "<virtual-mta-pool p>\n pool-max-smtp-out 1\n virtual-mta a\n"
                               " virtual-mta b\n</virtual-mta-pool>\n");
    arrive("a", "r@one.example");
    run();
    struct message *waits = arrive_at(1, "b", "r@two.example", TLS_NEED_DEFAULT);
    arrive("c", "r@one.example");
    run();
    CHECK_INT(open_count(), 2);
    CHECK_INT(site_of(waits)->wait, SITE_WAITING_GATE);
    establish(0);
    answer(0, 250, "2.0.0");
    close_attempt(0);
    run();
    CHECK_INT(site_of(waits)->attempt_count, 1);
    end_world();
}

/* What one shared rate grants no other may refuse: it would be spent for nothing. */
TEST(shared_rates_are_taken_together_or_not_at_all)
{
    begin_world(VMTAS "<provider big>\n max-msg-rate 3/10s\n</provider>\n"
                      "<domain one.example>\n provider big\n domain-max-msg-rate 5/10s\n"
                      "</domain>\n"
                      "<domain two.example>\n provider big\n</domain>\n");
    struct message *one = arrive("a", "r@one.example"), *two = arrive("a", "r@two.example");
    run();
    CHECK_INT(take_all(site_of(two), 2), 2);
    CHECK_INT(take_all(site_of(one), 9), 1);
    pass(10001);
    CHECK_INT(take_all(site_of(one), 9), 3);
    CHECK_INT(take_all(site_of(one), 9), 0);
    end_world();
}

/* A reload that takes the limit away frees who waits for it. */
TEST(a_provider_without_limits_after_a_reload_holds_nobody)
{
    begin_world(PROVIDER("max-smtp-out 1"));
    arrive("a", "r@one.example");
    struct message *waits = arrive("b", "r@two.example");
    run();
    CHECK_INT(site_of(waits)->wait, SITE_WAITING_GATE);
    struct config *freed = load_good(PROVIDER(""));
    for (uint32_t i = 0; i < WORKERS; i++) {
        schedule_reload(world.schedulers[i], freed);
    }
    run();
    CHECK_INT(site_of(waits)->attempt_count, 1);
    config_free(world.config);
    world.config = freed;
    end_world();
}

/* effect: domain smtp-out-rampup-interval */
TEST(a_queue_s_connections_grow_one_by_one)
{
    begin_world(VMTAS "<domain *>\n smtp-out-rampup-interval 10s\n max-smtp-out 3\n</domain>\n");
    for (int i = 0; i < 9; i++) {
        arrive("a", "r@one.example");
    }
    arrive("b", "r@one.example");
    run();
    CHECK_INT(world.attempts.count, 2); /* one for each queue */
    pass(9999);
    CHECK_INT(world.attempts.count, 2);
    pass(1);
    CHECK_INT(world.attempts.count, 3);
    pass(1000);
    close_attempt(0); /* another takes its place, and the next step comes in its time */
    run();
    CHECK_INT(world.attempts.count, 4);
    pass(8999);
    CHECK_INT(world.attempts.count, 4);
    pass(1);
    CHECK_INT(world.attempts.count, 5);
    pass(10000);
    CHECK_INT(world.attempts.count, 5); /* max-smtp-out */
    end_world();
}

/* ---- of source addresses ---------------------------------------------------------------- */

/* One virtual MTA with two addresses. */
#define SOURCES(limits)                                                                            \
    "<virtual-mta a>\n smtp-source-host 127.0.0.2 a.example\n"                                     \
    " smtp-source-host 127.0.0.3 b.example\n</virtual-mta>\n<domain *>\n" limits "\n</domain>\n"

/* The n-th connection that was opened leaves from the source at this place, if that may be. */
static bool leave_from(uint32_t n, uint32_t place)
{
    struct attempt *attempt = world.attempts.made[n];
    struct vmta_source *source = &attempt->site->lane->vmta.sources[place];
    if (!site_source_is_free(attempt->site, source, world.io.now_ms)) {
        return false;
    }
    attempt->source_address = source->address;
    site_source_take(attempt, source);
    run();
    return true;
}

TEST(a_queue_opens_no_more_connections_than_its_source_addresses_have_places)
{
    begin_world(SOURCES("source-ip-max-smtp-out 0/0 2\nsource-ip-max-smtp-out 127.0.0.3 1"));
    for (int i = 0; i < 9; i++) {
        arrive("a", "r@one.example");
    }
    run();
    CHECK_INT(world.attempts.count, 3); /* two and one, though none has its place yet */
    CHECK(leave_from(0, 1));
    CHECK(!leave_from(1, 1));
    CHECK(leave_from(1, 0));
    CHECK(leave_from(2, 0));
    pass(100000);
    CHECK_INT(world.attempts.count, 3);
    close_attempt(0);
    run();
    CHECK_INT(world.attempts.count, 4);
    CHECK(!leave_from(3, 0));
    CHECK(leave_from(3, 1));
    end_world();
}

TEST(places_of_source_addresses_are_counted_over_a_reload)
{
    begin_world(SOURCES("source-ip-max-smtp-out 0/0 1"));
    for (int i = 0; i < 9; i++) {
        arrive("a", "r@one.example");
    }
    run();
    CHECK(leave_from(0, 0));
    CHECK(leave_from(1, 1));
    struct config *wider = load_good(SOURCES("source-ip-max-smtp-out 0/0 2"));
    for (uint32_t i = 0; i < WORKERS; i++) {
        schedule_reload(world.schedulers[i], wider);
    }
    run();
    CHECK_INT(world.attempts.count, 4);
    CHECK(leave_from(2, 1));
    CHECK(!leave_from(3, 1));
    CHECK(leave_from(3, 0));
    config_free(world.config);
    world.config = wider;
    end_world();
}

TEST(a_queue_waits_exactly_until_a_source_address_may_connect)
{
    begin_world(SOURCES("source-ip-max-connect-rate 0/0 1/10s\n"
                        "source-ip-max-connect-rate 127.0.0.3 1/20s"));
    for (int i = 0; i < 9; i++) {
        arrive("a", "r@one.example");
    }
    run();
    CHECK_INT(world.attempts.count, 2);
    CHECK(leave_from(0, 0));
    CHECK(leave_from(1, 1));
    pass(10000);
    CHECK_INT(world.attempts.count, 2);
    pass(1);
    CHECK_INT(world.attempts.count, 3);
    CHECK(leave_from(2, 0));
    pass(10000);
    CHECK_INT(world.attempts.count, 4); /* of the other address */
    end_world();
}

TEST(a_connection_whose_address_is_full_rests_and_the_others_go_on)
{
    begin_world(SOURCES("max-smtp-out 2\nsource-ip-max-msg-rate 127.0.0.2 1/10s"));
    for (int i = 0; i < 9; i++) {
        arrive("a", "r@one.example");
    }
    run();
    CHECK(leave_from(0, 0));
    CHECK(leave_from(1, 1));
    establish(0);
    establish(1);
    uint64_t again_ms;
    struct attempt *full = world.attempts.made[0], *open = world.attempts.made[1];
    CHECK_INT(schedule_take_rate(full->site->scheduler, full, 3, &again_ms), 1);
    CHECK_INT(schedule_take_rate(full->site->scheduler, full, 1, &again_ms), 0);
    CHECK_INT(again_ms, world.io.now_ms + 10001);
    CHECK_INT(schedule_take_rate(open->site->scheduler, open, 3, &again_ms), 3);
    answer(0, 250, "2.0.0");
    answer(1, 250, "2.0.0");
    CHECK(full->next == NULL);
    CHECK(open->next != NULL);
    pass(10000);
    CHECK(full->next == NULL);
    pass(1);
    CHECK(full->next != NULL);
    end_world();
}
