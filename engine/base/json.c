#include "base/json.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include <jansson.h>

#include "base/utf8.h"

#define READER_DEPTH_MAX 32
#define WRITER_DEPTH_MAX 16 /* as need_comma in the header */

/* ── Reader ────────────────────────────────────────────────────────────────────────────────── */

/* jansson's readers take pointers to non-const and do not write through them. */
static json_t *of(const struct json *value)
{
    return (json_t *)(uintptr_t)value;
}

/* Where the text goes deeper than allowed, or -1. jansson recurses: it must not see such a text. */
static ptrdiff_t too_deep_at(struct bytes text)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (in_string) {
            i += c == '\\' ? 1 : 0;
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > READER_DEPTH_MAX) {
                return (ptrdiff_t)i;
            }
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return -1;
}

struct json *json_parse(struct bytes text, size_t max_bytes, struct error *error)
{
    if (text.len > max_bytes) {
        error_set(error, EMSGSIZE, "JSON of %zu bytes is longer than %zu", text.len, max_bytes);
        return NULL;
    }
    ptrdiff_t deep = too_deep_at(text);
    if (deep >= 0) {
        error_set(error, EINVAL, "JSON nested deeper than %d at byte %td", READER_DEPTH_MAX, deep);
        return NULL;
    }
    json_error_t failed;
    json_t *root =
        json_loadb(text.len == 0 ? "" : text.data, text.len, JSON_REJECT_DUPLICATES, &failed);
    if (root == NULL) {
        error_set(error, EINVAL, "not JSON at byte %d: %s", failed.position, failed.text);
    }
    return (struct json *)root;
}

void json_free(struct json *root)
{
    json_decref(of(root));
}

enum json_kind json_kind(const struct json *value)
{
    if (value == NULL) {
        return JSON_KIND_NONE;
    }
    switch (json_typeof(of(value))) {
    case JSON_OBJECT:
        return JSON_KIND_OBJECT;
    case JSON_ARRAY:
        return JSON_KIND_ARRAY;
    case JSON_STRING:
        return JSON_KIND_STRING;
    case JSON_INTEGER:
    case JSON_REAL:
        return JSON_KIND_NUMBER;
    case JSON_TRUE:
    case JSON_FALSE:
        return JSON_KIND_BOOL;
    case JSON_NULL:
        return JSON_KIND_NULL;
    }
    return JSON_KIND_NONE;
}

const struct json *json_member(const struct json *object, const char *name)
{
    return (const struct json *)json_object_get(of(object), name);
}

const char *json_get_string(const struct json *object, const char *name)
{
    return json_string_value(json_object_get(of(object), name));
}

