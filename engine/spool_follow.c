/* Sinks read the journal: every synced event, once, in order of sequence.
 *
 * The newest events are in memory, 4 MiB of them. A sink that is further behind reads segments,
 * whole and in large pieces, along a table of extents: runs of events, each in one segment, in
 * order, without gaps. A segment's own events are one run; events copied forward into it are
 * others. Runs are read in order of their first sequence, and what a sink has had is passed over:
 * so where copies and originals are both there, it does not matter. Reclaiming copies run by run,
 * and marks in the record where one begins that does not continue the last, so that the table can
 * be made again after a restart.
 *
 * How far a sink lags is counted in bytes of events: those there were when it came, those
 * appended since, less those it has made durable. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/logger.h"
#include "spool_private.h"

#define EXTENTS_AT_START 64
#define RETRY_MS         1000
#define TROUBLES_MAX     20 /* failed reads before what cannot be read is passed over */

/* ---- events in memory ----------------------------------------------------------------------
 *
 * An entry lies in one piece; where it would not fit before the end of the buffer, a filler
 * takes the rest. Positions grow for ever; the place in the buffer is the rest of a division. */

struct tail_entry {
    uint64_t sequence; /* 0: filler */
    uint32_t size;     /* with the head, padded to 8 */
    uint32_t len;
};

static struct tail_entry *tail_at(const struct follow *follow, uint64_t position)
{
    return (struct tail_entry *)(void *)(follow->tail + position % SPOOL_TAIL_BYTES);
}

static void evict(struct follow *follow)
{
    const struct tail_entry *entry = tail_at(follow, follow->tail_first);
    if (entry->sequence != 0) {
        follow->evicted_sequence = entry->sequence;
    }
    follow->tail_first += entry->size;
}

static struct tail_entry *tail_take(struct follow *follow, uint32_t size)
{
    while (follow->tail_end + size - follow->tail_first > SPOOL_TAIL_BYTES) {
        evict(follow);
    }
    struct tail_entry *entry = tail_at(follow, follow->tail_end);
    entry->size = size;
    follow->tail_end += size;
    return entry;
}

static void tail_put(struct follow *follow, uint64_t sequence, struct bytes event)
{
    uint32_t size = (uint32_t)((sizeof(struct tail_entry) + event.len + 7) & ~(size_t)7);
    uint32_t left = (uint32_t)(SPOOL_TAIL_BYTES - follow->tail_end % SPOOL_TAIL_BYTES);
    if (left < size) {
        /* The head of a filler of 8 bytes goes over the end of the buffer. */
        struct tail_entry *filler = tail_take(follow, left);
        filler->sequence = 0;
    }
    struct tail_entry *entry = tail_take(follow, size);
    entry->sequence = sequence;
    entry->len = (uint32_t)event.len;
    memcpy(entry + 1, event.data, event.len);
}

/* ---- extents ------------------------------------------------------------------------------ */

static struct extent *insert_extent(struct follow *follow, uint64_t sequence, uint32_t generation)
{
    if (follow->extent_count == follow->extent_max) {
        uint32_t max = follow->extent_max * 2;
        struct extent *larger = realloc(follow->extents, max * sizeof *larger);
        if (larger == NULL) {
            return NULL;
        }
        follow->extents = larger;
        follow->extent_max = max;
    }
    uint32_t at = follow->extent_count;
    while (at > 0 && follow->extents[at - 1].first > sequence) {
        at--;
    }
    memmove(&follow->extents[at + 1], &follow->extents[at],
            (follow->extent_count - at) * sizeof *follow->extents);
    follow->extent_count++;
    follow->extents[at] =
        (struct extent){.first = sequence, .last = sequence, .generation = generation};
    return &follow->extents[at];
}

