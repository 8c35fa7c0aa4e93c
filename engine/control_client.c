/* Blocking socket calls: the one place outside io that makes them, for a program that waits for its
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

static int explain_silence(unsigned timeout_seconds, int number, struct error *error)
{
    if (number == EAGAIN) {
        return error_set(error, TRY_AGAIN,
                         "the daemon took the request but has not answered within %u s; whether it "
                         "acted is not known: try again",
                         timeout_seconds);
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

int control_client_begin(struct control_conversation *conversation,
                         const struct control_request *request, struct error *error)
{
    *conversation = (struct control_conversation){.fd = connect_to(request, error),
                                                  .timeout_seconds = request->timeout_seconds};
    if (conversation->fd < 0) {
        return -1;
    }
    if (!send_all(conversation->fd, request->line) || !send_all(conversation->fd, BYTES("\n"))) {
        return explain_silence(request->timeout_seconds, errno, error);
    }
    conversation->memory = malloc(CONTROL_REPLY_MAX + 1);
    return conversation->memory == NULL ? error_set(error, SYSTEM_ERROR, "out of memory") : 0;
}

/* The line taken before gives its place to what came behind it. */
static void drop_line(struct control_conversation *conversation)
{
    conversation->len -= conversation->used;
    memmove(conversation->memory, conversation->memory + conversation->used, conversation->len);
    conversation->used = 0;
}

int control_client_next(struct control_conversation *conversation, struct bytes *line,
                        struct error *error)
{
    size_t searched = 0;
    drop_line(conversation);
    for (;;) {
        char *memory = conversation->memory;
        char *end = memchr(memory + searched, '\n', conversation->len - searched);
        if (end != NULL) {
            *end = '\0';
            conversation->used = (size_t)(end - memory) + 1;
            *line = bytes_of(memory, conversation->used - 1);
            return 0;
        }
        searched = conversation->len;
        if (searched == CONTROL_REPLY_MAX) {
            return error_set(error, SYSTEM_ERROR, "the daemon's answer is longer than %d bytes",
                             CONTROL_REPLY_MAX);
        }
        ssize_t got = recv(conversation->fd, memory + searched, CONTROL_REPLY_MAX - searched, 0);
        if (got <= 0 && !(got < 0 && errno == EINTR)) {
            return explain_silence(conversation->timeout_seconds, got < 0 ? errno : 0, error);
        }
        conversation->len += got > 0 ? (size_t)got : 0;
    }
}

void control_client_end(struct control_conversation *conversation)
{
    if (conversation->fd > 0) {
        close(conversation->fd);
    }
    free(conversation->memory);
}
