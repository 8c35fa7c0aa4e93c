/* One session of a receiving host: bytes in, one command at a time, one reply at a time, in the
 * clear or in TLS, with the host's manners. */
#include "sim_mx_session.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "sim_memory.h"
#include "sim_parts.h"

#define PROMPT_US_MAX  2000
#define SLOW_US_MAX    (30 * SIM_SECOND)
#define DRIP_US_MIN    (10 * SIM_MS)
#define DRIP_US_MAX    (3 * SIM_SECOND)
#define IDLE_US        (1200 * SIM_SECOND) /* RFC 5321 4.5.3.2.7: at least five minutes */
#define LATE_FINAL_MAX (540 * SIM_SECOND)  /* RFC 5321 4.5.3.2.6: clients wait ten minutes */

static void process(struct mx_session *session);

/* ---- life ------------------------------------------------------------------------------- */

void mx_session_free(struct mx_session *session)
{
    struct sim *sim = session->farm->sim;
    mx_record_close(session);
    sim_event_cancel(sim, &session->reply_due);
    sim_event_cancel(sim, &session->idle);
    sim_peer_close(&session->peer);
    tls_session_destroy(session->tls);
    list_remove(&session->node);
    session->farm->session_count--;
    sim_give(session->in);
    sim_give(session->body);
    sim_give(session);
}

static void on_idle(struct sim_event *event)
{
    struct mx_session *session = CONTAINER_OF(event, struct mx_session, idle);
    mx_session_free(session);
}

static void still_alive(struct mx_session *session)
{
    sim_event_in(session->farm->sim, &session->idle, IDLE_US);
}

/* ---- out -------------------------------------------------------------------------------- */

static void flush_tls(struct mx_session *session)
{
    struct bytes output = tls_output(session->tls);
    sim_peer_send(&session->peer, output.data, output.len);
    tls_output_sent(session->tls, output.len);
}

static void put(struct mx_session *session, const char *data, size_t len)
{
    if (session->tls_open) {
        tls_write(session->tls, data, len);
        flush_tls(session);
    } else {
        sim_peer_send(&session->peer, data, len);
    }
}

static void begin_tls(struct mx_session *session)
{
    session->tls = tls_server_create(session->mx->profile);
    session->phase = MX_NEW; /* RFC 3207 4.2: all that was learned is forgotten */
    session->extended = false;
    session->in_len = 0;
    tls_handshake(session->tls);
}

/* The reply is out. False: the session is no more. */
static bool finish_reply(struct mx_session *session)
{
    static const char injected[] = "250 injected in the clear\r\n";
    struct sim_farm *farm = session->farm;
    session->replying = false;
    session->sync_point = false;
    if (session->code_out != NULL) {
        *session->code_out = session->reply_code;
    }
    if (session->is_final && farm->final != NULL) {
        farm->final(farm->owner, session->record);
    } else if (session->code_out != NULL && farm->rcpt != NULL && !session->is_final) {
        farm->rcpt(farm->owner, session->record, session->rcpt_index);
    }
    session->code_out = NULL;
    if (session->is_final) {
        session->is_final = false;
        mx_record_close(session);
    }
    switch (session->after) {
    case MX_GO_ON:
        return true;
    case MX_START_TLS:
        begin_tls(session);
        return true;
    case MX_BREAK_TLS:
        session->lied = true;
        put(session, injected, sizeof(injected) - 1);
        return true;
    case MX_RESET:
        sim_peer_abort(&session->peer);
        break;
    case MX_HANG_UP:
        break;
    }
    if (sim_peer_unsent(&session->peer) > 0) { /* a zero window: wait for it as a kernel would */
        session->phase = MX_GONE;
        sim_peer_shutdown(&session->peer);
        return false;
    }
    mx_session_free(session);
    return false;
}

static void on_reply_due(struct sim_event *event)
{
    struct mx_session *session = CONTAINER_OF(event, struct mx_session, reply_due);
    struct sim *sim = session->farm->sim;
    size_t len = session->reply_len - session->reply_sent;
    if (session->drip_us > 0 && len > 1) {
        len = 1;
    }
    put(session, session->reply + session->reply_sent, len);
    session->reply_sent += len;
    if (session->reply_sent < session->reply_len) {
        sim_event_in(sim, event, session->drip_us);
        return;
    }
    sim_note(sim, "mx said", session->id, session->reply_code);
    if (finish_reply(session)) {
        process(session);
    }
}

/* The text of it, as this host writes: one line or several, CRLF or not. */
static void format_reply(struct mx_session *session, uint16_t code, const char *enhanced,
                         const char *text)
{
    struct sim *sim = session->farm->sim;
    const struct sim_mx_manners *manners = &session->mx->manners;
    const char *space = enhanced[0] == '\0' ? "" : " ";
    const char *end = sim_chance(sim, manners->bare_lf) ? "\n" : "\r\n";
    int len = 0;
    if (sim_chance(sim, manners->multiline) && strchr(text, '\n') == NULL) {
        len = snprintf(session->reply, MX_REPLY_MAX, "%u-%s%smore to say%s", code, enhanced, space,
                       end);
    }
    len += snprintf(session->reply + len, MX_REPLY_MAX - (size_t)len, "%u %s%s%s%s", code, enhanced,
                    space, text, end);
    assert(len < MX_REPLY_MAX);
    session->reply_len = (size_t)len;
}

