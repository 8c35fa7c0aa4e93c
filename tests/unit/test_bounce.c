/* The category and class of a reply. */
#include "policy/bounce.h"

#include "smtp/reply.h"
#include "test.h"

struct verdict_case {
    uint16_t code;
    const char *enhanced; /* NULL: none */
    const char *category, *class;
};

static void check(const struct verdict_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct reply reply = {.code = cases[i].code};
        if (cases[i].enhanced != NULL) {
            reply_make(&reply, cases[i].code, cases[i].enhanced, "text");
        }
        struct bounce_verdict verdict = bounce_classify(&reply);
        if (strcmp(verdict.category, cases[i].category) != 0 ||
            strcmp(verdict.class, cases[i].class) != 0) {
            printf("%u %s\n", cases[i].code, cases[i].enhanced == NULL ? "" : cases[i].enhanced);
        }
        CHECK_STRING(verdict.category, cases[i].category);
        CHECK_STRING(verdict.class, cases[i].class);
    }
}

TEST(an_enhanced_code_decides)
{
    static const struct verdict_case cases[] = {
        {550, "5.1.1", "bad-mailbox", "hard"},
        {550, "5.1.6", "bad-mailbox", "hard"},
        {550, "5.1.2", "bad-domain", "hard"},
        {550, "5.1.7", "invalid-sender", "technical"},
        {550, "5.1.8", "invalid-sender", "technical"},
        {556, "5.1.10", "bad-domain", "hard"},
        {550, "5.2.0", "bad-mailbox", "hard"},
        {550, "5.2.1", "inactive-mailbox", "hard"},
        {552, "5.2.2", "quota-issues", "soft"},
        {552, "5.2.3", "content-related", "soft"},
        {550, "5.3.3", "content-related", "technical"},
        {552, "5.3.4", "content-related", "soft"},
        {550, "5.3.5", "bad-configuration", "technical"},
        {550, "5.4.1", "no-answer-from-host", "soft"},
        {550, "5.4.2", "bad-connection", "soft"},
        {550, "5.4.3", "routing-errors", "soft"},
        {550, "5.4.4", "routing-errors", "soft"},
        {554, "5.4.6", "routing-errors", "technical"},
        {550, "5.4.7", "message-expired", "expired"},
        {550, "5.5.3", "policy-related", "block"},
        {500, "5.5.1", "protocol-errors", "technical"},
        {554, "5.6.7", "content-related", "technical"},
        {550, "5.7.1", "policy-related", "block"},
        {550, "5.7.26", "policy-related", "block"},
    };
    check(cases, sizeof cases / sizeof cases[0]);
}

TEST(a_transient_reply_has_the_category_of_its_subject)
{
    static const struct verdict_case cases[] = {
        {452, "4.2.2", "quota-issues", "soft"},
        {421, "4.4.2", "bad-connection", "soft"},
        {450, "4.1.2", "bad-domain", "hard"},
        {450, "4.7.1", "policy-related", "block"},
    };
    check(cases, sizeof cases / sizeof cases[0]);
}

TEST(the_enhanced_code_beats_the_plain_one)
{
    static const struct verdict_case cases[] = {
        {550, "5.7.1", "policy-related", "block"},
        {552, "5.1.1", "bad-mailbox", "hard"},
    };
    check(cases, sizeof cases / sizeof cases[0]);
}

TEST(without_an_enhanced_code_the_plain_one_decides)
{
    static const struct verdict_case cases[] = {
        {550, NULL, "bad-mailbox", "hard"},
        {551, NULL, "bad-mailbox", "hard"},
        {553, NULL, "bad-mailbox", "hard"},
        {552, NULL, "quota-issues", "soft"},
        {452, NULL, "quota-issues", "soft"},
        {500, NULL, "protocol-errors", "technical"},
        {503, NULL, "protocol-errors", "technical"},
        {504, NULL, "protocol-errors", "technical"},
        {554, NULL, "other", "soft"},
        {421, NULL, "other", "soft"},
    };
    check(cases, sizeof cases / sizeof cases[0]);
}

TEST(an_enhanced_code_that_says_nothing_leaves_it_to_the_plain_one)
{
    static const struct verdict_case cases[] = {
        {550, "5.0.0", "bad-mailbox", "hard"},
        {554, "5.0.0", "other", "soft"},
        {550, "5.9.9", "bad-mailbox", "hard"},
        {552, "5.3.0", "quota-issues", "soft"},
    };
    check(cases, sizeof cases / sizeof cases[0]);
}