/* A segment's own events. */
static bool note_own(struct follow *follow, uint64_t sequence, uint32_t generation)
{
    for (uint32_t i = follow->extent_count; i > 0; i--) {
        struct extent *extent = &follow->extents[i - 1];
        if (extent->generation == generation && !extent->copy) {
            assert(sequence > extent->last);
            extent->last = sequence;
            return true;
        }
        if (extent->generation < generation && !extent->copy) {
            break; /* own events of an older segment: there are none of this one yet */
        }
    }
    return insert_extent(follow, sequence, generation) != NULL;
}

static bool note_copy(struct follow *follow, uint64_t sequence, uint32_t generation, bool breaks)
{
    struct extent *run = &follow->run;
    if (!breaks && run->generation == generation && sequence > run->last) {
        for (uint32_t i = 0; i < follow->extent_count; i++) {
            struct extent *extent = &follow->extents[i];
            if (extent->copy && extent->generation == generation && extent->first == run->first) {
                extent->last = run->last = sequence;
                return true;
            }
        }
    }
    struct extent *made = insert_extent(follow, sequence, generation);
    if (made == NULL) {
        return false;
    }
    made->copy = true;
    *run = *made;
    return true;
}

void follow_found(struct spool *spool, const struct log_record *record, uint64_t place)
{
    struct follow *follow = &spool->follow;
    uint32_t generation = log_place_generation(place);
    bool noted = (record->flags & LOG_COPY) != 0 ? note_copy(follow, record->sequence, generation,
                                                             (record->flags & LOG_RUN) != 0)
                                                 : note_own(follow, record->sequence, generation);
    if (!noted) {
        spool->recovery_short = true;
    }
    if (record->sequence > follow->newest_sequence) {
        follow->newest_sequence = record->sequence;
        follow->safe_sequence = follow->evicted_sequence = record->sequence;
    }
}

void follow_appended(struct spool *spool, uint64_t sequence, uint64_t place, struct bytes event)
{
    struct follow *follow = &spool->follow;
    bool noted = note_own(follow, sequence, log_place_generation(place));
    assert(noted); /* one extent per segment: 24 bytes */
    follow->newest_sequence = sequence;
    follow->event_bytes += log_record_cost(event.len);
    follow->event_count++;
    tail_put(follow, sequence, event);
}

/* ---- copies ------------------------------------------------------------------------------- */

bool follow_next_run(const struct spool *spool, uint32_t generation, uint64_t first,
                     struct extent *out)
{
    const struct follow *follow = &spool->follow;
    uint64_t needed = follow_needed_after(spool);
    for (uint32_t i = 0; i < follow->extent_count; i++) {
        const struct extent *extent = &follow->extents[i];
        if (extent->generation == generation && extent->first > first && extent->last > needed) {
            *out = *extent;
            return true;
        }
    }
    return false;
}

/* Whether there are events between the newest run of copies and this one. */
static bool is_gap(const struct follow *follow, const struct extent *next)
{
    uint64_t from = follow->run.last;
    if (follow->run.generation == 0 || next->first <= from) {
        return true;
    }
    for (uint32_t i = 0; i < follow->extent_count; i++) {
        const struct extent *extent = &follow->extents[i];
        if (extent->last > from && extent->first < next->first) {
            return true;
        }
    }
    return false;
}

void follow_copy_run(struct spool *spool, const struct extent *run)
{
    spool->follow.run_breaks = is_gap(&spool->follow, run);
}

uint8_t follow_copy_flag(const struct spool *spool)
{
    return spool->follow.run_breaks ? LOG_RUN : 0;
}

void follow_copied(struct spool *spool, uint64_t sequence, uint64_t place, uint8_t flags)
{
    bool noted =
        note_copy(&spool->follow, sequence, log_place_generation(place), (flags & LOG_RUN) != 0);
    assert(noted);
    spool->follow.run_breaks = false;
}

