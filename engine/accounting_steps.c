/* The steps of an accounting file: write what has gathered, put the position, begin the next file,
 * and what happens when the volume refuses. */
#include <assert.h>
#include <inttypes.h>

#include "accounting_file_private.h"
#include "accounting_layout.h"
#include "base/logger.h"
#include "policy/value.h"

#define UNSYNCED_BYTES (1024 * 1024)
#define POSITION_MS    1000
#define RETRY_MS       1000
#define COMPLAIN_MS    60000

static_assert(ACCOUNTING_PATH_MAX + sizeof ACCOUNTING_KEY_PREFIX < ACCOUNTING_KEY_MAX,
              "a key of the spool");

/* ---- trouble --------------------------------------------------------------------------------- */

static void complain(struct accounting_file *file, const char *doing, int error)
{
    uint64_t now_ms = io_now_ms(file->io);
    if (file->complained_ms != 0 && now_ms - file->complained_ms < COMPLAIN_MS) {
        return;
    }
    file->complained_ms = now_ms;
    LOG_ERROR("accounting file %s: %s: %s: tried again every second; records wait in the journal",
              file->directory.path, doing, strerror(-error));
}

void accounting_close_file(struct accounting_file *file)
{
    if (file->fd >= 0) {
        io_file_close(file->io, file->fd);
        file->fd = -1;
    }
}

/* What is not durable is forgotten: the journal has it. */
void accounting_file_fail(struct accounting_file *file, const char *doing, int error)
{
    complain(file, doing, error);
    accounting_close_file(file);
    spool_barrier_cancel(&file->barrier);
    timer_stop(io_timers(file->io), &file->position_timer);
    timer_stop(io_timers(file->io), &file->interval_timer);
    buffer_clear(&file->filling);
    buffer_clear(&file->writing);
    file->phase = PHASE_FAILED;
    accounting_start_timer(file, &file->retry, file->ending ? 0 : RETRY_MS);
}

/* ---- the position ---------------------------------------------------------------------------- */

uint64_t accounting_header_hash(const struct accounting_layout *layout)
{
    return bytes_hash(layout->header);
}

void accounting_put_position(struct accounting_file *file, enum accounting_phase phase)
{
    char key_text[ACCOUNTING_KEY_MAX], value_text[ACCOUNTING_POSITION_MAX];
    struct buffer key, value;
    buffer_init(&key, key_text, sizeof key_text);
    buffer_put_string(&key, ACCOUNTING_KEY_PREFIX);
    buffer_put_string(&key, file->directory.path);
    buffer_init(&value, value_text, sizeof value_text);
    bool fits = accounting_position_put(&value, &file->put);
    assert(fits);
    assert(!key.overflowed);
    file->phase = phase;
    struct spool *home = file->logs[0].spool;
    spool_put_state(home, file->worker, buffer_bytes(&key), buffer_bytes(&value));
    spool_when_durable(home, &file->barrier);
}

void accounting_on_durable(struct spool_barrier *barrier)
{
    struct accounting_file *file = CONTAINER_OF(barrier, struct accounting_file, barrier);
    assert(file->phase == PHASE_PUBLISHING || file->phase == PHASE_BEGINNING);
    file->durable = file->put;
    for (uint32_t i = 0; i < file->log_count; i++) {
        if (file->durable.logs[i].sequence != 0) {
            spool_follow_durable(&file->logs[i].follower, file->durable.logs[i].sequence);
        }
    }
    if (file->phase == PHASE_PUBLISHING && file->complained_ms != 0) {
        file->complained_ms = 0;
        LOG_INFO("accounting file %s: written again", file->directory.path);
    }
    if (file->finished[0] != '\0') {
        accounting_directory_move(&file->directory, file->finished);
        file->finished[0] = '\0';
    }
    file->phase = PHASE_IDLE;
    accounting_file_advance(file);
}

void accounting_on_position_timer(struct timer *timer)
{
    struct accounting_file *file = CONTAINER_OF(timer, struct accounting_file, position_timer);
    file->position_due = true;
    accounting_file_advance(file);
}

