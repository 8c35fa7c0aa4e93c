/* One request to a running daemon and its reply, over the control socket.
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

/* 0: *reply is the daemon's line without its newline, from malloc, NUL behind it. -1 with error:
 * 69 no daemon there, 77 not permitted, 75 busy, silent or gone before it answered, 74 the answer
 * is longer than CONTROL_REPLY_MAX or the system failed. */
int control_client_ask(const struct control_request *request, struct bytes *reply,
                       struct error *error);

#endif
