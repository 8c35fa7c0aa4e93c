/* Reclaiming: the oldest segment is emptied by copying forward what lives in it, then released.
 *
 * The walk goes over the segment's footer. A record lives iff the index says that its place is
 * here; an event also if some sink has not made it durable. A copy is appended at once, but the
 * index goes on pointing at the original until the copy is synced: if that sync fails there is
 * nothing to undo. In memory are the message's envelope and every named state, so only chunks
 * and events are read from disk.
 *
 * When: at once if nothing in the oldest lives (that is the usual case, and costs nothing); by
 * copying when segments are short and there is dead space to gain, or when less than a quarter
 * of what is used lives, which bounds the work at a third of a copy per byte appended. */
#include <assert.h>
#include <errno.h>

#include "base/logger.h"
#include "message_code.h"
#include "spool_private.h"

#define STEP_RECORDS   512          /* looked at in one turn */
#define STEP_BYTES     (512 * 1024) /* copied in one turn */
#define SEGMENTS_QUIET 4            /* fewer are not worth copying */
#define RANGE_MAX      1024         /* generations more than there are segments */
#define RETRY_MS       200
#define TROUBLES_MAX   20 /* failed reads of one segment before they count as damage */

static void step(struct spool *spool);

/* ---- copies that wait for their sync ------------------------------------------------------- */

static void add_copy(struct spool *spool, enum copy_kind kind, uint64_t id, uint32_t index,
                     uint64_t to)
{
    struct reclaim *reclaim = &spool->reclaim;
    assert(reclaim->copy_count < SPOOL_COPIES_MAX);
    reclaim->copies[reclaim->copy_count++] =
        (struct copy){.kind = kind, .id = id, .index = index, .from = reclaim->place, .to = to};
    reclaim->position = log_position(spool->log);
}

static void move_live(struct spool *spool, const struct copy *copy, uint64_t bytes)
{
    log_count_live(spool->log, copy->from, -(int64_t)bytes);
    log_count_live(spool->log, copy->to, (int64_t)bytes);
}

static struct body_piece *upload_piece(struct spool *spool, uint64_t id, uint32_t index,
                                       struct spool_upload **upload_out, uint64_t *len_out)
{
    struct list_node *node = list_first(&spool->uploads);
    for (; node != NULL; node = list_next(&spool->uploads, node)) {
        struct spool_upload *upload = CONTAINER_OF(node, struct spool_upload, node);
        if (upload->upload_id == id && upload->body != NULL && index < upload->body->count) {
            struct body_piece *piece = &upload->body->pieces[index];
            *upload_out = upload;
            *len_out = piece->end - (index == 0 ? 0 : piece[-1].end);
            return piece;
        }
    }
    return NULL;
}

/* The word that holds a chunk's place, in a message or one still coming in; NULL: neither. */
static _Atomic uint64_t *chunk_word(struct spool *spool, uint64_t id, uint32_t index,
                                    uint64_t *len_out)
{
    struct message *message = spool_find(spool, id);
    struct spool_upload *upload;
    if (message != NULL) {
        _Atomic uint64_t *word = message_chunk_word(message, index);
        *len_out = word == NULL ? 0 : message_chunk_len(message, index);
        return word;
    }
    struct body_piece *piece = upload_piece(spool, id, index, &upload, len_out);
    return piece == NULL ? NULL : &piece->place;
}

static struct rcpt *rcpt_of(struct spool *spool, uint64_t id, uint32_t index)
{
    struct message *message = spool_find(spool, id);
    return message == NULL || index >= message->rcpt_count ? NULL : &message->rcpts[index];
}

static void apply(struct spool *spool, const struct copy *copy)
{
    struct message *message;
    struct rcpt *rcpt;
    struct keyed *keyed;
    _Atomic uint64_t *word;
    uint64_t len;
    switch (copy->kind) {
    case COPY_MESSAGE:
        message = spool_find(spool, copy->id);
        if (message != NULL && message->record_place == copy->from) {
            move_live(spool, copy, spool_message_bytes(message));
            message->record_place = copy->to;
        }
        return;
    case COPY_CHUNK:
        word = chunk_word(spool, copy->id, copy->index, &len);
        if (word != NULL && atomic_load(word) == copy->from) {
            move_live(spool, copy, log_record_size(len));
            atomic_store(word, copy->to);
        }
        return;
    case COPY_STATE:
        rcpt = rcpt_of(spool, copy->id, copy->index);
        if (rcpt != NULL && rcpt->state_place == copy->from) {
            move_live(spool, copy, SPOOL_STATE_BYTES);
            rcpt->state_place = copy->to;
        }
        return;
    case COPY_KEYED:
        keyed = keyed_at(spool, copy->id, copy->from);
        if (keyed != NULL) {
            keyed_moved(spool, keyed, copy->to);
        }
        return;
    }
}

