/* What a DNS answer says: records, their lives, caps, and every way to be broken. */
#include "net/dns_answer.h"

#include <stdlib.h>

#include "dns_message.h"
#include "test.h"

static struct dns_message message;
static struct dns_answer answer;

/* From memory of exactly that length, so that reading beyond is seen. */
static bool parse_cut(size_t len, enum dns_type type)
{
    uint8_t *copy = malloc(len == 0 ? 1 : len);
    memcpy(copy, message.bytes, len);
    bool ok = dns_answer_parse(copy, len, type, &answer);
    free(copy);
    return ok;
}

static bool parse(enum dns_type type)
{
    return parse_cut(message.len, type);
}

/* ---- records ---- */

TEST(mx_records_are_read_with_preference_and_host)
{
    message_begin(&message, 1, 0, "example.com", DNS_TYPE_MX);
    message_mx(&message, 300, 20, "mx2.example.com");
    message_mx(&message, 200, 10, "mx1.example.com");
    CHECK(parse(DNS_TYPE_MX));
    CHECK_INT(answer.mx_count, 2);
    CHECK_INT(answer.mx[0].preference, 20);
    CHECK_STRING(answer.mx[0].host, "mx2.example.com");
    CHECK_STRING(answer.mx[1].host, "mx1.example.com");
    CHECK(!answer.is_alias);
}

TEST(a_compressed_host_is_expanded)
{
    message_begin(&message, 1, 0, "example.com", DNS_TYPE_MX);
    size_t start = message_record(&message, MESSAGE_ANSWERS, NULL, DNS_TYPE_MX, 60);
    message_u16(&message, 5);
    message_u8(&message, 2);
    message_u8(&message, 'm');
    message_u8(&message, 'x');
    message_pointer(&message, MESSAGE_QUESTION);
    message_record_end(&message, start);
    CHECK(parse(DNS_TYPE_MX));
    CHECK_STRING(answer.mx[0].host, "mx.example.com");
}

TEST(the_null_mx_is_a_dot)
{
    message_begin(&message, 1, 0, "example.com", DNS_TYPE_MX);
    message_mx(&message, 300, 0, "");
    CHECK(parse(DNS_TYPE_MX));
    CHECK_STRING(answer.mx[0].host, ".");
}

TEST(addresses_of_both_families_are_read)
{
    message_begin(&message, 1, 0, "mx.example.com", DNS_TYPE_A);
    message_a(&message, NULL, 300, 0xc0000201);
    CHECK(parse(DNS_TYPE_A));
    CHECK_INT(answer.address_count, 1);
    CHECK_INT(answer.addresses[0].family, ADDRESS_IPV4);
    CHECK_INT(answer.addresses[0].ip[3], 1);
    message_begin(&message, 1, 0, "mx.example.com", DNS_TYPE_AAAA);
    message_aaaa(&message, 300, 7);
    CHECK(parse(DNS_TYPE_AAAA));
    CHECK_INT(answer.addresses[0].family, ADDRESS_IPV6);
    CHECK_INT(answer.addresses[0].ip[15], 7);
}

TEST(records_of_other_types_classes_and_sections_are_passed_over)
{
    message_begin(&message, 1, 0, "mx.example.com", DNS_TYPE_A);
    size_t start = message_record(&message, MESSAGE_ANSWERS, NULL, 16, 5);
    message_u32(&message, 0x03616263);
    message_record_end(&message, start);
    start = message_record(&message, MESSAGE_ANSWERS, NULL, DNS_TYPE_A, 5);
    message_u32(&message, 1);
    message_record_end(&message, start);
    message.bytes[start - 7] = 3; /* class CHAOS */
    message_a(&message, NULL, 300, 0xc0000201);
    start = message_record(&message, MESSAGE_AUTHORITIES, NULL, DNS_TYPE_A, 5);
    message_u32(&message, 0xc0000209);
    message_record_end(&message, start);
    CHECK(parse(DNS_TYPE_A));
    CHECK_INT(answer.address_count, 1);
    CHECK_INT(answer.addresses[0].ip[3], 1);
    CHECK_INT(answer.ttl_s, 300);
}

