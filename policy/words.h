/* The rest of a line, word by word: blanks separate, double quotes group, slashes hold a regex.
 *
 * Knows nothing of directives. Comments are gone already. Words point into the text, or into the
 * arena where an escape had to be undone. */
#ifndef POLICY_WORDS_H
#define POLICY_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/bytes.h"

struct words {
    struct bytes text;
    size_t offset; /* of what is not read yet */
    struct arena *arena;
};

struct word {
    struct bytes text; /* without quotes, escapes undone; a regex without its slashes */
    size_t offset;     /* of its first byte (quote or slash included) in the text */
    bool quoted, regex;
};

enum words_result {
    WORDS_END,           /* nothing left */
    WORDS_WORD,          /* *out is the next word */
    WORDS_QUOTE_OPEN,    /* no closing quote; *out is what there is */
    WORDS_QUOTE_TOUCHES, /* text right behind a closing quote or slash */
    WORDS_REGEX_OPEN,    /* no closing slash */
    WORDS_NO_MEMORY,
};

/* A quote opens at the start of a word only; inside it \" and \\ escape. */
enum words_result words_next(struct words *words, struct word *out);

/* The same, but a word that begins with a slash is a regular expression up to the next slash
 * without a backslash before it, blanks included. */
enum words_result words_next_regex(struct words *words, struct word *out);

/* What is left, trimmed. */
struct bytes words_rest(const struct words *words);

/* In words, for a message. */
const char *words_problem(enum words_result result);

#endif