/* ---- one record --------------------------------------------------------------------------- */

enum verdict_on_record { RECORD_DONE, RECORD_WAITS };

static enum verdict_on_record appended(int result)
{
    assert(result == 0 || result == -EAGAIN || result == -EIO);
    return result == 0 ? RECORD_DONE : RECORD_WAITS;
}

/* An error that is not the record's own may pass. */
static bool try_again(struct reclaim *reclaim, int result)
{
    return result < 0 && result != -EBADMSG && ++reclaim->troubles <= TROUBLES_MAX;
}

static void on_read(struct log_read *read, int result)
{
    struct spool *spool = CONTAINER_OF(read, struct spool, reclaim.read);
    spool->reclaim.read_done = !try_again(&spool->reclaim, result);
    spool->reclaim.read_result = result;
    step(spool);
}

/* True: the record is in the buffer (or could not be read: read_result). */
static bool have_payload(struct spool *spool)
{
    struct reclaim *reclaim = &spool->reclaim;
    if (!reclaim->read_done && !io_busy(&reclaim->read.op)) {
        reclaim->read.done = on_read;
        log_read_record(spool->log, &reclaim->read, reclaim->place, spool->copy_buffer,
                        reclaim->record.len);
    }
    return reclaim->read_done;
}

static bool is_final(const struct rcpt *rcpt)
{
    return place_is_final(rcpt->state_place);
}

/* Its last outcome is in the log, though not synced. A copy behind that would outlive it, and
 * bring the message back. */
static bool is_ending(const struct message *message)
{
    for (uint32_t i = 0; i < message->rcpt_count; i++) {
        if (!is_final(&message->rcpts[i])) {
            return false;
        }
    }
    return true;
}

static enum verdict_on_record copy_message(struct spool *spool)
{
    struct reclaim *reclaim = &spool->reclaim;
    struct message *message = spool_find(spool, reclaim->record.sequence);
    if (message == NULL || message->record_place != reclaim->place || is_ending(message)) {
        return RECORD_DONE;
    }
    struct buffer payload;
    buffer_init(&payload, spool->payload, LOG_PAYLOAD_MAX);
    if ((message->flags & MESSAGE_FOREIGN) == 0) {
        message_encode(message, message->rcpt_count > 1 ? is_final : NULL, &payload);
    } else {
        if (!have_payload(spool)) {
            return RECORD_WAITS;
        }
        if (reclaim->read_result != 0) {
            LOG_ERROR("spool: a message of a newer version is damaged and lost its record");
            return RECORD_DONE;
        }
        buffer_put_bytes(&payload, reclaim->read.payload);
        message_encode_final(message, is_final, &payload);
    }
    assert(!payload.overflowed);
    struct log_record record = reclaim->record;
    record.flags |= LOG_COPY;
    struct bytes part = buffer_bytes(&payload);
    uint64_t to;
    int result = log_append(spool->log, LOG_FOR_COPIES, &record, &part, 1, &to);
    if (result == 0) {
        add_copy(spool, COPY_MESSAGE, message_id(message), 0, to);
    }
    return appended(result);
}

static void chunk_damaged(struct spool *spool, _Atomic uint64_t *word, uint64_t len)
{
    struct reclaim *reclaim = &spool->reclaim;
    log_count_damaged(spool->log, reclaim->place);
    log_count_live(spool->log, reclaim->place, -(int64_t)log_record_size(len));
    atomic_store(word, 0); /* a hole: who reads it is told that the body is damaged */
}

static enum verdict_on_record copy_chunk(struct spool *spool)
{
    struct reclaim *reclaim = &spool->reclaim;
    uint64_t len, to;
    _Atomic uint64_t *word = chunk_word(spool, reclaim->record.ref, reclaim->record.index, &len);
    if (word == NULL || atomic_load(word) != reclaim->place) {
        return RECORD_DONE;
    }
    if (!have_payload(spool)) {
        return RECORD_WAITS;
    }
    if (reclaim->read_result != 0) {
        chunk_damaged(spool, word, len);
        return RECORD_DONE;
    }
    struct log_record record = reclaim->record;
    record.flags |= LOG_COPY;
    int result = log_append(spool->log, LOG_FOR_COPIES, &record, &reclaim->read.payload, 1, &to);
    if (result == 0) {
        add_copy(spool, COPY_CHUNK, record.ref, record.index, to);
    }
    return appended(result);
}

