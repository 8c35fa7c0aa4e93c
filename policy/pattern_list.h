/* What a <pattern-list> says about a message: which virtual MTA or pool it leaves from.
 *
 * Pure: the message is shown by callbacks. The first rule that matches and names a virtual MTA
 * ends the search, also inside a list that it calls or holds; a list that names none is left, and
 * the rule behind it is next. With several recipients one that matches is enough: it decides for
 * the whole message. */
#ifndef POLICY_PATTERN_LIST_H
#define POLICY_PATTERN_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

struct config;
struct pattern_matcher;
struct rule_list;

#define PATTERN_LIST_DEPTH_MAX 16     /* lists called by lists */
#define PATTERN_LIST_LOOKS_MAX 100000 /* rules, and subjects of them, looked at for a message */

/* The message; each is asked with a cursor that begins at 0, false: no more. */
struct pattern_list_message {
    void *owner;
    struct bytes sender;
    bool (*next_rcpt)(void *owner, size_t *cursor, struct bytes *address);
    bool (*next_header)(void *owner, size_t *cursor, struct bytes *name, struct bytes *value);
};

/* Does a rule of the list, or of one it calls, look at this header field? */
bool pattern_list_wants(const struct config *config, const struct rule_list *list,
                        struct bytes header);

/* The virtual MTA or pool that it names, a text of the configuration; empty: none. A rule whose
 * expression is too costly for this message does not match it. */
struct bytes pattern_list_choose(const struct config *config, const struct rule_list *list,
                                 struct pattern_matcher *matcher,
                                 const struct pattern_list_message *message);

#endif
