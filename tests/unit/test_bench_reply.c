#include "bench/reply.h"

#include "base/rng.h"
#include "tests/unit/test.h"

#define REPLIES_MAX 8

/* What came out of a stream, as "code text|" for each reply. */
struct seen {
    char text[512];
    size_t len;
};

static void take(struct reply *reply, struct bytes in, struct seen *seen)
{
    while (reply_next(reply, &in)) {
        seen->len += (size_t)snprintf(seen->text + seen->len, sizeof seen->text - seen->len,
                                      "%u %.*s|", reply->code, (int)reply->text_len, reply->text);
    }
}

static struct seen whole(const char *stream)
{
    struct seen seen = {.len = 0};
    struct reply reply = {.code = 0};
    take(&reply, bytes_from_string(stream), &seen);
    return seen;
}

#define CHECK_REPLIES(stream, wanted)                                                              \
    do {                                                                                           \
        struct seen seen = whole(stream);                                                          \
        CHECK_BYTES(bytes_of(seen.text, seen.len), wanted);                                        \
    } while (0)

TEST(each_reply_is_found)
{
    CHECK_REPLIES("250 2.0.0 Ok\r\n354 go\r\n421 x\r\n", "250 2.0.0 Ok|354 go|421 x|");
}

TEST(lines_of_one_reply_count_once_and_the_last_is_kept)
{
    CHECK_REPLIES("250-a\r\n250-b\r\n250 c\r\n220 d\r\n", "250 c|220 d|");
}

TEST(text_may_be_missing)
{
    CHECK_REPLIES("250\r\n250 \r\n354\n", "250 |250 |354 |");
}

TEST(what_is_no_reply_has_code_0)
{
    CHECK_REPLIES("hello world\r\n2x0 a\r\n\r\n999 b\r\n", "0 o world|0 a|0 |0 b|");
}

TEST(half_a_reply_is_none)
{
    CHECK_REPLIES("250-a\r\n250 b\r", "");
}

TEST(every_split_gives_the_same)
{
    static const char stream[] =
        "220-x\r\n220 hello there\r\n250\r\n\r\n354 go\r\n5\r\n550-a\r\n550 \r\n";
    struct seen expected = whole(stream);
    struct rng rng;
    rng_init(&rng, 1);
    for (int round = 0; round < 2000; round++) {
        struct seen seen = {.len = 0};
        struct reply reply = {.code = 0};
        size_t from = 0;
        while (from < sizeof stream - 1) {
            size_t left = sizeof stream - 1 - from;
            size_t len = round == 0 ? 1 : 1 + rng_below(&rng, left);
            take(&reply, bytes_of(stream + from, len), &seen);
            from += len;
        }
        CHECK(seen.len == expected.len && memcmp(seen.text, expected.text, seen.len) == 0);
    }
}
