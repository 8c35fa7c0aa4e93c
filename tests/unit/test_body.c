#include <stdlib.h>

#include "base/rng.h"
#include "smtp/body.h"
#include "test.h"

#define OUT_MAX (1 << 20)

/* What a body became, whatever way it was fed. */
struct result {
    char out[OUT_MAX];
    size_t len, taken;
    bool ended;
    int header_ends;
    struct body body;
};

enum feeding { WHOLE, BYTEWISE, RANDOMLY };

static const struct body_limits limits = {
    .size_max = OUT_MAX, .line_max = 1000, .received_max = 100};

static void on_pass(void *owner, const char *data, size_t len)
{
    struct result *result = owner;
    if (result->len + len <= OUT_MAX) {
        memcpy(result->out + result->len, data, len);
        result->len += len;
    }
}

static void on_header_end(void *owner)
{
    struct result *result = owner;
    result->header_ends++;
}

static enum header_fate on_fate(void *owner, struct bytes name)
{
    if (bytes_equal_nocase(name, BYTES("X-Campaign"))) {
        return HEADER_KEEP_TAKE;
    }
    return bytes_equal_nocase(name, BYTES("X-Secret")) ? HEADER_REMOVE : HEADER_KEEP;
}

static const struct header_filter_events events = {on_pass, on_header_end, on_fate};

static size_t step(enum feeding feeding, struct rng *rng, size_t left)
{
    switch (feeding) {
    case WHOLE:
        return left;
    case BYTEWISE:
        return 1;
    case RANDOMLY: {
        size_t len = 1 + rng_below(rng, rng_chance(rng, 500000) ? 4 : 200);
        return len < left ? len : left;
    }
    }
    return left;
}

/* Every step is a block of its own size, so that the sanitizer sees a read over its end. */
static void feed(struct result *result, struct bytes input, enum feeding feeding, bool bdat,
                 const struct body_limits *with, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed);
    result->len = result->taken = 0;
    result->header_ends = 0;
    result->ended = false;
    body_init(&result->body, with, &events, result);
    while (result->taken < input.len && !result->ended) {
        size_t len = step(feeding, &rng, input.len - result->taken);
        char *copy = malloc(len);
        memcpy(copy, input.data + result->taken, len);
        if (bdat) {
            body_feed_octets(&result->body, copy, len);
            result->taken += len;
        } else {
            size_t taken = body_feed_data(&result->body, copy, len, &result->ended);
            CHECK(taken == len || result->ended);
            result->taken += taken;
        }
        free(copy);
    }
    if (bdat) {
        body_finish(&result->body);
        result->ended = true;
    }
}

static bool same(const struct result *a, const struct result *b)
{
    const struct body *x = &a->body, *y = &b->body;
    return a->taken == b->taken && a->ended == b->ended && x->faults == y->faults &&
           x->header.done == y->header.done && x->eight_bit == y->eight_bit &&
           x->dot_lines == y->dot_lines && x->header.non_ascii == y->header.non_ascii &&
           x->header.too_large == y->header.too_large && x->header.not_utf8 == y->header.not_utf8 &&
           x->size == y->size &&
           memcmp(x->header.counts, y->header.counts, sizeof(x->header.counts)) == 0 &&
           memcmp(x->header.values, y->header.values, sizeof(x->header.values)) == 0 &&
           /* What was passed on before a fault was seen may differ: it is thrown away. */
           (x->faults != 0 || (a->len == b->len && memcmp(a->out, b->out, a->len) == 0 &&
                               a->header_ends == b->header_ends));
}

static struct result first, other;

/* Fed in all ways, compared, and left in `first`. */
static void feed_all(struct bytes input, bool bdat, const struct body_limits *with)
{
    feed(&first, input, WHOLE, bdat, with, 0);
    feed(&other, input, BYTEWISE, bdat, with, 0);
    CHECK(same(&first, &other));
    for (uint64_t seed = 1; seed <= 20; seed++) {
        feed(&other, input, RANDOMLY, bdat, with, seed);
        CHECK(same(&first, &other));
    }
}

