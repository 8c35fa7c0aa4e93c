/* What the files of the spool share. Nothing else includes it.
 *
 *   spool.c           life, the gate (who is let in), status
 *   spool_upload.c    a message comes in: the worker's side
 *   spool_keeper.c    chunks and commits become records: the keeper's side
 *   spool_outcome.c   outcomes and states, in batches
 *   spool_barrier.c   waiting until what was handed over is safe
 *   spool_state.c     small named states
 *   spool_body.c      where the chunks of a body lie
 *   spool_read.c      bodies, from any worker
 *   spool_recover.c   what a restart finds; what footers hold
 *   spool_reclaim.c   copying forward, releasing segments
 *   spool_follow.c    sinks
 *
 * Whose memory is whose: an upload and its chunks are their worker's, and the keeper's while a
 * letter about them is under way. A batch's bytes are written by its worker and, up to `ready`,
 * the keeper's. Everything else in struct spool is the keeper's, but for the atomics. */
#ifndef ENGINE_SPOOL_PRIVATE_H
#define ENGINE_SPOOL_PRIVATE_H

#include <stdatomic.h>

#include "base/map.h"
#include "base/timers.h"
#include "disk/log.h"
#include "spool.h"

#define SPOOL_BATCH_BYTES     (256 * 1024)
#define SPOOL_BATCHES_MAX     16   /* per worker; beyond it outcomes count as stalled */
#define SPOOL_UNWRITTEN_MAX   4096 /* outcomes of a worker */
#define SPOOL_UNWRITTEN_MS    20
#define SPOOL_OUTCOME_BYTES   1024 /* booked per recipient for its final outcome */
#define SPOOL_ACCEPT_PERCENT  70
#define SPOOL_ATTEMPT_PERCENT 90
#define SPOOL_CHUNKS_OUT_MAX  4 /* of one upload */
#define SPOOL_STATE_BYTES     LOG_HEAD_BYTES
#define SPOOL_TAIL_BYTES      (4u * 1024 * 1024) /* recent events kept in memory */
#define SPOOL_FOLLOW_BATCH    256                /* events in one turn of a sink */
#define SPOOL_COPIES_MAX      1024               /* copied and not yet synced */
#define SPOOL_KEY_MAX         512
#define SPOOL_VALUE_MAX       4096

/* In rcpt->state_place, besides places: */
#define PLACE_NONE       UINT64_C(0)
#define PLACE_FINAL      (UINT64_MAX - 1) /* its outcome is in the log */
#define PLACE_FINAL_SAFE UINT64_MAX       /* … and synced */

static inline bool place_is_final(uint64_t place)
{
    return place >= PLACE_FINAL;
}

/* A body of several chunks. body_place holds its address + 1. The list stays as it is until the
 * message is freed; each place is changed by the keeper as chunks are copied forward. */
struct body_piece {
    _Atomic uint64_t place;
    uint64_t end; /* bytes of body up to here */
};

struct body_list {
    uint32_t count, capacity;
    struct body_piece pieces[];
};

struct spool;
/* NULL: no memory; the list stays as it was. Small ones are kept for the next message. */
struct body_list *body_list_grow(struct spool *spool, struct body_list *list, uint32_t count);
void body_list_drop(struct spool *spool, struct body_list *list); /* NULL is accepted */
/* NULL: the body is one chunk, message->body_place itself. */
struct body_list *message_body_list(const struct message *message);
/* The word of a chunk, or NULL. */
_Atomic uint64_t *message_chunk_word(struct message *message, uint32_t index);
uint32_t message_chunk_count(const struct message *message);
uint64_t message_chunk_len(const struct message *message, uint32_t index);

/* ---- buffers of bodies coming in ----------------------------------------------------------- */

enum { CHUNK_SMALL, CHUNK_MEDIUM, CHUNK_LARGE, CHUNK_CLASSES };

struct spool_chunk {
    struct letter letter;
    struct list_node node; /* free list */
    struct spool_upload *upload;
    uint32_t len, capacity;
    uint8_t size_class;
    char data[];
};

enum upload_state {
    UPLOAD_IDLE,
    UPLOAD_OPEN,
    UPLOAD_COMMITTING, /* the commit is the keeper's */
    UPLOAD_ABORTING,   /* the keeper is told to forget its chunks */
};

