#include "disk/log_format.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base/crypto.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the log is little-endian");

#define RECORD_MAGIC  0x31726850u /* "Phr1" */
#define TRAILER_MAGIC 0x31746850u /* "Pht1" */

static const char header_magic[8] = "PosthLog";

/* ---- header ------------------------------------------------------------------------------- */

/* Within one sector, which a disk writes whole or not at all. */
struct disk_header {
    char magic[8];
    uint32_t version, crc;
    uint64_t log_id, segment_bytes;
    uint32_t generation, oldest, start_count, cut_count;
    struct log_cut cuts[LOG_CUTS_MAX];
};
_Static_assert(sizeof(struct disk_header) <= 512, "a header fits a sector");

static uint32_t header_crc(const struct disk_header *disk)
{
    struct disk_header copy = *disk;
    copy.crc = 0;
    return crypto_crc32c(0, &copy, sizeof copy);
}

void log_header_encode(const struct log_header *header, char out[LOG_HEADER_BYTES])
{
    assert(header->cut_count <= LOG_CUTS_MAX);
    struct disk_header disk;
    memset(&disk, 0, sizeof disk);
    memcpy(disk.magic, header_magic, sizeof disk.magic);
    disk.version = LOG_FORMAT_VERSION;
    disk.log_id = header->log_id;
    disk.segment_bytes = header->segment_bytes;
    disk.generation = header->generation;
    disk.oldest = header->oldest;
    disk.start_count = header->start_count;
    disk.cut_count = header->cut_count;
    memcpy(disk.cuts, header->cuts, header->cut_count * sizeof disk.cuts[0]);
    disk.crc = header_crc(&disk);
    memset(out, 0, LOG_HEADER_BYTES);
    memcpy(out, &disk, sizeof disk);
}

