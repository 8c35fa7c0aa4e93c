/* The spool: durable messages, the state of their recipients, and their outcomes.
 *
 * Stands on disk/log.h. One spool has one keeper, a worker, that alone writes its log; the other
 * workers reach it by letters, hidden behind these calls. Every call names the calling worker and
 * is made on its thread; every callback comes on the thread of the worker that asked. Nothing
 * here knows SMTP, queues or policy.
 *
 * The promises: `answered(SPOOL_OK)` only when message and body are on stable storage; an outcome
 * is written within 5 ms and synced within journal_sync_ms; a message is found after a restart
 * with every recipient state that was synced, and none that was final. */
#ifndef ENGINE_SPOOL_H
#define ENGINE_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/timers.h"
#include "io/io.h"
#include "io/mailbox.h"
#include "message.h"

struct spool;

struct spool_options {
    const char *directory;
    uint64_t segment_bytes;    /* 64–256 MiB in production; tests use less */
    uint64_t max_bytes;        /* spool-max-size; UINT64_MAX: the volume is the limit */
    uint64_t min_free_bytes;   /* left free on the volume */
    bool delete_spare;         /* segments that hold nothing any more go at the start */
    uint64_t max_recipients;   /* resident at once */
    uint64_t upload_bytes_max; /* memory lent to messages being received, all workers */
    uint32_t journal_sync_ms;
    bool sync; /* spool-sync: no = acknowledge before stable storage */
    uint32_t workers, keeper;
    struct mailboxes *mailboxes;
};

/* Takes the directory's lock, checks owner and kind of volume, reads the log. Blocking, at start,
 * with the keeper's io, before workers run. NULL with error (code: EX_CANTCREAT 73 not ours or
 * not writable, EX_TEMPFAIL 75 locked by another instance, EX_IOERR 74). */
struct spool *spool_open(struct io *io, const struct spool_options *options, struct error *error);

/* Each worker's io, before it uses the spool. */
void spool_attach(struct spool *spool, uint32_t worker, struct io *io);

/* What was found, after spool_open and before any append: every live message, its recipients with
 * due, attempts and retry_index as last synced and state RCPT_FINAL where they are done. */
void spool_each_message(struct spool *spool, void (*found)(void *owner, struct message *message),
                        void *owner);

uint64_t spool_log_id(const struct spool *spool);

/* The message_log_index of its messages, 0 unless set; before they are asked for. */
void spool_set_index(struct spool *spool, uint32_t index);

/* Messages that have just become durable, on the keeper's thread, before or in the same turn as
 * `answered`. The callee takes the recipients to their queues. */
void spool_on_arrival(struct spool *spool, void (*arrived)(void *owner, struct message *message),
                      void *owner);

/* ---- receiving a message ------------------------------------------------------------------ */

enum spool_answer {
    SPOOL_OK,     /* durable; upload->id_text is the queue id */
    SPOOL_FULL,   /* 452 4.3.1: space, memory or recipients; or a sink holds */
    SPOOL_FAILED, /* 451 4.3.0: write or sync failed; nothing of it exists */
    /* The same to the client, only as an answer to a commit: the disk did not even take the word
     * that the message is void. The next start may find it and deliver it, also where the client
     * has sent it again. */
    SPOOL_IN_DOUBT,
};

struct spool_upload {
    void (*answered)(struct spool_upload *upload, enum spool_answer answer); /* once per commit */
    void (*flowed)(struct spool_upload *upload); /* after a short write: go on writing */
    char id_text[21];
    /* private: (see spool_private.h for what the states mean) */
    struct letter letter;
    struct list_node wait_node; /* worker's: waits for a buffer */
    struct list_node node;      /* keeper's: uploads begun, or commits not yet synced */
    struct spool *spool;
    struct spool_chunk *chunk; /* being filled; NULL when idle: an idle session holds none */
    struct message *message;   /* from commit to answer */
    struct body_list *body;    /* keeper's: places of the chunks */
    void (*released)(struct spool_upload *upload);
    uint64_t upload_id, body_size, position;
    uint32_t worker, rcpts_reserved, chunks_sent, chunks_out, chunks_placed;
    uint8_t state, answer;
    bool forgotten;
};

/* Whether a new message is welcome at all: MAIL's question. SPOOL_OK, SPOOL_FULL (the text says
 * why, a static string) or SPOOL_FAILED. */