/* ---- outcomes ----------------------------------------------------------------------------- */

enum item_kind { ITEM_EVENT, ITEM_DEFERRED, ITEM_FINAL, ITEM_KEYED };

struct outcome_item {
    uint32_t size;      /* with what follows, a multiple of 8 */
    uint32_t event_len; /* or, keyed: value */
    uint16_t key_len, attempts;
    uint8_t kind, retry_index;
    union {
        struct rcpt *rcpt;         /* ITEM_DEFERRED, ITEM_FINAL */
        struct spool_write *write; /* ITEM_KEYED: told when it is safe, or NULL */
    };
    int64_t due_wall_ms;
    /* The keeper's: */
    uint64_t order; /* in which items were first appended, all workers'; 0: not yet */
    uint64_t sequence, position, place, old_place;
    uint64_t old_bytes; /* live at old_place */
    char bytes[];
};

struct outcome_batch {
    struct letter letter;
    struct list_node node;   /* worker's: free or full ones */
    struct list_node keeper; /* keeper's: batches with items not yet synced, in order */
    struct spool_worker *worker;
    uint32_t filled;  /* worker's */
    uint32_t ready;   /* worker's: lent up to here */
    uint32_t handed;  /* keeper's: what ready was when the letter came */
    uint32_t taken;   /* keeper's: appended up to here */
    uint32_t settled; /* keeper's: synced up to here */
    bool away;        /* worker's: with the keeper */
    bool here;        /* keeper's: the letter is in its hands */
    bool full;        /* nothing is added any more: comes home settled */
    _Alignas(16) char data[SPOOL_BATCH_BYTES];
};

struct spool_worker {
    _Alignas(64) struct spool *spool;
    struct io *io;
    uint32_t index;
    /* Uploads. */
    struct list chunks_free[CHUNK_CLASSES];
    uint64_t chunk_bytes, chunk_bytes_max; /* allocated */
    struct list flow_waiters;
    struct timer flow_timer;
    /* Outcomes. */
    struct outcome_batch *batch; /* being filled */
    struct list batches_free, batches_full;
    uint32_t batch_count, batches_used;
    _Atomic uint64_t put_count;
    uint64_t stalled_since_ms, stalled_taken;
    _Alignas(64) _Atomic uint64_t taken_count; /* the keeper's: appended to the log */
};

/* ---- named states ------------------------------------------------------------------------- */

struct keyed {
    struct map_entry entry;
    struct list_node node;
    uint64_t place, safe_place; /* newest; newest that is synced */
    uint64_t live_bytes;        /* counted at `place` */
    uint32_t key_len, value_len;
    char *value;
    char key[];
};

/* A run of events in one segment: in order, and with every event that is still needed between
 * its first and its last. */
struct extent {
    uint64_t first, last;
    uint32_t generation;
    bool copy;
};

/* ---- reclaiming --------------------------------------------------------------------------- */

enum copy_kind { COPY_MESSAGE, COPY_CHUNK, COPY_STATE, COPY_KEYED };

struct copy {
    enum copy_kind kind;
    uint32_t index;
    uint64_t id, from, to;
};

enum reclaim_state {
    RECLAIM_IDLE,
    RECLAIM_WALK, /* looks at one record after the other, copies what lives */
    RECLAIM_SYNC, /* what was copied waits for its sync; then places change */
};

struct reclaim {
    enum reclaim_state state;
    uint32_t generation;
    bool raw;          /* by records, not by footer: the footer did not show all that lives */
    bool ended;        /* the walk has */
    bool have;         /* record, place: looked at, not done with */
    bool broken;       /* this walk met an error: it did not see all */
    uint32_t troubles; /* reads that failed in this segment, and were tried again */
    bool events_only;  /* a further walk for a further run of events */
    bool has_run;
    struct extent run;   /* of events: copied in this walk */
    uint64_t run_copied; /* the last sequence of it that was */
    bool read_done;
    int read_result;
    struct log_walk *walk;
    struct log_record record;
    uint64_t place;
    struct log_read read;
    uint64_t position; /* end of the last copy */
    uint64_t not_before_ms;
    uint32_t copied_generation; /* its events were all copied, and that is synced */
    struct copy copies[SPOOL_COPIES_MAX];
    uint32_t copy_count;
    struct timer timer;
};

