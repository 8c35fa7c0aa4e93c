/* The command line linked without an engine: all that asks a daemon works, `run` says so. */
#include <stdio.h>

#include "commands.h"

int command_run(const struct command_line *line)
{
    (void)line;
    fprintf(stderr, "posthaste: this program was built without the engine\n");
    return EXIT_UNAVAILABLE;
}
