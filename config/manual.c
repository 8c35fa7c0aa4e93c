/* Writes the manual pages and the reference configuration out of the tables of the program, so that
 * neither can say what the program does not do.
 *
 *     manual TEMPLATE > PAGE
 *
 * A line of the template that holds a word of `expansions` is replaced by what it stands for; every
 * other line is copied. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/directive.h"
#include "policy/value.h"

#define LINE_LEN_MAX 4096
#define TEXT_MAX     2048 /* bytes of a description of values */

static const char *describe(enum value_type type, const char *accepts, char text[TEXT_MAX])
{
    struct buffer out;
    buffer_init(&out, text, TEXT_MAX - 1);
    value_describe(type, accepts, &out);
    text[out.len] = '\0';
    return text;
}

static bool has_value(const struct directive *row)
{
    return row->kind == KIND_DIRECTIVE || row->kind == KIND_REPEATED;
}

/* ---- troff ---- */

/* A dash is a minus that can be copied to a shell; a backslash and a leading dot are text. */
static void put_troff(const char *text)
{
    if (*text == '.' || *text == '\'') {
        fputs("\\&", stdout);
    }
    for (; *text != '\0'; text++) {
        if (*text == '\\') {
            fputs("\\e", stdout);
        } else if (*text == '-') {
            fputs("\\-", stdout);
        } else {
            putchar(*text);
        }
    }
}

static void put_bold_item(const char *name, const char *behind)
{
    fputs(".TP\n\\fB", stdout);
    put_troff(name);
    fputs("\\fR", stdout);
    if (behind[0] != '\0') {
        fputs(" \\fI", stdout);
        put_troff(behind);
        fputs("\\fR", stdout);
    }
    putchar('\n');
}

static void put_sentence(const char *text)
{
    put_troff(text);
    fputs(".\n", stdout);
}

static const struct {
    const char *name, *arguments, *about;
} commands[] = {
#define COMMAND(name, arguments, run, help, about) {name, arguments, about},
#define CLIENT(name, arguments, argument, items, shows, accepts, help, about)                      \
    {name, arguments, about},
#include "commands.def"
};

static void put_commands(void)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        put_bold_item(commands[i].name, commands[i].arguments);
        put_troff(commands[i].about);
        putchar('\n');
    }
}

static void put_scope_row(const struct directive *row)
{
    char text[TEXT_MAX];
    fputs(".RS\n.TP\nin \\fI", stdout);
    put_troff(directive_scope_text(row->scope));
    fputs("\\fR\n", stdout);
    switch (row->kind) {
    case KIND_ALIAS:
        printf("A deprecated spelling: write \\fB");
        put_troff(row->target);
        printf("\\fR.\n");
        break;
    case KIND_LEGACY:
        printf("Accepted, of no effect: ");
        put_sentence(row->help);
        break;
    case KIND_SPECIAL:
        put_sentence(row->help);
        break;
    case KIND_DIRECTIVE:
    case KIND_REPEATED:
        put_sentence(row->help);
        printf("Value: ");
        put_sentence(describe(row->type, row->accepts, text));
        if (row->kind == KIND_REPEATED) {
            printf("Several lines add up.\n");
        } else if (row->default_text[0] != '\0') {
            printf("Default: \\fB");
            put_troff(row->default_text);
            printf("\\fR.\n");
        } else {
            printf("No default.\n");
        }
        break;
    }
    if (row->effect == EFFECT_NOT_YET) {
        printf("\\fINot yet in effect.\\fR\n");
    }
    fputs(".RE\n", stdout);
}

static int by_name(const void *left, const void *right)
{
    const struct directive *const *a = left, *const *b = right;
    int order = strcmp((*a)->name, (*b)->name);
    return order != 0 ? order : (*a < *b ? -1 : 1);
}

static void put_directives(void)
{
    size_t count;
    const struct directive *table = directive_table(&count);
    const struct directive **rows = calloc(count, sizeof(const struct directive *));
    if (rows == NULL) {
        exit(EXIT_FAILURE);
    }
    for (size_t i = 0; i < count; i++) {
        rows[i] = &table[i];
    }
    qsort(rows, count, sizeof(const struct directive *), by_name);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(rows[i - 1]->name, rows[i]->name) != 0) {
            fputs(".TP\n\\fB", stdout);
            put_troff(rows[i]->name);
            fputs("\\fR\n", stdout);
        }
        put_scope_row(rows[i]);
    }
    free(rows);
}

static const char *const argument_texts[] = {
    [ARGUMENT_NONE] = "",
    [ARGUMENT_NAME] = " NAME",
    [ARGUMENT_OPTIONAL_NAME] = " [NAME]",
    [ARGUMENT_SOURCE] = " CIDR|NAME",
    [ARGUMENT_LISTENER] = " CIDR:PORT",
    [ARGUMENT_DOMAIN] = " PATTERN",
    [ARGUMENT_PATH] = " PATH",
    [ARGUMENT_COMMAND] = " PATH|COMMAND",
    [ARGUMENT_ADDRESS] = " IP:PORT",
    [ARGUMENT_ANY] = "",
};

static void put_names_of(enum directive_scope scope)
{
    size_t count, shown = 0;
    const struct directive *table = directive_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (table[i].scope == scope && table[i].effect == EFFECT_YES &&
            table[i].kind != KIND_ALIAS) {
            fputs(shown++ == 0 ? "In effect: " : ", ", stdout);
            put_troff(table[i].name);
        }
    }
    fputs(shown == 0 ? "" : ".\n", stdout);
}

