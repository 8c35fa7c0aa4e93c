#include "base/error.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

int error_set(struct error *error, int code, const char *format, ...)
{
    if (error == NULL) {
        return -1;
    }
    va_list arguments;
    va_start(arguments, format);
    error->code = code;
    /* Longer text is cut: that is the contract. */
    (void)vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    return -1;
}

void error_prefix(struct error *error, const char *format, ...)
{
    if (error == NULL) {
        return;
    }
    char text[ERROR_TEXT_MAX];
    memcpy(text, error->text, sizeof(text));
    struct buffer joined;
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    size_t at = len < 0 ? 0 : (size_t)len;
    at = at < sizeof(error->text) ? at : sizeof(error->text) - 1;
    buffer_init(&joined, error->text + at, sizeof(error->text) - at - 1);
    size_t separator_len = joined.capacity < 2 ? joined.capacity : 2;
    buffer_put(&joined, ": ", separator_len);
    size_t text_len = strnlen(text, sizeof(text));
    buffer_put(&joined, text, text_len < buffer_room(&joined) ? text_len : buffer_room(&joined));
    error->text[at + joined.len] = '\0';
}
