/* What a restart finds.
 *
 * A sealed segment is read by its footer alone, if its checksums hold. Others are scanned: those
 * before the last sealed one by looking for intact records wherever they are (a disk damaged
 * them), those behind it, the tail, up to the first bad record (the crash came while it was
 * written). What survives is always a beginning of what was appended: a segment of the tail that
 * does not begin where the one before it ended lies behind a hole, nothing in it was ever
 * answered, and it is dropped.
 *
 * Two passes, because a message may lie behind a state of its recipients: it was copied forward
 * and the state was not. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/logger.h"
#include "disk/log_private.h"

#define SCAN_BUFFER_BYTES (LOG_PAYLOAD_MAX + 64u * 1024)

struct recovery {
    struct log *log;
    const struct log_recovery *calls;
    char *buffer; /* SCAN_BUFFER_BYTES: for scans and single records */
    char *footer;
    size_t footer_bytes;
    int result;
};

static uint64_t place_of(const struct log_segment *segment, uint32_t offset)
{
    return (uint64_t)segment->generation << 32 | offset;
}

static void note(struct recovery *recovery, struct log_segment *segment,
                 const struct log_record *record)
{
    if (record->sequence > recovery->log->sequence_seen) {
        recovery->log->sequence_seen = record->sequence;
    }
    if ((record->flags & LOG_EVENT) != 0) {
        log_segment_note_event(segment, record);
    }
}

/* The payload of a record whose entry does not hold it; empty data: damaged. */
static struct bytes read_payload(struct recovery *recovery, const struct log_segment *segment,
                                 const struct log_entry *entry)
{
    struct log *log = recovery->log;
    uint32_t len = entry->record.len;
    uint64_t size = log_record_size(len);
    struct log_record seen;
    int64_t result = log_read_at(log->io, segment->fd, recovery->buffer, size, entry->offset);
    if (result != (int64_t)size || !log_head_decode(recovery->buffer, &seen) || seen.len != len ||
        !log_record_intact(recovery->buffer, log_seed(log->id, segment->generation), len)) {
        log_count_damaged(log, place_of(segment, entry->offset));
        return bytes_of(NULL, 0);
    }
    return bytes_of(recovery->buffer + LOG_HEAD_BYTES, len);
}

static void give_entry(struct recovery *recovery, struct log_segment *segment,
                       const struct log_entry *entry, struct bytes detail)
{
    const struct log_record *record = &entry->record;
    bool wants = record->type == LOG_MESSAGE || record->type == LOG_KEYED;
    if (wants && detail.len == 0) {
        detail = read_payload(recovery, segment, entry);
        if (detail.data == NULL) {
            return;
        }
    }
    note(recovery, segment, record);
    void (*call)(void *, const struct log_record *, uint64_t, struct bytes) =
        record->type == LOG_MESSAGE ? recovery->calls->message : recovery->calls->other;
    call(recovery->calls->owner, record, place_of(segment, entry->offset), detail);
}

/* ---- footers ------------------------------------------------------------------------------ */

/* One section, checked; false: unreadable or damaged. */
static bool load_section(struct recovery *recovery, const struct log_segment *segment, bool rest)
{
    const struct log_trailer *trailer = &segment->trailer;
    struct log *log = recovery->log;
    size_t len = rest ? trailer->rest_bytes : trailer->first_bytes;
    uint64_t from = trailer->footer_offset + (rest ? (uint64_t)trailer->first_bytes : 0);
    if (len > recovery->footer_bytes) {
        char *larger = realloc(recovery->footer, len);
        if (larger == NULL) {
            return false;
        }
        recovery->footer = larger;
        recovery->footer_bytes = len;
    }
    int64_t result = log_read_at(log->io, segment->fd, recovery->footer, len, from);
    uint32_t seed = log_seed(log->id, segment->generation);
    return result == (int64_t)len && crypto_crc32c(seed, recovery->footer, len) ==
                                         (rest ? trailer->rest_crc : trailer->first_crc);
}

static void give_section(struct recovery *recovery, struct log_segment *segment, bool rest)
{
    size_t len = rest ? segment->trailer.rest_bytes : segment->trailer.first_bytes;
    size_t at = 0;
    struct log_entry entry;
    while (at + LOG_ENTRY_BYTES <= len && log_entry_decode(recovery->footer + at, &entry)) {
        const char *detail = recovery->footer + at + LOG_ENTRY_BYTES;
        at += LOG_ENTRY_BYTES + log_padded(entry.detail_len);
        assert(at <= len);
        give_entry(recovery, segment, &entry, bytes_of(detail, entry.detail_len));
    }
}

/* ---- scans -------------------------------------------------------------------------------- */

static const struct log_cut *cut_of(const struct log *log, uint32_t generation)
{
    for (uint32_t i = 0; i < log->cut_count; i++) {
        if (log->cuts[i].generation == generation) {
            return &log->cuts[i];
        }
    }
    return NULL;
}

/* Whether a segment of the tail goes on where the log ended so far. */
static bool continues(const struct log *log, const struct log_record *begin)
{
    return log->last_generation == 0 ||
           (begin->ref == log->last_generation && begin->index == log->last_end);
}

