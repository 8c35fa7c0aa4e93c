/* The resolver over the kernel's io, against name servers of the test's own. */
#include "net/dns.h"

#include "dns_server.h"
#include "test.h"

#define SERVERS_MAX 2
#define PATIENCE_MS 10000

struct world {
    struct io *io;
    struct dns *dns;
    struct dns_server *servers[SERVERS_MAX];
    uint32_t server_count;
};

static struct world world;

struct asking {
    struct dns_query query;
    int done_count;
};

static void on_done(struct dns_query *query)
{
    CONTAINER_OF(query, struct asking, query)->done_count++;
}

static void world_begin(uint32_t server_count)
{
    struct error error = {0};
    struct address addresses[SERVERS_MAX];
    world = (struct world){.server_count = server_count};
    for (uint32_t i = 0; i < server_count; i++) {
        world.servers[i] = server_start();
        addresses[i] = world.servers[i]->address;
    }
    world.io = io_create(
        &(struct io_options){.entries = 64, .recv_buffer_bytes = 4096, .recv_buffer_count = 16},
        &error);
    assert(world.io != NULL);
    world.dns = dns_create(
        world.io,
        &(struct dns_options){
            .servers = addresses, .server_count = server_count, .timeout_ms = 200, .tries = 2},
        &error);
    assert(world.dns != NULL);
}

static void world_end(void)
{
    dns_destroy(world.dns);
    io_destroy(world.io);
    for (uint32_t i = 0; i < world.server_count; i++) {
        server_stop(world.servers[i]);
    }
}

static unsigned questions(void)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < world.server_count; i++) {
        count += atomic_load(&world.servers[i]->udp_count);
    }
    return count;
}

static void run_until_done(struct asking *asking)
{
    uint64_t end_ms = io_now_ms(world.io) + PATIENCE_MS;
    while (asking->done_count == 0 && io_now_ms(world.io) < end_ms) {
        CHECK_INT(io_run(world.io, end_ms), 0);
    }
    CHECK_INT(asking->done_count, 1);
}

static void run_for(uint64_t ms)
{
    uint64_t end_ms = io_now_ms(world.io) + ms;
    while (io_now_ms(world.io) < end_ms) {
        CHECK_INT(io_run(world.io, end_ms), 0);
    }
}

static void ask_mx(struct asking *asking, const char *name)
{
    *asking = (struct asking){.query.done = on_done};
    dns_lookup_mx(world.dns, &asking->query, name);
    CHECK_INT(asking->done_count, 0); /* never inside the asking call */
}

static void ask_addresses(struct asking *asking, const char *name, bool ipv4, bool ipv6)
{
    *asking = (struct asking){.query.done = on_done};
    dns_lookup_addresses(world.dns, &asking->query, name, ipv4, ipv6);
    CHECK_INT(asking->done_count, 0);
}

static enum dns_status mx_status(const char *name)
{
    struct asking asking;
    ask_mx(&asking, name);
    run_until_done(&asking);
    dns_query_deinit(&asking.query);
    return asking.query.status;
}

/* ---- answers ---- */

TEST(mx_records_come_with_their_ttl)
{
    world_begin(1);
    struct asking asking;
    ask_mx(&asking, "example.com");
    run_until_done(&asking);
    CHECK_INT(asking.query.status, DNS_OK);
    CHECK_INT(asking.query.mx_count, 2);
    CHECK_STRING(asking.query.mx[1].host, "mx1.example.com");
    CHECK_INT(asking.query.ttl_s, 300);
    dns_query_deinit(&asking.query);
    world_end();
}

TEST(addresses_of_both_families_are_one_answer)
{
    world_begin(1);
    struct asking asking;
    ask_addresses(&asking, "mx1.example.com", true, true);
    run_until_done(&asking);
    CHECK_INT(asking.query.status, DNS_OK);
    CHECK_INT(asking.query.address_count, 2);
    dns_query_deinit(&asking.query);
    ask_addresses(&asking, "mx1.example.com", true, false);
    run_until_done(&asking);
    CHECK_INT(asking.query.address_count, 1);
    CHECK_INT(asking.query.addresses[0].family, ADDRESS_IPV4);
    dns_query_deinit(&asking.query);
    world_end();
}

