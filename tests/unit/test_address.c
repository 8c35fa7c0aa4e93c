#include "base/address.h"

#include "test.h"

static const char *shown(const char *text)
{
    static char out[ADDRESS_TEXT_MAX];
    struct address address;
    return address_parse(bytes_from_string(text), &address) ? address_text(&address, out) : NULL;
}

TEST(addresses_parse_with_and_without_brackets)
{
    CHECK_STRING(shown("1.2.3.4"), "1.2.3.4");
    CHECK_STRING(shown("[1.2.3.4]"), "1.2.3.4");
    CHECK_STRING(shown("255.100.10.0"), "255.100.10.0");
    CHECK_STRING(shown("9.99.199.101"), "9.99.199.101");
    CHECK_STRING(shown("::1"), "::1");
    CHECK_STRING(shown("[::1]"), "::1");
    CHECK_STRING(shown("[ipv6:2001:DB8::1]"), "2001:db8::1");
}

TEST(what_is_no_address_is_refused_and_output_untouched)
{
    static const char *const bad[] = {"",         "1.2.3",          "1.2.3.4.5",      "1.2.3.256",
                                      ":::",      "[::1",           "::1]",           "[]",
                                      "1.2.3.4 ", "[IPv6:1.2.3.4]", "mx.example.org", "fe80::1%lo"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct address address = {.port = 99};
        CHECK(!address_parse(bytes_from_string(bad[i]), &address));
        CHECK_INT(address.port, 99);
    }
    struct address address;
    CHECK(!address_parse(bytes_of("1.2.3.4\0x", 9), &address));
}

TEST(port_stands_behind_brackets_for_ipv6)
{
    struct address address;
    char out[ADDRESS_TEXT_MAX];
    CHECK(address_parse_port(BYTES("10.0.0.1:2525"), &address));
    CHECK_STRING(address_port_text(&address, out), "10.0.0.1:2525");
    CHECK(address_parse_port(BYTES("[2001:db8::1]:25"), &address));
    CHECK_STRING(address_port_text(&address, out), "[2001:db8::1]:25");
    address.port = 0;
    CHECK_STRING(address_port_text(&address, out), "2001:db8::1");
    CHECK(!address_parse_port(BYTES("::1:25"), &address));
    CHECK(!address_parse_port(BYTES("10.0.0.1"), &address));
    CHECK(!address_parse_port(BYTES("10.0.0.1:"), &address));
    CHECK(!address_parse_port(BYTES("10.0.0.1:0"), &address));
    CHECK(!address_parse_port(BYTES("10.0.0.1:65536"), &address));
    CHECK(!address_parse_port(BYTES(":25"), &address));
}

static bool holds(const char *range_text, const char *text)
{
    struct address_range range;
    struct address address;
    CHECK(address_range_parse(bytes_from_string(range_text), &range));
    CHECK(address_parse(bytes_from_string(text), &address));
    return address_range_holds(&range, &address);
}

TEST(ranges_hold_what_shares_their_prefix)
{
    CHECK(holds("10/8", "10.255.0.1") && !holds("10/8", "11.0.0.0"));
    CHECK(holds("173.194/16", "173.194.9.9") && !holds("173.194/16", "173.195.0.0"));
    CHECK(holds("192.168.1.129/25", "192.168.1.255") && !holds("192.168.1.129/25", "192.168.1.1"));
    CHECK(holds("1.2.3.4", "1.2.3.4") && !holds("1.2.3.4", "1.2.3.5"));
    CHECK(holds("2001:db8::/33", "2001:db8:7fff::1") && !holds("2001:db8::/33", "2001:db8:8000::"));
    CHECK(!holds("10/8", "::1") && !holds("::/0", "10.0.0.1"));
}

TEST(zero_slash_zero_holds_both_families)
{
    CHECK(holds("0/0", "255.1.2.3") && holds("0/0", "2001:db8::1"));
}

TEST(mapped_ipv6_counts_as_ipv4)
{
    CHECK(holds("10/8", "::ffff:10.1.2.3"));
    CHECK(holds("::ffff:10.0.0.0/104", "10.1.2.3"));
    CHECK(holds("::ffff:10.0.0.1", "10.0.0.1"));
}

TEST(range_text_has_masked_base_and_prefix)
{
    struct address_range range;
    char out[ADDRESS_TEXT_MAX];
    CHECK(address_range_parse(BYTES("10.1.2.3/12"), &range));
    CHECK_STRING(address_range_text(&range, out), "10.0.0.0/12");
    CHECK(address_range_parse(BYTES("2001:db8::1"), &range));
    CHECK_STRING(address_range_text(&range, out), "2001:db8::1/128");
}

TEST(bad_ranges_are_refused)
{
    static const char *const bad[] = {"",      "/8",     "10",  "10/33",  "10./8",  "1.2.3.4.5/8",
                                      "256/8", "::/129", "10/", "10/8/8", "0010/8", "x/8"};
    struct address_range range;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK(!address_range_parse(bytes_from_string(bad[i]), &range));
    }
}

TEST(loopback_is_known_in_all_its_forms)
{
    struct address address;
    static const char *const yes[] = {"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"};
    static const char *const no[] = {"128.0.0.1", "::", "::2", "10.0.0.127"};
    for (size_t i = 0; i < 4; i++) {
        CHECK(address_parse(bytes_from_string(yes[i]), &address) && address_is_loopback(&address));
        CHECK(address_parse(bytes_from_string(no[i]), &address) && !address_is_loopback(&address));
    }
}

TEST(hash_and_equality_leave_the_port_out)
{
    struct address a, b;
    CHECK(address_parse_port(BYTES("1.2.3.4:1"), &a) && address_parse_port(BYTES("1.2.3.4:2"), &b));
    CHECK(address_equal_ip(&a, &b) && address_hash(&a) == address_hash(&b));
    CHECK(address_parse(BYTES("102:304::"), &b));
    CHECK(!address_equal_ip(&a, &b) && address_hash(&a) != address_hash(&b));
}
