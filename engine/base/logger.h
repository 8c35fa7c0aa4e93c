/* Log lines for people, one event a line.
 *
 * Named logger because "log" is the log on disk (disk/log.h). Thread-safe: a line is written by
 * one write. Goes to standard error, or to a file once logger_open was called. Control
 * characters and bytes that are no UTF-8 are escaped as \xNN. Lines repeat bounded: the same
 * `rate_key` is written at most 10 times in 10 s, then counted and summed up in one line. */
#ifndef BASE_LOGGER_H
#define BASE_LOGGER_H

#include <stdint.h>

#include "base/error.h"

enum logger_level { LOGGER_DEBUG, LOGGER_INFO, LOGGER_WARNING, LOGGER_ERROR };

/* Lines below `level` are dropped. */
void logger_set_level(enum logger_level level);

/* The wall clock for time stamps, set by the owner of an io at the start of each loop turn; 0:
 * lines carry no time (under a supervisor that adds its own). */
void logger_set_wall_ms(int64_t wall_ms);

/* Appends to FILE from now on; logger_reopen opens it anew (rotation). 0 or -errno. */
int logger_open(const char *path);
int logger_reopen(void);

/* A sink of its own for tests and the simulator; NULL: back to normal. */
void logger_set_sink(void (*sink)(enum logger_level level, const char *line));

void logger_write(enum logger_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define LOG_DEBUG(...) logger_write(LOGGER_DEBUG, __VA_ARGS__)
#define LOG_INFO(...) logger_write(LOGGER_INFO, __VA_ARGS__)
#define LOG_WARNING(...) logger_write(LOGGER_WARNING, __VA_ARGS__)
#define LOG_ERROR(...) logger_write(LOGGER_ERROR, __VA_ARGS__)

#endif