TEST(the_names_of_an_address_are_asked_for_from_its_end)
{
    static const struct {
        struct address address;
        const char *name;
    } cases[] = {
        {{.family = ADDRESS_IPV4, .ip = {192, 0, 2, 10}}, "10.2.0.192.in-addr.arpa"},
        {{.family = ADDRESS_IPV6, .ip = {0x20, 0x01, 0x0d, 0xb8, [15] = 0x1a}},
         "a.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"},
    };
    world_begin(1);
    for (size_t i = 0; i < 2; i++) {
        for (int again = 0; again < 2; again++) { /* the second time from the cache */
            struct asking asking = {.query.done = on_done};
            dns_lookup_names(world.dns, &asking.query, &cases[i].address);
            CHECK_INT(asking.done_count, 0);
            run_until_done(&asking);
            CHECK_INT(asking.query.text_count, 1);
            CHECK_STRING(asking.query.texts[0].data, cases[i].name);
            dns_query_deinit(&asking.query);
        }
    }
    CHECK_INT(questions(), 2);
    world_end();
}

TEST(texts_come_whole_one_for_each_record)
{
    world_begin(1);
    struct asking asking = {.query.done = on_done};
    dns_lookup_texts(world.dns, &asking.query, "example.com");
    run_until_done(&asking);
    CHECK_INT(asking.query.status, DNS_OK);
    CHECK_INT(asking.query.text_count, 2);
    CHECK_STRING(asking.query.texts[0].data, "v=spf1 -all");
    CHECK_STRING(asking.query.texts[1].data, "other");
    dns_query_deinit(&asking.query);
    world_end();
}

TEST(one_family_without_records_does_not_spoil_the_other)
{
    world_begin(1);
    struct asking asking;
    ask_addresses(&asking, "v4.example.com", true, true);
    run_until_done(&asking);
    CHECK_INT(asking.query.status, DNS_OK);
    CHECK_INT(asking.query.address_count, 1);
    dns_query_deinit(&asking.query);
    world_end();
}

TEST(one_family_unanswered_and_the_other_empty_is_try_later)
{
    world_begin(1);
    struct asking asking;
    ask_addresses(&asking, "halfdead.example.com", true, true);
    run_until_done(&asking);
    CHECK_INT(asking.query.status, DNS_FAILED);
    CHECK(asking.query.failure != NULL);
    dns_query_deinit(&asking.query);
    world_end();
}

TEST(many_addresses_of_one_family_leave_room_for_the_other)
{
    world_begin(1);
    struct asking asking;
    ask_addresses(&asking, "many.example.com", true, true);
    run_until_done(&asking);
    uint32_t ipv4 = 0;
    for (uint32_t i = 0; i < asking.query.address_count; i++) {
        ipv4 += asking.query.addresses[i].family == ADDRESS_IPV4;
    }
    CHECK_INT(asking.query.address_count, DNS_ADDRESSES_MAX);
    CHECK_INT(ipv4, DNS_ADDRESSES_MAX / 2);
    dns_query_deinit(&asking.query);
    ask_addresses(&asking, "many.example.com", true, false);
    run_until_done(&asking);
    CHECK_INT(asking.query.address_count, 25);
    dns_query_deinit(&asking.query);
    world_end();
}

TEST(c23_each_kind_of_no_has_its_status)
{
    const struct {
        const char *name;
        enum dns_status wanted;
    } cases[] = {
        {"nx.example.com", DNS_NOT_FOUND},    {"nodata.example.com", DNS_NO_DATA},
        {"servfail.example.com", DNS_FAILED}, {"broken.example.com", DNS_FAILED},
        {"loop.example.com", DNS_FAILED},     {"dangling.example.com", DNS_NO_DATA},
        {"a..example.com", DNS_NOT_FOUND},
    };
    world_begin(1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_INT(mx_status(cases[i].name), cases[i].wanted);
    }
    world_end();
}

TEST(a_label_over_63_bytes_is_a_name_that_does_not_exist)
{
    char name[100];
    memset(name, 'a', 64);
    snprintf(name + 64, sizeof name - 64, ".example.com");
    world_begin(1);
    CHECK_INT(mx_status(name), DNS_NOT_FOUND);
    CHECK_INT(questions(), 0);
    world_end();
}

