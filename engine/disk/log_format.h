/* What lies in a segment file, byte by byte. Pure; little-endian machines only.
 *
 *   0       header: format version, log id, generation, how much of older segments is void
 *   4096    records, each {head, payload, padding to 8}
 *   …       footer: entries of messages, then entries of everything else
 *   -64     trailer: where the footer lies, and its checksums
 *
 * A record's checksum is seeded with log id and generation, so what is left of a segment's
 * earlier life never passes for a record. */
#ifndef DISK_LOG_FORMAT_H
#define DISK_LOG_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "disk/log.h"

#define LOG_FORMAT_VERSION 1
#define LOG_HEADER_BYTES   4096
#define LOG_TRAILER_BYTES  64
#define LOG_CUTS_MAX       16
#define LOG_DETAIL_MAX     (64 * 1024) /* bytes of detail in a footer entry */

/* A segment whose sync failed: nothing at or behind `offset` exists. */
struct log_cut {
    uint32_t generation, offset;
};

struct log_header {
    uint64_t log_id, segment_bytes;
    uint32_t generation, oldest; /* oldest: the first generation that belonged to the log */
    uint32_t start_count, cut_count;
    struct log_cut cuts[LOG_CUTS_MAX];
};

void log_header_encode(const struct log_header *header, char out[LOG_HEADER_BYTES]);

enum log_header_kind { LOG_HEADER_GOOD, LOG_HEADER_BLANK, LOG_HEADER_BAD, LOG_HEADER_NEWER };
enum log_header_kind log_header_decode(const char in[LOG_HEADER_BYTES], struct log_header *out);

struct log_trailer {
    uint32_t footer_offset, first_bytes, rest_bytes; /* entries of messages; the others */
    uint32_t records_end, flags;
    uint32_t first_crc, rest_crc;
};
enum log_trailer_flags { LOG_TRAILER_DAMAGED = 1 }; /* some record in it was found damaged */

void log_trailer_encode(const struct log_trailer *trailer, uint32_t seed,
                        char out[LOG_TRAILER_BYTES]);
/* False: not a trailer of this generation. */
bool log_trailer_decode(const char in[LOG_TRAILER_BYTES], uint32_t seed, uint64_t segment_bytes,
                        struct log_trailer *out);

uint32_t log_seed(uint64_t log_id, uint32_t generation);

/* A record's head, checksum included. */
void log_head_encode(const struct log_record *record, uint32_t seed, const struct bytes *parts,
                     uint32_t part_count, char out[LOG_HEAD_BYTES]);
/* False: this is no head (the payload is not looked at yet). */
bool log_head_decode(const char in[LOG_HEAD_BYTES], struct log_record *out);
/* The checksum of head and payload, which lie together. */
bool log_record_intact(const char *record, uint32_t seed, uint32_t len);

/* A footer entry: the head's fields, offset, and the length of the detail that follows, which is
 * padded to 8. */
struct log_entry {
    struct log_record record;
    uint32_t offset, detail_len;
};
#define LOG_ENTRY_BYTES LOG_HEAD_BYTES
void log_entry_encode(const struct log_entry *entry, char out[LOG_ENTRY_BYTES]);
bool log_entry_decode(const char in[LOG_ENTRY_BYTES], struct log_entry *out);

static inline uint64_t log_padded(uint64_t len)
{
    return (len + 7) & ~UINT64_C(7);
}

#endif
