#include "policy/acct_pipe.h"

#include <string.h>

#include "policy/load.h"
#include "policy/words.h"

static const char *const of_files[] = {
    "move-to",        "move-interval", "max-size",           "delete-after",
    "world-readable", "sync",          "count-moved-records"};

/* A word that a shell would have taken for itself. */
static bool is_of_a_shell(const struct word *word)
{
    static const char *const words[] = {"|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (!word->quoted && bytes_equal(word->text, bytes_from_string(words[i]))) {
            return true;
        }
    }
    return false;
}

static void check_words(struct loader *loader, const struct block *block,
                        const struct string_array *words, enum words_result result)
{
    if (result != WORDS_END) {
        const char *problem = result == WORDS_WORD ? "too many words" : words_problem(result);
        report_error(loader->report, &block->place, "the command of the pipe: %s", problem);
    } else if (words->count == 0 || words->items[0].len < 2 || words->items[0].data[0] != '/') {
        report_error(loader->report, &block->place,
                     "the command of the pipe begins with the whole path of a program: no shell "
                     "looks for it");
    }
}

void acct_pipe_words(struct loader *loader, const struct block *block, struct bytes command,
                     struct string_array *out)
{
    struct bytes *items =
        config_take(loader->config, CONFIG_COMMAND_WORDS_MAX * sizeof(struct bytes));
    struct words words = {.text = command, .arena = loader->config->arena};
    struct word word;
    enum words_result result;
    if (items == NULL) {
        loader_no_memory(loader);
        return;
    }
    *out = (struct string_array){.items = items};
    while ((result = words_next(&words, &word)) == WORDS_WORD &&
           out->count < CONFIG_COMMAND_WORDS_MAX) {
        if (is_of_a_shell(&word)) {
            report_warning(loader->report, &block->place,
                           "no shell runs this command: '%.*s' is an argument like any other",
                           BYTES_FMT(word.text));
        }
        items[out->count++] = word.text;
    }
    check_words(loader, block, out, result);
}

static bool is_of_files(const char *name)
{
    for (size_t i = 0; i < sizeof(of_files) / sizeof(of_files[0]); i++) {
        if (strcmp(name, of_files[i]) == 0) {
            return true;
        }
    }
    return false;
}

void acct_pipe_check(struct loader *loader, const struct block *block)
{
    for (const struct setting *s = block->first; s != NULL; s = s->next) {
        if (block->argument.data[0] == '|' && is_of_files(s->directive->name)) {
            report_warning(loader->report, &s->place, "%s means nothing to a pipe",
                           s->directive->name);
        }
    }
}