static void lie(struct mx_session *session)
{
    static const char *const garbage[] = {"abc\r\n", "2\r\n", "25\r\n", "250_x\r\n", "999 x\r\n"};
    static const uint16_t codes[] = {220, 221, 250, 334, 354, 451, 550};
    static const char extra[] = "250 2.0.0 by the way\r\n";
    struct sim *sim = session->farm->sim;
    const struct sim_mx_manners *manners = &session->mx->manners;
    if (sim_chance(sim, manners->lie_garbage)) {
        const char *text = garbage[sim_between(sim, 0, 4)];
        session->reply_len = strlen(text);
        memcpy(session->reply, text, session->reply_len);
        session->reply_code = 0;
        session->lied = true;
    } else if (sim_chance(sim, manners->lie_code)) {
        session->reply_code = codes[sim_between(sim, 0, 6)];
        format_reply(session, session->reply_code, "", "whatever");
        session->lied = true;
    } else if (sim_chance(sim, manners->lie_extra)) {
        memcpy(session->reply + session->reply_len, extra, sizeof(extra) - 1);
        session->reply_len += sizeof(extra) - 1;
        session->lied = true;
    }
}

static uint64_t reply_delay_us(struct mx_session *session)
{
    struct sim *sim = session->farm->sim;
    const struct sim_mx_manners *manners = &session->mx->manners;
    uint64_t us = sim_between(sim, 1, PROMPT_US_MAX);
    if (sim_chance(sim, manners->slow)) {
        us = sim_spread(sim, PROMPT_US_MAX, SLOW_US_MAX);
    }
    if (session->is_final && sim_chance(sim, manners->late_final)) {
        us = sim_spread(sim, SIM_SECOND, LATE_FINAL_MAX);
    }
    if (session->is_final && manners->final_us > 0) {
        us = manners->final_us;
    }
    session->drip_us =
        sim_chance(sim, manners->drip) ? sim_spread(sim, DRIP_US_MIN, DRIP_US_MAX) : 0;
    return us;
}

uint16_t mx_reply(struct mx_session *session, uint16_t code, const char *enhanced, const char *text)
{
    struct sim *sim = session->farm->sim;
    const struct sim_mx_manners *manners = &session->mx->manners;
    assert(!session->replying);
    session->replying = true;
    session->reply_sent = 0;
    session->reply_code = code;
    bool plain = (manners->extensions & SIM_MX_ENHANCED) == 0;
    format_reply(session, code, plain ? "" : enhanced, text);
    if (sim_chance(sim, manners->close)) {
        session->reply_len = 0;
        session->reply_code = 0;
        session->after = sim_chance(sim, 500000) ? MX_HANG_UP : MX_RESET;
    } else if (sim_chance(sim, manners->shut)) {
        session->reply_code = 421;
        format_reply(session, 421, plain ? "" : "4.3.2", "going down");
        session->after = MX_HANG_UP;
    } else {
        lie(session);
    }
    uint64_t us = reply_delay_us(session);
    sim_event_in(sim, &session->reply_due, us);
    return session->reply_code;
}

/* ---- in --------------------------------------------------------------------------------- */

static void append(uint8_t **bytes, size_t *len, size_t *capacity, const void *data, size_t count)
{
    if (*len + count > *capacity) {
        size_t larger = 2 * (*len + count);
        *bytes = sim_grow(*bytes, *capacity, larger);
        *capacity = larger;
    }
    if (count > 0) {
        memcpy(*bytes + *len, data, count);
    }
    *len += count;
}

static void consume(struct mx_session *session, size_t count)
{
    session->in_len -= count;
    memmove(session->in, session->in + count, session->in_len);
}

static void add_to_body(struct mx_session *session, const uint8_t *data, size_t len)
{
    append(&session->body, &session->body_len, &session->body_capacity, data, len);
    for (size_t i = 0; i < len; i++) {
        session->saw_8bit = session->saw_8bit || data[i] > 127;
    }
}

/* A line of the body, with its CRLF. */
static void take_body_line(struct mx_session *session, size_t len)
{
    const uint8_t *line = session->in;
    if (len == 3 && line[0] == '.') {
        consume(session, len);
        session->phase = MX_MAIL;
        mx_body_end(session);
        return;
    }
    size_t skip = line[0] == '.' ? 1 : 0; /* RFC 5321 4.5.2 */
    if (skip == 1 && line[1] != '.') {
        mx_violation(session, "a line of a body begins with a single dot");
    }
    if (memchr(line, '\n', len - 1) != NULL || memchr(line, '\r', len - 2) != NULL) {
        mx_violation(session, "bare CR or LF in a body");
    }
    add_to_body(session, line + skip, len - skip);
    consume(session, len);
}

