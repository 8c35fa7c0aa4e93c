/* Numbers, times, sizes, rates and words. */
#include <assert.h>

#include "policy/value_private.h"

#define SECOND_MS 1000ull
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS   (60 * MINUTE_MS)
#define DAY_MS    (24 * HOUR_MS)
#define WEEK_MS   (7 * DAY_MS)

static bool digits(struct bytes text, size_t *offset, uint64_t *out)
{
    size_t start = *offset;
    while (*offset < text.len && text.data[*offset] >= '0' && text.data[*offset] <= '9') {
        (*offset)++;
    }
    return bytes_to_u64(bytes_slice(text, start, *offset), UINT64_MAX, out);
}

static struct bytes letters(struct bytes text, size_t *offset)
{
    size_t start = *offset;
    while (*offset < text.len && ((text.data[*offset] | 0x20) >= 'a') &&
           ((text.data[*offset] | 0x20) <= 'z')) {
        (*offset)++;
    }
    return bytes_slice(text, start, *offset);
}

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit interval_units[] = {
    {"ms", 1},     {"s", SECOND_MS}, {"m", MINUTE_MS}, {"h", HOUR_MS},
    {"d", DAY_MS}, {"w", WEEK_MS},   {NULL, 0},
};
static const struct unit rate_units[] = {
    {"s", SECOND_MS},   {"sec", SECOND_MS},    {"second", SECOND_MS}, {"m", MINUTE_MS},
    {"min", MINUTE_MS}, {"minute", MINUTE_MS}, {"h", HOUR_MS},        {"hr", HOUR_MS},
    {"hour", HOUR_MS},  {"d", DAY_MS},         {"day", DAY_MS},       {NULL, 0},
};
static const struct unit size_units[] = {
    {"", 1},           {"b", 1},          {"k", 1ull << 10}, {"m", 1ull << 20},
    {"g", 1ull << 30}, {"t", 1ull << 40}, {NULL, 0},
};

/* 0: no such unit. */
static uint64_t unit_factor(const struct unit *units, struct bytes name)
{
    for (; units->name != NULL; units++) {
        if (bytes_equal_nocase(name, bytes_from_string(units->name))) {
            return units->factor;
        }
    }
    return 0;
}

static bool add_product(uint64_t *sum, uint64_t count, uint64_t factor, uint64_t max)
{
    uint64_t product;
    if (__builtin_mul_overflow(count, factor, &product) ||
        __builtin_add_overflow(*sum, product, sum)) {
        return false;
    }
    return *sum <= max;
}

bool value_parse_bool(struct bytes text, bool *out)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"yes", true}, {"no", false}, {"true", true}, {"false", false}};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (bytes_equal_nocase(text, bytes_from_string(words[i].word))) {
            *out = words[i].value;
            return true;
        }
    }
    return false;
}

bool value_parse_interval(struct bytes text, uint64_t *out_ms)
{
    uint64_t sum_ms = 0, count;
    size_t offset = 0;
    if (text.len == 0) {
        return false;
    }
    while (offset < text.len) {
        bool bare_first = offset == 0;
        if (!digits(text, &offset, &count)) {
            return false;
        }
        struct bytes name = letters(text, &offset);
        /* A number without a unit stands alone, and is seconds. */
        uint64_t factor = name.len == 0 && bare_first && offset == text.len
                              ? SECOND_MS
                              : unit_factor(interval_units, name);
        if (factor == 0 || !add_product(&sum_ms, count, factor, VALUE_INTERVAL_MAX_MS)) {
            return false;
        }
    }
    *out_ms = sum_ms;
    return true;
}

static bool bytes_from_text(struct bytes text, uint64_t *out)
{
    uint64_t count, sum = 0;
    size_t offset = 0;
    if (!digits(text, &offset, &count)) {
        return false;
    }
    uint64_t factor = unit_factor(size_units, letters(text, &offset));
    if (factor == 0 || offset != text.len || !add_product(&sum, count, factor, UINT64_MAX - 1)) {
        return false;
    }
    *out = sum;
    return true;
}

bool value_parse_size(struct bytes text, uint64_t *out_bytes)
{
    uint64_t count;
    if (bytes_equal_nocase(text, BYTES("unlimited"))) {
        *out_bytes = UNLIMITED;
        return true;
    }
    if (!bytes_from_text(text, &count)) {
        return false;
    }
    *out_bytes = count == 0 ? UNLIMITED : count;
    return true;
}

