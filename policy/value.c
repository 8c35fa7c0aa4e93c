#include "policy/value.h"

#include <assert.h>

#include "policy/value_private.h"

/* How long a piece of the operator's text may be inside a message. */
#define QUOTE_LEN_MAX 80

static const struct {
    const char *accepts;
    size_t size;
} types[VALUE_TYPE_COUNT] = {
#define TYPE_ROW(id, type, array, accepts) [VALUE_##id] = {accepts, sizeof(type)},
    VALUE_TYPES(TYPE_ROW)
#undef TYPE_ROW
};

static int (*const parsers[VALUE_TYPE_COUNT])(struct reader *reader, union value *out) = {
    [VALUE_BOOL] = parse_bool,
    [VALUE_NUMBER] = parse_number,
    [VALUE_NUMBER_OR] = parse_number_or,
    [VALUE_LIMIT] = parse_limit,
    [VALUE_PERCENT] = parse_percent,
    [VALUE_INTERVAL] = parse_interval,
    [VALUE_NO_MX] = parse_no_mx,
    [VALUE_INTERVALS] = parse_intervals,
    [VALUE_SIZE] = parse_size,
    [VALUE_BYTES] = parse_bytes,
    [VALUE_RATE] = parse_rate,
    [VALUE_RATES] = parse_rates,
    [VALUE_DATA_RATE] = parse_data_rate,
    [VALUE_RATE_SHARE] = parse_rate_share,
    [VALUE_STRING] = parse_string,
    [VALUE_TEXT] = parse_text,
    [VALUE_CERTIFICATE] = parse_certificate,
    [VALUE_SECRET] = parse_string,
    [VALUE_STRINGS] = parse_strings,
    [VALUE_ARGS] = parse_args,
    [VALUE_PATH] = parse_path,
    [VALUE_HOST] = parse_host,
    [VALUE_QUEUE_DOMAIN] = parse_queue_domain,
    [VALUE_NAME] = parse_name,
    [VALUE_REPLY_LIST] = parse_reply_list,
    [VALUE_NAMES] = parse_names,
    [VALUE_MAILBOX] = parse_mailbox,
    [VALUE_WORD] = parse_word,
    [VALUE_RECORDS] = parse_records,
    [VALUE_FIELDS] = parse_fields,
    [VALUE_ADDRESS] = parse_address,
    [VALUE_RANGE] = parse_range,
    [VALUE_RANGES] = parse_ranges,
    [VALUE_SOURCE_HOST] = parse_source_host,
    [VALUE_HOSTS] = parse_hosts,
    [VALUE_RANGE_LIMIT] = parse_range_limit,
    [VALUE_RANGE_RATE] = parse_range_rate,
    [VALUE_RANGE_DATA_RATE] = parse_range_data_rate,
    [VALUE_DOMAIN] = parse_domain,
    [VALUE_DOMAIN_LIMIT] = parse_domain_limit,
    [VALUE_PATTERN] = parse_pattern,
    [VALUE_MEMBER] = parse_member,
};

/* "a, b or c" from "|a|b|c". */
static void describe_words(const char *accepts, struct buffer *out)
{
    struct bytes text = bytes_from_string(accepts), item;
    size_t cursor = 1;
    bool first = true;
    while (next_item(text, '|', &cursor, &item)) {
        if (!first) {
            buffer_put_string(out, cursor > text.len ? " or " : ", ");
        }
        buffer_put_bytes(out, item);
        first = false;
    }
}

/* " from 1 to 64", ", at most 10m", ", at least 1m". */
static void describe_bounds(struct bytes range, size_t dots, struct buffer *out)
{
    struct bytes low = bytes_slice(range, 0, dots), high = bytes_slice(range, dots + 2, range.len);
    if (low.len > 0 && high.len > 0) {
        buffer_printf(out, " from %.*s to %.*s", BYTES_FMT(low), BYTES_FMT(high));
    } else if (low.len > 0) {
        buffer_printf(out, ", at least %.*s", BYTES_FMT(low));
    } else {
        buffer_printf(out, ", at most %.*s", BYTES_FMT(high));
    }
}

/* The bounds, then the words that may stand instead. */
static void describe_range(const char *accepts, struct buffer *out)
{
    struct bytes text = bytes_from_string(accepts), item;
    for (int pass = 0; pass < 2; pass++) {
        size_t cursor = 0;
        while (text.len > 0 && next_item(text, ' ', &cursor, &item)) {
            ptrdiff_t dots = bytes_find(item, '.', 0);
            if (pass == 0 && dots >= 0) {
                describe_bounds(item, (size_t)dots, out);
            } else if (pass == 1 && dots < 0) {
                buffer_printf(out, ", or '%.*s'", BYTES_FMT(item));
            }
        }
    }
}

