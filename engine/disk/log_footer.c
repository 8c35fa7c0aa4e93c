/* Footers: what a restart reads instead of the records.
 *
 * While a segment is open its records are kept as entries in memory, 48 bytes each. At sealing
 * the owner is asked for each whether it is dead already (then it is left out) and, for a
 * message or keyed state, for the bytes a restart needs. That comes piece by piece, so that a
 * large footer does not hold the keeper for milliseconds. Room for the largest footer possible
 * is kept free while the segment fills. */
#include <assert.h>
#include <string.h>

#include "base/crypto.h"
#include "disk/log_private.h"

void log_footer_begin(struct log_footer *footer, struct log_segment *segment)
{
    *footer = (struct log_footer){.segment = segment};
}

uint64_t log_detail_bound(const struct log_record *record)
{
    bool has_detail = record->type == LOG_MESSAGE || record->type == LOG_KEYED;
    return has_detail && record->len <= LOG_DETAIL_MAX ? log_padded(record->len) : 0;
}

uint64_t log_footer_bound(const struct log_segment *segment)
{
    return (uint64_t)segment->entry_count * LOG_ENTRY_BYTES + segment->detail_bound +
           LOG_TRAILER_BYTES;
}

static bool belongs(const struct log_footer *footer, const struct log_entry *entry)
{
    return (entry->record.type == LOG_MESSAGE) != footer->rest;
}

/* One entry with its detail into `out`; the count of bytes, 0: it is left out. */
static uint32_t put_entry(struct log *log, const struct log_footer *footer,
                          const struct log_entry *from, char *out)
{
    struct log_entry entry = *from;
    struct buffer detail;
    buffer_init(&detail, out + LOG_ENTRY_BYTES, LOG_DETAIL_MAX);
    uint64_t place = (uint64_t)footer->segment->generation << 32 | entry.offset;
    const struct log_owner *owner = &log->options.owner;
    if (!owner->seal(owner->owner, &entry.record, place, &detail)) {
        return 0;
    }
    assert(!detail.overflowed);
    assert(log_padded(detail.len) <= log_detail_bound(&entry.record));
    uint32_t padded = (uint32_t)log_padded(detail.len);
    memset(detail.data + detail.len, 0, padded - detail.len);
    entry.detail_len = (uint32_t)detail.len;
    log_entry_encode(&entry, out);
    return LOG_ENTRY_BYTES + padded;
}

uint32_t log_footer_piece(struct log *log, struct log_footer *footer, char *out)
{
    struct log_segment *segment = footer->segment;
    uint32_t len = 0;
    while (len + LOG_ENTRY_BYTES + LOG_DETAIL_MAX <= LOG_PIECE_BYTES) {
        if (footer->next_entry == segment->entry_count) {
            if (footer->rest || len > 0) {
                break;
            }
            footer->rest = true;
            footer->next_entry = 0;
            continue;
        }
        const struct log_entry *entry = &segment->entries[footer->next_entry++];
        if (belongs(footer, entry)) {
            len += put_entry(log, footer, entry, out + len);
        }
    }
    uint32_t *crc = footer->rest ? &footer->rest_crc : &footer->first_crc;
    uint32_t *bytes = footer->rest ? &footer->rest_bytes : &footer->first_bytes;
    if (*bytes == 0) {
        *crc = log_seed(log->id, segment->generation);
    }
    *crc = crypto_crc32c(*crc, out, len);
    *bytes += len;
    return len;
}

void log_footer_trailer(struct log *log, const struct log_footer *footer, uint32_t footer_offset,
                        char out[LOG_TRAILER_BYTES])
{
    struct log_segment *segment = footer->segment;
    uint32_t seed = log_seed(log->id, segment->generation);
    segment->trailer = (struct log_trailer){
        .footer_offset = footer_offset,
        .first_bytes = footer->first_bytes,
        .rest_bytes = footer->rest_bytes,
        .records_end = segment->records_end,
        .flags = segment->damaged ? LOG_TRAILER_DAMAGED : 0,
        .first_crc = footer->first_bytes == 0 ? seed : footer->first_crc,
        .rest_crc = footer->rest_bytes == 0 ? seed : footer->rest_crc,
    };
    log_trailer_encode(&segment->trailer, seed, out);
}
