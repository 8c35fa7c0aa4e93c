/* Regular expressions: Perl syntax, bounded in time and memory whatever the subject.
 *
 * The one place that knows PCRE2. A pattern is immutable and may be used from any thread. */
#ifndef POLICY_PATTERN_H
#define POLICY_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "base/error.h"

#define PATTERN_LEN_MAX     8192  /* bytes of one expression */
#define PATTERN_MATCH_LIMIT 50000 /* steps of one match, then it counts as failed */
#define PATTERN_DEPTH_LIMIT 1000  /* levels of backtracking of one match */
#define PATTERN_SUBJECT_MAX 8192  /* bytes of a subject that are looked at */

struct pattern;

enum pattern_result {
    PATTERN_NO,
    PATTERN_MATCH,
    PATTERN_LIMIT, /* the limits ended the search: count it, take it for no match */
};

/* Case is ignored; (?-i) inside makes it count. An empty expression matches everything. NULL:
 * `error` says why, with the expression and the offset. The caller owns the result. */
struct pattern *pattern_compile(struct bytes text, struct error *error);
void pattern_destroy(struct pattern *pattern); /* NULL is accepted */

enum pattern_result pattern_match(const struct pattern *pattern, struct bytes subject);

/* The expression as it was given; lives as long as the pattern. */
struct bytes pattern_text(const struct pattern *pattern);

#endif
