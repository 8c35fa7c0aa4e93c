/* From a domain to hosts and addresses, over a resolver and an io of the test's own. */
#include "resolve.h"

#include "test.h"

#include "resolve_world.h"

/* ---- MX ---- */

TEST(hosts_come_in_order_of_preference) /* RFC 5321 5.1 */
{
    begin_world();
    add_mx("d.example", 30, "c.example");
    add_mx("d.example", 10, "a.example");
    add_mx("d.example", 20, "b.example");
    add_address("a.example", "192.0.2.1");
    add_address("b.example", "192.0.2.2");
    add_address("c.example", "192.0.2.3");
    resolve("d.example");
    CHECK_STRING(route_hosts(), "a.example,b.example,c.example");
    CHECK_STRING(route_addresses(), "192.0.2.1:25,192.0.2.2:25,192.0.2.3:25");
    drop();
}

TEST(c22_equal_preferences_are_shuffled)
{
    int first[3] = {0};
    for (int i = 0; i < 300; i++) {
        begin_world();
        seed = (uint64_t)i;
        const char *names[] = {"a.example", "b.example", "c.example"};
        for (int k = 0; k < 3; k++) {
            add_mx("d.example", 10, names[k]);
            add_address(names[k], "192.0.2.1");
        }
        add_mx("d.example", 20, "z.example");
        add_address("z.example", "192.0.2.9");
        resolve("d.example");
        first[route_hosts()[0] - 'a']++;
        CHECK_STRING(asking.route->hosts[3].name, "z.example");
        drop();
    }
    for (int k = 0; k < 3; k++) {
        CHECK(first[k] > 60);
    }
}

TEST(c20_the_null_mx_bounces)
{
    begin_world();
    add_mx("d.example", 0, ".");
    resolve("d.example");
    check_failure(556, "5.1.10");
}

TEST(c20_a_dot_among_other_mx_is_ignored)
{
    begin_world();
    add_mx("d.example", 0, ".");
    add_mx("d.example", 10, "a.example");
    add_address("a.example", "192.0.2.1");
    resolve("d.example");
    CHECK_STRING(route_hosts(), "a.example");
    drop();
}

TEST(c21_an_mx_that_is_an_address_as_text_is_skipped)
{
    begin_world();
    add_mx("d.example", 0, "192.0.2.7");
    add_mx("d.example", 10, "a.example");
    add_address("192.0.2.7", "192.0.2.7");
    add_address("a.example", "192.0.2.1");
    resolve("d.example");
    CHECK_STRING(route_hosts(), "a.example");
    drop();
}

TEST(c21_an_mx_that_is_an_alias_is_used_only_where_no_other_is_left)
{
    begin_world();
    add_mx("d.example", 0, "alias.example");
    add_mx("d.example", 10, "a.example");
    add(RECORD_ALIAS, "alias.example");
    add_address("alias.example", "192.0.2.7");
    add_address("a.example", "192.0.2.1");
    resolve("d.example");
    CHECK_STRING(route_hosts(), "a.example");
    drop();
    begin_world();
    add_mx("d.example", 0, "alias.example");
    add(RECORD_ALIAS, "alias.example");
    add_address("alias.example", "192.0.2.7");
    resolve("d.example");
    CHECK_STRING(route_hosts(), "alias.example");
    drop();
}

TEST(c22_two_hundred_mx_with_a_hundred_addresses_each_are_capped)
{
    begin_world();
    for (int i = 0; i < 32; i++) { /* what net/dns.h lets through */
        add_mx("d.example", (uint16_t)i, i % 2 == 0 ? "a.example" : "b.example");
    }
    for (int i = 0; i < 32; i++) {
        char ip[32];
        snprintf(ip, sizeof ip, "192.0.2.%d", i + 1);
        add_address("a.example", ip);
        add_address("b.example", ip);
    }
    resolve("d.example");
    CHECK_INT(asking.route->host_count, ROUTE_HOSTS_MAX);
    CHECK_INT(asking.route->address_count, ROUTE_ADDRESSES_MAX);
    CHECK_INT(address_questions, ROUTE_HOSTS_MAX);
    for (uint32_t i = 0; i < asking.route->host_count; i++) {
        CHECK(asking.route->hosts[i].address_count > 0);
    }
    drop();
}

