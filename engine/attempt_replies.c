/* What the replies mean for what is on a connection: which recipients they decide, which go back to
 * their queue, and how a transaction and a session end. The story of what is sent is told in
 * attempt_dialogue.c. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "attempt.h"
#include "attempt_private.h"
#include "io/io.h"
#include "outcome.h"
#include "policy/settings.h"
#include "queue.h"
#include "schedule.h"
#include "site.h"
#include "site_mode.h"
#include "volume_rates.h"

static uint64_t now_ms(const struct attempt *attempt)
{
    return io_now_ms(attempt->attempts->io);
}

/* ---- giving back ---- */

static void give_back(struct attempt *attempt, struct transaction *transaction)
{
    for (uint32_t i = transaction->rcpt_count; i-- > 0;) {
        if (transaction->rcpts[i] != NULL) {
            queue_give_back(transaction->queue, transaction->rcpts[i], now_ms(attempt));
            transaction->rcpts[i] = NULL;
        }
    }
}

/* Its bytes may be with the kernel: then it lingers until they are not. */
static void let_go(struct attempt *attempt, struct transaction *transaction)
{
    list_remove(&transaction->node);
    if (attempt->body == transaction) {
        attempt->body = NULL;
    }
    if (transaction->begun && connection_sending(&attempt->connection)) {
        list_push_back(&attempt->lingering, &transaction->node);
    } else {
        prepare_free(transaction);
    }
}

void attempt_free_lingering(struct attempt *attempt)
{
    struct list_node *node;
    while ((node = list_pop_front(&attempt->lingering)) != NULL) {
        prepare_free(CONTAINER_OF(node, struct transaction, node));
    }
}

void attempt_drop_next(struct attempt *attempt)
{
    struct transaction *next = attempt->next;
    if (next != NULL) {
        attempt->next = NULL;
        give_back(attempt, next);
        prepare_free(next);
    }
}

void attempt_end_transactions(struct attempt *attempt)
{
    attempt_drop_next(attempt);
    assert(list_empty(&attempt->on_wire)); /* client_lost and `over` have ended them */
}

/* ---- what the core reports ---- */

struct transaction *attempt_transaction_of(struct client_transaction *core)
{
    return CONTAINER_OF(core, struct transaction, core);
}

static void on_rcpt_at(void *owner, const struct client_transaction *core, uint32_t index,
                       struct client_rcpt *out)
{
    (void)owner;
    const struct transaction *transaction =
        (const struct transaction *)((const char *)core - offsetof(struct transaction, core));
    const struct rcpt *rcpt = transaction->rcpts[index];
    *out = (struct client_rcpt){
        .address = rcpt_address(rcpt), .orcpt = rcpt_orcpt(rcpt), .notify = rcpt->notify};
}

/* From here on the recipient is its queue's or the spool's, and may be gone. */
static void decide(struct attempt *attempt, struct transaction *transaction, uint32_t index,
                   enum client_stage stage, const struct reply *reply, bool after_dot_lost)
{
    struct rcpt *rcpt = transaction->rcpts[index];
    transaction->rcpts[index] = NULL;
    transaction->undecided--;
    outcome_of_rcpt(attempt->attempts->outcomes, attempt, rcpt, stage, reply, after_dot_lost);
}

/* RFC 5321 4.5.3.1.10: 452 "too many recipients" says nothing of this one: it belongs into another
 * transaction. Without an enhanced code only the words tell it from a full mailbox. */
static bool is_over_limit(const struct reply *reply)
{
    if (reply->code != 452) {
        return false;
    }
    if (reply->enhanced_class != 0) {
        return reply->enhanced_subject == 5 && reply->enhanced_detail == 3;
    }
    return bytes_contains_nocase(reply_text(reply), BYTES("too many"));
}

static struct reply *copy_reply(const struct reply *reply)
{
    struct reply *copy = malloc(sizeof *copy);
    if (copy != NULL) {
        *copy = *reply;
    }
    return copy;
}

/* The last undecided recipient keeps the message alive as long as the transaction lasts, because
 * its body may still be on its way to the peer: its answer is kept and told at the end. */
