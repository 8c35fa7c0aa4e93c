/* Lines of rule lists: regex compiled, actions checked against what their list knows. */
#include "policy/rules.h"

#include <assert.h>

#include "policy/load.h"

/* The actions of each list: `takes` says what may stand behind "=". */
enum action_value { TAKES_NOTHING, TAKES_NAME, TAKES_MODE, TAKES_TIME, TAKES_PRIORITY };

struct action_row {
    enum directive_scope scope;
    const char *name;
    enum action_value takes;
};

static const struct action_row action_rows[] = {
    {SCOPE_PATTERN_LIST, "virtual-mta", TAKES_NAME},
    {SCOPE_PATTERN_LIST, "recipient-priority", TAKES_PRIORITY},
    {SCOPE_PATTERN_LIST, "call-to", TAKES_NAME},
    {SCOPE_SMTP_PATTERN_LIST, "mode", TAKES_MODE},
    {SCOPE_SMTP_PATTERN_LIST, "backoff-to-normal-after", TAKES_TIME},
    {SCOPE_SMTP_PATTERN_LIST, "skip-mx", TAKES_NOTHING},
    {SCOPE_SMTP_PATTERN_LIST, "bounce-queue", TAKES_NOTHING},
    {SCOPE_SMTP_PATTERN_LIST, "bounce-rcpt", TAKES_NOTHING},
    {SCOPE_SMTP_PATTERN_LIST, "disable-source-ip", TAKES_NOTHING},
    {SCOPE_SMTP_PATTERN_LIST, "reenable-after", TAKES_TIME},
    {SCOPE_SMTP_PATTERN_LIST, "defer-queue", TAKES_NOTHING},
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

static const struct action_row *find_action(enum directive_scope scope, struct bytes name)
{
    for (size_t i = 0; i < COUNT(action_rows); i++) {
        if (action_rows[i].scope == scope &&
            bytes_equal_nocase(bytes_from_string(action_rows[i].name), name)) {
            return &action_rows[i];
        }
    }
    return NULL;
}

static const char *value_problem(const struct action_row *row, struct bytes value)
{
    uint64_t number;
    switch (row->takes) {
    case TAKES_NOTHING:
        return value.len == 0 ? NULL : "this action takes no value";
    case TAKES_NAME:
        return value_is_name(value) ? NULL : "write a name behind it";
    case TAKES_MODE:
        return bytes_equal_nocase(value, BYTES("backoff")) ||
                       bytes_equal_nocase(value, BYTES("normal"))
                   ? NULL
                   : "write mode=backoff or mode=normal";
    case TAKES_TIME:
        return value_parse_interval(value, &number) || bytes_equal_nocase(value, BYTES("never"))
                   ? NULL
                   : "write a time such as 30m or 4h behind it";
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

static void add_action(struct loader *loader, enum directive_scope scope, struct bytes text,
                       struct actions *actions)
{
    /* `call-to:LIST` is the one with a colon. */
    ptrdiff_t sign = bytes_find(text, '=', 0);
    if (sign < 0 && bytes_starts_with_nocase(text, BYTES("call-to:"))) {
        sign = sizeof("call-to:") - 2;
    }
    size_t name_len = sign < 0 ? text.len : (size_t)sign;
    struct bytes name = bytes_slice(text, 0, name_len);
    struct bytes value = bytes_slice(text, name_len + 1, text.len);
    const struct action_row *row = find_action(scope, name);
    const char *problem = row == NULL ? "unknown action" : value_problem(row, value);
    if (problem == NULL && actions->count == RULE_ACTIONS_MAX) {
        problem = "too many actions in one rule";
    }
    if (problem != NULL) {
        refuse(loader, text, problem);
        return;
    }
    actions->items[actions->count++] = (struct rule_action){.name = name, .value = value};
}

static bool has_action(const struct actions *actions, const char *name, const char *value)
{
    for (size_t i = 0; i < actions->count; i++) {
        if (bytes_equal_nocase(actions->items[i].name, bytes_from_string(name)) &&
            (value == NULL ||
             bytes_equal_nocase(actions->items[i].value, bytes_from_string(value)))) {
            return true;
        }
    }
    return false;
}

/* Pairs that contradict each other. */
static void check_reply_actions(struct loader *loader, const struct actions *actions)
{
    const char *problem = NULL;
    if (has_action(actions, "mode", "backoff") && has_action(actions, "mode", "normal")) {
        problem = "mode=backoff and mode=normal exclude each other";
    } else if (has_action(actions, "skip-mx", NULL) && has_action(actions, "bounce-queue", NULL)) {
        problem = "skip-mx and bounce-queue exclude each other";
    } else if (has_action(actions, "reenable-after", NULL) &&
               !has_action(actions, "disable-source-ip", NULL)) {
        problem = "reenable-after needs disable-source-ip";
    } else if (actions->count == 0) {
        problem = "an action is missing, such as mode=backoff";
    }
    if (problem != NULL) {
        refuse(loader, loader->line.whole, problem);
    }
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
    struct place place = loader_place(loader, NULL);
    rule.actions = copies;
    rule.action_count = actions->count;
    rule.origin = (struct setting_origin){.file = place.file, .line = place.line};
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

/* What the list wants behind regex and subject. */
static void take_actions(struct loader *loader, struct words *words, enum directive_scope scope,
                         struct actions *actions)
{
    struct word word;
    while (words_next(words, &word) == WORDS_WORD) {
        size_t start = 0;
        for (size_t i = 0; i <= word.text.len; i++) {
            if (i == word.text.len || word.text.data[i] == ',') {
                struct bytes item = bytes_slice(word.text, start, i);
                if (item.len > 0) {
                    add_action(loader, scope, item, actions);
                }
                start = i + 1;
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
    if (actions.count == 1 && !value_is_name(actions.items[0].name)) {
        refuse(loader, actions.items[0].name, "the name of a category is one word");
    }
    keep_rule(loader, rule, &actions);
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
        take_actions(loader, &words, scope, &actions);
        check_reply_actions(loader, &actions);
    } else if (scope == SCOPE_PATTERN_LIST) {
        take_actions(loader, &words, scope, &actions);
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
