/* A note: length of the name, length of the value (two bytes each), name, value. */
#include "smtp/header_notes.h"

#include <string.h>

#define LENGTHS_BYTES (2 * sizeof(uint16_t))

static size_t value_start(const struct header_notes *notes)
{
    return notes->used + LENGTHS_BYTES + notes->name_len;
}

void header_notes_begin(struct header_notes *notes, struct bytes name)
{
    notes->open = notes->used + LENGTHS_BYTES + name.len <= HEADER_NOTES_BYTES;
    if (notes->open) {
        notes->name_len = (uint16_t)name.len;
        notes->value_len = 0;
        memcpy(notes->bytes + notes->used + LENGTHS_BYTES, name.data, name.len);
    }
}

static bool is_white(char c)
{
    return c == ' ' || c == '\t';
}

void header_notes_add(struct header_notes *notes, const char *data, size_t len)
{
    if (!notes->open) {
        return;
    }
    char *value = notes->bytes + value_start(notes);
    size_t room = HEADER_NOTES_BYTES - value_start(notes);
    room = room < HEADER_NOTE_VALUE_MAX ? room : HEADER_NOTE_VALUE_MAX;
    for (size_t i = 0; i < len && notes->value_len < room; i++) {
        bool is_front = notes->value_len == 0 && is_white(data[i]);
        if (data[i] != '\r' && data[i] != '\n' && !is_front) {
            value[notes->value_len++] = data[i];
        }
    }
}

void header_notes_end(struct header_notes *notes)
{
    if (!notes->open) {
        return;
    }
    const char *value = notes->bytes + value_start(notes);
    while (notes->value_len > 0 && is_white(value[notes->value_len - 1])) {
        notes->value_len--;
    }
    uint16_t lengths[2] = {notes->name_len, notes->value_len};
    memcpy(notes->bytes + notes->used, lengths, sizeof lengths);
    notes->used = (uint16_t)(value_start(notes) + notes->value_len);
    notes->open = false;
}

bool header_notes_next(const struct header_notes *notes, size_t *cursor, struct bytes *name,
                       struct bytes *value)
{
    if (*cursor >= notes->used) {
        return false;
    }
    uint16_t lengths[2];
    memcpy(lengths, notes->bytes + *cursor, sizeof lengths);
    *name = bytes_of(notes->bytes + *cursor + sizeof lengths, lengths[0]);
    *value = bytes_of(name->data + name->len, lengths[1]);
    *cursor += sizeof lengths + name->len + value->len;
    return true;
}