static void put_parents(const struct block_row *row)
{
    bool first = true;
    fputs("Stands in ", stdout);
    for (int scope = 0; scope < SCOPE_COUNT; scope++) {
        if ((row->parents & (1u << scope)) != 0) {
            fputs(first ? "" : ", ", stdout);
            put_troff(directive_scope_text((enum directive_scope)scope));
            first = false;
        }
    }
    fputs(".\n", stdout);
}

static void put_blocks(void)
{
    size_t count;
    const struct block_row *blocks = directive_blocks(&count);
    fputs(".TP\n\\fBthe top level\\fR\nWhat stands in no block.\n", stdout);
    put_names_of(SCOPE_GLOBAL);
    for (size_t i = 0; i < count; i++) {
        char tag[128];
        snprintf(tag, sizeof tag, "<%s%s>", blocks[i].tag, argument_texts[blocks[i].argument]);
        put_bold_item(tag, "");
        if (blocks[i].effect == EFFECT_LEGACY) {
            printf("Skipped: ");
            put_sentence(blocks[i].help);
            continue;
        }
        put_sentence(blocks[i].help);
        put_parents(&blocks[i]);
        if (blocks[i].effect == EFFECT_NOT_YET) {
            printf("\\fINot yet in effect.\\fR\n");
        } else {
            put_names_of(blocks[i].scope);
        }
    }
}

/* ---- the reference configuration ---- */

static const char *const argument_examples[] = {
    [ARGUMENT_NONE] = "",
    [ARGUMENT_NAME] = " example",
    [ARGUMENT_OPTIONAL_NAME] = " example",
    [ARGUMENT_SOURCE] = " 0/0",
    [ARGUMENT_LISTENER] = " 127.0.0.1:2525",
    [ARGUMENT_DOMAIN] = " *",
    [ARGUMENT_PATH] = " /var/spool/posthaste",
    [ARGUMENT_COMMAND] = " /var/log/posthaste/acct.csv",
    [ARGUMENT_ADDRESS] = " 127.0.0.1:8080",
    [ARGUMENT_ANY] = "",
};

/* In force as written only where it has a default and an effect: all others are comments. */
static void put_line(const struct directive *row, const char *indent, bool block_stands)
{
    char text[TEXT_MAX];
    bool in_force = block_stands && row->effect == EFFECT_YES && row->default_text[0] != '\0';
    printf("\n%s# %s%s\n", indent, row->help,
           row->effect == EFFECT_NOT_YET ? " (not yet in effect)" : "");
    if (has_value(row)) {
        printf("%s# %s%s\n", indent,
               row->kind == KIND_REPEATED ? "Several lines add up. Each: " : "",
               describe(row->type, row->accepts, text));
    }
    printf("%s%s%s%s%s\n", indent, in_force ? "" : "#", row->name,
           row->default_text[0] == '\0' ? "" : " ", row->default_text);
}

static void put_lines(enum directive_scope scope, const char *indent, bool block_stands)
{
    size_t count;
    const struct directive *table = directive_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (table[i].scope == scope && (has_value(&table[i]) || table[i].kind == KIND_SPECIAL)) {
            put_line(&table[i], indent, block_stands);
        }
    }
}

/* The block before this one whose directives are the same, or NULL. */
static const struct block_row *twin(const struct block_row *blocks, size_t place)
{
    for (size_t i = 0; i < place; i++) {
        if (blocks[i].scope == blocks[place].scope) {
            return &blocks[i];
        }
    }
    return NULL;
}

/* A pool must have members, and no default names one: its example is a comment. */
static bool stands_as_written(const struct block_row *block)
{
    return block->effect == EFFECT_YES && block->scope != SCOPE_POOL;
}

static void put_reference(void)
{
    size_t count;
    const struct block_row *blocks = directive_blocks(&count);
    put_lines(SCOPE_GLOBAL, "", true);
    for (size_t i = 0; i < count; i++) {
        bool stands = stands_as_written(&blocks[i]);
        const struct block_row *before = twin(blocks, i);
        if (blocks[i].effect == EFFECT_LEGACY) {
            continue;
        }
        printf("\n# ---- <%s%s>: %s%s\n", blocks[i].tag, argument_texts[blocks[i].argument],
               blocks[i].help, blocks[i].effect == EFFECT_YES ? "" : " (not yet in effect)");
        if (before != NULL) {
            printf("# As in <%s>.\n", before->tag);
            continue;
        }
        printf("\n%s<%s%s>\n", stands ? "" : "#", blocks[i].tag,
               argument_examples[blocks[i].argument]);
        put_lines(blocks[i].scope, "    ", stands);
        printf("%s</%s>\n", stands ? "" : "#", blocks[i].tag);
    }
}

/* ---- templates ---- */

static const struct {
    const char *word;
    void (*put)(void);
} expansions[] = {
    {"@COMMANDS@", put_commands},
    {"@DIRECTIVES@", put_directives},
    {"@BLOCKS@", put_blocks},
    {"@REFERENCE@", put_reference},
};

static void put_template_line(const char *line)
{
    for (size_t i = 0; i < sizeof expansions / sizeof expansions[0]; i++) {
        if (strstr(line, expansions[i].word) != NULL) {
            expansions[i].put();
            return;
        }
    }
    fputs(line, stdout);
}

int main(int argc, char **argv)
{
    char line[LINE_LEN_MAX];
    FILE *template = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (template == NULL) {
        fprintf(stderr, "usage: manual TEMPLATE\n");
        return EXIT_FAILURE;
    }
    while (fgets(line, sizeof line, template) != NULL) {
        put_template_line(line);
    }
    fclose(template);
    return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
}