enum spool_answer spool_accepting(struct spool *spool, const char **why);

/* A reason of the engine's to let no message begin: spool_accepting says SPOOL_FULL with this text,
 * static, until NULL is set. Any thread. */
void spool_refuse(struct spool *spool, const char *why);

/* Starts one message on a zeroed or finished upload whose callbacks are set. */
void spool_upload_begin(struct spool *spool, uint32_t worker, struct spool_upload *upload);

/* Books one recipient (memory, and the space of its final outcome). False: 452 4.3.1. */
bool spool_upload_reserve_rcpt(struct spool_upload *upload);

/* Takes body bytes (CRLF lines, unstuffed); the count taken. Fewer than len: buffers are out;
 * stop reading and go on after `flowed`. A failed write is told at commit. */
size_t spool_upload_write(struct spool_upload *upload, const void *data, size_t len);

/* End of message: `answered` comes later, never inside this call. envelope is borrowed. */
void spool_upload_commit(struct spool_upload *upload, const struct envelope *envelope);

/* Drops the message, from any state but "commit sent"; after a commit it only forgets the
 * callbacks: the message stands, `answered` is not called, and the upload's memory must stay
 * until `released` (may run inside). */
void spool_upload_abort(struct spool_upload *upload, void (*released)(struct spool_upload *upload));

/* ---- reading a body ----------------------------------------------------------------------- */

struct spool_read {
    /* 0 or -errno (-EBADMSG: the record is damaged). data as asked. */
    void (*done)(struct spool_read *read, int result);
    /* private: */
    struct io_op op;
    struct spool *spool;
    const struct message *message;
    char *data;
    uint64_t offset, place;
    uint32_t worker, len, piece;
    bool abandoned;
    struct timer hole;
};

#define SPOOL_CHUNK_MAX (256 * 1024) /* bytes of body in one record */

/* Bytes [offset, offset + len) of the body into data; len at most SPOOL_CHUNK_MAX and inside the
 * body. The message must stay unfinished until done. */
void spool_read_body(struct spool *spool, uint32_t worker, struct spool_read *read,
                     const struct message *message, uint64_t offset, char *data, uint32_t len);

/* The read is of no interest any more: from here on the message is not looked at, `done` still
 * comes. Requires a read that is under way. */
void spool_read_abandon(struct spool_read *read);

/* ---- outcomes and states ------------------------------------------------------------------ */

enum spool_outcome_kind {
    SPOOL_EVENT,    /* nothing but the event (tq, r): no recipient */
    SPOOL_DEFERRED, /* recipient stays; due, attempts, retry_index are written with the event */
    SPOOL_FINAL,    /* recipient is the keeper's from this call on */
};

struct spool_outcome {
    enum spool_outcome_kind kind;
    struct rcpt *rcpt;  /* NULL for SPOOL_EVENT */
    struct bytes event; /* encoded by journal.h, copied; empty: state only */
};

/* Hands one outcome over; copied into the worker's batch, sent at the end of the turn. Always
 * succeeds: its room was reserved; see spool_outcomes_stalled. */
void spool_put_outcome(struct spool *spool, uint32_t worker, const struct spool_outcome *outcome);

/* Outcomes of one recipient must reach the keeper in order. Before a recipient that this worker
 * has put outcomes about goes to another worker: take a mark, wait until it is passed. */
uint64_t spool_outcome_mark(const struct spool *spool, uint32_t worker);
bool spool_outcome_passed(const struct spool *spool, uint32_t worker, uint64_t mark);

/* True: outcomes of this worker wait too long or are too many: start no transaction. */
bool spool_outcomes_stalled(const struct spool *spool, uint32_t worker);

/* True: a `t` for each recipient in flight would not fit any more: start no attempt. */
bool spool_attempts_held(const struct spool *spool);

/* Sends the worker's batch; the loop calls it once per turn. */
void spool_flush(struct spool *spool, uint32_t worker);

/* Small named states (queue state, pauses, rates, positions): the newest value of a key survives
 * restarts and reclaiming. An empty value deletes. Key at most 512 bytes, value at most 4 KiB;
 * both copied. Any worker. */
void spool_put_state(struct spool *spool, uint32_t worker, struct bytes key, struct bytes value);

/* One write of a state whose writer wants to know when it is safe. Lent from spool_write_state
 * until `stable` runs, on the thread of the worker that wrote. */