/* A state, an event, or both in one record; what is not needed any more is left behind. */
static bool event_is_needed(const struct spool *spool, const struct log_record *record)
{
    const struct reclaim *reclaim = &spool->reclaim;
    bool copy = (record->flags & LOG_COPY) != 0;
    return (record->flags & LOG_EVENT) != 0 && reclaim->has_run && copy == reclaim->run.copy &&
           record->sequence >= reclaim->run.first && record->sequence <= reclaim->run.last &&
           record->sequence > reclaim->run_copied && record->sequence > follow_needed_after(spool);
}

static enum verdict_on_record copy_outcome(struct spool *spool)
{
    struct reclaim *reclaim = &spool->reclaim;
    struct log_record record = reclaim->record;
    struct rcpt *rcpt =
        (record.flags & LOG_RCPT) == 0 ? NULL : rcpt_of(spool, record.ref, record.index);
    bool state_lives = rcpt != NULL && rcpt->state_place == reclaim->place;
    bool event_lives = event_is_needed(spool, &record);
    if (!state_lives && !event_lives) {
        return RECORD_DONE;
    }
    if (event_lives && !have_payload(spool)) {
        return RECORD_WAITS;
    }
    if (event_lives && reclaim->read_result != 0) {
        log_count_damaged(spool->log, reclaim->place);
        event_lives = false;
        if (!state_lives) {
            return RECORD_DONE;
        }
    }
    struct bytes event = event_lives ? reclaim->read.payload : bytes_of(NULL, 0);
    record.type = event_lives ? LOG_OUTCOME : LOG_STATE;
    record.flags = LOG_COPY | (event_lives ? LOG_EVENT | follow_copy_flag(spool) : 0) |
                   (record.flags & LOG_FINAL) |
                   (state_lives || (record.flags & LOG_FINAL) != 0 ? LOG_RCPT : 0);
    uint64_t to;
    int result = log_append(spool->log, LOG_FOR_COPIES, &record, &event, 1, &to);
    if (result != 0) {
        return appended(result);
    }
    if (event_lives) {
        follow_copied(spool, record.sequence, to, record.flags);
        reclaim->run_copied = record.sequence;
        reclaim->position = log_position(spool->log);
    }
    if (state_lives) {
        add_copy(spool, COPY_STATE, record.ref, record.index, to);
    }
    return RECORD_DONE;
}

static enum verdict_on_record copy_keyed(struct spool *spool)
{
    struct reclaim *reclaim = &spool->reclaim;
    struct keyed *keyed = keyed_at(spool, reclaim->record.ref, reclaim->place);
    if (keyed == NULL) {
        return RECORD_DONE;
    }
    uint64_t to;
    int result = keyed_copy(spool, keyed, &to);
    if (result == 0) {
        add_copy(spool, COPY_KEYED, reclaim->record.ref, 0, to);
    }
    return appended(result);
}

static enum verdict_on_record copy_record(struct spool *spool)
{
    if (spool->reclaim.events_only && spool->reclaim.record.type != LOG_OUTCOME) {
        return RECORD_DONE;
    }
    switch ((enum log_type)spool->reclaim.record.type) {
    case LOG_MESSAGE:
        return copy_message(spool);
    case LOG_CHUNK:
        return copy_chunk(spool);
    case LOG_STATE:
    case LOG_OUTCOME:
        return copy_outcome(spool);
    case LOG_KEYED:
        return copy_keyed(spool);
    }
    return RECORD_DONE;
}

/* ---- the walk ----------------------------------------------------------------------------- */

static void wait_for_sync(struct spool *spool, bool ended)
{
    struct reclaim *reclaim = &spool->reclaim;
    reclaim->state = RECLAIM_SYNC;
    reclaim->ended = ended;
    log_want_sync(spool->log);
    log_flush(spool->log);
    if (reclaim->position <= spool->synced_seen) {
        timer_start(io_timers(spool->io), &reclaim->timer, io_now_ms(spool->io));
    }
}

static void start_walk(struct spool *spool)
{
    struct reclaim *reclaim = &spool->reclaim;
    int result = reclaim->raw ? log_walk_records(reclaim->walk, reclaim->generation, 0)
                              : log_walk_entries(reclaim->walk, reclaim->generation);
    assert(result == 0);
    reclaim->run_copied = 0;
    if (reclaim->has_run) {
        follow_copy_run(spool, &reclaim->run);
    }
}

