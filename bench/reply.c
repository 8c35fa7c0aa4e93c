#include "bench/reply.h"

static void take(struct bytes *in, size_t len)
{
    in->data += len;
    in->len -= len;
}

/* The first four bytes of a line: three digits and a space (or the line's end), or '-'. */
static void take_code(struct reply *reply, struct bytes *in)
{
    while (in->len > 0 && reply->column < 4) {
        char c = *in->data;
        if (reply->column == 0) {
            reply->code = 0;
            reply->text_len = 0;
            reply->last_line = true;
        }
        if (reply->column == 3) {
            reply->last_line = c != '-';
            if (c == '\r' || c == '\n') {
                reply->column = 4;
                return;
            }
        } else {
            bool digit = c >= '0' && c <= '9';
            reply->code = digit ? (uint16_t)(reply->code * 10 + (c - '0')) : 0;
            if (c == '\n') {
                reply->column = 4;
                return;
            }
        }
        reply->column++;
        take(in, 1);
    }
}

static void keep_text(struct reply *reply, struct bytes text)
{
    size_t room = REPLY_TEXT_MAX - (size_t)reply->text_len;
    size_t len = text.len < room ? text.len : room;
    memcpy(reply->text + reply->text_len, text.data, len);
    reply->text_len = (uint8_t)(reply->text_len + len);
}

static void finish(struct reply *reply)
{
    if (reply->text_len > 0 && reply->text[reply->text_len - 1] == '\r') {
        reply->text_len--;
    }
    if (reply->code < 200 || reply->code > 599) {
        reply->code = 0;
    }
}

bool reply_next(struct reply *reply, struct bytes *in)
{
    while (in->len > 0) {
        if (reply->column < 4) {
            take_code(reply, in);
            continue;
        }
        const char *end = memchr(in->data, '\n', in->len);
        size_t len = end == NULL ? in->len : (size_t)(end - in->data);
        keep_text(reply, bytes_of(in->data, len));
        take(in, end == NULL ? len : len + 1);
        if (end == NULL) {
            return false;
        }
        reply->column = 0;
        if (reply->last_line) {
            finish(reply);
            return true;
        }
    }
    return false;
}
