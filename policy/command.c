#include "policy/command.h"

#include <stddef.h>

#include "base/arena.h"
#include "policy/words.h"

#define WORD_MAX 8192 /* with everything in it */

static const struct macro_row {
    const char *name;
    size_t offset; /* in struct command_values */
    bool folds;    /* to lower case */
} rows[] = {
#define X(name, field)                                                                             \
    {name, offsetof(struct command_values, field),                                                 \
     offsetof(struct command_values, field) <= offsetof(struct command_values, domain)},
    COMMAND_MACROS(X)
#undef X
};

static bool is_name_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

static const struct macro_row *find_row(struct bytes name)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (bytes_equal_nocase(name, bytes_from_string(rows[i].name))) {
            return &rows[i];
        }
    }
    return NULL;
}

/* The macro whose '$' is at *at, which moves behind it. NULL: there is none of that name. */
static const struct macro_row *read_macro(struct bytes word, size_t *at)
{
    size_t start = *at + 1;
    bool braces = start < word.len && word.data[start] == '{';
    start += braces;
    size_t end = start;
    while (end < word.len && is_name_char(word.data[end])) {
        end++;
    }
    *at = end + braces;
    bool closed = !braces || (end < word.len && word.data[end] == '}');
    return closed ? find_row(bytes_slice(word, start, end)) : NULL;
}

static bool put_value(const struct macro_row *row, const struct command_values *values,
                      struct buffer *out)
{
    const struct bytes *value = (const void *)((const char *)values + row->offset);
    bool folds = row->folds && !values->preserve_case;
    for (size_t i = 0; i < value->len; i++) {
        char c = value->data[i];
        if (!buffer_put_char(out, folds && c >= 'A' && c <= 'Z' ? (char)(c + 32) : c)) {
            return false;
        }
    }
    return true;
}

static enum command_result expand(struct bytes word, const struct command_values *values,
                                  struct buffer *out, struct error *error)
{
    bool fits = true;
    for (size_t at = 0; at < word.len && fits;) {
        size_t from = at;
        if (word.data[at] != '$') {
            fits = buffer_put_char(out, word.data[at++]);
        } else if (at + 1 < word.len && word.data[at + 1] == '$') {
            fits = buffer_put_char(out, '$');
            at += 2;
        } else {
            const struct macro_row *row = read_macro(word, &at);
            if (row == NULL) {
                error_set(error, 0, "no macro begins '%.*s' (a dollar sign is $$)",
                          BYTES_FMT(bytes_slice(word, from, word.len)));
                return COMMAND_WRONG;
            }
            bool begins = out->len == 0;
            fits = values == NULL || put_value(row, values, out);
            if (begins && out->len > 0 && *(const char *)out->data == '-') {
                return COMMAND_OPTION;
            }
        }
    }
    if (!fits) {
        error_set(error, 0, "a word has more than %d bytes", WORD_MAX);
    }
    return fits ? COMMAND_READY : COMMAND_WRONG;
}

/* The next word; its text in *out. WORDS_END: none. */
static enum command_result next_word(struct words *words, uint32_t index, struct bytes *out,
                                     struct error *error)
{
    struct word word;
    enum words_result result = words_next(words, &word);
    *out = result == WORDS_WORD ? word.text : (struct bytes){0};
    if (result != WORDS_WORD && result != WORDS_END) {
        error_set(error, 0, "%s", words_problem(result));
        return COMMAND_WRONG;
    }
    if (index == 0 && (result == WORDS_END || word.text.len == 0 || word.text.data[0] != '/' ||
                       bytes_find(word.text, '$', 0) >= 0)) {
        error_set(error, 0, "begin it with the whole path of a program");
        return COMMAND_WRONG;
    }
    if (result == WORDS_WORD && index == COMMAND_WORDS_MAX) {
        error_set(error, 0, "more than %d words", COMMAND_WORDS_MAX);
        return COMMAND_WRONG;
    }
    return COMMAND_READY;
}

enum command_result command_words(struct bytes text, const struct command_values *values,
                                  struct arena *arena, char ***words_out, struct error *error)
{
    struct words words = {.text = text, .arena = arena};
    char **out = arena_take(arena, (COMMAND_WORDS_MAX + 1) * sizeof *out);
    char memory[WORD_MAX];
    struct buffer buffer;
    struct bytes word;
    if (out == NULL) {
        error_set(error, 0, "out of memory");
        return COMMAND_WRONG;
    }
    for (uint32_t i = 0;; i++) {
        enum command_result result = next_word(&words, i, &word, error);
        if (result != COMMAND_READY) {
            return result;
        }
        if (word.data == NULL) {
            break;
        }
        buffer_init(&buffer, memory, sizeof memory);
        result = expand(word, values, &buffer, error);
        if (result != COMMAND_READY) {
            return result;
        }
        struct bytes copy = arena_copy(arena, buffer_bytes(&buffer));
        if (copy.data == NULL) {
            error_set(error, 0, "its words have more than %d bytes", COMMAND_BYTES_MAX);
            return COMMAND_WRONG;
        }
        out[i] = (char *)(uintptr_t)copy.data;
    }
    if (words_out != NULL) {
        *words_out = out;
    }
    return COMMAND_READY;
}