struct spool_write {
    void (*stable)(struct spool_write *write); /* may write again */
    /* private: */
    struct letter letter;
    uint32_t worker;
};

/* As spool_put_state; `stable` comes once the value survives a crash, never inside this call;
 * after a failed sync once it was written again; never, if the log has failed for good. */
void spool_write_state(struct spool *spool, uint32_t worker, struct bytes key, struct bytes value,
                       struct spool_write *write);

/* True: nothing had ever been kept here before this start. */
bool spool_is_fresh(const struct spool *spool);

/* At start only. */
void spool_each_state(struct spool *spool,
                      void (*found)(void *owner, struct bytes key, struct bytes value),
                      void *owner);

/* Waits until what the keeper's worker has handed over (states, outcomes, the batches it took in)
 * is on stable storage. */
struct spool_barrier {
    void (*durable)(struct spool_barrier *barrier); /* may start the next one */
    void *owner;                                    /* the caller's, of no meaning here */
    /* private: */
    struct list_node node;
    uint64_t position;
};

/* `durable` once everything handed over before this call survives a crash, never inside it; after
 * a failed sync once it was written again. On the keeper's thread. */
void spool_when_durable(struct spool *spool, struct spool_barrier *barrier);
/* Not waited for any more, the memory is the caller's again; one that is not waiting stays so. */
void spool_barrier_cancel(struct spool_barrier *barrier);

/* ---- following the journal ---------------------------------------------------------------- */

/* A sink reads every synced event in order of sequence, on the keeper's thread, from its position
 * on. Recent events come from memory, older ones from the segments. */
struct spool_follower {
    /* At most a batch per turn; the follower calls spool_follow_next when it can take more.
     * False: no room for this one; the batch ends here, and it comes first in the next. */
    bool (*event)(struct spool_follower *follower, uint64_t sequence, struct bytes event);
    void (*batch_end)(struct spool_follower *follower);
    char name[128];
    uint64_t max_lag_bytes; /* of journal behind; UINT64_MAX = no limit */
    bool hold;              /* at max_lag: accepting stops; else events are skipped, counted */
    /* private: */
    struct list_node node;
    struct spool *spool;
    struct log_walk *walk;  /* made when it first reads segments */
    uint64_t last_sequence; /* delivered */
    uint64_t durable_sequence;
    uint64_t tail_position; /* where it reads in memory, if that is still there */
    uint64_t lag_bytes, skipped;
    uint64_t backlog_bytes, backlog_count; /* at spool_follow */
    uint64_t bytes_before, count_before;   /* appended until then */
    uint64_t given_bytes, given_count;     /* delivered since */
    uint64_t mark_sequence, mark_bytes, mark_count, durable_bytes, durable_count;
    uint32_t generation; /* being walked, or walked last, in this pass over the extents */
    uint64_t extent_first, extent_last, pass_safe;
    uint32_t troubles; /* reads that failed */
    bool wants, walking, in_pass, extent_copy;
    char hold_text[200];
};

/* from_sequence: the last one whose effect is durable at the sink; 0 = from the oldest kept. What
 * a sink needs is kept from here on: follow before the first spool_flush of the keeper. */
void spool_follow(struct spool *spool, struct spool_follower *follower, uint64_t from_sequence);
void spool_follow_next(struct spool_follower *follower);
/* Everything up to `sequence` is durable at the sink: the journal need not keep it. */
void spool_follow_durable(struct spool_follower *follower, uint64_t sequence);
/* True: every event that is synced by now was handed to this follower. */
bool spool_follow_at_end(const struct spool_follower *follower);
void spool_unfollow(struct spool_follower *follower);

/* ---- life --------------------------------------------------------------------------------- */

struct spool_status {
    uint64_t segments, segments_free, bytes_used, bytes_live, bytes_max;
    uint64_t messages, recipients, appended_bytes, syncs, sync_failures, reclaimed_segments;
    uint64_t damaged_records, outcomes_unwritten;
    const char *hold_reason; /* NULL = accepting */
};
void spool_status(const struct spool *spool, struct spool_status *out);

/* Makes everything handed over durable, then calls stopped (keeper's thread). Followers go on
 * reading; before spool_close they are unfollowed and then it is stopped once more. */
void spool_stop(struct spool *spool, void (*stopped)(void *owner), void *owner);

/* After stop, or at once after a failed start; NULL is accepted. Messages are freed. */
void spool_close(struct spool *spool);

#endif
