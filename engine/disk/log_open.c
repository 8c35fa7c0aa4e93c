/* Opening a log: whose directory it is, and which segments are in it.
 *
 * Each header says which generation was the oldest of the log when it was written; the highest
 * such number holds. Older segments were released before the crash: whatever they say is void,
 * because what superseded it may have been overwritten since. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/logger.h"
#include "disk/log_private.h"

/* sysexits.h */
#define EX_SOFTWARE_  70
#define EX_OSERR_     71
#define EX_CANTCREAT_ 73
#define EX_IOERR_     74
#define EX_TEMPFAIL_  75

#define TABLE_MIN     4096

/* ---- the directory ------------------------------------------------------------------------ */

static int refuse(struct log *log, struct error *error, int result, const char *doing)
{
    int code = result == -EIO ? EX_IOERR_ : EX_CANTCREAT_;
    return error_set(error, code, "spool %s: %s: %s", log->directory, doing, strerror(-result));
}

/* Who we are is found by making a file: the directory must belong to the same user. */
static int check_owner(struct log *log, struct error *error)
{
    char path[LOG_PATH_MAX];
    struct io_file_info probe = {0}, directory = {0};
    snprintf(path, sizeof path, "%s/probe", log->directory);
    io_file_unlink(log->io, path);
    int fd = io_file_open(log->io, path, IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE);
    if (fd < 0) {
        return refuse(log, error, fd, "cannot create a file in it");
    }
    int result = io_file_info(log->io, fd, &probe);
    io_file_close(log->io, fd);
    io_file_unlink(log->io, path);
    fd = result < 0 ? result : io_file_open(log->io, log->directory, IO_OPEN_READ);
    result = fd < 0 ? fd : io_file_info(log->io, fd, &directory);
    if (fd >= 0) {
        io_file_close(log->io, fd);
    }
    if (result < 0) {
        return refuse(log, error, result, "cannot look at it");
    }
    if (probe.owner != directory.owner) {
        return error_set(error, EX_CANTCREAT_,
                         "spool %s belongs to user %u, but this engine runs as user %u: give it "
                         "to that user or run as its owner",
                         log->directory, directory.owner, probe.owner);
    }
    if (probe.in_memory && log->options.sync) {
        return error_set(error, EX_CANTCREAT_,
                         "spool %s lies in memory (tmpfs): messages would be acknowledged and "
                         "lost with the power; put it on a disk, or say 'spool-sync no'",
                         log->directory);
    }
    return 0;
}

static int take_lock(struct log *log, struct error *error)
{
    char path[LOG_PATH_MAX];
    snprintf(path, sizeof path, "%s/lock", log->directory);
    log->lock_fd = io_file_open(log->io, path, IO_OPEN_READ | IO_OPEN_WRITE | IO_OPEN_CREATE);
    if (log->lock_fd < 0) {
        return refuse(log, error, log->lock_fd, "cannot open the file 'lock' in it");
    }
    int result = io_file_lock(log->io, log->lock_fd);
    if (result == -EWOULDBLOCK) {
        return error_set(error, EX_TEMPFAIL_, "spool %s is in use by another instance",
                         log->directory);
    }
    return result < 0 ? refuse(log, error, result, "cannot lock it") : 0;
}

/* ---- headers ------------------------------------------------------------------------------ */

struct opening {
    struct log *log;
    struct error *error;
    uint32_t newest; /* whose header the cuts are taken from */
};

static void put_aside(struct log *log, struct log_segment *segment)
{
    char from[LOG_PATH_MAX], to[LOG_PATH_MAX + 32];
    log_segment_path(log, segment->file_number, from);
    snprintf(to, sizeof to, "%s/damaged-file-%05u", log->directory, segment->file_number);
    int result = io_file_rename(log->io, from, to);
    log->counters.damaged_records++;
    LOG_ERROR("spool %s: %s has a damaged header; what it held cannot be told; it is now %s%s",
              log->directory, from, to, result == 0 ? "" : " (rename failed)");
    log_segment_remove(log, segment);
}

static int note_header(struct opening *opening, struct log_segment *segment,
                       const struct log_header *header)
{
    struct log *log = opening->log;
    if (log->id != 0 && header->log_id != log->id) {
        return error_set(opening->error, EX_CANTCREAT_,
                         "spool %s holds segments of two different logs: move one of them away",
                         log->directory);
    }
    log->id = header->log_id;
    segment->generation = header->generation;
    log->oldest = header->oldest > log->oldest ? header->oldest : log->oldest;
    if (header->start_count > log->start_count) {
        log->start_count = header->start_count;
    }
    if (header->generation > opening->newest) {
        opening->newest = header->generation;
        log->cut_count = header->cut_count;
        memcpy(log->cuts, header->cuts, sizeof log->cuts);
    }
    return 0;
}

