#include "smtp/unix_lines.h"

#include <string.h>

#include "test.h"

static char memory[1024];

/* Fed in pieces of `step` bytes. */
static const char *converted(const char *text, bool quote_from, size_t step)
{
    struct unix_lines lines;
    struct buffer out;
    buffer_init(&out, memory, sizeof memory - 1);
    unix_lines_init(&lines, quote_from);
    size_t len = strlen(text);
    for (size_t at = 0; at < len; at += step) {
        unix_lines_feed(&lines, bytes_of(text + at, len - at < step ? len - at : step), &out);
    }
    unix_lines_end(&lines, &out);
    memory[out.len] = '\0';
    return memory;
}

static void check_quoted(const char *text, const char *wanted)
{
    for (size_t step = 1; step <= strlen(text) + 1; step++) {
        CHECK_STRING(converted(text, true, step), wanted);
    }
}

static void check_plain(const char *text, const char *wanted)
{
    for (size_t step = 1; step <= strlen(text) + 1; step++) {
        CHECK_STRING(converted(text, false, step), wanted);
    }
}

TEST(lines_end_with_lf_alone)
{
    check_plain("A: b\r\n\r\nFrom me\r\n", "A: b\n\nFrom me\n");
}

TEST(a_cr_without_lf_stays)
{
    check_plain("a\rb\r\r\nc\r", "a\rb\r\nc\r\n");
}

TEST(a_last_line_without_end_gets_one)
{
    check_plain("a\r\nb", "a\nb\n");
    check_plain("", "");
    check_quoted("a\r\nFro", "a\nFro\n");
    check_quoted("From ", ">From \n");
}

TEST(from_lines_are_quoted_and_quoted_ones_once_more)
{
    check_quoted("From x\r\n>From y\r\n>>From z\r\n", ">From x\n>>From y\n>>>From z\n");
}

TEST(what_only_resembles_a_from_line_is_not_quoted)
{
    check_quoted("From: x\r\n From x\r\nfrom x\r\nFrFrom x\r\nFrom\r\n> From x\r\nFr>From x\r\n",
                 "From: x\n From x\nfrom x\nFrFrom x\nFrom\n> From x\nFr>From x\n");
}