void follow_released(struct spool *spool, uint32_t generation)
{
    struct follow *follow = &spool->follow;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < follow->extent_count; i++) {
        if (follow->extents[i].generation != generation) {
            follow->extents[kept++] = follow->extents[i];
        }
    }
    follow->extent_count = kept;
}

/* ---- giving events ------------------------------------------------------------------------ */

/* False: not taken, it has to come again. */
static bool give(struct spool_follower *follower, uint64_t sequence, struct bytes event)
{
    if (!follower->event(follower, sequence, event)) {
        return false;
    }
    follower->last_sequence = sequence;
    follower->given_bytes += log_record_cost(event.len);
    follower->given_count++;
    return true;
}

static void end_batch(struct spool_follower *follower)
{
    follower->wants = false;
    if (follower->durable_sequence >= follower->mark_sequence) {
        follower->durable_bytes = follower->mark_bytes;
        follower->durable_count = follower->mark_count;
        follower->mark_sequence = follower->last_sequence;
        follower->mark_bytes = follower->given_bytes;
        follower->mark_count = follower->given_count;
    }
    follower->batch_end(follower);
}

static bool is_followed(const struct spool_follower *follower)
{
    return follower->spool != NULL; /* it may leave in any of its callbacks */
}

/* From memory. */
static void give_recent(struct spool *spool, struct spool_follower *follower)
{
    struct follow *follow = &spool->follow;
    uint32_t given = 0;
    bool taken = true;
    if (follower->tail_position < follow->tail_first ||
        follower->tail_position > follow->tail_end) {
        follower->tail_position = follow->tail_first;
    }
    while (taken && follower->tail_position < follow->tail_end && given < SPOOL_FOLLOW_BATCH) {
        const struct tail_entry *entry = tail_at(follow, follower->tail_position);
        if (entry->sequence > follow->safe_sequence) {
            break;
        }
        if (entry->sequence > follower->last_sequence) {
            given++;
            taken =
                give(follower, entry->sequence, bytes_of((const char *)(entry + 1), entry->len));
            if (!is_followed(follower)) {
                return;
            }
        }
        follower->tail_position += taken ? entry->size : 0;
    }
    if (given > 0) {
        end_batch(follower);
    }
}

/* ---- from segments ------------------------------------------------------------------------ */

static bool covered_by_tail(const struct follow *follow, const struct spool_follower *follower)
{
    return follower->last_sequence >= follow->evicted_sequence;
}

/* The first behind the one walked last, in order, that has something new. */
static const struct extent *next_extent(const struct follow *follow,
                                        const struct spool_follower *follower)
{
    for (uint32_t i = 0; i < follow->extent_count; i++) {
        const struct extent *extent = &follow->extents[i];
        bool behind =
            extent->first > follower->extent_first ||
            (extent->first == follower->extent_first && extent->generation > follower->generation);
        if (behind && extent->last > follower->last_sequence) {
            return extent;
        }
    }
    return NULL;
}

static void on_walk_ready(void *owner)
{
    struct spool_follower *follower = owner;
    follow_dispatch(follower->spool, follower);
}

/* All extents were walked: what was synced when that began was seen, or is damaged. True: that
 * brought the sink on. */
static bool end_pass(struct spool *spool, struct spool_follower *follower)
{
    uint64_t evicted = spool->follow.evicted_sequence;
    uint64_t seen = evicted < follower->pass_safe ? evicted : follower->pass_safe;
    bool moves = seen > follower->last_sequence;
    follower->troubles = 0;
    follower->in_pass = false;
    follower->last_sequence = moves ? seen : follower->last_sequence;
    return moves;
}

