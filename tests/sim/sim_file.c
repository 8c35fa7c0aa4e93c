/* io.h's files on the simulated disk.
 *
 * What an operation does, it does when its time has come, not when it is submitted: a crash in
 * between finds it undone or half done. A sync covers the writes completed when it begins. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "io/io.h"
#include "sim_disk.h"
#include "sim_parts.h"

#define NAME_US_MAX 200 /* a change of names */
#define OWNER       0   /* uid of every file: the engine's own */

/* An open file; operations under way hold on to it. */
struct file {
    struct sim *sim;
    struct sim_inode *inode;
    uint32_t flags;
    bool holds_lock;
};

static struct file *file_of(struct io *io, int fd)
{
    return sim_fd_object(io->sim, fd, SIM_FD_FILE);
}

/* ---- asynchronous ----------------------------------------------------------------------- */

static struct sim_op *start(struct io *io, struct io_op *op, enum sim_op_kind kind, int fd,
                            void (*begin)(struct sim_op *op))
{
    struct file *file = file_of(io, fd);
    struct sim_op *started = sim_op_start(io, op, kind, fd, begin);
    started->file.file = file;
    return started;
}

static struct sim_inode *inode_of(const struct sim_op *op)
{
    const struct file *file = op->file.file;
    return file->inode;
}

static void complete_in(struct sim_op *op, void (*complete)(struct sim_event *event), uint64_t us)
{
    sim_event_init(&op->event, complete);
    sim_event_in(op->io->sim, &op->event, us);
}

static void on_read(struct sim_event *event)
{
    struct sim_op *op = CONTAINER_OF(event, struct sim_op, event);
    int64_t count = inode_read(inode_of(op), op->file.data, op->file.len, op->file.offset);
    sim_note_bytes(op->io->sim, "read bytes", op->file.data, count > 0 ? (size_t)count : 0);
    sim_op_finish(op, (int)count);
}

static void begin_read(struct sim_op *op)
{
    complete_in(op, on_read, disk_read_us(op->io->sim->disk));
}

void io_read(struct io *io, struct io_op *op, int fd, void *data, size_t len, uint64_t offset)
{
    struct sim_op *started = start(io, op, SIM_OP_READ, fd, begin_read);
    started->file.data = data;
    started->file.len = len;
    started->file.offset = offset;
}

/* pwrite(2), BUGS: a file opened to append does not ask for the offset. */
static uint64_t place_of(const struct file *file, uint64_t offset)
{
    return (file->flags & IO_OPEN_APPEND) != 0 ? file->inode->live.size : offset;
}

void sim_file_write_part(struct sim_op *op, uint64_t len)
{
    uint64_t offset = place_of(op->file.file, op->file.offset);
    uint64_t left = len;
    for (size_t i = 0; i < op->file.iov_count && left > 0; i++) {
        const struct iovec *iov = &op->file.iov[i];
        uint64_t count = iov->iov_len < left ? iov->iov_len : left;
        inode_write(inode_of(op), iov->iov_base, count, offset); /* may fail: then that is lost */
        offset += count;
        left -= count;
    }
}

static int write_whole(struct sim_op *op)
{
    uint8_t *bytes = sim_take(op->file.len);
    size_t len = 0;
    for (size_t i = 0; i < op->file.iov_count; i++) {
        memcpy(bytes + len, op->file.iov[i].iov_base, op->file.iov[i].iov_len);
        len += op->file.iov[i].iov_len;
    }
    assert(len == op->file.len);
    sim_note_bytes(op->io->sim, "write bytes", bytes, len);
    int result = inode_write(inode_of(op), bytes, len, place_of(op->file.file, op->file.offset));
    sim_give(bytes);
    return result;
}

static void on_synced(struct sim_event *event)
{
    struct sim_op *op = CONTAINER_OF(event, struct sim_op, event);
    struct sim_snapshot *snapshot = op->file.snapshot;
    op->file.snapshot = NULL;
    int result = inode_sync_end(inode_of(op), snapshot);
    sim_note(op->io->sim, "sync bytes", op->io->index, (uint64_t)(int64_t)result);
    sim_op_finish(op, result < 0 ? result : (int)op->file.len);
}

