/* Regular expressions, and what a hostile subject can cost. */
#include "policy/pattern.h"

#include <stdlib.h>

#include "hostile_text.h"
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
    pattern_subject(matcher, bytes_from_string(subject));
    return pattern == NULL ? PATTERN_NO : pattern_match(matcher, pattern);
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

TEST(a_match_says_where_it_begins)
{
    CHECK_INT(match("try again", "451 4.7.1 Greylisted, try again"), PATTERN_MATCH);
    CHECK_INT(pattern_match_start(matcher), 22);
    CHECK_INT(match("greylisted.*\\Kagain", "451 4.7.1 Greylisted, try again"), PATTERN_MATCH);
    CHECK_INT(pattern_match_start(matcher), 26);
    done();
}

/* ---- what a hostile subject can cost ---- */

/* Expressions that are known to be slow, from operators' lists and from reports of such attacks. */
static const char *const costly[] = {
    "(a+)+b",
    "(a+)+$",
    "(a|a)*b",
    "(a|aa)+$",
    "(a|b|ab)*c",
    "(.*)*x2",
    "(a*)*c",
    "a*a*a*a*b",
    ".*.*.*=.*",
    "(.*)(.*)(.*)z1",
    "(x+x+)+y",
    "(?:a?){100}a{100}",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "([a-z]+)*@([a-z]+)*\\.9",
    "(?:.{1,10}a){20}q",
    "(?:(?:a|aa)+@)+ ",
    "a.*b.*c.*d.*e1",
    "x?x?x?x?x?(ab)+1",
    "\\b\\w+\\b\\s*\\b\\w*1$",
    "(\\w*)\\s*\\1z",
    "(.)(.)*\\2\\1 9",
    "\\S+@\\S+ +(is +)?(not +)?(valid|known)x",
    "(user|mailbox|address) +(\\S+@\\S+ +)?(not known|unknown)",
    "(\\S+\\s*)+,",
    "(\\w+ )*unknown1",
    "(?=.*z9)a",
    "(?:a(?!.*q))+9",
    "a.{0,200}b.{0,200}9",
    "\\d+\\.\\d+\\.\\d+\\.\\d+ .*listed9",
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define HOSTILE_LEN  (1 << 20)

/* The least of three: somebody else's moment on this core is not the expression's cost. */
static int64_t cost_us(const struct pattern *const *list, size_t count, struct bytes subject)
{
    int64_t least = INT64_MAX;
    for (int i = 0; i < 3; i++) {
        int64_t from = cpu_us();
        pattern_subject(matcher, subject);
        for (size_t k = 0; k < count && pattern_match(matcher, list[k]) != PATTERN_LIMIT; k++) {
        }
        int64_t took = cpu_us() - from;
        least = took < least ? took : least;
    }
    return least;
}

static const struct pattern *compile(const char *expression)
{
    struct error error;
    const struct pattern *pattern = pattern_compile(&set, bytes_from_string(expression), &error);
    CHECK(pattern != NULL);
    return pattern;
}

/* The worst over all subjects, of a list against each. */
static int64_t worst_us(const struct pattern *const *list, size_t count)
{
    char *subject = malloc(HOSTILE_LEN);
    int64_t worst = 0;
    for (size_t i = 0; i < HOSTILE_UNITS * 4; i++) {
        size_t len = i % 2 == 0 ? HOSTILE_LEN : 300;
        hostile_fill(subject, hostile_units[i / 4], len, PATTERN_SUBJECT_MAX, i / 2 % 2 == 0);
        int64_t took = cost_us(list, count, bytes_of(subject, len));
        worst = took > worst ? took : worst;
    }
    free(subject);
    return worst;
}

TEST(c38_a_megabyte_against_one_costly_expression_is_over_soon)
{
    matcher = pattern_matcher_create();
    for (size_t i = 0; i < COUNT(costly) * 2; i++) {
        char expression[128];
        snprintf(expression, sizeof expression, "%s%s", i % 2 == 0 ? "" : "^", costly[i / 2]);
        const struct pattern *pattern = compile(expression);
        int64_t us = worst_us(&pattern, 1);
        if (us >= 5000) {
            printf("%s took %lld us\n", expression, (long long)us);
        }
        CHECK(us < 5000);
    }
    done();
}

TEST(c38_a_megabyte_against_a_list_of_costly_expressions_is_over_soon)
{
    const struct pattern *list[COUNT(costly)];
    matcher = pattern_matcher_create();
    for (size_t i = 0; i < COUNT(costly); i++) {
        list[i] = compile(costly[i]);
    }
    int64_t us = worst_us(list, COUNT(costly));
    if (us >= 5000) {
        printf("took %lld us\n", (long long)us);
    }
    CHECK(us < 5000);
    done();
}

TEST(what_is_too_costly_is_said_and_the_next_subject_has_its_own_steps)
{
    char subject[PATTERN_SUBJECT_MAX];
    hostile_fill(subject, "a", sizeof subject, sizeof subject, false);
    CHECK_INT(match("(a+)+b", "aaaab"), PATTERN_MATCH);
    const struct pattern *pattern = compile("(a+)+$9|b(a+)+c");
    const struct pattern *plain = compile("aaa$");
    subject[0] = 'b';
    subject[sizeof subject - 5] = 'c'; /* not reached, but there */
    pattern_subject(matcher, bytes_of(subject, sizeof subject));
    subject[sizeof subject - 5] = 'd';
    subject[sizeof subject - 1] = 'c';
    CHECK_INT(pattern_match(matcher, pattern), PATTERN_LIMIT);
    CHECK_INT(pattern_match(matcher, plain), PATTERN_NO);
    pattern_subject(matcher, BYTES("baaac"));
    CHECK_INT(pattern_match(matcher, pattern), PATTERN_MATCH);
    done();
}

TEST(a_search_that_needs_more_steps_than_most_gets_them)
{
    char subject[400];
    hostile_fill(subject, "a", sizeof subject, sizeof subject, false);
    memcpy(subject + 390, "a@b c", 5);
    matcher = pattern_matcher_create();
    pattern_subject(matcher, bytes_of(subject, sizeof subject));
    CHECK_INT(pattern_match(matcher, compile("^\\S+\\s?@b c")), PATTERN_MATCH);
    CHECK_INT(pattern_match(matcher, compile("^a*a@b ca")), PATTERN_MATCH);
    done();
}
