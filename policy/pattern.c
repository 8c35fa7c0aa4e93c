/* PCRE2 with limits.
 *
 * Expressions come from the operator, subjects from anybody: replies of remote hosts, headers. So
 * what a subject can cost is bounded by its length, by steps, and by the size of the machine code's
 * stack. UTF-8 in subjects is believed where it is well formed and skipped where it is not
 * (PCRE2_MATCH_INVALID_UTF), so no subject is refused.
 *
 * PCRE2 counts steps from each starting place anew, and tells only whether a limit was reached. So
 * a pattern is first given few steps, which is enough for nearly every reply and costs nothing;
 * where they are used up it is given more, and all it could take with them (steps times starting
 * places) is charged to the subject. What patterns take below the first limit is bounded by their
 * number and the subject's length alone: bench/micro_patterns looks for the worst. */
#include "policy/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <assert.h>
#include <stdlib.h>

#define JIT_STACK_MIN_BYTES 32768
#define JIT_STACK_MAX_BYTES 262144
#define LONG_COUNT          64 /* {0,64} */
#define DEAR_STEP           32 /* what a step that goes over text again costs */

/* From one starting place; the first are not charged. */
static const uint32_t step_limits[] = {64, 256, 2048};
#define LEVELS (sizeof step_limits / sizeof step_limits[0])

struct pattern {
    pcre2_code *code;
    struct pattern *next;
    uint32_t step_cost;
    bool anchored; /* matches at the subject's first byte only */
    size_t len;
    char text[];
};

struct pattern_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    struct bytes subject;
    uint64_t steps_left;
};

/* PCRE2 takes its memory where this program does, not where its library was linked to: a test that
 * drops or refuses all memory of an engine must have it all. */
static void *take_memory(PCRE2_SIZE size, void *unused)
{
    (void)unused;
    return malloc(size);
}

static void give_memory(void *memory, void *unused)
{
    (void)unused;
    free(memory);
}

/* To make others of; NULL: no memory, they take PCRE2's own. */
static pcre2_general_context *memory_context(void)
{
    return pcre2_general_context_create(take_memory, give_memory, NULL);
}

static pcre2_code *compile(struct bytes text, struct error *error)
{
    int code;
    PCRE2_SIZE offset;
    pcre2_general_context *memory = memory_context();
    pcre2_compile_context *context = pcre2_compile_context_create(memory);
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)(text.len == 0 ? "" : text.data), text.len,
                                         PCRE2_CASELESS | PCRE2_UTF | PCRE2_MATCH_INVALID_UTF |
                                             PCRE2_NEVER_BACKSLASH_C,
                                         &code, &offset, context);
    pcre2_compile_context_free(context);
    pcre2_general_context_free(memory);
    if (compiled == NULL) {
        PCRE2_UCHAR reason[256];
        pcre2_get_error_message(code, reason, sizeof(reason));
        error_set(error, -1, "regular expression /%.*s/ is wrong at offset %zu: %s",
                  (int)(text.len > 200 ? 200 : text.len), text.data, (size_t)offset,
                  (const char *)reason);
    }
    return compiled;
}

/* "{0,200}": up to so many of something; 0 where no such count stands at the brace. */
static uint64_t count_at(struct bytes text, size_t brace)
{
    uint64_t count = 0;
    ptrdiff_t end = bytes_find(text, '}', brace), comma = bytes_find(text, ',', brace);
    size_t from = comma > 0 && comma < end ? (size_t)comma + 1 : brace + 1;
    bool is_count = end > 0 && bytes_to_u64(bytes_slice(text, from, (size_t)end), 65535, &count);
    return is_count ? count : 0;
}

/* Back references compare text, long counts go over it, and neither counts that as steps. */
static uint32_t cost_of_step(const pcre2_code *code, struct bytes text)
{
    uint32_t references = 0;
    pcre2_pattern_info(code, PCRE2_INFO_BACKREFMAX, &references);
    bool dear = references > 0;
    for (ptrdiff_t brace = bytes_find(text, '{', 0); brace >= 0;
         brace = bytes_find(text, '{', (size_t)brace + 1)) {
        dear = dear || count_at(text, (size_t)brace) >= LONG_COUNT;
    }
    return dear ? DEAR_STEP : 1;
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
    uint32_t options = 0;
    pcre2_pattern_info(code, PCRE2_INFO_ALLOPTIONS, &options);
    *pattern = (struct pattern){.code = code,
                                .next = set->first,
                                .step_cost = cost_of_step(code, text),
                                .anchored = (options & PCRE2_ANCHORED) != 0,
                                .len = text.len};
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
    pcre2_general_context *memory = memory_context();
    matcher->data = pcre2_match_data_create(1, memory);
    matcher->context = pcre2_match_context_create(memory);
    matcher->stack = pcre2_jit_stack_create(JIT_STACK_MIN_BYTES, JIT_STACK_MAX_BYTES, memory);
    pcre2_general_context_free(memory);
    if (matcher->data == NULL || matcher->context == NULL) {
        pattern_matcher_destroy(matcher);
        return NULL;
    }
    pcre2_set_depth_limit(matcher->context, PATTERN_DEPTH_LIMIT);
    pcre2_set_heap_limit(matcher->context, PATTERN_HEAP_LIMIT);
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

void pattern_subject(struct pattern_matcher *matcher, struct bytes subject)
{
    matcher->subject = bytes_slice(
        subject, 0, subject.len < PATTERN_SUBJECT_MAX ? subject.len : PATTERN_SUBJECT_MAX);
    matcher->steps_left = PATTERN_STEPS_MAX;
}

/* False: what the pattern could take with so many steps is more than is left. */
static bool charge(struct pattern_matcher *matcher, const struct pattern *pattern, uint32_t steps)
{
    size_t places = pattern->anchored ? 1 : matcher->subject.len + 1;
    uint64_t cost = (uint64_t)steps * pattern->step_cost * places;
    if (cost > matcher->steps_left) {
        return false;
    }
    matcher->steps_left -= cost;
    return true;
}

enum pattern_result pattern_match(struct pattern_matcher *matcher, const struct pattern *pattern)
{
    struct bytes subject = matcher->subject;
    for (size_t level = 0; level < LEVELS; level++) {
        if (level > 0 && !charge(matcher, pattern, step_limits[level])) {
            break;
        }
        pcre2_set_match_limit(matcher->context, step_limits[level]);
        int result = pcre2_match(pattern->code, (PCRE2_SPTR)(subject.len == 0 ? "" : subject.data),
                                 subject.len, 0, 0, matcher->data, matcher->context);
        if (result >= 0) {
            return PATTERN_MATCH;
        }
        if (result == PCRE2_ERROR_NOMATCH) {
            return PATTERN_NO;
        }
        if (result != PCRE2_ERROR_MATCHLIMIT) {
            break; /* too deep, or too much memory: more steps lead no further */
        }
    }
    return PATTERN_LIMIT;
}

size_t pattern_match_start(const struct pattern_matcher *matcher)
{
    return pcre2_get_ovector_pointer(matcher->data)[0];
}
