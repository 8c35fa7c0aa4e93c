/* When the log file makes room for a new one: at midnight (UTC, as its lines have it), and by
 * command.
 *
 * Knows the configuration and base/logger.h; what it cannot do it logs. Thread: the keeper's. */
#ifndef ENGINE_LOG_ROTATION_H
#define ENGINE_LOG_ROTATION_H

#include <stdint.h>

#include "base/error.h"

struct config;

/* Zeroed: nothing is known. */
struct log_rotation {
    /* private: */
    int64_t day; /* of the last look, since 1970 */
};

/* Once in a while. A file whose last line is of an earlier day, also one of a process before, is
 * rotated, if log-auto-rotation says so. */
void log_rotation_look(struct log_rotation *rotation, const struct config *config, int64_t wall_ms);

/* 0, or -1 with error: the log goes to standard error, or the file system refused. */
int log_rotation_now(const struct config *config, struct error *error);

#endif