static struct bytes received(struct bytes input)
{
    feed_all(input, false, &limits);
    return bytes_of(first.out, first.len);
}

/* DATA: the end of data is put behind. */
static const char *refusal_of(struct bytes input)
{
    static char whole[OUT_MAX];
    memcpy(whole, input.data, input.len);
    memcpy(whole + input.len, "\r\n.\r\n", 5);
    feed_all(bytes_of(whole, input.len + 5), false, &limits);
    CHECK(first.ended);
    CHECK_INT(first.taken, input.len + 5);
    const char *refusal = body_refusal(&first.body);
    return refusal == NULL ? "" : refusal;
}

#define REFUSED(input, code) CHECK(strncmp(refusal_of(BYTES(input)), code, strlen(code)) == 0)

TEST(a_message_ends_at_its_dot_and_what_follows_is_left)
{
    feed_all(BYTES("a: b\r\n\r\nc\r\n.\r\nQUIT\r\n"), false, &limits);
    CHECK(first.ended);
    CHECK_INT(first.taken, 15 - 1);
    CHECK_BYTES(bytes_of(first.out, first.len), "a: b\r\n\r\nc\r\n");
}

TEST(a_dot_at_once_is_an_empty_message_with_a_blank_line)
{
    CHECK_BYTES(received(BYTES(".\r\n")), "\r\n");
    CHECK(first.ended);
}

TEST(s27_one_leading_dot_is_taken_away)
{
    CHECK_BYTES(received(BYTES("\r\n..\r\n...x\r\n.y\r\n. \r\n....\r\n.\r\n")),
                "\r\n.\r\n..x\r\ny\r\n \r\n...\r\n");
    CHECK(first.body.dot_lines);
}

TEST(s27_dots_elsewhere_stay)
{
    CHECK_BYTES(received(BYTES("\r\na.b\r\n x.\r\ny.\r\n.\r\n")), "\r\na.b\r\n x.\r\ny.\r\n");
    CHECK(!first.body.dot_lines);
}

TEST(s27_stuffed_dots_at_every_place_of_a_block_are_found)
{
    static char input[512];
    for (size_t len = 0; len < 200; len++) {
        struct buffer buffer;
        buffer_init(&buffer, input, sizeof(input));
        buffer_put_string(&buffer, "\r\n");
        for (size_t i = 0; i < len; i++) {
            buffer_put_char(&buffer, 'a');
        }
        buffer_put_string(&buffer, "\r\n..b\r\n.\r\n.");
        feed_all(buffer_bytes(&buffer), false, &limits);
        CHECK(first.ended);
        CHECK_INT(first.taken, buffer.len - 1);
        CHECK_INT(first.len, 2 + len + 2 + 4);
        CHECK_BYTES(bytes_of(first.out + first.len - 4, 4), ".b\r\n");
    }
}

/* S1–S10: none of these ends the message, and all of them spoil it. */
#define SMUGGLED "MAIL FROM:<evil@example>"
#define SPOILED(id, between)                                                                       \
    TEST(id)                                                                                       \
    {                                                                                              \
        REFUSED("a: b\r\n\r\nc" between SMUGGLED, "550 5.");                                       \
        feed_all(BYTES("a: b\r\n\r\nc" between SMUGGLED "\r\n"), true, &limits);                   \
        CHECK(strncmp(body_refusal(&first.body), "550 5.", 6) == 0);                               \
    }

SPOILED(s1_lf_dot_lf_is_no_end, "\n.\n")
SPOILED(s2_cr_dot_cr_is_no_end, "\r.\r")
SPOILED(s3_cr_dot_lf_is_no_end, "\r.\n")
SPOILED(s4_lf_dot_cr_is_no_end, "\n.\r")
SPOILED(s5_lf_dot_crlf_is_no_end, "\n.\r\n")
SPOILED(s6_crlf_dot_lf_is_no_end, "\r\n.\n")
SPOILED(s7_cr_dot_crlf_is_no_end, "\r.\r\n")
SPOILED(s8_crlf_dot_cr_is_no_end, "\r\n.\r")
SPOILED(s9_crlf_nul_dot_crlf_is_no_end, "\r\n\0.\r\n")
SPOILED(s10_crlf_dot_nul_crlf_is_no_end, "\r\n.\0\r\n")

