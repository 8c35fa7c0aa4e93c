/* The log on disk: records appended to segment files by one writer, synced together, found again
 * after a restart, reclaimed oldest first.
 *
 * Knows a record by its type, key and place, not what it means: its owner (the spool) says what
 * is live and what a footer must hold. Stands on io alone. Everything is called on one thread,
 * the keeper's, except log_pin and log_unpin, which any worker may call. Nothing waits but
 * log_open, log_recover and log_begin.
 *
 * A place is a segment's generation and an offset in it, (generation << 32) | offset, a multiple
 * of 8, never 0; a later place is a larger number. A position counts the bytes appended since
 * log_begin. Whatever lies at or before log_synced survives; what lies behind may be lost, and
 * after a failed sync it is, which the owner is told. */
#ifndef DISK_LOG_H
#define DISK_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "io/io.h"

struct log;

/* ---- records ------------------------------------------------------------------------------ */

enum log_type {
    LOG_CHUNK = 1,   /* ref: message id, index: number of the chunk; payload: body */
    LOG_MESSAGE = 2, /* sequence = message id, ref: chunk count, index: rcpt count; the commit */
    LOG_STATE = 3,   /* ref: message id, index: recipient; due, attempts, retry_index */
    LOG_KEYED = 4,   /* ref: hash of the key; payload: key and value */
    LOG_OUTCOME = 5, /* payload: event; with LOG_RCPT also what LOG_STATE holds */
};

enum log_flags {
    LOG_COPY = 1,  /* copied forward: its sequence is older than its neighbours' */
    LOG_EVENT = 2, /* the payload is an event for followers */
    LOG_RCPT = 4,  /* ref and index name a recipient */
    LOG_FINAL = 8, /* that recipient is done */
    LOG_RUN = 16,  /* a copied event that does not follow on the one copied before it */
};

/* What a record's head says, and its footer entry too: a restart needs nothing else of it. */
struct log_record {
    uint64_t sequence, ref;
    int64_t due_wall_ms;
    uint32_t index, len; /* len: payload bytes */
    uint16_t attempts;
    uint8_t type, flags, retry_index;
};

#define LOG_HEAD_BYTES     48
#define LOG_PAYLOAD_MAX    (4u * 1024 * 1024) /* bytes; also at most a third of a segment */
#define LOG_SEGMENT_MIN    (1024u * 1024)
#define LOG_SEGMENT_MAX    (1024u * 1024 * 1024)
#define LOG_SEGMENTS_LEAST 6 /* open, next, two in reserve, and two to turn over */

/* Bytes it takes in a segment. */
static inline uint64_t log_record_size(uint64_t len)
{
    return (LOG_HEAD_BYTES + len + 7) & ~UINT64_C(7);
}

/* The same with its entry in the footer, which is much beside a short record. (What the entry of a
 * message holds beyond its head is little beside the body.) */
static inline uint64_t log_record_cost(uint64_t len)
{
    return log_record_size(len) + LOG_HEAD_BYTES;
}

static inline uint32_t log_place_generation(uint64_t place)
{
    return (uint32_t)(place >> 32);
}

static inline uint32_t log_place_offset(uint64_t place)
{
    return (uint32_t)place;
}

/* ---- life --------------------------------------------------------------------------------- */

struct log_owner {
    void *owner;
    /* log_synced has moved on. */
    void (*synced)(void *owner);
    /* After -EAGAIN: an append may succeed now. */
    void (*room)(void *owner);
    /* A write or sync failed: nothing behind log_synced exists any more. The owner appends again
     * what must not be lost, when there is room. */
    void (*lost)(void *owner, uint64_t cut_place); /* every place from there on is void */
    /* A segment is sealed: false leaves the record out of the footer (it is dead for good);
     * true keeps it, with what is put into `detail`, at most 64 KiB (a message's payload, a keyed
     * state's); nothing put where there was a payload: a restart reads the record itself. */
    bool (*seal)(void *owner, const struct log_record *record, uint64_t place,
                 struct buffer *detail);
};

struct log_options {
    const char *directory;
    uint64_t segment_bytes;  /* of new segments */
    uint64_t max_bytes;      /* all segments together; UINT64_MAX: the volume is the limit */
    uint64_t min_free_bytes; /* left free on the volume, but for the segment a start needs */
    bool delete_spare;       /* at the start: segments that hold nothing any more */
    uint32_t sync_after_ms;  /* the longest that anything stays unsynced */
    bool sync;               /* no: log_synced follows the writes */
    struct log_owner owner;
};

/* Locks the directory and reads the segments' headers. Blocking. NULL with error: code as
 * sysexits (73 not ours or not writable, 74 I/O, 75 locked by another instance). */
struct log *log_open(struct io *io, const struct log_options *options, struct error *error);

/* What is on disk, in two passes over all segments, oldest first: all messages, then everything
 * else. `detail` as the seal callback gave it or the record's payload. Blocking; 0 or -errno. */
struct log_recovery {
    void *owner;
    void (*message)(void *owner, const struct log_record *record, uint64_t place,
                    struct bytes detail);
    void (*other)(void *owner, const struct log_record *record, uint64_t place,
                  struct bytes detail);
};
int log_recover(struct log *log, const struct log_recovery *recovery);

/* Seals where the log ended and begins a fresh segment with a new count of starts. Blocking.
 * 0, or -1 with error. From here on records may be appended. */
int log_begin(struct log *log, struct error *error);

/* Every operation home (log_idle); NULL is accepted. */
void log_close(struct log *log);
/* Stops timers and background work; log_idle tells when the last operation is home. log_resume
 * before the next append. */
