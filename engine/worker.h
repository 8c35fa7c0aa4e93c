/* A worker: a thread's worth of engine, one of everything, and the loop.
 *
 * Shares nothing with other workers but mailboxes, the table of limits, and published messages.
 * Made in phases, so that the simulator can make several on one thread: create (its io), prepare
 * (everything that stands on the spool), start (listeners). */
#ifndef ENGINE_WORKER_H
#define ENGINE_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "dialogue_log.h"
#include "listening.h"

struct config;
struct dns;
struct dummy_smtp;
struct engine;
struct io;
struct notices;
struct outcomes;
struct attempts;
struct pickup;
struct resolver;
struct scheduler;
struct sessions;
struct tls_worker;
struct vmta_chooser;

#define WORKER_LETTERS_MAX 512 /* delivered in one turn */

struct worker {
    struct engine *engine;
    uint32_t index;
    struct io *io;
    const struct config *config; /* in force on this worker */
    char host_name[256];         /* ours, where nothing more special is configured */
    struct dns *dns;
    struct resolver *resolver;
    struct tls_worker *tls;
    struct scheduler *scheduler;
    struct outcomes *outcomes;
    struct attempts *attempts;
    struct vmta_chooser *vmtas;
    struct notices *notices;
    struct sessions *sessions;
    struct listening listening;
    struct dummy_smtp *dummy_smtp;
    struct pickup *pickup; /* the keeper's */
    struct dialogue_log dialogue_log;
    bool draining, sessions_drained, aborted, sessions_stopped;
    uint64_t turns;
};

/* Phase 1, on the worker's thread. -1: error says why. */
int worker_create(struct worker *worker, struct engine *engine, uint32_t index,
                  struct error *error);
/* Phase 2: the spool is open. */
int worker_prepare(struct worker *worker, struct error *error);
/* Phase 3: queues are restored on every worker; mail may come in. */
int worker_start(struct worker *worker, struct error *error);

/* Where the start has failed, on some worker: takes back phases 2 and 3 as far as they came; its
 * listeners and sessions are gone on return. */
void worker_unstart(struct worker *worker);

/* One turn of the loop: letters, schedule, flush, then io until something happens. */
void worker_turn(struct worker *worker);

/* Stops taking mail in and out; what is on the wire may end. worker_drained tells when it has. */
void worker_drain(struct worker *worker);
bool worker_drained(const struct worker *worker);
/* Ends what is left on the wire at once, and every session; worker_gone tells when all is home. */
void worker_abort(struct worker *worker);
bool worker_gone(const struct worker *worker);

/* The configuration in force from here on; the old one is not used any more on return. */
void worker_reload(struct worker *worker, const struct config *config);

/* After the loop has ended; every operation is home. */
void worker_destroy(struct worker *worker);

#endif
