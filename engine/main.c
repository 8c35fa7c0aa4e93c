/* posthaste: one program, its commands in a table. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

#define HELP_WIDTH 100 /* columns of a paragraph */

static void print_usage(FILE *out)
{
    fprintf(out, "usage: posthaste [-c FILE] [--json] COMMAND …\n\n");
    for (const struct command *command = commands_table; command->name != NULL; command++) {
        int width = fprintf(out, "  %s %s", command->name, command->arguments);
        fprintf(out, "%*s%s\n", width < 42 ? 42 - width : 1, "", command->help);
    }
    fprintf(out,
            "\n  -c FILE     configuration (default %s)\n"
            "  --json      print JSON: what the daemon answers, as it is\n"
            "  --timeout=N seconds to wait for the daemon's answer (60)\n"
            "  --version   print the version\n"
            "  --help      of a command: what it does\n"
            "\nD/V is a queue: domain/virtual-mta, wildcards allowed; a domain alone is "
            "domain/{default}.\n",
            COMMANDS_CONFIG_DEFAULT);
}

static void print_paragraph(const char *text)
{
    size_t column = 0;
    while (*text != '\0') {
        size_t len = strcspn(text, " ");
        if (column > 0 && column + 1 + len > HELP_WIDTH) {
            printf("\n");
            column = 0;
        }
        column += (size_t)printf("%s%.*s", column > 0 ? " " : "", (int)len, text);
        text += len;
        text += strspn(text, " ");
    }
    printf("\n");
}

static void print_help(const struct command *command)
{
    printf("usage: posthaste %s%s%s\n\n", command->name, command->arguments[0] == '\0' ? "" : " ",
           command->arguments);
    print_paragraph(command->about);
}

/* How many words the name of the command takes if the line begins with it; else 0. */
static int name_match(const struct command *command, const struct command_line *line)
{
    const char *name = command->name;
    int taken = 0;
    while (*name != '\0') {
        size_t len = strcspn(name, " ");
        if (taken == line->count || strlen(line->words[taken]) != len ||
            memcmp(line->words[taken], name, len) != 0) {
            return 0;
        }
        taken++;
        name += len;
        name += strspn(name, " ");
    }
    return taken;
}

static bool find_command(struct command_line *line)
{
    for (const struct command *command = commands_table; command->name != NULL; command++) {
        line->name_count = name_match(command, line);
        if (line->name_count > 0) {
            line->command = command;
            return true;
        }
    }
    return false;
}

/* Commands whose name begins with this word, on `out`; how many. */
static int print_family(FILE *out, const char *word)
{
    int count = 0;
    size_t len = strlen(word);
    for (const struct command *command = commands_table; command->name != NULL; command++) {
        if (strncmp(command->name, word, len) == 0 && command->name[len] == ' ') {
            fprintf(out, "%s%s%s%s\n", count++ == 0 ? "usage: posthaste " : "       posthaste ",
                    command->name, command->arguments[0] == '\0' ? "" : " ", command->arguments);
        }
    }
    return count;
}

static int report_unknown(const struct command_line *line)
{
    const char *word = line->words[0];
    if (print_family(line->help ? stdout : stderr, word) > 0) {
        return line->help ? EXIT_OK : EXIT_USAGE;
    }
    fprintf(stderr, "posthaste: unknown command '%s' (posthaste --help lists them)\n", word);
    return EXIT_USAGE;
}

/* Takes the global options out of argv, wherever they stand; the rest is the command's. False:
 * one is incomplete, and it is said. */
static bool take_options(int argc, char **argv, struct command_line *line)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-c") == 0) {
            if (++i == argc) {
                fprintf(stderr, "posthaste: -c needs the path of a configuration file\n");
                return false;
            }
            line->config_path = argv[i];
        } else if (strcmp(argv[i], "--json") == 0) {
            line->json = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            line->help = true;
        } else {
            line->words[line->count++] = argv[i];
        }
    }
    return true;
}

static int run_command(struct command_line *line)
{
    if (line->count > 0 && strcmp(line->words[0], "--version") == 0) {
        printf("posthaste %s\n", POSTHASTE_VERSION);
        return EXIT_OK;
    }
    if (line->count == 0) {
        print_usage(line->help ? stdout : stderr);
        return line->help ? EXIT_OK : EXIT_USAGE;
    }
    if (!find_command(line)) {
        return report_unknown(line);
    }
    if (line->help) {
        print_help(line->command);
        return EXIT_OK;
    }
    return line->command->run(line);
}

int main(int argc, char **argv)
{
    char **words = calloc((size_t)argc + 1, sizeof *words);
    if (words == NULL) {
        return EXIT_OSERR;
    }
    struct command_line line = {.config_path = COMMANDS_CONFIG_DEFAULT, .words = words};
    int result = take_options(argc, argv, &line) ? run_command(&line) : EXIT_USAGE;
    /* A full disk behind a redirection must not look like success. */
    if ((fflush(stdout) != 0 || ferror(stdout)) && result == EXIT_OK) {
        fprintf(stderr, "posthaste: cannot write to standard output\n");
        result = EXIT_IOERR;
    }
    free(words);
    return result;
}