void log_quiesce(struct log *log);
void log_resume(struct log *log);
bool log_idle(const struct log *log);

uint64_t log_id(const struct log *log);

/* How often it was begun, this time included; 65,535 may stand for more. */
uint32_t log_start_count(const struct log *log);

/* True for a place in the part of the log that a crash left unsealed. After log_recover. */
bool log_place_in_tail(const struct log *log, uint64_t place);

/* ---- appending ---------------------------------------------------------------------------- */

enum log_purpose {
    LOG_FOR_ACCEPTING, /* never uses the reserve */
    LOG_FOR_OUTCOMES,
    LOG_FOR_COPIES,
};

/* A number never used before in this log. */
uint64_t log_take_sequence(struct log *log);

/* Copies head and payload into the log's buffers. 0; -EAGAIN: no room now (see `room`); -ENOSPC:
 * space is used up for this purpose; -EIO: the log has failed for good; -EMSGSIZE. record->len is
 * set by the call. */
int log_append(struct log *log, enum log_purpose purpose, struct log_record *record,
               const struct bytes *parts, uint32_t part_count, uint64_t *place_out);

uint64_t log_position(const struct log *log); /* end of the last append */
uint64_t log_synced(const struct log *log);

/* Somebody waits for all that was appended so far: write at the next flush and sync as soon as it
 * is written. Without it a record is written within 5 ms and synced within sync_after_ms. */
void log_want_sync(struct log *log);

/* End of the keeper's turn: what is wanted is handed to the kernel, as one write that is also the
 * sync if nothing written before it waits for one. */
void log_flush(struct log *log);

/* True: a second failure in a row; nothing can be appended until a restart. */
bool log_failed(const struct log *log);
/* True: and not even the word that what was lost is void could be written: a restart may find
 * some of it, as far as it had reached the disk. */
bool log_in_doubt(const struct log *log);

/* ---- space -------------------------------------------------------------------------------- */

struct log_space {
    uint64_t capacity_bytes; /* usable at most, without the reserve of two segments */
    uint64_t used_bytes;     /* of segments that hold records */
    uint64_t live_bytes;
    uint32_t segments, segments_used, segments_free; /* free: could be taken at once or created */
    uint64_t reserve_bytes, segment_bytes;
};
void log_space(const struct log *log, struct log_space *out);

/* Counts `bytes` of the segment of this place as live, or (negative) no more. */
void log_count_live(struct log *log, uint64_t place, int64_t bytes);

struct log_counters {
    uint64_t appended_bytes, syncs, sync_failures, reclaimed_segments, damaged_records;
};
const struct log_counters *log_counters(const struct log *log);
void log_count_damaged(struct log *log, uint64_t place);

/* ---- the segments, oldest first ------------------------------------------------------------ */

uint32_t log_oldest(const struct log *log); /* generations */
uint32_t log_newest(const struct log *log);

struct log_segment_info {
    uint64_t live_bytes;
    uint64_t event_bytes;             /* of records with LOG_EVENT, as log_record_cost */
    uint64_t event_first, event_last; /* lowest and highest sequence among them; 0: none */
    uint32_t used_bytes;              /* of records */
    uint32_t event_count;
    bool closed;  /* sealed and synced, or failed: nothing is added to it any more */
    bool damaged; /* will be set aside */
};
/* False: no segment has this generation. */
bool log_segment_info(const struct log *log, uint32_t generation, struct log_segment_info *out);

/* The oldest segment is not needed any more: nothing in it is live, and that is synced. False:
 * a reader is still in it, try again later. */
bool log_release_oldest(struct log *log);

/* ---- reading ------------------------------------------------------------------------------ */

/* Pins the segment that *word points into: loads the word, counts itself in, looks again. The
 * place pinned, or 0 if the word was 0 or a hole. Any thread. */
uint64_t log_pin(struct log *log, const _Atomic uint64_t *word);
void log_unpin(struct log *log, uint64_t place);
/* Descriptor of a pinned place. */
int log_place_fd(const struct log *log, uint64_t place);

/* One walk over a closed segment's footer entries, or over the records of any segment as far as
 * they are synced, by large reads. One user at a time; the segment must not be released. */
struct log_walk;
struct log_walk *log_walk_create(struct log *log, void (*ready)(void *owner), void *owner);
void log_walk_destroy(struct log_walk *walk); /* also while busy; NULL is accepted */
bool log_walk_busy(const struct log_walk *walk);

/* -ENOENT: no such generation. */
int log_walk_entries(struct log_walk *walk, uint32_t generation);
int log_walk_records(struct log_walk *walk, uint32_t generation, uint32_t from_offset);

/* 1: the next one, valid until the next call; 0: `ready` will be called; -ENODATA: the end; else
 * -errno, -EBADMSG: the footer is damaged, and what it gave may not be all. For records `detail` is
 * the payload for types in `payload_types` (bit 1 << type), else empty. */
int log_walk_next(struct log_walk *walk, uint32_t payload_types, struct log_record *record,
                  uint64_t *place, struct bytes *detail);

/* The record that log_walk_next gave last comes once more. */
void log_walk_put_back(struct log_walk *walk);

/* Reads one whole record: `data` must hold log_record_size(len). done(0), or -errno, -EBADMSG:
 * damaged. The segment must not be released meanwhile. */
struct log_read {
    void (*done)(struct log_read *read, int result);
    struct log_record record; /* as read */
    struct bytes payload;     /* into data */
    /* private: */
    struct io_op op;
    struct log *log;
    uint64_t place;
    char *data;
    uint32_t len;
};
void log_read_record(struct log *log, struct log_read *read, uint64_t place, char *data,
                     uint32_t len);

#endif
