#include "commands.h"

#include <stdarg.h>
#include <stdio.h>

const struct command commands_table[] = {
#define COMMAND(name, arguments, run, help, about) {name, arguments, help, about, run},
#define CLIENT(name, arguments, argument, items, shows, accepts, help, about)                      \
    {name, arguments, help, about, command_client},
#include "commands.def"
    {NULL, NULL, NULL, NULL, NULL},
};

int commands_usage(const struct command_line *line, const char *format, ...)
{
    va_list arguments;
    const struct command *command = line->command;
    va_start(arguments, format);
    fprintf(stderr, "posthaste %s: ", command->name);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, " (usage: posthaste %s%s%s)\n", command->name,
            command->arguments[0] == '\0' ? "" : " ", command->arguments);
    va_end(arguments);
    return EXIT_USAGE;
}
