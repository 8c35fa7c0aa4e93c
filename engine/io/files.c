#include "io/files.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(int fd, size_t size, char *data)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = read(fd, data + done, size - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            return -EIO; /* it became shorter while we read */
        }
        done += (size_t)n;
    }
    return 0;
}

static int read_open_file(int fd, struct bytes *out)
{
    struct stat info;
    if (fstat(fd, &info) < 0) {
        return -errno;
    }
    if (S_ISDIR(info.st_mode)) {
        return -EISDIR;
    }
    if (info.st_size > FILES_BYTES_MAX) {
        return -EFBIG;
    }
    char *data = malloc((size_t)info.st_size + 1);
    if (data == NULL) {
        return -ENOMEM;
    }
    int result = read_all(fd, (size_t)info.st_size, data);
    if (result < 0) {
        free(data);
        return result;
    }
    data[info.st_size] = '\0';
    *out = bytes_of(data, (size_t)info.st_size);
    return 0;
}

int files_read(void *owner, const char *path, struct bytes *out)
{
    (void)owner;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int result = read_open_file(fd, out);
    close(fd);
    return result;
}

bool files_is_public(void *owner, const char *path)
{
    (void)owner;
    struct stat info;
    return stat(path, &info) == 0 && (info.st_mode & (S_IROTH | S_IWOTH)) != 0;
}

int files_glob(void *owner, const char *pattern, void (*found)(void *to, const char *path),
               void *to)
{
    (void)owner;
    glob_t paths;
    int result = glob(pattern, 0, NULL, &paths);
    if (result == GLOB_NOMATCH) {
        return 0;
    }
    if (result != 0) {
        return result == GLOB_NOSPACE ? -ENOMEM : -EIO;
    }
    for (size_t i = 0; i < paths.gl_pathc; i++) {
        found(to, paths.gl_pathv[i]);
    }
    globfree(&paths);
    return 0;
}

int files_host_name(char *out, size_t capacity)
{
    if (gethostname(out, capacity) < 0) {
        return -errno;
    }
    out[capacity - 1] = '\0';
    return 0;
}
