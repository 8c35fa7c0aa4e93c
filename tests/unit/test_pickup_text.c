#include "smtp/pickup_text.h"

#include <string.h>

#include "test.h"

/* What a line is, a letter, and its address. */
static const char *read(const char *line)
{
    static char out[256];
    struct bytes address = BYTES("");
    static const char letters[] = "srveo?";
    enum pickup_line kind = pickup_read_line(bytes_from_string(line), &address);
    snprintf(out, sizeof out, "%c%.*s", letters[kind], BYTES_FMT(address));
    return out;
}

TEST(lines_of_the_envelope_are_known_by_their_names)
{
    CHECK_STRING(read("x-sender: a@b.c\r\n"), "sa@b.c");
    CHECK_STRING(read("X-Sender:<a@b.c>\n"), "sa@b.c");
    CHECK_STRING(read("x-sender:"), "s");
    CHECK_STRING(read("x-sender: <>\n"), "s");
    CHECK_STRING(read("X-RECEIVER: \"a b\"@c \t\n"), "r\"a b\"@c");
    CHECK_STRING(read("x-sender-override: d@e\n"), "vd@e");
    CHECK_STRING(read("x-envelope-end: yes\n"), "e");
}

TEST(anything_else_begins_the_message)
{
    CHECK_STRING(read("Subject: x-sender: a@b\n"), "o");
    CHECK_STRING(read("x-sender : a@b\n"), "o");
    CHECK_STRING(read(" x-receiver: a@b\n"), "o");
    CHECK_STRING(read("x-receivers: a@b\n"), "o");
    CHECK_STRING(read("\n"), "o");
    CHECK_STRING(read(""), "o");
}

TEST(what_is_more_than_an_address_is_wrong)
{
    CHECK_STRING(read("x-receiver:\n"), "?");
    CHECK_STRING(read("x-receiver: <>\n"), "?");
    CHECK_STRING(read("x-receiver: <a@b> NOTIFY=NEVER\n"), "?");
    CHECK_STRING(read("x-receiver: a@b>\rRSET\n"), "?");
    CHECK_STRING(read("x-sender: a\rb@c\n"), "?");
}

static char memory[1024];

static const char *converted(const char *text, bool remove_dot, size_t step)
{
    struct pickup_body body;
    struct buffer out;
    size_t len = strlen(text);
    buffer_init(&out, memory, sizeof memory - 1);
    pickup_body_init(&body, remove_dot);
    for (size_t at = 0; at < len; at += step) {
        pickup_body_feed(&body, bytes_of(text + at, len - at < step ? len - at : step), &out);
    }
    pickup_body_end(&body, &out);
    memory[out.len] = '\0';
    return memory;
}

static void check(const char *text, bool remove_dot, const char *wanted)
{
    for (size_t step = 1; step <= strlen(text) + 1; step++) {
        CHECK_STRING(converted(text, remove_dot, step), wanted);
    }
}

TEST(lines_end_with_crlf_whatever_they_had)
{
    check("a\nb\r\n\nc", false, "a\r\nb\r\n\r\nc\r\n.\r\n");
    check("", false, ".\r\n");
}

TEST(a_bare_cr_stays_for_the_reception_to_refuse)
{
    check("a\rb\r\r\n\r", false, "a\rb\r\r\n\r\r\n.\r\n");
}

TEST(dots_are_doubled)
{
    check(".\n.a\nb.\n..\n.", false, "..\r\n..a\r\nb.\r\n...\r\n..\r\n.\r\n");
}

TEST(dots_that_are_doubled_already_stay)
{
    check("..\n..a\nb.\n", true, "..\r\n..a\r\nb.\r\n.\r\n");
}

TEST(a_last_line_of_one_dot_is_the_end_and_one_before_is_an_empty_line)
{
    check("a\n.\n", true, "a\r\n.\r\n");
    check("a\n.", true, "a\r\n.\r\n");
    check("a\n.\r\nb\n.\r\n", true, "a\r\n\r\nb\r\n.\r\n");
    check(".\n.\nb", true, "\r\n\r\nb\r\n.\r\n");
    check("a\n.\rb", true, "a\r\n.\rb\r\n.\r\n");
}
