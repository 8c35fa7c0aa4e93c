/* The commands of the program: what the command line can do.
 *
 * `run`, `check`, `explain` and `probe` read the configuration themselves; the others are a client
 * of the control socket and of nothing else. Exit codes follow sysexits. */
#ifndef ENGINE_COMMANDS_H
#define ENGINE_COMMANDS_H

#include <stdbool.h>

#define COMMANDS_CONFIG_DEFAULT POSTHASTE_CONFIG_DIR "/posthaste.conf"

enum exit_code {
    EXIT_OK = 0,
    EXIT_USAGE = 64,
    EXIT_UNKNOWN_NAME = 68,
    EXIT_UNAVAILABLE = 69,
    EXIT_OSERR = 71,
    EXIT_CANTCREAT = 73,
    EXIT_IOERR = 74,
    EXIT_TRY_AGAIN = 75,
    EXIT_NOT_PERMITTED = 77,
    EXIT_CONFIG = 78,
};

struct command;
struct error;

struct command_line {
    const char *config_path;
    const struct command *command; /* the row that words begin with */
    char **words;                  /* its name and arguments, global options taken out */
    int count;
    int name_count; /* of words, those that are the command's name */
    bool json, help;
};

struct command {
    const char *name, *arguments; /* name: one word or two, "show queues" */
    const char *help;             /* one line */
    const char *about;            /* one paragraph */
    int (*run)(const struct command_line *line);
};

/* Ends with a row whose name is NULL. */
extern const struct command commands_table[];

/* "posthaste COMMAND: TEXT" with the usage, on standard error. EXIT_USAGE. */
int commands_usage(const struct command_line *line, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Reads and checks a configuration file; prints what it finds to standard error as
 * FILE:LINE:COLUMN. NULL: it has errors, `error` (may be NULL) holds the first with
 * EXIT_CONFIG. */
struct config *commands_load(const char *path, struct error *error);

/* commands_run.c */
int command_run(const struct command_line *line);

/* commands_config.c */
int command_check(const struct command_line *line);
int command_explain(const struct command_line *line);

/* commands_probe.c */
int command_probe(const struct command_line *line);

/* commands_client.c: every CLIENT row. */
int command_client(const struct command_line *line);

#endif
