/* Replies from any bytes: fed whole, byte by byte and in pieces they are the same, and the caps
 * hold. */
#include <assert.h>
#include <stdlib.h>

#include "smtp/reply.h"

#define WORDS_MAX 8192

/* What was parsed, as text to compare. */
static void describe(const uint8_t *data, size_t len, size_t piece, struct buffer *out)
{
    struct reply_parser parser;
    reply_parser_init(&parser);
    for (size_t at = 0; at < len;) {
        size_t consumed, n = piece < len - at ? piece : len - at;
        enum reply_result result = reply_parser_feed(&parser, data + at, n, &consumed);
        assert(consumed <= n);
        assert(result != REPLY_MORE || consumed == n);
        at += consumed;
        if (result == REPLY_COMPLETE) {
            const struct reply *reply = &parser.reply;
            assert(reply->code >= 200 && reply->code < 600);
            assert(reply->text_len <= REPLY_TEXT_MAX);
            assert(reply->enhanced_class == 0 || reply->enhanced_class == reply->code / 100);
            buffer_printf(out, "%zu %u %u.%u.%u %u;", at, reply->code, reply->enhanced_class,
                          reply->enhanced_subject, reply->enhanced_detail, reply->text_len);
        } else if (result == REPLY_BROKEN) {
            buffer_printf(out, "broken %zu", at);
            return;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static char whole[WORDS_MAX], pieces[WORDS_MAX];
    struct buffer a, b;
    if (len == 0) {
        return 0;
    }
    buffer_init(&a, whole, sizeof(whole));
    describe(data, len, len, &a);
    for (size_t piece = 1; piece < 20; piece += 6) {
        buffer_init(&b, pieces, sizeof(pieces));
        describe(data, len, piece, &b);
        assert(bytes_equal(buffer_bytes(&a), buffer_bytes(&b)));
    }
    return 0;
}
