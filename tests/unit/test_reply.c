/* Replies: shapes, caps, enhanced codes, and the same result for any split of the bytes. */
#include "smtp/reply.h"

#include <stdlib.h>

#include "test.h"

static enum reply_result parse(struct reply_parser *parser, const char *text)
{
    size_t consumed;
    reply_parser_init(parser);
    return reply_parser_feed(parser, text, strlen(text), &consumed);
}

static void check_reply(const char *bytes, int code, const char *text)
{
    struct reply_parser parser;
    CHECK_INT(parse(&parser, bytes), REPLY_COMPLETE);
    CHECK_INT(parser.reply.code, code);
    CHECK_BYTES(reply_text(&parser.reply), text);
}

static void check_broken(const char *bytes)
{
    struct reply_parser parser;
    if (parse(&parser, bytes) != REPLY_BROKEN) {
        printf("taken for a reply: \"%s\"\n", bytes);
        CHECK(false);
    }
}

TEST(one_line_gives_code_and_text)
{
    check_reply("250 2.0.0 Ok\r\n", 250, "2.0.0 Ok");
}

TEST(a_code_alone_is_legal)
{
    check_reply("250\r\n", 250, "");
    check_reply("354\n", 354, "");
    check_reply("250 \r\n", 250, "");
}

TEST(lines_are_joined_by_one_space)
{
    check_reply("250-a\r\n250-\r\n250-b\r\n250 c\r\n", 250, "a b c");
    check_reply("550-5.1.1 no\r\n550\r\n", 550, "5.1.1 no");
}

TEST(an_enhanced_code_that_lines_repeat_stands_once)
{
    check_reply("421-4.7.28 an unusual rate of\r\n421-4.7.28 unsolicited\r\n421 4.7.28 mail\r\n",
                421, "4.7.28 an unusual rate of unsolicited mail");
    check_reply("550-#5.1.1 no\r\n550 #5.1.1 such user\r\n", 550, "#5.1.1 no such user");
    check_reply("550-5.7.1 no\r\n550 5.7.15 is another\r\n", 550, "5.7.1 no 5.7.15 is another");
    check_reply("550-no\r\n550 5.1.1 here\r\n", 550, "no 5.1.1 here");
    check_reply("550-5.1.1\r\n550 5.1.1\r\n", 550, "5.1.1 5.1.1");
    check_reply("220-4.7.28 is no code of this\r\n220 4.7.28 b\r\n", 220,
                "4.7.28 is no code of this b");
}

TEST(what_was_cut_stays_cut)
{
    char text[64 + REPLY_TEXT_MAX];
    size_t len = (size_t)sprintf(text, "550-5.1.1 ");
    memset(text + len, 'a', REPLY_TEXT_MAX - 10);
    sprintf(text + len + REPLY_TEXT_MAX - 10, "\r\n550-5.1.1 b\r\n550 5.1.1 c\r\n");
    struct reply_parser parser;
    CHECK_INT(parse(&parser, text), REPLY_COMPLETE);
    CHECK_INT(parser.reply.text_len, REPLY_TEXT_MAX);
    CHECK_BYTES(bytes_slice(reply_text(&parser.reply), REPLY_TEXT_MAX - 6, REPLY_TEXT_MAX),
                "aa 5.1");
}

TEST(c5_a_bare_lf_ends_a_line)
{
    check_reply("250-one\n250 two\n", 250, "one two");
}

TEST(a_cr_inside_a_line_is_text)
{
    check_reply("250 a\rb\r\r\n", 250, "a\rb\r");
}

TEST(c4_what_is_no_reply_is_broken)
{
    static const char *const wrong[] = {
        "abc\r\n",        "999 x\r\n",  "250_x\r\n",          "25\r\n",
        "2\r\n",          "\r\n",       "250-a\r\n251 b\r\n", "199 x\r\n",
        " 250 x\r\n",     "250\rx\r\n", "600 x\r\n",          "\n",
        "2500 x\r\n",     "2x0 x\r\n",  "250\t x\r\n",        "-250 x\r\n",
        "220-a\r\nb\r\n",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        check_broken(wrong[i]);
    }
}

TEST(c4_a_beginning_is_no_reply_yet)
{
    static const char *const parts[] = {"2", "25", "250", "250-", "250 x", "250-x\r\n", "250\r"};
    struct reply_parser parser;
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        CHECK_INT(parse(&parser, parts[i]), REPLY_MORE);
        CHECK(!reply_parser_at_start(&parser));
    }
}

