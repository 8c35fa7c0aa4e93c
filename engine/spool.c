#include "spool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/logger.h"
#include "spool_private.h"

#define GATE_EVERY_MS 100
#define STOP_POLL_MS  1
#define MESSAGES_MAX  ((size_t)1 << 32)

/* ---- messages ----------------------------------------------------------------------------- */

static bool has_id(const struct map_entry *entry, const void *id)
{
    return entry->hash == *(const uint64_t *)id;
}

struct message *spool_find(const struct spool *spool, uint64_t id)
{
    struct map_entry *entry = map_find(&spool->messages, id, has_id, &id);
    return entry == NULL ? NULL : CONTAINER_OF(entry, struct message, entry);
}

bool spool_insert(struct spool *spool, struct message *message, uint64_t id)
{
    assert(id != 0);
    return map_insert(&spool->messages, id, &message->entry);
}

/* Near enough to the record's size, and the same each time it is asked. */
uint64_t spool_message_bytes(const struct message *message)
{
    return log_record_size(64 + message_text_len(message) + 8 * (uint64_t)message->rcpt_count);
}

void spool_message_done(struct spool *spool, struct message *message)
{
    log_count_live(spool->log, message->record_place, -(int64_t)spool_message_bytes(message));
    for (uint32_t i = 0; i < message_chunk_count(message); i++) {
        uint64_t place = atomic_load(message_chunk_word(message, i));
        if (place != 0) {
            log_count_live(spool->log, place,
                           -(int64_t)log_record_size(message_chunk_len(message, i)));
        }
    }
    map_remove(&spool->messages, &message->entry);
    body_list_drop(spool, message_body_list(message));
    message_free(message);
}

/* ---- the gate ----------------------------------------------------------------------------- */

struct verdict {
    enum spool_answer answer;
    const char *why;
};

static struct verdict judge(const struct spool *spool, const struct log_space *space,
                            uint64_t taken)
{
    const char *hold = follow_hold(spool);
    if (log_failed(spool->log)) {
        return (struct verdict){SPOOL_FAILED, "writing to the spool failed"};
    }
    if (hold != NULL) {
        return (struct verdict){SPOOL_FULL, hold};
    }
    uint64_t booked = atomic_load_explicit(&spool->booked_rcpts, memory_order_relaxed);
    if (taken + booked * SPOOL_OUTCOME_BYTES > space->capacity_bytes / 100 * SPOOL_ACCEPT_PERCENT) {
        return (struct verdict){SPOOL_FULL, "the spool is full"};
    }
    if (space->segments_free * space->segment_bytes <= space->reserve_bytes) {
        return (struct verdict){SPOOL_FULL, "the spool is being compacted"};
    }
    if (booked >= spool->options.max_recipients) {
        return (struct verdict){SPOOL_FULL, "too many recipients are queued"};
    }
    return (struct verdict){SPOOL_OK, NULL};
}

static void publish(struct spool *spool, const struct log_space *space)
{
    const struct log_counters *counters = log_counters(spool->log);
    uint64_t put = 0, taken = 0;
    for (uint32_t i = 0; i < spool->options.workers; i++) {
        /* Another worker's count may be a little old. */
        put += atomic_load_explicit(&spool->workers[i].put_count, memory_order_relaxed);
        taken += atomic_load_explicit(&spool->workers[i].taken_count, memory_order_relaxed);
    }
    const uint64_t numbers[SPOOL_NUMBERS] = {
        space->segments,
        space->segments_free,
        space->used_bytes,
        space->live_bytes,
        space->capacity_bytes + space->reserve_bytes,
        map_count(&spool->messages),
        spool->open_rcpts,
        counters->appended_bytes,
        counters->syncs,
        counters->sync_failures,
        counters->reclaimed_segments,
        counters->damaged_records,
        put > taken ? put - taken : 0,
    };
    for (int i = 0; i < SPOOL_NUMBERS; i++) {
        atomic_store_explicit(&spool->published[i], numbers[i], memory_order_relaxed);
    }
}

void spool_update_gate(struct spool *spool)
{
    struct log_space space;
    log_space(spool->log, &space);
    uint64_t taken = space.live_bytes + follow_held_bytes(spool);
    struct verdict verdict = judge(spool, &space, taken);
    uint64_t limit = space.capacity_bytes / 100 * SPOOL_ACCEPT_PERCENT;
    atomic_store(&spool->gate_why, verdict.why);
    atomic_store(&spool->gate, (int)verdict.answer);
    atomic_store(&spool->bookable_rcpts, limit > taken ? (limit - taken) / SPOOL_OUTCOME_BYTES : 0);
    atomic_store(&spool->attempts_held,
                 log_failed(spool->log) ||
                     taken > space.capacity_bytes / 100 * SPOOL_ATTEMPT_PERCENT);
    publish(spool, &space);
}

static void on_gate_timer(struct timer *timer)
{
    struct spool *spool = CONTAINER_OF(timer, struct spool, gate_timer);
    follow_check_lag(spool);
    spool_update_gate(spool);
    reclaim_consider(spool);
    timer_start(io_timers(spool->io), timer, io_now_ms(spool->io) + GATE_EVERY_MS);
}