static void take_chunk(struct mx_session *session)
{
    size_t count = session->in_len < session->chunk_left ? session->in_len : session->chunk_left;
    if (!session->chunk_refused) {
        add_to_body(session, session->in, count);
    }
    consume(session, count);
    session->chunk_left -= count;
    if (session->chunk_left == 0) {
        session->phase = session->record == NULL ? MX_IDLE : MX_MAIL;
        if (session->chunk_last && !session->chunk_refused) {
            mx_body_end(session);
        } else {
            mx_chunk_end(session);
        }
    }
}

static void check_early(struct mx_session *session)
{
    bool pipelining =
        session->extended && (session->mx->manners.extensions & SIM_MX_PIPELINING) != 0;
    if (session->in_len == 0 || session->phase == MX_GONE) {
        return;
    }
    if (!pipelining && session->phase != MX_DATA && session->phase != MX_BDAT) {
        mx_violation(session, "a command was sent before the reply to the one before it");
    }
    if (session->sync_point) { /* RFC 2920 3.1, RFC 3207 4 */
        mx_violation(session, "something was sent behind EHLO, DATA or STARTTLS");
    }
}

static void take_command(struct mx_session *session, size_t len)
{
    char line[4096];
    size_t kept = len - 2 < sizeof(line) - 1 ? len - 2 : sizeof(line) - 1;
    memcpy(line, session->in, kept);
    line[kept] = '\0';
    consume(session, len);
    session->sync_point = false;
    session->after = MX_GO_ON;
    sim_note_bytes(session->farm->sim, "mx heard", line, kept);
    mx_command(session, line);
}

/* The length of the first line with its CRLF; 0: it is not all there. */
static size_t line_len(const struct mx_session *session)
{
    for (size_t i = 0; i + 1 < session->in_len; i++) {
        if (session->in[i] == '\r' && session->in[i + 1] == '\n') {
            return i + 2;
        }
    }
    return 0;
}

static bool maybe_stop_reading(struct mx_session *session)
{
    if (session->phase == MX_DATA &&
        sim_chance(session->farm->sim, session->mx->manners.stop_reading)) {
        sim_note(session->farm->sim, "mx stops", session->id, 0);
        sim_peer_pause(&session->peer);
        return true;
    }
    return false;
}

static void process(struct mx_session *session)
{
    while (!session->replying && session->phase != MX_GONE && session->phase != MX_GREETING) {
        if (session->phase == MX_BDAT) {
            if (session->in_len == 0 && session->chunk_left > 0) {
                return;
            }
            take_chunk(session);
            continue;
        }
        size_t len = line_len(session);
        if (len == 0) {
            return;
        }
        if (session->phase == MX_DATA) {
            take_body_line(session, len);
        } else {
            take_command(session, len);
        }
    }
    check_early(session);
}

/* ---- what the network tells ------------------------------------------------------------- */

static void take_plain(struct mx_session *session, const void *data, size_t len)
{
    append(&session->in, &session->in_len, &session->in_capacity, data, len);
    assert(session->in_len <= MX_INPUT_MAX);
}

/* False: the session is no more. */
static bool take_tls(struct mx_session *session, const void *data, size_t len)
{
    char plain[2048];
    enum tls_result result = tls_receive(session->tls, data, len);
    if (!session->tls_open && result == TLS_OK) {
        result = tls_handshake(session->tls);
        session->tls_open = result == TLS_ESTABLISHED;
    }
    flush_tls(session);
    while (session->tls_open) {
        size_t count = tls_read(session->tls, plain, sizeof(plain), &result);
        if (count == 0) {
            break;
        }
        take_plain(session, plain, count);
    }
    if (result == TLS_FAILED || result == TLS_CLOSED) {
        mx_session_free(session);
        return false;
    }
    return true;
}

static void on_data(struct sim_peer *peer, const char *data, size_t len)
{
    struct mx_session *session = CONTAINER_OF(peer, struct mx_session, peer);
    if (session->phase == MX_GONE) {
        return;
    }
    still_alive(session);
    if (session->tls == NULL) {
        take_plain(session, data, len);
    } else if (!take_tls(session, data, len)) {
        return;
    }
    if (!maybe_stop_reading(session)) {
        process(session);
    }
}

static void on_ended(struct sim_peer *peer, int result)
{
    (void)result;
    mx_session_free(CONTAINER_OF(peer, struct mx_session, peer));
}

static void on_opened(struct sim_peer *peer, int result)
{
    (void)result; /* accepted connections are open */
    struct mx_session *session = CONTAINER_OF(peer, struct mx_session, peer);
    still_alive(session);
    mx_greet(session);
}

struct sim_peer *mx_session_open(struct sim_mx *mx)
{
    struct mx_session *session = sim_take(sizeof(*session));
    session->farm = mx->farm;
    session->mx = mx;
    session->id = ++mx->farm->connections;
    session->opened_us = sim_now_us(mx->farm->sim);
    session->peer = (struct sim_peer){.opened = on_opened, .data = on_data, .ended = on_ended};
    sim_event_init(&session->reply_due, on_reply_due);
    sim_event_init(&session->idle, on_idle);
    list_push_back(&mx->farm->sessions, &session->node);
    mx->farm->session_count++;
    return &session->peer;
}
