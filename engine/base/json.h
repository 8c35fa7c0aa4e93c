/* JSON: a bounded reader (jansson behind it) and a writer into a struct buffer.
 *
 * The writer never allocates; bytes that are no UTF-8 become U+FFFD, controls are escaped.
 * A reader's document is owned by the caller and freed by json_free. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

struct json; /* one value of a document */

/* At most max_bytes and 32 levels deep; else NULL with the offset in `error`. */
struct json *json_parse(struct bytes text, size_t max_bytes, struct error *error);
void json_free(struct json *root); /* NULL is accepted; roots only */

/* NULL where there is no such member or it has another type; valid until json_free. */
const struct json *json_member(const struct json *object, const char *name);
const char *json_string(const struct json *object, const char *name);
bool json_bool(const struct json *object, const char *name, bool otherwise);
int64_t json_integer(const struct json *object, const char *name, int64_t otherwise);

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
