/* SMTP sessions: injecting clients served over io, their messages handed to the spool.
 *
 * One `struct sessions` per worker holds all of them; it is used on that worker's thread only.
 * Knows no workers, no queues and nothing of the engine above: what it cannot know (which virtual
 * MTAs there are, whether one may take more) it asks by the callbacks of its options. Speaks SMTP
 * through smtp/server.h. An idle session holds about 1 KiB and no buffer; a session in a
 * transaction holds one `reception` besides, from a pool sized at creation. */
#ifndef ENGINE_SESSION_H
#define ENGINE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/bytes.h"
#include "base/list.h"

struct callers;
struct config;
struct dialogue_log;
struct io;
struct sessions;
struct spools;
struct vmta_chooser;

/* Everything named here outlives the sessions; pointers are borrowed. */
struct sessions_options {
    struct io *io;
    uint32_t worker; /* index, as the spool counts them */
    struct spools *spools;
    struct vmta_chooser *vmtas;        /* full ones are answered 452 4.2.2 */
    struct callers *callers;           /* shared by all workers */
    struct dialogue_log *dialogue_log; /* NULL: no source's policy logs */
    uint32_t sessions_max;             /* of this worker; what comes beyond gets 421 4.7.0 */
    uint32_t receive_buffer_bytes;     /* the most that one io_recv hands over */
    const char *host_name;             /* where nothing is configured; NULL: "localhost" */

    /* Callbacks; `owner` is handed back. None may call into sessions again. */
    void *owner;
    /* The policy in force now. Asked whenever a session does something, and not kept beyond
     * sessions_reload: a reload reaches a session at its next command. */
    const struct config *(*config)(void *owner);
};

/* NULL: no memory. */
struct sessions *sessions_create(const struct sessions_options *options);

/* What a listening address says of the sessions that come in by it; copied, shared by them, and
 * freed when its listener and the last of them are gone. */
struct session_door;

/* source_name: the <source> that holds, NULL: by the peer's address alone. host_name: for greeting
 * and trace fields, NULL: the configuration's. NULL: no memory. */
struct session_door *session_door_open(const char *source_name, const char *host_name);
void session_door_close(struct session_door *door); /* NULL is accepted */

/* A connection just accepted; the descriptor is the session's from here on, also where there is
 * no room for it (it is told so and closed). */
void sessions_accept(struct sessions *sessions, int fd, struct session_door *door);

/* A stream to a program part of ours, which has no address: the door's source is the only one that
 * holds for it, and its messages count as picked up (pickup.h). Else the same. */
void sessions_accept_own(struct sessions *sessions, int fd, struct session_door *door);

/* The configuration has changed: what was learned from the old one is not used any more, from
 * this call on. */
void sessions_reload(struct sessions *sessions);

/* From now on: transactions that are under way are finished, every other command and every new
 * connection gets 421 4.3.2. `drained` (may be NULL) is called once, when no transaction is left;
 * never inside this call. */
void sessions_drain(struct sessions *sessions, void (*drained)(void *owner));

/* Closes every session at once (421 4.3.2 where one waits for a command); a message whose commit
 * is with the spool stands. `stopped` is called once, when every operation is home and every
 * upload was released; never inside this call. */
void sessions_stop(struct sessions *sessions, void (*stopped)(void *owner));

/* After `stopped`, or where nothing was ever accepted. NULL is accepted. */
void sessions_destroy(struct sessions *sessions);

/* Told whenever a session has ended and its descriptor is free. */
struct sessions_ended_hook {
    void (*ended)(struct sessions_ended_hook *hook);
    /* private: */
    struct list_node node;
};
void sessions_hook_ended(struct sessions *sessions, struct sessions_ended_hook *hook);
void sessions_unhook_ended(struct sessions *sessions, struct sessions_ended_hook *hook);

/* Counters since creation, and what is there now. */
struct sessions_status {
    uint64_t connections, refused, messages, recipients, bytes;
    uint64_t messages_refused, timeouts, protocol_errors;
    uint32_t open, transactions;
};
void sessions_status(const struct sessions *sessions, struct sessions_status *out);

#endif