/* Events must stay in order, and those of several runs lie mixed in a segment: each further run
 * is a walk of its own. More than one is rare: a sink that has hung for a whole turn of the log. */
static bool next_walk(struct spool *spool)
{
    struct reclaim *reclaim = &spool->reclaim;
    if (!reclaim->has_run ||
        !follow_next_run(spool, reclaim->generation, reclaim->run.first, &reclaim->run)) {
        return false;
    }
    reclaim->events_only = true;
    start_walk(spool);
    return true;
}

/* False: nothing to look at now. */
static bool next_record(struct spool *spool)
{
    struct reclaim *reclaim = &spool->reclaim;
    struct bytes unused;
    int result = log_walk_next(reclaim->walk, 0, &reclaim->record, &reclaim->place, &unused);
    if (result == -ENODATA && next_walk(spool)) {
        result = log_walk_next(reclaim->walk, 0, &reclaim->record, &reclaim->place, &unused);
    }
    if (result < 0) {
        reclaim->broken = result != -ENODATA;
        wait_for_sync(spool, true);
    }
    reclaim->have = result == 1;
    reclaim->read_done = false;
    return reclaim->have;
}

static void step(struct spool *spool)
{
    struct reclaim *reclaim = &spool->reclaim;
    uint64_t began = log_position(spool->log);
    for (uint32_t i = 0; i < STEP_RECORDS; i++) {
        if (reclaim->state != RECLAIM_WALK || io_busy(&reclaim->read.op) ||
            (!reclaim->have && !next_record(spool))) {
            return;
        }
        if (reclaim->copy_count == SPOOL_COPIES_MAX) {
            wait_for_sync(spool, false);
            return;
        }
        if (copy_record(spool) == RECORD_WAITS) {
            return; /* for a read, or for room */
        }
        reclaim->have = false;
        if (log_position(spool->log) - began >= STEP_BYTES) {
            break;
        }
    }
    timer_start(io_timers(spool->io), &reclaim->timer, io_now_ms(spool->io));
}

static void on_walk_ready(void *owner)
{
    step(owner);
}

static void begin(struct spool *spool, uint32_t generation, bool raw)
{
    struct reclaim *reclaim = &spool->reclaim;
    reclaim->state = RECLAIM_WALK;
    reclaim->troubles = generation == reclaim->generation ? reclaim->troubles : 0;
    reclaim->generation = generation;
    reclaim->raw = raw;
    reclaim->have = reclaim->ended = reclaim->events_only = reclaim->broken = false;
    reclaim->copy_count = 0;
    reclaim->position = 0;
    reclaim->has_run = follow_next_run(spool, generation, 0, &reclaim->run);
    start_walk(spool);
    step(spool);
}

/* What neither footer nor records show is damaged beyond finding: bodies become holes, messages
 * are written again from memory. Rare enough to look at all messages. */
static void give_up_chunks(struct spool *spool)
{
    struct reclaim *reclaim = &spool->reclaim;
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_walk(&spool->messages, &cursor)) != NULL) {
        struct message *message = CONTAINER_OF(entry, struct message, entry);
        for (uint32_t i = 0; i < message_chunk_count(message); i++) {
            _Atomic uint64_t *word = message_chunk_word(message, i);
            reclaim->place = atomic_load(word);
            if (log_place_generation(reclaim->place) == reclaim->generation) {
                chunk_damaged(spool, word, message_chunk_len(message, i));
            }
        }
    }
}

static void finish(struct spool *spool)
{
    struct reclaim *reclaim = &spool->reclaim;
    struct log_segment_info info;
    reclaim->state = RECLAIM_IDLE;
    if (reclaim->broken && reclaim->troubles++ < TROUBLES_MAX) {
        begin(spool, reclaim->generation, true);
        return;
    }
    reclaim->copied_generation = reclaim->generation;
    if (!log_segment_info(spool->log, reclaim->generation, &info) || info.live_bytes == 0) {
        reclaim_consider(spool);
        return;
    }
    /* An outcome that is not synced yet still counts what it made void. */
    if (!outcomes_settled(spool) || !list_empty(&spool->commits)) {
        reclaim->not_before_ms = io_now_ms(spool->io) + RETRY_MS;
    } else if (!reclaim->raw) {
        begin(spool, reclaim->generation, true);
    } else {
        LOG_ERROR("spool: %llu bytes that must be in segment %08x are not found there",
                  (unsigned long long)info.live_bytes, reclaim->generation);
        give_up_chunks(spool);
        reclaim->not_before_ms = io_now_ms(spool->io) + 100 * RETRY_MS;
    }
}