TEST(one_host_may_use_all_the_room)
{
    begin_world();
    add_mx("d.example", 1, "a.example");
    for (int i = 0; i < 40; i++) {
        char ip[32];
        snprintf(ip, sizeof ip, "192.0.2.%d", i + 1);
        add_address("a.example", ip);
    }
    resolve("d.example");
    CHECK_INT(asking.route->address_count, 32);
    drop();
}

/* ---- ourselves ---- */

TEST(c22_an_mx_of_our_own_name_cuts_the_list)
{
    begin_world();
    add_mx("d.example", 10, "a.example");
    add_mx("d.example", 20, "WE.example");
    add_mx("d.example", 20, "b.example");
    add_mx("d.example", 30, "c.example");
    add_address("a.example", "192.0.2.1");
    add_address("b.example", "192.0.2.2");
    add_address("c.example", "192.0.2.3");
    resolve("d.example");
    CHECK_STRING(route_hosts(), "a.example");
    drop();
}

TEST(c22_being_the_best_mx_ourselves_is_a_loop)
{
    begin_world();
    add_mx("d.example", 10, "we.example");
    add_mx("d.example", 20, "a.example");
    add_address("a.example", "192.0.2.1");
    resolve("d.example");
    check_failure(554, "5.4.6");
}

TEST(c22_an_mx_with_one_of_our_addresses_cuts_the_list)
{
    begin_world();
    io.local[0] = address_of("198.51.100.5");
    io.local_count = 1;
    add_mx("d.example", 10, "a.example");
    add_mx("d.example", 20, "other-name-of-us.example");
    add_mx("d.example", 30, "c.example");
    add_address("a.example", "192.0.2.1");
    add_address("other-name-of-us.example", "198.51.100.5");
    add_address("c.example", "192.0.2.3");
    resolve("d.example");
    CHECK_STRING(route_hosts(), "a.example");
    drop();
}

TEST(c21_our_own_listener_is_refused_even_by_smtp_hosts)
{
    begin_world();
    own_port = 25;
    hosts[0] = (struct smtp_host){.address = address_of("203.0.113.1")};
    settings.smtp_hosts = (struct smtp_host_array){hosts, 1};
    resolve("d.example");
    check_failure(554, "5.4.6");
    hosts[0].port = 2525; /* somebody else listens there */
    resolve("d.example");
    CHECK_STRING(route_addresses(), "203.0.113.1:2525");
    drop();
}

TEST(addresses_are_looked_up_anew_after_a_while)
{
    begin_world();
    add_mx("d.example", 10, "a.example");
    add_address("a.example", "198.51.100.5");
    struct resolver *resolver = resolver_create(&(struct resolver_options){.io = &io});
    for (int i = 0; i < 2; i++) {
        asking = (struct asking){.request.done = on_done};
        resolve_domain(resolver, &asking.request, "d.example", &settings, true, true);
        run();
        CHECK_INT(asking.route != NULL, i == 0);
        drop();
        io.local[0] = address_of("198.51.100.5");
        io.local_count = 1;
        timers_run(&io.timers, io.now_ms += 11000);
    }
    resolver_destroy(resolver);
}

/* ---- prohibited hosts ---- */

TEST(c21_prohibited_addresses_of_mx_hosts_are_skipped)
{
    begin_world();
    add_mx("d.example", 10, "localhost");
    add_mx("d.example", 20, "a.example");
    add_address("localhost", "127.0.0.1");
    add_address("localhost", "::1");
    add_address("a.example", "0.0.0.0");
    add_address("a.example", "192.0.2.1");
    resolve("d.example");
    CHECK_STRING(route_addresses(), "192.0.2.1:25");
    drop();
}

