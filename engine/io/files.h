/* Whole files and globs for the configuration: before any worker, and in helper threads.
 *
 * Blocking. The configuration's own reader (policy/config.h) gets these as callbacks. */
#ifndef IO_FILES_H
#define IO_FILES_H

#include <stdbool.h>

#include "base/bytes.h"

#define FILES_BYTES_MAX (64u * 1024 * 1024) /* of one file; -EFBIG beyond */

/* The file's bytes with a NUL behind them, from malloc; 0 or -errno. owner is not used. */
int files_read(void *owner, const char *path, struct bytes *out);

/* Everybody on the host may read it, as far as its own mode says. owner is not used. */
bool files_is_public(void *owner, const char *path);

/* Each path that matches, sorted; none is no error. 0 or -errno. */
int files_glob(void *owner, const char *pattern, void (*found)(void *to, const char *path),
               void *to);

/* This host's name as the system gives it, in out; 0 or -errno. */
int files_host_name(char *out, size_t capacity);

#endif
