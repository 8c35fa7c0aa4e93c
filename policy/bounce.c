#include "policy/bounce.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/directive.h"
#include "policy/pattern.h"
#include "policy/rules.h"
#include "smtp/reply.h"

enum { ANY = 0xffff };

/* First match wins: subject, detail, category, class. RFC 3463 says what the codes mean; the
 * categories are those that operators' reports already use. */
#define BOUNCE_ROWS(X)                                                                             \
    X(1, 2, "bad-domain", "hard")                                                                  \
    X(1, 7, "invalid-sender", "technical")                                                         \
    X(1, 8, "invalid-sender", "technical")                                                         \
    X(1, 10, "bad-domain", "hard")                                                                 \
    X(1, ANY, "bad-mailbox", "hard")                                                               \
    X(2, 1, "inactive-mailbox", "hard")                                                            \
    X(2, 2, "quota-issues", "soft")                                                                \
    X(2, 3, "content-related", "soft")                                                             \
    X(2, ANY, "bad-mailbox", "hard")                                                               \
    X(3, 3, "content-related", "technical")                                                        \
    X(3, 4, "content-related", "soft")                                                             \
    X(3, 5, "bad-configuration", "technical")                                                      \
    X(4, 1, "no-answer-from-host", "soft")                                                         \
    X(4, 2, "bad-connection", "soft")                                                              \
    X(4, 3, "routing-errors", "soft")                                                              \
    X(4, 4, "routing-errors", "soft")                                                              \
    X(4, 6, "routing-errors", "technical")                                                         \
    X(4, 7, "message-expired", "expired")                                                          \
    X(5, 3, "policy-related", "block")                                                             \
    X(5, ANY, "protocol-errors", "technical")                                                      \
    X(6, ANY, "content-related", "technical")                                                      \
    X(7, ANY, "policy-related", "block")

struct bounce_row {
    uint16_t subject, detail;
    struct bounce_verdict verdict;
};

#define VERDICT(name, kind)                                                                        \
    (struct bounce_verdict)                                                                        \
    {                                                                                              \
        .category = BYTES(name), .class = kind                                                     \
    }

static const struct bounce_row rows[] = {
#define BOUNCE_ROW(subject, detail, category, class)                                               \
    {subject, detail, {BYTES_INIT(category), class, NULL, false}},
    BOUNCE_ROWS(BOUNCE_ROW)
#undef BOUNCE_ROW
};

static const struct {
    struct bytes name;
    const char *class;
} categories[] = {
#define CATEGORY_ROW(name, class) {BYTES_INIT(name), class},
    BOUNCE_CATEGORIES(CATEGORY_ROW)
#undef CATEGORY_ROW
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *class_of(struct bytes category)
{
    for (size_t i = 0; i < COUNT(categories); i++) {
        if (bytes_equal_nocase(categories[i].name, category)) {
            return categories[i].class;
        }
    }
    return NULL;
}

#define MISSPELT_MAX 2 /* letters */

const char *bounce_category_near(struct bytes category)
{
    for (size_t i = 0; i < COUNT(categories) && class_of(category) == NULL; i++) {
        if (directive_distance(categories[i].name, category, MISSPELT_MAX) <= MISSPELT_MAX) {
            return categories[i].name.data;
        }
    }
    return NULL;
}

/* Replies without an enhanced code: what RFC 5321 4.2.2 says of the plain one. */
static struct bounce_verdict classify_plain(uint16_t code, enum bounce_about about)
{
    bool mailbox = code == 550 || code == 551 || code == 553;
    if (mailbox && about == BOUNCE_ABOUT_RECIPIENT) {
        return VERDICT("bad-mailbox", "hard");
    }
    /* RFC 5321 4.2.2: 550 is also "command rejected for policy reasons". */
    if (code == 550) {
        return VERDICT("policy-related", "block");
    }
    if (code == 552 || code == 452) {
        return VERDICT("quota-issues", "soft");
    }
    if (code >= 500 && code <= 504) {
        return VERDICT("protocol-errors", "technical");
    }
    return VERDICT("other", "soft");
}

struct bounce_verdict bounce_by_codes(const struct reply *reply, enum bounce_about about)
{
    if (reply->enhanced_class == 0) {
        return classify_plain(reply->code, about);
    }
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (rows[i].subject == reply->enhanced_subject &&
            (rows[i].detail == ANY || rows[i].detail == reply->enhanced_detail)) {
            return rows[i].verdict;
        }
    }
    return classify_plain(reply->code, about);
}

void bounce_subject(const struct reply *reply, struct buffer *out)
{
    bool given = reply->enhanced_class != 0;
    buffer_printf(out, "%u.%u.%u;smtp;", given ? reply->enhanced_class : reply->code / 100u,
                  given ? reply->enhanced_subject : 0u, given ? reply->enhanced_detail : 0u);
    reply_print(reply, out);
}

/* Where codes and text agree on the category, the codes know more of its class: a 4.2.3 is
 * content-related as a 5.6.1 is, but another day the mailbox may take it. */
static struct bounce_verdict verdict_of(const struct rule *rule, const struct reply *reply,
                                        enum bounce_about about)
{
    assert(rule->keyword == RULE_CATEGORY && rule->action_count == 1);
    struct bounce_verdict verdict = bounce_by_codes(reply, about);
    struct bytes category = rule->actions[0].name;
    const char *class = class_of(category);
    if (class != NULL && !bytes_equal_nocase(category, verdict.category)) {
        verdict.class = class;
    }
    verdict.category = category;
    verdict.rule = rule;
    return verdict;
}

struct bounce_verdict bounce_classify(const struct rule_list *rules,
                                      struct pattern_matcher *matcher, const struct reply *reply,
                                      enum bounce_about about)
{
    char memory[PATTERN_SUBJECT_MAX];
    struct buffer subject;
    if (rules == NULL) {
        return bounce_by_codes(reply, about);
    }
    buffer_init(&subject, memory, sizeof memory);
    bounce_subject(reply, &subject);
    pattern_subject(matcher, buffer_bytes(&subject));
    for (size_t i = 0; i < rules->count; i++) {
        const struct rule *rule = &rules->rules[i];
        enum pattern_result result = pattern_match(matcher, rule->pattern);
        if (result == PATTERN_MATCH) {
            return verdict_of(rule, reply, about);
        }
        if (result == PATTERN_LIMIT) {
            struct bounce_verdict verdict = VERDICT("other", "soft");
            verdict.rule = rule;
            verdict.too_costly = true;
            return verdict;
        }
    }
    return bounce_by_codes(reply, about);
}
