#include "policy/command.h"

#include <string.h>

#include "base/arena.h"
#include "test.h"

static const struct command_values values = {
    .from = {"Me@In.Test", 10},
    .to = {"\"a b\"@Out.Test", 14},
    .user = {"\"a b\"", 5},
    .domain = {"Out.Test", 8},
    .vmta = {"V1", 2},
    .job = {"J1", 2},
};

/* Its words with '|' between them; or '?' and what is wrong with it. */
static const char *words_of(const char *text, const struct command_values *with)
{
    static char out[4096];
    struct error error = {0};
    struct arena *arena = arena_create(COMMAND_BYTES_MAX);
    char **words;
    out[0] = '\0';
    switch (command_words(bytes_from_string(text), with, arena, &words, &error)) {
    case COMMAND_READY:
        for (size_t i = 0; words[i] != NULL; i++) {
            snprintf(out + strlen(out), sizeof out - strlen(out), "%s%s", i == 0 ? "" : "|",
                     words[i]);
        }
        break;
    case COMMAND_WRONG:
        snprintf(out, sizeof out, "?%s", error.text);
        break;
    case COMMAND_OPTION:
        snprintf(out, sizeof out, "-");
        break;
    }
    arena_destroy(arena);
    return out;
}

TEST(blanks_separate_words_and_quotes_group_them)
{
    CHECK_STRING(words_of("/bin/x  a \"b c\" \"\"", &values), "/bin/x|a|b c|");
}

TEST(macros_are_filled_in_within_their_words)
{
    CHECK_STRING(words_of("/x -f $from --to=${to} $user:$domain", &values),
                 "/x|-f|me@in.test|--to=\"a b\"@out.test|\"a b\":out.test");
    CHECK_STRING(words_of("/x $sender $recipient $vmta/$job $envid", &values),
                 "/x|me@in.test|\"a b\"@out.test|V1/J1|");
    CHECK_STRING(words_of("/x $$to 1$$", &values), "/x|$to|1$");
}

TEST(case_is_kept_where_it_is_asked_for)
{
    struct command_values kept = values;
    kept.preserve_case = true;
    CHECK_STRING(words_of("/x $from $domain", &kept), "/x|Me@In.Test|Out.Test");
}

TEST(what_an_address_says_is_never_read_again)
{
    struct command_values hostile = values;
    hostile.to = BYTES("$from;`x`\"|b@c");
    CHECK_STRING(words_of("/x a$to b", &hostile), "/x|a$from;`x`\"|b@c|b");
}

TEST(no_address_becomes_an_option)
{
    struct command_values hostile = values;
    hostile.to = BYTES("-rf@c");
    CHECK_STRING(words_of("/x $to", &hostile), "-");
    CHECK_STRING(words_of("/x $envid$to", &hostile), "-");
    CHECK_STRING(words_of("/x -t$to :$to", &hostile), "/x|-t-rf@c|:-rf@c");
}

TEST(what_is_wrong_is_said)
{
    CHECK_STRING(words_of("", NULL), "?begin it with the whole path of a program");
    CHECK_STRING(words_of("cat x", NULL), "?begin it with the whole path of a program");
    CHECK_STRING(words_of("/x/$user", NULL), "?begin it with the whole path of a program");
    CHECK_STRING(words_of("/x a$nobody b", NULL),
                 "?no macro begins '$nobody' (a dollar sign is $$)");
    CHECK_STRING(words_of("/x ${to", NULL), "?no macro begins '${to' (a dollar sign is $$)");
    CHECK(words_of("/x \"a", NULL)[0] == '?');
    CHECK_STRING(words_of("/x $to", NULL), "/x|");
}

TEST(words_have_a_bound)
{
    char text[300] = "/x";
    for (int i = 0; i < COMMAND_WORDS_MAX; i++) {
        strcat(text, " a");
    }
    CHECK_STRING(words_of(text, NULL), "?more than 64 words");
    static char long_address[9000];
    memset(long_address, 'a', sizeof long_address);
    struct command_values huge = values;
    huge.to = bytes_of(long_address, sizeof long_address);
    CHECK(words_of("/x $to", &huge)[0] == '?');
}
