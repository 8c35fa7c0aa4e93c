/* What attempt.c (life of a connection), attempt_dialogue.c (what is sent over it) and
 * attempt_replies.c (what comes of it) share. */
#ifndef ENGINE_ATTEMPT_PRIVATE_H
#define ENGINE_ATTEMPT_PRIVATE_H

#include "attempt.h"
#include "base/slab.h"
#include "host_faults.h"
#include "outbound.h"

struct attempts {
    struct io *io;
    struct scheduler *scheduler;
    struct spools *spools;
    struct resolver *resolver;
    struct outcomes *outcomes;
    struct preparer *preparer;
    struct dialogue_log *dialogue_log;
    struct work_pool *helpers;
    struct slab *slab;
    struct outbound_tls tls;
    struct host_faults host_faults;
    uint32_t worker;
    bool freebind;
};

/* ---- attempt.c ---- */

/* Remembers why this address failed (the last one counts) for the queue's record. */
void attempt_note_failure(struct attempt *attempt, enum client_stage stage, const char *stage_name,
                          const struct reply *reply);

/* The same for a reason of ours: "421 ENHANCED WHAT DETAIL". */
void attempt_note_error(struct attempt *attempt, const char *stage_name, const char *enhanced,
                        const char *what, const char *detail);

/* Closes the connection; afterwards the next address is tried (before READY) or it ends. */
void attempt_close(struct attempt *attempt, enum connection_close how, bool try_next);

/* Nothing of it is under way: tells its queue why it failed, if it did, and frees it. */
void attempt_finish(struct attempt *attempt);

/* Starts the handshake the client core asked for. */
void attempt_start_tls(struct attempt *attempt);

/* Of the host at the other end, so that further connections to it do without. */
void attempt_remember_fault(struct attempt *attempt, enum host_fault fault);

/* ---- attempt_dialogue.c ---- */

/* Writes whatever may be written now, asks for the next message, idles or quits. */
void attempt_pump(struct attempt *attempt);

/* The deadline of what is awaited now. */
void attempt_watch(struct attempt *attempt);

void attempt_on_timer(struct timer *timer);

/* ---- attempt_log.c ---- */

/* The first five look themselves whether policy wants them; the others' callers do. */
void attempt_log_opened(struct attempt *attempt);
void attempt_log_ended(struct attempt *attempt);
void attempt_log_resolved(struct attempt *attempt, const struct route *route,
                          const struct reply *failure); /* one of them is NULL */
void attempt_log_disabled(struct attempt *attempt, const struct address *source);
void attempt_log_tls(struct attempt *attempt, const char *failure); /* NULL: it is established */
void attempt_log_broken(struct attempt *attempt, const struct transaction *transaction,
                        bool after_dot);
void attempt_log_commands(struct attempt *attempt, struct bytes commands);
void attempt_log_secret(struct attempt *attempt); /* commands that are not to be shown */
void attempt_log_reply(struct attempt *attempt, uint16_t code, struct bytes first_line);
void attempt_log_received(struct attempt *attempt, struct bytes data);
void attempt_log_content(struct attempt *attempt, struct bytes data);

/* ---- attempt_replies.c ---- */

extern const struct client_events attempt_client_events;

struct transaction *attempt_transaction_of(struct client_transaction *core);

/* Gives the prepared one back to its queue, if there is one. */
void attempt_drop_next(struct attempt *attempt);

/* Every recipient that has no answer yet gets this one. */
void attempt_end_all(struct attempt *attempt, struct transaction *transaction,
                     enum client_stage stage, const struct reply *reply, bool after_dot_lost);

/* The connection is gone: ends or gives back what was on it. */
void attempt_end_transactions(struct attempt *attempt);

/* Frees ended transactions whose bytes are no longer with the kernel. */
void attempt_free_lingering(struct attempt *attempt);

#endif
