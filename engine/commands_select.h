/* Which recipients `list` and `delete` are about: from words to members of the request. Pure. */
#ifndef ENGINE_COMMANDS_SELECT_H
#define ENGINE_COMMANDS_SELECT_H

#include <stdbool.h>
#include <stdint.h>

#define SELECTION_TEXT_MAX 500 /* bytes of one value */

struct json_writer;

/* Values are borrowed; NULL: any. */
struct selection {
    const char *orig, *rcpt, *job, *envid;
    uint64_t older_than_ms; /* 0: any */
};

enum selection_result { SELECTION_OTHER, SELECTION_TAKEN, SELECTION_BAD };

/* OTHER: the word is none of these. BAD: its value is none, or too long. An empty value is bad: in
 * a script it is a variable that was not set. */
enum selection_result selection_take(struct selection *selection, const char *word);

bool selection_is_empty(const struct selection *selection);

void selection_put(struct json_writer *writer, const struct selection *selection);

#endif