/* False: nothing to be had from segments now. */
static bool start_walk(struct spool *spool, struct spool_follower *follower)
{
    if (!follower->in_pass) {
        follower->in_pass = true;
        follower->pass_safe = spool->follow.safe_sequence;
        follower->extent_first = 0;
        follower->generation = 0;
    }
    const struct extent *extent = next_extent(&spool->follow, follower);
    if (extent == NULL) {
        return end_pass(spool, follower);
    }
    if (follower->walk == NULL) {
        follower->walk = log_walk_create(spool->log, on_walk_ready, follower);
    }
    if (follower->walk == NULL) {
        return false;
    }
    int result = log_walk_records(follower->walk, extent->generation, 0);
    assert(result == 0); /* released segments have no extents */
    follower->generation = extent->generation;
    follower->extent_first = extent->first;
    follower->extent_last = extent->last;
    follower->extent_copy = extent->copy;
    follower->walking = true;
    return true;
}

static bool is_for(const struct spool *spool, const struct spool_follower *follower,
                   const struct log_record *record)
{
    bool copy = (record->flags & LOG_COPY) != 0;
    return (record->flags & LOG_EVENT) != 0 && copy == follower->extent_copy &&
           record->sequence > follower->last_sequence &&
           record->sequence >= follower->extent_first &&
           record->sequence <= follower->extent_last &&
           record->sequence <= spool->follow.safe_sequence;
}

/* One batch, or until a read is needed. True: the batch is over or a read is under way. */
static bool give_walked(struct spool *spool, struct spool_follower *follower)
{
    struct log_record record;
    struct bytes event;
    uint64_t place;
    uint32_t given = 0;
    bool taken = true;
    int result = 1;
    while (taken && given < SPOOL_FOLLOW_BATCH &&
           (result = log_walk_next(follower->walk, 1u << LOG_OUTCOME, &record, &place, &event)) ==
               1) {
        if (is_for(spool, follower, &record)) {
            given++;
            taken = give(follower, record.sequence, event);
            if (!is_followed(follower)) {
                return true;
            }
        }
    }
    if (!taken) {
        log_walk_put_back(follower->walk);
    }
    follower->walking = result >= 0;
    if (result < 0 && result != -ENODATA && ++follower->troubles <= TROUBLES_MAX) {
        /* It may pass: all runs again, a little later. */
        follower->in_pass = false;
        timer_start(io_timers(spool->io), &spool->follow.timer, io_now_ms(spool->io) + RETRY_MS);
        result = 0;
    }
    if (given > 0) {
        end_batch(follower);
    }
    return given > 0 || result == 0;
}

void follow_dispatch(struct spool *spool, struct spool_follower *follower)
{
    /* Each round but two ends an extent. */
    for (uint32_t i = 0; i <= spool->follow.extent_count + 2 && follower->wants; i++) {
        if (follower->walking) {
            if (give_walked(spool, follower)) {
                return;
            }
        } else if (covered_by_tail(&spool->follow, follower)) {
            follower->in_pass = false;
            give_recent(spool, follower);
            return;
        } else if (!start_walk(spool, follower)) {
            return; /* until the next sync */
        }
    }
}

static void dispatch_all(struct spool *spool)
{
    struct list_node *node = list_first(&spool->follow.followers);
    while (node != NULL) {
        struct spool_follower *follower = CONTAINER_OF(node, struct spool_follower, node);
        node = list_next(&spool->follow.followers, node);
        follow_dispatch(spool, follower);
    }
}

static void on_timer(struct timer *timer)
{
    dispatch_all(CONTAINER_OF(timer, struct spool, follow.timer));
}

void follow_synced(struct spool *spool)
{
    dispatch_all(spool);
}

void follow_lost(struct spool *spool)
{
    struct follow *follow = &spool->follow;
    /* What is lost gets new, higher numbers when it is appended again. */
    follow->tail_first = follow->tail_end;
    follow->evicted_sequence = follow->safe_sequence;
}

/* ---- the sinks ---------------------------------------------------------------------------- */

static void count_backlog(struct spool *spool, struct spool_follower *follower)
{
    struct log_segment_info info;
    for (uint32_t i = log_oldest(spool->log); i <= log_newest(spool->log); i++) {
        if (log_segment_info(spool->log, i, &info) &&
            info.event_last > follower->durable_sequence) {
            follower->backlog_bytes += info.event_bytes;
            follower->backlog_count += info.event_count;
        }
    }
}

