#include "io/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SAME_NAMES_MAX 100 /* of one name in the other directory */

int folder_open(struct folder *folder, const char *path)
{
    *folder = (struct folder){.fd = -1};
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    folder->names = faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) == 0 ? fdopendir(fd) : NULL;
    if (folder->names == NULL) {
        int failed = errno;
        close(fd);
        return -failed;
    }
    folder->fd = fd; /* of `names` */
    return 0;
}

void folder_close(struct folder *folder)
{
    if (folder->names == NULL) {
        return;
    }
    if (folder->changed) {
        fsync(folder->fd);
    }
    closedir(folder->names);
    *folder = (struct folder){.fd = -1};
}

static bool is_hidden(const char *name)
{
    size_t len = strlen(name);
    return name[0] == '.' || name[0] == '#' || (len >= 4 && strcmp(name + len - 4, ".tmp") == 0);
}

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool is_ready(const struct folder *folder, const char *name)
{
    struct stat seen;
    if (fstatat(folder->fd, name, &seen, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(seen.st_mode)) {
        return false;
    }
    int64_t age_ms =
        wall_ms() - ((int64_t)seen.st_mtim.tv_sec * 1000 + seen.st_mtim.tv_nsec / 1000000);
    return age_ms >= FOLDER_AGE_MS || age_ms < -FOLDER_AHEAD_MS;
}

int folder_next(struct folder *folder, char name[FOLDER_NAME_MAX])
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder->names);
        if (entry == NULL) {
            return -errno;
        }
        if (!is_hidden(entry->d_name) && is_ready(folder, entry->d_name)) {
            snprintf(name, FOLDER_NAME_MAX, "%s", entry->d_name);
            return 1;
        }
    }
}

int folder_open_file(const struct folder *folder, const char *name)
{
    int fd = openat(folder->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? -errno : fd;
}

int folder_remove(struct folder *folder, const char *name)
{
    folder->changed = true;
    return unlinkat(folder->fd, name, 0) < 0 ? -errno : 0;
}

int folder_put_off(const struct folder *folder, const char *name, uint32_t delay_ms)
{
    int64_t changed_ms = wall_ms() + delay_ms - FOLDER_AGE_MS;
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = changed_ms / 1000, .tv_nsec = changed_ms % 1000 * 1000000}};
    return utimensat(folder->fd, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int folder_move(struct folder *folder, const char *name, const char *to_directory)
{
    char path[PATH_MAX + 16];
    folder->changed = true;
    for (int i = 0; i < SAME_NAMES_MAX; i++) {
        int len = i == 0 ? snprintf(path, PATH_MAX, "%s/%s", to_directory, name)
                         : snprintf(path, PATH_MAX, "%s/%s.%d", to_directory, name, i);
        if (len >= PATH_MAX) {
            break;
        }
        if (renameat2(folder->fd, name, AT_FDCWD, path, RENAME_NOREPLACE) == 0) {
            return 0;
        }
        if (errno != EEXIST) {
            break;
        }
    }
    snprintf(path, sizeof path, "#%s", name);
    return renameat2(folder->fd, name, folder->fd, path, RENAME_NOREPLACE) < 0 ? -errno : 1;
}

int folder_make_stream(int ends[2])
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0 ? -errno : 0;
}