static bool is_blank(const char *data, size_t len)
{
    return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

enum log_header_kind log_header_decode(const char in[LOG_HEADER_BYTES], struct log_header *out)
{
    struct disk_header disk;
    memcpy(&disk, in, sizeof disk);
    if (is_blank(in, sizeof disk)) {
        return LOG_HEADER_BLANK;
    }
    if (memcmp(disk.magic, header_magic, sizeof disk.magic) != 0) {
        return LOG_HEADER_BAD;
    }
    if (disk.version > LOG_FORMAT_VERSION) {
        return LOG_HEADER_NEWER;
    }
    if (disk.crc != header_crc(&disk) || disk.cut_count > LOG_CUTS_MAX || disk.generation == 0 ||
        disk.segment_bytes < LOG_SEGMENT_MIN || disk.segment_bytes > LOG_SEGMENT_MAX) {
        return LOG_HEADER_BAD;
    }
    *out = (struct log_header){.log_id = disk.log_id,
                               .segment_bytes = disk.segment_bytes,
                               .generation = disk.generation,
                               .oldest = disk.oldest,
                               .start_count = disk.start_count,
                               .cut_count = disk.cut_count};
    memcpy(out->cuts, disk.cuts, sizeof out->cuts);
    return LOG_HEADER_GOOD;
}

/* ---- trailer ------------------------------------------------------------------------------ */

struct disk_trailer {
    uint32_t magic, crc;
    struct log_trailer trailer;
    char unused[LOG_TRAILER_BYTES - 8 - sizeof(struct log_trailer)];
};
_Static_assert(sizeof(struct disk_trailer) == LOG_TRAILER_BYTES, "a trailer is 64 bytes");

static uint32_t trailer_crc(const struct disk_trailer *disk, uint32_t seed)
{
    return crypto_crc32c(seed, &disk->trailer, sizeof disk->trailer);
}

void log_trailer_encode(const struct log_trailer *trailer, uint32_t seed,
                        char out[LOG_TRAILER_BYTES])
{
    struct disk_trailer disk;
    memset(&disk, 0, sizeof disk);
    disk.magic = TRAILER_MAGIC;
    disk.trailer = *trailer;
    disk.crc = trailer_crc(&disk, seed);
    memcpy(out, &disk, sizeof disk);
}

bool log_trailer_decode(const char in[LOG_TRAILER_BYTES], uint32_t seed, uint64_t segment_bytes,
                        struct log_trailer *out)
{
    struct disk_trailer disk;
    memcpy(&disk, in, sizeof disk);
    if (disk.magic != TRAILER_MAGIC || disk.crc != trailer_crc(&disk, seed)) {
        return false;
    }
    const struct log_trailer *trailer = &disk.trailer;
    uint64_t footer_end =
        (uint64_t)trailer->footer_offset + trailer->first_bytes + trailer->rest_bytes;
    if (trailer->records_end < LOG_HEADER_BYTES || trailer->footer_offset < trailer->records_end ||
        footer_end > segment_bytes - LOG_TRAILER_BYTES) {
        return false;
    }
    *out = *trailer;
    return true;
}

uint32_t log_seed(uint64_t log_id, uint32_t generation)
{
    uint64_t words[2] = {log_id, generation};
    return crypto_crc32c(~0u, words, sizeof words);
}

/* ---- records and entries ------------------------------------------------------------------ */

/* In a record `magic` and `crc`; in a footer entry offset and detail length in their places. */
struct disk_head {
    uint32_t magic_or_offset, len, crc_or_detail_len;
    uint8_t type, flags, retry_index, unused_1;
    uint64_t sequence, ref;
    int64_t due_wall_ms;
    uint32_t index;
    uint16_t attempts, unused_2;
};
_Static_assert(sizeof(struct disk_head) == LOG_HEAD_BYTES, "a head is 48 bytes");

static struct disk_head head_of(const struct log_record *record)
{
    return (struct disk_head){.len = record->len,
                              .type = record->type,
                              .flags = record->flags,
                              .retry_index = record->retry_index,
                              .sequence = record->sequence,
                              .ref = record->ref,
                              .due_wall_ms = record->due_wall_ms,
                              .index = record->index,
                              .attempts = record->attempts};
}

static bool record_of(const struct disk_head *disk, struct log_record *out)
{
    if (disk->type == 0 || disk->len > LOG_PAYLOAD_MAX) {
        return false;
    }
    *out = (struct log_record){.sequence = disk->sequence,
                               .ref = disk->ref,
                               .due_wall_ms = disk->due_wall_ms,
                               .index = disk->index,
                               .len = disk->len,
                               .attempts = disk->attempts,
                               .type = disk->type,
                               .flags = disk->flags,
                               .retry_index = disk->retry_index};
    return true;
}

void log_head_encode(const struct log_record *record, uint32_t seed, const struct bytes *parts,
                     uint32_t part_count, char out[LOG_HEAD_BYTES])
{
    struct disk_head disk = head_of(record);
    disk.magic_or_offset = RECORD_MAGIC;
    uint32_t crc = crypto_crc32c(seed, &disk, sizeof disk);
    for (uint32_t i = 0; i < part_count; i++) {
        crc = crypto_crc32c(crc, parts[i].data, parts[i].len);
    }
    disk.crc_or_detail_len = crc;
    memcpy(out, &disk, sizeof disk);
}

bool log_head_decode(const char in[LOG_HEAD_BYTES], struct log_record *out)
{
    struct disk_head disk;
    memcpy(&disk, in, sizeof disk);
    return disk.magic_or_offset == RECORD_MAGIC && record_of(&disk, out);
}

bool log_record_intact(const char *record, uint32_t seed, uint32_t len)
{
    struct disk_head disk;
    memcpy(&disk, record, sizeof disk);
    uint32_t wanted = disk.crc_or_detail_len;
    disk.crc_or_detail_len = 0;
    uint32_t crc = crypto_crc32c(seed, &disk, sizeof disk);
    return crypto_crc32c(crc, record + sizeof disk, len) == wanted;
}

void log_entry_encode(const struct log_entry *entry, char out[LOG_ENTRY_BYTES])
{
    struct disk_head disk = head_of(&entry->record);
    disk.magic_or_offset = entry->offset;
    disk.crc_or_detail_len = entry->detail_len;
    memcpy(out, &disk, sizeof disk);
}

bool log_entry_decode(const char in[LOG_ENTRY_BYTES], struct log_entry *out)
{
    struct disk_head disk;
    memcpy(&disk, in, sizeof disk);
    out->offset = disk.magic_or_offset;
    out->detail_len = disk.crc_or_detail_len;
    return record_of(&disk, &out->record) && out->detail_len <= LOG_DETAIL_MAX;
}