void spool_follow(struct spool *spool, struct spool_follower *follower, uint64_t from_sequence)
{
    assert(follower->event != NULL && follower->batch_end != NULL);
    assert(!list_linked(&follower->node));
    follower->spool = spool;
    follower->walk = NULL;
    follower->walking = follower->wants = follower->in_pass = false;
    follower->last_sequence = follower->durable_sequence = from_sequence;
    follower->tail_position = 0;
    follower->troubles = 0;
    follower->skipped = 0;
    follower->backlog_bytes = follower->backlog_count = 0;
    follower->bytes_before = spool->follow.event_bytes;
    follower->count_before = spool->follow.event_count;
    follower->given_bytes = follower->given_count = 0;
    follower->mark_sequence = follower->mark_bytes = follower->mark_count = 0;
    follower->durable_bytes = follower->durable_count = 0;
    snprintf(follower->hold_text, sizeof follower->hold_text, "'%s' is too far behind",
             follower->name);
    count_backlog(spool, follower);
    follower->lag_bytes = follower->backlog_bytes; /* not only from the next look on */
    list_push_back(&spool->follow.followers, &follower->node);
    spool_update_gate(spool); /* before anyone starts what has no room */
}

void spool_follow_next(struct spool_follower *follower)
{
    struct spool *spool = follower->spool;
    assert(spool != NULL);
    follower->wants = true;
    if (follower->last_sequence < spool->follow.safe_sequence) {
        timer_start(io_timers(spool->io), &spool->follow.timer, io_now_ms(spool->io));
    }
}

void spool_follow_durable(struct spool_follower *follower, uint64_t sequence)
{
    struct spool *spool = follower->spool;
    assert(sequence <= follower->last_sequence);
    if (sequence <= follower->durable_sequence) {
        return;
    }
    follower->durable_sequence = sequence;
    if (sequence >= spool->follow.newest_sequence) {
        /* Nothing is behind: what was estimated begins anew. */
        follower->backlog_bytes = follower->backlog_count = 0;
        follower->bytes_before = spool->follow.event_bytes;
        follower->count_before = spool->follow.event_count;
        follower->given_bytes = follower->given_count = 0;
        follower->mark_bytes = follower->mark_count = follower->mark_sequence = 0;
        follower->durable_bytes = follower->durable_count = 0;
    }
}

bool spool_follow_at_end(const struct spool_follower *follower)
{
    return follower->last_sequence >= follower->spool->follow.safe_sequence;
}

void spool_unfollow(struct spool_follower *follower)
{
    log_walk_destroy(follower->walk);
    follower->walk = NULL;
    follower->walking = false;
    follower->spool = NULL;
    list_remove(&follower->node);
}

/* ---- lag ---------------------------------------------------------------------------------- */

static uint64_t lag_of(uint64_t backlog, uint64_t appended, uint64_t before, uint64_t durable)
{
    uint64_t behind = backlog + (appended - before);
    return behind > durable ? behind - durable : 0;
}

/* A sink that must not hold anything up gives up what is not in memory any more. */
static void skip(struct spool *spool, struct spool_follower *follower)
{
    struct follow *follow = &spool->follow;
    if (follower->walking || follower->last_sequence >= follow->evicted_sequence) {
        return;
    }
    uint64_t count = lag_of(follower->backlog_count, follow->event_count, follower->count_before,
                            follower->durable_count);
    follower->last_sequence = follower->durable_sequence = follow->evicted_sequence;
    follower->skipped += count;
    follower->backlog_bytes = follower->backlog_count = 0;
    follower->bytes_before = follow->event_bytes;
    follower->count_before = follow->event_count;
    follower->given_bytes = follower->given_count = 0;
    follower->mark_bytes = follower->mark_count = follower->mark_sequence = 0;
    follower->durable_bytes = follower->durable_count = 0;
    LOG_WARNING("'%s' was too far behind and skips about %llu events", follower->name,
                (unsigned long long)count);
}