static void on_synced(struct io_op *op, int result)
{
    struct accounting_file *file = CONTAINER_OF(op, struct accounting_file, op);
    assert(file->phase == PHASE_SYNCING);
    if (result < 0) {
        accounting_file_fail(file, "syncing it", result);
        return;
    }
    file->synced_bytes = file->put.length_bytes;
    accounting_put_position(file, PHASE_PUBLISHING);
}

static bool all_at_end(const struct accounting_file *file)
{
    for (uint32_t i = 0; i < file->log_count; i++) {
        if (!spool_follow_at_end(&file->logs[i].follower)) {
            return false;
        }
    }
    return true;
}

bool accounting_at_end(const struct accounting_file *file)
{
    return file->filling.len == 0 && (file->end == ACCOUNTING_END_AT_ONCE || all_at_end(file));
}

bool accounting_is_durable(const struct accounting_file *file)
{
    for (uint32_t i = 0; i < file->log_count; i++) {
        if (file->written.logs[i].sequence != file->durable.logs[i].sequence) {
            return false;
        }
    }
    return true;
}

bool accounting_position_is_due(const struct accounting_file *file)
{
    bool moved_on = !accounting_is_durable(file);
    return (moved_on && (file->position_due || (file->ending && accounting_at_end(file)))) ||
           file->written.length_bytes - file->synced_bytes >= UNSYNCED_BYTES;
}

void accounting_sync_now(struct accounting_file *file)
{
    file->position_due = false;
    timer_stop(io_timers(file->io), &file->position_timer);
    file->put = file->written;
    if (file->written.length_bytes == file->synced_bytes) { /* only records it does not hold */
        accounting_put_position(file, PHASE_PUBLISHING);
        return;
    }
    file->phase = PHASE_SYNCING;
    io_op_init(&file->op, on_synced);
    io_fdatasync(file->io, &file->op, file->fd);
}

/* ---- writing --------------------------------------------------------------------------------- */

void accounting_watch_interval(struct accounting_file *file)
{
    if (file->directory.move_to[0] == '\0' || file->move_interval_ms == NEVER ||
        file->written.began_wall_ms == 0) {
        return;
    }
    uint64_t wall_ms = (uint64_t)io_wall_ms(file->io);
    uint64_t age_ms =
        wall_ms > file->written.began_wall_ms ? wall_ms - file->written.began_wall_ms : 0;
    accounting_start_timer(file, &file->interval_timer,
                           age_ms < file->move_interval_ms ? file->move_interval_ms - age_ms : 0);
}

void accounting_on_interval(struct timer *timer)
{
    struct accounting_file *file = CONTAINER_OF(timer, struct accounting_file, interval_timer);
    file->rotate_wanted = true;
    accounting_file_advance(file);
}

void accounting_take_seen(struct accounting_file *file)
{
    for (uint32_t i = 0; i < file->log_count; i++) {
        file->logs[i].writing_sequence = file->logs[i].seen_sequence;
    }
}

void accounting_note_written(struct accounting_file *file)
{
    for (uint32_t i = 0; i < file->log_count; i++) {
        file->written.logs[i].sequence = file->logs[i].writing_sequence;
    }
    if (!accounting_is_durable(file) && !timer_running(&file->position_timer) &&
        !file->position_due) {
        accounting_start_timer(file, &file->position_timer, POSITION_MS);
    }
}

static void on_written(struct io_op *op, int result)
{
    struct accounting_file *file = CONTAINER_OF(op, struct accounting_file, op);
    assert(file->phase == PHASE_WRITING);
    if (result < 0) {
        accounting_file_fail(file, "writing to it", result);
        return;
    }
    if (file->written.began_wall_ms == 0) {
        file->written.began_wall_ms = (uint64_t)io_wall_ms(file->io);
        accounting_watch_interval(file);
    }
    file->written.length_bytes += (uint64_t)result;
    buffer_clear(&file->writing);
    accounting_note_written(file);
    file->phase = PHASE_IDLE;
    accounting_file_advance(file);
}

