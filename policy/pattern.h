/* Regular expressions: Perl syntax, bounded in time and memory whatever the subject.
 *
 * The one place that knows PCRE2. A pattern is immutable and may be used from any thread at once;
 * a matcher is scratch memory of one thread. */
#ifndef POLICY_PATTERN_H
#define POLICY_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

#define PATTERN_LEN_MAX     8192  /* bytes of one expression */
#define PATTERN_MATCH_LIMIT 10000 /* steps from one starting place, then it counts as failed */
#define PATTERN_DEPTH_LIMIT 5000  /* levels of backtracking */
#define PATTERN_SUBJECT_MAX 2048  /* bytes of a subject that are looked at */
#define PATTERN_JIT_MAX     2000  /* patterns of a set made into machine code: about 30 µs each */

struct pattern;

enum pattern_result {
    PATTERN_NO,
    PATTERN_MATCH,
    PATTERN_LIMIT, /* the limits ended the search: count it, take it for no match */
};

/* Patterns that are freed together. */
struct pattern_set {
    /* private: */
    struct pattern *first;
    size_t count;
};

/* Owned by `set` until pattern_set_deinit. Case is ignored; (?-i) inside makes it count. An empty
 * expression matches everything. NULL: `error` says why, with the expression and the offset. */
const struct pattern *pattern_compile(struct pattern_set *set, struct bytes text,
                                      struct error *error);
void pattern_set_deinit(struct pattern_set *set);

/* The expression as it was given. */
struct bytes pattern_text(const struct pattern *pattern);

struct pattern_matcher;
struct pattern_matcher *pattern_matcher_create(void); /* NULL: no memory */
void pattern_matcher_destroy(struct pattern_matcher *matcher);

/* Allocates nothing. Looks at the first PATTERN_SUBJECT_MAX bytes. */
enum pattern_result pattern_match(struct pattern_matcher *matcher, const struct pattern *pattern,
                                  struct bytes subject);

#endif
