#include "base/utf8.h"

#include <assert.h>

/* RFC 3629 section 4: the first byte decides the length and the bounds of the second. */
static const struct {
    uint8_t first_min, first_max, second_min, second_max, len;
} forms[] = {
    {0x00, 0x7F, 0x00, 0x00, 1}, {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3},
    {0xE1, 0xEC, 0x80, 0xBF, 3}, {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3},
    {0xF0, 0xF0, 0x90, 0xBF, 4}, {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4},
};

size_t utf8_length_at(struct bytes b, size_t at)
{
    assert(at < b.len);
    const uint8_t *p = (const uint8_t *)b.data + at;
    if (p[0] < 0x80) {
        return 1;
    }
    size_t form = 1;
    while (form < sizeof(forms) / sizeof(forms[0]) && p[0] > forms[form].first_max) {
        form++;
    }
    if (form == sizeof(forms) / sizeof(forms[0]) || p[0] < forms[form].first_min ||
        b.len - at < forms[form].len || p[1] < forms[form].second_min ||
        p[1] > forms[form].second_max) {
        return 0;
    }
    for (size_t i = 2; i < forms[form].len; i++) {
        if (p[i] < 0x80 || p[i] > 0xBF) {
            return 0;
        }
    }
    return forms[form].len;
}

bool utf8_is_valid(struct bytes b)
{
    size_t at = 0;
    while (at < b.len) {
        size_t len = utf8_length_at(b, at);
        if (len == 0) {
            return false;
        }
        at += len;
    }
    return true;
}