TEST(bare_cr_and_lf_are_found_everywhere)
{
    REFUSED("a: b\r\n\r\nc\nd", "550 5.5.2");
    REFUSED("a: b\r\n\r\nc\rd", "550 5.5.2");
    REFUSED("a: b\nc: d\r\n\r\ne", "550 5.5.2");
    REFUSED("a: b\r\n\r\n\r\r\n", "550 5.5.2");
    REFUSED("a: b\r\n\r\n\n\r\n", "550 5.5.2");
    REFUSED("\n", "550 5.5.2");
    REFUSED("a: b\r\n\r\n.\rx", "550 5.5.2");
    REFUSED("a: b\r\n\r\nc\r\nd", "");
}

TEST(s12_nul_in_the_message_is_refused)
{
    REFUSED("a: b\r\n\r\nc\0d", "550 5.6.0");
    REFUSED("a: \0\r\n\r\nc", "550 5.6.0");
}

TEST(s15_lines_up_to_the_limit_pass)
{
    static char input[4096];
    for (size_t over = 0; over < 2; over++) {
        for (size_t start = 0; start < 70; start++) {
            struct buffer buffer;
            buffer_init(&buffer, input, sizeof(input));
            buffer_put_string(&buffer, "\r\n");
            for (size_t i = 0; i < start; i++) {
                buffer_put_char(&buffer, 'x');
            }
            buffer_put_string(&buffer, "\r\n");
            for (size_t i = 0; i < 1000 + over; i++) {
                buffer_put_char(&buffer, 'y');
            }
            CHECK_INT(strncmp(refusal_of(buffer_bytes(&buffer)), "554 5.6.0", 9) == 0, over);
        }
    }
}

TEST(s38_a_header_of_too_many_bytes_or_lines_is_refused)
{
    static char input[200 * 1024];
    struct buffer buffer;
    for (int lines = 999; lines <= 1001; lines++) {
        buffer_init(&buffer, input, sizeof(input));
        for (int i = 0; i < lines; i++) {
            buffer_put_string(&buffer, i % 2 == 0 ? "a: b\r\n" : " folded\r\n");
        }
        buffer_put_string(&buffer, "\r\nbody");
        CHECK_INT(strncmp(refusal_of(buffer_bytes(&buffer)), "552 5.3.4", 9) == 0, lines > 1000);
    }
    buffer_init(&buffer, input, sizeof(input));
    while (buffer.len < HEADER_BYTES_MAX) {
        buffer_printf(&buffer, "a: %0900d\r\n", 0);
    }
    CHECK(strncmp(refusal_of(buffer_bytes(&buffer)), "552 5.3.4", 9) == 0);
}

TEST(s38_a_forgotten_blank_line_is_put_in)
{
    CHECK_BYTES(received(BYTES("a: b\r\nhello you\r\nthere: x\r\n.\r\n")),
                "a: b\r\n\r\nhello you\r\nthere: x\r\n");
    CHECK_BYTES(received(BYTES("hello\r\n.\r\n")), "\r\nhello\r\n");
    CHECK_BYTES(received(BYTES(" a: b\r\n.\r\n")), "\r\n a: b\r\n");
    CHECK_BYTES(received(BYTES("a: b\r\n:x\r\n.\r\n")), "a: b\r\n\r\n:x\r\n");
    CHECK_BYTES(received(BYTES("a: b\r\n.\r\n")), "a: b\r\n\r\n");
}

