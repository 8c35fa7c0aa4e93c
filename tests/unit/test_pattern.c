/* Regular expressions, and what a hostile subject can cost. */
#include "policy/pattern.h"

#include <stdlib.h>
#include <time.h>

#include "test.h"

static struct pattern_set set;
static struct pattern_matcher *matcher;

static enum pattern_result match(const char *expression, const char *subject)
{
    struct error error;
    const struct pattern *pattern = pattern_compile(&set, bytes_from_string(expression), &error);
    if (matcher == NULL) {
        matcher = pattern_matcher_create();
    }
    CHECK(pattern != NULL);
    return pattern == NULL ? PATTERN_NO
                           : pattern_match(matcher, pattern, bytes_from_string(subject));
}

static void done(void)
{
    pattern_set_deinit(&set);
    pattern_matcher_destroy(matcher);
    matcher = NULL;
}

TEST(case_is_ignored_unless_asked_for)
{
    CHECK_INT(match("too many", "421 TOO MANY mails"), PATTERN_MATCH);
    CHECK_INT(match("(?-i)too many", "421 TOO MANY mails"), PATTERN_NO);
    done();
}

TEST(an_empty_expression_matches_everything)
{
    CHECK_INT(match("", ""), PATTERN_MATCH);
    CHECK_INT(match("", "x"), PATTERN_MATCH);
    done();
}

TEST(an_escaped_slash_is_a_slash)
{
    CHECK_INT(match("a\\/b", "xa/by"), PATTERN_MATCH);
    done();
}

TEST(utf8_matches_and_broken_utf8_does_no_harm)
{
    CHECK_INT(match("recipients – possible", "550 recipients – possible spam"), PATTERN_MATCH);
    CHECK_INT(match("usu.rio", "550 usuário inativo"), PATTERN_MATCH);
    CHECK_INT(match("spam", "\xff\xfe spam \xc3"), PATTERN_MATCH);
    CHECK_INT(match("ham", "\xff\xfe spam \xc3"), PATTERN_NO);
    done();
}

TEST(k3_a_wrong_expression_says_where)
{
    struct error error;
    CHECK(pattern_compile(&set, BYTES("a(b"), &error) == NULL);
    CHECK(strstr(error.text, "/a(b/ is wrong at offset 3: missing closing parenthesis") != NULL);
    CHECK(pattern_compile(&set, BYTES("a\\Cb"), &error) == NULL);
    done();
}

TEST(an_expression_has_a_largest_size)
{
    struct error error;
    char *text = malloc(PATTERN_LEN_MAX + 1);
    memset(text, 'a', PATTERN_LEN_MAX + 1);
    CHECK(pattern_compile(&set, bytes_of(text, PATTERN_LEN_MAX + 1), &error) == NULL);
    free(text);
    done();
}

TEST(c38_a_megabyte_against_catastrophic_expressions_is_over_soon)
{
    static const char *const expressions[] = {"(a+)+$",
                                              "(a|a)*b",
                                              "(.*)*x",
                                              "(a*)*c",
                                              "^(([a-z])+.)+[A-Z]([a-z])+$",
                                              "a*a*a*a*b",
                                              ".*.*.*=.*",
                                              "(?:a?){100}a{100}",
                                              "(x+x+)+y",
                                              "(a|aa)+$"};
    size_t len = 1 << 20;
    char *subject = malloc(len);
    memset(subject, 'a', len);
    matcher = pattern_matcher_create();
    for (size_t i = 0; i < sizeof(expressions) / sizeof(expressions[0]); i++) {
        struct error error;
        struct timespec from, to;
        const struct pattern *pattern =
            pattern_compile(&set, bytes_from_string(expressions[i]), &error);
        CHECK(pattern != NULL);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
        pattern_match(matcher, pattern, bytes_of(subject, len));
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
        int64_t us = (to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000;
        if (us >= 5000) {
            printf("%s took %lld us\n", expressions[i], (long long)us);
        }
        CHECK(us < 5000);
    }
    free(subject);
    done();
}
