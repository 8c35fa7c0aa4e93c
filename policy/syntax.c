#include "policy/syntax.h"

#include <assert.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

int syntax_begin(struct syntax *syntax, struct bytes text, struct error *error, uint32_t *line)
{
    *line = 1;
    if (bytes_starts_with(text, BYTES("\xff\xfe")) || bytes_starts_with(text, BYTES("\xfe\xff"))) {
        return error_set(error, -1, "the file is UTF-16: save it as UTF-8");
    }
    const char *nul = text.len == 0 ? NULL : memchr(text.data, '\0', text.len);
    if (nul != NULL) {
        for (const char *c = text.data; c < nul; c++) {
            *line += *c == '\n';
        }
        /* Every second byte of ASCII in UTF-16 is 0, from one of the first two on. */
        return error_set(error, -1, "%s",
                         nul - text.data < 2 ? "the file is UTF-16: save it as UTF-8"
                                             : "the file holds a NUL byte: it is not text");
    }
    bool marked = bytes_starts_with(text, BYTES("\xef\xbb\xbf"));
    *syntax = (struct syntax){.text = text, .offset = marked ? 3 : 0, .line = 1};
    return 0;
}

/* Where the quote at `open` closes; the text's length if it does not. */
static size_t quote_end(struct bytes text, size_t open)
{
    for (size_t i = open + 1; i < text.len; i++) {
        if (text.data[i] == '"') {
            return i;
        }
        if (text.data[i] == '\\' && i + 1 < text.len &&
            (text.data[i + 1] == '"' || text.data[i + 1] == '\\')) {
            i++;
        }
    }
    return text.len;
}

/* Place of the first `wanted` outside double quotes, or the text's length. A quote opens at the
 * start of a word, and only if it is closed on the line: a lone one inside a regex is a letter. */
static size_t find_unquoted(struct bytes text, char wanted)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == wanted) {
            return i;
        }
        if (c == '"' && (i == 0 || is_blank(text.data[i - 1]))) {
            size_t end = quote_end(text, i);
            i = end < text.len ? end : i;
        }
    }
    return text.len;
}

/* The next line, without its end; false at the end of the text. */
static bool take_raw(struct syntax *syntax, struct syntax_line *out)
{
    if (syntax->offset >= syntax->text.len) {
        return false;
    }
    ptrdiff_t end = bytes_find(syntax->text, '\n', syntax->offset);
    size_t stop = end < 0 ? syntax->text.len : (size_t)end;
    *out = (struct syntax_line){.line = syntax->line,
                                .raw = bytes_slice(syntax->text, syntax->offset, stop)};
    syntax->offset = stop + 1;
    syntax->line++;
    while (out->raw.len > 0 && out->raw.data[out->raw.len - 1] == '\r') {
        out->raw.len--;
    }
    return true;
}

/* The next line that is more than blanks and a comment, with `whole` set. */
static bool take_line(struct syntax *syntax, struct syntax_line *out)
{
    while (take_raw(syntax, out)) {
        if (out->raw.len > SYNTAX_LINE_LEN_MAX) {
            out->problem = "the line is too long: 65536 bytes are allowed";
            out->whole = bytes_slice(out->raw, 0, 1);
            return true;
        }
        out->whole = bytes_trim(bytes_slice(out->raw, 0, find_unquoted(out->raw, '#')));
        if (out->whole.len > 0) {
            return true;
        }
    }
    return false;
}

static void split_name(struct bytes text, struct bytes *name, struct bytes *value)
{
    size_t end = 0;
    while (end < text.len && !is_blank(text.data[end])) {
        end++;
    }
    *name = bytes_slice(text, 0, end);
    *value = bytes_trim(bytes_slice(text, end, text.len));
}

static enum syntax_kind wrong(struct syntax_line *line, const char *problem)
{
    line->problem = problem;
    line->name = line->whole;
    return SYNTAX_WRONG;
}

static enum syntax_kind read_tag(struct syntax_line *line)
{
    size_t end = find_unquoted(line->whole, '>');
    if (end == line->whole.len) {
        return wrong(line, "a tag has no closing '>' on this line");
    }
    if (end + 1 < line->whole.len) {
        return wrong(line, "text behind a tag: it belongs on a line of its own");
    }
    bool closes = line->whole.len > 1 && line->whole.data[1] == '/';
    struct bytes inside = bytes_trim(bytes_slice(line->whole, closes ? 2 : 1, end));
    split_name(inside, &line->name, &line->value);
    if (line->name.len == 0) {
        return wrong(line, "a tag without a name");
    }
    if (closes && line->value.len > 0) {
        return wrong(line, "a closing tag takes no argument");
    }
    return closes ? SYNTAX_CLOSE : SYNTAX_OPEN;
}

enum syntax_kind syntax_next(struct syntax *syntax, struct syntax_line *out)
{
    assert(syntax->line > 0);
    if (!take_line(syntax, out)) {
        *out = (struct syntax_line){.kind = SYNTAX_END, .line = syntax->line};
        return SYNTAX_END;
    }
    if (out->problem != NULL) {
        out->kind = wrong(out, out->problem);
    } else if (out->whole.data[0] == '<') {
        out->kind = read_tag(out);
    } else {
        split_name(out->whole, &out->name, &out->value);
        out->kind = SYNTAX_DIRECTIVE;
    }
    return out->kind;
}

bool syntax_continue(struct syntax *syntax, struct bytes not_name, struct syntax_line *out)
{
    struct syntax before = *syntax;
    struct bytes name, rest;
    if (take_line(syntax, out) && out->problem == NULL && out->whole.data[0] != '<') {
        split_name(out->whole, &name, &rest);
        if (!bytes_equal_nocase(name, not_name)) {
            out->kind = SYNTAX_DIRECTIVE;
            out->value = out->whole;
            return true;
        }
    }
    *syntax = before;
    return false;
}

uint32_t syntax_column(const struct syntax_line *line, const char *place)
{
    uint32_t column = 1;
    if (place == NULL || place < line->raw.data || place > line->raw.data + line->raw.len) {
        return 0;
    }
    for (const char *c = line->raw.data; c < place; c++) {
        column += ((unsigned char)*c & 0xc0) != 0x80; /* UTF-8 continuation bytes do not count */
    }
    return column;
}