TEST(s38_more_than_a_hundred_received_fields_are_a_loop)
{
    static char input[8192];
    for (int fields = 100; fields <= 101; fields++) {
        struct buffer buffer;
        buffer_init(&buffer, input, sizeof(input));
        for (int i = 0; i < fields; i++) {
            buffer_put_string(&buffer, i % 2 == 0 ? "Received: x\r\n" : "received : y\r\n");
        }
        buffer_put_string(&buffer, "\r\nReceived: z");
        CHECK_INT(strncmp(refusal_of(buffer_bytes(&buffer)), "554 5.4.6", 9) == 0, fields > 100);
    }
}

TEST(a_message_over_the_size_limit_is_refused)
{
    struct body_limits small = limits;
    small.size_max = 9;
    feed_all(BYTES("a: b\r\n\r\nc\r\n.\r\n"), false, &small);
    CHECK(strncmp(body_refusal(&first.body), "552 5.3.4", 9) == 0);
    small.size_max = 11;
    feed_all(BYTES("a: b\r\n\r\nc\r\n.\r\n"), false, &small);
    CHECK(body_refusal(&first.body) == NULL);
}

TEST(control_headers_are_taken_out_whoever_wrote_them)
{
    CHECK_BYTES(received(BYTES("a: b\r\nX-Virtual-MTA: v1 \r\nx-JOB :\tj\r\nc: d\r\n"
                               "X-Envid:e\r\nX-Schedule: 1,\r\n 2\r\nX-DKIM-Options: s=x\r\n"
                               "X-DKIM-Key: k\r\n\r\nX-Job: stays\r\n.\r\n")),
                "a: b\r\nc: d\r\n\r\nX-Job: stays\r\n");
    const struct header_filter *header = &first.body.header;
    const struct header_value *vmta = header_filter_value(header, HEADER_X_VIRTUAL_MTA);
    const struct header_value *job = header_filter_value(header, HEADER_X_JOB);
    const struct header_value *envid = header_filter_value(header, HEADER_X_ENVID);
    CHECK_BYTES(bytes_of(vmta->text, vmta->len), "v1");
    CHECK_BYTES(bytes_of(job->text, job->len), "j");
    CHECK_BYTES(bytes_of(envid->text, envid->len), "e");
    CHECK(!vmta->malformed && !job->malformed && !envid->malformed);
    CHECK_INT(header->counts[HEADER_X_VIRTUAL_MTA], 1);
}

/* Fed by any split like the others: what it passes must not depend on the feed. */
TEST(retained_control_headers_are_passed_on_and_read)
{
    static const char message[] = "a: b\r\nX-Virtual-MTA: v1 \r\nx-JOB :\tj\r\nc: d\r\n\r\n.\r\n";
    static struct result result;
    for (size_t split = 1; split < sizeof(message) - 1; split++) {
        bool ended = false;
        result.len = 0;
        body_init(&result.body, &limits, &events, &result);
        result.body.header.retained = 1u << HEADER_X_JOB;
        size_t taken = body_feed_data(&result.body, message, split, &ended);
        body_feed_data(&result.body, message + taken, sizeof(message) - 1 - taken, &ended);
        CHECK(ended);
        CHECK_BYTES(bytes_of(result.out, result.len), "a: b\r\nx-JOB :\tj\r\nc: d\r\n\r\n");
        const struct header_value *job = header_filter_value(&result.body.header, HEADER_X_JOB);
        CHECK_BYTES(bytes_of(job->text, job->len), "j");
        CHECK_INT(result.body.header.counts[HEADER_JOB_ALIAS], 0);
    }
}

TEST(s36_odd_values_of_control_headers_are_marked)
{
    static const char *const odd[] = {
        "X-Virtual-MTA: a\r\n b\r\n", "X-Virtual-MTA: a\tb\r\n", "X-Virtual-MTA: a\x01\r\n",
        "X-Virtual-MTA: \xc3\xa9\r\n",
        "X-Virtual-MTA: "
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaa\r\n"};
    char input[256];
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        snprintf(input, sizeof(input), "%s\r\nx\r\n.\r\n", odd[i]);
        CHECK_BYTES(received(bytes_from_string(input)), "\r\nx\r\n");
        CHECK(header_filter_value(&first.body.header, HEADER_X_VIRTUAL_MTA)->malformed);
    }
    received(BYTES("X-Virtual-MTA: a\r\nX-Virtual-MTA: b\r\n\r\n.\r\n"));
    CHECK_INT(first.body.header.counts[HEADER_X_VIRTUAL_MTA], 2);
}

