#include "smtp/pickup_text.h"

#include <assert.h>

/* ---- the envelope ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct bytes trimmed(struct bytes text)
{
    size_t from = 0, to = text.len;
    while (from < to && is_blank(text.data[from])) {
        from++;
    }
    while (to > from && (is_blank(text.data[to - 1]) || text.data[to - 1] == '\n' ||
                         text.data[to - 1] == '\r')) {
        to--;
    }
    return bytes_slice(text, from, to);
}

/* False: it could not stand in a command as one address. */
static bool read_address(struct bytes text, struct bytes *out)
{
    struct bytes address = trimmed(text);
    if (address.len >= 2 && address.data[0] == '<' && address.data[address.len - 1] == '>') {
        address = bytes_slice(address, 1, address.len - 1);
    }
    for (size_t i = 0; i < address.len; i++) {
        char c = address.data[i];
        if (c == '<' || c == '>' || (c >= 0 && c < ' ') || c == 0x7f) {
            return false;
        }
    }
    *out = address;
    return true;
}

enum pickup_line pickup_read_line(struct bytes line, struct bytes *address)
{
    static const struct {
        struct bytes name;
        enum pickup_line line;
    } names[] = {{{"x-sender", 8}, PICKUP_SENDER},
                 {{"x-receiver", 10}, PICKUP_RECEIVER},
                 {{"x-sender-override", 17}, PICKUP_OVERRIDE},
                 {{"x-envelope-end", 14}, PICKUP_END}};
    ptrdiff_t colon = bytes_find(line, ':', 0);
    struct bytes name = bytes_slice(line, 0, colon < 0 ? 0 : (size_t)colon);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!bytes_equal_nocase(name, names[i].name)) {
            continue;
        }
        if (names[i].line == PICKUP_END) {
            return PICKUP_END;
        }
        bool right = read_address(bytes_slice(line, (size_t)colon + 1, line.len), address) &&
                     (names[i].line != PICKUP_RECEIVER || address->len > 0);
        return right ? names[i].line : PICKUP_WRONG;
    }
    return PICKUP_OTHER;
}

/* ---- the message ---- */

void pickup_body_init(struct pickup_body *body, bool remove_dot)
{
    *body = (struct pickup_body){.remove_dot = remove_dot, .line_start = true};
}

/* A line of one dot was not the last: it stands for an empty one. */
static void emit_held_line(struct pickup_body *body, struct buffer *out)
{
    if (body->held_line) {
        body->held_line = false;
        buffer_put_string(out, "\r\n");
    }
}

static void put(struct pickup_body *body, char c, struct buffer *out)
{
    emit_held_line(body, out);
    if (body->line_start) {
        body->line_start = false;
        if (c == '.' && body->remove_dot) {
            body->held_dot = true; /* whether the line goes on decides what it is */
            return;
        }
        if (c == '.') {
            buffer_put_char(out, '.');
        }
    }
    if (body->held_dot) {
        body->held_dot = false;
        buffer_put_char(out, '.');
    }
    buffer_put_char(out, c);
}

static void end_line(struct pickup_body *body, struct buffer *out)
{
    emit_held_line(body, out);
    body->line_start = true;
    if (body->held_dot) {
        body->held_dot = false;
        body->held_line = true;
        return;
    }
    buffer_put_string(out, "\r\n");
}

void pickup_body_feed(struct pickup_body *body, struct bytes piece, struct buffer *out)
{
    assert(buffer_room(out) >= 2 * piece.len + PICKUP_BODY_HELD);
    for (size_t i = 0; i < piece.len; i++) {
        char c = piece.data[i];
        if (body->after_cr && c != '\n') {
            put(body, '\r', out);
        }
        body->after_cr = c == '\r';
        if (c == '\n') {
            end_line(body, out);
        } else if (c != '\r') {
            put(body, c, out);
        }
    }
}

void pickup_body_end(struct pickup_body *body, struct buffer *out)
{
    assert(buffer_room(out) >= 2 * PICKUP_BODY_HELD);
    if (body->after_cr) {
        put(body, '\r', out);
        body->after_cr = false;
    }
    if (!body->line_start && !body->held_dot) {
        buffer_put_string(out, "\r\n");
    }
    buffer_put_string(out, ".\r\n");
}
