/* PCRE2 with limits.
 *
 * Expressions come from the operator, subjects from anybody: replies of remote hosts, headers. So
 * what a subject can cost is bounded three times: by its length, by the steps of one match and by
 * the size of the machine code's stack. UTF-8 in subjects is believed where it is well formed and
 * skipped where it is not (PCRE2_MATCH_INVALID_UTF), so no subject is refused. */
#include "policy/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <assert.h>
#include <stdlib.h>

#define JIT_STACK_MIN_BYTES 32768
#define JIT_STACK_MAX_BYTES 262144

struct pattern {
    pcre2_code *code;
    struct pattern *next;
    size_t len;
    char text[];
};

struct pattern_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static pcre2_code *compile(struct bytes text, struct error *error)
{
    int code;
    PCRE2_SIZE offset;
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)(text.len == 0 ? "" : text.data), text.len,
                                         PCRE2_CASELESS | PCRE2_UTF | PCRE2_MATCH_INVALID_UTF |
                                             PCRE2_NEVER_BACKSLASH_C,
                                         &code, &offset, NULL);
    if (compiled == NULL) {
        PCRE2_UCHAR reason[256];
        pcre2_get_error_message(code, reason, sizeof(reason));
        error_set(error, -1, "regular expression /%.*s/ is wrong at offset %zu: %s",
                  (int)(text.len > 200 ? 200 : text.len), text.data, (size_t)offset,
                  (const char *)reason);
    }
    return compiled;
}

const struct pattern *pattern_compile(struct pattern_set *set, struct bytes text,
                                      struct error *error)
{
    if (text.len > PATTERN_LEN_MAX) {
        error_set(error, -1, "a regular expression of %zu bytes: at most %d are allowed", text.len,
                  PATTERN_LEN_MAX);
        return NULL;
    }
    pcre2_code *code = compile(text, error);
    if (code == NULL) {
        return NULL;
    }
    struct pattern *pattern = malloc(sizeof(*pattern) + text.len);
    if (pattern == NULL) {
        pcre2_code_free(code);
        error_set(error, -1, "no memory for a regular expression");
        return NULL;
    }
    if (set->count < PATTERN_JIT_MAX) {
        /* May fail where memory must not be executable; then it is interpreted. */
        pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    }
    *pattern = (struct pattern){.code = code, .next = set->first, .len = text.len};
    if (text.len > 0) {
        memcpy(pattern->text, text.data, text.len);
    }
    set->first = pattern;
    set->count++;
    return pattern;
}

void pattern_set_deinit(struct pattern_set *set)
{
    while (set->first != NULL) {
        struct pattern *pattern = set->first;
        set->first = pattern->next;
        pcre2_code_free(pattern->code);
        free(pattern);
    }
    set->count = 0;
}

struct bytes pattern_text(const struct pattern *pattern)
{
    return bytes_of(pattern->text, pattern->len);
}

struct pattern_matcher *pattern_matcher_create(void)
{
    struct pattern_matcher *matcher = calloc(1, sizeof(*matcher));
    if (matcher == NULL) {
        return NULL;
    }
    matcher->data = pcre2_match_data_create(1, NULL);
    matcher->context = pcre2_match_context_create(NULL);
    matcher->stack = pcre2_jit_stack_create(JIT_STACK_MIN_BYTES, JIT_STACK_MAX_BYTES, NULL);
    if (matcher->data == NULL || matcher->context == NULL) {
        pattern_matcher_destroy(matcher);
        return NULL;
    }
    pcre2_set_match_limit(matcher->context, PATTERN_MATCH_LIMIT);
    pcre2_set_depth_limit(matcher->context, PATTERN_DEPTH_LIMIT);
    if (matcher->stack != NULL) {
        pcre2_jit_stack_assign(matcher->context, NULL, matcher->stack);
    }
    return matcher;
}

void pattern_matcher_destroy(struct pattern_matcher *matcher)
{
    if (matcher == NULL) {
        return;
    }
    pcre2_match_data_free(matcher->data);
    pcre2_match_context_free(matcher->context);
    pcre2_jit_stack_free(matcher->stack);
    free(matcher);
}

enum pattern_result pattern_match(struct pattern_matcher *matcher, const struct pattern *pattern,
                                  struct bytes subject)
{
    assert(matcher != NULL);
    size_t len = subject.len < PATTERN_SUBJECT_MAX ? subject.len : PATTERN_SUBJECT_MAX;
    int result = pcre2_match(pattern->code, (PCRE2_SPTR)(len == 0 ? "" : subject.data), len, 0, 0,
                             matcher->data, matcher->context);
    if (result >= 0) {
        return PATTERN_MATCH;
    }
    return result == PCRE2_ERROR_NOMATCH ? PATTERN_NO : PATTERN_LIMIT;
}
