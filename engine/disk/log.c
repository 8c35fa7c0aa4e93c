#include "disk/log.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/logger.h"
#include "disk/log_private.h"

/* ---- the table of segments ---------------------------------------------------------------- */

struct log_segment *log_segment_at(const struct log *log, uint32_t generation)
{
    struct log_segment *segment = atomic_load(&log->table[generation & log->table_mask]);
    return segment != NULL && segment->generation == generation ? segment : NULL;
}

void log_segment_enter(struct log *log, struct log_segment *segment, uint32_t generation)
{
    assert(generation > log->newest || !log->begun);
    assert(atomic_load(&log->table[generation & log->table_mask]) == NULL);
    segment->generation = generation;
    segment->records_end = LOG_HEADER_BYTES;
    segment->live_bytes = 0;
    segment->event_bytes = segment->event_first = segment->event_last = 0;
    segment->event_count = 0;
    segment->sealed = segment->damaged = segment->empty = false;
    segment->detail_bound = 0;
    atomic_store(&log->table[generation & log->table_mask], segment);
    log->used_count++;
    if (generation > log->newest) {
        log->newest = generation;
    }
}

int log_names_changed(struct log *log)
{
    int result = io_directory_sync(log->io, log->directory);
    log->names_unsynced = result != 0;
    return result;
}

static void set_aside(struct log *log, struct log_segment *segment)
{
    char from[LOG_PATH_MAX], to[LOG_PATH_MAX + 32];
    log_segment_path(log, segment->file_number, from);
    snprintf(to, sizeof to, "%s/damaged-%08x", log->directory, segment->generation);
    int result = io_file_rename(log->io, from, to);
    log_names_changed(log);
    LOG_WARNING("spool %s: segment %08x has damaged records; what was intact and needed was "
                "copied, the file is now %s%s",
                log->directory, segment->generation, to, result == 0 ? "" : " (rename failed)");
    log_segment_remove(log, segment);
}

void log_segment_leave(struct log *log, struct log_segment *segment)
{
    assert(log_segment_at(log, segment->generation) == segment);
    atomic_store(&log->table[segment->generation & log->table_mask], NULL);
    log_entries_drop(log, segment);
    log->used_count--;
    log->live_bytes -= (uint64_t)segment->live_bytes;
    segment->live_bytes = 0;
    if (segment->damaged) {
        set_aside(log, segment);
        return;
    }
    segment->state = SEGMENT_FREE;
    if (log->segment_count > log_segments_allowed(log)) {
        log_segment_delete(log, segment); /* the overdraft goes back */
    } else {
        list_push_back(&log->free, &segment->node);
    }
}

void log_segment_path(const struct log *log, uint32_t file_number, char out[LOG_PATH_MAX])
{
    int len = snprintf(out, LOG_PATH_MAX, "%s/segment-%05u", log->directory, file_number);
    assert(len > 0 && len < LOG_PATH_MAX);
}

struct log_segment *log_segment_add(struct log *log, uint32_t file_number, int fd, uint64_t bytes)
{
    if (file_number >= log->file_max || log->files[file_number] != NULL) {
        return NULL;
    }
    struct log_segment *segment = calloc(1, sizeof *segment);
    if (segment == NULL) {
        return NULL;
    }
    segment->fd = fd;
    segment->file_number = file_number;
    segment->bytes = bytes;
    log->files[file_number] = segment;
    log->segment_count++;
    return segment;
}

void log_segment_remove(struct log *log, struct log_segment *segment)
{
    log->files[segment->file_number] = NULL;
    log->segment_count--;
    list_remove(&segment->node);
    log_entries_drop(log, segment);
    io_file_close(log->io, segment->fd);
    if (segment->generation == 0) {
        free(segment);
        return;
    }
    /* A worker in log_pin may still be about to count itself in, and then out again. */
    list_push_back(&log->gone, &segment->node);
}

void log_segment_delete(struct log *log, struct log_segment *segment)
{
    char path[LOG_PATH_MAX];
    log_segment_path(log, segment->file_number, path);
    io_file_unlink(log->io, path);
    /* Before the next one is used again: what superseded this one's records may lie there. */
    log_names_changed(log);
    log_segment_remove(log, segment);
}