static void on_rcpt_refused(struct client *client, void *owner, struct client_transaction *core,
                            uint32_t index, const struct reply *reply)
{
    (void)client;
    struct attempt *attempt = owner;
    struct transaction *transaction = attempt_transaction_of(core);
    attempt->refusals += !is_over_limit(reply);
    if (is_over_limit(reply)) {
        transaction->over_limit[index] = true;
        if (transaction->limit_reply == NULL) {
            transaction->limit_reply = copy_reply(reply);
        }
    } else if (transaction->undecided > 1) {
        decide(attempt, transaction, index, CLIENT_STAGE_RCPT, reply, false);
    } else {
        /* Without memory it shares how the transaction ends. */
        transaction->last_refusal = copy_reply(reply);
    }
}

/* Those one too many go back, uncharged, if the peer took at least one: the next transaction gets
 * through with others. If it took none, once more would be the same: they are deferred. */
static void settle_over_limit(struct attempt *attempt, struct transaction *transaction,
                              bool any_taken)
{
    if (transaction->limit_reply == NULL) {
        return;
    }
    for (uint32_t i = transaction->rcpt_count; i-- > 0;) {
        if (!transaction->over_limit[i] || transaction->rcpts[i] == NULL) {
            continue;
        }
        if (any_taken) {
            queue_give_back(transaction->queue, transaction->rcpts[i], now_ms(attempt));
            transaction->rcpts[i] = NULL;
            transaction->undecided--;
        } else {
            decide(attempt, transaction, i, CLIENT_STAGE_RCPT, transaction->limit_reply, false);
        }
    }
}

static bool any_accepted(const struct transaction *transaction)
{
    for (uint32_t i = 0; i < transaction->rcpt_count; i++) {
        if (transaction->accepted[i] != 0) {
            return true;
        }
    }
    return false;
}

void attempt_end_all(struct attempt *attempt, struct transaction *transaction,
                     enum client_stage stage, const struct reply *reply, bool after_dot_lost)
{
    if (transaction->last_refusal != NULL) {
        stage = CLIENT_STAGE_RCPT;
        reply = transaction->last_refusal;
        after_dot_lost = false;
    }
    for (uint32_t i = 0; i < transaction->rcpt_count; i++) {
        if (transaction->rcpts[i] != NULL) {
            decide(attempt, transaction, i, stage, reply, after_dot_lost);
        }
    }
}

/* What policy makes of a message that was cut off; 451: it is sent again. */
static uint16_t code_of_loss(const struct attempt *attempt, enum client_stage stage)
{
    bool sending = stage == CLIENT_STAGE_BODY || stage == CLIENT_STAGE_FINAL;
    const struct domain_settings *settings = attempt->site->settings;
    bool bounce = settings->bounce_upon_transfer_failure ||
                  (settings->bounce_upon_pix_transfer_failure && attempt->client.masked);
    return attempt->peer_left && sending && bounce ? 550 : 451;
}

/* Only the oldest one's time was over: the others' may come yet, but not on this connection. */
static bool assume_delivery(struct attempt *attempt, struct transaction *transaction)
{
    bool silent = attempt->silent_final;
    attempt->silent_final = false;
    if (!silent || !attempt->site->settings->assume_delivery_upon_data_timeout) {
        return false;
    }
    struct reply reply;
    reply_make(&reply, 250, "2.0.0", "no reply to the end of the message: delivery is assumed");
    attempt_end_all(attempt, transaction, CLIENT_STAGE_FINAL, &reply, true);
    return true;
}

