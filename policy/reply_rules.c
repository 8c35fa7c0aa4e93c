#include "policy/reply_rules.h"

#include "policy/pattern.h"

/* What may stand behind a reply's expression; the place in the list is the bit in `given`. */
#define REPLY_WORDS(W)                                                                             \
    W(BACKOFF, "mode=backoff")                                                                     \
    W(NORMAL, "mode=normal")                                                                       \
    W(BACKOFF_TIME, "backoff-to-normal-after")                                                     \
    W(BACKOFF_RATE, "backoff-max-msg-rate")                                                        \
    W(SKIP_MX, "skip-mx")                                                                          \
    W(DEFER_QUEUE, "defer-queue")                                                                  \
    W(DISABLE_SOURCE, "disable-source-ip")                                                         \
    W(REENABLE_TIME, "reenable-after")                                                             \
    W(BOUNCE_QUEUE, "bounce-queue")                                                                \
    W(BOUNCE_RCPT, "bounce-rcpt")                                                                  \
    W(RETRY_AS_TOLD, "retry-as-told")                                                              \
    W(DURATION, "duration")                                                                        \
    W(TRIGGER, "trigger")

enum reply_word {
#define WORD_ENUM_ROW(id, name) WORD_##id,
    REPLY_WORDS(WORD_ENUM_ROW)
#undef WORD_ENUM_ROW
        WORD_COUNT
};

static const char *const word_names[WORD_COUNT] = {
#define WORD_NAME_ROW(id, name) [WORD_##id] = name,
    REPLY_WORDS(WORD_NAME_ROW)
#undef WORD_NAME_ROW
};

#define BIT(word) (1u << WORD_##word)

/* What lasts, so that a duration has something to say. */
#define LASTING (BIT(BACKOFF) | BIT(SKIP_MX) | BIT(DEFER_QUEUE) | BIT(DISABLE_SOURCE))

/* What does something; the others say how. */
#define DEEDS (LASTING | BIT(NORMAL) | BIT(BOUNCE_QUEUE) | BIT(BOUNCE_RCPT) | BIT(RETRY_AS_TOLD))

