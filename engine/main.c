/* posthaste: one program, its commands in a table. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

#define DEFAULT_CONFIG "/etc/posthaste/posthaste.conf"

static void print_usage(FILE *out)
{
    fprintf(out, "usage: posthaste [-c FILE] [--json] COMMAND …\n\n");
    for (const struct command *command = commands_table; command->name != NULL; command++) {
        fprintf(out, "  %-38s %s\n", command->usage, command->help);
    }
    fprintf(out,
            "\n  -c FILE     configuration (default %s)\n"
            "  --json      print JSON\n"
            "  --version   print the version\n",
            DEFAULT_CONFIG);
}

static const struct command *find_command(const char *name)
{
    for (const struct command *command = commands_table; command->name != NULL; command++) {
        if (strcmp(command->name, name) == 0) {
            return command;
        }
    }
    return NULL;
}

/* Takes the global options out of argv, wherever they stand; the rest is the command's. */
static int take_options(int argc, char **argv, struct command_line *line)
{
    int kept = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-c") == 0 && i + 1 < argc) {
            line->config_path = argv[++i];
        } else if (strcmp(argv[i], "--json") == 0) {
            line->json = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            line->help = true;
        } else {
            line->words[kept++] = argv[i];
        }
    }
    return kept;
}

int main(int argc, char **argv)
{
    char **words = calloc((size_t)argc + 1, sizeof *words);
    if (words == NULL) {
        return EXIT_OSERR;
    }
    struct command_line line = {.config_path = DEFAULT_CONFIG, .words = words};
    line.count = take_options(argc, argv, &line);
    int result;
    if (line.count > 0 && strcmp(words[0], "--version") == 0) {
        printf("posthaste %s\n", POSTHASTE_VERSION);
        result = 0;
    } else if (line.count == 0) {
        print_usage(line.help ? stdout : stderr);
        result = line.help ? 0 : EXIT_USAGE;
    } else {
        const struct command *command = find_command(words[0]);
        if (command == NULL) {
            fprintf(stderr, "posthaste: unknown command '%s' (posthaste --help lists them)\n",
                    words[0]);
            result = EXIT_USAGE;
        } else if (line.help) {
            printf("usage: posthaste %s\n\n%s\n", command->usage, command->help);
            result = 0;
        } else {
            result = command->run(&line);
        }
    }
    free(words);
    return result;
}