TEST(an_alias_is_told_with_the_records_behind_it)
{
    message_begin(&message, 1, 0, "mx.example.com", DNS_TYPE_A);
    message_cname(&message, NULL, 100, "a.example.net");
    message_cname(&message, "A.example.net", 100, "b.example.net");
    message_a(&message, "b.example.net", 300, 0xc0000201);
    CHECK(parse(DNS_TYPE_A));
    CHECK(answer.is_alias);
    CHECK_INT(answer.address_count, 1);
    CHECK_INT(answer.ttl_s, 100);
}

TEST(aliases_in_any_order_are_one_chain)
{
    message_begin(&message, 1, 0, "mx.example.com", DNS_TYPE_A);
    message_a(&message, "b.example.net", 300, 0xc0000201);
    message_cname(&message, "a.example.net", 100, "b.example.net");
    message_cname(&message, NULL, 100, "a.example.net");
    CHECK(parse(DNS_TYPE_A));
    CHECK_INT(answer.address_count, 1);
}

TEST(c23_aliases_that_lead_back_are_broken)
{
    message_begin(&message, 1, 0, "mx.example.com", DNS_TYPE_A);
    message_cname(&message, NULL, 100, "a.example.net");
    message_cname(&message, "a.example.net", 100, "MX.example.com");
    CHECK(!parse(DNS_TYPE_A));
    message_begin(&message, 1, 0, "mx.example.com", DNS_TYPE_A);
    message_cname(&message, NULL, 100, "mx.example.com");
    CHECK(!parse(DNS_TYPE_A));
}

TEST(a_chain_of_sixteen_aliases_is_read_and_a_longer_one_broken)
{
    for (int count = 16; count <= 17; count++) {
        message_begin(&message, 1, 0, "n0.example", DNS_TYPE_A);
        for (int i = 0; i < count; i++) {
            char from[32], to[32];
            snprintf(from, sizeof from, "n%d.example", i);
            snprintf(to, sizeof to, "n%d.example", i + 1);
            message_cname(&message, from, 60, to);
        }
        CHECK_INT(parse(DNS_TYPE_A), count == 16);
    }
}

/* ---- lives ---- */

TEST(the_lowest_ttl_of_the_records_counts)
{
    message_begin(&message, 1, 0, "example.com", DNS_TYPE_MX);
    message_mx(&message, 300, 10, "a.example.com");
    message_mx(&message, 60, 20, "b.example.com");
    message_mx(&message, 900, 30, "c.example.com");
    CHECK(parse(DNS_TYPE_MX));
    CHECK(answer.has_ttl);
    CHECK_INT(answer.ttl_s, 60);
}

