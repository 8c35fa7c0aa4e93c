/* Lines of log-connections, log-commands, log-data and their like: one event a line, into the
 * engine's log (base/logger.h, which escapes controls).
 *
 * One per worker, used on its thread only. Knows no connections: callers make the line's beginning,
 * and ask policy before they call. Writes DIALOGUE_LOG_LINES_MAX lines in a second; those beyond
 * are counted, and one line says how many were left out. What follows AUTH is never said here; of
 * a message's content only dialogue_log_content says something, and a limited amount. */
#ifndef ENGINE_DIALOGUE_LOG_H
#define ENGINE_DIALOGUE_LOG_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/timers.h"

struct io;

#define DIALOGUE_LOG_LINES_MAX   1000        /* in a second */
#define DIALOGUE_LOG_SAID_MAX    200         /* bytes of a command or reply */
#define DIALOGUE_LOG_WHO_MAX     640         /* bytes of a line's beginning, with NUL */
#define DIALOGUE_LOG_CONTENT_MAX (16 * 1024) /* bytes of one message */

struct dialogue_log {
    struct io *io;
    uint32_t worker;
    uint32_t connections; /* of ours that were numbered, for telling them apart */
    /* private: */
    struct timer timer; /* for the sum of those left out */
    uint64_t second_from_ms, left_out;
    uint32_t lines;
};

void dialogue_log_init(struct dialogue_log *log, struct io *io, uint32_t worker);
/* Says what is left to say. One that is all zero is accepted. */
void dialogue_log_deinit(struct dialogue_log *log);

void dialogue_log_line(struct dialogue_log *log, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* One line for each line of `text`, which are commands: `who` and the command, but not what follows
 * AUTH. An empty line was no command. */
void dialogue_log_commands(struct dialogue_log *log, const char *who, struct bytes text);

/* One line that stands for commands which bear credentials. */
void dialogue_log_secret(struct dialogue_log *log, const char *who);

/* One line for each reply in `text`: `who` and the reply's first line. */
void dialogue_log_replies(struct dialogue_log *log, const char *who, struct bytes text);

/* Bytes as they are, line ends included: one line for each line of `text`, more for one that is
 * longer than DIALOGUE_LOG_SAID_MAX. */
void dialogue_log_data(struct dialogue_log *log, const char *who, struct bytes text);

/* The same for the next bytes of a message's content, of which *said were seen (0: it begins). Past
 * DIALOGUE_LOG_CONTENT_MAX nothing is said but, once, that it is so. */
void dialogue_log_content(struct dialogue_log *log, const char *who, struct bytes text,
                          uint64_t *said);

#endif