TEST(the_owners_own_headers_are_removed_or_read)
{
    CHECK_BYTES(received(BYTES("X-Secret: 1\r\n 2\r\nX-Campaign: c7\r\nz: y\r\n\r\n.\r\n")),
                "X-Campaign: c7\r\nz: y\r\n\r\n");
    const struct header_value *alias = header_filter_value(&first.body.header, HEADER_JOB_ALIAS);
    CHECK_BYTES(bytes_of(alias->text, alias->len), "c7");
    CHECK_INT(first.body.header.counts[HEADER_JOB_ALIAS], 1);
}

TEST(eight_bit_is_told_for_header_and_body_apart)
{
    received(BYTES("a: \xc3\xa9\r\n\r\nplain\r\n.\r\n"));
    CHECK(first.body.header.non_ascii);
    CHECK(!first.body.eight_bit);
    received(BYTES("a: b\r\n\r\n\xc3\xa9\r\n.\r\n"));
    CHECK(!first.body.header.non_ascii);
    CHECK(first.body.eight_bit);
    received(BYTES("a: b\r\n\xc3\xa9 no header\r\n.\r\n"));
    CHECK(first.body.eight_bit);
}

TEST(utf8_in_a_header_is_told_from_other_codes)
{
    static const char *const good[] = {"a: \xc3\xa9\r\n\r\n.\r\n", "a: \xf0\x9f\x98\x80\r\n.\r\n",
                                       "a: \xe2\x82\xac\r\n \xed\x9f\xbf\r\n\r\n.\r\n"};
    static const char *const bad[] = {
        "a: \xe9\r\n\r\n.\r\n",         "a: \xc3\r\n\r\n.\r\n",         "a: \xc0\xaf\r\n\r\n.\r\n",
        "a: \xed\xa0\x80\r\n\r\n.\r\n", "a: \xf4\x90\x80\x80\r\n.\r\n", "a: \x80\r\n.\r\n",
        "a: \xc3\xa9\xe2\x82\r\n.\r\n"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        received(bytes_from_string(good[i]));
        CHECK(first.body.header.non_ascii);
        CHECK(!first.body.header.not_utf8);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        received(bytes_from_string(bad[i]));
        CHECK(first.body.header.not_utf8);
    }
}

TEST(date_and_message_id_are_counted)
{
    received(BYTES("date: x\r\nMessage-Id: <y>\r\n\r\nDate: z\r\n.\r\n"));
    CHECK_INT(first.body.header.counts[HEADER_DATE], 1);
    CHECK_INT(first.body.header.counts[HEADER_MESSAGE_ID], 1);
}

TEST(the_end_of_the_header_is_told_once_before_the_blank_line)
{
    received(BYTES("a: b\r\n\r\n\r\nc\r\n.\r\n"));
    CHECK_INT(first.header_ends, 1);
    received(BYTES(".\r\n"));
    CHECK_INT(first.header_ends, 1);
}

TEST(a_last_chunk_without_a_line_end_gets_one)
{
    feed_all(BYTES("a: b\r\n\r\n.c"), true, &limits);
    CHECK_BYTES(bytes_of(first.out, first.len), "a: b\r\n\r\n.c\r\n");
    CHECK(first.body.dot_lines);
    feed_all(BYTES("a: b"), true, &limits);
    CHECK_BYTES(bytes_of(first.out, first.len), "a: b\r\n\r\n");
    feed_all(BYTES("a"), true, &limits);
    CHECK_BYTES(bytes_of(first.out, first.len), "\r\na\r\n");
    feed_all(BYTES(""), true, &limits);
    CHECK_BYTES(bytes_of(first.out, first.len), "\r\n");
    feed_all(BYTES("a: b\r\n\r\nc\r"), true, &limits);
    CHECK(strncmp(body_refusal(&first.body), "550 5.5.2", 9) == 0);
}

