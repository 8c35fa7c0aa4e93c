/* Lines of rule lists: regex compiled, actions checked against what their list knows. */
#include "policy/rules.h"

#include <assert.h>

#include "policy/bounce.h"
#include "policy/load.h"
#include "policy/reply_rules.h"

/* The actions of <pattern-list>; those of replies are reply_rules.c's. */
enum action_value { TAKES_NAME, TAKES_PRIORITY };

struct action_row {
    const char *name;
    enum action_value takes;
};

static const struct action_row action_rows[] = {
    {"virtual-mta", TAKES_NAME},
    {"recipient-priority", TAKES_PRIORITY},
    {"call-to", TAKES_NAME},
};

static const struct {
    enum directive_scope scope;
    const char *name;
    enum rule_keyword keyword;
    bool has_subject, has_regex;
} keyword_rows[] = {
    {SCOPE_PATTERN_LIST, "header", RULE_HEADER, true, true},
    {SCOPE_PATTERN_LIST, "mail-from", RULE_MAIL_FROM, false, true},
    {SCOPE_PATTERN_LIST, "rcpt-to", RULE_RCPT_TO, false, true},
    {SCOPE_PATTERN_LIST, "*", RULE_ALWAYS, false, false},
    {SCOPE_SMTP_PATTERN_LIST, "reply", RULE_REPLY, false, true},
    {SCOPE_ROLLUP_LIST, "mx", RULE_MX, true, false},
    {SCOPE_REWRITE_LIST, "mail-from", RULE_MAIL_FROM, true, false},
    {SCOPE_REWRITE_LIST, "from-domain", RULE_FROM_DOMAIN, true, false},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void refuse(struct loader *loader, struct bytes text, const char *problem)
{
    struct place place = loader_place(loader, text.data);
    report_error(loader->report, &place, "'%.*s': %s", (int)(text.len > 80 ? 80 : text.len),
                 text.data, problem);
}

static const struct action_row *find_action(struct bytes name)
{
    for (size_t i = 0; i < COUNT(action_rows); i++) {
        if (bytes_equal_nocase(bytes_from_string(action_rows[i].name), name)) {
            return &action_rows[i];
        }
    }
    return NULL;
}

static const char *value_problem(const struct action_row *row, struct bytes value)
{
    uint64_t number;
    switch (row->takes) {
    case TAKES_NAME:
        return value_is_name(value) ? NULL : "write a name behind it";
    case TAKES_PRIORITY:
        return bytes_to_u64(value, 100, &number) ? NULL : "write a number from 0 to 100 behind it";
    }
    return NULL;
}

/* Actions of one line before they are copied. */
struct actions {
    struct rule_action items[RULE_ACTIONS_MAX];
    size_t count;
};

/* `name=value`; `call-to:LIST` is the one with a colon. */
static void split_action(struct bytes text, struct bytes *name, struct bytes *value)
{
    ptrdiff_t sign = bytes_find(text, '=', 0);
    if (sign < 0 && bytes_starts_with_nocase(text, BYTES("call-to:"))) {
        sign = sizeof("call-to:") - 2;
    }
    size_t name_len = sign < 0 ? text.len : (size_t)sign;
    *name = bytes_slice(text, 0, name_len);
    *value = bytes_slice(text, name_len + 1, text.len);
}

/* Commas separate; nothing between two is no action. */
static bool next_action(struct bytes text, size_t *cursor, struct bytes *out)
{
    while (*cursor < text.len) {
        ptrdiff_t comma = bytes_find(text, ',', *cursor);
        size_t end = comma < 0 ? text.len : (size_t)comma;
        *out = bytes_slice(text, *cursor, end);
        *cursor = end + 1;
        if (out->len > 0) {
            return true;
        }
    }
    return false;
}

/* NULL, or what is wrong with it. */
static const char *add_action(struct actions *actions, struct bytes name, struct bytes value)
{
    const struct action_row *row = find_action(name);
    if (row == NULL) {
        return "unknown action";
    }
    if (actions->count == RULE_ACTIONS_MAX) {
        return "too many actions in one rule";
    }
    actions->items[actions->count++] = (struct rule_action){.name = name, .value = value};
    return value_problem(row, value);
}

static bool copy_text(struct loader *loader, struct bytes *text)
{
    if (text->len == 0) {
        *text = BYTES("");
        return true;
    }
    *text = arena_copy(loader->config->arena, *text);
    return text->data != NULL;
}

static struct setting_origin origin_of_line(const struct loader *loader)
{
    struct place place = loader_place(loader, NULL);
    return (struct setting_origin){.file = place.file, .line = place.line};
}

static struct rule *keep_rule(struct loader *loader, struct rule rule,
                              const struct actions *actions)
{
    struct block *block = loader_block(loader);
    struct rule *kept = config_take(loader->config, sizeof(*kept));
    struct rule_action *copies = config_take(loader->config, actions->count * sizeof(*copies) + 1);
    bool fine = kept != NULL && copies != NULL && copy_text(loader, &rule.subject);
    for (size_t i = 0; fine && i < actions->count; i++) {
        copies[i] = actions->items[i];
        fine = copy_text(loader, &copies[i].name) && copy_text(loader, &copies[i].value);
    }
    if (!fine) {
        loader_no_memory(loader);
        return NULL;
    }
    rule.actions = copies;
    rule.action_count = actions->count;
    rule.origin = origin_of_line(loader);
    *kept = rule;
    *block->last_rule = kept;
    block->last_rule = &kept->next;
    block->rule_count++;
    return kept;
}

/* A regular expression between slashes. -1: reported. */
static int take_regex(struct loader *loader, struct words *words, struct rule *rule)
{
    struct word word = {.text = {"", 0}};
    struct error error;
    enum words_result result = words_next_regex(words, &word);
    struct bytes at = bytes_slice(words->text, word.offset, words->text.len);
    if (result == WORDS_REGEX_OPEN || result == WORDS_QUOTE_TOUCHES) {
        refuse(loader, at, words_problem(result));
        return -1;
    }
    if (result != WORDS_WORD || !word.regex) {
        refuse(loader, at, "write a regular expression between slashes: /.../");
        return -1;
    }
    rule->pattern = pattern_compile(&loader->config->patterns, word.text, &error);
    if (rule->pattern == NULL) {
        struct place place = loader_place(loader, at.data);
        report_error(loader->report, &place, "%s", error.text);
        return -1;
    }
    return 0;
}

static int take_subject(struct loader *loader, struct words *words, struct rule *rule)
{
    struct word word = {.text = {"", 0}};
    enum words_result result = words_next(words, &word);
    if (result != WORDS_WORD) {
        refuse(loader, loader->line.whole, words_problem(result));
        return -1;
    }
    rule->subject = word.text;
    return 0;
}

/* `… <pattern-list NAME>` at the end of a rule opens a list of its own, closed by a line
 * </pattern-list>. */
static bool open_nested(struct loader *loader, struct bytes rest, struct rule rule)
{
    const struct block_row *row = directive_find_block(BYTES("pattern-list"));
    if (!bytes_starts_with_nocase(rest, BYTES("<pattern-list")) || rest.data[rest.len - 1] != '>') {
        return false;
    }
    size_t depth = 0;
    for (size_t i = 0; i < loader->open_count; i++) {
        depth += loader->open[i]->scope == SCOPE_PATTERN_LIST;
    }
    if (depth > RULES_NESTED_MAX) {
        refuse(loader, rest, "too many pattern lists inside each other");
    }
    struct actions none = {.count = 0};
    struct rule *kept = keep_rule(loader, rule, &none);
    struct bytes name = bytes_trim(bytes_slice(rest, sizeof("<pattern-list") - 1, rest.len - 1));
    struct block *nested = kept == NULL ? NULL : load_push(loader, row, name);
    if (nested != NULL) {
        kept->nested = &nested->rules;
    }
    return true;
}

/* What stands behind regex and subject, one action after the other; `reply` is NULL in a
 * <pattern-list>. */
static void take_actions(struct loader *loader, struct words *words, struct actions *actions,
                         struct reply_rule *reply)
{
    struct word word;
    while (words_next(words, &word) == WORDS_WORD) {
        size_t cursor = 0;
        struct bytes item;
        while (next_action(word.text, &cursor, &item)) {
            struct bytes name, value;
            split_action(item, &name, &value);
            const char *problem = reply != NULL ? reply_rule_add(reply, name, value)
                                                : add_action(actions, name, value);
            if (problem != NULL) {
                refuse(loader, item, problem);
            }
        }
    }
}

/* Words that stand for themselves: a category, a roll-up's name, a rewritten address. */
static void take_plain(struct loader *loader, struct words *words, size_t most,
                       struct actions *actions)
{
    struct word word;
    while (words_next(words, &word) == WORDS_WORD) {
        if (actions->count == most) {
            refuse(loader, word.text, "too much in one rule");
            return;
        }
        actions->items[actions->count++] =
            (struct rule_action){.name = word.text, .value = {"", 0}};
    }
    if (actions->count == 0) {
        refuse(loader, loader->line.whole, "the rule says nothing is to be done");
    }
}

static void check_rollup(struct loader *loader, const struct actions *actions)
{
    if (actions->count > 0 && !bytes_ends_with_nocase(actions->items[0].name, BYTES(".rollup"))) {
        refuse(loader, actions->items[0].name, "the name of a roll-up ends in .rollup");
    }
    if (actions->count > 1 && !bytes_equal_nocase(actions->items[1].name, BYTES("rollup-by-ip"))) {
        refuse(loader, actions->items[1].name, "only rollup-by-ip may stand here");
    }
}

static void load_category(struct loader *loader)
{
    struct words words = {.text = loader->line.whole, .arena = loader->config->arena};
    struct rule rule = {.keyword = RULE_CATEGORY, .subject = {"", 0}};
    struct actions actions = {.count = 0};
    if (take_regex(loader, &words, &rule) < 0) {
        return;
    }
    take_plain(loader, &words, 1, &actions);
    struct bytes category = actions.count == 1 ? actions.items[0].name : BYTES("other");
    const char *near = bounce_category_near(category);
    struct place place = loader_place(loader, category.data);
    if (!value_is_name(category)) {
        refuse(loader, category, "the name of a category is one word");
    } else if (near != NULL) {
        report_warning(loader->report, &place, "'%.*s' becomes a category of its own: '%s' is one",
                       BYTES_FMT(category), near);
    }
    keep_rule(loader, rule, &actions);
}

static void load_reply(struct loader *loader, struct words *words, struct rule rule)
{
    struct reply_rule reply = {.pattern = rule.pattern, .origin = origin_of_line(loader)};
    struct actions none = {.count = 0};
    struct place place = loader_place(loader, NULL);
    size_t errors = loader->report->errors;
    bool harmless;
    reply.text = words_rest(words);
    take_actions(loader, words, &none, &reply);
    const char *problem = reply_rule_finish(&reply, &harmless);
    if (problem != NULL && harmless) {
        report_warning(loader->report, &place, "%s", problem);
    } else if (problem != NULL && loader->report->errors == errors) {
        report_error(loader->report, &place, "%s", problem);
    }
    struct reply_rule *kept = config_take(loader->config, sizeof(*kept));
    if (kept == NULL || !copy_text(loader, &reply.text)) {
        loader_no_memory(loader);
        return;
    }
    *kept = reply;
    rule.reply = kept;
    keep_rule(loader, rule, &none);
}

static void load_keyword(struct loader *loader, size_t row)
{
    enum directive_scope scope = keyword_rows[row].scope;
    struct words words = {.text = loader->line.value, .arena = loader->config->arena};
    struct rule rule = {.keyword = keyword_rows[row].keyword, .subject = {"", 0}};
    struct actions actions = {.count = 0};
    if ((keyword_rows[row].has_subject && take_subject(loader, &words, &rule) < 0) ||
        (keyword_rows[row].has_regex && take_regex(loader, &words, &rule) < 0)) {
        return;
    }
    if (scope == SCOPE_PATTERN_LIST && open_nested(loader, words_rest(&words), rule)) {
        return;
    }
    if (scope == SCOPE_SMTP_PATTERN_LIST) {
        load_reply(loader, &words, rule);
        return;
    }
    if (scope == SCOPE_PATTERN_LIST) {
        take_actions(loader, &words, &actions, NULL);
        if (actions.count == 0) {
            refuse(loader, loader->line.whole, "a result is missing, such as virtual-mta=NAME");
        }
    } else {
        take_plain(loader, &words, scope == SCOPE_ROLLUP_LIST ? 2 : 1, &actions);
        if (scope == SCOPE_ROLLUP_LIST) {
            check_rollup(loader, &actions);
        }
    }
    keep_rule(loader, rule, &actions);
}

void load_rule(struct loader *loader)
{
    enum directive_scope scope = loader_block(loader)->scope;
    if (scope == SCOPE_BOUNCE_PATTERNS) {
        load_category(loader);
        return;
    }
    size_t row = 0;
    while (row < COUNT(keyword_rows) &&
           (keyword_rows[row].scope != scope ||
            !bytes_equal_nocase(bytes_from_string(keyword_rows[row].name), loader->line.name))) {
        row++;
    }
    assert(row < COUNT(keyword_rows)); /* every RULE of directives.def has a row here */
    load_keyword(loader, row);
}
