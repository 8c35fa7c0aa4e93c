/* Bytes and time of one session.
 *
 *   ARRIVED -> OPEN -> LINGERS -> CLOSING -> gone
 *
 * Everything that happens (bytes, a send that is done, the spool's answer, room in the spool, the
 * timer) ends in session_pump, which does all that can be done now: feeds what was received,
 * commits, sends, receives on, closes. While a reply is on its way, an answer is awaited or the
 * spool is behind, nothing is fed; what was received by then waits in `rest`, one receive buffer
 * at most, and no more is received. */
#include <assert.h>
#include <stdio.h>

#include "base/slab.h"
#include "session_internal.h"

static struct timers *timers_of(const struct session *session)
{
    return io_timers(session->home->options.io);
}

static uint64_t now_of(const struct session *session)
{
    return io_now_ms(session->home->options.io);
}

/* ---- the core ---- */

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* auto-qualify-domain: of addresses without a domain. */
static struct bytes suffix_of(const struct session *session)
{
    if (!session->source->auto_qualify_domain) {
        return BYTES("");
    }
    struct bytes suffix = config_global(session->config)->domain_suffix;
    return suffix.len > 0 ? suffix : session_host_name(session);
}

void session_ready(struct session *session)
{
    struct sessions *home = session->home;
    session_refresh(session);
    const struct source_settings *source = session->source;
    home->settings = (struct server_settings){
        .host_name = session_host_name(session),
        .suffix = suffix_of(session),
        .size_max = smaller(source->max_message_bytes, SESSION_SIZE_MAX),
        .rcpts_max = (uint32_t)smaller(source->max_rcpt_per_message, RECEPTION_RCPTS_MAX - 1),
        .chunking = source->allow_chunking,
        .smtputf8 = source->allow_smtputf8,
        .verp = true,
        .too_many_fails = source->too_many_rcpts_fails_message,
        .transient_ends = source->disconnect_on_transient_error,
        .tell_commands = source->log_commands || source->log_data,
        .tell_content = source->log_data,
        .draining = home->draining,
    };
    session->server.settings = &home->settings;
    session_take_workspace(session);
}

static bool may_feed(const struct session *session)
{
    enum server_waits waits = smtp_server_waits_for(&session->server);
    return session->stage == SESSION_OPEN && !session->sending && !session->ending &&
           (waits == SERVER_WAITS_COMMAND || waits == SERVER_WAITS_DATA) &&
           (session->reception == NULL || !reception_blocked(session->reception));
}

/* The count taken. */
static size_t feed(struct session *session, const void *data, size_t len)
{
    session_ready(session);
    uint64_t errors = session->server.errors_total;
    size_t taken = smtp_server_feed(&session->server, data, len);
    session->home->status.protocol_errors += session->server.errors_total - errors;
    session->progress_ms = now_of(session);
    session->data_bytes += taken;
    return taken;
}

/* Closing words, if anything can still be said. */
static void say_goodbye(struct session *session, const char *reply)
{
    session_ready(session);
    smtp_server_close(&session->server, reply);
}

/* ---- received, not yet fed ---- */

static void keep_rest(struct session *session, const uint8_t *data, size_t len)
{
    assert(session->rest == NULL);
    assert(len <= session->home->options.receive_buffer_bytes);
    session->rest = slab_take(session->home->rests);
    assert(session->rest != NULL); /* as many as there are sessions */
    memcpy(session->rest, data, len);
    session->rest_from = 0;
    session->rest_to = (uint32_t)len;
}

static void drop_rest(struct session *session)
{
    slab_give(session->home->rests, session->rest);
    session->rest = NULL;
}

static void feed_rest(struct session *session)
{
    session->rest_from += (uint32_t)feed(session, session->rest + session->rest_from,
                                         session->rest_to - session->rest_from);
    if (session->rest_from == session->rest_to) {
        drop_rest(session);
    }
}

static void take_input(struct session *session, const uint8_t *data, size_t len)
{
    if (session->stage == SESSION_ARRIVED) {
        /* S16: who talks before the greeting does not listen; spam engines do that. */
        session->stage = SESSION_OPEN;
        session->home->status.protocol_errors++;
        say_goodbye(session, "554 5.5.1 You talked before the greeting");
        return;
    }
    size_t taken = may_feed(session) ? feed(session, data, len) : 0;
    if (taken < len) {
        keep_rest(session, data + taken, len - taken);
    }
}

/* ---- deadlines ---- */

static enum session_wait wait_of(const struct session *session)
{
    if (session->sending) {
        return WAIT_SEND;
    }
    switch (smtp_server_waits_for(&session->server)) {
    case SERVER_WAITS_COMMAND:
        return WAIT_COMMAND;
    case SERVER_WAITS_DATA:
        return session->reception != NULL && reception_blocked(session->reception) ? WAIT_NOTHING
                                                                                   : WAIT_DATA;
    case SERVER_WAITS_ANSWER:
    case SERVER_WAITS_CLOSE:
        return WAIT_NOTHING;
    }
    return WAIT_NOTHING;
}

