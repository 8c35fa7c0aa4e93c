/* Values back to text, such that reading the text gives the value again. */
#include "policy/pattern.h"
#include "policy/value_private.h"

static bool print_interval(uint64_t ms, struct buffer *out)
{
    static const struct {
        uint64_t ms;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};

    if (ms == NEVER) {
        return buffer_put_string(out, "never");
    }
    if (ms == 0) {
        return buffer_put_string(out, "0s");
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (ms >= units[i].ms) {
            buffer_printf(out, "%llu%s", (unsigned long long)(ms / units[i].ms), units[i].name);
            ms %= units[i].ms;
        }
    }
    return !out->overflowed;
}

static bool print_limit(uint64_t limit, struct buffer *out)
{
    return limit == UNLIMITED ? buffer_put_string(out, "unlimited") : buffer_put_u64(out, limit);
}

static bool print_size(uint64_t size, struct buffer *out)
{
    static const char units[] = "bkmgt";
    size_t unit = 0;
    if (size == UNLIMITED) {
        return buffer_put_string(out, "unlimited");
    }
    while (size > 0 && size % 1024 == 0 && unit + 2 < sizeof(units)) {
        size /= 1024;
        unit++;
    }
    return buffer_put_u64(out, size) && (unit == 0 || buffer_put_char(out, units[unit]));
}

static bool print_rate(const struct rate_value *rate, bool is_data, struct buffer *out)
{
    static const struct {
        uint64_t ms;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}};

    if (rate->count == UNLIMITED) {
        return buffer_put_string(out, "unlimited");
    }
    if (is_data) {
        print_size(rate->count, out);
    } else {
        buffer_put_u64(out, rate->count);
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (rate->window_ms % units[i].ms == 0) {
            uint64_t multiple = rate->window_ms / units[i].ms;
            buffer_put_char(out, '/');
            if (multiple != 1) {
                buffer_put_u64(out, multiple);
            }
            return buffer_put_string(out, units[i].name);
        }
    }
    return false;
}

static bool is_plain(struct bytes text)
{
    if (text.len == 0 || text.data[0] == '"') {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == ' ' || text.data[i] == '\t' || text.data[i] == '#') {
            return false;
        }
    }
    return true;
}

bool print_quoted(struct bytes text, struct buffer *out)
{
    buffer_put_char(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\') {
            buffer_put_char(out, '\\');
        }
        buffer_put_char(out, text.data[i]);
    }
    return buffer_put_char(out, '"');
}

static bool print_text(struct bytes text, struct buffer *out)
{
    return is_plain(text) ? buffer_put_bytes(out, text) : print_quoted(text, out);
}

/* Between commas; quoted as a whole, since the quotes belong to the list. */
static bool print_strings(const struct string_array *strings, struct buffer *out)
{
    bool plain = strings->count > 0;
    for (size_t i = 0; i < strings->count; i++) {
        plain = plain && is_plain(strings->items[i]);
    }
    if (!plain) {
        buffer_put_char(out, '"');
    }
    for (size_t i = 0; i < strings->count; i++) {
        struct bytes item = strings->items[i];
        if (i > 0) {
            buffer_put_char(out, ',');
        }
        for (size_t k = 0; k < item.len; k++) {
            if (!plain && (item.data[k] == '"' || item.data[k] == '\\')) {
                buffer_put_char(out, '\\');
            }
            buffer_put_char(out, item.data[k]);
        }
    }
    return plain || buffer_put_char(out, '"');
}

static bool print_args(const struct string_array *args, struct buffer *out)
{
    for (size_t i = 0; i < args->count; i++) {
        if (i > 0) {
            buffer_put_char(out, ' ');
        }
        print_text(args->items[i], out);
    }
    return !out->overflowed;
}

static bool print_range(const struct address_range *range, struct buffer *out)
{
    char text[ADDRESS_TEXT_MAX];
    return buffer_put_string(out, address_range_text(range, text));
}

static bool print_address(const struct address *address, struct buffer *out)
{
    char text[ADDRESS_TEXT_MAX];
    return buffer_put_string(out, address_port_text(address, text));
}

static bool print_ranges(const struct range_array *ranges, struct buffer *out)
{
    if (ranges->count == 0) {
        return buffer_put_string(out, "none");
    }
    for (size_t i = 0; i < ranges->count; i++) {
        if (i > 0) {
            buffer_put_char(out, ' ');
        }
        print_range(&ranges->items[i], out);
    }
    return !out->overflowed;
}