TEST(c23_silence_ends_as_try_later_after_all_tries)
{
    world_begin(1);
    struct asking asking;
    uint64_t begin_ms = io_now_ms(world.io);
    ask_mx(&asking, "silent.example.com");
    run_until_done(&asking);
    CHECK_INT(asking.query.status, DNS_FAILED);
    CHECK(asking.query.failure != NULL);
    CHECK_INT(questions(), 2);
    CHECK(io_now_ms(world.io) - begin_ms >= 400); /* 200 and 400 ms, less what the library rounds */
    CHECK(io_now_ms(world.io) - begin_ms < 3000);
    dns_query_deinit(&asking.query);
    world_end();
}

TEST(a_server_that_is_not_there_is_try_later)
{
    world_begin(1);
    struct dns_server *server = world.servers[0];
    server_stop(server);
    world.server_count = 0;
    CHECK_INT(mx_status("example.com"), DNS_FAILED);
    world_end();
}

TEST(c23_a_truncated_answer_is_asked_again_over_tcp)
{
    world_begin(1);
    CHECK_INT(mx_status("large.example.com"), DNS_OK);
    CHECK_INT(atomic_load(&world.servers[0]->tcp_count), 1);
    world_end();
}

TEST(c23_an_answer_with_a_wrong_id_or_question_is_ignored)
{
    world_begin(1);
    struct asking asking;
    ask_mx(&asking, "wrongid.example.com");
    run_until_done(&asking);
    CHECK_INT(asking.query.status, DNS_OK);
    CHECK_INT(asking.query.mx_count, 2);
    for (uint32_t i = 0; i < asking.query.mx_count; i++) {
        CHECK(strcmp(asking.query.mx[i].host, "evil.example.com") != 0);
    }
    dns_query_deinit(&asking.query);
    world_end();
}

TEST(an_alias_is_told)
{
    world_begin(1);
    struct asking asking;
    ask_addresses(&asking, "alias.example.com", true, false);
    run_until_done(&asking);
    CHECK(asking.query.is_alias);
    CHECK_INT(asking.query.address_count, 1);
    dns_query_deinit(&asking.query);
    world_end();
}

/* ---- several at once ---- */

TEST(equal_questions_at_once_are_one)
{
    world_begin(1);
    struct asking first, second, third;
    ask_mx(&first, "example.com");
    ask_mx(&second, "EXAMPLE.com");
    ask_mx(&third, "example.com");
    run_until_done(&first);
    run_until_done(&second);
    run_until_done(&third);
    CHECK_INT(questions(), 1);
    CHECK_INT(third.query.mx_count, 2);
    CHECK_INT(second.query.mx_count, 2);
    dns_query_deinit(&first.query);
    dns_query_deinit(&second.query);
    dns_query_deinit(&third.query);
    world_end();
}

TEST(thousands_of_questions_at_once_are_all_answered)
{
    enum { COUNT = 3000 };
    static struct asking askings[COUNT];
    world_begin(1);
    for (int i = 0; i < COUNT; i++) {
        char name[32];
        snprintf(name, sizeof name, "d%d.example.com", i);
        ask_mx(&askings[i], name);
    }
    struct dns_status_counts counts;
    dns_counts(world.dns, &counts);
    CHECK_INT(counts.pending, COUNT);
    for (int i = 0; i < COUNT; i++) {
        run_until_done(&askings[i]);
        CHECK_INT(askings[i].query.status, DNS_OK);
        dns_query_deinit(&askings[i].query);
    }
    dns_counts(world.dns, &counts);
    CHECK_INT(counts.pending, 0);
    CHECK_INT(counts.cached_names, COUNT);
    world_end();
}

TEST(impossible_names_in_a_row_do_not_stop_what_waits_behind)
{
    enum { COUNT = 600 };
    static struct asking askings[COUNT];
    world_begin(1);
    for (int i = 0; i < COUNT; i++) {
        char name[32];
        snprintf(name, sizeof name, i % 2 == 0 ? "d%d..example.com" : "d%d.example.com", i);
        ask_mx(&askings[i], name);
    }
    for (int i = 0; i < COUNT; i++) {
        run_until_done(&askings[i]);
        CHECK_INT(askings[i].query.status, i % 2 == 0 ? DNS_NOT_FOUND : DNS_OK);
        dns_query_deinit(&askings[i].query);
    }
    world_end();
}

