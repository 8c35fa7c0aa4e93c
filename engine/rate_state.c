/* The value is text: N, M in milliseconds, then a wall time and a count for each mark. */
#include "rate_state.h"

#include <assert.h>

#define NUMBER_CHARS 21 /* of 64 bits, with a blank */
#define VALUE_MAX    (NUMBER_CHARS * 2 * (1 + RATE_MARKS_MAX))

static void put_pair(struct buffer *out, uint64_t first, uint64_t second)
{
    buffer_put_u64(out, first);
    buffer_put_char(out, ' ');
    buffer_put_u64(out, second);
    buffer_put_char(out, ' ');
}

static void write_state(struct rate_state *state, const struct rate_writer *writer,
                        struct bytes value)
{
    char memory[KEPT_KEY_MAX];
    struct buffer key;
    buffer_init(&key, memory, sizeof memory);
    buffer_put_string(&key, state->prefix);
    buffer_put_bytes(&key, state->name);
    assert(!key.overflowed);
    kept_put(&state->kept, writer->spool, writer->worker, buffer_bytes(&key), value);
}

void rate_state_reserve(struct rate_state *state, struct rate *rate,
                        const struct rate_writer *writer)
{
    if (!rate_needs_block(rate)) {
        return;
    }
    struct rate_mark marks[RATE_MARKS_MAX];
    size_t count = rate_reserve_block(rate, writer->now_ms, writer->wall_ms, marks);
    char memory[VALUE_MAX];
    struct buffer value;
    buffer_init(&value, memory, sizeof memory);
    put_pair(&value, state->n, state->window_ms);
    for (size_t i = 0; i < count; i++) {
        put_pair(&value, marks[i].wall_ms < 0 ? 0 : (uint64_t)marks[i].wall_ms, marks[i].starts);
    }
    assert(!value.overflowed);
    write_state(state, writer, buffer_bytes(&value));
}

bool rate_state_drop(struct rate_state *state, struct rate *rate, const struct rate_writer *writer)
{
    if (!rate_retire(rate, writer->now_ms)) {
        return false;
    }
    if (!state->kept.exists) {
        rate_block_written(rate, true);
        return true;
    }
    write_state(state, writer, (struct bytes){0});
    return false;
}

/* The next number and the blank behind it. */
static bool take_number(struct bytes *text, uint64_t max, uint64_t *out)
{
    ptrdiff_t blank = bytes_find(*text, ' ', 0);
    if (blank < 0 || !bytes_to_u64(bytes_slice(*text, 0, (size_t)blank), max, out)) {
        return false;
    }
    *text = bytes_slice(*text, (size_t)blank + 1, text->len);
    return true;
}

bool rate_state_parse(struct bytes value, struct rate_found *out)
{
    out->count = 0;
    if (!take_number(&value, UINT64_MAX, &out->n) ||
        !take_number(&value, INT64_MAX, &out->window_ms) || out->window_ms == 0) {
        return false;
    }
    while (value.len > 0 && out->count < RATE_MARKS_MAX) {
        struct rate_mark *mark = &out->marks[out->count++];
        uint64_t wall_ms;
        if (!take_number(&value, INT64_MAX, &wall_ms) ||
            !take_number(&value, INT64_MAX, &mark->starts)) {
            return false;
        }
        mark->wall_ms = (int64_t)wall_ms;
    }
    return value.len == 0;
}