static bool limit_from_text(struct bytes text, uint64_t *out)
{
    uint64_t count;
    if (bytes_equal_nocase(text, BYTES("unlimited"))) {
        *out = UNLIMITED;
        return true;
    }
    if (!bytes_to_u64(text, UINT64_MAX - 1, &count)) {
        return false;
    }
    *out = count == 0 ? UNLIMITED : count;
    return true;
}

static bool number_from_text(struct bytes text, uint64_t *out)
{
    return bytes_to_u64(text, UINT64_MAX - 1, out);
}

/* `zero_allowed`: "0/d" is a rate of none. Elsewhere it would be read as "unlimited" by some and as
 * "nothing" by others, so it is refused. */
bool rate_from_text(struct bytes text, bool is_data, bool zero_allowed, struct rate_value *out)
{
    uint64_t count, multiple = 1, window_ms = 0;
    if (bytes_equal_nocase(text, BYTES("unlimited")) || bytes_equal(text, BYTES("0"))) {
        *out = (struct rate_value){.count = UNLIMITED};
        return true;
    }
    ptrdiff_t slash = bytes_find(text, '/', 0);
    if (slash < 0) {
        return false;
    }
    struct bytes before = bytes_slice(text, 0, (size_t)slash);
    if (!(is_data ? bytes_from_text(before, &count) : number_from_text(before, &count)) ||
        (count == 0 && !zero_allowed)) {
        return false;
    }
    size_t offset = (size_t)slash + 1;
    if (offset < text.len && text.data[offset] >= '0' && text.data[offset] <= '9' &&
        !digits(text, &offset, &multiple)) {
        return false;
    }
    uint64_t factor = unit_factor(rate_units, letters(text, &offset));
    if (factor == 0 || multiple == 0 || offset != text.len ||
        !add_product(&window_ms, multiple, factor, VALUE_INTERVAL_MAX_MS)) {
        return false;
    }
    *out = (struct rate_value){.count = count, .window_ms = window_ms};
    return true;
}

bool value_parse_rate(struct bytes text, struct rate_value *out)
{
    return rate_from_text(text, false, false, out);
}

/* "50%": none and more than all are no shares. */
bool value_parse_rate_share(struct bytes text, struct rate_share *out)
{
    uint64_t percent;
    struct rate_share share = {.percent = 0};
    bool is_share = text.len > 1 && text.data[text.len - 1] == '%';
    if (!is_share && !value_parse_rate(text, &share.rate)) {
        return false;
    }
    if (is_share) {
        if (!bytes_to_u64(bytes_slice(text, 0, text.len - 1), 100, &percent) || percent == 0) {
            return false;
        }
        share = (struct rate_share){.rate.count = UNLIMITED, .percent = (uint32_t)percent};
    }
    *out = share;
    return true;
}

/* `accepts` is words separated by blanks; one with ".." is a range, the others stand for
 * themselves. */
static bool accepts_word(const char *accepts, struct bytes text)
{
    size_t cursor = 0;
    struct bytes item;
    while (next_item(bytes_from_string(accepts), ' ', &cursor, &item)) {
        if (item.len > 0 && bytes_equal_nocase(item, text)) {
            return true;
        }
    }
    return false;
}

static bool in_range(const char *accepts, uint64_t value, uint64_t *top,
                     bool (*from_text)(struct bytes text, uint64_t *out))
{
    size_t cursor = 0;
    struct bytes item;
    *top = UINT64_MAX;
    while (next_item(bytes_from_string(accepts), ' ', &cursor, &item)) {
        ptrdiff_t dots = bytes_find(item, '.', 0);
        if (dots < 0) {
            continue;
        }
        uint64_t low = 0, high = UINT64_MAX;
        struct bytes before = bytes_slice(item, 0, (size_t)dots);
        struct bytes behind = bytes_slice(item, (size_t)dots + 2, item.len);
        bool fine = (before.len == 0 || from_text(before, &low)) &&
                    (behind.len == 0 || from_text(behind, &high));
        assert(fine); /* the table's own text */
        *top = high;
        return value >= low && value <= high;
    }
    return true;
}