static void begin_sync_of(struct sim_op *op, uint64_t offset, uint64_t len)
{
    op->file.snapshot = inode_sync_begin(inode_of(op), offset, len);
    complete_in(op, on_synced, disk_sync_us(op->io->sim->disk));
}

static void drop_sync(struct sim_op *op)
{
    inode_sync_drop(op->file.snapshot);
}

static void on_write(struct sim_event *event)
{
    struct sim_op *op = CONTAINER_OF(event, struct sim_op, event);
    uint64_t offset = place_of(op->file.file, op->file.offset);
    int result = write_whole(op);
    if (result < 0) { /* some of it may be there all the same */
        sim_file_write_part(op, sim_between(op->io->sim, 0, op->file.len));
        sim_op_finish(op, result);
    } else if (op->file.synced) {
        begin_sync_of(op, offset, op->file.len);
    } else {
        sim_op_finish(op, (int)op->file.len);
    }
}

static void begin_write(struct sim_op *op)
{
    complete_in(op, on_write, disk_write_us(op->io->sim->disk));
}

static struct sim_op *start_write(struct io *io, struct io_op *op, int fd, struct iovec *iov,
                                  size_t iov_count, uint64_t offset)
{
    struct sim_op *started = start(io, op, SIM_OP_WRITE, fd, begin_write);
    started->file.iov = iov;
    started->file.iov_count = iov_count;
    started->file.offset = offset;
    for (size_t i = 0; i < iov_count; i++) {
        started->file.len += iov[i].iov_len;
    }
    return started;
}

void io_write(struct io *io, struct io_op *op, int fd, struct iovec *iov, size_t iov_count,
              uint64_t offset)
{
    start_write(io, op, fd, iov, iov_count, offset);
}

void io_write_synced(struct io *io, struct io_op *op, int fd, struct iovec *iov, size_t iov_count,
                     uint64_t offset)
{
    struct sim_op *started = start_write(io, op, fd, iov, iov_count, offset);
    started->file.synced = true;
    started->drop = drop_sync;
}

static void begin_sync(struct sim_op *op)
{
    begin_sync_of(op, 0, UINT64_MAX);
}

void io_fdatasync(struct io *io, struct io_op *op, int fd)
{
    struct sim_op *started = start(io, op, SIM_OP_SYNC, fd, begin_sync);
    started->drop = drop_sync;
}

/* ---- blocking --------------------------------------------------------------------------- */

static int open_inode(struct sim_disk *disk, const char *path, uint32_t flags,
                      struct sim_inode **out)
{
    struct sim_inode *inode = disk_find(disk, path);
    if (inode == NULL) {
        return (flags & IO_OPEN_CREATE) == 0 ? -ENOENT : disk_create(disk, path, false, out);
    }
    if ((flags & IO_OPEN_EXCLUSIVE) != 0) {
        return -EEXIST;
    }
    if (inode->is_directory && (flags & IO_OPEN_WRITE) != 0) {
        return -EISDIR;
    }
    *out = inode;
    return (flags & IO_OPEN_TRUNCATE) != 0 ? inode_truncate(inode, 0) : 0;
}

int io_file_open(struct io *io, const char *path, uint32_t flags)
{
    struct sim *sim = io->sim;
    struct sim_inode *inode = NULL;
    sim_block(sim, sim_between(sim, 1, NAME_US_MAX));
    int result = open_inode(sim->disk, path, flags, &inode);
    if (result < 0) {
        return result;
    }
    struct file *file = sim_take(sizeof(*file));
    file->sim = sim;
    file->inode = inode;
    file->flags = flags;
    int fd = sim_fd_take(sim, SIM_FD_FILE, file);
    if (fd < 0) {
        sim_give(file);
        return fd;
    }
    inode_ref(inode);
    inode->opens++;
    return fd;
}

static void file_release(struct file *file)
{
    if (file->holds_lock) {
        file->inode->locked = false;
    }
    file->inode->opens--;
    inode_unref(file->inode);
    sim_give(file);
}

