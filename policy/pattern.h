/* Regular expressions: Perl syntax, bounded in time and memory whatever the subject.
 *
 * The one place that knows PCRE2. A pattern is immutable and may be used from any thread at once;
 * a matcher is scratch memory of one thread. A subject is announced once and matched against any
 * number of patterns, which share what it may cost. */
#ifndef POLICY_PATTERN_H
#define POLICY_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

#define PATTERN_LEN_MAX     8192    /* bytes of one expression */
#define PATTERN_STEPS_MAX   1000000 /* backtracking steps for one subject, all patterns together */
#define PATTERN_DEPTH_LIMIT 5000    /* levels of backtracking */
#define PATTERN_HEAP_LIMIT  1024    /* KiB, of a pattern that is not machine code */
#define PATTERN_SUBJECT_MAX 768     /* bytes of a subject that are looked at */
#define PATTERN_JIT_MAX     2000 /* patterns of a set made into machine code: about 15 µs each */

struct pattern;

enum pattern_result {
    PATTERN_NO,
    PATTERN_MATCH,
    PATTERN_LIMIT, /* too costly: what follows for this subject is the caller's to say */
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

/* What is matched from here on; it must stay as long. Looks at its first PATTERN_SUBJECT_MAX bytes,
 * and has PATTERN_STEPS_MAX. */
void pattern_subject(struct pattern_matcher *matcher, struct bytes subject);

/* Allocates nothing. Patterns of ordinary cost are matched even when the steps are used up. */
enum pattern_result pattern_match(struct pattern_matcher *matcher, const struct pattern *pattern);

/* Behind PATTERN_MATCH: where in the subject the match begins. */
size_t pattern_match_start(const struct pattern_matcher *matcher);

#endif
