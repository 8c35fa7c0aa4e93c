#include "commands_text.h"

#include <assert.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/idna.h"
#include "base/utf8.h"

#define GAP "  " /* between columns */

static uint32_t decode(struct bytes text, size_t at, size_t len)
{
    static const unsigned char first_mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t character = (unsigned char)text.data[at] & first_mask[len];
    for (size_t i = 1; i < len; i++) {
        character = character << 6 | ((unsigned char)text.data[at + i] & 0x3F);
    }
    return character;
}

/* Controls (C1 too: U+009B begins an escape sequence), line and paragraph separators, and what
 * changes the direction of text or is invisible: a name must look like what it is. */
static bool is_harmful(uint32_t character)
{
    return character < 0x20 || (character >= 0x7F && character < 0xA0) || character == 0xAD ||
           (character >= 0x200B && character <= 0x200F) ||
           (character >= 0x2028 && character <= 0x202E) ||
           (character >= 0x2060 && character <= 0x206F) || character == 0xFEFF;
}

void text_put_safe(struct buffer *out, struct bytes text)
{
    for (size_t at = 0; at < text.len;) {
        size_t len = utf8_length_at(text, at);
        uint32_t character = len == 0 ? 0 : decode(text, at, len);
        bool fits;
        if (len == 0 || (len == 1 && is_harmful(character))) {
            fits = buffer_printf(out, "\\x%02x", (unsigned)(unsigned char)text.data[at]);
        } else if (is_harmful(character)) {
            fits = buffer_printf(out, "\\u%04x", (unsigned)character);
        } else {
            fits = buffer_put(out, text.data + at, len);
        }
        if (!fits) {
            return;
        }
        at += len == 0 ? 1 : len;
    }
}

void text_put_count(struct buffer *out, uint64_t count)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) {
            buffer_put_char(out, ',');
        }
        buffer_put_char(out, digits[i]);
    }
}

void text_put_size(struct buffer *out, uint64_t bytes)
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
    size_t unit = 0;
    uint64_t whole = bytes, rest = 0;
    while (whole >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        rest = whole % 1024;
        whole /= 1024;
        unit++;
    }
    if (unit > 0 && whole < 100) {
        buffer_printf(out, "%llu.%llu %s", (unsigned long long)whole,
                      (unsigned long long)(rest * 10 / 1024), units[unit]);
    } else {
        buffer_printf(out, "%llu %s", (unsigned long long)whole, units[unit]);
    }
}

void text_put_age(struct buffer *out, uint64_t ms)
{
    uint64_t seconds = ms / 1000;
    unsigned long long minutes = seconds / 60, hours = minutes / 60, days = hours / 24;
    if (seconds < 60) {
        buffer_printf(out, "%llus", (unsigned long long)seconds);
    } else if (minutes < 60) {
        buffer_printf(out, "%llum", minutes);
    } else if (hours < 24) {
        buffer_printf(out, "%lluh %llum", hours, minutes % 60);
    } else {
        buffer_printf(out, "%llud %lluh", days, hours % 24);
    }
}

void text_put_domain(struct buffer *out, struct bytes domain)
{
    bool plain = true;
    for (size_t i = 0; i < domain.len; i++) {
        plain = plain && (unsigned char)domain.data[i] < 0x80;
    }
    if (!plain && idna_to_ascii(domain, out)) {
        return;
    }
    for (size_t i = 0; i < domain.len; i++) {
        char c = domain.data[i];
        buffer_put_char(out, c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c);
    }
}

size_t text_width(struct bytes text)
{
    size_t width = 0;
    for (size_t i = 0; i < text.len; i++) {
        width += ((unsigned char)text.data[i] & 0xC0) != 0x80;
    }
    return width;
}

struct bytes text_cut(struct bytes text, size_t width)
{
    size_t at = 0;
    for (; at < text.len; at++) {
        bool begins = ((unsigned char)text.data[at] & 0xC0) != 0x80;
        if (begins && width-- == 0) {
            break;
        }
    }
    return bytes_slice(text, 0, at);
}

void text_print(FILE *out, struct bytes text)
{
    char memory[TEXT_CELL_MAX];
    struct buffer safe;
    while (text.len > 0) {
        /* At most six bytes come out for one that goes in: nothing is cut. */
        size_t take = text.len < sizeof memory / 8 ? text.len : sizeof memory / 8;
        while (take < text.len && take > 1 && ((unsigned char)text.data[take] & 0xC0) == 0x80) {
            take--; /* a character stays in one piece */
        }
        buffer_init(&safe, memory, sizeof memory);
        text_put_safe(&safe, bytes_slice(text, 0, take));
        assert(!safe.overflowed);
        fwrite(safe.data, 1, safe.len, out);
        text = bytes_slice(text, take, text.len);
    }
}

void text_column_fit(struct text_column *column, struct bytes cell)
{
    size_t width = text_width(cell);
    if (column->width == 0) {
        column->width = strlen(column->header);
    }
    if (width > column->width) {
        column->width = width < TEXT_WIDTH_MAX ? width : TEXT_WIDTH_MAX;
    }
}

size_t text_column_print(FILE *out, const struct text_column *column, struct bytes cell, bool last)
{
    size_t width = text_width(cell);
    size_t blanks = width < column->width ? column->width - width : 0;
    if (column->right) {
        fprintf(out, "%*s%.*s%s", (int)blanks, "", BYTES_FMT(cell), last ? "" : GAP);
    } else {
        fprintf(out, "%.*s%*s%s", BYTES_FMT(cell), last ? 0 : (int)blanks, "", last ? "" : GAP);
    }
    return width + (last ? 0 : blanks + strlen(GAP));
}

size_t text_terminal_width(FILE *out)
{
    struct winsize size;
    if (!isatty(fileno(out)) || ioctl(fileno(out), TIOCGWINSZ, &size) < 0) {
        return 0;
    }
    return size.ws_col;
}
