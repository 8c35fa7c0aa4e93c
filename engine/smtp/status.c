#include "smtp/status.h"

#include <stddef.h>

#include "smtp/reply.h"

/* subject, detail, words */
#define STATUS_WORDS(X)                                                                            \
    X(0, 0, "undefined status")                                                                    \
    X(1, 0, "other address status")                                                                \
    X(1, 1, "bad destination mailbox address")                                                     \
    X(1, 2, "bad destination system address")                                                      \
    X(1, 3, "bad destination mailbox address syntax")                                              \
    X(1, 4, "destination mailbox address ambiguous")                                               \
    X(1, 5, "destination address valid")                                                           \
    X(1, 6, "destination mailbox has moved")                                                       \
    X(1, 7, "bad sender's mailbox address syntax")                                                 \
    X(1, 8, "bad sender's system address")                                                         \
    X(1, 9, "message relayed to non-compliant mailer")                                             \
    X(1, 10, "recipient address has null MX")                                                      \
    X(2, 0, "other or undefined mailbox status")                                                   \
    X(2, 1, "mailbox disabled, not accepting messages")                                            \
    X(2, 2, "mailbox full")                                                                        \
    X(2, 3, "message length exceeds administrative limit")                                         \
    X(2, 4, "mailing list expansion problem")                                                      \
    X(3, 0, "other or undefined mail system status")                                               \
    X(3, 1, "mail system full")                                                                    \
    X(3, 2, "system not accepting network messages")                                               \
    X(3, 3, "system not capable of selected features")                                             \
    X(3, 4, "message too big for system")                                                          \
    X(3, 5, "system incorrectly configured")                                                       \
    X(4, 0, "other or undefined network or routing status")                                        \
    X(4, 1, "no answer from host")                                                                 \
    X(4, 2, "bad connection")                                                                      \
    X(4, 3, "directory server failure")                                                            \
    X(4, 4, "unable to route")                                                                     \
    X(4, 5, "mail system congestion")                                                              \
    X(4, 6, "routing loop detected")                                                               \
    X(4, 7, "delivery time expired")                                                               \
    X(5, 0, "other or undefined protocol status")                                                  \
    X(5, 1, "invalid command")                                                                     \
    X(5, 2, "syntax error")                                                                        \
    X(5, 3, "too many recipients")                                                                 \
    X(5, 4, "invalid command arguments")                                                           \
    X(5, 5, "wrong protocol version")                                                              \
    X(6, 0, "other or undefined media error")                                                      \
    X(6, 1, "media not supported")                                                                 \
    X(6, 2, "conversion required and prohibited")                                                  \
    X(6, 3, "conversion required but not supported")                                               \
    X(6, 4, "conversion with loss performed")                                                      \
    X(6, 5, "conversion failed")                                                                   \
    X(6, 7, "non-ASCII addresses not permitted")                                                   \
    X(7, 0, "other or undefined security status")                                                  \
    X(7, 1, "delivery not authorized, message refused")                                            \
    X(7, 2, "mailing list expansion prohibited")                                                   \
    X(7, 3, "security conversion required but not possible")                                       \
    X(7, 4, "security features not supported")                                                     \
    X(7, 5, "cryptographic failure")                                                               \
    X(7, 6, "cryptographic algorithm not supported")                                               \
    X(7, 7, "message integrity failure")                                                           \
    X(7, 8, "authentication credentials invalid")                                                  \
    X(7, 10, "encryption needed")                                                                  \
    X(7, 25, "reverse DNS validation failed")                                                      \
    X(7, 26, "multiple authentication checks failed")                                              \
    X(7, 27, "sender address has null MX")

struct status_row {
    uint16_t subject, detail;
    const char *words;
};

static const struct status_row rows[] = {
#define STATUS_ROW(subject, detail, words) {subject, detail, words},
    STATUS_WORDS(STATUS_ROW)
#undef STATUS_ROW
};

const char *status_words(uint8_t class, uint16_t subject, uint16_t detail)
{
    if (class == 2 && subject == 0 && detail == 0) {
        return "success";
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].subject == subject && rows[i].detail == detail) {
            return rows[i].words;
        }
    }
    return "undefined status";
}

void status_print(const struct reply *reply, struct buffer *out)
{
    uint8_t class =
        reply->enhanced_class != 0 ? reply->enhanced_class : (uint8_t)(reply->code / 100);
    uint16_t subject = reply->enhanced_class != 0 ? reply->enhanced_subject : 0;
    uint16_t detail = reply->enhanced_class != 0 ? reply->enhanced_detail : 0;
    /* Without printf: it is written for every recipient. */
    buffer_put_u64(out, class);
    buffer_put_char(out, '.');
    buffer_put_u64(out, subject);
    buffer_put_char(out, '.');
    buffer_put_u64(out, detail);
    buffer_put_string(out, " (");
    buffer_put_string(out, status_words(class, subject, detail));
    buffer_put_char(out, ')');
}