void io_file_close(struct io *io, int fd)
{
    struct file *file = file_of(io, fd);
    sim_fd_give(io->sim, fd);
    file_release(file);
}

void sim_files_close(struct sim *sim)
{
    for (uint32_t fd = 0; fd < sim->fd_max; fd++) {
        if (sim->fds[fd].kind == SIM_FD_FILE) {
            file_release(sim->fds[fd].object);
            sim->fds[fd] = (struct sim_fd){0};
        }
    }
}

int io_file_info(struct io *io, int fd, struct io_file_info *out)
{
    const struct sim_inode *inode = file_of(io, fd)->inode;
    *out = (struct io_file_info){.size = inode->live.size, .inode = inode->number};
    out->owner = OWNER;
    out->is_directory = inode->is_directory;
    return 0;
}

int io_file_truncate(struct io *io, int fd, uint64_t size)
{
    sim_block(io->sim, disk_write_us(io->sim->disk));
    return inode_truncate(file_of(io, fd)->inode, size);
}

int io_file_allocate(struct io *io, int fd, uint64_t size)
{
    return io_file_truncate(io, fd, size);
}

int io_file_lock(struct io *io, int fd)
{
    struct file *file = file_of(io, fd);
    if (file->holds_lock) {
        return 0;
    }
    if (file->inode->locked) {
        return -EWOULDBLOCK;
    }
    file->inode->locked = file->holds_lock = true;
    return 0;
}

int io_file_sync(struct io *io, int fd)
{
    struct sim_inode *inode = file_of(io, fd)->inode;
    sim_block(io->sim, disk_sync_us(io->sim->disk));
    return inode_sync_end(inode, inode_sync_begin(inode, 0, UINT64_MAX));
}

int64_t io_file_read_at(struct io *io, int fd, void *data, size_t len, uint64_t offset)
{
    sim_block(io->sim, disk_read_us(io->sim->disk));
    return inode_read(file_of(io, fd)->inode, data, len, offset);
}

int64_t io_file_write_at(struct io *io, int fd, const void *data, size_t len, uint64_t offset)
{
    struct file *file = file_of(io, fd);
    assert((file->flags & IO_OPEN_WRITE) != 0);
    sim_block(io->sim, disk_write_us(io->sim->disk));
    sim_note_bytes(io->sim, "write bytes", data, len);
    int result = inode_write(file->inode, data, len, place_of(file, offset));
    return result < 0 ? result : (int64_t)len;
}

int io_file_rename(struct io *io, const char *from, const char *to)
{
    sim_block(io->sim, sim_between(io->sim, 1, NAME_US_MAX));
    return disk_rename(io->sim->disk, from, to);
}

int io_file_unlink(struct io *io, const char *path)
{
    sim_block(io->sim, sim_between(io->sim, 1, NAME_US_MAX));
    return disk_unlink(io->sim->disk, path);
}

int io_directory_create(struct io *io, const char *path)
{
    const struct sim_inode *inode = disk_find(io->sim->disk, path);
    sim_block(io->sim, sim_between(io->sim, 1, NAME_US_MAX));
    return inode != NULL ? 0 : disk_create(io->sim->disk, path, true, NULL);
}

int io_directory_sync(struct io *io, const char *path)
{
    sim_block(io->sim, disk_sync_us(io->sim->disk));
    return disk_sync_directory(io->sim->disk, path);
}

int io_directory_walk(struct io *io, const char *path, int (*entry)(void *owner, const char *name),
                      void *owner)
{
    char last[SIM_DISK_PATH_MAX] = "";
    int result = disk_is_directory(io->sim->disk, path);
    if (result != 0) {
        return result;
    }
    for (;;) {
        const char *next = disk_next_name(io->sim->disk, path, last);
        if (next == NULL) {
            return 0;
        }
        memcpy(last, next, strlen(next) + 1); /* the entry may unlink it */
        result = entry(owner, last);
        if (result != 0) {
            return result;
        }
    }
}

int io_space_free(struct io *io, const char *path, uint64_t *bytes_out)
{
    (void)path;
    *bytes_out = disk_space_free(io->sim->disk);
    return 0;
}
