/* A connection waits for a place, then talks: what is received goes to the server core, its output
 * is held back for the latency, sent, and only then is more read. So the latency stands before each
 * flight of replies, as the distance of a real host would. */
#include "dummy_smtp.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/logger.h"
#include "base/slab.h"
#include "base/timers.h"
#include "io/io.h"
#include "listening.h"
#include "policy/config.h"
#include "smtp/server.h"

#define BACKLOG        1024
#define RESUME_MS      1000
#define PLACE_CHECK_MS 50 /* a place may have come free on another worker */
#define SIZE_MAX_BYTES ((uint64_t)1 << 40)

struct sink_session {
    struct dummy_smtp *home;
    struct list_node node; /* in `open` or `waiting` */
    struct smtp_server server;
    struct server_workspace workspace;
    struct body body;
    struct io_op recv_op, send_op;
    struct iovec iov;
    struct timer timer; /* the latency, while `delayed`; else idleness */
    uint8_t *rest;      /* received, not yet fed; of the slab `rests` */
    uint32_t rest_from, rest_to, rcpts;
    int fd;
    bool placed, delayed, waited, sending, closing;
};

struct sink_listener {
    struct dummy_smtp *home;
    struct address address;
    struct io_acceptor acceptor;
    struct timer resume;
    int fd;
    bool used, closing;
};

struct dummy_smtp {
    struct dummy_smtp_options options;
    struct server_settings settings;
    struct slab *sessions, *rests;
    struct list open, waiting;
    struct timer place_timer;
    struct sink_listener listeners[DUMMY_SMTP_LISTENERS_MAX];
    struct dummy_smtp_status status;
    bool stopping;
};

static const struct global_settings *global_of(const struct dummy_smtp *dummy)
{
    return config_global(dummy->options.config);
}

static uint64_t now_of(const struct dummy_smtp *dummy)
{
    return io_now_ms(dummy->options.io);
}

/* ---- what the core asks: everything is welcome ---- */

static void on_hello(void *owner, struct bytes name, bool extended)
{
}

static const char *on_mail(void *owner, const struct server_mail *mail)
{
    struct sink_session *session = owner;
    session->rcpts = 0;
    return NULL;
}

static const char *on_rcpt(void *owner, const struct server_rcpt *rcpt)
{
    struct sink_session *session = owner;
    session->rcpts++;
    return NULL;
}

static void on_pass(void *owner, const char *data, size_t len)
{
}

static void on_header_end(void *owner)
{
}

static const struct header_filter_events throw_away = {.pass = on_pass,
                                                       .header_end = on_header_end};

static const char *on_data(void *owner, struct body **body)
{
    static const struct body_limits limits = {
        .size_max = SIZE_MAX_BYTES, .line_max = SERVER_SKIP_MAX, .received_max = UINT32_MAX};
    struct sink_session *session = owner;
    body_init(&session->body, &limits, &throw_away, session);
    *body = &session->body;
    return NULL;
}

static const char *on_end(void *owner)
{
    struct sink_session *session = owner;
    struct dummy_smtp *home = session->home;
    if (global_of(home)->dummy_smtp_update_stats) {
        home->status.messages++;
        home->status.recipients += session->rcpts;
        home->status.bytes += session->body.size;
    }
    return NULL;
}

static void on_reset(void *owner)
{
}

static const struct server_events server_events = {.hello = on_hello,
                                                   .mail = on_mail,
                                                   .rcpt = on_rcpt,
                                                   .data = on_data,
                                                   .end = on_end,
                                                   .reset = on_reset};

/* ---- the dialogue ---- */

static void set_settings(struct dummy_smtp *dummy)
{
    const struct global_settings *global = global_of(dummy);
    dummy->settings = (struct server_settings){
        .host_name = bytes_from_string(dummy->options.host_name),
        .size_max = SIZE_MAX_BYTES,
        .rcpts_max = UINT32_MAX,
        .chunking = global->dummy_smtp_has_chunking,
        .verp = global->dummy_smtp_has_verp,
        .hides_pipelining = !global->dummy_smtp_has_pipelining,
        .smtputf8 = true,
        .literals = true,
    };
}

static void look_for_places(struct dummy_smtp *dummy);

static void end_if_home(struct sink_session *session)
{
    struct dummy_smtp *home = session->home;
    if (io_busy(&session->recv_op) || io_busy(&session->send_op)) {
        return;
    }
    io_close(home->options.io, session->fd);
    slab_give(home->rests, session->rest);
    list_remove(&session->node);
    if (session->placed) {
        atomic_fetch_sub(home->options.connections, 1);
    }
    slab_give(home->sessions, session);
    look_for_places(home);
}

