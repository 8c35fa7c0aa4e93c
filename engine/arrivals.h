/* Arrivals: from the spool to the owners of queues.
 *
 * On the keeper's worker. Every recipient of a message that has become durable, or was found at
 * start, goes to the worker that owns its site: directly where that is the keeper, else in
 * batches, one letter per worker at a time. Allocates nothing: recipients on their way are linked
 * through themselves. */
#ifndef ENGINE_ARRIVALS_H
#define ENGINE_ARRIVALS_H

#include <stdbool.h>
#include <stdint.h>

#include "io/mailbox.h"
#include "message.h"

struct arrivals;
struct io;
struct registry;
struct scheduler;
struct spools;

struct arrivals_options {
    struct io *io; /* the keeper's */
    struct spools *spools;
    struct mailboxes *mailboxes;
    struct registry *registry;     /* NULL with one worker */
    struct scheduler **schedulers; /* by worker */
    uint32_t keeper, workers;
};

struct arrivals *arrivals_create(const struct arrivals_options *options);
void arrivals_destroy(struct arrivals *arrivals);

/* Some sink wants `r` records. May change with a reload. */
void arrivals_record_received(struct arrivals *arrivals, bool wanted);

/* A message has just become durable (spool_on_arrival). */
void arrivals_take(void *arrivals, struct message *message);

/* A message was found at start (spool_each_message). */
void arrivals_take_found(void *arrivals, struct message *message);

#endif
