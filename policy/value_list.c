/* Lists, records, addresses and hosts. */
#include "policy/value_private.h"

bool next_item(struct bytes text, char separator, size_t *cursor, struct bytes *out)
{
    if (*cursor > text.len) {
        return false;
    }
    ptrdiff_t end = bytes_find(text, separator, *cursor);
    size_t stop = end < 0 ? text.len : (size_t)end;
    *out = bytes_trim(bytes_slice(text, *cursor, stop));
    *cursor = stop + 1;
    return true;
}

static size_t count_items(struct bytes text, const char *separators)
{
    size_t count = 1;
    for (size_t i = 0; i < text.len; i++) {
        count += strchr(separators, text.data[i]) != NULL && text.data[i] != '\0';
    }
    return count;
}

/* Room for as many items as `text` has between separators; NULL: too many. */
static void *take_items(struct reader *reader, struct bytes text, const char *separators,
                        size_t item_size)
{
    size_t count = count_items(text, separators);
    return count > VALUE_LIST_MAX ? NULL : arena_take(reader->source->arena, count * item_size);
}

int parse_intervals(struct reader *reader, union value *out)
{
    struct word word;
    struct bytes item;
    size_t cursor = 0;
    uint32_t count = 0;
    if (reader_only_word(reader, &word) < 0) {
        return -1;
    }
    uint64_t *items = take_items(reader, word.text, ",", sizeof(*items));
    if (items == NULL) {
        return reader_no_memory(reader);
    }
    while (next_item(word.text, ',', &cursor, &item)) {
        if (!value_parse_interval(item, &items[count++])) {
            return reader_refuse(reader, word.offset, word.text);
        }
    }
    out->INTERVALS = (struct interval_list){.interval_ms = items, .count = count};
    return 0;
}

int parse_rates(struct reader *reader, union value *out)
{
    struct bytes whole, item;
    size_t cursor = 0, count = 0;
    if (reader_whole(reader, &whole) < 0) {
        return -1;
    }
    struct rate_value *items = take_items(reader, whole, ",", sizeof(*items));
    if (items == NULL) {
        return reader_no_memory(reader);
    }
    while (next_item(whole, ',', &cursor, &item)) {
        if (!rate_from_text(item, false, true, &items[count++])) {
            return reader_refuse(reader, 0, item);
        }
    }
    out->RATES = (struct rate_array){items, count};
    return 0;
}

static bool record_bit(struct bytes text, uint32_t *bits)
{
    static const struct {
        enum record_type type;
        const char *letter, *name;
    } names[] = {
#define RECORD_NAMES(id, letter, name) {id, letter, name},
        RECORD_TYPES(RECORD_NAMES)
#undef RECORD_NAMES
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (bytes_equal_nocase(text, bytes_from_string(names[i].letter)) ||
            bytes_equal_nocase(text, bytes_from_string(names[i].name))) {
            *bits |= RECORD_BIT(names[i].type);
            return true;
        }
    }
    return false;
}

bool value_parse_records(struct bytes text, uint32_t *out)
{
    uint32_t bits = 0;
    size_t cursor = 0;
    struct bytes item;
    while (next_item(text, ',', &cursor, &item)) {
        if (!record_bit(item, &bits)) {
            return false;
        }
    }
    *out = bits;
    return true;
}

int parse_records(struct reader *reader, union value *out)
{
    struct bytes whole;
    if (reader_whole(reader, &whole) < 0) {
        return -1;
    }
    if (whole.len == 0) {
        out->RECORDS = 0;
        return 0;
    }
    if (!value_parse_records(whole, &out->RECORDS)) {
        return reader_refuse(reader, 0, whole);
    }
    return 0;
}

