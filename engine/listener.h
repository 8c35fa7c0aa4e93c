/* One listening address of one worker: accepts connections and hands them to its sessions.
 *
 * Every worker opens its own listener on the same address (SO_REUSEPORT); the kernel spreads the
 * connections. Knows no SMTP. When descriptors or memory are used up it stops accepting, and goes
 * on when a session has ended or a second has passed; connections wait in the backlog
 * meanwhile. */
#ifndef ENGINE_LISTENER_H
#define ENGINE_LISTENER_H

#include <stdint.h>

#include "base/address.h"
#include "base/error.h"

struct io;
struct listener;
struct sessions;

struct listener_options {
    struct io *io;
    struct sessions *sessions; /* of the same worker; outlives the listener */
    struct address address;    /* with port; port 0: any free one (see listener_address) */
    const char *source_name;   /* `source=` of the directive; NULL: by the peer's address; copied */
    const char *host_name;     /* of the greeting; NULL: the configuration's; copied */
    int backlog;               /* 0: 1024 */
};

/* Accepting starts at once. NULL with a sentence that names the address and the cause. */
struct listener *listener_open(const struct listener_options *options, struct error *error);

/* Where it listens, with the real port. */
void listener_address(const struct listener *listener, struct address *out);

/* Who is accepted from now on comes by this source and is greeted with this name (as in
 * listener_options). Without memory the old ones stay, logged. */
void listener_rename(struct listener *listener, const char *source_name, const char *host_name);

/* Stops accepting and frees the listener; sessions stay. `closed` (may be NULL) is the last call,
 * never inside this one; `owner` is handed to it. */
void listener_close(struct listener *listener, void (*closed)(void *owner), void *owner);

#endif