/* A deadline, UINT64_MAX: none. A command has to be whole in its time, however it trickles; a
 * message may take as long as it goes on, at a minimum rate beyond the data timeout (S30). */
static uint64_t deadline(const struct session *session)
{
    uint64_t command_ms = session->source->smtp_command_timeout_ms;
    uint64_t data_ms = session->source->smtp_data_timeout_ms;
    if (session->stage == SESSION_LINGERS) {
        return session->since_ms + SESSION_LINGER_MS;
    }
    if (session->home->stopping) {
        command_ms = SESSION_STOP_MS;
    }
    switch ((enum session_wait)session->wait) {
    case WAIT_NOTHING:
        break;
    case WAIT_SEND:
    case WAIT_COMMAND:
        return command_ms == NEVER ? UINT64_MAX : session->since_ms + command_ms;
    case WAIT_DATA:
        return data_ms == NEVER
                   ? UINT64_MAX
                   : smaller(session->progress_ms,
                             session->since_ms + session->data_bytes * 1000 / SESSION_RATE_MIN) +
                         data_ms;
    }
    return UINT64_MAX;
}

static void set_timer(struct session *session)
{
    uint64_t due_ms = deadline(session);
    if (due_ms == UINT64_MAX) {
        timer_stop(timers_of(session), &session->timer);
    } else if (!timer_running(&session->timer) || due_ms < session->timer_due_ms) {
        /* One that is due too early finds out when it fires: moving it at each byte costs more. */
        session->timer_due_ms = due_ms;
        timer_start(timers_of(session), &session->timer, due_ms);
    }
}

/* replied: something was answered since, so the wait for the next command is a new one. */
static void note_wait(struct session *session, bool replied)
{
    enum session_wait wait = wait_of(session);
    if (wait != session->wait || replied) {
        session->wait = (uint8_t)wait;
        session->since_ms = session->progress_ms = now_of(session);
        session->data_bytes = 0;
    }
}

/* ---- the end ---- */

static void end_if_home(struct session *session)
{
    if (io_busy(&session->recv_op) || io_busy(&session->send_op)) {
        return;
    }
    struct io *io = session->home->options.io;
    if (session->abort) {
        io_close_abort(io, session->fd);
    } else {
        io_close(io, session->fd);
    }
    session_ended(session);
}

void session_close(struct session *session, bool abort)
{
    assert(session->stage != SESSION_CLOSING);
    struct io *io = session->home->options.io;
    session->abort = abort;
    session_refresh(session);
    if (session->source->log_connections) {
        session_log_ended(session);
    }
    session->stage = SESSION_CLOSING;
    timer_stop(timers_of(session), &session->timer);
    smtp_server_lost(&session->server);
    if (session->reception != NULL) {
        /* Its commit is with the spool: the message stands, nobody is left to be told (S29). */
        struct reception *reception = session->reception;
        session->reception = NULL;
        reception_drop(reception);
    }
    if (session->rest != NULL) {
        drop_rest(session);
    }
    io_cancel(io, &session->recv_op);
    io_cancel(io, &session->send_op);
    end_if_home(session);
}

/* Everything is said. A close with bytes unread would reset the connection, and the peer might
 * never see our last reply: so half of it is closed, and the rest read over until the peer has
 * closed too, or for SESSION_LINGER_MS. */
static void linger(struct session *session)
{
    io_shutdown(session->home->options.io, session->fd);
    session->stage = SESSION_LINGERS;
    session->since_ms = now_of(session);
    if (session->rest != NULL) {
        drop_rest(session);
    }
}

/* ---- the pump ---- */

static void send_output(struct session *session)
{
    struct bytes output = smtp_server_output(&session->server);
    if (session->sending || output.len == 0) {
        return;
    }
    session->iov =
        (struct iovec){.iov_base = session->server.workspace->out, .iov_len = output.len};
    session->sending = true;
    if (session->source->log_commands || session->source->log_data) {
        session_log_replies(session, output);
    }
    io_send(session->home->options.io, &session->send_op, session->fd, &session->iov, 1);
}

static bool may_receive(const struct session *session)
{
    if (session->eof || io_busy(&session->recv_op)) {
        return false;
    }
    enum server_waits waits = smtp_server_waits_for(&session->server);
    switch ((enum session_stage)session->stage) {
    case SESSION_ARRIVED:
    case SESSION_LINGERS:
        return true;
    case SESSION_OPEN:
        return session->rest == NULL && !session->ending &&
               (waits == SERVER_WAITS_COMMAND || waits == SERVER_WAITS_DATA) &&
               (session->reception == NULL || !reception_blocked(session->reception));
    case SESSION_CLOSING:
        return false;
    }
    return false;
}

/* While stopping, a session that waits for nothing but its client is told to go. */
static void stop_if_asked(struct session *session)
{
    enum server_waits waits = smtp_server_waits_for(&session->server);
    if (session->home->stopping && !session->sending && !session->ending &&
        (waits == SERVER_WAITS_COMMAND || waits == SERVER_WAITS_DATA)) {
        say_goodbye(session, "421 4.3.2 Shutting down; try again");
    }
}

