/* Which queues are paused: patterns over "domain/vmta", as operators give them.
 *
 * A pause is a rule, not a mark on a queue: it holds for queues that do not exist yet, and
 * outlives those that come and go. Pure; one per worker, kept alike by the engine. */
#ifndef VMTA_PAUSES_H
#define VMTA_PAUSES_H

#include <stdbool.h>
#include <stddef.h>

#define PAUSES_MAX         1024 /* patterns */
#define PAUSES_PATTERN_MAX 512  /* bytes of one, with the terminating NUL */

struct pauses {
    /* private: */
    char **patterns; /* in order of pausing */
    size_t count;
};

void pauses_init(struct pauses *pauses);
void pauses_deinit(struct pauses *pauses);

/* A pattern with * and ?, ASCII case ignored, copied; one that is there already stays. False:
 * PAUSES_MAX reached, too long, or no memory. */
bool pauses_add(struct pauses *pauses, const char *pattern);

/* Removes every pattern that `pattern` covers (itself, and narrower ones); the count. */
size_t pauses_remove(struct pauses *pauses, const char *pattern);

/* Does resuming `wide` lift `narrow`? */
bool pauses_covers(const char *wide, const char *narrow);

bool pauses_hold(const struct pauses *pauses, const char *queue);

/* The place-th pattern, or NULL past the end. */
const char *pauses_at(const struct pauses *pauses, size_t place);

#endif
