/* Outcomes: from a peer's answer to delivered, deferred, bounced or expired.
 *
 * Writes the record, and moves the recipient: to the spool when final, into its queue's deferred
 * heap when not. One per worker. The only place that decides between a bounce and a retry. */
#ifndef ENGINE_OUTCOME_H
#define ENGINE_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

#include "message.h"
#include "smtp/client.h"
#include "smtp/reply.h"

struct attempt;
struct config;
struct io;
struct outcomes;
struct queue;
struct scheduler;
struct spool;
struct spools;

struct outcomes_options {
    struct io *io;
    struct spools *spools;
    struct scheduler *scheduler;
    const struct config *config;
    uint32_t worker;
};

struct outcomes *outcomes_create(const struct outcomes_options *options); /* NULL: no memory */
void outcomes_destroy(struct outcomes *outcomes);

/* Replies are sorted by the new configuration's rules; the old is no longer used on return. */
void outcomes_reload(struct outcomes *outcomes, const struct config *config);

/* A taken recipient got its answer on this connection. 2xx at the final dot: delivered; 4xx:
 * deferred by the recipient's retry list; 5xx: bounced. */
void outcome_of_rcpt(struct outcomes *outcomes, const struct attempt *attempt, struct rcpt *rcpt,
                     enum client_stage stage, const struct reply *reply, bool after_dot_lost);

/* Nothing got as far as MAIL: one `tq`, and the queue's retry clock moves on. */
void outcome_of_queue(struct outcomes *outcomes, const struct attempt *attempt, struct queue *queue,
                      enum client_stage stage, const char *stage_name, const struct reply *reply,
                      bool hold_queue);

/* A permanent answer for the whole queue (no such domain, greeting 521): bounces what is ready,
 * at most OUTCOME_BOUNCE_MAX now; true: more are left, call again next turn. */
#define OUTCOME_BOUNCE_MAX 1000
bool outcome_bounce_ready(struct outcomes *outcomes, const struct attempt *attempt,
                          struct queue *queue, const char *stage_name, const struct reply *reply);

/* The domain has no MX and policy bounces mail that is older than `age_ms` for it: bounces what is
 * ready and that old, at most OUTCOME_BOUNCE_MAX now (the rest with a later attempt). */
void outcome_bounce_older(struct outcomes *outcomes, const struct attempt *attempt,
                          struct queue *queue, const char *stage_name, uint64_t age_ms);

/* Its time is over (4.4.7) or an operator deleted it; the recipient has left its queue. */
void outcome_expired(struct outcomes *outcomes, struct queue *queue, struct rcpt *rcpt);

/* The `r` record of a message that has just become durable; on the keeper's worker. */
void outcome_received(struct spool *spool, uint32_t worker, const struct message *message);

#endif