bool log_entries_take(struct log *log, struct log_segment *segment)
{
    segment->entry_count = 0;
    segment->detail_bound = 0;
    segment->entry_max = (uint32_t)(segment->bytes / LOG_ENTRY_SPACING);
    if (segment->entries == NULL && log->spare_entry_max == segment->entry_max) {
        segment->entries = log->spare_entries;
        log->spare_entries = NULL;
        log->spare_entry_max = 0;
    }
    if (segment->entries == NULL) {
        segment->entries = malloc(segment->entry_max * sizeof *segment->entries);
    }
    return segment->entries != NULL;
}

void log_entries_drop(struct log *log, struct log_segment *segment)
{
    if (segment->entries != NULL && log->spare_entries == NULL) {
        log->spare_entries = segment->entries;
        log->spare_entry_max = segment->entry_max;
    } else {
        free(segment->entries);
    }
    segment->entries = NULL;
    segment->entry_count = segment->entry_max = 0;
}

void log_segment_note_event(struct log_segment *segment, const struct log_record *record)
{
    segment->event_bytes += log_record_cost(record->len);
    segment->event_count++;
    if (segment->event_first == 0 || record->sequence < segment->event_first) {
        segment->event_first = record->sequence;
    }
    if (record->sequence > segment->event_last) {
        segment->event_last = record->sequence;
    }
}

uint64_t log_segments_allowed(const struct log *log)
{
    uint64_t allowed = log->options.max_bytes / log->options.segment_bytes;
    uint64_t most = LOG_SEGMENTS_MAX - LOG_OVERDRAFT;
    return allowed > most ? most : allowed;
}

void log_look_at_volume(struct log *log)
{
    uint64_t free_bytes = 0;
    uint64_t segment_bytes = log->options.segment_bytes;
    uint64_t allowed = log_segments_allowed(log);
    log->creatable = 0;
    if (allowed <= log->segment_count || io_space_free(log->io, log->directory, &free_bytes) != 0 ||
        free_bytes <= log->options.min_free_bytes) {
        return;
    }
    uint64_t fit = (free_bytes - log->options.min_free_bytes) / segment_bytes;
    uint64_t left = allowed - log->segment_count;
    log->creatable = (uint32_t)(fit < left ? fit : left);
}

/* ---- life --------------------------------------------------------------------------------- */

void log_quiesce(struct log *log)
{
    log->quiescing = true;
    timer_stop(io_timers(log->io), &log->write_timer);
    timer_stop(io_timers(log->io), &log->sync_timer);
    timer_stop(io_timers(log->io), &log->prepare_timer);
}

bool log_idle(const struct log *log)
{
    return log_all_home(log) && !io_busy(&log->prepare_op) && log->walks_abandoned == 0;
}

void log_close(struct log *log)
{
    if (log == NULL) {
        return;
    }
    if (log->ring != NULL) {
        log_quiesce(log);
        assert(log_idle(log));
    }
    for (uint32_t i = 0; log->files != NULL && i < log->file_max; i++) {
        if (log->files[i] != NULL) {
            log_segment_remove(log, log->files[i]);
        }
    }
    struct list_node *node;
    while (log->ring != NULL && (node = list_pop_front(&log->gone)) != NULL) {
        free(CONTAINER_OF(node, struct log_segment, node));
    }
    if (log->lock_fd >= 0) {
        io_file_close(log->io, log->lock_fd);
    }
    free(log->table);
    free(log->files);
    free(log->ring);
    free(log->piece);
    free(log->header);
    free(log->spare_entries);
    free(log);
}

uint32_t log_start_count(const struct log *log)
{
    return log->start_count;
}

uint64_t log_id(const struct log *log)
{
    return log->id;
}

uint64_t log_take_sequence(struct log *log)
{
    assert(log->begun);
    log->sequence_count++;
    assert(log->sequence_count < UINT64_C(1) << 48);
    return (uint64_t)log->start_count << 48 | log->sequence_count;
}

bool log_failed(const struct log *log)
{
    return log->stopped;
}

bool log_in_doubt(const struct log *log)
{
    return log->stopped && log->cut_unwritten;
}

bool log_place_in_tail(const struct log *log, uint64_t place)
{
    return log_place_generation(place) >= log->tail_first;
}

/* ---- space -------------------------------------------------------------------------------- */

/* The next one, ready or being made, counts: it holds nothing yet. */
uint32_t log_segments_free(const struct log *log)
{
    return log->segment_count - log->used_count + log->creatable;
}