void follow_check_lag(struct spool *spool)
{
    struct follow *follow = &spool->follow;
    struct list_node *node = list_first(&follow->followers);
    for (; node != NULL; node = list_next(&follow->followers, node)) {
        struct spool_follower *follower = CONTAINER_OF(node, struct spool_follower, node);
        follower->lag_bytes = lag_of(follower->backlog_bytes, follow->event_bytes,
                                     follower->bytes_before, follower->durable_bytes);
        if (follower->lag_bytes > follower->max_lag_bytes && !follower->hold) {
            skip(spool, follower);
        }
    }
}

const char *follow_hold(const struct spool *spool)
{
    const struct list *followers = &spool->follow.followers;
    struct list_node *node = list_first(followers);
    for (; node != NULL; node = list_next(followers, node)) {
        const struct spool_follower *follower = CONTAINER_OF(node, struct spool_follower, node);
        if (follower->hold && follower->lag_bytes > follower->max_lag_bytes) {
            return follower->hold_text;
        }
    }
    return NULL;
}

uint64_t follow_held_bytes(const struct spool *spool)
{
    const struct list *followers = &spool->follow.followers;
    struct list_node *node = list_first(followers);
    uint64_t most = 0;
    for (; node != NULL; node = list_next(followers, node)) {
        const struct spool_follower *follower = CONTAINER_OF(node, struct spool_follower, node);
        most = follower->lag_bytes > most ? follower->lag_bytes : most;
    }
    return most;
}

uint64_t follow_needed_after(const struct spool *spool)
{
    const struct list *followers = &spool->follow.followers;
    struct list_node *node = list_first(followers);
    uint64_t lowest = UINT64_MAX;
    for (; node != NULL; node = list_next(followers, node)) {
        const struct spool_follower *follower = CONTAINER_OF(node, struct spool_follower, node);
        lowest = follower->durable_sequence < lowest ? follower->durable_sequence : lowest;
    }
    return lowest;
}

bool follow_reads(const struct spool *spool, uint32_t generation)
{
    const struct list *followers = &spool->follow.followers;
    struct list_node *node = list_first(followers);
    for (; node != NULL; node = list_next(followers, node)) {
        const struct spool_follower *follower = CONTAINER_OF(node, struct spool_follower, node);
        if (follower->walking && follower->generation == generation) {
            return true;
        }
    }
    return false;
}

bool follow_idle(const struct spool *spool)
{
    const struct list *followers = &spool->follow.followers;
    struct list_node *node = list_first(followers);
    for (; node != NULL; node = list_next(followers, node)) {
        const struct spool_follower *follower = CONTAINER_OF(node, struct spool_follower, node);
        if (follower->walk != NULL && log_walk_busy(follower->walk)) {
            return false;
        }
    }
    return true;
}

int follow_init(struct spool *spool)
{
    struct follow *follow = &spool->follow;
    timer_init(&follow->timer, on_timer);
    follow->tail = malloc(SPOOL_TAIL_BYTES + sizeof(struct tail_entry)); /* see tail_put */
    follow->extents = malloc(EXTENTS_AT_START * sizeof *follow->extents);
    follow->extent_max = EXTENTS_AT_START;
    return follow->tail == NULL || follow->extents == NULL ? -1 : 0;
}

void follow_deinit(struct spool *spool)
{
    struct list_node *node;
    while ((node = list_first(&spool->follow.followers)) != NULL) {
        spool_unfollow(CONTAINER_OF(node, struct spool_follower, node));
    }
    timer_stop(io_timers(spool->io), &spool->follow.timer);
    free(spool->follow.tail);
    free(spool->follow.extents);
}