int parse_bool(struct reader *reader, union value *out)
{
    struct word word;
    if (reader_only_word(reader, &word) < 0) {
        return -1;
    }
    if (!value_parse_bool(word.text, &out->BOOL)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    return 0;
}

/* One word, by `from_text`, within the range of `accepts`. */
static int parse_ranged(struct reader *reader, uint64_t *out,
                        bool (*from_text)(struct bytes text, uint64_t *out),
                        bool (*bound)(struct bytes text, uint64_t *out))
{
    struct word word;
    uint64_t value, top;
    if (reader_only_word(reader, &word) < 0) {
        return -1;
    }
    if (!from_text(word.text, &value)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    bool fits = in_range(reader->source->accepts, value, &top, bound);
    if (from_text != bound && value == UNLIMITED) {
        value = top; /* "unlimited" means the hard bound, where there is one */
        fits = true;
    }
    if (!fits) {
        return reader_refuse(reader, word.offset, word.text);
    }
    *out = value;
    return 0;
}

int parse_number(struct reader *reader, union value *out)
{
    return parse_ranged(reader, &out->NUMBER, number_from_text, number_from_text);
}

int parse_limit(struct reader *reader, union value *out)
{
    return parse_ranged(reader, &out->LIMIT, limit_from_text, number_from_text);
}

int parse_size(struct reader *reader, union value *out)
{
    return parse_ranged(reader, &out->SIZE, value_parse_size, bytes_from_text);
}

int parse_bytes(struct reader *reader, union value *out)
{
    return parse_ranged(reader, &out->BYTES, bytes_from_text, bytes_from_text);
}

/* A word of `accepts` gives `word_value`, anything else goes by `from_text`. */
static int parse_word_or(struct reader *reader, uint64_t *out, uint64_t word_value,
                         bool (*from_text)(struct bytes text, uint64_t *out))
{
    struct words start = reader->words;
    struct word word;
    if (reader_word(reader, &word) < 0) {
        return -1;
    }
    if (accepts_word(reader->source->accepts, word.text)) {
        *out = word_value;
        return reader_end(reader);
    }
    reader->words = start;
    return parse_ranged(reader, out, from_text, from_text);
}

int parse_number_or(struct reader *reader, union value *out)
{
    return parse_word_or(reader, &out->NUMBER_OR, 0, number_from_text);
}

int parse_interval(struct reader *reader, union value *out)
{
    return parse_word_or(reader, &out->INTERVAL, NEVER, value_parse_interval);
}

int parse_percent(struct reader *reader, union value *out)
{
    struct word word;
    uint64_t value;
    if (reader_only_word(reader, &word) < 0) {
        return -1;
    }
    struct bytes text = word.text;
    if (text.len > 1 && text.data[text.len - 1] == '%') {
        text.len--;
    }
    if (!bytes_to_u64(text, 100, &value)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    out->PERCENT = value;
    return 0;
}

int parse_no_mx(struct reader *reader, union value *out)
{
    struct word word;
    bool at_once;
    if (reader_only_word(reader, &word) < 0) {
        return -1;
    }
    if (value_parse_bool(word.text, &at_once)) {
        out->NO_MX = at_once ? 0 : NEVER;
        return 0;
    }
    if (!value_parse_interval(word.text, &out->NO_MX)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    return 0;
}

static int parse_any_rate(struct reader *reader, bool is_data, struct rate_value *out)
{
    struct word word;
    if (reader_only_word(reader, &word) < 0) {
        return -1;
    }
    if (!rate_from_text(word.text, is_data, false, out)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    return 0;
}

int parse_rate(struct reader *reader, union value *out)
{
    return parse_any_rate(reader, false, &out->RATE);
}

int parse_data_rate(struct reader *reader, union value *out)
{
    return parse_any_rate(reader, true, &out->DATA_RATE);
}

int parse_rate_share(struct reader *reader, union value *out)
{
    struct word word;
    if (reader_only_word(reader, &word) < 0) {
        return -1;
    }
    if (!value_parse_rate_share(word.text, &out->RATE_SHARE)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    return 0;
}

/* `accepts` is "|word|word…"; true and false stand for yes and no where those are words. */
int parse_word(struct reader *reader, union value *out)
{
    struct word word;
    struct bytes item;
    size_t cursor = 1;
    bool value;
    if (reader_only_word(reader, &word) < 0) {
        return -1;
    }
    struct bytes wanted = word.text;
    if (value_parse_bool(wanted, &value)) {
        wanted = value ? BYTES("yes") : BYTES("no");
    }
    for (uint32_t i = 0; next_item(bytes_from_string(reader->source->accepts), '|', &cursor, &item);
         i++) {
        if (bytes_equal_nocase(item, wanted)) {
            out->WORD = i;
            return 0;
        }
    }
    return reader_refuse(reader, word.offset, word.text);
}