void accounting_write_now(struct accounting_file *file)
{
    assert(file->writing.len == 0);
    struct buffer full = file->filling;
    file->filling = file->writing;
    file->writing = full;
    accounting_take_seen(file);
    size_t count = 0;
    if (file->written.length_bytes == 0 && file->layout->header.len > 0) {
        struct bytes header = file->layout->header;
        file->iov[count++] =
            (struct iovec){.iov_base = (void *)(uintptr_t)header.data, .iov_len = header.len};
        file->written.header_hash = accounting_header_hash(file->layout);
    }
    file->iov[count++] =
        (struct iovec){.iov_base = file->writing.data, .iov_len = file->writing.len};
    file->phase = PHASE_WRITING;
    io_op_init(&file->op, on_written);
    io_write(file->io, &file->op, file->fd, file->iov, count, file->written.length_bytes);
}

/* ---- rotation -------------------------------------------------------------------------------- */

/* Creates the next file and puts the position that names it. */
int accounting_begin_file(struct accounting_file *file)
{
    struct accounting_position next;
    int fd = accounting_directory_begin(&file->directory, io_wall_ms(file->io), file->written.name,
                                        &next);
    if (fd < 0) {
        return fd;
    }
    accounting_close_file(file);
    file->fd = fd;
    next.header_hash = accounting_header_hash(file->layout);
    next.log_count = file->written.log_count;
    memcpy(next.logs, file->written.logs, sizeof next.logs);
    file->written = next;
    file->put = next;
    file->synced_bytes = 0;
    timer_stop(io_timers(file->io), &file->interval_timer);
    return 0;
}

/* Nothing is written to the next file before the position that names it is durable; only then is
 * the old one moved away. */
static void begin_next(struct accounting_file *file)
{
    char finished[ACCOUNTING_NAME_MAX];
    memcpy(finished, file->written.name, sizeof finished);
    int result = accounting_begin_file(file);
    if (result < 0) {
        accounting_file_fail(file, "beginning the next one", result);
        return;
    }
    memcpy(file->finished, finished, sizeof finished);
    accounting_put_position(file, PHASE_BEGINNING);
}

static void on_old_synced(struct io_op *op, int result)
{
    struct accounting_file *file = CONTAINER_OF(op, struct accounting_file, op);
    assert(file->phase == PHASE_CLOSING);
    if (result < 0) {
        accounting_file_fail(file, "syncing it", result);
        return;
    }
    begin_next(file);
}

static bool is_full(const struct accounting_file *file)
{
    return file->written.began_wall_ms != 0 && file->filling.len > 0 &&
           file->written.length_bytes + file->filling.len > file->max_bytes;
}

/* A layout is changed when nothing written by the old one is on its way to the file. */
static bool take_next_layout(struct accounting_file *file)
{
    if (file->next_layout == NULL || file->filling.len > 0) {
        return false;
    }
    accounting_layout_destroy(file->layout);
    file->layout = file->next_layout;
    file->next_layout = NULL;
    return file->written.length_bytes > 0 &&
           file->written.header_hash != accounting_header_hash(file->layout);
}

/* An empty file is as good as the next one, if it is still where people look for it. */
bool accounting_rotation_is_due(struct accounting_file *file)
{
    if (take_next_layout(file) || is_full(file)) {
        file->rotate_wanted = true;
    }
    if (file->rotate_wanted && file->written.began_wall_ms == 0 &&
        accounting_directory_holds(&file->directory, file->written.name, file->written.inode)) {
        file->rotate_wanted = false;
    }
    return file->rotate_wanted;
}

void accounting_rotate_now(struct accounting_file *file)
{
    file->rotate_wanted = false;
    file->position_due = false;
    timer_stop(io_timers(file->io), &file->position_timer);
    if (file->written.length_bytes == file->synced_bytes) {
        begin_next(file);
        return;
    }
    file->phase = PHASE_CLOSING;
    io_op_init(&file->op, on_old_synced);
    io_fdatasync(file->io, &file->op, file->fd);
}
