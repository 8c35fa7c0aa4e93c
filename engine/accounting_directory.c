#include "accounting_directory.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sysexits.h>

#include "accounting_time.h"
#include "base/logger.h"
#include "io/io.h"
#include "policy/value.h"

#define FULL_PATH_MAX (ACCOUNTING_PATH_MAX + ACCOUNTING_NAME_MAX)
#define DATE_LEN      10
#define NUMBER_MAX    99999999u
#define TRIES_MAX     100 /* names taken by others between looking and creating */
#define DAY_MS        UINT64_C(86400000)
#define COUNT_BYTES   (64 * 1024) /* read at once when records are counted */

/* ---- names ---------------------------------------------------------------------------------- */

int accounting_directory_init(struct accounting_directory *directory, struct io *io,
                              struct bytes path, struct error *error)
{
    *directory = (struct accounting_directory){.io = io, .delete_after_ms = NEVER};
    size_t slash = path.len;
    while (slash > 0 && path.data[slash - 1] != '/') {
        slash--;
    }
    size_t dot = path.len;
    while (dot > slash + 1 && path.data[dot - 1] != '.') {
        dot--;
    }
    dot = dot > slash + 1 ? dot - 1 : path.len; /* a leading dot begins no suffix */
    /* The name grows by "-YYYY-MM-DD-", a number, and perhaps "-" and a count. */
    if (path.len >= ACCOUNTING_PATH_MAX || path.len == slash ||
        path.len - slash + DATE_LEN + 12 + 21 > ACCOUNTING_NAME_MAX) {
        return error_set(error, EX_CONFIG,
                         "accounting file '%.*s': the path or its last part is too %s",
                         BYTES_FMT(path), path.len == slash ? "short" : "long");
    }
    memcpy(directory->path, path.data, path.len);
    snprintf(directory->directory, sizeof directory->directory, "%.*s",
             slash > 1 ? (int)slash - 1 : 1, slash > 0 ? path.data : ".");
    memcpy(directory->stem, path.data + slash, dot - slash);
    memcpy(directory->suffix, path.data + dot, path.len - dot);
    return 0;
}

static int entry_nothing(void *owner, const char *name)
{
    (void)owner, (void)name;
    return 1;
}

int accounting_directory_finish_to(struct accounting_directory *directory, struct bytes move_to,
                                   uint64_t delete_after_ms, struct error *error)
{
    char path[ACCOUNTING_PATH_MAX];
    if (move_to.len >= sizeof path) {
        return error_set(error, EX_CONFIG, "move-to '%.*s' is too long", BYTES_FMT(move_to));
    }
    snprintf(path, sizeof path, "%.*s", BYTES_FMT(move_to));
    int result = move_to.len == 0 ? 0 : io_directory_walk(directory->io, path, entry_nothing, NULL);
    if (result < 0) {
        return error_set(error, EX_CANTCREAT, "accounting file %s: move-to %s: %s", directory->path,
                         path, strerror(-result));
    }
    memcpy(directory->move_to, path, sizeof path);
    directory->delete_after_ms = delete_after_ms;
    return 0;
}

/* The date and number in a name of ours; false: it is another's. */
static bool name_parse(const struct accounting_directory *directory, const char *name,
                       uint64_t *date_ms, uint64_t *number)
{
    struct bytes rest = bytes_from_string(name);
    struct bytes stem = bytes_from_string(directory->stem);
    struct bytes suffix = bytes_from_string(directory->suffix);
    if (rest.len < stem.len + suffix.len + DATE_LEN + 6 || !bytes_starts_with(rest, stem) ||
        !bytes_equal(bytes_slice(rest, rest.len - suffix.len, rest.len), suffix)) {
        return false;
    }
    rest = bytes_slice(rest, stem.len, rest.len - suffix.len); /* "-YYYY-MM-DD-NNNN[-COUNT]" */
    ptrdiff_t hyphen = bytes_find(rest, '-', DATE_LEN + 2);
    size_t end = hyphen < 0 ? rest.len : (size_t)hyphen;
    uint64_t count;
    return rest.data[0] == '-' && rest.data[1 + DATE_LEN] == '-' &&
           accounting_parse_date(bytes_slice(rest, 1, 1 + DATE_LEN), date_ms) &&
           bytes_to_u64(bytes_slice(rest, DATE_LEN + 2, end), NUMBER_MAX, number) &&
           (hyphen < 0 || bytes_to_u64(bytes_slice(rest, end + 1, rest.len), UINT64_MAX, &count));
}

