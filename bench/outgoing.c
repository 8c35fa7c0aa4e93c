#include "bench/outgoing.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_CAPACITY 256
#define LINE_MAX_BYTES 1024

void outgoing_init(struct outgoing *outgoing)
{
    *outgoing = (struct outgoing){.data = NULL};
}

void outgoing_deinit(struct outgoing *outgoing)
{
    free(outgoing->data);
    *outgoing = (struct outgoing){.data = NULL};
}

static bool make_room(struct outgoing *outgoing, size_t len)
{
    size_t wanted = outgoing->len + len;
    if (wanted <= outgoing->capacity) {
        return true;
    }
    size_t capacity = outgoing->capacity == 0 ? FIRST_CAPACITY : outgoing->capacity;
    while (capacity < wanted) {
        capacity *= 2;
    }
    char *data = capacity > OUTGOING_MAX ? NULL : realloc(outgoing->data, capacity);
    if (data == NULL) {
        outgoing->overflowed = true;
        return false;
    }
    outgoing->data = data;
    outgoing->capacity = (uint32_t)capacity;
    return true;
}

void outgoing_put(struct outgoing *outgoing, const char *data, size_t len)
{
    if (!outgoing->overflowed && make_room(outgoing, len)) {
        memcpy(outgoing->data + outgoing->len, data, len);
        outgoing->len += (uint32_t)len;
    }
}

void outgoing_printf(struct outgoing *outgoing, const char *format, ...)
{
    char line[LINE_MAX_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    assert(len >= 0 && (size_t)len < sizeof line);
    outgoing_put(outgoing, line, (size_t)len);
}

void outgoing_release_at(struct outgoing *outgoing, uint64_t due_ms)
{
    if (due_ms == 0 && outgoing->mark_count == 0) {
        outgoing->free_len = outgoing->len;
        return;
    }
    uint32_t last = outgoing->mark_count == 0 ? 0 : outgoing->mark_count - 1;
    uint32_t covered = outgoing->mark_count == 0 ? outgoing->free_len : outgoing->marks[last].end;
    if (covered == outgoing->len) {
        return;
    }
    if (outgoing->mark_count < OUTGOING_MARKS) {
        last = outgoing->mark_count++;
    }
    outgoing->marks[last].due_ms = due_ms;
    outgoing->marks[last].end = outgoing->len;
}

uint64_t outgoing_due(struct outgoing *outgoing, uint64_t now_ms)
{
    uint32_t due = 0;
    while (due < outgoing->mark_count && outgoing->marks[due].due_ms <= now_ms) {
        outgoing->free_len = outgoing->marks[due++].end;
    }
    outgoing->mark_count -= due;
    memmove(outgoing->marks, outgoing->marks + due, outgoing->mark_count * sizeof *outgoing->marks);
    return outgoing->mark_count == 0 ? 0 : outgoing->marks[0].due_ms;
}

void outgoing_drop_free(struct outgoing *outgoing)
{
    uint32_t dropped = outgoing->free_len;
    outgoing->len -= dropped;
    if (outgoing->len > 0) {
        memmove(outgoing->data, outgoing->data + dropped, outgoing->len);
    }
    for (uint32_t i = 0; i < outgoing->mark_count; i++) {
        outgoing->marks[i].end -= dropped;
    }
    outgoing->free_len = 0;
}
