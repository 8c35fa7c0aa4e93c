/* What <acct-file "|COMMAND"> asks for: the words of the command, and what does not go with it.
 *
 * Knows nothing of programs: whether there is one is seen when it is started. Part of loading. */
#ifndef POLICY_ACCT_PIPE_H
#define POLICY_ACCT_PIPE_H

#include "base/bytes.h"
#include "policy/value.h"

struct block;
struct loader;

/* Blanks separate, double quotes group; no shell will see it. Errors are reported; then *out may
 * be short. Words live as long as the configuration. */
void acct_pipe_words(struct loader *loader, const struct block *block, struct bytes command,
                     struct string_array *out);

/* Warns of directives that mean nothing to a pipe. */
void acct_pipe_check(struct loader *loader, const struct block *block);

#endif
