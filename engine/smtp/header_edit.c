/* What stays is moved down over what goes, and then, as one block, up against the body: the header
 * alone is moved, however long the body is. Nothing moves where nothing goes. */
#include "smtp/header_edit.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

static bool is_one_of(struct bytes line, const struct bytes *names, size_t count)
{
    ptrdiff_t colon = bytes_find(line, ':', 0);
    if (colon < 0) {
        return false;
    }
    struct bytes name = bytes_trim(bytes_slice(line, 0, (size_t)colon)); /* "name :" is one, too */
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal_nocase(name, names[i])) {
            return true;
        }
    }
    return false;
}

/* Bytes of the fields, without the empty line; 0 where that is not to be seen. */
static size_t fields_len(const char *text, size_t len)
{
    if (len >= 2 && memcmp(text, "\r\n", 2) == 0) {
        return 0;
    }
    const char *end = memmem(text, len, "\r\n\r\n", 4);
    return end == NULL ? 0 : (size_t)(end - text) + 2;
}

size_t header_edit_remove(char *text, size_t len, const struct bytes *names, size_t count)
{
    size_t end = fields_len(text, len), kept = 0;
    bool removing = false;
    for (size_t at = 0; at < end;) {
        const char *newline = memchr(text + at, '\n', end - at);
        assert(newline != NULL);
        struct bytes line = bytes_of(text + at, (size_t)(newline + 1 - (text + at)));
        at += line.len;
        bool goes_on = line.data[0] == ' ' || line.data[0] == '\t';
        removing = goes_on ? removing : is_one_of(line, names, count);
        if (!removing) {
            memmove(text + kept, line.data, line.len);
            kept += line.len;
        }
    }
    assert(kept <= end);
    memmove(text + (end - kept), text, kept);
    return end - kept;
}