void value_describe(enum value_type type, const char *accepts, struct buffer *out)
{
    if (type == VALUE_WORD) {
        describe_words(accepts, out);
        return;
    }
    buffer_put_string(out,
                      type == VALUE_NUMBER_OR ? types[VALUE_NUMBER].accepts : types[type].accepts);
    if (type == VALUE_ARGS) {
        buffer_printf(out, " (%c to %c)", accepts[0], accepts[3]);
    } else if (type != VALUE_NAME && type != VALUE_NAMES && type != VALUE_MEMBER &&
               type != VALUE_REPLY_LIST) {
        describe_range(accepts, out);
    }
}

int reader_refuse(struct reader *reader, size_t offset, struct bytes text)
{
    char words[ERROR_TEXT_MAX];
    struct buffer accepted;
    buffer_init(&accepted, words, sizeof(words));
    value_describe(reader->source->type, reader->source->accepts, &accepted);
    struct bytes all = reader->source->text;
    bool inside = text.data >= all.data && text.data <= all.data + all.len;
    *reader->error_offset = inside ? (size_t)(text.data - all.data) : offset;
    return error_set(reader->error, -1, "'%.*s'%s is not accepted: write %.*s",
                     (int)(text.len > QUOTE_LEN_MAX ? QUOTE_LEN_MAX : text.len), text.data,
                     text.len > QUOTE_LEN_MAX ? "..." : "", BYTES_FMT(buffer_bytes(&accepted)));
}

static int refuse_missing(struct reader *reader)
{
    char words[ERROR_TEXT_MAX];
    struct buffer accepted;
    buffer_init(&accepted, words, sizeof(words));
    value_describe(reader->source->type, reader->source->accepts, &accepted);
    *reader->error_offset = reader->source->text.len;
    return error_set(reader->error, -1, "a value is missing: write %.*s",
                     BYTES_FMT(buffer_bytes(&accepted)));
}

int reader_no_memory(struct reader *reader)
{
    *reader->error_offset = 0;
    return error_set(reader->error, -1, "too long: a list may have %d entries", VALUE_LIST_MAX);
}

int reader_copy(struct reader *reader, struct bytes text, struct bytes *out)
{
    if (text.len == 0) {
        *out = BYTES("");
        return 0;
    }
    struct bytes copy = arena_copy(reader->source->arena, text);
    if (copy.data == NULL) {
        *reader->error_offset = 0;
        return error_set(reader->error, -1, "no memory: the configuration is too large");
    }
    *out = copy;
    return 0;
}

int reader_word(struct reader *reader, struct word *out)
{
    enum words_result result = words_next(&reader->words, out);
    if (result == WORDS_WORD) {
        return 0;
    }
    if (result == WORDS_END) {
        return refuse_missing(reader);
    }
    *reader->error_offset = out->offset;
    return error_set(reader->error, -1, "%s", words_problem(result));
}

int reader_end(struct reader *reader)
{
    struct bytes rest = words_rest(&reader->words);
    if (rest.len == 0) {
        return 0;
    }
    *reader->error_offset = (size_t)(rest.data - reader->source->text.data);
    if (reader->source->type == VALUE_SECRET || reader->source->type == VALUE_CERTIFICATE) {
        /* What stands there may be half of a password: it is not repeated. */
        return error_set(reader->error, -1,
                         "text behind the value: a secret with blanks or '#' "
                         "needs double quotes");
    }
    char words[ERROR_TEXT_MAX];
    struct buffer accepted;
    buffer_init(&accepted, words, sizeof(words));
    value_describe(reader->source->type, reader->source->accepts, &accepted);
    return error_set(reader->error, -1, "'%.*s' behind the value is too much: write %.*s",
                     (int)(rest.len > QUOTE_LEN_MAX ? QUOTE_LEN_MAX : rest.len), rest.data,
                     BYTES_FMT(buffer_bytes(&accepted)));
}

int reader_only_word(struct reader *reader, struct word *out)
{
    return reader_word(reader, out) < 0 ? -1 : reader_end(reader);
}

int reader_whole(struct reader *reader, struct bytes *out)
{
    struct word word;
    struct bytes all = words_rest(&reader->words);
    if (reader_word(reader, &word) < 0) {
        return -1;
    }
    *out = word.quoted && words_rest(&reader->words).len == 0 ? word.text : all;
    return 0;
}

int value_parse(const struct value_source *source, union value *out, struct error *error,
                size_t *error_offset)
{
    assert(source->type < VALUE_TYPE_COUNT);
    assert(source->arena != NULL);
    union value value;
    memset(&value, 0, sizeof(value));
    struct reader reader = {.source = source,
                            .words = {.text = source->text, .arena = source->arena},
                            .error = error,
                            .error_offset = error_offset};
    *error_offset = 0;
    if (parsers[source->type](&reader, &value) < 0) {
        return -1;
    }
    *out = value;
    return 0;
}

size_t value_size(enum value_type type)
{
    assert(type < VALUE_TYPE_COUNT);
    return types[type].size;
}
