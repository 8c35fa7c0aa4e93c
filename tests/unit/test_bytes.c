#include "base/bytes.h"

#include <stdlib.h>

#include "test.h"

TEST(equal_nocase_ignores_only_ascii_case)
{
    CHECK(bytes_equal_nocase(BYTES("Example.ORG"), BYTES("eXAMPLE.org")));
    CHECK(!bytes_equal_nocase(BYTES("a@"), BYTES("a`")));
    CHECK(!bytes_equal_nocase(BYTES("\xC3\x84"), BYTES("\xC3\xA4")));
}

TEST(prefix_and_suffix_longer_than_the_text_do_not_match)
{
    CHECK(bytes_starts_with(BYTES("MAIL FROM"), BYTES("MAIL")));
    CHECK(!bytes_starts_with(BYTES("mail"), BYTES("MAIL")));
    CHECK(bytes_starts_with_nocase(BYTES("mail"), BYTES("MAIL")));
    CHECK(!bytes_starts_with(BYTES("MA"), BYTES("MAIL")));
    CHECK(bytes_ends_with_nocase(BYTES("mx.Example.org"), BYTES(".example.ORG")));
    CHECK(!bytes_ends_with_nocase(BYTES("org"), BYTES(".org")));
}

TEST(find_begins_at_from)
{
    CHECK_INT(bytes_find(BYTES("a@b@c"), '@', 0), 1);
    CHECK_INT(bytes_find(BYTES("a@b@c"), '@', 2), 3);
    CHECK_INT(bytes_find(BYTES("a@b@c"), '@', 4), -1);
    CHECK_INT(bytes_find(BYTES("a"), 'a', 9), -1);
    CHECK_INT(bytes_find(bytes_from_string(NULL), 'a', 0), -1);
}

TEST(slice_is_clamped)
{
    CHECK_BYTES(bytes_slice(BYTES("abcdef"), 2, 4), "cd");
    CHECK_BYTES(bytes_slice(BYTES("abcdef"), 4, 99), "ef");
    CHECK_INT(bytes_slice(BYTES("abc"), 7, 9).len, 0);
    CHECK_INT(bytes_slice(BYTES("abc"), 2, 1).len, 0);
}

TEST(trim_takes_blanks_from_both_ends)
{
    CHECK_BYTES(bytes_trim(BYTES(" \t a b\t ")), "a b");
    CHECK_INT(bytes_trim(BYTES(" \t ")).len, 0);
}

TEST(hash_nocase_is_the_hash_of_the_lower_case)
{
    char upper[64], lower[64];
    for (size_t len = 0; len <= sizeof(upper); len++) {
        for (size_t i = 0; i < len; i++) {
            upper[i] = (char)(i * 37 + len * 11);
            lower[i] = upper[i] >= 'A' && upper[i] <= 'Z' ? (char)(upper[i] | 0x20) : upper[i];
        }
        CHECK(bytes_hash_nocase(bytes_of(upper, len)) == bytes_hash(bytes_of(lower, len)));
    }
}

TEST(hash_tells_zeros_of_different_length_apart)
{
    static const char zeros[32];
    for (size_t len = 0; len < sizeof(zeros); len++) {
        CHECK(bytes_hash(bytes_of(zeros, len)) != bytes_hash(bytes_of(zeros, len + 1)));
    }
}

TEST(hash_spreads_over_low_bits)
{
    uint32_t rows[256] = {0}, fullest = 0;
    for (uint64_t i = 0; i < 25600; i++) {
        uint64_t row = bytes_hash(bytes_of((const char *)&i, sizeof(i))) & 255;
        rows[row]++;
        fullest = rows[row] > fullest ? rows[row] : fullest;
    }
    CHECK(fullest < 160);
}

TEST(number_refuses_signs_overflow_and_more_than_max)
{
    uint64_t n = 7;
    CHECK(bytes_to_u64(BYTES("18446744073709551615"), UINT64_MAX, &n) && n == UINT64_MAX);
    CHECK(bytes_to_u64(BYTES("007"), 7, &n) && n == 7);
    const char *bad[] = {"", "+1", "-1", " 1", "1 ", "8", "18446744073709551616", "0x1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK(!bytes_to_u64(bytes_from_string(bad[i]), 7, &n));
        CHECK_INT(n, 7);
    }
    CHECK(!bytes_to_u64(BYTES("18446744073709551616"), UINT64_MAX, &n));
}

TEST(string_copy_ends_with_nul)
{
    char *copy = bytes_to_string(bytes_of("abcdef", 3));
    CHECK_STRING(copy, "abc");
    free(copy);
}

TEST(buffer_refuses_whole_what_does_not_fit)
{
    char memory[4];
    struct buffer b;
    buffer_init(&b, memory, sizeof(memory));
    CHECK(buffer_put_string(&b, "abc"));
    CHECK(!buffer_put_string(&b, "de"));
    CHECK(b.overflowed);
    CHECK(buffer_put_char(&b, 'd'));
    CHECK_BYTES(buffer_bytes(&b), "abcd");
    CHECK(b.overflowed);
    buffer_clear(&b);
    CHECK(!b.overflowed && b.len == 0);
}

TEST(buffer_prints_numbers)
{
    char memory[32];
    struct buffer b;
    buffer_init(&b, memory, sizeof(memory));
    CHECK(buffer_put_u64(&b, UINT64_MAX));
    CHECK(buffer_put_u64(&b, 0));
    CHECK_BYTES(buffer_bytes(&b), "184467440737095516150");
    CHECK(!buffer_put_u64(&b, UINT64_MAX));
}

TEST(printf_may_fill_the_buffer_to_the_last_byte)
{
    char memory[6] = "12345!";
    struct buffer b;
    buffer_init(&b, memory, 5);
    CHECK(buffer_printf(&b, "%s-%d", "ab", 42) && b.len == 5);
    CHECK_BYTES(buffer_bytes(&b), "ab-42");
    CHECK(memory[5] == '!');
    CHECK(buffer_printf(&b, "%s", ""));
    CHECK(!buffer_printf(&b, "x"));
    CHECK_INT(b.len, 5);
    CHECK(b.overflowed);
}

TEST(consume_moves_the_rest_to_the_front)
{
    char memory[8];
    struct buffer b;
    buffer_init(&b, memory, sizeof(memory));
    buffer_put_string(&b, "abcdef");
    buffer_consume(&b, 4);
    CHECK_BYTES(buffer_bytes(&b), "ef");
    buffer_consume(&b, 2);
    CHECK_INT(b.len, 0);
}

TEST(a_byte_over_127_is_found_at_every_place)
{
    char text[40];
    for (size_t len = 0; len <= sizeof(text); len++) {
        memset(text, 'a', sizeof(text));
        CHECK(bytes_is_ascii(bytes_of(text, len)));
        for (size_t at = 0; at < len; at++) {
            text[at] = (char)0x80;
            CHECK(!bytes_is_ascii(bytes_of(text, len)));
            text[at] = 0x7f;
        }
    }
}

TEST(a_part_is_found_whatever_its_case_and_place)
{
    CHECK(bytes_contains_nocase(BYTES("452 Too Many recipients"), BYTES("too many")));
    CHECK(bytes_contains_nocase(BYTES("too many"), BYTES("too many")));
    CHECK(!bytes_contains_nocase(BYTES("too man"), BYTES("too many")));
    CHECK(bytes_contains_nocase(BYTES("x"), BYTES("")));
}
