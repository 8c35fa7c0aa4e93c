/* The table of concurrency limits that span workers: so many at once of connections, bytes,
 * recipients, for the whole house, a virtual MTA, a domain, a source address.
 *
 * Knows no mailbox and no loop: operations that want a worker woken say so in struct limit_wakes,
 * and the caller tells it. Entries of limits_entry live until limits_destroy, so their pointers may
 * be kept; those of limits_join until as many have left (limits_leave).
 * Everything may be called from any thread; the limits_ functions take a lock and are for set-up,
 * the limit_ functions take none.
 *
 * The waiting game. Who finds an entry full waits (limit_take_or_wait). A release that makes room
 * wakes one waiting worker, in turn. A wake is a duty: the woken worker tries for each of its own
 * waiters until one finds the entry full again (which sets its bit anew), and then, whether it
 * took something or not, calls limit_pass_on, so that what it left wakes the next. A worker that
 * keeps a waiter without its bit set, or drops a wake, strands somebody.
 *
 * Idle connections give way. Who has an idle one says so (limit_set_idle) and then looks who
 * waits (limit_waiting); who waits has set its bit and then looks who has an idle one
 * (limit_idle_holder): one of the two sees the other. Each place that is given up for those who
 * wait is promised first, so that no more connections close than are wanted. A worker that is
 * asked and has none idle any more takes its word back; nobody else need, so a connection that
 * rests and works in turn writes nothing here. */
#ifndef VMTA_LIMITS_H
#define VMTA_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define LIMIT_WORKERS_MAX 64 /* a bit each */
#define LIMIT_NOBODY      UINT32_MAX

/* kind, its word for people */
#define LIMIT_KINDS(X)                                                                             \
    X(TOTAL, "total")                                                                              \
    X(VMTA, "virtual-mta")                                                                         \
    X(SITE, "site")                                                                                \
    X(DOMAIN, "domain")                                                                            \
    X(SOURCE, "source")                                                                            \
    X(POOL, "virtual-mta-pool")                                                                    \
    X(PROVIDER, "provider")                                                                        \
    X(MX_HOST, "mx-host")                                                                          \
    X(MX_ADDRESS, "mx-address")                                                                    \
    X(MEMORY, "memory")                                                                            \
    X(RECIPIENTS, "recipients")                                                                    \
    X(SESSIONS, "sessions")

enum limit_kind {
#define X(kind, word) LIMIT_##kind,
    LIMIT_KINDS(X)
#undef X
};

struct limits;
struct limit;

/* Workers to be told that there is room; a bit each. Begin with {0}: bits are added. */
struct limit_wakes {
    uint64_t workers;
};

/* NULL: no memory. */
struct limits *limits_create(size_t max_entries);
void limits_destroy(struct limits *limits); /* NULL is accepted */

/* Finds or creates the entry of this kind and name (ASCII case ignored). A new limit has no
 * maximum (UINT64_MAX). NULL: table full or no memory. */
struct limit *limits_entry(struct limits *limits, enum limit_kind kind, struct bytes name);

/* The same for limits that come and go: whoever joins leaves once, and with the last one the entry
 * goes. Never of a kind that limits_entry is asked for. */
struct limit *limits_join(struct limits *limits, enum limit_kind kind, struct bytes name);
void limits_leave(struct limits *limits, struct limit *limit); /* nothing is taken by its caller */

/* Calls `each` for every limit, in the order of creation, under the table's lock. */
void limits_each(struct limits *limits, void (*each)(void *owner, struct limit *limit),
                 void *owner);

const char *limit_kind_word(enum limit_kind kind);
enum limit_kind limit_kind_of(const struct limit *limit);
struct bytes limit_name(const struct limit *limit);

/* A higher max counts as that many releases. A lower one takes nothing back: `used` may stay above
 * it until enough is released. */
void limit_set_max(struct limit *limit, uint64_t max, struct limit_wakes *wakes);
uint64_t limit_max(const struct limit *limit);
uint64_t limit_used(const struct limit *limit);

/* Takes n, or nothing (false) if fewer than n are free. */
bool limit_take(struct limit *limit, uint64_t n);

/* The same; on false `worker` is on the list of those to be woken. */
bool limit_take_or_wait(struct limit *limit, uint64_t n, uint32_t worker);

/* The same, but nothing is taken: another one's turn comes first. */
void limit_wait(struct limit *limit, uint32_t worker);

/* The highest priority among the worker's waiters, before they wait. A release wakes a worker of
 * the highest one; those of the same are woken in turn. */
void limit_set_priority(struct limit *limit, uint32_t worker, uint8_t priority);

/* The workers that wait with a higher one, a bit each. */
uint64_t limit_waiting_above(const struct limit *limit, uint8_t priority);

/* The worker has no waiter here any more. A wake for it may be under way already: it has to be
 * passed on when it comes. */
void limit_stop_waiting(struct limit *limit, uint32_t worker);

/* Gives n back and wakes the next worker waiting, in turn. n is at most what was taken. */
void limit_release(struct limit *limit, uint64_t n, struct limit_wakes *wakes);

/* Called by a woken worker after it has tried: if something is still free, the next one that has
 * not tried since the last release is woken. Ends by itself, also among those that want more than
 * is free. */
void limit_pass_on(struct limit *limit, struct limit_wakes *wakes);

/* The workers that wait, a bit each. */
uint64_t limit_waiting(const struct limit *limit);

/* Says that the worker may have, or has no longer, an idle connection that counts here. */
void limit_set_idle(struct limit *limit, uint32_t worker, bool has_idle);

/* The next worker, in turn, that may have an idle connection and is not `not_worker`; or
 * LIMIT_NOBODY. */
uint32_t limit_idle_holder(struct limit *limit, uint32_t not_worker);

/* True: not enough places are promised for `wanted` who wait and have not been woken. */
bool limit_is_short(const struct limit *limit, uint64_t wanted);

/* Promises the place of a connection that closes because somebody waits; or not (false), where it
 * is not short of `wanted`. */
bool limit_promise(struct limit *limit, uint64_t wanted);

/* The same without asking: that connection holds a place here, too. */
void limit_promise_also(struct limit *limit);

/* Before the release of a promised place. */
void limit_keep_promise(struct limit *limit);

#endif