/* `count`: "" or "-" and the number of records. */
static void name_make(const struct accounting_directory *directory, uint64_t date_ms,
                      uint64_t number, const char *count, char out[ACCOUNTING_NAME_MAX])
{
    char date_text[DATE_LEN];
    struct buffer date;
    buffer_init(&date, date_text, sizeof date_text);
    accounting_put_date(&date, date_ms);
    int len = snprintf(out, ACCOUNTING_NAME_MAX, "%s-%.*s-%04" PRIu64 "%s%s", directory->stem,
                       DATE_LEN, date_text, number, count, directory->suffix);
    assert(len > 0 && len < ACCOUNTING_NAME_MAX);
}

static void full_path(const char *directory, const char *name, char out[FULL_PATH_MAX])
{
    int len = snprintf(out, FULL_PATH_MAX, "%s/%s", directory, name);
    assert(len > 0 && len < FULL_PATH_MAX);
}

/* ---- the next file -------------------------------------------------------------------------- */

struct number_search {
    const struct accounting_directory *directory;
    uint64_t date_ms, next;
};

static int note_number(void *owner, const char *name)
{
    struct number_search *search = owner;
    uint64_t date_ms, number;
    if (name_parse(search->directory, name, &date_ms, &number) && date_ms == search->date_ms &&
        number >= search->next) {
        search->next = number + 1;
    }
    return 0;
}

/* Above every number of that day here, where finished files are, and the last one used: a reader
 * that took a file away must not be given another of the same name. */
static int next_number(const struct accounting_directory *directory, uint64_t date_ms,
                       const char *last_name, uint64_t *out)
{
    struct number_search search = {.directory = directory, .date_ms = date_ms};
    note_number(&search, last_name);
    int result = io_directory_walk(directory->io, directory->directory, note_number, &search);
    if (result == 0 && directory->move_to[0] != '\0') {
        result = io_directory_walk(directory->io, directory->move_to, note_number, &search);
    }
    *out = search.next;
    return result;
}

static int lock_new(const struct accounting_directory *directory, int fd,
                    struct accounting_position *out)
{
    struct io_file_info info;
    int result = io_file_lock(directory->io, fd);
    if (result >= 0) {
        result = io_file_info(directory->io, fd, &info);
    }
    if (result >= 0) {
        /* A position that names a file must not survive a crash which the name does not. */
        result = io_directory_sync(directory->io, directory->directory);
    }
    if (result >= 0) {
        out->inode = info.inode;
    }
    return result;
}

int accounting_directory_begin(const struct accounting_directory *directory, int64_t wall_ms,
                               const char *last_name, struct accounting_position *out)
{
    uint64_t date_ms = (uint64_t)wall_ms / DAY_MS * DAY_MS, number;
    int result = next_number(directory, date_ms, last_name, &number);
    if (result < 0) {
        return result;
    }
    char path[FULL_PATH_MAX];
    int fd = -EEXIST;
    *out = (struct accounting_position){0};
    for (int i = 0; i < TRIES_MAX && fd == -EEXIST; i++) {
        name_make(directory, date_ms, number + (uint64_t)i, "", out->name);
        full_path(directory->directory, out->name, path);
        fd = io_file_open(directory->io, path,
                          IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE |
                              (directory->world_readable ? IO_OPEN_WORLD : 0));
    }
    result = fd < 0 ? fd : lock_new(directory, fd, out);
    if (result < 0 && fd >= 0) {
        io_file_close(directory->io, fd);
        io_file_unlink(directory->io, path);
    }
    return result < 0 ? result : fd;
}

/* ---- the file of before ---------------------------------------------------------------------- */

