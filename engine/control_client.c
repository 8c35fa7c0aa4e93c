/* Blocking socket calls: the one place outside io that makes them, for a program that waits for one
 * answer and ends. */
#include "control_client.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"

enum { NO_DAEMON = 69, SYSTEM_ERROR = 74, TRY_AGAIN = 75, NOT_PERMITTED = 77 };

static int explain_connect(const char *path, int number, struct error *error)
{
    if (number == EACCES || number == EPERM) {
        return error_set(error, NOT_PERMITTED,
                         "no permission to use %s: run as root or join the group that owns it",
                         path);
    }
    if (number == EAGAIN || number == EINPROGRESS) {
        return error_set(error, TRY_AGAIN, "the daemon behind %s is busy: try again", path);
    }
    return error_set(error, NO_DAEMON,
                     "no daemon answers at %s (%s): is it running (systemctl status posthaste)? Is "
                     "its control-socket another (then say -c FILE)?",
                     path, strerror(number));
}

static int connect_to(const struct control_request *request, struct error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(request->path);
    struct timeval wait = {.tv_sec = request->timeout_seconds};
    if (len >= sizeof address.sun_path) {
        return error_set(error, NO_DAEMON, "%s: longer than a socket's path may be", request->path);
    }
    memcpy(address.sun_path, request->path, len);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return error_set(error, SYSTEM_ERROR, "cannot make a socket: %s", strerror(errno));
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        explain_connect(request->path, errno, error);
        close(fd);
        return -1;
    }
    return fd;
}

static int explain_silence(const struct control_request *request, int number, struct error *error)
{
    if (number == EAGAIN) {
        return error_set(error, TRY_AGAIN,
                         "the daemon took the request but has not answered within %u s; whether it "
                         "acted is not known: try again",
                         request->timeout_seconds);
    }
    return error_set(error, TRY_AGAIN,
                     "the daemon closed the connection before it answered (%s): it is stopping, or "
                     "%d others are connected; try again",
                     number == 0 ? "end of file" : strerror(number), CONTROL_CLIENTS_MAX);
}

static bool send_all(int fd, struct bytes line)
{
    while (line.len > 0) {
        ssize_t sent = send(fd, line.data, line.len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            return false;
        }
        line = bytes_slice(line, (size_t)sent, line.len);
    }
    return true;
}

/* Reads up to the newline into memory of CONTROL_REPLY_MAX + 1 bytes; the length, or -1. */
static ssize_t receive_line(int fd, const struct control_request *request, char *memory,
                            struct error *error)
{
    size_t len = 0;
    while (len < CONTROL_REPLY_MAX) {
        ssize_t got = recv(fd, memory + len, CONTROL_REPLY_MAX - len, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return explain_silence(request, got < 0 ? errno : 0, error);
        }
        const char *end = memchr(memory + len, '\n', (size_t)got);
        len += (size_t)got;
        if (end != NULL) {
            return end - memory;
        }
    }
    return error_set(error, SYSTEM_ERROR, "the daemon's answer is longer than %d bytes",
                     CONTROL_REPLY_MAX);
}

static int exchange(int fd, const struct control_request *request, struct bytes *reply,
                    struct error *error)
{
    if (!send_all(fd, request->line) || !send_all(fd, BYTES("\n"))) {
        return explain_silence(request, errno, error);
    }
    char *memory = malloc(CONTROL_REPLY_MAX + 1);
    if (memory == NULL) {
        return error_set(error, SYSTEM_ERROR, "out of memory");
    }
    ssize_t len = receive_line(fd, request, memory, error);
    if (len < 0) {
        free(memory);
        return -1;
    }
    memory[len] = '\0';
    *reply = bytes_of(memory, (size_t)len);
    return 0;
}

int control_client_ask(const struct control_request *request, struct bytes *reply,
                       struct error *error)
{
    int fd = connect_to(request, error);
    if (fd < 0) {
        return -1;
    }
    int result = exchange(fd, request, reply, error);
    close(fd);
    return result;
}
