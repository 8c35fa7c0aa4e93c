/* JSON: a bounded reader (jansson behind it) and a writer into a struct buffer.
 *
 * The writer never allocates; bytes that are no UTF-8 become U+FFFD, controls are escaped.
 * A reader's document is owned by the caller and freed by json_free. No name here may be one of
 * jansson's own: the program's would take its place inside the library. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

struct json; /* one value of a document */

/* An object or array of at most max_bytes and 32 levels, strict (RFC 8259, no name twice, no NUL);
 * else NULL with reason and offset in `error`. */
struct json *json_parse(struct bytes text, size_t max_bytes, struct error *error);
void json_free(struct json *root); /* NULL is accepted; roots only */

enum json_kind {
    JSON_KIND_NONE, /* NULL was asked */
    JSON_KIND_NULL,
    JSON_KIND_BOOL,
    JSON_KIND_NUMBER,
    JSON_KIND_STRING,
    JSON_KIND_ARRAY,
    JSON_KIND_OBJECT,
};

enum json_kind json_kind(const struct json *value);

/* Everything here accepts NULL and values of another type, and what it returns is valid until
 * json_free. Member of an object, or NULL. */
const struct json *json_member(const struct json *object, const char *name);

/* A member's value; NULL or `otherwise` where there is none or it has another type. Strings hold
 * no NUL (json_parse refuses it). json_get_integer: whole numbers only. */
const char *json_get_string(const struct json *object, const char *name);
bool json_get_bool(const struct json *object, const char *name, bool otherwise);
int64_t json_get_integer(const struct json *object, const char *name, int64_t otherwise);

/* Elements of an array; 0 and NULL where there are none. */
size_t json_count(const struct json *array);
const struct json *json_at(const struct json *array, size_t index);

/* The value itself, if it is a string (NUL-terminated) or a whole number; else false. */
bool json_as_string(const struct json *value, struct bytes *out);
bool json_as_integer(const struct json *value, int64_t *out);

/* Walks an object's members in the order in which they stand in the text: start with *cursor =
 * NULL; false at the end. */
bool json_next_member(const struct json *object, void **cursor, struct bytes *name,
                      const struct json **value);

/* Writer: commas are its own matter. Depth at most 16. */
struct json_writer {
    struct buffer *out;
    /* private: */
    uint32_t depth;
    bool need_comma[16];
};

void json_writer_init(struct json_writer *writer, struct buffer *out);
void json_begin_object(struct json_writer *writer, const char *name); /* name NULL: no name */
void json_end_object(struct json_writer *writer);
void json_begin_array(struct json_writer *writer, const char *name);
void json_end_array(struct json_writer *writer);
void json_put_string(struct json_writer *writer, const char *name, struct bytes value);
void json_put_u64(struct json_writer *writer, const char *name, uint64_t value);
void json_put_i64(struct json_writer *writer, const char *name, int64_t value);
void json_put_bool(struct json_writer *writer, const char *name, bool value);

#endif