static void pump_open(struct session *session)
{
    while (session->rest != NULL && may_feed(session)) {
        feed_rest(session);
        send_output(session);
    }
    if (session->ending && !reception_blocked(session->reception)) {
        session_commit(session);
    }
    stop_if_asked(session);
    send_output(session);
}

/* Nothing more comes and nothing more is to be said. */
static bool is_over(const struct session *session)
{
    if (session->sending) {
        return false;
    }
    switch (smtp_server_waits_for(&session->server)) {
    case SERVER_WAITS_CLOSE:
        return true;
    case SERVER_WAITS_ANSWER:
        return false;
    case SERVER_WAITS_COMMAND:
    case SERVER_WAITS_DATA:
        return session->eof && session->rest == NULL;
    }
    return true;
}

void session_pump(struct session *session)
{
    bool sent_before = session->sending;
    session_refresh(session);
    if (session->stage == SESSION_OPEN) {
        pump_open(session);
        if (is_over(session)) {
            if (session->eof) {
                session_close(session, false);
                return;
            }
            linger(session);
        }
        note_wait(session, session->sending && !sent_before);
    }
    if (may_receive(session)) {
        io_recv(session->home->options.io, &session->recv_op, session->fd);
    }
    if (!smtp_server_needs_workspace(&session->server)) {
        session_give_workspace(session);
    }
    if (session->stage != SESSION_ARRIVED) {
        set_timer(session);
    }
}

/* ---- events ---- */

static void on_received(struct io_op *op, int result)
{
    struct session *session = CONTAINER_OF(op, struct session, recv_op);
    if (session->stage == SESSION_CLOSING) {
        end_if_home(session);
        return;
    }
    if (result < 0 || (result == 0 && session->stage != SESSION_OPEN)) {
        session_close(session, result < 0);
        return;
    }
    if (result == 0) {
        session->eof = true;
    } else if (session->stage != SESSION_LINGERS) {
        take_input(session, op->data, (size_t)result);
    }
    session_pump(session);
}

static void on_sent(struct io_op *op, int result)
{
    struct session *session = CONTAINER_OF(op, struct session, send_op);
    session->sending = false;
    if (session->stage == SESSION_CLOSING) {
        end_if_home(session);
        return;
    }
    if (result < 0) {
        session_close(session, true);
        return;
    }
    smtp_server_sent(&session->server, session->iov.iov_len);
    session_pump(session);
}

/* ---- the beginning ---- */

static void greet(struct session *session)
{
    char text[SESSION_REPLY_MAX];
    struct bytes host = session_host_name(session);
    session->stage = SESSION_OPEN;
    switch ((enum session_refusal)session->refusal) {
    case REFUSAL_NONE:
        session_ready(session);
        smtp_server_greet(&session->server);
        return;
    case REFUSAL_SOURCE: /* RFC 7504 */
        snprintf(text, sizeof(text), "521 5.3.2 %.*s does not accept mail from you",
                 BYTES_FMT(host));
        say_goodbye(session, text);
        return;
    case REFUSAL_FULL:
        say_goodbye(session, "421 4.7.0 Too many connections; try again later");
        return;
    case REFUSAL_ADDRESS:
        say_goodbye(session, "421 4.7.0 Too many connections from your address");
        return;
    case REFUSAL_DRAIN:
        say_goodbye(session, "421 4.3.2 Shutting down; try again");
        return;
    }
}

/* The timer fires at the end of the turn in which the connection came, and again at the end of the
 * next. In between the first receive is submitted, and bytes that are there already come home. */
static void on_arrival_turn(struct session *session)
{
    if (!session->listened) {
        session->listened = true;
        timer_start(timers_of(session), &session->timer, now_of(session));
        return;
    }
    greet(session);
    session_pump(session);
}

static void on_timer(struct timer *timer)
{
    struct session *session = CONTAINER_OF(timer, struct session, timer);
    if (session->stage == SESSION_ARRIVED) {
        on_arrival_turn(session);
        return;
    }
    session_refresh(session);
    if (deadline(session) > now_of(session)) {
        set_timer(session);
        return;
    }
    if (session->stage == SESSION_LINGERS) {
        session_close(session, false);
        return;
    }
    session->home->status.timeouts++;
    if (session->sending) {
        session_close(session, true); /* it does not read: there is nothing to tell it */
        return;
    }
    say_goodbye(session, session->wait == WAIT_DATA ? "421 4.4.2 Your message came too slowly"
                                                    : "421 4.4.2 Timeout waiting for a command");
    session_pump(session);
}

void session_start(struct session *session)
{
    io_op_init(&session->recv_op, on_received);
    io_op_init(&session->send_op, on_sent);
    timer_init(&session->timer, on_timer);
    smtp_server_init(&session->server, &session_server_events, session);
    session->stage = SESSION_ARRIVED;
    timer_start(timers_of(session), &session->timer, now_of(session));
    session_pump(session);
}