/* ---- following ---------------------------------------------------------------------------- */

struct follow {
    struct list followers;
    char *tail;                        /* SPOOL_TAIL_BYTES: the newest events; see spool_follow.c */
    uint64_t tail_first, tail_end;     /* positions in the stream of all events */
    uint64_t evicted_sequence;         /* the tail holds every event behind this one */
    uint64_t newest_sequence;          /* appended */
    uint64_t safe_sequence;            /* synced */
    uint64_t event_bytes, event_count; /* appended since the start */
    struct extent *extents;            /* in order of `first` */
    struct extent run;                 /* of copies, the newest; generation 0: none */
    bool run_breaks;                   /* the next copy begins a new one */
    uint32_t extent_count, extent_max;
    struct timer timer;
};

/* What spool_status tells, published by the keeper; in the order of struct spool_status. */
#define SPOOL_NUMBERS 13

struct spool {
    struct spool_options options;
    struct io *io;
    uint32_t index; /* among the logs of the engine */
    struct log *log;
    struct spool_worker *workers;
    void (*arrived)(void *owner, struct message *message);
    void *arrived_owner;

    struct map messages;
    struct message **recovered; /* until they were taken */
    size_t recovered_count, recovered_max;
    uint64_t recovered_lowest, recovered_highest; /* ids */
    size_t recovered_hint;                        /* the message found last is at or before this */
    bool recovery_short;
    uint64_t open_rcpts;

    struct list uploads; /* with chunks in the log, not yet committed; in order of id */
    struct list commits; /* appended, not yet synced */
    struct list failed;  /* to be refused once the log is in order again */
    struct list waiting; /* letters of chunks and commits that found no room */
    struct list batches; /* outcome batches with items not yet synced */
    bool batches_blocked;
    uint64_t items_appended;
    struct list barriers;
    struct timer barrier_timer;
    uint64_t synced_seen;         /* log_synced at the last callback */
    struct body_list *spare_body; /* so that a message of one chunk allocates nothing */
    char *payload;                /* LOG_PAYLOAD_MAX: a commit record being made */
    char *copy_buffer;            /* a record being copied */

    struct map keyed;
    struct list keyed_list;

    struct reclaim reclaim;
    struct follow follow;
    bool stopping;
    struct timer stop_timer, gate_timer;
    void (*stopped)(void *owner);
    void *stopped_owner;

    /* Read by all workers. */
    _Atomic uint64_t booked_rcpts;   /* resident or promised */
    _Atomic uint64_t bookable_rcpts; /* as many as the space allows */
    _Atomic int gate;                /* enum spool_answer */
    const char *_Atomic gate_why;
    const char *_Atomic refused_why; /* spool_refuse's, or NULL */
    _Atomic bool attempts_held;
    _Atomic uint64_t published[SPOOL_NUMBERS];
};

static inline bool is_keeper(const struct spool *spool, uint32_t worker)
{
    return worker == spool->options.keeper;
}

/* spool.c */
void spool_update_gate(struct spool *spool);
struct message *spool_find(const struct spool *spool, uint64_t id);
/* Gives it its id, too. False: no memory, or too many. */
bool spool_insert(struct spool *spool, struct message *message, uint64_t id);
uint64_t spool_message_bytes(const struct message *message); /* what it counts as live */
/* All its records become dead; out of the map; freed. */
void spool_message_done(struct spool *spool, struct message *message);
void spool_settle(struct spool *spool); /* before an append: the log may have been put to rest */

/* spool_upload.c */
void upload_worker_init(struct spool_worker *worker);
void upload_worker_deinit(struct spool_worker *worker);
void upload_chunk_home(struct spool_worker *worker, struct spool_chunk *chunk);
void upload_chunk_send_home(struct spool *spool, struct spool_chunk *chunk);
void upload_answered(struct letter *letter);

/* spool_keeper.c */
void keeper_on_chunk(struct letter *letter);
void keeper_on_commit(struct letter *letter);
void keeper_on_abort(struct letter *letter);
void keeper_retry(struct spool *spool);
void keeper_commits_synced(struct spool *spool);
void keeper_lost(struct spool *spool);
void keeper_answer_failed(struct spool *spool);