static int cut(const struct accounting_directory *directory, int fd,
               const struct accounting_position *position)
{
    struct io_file_info info;
    /* First of all the lock: a write of a process that was killed may still be under way, and must
     * not land behind the cut. */
    int result = io_file_lock(directory->io, fd);
    if (result >= 0) {
        result = io_file_info(directory->io, fd, &info);
    }
    if (result < 0) {
        return result;
    }
    if (info.inode != position->inode || info.size < position->length_bytes) {
        LOG_WARNING("accounting file %s/%s is %s: it is left alone, a new one begins",
                    directory->directory, position->name,
                    info.inode != position->inode ? "not the one that was written"
                                                  : "shorter than what was written");
        return -ENOENT;
    }
    if (info.size == position->length_bytes) {
        return 0;
    }
    LOG_INFO("accounting file %s/%s: the last %" PRIu64 " bytes are written again",
             directory->directory, position->name, info.size - position->length_bytes);
    return io_file_truncate(directory->io, fd, position->length_bytes);
}

int accounting_directory_resume(const struct accounting_directory *directory,
                                const struct accounting_position *position)
{
    char path[FULL_PATH_MAX];
    full_path(directory->directory, position->name, path);
    int fd = io_file_open(directory->io, path, IO_OPEN_WRITE);
    if (fd < 0) {
        if (fd == -ENOENT) {
            LOG_WARNING("accounting file %s is gone: a new one begins", path);
        }
        return fd;
    }
    int result = cut(directory, fd, position);
    if (result < 0) {
        io_file_close(directory->io, fd);
    }
    return result < 0 ? result : fd;
}

/* What lies under a path; false: nothing that can be opened. */
static bool look_at(struct io *io, const char *path, struct io_file_info *out)
{
    int fd = io_file_open(io, path, IO_OPEN_READ);
    if (fd < 0) {
        return false;
    }
    int result = io_file_info(io, fd, out);
    io_file_close(io, fd);
    return result >= 0;
}

bool accounting_directory_holds(const struct accounting_directory *directory, const char *name,
                                uint64_t inode)
{
    char path[FULL_PATH_MAX];
    struct io_file_info info;
    full_path(directory->directory, name, path);
    return look_at(directory->io, path, &info) && info.inode == inode;
}

/* ---- finished files -------------------------------------------------------------------------- */

/* The records of a finished file: its lines, but for the header of CSV. -errno. */
static int64_t count_records(const struct accounting_directory *directory, const char *path)
{
    static const struct bytes json = BYTES_INIT(".jsonl");
    char chunk[COUNT_BYTES];
    int fd = io_file_open(directory->io, path, IO_OPEN_READ);
    int64_t lines = fd, len = 1;
    for (uint64_t offset = 0; fd >= 0 && len > 0; offset += (uint64_t)len) {
        lines = offset == 0 ? 0 : lines;
        len = io_file_read_at(directory->io, fd, chunk, sizeof chunk, offset);
        for (int64_t i = 0; i < len; i++) {
            lines += chunk[i] == '\n';
        }
    }
    if (fd >= 0) {
        io_file_close(directory->io, fd);
    }
    bool has_header = !bytes_ends_with_nocase(bytes_from_string(directory->path), json);
    return len < 0 ? len : lines > 0 && has_header ? lines - 1 : lines;
}

/* Under which a finished file is moved. 0 or -errno. */
static int moved_name(const struct accounting_directory *directory, const char *name,
                      const char *path, char out[ACCOUNTING_NAME_MAX])
{
    uint64_t date_ms, number;
    if (!directory->count_moved || !name_parse(directory, name, &date_ms, &number)) {
        snprintf(out, ACCOUNTING_NAME_MAX, "%s", name);
        return 0;
    }
    char text[24];
    int64_t count = count_records(directory, path);
    if (count < 0) {
        return (int)count;
    }
    snprintf(text, sizeof text, "-%" PRId64, count);
    name_make(directory, date_ms, number, text, out);
    return 0;
}

