/* Status codes in words. */
#include "smtp/status.h"

#include "smtp/reply.h"
#include "test.h"

static const char *print(uint16_t code, const char *enhanced)
{
    static char text[160];
    struct buffer out;
    struct reply reply = {.code = code};
    if (enhanced != NULL) {
        reply_make(&reply, code, enhanced, "text");
    }
    buffer_init(&out, text, sizeof text - 1);
    status_print(&reply, &out);
    text[out.len] = '\0';
    return text;
}

TEST(a_status_is_printed_with_what_it_means)
{
    CHECK_STRING(print(550, "5.1.1"), "5.1.1 (bad destination mailbox address)");
    CHECK_STRING(print(250, "2.0.0"), "2.0.0 (success)");
    CHECK_STRING(print(421, "4.4.1"), "4.4.1 (no answer from host)");
    CHECK_STRING(print(554, "5.4.6"), "5.4.6 (routing loop detected)");
    CHECK_STRING(print(556, "5.1.10"), "5.1.10 (recipient address has null MX)");
    CHECK_STRING(print(550, "5.7.26"), "5.7.26 (multiple authentication checks failed)");
}

TEST(a_reply_without_a_status_has_that_of_its_class)
{
    CHECK_STRING(print(250, NULL), "2.0.0 (success)");
    CHECK_STRING(print(450, NULL), "4.0.0 (undefined status)");
    CHECK_STRING(print(550, NULL), "5.0.0 (undefined status)");
}

TEST(a_code_nobody_has_defined_says_so)
{
    CHECK_STRING(print(550, "5.9.99"), "5.9.99 (undefined status)");
    CHECK_STRING(status_words(5, 6, 6), "undefined status");
}

TEST(success_is_only_the_class_two)
{
    CHECK_STRING(status_words(2, 0, 0), "success");
    CHECK_STRING(status_words(4, 0, 0), "undefined status");
    CHECK_STRING(status_words(2, 1, 5), "destination address valid");
}

TEST(words_are_never_cut_within_their_room)
{
    for (uint16_t subject = 0; subject < 10; subject++) {
        for (uint16_t detail = 0; detail < 40; detail++) {
            CHECK(strlen(status_words(5, subject, detail)) < 100);
        }
    }
}