/* spool_outcome.c */
bool outcome_worker_init(struct spool_worker *worker);
void outcome_worker_deinit(struct spool_worker *worker);
void outcomes_retry(struct spool *spool);
void outcomes_synced(struct spool *spool);
void outcomes_lost(struct spool *spool, uint64_t cut_place);
/* Room for one item with `bytes` behind it, zeroed but for its size. */
struct outcome_item *outcome_item_take(struct spool_worker *worker, size_t bytes);
bool outcomes_settled(const struct spool *spool);
/* What is new in the worker's batch goes to the keeper. */
void outcomes_hand_over(struct spool *spool, uint32_t worker);

/* spool_barrier.c */
void barrier_init(struct spool *spool);
void barrier_deinit(struct spool *spool);
/* Positions for those that have none, if all that was handed over is appended by now. */
void barriers_arm(struct spool *spool);
void barriers_synced(struct spool *spool);
void barriers_lost(struct spool *spool);

/* spool_state.c */
/* Appends one value; as log_append. */
int keyed_append(struct spool *spool, struct outcome_item *item);
void keyed_safe(struct spool *spool, const struct outcome_item *item);
void keyed_lost(struct spool *spool, const struct outcome_item *item, uint64_t cut_place);
struct keyed *keyed_find(const struct spool *spool, struct bytes key);
void keyed_recovered(struct spool *spool, uint64_t place, struct bytes payload);
/* The payload into a footer's detail; false: it is not what the record had. */
bool keyed_detail(const struct keyed *keyed, uint32_t payload_len, struct buffer *out);
void keyed_moved(struct spool *spool, struct keyed *keyed, uint64_t to);
void keyed_count_all(struct spool *spool); /* after recovery: as live */
int keyed_copy(struct spool *spool, struct keyed *keyed, uint64_t *place_out);
void keyed_deinit(struct spool *spool);
/* The one whose newest record lies there. */
struct keyed *keyed_at(const struct spool *spool, uint64_t hash, uint64_t place);

/* A newer record of a key with this hash is synced. */
bool keyed_superseded(const struct spool *spool, uint64_t hash, uint64_t place);

/* spool_recover.c */
int recover(struct spool *spool);
bool recover_seal(void *owner, const struct log_record *record, uint64_t place,
                  struct buffer *detail);

/* spool_reclaim.c */
int reclaim_init(struct spool *spool);
void reclaim_deinit(struct spool *spool);
void reclaim_consider(struct spool *spool);
void reclaim_synced(struct spool *spool);
void reclaim_room(struct spool *spool);
void reclaim_lost(struct spool *spool);
bool reclaim_idle(const struct spool *spool);

/* spool_follow.c */
int follow_init(struct spool *spool);
void follow_deinit(struct spool *spool);
/* At the start, in the order of the log. */
void follow_found(struct spool *spool, const struct log_record *record, uint64_t place);
void follow_appended(struct spool *spool, uint64_t sequence, uint64_t place, struct bytes event);
void follow_synced(struct spool *spool);
/* Gives the sink what it wants, if there is anything. */
void follow_dispatch(struct spool *spool, struct spool_follower *follower);
void follow_lost(struct spool *spool);
/* The highest sequence that every sink which must not lose any has made durable. */
uint64_t follow_needed_after(const struct spool *spool);
/* The first run in this segment behind `first` that some sink still needs. */
bool follow_next_run(const struct spool *spool, uint32_t generation, uint64_t first,
                     struct extent *out);
/* Events of this run are copied now; the flag for the next of them; a copy was appended. */
void follow_copy_run(struct spool *spool, const struct extent *run);
uint8_t follow_copy_flag(const struct spool *spool);
void follow_copied(struct spool *spool, uint64_t sequence, uint64_t place, uint8_t flags);
void follow_released(struct spool *spool, uint32_t generation);
bool follow_reads(const struct spool *spool, uint32_t generation);
const char *follow_hold(const struct spool *spool); /* why accepting must stop, or NULL */
uint64_t follow_held_bytes(const struct spool *spool);
bool follow_idle(const struct spool *spool);
void follow_check_lag(struct spool *spool);

#endif