/* With all of `with` given, one of `needs` must be, where that is not 0. */
static const struct {
    uint32_t with, needs;
    bool harmless;
    const char *problem;
} conflicts[] = {
    {BIT(BACKOFF) | BIT(NORMAL), 0, false, "mode=backoff and mode=normal exclude each other"},
    {BIT(SKIP_MX) | BIT(BOUNCE_QUEUE), 0, false, "skip-mx and bounce-queue exclude each other"},
    {BIT(DEFER_QUEUE) | BIT(BOUNCE_QUEUE), 0, false,
     "defer-queue and bounce-queue exclude each other"},
    {BIT(RETRY_AS_TOLD) | BIT(BOUNCE_QUEUE), 0, false,
     "retry-as-told and bounce-queue exclude each other"},
    {BIT(RETRY_AS_TOLD) | BIT(BOUNCE_RCPT), 0, false,
     "retry-as-told and bounce-rcpt exclude each other"},
    {BIT(RETRY_AS_TOLD) | BIT(DISABLE_SOURCE), 0, false,
     "retry-as-told and disable-source-ip exclude each other: the retry comes from that address"},
    {BIT(REENABLE_TIME), BIT(DISABLE_SOURCE), false, "reenable-after needs disable-source-ip"},
    {BIT(DURATION), LASTING, false,
     "duration needs mode=backoff, skip-mx, defer-queue or disable-source-ip"},
    {BIT(BACKOFF_RATE), BIT(BACKOFF), false, "backoff-max-msg-rate needs mode=backoff"},
    {BIT(BACKOFF_TIME), BIT(BACKOFF), true,
     "backoff-to-normal-after has no effect without mode=backoff"},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- loading ---- */

/* `mode` is a word with each of its values. */
static enum reply_word find_word(struct bytes name, struct bytes value)
{
    char memory[64];
    struct buffer text;
    buffer_init(&text, memory, sizeof memory);
    buffer_put_bytes(&text, name);
    if (bytes_equal_nocase(name, BYTES("mode"))) {
        buffer_put_char(&text, '=');
        buffer_put_bytes(&text, value);
    }
    enum reply_word word = 0;
    while (word < WORD_COUNT &&
           (text.overflowed ||
            !bytes_equal_nocase(bytes_from_string(word_names[word]), buffer_bytes(&text)))) {
        word++;
    }
    return word;
}

static const char *take_nothing(struct bytes value, bool *out)
{
    *out = true;
    return value.len == 0 ? NULL : "this action takes no value";
}

static const char *take_time(struct bytes value, uint64_t *out)
{
    if (bytes_equal_nocase(value, BYTES("never"))) {
        *out = NEVER;
        return NULL;
    }
    bool fine = value_parse_interval(value, out) && *out != REPLY_TIME_NONE;
    return fine ? NULL : "write a time such as 30m or 4h behind it";
}

static const char *take_share(struct bytes value, struct reply_actions *actions)
{
    actions->has_backoff_rate = value_parse_rate_share(value, &actions->backoff_rate);
    return actions->has_backoff_rate
               ? NULL
               : "write a rate such as 100/h or a share such as 50% behind it";
}

static const char *take_trigger(struct bytes value, struct rate_value *out)
{
    bool fine = value_parse_rate(value, out) && out->count != UNLIMITED;
    return fine ? NULL : "write how many matches in which time, such as 5/10m";
}

static const char *take_value(struct reply_rule *rule, enum reply_word word, struct bytes value)
{
    struct reply_actions *actions = &rule->actions;
    switch (word) {
    case WORD_BACKOFF:
        actions->mode = REPLY_MODE_BACKOFF;
        return NULL;
    case WORD_NORMAL:
        actions->mode = REPLY_MODE_NORMAL;
        return NULL;
    case WORD_BACKOFF_TIME:
        return take_time(value, &actions->backoff_ms);
    case WORD_BACKOFF_RATE:
        return take_share(value, actions);
    case WORD_SKIP_MX:
        return take_nothing(value, &actions->skip_mx);
    case WORD_DEFER_QUEUE:
        return take_nothing(value, &actions->defer_queue);
    case WORD_DISABLE_SOURCE:
        return take_nothing(value, &actions->disable_source);
    case WORD_REENABLE_TIME:
        return take_time(value, &actions->disable_source_ms);
    case WORD_BOUNCE_QUEUE:
        return take_nothing(value, &actions->bounce_queue);
    case WORD_BOUNCE_RCPT:
        return take_nothing(value, &actions->bounce_rcpt);
    case WORD_RETRY_AS_TOLD:
        return take_nothing(value, &actions->retry_as_told);
    case WORD_DURATION:
        return take_time(value, &rule->duration_ms);
    case WORD_TRIGGER:
        return take_trigger(value, &rule->trigger);
    case WORD_COUNT:
        break;
    }
    return "unknown action";
}

const char *reply_rule_add(struct reply_rule *rule, struct bytes name, struct bytes value)
{
    enum reply_word word = find_word(name, value);
    if (word == WORD_COUNT && bytes_equal_nocase(name, BYTES("mode"))) {
        return "write mode=backoff or mode=normal";
    }
    const char *problem = take_value(rule, word, value);
    if (problem == NULL) {
        rule->given |= 1u << word;
    }
    return problem;
}

static void spread(uint64_t duration_ms, uint64_t *time_ms)
{
    *time_ms = *time_ms == REPLY_TIME_NONE ? duration_ms : *time_ms;
}

const char *reply_rule_finish(struct reply_rule *rule, bool *harmless)
{
    *harmless = false;
    for (size_t i = 0; i < COUNT(conflicts); i++) {
        bool given = (rule->given & conflicts[i].with) == conflicts[i].with;
        if (given && (rule->given & conflicts[i].needs) == 0) {
            *harmless = conflicts[i].harmless;
            return conflicts[i].problem;
        }
    }
    if ((rule->given & DEEDS) == 0) {
        return "an action is missing, such as mode=backoff";
    }
    spread(rule->duration_ms, &rule->actions.backoff_ms);
    spread(rule->duration_ms, &rule->actions.skip_mx_ms);
    spread(rule->duration_ms, &rule->actions.defer_queue_ms);
    spread(rule->duration_ms, &rule->actions.disable_source_ms);
    return NULL;
}

/* ---- matching ---- */

struct reply_finding reply_rules_find(const struct reply_rules *rules,
                                      struct pattern_matcher *matcher, struct bytes line)
{
    struct reply_finding finding = {.rule = NULL};
    pattern_subject(matcher, line);
    for (uint32_t i = 0; rules != NULL && i < rules->count; i++) {
        const struct reply_rule *rule = &rules->rules[i];
        enum pattern_result result = pattern_match(matcher, rule->pattern);
        if (result == PATTERN_LIMIT) {
            finding.too_costly = rule;
            break;
        }
        if (result == PATTERN_MATCH) {
            finding.rule = rule;
            if (rule->actions.retry_as_told) {
                finding.wait_ms =
                    reply_wait_ms(bytes_slice(line, pattern_match_start(matcher), line.len));
            }
            break;
        }
    }
    return finding;
}

/* ---- "try again in 5 minutes" ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

/* Digits from *at on, which moves behind them; saturates. */
static uint64_t take_digits(struct bytes text, size_t *at)
{
    uint64_t number = 0;
    for (; *at < text.len && is_digit(text.data[*at]); (*at)++) {
        number =
            number > REPLY_WAIT_MAX_MS ? number : number * 10 + (uint64_t)(text.data[*at] - '0');
    }
    return number;
}

static uint64_t unit_ms(struct bytes word)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"s", 1000},       {"sec", 1000},      {"secs", 1000},    {"second", 1000},
                 {"seconds", 1000}, {"m", 60000},       {"min", 60000},    {"mins", 60000},
                 {"minute", 60000}, {"minutes", 60000}, {"h", 3600000},    {"hr", 3600000},
                 {"hrs", 3600000},  {"hour", 3600000},  {"hours", 3600000}};

    for (size_t i = 0; i < COUNT(units); i++) {
        if (bytes_equal_nocase(word, bytes_from_string(units[i].name))) {
            return units[i].ms;
        }
    }
    return 0;
}