struct scan {
    struct log_segment *segment;
    struct log_stream stream;
    bool tail;    /* ends at the first bad record */
    bool chain;   /* must go on where the log ended */
    uint32_t bad; /* where bytes that are no record began; 0: none */
};

/* False: the scan ends here. */
static bool scan_bad(struct scan *scan)
{
    if (scan->tail) {
        return false;
    }
    if (scan->bad == 0) {
        scan->bad = (uint32_t)log_stream_offset(&scan->stream);
    }
    log_stream_skip(&scan->stream, 8);
    return true;
}

static bool scan_record(struct recovery *recovery, struct scan *scan)
{
    struct log *log = recovery->log;
    struct log_segment *segment = scan->segment;
    uint32_t seed = log_seed(log->id, segment->generation);
    uint64_t offset = log_stream_offset(&scan->stream);
    struct log_record record;
    const char *data = log_stream_peek(&scan->stream, LOG_HEAD_BYTES);
    if (data == NULL) {
        return false;
    }
    uint64_t size = log_head_decode(data, &record) ? log_record_size(record.len) : 0;
    data = size == 0 ? NULL : log_stream_peek(&scan->stream, size);
    if (data == NULL || !log_record_intact(data, seed, record.len)) {
        return scan_bad(scan);
    }
    if (record.type == LOG_BEGIN) {
        if (scan->chain && !continues(log, &record)) {
            LOG_INFO("spool %s: segment %08x lies behind a hole: it follows %08x to %u, but that "
                     "ends at %u of %08x",
                     log->directory, segment->generation, (uint32_t)record.ref, record.index,
                     log->last_end, log->last_generation);
            return false;
        }
    } else if (segment->entry_count < segment->entry_max) {
        struct log_entry entry = {.record = record, .offset = (uint32_t)offset};
        segment->entries[segment->entry_count++] = entry;
        segment->detail_bound += log_detail_bound(&record);
        if (record.type == LOG_MESSAGE) {
            give_entry(recovery, segment, &entry, bytes_of(data + LOG_HEAD_BYTES, record.len));
        }
    }
    if (scan->bad != 0) {
        log_count_damaged(log,
                          place_of(segment, scan->bad)); /* not just the end of what is there */
        scan->bad = 0;
    }
    log_stream_skip(&scan->stream, size);
    segment->records_end = (uint32_t)(offset + size);
    return true;
}

static void scan_segment(struct recovery *recovery, struct log_segment *segment)
{
    struct log *log = recovery->log;
    const struct log_cut *cut = cut_of(log, segment->generation);
    struct scan scan = {.segment = segment,
                        .tail = segment->generation >= log->tail_first && cut == NULL,
                        .chain = segment->generation >= log->tail_first};
    if (!log_entries_take(log, segment)) {
        recovery->result = -ENOMEM;
        return;
    }
    uint64_t end = cut != NULL       ? cut->offset
                   : segment->sealed ? segment->trailer.records_end
                                     : segment->bytes - LOG_TRAILER_BYTES;
    segment->records_end = LOG_HEADER_BYTES;
    segment->sealed = false;
    log_stream_init(&scan.stream, log->io, recovery->buffer, SCAN_BUFFER_BYTES, NULL);
    log_stream_begin(&scan.stream, segment->fd, LOG_HEADER_BYTES, end);
    while (scan_record(recovery, &scan)) {
    }
    if (scan.stream.error != 0) {
        recovery->result = scan.stream.error;
    }
    LOG_INFO("spool %s: segment %08x has no footer; scanned %u records up to %u", log->directory,
             segment->generation, segment->entry_count, segment->records_end);
}

/* ---- passes ------------------------------------------------------------------------------- */

static void first_pass(struct recovery *recovery, struct log_segment *segment)
{
    struct log *log = recovery->log;
    if (segment->sealed && load_section(recovery, segment, false)) {
        give_section(recovery, segment, false);
    } else {
        if (segment->sealed) {
            LOG_ERROR("spool %s: the footer of segment %08x is damaged", log->directory,
                      segment->generation);
        }
        scan_segment(recovery, segment);
    }
    segment->empty = !segment->sealed && segment->entry_count == 0;
    if (segment->empty) {
        return;
    }
    log->last_generation = segment->generation;
    log->last_end = segment->records_end;
}

static void second_pass(struct recovery *recovery, struct log_segment *segment)
{
    if (segment->sealed && load_section(recovery, segment, true)) {
        give_section(recovery, segment, true);
        return;
    }
    if (segment->sealed) {
        scan_segment(recovery, segment); /* its messages a second time: nothing new */
    }
    for (uint32_t i = 0; i < segment->entry_count; i++) {
        if (segment->entries[i].record.type != LOG_MESSAGE) {
            give_entry(recovery, segment, &segment->entries[i], bytes_of(NULL, 0));
        }
    }
}

