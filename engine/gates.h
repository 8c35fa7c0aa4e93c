/* The limits that span workers, as one worker sees them: which of its sites wait for room behind
 * which limit, and who of them tries next when there is some.
 *
 * A limit (vmta/limits.h) knows workers only, a gate knows the sites of one. Knows nothing of why
 * a site wants a place, nor of other places where a site may wait. One per worker, on its thread;
 * workers tell each other by letters. Owns the gates; they live as long as it does. */
#ifndef ENGINE_GATES_H
#define ENGINE_GATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/map.h"
#include "base/timers.h"
#include "io/mailbox.h"
#include "vmta/limits.h"

struct io;
struct site;

/* One limit, and this worker's sites that wait for room. */
struct gate {
    struct limit *limit;
    struct list waiting;   /* struct site */
    struct list_node node; /* in `waiting` of struct gates while sites wait */
    struct map_entry entry;
};

/* The doorbell from one worker to another: limits have room there. One letter per pair, so that
 * many releases make one. */
struct gates_bell {
    struct letter letter;
    struct gates *from, *to;
    bool in_flight, again;
};

struct gates {
    struct io *io;
    struct mailboxes *mailboxes;
    uint32_t worker, workers;
    /* The site may try now: takes it out of where it waits (gates_leave). */
    void (*woken)(struct site *site);
    /* Those of another worker. */
    struct gates *(*of_worker)(const struct gates *gates, uint32_t worker);
    /* private: */
    struct map by_limit;
    struct list waiting; /* struct gate */
    struct timer timer;
    struct gates_bell bells[LIMIT_WORKERS_MAX];
};

/* The fields above `private` are set by the owner, before the first wait. At most gates_max. */
void gates_init(struct gates *gates, size_t gates_max);
void gates_deinit(struct gates *gates); /* nobody waits, no letter is under way */

/* The gate of this limit, found or made. NULL: no memory, or too many. */
struct gate *gates_obtain(struct gates *gates, struct limit *limit);

/* Takes a place of each, or of none. False: *full has none, and a site must wait there now. */
bool gates_take(struct gates *gates, struct gate *const *wanted, size_t count, struct gate **full);

/* Gives a place back; who waits for one is woken, here or on another worker. */
void gates_release(struct gates *gates, struct gate *gate);

/* The site, which is in no other list by `node`, waits here from now on; behind others, but if it
 * was woken for this gate it keeps its turn. Its wake, if any, goes on. */
void gates_wait(struct gates *gates, struct gate *gate, struct site *site);

/* The site waits no more: it has been taken out of the list by its node. */
void gates_leave(struct gates *gates, const struct site *site);

/* The wake this site was given is no longer needed by it: the next one who waits gets it. */
void gates_settle(struct gates *gates, struct site *site);

/* Maxima may have grown: whoever waits at a limit tries again. */
void gates_wake_all(struct gates *gates);

/* These workers should do so; a bit each, ours is left out. */
void gates_ring(struct gates *gates, uint64_t workers);

#endif
