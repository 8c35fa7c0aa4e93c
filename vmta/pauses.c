#include "vmta/pauses.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

void pauses_init(struct pauses *pauses)
{
    *pauses = (struct pauses){0};
}

void pauses_deinit(struct pauses *pauses)
{
    for (size_t i = 0; i < pauses->count; i++) {
        free(pauses->patterns[i]);
    }
    free(pauses->patterns);
    *pauses = (struct pauses){0};
}

static bool holds_pattern(const struct pauses *pauses, const char *pattern)
{
    for (size_t i = 0; i < pauses->count; i++) {
        if (strcmp(pauses->patterns[i], pattern) == 0) {
            return true;
        }
    }
    return false;
}

bool pauses_add(struct pauses *pauses, const char *pattern)
{
    if (holds_pattern(pauses, pattern)) {
        return true;
    }
    if (pauses->count == PAUSES_MAX || strlen(pattern) >= PAUSES_PATTERN_MAX) {
        return false;
    }
    if (pauses->patterns == NULL) {
        pauses->patterns = calloc(PAUSES_MAX, sizeof *pauses->patterns);
    }
    char *copy = strdup(pattern);
    if (pauses->patterns == NULL || copy == NULL) {
        free(copy);
        return false;
    }
    pauses->patterns[pauses->count++] = copy;
    return true;
}

bool pauses_covers(const char *wide, const char *narrow)
{
    return fnmatch(wide, narrow, FNM_CASEFOLD) == 0;
}

size_t pauses_remove(struct pauses *pauses, const char *pattern)
{
    size_t kept = 0, removed = 0;
    for (size_t i = 0; i < pauses->count; i++) {
        if (pauses_covers(pattern, pauses->patterns[i])) {
            free(pauses->patterns[i]);
            removed++;
        } else {
            pauses->patterns[kept++] = pauses->patterns[i];
        }
    }
    pauses->count = kept;
    return removed;
}

bool pauses_hold(const struct pauses *pauses, const char *queue)
{
    for (size_t i = 0; i < pauses->count; i++) {
        if (fnmatch(pauses->patterns[i], queue, FNM_CASEFOLD) == 0) {
            return true;
        }
    }
    return false;
}

const char *pauses_at(const struct pauses *pauses, size_t place)
{
    return place < pauses->count ? pauses->patterns[place] : NULL;
}