void reclaim_synced(struct spool *spool)
{
    struct reclaim *reclaim = &spool->reclaim;
    if (reclaim->state != RECLAIM_SYNC || reclaim->position > spool->synced_seen) {
        return;
    }
    for (uint32_t i = 0; i < reclaim->copy_count; i++) {
        apply(spool, &reclaim->copies[i]);
    }
    reclaim->copy_count = 0;
    if (reclaim->ended) {
        finish(spool);
    } else {
        reclaim->state = RECLAIM_WALK;
        step(spool);
    }
}

static void on_timer(struct timer *timer)
{
    struct spool *spool = CONTAINER_OF(timer, struct spool, reclaim.timer);
    step(spool);
    reclaim_synced(spool);
}

void reclaim_room(struct spool *spool)
{
    step(spool);
}

void reclaim_lost(struct spool *spool)
{
    struct reclaim *reclaim = &spool->reclaim;
    reclaim->state = RECLAIM_IDLE; /* places never changed: it begins again */
    reclaim->copy_count = 0;
    reclaim->have = false;
    reclaim->not_before_ms = io_now_ms(spool->io) + RETRY_MS;
}

/* ---- when --------------------------------------------------------------------------------- */

static bool releasable(struct spool *spool, uint32_t generation)
{
    struct log_segment_info info;
    if (!log_segment_info(spool->log, generation, &info)) {
        return true; /* a gap in the numbers */
    }
    return info.closed && info.live_bytes == 0 && !follow_reads(spool, generation) &&
           (info.event_last <= follow_needed_after(spool) ||
            spool->reclaim.copied_generation == generation);
}

static void release_dead(struct spool *spool)
{
    uint32_t generation;
    bool released = false;
    while ((generation = log_oldest(spool->log)) < log_newest(spool->log) &&
           releasable(spool, generation) && log_release_oldest(spool->log)) {
        follow_released(spool, generation);
        released = true;
    }
    if (released) {
        spool_update_gate(spool);
    }
}

static bool worth_copying(const struct spool *spool, const struct log_segment_info *info)
{
    struct log_space space;
    log_space(spool->log, &space);
    uint64_t taken = space.live_bytes + follow_held_bytes(spool);
    uint64_t dead = space.used_bytes > taken ? space.used_bytes - taken : 0;
    bool is_short = (uint64_t)space.segments_free * space.segment_bytes <=
                    space.reserve_bytes + 2 * space.segment_bytes;
    uint32_t range = log_newest(spool->log) - log_oldest(spool->log);
    return (is_short && dead >= 2 * space.segment_bytes) || info->damaged ||
           (space.segments_used > SEGMENTS_QUIET && taken * 4 < space.used_bytes) ||
           range > 2 * space.segments_used + RANGE_MAX;
}

void reclaim_consider(struct spool *spool)
{
    struct reclaim *reclaim = &spool->reclaim;
    struct log_segment_info info;
    if (reclaim->state != RECLAIM_IDLE || spool->stopping || log_failed(spool->log)) {
        return;
    }
    release_dead(spool);
    uint32_t oldest = log_oldest(spool->log);
    if (oldest >= log_newest(spool->log) || io_busy(&reclaim->read.op) ||
        log_walk_busy(reclaim->walk) || io_now_ms(spool->io) < reclaim->not_before_ms ||
        !log_segment_info(spool->log, oldest, &info) || !info.closed ||
        !worth_copying(spool, &info)) {
        return;
    }
    begin(spool, oldest, false);
}

bool reclaim_idle(const struct spool *spool)
{
    const struct reclaim *reclaim = &spool->reclaim;
    return (reclaim->state == RECLAIM_IDLE || log_failed(spool->log)) &&
           !io_busy(&reclaim->read.op) && !log_walk_busy(reclaim->walk);
}

int reclaim_init(struct spool *spool)
{
    timer_init(&spool->reclaim.timer, on_timer);
    io_op_init(&spool->reclaim.read.op, NULL);
    spool->reclaim.walk = log_walk_create(spool->log, on_walk_ready, spool);
    return spool->reclaim.walk == NULL ? -1 : 0;
}

void reclaim_deinit(struct spool *spool)
{
    timer_stop(io_timers(spool->io), &spool->reclaim.timer);
    log_walk_destroy(spool->reclaim.walk);
}