TEST(c21_only_prohibited_addresses_is_a_loop)
{
    begin_world();
    add_mx("d.example", 10, "a.example");
    add_address("a.example", "127.9.9.9");
    resolve("d.example");
    check_failure(554, "5.4.6");
}

TEST(prohibited_hosts_hold_for_implicit_mx_and_address_literals)
{
    begin_world();
    add_address("d.example", "127.0.0.1");
    resolve("d.example");
    check_failure(554, "5.4.6");
    resolve("[127.0.0.1]");
    check_failure(554, "5.4.6");
    resolve("[IPv6:::1]");
    check_failure(554, "5.4.6");
}

TEST(smtp_hosts_may_be_prohibited_ones)
{
    begin_world();
    hosts[0] = (struct smtp_host){.address = address_of("127.0.0.1"), .port = 2525};
    settings.smtp_hosts = (struct smtp_host_array){hosts, 1};
    resolve("d.example");
    CHECK_STRING(route_addresses(), "127.0.0.1:2525");
    CHECK_INT(mx_questions, 0);
    drop();
}

TEST(no_prohibited_hosts_lets_loopback_pass)
{
    begin_world();
    settings.prohibited_hosts.count = 0;
    add_address("d.example", "127.0.0.1");
    resolve("d.example");
    CHECK_STRING(route_addresses(), "127.0.0.1:25");
    drop();
}

/* ---- families ---- */

TEST(c24_families_the_virtual_mta_cannot_use_are_skipped)
{
    begin_world();
    add_mx("d.example", 10, "six.example");
    add_mx("d.example", 20, "four.example");
    add_address("six.example", "2001:db8::1");
    add_address("four.example", "192.0.2.1");
    resolve_families("d.example", true, false);
    CHECK_STRING(route_addresses(), "192.0.2.1:25");
    drop();
    resolve_families("d.example", false, true);
    CHECK_STRING(route_addresses(), "[2001:db8::1]:25");
    drop();
}

TEST(c24_only_hosts_of_the_other_family_is_transient)
{
    begin_world();
    add_mx("d.example", 10, "six.example");
    add_address("six.example", "2001:db8::1");
    resolve_families("d.example", true, false);
    check_failure(451, "4.4.4");
    resolve("[IPv6:2001:db8::1]");
    CHECK_STRING(route_addresses(), "[2001:db8::1]:25");
    drop();
    resolve_families("[IPv6:2001:db8::1]", true, false);
    check_failure(451, "4.4.4");
}

TEST(no_address_of_any_family_bounces)
{
    begin_world();
    add_mx("d.example", 10, "a.example");
    add_mx("a.example", 1, "x.example"); /* the name exists */
    resolve_families("d.example", true, false);
    check_failure(550, "5.4.4");
    resolve("d.example");
    check_failure(550, "5.4.4");
}

TEST(a_virtual_mta_without_addresses_asks_nothing)
{
    begin_world();
    add_mx("d.example", 10, "a.example");
    resolve_families("d.example", false, false);
    check_failure(451, "4.4.4");
    CHECK_INT(mx_questions + address_questions, 0);
}

TEST(both_families_of_a_host_are_tried_in_turn)
{
    begin_world();
    add_mx("d.example", 10, "a.example");
    for (int i = 0; i < 3; i++) {
        char ip[32];
        snprintf(ip, sizeof ip, "2001:db8::%d", i + 1);
        add_address("a.example", ip);
    }
    add_address("a.example", "192.0.2.1");
    resolve("d.example");
    CHECK_STRING(route_addresses(),
                 "[2001:db8::1]:25,192.0.2.1:25,[2001:db8::2]:25,[2001:db8::3]:25");
    drop();
}

/* ---- no MX ---- */

TEST(without_mx_the_domain_itself_is_the_host)
{
    begin_world();
    add_address("d.example", "192.0.2.1");
    resolve("d.example");
    CHECK_STRING(route_hosts(), "d.example");
    drop();
}

