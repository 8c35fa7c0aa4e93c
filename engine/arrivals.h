/* Arrivals: from the spool to the owners of queues.
 *
 * On the keeper's worker, which alone says which site a recipient goes to (routing.h):
 * those of a message that has become durable or was found at start, and those that an owner gives
 * back because they belong elsewhere. They go to the worker that owns the site: directly where
 * that is the keeper, else in batches, one letter per worker and direction at a time. Allocates
 * nothing: recipients on their way are linked through themselves. */
#ifndef ENGINE_ARRIVALS_H
#define ENGINE_ARRIVALS_H

#include <stdbool.h>
#include <stdint.h>

#include "io/mailbox.h"
#include "message.h"
#include "routing.h"

struct arrivals;
struct config;
struct io;
struct registry;
struct scheduler;
struct spools;

struct arrivals_options {
    struct io *io; /* the keeper's */
    struct spools *spools;
    struct mailboxes *mailboxes;
    struct registry *registry;     /* NULL with one worker */
    struct mx_table *mx_table;     /* NULL: no roll-ups */
    struct scheduler **schedulers; /* by worker */
    const struct config *config;
    uint32_t keeper, workers;
};

struct arrivals *arrivals_create(const struct arrivals_options *options);
void arrivals_destroy(struct arrivals *arrivals);

/* Some sink wants `r` records. May change with a reload. */
void arrivals_record_received(struct arrivals *arrivals, bool wanted);

/* Before any worker has it. */
void arrivals_reload(struct arrivals *arrivals, const struct config *config);

/* On worker `from`: a recipient that is in none of its queues any more goes to this site, or, if
 * that has no domain, to where it belongs. Its due_wall_ms says when it may leave. False: no
 * memory. */
bool arrivals_send_on(struct arrivals *arrivals, uint32_t from, struct rcpt *rcpt,
                      struct destination to);

/* A message has just become durable (spool_on_arrival). */
void arrivals_take(void *arrivals, struct message *message);

/* A message was found at start (spool_each_message). */
void arrivals_take_found(void *arrivals, struct message *message);

#endif
