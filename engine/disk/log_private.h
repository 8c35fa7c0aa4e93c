/* What the files of the log share. Nothing else includes it.
 *
 *   log.c          life, sequences, space, the table of segments
 *   log_stage.c    appends into the ring, the ring into the open segment
 *   log_sync.c     group commit, sealing's order, what a failed sync means
 *   log_prepare.c  the next segment, ahead of need
 *   log_footer.c   footers, built piece by piece
 *   log_open.c     lock, ownership, headers
 *   log_recover.c  what a restart finds, and the fresh segment it begins
 *   log_stream.c   large sequential reads, with or without waiting
 *   log_walk.c     reading segments again */
#ifndef DISK_LOG_PRIVATE_H
#define DISK_LOG_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/timers.h"
#include "disk/log.h"
#include "disk/log_format.h"
#include "io/io.h"

#define LOG_RESERVE_SEGMENTS 2
#define LOG_SEGMENTS_MAX     16384
#define LOG_OVERDRAFT        4 /* segments beyond the limit, to get a full log going again */
#define LOG_RING_BYTES       (8u * 1024 * 1024)
#define LOG_WRITE_MAX        (1024u * 1024) /* bytes handed to the kernel in one write */
#define LOG_WRITES_MAX       16             /* in flight */
#define LOG_STAGE_EAGER      (256u * 1024)  /* staged bytes that are written without being asked */
#define LOG_WRITE_AFTER_MS   4              /* the promise is 5 */
#define LOG_PIECE_BYTES      (256u * 1024)  /* of footer, built in one go */
#define LOG_ENTRY_SPACING    192            /* segments are closed early if records are smaller */
#define LOG_BEGIN            15 /* record type: ref = generation before, index = its end */
#define LOG_PATH_MAX         512

_Static_assert(LOG_PIECE_BYTES >= LOG_DETAIL_MAX + LOG_ENTRY_BYTES, "an entry fits a piece");

enum log_segment_state {
    SEGMENT_FREE,
    SEGMENT_PREPARING,
    SEGMENT_NEXT,
    SEGMENT_OPEN,
    SEGMENT_SEALING,
    SEGMENT_CLOSED, /* sealed and synced; or failed, then its entries stay in memory */
};

struct log_segment {
    struct list_node node; /* in log.free, oldest first, while free */
    uint64_t bytes;        /* of the file */
    uint32_t file_number, generation;
    int fd;
    enum log_segment_state state;
    bool damaged; /* set aside instead of being used again */
    bool sealed;  /* has a footer on disk */
    bool empty;   /* a restart found nothing in it that counts: it is dropped */
    _Atomic uint32_t readers;
    uint32_t records_end;        /* offset */
    uint32_t before, before_end; /* the segment it follows, and where that ended */
    uint64_t base_position;      /* position of offset LOG_HEADER_BYTES */
    int64_t live_bytes;
    uint64_t event_bytes, event_first, event_last;
    uint32_t event_count;
    struct log_trailer trailer; /* if sealed */
    /* What was appended, as footer entries; while open, sealing, or closed without a footer. */
    struct log_entry *entries;
    uint32_t entry_count, entry_max;
    uint64_t detail_bound; /* bytes of detail the footer may need at most */
};

struct log_write {
    struct io_op op;
    struct log *log;
    struct iovec iov[2];
    uint64_t to; /* position after it */
    bool synced; /* and on stable storage when it is done */
    int result;
    bool finished;
};

enum log_seal_state {
    SEAL_NONE,
    SEAL_RECORDS,
    SEAL_FOOTER,
    SEAL_SYNC_FOOTER,
    SEAL_TRAILER,
    SEAL_SYNC_TRAILER,
};

/* Builds a footer piece by piece. */
struct log_footer {
    struct log_segment *segment;
    uint32_t next_entry;
    bool rest; /* the second section */
    uint32_t first_bytes, rest_bytes, first_crc, rest_crc;
};

enum log_prepare_state {
    PREPARE_NONE,
    PREPARE_HEADER,
    PREPARE_SYNC,
};

struct log {
    struct io *io;
    struct log_options options;
    char directory[LOG_PATH_MAX - 64];
    int lock_fd;
    uint64_t id, sequence_count;
    uint32_t start_count;
    bool begun, quiescing, stopped;
    uint32_t last_generation, last_end; /* where the log ended at the start or a failure */

    /* Segments: by generation in a ring of pointers, the files in an array by number. */
    struct log_segment *_Atomic *table;
    uint32_t table_mask;
    uint32_t oldest, newest;
    struct log_segment **files;
    bool names_unsynced; /* a sync of the directory failed: no segment is begun before one works */
    uint32_t file_max, segment_count, used_count;
    struct list free;
    struct list gone; /* removed; memory kept until the end */
    struct log_segment *open, *sealing, *next;
    uint32_t creatable; /* segments that may still be made, as of the last look at the volume */
    uint64_t live_bytes;
    uint32_t tail_first;    /* the first generation that a restart found unsealed */
    uint64_t sequence_seen; /* the highest that a restart found */
    struct log_cut cuts[LOG_CUTS_MAX];
    uint32_t cut_count;

    /* Staging: positions appended >= submitted >= written >= synced. */
    char *ring;
    uint64_t ring_bytes, ring_base;
    uint64_t appended, submitted, written, synced;
    uint64_t due, wanted; /* to be written as soon as a write is free; and to be synced */
    struct log_write writes[LOG_WRITES_MAX];
    uint32_t write_first, write_count;
    bool room_wanted;
    struct timer write_timer, sync_timer;

