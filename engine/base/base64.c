#include "base/base64.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(struct buffer *out, struct bytes data)
{
    const uint8_t *at = (const uint8_t *)data.data;
    for (size_t left = data.len; left > 0;) {
        size_t taken = left < 3 ? left : 3;
        uint32_t bits = (uint32_t)at[0] << 16;
        bits |= taken > 1 ? (uint32_t)at[1] << 8 : 0;
        bits |= taken > 2 ? at[2] : 0;
        buffer_put_char(out, letters[bits >> 18]);
        buffer_put_char(out, letters[bits >> 12 & 63]);
        buffer_put_char(out, taken > 1 ? letters[bits >> 6 & 63] : '=');
        buffer_put_char(out, taken > 2 ? letters[bits & 63] : '=');
        at += taken;
        left -= taken;
    }
}

/* 64: no letter of it. */
static uint32_t value_of(char letter)
{
    const char *at = letter == '\0' ? NULL : strchr(letters, letter);
    return at == NULL ? 64 : (uint32_t)(at - letters);
}

bool base64_read(struct bytes text, struct buffer *out)
{
    for (size_t i = 0; i < text.len; i += 4) {
        if (text.len - i < 4) {
            return false;
        }
        bool last = i + 4 == text.len;
        size_t padding = last && text.data[i + 3] == '=' ? 1 : 0;
        padding += padding == 1 && text.data[i + 2] == '=' ? 1 : 0;
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            uint32_t value = k >= 4 - padding ? 0 : value_of(text.data[i + k]);
            if (value == 64) {
                return false;
            }
            bits = bits << 6 | value;
        }
        const char bytes[] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
        /* Bits behind the last byte must be zero: one text for each value. */
        if ((padding > 0 && bytes[2] != 0) || (padding > 1 && bytes[1] != 0)) {
            return false;
        }
        buffer_put(out, bytes, 3 - padding);
    }
    return !out->overflowed;
}