int log_recover(struct log *log, const struct log_recovery *calls)
{
    struct recovery recovery = {.log = log, .calls = calls};
    recovery.buffer = malloc(SCAN_BUFFER_BYTES);
    if (recovery.buffer == NULL) {
        return -ENOMEM;
    }
    void (*passes[])(struct recovery *, struct log_segment *) = {first_pass, second_pass};
    for (size_t pass = 0; pass < 2; pass++) {
        for (uint32_t i = log->oldest; i <= log->newest && recovery.result == 0; i++) {
            struct log_segment *segment = log_segment_at(log, i);
            if (segment != NULL) {
                passes[pass](&recovery, segment);
            }
        }
    }
    free(recovery.buffer);
    free(recovery.footer);
    return recovery.result;
}

/* ---- a fresh segment ---------------------------------------------------------------------- */

/* What a kill left unsynced is made safe. It is written again, because a sync may have failed
 * before: then the pages are clean, a sync of them succeeds, and they are not on the disk. */
static int make_safe(struct log *log, struct log_segment *segment)
{
    uint64_t offset = LOG_HEADER_BYTES;
    int64_t result = 0;
    while (offset < segment->records_end && result >= 0) {
        uint64_t left = segment->records_end - offset;
        uint64_t len = left < LOG_PIECE_BYTES ? left : LOG_PIECE_BYTES;
        result = log_read_at(log->io, segment->fd, log->piece, len, offset);
        result =
            result < 0 ? result : io_file_write_at(log->io, segment->fd, log->piece, len, offset);
        offset += len;
    }
    return result < 0 ? (int)result : io_file_sync(log->io, segment->fd);
}

static int seal_blocking(struct log *log, struct log_segment *segment)
{
    struct log_footer footer;
    uint32_t offset = segment->records_end, len;
    log_footer_begin(&footer, segment);
    while ((len = log_footer_piece(log, &footer, log->piece)) > 0) {
        int64_t result = io_file_write_at(log->io, segment->fd, log->piece, len, offset);
        if (result < 0) {
            return (int)result;
        }
        offset += len;
    }
    /* Who finds the trailer relies on what is before it. */
    int64_t result = io_file_sync(log->io, segment->fd);
    if (result < 0) {
        return (int)result;
    }
    log_footer_trailer(log, &footer, segment->records_end, log->piece);
    result = io_file_write_at(log->io, segment->fd, log->piece, LOG_TRAILER_BYTES,
                              segment->bytes - LOG_TRAILER_BYTES);
    result = result < 0 ? result : io_file_sync(log->io, segment->fd);
    if (result != 0) { /* or the next start would find in memory what is not on the disk */
        memset(log->piece, 0, LOG_TRAILER_BYTES);
        io_file_write_at(log->io, segment->fd, log->piece, LOG_TRAILER_BYTES,
                         segment->bytes - LOG_TRAILER_BYTES);
        return (int)result;
    }
    segment->sealed = true;
    log_entries_drop(log, segment);
    return 0;
}

static void next_start_count(struct log *log)
{
    if (log->start_count < UINT16_MAX) {
        log->start_count++;
        return;
    }
    /* The counts are used up: go on far behind the highest number seen, synced or not. */
    log->sequence_count = (log->sequence_seen & ((UINT64_C(1) << 48) - 1)) + (UINT64_C(1) << 32);
}

/* Never used, or all of it behind a hole or a cut. Its header goes first: a later restart, to
 * which this is no tail any more, would take what lies in it for the log's. */
static int drop_segment(struct log *log, struct log_segment *segment)
{
    memset(log->header, 0, LOG_HEADER_BYTES);
    int64_t result = io_file_write_at(log->io, segment->fd, log->header, LOG_HEADER_BYTES, 0);
    result = result < 0 ? result : io_file_sync(log->io, segment->fd);
    if (result == 0) {
        log_segment_leave(log, segment);
    }
    return (int)result;
}

static int each_segment(struct log *log, int (*act)(struct log *, struct log_segment *), bool empty)
{
    int result = 0;
    for (uint32_t i = log->oldest; i <= log->newest && result == 0; i++) {
        struct log_segment *segment = log_segment_at(log, i);
        bool chosen = segment != NULL && !segment->sealed && segment->empty == empty;
        result = chosen ? act(log, segment) : 0;
    }
    return result;
}

/* Another crash or failure may come in between. So all records are safe before the first footer
 * leaves out what a later one made void; all are sealed before any is dropped, and the newest is
 * dropped last: its header says where the others end. */
static int settle_segments(struct log *log)
{
    int result = each_segment(log, make_safe, false);
    result = result == 0 ? each_segment(log, seal_blocking, false) : result;
    return result == 0 ? each_segment(log, drop_segment, true) : result;
}

int log_begin(struct log *log, struct error *error)
{
    int result = settle_segments(log);
    if (result != 0) {
        return error_set(error, 74, "spool %s: cannot write the end of a segment: %s",
                         log->directory, strerror(-result));
    }
    log->cut_count = 0; /* the footers say it now */
    next_start_count(log);
    if (log_prepare_blocking(log, error) != 0) {
        return -1;
    }
    struct log_segment *next = log->next;
    log->next = NULL;
    log->begun = true;
    log_begin_segment(log, next, log->last_generation, log->last_end);
    log_prepare_start(log);
    return 0;
}
