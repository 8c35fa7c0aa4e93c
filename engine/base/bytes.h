/* Borrowed byte slices, and fixed-capacity byte buffers to write into.
 *
 * Knows nothing of encodings. A `struct bytes` never owns: it is valid as long as what it points
 * into. A `struct buffer` writes into memory that its creator owns and never grows: what does not
 * fit is refused whole and remembered in `overflowed`. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const char *data; /* may be NULL only if len is 0 */
    size_t len;
};

/* A slice of a string literal. */
#define BYTES(literal) ((struct bytes){"" literal, sizeof(literal) - 1})

/* The same as an initialiser, for static tables. */
#define BYTES_INIT(literal)                                                                        \
    {                                                                                              \
        "" literal, sizeof(literal) - 1                                                            \
    }

/* For printf("%.*s"). */
#define BYTES_FMT(b) (int)(b).len, (b).data

static inline struct bytes bytes_of(const char *data, size_t len)
{
    return (struct bytes){data, len};
}

/* NULL gives an empty slice. */
static inline struct bytes bytes_from_string(const char *string)
{
    return (struct bytes){string, string == NULL ? 0 : strlen(string)};
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* ASCII case is ignored; other bytes compare as they are. */
bool bytes_equal_nocase(struct bytes a, struct bytes b);
bool bytes_starts_with(struct bytes b, struct bytes prefix);
bool bytes_starts_with_nocase(struct bytes b, struct bytes prefix);
bool bytes_contains_nocase(struct bytes b, struct bytes part);
bool bytes_ends_with_nocase(struct bytes b, struct bytes suffix);

/* Place of the first `c` at or after `from`, or -1. */
ptrdiff_t bytes_find(struct bytes b, char c, size_t from);

/* [from, to) of b; both are clamped to its length. */
struct bytes bytes_slice(struct bytes b, size_t from, size_t to);

/* No byte over 127. */
bool bytes_is_ascii(struct bytes b);

/* Without leading and trailing space and tab. */
struct bytes bytes_trim(struct bytes b);

/* 64-bit hashes, the same on every run of the program: place in a map, never a secret. */
uint64_t bytes_hash(struct bytes b);
uint64_t bytes_hash_nocase(struct bytes b);

/* All digits, no sign, no overflow, at most `max`; output untouched on failure. */
bool bytes_to_u64(struct bytes b, uint64_t max, uint64_t *out);

/* A copy with a terminating NUL from malloc, owned by the caller. */
char *bytes_to_string(struct bytes b);

struct buffer {
    char *data;
    size_t len, capacity;
    bool overflowed; /* sticky: something did not fit and was left out whole */
};

static inline void buffer_init(struct buffer *buffer, void *memory, size_t capacity)
{
    *buffer = (struct buffer){.data = memory, .capacity = capacity};
}

static inline void buffer_clear(struct buffer *buffer)
{
    buffer->len = 0;
    buffer->overflowed = false;
}

static inline size_t buffer_room(const struct buffer *buffer)
{
    return buffer->capacity - buffer->len;
}

static inline struct bytes buffer_bytes(const struct buffer *buffer)
{
    return (struct bytes){buffer->data, buffer->len};
}

/* Each appends whole or not at all (then false, and `overflowed` is set). */
bool buffer_put(struct buffer *buffer, const void *data, size_t len);
bool buffer_put_bytes(struct buffer *buffer, struct bytes b);
bool buffer_put_string(struct buffer *buffer, const char *string);
bool buffer_put_char(struct buffer *buffer, char c);
bool buffer_put_u64(struct buffer *buffer, uint64_t number);
bool buffer_printf(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Drops the first n bytes (n <= len); the rest moves to the front. */
void buffer_consume(struct buffer *buffer, size_t n);

#endif
