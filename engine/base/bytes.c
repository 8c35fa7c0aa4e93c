#include "base/bytes.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

static bool equal_nocase(const char *a, const char *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (lower(a[i]) != lower(b[i])) {
            return false;
        }
    }
    return true;
}

bool bytes_equal_nocase(struct bytes a, struct bytes b)
{
    return a.len == b.len && equal_nocase(a.data, b.data, a.len);
}

bool bytes_starts_with(struct bytes b, struct bytes prefix)
{
    return b.len >= prefix.len && bytes_equal(bytes_of(b.data, prefix.len), prefix);
}

bool bytes_starts_with_nocase(struct bytes b, struct bytes prefix)
{
    return b.len >= prefix.len && equal_nocase(b.data, prefix.data, prefix.len);
}

bool bytes_contains_nocase(struct bytes b, struct bytes part)
{
    for (size_t from = 0; from + part.len <= b.len; from++) {
        if (bytes_equal_nocase(bytes_slice(b, from, from + part.len), part)) {
            return true;
        }
    }
    return false;
}

bool bytes_ends_with_nocase(struct bytes b, struct bytes suffix)
{
    return b.len >= suffix.len &&
           bytes_equal_nocase(bytes_slice(b, b.len - suffix.len, b.len), suffix);
}

ptrdiff_t bytes_find(struct bytes b, char c, size_t from)
{
    if (from >= b.len) {
        return -1;
    }
    const char *found = memchr(b.data + from, c, b.len - from);
    return found == NULL ? -1 : found - b.data;
}

struct bytes bytes_slice(struct bytes b, size_t from, size_t to)
{
    to = to > b.len ? b.len : to;
    from = from > to ? to : from;
    return b.data == NULL ? b : bytes_of(b.data + from, to - from);
}

bool bytes_is_ascii(struct bytes b)
{
    uint64_t all = 0;
    size_t at = 0;
    for (; at + sizeof(all) <= b.len; at += sizeof(all)) {
        uint64_t word;
        memcpy(&word, b.data + at, sizeof(word));
        all |= word;
    }
    for (; at < b.len; at++) {
        all |= (unsigned char)b.data[at];
    }
    return (all & UINT64_C(0x8080808080808080)) == 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct bytes bytes_trim(struct bytes b)
{
    size_t from = 0, to = b.len;
    while (from < to && is_blank(b.data[from])) {
        from++;
    }
    while (to > from && is_blank(b.data[to - 1])) {
        to--;
    }
    return bytes_slice(b, from, to);
}

/* Multiply and fold: every bit of the words reaches every bit of the hash. */
static uint64_t hash_fold(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t load_word(const char *data, size_t len)
{
    uint64_t word = 0;
    memcpy(&word, data, len);
    return word;
}

/* Eight letters at once: a byte in 'A'–'Z' gets bit 5. Bytes above 0x7F stay as they are. */
static uint64_t lower_word(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101, high = 0x8080808080808080;
    uint64_t low7 = word & ~high;
    uint64_t from_a = low7 + ones * (0x80 - 'A');
    uint64_t past_z = low7 + ones * (0x80 - 'Z' - 1);
    uint64_t is_upper = from_a & ~past_z & ~word & high;
    return word | (is_upper >> 2);
}

static uint64_t hash(struct bytes b, bool nocase)
{
    /* Odd constants with balanced bits, from the expansion of the golden ratio and of e. */
    const uint64_t k1 = 0x9E3779B97F4A7C15, k2 = 0xADF85458A2BB4A9B;
    uint64_t h = hash_fold(b.len ^ k1, k2);
    for (size_t i = 0; i < b.len; i += 8) {
        size_t left = b.len - i;
        uint64_t word = left >= 8 ? load_word(b.data + i, 8) : load_word(b.data + i, left);
        word = nocase ? lower_word(word) : word;
        h = hash_fold(h ^ word ^ k1, k2 + i);
    }
    return hash_fold(h ^ k2, k1);
}

uint64_t bytes_hash(struct bytes b)
{
    return hash(b, false);
}

uint64_t bytes_hash_nocase(struct bytes b)
{
    return hash(b, true);
}

bool bytes_to_u64(struct bytes b, uint64_t max, uint64_t *out)
{
    uint64_t number = 0;
    for (size_t i = 0; i < b.len; i++) {
        unsigned digit = (unsigned char)b.data[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, digit, &number)) {
            return false;
        }
    }
    if (b.len == 0 || number > max) {
        return false;
    }
    *out = number;
    return true;
}

char *bytes_to_string(struct bytes b)
{
    char *string = malloc(b.len + 1);
    if (string == NULL) {
        return NULL;
    }
    if (b.len > 0) {
        memcpy(string, b.data, b.len);
    }
    string[b.len] = '\0';
    return string;
}

bool buffer_put(struct buffer *buffer, const void *data, size_t len)
{
    assert(buffer->len <= buffer->capacity);
    if (len > buffer_room(buffer)) {
        buffer->overflowed = true;
        return false;
    }
    if (len > 0) {
        memcpy(buffer->data + buffer->len, data, len);
        buffer->len += len;
    }
    return true;
}

bool buffer_put_bytes(struct buffer *buffer, struct bytes b)
{
    return buffer_put(buffer, b.data, b.len);
}

bool buffer_put_string(struct buffer *buffer, const char *string)
{
    return buffer_put(buffer, string, strlen(string));
}

bool buffer_put_char(struct buffer *buffer, char c)
{
    return buffer_put(buffer, &c, 1);
}

bool buffer_put_u64(struct buffer *buffer, uint64_t number)
{
    char digits[20]; /* 2^64 - 1 has 20 digits */
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return buffer_put(buffer, digits + at, sizeof(digits) - at);
}

bool buffer_printf(struct buffer *buffer, const char *format, ...)
{
    /* vsnprintf wants a place for its NUL, which a text that fits exactly does not have: the last
     * byte is then put in its place from a second pass over a buffer of its own. */
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    size_t room = buffer_room(buffer);
    int len = vsnprintf(room == 0 ? NULL : buffer->data + buffer->len, room, format, arguments);
    assert(len >= 0);
    bool fits = (size_t)len < room;
    if (!fits && (size_t)len == room) {
        char *text = NULL;
        fits = vasprintf(&text, format, again) == len;
        if (fits && len > 0) {
            memcpy(buffer->data + buffer->len, text, (size_t)len);
        }
        free(text);
    }
    va_end(again);
    va_end(arguments);
    if (!fits) {
        buffer->overflowed = true;
        return false;
    }
    buffer->len += (size_t)len;
    return true;
}

void buffer_consume(struct buffer *buffer, size_t n)
{
    assert(n <= buffer->len);
    buffer->len -= n;
    if (n > 0 && buffer->len > 0) {
        memmove(buffer->data, buffer->data + n, buffer->len);
    }
}