TEST(dot_lines_in_chunks_are_no_end_and_stay)
{
    feed_all(BYTES("a: b\r\n\r\nc\r\n.\r\n..d\r\n"), true, &limits);
    CHECK_BYTES(bytes_of(first.out, first.len), "a: b\r\n\r\nc\r\n.\r\n..d\r\n");
    CHECK(first.body.dot_lines);
}

/* ---- any bytes ---- */

static size_t make_random(char *out, size_t max, uint64_t seed)
{
    static const char *const words[] = {"\r\n",
                                        "\r\n",
                                        "\r\n",
                                        ".",
                                        "..",
                                        "\r\n.",
                                        "\r\n.\r\n",
                                        "a",
                                        "word ",
                                        "x: y",
                                        ":",
                                        " ",
                                        "\t",
                                        "\r",
                                        "\n",
                                        "\xc3\xa9",
                                        "X-Job: j",
                                        "X-Virtual-MTA: ",
                                        "Received: r",
                                        "X-Secret: s",
                                        "X-Campaign:c",
                                        "0123456789012345678901234567890123456789012345678901234"};
    struct rng rng;
    struct buffer buffer;
    rng_init(&rng, seed);
    buffer_init(&buffer, out, max);
    uint64_t count = rng_below(&rng, 60);
    bool clean = rng_chance(&rng, 600000);
    for (uint64_t i = 0; i < count; i++) {
        const char *word = words[rng_below(&rng, sizeof(words) / sizeof(words[0]))];
        if (!clean || (strcmp(word, "\r") != 0 && strcmp(word, "\n") != 0)) {
            buffer_put_string(&buffer, word);
        }
    }
    return buffer.len;
}

TEST(any_bytes_give_the_same_whole_bytewise_and_at_random_splits)
{
    static char input[8192];
    for (uint64_t seed = 1; seed <= 3000 && !test_failed; seed++) {
        struct bytes bytes = bytes_of(input, make_random(input, sizeof(input), seed));
        feed_all(bytes, seed % 3 == 0, &limits);
        if (test_failed) {
            printf("seed %" PRIu64 "\n", seed);
        }
    }
}

/* A plain reading of RFC 5321 4.5.2, byte by byte, of a message without header lines. */
static size_t unstuff_plainly(struct bytes in, char *out, bool *ended)
{
    size_t len = 0, at = 0;
    bool line_start = true;
    *ended = false;
    while (at < in.len) {
        if (line_start && in.data[at] == '.') {
            if (in.len - at >= 3 && in.data[at + 1] == '\r' && in.data[at + 2] == '\n') {
                *ended = true;
                return len;
            }
            at++;
            line_start = false;
            continue;
        }
        out[len++] = in.data[at];
        line_start = in.data[at] == '\n' && at > 0 && in.data[at - 1] == '\r';
        at++;
    }
    return len;
}

TEST(unstuffing_agrees_with_a_plain_reading)
{
    static char input[8192], plain[8192];
    for (uint64_t seed = 1; seed <= 3000 && !test_failed; seed++) {
        memcpy(input, "\r\n", 2);
        size_t len = 2 + make_random(input + 2, sizeof(input) - 2, seed);
        bool ended;
        feed(&first, bytes_of(input, len), WHOLE, false, &limits, 0);
        size_t plain_len = unstuff_plainly(bytes_of(input, len), plain, &ended);
        CHECK_INT(first.ended, ended);
        if (ended && body_refusal(&first.body) == NULL) {
            CHECK(bytes_equal(bytes_of(plain, plain_len), bytes_of(first.out, first.len)));
        }
    }
}