TEST(c23_a_ttl_with_the_highest_bit_set_is_zero) /* RFC 2181 8 */
{
    const struct {
        uint32_t ttl_s, wanted;
    } cases[] = {{INT32_MAX, INT32_MAX}, {0x80000000u, 0}, {UINT32_MAX, 0}, {0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        message_begin(&message, 1, 0, "example.com", DNS_TYPE_MX);
        message_mx(&message, cases[i].ttl_s, 10, "a.example.com");
        CHECK(parse(DNS_TYPE_MX));
        CHECK_INT(answer.ttl_s, cases[i].wanted);
    }
}

TEST(a_negative_answer_lives_as_long_as_the_lesser_of_soa_ttl_and_minimum) /* RFC 2308 5 */
{
    const struct {
        uint32_t ttl_s, minimum_s, wanted;
    } cases[] = {{3600, 120, 120}, {90, 120, 90}, {3600, 0, 0}, {0x90000000u, 50, 50}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        message_begin(&message, 1, 3, "example.com", DNS_TYPE_MX);
        message_soa(&message, cases[i].ttl_s, cases[i].minimum_s);
        CHECK(parse(DNS_TYPE_MX));
        CHECK_INT(answer.mx_count, 0);
        CHECK(answer.has_ttl);
        CHECK_INT(answer.ttl_s, cases[i].wanted);
    }
}

TEST(a_negative_answer_without_soa_names_no_ttl)
{
    message_begin(&message, 1, 3, "example.com", DNS_TYPE_MX);
    CHECK(parse(DNS_TYPE_MX));
    CHECK(!answer.has_ttl);
}

/* ---- caps ---- */

TEST(of_two_hundred_mx_the_best_are_kept)
{
    message_begin(&message, 1, 0, "example.com", DNS_TYPE_MX);
    for (int i = 0; i < 200; i++) {
        char host[32];
        snprintf(host, sizeof host, "mx%d.example.com", i);
        message_mx(&message, 300, (unsigned)(1000 - i), host);
    }
    CHECK(parse(DNS_TYPE_MX));
    CHECK_INT(answer.mx_count, DNS_MX_MAX);
    for (uint32_t i = 0; i < answer.mx_count; i++) {
        CHECK(answer.mx[i].preference <= 1000 - 200 + DNS_MX_MAX);
    }
}

TEST(of_a_hundred_addresses_the_first_are_kept)
{
    message_begin(&message, 1, 0, "mx.example.com", DNS_TYPE_A);
    for (uint32_t i = 0; i < 100; i++) {
        message_a(&message, NULL, 300, 0x0a000000 + i);
    }
    CHECK(parse(DNS_TYPE_A));
    CHECK_INT(answer.address_count, DNS_ADDRESSES_MAX);
    CHECK_INT(answer.addresses[DNS_ADDRESSES_MAX - 1].ip[3], DNS_ADDRESSES_MAX - 1);
}

TEST(after_a_thousand_records_nothing_more_is_looked_at)
{
    message_begin(&message, 1, 0, "example.com", DNS_TYPE_MX);
    for (int i = 0; i < 1001; i++) {
        message_mx(&message, 300, i == 1000 ? 1 : 10, "a.example.com");
    }
    CHECK(parse(DNS_TYPE_MX));
    for (uint32_t i = 0; i < answer.mx_count; i++) {
        CHECK_INT(answer.mx[i].preference, 10);
    }
}

/* ---- broken ---- */

static void build_rich(void)
{
    message_begin(&message, 1, 0, "example.com", DNS_TYPE_MX);
    message_cname(&message, NULL, 60, "mail.example.net");
    message_mx(&message, 300, 10, "mx1.example.net");
    message_mx(&message, 300, 20, "mx2.example.net");
    message_soa(&message, 300, 300);
}

TEST(a_message_cut_anywhere_is_broken)
{
    build_rich();
    CHECK(parse(DNS_TYPE_MX));
    for (size_t len = 0; len < message.len; len++) {
        CHECK(!parse_cut(len, DNS_TYPE_MX));
    }
}

TEST(c23_names_that_point_in_a_circle_are_broken)
{
    message_begin(&message, 1, 0, "example.com", DNS_TYPE_MX);
    size_t start = message_record(&message, MESSAGE_ANSWERS, NULL, DNS_TYPE_MX, 60);
    message_u16(&message, 5);
    message_pointer(&message, start + 2); /* to itself */
    message_record_end(&message, start);
    CHECK(!parse(DNS_TYPE_MX));
}

TEST(names_that_point_beyond_the_message_are_broken)
{
    message_begin(&message, 1, 0, "example.com", DNS_TYPE_MX);
    size_t start = message_record(&message, MESSAGE_ANSWERS, NULL, DNS_TYPE_MX, 60);
    message_u16(&message, 5);
    message_pointer(&message, 0x3fff);
    message_record_end(&message, start);
    CHECK(!parse(DNS_TYPE_MX));
}

TEST(a_name_may_not_leave_its_record)
{
    for (int longer = -1; longer <= 1; longer++) {
        message_begin(&message, 1, 0, "example.com", DNS_TYPE_MX);
        size_t start = message_record(&message, MESSAGE_ANSWERS, NULL, DNS_TYPE_MX, 60);
        message_u16(&message, 5);
        message_name(&message, "a.example.com");
        message_record_end(&message, start);
        message.bytes[start - 1] = (uint8_t)(message.bytes[start - 1] + longer);
        message_u32(&message, 0);
        CHECK_INT(parse(DNS_TYPE_MX), longer == 0);
    }
}

TEST(an_address_of_a_wrong_length_is_broken)
{
    message_begin(&message, 1, 0, "mx.example.com", DNS_TYPE_A);
    size_t start = message_record(&message, MESSAGE_ANSWERS, NULL, DNS_TYPE_A, 60);
    message_u16(&message, 0x0a00);
    message_record_end(&message, start);
    CHECK(!parse(DNS_TYPE_A));
}

static bool text_is(uint32_t i, const char *text)
{
    return bytes_equal(answer.texts[i], bytes_from_string(text));
}

TEST(names_of_an_address_are_texts)
{
    message_begin(&message, 1, 0, "1.2.0.192.in-addr.arpa", DNS_TYPE_PTR);
    message_ptr(&message, 60, "a.example.com");
    message_ptr(&message, 60, "b.example.com");
    CHECK(parse(DNS_TYPE_PTR));
    CHECK_INT(answer.text_count, 2);
    CHECK(text_is(0, "a.example.com") && text_is(1, "b.example.com"));
    for (size_t len = 0; len < message.len; len++) {
        CHECK(!parse_cut(len, DNS_TYPE_PTR));
    }
}

TEST(the_strings_of_a_text_are_joined)
{
    message_begin(&message, 1, 0, "example.com", DNS_TYPE_TXT);
    message_txt(&message, 60, "v=spf1 ip4:192.0.2.", "1 -all");
    message_txt(&message, 60, "", "");
    CHECK(parse(DNS_TYPE_TXT));
    CHECK_INT(answer.text_count, 2);
    CHECK(text_is(0, "v=spf1 ip4:192.0.2.1 -all") && text_is(1, ""));
    for (size_t len = 0; len < message.len; len++) {
        CHECK(!parse_cut(len, DNS_TYPE_TXT));
    }
}

TEST(a_string_that_leaves_its_text_is_broken)
{
    message_begin(&message, 1, 0, "example.com", DNS_TYPE_TXT);
    size_t start = message_record(&message, MESSAGE_ANSWERS, NULL, DNS_TYPE_TXT, 60);
    message_u8(&message, 5);
    message_u32(&message, 0);
    message_record_end(&message, start);
    message_u32(&message, 0); /* there is more message, but no more record */
    CHECK(!parse(DNS_TYPE_TXT));
    message_begin(&message, 1, 0, "example.com", DNS_TYPE_TXT);
    start = message_record(&message, MESSAGE_ANSWERS, NULL, DNS_TYPE_TXT, 60);
    message_record_end(&message, start);
    CHECK(!parse(DNS_TYPE_TXT)); /* RFC 1035 3.3.14: one string or more */
}

TEST(of_more_texts_than_are_kept_the_first_are)
{
    char text[256];
    memset(text, 'x', 255);
    text[255] = '\0';
    for (uint32_t count = 1; count <= 100; count += 33) {
        for (int large = 0; large < 2; large++) {
            message_begin(&message, 1, 0, "example.com", DNS_TYPE_TXT);
            for (uint32_t i = 0; i < count; i++) {
                message_txt(&message, 60, large ? text : "y", large ? text : "");
            }
            CHECK(parse(DNS_TYPE_TXT));
            CHECK(answer.text_count <= DNS_TEXTS_MAX && answer.text_count <= count);
            CHECK(answer.text_bytes <= DNS_TEXT_BYTES_MAX);
            CHECK(answer.text_count >= (count < 32 ? count : 31));
        }
    }
}

TEST(more_records_announced_than_there_are_is_broken)
{
    build_rich();
    message.bytes[MESSAGE_ANSWERS] = 0xff;
    CHECK(!parse(DNS_TYPE_MX));
}

TEST(a_host_with_escapes_over_the_length_of_names_is_broken)
{
    char host[256];
    for (size_t i = 0; i < 240; i++) {
        host[i] = i % 60 == 59 ? '.' : '\x01'; /* four bytes each as text */
    }
    host[239] = '\0';
    message_begin(&message, 1, 0, "example.com", DNS_TYPE_MX);
    message_mx(&message, 60, 10, host);
    CHECK(!parse(DNS_TYPE_MX));
}

TEST(any_changed_byte_is_read_within_the_caps)
{
    build_rich();
    struct dns_message whole = message;
    for (size_t at = 0; at < whole.len; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            message = whole;
            message.bytes[at] ^= (uint8_t)(1u << bit);
            (void)parse(DNS_TYPE_MX);
            CHECK(answer.mx_count <= DNS_MX_MAX);
        }
    }
}
