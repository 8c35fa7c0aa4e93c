/* What goes over a READY connection. The fast path is one flight per message: the body of one, its
 * final dot, and MAIL, RCPT and DATA of the next, which was prepared while the first was on its
 * way. Everything that may change (a reply, a pause, a spent rate) is looked at again in
 * begin_next, the only place that starts a transaction. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "attempt.h"
#include "attempt_private.h"
#include "base/logger.h"
#include "io/io.h"
#include "outcome.h"
#include "policy/domain.h"
#include "queue.h"
#include "schedule.h"
#include "site.h"

#define FREE_WHEN_SENT   2    /* iov pieces needed for one body and its commands */
#define QUIT_MS          5000 /* for the reply to it */
#define QUIT_PROMISED_MS 1000 /* … where somebody waits for the place */

static uint64_t now_ms(const struct attempt *attempt)
{
    return io_now_ms(attempt->attempts->io);
}

static struct transaction *first_on_wire(const struct attempt *attempt)
{
    struct list_node *node = list_first(&attempt->on_wire);
    return node == NULL ? NULL : CONTAINER_OF(node, struct transaction, node);
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

static void drop_next(struct attempt *attempt)
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
    drop_next(attempt);
    assert(list_empty(&attempt->on_wire)); /* client_lost and `over` have ended them */
}

/* ---- what the core reports ---- */

static struct transaction *transaction_of(struct client_transaction *core)
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
    struct transaction *transaction = transaction_of(core);
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