static bool print_host(const struct smtp_host *host, struct buffer *out)
{
    if (host->address.family != ADDRESS_NONE) {
        char text[ADDRESS_TEXT_MAX];
        buffer_printf(out, "[%s]", address_text(&host->address, text));
    } else {
        buffer_put_string(out, host->lookup_mx ? "lookup-mx:" : "");
        buffer_put_bytes(out, host->name);
    }
    if (host->port != 0) {
        buffer_printf(out, ":%u", (unsigned)host->port);
    }
    return !out->overflowed;
}

static bool print_hosts(const struct smtp_host_array *hosts, struct buffer *out)
{
    if (hosts->count == 0) {
        return buffer_put_string(out, "\"\"");
    }
    for (size_t i = 0; i < hosts->count; i++) {
        if (i > 0) {
            bool same = hosts->items[i].preference == hosts->items[i - 1].preference;
            buffer_put_char(out, same ? ',' : ';');
        }
        print_host(&hosts->items[i], out);
    }
    return !out->overflowed;
}

static bool print_domain(const struct domain_pattern *domain, struct buffer *out)
{
    char text[ADDRESS_TEXT_MAX];
    switch (domain->kind) {
    case DOMAIN_ANY:
        return buffer_put_string(out, "*");
    case DOMAIN_LOCAL:
        return buffer_put_string(out, "local");
    case DOMAIN_RANGE:
        return buffer_printf(out, "[%s]", address_range_text(&domain->range, text));
    case DOMAIN_WITH_SUBS:
        return buffer_put_string(out, "[*.]") && buffer_put_bytes(out, domain->name);
    case DOMAIN_SUBS:
        return buffer_put_string(out, "*.") && buffer_put_bytes(out, domain->name);
    case DOMAIN_EXACT:
        return buffer_put_bytes(out, domain->name);
    }
    return false;
}

static bool print_records(uint32_t bits, struct buffer *out)
{
    static const char *const letters[] = {
#define RECORD_LETTER(id, letter, name) [id] = letter,
        RECORD_TYPES(RECORD_LETTER)
#undef RECORD_LETTER
    };

    bool first = true;
    if (bits == 0) {
        return buffer_put_string(out, "\"\"");
    }
    for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++) {
        if ((bits & RECORD_BIT(i)) != 0) {
            buffer_put_string(out, first ? "" : ",");
            buffer_put_string(out, letters[i]);
            first = false;
        }
    }
    return !out->overflowed;
}

static bool print_fields(const struct record_fields *value, struct buffer *out)
{
    print_records(value->records, out);
    for (uint32_t i = 0; i < value->count; i++) {
        buffer_put_char(out, i == 0 ? ' ' : ',');
        buffer_put_string(out, value->fields[i].removed ? "!" : "");
        buffer_put_bytes(out, value->fields[i].name);
    }
    return !out->overflowed;
}

static bool print_pattern(const struct text_or_pattern *value, struct buffer *out)
{
    if (value->pattern == NULL) {
        return print_text(value->text, out);
    }
    return buffer_put_char(out, '/') && buffer_put_bytes(out, value->text) &&
           buffer_put_char(out, '/');
}

static bool print_word(uint32_t word, const char *accepts, struct buffer *out)
{
    struct bytes item = {"", 0};
    size_t cursor = 1;
    for (uint32_t i = 0; next_item(bytes_from_string(accepts), '|', &cursor, &item); i++) {
        if (i == word) {
            return buffer_put_bytes(out, item);
        }
    }
    return false;
}

/* The first word of `accepts` is what 0 stands for. */
static bool print_number_or(uint64_t number, const char *accepts, struct buffer *out)
{
    struct bytes item = {"", 0};
    size_t cursor = 0;
    if (number != 0) {
        return buffer_put_u64(out, number);
    }
    next_item(bytes_from_string(accepts), ' ', &cursor, &item);
    return buffer_put_bytes(out, item);
}

static bool print_intervals(const struct interval_list *list, struct buffer *out)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (i > 0) {
            buffer_put_char(out, ',');
        }
        print_interval(list->interval_ms[i], out);
    }
    return !out->overflowed;
}

static bool print_rates(const struct rate_array *rates, struct buffer *out)
{
    for (size_t i = 0; i < rates->count; i++) {
        if (i > 0) {
            buffer_put_char(out, ',');
        }
        print_rate(&rates->items[i], false, out);
    }
    return !out->overflowed;
}