enum spool_answer spool_accepting(struct spool *spool, const char **why)
{
    enum spool_answer answer = (enum spool_answer)atomic_load(&spool->gate);
    const char *text = atomic_load(&spool->gate_why);
    const char *refused = atomic_load(&spool->refused_why);
    if (answer == SPOOL_OK && refused != NULL) {
        *why = refused;
        return SPOOL_FULL;
    }
    *why = answer == SPOOL_OK || text == NULL ? "" : text;
    return answer;
}

void spool_refuse(struct spool *spool, const char *why)
{
    atomic_store(&spool->refused_why, why);
}

bool spool_attempts_held(const struct spool *spool)
{
    return atomic_load_explicit(&spool->attempts_held, memory_order_relaxed);
}

/* ---- what the log tells ------------------------------------------------------------------- */

static void on_synced(void *owner)
{
    struct spool *spool = owner;
    spool->synced_seen = log_synced(spool->log);
    keeper_commits_synced(spool);
    outcomes_synced(spool);
    barriers_synced(spool);
    follow_synced(spool);
    reclaim_synced(spool);
}

static void on_room(void *owner)
{
    struct spool *spool = owner;
    keeper_answer_failed(spool);
    outcomes_retry(spool);
    barriers_arm(spool);
    keeper_retry(spool);
    reclaim_room(spool);
    log_flush(spool->log);
}

static void on_lost(void *owner, uint64_t cut_place)
{
    struct spool *spool = owner;
    outcomes_lost(spool, cut_place);
    barriers_lost(spool);
    keeper_lost(spool);
    reclaim_lost(spool);
    follow_lost(spool);
    if (log_failed(spool->log)) {
        keeper_answer_failed(spool);
        keeper_retry(spool); /* to refuse what waits */
    }
    spool_update_gate(spool);
}

void spool_settle(struct spool *spool)
{
    log_resume(spool->log);
}

/* ---- life --------------------------------------------------------------------------------- */

static int make_workers(struct spool *spool)
{
    uint32_t count = spool->options.workers;
    spool->workers = aligned_alloc(64, count * sizeof *spool->workers);
    if (spool->workers == NULL) {
        return -1;
    }
    memset(spool->workers, 0, count * sizeof *spool->workers);
    bool made = true;
    for (uint32_t i = 0; i < count; i++) {
        struct spool_worker *worker = &spool->workers[i];
        worker->spool = spool;
        worker->index = i;
        worker->chunk_bytes_max = spool->options.upload_bytes_max / count;
        upload_worker_init(worker);
        made = outcome_worker_init(worker) && made;
    }
    return made ? 0 : -1;
}

static struct spool *make(struct io *io, const struct spool_options *options)
{
    struct spool *spool = calloc(1, sizeof *spool);
    if (spool == NULL) {
        return NULL;
    }
    spool->io = io;
    spool->options = *options;
    map_init(&spool->messages, MESSAGES_MAX);
    map_init(&spool->keyed, MESSAGES_MAX);
    list_init(&spool->uploads);
    list_init(&spool->commits);
    list_init(&spool->failed);
    list_init(&spool->waiting);
    list_init(&spool->batches);
    list_init(&spool->keyed_list);
    list_init(&spool->follow.followers);
    barrier_init(spool);
    timer_init(&spool->gate_timer, on_gate_timer);
    spool->payload = malloc(LOG_PAYLOAD_MAX);
    spool->copy_buffer = malloc(log_record_size(LOG_PAYLOAD_MAX));
    if (spool->payload == NULL || spool->copy_buffer == NULL || make_workers(spool) != 0 ||
        follow_init(spool) != 0) {
        spool_close(spool);
        return NULL;
    }
    return spool;
}

static int open_log(struct spool *spool, struct error *error)
{
    const struct spool_options *options = &spool->options;
    spool->log = log_open(spool->io,
                          &(struct log_options){
                              .directory = options->directory,
                              .segment_bytes = options->segment_bytes,
                              .max_bytes = options->max_bytes,
                              .min_free_bytes = options->min_free_bytes,
                              .delete_spare = options->delete_spare,
                              .sync_after_ms = options->journal_sync_ms,
                              .sync = options->sync,
                              .owner = {.owner = spool,
                                        .synced = on_synced,
                                        .room = on_room,
                                        .lost = on_lost,
                                        .seal = recover_seal},
                          },
                          error);
    if (spool->log == NULL) {
        return -1;
    }
    uint64_t began_us = io_now_us(spool->io);
    int result = recover(spool);
    if (result != 0) {
        return error_set(error, 74, "spool %s: reading it failed: %s", options->directory,
                         strerror(-result));
    }
    LOG_INFO("spool %s: %zu messages, %llu recipients found in %llu ms", options->directory,
             spool->recovered_count, (unsigned long long)spool->open_rcpts,
             (unsigned long long)(io_now_us(spool->io) - began_us) / 1000);
    if (log_begin(spool->log, error) != 0) {
        return -1;
    }
    return reclaim_init(spool) == 0 ? 0 : error_set(error, 71, "no memory for the spool");
}

