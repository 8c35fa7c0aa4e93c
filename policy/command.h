/* The command line of a pipe delivery: from its text to the words a program is started with.
 *
 * Blanks separate words, double quotes group (words.h); then macros, $NAME or ${NAME}, give way to
 * what is known of the delivery, each within its word: no value can make a word more, or anything
 * that a shell would have to read. $$ is a dollar sign. Pure. */
#ifndef POLICY_COMMAND_H
#define POLICY_COMMAND_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/error.h"

struct arena;

#define COMMAND_WORDS_MAX 64
#define COMMAND_BYTES_MAX (64 * 1024) /* of the words with everything in them */

/* Macro, field; the first two in two spellings. */
#define COMMAND_MACROS(X)                                                                          \
    X("from", from)                                                                                \
    X("sender", from)                                                                              \
    X("to", to)                                                                                    \
    X("recipient", to)                                                                             \
    X("user", user)                                                                                \
    X("domain", domain)                                                                            \
    X("vmta", vmta)                                                                                \
    X("job", job)                                                                                  \
    X("envid", envid)

struct command_values {
    struct bytes from, to, user, domain; /* in lower case unless preserve_case */
    struct bytes vmta, job, envid;
    bool preserve_case;
};

enum command_result {
    COMMAND_READY,
    COMMAND_WRONG,  /* error says what */
    COMMAND_OPTION, /* a word would begin with a '-' that comes from a value */
};

/* Words for execve, ending with NULL, from the arena. values NULL: only looks whether it is right;
 * words may be NULL then. */
enum command_result command_words(struct bytes text, const struct command_values *values,
                                  struct arena *arena, char ***words, struct error *error);

#endif
