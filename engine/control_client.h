/* One request to a running daemon and its reply, of one line or more, over the control socket.
 *
 * The command line's side of control.h. Knows no command; blocks the thread, which is right
 * where there is nothing else to do: never in the engine. */
#ifndef ENGINE_CONTROL_CLIENT_H
#define ENGINE_CONTROL_CLIENT_H

#include <stddef.h>

#include "base/bytes.h"
#include "base/error.h"

/* Bytes of a Unix socket's path, with the terminating NUL: sockaddr_un(7). */
#define CONTROL_CLIENT_PATH_MAX 108

struct control_request {
    const char *path;  /* of the socket */
    struct bytes line; /* the request, without its newline */
    unsigned timeout_seconds;
};

struct control_conversation {
    /* private: */
    int fd;
    unsigned timeout_seconds;
    char *memory;
    size_t len, used; /* of memory: bytes there, those of the line taken last */
};

/* The request is sent. -1 with error: 69 no daemon there, 77 not permitted, 75 busy, silent or
 * gone, 74 the system failed. Either way it is to be ended. */
int control_client_begin(struct control_conversation *conversation,
                         const struct control_request *request, struct error *error);

/* 0: the daemon's next line without its newline, NUL behind it, valid until the next call. Which
 * one is the last is the caller's to know. -1 with error: 75 silent or gone before it came, 74 it
 * is longer than CONTROL_REPLY_MAX. */
int control_client_next(struct control_conversation *conversation, struct bytes *line,
                        struct error *error);

void control_client_end(struct control_conversation *conversation);

#endif