/* effect: domain bounce-upon-no-mx */
TEST(bounce_upon_no_mx_bounces_at_once)
{
    begin_world();
    settings.bounce_upon_no_mx_ms = 0;
    add_address("d.example", "192.0.2.1");
    resolve("d.example");
    check_failure(550, "5.1.2");
    CHECK(!asking.request.no_mx);
    CHECK_INT(address_questions, 0);
}

TEST(bounce_upon_no_mx_with_an_age_is_transient_and_says_so)
{
    begin_world();
    settings.bounce_upon_no_mx_ms = 3600000;
    add_address("d.example", "192.0.2.1");
    resolve("d.example");
    check_failure(450, "4.1.2");
    CHECK(asking.request.no_mx);
}

TEST(bounce_upon_no_mx_does_not_hold_where_there_is_an_mx)
{
    begin_world();
    settings.bounce_upon_no_mx_ms = 0;
    add_mx("d.example", 10, "a.example");
    add_address("a.example", "192.0.2.1");
    resolve("d.example");
    CHECK_STRING(route_hosts(), "a.example");
    drop();
}

TEST(c23_a_domain_that_does_not_exist_bounces)
{
    begin_world();
    resolve("nowhere.example");
    check_failure(550, "5.1.2");
}

TEST(c23_a_failed_lookup_is_transient)
{
    begin_world();
    set_status("d.example", DNS_FAILED);
    resolve("d.example");
    check_failure(451, "4.4.3");
    begin_world();
    add_mx("d.example", 10, "a.example");
    set_status("a.example", DNS_FAILED);
    resolve("d.example");
    check_failure(451, "4.4.3");
}

TEST(a_host_that_cannot_be_looked_up_does_not_stop_the_others)
{
    begin_world();
    add_mx("d.example", 10, "a.example");
    add_mx("d.example", 20, "b.example");
    set_status("a.example", DNS_FAILED);
    add_address("b.example", "192.0.2.2");
    resolve("d.example");
    CHECK_STRING(route_hosts(), "b.example");
    drop();
}

TEST(mx_hosts_that_do_not_exist_are_told_from_a_domain_that_does_not)
{
    begin_world();
    add_mx("d.example", 10, "gone.example");
    resolve("d.example");
    check_failure(550, "5.4.4");
}

/* ---- address literals ---- */

TEST(an_address_literal_is_its_own_host)
{
    begin_world();
    resolve("[192.0.2.9]");
    CHECK_STRING(route_hosts(), "[192.0.2.9]");
    CHECK_STRING(route_addresses(), "192.0.2.9:25");
    CHECK_INT(mx_questions + address_questions, 0);
    drop();
}

/* ---- smtp-hosts ---- */

TEST(smtp_hosts_replace_the_mx)
{
    begin_world();
    add_mx("d.example", 10, "a.example");
    add_address("relay1.example", "192.0.2.1");
    add_address("relay2.example", "192.0.2.2");
    hosts[0] = (struct smtp_host){.name = BYTES("relay2.example"), .preference = 1};
    hosts[1] = (struct smtp_host){.name = BYTES("relay1.example"), .port = 587};
    hosts[2] = (struct smtp_host){.address = address_of("192.0.2.3")};
    settings.smtp_hosts = (struct smtp_host_array){hosts, 3};
    settings.default_smtp_port = 26;
    resolve("d.example");
    CHECK_STRING(route_addresses(), "192.0.2.1:587,192.0.2.3:26,192.0.2.2:26");
    CHECK_INT(asking.route->hosts[0].preference, asking.route->hosts[1].preference);
    CHECK(asking.route->hosts[2].preference > asking.route->hosts[1].preference);
    CHECK_INT(mx_questions, 0);
    drop();
}