TEST(a_broken_parser_stays_broken)
{
    struct reply_parser parser;
    size_t consumed;
    CHECK_INT(parse(&parser, "x"), REPLY_BROKEN);
    CHECK_INT(reply_parser_feed(&parser, "250 ok\r\n", 8, &consumed), REPLY_BROKEN);
}

TEST(c3_an_endless_line_breaks_at_the_cap)
{
    static char line[REPLY_BYTES_MAX + 100];
    struct reply_parser parser;
    size_t consumed;
    memset(line, 'a', sizeof(line));
    memcpy(line, "220 ", 4);
    reply_parser_init(&parser);
    CHECK_INT(reply_parser_feed(&parser, line, sizeof(line), &consumed), REPLY_BROKEN);
    CHECK_INT(consumed, REPLY_BYTES_MAX);
}

TEST(c3_endless_lines_break_at_the_cap)
{
    struct reply_parser parser;
    size_t consumed;
    enum reply_result result = REPLY_MORE;
    int lines = 0;
    reply_parser_init(&parser);
    while (result == REPLY_MORE && lines < 10000) {
        result = reply_parser_feed(&parser, "220-x\r\n", 7, &consumed);
        lines++;
    }
    CHECK_INT(result, REPLY_BROKEN);
    CHECK_INT(lines, REPLY_LINES_MAX);
}

TEST(c35_a_queue_id_of_64_kib_is_cut)
{
    static char line[64 * 1024 + 64];
    struct reply_parser parser;
    size_t consumed, len = 0;
    len += (size_t)sprintf(line, "250 2.0.0 Ok: queued as ");
    memset(line + len, 'q', 64 * 1024);
    len += 64 * 1024;
    len += (size_t)sprintf(line + len, "\r\n");
    reply_parser_init(&parser);
    CHECK_INT(reply_parser_feed(&parser, line, len, &consumed), REPLY_COMPLETE);
    CHECK_INT(consumed, len);
    CHECK_INT(parser.reply.text_len, REPLY_TEXT_MAX);
}

TEST(the_rest_behind_a_reply_is_left)
{
    struct reply_parser parser;
    size_t consumed;
    const char *two = "250 one\r\n354 two\r\n";
    reply_parser_init(&parser);
    CHECK_INT(reply_parser_feed(&parser, two, strlen(two), &consumed), REPLY_COMPLETE);
    CHECK_INT(consumed, 9);
    CHECK(reply_parser_at_start(&parser));
    CHECK_INT(reply_parser_feed(&parser, two + 9, strlen(two) - 9, &consumed), REPLY_COMPLETE);
    CHECK_INT(parser.reply.code, 354);
    CHECK_BYTES(reply_text(&parser.reply), "two");
}

struct enhanced_row {
    const char *bytes;
    int class, subject, detail;
};

