#include "bench/eod.h"

#include <stdlib.h>

#include "base/rng.h"
#include "tests/unit/test.h"

#define STREAM_MAX 512

/* What came out of a stream: content, and where it ended (0: it did not). */
struct seen {
    char content[STREAM_MAX];
    size_t len, end;
};

static bool take_piece(struct eod *eod, struct bytes *in, struct seen *seen, size_t before)
{
    struct bytes piece;
    size_t in_len = in->len;
    enum eod_event event;
    while ((event = eod_next(eod, in, &piece)) == EOD_CONTENT) {
        memcpy(seen->content + seen->len, piece.data, piece.len);
        seen->len += piece.len;
    }
    seen->end = event == EOD_END ? before + in_len - in->len : 0;
    return event == EOD_END;
}

/* Feeds the stream cut after each of `cuts` (ascending, below its length). Each piece lies in
 * memory of its own size, so that reading beside it is found by the sanitizer. */
static struct seen feed(struct bytes stream, const size_t *cuts, size_t cut_count)
{
    struct seen seen = {.len = 0};
    struct eod eod;
    eod_init(&eod);
    size_t from = 0;
    for (size_t i = 0; i <= cut_count; i++) {
        size_t to = i == cut_count ? stream.len : cuts[i];
        char *copy = malloc(to - from + (to == from));
        memcpy(copy, stream.data + from, to - from);
        struct bytes in = bytes_of(copy, to - from);
        bool ended = take_piece(&eod, &in, &seen, from);
        free(copy);
        if (ended) {
            break;
        }
        from = to;
    }
    return seen;
}

static struct seen feed_whole(struct bytes stream)
{
    return feed(stream, NULL, 0);
}

static bool same(const struct seen *a, const struct seen *b)
{
    return a->len == b->len && a->end == b->end && memcmp(a->content, b->content, a->len) == 0;
}

/* The rule of RFC 5321 4.1.1.4 and 4.5.2 said slowly: line by line. */
static struct seen slowly(struct bytes stream)
{
    struct seen seen = {.len = 0};
    size_t at = 0;
    bool line_start = true;
    while (at < stream.len) {
        if (line_start && stream.data[at] == '.') {
            if (at + 2 < stream.len && memcmp(stream.data + at, ".\r\n", 3) == 0) {
                seen.end = at + 3;
                return seen;
            }
            at++;
            /* What may still become the end is not content yet. */
            if (at == stream.len || (at + 1 == stream.len && stream.data[at] == '\r')) {
                return seen;
            }
        }
        seen.content[seen.len++] = stream.data[at++];
        line_start = at >= 2 && stream.data[at - 1] == '\n' && stream.data[at - 2] == '\r';
    }
    return seen;
}

#define CHECK_STREAM(stream, wanted_content, wanted_end)                                           \
    do {                                                                                           \
        struct seen seen = feed_whole(BYTES(stream));                                              \
        CHECK_BYTES(bytes_of(seen.content, seen.len), wanted_content);                             \
        CHECK_INT(seen.end, wanted_end);                                                           \
    } while (0)

TEST(final_dot_ends_the_message)
{
    CHECK_STREAM("a\r\nb\r\n.\r\nMAIL", "a\r\nb\r\n", 9);
}

TEST(dot_right_after_DATA_ends_an_empty_message)
{
    CHECK_STREAM(".\r\n", "", 3);
}

TEST(stuffed_dots_are_taken_out)
{
    CHECK_STREAM("..\r\n..a\r\n.b\r\n.\r\n", ".\r\n.a\r\nb\r\n", 16);
}

TEST(dot_inside_a_line_is_content)
{
    CHECK_STREAM("a.b\r\n c.\r\n.\r\n", "a.b\r\n c.\r\n", 13);
}

TEST(bare_line_ends_around_the_dot_do_not_end_the_message)
{
    CHECK_STREAM("a\n.\r\nb\n.\nc\r.\rd\r\n.\r\n", "a\n.\r\nb\n.\nc\r.\rd\r\n", 19);
}

TEST(dot_CR_without_LF_is_content_less_its_dot)
{
    CHECK_STREAM("a\r\n.\rb\r\n.\r\r\n.\r\n", "a\r\n\rb\r\n\r\r\n", 15);
}

TEST(message_without_end_has_none)
{
    CHECK_STREAM("a\r\n.\r", "a\r\n", 0);
}

TEST(every_pair_of_cuts_gives_the_same)
{
    static const char stream[] = "h\r\n\r\n..\r\n.\r.\r\n\n.\n\r\n.x.\r\r\n.\r\nRSET\r\n.\r\n";
    struct bytes bytes = bytes_of(stream, sizeof stream - 1);
    struct seen whole = feed_whole(bytes);
    CHECK(whole.end > 0);
    for (size_t first = 0; first < bytes.len; first++) {
        for (size_t second = first; second < bytes.len; second++) {
            size_t cuts[] = {first, second};
            struct seen cut = feed(bytes, cuts, 2);
            CHECK(same(&whole, &cut));
        }
    }
}

/* Random streams of the four bytes that matter: whole, byte by byte, at random splits, and by
 * the slow rule. */
TEST(random_streams_at_random_splits_agree_with_the_slow_rule)
{
    static const char alphabet[] = "\r\n..a\r\n";
    struct rng rng;
    rng_init(&rng, 1);
    for (int round = 0; round < 20000; round++) {
        char stream[48];
        size_t cuts[sizeof stream], bytewise[sizeof stream], cut_count = 0;
        size_t len = 1 + rng_below(&rng, sizeof stream - 1);
        for (size_t i = 0; i < len; i++) {
            stream[i] = alphabet[rng_below(&rng, sizeof alphabet - 1)];
            bytewise[i] = i;
            if (i > 0 && rng_below(&rng, 4) == 0) {
                cuts[cut_count++] = i;
            }
        }
        struct bytes bytes = bytes_of(stream, len);
        struct seen whole = feed_whole(bytes), reference = slowly(bytes);
        struct seen cut = feed(bytes, cuts, cut_count), single = feed(bytes, bytewise, len);
        CHECK(same(&whole, &reference));
        CHECK(same(&whole, &cut));
        CHECK(same(&whole, &single));
    }
}