/* Behind a number: ":04:59" of hours, or a unit, blanks or a dash before it. 0: neither. */
static uint64_t take_rest(struct bytes text, size_t at, uint64_t number)
{
    uint64_t parts[2] = {0};
    size_t count = 0;
    while (count < 2 && at + 1 < text.len && text.data[at] == ':' && is_digit(text.data[at + 1])) {
        at++;
        parts[count++] = take_digits(text, &at);
    }
    if (count > 0) {
        return count == 2 ? number * 3600000 + parts[0] * 60000 + parts[1] * 1000 : 0;
    }
    while (at < text.len && (text.data[at] == ' ' || text.data[at] == '-')) {
        at++;
    }
    size_t end = at;
    while (end < text.len && is_letter(text.data[end])) {
        end++;
    }
    return number * unit_ms(bytes_slice(text, at, end));
}

/* Whether a digit behind it is part of a word, a host name, an address or a larger number. */
static bool joins_digits(char c)
{
    return is_letter(c) || is_digit(c) || c == '.' || c == ':' || c == '_' || c == '@';
}

uint64_t reply_wait_ms(struct bytes text)
{
    for (size_t at = 0; at < text.len; at++) {
        if (!is_digit(text.data[at]) || (at > 0 && joins_digits(text.data[at - 1]))) {
            continue;
        }
        uint64_t number = take_digits(text, &at);
        uint64_t wait_ms = take_rest(text, at, number);
        if (wait_ms > 0) {
            return wait_ms < REPLY_WAIT_MAX_MS ? wait_ms : REPLY_WAIT_MAX_MS;
        }
    }
    return 0;
}