static void close_session(struct sink_session *session)
{
    struct io *io = session->home->options.io;
    session->closing = true;
    smtp_server_lost(&session->server);
    timer_stop(io_timers(io), &session->timer);
    io_cancel(io, &session->recv_op);
    io_cancel(io, &session->send_op);
    end_if_home(session);
}

static void wait_idle(struct sink_session *session)
{
    struct dummy_smtp *home = session->home;
    timer_start(io_timers(home->options.io), &session->timer, now_of(home) + DUMMY_SMTP_IDLE_MS);
}

static void answer_message(struct sink_session *session)
{
    if (smtp_server_waits_for(&session->server) == SERVER_WAITS_ANSWER) {
        smtp_server_answer(&session->server, "250 2.0.0 Ok: thrown away", true);
    }
}

/* The count taken; fewer than len: its output has to be sent first, or it waits for the close. */
static size_t feed(struct sink_session *session, const uint8_t *data, size_t len)
{
    size_t taken = 0, step = 1;
    while (taken < len && step > 0) {
        step = smtp_server_feed(&session->server, data + taken, len - taken);
        answer_message(session);
        taken += step;
    }
    return taken;
}

static void feed_rest(struct sink_session *session)
{
    session->rest_from += (uint32_t)feed(session, session->rest + session->rest_from,
                                         session->rest_to - session->rest_from);
    if (session->rest_from == session->rest_to) {
        slab_give(session->home->rests, session->rest);
        session->rest = NULL;
    }
}

static void send_output(struct sink_session *session, struct bytes output)
{
    struct dummy_smtp *home = session->home;
    uint64_t latency_ms = global_of(home)->dummy_smtp_latency_ms;
    if (latency_ms > 0 && !session->waited) {
        session->delayed = true;
        /* One more: the clock has whole milliseconds, and the one that runs is not all to come. */
        timer_start(io_timers(home->options.io), &session->timer, now_of(home) + latency_ms + 1);
        return;
    }
    session->waited = false;
    session->sending = true;
    session->iov = (struct iovec){.iov_base = session->workspace.out, .iov_len = output.len};
    wait_idle(session);
    io_send(home->options.io, &session->send_op, session->fd, &session->iov, 1);
}

/* The session may be gone on return. */
static void pump(struct sink_session *session)
{
    struct io *io = session->home->options.io;
    session->server.settings = &session->home->settings;
    if (session->sending || session->delayed) {
        return;
    }
    if (session->rest != NULL && smtp_server_output(&session->server).len == 0 &&
        smtp_server_waits_for(&session->server) != SERVER_WAITS_CLOSE) {
        feed_rest(session);
    }
    struct bytes output = smtp_server_output(&session->server);
    if (output.len > 0) {
        send_output(session, output);
    } else if (smtp_server_waits_for(&session->server) == SERVER_WAITS_CLOSE) {
        io_shutdown(io, session->fd);
        close_session(session);
    } else if (!io_busy(&session->recv_op)) {
        assert(session->rest == NULL); /* no output, not closing: all was taken */
        wait_idle(session);
        io_recv(io, &session->recv_op, session->fd);
    }
}

static void on_received(struct io_op *op, int result)
{
    struct sink_session *session = CONTAINER_OF(op, struct sink_session, recv_op);
    if (session->closing) {
        end_if_home(session);
        return;
    }
    if (result <= 0) {
        close_session(session);
        return;
    }
    session->server.settings = &session->home->settings;
    size_t len = (size_t)result, taken = feed(session, op->data, len);
    if (taken < len) {
        session->rest = slab_take(session->home->rests);
        if (session->rest == NULL) {
            close_session(session);
            return;
        }
        session->rest_from = 0;
        session->rest_to = (uint32_t)(len - taken);
        memcpy(session->rest, op->data + taken, len - taken);
    }
    pump(session);
}

static void on_sent(struct io_op *op, int result)
{
    struct sink_session *session = CONTAINER_OF(op, struct sink_session, send_op);
    session->sending = false;
    if (session->closing) {
        end_if_home(session);
        return;
    }
    if (result < 0) {
        close_session(session);
        return;
    }
    smtp_server_sent(&session->server, session->iov.iov_len);
    pump(session);
}

static void on_timer(struct timer *timer)
{
    struct sink_session *session = CONTAINER_OF(timer, struct sink_session, timer);
    if (session->delayed) {
        session->delayed = false;
        session->waited = true;
        pump(session);
    } else {
        close_session(session); /* idle: it may reconnect, and others want the place */
    }
}

/* ---- places ---- */

static bool take_place(struct dummy_smtp *dummy)
{
    uint64_t max = global_of(dummy)->total_max_smtp_in;
    if (atomic_fetch_add(dummy->options.connections, 1) < max) {
        return true;
    }
    atomic_fetch_sub(dummy->options.connections, 1);
    return false;
}