static bool print_source_host(const struct source_host *host, struct buffer *out)
{
    print_range(&host->range, out);
    if (host->host_name.len > 0) {
        buffer_put_char(out, ' ');
        buffer_put_bytes(out, host->host_name);
    }
    return !out->overflowed;
}

static bool print_member(const struct pool_member *member, struct buffer *out)
{
    buffer_put_bytes(out, member->name);
    if (member->weight != 1) {
        buffer_printf(out, " weight=%llu", (unsigned long long)member->weight);
    }
    return !out->overflowed;
}

static bool print_range_rate(const struct range_rate *value, bool is_data, struct buffer *out)
{
    return print_range(&value->range, out) && buffer_put_char(out, ' ') &&
           print_rate(&value->rate, is_data, out);
}

bool print_value(enum value_type type, const char *accepts, const union value *value,
                 struct buffer *out)
{
    switch (type) {
    case VALUE_BOOL:
        return buffer_put_string(out, value->BOOL ? "yes" : "no");
    case VALUE_NUMBER:
    case VALUE_PERCENT:
        return buffer_put_u64(out, value->NUMBER);
    case VALUE_NUMBER_OR:
        return print_number_or(value->NUMBER_OR, accepts, out);
    case VALUE_LIMIT:
        return print_limit(value->LIMIT, out);
    case VALUE_INTERVAL:
        return print_interval(value->INTERVAL, out);
    case VALUE_NO_MX:
        return value->NO_MX == NEVER ? buffer_put_string(out, "no")
               : value->NO_MX == 0   ? buffer_put_string(out, "yes")
                                     : print_interval(value->NO_MX, out);
    case VALUE_INTERVALS:
        return print_intervals(&value->INTERVALS, out);
    case VALUE_SIZE:
    case VALUE_BYTES:
        return print_size(value->SIZE, out);
    case VALUE_RATE:
    case VALUE_DATA_RATE:
        return print_rate(&value->RATE, type == VALUE_DATA_RATE, out);
    case VALUE_RATES:
        return print_rates(&value->RATES, out);
    case VALUE_TEXT:
        return print_quoted(value->TEXT, out);
    case VALUE_STRING:
    case VALUE_SECRET:
    case VALUE_PATH:
    case VALUE_HOST:
    case VALUE_NAME:
    case VALUE_MAILBOX:
        return print_text(value->STRING, out);
    case VALUE_STRINGS:
    case VALUE_NAMES:
        return print_strings(&value->STRINGS, out);
    case VALUE_ARGS:
        return print_args(&value->ARGS, out);
    case VALUE_WORD:
        return print_word(value->WORD, accepts, out);
    case VALUE_RECORDS:
        return print_records(value->RECORDS, out);
    case VALUE_FIELDS:
        return print_fields(&value->FIELDS, out);
    case VALUE_ADDRESS:
        return print_address(&value->ADDRESS, out);
    case VALUE_RANGE:
        return print_range(&value->RANGE, out);
    case VALUE_RANGES:
        return print_ranges(&value->RANGES, out);
    case VALUE_SOURCE_HOST:
        return print_source_host(&value->SOURCE_HOST, out);
    case VALUE_HOSTS:
        return print_hosts(&value->HOSTS, out);
    case VALUE_RANGE_LIMIT:
        return print_range(&value->RANGE_LIMIT.range, out) && buffer_put_char(out, ' ') &&
               buffer_put_u64(out, value->RANGE_LIMIT.limit);
    case VALUE_RANGE_RATE:
    case VALUE_RANGE_DATA_RATE:
        return print_range_rate(&value->RANGE_RATE, type == VALUE_RANGE_DATA_RATE, out);
    case VALUE_DOMAIN:
        return print_domain(&value->DOMAIN, out);
    case VALUE_DOMAIN_LIMIT:
        return print_domain(&value->DOMAIN_LIMIT.domain, out) && buffer_put_char(out, ' ') &&
               buffer_put_u64(out, value->DOMAIN_LIMIT.limit);
    case VALUE_PATTERN:
        return print_pattern(&value->PATTERN, out);
    case VALUE_MEMBER:
        return print_member(&value->MEMBER, out);
    case VALUE_TYPE_COUNT:
        break;
    }
    return false;
}
