#include "accounting_position.h"

#include <assert.h>

#define VERSION_ONE_LOG 1
#define VERSION         2

static bool put_logs(struct buffer *out, const struct accounting_position *position)
{
    bool first = true;
    for (uint32_t i = 0; i < position->log_count; i++) {
        const struct accounting_reached *log = &position->logs[i];
        if (log->sequence != 0) {
            buffer_put_string(out, first ? "" : ",");
            buffer_put_u64(out, log->log_id);
            buffer_put_char(out, ':');
            buffer_put_u64(out, log->sequence);
            first = false;
        }
    }
    return buffer_put_char(out, ' ');
}

bool accounting_position_put(struct buffer *out, const struct accounting_position *position)
{
    const uint64_t numbers[] = {VERSION, position->inode, position->length_bytes,
                                position->began_wall_ms, position->header_hash};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        buffer_put_u64(out, numbers[i]);
        buffer_put_char(out, ' ');
    }
    put_logs(out, position);
    return buffer_put_string(out, position->name) && !out->overflowed;
}

/* What stands before `end`, and that itself, off the text. */
static bool take_until(struct bytes *text, char end, struct bytes *out)
{
    ptrdiff_t at = bytes_find(*text, end, 0);
    if (at < 0) {
        return false;
    }
    *out = bytes_slice(*text, 0, (size_t)at);
    *text = bytes_slice(*text, (size_t)at + 1, text->len);
    return true;
}

static bool take_number(struct bytes *text, char end, uint64_t *out)
{
    struct bytes word;
    return take_until(text, end, &word) && bytes_to_u64(word, UINT64_MAX, out);
}

static bool take_logs(struct bytes *text, struct accounting_position *position)
{
    struct bytes list;
    if (!take_until(text, ' ', &list)) {
        return false;
    }
    while (list.len > 0) {
        struct bytes one = list;
        struct accounting_reached reached;
        if (!take_until(&list, ',', &one)) {
            list = bytes_slice(list, list.len, list.len);
        }
        if (position->log_count == ACCOUNTING_LOGS_MAX ||
            !take_number(&one, ':', &reached.log_id) ||
            !bytes_to_u64(one, UINT64_MAX, &reached.sequence)) {
            return false;
        }
        position->logs[position->log_count++] = reached;
    }
    return true;
}

bool accounting_position_parse(struct bytes text, uint64_t log_id, struct accounting_position *out)
{
    struct accounting_position position = {0};
    uint64_t version;
    if (!take_number(&text, ' ', &version) || version < VERSION_ONE_LOG || version > VERSION) {
        return false;
    }
    if (version == VERSION_ONE_LOG) {
        position.log_count = 1;
        position.logs[0].log_id = log_id;
        if (!take_number(&text, ' ', &position.logs[0].sequence)) {
            return false;
        }
    }
    if (!take_number(&text, ' ', &position.inode) ||
        !take_number(&text, ' ', &position.length_bytes) ||
        !take_number(&text, ' ', &position.began_wall_ms) ||
        !take_number(&text, ' ', &position.header_hash) ||
        (version == VERSION && !take_logs(&text, &position)) || text.len >= sizeof position.name ||
        bytes_find(text, '/', 0) >= 0) {
        return false;
    }
    if (text.len > 0) {
        memcpy(position.name, text.data, text.len);
    }
    *out = position;
    return true;
}

void accounting_position_reach(struct accounting_position *position,
                               const struct accounting_reached *reached)
{
    for (uint32_t i = 0; i < position->log_count; i++) {
        struct accounting_reached *log = &position->logs[i];
        if (log->log_id == reached->log_id) {
            log->sequence = reached->sequence > log->sequence ? reached->sequence : log->sequence;
            return;
        }
    }
    if (position->log_count < ACCOUNTING_LOGS_MAX) {
        position->logs[position->log_count++] = *reached;
    }
}

void accounting_position_align(struct accounting_position *position, const uint64_t *log_ids,
                               uint32_t count)
{
    assert(count <= ACCOUNTING_LOGS_MAX);
    struct accounting_position aligned = *position;
    aligned.log_count = count;
    for (uint32_t i = 0; i < count; i++) {
        aligned.logs[i] = (struct accounting_reached){.log_id = log_ids[i]};
    }
    /* What is attached has its place already and cannot be left out. */
    for (uint32_t i = 0; i < position->log_count; i++) {
        accounting_position_reach(&aligned, &position->logs[i]);
    }
    *position = aligned;
}
