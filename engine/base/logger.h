/* Log lines for people, one event a line.
 *
 * Named logger because "log" is the log on disk (disk/log.h). Thread-safe: a line is written by
 * one write; longer than 2,000 bytes it is cut. Goes to standard error, or to a file once
 * logger_open was called. Control characters and bytes that are no UTF-8 are escaped as \xNN. Lines
 * repeat bounded: lines of the same format (of the same text, where the format is "%s") are written
 * at most 10 times in 10 s, then counted and summed up in one line. */
#ifndef BASE_LOGGER_H
#define BASE_LOGGER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

enum logger_level { LOGGER_DEBUG, LOGGER_INFO, LOGGER_WARNING, LOGGER_ERROR };

/* Lines below `level` are dropped. */
void logger_set_level(enum logger_level level);

/* The wall clock for time stamps and for counting repeats, set by the owner of an io at the start
 * of each loop turn. Until then it is 0: lines carry no time and repeats are not bounded. Sums of
 * repeats whose 10 s are over are written from here. */
void logger_set_wall_ms(int64_t wall_ms);

/* False: lines carry no time (under a supervisor that adds its own). True at first. */
void logger_set_stamps(bool stamps);

/* True: log files opened from now on are for everybody on this host to read. */
void logger_set_world_readable(bool readable);

/* Appends to FILE from now on; logger_reopen opens it anew (rotation). 0 or -errno. */
int logger_open(const char *path);
int logger_reopen(void);

/* Makes FILE.1 of FILE, FILE.2 of FILE.1 and so on, of which `keep` stay, and begins FILE anew; an
 * empty FILE stays. -ENOENT: there is no FILE, lines go to standard error; else 0, or -errno, and
 * the old one is written on. Blocks. */
int logger_rotate(uint32_t keep);

/* By the wall: when FILE was last written before it was opened; 0: it was empty, or there is none.
 */
int64_t logger_last_wall_ms(void);

/* A sink of its own for tests and the simulator, called under the logger's lock with the line
 * without time, level and newline; NULL: back to normal. */
void logger_set_sink(void (*sink)(enum logger_level level, const char *line));

void logger_write(enum logger_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same for text as it is, and however often it repeats: its caller bounds its lines. */
void logger_write_each(enum logger_level level, struct bytes text);

#define LOG_DEBUG(...)   logger_write(LOGGER_DEBUG, __VA_ARGS__)
#define LOG_INFO(...)    logger_write(LOGGER_INFO, __VA_ARGS__)
#define LOG_WARNING(...) logger_write(LOGGER_WARNING, __VA_ARGS__)
#define LOG_ERROR(...)   logger_write(LOGGER_ERROR, __VA_ARGS__)

#endif