static int read_header(struct opening *opening, struct log_segment *segment, uint64_t size)
{
    struct log *log = opening->log;
    struct log_header header;
    memset(log->header, 0, LOG_HEADER_BYTES);
    int64_t result = log_read_at(log->io, segment->fd, log->header, LOG_HEADER_BYTES, 0);
    if (result < 0) {
        return refuse(log, opening->error, (int)result, "cannot read a segment");
    }
    enum log_header_kind kind = log_header_decode(log->header, &header);
    if (kind == LOG_HEADER_GOOD && header.segment_bytes != size) {
        kind = LOG_HEADER_BAD;
    }
    switch (kind) {
    case LOG_HEADER_GOOD:
        return note_header(opening, segment, &header);
    case LOG_HEADER_BLANK: /* made, but never used */
        log_segment_delete(log, segment);
        return 0;
    case LOG_HEADER_BAD:
        put_aside(log, segment);
        return 0;
    case LOG_HEADER_NEWER:
        break;
    }
    return error_set(opening->error, EX_CANTCREAT_,
                     "spool %s was written by a newer version of this program", log->directory);
}

static int on_name(void *owner, const char *name)
{
    struct opening *opening = owner;
    struct log *log = opening->log;
    struct bytes rest = bytes_from_string(name);
    uint64_t number = 0;
    if (!bytes_starts_with(rest, BYTES("segment-")) ||
        !bytes_to_u64(bytes_slice(rest, 8, rest.len), LOG_SEGMENTS_MAX - 1, &number)) {
        return 0;
    }
    char path[LOG_PATH_MAX];
    struct io_file_info info;
    log_segment_path(log, (uint32_t)number, path);
    int fd = io_file_open(log->io, path, IO_OPEN_READ | IO_OPEN_WRITE);
    int result = fd < 0 ? fd : io_file_info(log->io, fd, &info);
    if (result < 0) {
        return refuse(log, opening->error, result, "cannot open a segment");
    }
    struct log_segment *segment = log_segment_add(log, (uint32_t)number, fd, info.size);
    if (segment == NULL) {
        io_file_close(log->io, fd);
        return error_set(opening->error, EX_OSERR_, "no memory for the spool");
    }
    return read_header(opening, segment, info.size);
}

/* ---- the table ---------------------------------------------------------------------------- */

static bool make_table(struct log *log, uint32_t newest)
{
    uint64_t range = log->oldest == 0 ? 0 : newest - log->oldest;
    uint64_t size = TABLE_MIN;
    while (size < 4 * range || size < 4 * (uint64_t)log->segment_count) {
        size *= 2;
    }
    log->table = calloc(size, sizeof *log->table);
    log->table_mask = (uint32_t)(size - 1);
    return log->table != NULL;
}

static void read_trailer(struct log *log, struct log_segment *segment)
{
    char bytes[LOG_TRAILER_BYTES];
    int64_t result =
        log_read_at(log->io, segment->fd, bytes, sizeof bytes, segment->bytes - sizeof bytes);
    uint32_t seed = log_seed(log->id, segment->generation);
    segment->sealed = result == (int64_t)sizeof bytes &&
                      log_trailer_decode(bytes, seed, segment->bytes, &segment->trailer);
    if (segment->sealed) {
        segment->records_end = segment->trailer.records_end;
        segment->damaged = (segment->trailer.flags & LOG_TRAILER_DAMAGED) != 0;
        log->tail_first =
            segment->generation + 1 > log->tail_first ? segment->generation + 1 : log->tail_first;
    }
}

static void enter(struct log *log, struct log_segment *segment)
{
    uint32_t generation = segment->generation;
    if (log_segment_at(log, generation) != NULL) {
        put_aside(log, segment);
        return;
    }
    log_segment_enter(log, segment, generation);
    segment->state = SEGMENT_CLOSED;
    read_trailer(log, segment);
}

/* Released ones by generation, so that they are used again in the order of their release. */
static void add_released(struct log *log, struct log_segment *segment)
{
    struct list_node *place = log->free.head.prev;
    while (place != &log->free.head &&
           CONTAINER_OF(place, struct log_segment, node)->generation > segment->generation) {
        place = place->prev;
    }
    list_insert_after(place, &segment->node);
}