bool json_get_bool(const struct json *object, const char *name, bool otherwise)
{
    const json_t *value = json_object_get(of(object), name);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

int64_t json_get_integer(const struct json *object, const char *name, int64_t otherwise)
{
    const json_t *value = json_object_get(of(object), name);
    return json_is_integer(value) ? (int64_t)json_integer_value(value) : otherwise;
}

size_t json_count(const struct json *array)
{
    return json_array_size(of(array));
}

const struct json *json_at(const struct json *array, size_t index)
{
    return (const struct json *)json_array_get(of(array), index);
}

bool json_as_string(const struct json *value, struct bytes *out)
{
    if (!json_is_string(of(value))) {
        return false;
    }
    *out = bytes_of(json_string_value(of(value)), json_string_length(of(value)));
    return true;
}

bool json_as_integer(const struct json *value, int64_t *out)
{
    if (!json_is_integer(of(value))) {
        return false;
    }
    *out = (int64_t)json_integer_value(of(value));
    return true;
}

bool json_next_member(const struct json *object, void **cursor, struct bytes *name,
                      const struct json **value)
{
    void *at =
        *cursor == NULL ? json_object_iter(of(object)) : json_object_iter_next(of(object), *cursor);
    if (at == NULL) {
        return false;
    }
    *cursor = at;
    *name = bytes_of(json_object_iter_key(at), json_object_iter_key_len(at));
    *value = (const struct json *)json_object_iter_value(at);
    return true;
}

/* ── Writer ────────────────────────────────────────────────────────────────────────────────── */

void json_writer_init(struct json_writer *writer, struct buffer *out)
{
    *writer = (struct json_writer){.out = out};
}

static void put_escaped(struct buffer *out, char c)
{
    static const char short_forms[128] = {
        ['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
        ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't',
    };
    char short_form = short_forms[(unsigned char)c & 0x7F];
    if (short_form != 0) {
        buffer_put_char(out, '\\');
        buffer_put_char(out, short_form);
        return;
    }
    static const char hex[] = "0123456789abcdef";
    const char text[6] = {'\\', 'u', '0', '0', hex[(unsigned char)c >> 4], hex[c & 15]};
    buffer_put(out, text, sizeof(text));
}

/* RFC 8259 section 7: quotation mark, reverse solidus and U+0000–U+001F must be escaped; DEL is
 * no character for a log either. */
static bool must_escape(char c)
{
    return (unsigned char)c < 0x20 || c == '"' || c == '\\' || c == 0x7F;
}

static bool is_plain(struct bytes text)
{
    bool plain = true;
    for (size_t i = 0; i < text.len; i++) {
        plain &= (unsigned char)text.data[i] < 0x7F && !must_escape(text.data[i]);
    }
    return plain;
}

static void put_odd_text(struct buffer *out, struct bytes text)
{
    buffer_put_char(out, '"');
    size_t plain_from = 0, at = 0;
    while (at < text.len) {
        size_t len = utf8_length_at(text, at);
        if (len > 1 || (len == 1 && !must_escape(text.data[at]))) {
            at += len;
            continue;
        }
        buffer_put_bytes(out, bytes_slice(text, plain_from, at));
        if (len == 1) {
            put_escaped(out, text.data[at]);
        } else {
            buffer_put_bytes(out, BYTES("\xEF\xBF\xBD")); /* U+FFFD */
        }
        plain_from = ++at;
    }
    buffer_put_bytes(out, bytes_slice(text, plain_from, at));
    buffer_put_char(out, '"');
}

/* Nearly all text, and every name, is plain ASCII: that is copied in one piece. */
static void put_text(struct buffer *out, struct bytes text)
{
    if (buffer_room(out) < text.len + 2 || !is_plain(text)) {
        put_odd_text(out, text);
        return;
    }
    char *at = out->data + out->len;
    at[0] = '"';
    if (text.len > 0) {
        memcpy(at + 1, text.data, text.len);
    }
    at[1 + text.len] = '"';
    out->len += text.len + 2;
}

static void begin_value(struct json_writer *writer, const char *name)
{
    if (writer->need_comma[writer->depth]) {
        buffer_put_char(writer->out, ',');
    }
    writer->need_comma[writer->depth] = true;
    if (name != NULL) {
        put_text(writer->out, bytes_from_string(name));
        buffer_put_char(writer->out, ':');
    }
}

static void open_level(struct json_writer *writer, const char *name, char bracket)
{
    begin_value(writer, name);
    buffer_put_char(writer->out, bracket);
    writer->depth++;
    assert(writer->depth < WRITER_DEPTH_MAX);
    writer->need_comma[writer->depth] = false;
}

static void close_level(struct json_writer *writer, char bracket)
{
    assert(writer->depth > 0);
    writer->depth--;
    buffer_put_char(writer->out, bracket);
}

void json_begin_object(struct json_writer *writer, const char *name)
{
    open_level(writer, name, '{');
}

void json_end_object(struct json_writer *writer)
{
    close_level(writer, '}');
}

void json_begin_array(struct json_writer *writer, const char *name)
{
    open_level(writer, name, '[');
}

void json_end_array(struct json_writer *writer)
{
    close_level(writer, ']');
}

void json_put_string(struct json_writer *writer, const char *name, struct bytes value)
{
    begin_value(writer, name);
    put_text(writer->out, value);
}

void json_put_u64(struct json_writer *writer, const char *name, uint64_t value)
{
    begin_value(writer, name);
    buffer_put_u64(writer->out, value);
}

void json_put_i64(struct json_writer *writer, const char *name, int64_t value)
{
    begin_value(writer, name);
    if (value < 0) {
        buffer_put_char(writer->out, '-');
    }
    buffer_put_u64(writer->out, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

void json_put_bool(struct json_writer *writer, const char *name, bool value)
{
    begin_value(writer, name);
    buffer_put_string(writer->out, value ? "true" : "false");
}