static void end_lost(struct attempt *attempt, struct transaction *transaction,
                     enum client_stage stage, bool after_dot_lost)
{
    bool sending = after_dot_lost || stage == CLIENT_STAGE_BODY || stage == CLIENT_STAGE_FINAL;
    if (sending && attempt->site->settings->log_transfer_failures) {
        attempt_log_broken(attempt, transaction, after_dot_lost);
    }
    if (after_dot_lost && assume_delivery(attempt, transaction)) {
        return;
    }
    uint16_t code = code_of_loss(attempt, stage);
    struct bytes why = BYTES("connection lost");
    if (attempt->failure != NULL) {
        why = reply_text(attempt->failure);
        why = bytes_slice(why, strlen("4.4.2 "), why.len);
    }
    const char *cost = code == 451 ? "; may be delivered twice" : "; may have been delivered";
    char text[320];
    snprintf(text, sizeof text, "%.*s%s%s", BYTES_FMT(why),
             after_dot_lost ? " after end of message" : "", after_dot_lost ? cost : "");
    struct reply reply;
    reply_make(&reply, code, code == 451 ? "4.4.2" : "5.4.2", text);
    attempt_end_all(attempt, transaction, stage, &reply, after_dot_lost);
}

static bool may_be_delivered(enum client_end end, enum client_stage stage,
                             const struct reply *reply)
{
    return end == CLIENT_END_LOST_AFTER ||
           (end == CLIENT_END_REPLY && stage == CLIENT_STAGE_FINAL && reply_is_positive(reply));
}

static void on_transaction_ended(struct client *client, void *owner,
                                 struct client_transaction *core, enum client_end end,
                                 enum client_stage stage, const struct reply *reply)
{
    (void)client;
    struct attempt *attempt = owner;
    struct transaction *transaction = attempt_transaction_of(core);
    volume_settle(attempt, transaction, may_be_delivered(end, stage, reply));
    settle_over_limit(attempt, transaction, any_accepted(transaction));
    switch (end) {
    case CLIENT_END_REPLY:
        /* Where every RCPT was refused, each has been counted. */
        attempt->refusals += !reply_is_positive(reply) && stage != CLIENT_STAGE_RCPT;
        __attribute__((fallthrough));
    case CLIENT_END_UNSUITABLE:
        attempt_end_all(attempt, transaction, stage, reply, false);
        break;
    case CLIENT_END_LOST:
        end_lost(attempt, transaction, stage, false);
        break;
    case CLIENT_END_LOST_AFTER:
        end_lost(attempt, transaction, stage, true);
        break;
    case CLIENT_END_RETRY_DATA:
        attempt_remember_fault(attempt, HOST_FAULT_CHUNKING);
        __attribute__((fallthrough));
    case CLIENT_END_UNATTEMPTED:
        if (transaction->last_refusal != NULL) {
            attempt_end_all(attempt, transaction, stage, reply, false);
        } else {
            give_back(attempt, transaction);
        }
        break;
    }
    let_go(attempt, transaction);
}

static void on_established(struct client *client, void *owner)
{
    (void)client;
    struct attempt *attempt = owner;
    attempt->state = ATTEMPT_READY;
    attempt->refusals = 0;
    free(attempt->failure); /* of addresses tried before this one */
    attempt->failure = NULL;
    if (attempt->queue != NULL) {
        /* Others that failed at the same time may have held it: but this host does answer. */
        attempt->queue->retry_index = 0;
        if (!site_is_held(attempt->site, now_ms(attempt))) {
            queue_hold_until(attempt->queue, 0, now_ms(attempt));
        }
        schedule_clock_moved(attempt->attempts->scheduler, attempt->queue);
        attempt->queue = NULL;
    }
    schedule_opened(attempt->attempts->scheduler, attempt);
}

static void on_start_tls(struct client *client, void *owner)
{
    (void)client;
    attempt_start_tls(owner);
}

