/* The commands of the program: what the command line can do.
 *
 * `run` and `check` read the configuration themselves; the others are a client of the control
 * socket and of nothing else. Exit codes follow sysexits. */
#ifndef ENGINE_COMMANDS_H
#define ENGINE_COMMANDS_H

#include <stdbool.h>

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

struct command_line {
    const char *config_path;
    char **words; /* the command and its arguments, global options taken out */
    int count;
    bool json, help;
};

struct command {
    const char *name, *usage, *help;
    int (*run)(const struct command_line *line);
};

/* Ends with a row whose name is NULL. */
extern const struct command commands_table[];

/* Reads and checks a configuration file; prints what it finds to standard error as
 * FILE:LINE:COLUMN. NULL: it has errors. warnings may be NULL. */
struct config *commands_load(const char *path, unsigned *warnings);

/* commands_run.c */
int command_run(const struct command_line *line);

/* commands_config.c */
int command_check(const struct command_line *line);
int command_explain(const struct command_line *line);

#endif
