#include "policy/words.h"

#include <assert.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void skip_blanks(struct words *words)
{
    while (words->offset < words->text.len && is_blank(words->text.data[words->offset])) {
        words->offset++;
    }
}

/* Where the quote that opens at `open` closes, or the text's length. */
static size_t closing_quote(struct bytes text, size_t open, bool *escapes)
{
    *escapes = false;
    for (size_t i = open + 1; i < text.len; i++) {
        if (text.data[i] == '"') {
            return i;
        }
        if (text.data[i] == '\\' && i + 1 < text.len &&
            (text.data[i + 1] == '"' || text.data[i + 1] == '\\')) {
            *escapes = true;
            i++;
        }
    }
    return text.len;
}

/* Other backslashes stay: Windows-like paths and regexes in quotes mean them. */
static bool undo_escapes(struct arena *arena, struct bytes from, struct bytes *out)
{
    char *copy = arena_take(arena, from.len + 1);
    if (copy == NULL) {
        return false;
    }
    size_t len = 0;
    for (size_t i = 0; i < from.len; i++) {
        if (from.data[i] == '\\' && i + 1 < from.len &&
            (from.data[i + 1] == '"' || from.data[i + 1] == '\\')) {
            i++;
        }
        copy[len++] = from.data[i];
    }
    *out = bytes_of(copy, len);
    return true;
}

static enum words_result next_quoted(struct words *words, struct word *out)
{
    bool escapes;
    size_t open = words->offset, close = closing_quote(words->text, open, &escapes);
    *out = (struct word){
        .text = bytes_slice(words->text, open + 1, close), .offset = open, .quoted = true};
    if (close == words->text.len) {
        return WORDS_QUOTE_OPEN;
    }
    words->offset = close + 1;
    if (words->offset < words->text.len && !is_blank(words->text.data[words->offset])) {
        return WORDS_QUOTE_TOUCHES;
    }
    if (escapes && !undo_escapes(words->arena, out->text, &out->text)) {
        return WORDS_NO_MEMORY;
    }
    return WORDS_WORD;
}

static enum words_result next_plain(struct words *words, struct word *out)
{
    size_t start = words->offset;
    while (words->offset < words->text.len && !is_blank(words->text.data[words->offset])) {
        words->offset++;
    }
    *out = (struct word){.text = bytes_slice(words->text, start, words->offset), .offset = start};
    return WORDS_WORD;
}

static enum words_result next_slashed(struct words *words, struct word *out)
{
    size_t open = words->offset, i = open + 1;
    while (i < words->text.len && words->text.data[i] != '/') {
        i += words->text.data[i] == '\\' ? 2 : 1;
    }
    *out =
        (struct word){.text = bytes_slice(words->text, open + 1, i), .offset = open, .regex = true};
    if (i >= words->text.len) {
        return WORDS_REGEX_OPEN;
    }
    words->offset = i + 1;
    if (words->offset < words->text.len && !is_blank(words->text.data[words->offset])) {
        return WORDS_QUOTE_TOUCHES;
    }
    return WORDS_WORD;
}

enum words_result words_next(struct words *words, struct word *out)
{
    assert(words->offset <= words->text.len);
    skip_blanks(words);
    if (words->offset == words->text.len) {
        return WORDS_END;
    }
    return words->text.data[words->offset] == '"' ? next_quoted(words, out)
                                                  : next_plain(words, out);
}

enum words_result words_next_regex(struct words *words, struct word *out)
{
    assert(words->offset <= words->text.len);
    skip_blanks(words);
    if (words->offset < words->text.len && words->text.data[words->offset] == '/') {
        return next_slashed(words, out);
    }
    return words_next(words, out);
}

struct bytes words_rest(const struct words *words)
{
    return bytes_trim(bytes_slice(words->text, words->offset, words->text.len));
}

const char *words_problem(enum words_result result)
{
    switch (result) {
    case WORDS_END:
        return "a value is missing";
    case WORDS_QUOTE_OPEN:
        return "a double quote is not closed on this line";
    case WORDS_QUOTE_TOUCHES:
        return "text right behind a closing quote or slash (inside, write \\\" or \\/)";
    case WORDS_REGEX_OPEN:
        return "a regular expression has no closing '/' on this line";
    case WORDS_NO_MEMORY:
        return "no memory";
    case WORDS_WORD:
        break;
    }
    return "no problem";
}