static void begin_talk(struct sink_session *session)
{
    struct dummy_smtp *home = session->home;
    list_push_back(&home->open, &session->node);
    session->server.settings = &home->settings;
    if (session->placed) {
        home->status.connections += global_of(home)->dummy_smtp_update_stats;
        smtp_server_greet(&session->server);
    } else {
        smtp_server_close(&session->server, "421 4.7.0 Too many connections; try again later");
    }
    pump(session);
}

static void look_for_places(struct dummy_smtp *dummy)
{
    struct io *io = dummy->options.io;
    while (!dummy->stopping && !list_empty(&dummy->waiting) && take_place(dummy)) {
        struct sink_session *session =
            CONTAINER_OF(list_pop_front(&dummy->waiting), struct sink_session, node);
        session->placed = true;
        begin_talk(session);
    }
    if (!dummy->stopping && !list_empty(&dummy->waiting)) {
        timer_start(io_timers(io), &dummy->place_timer, now_of(dummy) + PLACE_CHECK_MS);
    }
}

static void on_place_timer(struct timer *timer)
{
    look_for_places(CONTAINER_OF(timer, struct dummy_smtp, place_timer));
}

static void accept_one(struct dummy_smtp *dummy, int fd)
{
    struct sink_session *session = dummy->stopping ? NULL : slab_take(dummy->sessions);
    if (session == NULL) {
        io_close_abort(dummy->options.io, fd);
        return;
    }
    session->home = dummy;
    session->fd = fd;
    io_op_init(&session->recv_op, on_received);
    io_op_init(&session->send_op, on_sent);
    timer_init(&session->timer, on_timer);
    smtp_server_init(&session->server, &server_events, session);
    session->server.workspace = &session->workspace;
    session->placed = list_empty(&dummy->waiting) && take_place(dummy);
    if (session->placed || !global_of(dummy)->dummy_smtp_await_slot) {
        begin_talk(session);
        return;
    }
    list_push_back(&dummy->waiting, &session->node);
    look_for_places(dummy);
}

/* ---- listeners ---- */

static void on_accepted(struct io_acceptor *acceptor, int fd)
{
    struct sink_listener *listener = CONTAINER_OF(acceptor, struct sink_listener, acceptor);
    struct io *io = listener->home->options.io;
    if (fd >= 0) {
        accept_one(listener->home, fd);
    } else {
        timer_start(io_timers(io), &listener->resume, io_now_ms(io) + RESUME_MS);
    }
}

static void on_resume(struct timer *timer)
{
    io_accept_resume(&CONTAINER_OF(timer, struct sink_listener, resume)->acceptor);
}

static void on_stopped(struct io_acceptor *acceptor)
{
    struct sink_listener *listener = CONTAINER_OF(acceptor, struct sink_listener, acceptor);
    io_close(listener->home->options.io, listener->fd);
    listener->used = false;
}

static void close_listener(struct sink_listener *listener)
{
    if (listener->used && !listener->closing) {
        listener->closing = true;
        timer_stop(io_timers(listener->home->options.io), &listener->resume);
        io_accept_stop(&listener->acceptor);
    }
}

static struct sink_listener *free_listener(struct dummy_smtp *dummy)
{
    for (uint32_t i = 0; i < DUMMY_SMTP_LISTENERS_MAX; i++) {
        if (!dummy->listeners[i].used) {
            return &dummy->listeners[i];
        }
    }
    return NULL;
}

static int open_one(struct dummy_smtp *dummy, const struct listening_address *wanted,
                    struct error *error)
{
    char text[ADDRESS_TEXT_MAX];
    struct sink_listener *listener = free_listener(dummy);
    int fd = listener == NULL ? -ENOBUFS : io_listen(dummy->options.io, &wanted->address, BACKLOG);
    if (fd < 0 && wanted->optional) {
        return 0;
    }
    address_port_text(&wanted->address, text);
    if (fd < 0) {
        return error_set(error, -fd, "dummy-smtp-port: cannot listen on %s: %s", text,
                         strerror(-fd));
    }
    *listener = (struct sink_listener){.home = dummy,
                                       .address = wanted->address,
                                       .fd = fd,
                                       .acceptor = {.accepted = on_accepted, .stopped = on_stopped},
                                       .used = true};
    timer_init(&listener->resume, on_resume);
    if (dummy->options.worker == 0) {
        LOG_WARNING("dummy-smtp: mail that is sent to %s is thrown away", text);
    }
    io_accept_start(dummy->options.io, &listener->acceptor, fd);
    return 0;
}

/* The addresses of the configuration; 0: it wants none. -1: error says why. */
static int want(const struct dummy_smtp *dummy,
                struct listening_address out[DUMMY_SMTP_LISTENERS_MAX], struct error *error)
{
    const struct global_settings *global = global_of(dummy);
    uint16_t port = (uint16_t)global->dummy_smtp_port;
    return port == 0 ? 0
                     : listening_expand(dummy->options.io, &global->dummy_smtp_ip, port, out,
                                        DUMMY_SMTP_LISTENERS_MAX, error);
}

