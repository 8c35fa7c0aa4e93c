#include "io/deposit.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MODE    0640
#define LOCK_STEP_MS 50

static int temporary_path(const struct deposit *deposit, char path[PATH_MAX])
{
    int len = snprintf(path, PATH_MAX, "%s/.%s.tmp", deposit->directory, deposit->name);
    return len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int final_path(const struct deposit *deposit, char path[PATH_MAX])
{
    int len = snprintf(path, PATH_MAX, "%s/%s", deposit->directory, deposit->name);
    return len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int deposit_begin_file(struct deposit *deposit, const char *directory, const char *name)
{
    deposit->fd = -1;
    assert(directory[0] != '\0');
    if ((size_t)snprintf(deposit->directory, sizeof deposit->directory, "%s", directory) >=
            sizeof deposit->directory ||
        (size_t)snprintf(deposit->name, sizeof deposit->name, "%s", name) >= sizeof deposit->name) {
        return -ENAMETOOLONG;
    }
    char path[PATH_MAX];
    int result = temporary_path(deposit, path);
    if (result < 0) {
        return result;
    }
    deposit->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, FILE_MODE);
    return deposit->fd < 0 ? -errno : 0;
}

int deposit_begin_append(struct deposit *deposit)
{
    deposit->directory[0] = '\0';
    deposit->fd = memfd_create("message", MFD_CLOEXEC);
    return deposit->fd < 0 ? -errno : 0;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

int deposit_write(struct deposit *deposit, const void *data, size_t len)
{
    assert(deposit->fd >= 0);
    return write_all(deposit->fd, data, len);
}

static int sync_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int result = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return result;
}

int deposit_commit_file(struct deposit *deposit)
{
    char temporary[PATH_MAX], final[PATH_MAX];
    int result = temporary_path(deposit, temporary);
    if (result == 0) {
        result = final_path(deposit, final);
    }
    if (result < 0) {
        return result;
    }
    if (fsync(deposit->fd) < 0 ||
        renameat2(AT_FDCWD, temporary, AT_FDCWD, final, RENAME_NOREPLACE) < 0) {
        return -errno;
    }
    result = sync_directory(deposit->directory);
    if (result < 0) {
        unlink(final); /* it will be delivered again */
        return result;
    }
    close(deposit->fd);
    deposit->fd = -1;
    return 0;
}

/* A lock of the open file: other threads of ours are kept out as other processes are. */
static int lock_file(int fd)
{
    for (int waited_ms = 0;; waited_ms += LOCK_STEP_MS) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0) {
            return 0;
        }
        if ((errno != EAGAIN && errno != EACCES) || waited_ms >= DEPOSIT_LOCK_WAIT_MS) {
            return errno == EACCES ? -EAGAIN : -errno;
        }
        poll(NULL, 0, LOCK_STEP_MS);
    }
}

static int copy_to(int from, int to, off_t size)
{
    off_t offset = 0;
    while (offset < size) {
        ssize_t n = sendfile(to, from, &offset, (size_t)(size - offset));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
    }
    return 0;
}

/* With the lock held: its end cannot move meanwhile. */
static int append_locked(struct deposit *deposit, int fd)
{
    struct stat before, added;
    if (fstat(fd, &before) < 0 || fstat(deposit->fd, &added) < 0 ||
        lseek(fd, before.st_size, SEEK_SET) < 0) {
        return -errno;
    }
    int result = copy_to(deposit->fd, fd, added.st_size);
    if (result == 0 && fsync(fd) < 0) {
        result = -errno;
    }
    if (result < 0 && ftruncate(fd, before.st_size) < 0) {
        return result; /* the failure that came first says more */
    }
    return result;
}

/* Opened, or made: then its name must be as durable as what it gets. A FIFO would hang us. */
static int open_to_append(const char *path, bool *made)
{
    int flags = O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    int fd = open(path, flags);
    *made = fd < 0 && errno == ENOENT;
    if (*made) {
        fd = open(path, flags | O_CREAT, FILE_MODE);
    }
    if (fd < 0) {
        return -errno;
    }
    struct stat seen;
    if (fstat(fd, &seen) < 0 || !S_ISREG(seen.st_mode)) {
        close(fd);
        return -ENOTSUP;
    }
    return fd;
}

static int sync_directory_of(const char *path)
{
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", path);
    char *slash = strrchr(directory, '/');
    if (slash == NULL) {
        return sync_directory(".");
    }
    slash[slash == directory] = '\0';
    return sync_directory(directory);
}

int deposit_commit_append(struct deposit *deposit, const char *path)
{
    bool made;
    int fd = open_to_append(path, &made);
    if (fd < 0) {
        return fd;
    }
    int result = lock_file(fd);
    if (result == 0 && made) {
        result = sync_directory_of(path);
    }
    if (result == 0) {
        result = append_locked(deposit, fd);
    }
    close(fd); /* and with it the lock */
    if (result == 0) {
        close(deposit->fd);
        deposit->fd = -1;
    }
    return result;
}

int deposit_open_to_read(const struct deposit *deposit)
{
    char path[32];
    assert(deposit->fd >= 0 && deposit->directory[0] == '\0');
    snprintf(path, sizeof path, "/proc/self/fd/%d", deposit->fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC); /* has an offset of its own */
    return fd < 0 ? -errno : fd;
}

void deposit_abandon(struct deposit *deposit)
{
    char path[PATH_MAX];
    if (deposit->fd < 0) {
        return;
    }
    close(deposit->fd);
    deposit->fd = -1;
    if (deposit->directory[0] != '\0' && temporary_path(deposit, path) == 0) {
        unlink(path);
    }
}
