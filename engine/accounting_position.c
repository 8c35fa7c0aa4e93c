#include "accounting_position.h"

#define VERSION 1

bool accounting_position_put(struct buffer *out, const struct accounting_position *position)
{
    const uint64_t numbers[] = {VERSION,
                                position->sequence,
                                position->inode,
                                position->length_bytes,
                                position->began_wall_ms,
                                position->header_hash};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        buffer_put_u64(out, numbers[i]);
        buffer_put_char(out, ' ');
    }
    return buffer_put_string(out, position->name) && !out->overflowed;
}

/* The next number and the blank behind it. */
static bool take_number(struct bytes *text, uint64_t *out)
{
    ptrdiff_t blank = bytes_find(*text, ' ', 0);
    if (blank < 0 || !bytes_to_u64(bytes_slice(*text, 0, (size_t)blank), UINT64_MAX, out)) {
        return false;
    }
    *text = bytes_slice(*text, (size_t)blank + 1, text->len);
    return true;
}

bool accounting_position_parse(struct bytes text, struct accounting_position *out)
{
    struct accounting_position position = {0};
    uint64_t version;
    if (!take_number(&text, &version) || version != VERSION ||
        !take_number(&text, &position.sequence) || !take_number(&text, &position.inode) ||
        !take_number(&text, &position.length_bytes) ||
        !take_number(&text, &position.began_wall_ms) ||
        !take_number(&text, &position.header_hash) || text.len >= sizeof position.name ||
        bytes_find(text, '/', 0) >= 0) {
        return false;
    }
    if (text.len > 0) {
        memcpy(position.name, text.data, text.len);
    }
    *out = position;
    return true;
}