TEST(lookup_mx_stands_for_the_mx_of_another_domain)
{
    begin_world();
    add_mx("d.example", 10, "a.example");
    add_mx("relay.example", 10, "b.example");
    add_mx("relay.example", 20, "c.example");
    add_address("b.example", "192.0.2.2");
    add_address("c.example", "192.0.2.3");
    add_address("last.example", "192.0.2.9");
    hosts[0] = (struct smtp_host){.name = BYTES("relay.example"), .lookup_mx = true};
    hosts[1] = (struct smtp_host){.name = BYTES("last.example"), .preference = 1};
    settings.smtp_hosts = (struct smtp_host_array){hosts, 2};
    resolve("d.example");
    CHECK_STRING(route_hosts(), "b.example,c.example,last.example");
    drop();
}

TEST(lookup_mx_without_mx_is_that_domain_itself)
{
    begin_world();
    settings.bounce_upon_no_mx_ms = 0; /* is about recipients' domains */
    add_address("relay.example", "192.0.2.4");
    hosts[0] = (struct smtp_host){.name = BYTES("relay.example"), .lookup_mx = true};
    settings.smtp_hosts = (struct smtp_host_array){hosts, 1};
    resolve("d.example");
    CHECK_STRING(route_hosts(), "relay.example");
    drop();
}

/* ---- the route ---- */

TEST(a_route_lives_as_long_as_its_records_within_bounds)
{
    begin_world();
    add_mx("d.example", 10, "a.example");
    add_address("a.example", "192.0.2.1");
    uint64_t begin_ms = io.now_ms;
    resolve("d.example");
    CHECK(asking.route->expires_ms >= begin_ms + 300000);
    CHECK(asking.route->expires_ms <= io.now_ms + 300000);
    drop();
}

TEST(domains_with_the_same_best_hosts_have_the_same_set)
{
    struct mx_hosts seen[3];
    char best[3][MX_HOSTS_LEN_MAX];
    for (int i = 0; i < 3; i++) {
        begin_world();
        seed = (uint64_t)i * 7;
        add_mx("d.example", 10, i == 2 ? "z.example" : "a.example");
        add_mx("d.example", 10, "b.example");
        add_mx("d.example", (uint16_t)(20 + i), i == 1 ? "x.example" : "c.example");
        add_address("a.example", "192.0.2.1");
        add_address("b.example", "192.0.2.2");
        add_address("c.example", "192.0.2.3");
        add_address("x.example", "192.0.2.4");
        add_address("z.example", "192.0.2.5");
        resolve("d.example");
        seen[i] = asking.request.mx;
        memcpy(best[i], seen[i].best.data, seen[i].best.len);
        seen[i].best.data = best[i];
        drop();
    }
    CHECK_BYTES(seen[0].best, "a.example b.example");
    CHECK_BYTES(seen[1].best, "a.example b.example");
    CHECK_BYTES(seen[2].best, "b.example z.example");
    CHECK(seen[0].address_hash == seen[1].address_hash);
    CHECK(seen[0].address_hash != seen[2].address_hash);
    CHECK(seen[0].plan_hash != seen[1].plan_hash); /* the worse ones differ */
}

/* ---- cancelling ---- */

TEST(a_cancelled_request_is_done_without_a_route_whenever_it_is_cancelled)
{
    for (int turns = 0; turns < 20; turns++) {
        begin_world();
        add_mx("d.example", 10, "a.example");
        add_address("a.example", "192.0.2.1");
        struct resolver *resolver = resolver_create(&(struct resolver_options){.io = &io});
        asking = (struct asking){.request.done = on_done};
        resolve_domain(resolver, &asking.request, "d.example", &settings, true, true);
        for (int i = 0; i < turns; i++) {
            timers_run(&io.timers, ++io.now_ms);
        }
        bool early = asking.done_count == 0;
        if (early) {
            resolve_cancel(&asking.request);
            CHECK_INT(asking.done_count, 0);
        }
        run();
        CHECK_INT(asking.done_count, 1);
        CHECK_INT(asking.route == NULL, early);
        CHECK_INT(owned, 0);
        drop();
        resolver_destroy(resolver);
    }
}
