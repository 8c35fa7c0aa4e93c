#include <string.h>

#include "commands_text.c"
#include "test.h"

static char memory[TEXT_CELL_MAX];
static struct buffer out;

static struct bytes begin(void)
{
    buffer_init(&out, memory, sizeof memory);
    return buffer_bytes(&out);
}

static const char *done(void)
{
    memory[out.len] = '\0';
    return memory;
}

static const char *safe(struct bytes text)
{
    begin();
    text_put_safe(&out, text);
    return done();
}

TEST(plain_text_stays_as_it_is)
{
    CHECK_STRING(safe(BYTES("421 4.7.0 Try later (a.com)")), "421 4.7.0 Try later (a.com)");
    CHECK_STRING(safe(BYTES("münchen 東京 🙂")), "münchen 東京 🙂");
}

TEST(escape_sequences_do_not_reach_a_terminal)
{
    CHECK_STRING(safe(BYTES("\x1b[2J\r\n\t\x7f")), "\\x1b[2J\\x0d\\x0a\\x09\\x7f");
    CHECK_STRING(safe(BYTES("\xc2\x9b"
                            "31m")),
                 "\\u009b31m");
    CHECK_STRING(safe(bytes_of("a\0b", 3)), "a\\x00b");
}

TEST(marks_that_turn_the_direction_of_text_are_shown)
{
    CHECK_STRING(safe(BYTES("\u202egnp")), "\\u202egnp");
    CHECK_STRING(safe(BYTES("a\u200bb\u2066\ufeff")), "a\\u200bb\\u2066\\ufeff");
}

TEST(bytes_that_are_no_utf8_are_shown_one_by_one)
{
    CHECK_STRING(safe(BYTES("\xff\xc3(\xe2\x82")), "\\xff\\xc3(\\xe2\\x82");
}

TEST(what_does_not_fit_is_cut_between_characters)
{
    buffer_init(&out, memory, 6);
    text_put_safe(&out, BYTES("abcd\u20ac"));
    CHECK_STRING(done(), "abcd");
    buffer_init(&out, memory, 6);
    text_put_safe(&out, BYTES("abcd\x1b"));
    CHECK_STRING(done(), "abcd");
}

TEST(counts_have_separators)
{
    const struct {
        uint64_t count;
        const char *text;
    } rows[] = {{0, "0"},
                {999, "999"},
                {1000, "1,000"},
                {123456, "123,456"},
                {1234567, "1,234,567"},
                {UINT64_MAX, "18,446,744,073,709,551,615"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin();
        text_put_count(&out, rows[i].count);
        CHECK_STRING(done(), rows[i].text);
    }
}

TEST(sizes_are_in_words)
{
    const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {{0, "0 B"},
                {1023, "1023 B"},
                {1024, "1.0 KB"},
                {1536, "1.5 KB"},
                {102399, "99.9 KB"},
                {102400, "100 KB"},
                {1ull << 20, "1.0 MB"},
                {(1ull << 30) * 250, "250 GB"},
                {UINT64_MAX, "15.9 EB"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin();
        text_put_size(&out, rows[i].bytes);
        CHECK_STRING(done(), rows[i].text);
    }
}

TEST(ages_are_in_words)
{
    const struct {
        uint64_t ms;
        const char *text;
    } rows[] = {{0, "0s"},           {999, "0s"},          {59999, "59s"},
                {60000, "1m"},       {3599999, "59m"},     {7500000, "2h 5m"},
                {86400000, "1d 0h"}, {273600000, "3d 4h"}, {UINT64_MAX, "213503982334d 14h"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin();
        text_put_age(&out, rows[i].ms);
        CHECK_STRING(done(), rows[i].text);
    }
}

TEST(width_and_cut_count_characters)
{
    CHECK_INT(text_width(BYTES("aé東")), 3);
    CHECK_INT(text_cut(BYTES("aé東b"), 3).len, 6);
    CHECK_INT(text_cut(BYTES("ab"), 5).len, 2);
    CHECK_INT(text_cut(BYTES("ab"), 0).len, 0);
}

TEST(a_column_grows_with_its_cells_up_to_a_limit)
{
    struct text_column column = {.header = "name"};
    text_column_fit(&column, BYTES("a"));
    CHECK_INT(column.width, 4);
    text_column_fit(&column, BYTES("longer"));
    CHECK_INT(column.width, 6);
    memset(memory, 'x', sizeof memory);
    text_column_fit(&column, bytes_of(memory, sizeof memory));
    CHECK_INT(column.width, TEXT_WIDTH_MAX);
}

TEST(text_of_any_length_is_printed_whole)
{
    char text[3000], printed[20000];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = i % 3 == 0 ? '\x1b' : 'x';
    }
    FILE *stream = fmemopen(printed, sizeof printed, "w");
    text_print(stream, bytes_of(text, sizeof text));
    long len = ftell(stream);
    fclose(stream);
    CHECK_INT(len, 2000 + 4 * 1000);
}

static const char *domain(const char *text)
{
    begin();
    text_put_domain(&out, bytes_from_string(text));
    return done();
}

TEST(a_domain_is_put_as_the_daemon_keeps_it)
{
    CHECK_STRING(domain("GMail.COM"), "gmail.com");
    CHECK_STRING(domain("München.example"), "xn--mnchen-3ya.example");
    CHECK_STRING(domain("*.Example.org"), "*.example.org");
    CHECK_STRING(domain("[192.0.2.1]"), "[192.0.2.1]");
}
