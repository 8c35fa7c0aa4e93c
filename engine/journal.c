#include "journal.h"

#include <assert.h>

#define TEXT_MAX 4096 /* bytes of one text kept in a record */

enum { TAG_NUMBERS = 128 }; /* tags from here on are numbers */

static bool put_text(struct buffer *out, uint8_t tag, struct bytes text)
{
    uint16_t len = (uint16_t)(text.len > TEXT_MAX ? TEXT_MAX : text.len);
    uint8_t head[3] = {tag, (uint8_t)len, (uint8_t)(len >> 8)};
    return len == 0 || (buffer_put(out, head, sizeof head) && buffer_put(out, text.data, len));
}

static bool put_number(struct buffer *out, uint8_t tag, uint64_t number)
{
    uint8_t bytes[9] = {tag};
    for (int i = 0; i < 8; i++) {
        bytes[1 + i] = (uint8_t)(number >> (8 * i));
    }
    return number == 0 || buffer_put(out, bytes, sizeof bytes);
}

bool journal_encode(struct buffer *out, const struct event *event)
{
    size_t start = out->len;
    bool fits = buffer_put_char(out, (char)event->type);
#define EVENT_TEXT(tag, member, name) fits = fits && put_text(out, tag, event->member);
    EVENT_TEXTS(EVENT_TEXT)
#undef EVENT_TEXT
#define EVENT_NUMBER(tag, member) fits = fits && put_number(out, tag, event->member);
    EVENT_NUMBERS(EVENT_NUMBER)
#undef EVENT_NUMBER
    if (!fits) {
        out->len = start;
    }
    return fits;
}

static void set_text(struct event *event, uint8_t tag, struct bytes text)
{
    switch (tag) {
#define EVENT_TEXT(number, member, name)                                                           \
    case number:                                                                                   \
        event->member = text;                                                                      \
        break;
        EVENT_TEXTS(EVENT_TEXT)
#undef EVENT_TEXT
    default: /* a newer engine's field */
        break;
    }
}

static void set_number(struct event *event, uint8_t tag, uint64_t value)
{
    switch (tag) {
#define EVENT_NUMBER(number, member)                                                               \
    case number:                                                                                   \
        event->member = value;                                                                     \
        break;
        EVENT_NUMBERS(EVENT_NUMBER)
#undef EVENT_NUMBER
    default: /* a newer engine's field */
        break;
    }
}

/* Reads one field at `at`; the place after it, or 0 if it is cut short. */
static size_t decode_field(struct bytes bytes, size_t at, struct event *out)
{
    const uint8_t *p = (const uint8_t *)bytes.data + at;
    size_t left = bytes.len - at;
    if (p[0] >= TAG_NUMBERS) {
        if (left < 9) {
            return 0;
        }
        uint64_t value = 0;
        for (int i = 0; i < 8; i++) {
            value |= (uint64_t)p[1 + i] << (8 * i);
        }
        set_number(out, p[0], value);
        return at + 9;
    }
    if (left < 3) {
        return 0;
    }
    size_t len = (size_t)p[1] | (size_t)p[2] << 8;
    if (left - 3 < len) {
        return 0;
    }
    set_text(out, p[0], bytes_of((const char *)p + 3, len));
    return at + 3 + len;
}

static bool known_type(char type)
{
    return type == EVENT_DELIVERED || type == EVENT_BOUNCED || type == EVENT_TRANSIENT ||
           type == EVENT_TRANSIENT_QUEUE || type == EVENT_RECEIVED;
}

bool journal_decode(struct bytes bytes, struct event *out)
{
    if (bytes.len == 0 || !known_type(bytes.data[0])) {
        return false;
    }
    *out = (struct event){.type = (enum event_type)bytes.data[0]};
    size_t at = 1;
    while (at < bytes.len) {
        at = decode_field(bytes, at, out);
        if (at == 0) {
            return false;
        }
    }
    return true;
}