TEST(c18_the_code_wins_over_the_enhanced_code)
{
    static const struct enhanced_row rows[] = {
        {"250 2.1.5 ok\r\n", 2, 1, 5},
        {"550 4.1.1 no\r\n", 5, 1, 1},
        {"421 5.7.32 no\r\n", 4, 7, 32},
        {"550 #5.1.0 no\r\n", 5, 1, 0},
        {"550 5.7.1: no\r\n", 5, 7, 1},
        {"550 5.1.1\r\n", 5, 1, 1},
        {"550-5.7.606 a\r\n550 b\r\n", 5, 7, 606},
        {"250 blocked\r\n", 0, 0, 0},
        {"550 5.1 no\r\n", 0, 0, 0},
        {"550 3.1.1 no\r\n", 0, 0, 0},
        {"550 5.1.1234 no\r\n", 0, 0, 0},
        {"550 1.2.3.4 blocked\r\n", 0, 0, 0},
        {"550 5.1.1.2 no\r\n", 0, 0, 0},
        {"354 2.0.0 go\r\n", 0, 0, 0},
        {"550-a\r\n550 5.1.1 b\r\n", 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct reply_parser parser;
        CHECK_INT(parse(&parser, rows[i].bytes), REPLY_COMPLETE);
        CHECK_INT(parser.reply.enhanced_class, rows[i].class);
        CHECK_INT(parser.reply.enhanced_subject, rows[i].subject);
        CHECK_INT(parser.reply.enhanced_detail, rows[i].detail);
    }
}

TEST(a_made_reply_prints_as_one_line)
{
    struct reply reply;
    char memory[64];
    struct buffer out;
    reply_make(&reply, 554, "5.6.3", "no 8BITMIME here");
    CHECK_INT(reply.enhanced_class, 5);
    CHECK_INT(reply.enhanced_subject, 6);
    CHECK_INT(reply.enhanced_detail, 3);
    buffer_init(&out, memory, sizeof(memory));
    reply_print(&reply, &out);
    CHECK_BYTES(buffer_bytes(&out), "554 5.6.3 no 8BITMIME here");
    buffer_init(&out, memory, 8);
    reply_print(&reply, &out);
    CHECK_BYTES(buffer_bytes(&out), "554 5.6.");
}

struct lines {
    char text[256];
    size_t len;
};

static void on_line(void *owner, uint16_t code, uint32_t number, struct bytes text)
{
    struct lines *lines = owner;
    int n = snprintf(lines->text + lines->len, sizeof(lines->text) - lines->len, "%u/%u/%.*s;",
                     code, number, BYTES_FMT(text));
    lines->len += n > 0 && lines->len + (size_t)n < sizeof(lines->text) ? (size_t)n : 0;
}

TEST(lines_are_told_one_by_one)
{
    struct reply_parser parser;
    struct lines lines = {.len = 0};
    size_t consumed;
    const char *bytes = "250-mx\r\n250-SIZE 10\n250\r\n";
    reply_parser_init(&parser);
    parser.line = on_line;
    parser.owner = &lines;
    CHECK_INT(reply_parser_feed(&parser, bytes, strlen(bytes), &consumed), REPLY_COMPLETE);
    CHECK_STRING(lines.text, "250/0/mx;250/1/SIZE 10;250/2/;");
}

/* All replies of `data` in words, fed in random pieces of at most `piece_max` bytes (0: whole). */
static void describe(const char *data, size_t len, uint32_t seed, size_t piece_max,
                     struct buffer *out)
{
    struct reply_parser parser;
    struct lines lines = {.len = 0};
    reply_parser_init(&parser);
    parser.line = on_line;
    parser.owner = &lines;
    for (size_t at = 0; at < len;) {
        seed = seed * 1664525 + 1013904223;
        size_t piece = piece_max == 0 ? len : 1 + (seed >> 16) % piece_max;
        piece = piece > len - at ? len - at : piece;
        for (size_t done = 0; done < piece;) {
            size_t consumed;
            enum reply_result result =
                reply_parser_feed(&parser, data + at + done, piece - done, &consumed);
            done += consumed;
            if (result == REPLY_COMPLETE) {
                buffer_printf(out, "%u %u.%u.%u [%.*s]\n", parser.reply.code,
                              parser.reply.enhanced_class, parser.reply.enhanced_subject,
                              parser.reply.enhanced_detail, BYTES_FMT(reply_text(&parser.reply)));
            } else if (result == REPLY_BROKEN) {
                buffer_printf(out, "broken at %zu, lines %s\n", at + done, lines.text);
                return;
            }
        }
        at += piece;
    }
    buffer_printf(out, "open %d, lines %s\n", reply_parser_at_start(&parser), lines.text);
}

static size_t random_reply(uint32_t *seed, char *out, size_t max)
{
    static const char *const parts[] = {"250 ", "250-",  "250",  "\r\n", "\n",   "\r", "5.1.1 ",
                                        "x",    "2.0.0", "550 ", "550-", "text", ".",  "\r\r\n"};
    size_t len = 0;
    for (int i = 0; i < 12; i++) {
        *seed = *seed * 1664525 + 1013904223;
        const char *part = parts[(*seed >> 16) % (sizeof(parts) / sizeof(*parts))];
        if (len + strlen(part) < max) {
            memcpy(out + len, part, strlen(part));
            len += strlen(part);
        }
    }
    return len;
}

TEST(any_split_gives_the_same_replies)
{
    uint32_t seed = 7;
    for (int round = 0; round < 20000; round++) {
        char data[128], whole[2048], bytes[2048], pieces[2048];
        struct buffer a, b, c;
        size_t len = random_reply(&seed, data, sizeof(data));
        buffer_init(&a, whole, sizeof(whole));
        buffer_init(&b, bytes, sizeof(bytes));
        buffer_init(&c, pieces, sizeof(pieces));
        describe(data, len, seed, 0, &a);
        describe(data, len, seed, 1, &b);
        describe(data, len, seed, 7, &c);
        CHECK(bytes_equal(buffer_bytes(&a), buffer_bytes(&b)));
        CHECK(bytes_equal(buffer_bytes(&a), buffer_bytes(&c)));
        if (test_failed) {
            printf("%.*s\n", (int)len, data);
            return;
        }
    }
}