/* False: it stays where it is. */
static bool move(const struct accounting_directory *directory, const char *name)
{
    char from[FULL_PATH_MAX], to[FULL_PATH_MAX], moved[ACCOUNTING_NAME_MAX] = "";
    struct io_file_info info;
    full_path(directory->directory, name, from);
    int result = moved_name(directory, name, from, moved);
    full_path(directory->move_to, moved, to);
    if (result == 0 && look_at(directory->io, to, &info)) {
        result = -EEXIST;
    }
    if (result == 0) {
        result = io_file_rename(directory->io, from, to);
    }
    if (result < 0 && result != -ENOENT) {
        LOG_WARNING("accounting file %s cannot be moved to %s: %s; it stays", from, to,
                    strerror(-result));
    }
    return result >= 0;
}

static void sync_both(const struct accounting_directory *directory)
{
    int result = io_directory_sync(directory->io, directory->move_to);
    if (result >= 0) {
        result = io_directory_sync(directory->io, directory->directory);
    }
    if (result < 0) { /* after a crash the sweep at start moves it again */
        LOG_WARNING("moving accounting files to %s: %s", directory->move_to, strerror(-result));
    }
}

void accounting_directory_move(const struct accounting_directory *directory, const char *name)
{
    if (directory->move_to[0] != '\0' && move(directory, name)) {
        sync_both(directory);
    }
}

struct sweep {
    const struct accounting_directory *directory;
    const char *current;
    uint64_t wall_ms;
    bool at_start, moved;
    uint32_t deletes_left;
    char previous[ACCOUNTING_NAME_MAX]; /* the one before, if it stays; "" = none */
};

static bool delete_file(struct sweep *sweep, const char *name, const char *why)
{
    char path[FULL_PATH_MAX];
    full_path(sweep->directory->directory, name, path);
    int result = io_file_unlink(sweep->directory->io, path);
    LOG_INFO("accounting file %s is %s: %s", path, why, result < 0 ? strerror(-result) : "deleted");
    return result >= 0;
}

static bool is_empty(const struct sweep *sweep, const char *name)
{
    char path[FULL_PATH_MAX];
    struct io_file_info info;
    full_path(sweep->directory->directory, name, path);
    return look_at(sweep->directory->io, path, &info) && info.size == 0;
}

/* A file was finished when the next one began, on some time of that day. Names come sorted. */
static void delete_previous(struct sweep *sweep, uint64_t next_date_ms)
{
    uint64_t after_ms = sweep->directory->delete_after_ms;
    if (sweep->previous[0] != '\0' && after_ms != NEVER && sweep->deletes_left > 0 &&
        next_date_ms + DAY_MS + after_ms <= sweep->wall_ms) {
        delete_file(sweep, sweep->previous, "older than delete-after");
        sweep->deletes_left--;
    }
}

static int sweep_entry(void *owner, const char *name)
{
    struct sweep *sweep = owner;
    uint64_t date_ms, number;
    if (!name_parse(sweep->directory, name, &date_ms, &number)) {
        return 0;
    }
    bool is_current = strcmp(name, sweep->current) == 0;
    if (!is_current && sweep->at_start && is_empty(sweep, name)) {
        delete_file(sweep, name, "empty since a crash");
        return 0;
    }
    if (sweep->directory->move_to[0] == '\0') {
        delete_previous(sweep, date_ms);
    } else if (!is_current) {
        sweep->moved |= move(sweep->directory, name);
    }
    snprintf(sweep->previous, sizeof sweep->previous, "%s", is_current ? "" : name);
    return 0;
}

bool accounting_directory_sweep(const struct accounting_directory *directory, const char *current,
                                int64_t wall_ms, bool at_start)
{
    struct sweep sweep = {.directory = directory,
                          .current = current,
                          .wall_ms = (uint64_t)wall_ms,
                          .at_start = at_start,
                          .deletes_left = ACCOUNTING_DELETES_MAX};
    int result = io_directory_walk(directory->io, directory->directory, sweep_entry, &sweep);
    if (result < 0) {
        LOG_WARNING("accounting files in %s: %s", directory->directory, strerror(-result));
    }
    if (sweep.moved) {
        sync_both(directory);
    }
    return sweep.deletes_left == 0;
}