static int sort_out(struct log *log, uint32_t newest, struct error *error)
{
    if (!make_table(log, newest)) {
        return error_set(error, EX_OSERR_, "no memory for the spool");
    }
    for (uint32_t i = 0; i < log->file_max; i++) {
        struct log_segment *segment = log->files[i];
        if (segment == NULL || segment->generation == 0) {
            continue;
        }
        if (segment->generation < log->oldest && log->options.delete_spare) {
            log_segment_delete(log, segment);
        } else if (segment->generation < log->oldest) {
            add_released(log, segment);
        } else {
            enter(log, segment);
        }
    }
    log->newest = newest;
    if (log->oldest == 0) {
        log->oldest = 1;
    }
    for (uint32_t generation = log->oldest; generation < newest; generation++) {
        if (log_segment_at(log, generation) == NULL) {
            LOG_DEBUG("spool %s: there is no segment %08x", log->directory, generation);
        }
    }
    return 0;
}

/* ---- open --------------------------------------------------------------------------------- */

static struct log *allocate(struct io *io, const struct log_options *options)
{
    struct log *log = calloc(1, sizeof *log);
    if (log == NULL) {
        return NULL;
    }
    log->io = io;
    log->options = *options;
    log->lock_fd = -1;
    log->file_max = LOG_SEGMENTS_MAX;
    log->tail_first = 1;
    list_init(&log->free);
    list_init(&log->gone);
    snprintf(log->directory, sizeof log->directory, "%s", options->directory);
    log->ring_bytes = LOG_RING_BYTES;
    log->files = calloc(log->file_max, sizeof *log->files);
    log->ring = malloc(log->ring_bytes);
    log->piece = malloc(LOG_PIECE_BYTES);
    log->header = malloc(LOG_HEADER_BYTES);
    log_stage_init(log);
    log_sync_init(log);
    log_prepare_init(log);
    return log;
}

/* With its name on disk too. A parent that may not be read is the operator's, and older. */
static int create_directory(struct log *log, struct error *error)
{
    int result = io_directory_create(log->io, log->directory);
    if (result < 0) {
        return refuse(log, error, result, "cannot create it");
    }
    char parent[LOG_PATH_MAX];
    snprintf(parent, sizeof parent, "%s", log->directory);
    char *slash = strrchr(parent, '/');
    if (slash != NULL) {
        slash[slash == parent ? 1 : 0] = '\0';
        result = io_directory_sync(log->io, parent);
    }
    bool may_not = result == -EACCES || result == -EPERM || result == -EINVAL;
    return result == 0 || may_not ? 0 : refuse(log, error, result, "cannot sync its parent");
}

static int open_directory(struct log *log, struct error *error)
{
    if (create_directory(log, error) != 0) {
        return -1;
    }
    if (check_owner(log, error) != 0 || take_lock(log, error) != 0) {
        return -1;
    }
    struct opening opening = {.log = log, .error = error};
    int result = io_directory_walk(log->io, log->directory, on_name, &opening);
    if (result != 0) {
        return result == -1 ? -1 : refuse(log, error, result, "cannot read it");
    }
    if (log->id == 0) {
        log->id = io_random(log->io) | 1;
    }
    if (sort_out(log, opening.newest, error) != 0) {
        return -1;
    }
    log_look_at_volume(log);
    return 0;
}

static int check_options(const struct log_options *options, struct error *error)
{
    if (strlen(options->directory) > LOG_PATH_MAX - 64) {
        return error_set(error, EX_CANTCREAT_, "spool %s: the path is too long",
                         options->directory);
    }
    if (options->max_bytes / options->segment_bytes < LOG_SEGMENTS_LEAST) {
        return error_set(error, EX_CANTCREAT_,
                         "spool %s: spool-max-size must be at least %llu bytes", options->directory,
                         (unsigned long long)(LOG_SEGMENTS_LEAST * options->segment_bytes));
    }
    return 0;
}

struct log *log_open(struct io *io, const struct log_options *options, struct error *error)
{
    assert(options->segment_bytes >= LOG_SEGMENT_MIN);
    assert(options->segment_bytes <= LOG_SEGMENT_MAX);
    assert(options->segment_bytes % 4096 == 0);
    if (check_options(options, error) != 0) {
        return NULL;
    }
    struct log *log = allocate(io, options);
    if (log == NULL || log->files == NULL || log->ring == NULL || log->piece == NULL ||
        log->header == NULL) {
        error_set(error, EX_OSERR_, "no memory for the spool");
        log_close(log);
        return NULL;
    }
    if (open_directory(log, error) != 0) {
        log_close(log);
        return NULL;
    }
    return log;
}
