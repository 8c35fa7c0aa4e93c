#include "commands.h"

#include <stddef.h>

const struct command commands_table[] = {
    {"run", "run", "the engine, in the foreground", command_run},
    {"check", "check [--strict]", "reads the configuration, prints errors and warnings",
     command_check},
    {"explain", "explain DOMAIN[/VMTA]", "every setting of a queue and the line that set it",
     command_explain},
    {NULL, NULL, NULL, NULL},
};
