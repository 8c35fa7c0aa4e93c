/* Lines, comments, tags and words. */
#include "policy/syntax.h"

#include "base/rng.h"
#include "policy/words.h"
#include "test.h"

static struct syntax_line first_line(const char *text)
{
    static struct syntax syntax;
    struct syntax_line line = {.kind = SYNTAX_END};
    struct error error;
    uint32_t number;
    if (syntax_begin(&syntax, bytes_from_string(text), &error, &number) == 0) {
        syntax_next(&syntax, &line);
    }
    return line;
}

TEST(a_comment_ends_a_value)
{
    CHECK_BYTES(first_line("a b c # d\n").value, "b c");
    CHECK_BYTES(first_line("a b#c\n").value, "b");
    CHECK_BYTES(first_line("a /x#y/ z\n").value, "/x");
}

TEST(a_hash_in_quotes_is_no_comment)
{
    CHECK_BYTES(first_line("a \"b # c\" d # e\n").value, "\"b # c\" d");
    CHECK_BYTES(first_line("a \"b \\\" # c\" # e\n").value, "\"b \\\" # c\"");
}

TEST(a_lone_quote_opens_nothing)
{
    CHECK_BYTES(first_line("a 5'6\" # c\n").value, "5'6\"");
    CHECK_BYTES(first_line("a \"b # c\n").value, "\"b");
    CHECK_BYTES(first_line("a x\"y # z\" w\n").value, "x\"y");
}

TEST(a_line_of_blanks_and_comment_is_no_line)
{
    struct syntax_line line = first_line("\n  \t \r\n# x\n   #y\na b");
    CHECK_BYTES(line.name, "a");
    CHECK_INT(line.line, 5);
}

TEST(tabs_and_doubled_blanks_separate)
{
    struct syntax_line line = first_line("\t a \t  b   c \t\r\n");
    CHECK_BYTES(line.name, "a");
    CHECK_BYTES(line.value, "b   c");
}

TEST(tags_open_and_close)
{
    struct syntax_line line = first_line("  <domain  $x> # y\n");
    CHECK_INT(line.kind, SYNTAX_OPEN);
    CHECK_BYTES(line.name, "domain");
    CHECK_BYTES(line.value, "$x");
    line = first_line("</domain>");
    CHECK_INT(line.kind, SYNTAX_CLOSE);
    CHECK_BYTES(line.name, "domain");
    line = first_line("<acct-file \"|a > b # c\">\n");
    CHECK_INT(line.kind, SYNTAX_OPEN);
    CHECK_BYTES(line.value, "\"|a > b # c\"");
}

TEST(a_tag_that_is_none_is_wrong)
{
    static const char *const tags[] = {"<", "<>", "</>", "<a", "<a> b", "</a b>", "< >"};
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
        struct syntax_line line = first_line(tags[i]);
        CHECK_INT(line.kind, SYNTAX_WRONG);
        CHECK(line.problem != NULL);
    }
}

TEST(columns_are_characters_from_one)
{
    struct syntax_line line = first_line("  ü  x\n");
    CHECK_INT(syntax_column(&line, line.name.data), 3);
    CHECK_INT(syntax_column(&line, line.value.data), 6);
    CHECK_INT(syntax_column(&line, NULL), 0);
}

TEST(a_list_goes_on_with_the_next_line_that_is_no_tag)
{
    struct syntax syntax;
    struct syntax_line line;
    struct error error;
    uint32_t number;
    syntax_begin(&syntax, BYTES("m a,\n\n b, # c\n<x>\nm y"), &error, &number);
    syntax_next(&syntax, &line);
    CHECK(syntax_continue(&syntax, BYTES("m"), &line));
    CHECK_BYTES(line.value, "b,");
    CHECK_INT(line.line, 3);
    CHECK(!syntax_continue(&syntax, BYTES("m"), &line));
    CHECK_INT(syntax_next(&syntax, &line), SYNTAX_OPEN);
    CHECK(!syntax_continue(&syntax, BYTES("m"), &line));
    CHECK_INT(syntax_next(&syntax, &line), SYNTAX_DIRECTIVE);
    CHECK_INT(syntax_next(&syntax, &line), SYNTAX_END);
}

static struct arena *arena;

static struct words words_of(const char *text)
{
    if (arena == NULL) {
        arena = arena_create(1 << 16);
    }
    return (struct words){.text = bytes_from_string(text), .arena = arena};
}

TEST(quotes_group_and_escape)
{
    struct words words = words_of("a \"b c\" \"d\\\"e\\\\f\\g\" \"\"");
    struct word word;
    CHECK_INT(words_next(&words, &word), WORDS_WORD);
    CHECK_BYTES(word.text, "a");
    CHECK(!word.quoted);
    CHECK_INT(words_next(&words, &word), WORDS_WORD);
    CHECK_BYTES(word.text, "b c");
    CHECK(word.quoted);
    CHECK_INT(words_next(&words, &word), WORDS_WORD);
    CHECK_BYTES(word.text, "d\"e\\f\\g");
    CHECK_INT(words_next(&words, &word), WORDS_WORD);
    CHECK_BYTES(word.text, "");
    CHECK(word.quoted);
    CHECK_INT(words_next(&words, &word), WORDS_END);
    arena_destroy(arena);
    arena = NULL;
}

TEST(a_quote_is_closed_and_stands_alone)
{
    struct words open = words_of("\"a b"), touches = words_of("\"a\"b");
    struct word word;
    CHECK_INT(words_next(&open, &word), WORDS_QUOTE_OPEN);
    CHECK_INT(words_next(&touches, &word), WORDS_QUOTE_TOUCHES);
    arena_destroy(arena);
    arena = NULL;
}

TEST(a_regex_goes_to_the_next_slash_that_is_not_escaped)
{
    struct words words = words_of("/a b\\/c\\\\/ d");
    struct word word;
    CHECK_INT(words_next_regex(&words, &word), WORDS_WORD);
    CHECK(word.regex);
    CHECK_BYTES(word.text, "a b\\/c\\\\");
    CHECK_BYTES(words_rest(&words), "d");
    struct words open = words_of("/a b\\/");
    CHECK_INT(words_next_regex(&open, &word), WORDS_REGEX_OPEN);
    struct words everything = words_of("//");
    CHECK_INT(words_next_regex(&everything, &word), WORDS_WORD);
    CHECK_INT(word.text.len, 0);
    arena_destroy(arena);
    arena = NULL;
}

/* Whatever the bytes: every line lies in the text, none overlaps, and the end is reached. */
TEST(any_bytes_are_lines)
{
    static const char letters[] = "ab <>/\"\\#\n\r\t,$";
    struct rng rng;
    rng_init(&rng, 1);
    for (int round = 0; round < 20000; round++) {
        char text[64];
        size_t len = rng_below(&rng, sizeof(text));
        for (size_t i = 0; i < len; i++) {
            text[i] = letters[rng_below(&rng, sizeof(letters) - 1)];
        }
        struct syntax syntax;
        struct syntax_line line;
        struct error error;
        uint32_t number, last = 0;
        CHECK_INT(syntax_begin(&syntax, bytes_of(text, len), &error, &number), 0);
        while (syntax_next(&syntax, &line) != SYNTAX_END) {
            CHECK(line.line > last);
            CHECK(line.whole.data >= text && line.whole.data + line.whole.len <= text + len);
            CHECK(line.whole.len > 0);
            last = line.line;
        }
    }
}