    /* Sync and seal. */
    struct io_op sync_op;
    uint64_t sync_target;
    enum log_seal_state seal_state;
    struct log_footer footer;
    struct io_op seal_op;
    struct iovec seal_iov;
    char *piece; /* LOG_PIECE_BYTES */
    uint64_t footer_offset;

    /* Failure: waits until all is home, then a fresh segment is prepared with the cuts. */
    bool failing;
    bool ending;        /* the second in a row: only the cuts are written, then it ends */
    bool cut_unwritten; /* what was cut is not yet void on disk */
    uint32_t failures_in_row;

    /* Preparing the next segment. */
    enum log_prepare_state prepare_state;
    struct log_segment *preparing;
    struct io_op prepare_op;
    struct iovec prepare_iov;
    uint32_t prepare_failures;
    int prepare_result; /* of what came home while quiet */
    bool starved;       /* an append that must not wait for long finds no segment */
    bool header_stale;  /* cuts were added since it was written */
    struct timer prepare_timer;
    char *header; /* LOG_HEADER_BYTES */

    struct log_entry *spare_entries; /* of a closed segment, for the next */
    uint32_t spare_entry_max;

    uint32_t walks_abandoned; /* destroyed with a read under way */

    struct log_counters counters;
};

/* log.c */
struct log_segment *log_segment_at(const struct log *log, uint32_t generation);
void log_segment_enter(struct log *log, struct log_segment *segment, uint32_t generation);
/* Takes the segment out of the log; it is free then, or set aside if damaged. */
void log_segment_leave(struct log *log, struct log_segment *segment);
void log_segment_path(const struct log *log, uint32_t file_number, char out[LOG_PATH_MAX]);
/* Registers a file; NULL: no memory or too many. */
struct log_segment *log_segment_add(struct log *log, uint32_t file_number, int fd, uint64_t bytes);
void log_segment_remove(struct log *log, struct log_segment *segment); /* closes, forgets */
void log_segment_delete(struct log *log, struct log_segment *segment); /* the file too */
bool log_entries_take(struct log *log, struct log_segment *segment);
void log_entries_drop(struct log *log, struct log_segment *segment);
void log_segment_note_event(struct log_segment *segment, const struct log_record *record);
/* Names were made, changed or removed: 0 once that is on disk, else -errno. */
int log_names_changed(struct log *log);
void log_look_at_volume(struct log *log);
uint32_t log_segments_free(const struct log *log);
uint64_t log_segments_allowed(const struct log *log);

/* log_stage.c */
void log_stage_init(struct log *log);
void log_stage_submit(struct log *log);
/* `before` and `before_end`: the generation that it follows and the offset where that ended. */
void log_begin_segment(struct log *log, struct log_segment *segment, uint32_t before,
                       uint32_t before_end);
void log_room_now(struct log *log);

/* log_sync.c */
void log_sync_init(struct log *log);
void log_sync_advance(struct log *log);
bool log_syncing(const struct log *log);
/* Whether the next write may be its own sync: nothing before it waits for one. */
bool log_write_may_sync(const struct log *log);
void log_synced_by_write(struct log *log, uint64_t position);
void log_seal_start(struct log *log);
void log_fail(struct log *log, const char *what, int result);
bool log_all_home(const struct log *log);
void log_failure_advance(struct log *log);
void log_failure_end(struct log *log);
void log_stop(struct log *log);

/* log_footer.c */
void log_footer_begin(struct log_footer *footer, struct log_segment *segment);
/* The next bytes, at most LOG_PIECE_BYTES; 0: complete. */
uint32_t log_footer_piece(struct log *log, struct log_footer *footer, char *out);
void log_footer_trailer(struct log *log, const struct log_footer *footer, uint32_t footer_offset,
                        char out[LOG_TRAILER_BYTES]);
uint64_t log_footer_bound(const struct log_segment *segment);
uint64_t log_detail_bound(const struct log_record *record);

/* log_stream.c: bytes [from, to) of a segment file, read ahead into one buffer. */
struct log_stream {
    struct io *io;
    int fd;
    uint64_t next, to; /* file offsets: next to be read, end */
    char *buffer;
    size_t capacity, start, end;
    struct io_op op;
    void (*filled)(struct log_stream *stream); /* NULL: blocking */
    int error;
};
/* As io_file_read_at; an error is believed only when it has come several times. */
int64_t log_read_at(struct io *io, int fd, void *data, size_t len, uint64_t offset);
void log_stream_init(struct log_stream *stream, struct io *io, char *buffer, size_t capacity,
                     void (*filled)(struct log_stream *stream));
void log_stream_begin(struct log_stream *stream, int fd, uint64_t from, uint64_t to);
/* The next `len` bytes, or NULL: being read (then `filled` is called), at the end, or failed. */
const char *log_stream_peek(struct log_stream *stream, size_t len);
void log_stream_skip(struct log_stream *stream, uint64_t len);
static inline uint64_t log_stream_offset(const struct log_stream *stream)
{
    return stream->next - (stream->end - stream->start);
}

/* log_prepare.c */
void log_prepare_init(struct log *log);
void log_prepare_start(struct log *log);
void log_prepare_again(struct log *log); /* after a failure: the header must know the cuts */
/* At start: the same, blocking. */
int log_prepare_blocking(struct log *log, struct error *error);

#endif
