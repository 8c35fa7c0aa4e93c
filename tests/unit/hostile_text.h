/* Texts that a hostile mail host could send to make a search of its reply slow, and what a search
 * costs. */
#ifndef TESTS_UNIT_HOSTILE_TEXT_H
#define TESTS_UNIT_HOSTILE_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

/* What a text is made of, over and over. */
static const char *const hostile_units[] = {
    "a",         "a@",       "ab",          "a@a ",   "user ",
    "user x@x ", "unknown ", "1",           "1. ",    "x ",
    "aA",        " ",        "ä",           "\xff",   "aaaaaaaaaab ",
    "mailbox ",  "sender ",  "account is ", "(user)", "message message ",
};
#define HOSTILE_UNITS (sizeof hostile_units / sizeof hostile_units[0])

/* Some expressions are slow only where the letters they end with are there: they stand at the end
 * of the part that is looked at. */
static inline void hostile_fill(char *text, const char *unit, size_t len, size_t seen,
                                bool with_end)
{
    static const char end[] = "unavailable known bcxz1q@=y,9";
    size_t unit_len = strlen(unit);
    for (size_t i = 0; i < len; i++) {
        text[i] = unit[i % unit_len];
    }
    if (with_end) {
        seen = len < seen ? len : seen;
        memcpy(text + seen - strlen(end), end, strlen(end));
    }
}

static inline int64_t cpu_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

#endif