/* ---- the cache ---- */

TEST(what_is_known_is_not_asked_again_until_its_time_is_over)
{
    world_begin(1);
    CHECK_INT(mx_status("ttl1.example.com"), DNS_OK);
    CHECK_INT(mx_status("TTL1.example.com"), DNS_OK);
    CHECK_INT(questions(), 1);
    run_for(1100);
    CHECK_INT(mx_status("ttl1.example.com"), DNS_OK);
    CHECK_INT(questions(), 2);
    world_end();
}

TEST(c23_a_ttl_of_zero_holds_for_a_second)
{
    world_begin(1);
    struct asking asking;
    ask_mx(&asking, "ttl0.example.com");
    run_until_done(&asking);
    CHECK_INT(asking.query.ttl_s, 1);
    dns_query_deinit(&asking.query);
    CHECK_INT(mx_status("ttl0.example.com"), DNS_OK);
    CHECK_INT(questions(), 1);
    run_for(1100);
    CHECK_INT(mx_status("ttl0.example.com"), DNS_OK);
    CHECK_INT(questions(), 2);
    world_end();
}

TEST(ttls_are_cut_to_a_day_and_negative_ones_to_five_minutes)
{
    const struct {
        const char *name;
        uint32_t wanted;
    } cases[] = {{"forever.example.com", 86400},
                 {"nxlong.example.com", 300},
                 {"nosoa.example.com", 60},
                 {"servfail.example.com", 0}};
    world_begin(1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct asking asking;
        ask_mx(&asking, cases[i].name);
        run_until_done(&asking);
        CHECK_INT(asking.query.ttl_s, cases[i].wanted);
        dns_query_deinit(&asking.query);
    }
    world_end();
}

TEST(negative_answers_are_kept_and_failures_are_not)
{
    world_begin(1);
    CHECK_INT(mx_status("nx.example.com"), DNS_NOT_FOUND);
    CHECK_INT(mx_status("nx.example.com"), DNS_NOT_FOUND);
    CHECK_INT(questions(), 1);
    CHECK_INT(mx_status("servfail.example.com"), DNS_FAILED);
    unsigned before = questions();
    CHECK_INT(mx_status("servfail.example.com"), DNS_FAILED);
    CHECK(questions() > before);
    world_end();
}

TEST(a_name_that_is_cleared_is_asked_again)
{
    world_begin(1);
    CHECK_INT(mx_status("example.com"), DNS_OK);
    CHECK_INT(mx_status("other.com"), DNS_OK);
    CHECK_INT(dns_clear(world.dns, "EXAMPLE.com"), 1);
    CHECK_INT(mx_status("example.com"), DNS_OK);
    CHECK_INT(mx_status("other.com"), DNS_OK);
    CHECK_INT(questions(), 3);
    CHECK_INT(dns_clear(world.dns, "*"), 2);
    world_end();
}

/* ---- several servers ---- */

TEST(servers_take_turns)
{
    world_begin(2);
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "d%d.example.com", i);
        CHECK_INT(mx_status(name), DNS_OK);
    }
    CHECK(atomic_load(&world.servers[0]->udp_count) >= 5);
    CHECK(atomic_load(&world.servers[1]->udp_count) >= 5);
    CHECK_INT(questions(), 20);
    world_end();
}

TEST(where_one_server_refuses_the_other_is_asked)
{
    world_begin(2);
    atomic_store(&world.servers[0]->refuses, true);
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "d%d.example.com", i);
        CHECK_INT(mx_status(name), DNS_OK);
    }
    CHECK(atomic_load(&world.servers[0]->udp_count) >= 1);
    world_end();
}

TEST(where_one_server_is_silent_the_other_is_asked)
{
    world_begin(2);
    CHECK_INT(mx_status("silent.example.com"), DNS_FAILED);
    CHECK_INT(atomic_load(&world.servers[0]->udp_count), 2);
    CHECK_INT(atomic_load(&world.servers[1]->udp_count), 2);
    world_end();
}

/* ---- the end ---- */

TEST(the_resolver_may_go_right_after_its_last_answer)
{
    world_begin(1);
    CHECK_INT(mx_status("large.example.com"), DNS_OK);
    CHECK_INT(mx_status("example.com"), DNS_OK);
    world_end();
}
