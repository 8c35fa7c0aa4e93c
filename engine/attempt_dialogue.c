/* What goes over a READY connection. The fast path is one flight per message: the body of one, its
 * final dot, and MAIL, RCPT and DATA of the next, which was prepared while the first was on its
 * way. Everything that may change (a reply, a pause, a spent rate) is looked at again in
 * begin_next, the only place that starts a transaction. */
#include <assert.h>

#include "attempt.h"
#include "attempt_private.h"
#include "io/io.h"
#include "local_job.h"
#include "policy/settings.h"
#include "queue.h"
#include "schedule.h"
#include "site.h"
#include "volume_rates.h"

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

/* ---- deadlines ---- */

static uint64_t stage_timeout_ms(const struct attempt *attempt, enum client_stage stage)
{
    const struct domain_settings *settings = attempt->site->settings;
    switch (stage) {
    case CLIENT_STAGE_GREETING:
        return settings->smtp_greeting_timeout_ms;
    case CLIENT_STAGE_EHLO:
    case CLIENT_STAGE_STARTTLS:
    case CLIENT_STAGE_AUTH:
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
        uint64_t rest_ms = attempt->site->settings->smtp_multiple_line_response_timeout_ms;
        if (client_reply_begun(&attempt->client) && due_ms > now_ms(attempt) + rest_ms) {
            due_ms = now_ms(attempt) + rest_ms;
        }
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
    uint64_t errors_max = attempt->site->settings->max_errors_per_connection;
    bool refused = errors_max != 0 && attempt->refusals >= errors_max;
    return attempt->state == ATTEMPT_READY && !attempt->quitting && !attempt->used_up && !used_up &&
           !refused;
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
    attempt_end_all(attempt, transaction, CLIENT_STAGE_BODY, &reply, false);
    prepare_free(transaction);
}

/* Takes the rates; what is more than they allow goes back to the queue. False: not now. */
static bool take_rates(struct attempt *attempt, struct transaction *transaction)
{
    if (transaction->rates_taken) {
        return true;
    }
    uint64_t again_ms;
    uint32_t granted = 0;
    if (volume_hold(attempt, transaction, &again_ms)) {
        granted = schedule_take_rate(attempt->attempts->scheduler, attempt, transaction->rcpt_count,
                                     &again_ms);
    }
    if (granted == 0) {
        volume_settle(attempt, transaction, false);
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

/* Some were deleted, or its job was paused, while it was made ready: in their queue they end, or
 * wait; the others come again. */
static bool is_unwanted(const struct transaction *transaction)
{
    if (transaction->rcpts[0] != NULL && queue_holds(transaction->queue, transaction->rcpts[0])) {
        return true;
    }
    for (uint32_t i = 0; i < transaction->rcpt_count; i++) {
        if (transaction->rcpts[i] != NULL && transaction->rcpts[i]->condemned) {
            return true;
        }
    }
    return false;
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
        attempt_drop_next(
            attempt); /* CHUNKING was refused meanwhile: made ready anew, dots doubled */
        fetch_next(attempt);
        return;
    }
    bool behind = !client_may_begin(&attempt->client);
    if (behind && !client_may_carry(&attempt->client)) {
        return;
    }
    /* A reload may have made its policy stricter than this connection is. */
    if (!may_take_more(attempt) || next->queue->paused || is_unwanted(next) ||
        !attempt_suits(attempt, next->queue)) {
        attempt_drop_next(attempt);
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
    if (attempt->local != NULL) {
        local_job_on_prepared(attempt->local);
    } else if (attempt->state == ATTEMPT_READY) {
        attempt_pump(attempt);
    }
}

/* ---- writing ---- */

/* An old firewall loses the end of a message whose CRLF "." CRLF comes in two packets: so many
 * bytes, the last CRLF, wait for the dot, and both go in a write of their own when the kernel has
 * the rest. Not those of a window of 1 byte, whose CR is out. */
static size_t kept_for_dot(const struct attempt *attempt, const struct transaction *body)
{
    bool wanted = attempt->client.masked && attempt->site->settings->pix_bug_workaround &&
                  !client_sends_bdat(&attempt->client);
    return wanted && prepare_at_end(body) && body->window.len > 2 ? 2 : 0;
}

static void add_window(struct attempt *attempt, struct bytes window, size_t *count)
{
    if (window.len > 0) {
        if (attempt->log_data) {
            attempt_log_content(attempt, window);
        }
        attempt->iov[(*count)++] =
            (struct iovec){.iov_base = (void *)(uintptr_t)window.data, .iov_len = window.len};
    }
}

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
    size_t now = body->window.len - kept_for_dot(attempt, body);
    add_window(attempt, bytes_slice(body->window, 0, now), count);
    if (now < body->window.len) {
        body->window = bytes_slice(body->window, now, body->window.len);
        return false;
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
            attempt->body = attempt_transaction_of(output.body);
            attempt->content_said = 0;
            assert(attempt->body->stuffed == output.stuffed ||
                   (attempt->body->message->flags & MESSAGE_DOT_LINES) == 0);
            continue;
        }
        if (attempt->log_commands && output.secret) {
            attempt_log_secret(attempt);
        } else if (attempt->log_commands) {
            attempt_log_commands(attempt, output.commands);
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

/* allow-cancel-during-transfer no: what the peer says of a message waits until its last window is
 * handed over. */
static void heed_peer(struct attempt *attempt)
{
    if (attempt->body != NULL && !attempt->site->settings->allow_cancel_during_transfer) {
        connection_pause_reading(&attempt->connection);
    } else {
        connection_resume_reading(&attempt->connection);
    }
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
    heed_peer(attempt);
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
        attempt_drop_next(attempt);
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
        attempt_drop_next(attempt);
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
    if (attempt->local != NULL) {
        attempt->quitting = true; /* ends with the message at hand */
        return;
    }
    if (attempt->state != ATTEMPT_READY) {
        attempt_abort(attempt);
        return;
    }
    attempt->quitting = true;
    schedule_busy(attempt); /* the timer runs on for what is carried */
    attempt_drop_next(attempt);
    client_quit(&attempt->client);
    attempt_pump(attempt);
}
