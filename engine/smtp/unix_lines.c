#include "smtp/unix_lines.h"

#include <assert.h>

static const char from_line[] = "From ";

void unix_lines_init(struct unix_lines *lines, bool quote_from)
{
    *lines = (struct unix_lines){.quote_from = quote_from, .line_start = true, .ended = true};
}

static void emit(struct unix_lines *lines, char c, struct buffer *out)
{
    lines->ended = c == '\n';
    buffer_put_char(out, c);
}

/* What looked like "From " so far goes out, as it is or as a quoted line. */
static void emit_matched(struct unix_lines *lines, struct buffer *out)
{
    for (uint8_t i = 0; i < lines->matched; i++) {
        emit(lines, from_line[i], out);
    }
    lines->matched = 0;
    lines->line_start = false;
}

static void quote(struct unix_lines *lines, char c, struct buffer *out)
{
    if (lines->line_start) {
        if (lines->matched == 0 && c == '>') {
            emit(lines, c, out);
            return;
        }
        if (c == from_line[lines->matched]) {
            if (++lines->matched == sizeof from_line - 1) {
                emit(lines, '>', out);
                emit_matched(lines, out);
            }
            return;
        }
        emit_matched(lines, out);
    }
    emit(lines, c, out);
    lines->line_start = c == '\n';
}

static void put(struct unix_lines *lines, char c, struct buffer *out)
{
    if (lines->quote_from) {
        quote(lines, c, out);
    } else {
        emit(lines, c, out);
    }
}

void unix_lines_feed(struct unix_lines *lines, struct bytes piece, struct buffer *out)
{
    assert(buffer_room(out) >= 2 * piece.len + UNIX_LINES_HELD);
    for (size_t i = 0; i < piece.len; i++) {
        char c = piece.data[i];
        if (lines->after_cr && c != '\n') {
            put(lines, '\r', out);
        }
        lines->after_cr = c == '\r';
        if (c != '\r') {
            put(lines, c, out);
        }
    }
}

void unix_lines_end(struct unix_lines *lines, struct buffer *out)
{
    assert(buffer_room(out) >= UNIX_LINES_HELD);
    if (lines->after_cr) {
        put(lines, '\r', out);
        lines->after_cr = false;
    }
    emit_matched(lines, out);
    if (!lines->ended) {
        emit(lines, '\n', out);
    }
}
