/* Letters between workers: single-producer rings, one per pair and lane, and a doorbell.
 *
 * A letter is its sender's memory, lent from mailbox_post until `deliver` runs on the other
 * worker; whoever runs `deliver` owns it then and usually posts it back. Nobody ever waits: what
 * does not fit the ring stays on an intrusive list of the sender's and goes first next time, so
 * letters of one pair and lane arrive in order. Their number is bounded by whoever makes them.
 * A letter to oneself is delivered in the next turn of the loop, never inside the post. */
#ifndef IO_MAILBOX_H
#define IO_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct io;
struct mailboxes; /* all of a process; shared */

enum mailbox_lane {
    MAILBOX_URGENT, /* outcomes, states, answers: read first */
    MAILBOX_BULK,   /* bodies */
    MAILBOX_LANES,
};

struct letter {
    void (*deliver)(struct letter *letter);
    /* private: */
    struct list_node node;
};

/* workers <= 64; ring_len a power of two >= 2 (the simulator uses 2). NULL: no memory. */
struct mailboxes *mailboxes_create(uint32_t workers, uint32_t ring_len);
void mailboxes_destroy(struct mailboxes *mailboxes);

/* Says which io to wake for a worker; before that worker receives its first letter. */
void mailboxes_attach(struct mailboxes *mailboxes, uint32_t worker, struct io *io);

/* On worker `from`'s thread. */
void mailbox_post(struct mailboxes *mailboxes, uint32_t from, uint32_t to, enum mailbox_lane lane,
                  struct letter *letter);

/* Delivers what has come for `worker`, at most `max` letters, and pushes on what the worker's own
 * full rings left behind. The count delivered. */
uint32_t mailbox_receive(struct mailboxes *mailboxes, uint32_t worker, uint32_t max);

/* Call before sleeping: true = nothing has come, the doorbell is armed, you may sleep;
 * false = receive again. Call mailbox_awake after the sleep. */
bool mailbox_sleep(struct mailboxes *mailboxes, uint32_t worker);
void mailbox_awake(struct mailboxes *mailboxes, uint32_t worker);

#endif
