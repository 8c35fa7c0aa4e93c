/* An error in words, for the environment's and the operator's mistakes.
 *
 * Says what, where and what to do, in one line; filled by the function that failed, printed or
 * logged by the one that handles it, never both. Owned by the caller, usually on its stack. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdarg.h>

#define ERROR_TEXT_MAX 512 /* bytes, with the terminating NUL; longer text is cut */

struct error {
    int code; /* sysexits or errno, as the function that fills it says; 0 = none */
    char text[ERROR_TEXT_MAX];
};

/* Fills `error` (NULL: nothing happens) and returns -1 for `return error_set(…)`. */
int error_set(struct error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "CONTEXT: " before the text. */
void error_prefix(struct error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