void log_space(const struct log *log, struct log_space *out)
{
    uint64_t segment_bytes = log->options.segment_bytes;
    uint32_t free_count = log_segments_free(log);
    uint64_t all = log->segment_count + (uint64_t)log->creatable;
    uint64_t usable = all > LOG_RESERVE_SEGMENTS ? all - LOG_RESERVE_SEGMENTS : 0;
    *out = (struct log_space){
        .capacity_bytes = usable * (segment_bytes - LOG_HEADER_BYTES),
        .used_bytes = log->used_count * segment_bytes,
        .live_bytes = log->live_bytes,
        .segments = log->segment_count,
        .segments_used = log->used_count,
        .segments_free = free_count,
        .reserve_bytes = LOG_RESERVE_SEGMENTS * segment_bytes,
        .segment_bytes = segment_bytes,
    };
}

void log_count_live(struct log *log, uint64_t place, int64_t bytes)
{
    struct log_segment *segment = log_segment_at(log, log_place_generation(place));
    assert(segment != NULL);
    segment->live_bytes += bytes;
    log->live_bytes += (uint64_t)bytes;
    assert(segment->live_bytes >= 0);
}

const struct log_counters *log_counters(const struct log *log)
{
    return &log->counters;
}

void log_count_damaged(struct log *log, uint64_t place)
{
    struct log_segment *segment = log_segment_at(log, log_place_generation(place));
    log->counters.damaged_records++;
    if (segment != NULL) {
        segment->damaged = true;
    }
    LOG_ERROR("spool %s: segment %08x: the record at %u is damaged and skipped", log->directory,
              log_place_generation(place), log_place_offset(place));
}

uint32_t log_oldest(const struct log *log)
{
    return log->oldest;
}

uint32_t log_newest(const struct log *log)
{
    return log->newest;
}

bool log_segment_info(const struct log *log, uint32_t generation, struct log_segment_info *out)
{
    const struct log_segment *segment = log_segment_at(log, generation);
    if (segment == NULL) {
        return false;
    }
    *out = (struct log_segment_info){
        .live_bytes = (uint64_t)segment->live_bytes,
        .event_bytes = segment->event_bytes,
        .event_first = segment->event_first,
        .event_last = segment->event_last,
        .used_bytes = segment->records_end - LOG_HEADER_BYTES,
        .event_count = segment->event_count,
        .closed = segment->state == SEGMENT_CLOSED,
        .damaged = segment->damaged,
    };
    return true;
}

static void drop_old_cuts(struct log *log)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < log->cut_count; i++) {
        if (log->cuts[i].generation >= log->oldest) {
            log->cuts[kept++] = log->cuts[i];
        }
    }
    log->cut_count = kept;
}

bool log_release_oldest(struct log *log)
{
    assert(log->oldest < log_newest(log));
    struct log_segment *segment = log_segment_at(log, log->oldest);
    if (segment != NULL) {
        assert(segment->state == SEGMENT_CLOSED);
        assert(segment->live_bytes == 0);
        if (atomic_load(&segment->readers) > 0) {
            return false;
        }
        log_segment_leave(log, segment);
        log->counters.reclaimed_segments++;
    }
    log->oldest++;
    drop_old_cuts(log);
    log_look_at_volume(log);
    timer_stop(io_timers(log->io), &log->prepare_timer);
    log_prepare_start(log);
    return true;
}

/* ---- pins ---------------------------------------------------------------------------------
 *
 * A reader counts itself into the segment before it looks at the word again; the keeper changes
 * all words away from a segment before it looks at the count. Both in one order for all threads,
 * so either the reader sees the new word or the keeper sees the reader. A count rather than
 * epochs, because a worker that sleeps with nothing to do then holds up nobody, and because a
 * slow read holds one segment, not the log. */

uint64_t log_pin(struct log *log, const _Atomic uint64_t *word)
{
    for (;;) {
        uint64_t place = atomic_load(word);
        if (log_place_generation(place) == 0) {
            return 0;
        }
        struct log_segment *segment =
            atomic_load(&log->table[log_place_generation(place) & log->table_mask]);
        if (segment == NULL) {
            continue; /* it went while we looked: the word has changed */
        }
        atomic_fetch_add(&segment->readers, 1);
        if (atomic_load(word) == place) {
            return place;
        }
        atomic_fetch_sub(&segment->readers, 1);
    }
}

void log_unpin(struct log *log, uint64_t place)
{
    struct log_segment *segment = log_segment_at(log, log_place_generation(place));
    assert(segment != NULL);
    uint32_t before = atomic_fetch_sub(&segment->readers, 1);
    assert(before > 0);
}

int log_place_fd(const struct log *log, uint64_t place)
{
    struct log_segment *segment = log_segment_at(log, log_place_generation(place));
    assert(segment != NULL);
    return segment->fd;
}