/* Before READY: why this address is of no use, for the record of the queue. */
static void note_over(struct attempt *attempt, enum client_over how, enum client_stage stage,
                      const struct reply *reply)
{
    const char *name = client_stage_name(stage);
    char said[REPLY_TEXT_MAX + 8] = "";
    struct buffer out;
    buffer_init(&out, said, sizeof said - 1);
    if (reply != NULL && reply->code != 0) {
        reply_print(reply, &out);
    }
    struct reply made;
    switch (how) {
    case CLIENT_OVER_REPLY:
    case CLIENT_OVER_QUIT:
        attempt_note_failure(attempt, stage, name, reply);
        if (stage == CLIENT_STAGE_GREETING && reply_is_permanent(reply)) {
            attempt->greeting_5xx_count++;
        }
        break;
    case CLIENT_OVER_TLS:
        if (reply->enhanced_subject == 7) {
            attempt_note_failure(attempt, stage, name, reply);
        } else {
            attempt_note_error(attempt, name, "4.7.0", "STARTTLS was refused:", said);
        }
        break;
    case CLIENT_OVER_AUTH:
        /* That our password is wrong is no word about the mail: it waits until ours is right. */
        if (reply_is_permanent(reply)) {
            attempt_note_error(attempt, name, "4.7.8", "AUTH was refused:", said);
        } else {
            attempt_note_failure(attempt, stage, name, reply);
        }
        break;
    case CLIENT_OVER_LOOP:
        reply_make(&made, 554, "5.4.6", "mail loops: the host bears our own name");
        attempt_note_failure(attempt, stage, name, &made);
        attempt->bounce_queue = true; /* C37: mail for ourselves must not go round */
        break;
    case CLIENT_OVER_PROTOCOL:
    case CLIENT_OVER_ABANDON:
        attempt_note_error(attempt, name, stage == CLIENT_STAGE_STARTTLS ? "4.7.0" : "4.5.0",
                           "protocol error: what came is no reply, or came too early", said);
        break;
    }
}

/* Another host of the route may do better; not where the mail would come back to us, nor with a
 * password that was refused: so many wrong ones lock an account. */
static bool may_try_next(enum client_over how, const struct reply *reply)
{
    return how != CLIENT_OVER_LOOP && (how != CLIENT_OVER_AUTH || !reply_is_permanent(reply));
}

/* C9: the server's state is unknown after a refused STARTTLS, so in the clear on a new connection,
 * where the clear is allowed at all. */
static void fall_back(struct attempt *attempt, enum client_over how)
{
    if (how == CLIENT_OVER_TLS && attempt->tls_level == TLS_NEED_OPPORTUNISTIC) {
        attempt_remember_fault(attempt, HOST_FAULT_TLS);
        attempt->repeat_address = true;
    }
}

static void on_replied(void *owner, uint16_t code, struct bytes first_line)
{
    attempt_log_reply(owner, code, first_line);
}

static const char *over_words(const struct attempt *attempt, enum client_over how)
{
    switch (how) {
    case CLIENT_OVER_QUIT:
        return attempt->quitting ? "QUIT" : "the peer took its leave";
    case CLIENT_OVER_REPLY:
        return "the peer refused to go on";
    case CLIENT_OVER_PROTOCOL:
        return "protocol error of the peer";
    case CLIENT_OVER_TLS:
        return "no TLS to be had";
    case CLIENT_OVER_AUTH:
        return "no AUTH to be had";
    case CLIENT_OVER_ABANDON:
        return "what was begun must not be finished";
    case CLIENT_OVER_LOOP:
        return "the host bears our own name";
    }
    return "";
}

static void on_over(struct client *client, void *owner, enum client_over how,
                    enum client_stage stage, const struct reply *reply)
{
    (void)client;
    struct attempt *attempt = owner;
    bool was_ready = attempt->state == ATTEMPT_READY;
    attempt->end_words = was_ready ? over_words(attempt, how) : NULL;
    if (!was_ready) {
        note_over(attempt, how, stage, reply);
        fall_back(attempt, how);
    }
    /* Without a QUIT before it the peer may wait for us: only where it leaves is it waited for. */
    bool gently = how == CLIENT_OVER_QUIT || (was_ready && how == CLIENT_OVER_REPLY);
    attempt_close(attempt, gently ? CONNECTION_CLOSE_GENTLY : CONNECTION_CLOSE_NOW,
                  !was_ready && may_try_next(how, reply));
}

const struct client_events attempt_client_events = {
    .replied = on_replied,
    .established = on_established,
    .start_tls = on_start_tls,
    .rcpt_refused = on_rcpt_refused,
    .transaction_ended = on_transaction_ended,
    .rcpt_at = on_rcpt_at,
    .over = on_over,
};
