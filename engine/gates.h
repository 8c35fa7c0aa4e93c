/* The limits that span workers, as one worker sees them: which of its sites wait for room behind
 * which limit, who of them tries next when there is some, and which of its connections rest
 * behind which limit and give way to who waits there.
 *
 * A limit (vmta/limits.h) knows workers only, a gate knows the sites of one. Knows nothing of why
 * a site wants a place, nor of other places where a site may wait; a connection is the places it
 * holds. One per worker, on its thread; workers tell each other by letters. Owns the gates. Those
 * of gates_obtain live as long as it does; those of gates_join, of limits that come and go, as long
 * as somebody holds a place or waits there, and then until their room is wanted. */
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

/* Which limits a connection may hold a place of. */
enum gate_slot {
    GATE_VMTA,
    GATE_TOTAL,
    GATE_DOMAIN,
    GATE_PROVIDER,
    GATE_POOL,
    GATE_MX_HOST, /* of one receiving host or address, from one source: host_places.h */
    GATE_MX_ADDRESS,
    GATE_SLOTS,
};

/* What one connection holds; embedded in it. Zeroed memory holds nothing. */
struct gate_places {
    struct gate *gates[GATE_SLOTS];          /* NULL: none of that kind */
    struct list_node idle_nodes[GATE_SLOTS]; /* in `idle` of each, while it rests */
    bool promised;                           /* it closes because somebody waits */
    uint8_t priority;                        /* of who takes them: gates_take */
};

/* A request between workers, about one limit: somebody waits for it, so close what rests. */
struct gate_plea {
    struct letter letter;
    struct gates *from, *to;
    uint32_t waiting_count; /* of the one who asks */
    bool in_flight;
};

/* One limit, this worker's sites that wait for room, and its connections that rest. */
struct gate {
    struct limit *limit;
    enum gate_slot slot;
    uint32_t waiting_count;
    struct list waiting;   /* struct site */
    struct list idle;      /* struct gate_places, by idle_nodes[slot]; who rests longest first */
    struct list_node node; /* in `waiting` of struct gates while sites wait */
    struct map_entry entry;
    struct gate_plea plea;
    bool passing;                 /* made by gates_join */
    uint32_t held_count;          /* places of this worker's connections */
    uint32_t woken_count;         /* sites whose woken_by this is */
    struct list_node unused_node; /* of a passing one that nobody uses: longest unused first */
};

/* The doorbell from one worker to another: limits have room there. One letter per pair, so that
 * many releases make one. */
struct gates_bell {
    struct letter letter;
    struct gates *from, *to;
    bool in_flight, again;
};

/* Which limit that comes and goes. */
struct gate_passing {
    enum limit_kind kind;
    enum gate_slot slot;
    struct bytes name;
    uint64_t max;
};

#define GATES_PASSING_MAX 16384 /* of one worker */

struct gates {
    struct io *io;
    struct mailboxes *mailboxes;
    struct limits *limits;
    uint32_t worker, workers;
    /* The site may try now: takes it out of where it waits (gates_leave). */
    void (*woken)(struct site *site);
    /* Closes this connection, which rests; it rests no more on return (gates_busy). */
    void (*give_way)(struct gate_places *places);
    /* Those of another worker. */
    struct gates *(*of_worker)(const struct gates *gates, uint32_t worker);
    /* private: */
    struct map by_limit;
    struct list waiting;      /* struct gate */
    struct list unused;       /* struct gate */
    struct gate *joined_last; /* used, in a moment */
    bool full_said;           /* host_places.c: it is in the log that there is no room */
    uint32_t passing_count;
    struct timer timer;
    struct gates_bell bells[LIMIT_WORKERS_MAX];
};

/* The fields above `private` are set by the owner, before the first wait. At most gates_max. */
void gates_init(struct gates *gates, size_t gates_max);
void gates_deinit(struct gates *gates); /* nobody waits, no letter is under way */

/* The gate of this limit, found or made. NULL: no memory, or too many. */
struct gate *gates_obtain(struct gates *gates, struct limit *limit, enum gate_slot slot);

/* The gate of a limit that comes and goes, with this maximum from here on. Valid until the call
 * after the next, and while it is used. NULL: no memory, or GATES_PASSING_MAX are in use. */
struct gate *gates_join(struct gates *gates, const struct gate_passing *of);

/* Takes a place of each gate named, or of none; not before one of a higher priority that waits.
 * NULL: taken. Else this one has none, and a site
 * must wait there now. */
struct gate *gates_take(struct gates *gates, const struct gate_places *places);

/* The same, but nobody will wait. */
bool gates_try(struct gates *gates, const struct gate_places *places);

/* Gives them back; who waits for one is woken, here or on another worker. */
void gates_release(struct gates *gates, struct gate_places *places);

/* The connection rests from now on, until gates_busy, and may be told to give way. False: it must
 * do so at once, because somebody waits for one of its places; it does not rest. */
bool gates_idle(struct gates *gates, struct gate_places *places);
void gates_busy(struct gate_places *places); /* also where it does not rest */

/* A connection that works for a site of this priority: must it end after what it carries, because a
 * site of a higher one waits for one of its places? Then the place is promised. */
bool gates_must_yield(struct gates *gates, struct gate_places *places, uint8_t priority);

/* The site, which is in no other list by `node`, waits here from now on; behind others of its
 * priority, but if it was woken for this gate it keeps its turn. Its wake, if any, goes on.
 * Connections that rest here are told to give way, as many as are wanted. */
void gates_wait(struct gates *gates, struct gate *gate, struct site *site);

/* Instead of gates_wait at the gate that gates_take named: the site looks elsewhere. */
void gates_turn_away(struct gates *gates, struct gate *gate, struct site *site);

/* The site waits no more: it has been taken out of the list by its node. */
void gates_leave(struct gates *gates, const struct site *site);

/* The wake this site was given is no longer needed by it: the next one who waits gets it. */
void gates_settle(struct gates *gates, struct site *site);

/* Maxima may have grown: whoever waits at a limit tries again. */
void gates_wake_all(struct gates *gates);

/* These workers should do so; a bit each, ours is left out. */
void gates_ring(struct gates *gates, uint64_t workers);

#endif