int dummy_smtp_open(struct dummy_smtp *dummy, struct error *error)
{
    struct listening_address wanted[DUMMY_SMTP_LISTENERS_MAX];
    int count = want(dummy, wanted, error);
    for (int i = 0; i < count; i++) {
        if (open_one(dummy, &wanted[i], error) < 0) {
            return -1;
        }
    }
    return count < 0 ? -1 : 0;
}

/* ---- reload ---- */

static bool is_same(const struct address *a, const struct address *b)
{
    return a->port == b->port && address_equal_ip(a, b);
}

static bool is_open(const struct dummy_smtp *dummy, const struct address *address)
{
    for (uint32_t i = 0; i < DUMMY_SMTP_LISTENERS_MAX; i++) {
        const struct sink_listener *listener = &dummy->listeners[i];
        if (listener->used && !listener->closing && is_same(&listener->address, address)) {
            return true;
        }
    }
    return false;
}

static void close_unwanted(struct dummy_smtp *dummy, const struct listening_address *wanted,
                           int count)
{
    for (uint32_t i = 0; i < DUMMY_SMTP_LISTENERS_MAX; i++) {
        bool keep = false;
        for (int k = 0; k < count; k++) {
            keep = keep || is_same(&wanted[k].address, &dummy->listeners[i].address);
        }
        if (!keep) {
            close_listener(&dummy->listeners[i]);
        }
    }
}

void dummy_smtp_reload(struct dummy_smtp *dummy, const struct config *config)
{
    struct listening_address wanted[DUMMY_SMTP_LISTENERS_MAX];
    struct error error = {0};
    dummy->options.config = config;
    set_settings(dummy);
    int count = want(dummy, wanted, &error);
    close_unwanted(dummy, wanted, count);
    for (int i = 0; i < count; i++) {
        if (!is_open(dummy, &wanted[i].address)) {
            open_one(dummy, &wanted[i], &error);
        }
    }
    if (error.code != 0) {
        LOG_ERROR("reload: %s", error.text);
    }
}

/* ---- life ---- */

struct dummy_smtp *dummy_smtp_create(const struct dummy_smtp_options *options)
{
    struct dummy_smtp *dummy = calloc(1, sizeof *dummy);
    if (dummy == NULL) {
        return NULL;
    }
    dummy->options = *options;
    list_init(&dummy->open);
    list_init(&dummy->waiting);
    timer_init(&dummy->place_timer, on_place_timer);
    set_settings(dummy);
    uint64_t places = global_of(dummy)->total_max_smtp_in;
    size_t max = (places > 100000 ? 100000 : (size_t)places) + DUMMY_SMTP_WAITING_MAX;
    dummy->sessions = slab_create("sink sessions", sizeof(struct sink_session), max);
    dummy->rests = slab_create("sink input", options->receive_buffer_bytes, max);
    if (dummy->sessions == NULL || dummy->rests == NULL) {
        dummy_smtp_destroy(dummy);
        return NULL;
    }
    return dummy;
}

void dummy_smtp_stop(struct dummy_smtp *dummy)
{
    dummy->stopping = true;
    timer_stop(io_timers(dummy->options.io), &dummy->place_timer);
    for (uint32_t i = 0; i < DUMMY_SMTP_LISTENERS_MAX; i++) {
        close_listener(&dummy->listeners[i]);
    }
    struct list *lists[] = {&dummy->open, &dummy->waiting};
    for (uint32_t i = 0; i < 2; i++) {
        struct list_node *node = list_first(lists[i]);
        while (node != NULL) {
            struct list_node *next = list_next(lists[i], node);
            struct sink_session *session = CONTAINER_OF(node, struct sink_session, node);
            if (!session->closing) {
                close_session(session);
            }
            node = next;
        }
    }
}

bool dummy_smtp_gone(const struct dummy_smtp *dummy)
{
    for (uint32_t i = 0; i < DUMMY_SMTP_LISTENERS_MAX; i++) {
        if (dummy->listeners[i].used) {
            return false;
        }
    }
    return list_empty(&dummy->open) && list_empty(&dummy->waiting);
}

void dummy_smtp_destroy(struct dummy_smtp *dummy)
{
    if (dummy == NULL) {
        return;
    }
    assert(dummy_smtp_gone(dummy));
    slab_destroy(dummy->sessions);
    slab_destroy(dummy->rests);
    free(dummy);
}

void dummy_smtp_status(const struct dummy_smtp *dummy, struct dummy_smtp_status *out)
{
    *out = dummy->status;
}
