#include "policy/bounce.h"

#include <stddef.h>
#include <stdint.h>

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

static const struct bounce_row rows[] = {
#define BOUNCE_ROW(subject, detail, category, class) {subject, detail, {category, class}},
    BOUNCE_ROWS(BOUNCE_ROW)
#undef BOUNCE_ROW
};

/* Replies without an enhanced code: what RFC 5321 4.2.2 says of the plain one. */
static struct bounce_verdict classify_plain(uint16_t code)
{
    if (code == 550 || code == 551 || code == 553) {
        return (struct bounce_verdict){"bad-mailbox", "hard"};
    }
    if (code == 552 || code == 452) {
        return (struct bounce_verdict){"quota-issues", "soft"};
    }
    if (code >= 500 && code <= 504) {
        return (struct bounce_verdict){"protocol-errors", "technical"};
    }
    return (struct bounce_verdict){"other", "soft"};
}

struct bounce_verdict bounce_classify(const struct reply *reply)
{
    if (reply->enhanced_class == 0) {
        return classify_plain(reply->code);
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].subject == reply->enhanced_subject &&
            (rows[i].detail == ANY || rows[i].detail == reply->enhanced_detail)) {
            return rows[i].verdict;
        }
    }
    return classify_plain(reply->code);
}
