/* Kept with a message: "Name:value" and a line feed for each. */
#include "policy/acct_header.h"

#include <assert.h>
#include <string.h>
#include <sysexits.h>

#include "policy/config.h"
#include "policy/settings.h"

/* ---- the configuration ---- */

bool acct_header_of_field(struct bytes field, struct bytes *out)
{
    struct bytes prefix = BYTES("header_");
    if (field.len <= prefix.len || !bytes_equal_nocase(bytes_slice(field, 0, prefix.len), prefix)) {
        return false;
    }
    *out = bytes_slice(field, prefix.len, field.len);
    return true;
}

static int parse_map(const struct string_array *words, struct acct_header_map *out,
                     struct error *error)
{
    struct acct_header_map map;
    assert(words->count == 3);
    struct bytes types = words->items[0], header = words->items[1];
    map.field = words->items[2];
    if (!value_parse_records(types, &map.records)) {
        return error_set(error, EX_CONFIG, "map-header-to-field: '%.*s' is no record type",
                         BYTES_FMT(types));
    }
    if ((map.records & RECORD_BIT(RECORD_QUEUE)) != 0) {
        return error_set(error, EX_CONFIG, "map-header-to-field: tq records are of no message");
    }
    if (!acct_header_of_field(header, &map.header) || header.len > VALUE_NAME_LEN_MAX) {
        return error_set(error, EX_CONFIG,
                         "map-header-to-field: '%.*s' is not of the form header_X-Name",
                         BYTES_FMT(header));
    }
    if (!value_is_name(map.field) || bytes_equal_nocase(map.field, BYTES("type"))) {
        return error_set(error, EX_CONFIG, "map-header-to-field: '%.*s' is no name for a field",
                         BYTES_FMT(map.field));
    }
    *out = map;
    return 0;
}

int acct_header_maps(const struct acct_file_settings *settings, struct acct_header_map *out,
                     struct error *error)
{
    size_t count = settings->header_fields.count;
    if (count > ACCT_HEADERS_MAX) {
        return error_set(error, EX_CONFIG, "more than %d lines of map-header-to-field",
                         ACCT_HEADERS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (parse_map(&settings->header_fields.items[i], &out[i], error) < 0) {
            return -1;
        }
        for (size_t j = 0; j < i; j++) {
            if ((out[i].records & out[j].records) != 0 &&
                bytes_equal_nocase(out[i].header, out[j].header)) {
                return error_set(error, EX_CONFIG,
                                 "map-header-to-field: header_%.*s fills the field '%.*s' already",
                                 BYTES_FMT(out[i].header), BYTES_FMT(out[j].field));
            }
        }
    }
    return (int)count;
}

bool acct_headers_want(const struct acct_headers *headers, struct bytes name)
{
    for (uint32_t i = 0; i < headers->count; i++) {
        const struct acct_header_wish *wish = &headers->wishes[i];
        if (wish->len == name.len && bytes_equal_nocase(bytes_of(wish->name, wish->len), name)) {
            return true;
        }
    }
    return false;
}

static int add_wish(struct acct_headers *headers, struct bytes name, struct error *error)
{
    if (acct_headers_want(headers, name)) {
        return 0;
    }
    if (headers->count == ACCT_HEADERS_MAX || name.len > VALUE_NAME_LEN_MAX) {
        return error_set(error, EX_CONFIG,
                         "accounting files ask for more than %d headers, or for one with a name "
                         "over %d bytes: '%.*s'",
                         ACCT_HEADERS_MAX, VALUE_NAME_LEN_MAX, BYTES_FMT(name));
    }
    struct acct_header_wish *wish = &headers->wishes[headers->count++];
    wish->len = (uint8_t)name.len;
    memcpy(wish->name, name.data, name.len);
    return 0;
}

static int add_fields(struct acct_headers *headers, const struct record_fields *list,
                      struct error *error)
{
    for (uint32_t i = 0; i < list->count; i++) {
        struct bytes name;
        if (!list->fields[i].removed && acct_header_of_field(list->fields[i].name, &name) &&
            add_wish(headers, name, error) < 0) {
            return -1;
        }
    }
    return 0;
}

static int add_file(struct acct_headers *headers, const struct acct_file_settings *settings,
                    struct error *error)
{
    struct acct_header_map maps[ACCT_HEADERS_MAX];
    int map_count = acct_header_maps(settings, maps, error);
    int result = map_count < 0 ? -1 : 0;
    for (int i = 0; i < map_count && result == 0; i++) {
        result = add_wish(headers, maps[i].header, error);
    }
    for (size_t i = 0; i < settings->record_fields.count && result == 0; i++) {
        result = add_fields(headers, &settings->record_fields.items[i], error);
    }
    return result;
}

int acct_headers_init(struct acct_headers *out, const struct config *config, struct error *error)
{
    size_t count;
    const struct config_acct_file *files = config_acct_files(config, &count);
    int result = 0;
    out->count = 0;
    for (size_t i = 0; i < count && result == 0; i++) {
        result = add_file(out, &files[i].settings, error);
    }
    return result;
}

/* ---- a message's ---- */

void acct_headers_put(struct buffer *kept, struct bytes name, struct bytes value)
{
    struct bytes there;
    assert(bytes_find(value, '\n', 0) < 0);
    if (buffer_room(kept) < name.len + value.len + 2 ||
        acct_headers_find(buffer_bytes(kept), name, &there)) {
        return;
    }
    buffer_put_bytes(kept, name);
    buffer_put_char(kept, ':');
    buffer_put_bytes(kept, value);
    buffer_put_char(kept, '\n');
}

bool acct_headers_find(struct bytes kept, struct bytes name, struct bytes *value)
{
    size_t at = 0;
    while (at < kept.len) {
        ptrdiff_t newline = bytes_find(kept, '\n', at);
        size_t end = newline < 0 ? kept.len : (size_t)newline;
        struct bytes line = bytes_slice(kept, at, end);
        if (line.len > name.len && line.data[name.len] == ':' &&
            bytes_equal_nocase(bytes_slice(line, 0, name.len), name)) {
            *value = bytes_slice(line, name.len + 1, line.len);
            return true;
        }
        at = end + 1;
    }
    return false;
}