struct spool *spool_open(struct io *io, const struct spool_options *options, struct error *error)
{
    assert(options->workers >= 1 && options->keeper < options->workers);
    struct spool *spool = make(io, options);
    if (spool == NULL) {
        error_set(error, 71, "no memory for the spool");
        return NULL;
    }
    if (open_log(spool, error) != 0) {
        spool_close(spool);
        return NULL;
    }
    spool_update_gate(spool);
    timer_start(io_timers(io), &spool->gate_timer, io_now_ms(io) + GATE_EVERY_MS);
    return spool;
}

void spool_attach(struct spool *spool, uint32_t worker, struct io *io)
{
    assert(worker < spool->options.workers);
    spool->workers[worker].io = io;
}

uint64_t spool_log_id(const struct spool *spool)
{
    return log_id(spool->log);
}

bool spool_is_fresh(const struct spool *spool)
{
    return log_start_count(spool->log) == 1;
}

void spool_set_index(struct spool *spool, uint32_t index)
{
    spool->index = index;
}

void spool_on_arrival(struct spool *spool, void (*arrived)(void *owner, struct message *message),
                      void *owner)
{
    spool->arrived = arrived;
    spool->arrived_owner = owner;
}

void spool_status(const struct spool *spool, struct spool_status *out)
{
    uint64_t numbers[SPOOL_NUMBERS];
    for (int i = 0; i < SPOOL_NUMBERS; i++) {
        numbers[i] = atomic_load_explicit(&spool->published[i], memory_order_relaxed);
    }
    *out = (struct spool_status){
        .segments = numbers[0],
        .segments_free = numbers[1],
        .bytes_used = numbers[2],
        .bytes_live = numbers[3],
        .bytes_max = numbers[4],
        .messages = numbers[5],
        .recipients = numbers[6],
        .appended_bytes = numbers[7],
        .syncs = numbers[8],
        .sync_failures = numbers[9],
        .reclaimed_segments = numbers[10],
        .damaged_records = numbers[11],
        .outcomes_unwritten = numbers[12],
        .hold_reason = atomic_load(&spool->gate_why),
    };
}

/* ---- stop --------------------------------------------------------------------------------- */

static bool all_taken(const struct spool *spool)
{
    for (uint32_t i = 0; i < spool->options.workers; i++) {
        if (!spool_outcome_passed(spool, i, spool_outcome_mark(spool, i))) {
            return false;
        }
    }
    return true;
}

static bool all_safe(const struct spool *spool)
{
    return log_failed(spool->log) || (list_empty(&spool->waiting) && list_empty(&spool->commits) &&
                                      list_empty(&spool->failed) && all_taken(spool) &&
                                      outcomes_settled(spool) && list_empty(&spool->barriers));
}

static void on_stop_poll(struct timer *timer)
{
    struct spool *spool = CONTAINER_OF(timer, struct spool, stop_timer);
    bool rests = all_safe(spool) && reclaim_idle(spool) && follow_idle(spool);
    if (rests) {
        log_quiesce(spool->log);
    } else {
        spool_settle(spool);
        log_want_sync(spool->log);
        log_flush(spool->log);
    }
    if (!rests || !log_idle(spool->log)) {
        timer_start(io_timers(spool->io), timer, io_now_ms(spool->io) + STOP_POLL_MS);
        return;
    }
    spool->stopping = false;
    spool->stopped(spool->stopped_owner);
}

void spool_stop(struct spool *spool, void (*stopped)(void *owner), void *owner)
{
    assert(!spool->stopping);
    spool->stopping = true;
    spool->stopped = stopped;
    spool->stopped_owner = owner;
    spool_flush(spool, spool->options.keeper);
    log_want_sync(spool->log);
    log_flush(spool->log);
    timer_init(&spool->stop_timer, on_stop_poll);
    timer_start(io_timers(spool->io), &spool->stop_timer, io_now_ms(spool->io));
}

static void free_messages(struct spool *spool)
{
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_walk(&spool->messages, &cursor)) != NULL) {
        struct message *message = CONTAINER_OF(entry, struct message, entry);
        free(message_body_list(message));
        message_free(message);
    }
    map_deinit(&spool->messages);
}

void spool_close(struct spool *spool)
{
    if (spool == NULL) {
        return;
    }
    timer_stop(io_timers(spool->io), &spool->gate_timer);
    timer_stop(io_timers(spool->io), &spool->stop_timer);
    barrier_deinit(spool);
    reclaim_deinit(spool);
    follow_deinit(spool);
    log_close(spool->log);
    for (uint32_t i = 0; spool->workers != NULL && i < spool->options.workers; i++) {
        upload_worker_deinit(&spool->workers[i]);
        outcome_worker_deinit(&spool->workers[i]);
    }
    free_messages(spool);
    keyed_deinit(spool);
    free(spool->spare_body);
    free(spool->workers);
    free(spool->recovered);
    free(spool->payload);
    free(spool->copy_buffer);
    free(spool);
}