static void end_all(struct attempt *attempt, struct transaction *transaction,
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

static void end_lost(struct attempt *attempt, struct transaction *transaction,
                     enum client_stage stage, bool after_dot_lost)
{
    struct reply reply;
    reply_make(&reply, 451, "4.4.2",
               after_dot_lost ? "connection lost after the message was sent; "
                                "it may be delivered twice"
                              : "connection lost");
    if (attempt->failure != NULL) {
        char text[320];
        struct bytes why = reply_text(attempt->failure);
        why = bytes_slice(why, strlen("4.4.2 "), why.len);
        snprintf(text, sizeof text, "%.*s%s", BYTES_FMT(why),
                 after_dot_lost ? " after end of message; may be delivered twice" : "");
        reply_make(&reply, 451, "4.4.2", text);
    }
    end_all(attempt, transaction, stage, &reply, after_dot_lost);
}

static void on_transaction_ended(struct client *client, void *owner,
                                 struct client_transaction *core, enum client_end end,
                                 enum client_stage stage, const struct reply *reply)
{
    (void)client;
    struct attempt *attempt = owner;
    struct transaction *transaction = transaction_of(core);
    settle_over_limit(attempt, transaction, any_accepted(transaction));
    switch (end) {
    case CLIENT_END_REPLY:
    case CLIENT_END_UNSUITABLE:
        end_all(attempt, transaction, stage, reply, false);
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
            end_all(attempt, transaction, stage, reply, false);
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
    free(attempt->failure); /* of addresses tried before this one */
    attempt->failure = NULL;
    if (attempt->queue != NULL) {
        /* Others that failed at the same time may have held it: but this host does answer. */
        attempt->queue->retry_index = 0;
        queue_hold_until(attempt->queue, 0, now_ms(attempt));
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

/* C9: the server's state is unknown after a refused STARTTLS, so in the clear on a new connection,
 * where the clear is allowed at all. */
static void fall_back(struct attempt *attempt, enum client_over how)
{
    if (how == CLIENT_OVER_TLS && attempt->tls_level == TLS_NEED_OPPORTUNISTIC) {
        attempt_remember_fault(attempt, HOST_FAULT_TLS);
        attempt->repeat_address = true;
    }
}

static void on_over(struct client *client, void *owner, enum client_over how,
                    enum client_stage stage, const struct reply *reply)
{
    (void)client;
    struct attempt *attempt = owner;
    bool was_ready = attempt->state == ATTEMPT_READY;
    if (!was_ready) {
        note_over(attempt, how, stage, reply);
        fall_back(attempt, how);
    }
    /* Without a QUIT before it the peer may wait for us: only where it leaves is it waited for. */
    bool gently = how == CLIENT_OVER_QUIT || (was_ready && how == CLIENT_OVER_REPLY);
    attempt_close(attempt, gently ? CONNECTION_CLOSE_GENTLY : CONNECTION_CLOSE_NOW,
                  !was_ready && how != CLIENT_OVER_LOOP);
}

const struct client_events attempt_client_events = {
    .established = on_established,
    .start_tls = on_start_tls,
    .rcpt_refused = on_rcpt_refused,
    .transaction_ended = on_transaction_ended,
    .rcpt_at = on_rcpt_at,
    .over = on_over,
};

/* ---- deadlines ---- */

static uint64_t stage_timeout_ms(const struct attempt *attempt, enum client_stage stage)
{
    const struct domain_settings *settings = attempt->site->settings;
    switch (stage) {
    case CLIENT_STAGE_GREETING:
        return settings->smtp_greeting_timeout_ms;
    case CLIENT_STAGE_EHLO:
    case CLIENT_STAGE_STARTTLS:
    case CLIENT_STAGE_MAIL:
    case CLIENT_STAGE_RCPT:
        return ATTEMPT_COMMAND_MS;
    case CLIENT_STAGE_DATA:
        return ATTEMPT_DATA_MS;
    case CLIENT_STAGE_BODY:
        return settings->data_send_timeout_ms;
    case CLIENT_STAGE_FINAL:
        return settings->smtp_data_termination_timeout_ms;
    case CLIENT_STAGE_QUIT:
        /* C19: what counts was answered before. */
        return attempt->places.promised ? QUIT_PROMISED_MS : QUIT_MS;
    }
    return ATTEMPT_COMMAND_MS;
}

void attempt_watch(struct attempt *attempt)
{
    enum client_stage stage;
    uint64_t due_ms = UINT64_MAX;
    if (connection_sending(&attempt->connection)) {
        due_ms = now_ms(attempt) + attempt->site->settings->data_send_timeout_ms;
    } else if (client_waiting(&attempt->client, &stage)) {
        due_ms = now_ms(attempt) + stage_timeout_ms(attempt, stage);
    }
    connection_set_deadline(&attempt->connection, due_ms);
    struct timers *timers = io_timers(attempt->attempts->io);
    if (due_ms == UINT64_MAX) {
        timer_stop(timers, &attempt->watchdog);
    } else {
        timer_start(timers, &attempt->watchdog, due_ms + ATTEMPT_WATCHDOG_EXTRA_MS);
    }
}

/* ---- the next message ---- */

static bool may_take_more(const struct attempt *attempt)
{
    uint64_t max = attempt->site->settings->max_msg_per_connection;
    bool used_up = max != 0 && max != UINT64_MAX && attempt->messages_sent >= max;
    return attempt->state == ATTEMPT_READY && !attempt->quitting && !attempt->used_up && !used_up;
}

/* The timer fires then, or before; who fires looks at everything that waits. */
static void wake_at(struct attempt *attempt, uint64_t due_ms)
{
    if (!timer_running(&attempt->timer) || due_ms < attempt->wake_ms) {
        attempt->wake_ms = due_ms;
        timer_start(io_timers(attempt->attempts->io), &attempt->timer, due_ms);
    }
}

/* The peer owes a reply for so long that nothing more should be held up behind it. */
static bool is_stalled(const struct attempt *attempt)
{
    const struct transaction *oldest = first_on_wire(attempt);
    return oldest != NULL && attempt->body == NULL &&
           oldest->begun_ms + ATTEMPT_CARRY_MS <= now_ms(attempt);
}

static void fetch_next(struct attempt *attempt)
{
    if (attempt->next != NULL || !may_take_more(attempt) || is_stalled(attempt)) {
        return;
    }
    struct transaction *next = schedule_next(attempt->attempts->scheduler, attempt);
    if (next == NULL) {
        return;
    }
    attempt->next = next;
    if (!list_empty(&attempt->on_wire)) {
        wake_at(attempt, next->taken_ms + ATTEMPT_CARRY_MS);
    }
    if (prepare_at_end(next)) {
        next->ready = true;
    } else {
        prepare_window(next, !client_sends_bdat(&attempt->client));
    }
}

/* The body could not be read: nothing of it is on the wire. The recipients stay, deferred, and the
 * log says what the spool found. */
static void fail_unreadable(struct attempt *attempt, struct transaction *transaction)
{
    struct reply reply;
    reply_make(&reply, 451, "4.3.0", "message cannot be read from the spool");
    attempt->next = NULL;
    end_all(attempt, transaction, CLIENT_STAGE_BODY, &reply, false);
    prepare_free(transaction);
}

/* Takes the rates; what is more than they allow goes back to the queue. False: not now. */
static bool take_rates(struct attempt *attempt, struct transaction *transaction)
{
    if (transaction->rates_taken) {
        return true;
    }
    uint64_t again_ms;
    uint32_t granted = schedule_take_rate(attempt->attempts->scheduler, attempt->site,
                                          transaction->rcpt_count, &again_ms);
    if (granted == 0) {
        uint64_t give_up_ms = transaction->taken_ms + ATTEMPT_HELD_MS;
        wake_at(attempt, again_ms < give_up_ms ? again_ms : give_up_ms);
        return false;
    }
    for (uint32_t i = transaction->rcpt_count; i-- > granted;) {
        queue_give_back(transaction->queue, transaction->rcpts[i], now_ms(attempt));
        transaction->rcpts[i] = NULL;
    }
    prepare_cut(transaction, granted);
    transaction->rates_taken = true;
    return true;
}

/* A body that has lines with a dot in front is doubled there for DATA and not for BDAT; the other
 * way round the peer would see another message, or two. */
static bool is_in_the_right_form(const struct attempt *attempt,
                                 const struct transaction *transaction)
{
    return (transaction->message->flags & MESSAGE_DOT_LINES) == 0 ||
           transaction->stuffed == !client_sends_bdat(&attempt->client);
}

/* Starts the prepared transaction if everything still allows it. */
static void begin_next(struct attempt *attempt)
{
    struct transaction *next = attempt->next;
    if (next == NULL || !next->ready || attempt->state != ATTEMPT_READY) {
        return;
    }
    if (next->failed) {
        fail_unreadable(attempt, next);
        return;
    }
    if (!is_in_the_right_form(attempt, next)) {
        drop_next(attempt); /* CHUNKING was refused meanwhile: made ready anew, dots doubled */
        fetch_next(attempt);
        return;
    }
    bool behind = !client_may_begin(&attempt->client);
    if (behind && !client_may_carry(&attempt->client)) {
        return;
    }
    /* A reload may have made its policy stricter than this connection is. */
    if (!may_take_more(attempt) || next->queue->paused || !attempt_suits(attempt, next->queue)) {
        drop_next(attempt);
        return;
    }
    if (!take_rates(attempt, next)) {
        return;
    }
    attempt->next = NULL;
    next->begun = true;
    next->begun_ms = now_ms(attempt);
    attempt->messages_sent++;
    list_push_back(&attempt->on_wire, &next->node);
    if (behind) {
        wake_at(attempt, next->begun_ms + ATTEMPT_CARRY_MS);
    }
    assert(attempt->tls_level < TLS_NEED_REQUIRE || attempt->client.secured);
    client_begin(&attempt->client, &next->core); /* may end it inside */
    fetch_next(attempt);
}

void attempt_on_prepared(struct attempt *attempt, struct transaction *transaction)
{
    (void)transaction;
    if (attempt->state == ATTEMPT_READY) {
        attempt_pump(attempt);
    }
}

/* ---- writing ---- */

/* Adds the ready window of the body being written. False: the flight ends here. */
static bool add_body(struct attempt *attempt, size_t *count)
{
    struct transaction *body = attempt->body;
    if (!body->ready || *count + FREE_WHEN_SENT > CONNECTION_IOV_MAX) {
        return false;
    }
    if (body->failed) {
        /* The octets promised by MAIL cannot follow: only closing tells the peer so. */
        attempt_note_error(attempt, "body", "4.4.2",
                           "message cannot be read from the spool:", "transaction broken off");
        attempt_abort(attempt);
        return false;
    }
    if (body->window.len > 0) {
        attempt->iov[(*count)++] = (struct iovec){.iov_base = (void *)(uintptr_t)body->window.data,
                                                  .iov_len = body->window.len};
    }
    body->ready = false;
    if (!prepare_at_end(body)) {
        return false; /* the next window is read when this one is sent */
    }
    attempt->body = NULL;
    client_body_ended(&attempt->client, &body->core);
    return true;
}

/* Collects one flight; the count of its pieces. */
static size_t gather(struct attempt *attempt)
{
    size_t count = 0;
    while (attempt->state != ATTEMPT_CLOSING && count + FREE_WHEN_SENT <= CONNECTION_IOV_MAX) {
        if (attempt->body != NULL && !add_body(attempt, &count)) {
            break;
        }
        begin_next(attempt);
        struct client_output output;
        client_next_output(&attempt->client, &output);
        if (output.kind == CLIENT_NOTHING) {
            break;
        }
        if (output.kind == CLIENT_BODY) {
            attempt->body = transaction_of(output.body);
            assert(attempt->body->stuffed == output.stuffed ||
                   (attempt->body->message->flags & MESSAGE_DOT_LINES) == 0);
            continue;
        }
        attempt->iov[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)output.commands.data,
                                               .iov_len = output.commands.len};
    }
    return count;
}

/* Nothing is on the wire and nothing is prepared. */
static void rest(struct attempt *attempt)
{
    const struct site *site = attempt->site;
    uint64_t idle_ms = site->settings->connection_idle_timeout_ms;
    if (site->wait == SITE_WAITING_TIME && idle_ms < ATTEMPT_HELD_MS) {
        idle_ms = ATTEMPT_HELD_MS; /* a rate opens in a moment: closing would cost more */
    }
    if (idle_ms == 0 || !may_take_more(attempt)) {
        attempt_quit(attempt);
        return;
    }
    if (!list_linked(&attempt->idle_node)) {
        if (!schedule_idle(attempt->attempts->scheduler, attempt)) {
            attempt_quit(attempt);
            return;
        }
        timer_stop(io_timers(attempt->attempts->io), &attempt->timer);
        wake_at(attempt, now_ms(attempt) + idle_ms);
    }
}

static bool nothing_to_do(const struct attempt *attempt)
{
    return attempt->state == ATTEMPT_READY && attempt->next == NULL && attempt->body == NULL &&
           list_empty(&attempt->on_wire) && !attempt->quitting;
}

void attempt_pump(struct attempt *attempt)
{
    if (attempt->state == ATTEMPT_CLOSING || connection_sending(&attempt->connection)) {
        return;
    }
    if (attempt->state == ATTEMPT_READY) {
        fetch_next(attempt);
    }
    if (attempt->body != NULL && !attempt->body->ready && !attempt->body->reading) {
        prepare_window(attempt->body, attempt->body->stuffed);
    }
    size_t count = gather(attempt);
    if (attempt->state == ATTEMPT_CLOSING) {
        return;
    }
    if (count > 0) {
        connection_send(&attempt->connection, attempt->iov, count);
        attempt_watch(attempt);
    } else if (nothing_to_do(attempt)) {
        rest(attempt);
    }
}

/* ---- timers and commands from above ---- */

/* What was prepared and cannot be begun goes back: soon if only a rate stands against it, later if
 * a reply does. */
static void drop_overdue_next(struct attempt *attempt)
{
    const struct transaction *next = attempt->next;
    if (next == NULL) {
        return;
    }
    bool only_rates = client_may_begin(&attempt->client) || client_may_carry(&attempt->client);
    uint64_t due_ms =
        next->taken_ms + (only_rates && next->ready ? ATTEMPT_HELD_MS : ATTEMPT_CARRY_MS);
    if (due_ms <= now_ms(attempt)) {
        drop_next(attempt);
    } else if (!only_rates) {
        wake_at(attempt, due_ms);
    }
}

/* C41: a carried transaction does not wait for ever behind another one's reply. The connection
 * stays for that reply and carries no body any more. */
static void recall_overdue(struct attempt *attempt)
{
    struct list_node *node = attempt->on_wire.head.prev;
    if (node == &attempt->on_wire.head || node == list_first(&attempt->on_wire)) {
        return;
    }
    struct transaction *last = CONTAINER_OF(node, struct transaction, node);
    if (last->begun_ms + ATTEMPT_CARRY_MS > now_ms(attempt)) {
        wake_at(attempt, last->begun_ms + ATTEMPT_CARRY_MS);
    } else if (client_recall(&attempt->client, &last->core)) {
        attempt_quit(attempt);
    }
}

/* One timer for several waits: idle, a prepared message that cannot be begun, a carried one whose
 * predecessor gets no reply. */
void attempt_on_timer(struct timer *timer)
{
    struct attempt *attempt = CONTAINER_OF(timer, struct attempt, timer);
    if (list_linked(&attempt->idle_node)) {
        attempt_quit(attempt);
        return;
    }
    drop_overdue_next(attempt);
    recall_overdue(attempt);
    attempt_pump(attempt);
}

void attempt_offer(struct attempt *attempt)
{
    assert(attempt->state == ATTEMPT_READY);
    schedule_busy(attempt);
    timer_stop(io_timers(attempt->attempts->io), &attempt->timer);
    attempt_pump(attempt);
}

void attempt_recall(struct attempt *attempt, const struct queue *queue)
{
    if (attempt->state != ATTEMPT_READY) {
        return;
    }
    if (attempt->next != NULL && attempt->next->queue == queue) {
        drop_next(attempt);
    }
    struct list_node *next;
    for (struct list_node *node = list_first(&attempt->on_wire); node != NULL; node = next) {
        next = list_next(&attempt->on_wire, node);
        struct transaction *transaction = CONTAINER_OF(node, struct transaction, node);
        if (transaction->queue == queue && client_recall(&attempt->client, &transaction->core)) {
            attempt_quit(attempt); /* its MAIL may be out: nothing may follow here */
            break;                 /* the list has changed */
        }
    }
    attempt_pump(attempt);
}

void attempt_quit(struct attempt *attempt)
{
    if (attempt->state == ATTEMPT_CLOSING || attempt->quitting) {
        return;
    }
    if (attempt->state != ATTEMPT_READY) {
        attempt_abort(attempt);
        return;
    }
    attempt->quitting = true;
    schedule_busy(attempt); /* the timer runs on for what is carried */
    drop_next(attempt);
    client_quit(&attempt->client);
    attempt_pump(attempt);
}
