#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "io/io_kernel.h"

#define FILE_MODE      0640
#define WORLD_MODE     0644
#define DIRECTORY_MODE 0750

/* A directory of ours holds segments, jobs of a pickup, sockets; far fewer than this. */
#define DIRECTORY_NAMES_MAX 10000000

/* `call` again as long as a signal ends it. */
#define RETRIED(result, call)                                                                      \
    do {                                                                                           \
        (result) = (call);                                                                         \
    } while ((result) < 0 && errno == EINTR)

static int negative_errno(int result)
{
    return result < 0 ? -errno : result;
}

static int open_flags(uint32_t flags)
{
    bool reads = (flags & IO_OPEN_READ) != 0;
    bool writes = (flags & (IO_OPEN_WRITE | IO_OPEN_APPEND)) != 0;
    int result = O_CLOEXEC | O_NOCTTY | (reads && writes ? O_RDWR : writes ? O_WRONLY : O_RDONLY);
    result |= (flags & IO_OPEN_CREATE) != 0 ? O_CREAT : 0;
    result |= (flags & IO_OPEN_EXCLUSIVE) != 0 ? O_EXCL : 0;
    result |= (flags & IO_OPEN_APPEND) != 0 ? O_APPEND : 0;
    result |= (flags & IO_OPEN_TRUNCATE) != 0 ? O_TRUNC : 0;
    return result;
}

int io_file_open(struct io *io, const char *path, uint32_t flags)
{
    int fd;
    RETRIED(fd, open(path, open_flags(flags), FILE_MODE));
    if (fd >= 0 && (flags & IO_OPEN_WORLD) != 0 && fchmod(fd, WORLD_MODE) != 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return negative_errno(fd);
}

int io_file_info(struct io *io, int fd, struct io_file_info *out)
{
    struct stat seen;
    struct statfs volume;
    if (fstat(fd, &seen) != 0 || fstatfs(fd, &volume) != 0) {
        return -errno;
    }
    *out = (struct io_file_info){.size = (uint64_t)seen.st_size,
                                 .inode = seen.st_ino,
                                 .owner = seen.st_uid,
                                 .is_directory = S_ISDIR(seen.st_mode),
                                 .in_memory =
                                     volume.f_type == TMPFS_MAGIC || volume.f_type == RAMFS_MAGIC};
    return 0;
}

int io_file_truncate(struct io *io, int fd, uint64_t size)
{
    int result;
    RETRIED(result, ftruncate(fd, (off_t)size));
    return negative_errno(result);
}

int io_file_allocate(struct io *io, int fd, uint64_t size)
{
    int result;
    RETRIED(result, fallocate(fd, 0, 0, (off_t)size));
    return result != 0 && errno == EOPNOTSUPP ? io_file_truncate(io, fd, size)
                                              : negative_errno(result);
}

int io_file_lock(struct io *io, int fd)
{
    int result;
    RETRIED(result, flock(fd, LOCK_EX | LOCK_NB));
    return negative_errno(result);
}

int io_file_sync(struct io *io, int fd)
{
    int result;
    RETRIED(result, fdatasync(fd));
    return negative_errno(result);
}

int64_t io_file_read_at(struct io *io, int fd, void *data, size_t len, uint64_t offset)
{
    size_t moved = 0;
    while (moved < len) {
        ssize_t n;
        RETRIED(n, pread(fd, (char *)data + moved, len - moved, (off_t)(offset + moved)));
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        moved += (size_t)n;
    }
    return (int64_t)moved;
}

int64_t io_file_write_at(struct io *io, int fd, const void *data, size_t len, uint64_t offset)
{
    size_t moved = 0;
    while (moved < len) {
        ssize_t n;
        RETRIED(n, pwrite(fd, (const char *)data + moved, len - moved, (off_t)(offset + moved)));
        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
        moved += (size_t)n;
    }
    return (int64_t)moved;
}

int io_file_rename(struct io *io, const char *from, const char *to)
{
    return negative_errno(rename(from, to));
}

int io_file_unlink(struct io *io, const char *path)
{
    return negative_errno(unlink(path));
}

int io_directory_create(struct io *io, const char *path)
{
    if (mkdir(path, DIRECTORY_MODE) == 0 || errno == EEXIST) {
        return 0;
    }
    return -errno;
}

int io_directory_sync(struct io *io, const char *path)
{
    int fd, result;
    RETRIED(fd, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0) {
        return -errno;
    }
    RETRIED(result, fsync(fd));
    result = negative_errno(result);
    close(fd);
    return result;
}

struct name_list {
    char **names;
    size_t count, capacity;
};

static int name_list_add(struct name_list *list, const char *name)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        char **names =
            capacity > DIRECTORY_NAMES_MAX ? NULL : realloc(list->names, capacity * sizeof *names);
        if (names == NULL) {
            return -ENOMEM;
        }
        list->names = names;
        list->capacity = capacity;
    }
    char *copy = strdup(name);
    if (copy == NULL) {
        return -ENOMEM;
    }
    list->names[list->count++] = copy;
    return 0;
}

static void name_list_free(struct name_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->names[i]);
    }
    free(list->names);
}

static int name_list_read(struct name_list *list, DIR *directory)
{
    for (;;) {
        errno = 0;
        const struct dirent *found = readdir(directory);
        if (found == NULL) {
            return -errno;
        }
        if (strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0) {
            continue;
        }
        int result = name_list_add(list, found->d_name);
        if (result != 0) {
            return result;
        }
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int io_directory_walk(struct io *io, const char *path, int (*entry)(void *owner, const char *name),
                      void *owner)
{
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return -errno;
    }
    struct name_list list = {0};
    int result = name_list_read(&list, directory);
    closedir(directory);
    if (result == 0 && list.count > 0) {
        qsort(list.names, list.count, sizeof *list.names, compare_names);
    }
    for (size_t i = 0; result == 0 && i < list.count; i++) {
        result = entry(owner, list.names[i]);
    }
    name_list_free(&list);
    return result;
}

int io_space_free(struct io *io, const char *path, uint64_t *bytes_out)
{
    struct statvfs volume;
    int result;
    RETRIED(result, statvfs(path, &volume));
    if (result != 0) {
        return -errno;
    }
    *bytes_out = (uint64_t)volume.f_bavail * volume.f_frsize;
    return 0;
}

void io_file_close(struct io *io, int fd)
{
    assert(fd >= 0);
    /* Not retried after EINTR: on Linux the descriptor is gone then all the same. */
    close(fd);
}