int parse_fields(struct reader *reader, union value *out)
{
    struct word word;
    struct record_fields value = {0};
    struct bytes item;
    size_t cursor = 0;
    if (reader_word(reader, &word) < 0) {
        return -1;
    }
    if (!value_parse_records(word.text, &value.records)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    struct bytes rest = words_rest(&reader->words);
    struct record_field *fields = take_items(reader, rest, ",", sizeof(*fields));
    if (fields == NULL) {
        return reader_no_memory(reader);
    }
    while (next_item(rest, ',', &cursor, &item)) {
        bool removed = item.len > 0 && item.data[0] == '!';
        struct bytes name = removed ? bytes_slice(item, 1, item.len) : item;
        if (!bytes_equal(name, BYTES("*")) && !value_is_name(name)) {
            return reader_refuse(reader, word.offset, reader->source->text);
        }
        fields[value.count].removed = removed;
        if (reader_copy(reader, name, &fields[value.count++].name) < 0) {
            return -1;
        }
    }
    value.fields = fields;
    out->FIELDS = value;
    return 0;
}

int parse_address(struct reader *reader, union value *out)
{
    struct word word;
    if (reader_only_word(reader, &word) < 0) {
        return -1;
    }
    if (!address_parse(word.text, &out->ADDRESS) && !address_parse_port(word.text, &out->ADDRESS)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    return 0;
}

static int range_word(struct reader *reader, struct address_range *out)
{
    struct word word;
    if (reader_word(reader, &word) < 0) {
        return -1;
    }
    if (!address_range_parse(word.text, out)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    return 0;
}

int parse_range(struct reader *reader, union value *out)
{
    return range_word(reader, &out->RANGE) < 0 ? -1 : reader_end(reader);
}

int parse_ranges(struct reader *reader, union value *out)
{
    struct bytes whole;
    size_t count = 0, offset = 0;
    if (reader_whole(reader, &whole) < 0) {
        return -1;
    }
    if (bytes_equal_nocase(whole, BYTES("none"))) {
        out->RANGES = (struct range_array){NULL, 0};
        return 0;
    }
    struct address_range *items = take_items(reader, whole, " \t,", sizeof(*items));
    if (items == NULL) {
        return reader_no_memory(reader);
    }
    while (offset <= whole.len) {
        size_t end = offset;
        while (end < whole.len && strchr(" \t,", whole.data[end]) == NULL) {
            end++;
        }
        struct bytes item = bytes_slice(whole, offset, end);
        if (item.len > 0 && !address_range_parse(item, &items[count++])) {
            return reader_refuse(reader, 0, item);
        }
        offset = end + 1;
    }
    if (count == 0) {
        return reader_refuse(reader, 0, whole);
    }
    out->RANGES = (struct range_array){items, count};
    return 0;
}

/* The host name may be left out: then the virtual MTA's host-name counts. */
int parse_source_host(struct reader *reader, union value *out)
{
    struct source_host value = {.host_name = {"", 0}};
    struct word word;
    if (range_word(reader, &value.range) < 0) {
        return -1;
    }
    if (words_rest(&reader->words).len > 0) {
        if (reader_only_word(reader, &word) < 0) {
            return -1;
        }
        if (!is_host_name(word.text)) {
            return reader_refuse(reader, word.offset, word.text);
        }
        if (reader_copy(reader, word.text, &value.host_name) < 0) {
            return -1;
        }
    }
    out->SOURCE_HOST = value;
    return 0;
}

/* `host`, `host:port`, `[ip]:port`, `1.2.3.4:port`, `lookup-mx:domain`. */
static bool host_from_text(struct bytes text, struct smtp_host *out)
{
    uint64_t port = 0;
    if (address_parse(text, &out->address)) {
        return true;
    }
    if (address_parse_port(text, &out->address)) {
        out->port = out->address.port;
        out->address.port = 0;
        return out->port != 0;
    }
    if (bytes_starts_with_nocase(text, BYTES("lookup-mx:"))) {
        out->lookup_mx = true;
        text = bytes_slice(text, sizeof("lookup-mx:") - 1, text.len);
    }
    ptrdiff_t colon = bytes_find(text, ':', 0);
    if (colon >= 0) {
        struct bytes digits = bytes_slice(text, (size_t)colon + 1, text.len);
        if (!bytes_to_u64(digits, UINT16_MAX, &port) || port == 0) {
            return false;
        }
        text = bytes_slice(text, 0, (size_t)colon);
    }
    out->port = (uint16_t)port;
    out->name = text;
    return is_host_name(text);
}

int parse_hosts(struct reader *reader, union value *out)
{
    struct bytes whole, group, item;
    size_t group_cursor = 0, count = 0;
    uint16_t preference = 0;
    if (reader_whole(reader, &whole) < 0) {
        return -1;
    }
    if (whole.len == 0) {
        out->HOSTS = (struct smtp_host_array){NULL, 0};
        return 0;
    }
    struct smtp_host *items = take_items(reader, whole, ",;", sizeof(*items));
    if (items == NULL || count_items(whole, ";") > UINT16_MAX) {
        return reader_no_memory(reader);
    }
    for (; next_item(whole, ';', &group_cursor, &group); preference++) {
        size_t cursor = 0;
        while (next_item(group, ',', &cursor, &item)) {
            struct smtp_host *host = &items[count++];
            if (!host_from_text(item, host)) {
                return reader_refuse(reader, 0, item.len == 0 ? whole : item);
            }
            host->preference = preference;
            if (reader_copy(reader, host->name, &host->name) < 0) {
                return -1;
            }
        }
    }
    out->HOSTS = (struct smtp_host_array){items, count};
    return 0;
}

int parse_range_limit(struct reader *reader, union value *out)
{
    struct range_limit value;
    struct word word;
    if (range_word(reader, &value.range) < 0 || reader_only_word(reader, &word) < 0) {
        return -1;
    }
    if (!bytes_to_u64(word.text, UINT64_MAX - 1, &value.limit)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    out->RANGE_LIMIT = value;
    return 0;
}

static int range_and_rate(struct reader *reader, bool is_data, struct range_rate *out)
{
    struct word word;
    if (range_word(reader, &out->range) < 0 || reader_only_word(reader, &word) < 0) {
        return -1;
    }
    if (!rate_from_text(word.text, is_data, false, &out->rate)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    return 0;
}

int parse_range_rate(struct reader *reader, union value *out)
{
    return range_and_rate(reader, false, &out->RANGE_RATE);
}

int parse_range_data_rate(struct reader *reader, union value *out)
{
    return range_and_rate(reader, true, &out->RANGE_DATA_RATE);
}
