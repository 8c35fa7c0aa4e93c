/* Values back to text, such that reading the text gives the value again. */
#include <assert.h>

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

static bool print_no_mx(uint64_t ms, struct buffer *out)
{
    if (ms == NEVER || ms == 0) {
        return buffer_put_string(out, ms == 0 ? "yes" : "no");
    }
    return print_interval(ms, out);
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

static bool print_quoted(struct bytes text, struct buffer *out)
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

const char *value_range_text(const struct address_range *range, char out[ADDRESS_TEXT_MAX])
{
    bool single = range->prefix == (range->base.family == ADDRESS_IPV4 ? 32 : 128);
    return single ? address_text(&range->base, out) : address_range_text(range, out);
}

static bool print_range(const struct address_range *range, struct buffer *out)
{
    char text[ADDRESS_TEXT_MAX];
    return buffer_put_string(out, value_range_text(range, text));
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
        return buffer_printf(out, "[%s]", value_range_text(&domain->range, text));
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
        bool looks_like_regex = value->text.len > 0 && value->text.data[0] == '/';
        return looks_like_regex ? print_quoted(value->text, out) : print_text(value->text, out);
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

static bool print_rate_share(const struct rate_share *share, struct buffer *out)
{
    return share->percent > 0 ? buffer_printf(out, "%u%%", (unsigned)share->percent)
                              : print_rate(&share->rate, false, out);
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

static bool print_certificate(const struct certificate *certificate, struct buffer *out)
{
    print_text(certificate->path, out);
    if (certificate->password.len > 0) {
        buffer_put_char(out, ' ');
        print_text(certificate->password, out);
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

static bool print_range_limit(const struct range_limit *value, struct buffer *out)
{
    return print_range(&value->range, out) && buffer_put_char(out, ' ') &&
           buffer_put_u64(out, value->limit);
}

static bool print_domain_limit(const struct domain_limit *value, struct buffer *out)
{
    return print_domain(&value->domain, out) && buffer_put_char(out, ' ') &&
           buffer_put_u64(out, value->limit);
}

/* One writer per type; `accepts` is used by words only. */
#define WRITER(name, call)                                                                         \
    static bool name(const union value *value, const char *accepts, struct buffer *out)            \
    {                                                                                              \
        (void)accepts;                                                                             \
        return call;                                                                               \
    }
WRITER(write_bool, buffer_put_string(out, value->BOOL ? "yes" : "no"))
WRITER(write_number, buffer_put_u64(out, value->NUMBER))
WRITER(write_number_or, print_number_or(value->NUMBER_OR, accepts, out))
WRITER(write_limit, print_limit(value->LIMIT, out))
WRITER(write_interval, print_interval(value->INTERVAL, out))
WRITER(write_no_mx, print_no_mx(value->NO_MX, out))
WRITER(write_intervals, print_intervals(&value->INTERVALS, out))
WRITER(write_size, print_size(value->SIZE, out))
WRITER(write_rate, print_rate(&value->RATE, false, out))
WRITER(write_rate_share, print_rate_share(&value->RATE_SHARE, out))
WRITER(write_data_rate, print_rate(&value->DATA_RATE, true, out))
WRITER(write_rates, print_rates(&value->RATES, out))
WRITER(write_text, print_quoted(value->TEXT, out))
WRITER(write_string, print_text(value->STRING, out))
WRITER(write_reply_list, print_text(value->REPLY_LIST.name, out))
WRITER(write_strings, print_strings(&value->STRINGS, out))
WRITER(write_args, print_args(&value->ARGS, out))
WRITER(write_word, print_word(value->WORD, accepts, out))
WRITER(write_records, print_records(value->RECORDS, out))
WRITER(write_fields, print_fields(&value->FIELDS, out))
WRITER(write_address, print_address(&value->ADDRESS, out))
WRITER(write_range, print_range(&value->RANGE, out))
WRITER(write_ranges, print_ranges(&value->RANGES, out))
WRITER(write_source_host, print_source_host(&value->SOURCE_HOST, out))
WRITER(write_hosts, print_hosts(&value->HOSTS, out))
WRITER(write_range_limit, print_range_limit(&value->RANGE_LIMIT, out))
WRITER(write_range_rate, print_range_rate(&value->RANGE_RATE, false, out))
WRITER(write_range_data_rate, print_range_rate(&value->RANGE_DATA_RATE, true, out))
WRITER(write_domain, print_domain(&value->DOMAIN, out))
WRITER(write_domain_limit, print_domain_limit(&value->DOMAIN_LIMIT, out))
WRITER(write_pattern, print_pattern(&value->PATTERN, out))
WRITER(write_certificate, print_certificate(&value->CERTIFICATE, out))
WRITER(write_member, print_member(&value->MEMBER, out))
#undef WRITER

static bool (*const writers[VALUE_TYPE_COUNT])(const union value *value, const char *accepts,
                                               struct buffer *out) = {
    [VALUE_BOOL] = write_bool,
    [VALUE_NUMBER] = write_number,
    [VALUE_NUMBER_OR] = write_number_or,
    [VALUE_LIMIT] = write_limit,
    [VALUE_PERCENT] = write_number,
    [VALUE_INTERVAL] = write_interval,
    [VALUE_NO_MX] = write_no_mx,
    [VALUE_INTERVALS] = write_intervals,
    [VALUE_SIZE] = write_size,
    [VALUE_BYTES] = write_size,
    [VALUE_RATE] = write_rate,
    [VALUE_RATE_SHARE] = write_rate_share,
    [VALUE_DATA_RATE] = write_data_rate,
    [VALUE_RATES] = write_rates,
    [VALUE_STRING] = write_string,
    [VALUE_TEXT] = write_text,
    [VALUE_SECRET] = write_string,
    [VALUE_STRINGS] = write_strings,
    [VALUE_ARGS] = write_args,
    [VALUE_PATH] = write_string,
    [VALUE_HOST] = write_string,
    [VALUE_QUEUE_DOMAIN] = write_string,
    [VALUE_NAME] = write_string,
    [VALUE_REPLY_LIST] = write_reply_list,
    [VALUE_NAMES] = write_strings,
    [VALUE_MAILBOX] = write_string,
    [VALUE_WORD] = write_word,
    [VALUE_RECORDS] = write_records,
    [VALUE_FIELDS] = write_fields,
    [VALUE_ADDRESS] = write_address,
    [VALUE_RANGE] = write_range,
    [VALUE_RANGES] = write_ranges,
    [VALUE_SOURCE_HOST] = write_source_host,
    [VALUE_HOSTS] = write_hosts,
    [VALUE_RANGE_LIMIT] = write_range_limit,
    [VALUE_RANGE_RATE] = write_range_rate,
    [VALUE_RANGE_DATA_RATE] = write_range_data_rate,
    [VALUE_DOMAIN] = write_domain,
    [VALUE_DOMAIN_LIMIT] = write_domain_limit,
    [VALUE_PATTERN] = write_pattern,
    [VALUE_CERTIFICATE] = write_certificate,
    [VALUE_MEMBER] = write_member,
};

bool value_print(enum value_type type, const char *accepts, const union value *value,
                 struct buffer *out)
{
    assert(type < VALUE_TYPE_COUNT);
    return writers[type](value, accepts, out) && !out->overflowed;
}
