#include "session.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/slab.h"
#include "callers.h"
#include "dialogue_log.h"
#include "session_internal.h"

#define NO_TICKET UINT32_MAX

/* ---- doors ---- */

struct session_door *session_door_open(const char *source_name, const char *host_name)
{
    struct session_door *door = calloc(1, sizeof(*door));
    if (door == NULL) {
        return NULL;
    }
    door->refs = 1;
    door->source_name = source_name == NULL ? NULL : strdup(source_name);
    door->host_name = host_name == NULL ? NULL : strdup(host_name);
    if ((source_name != NULL && door->source_name == NULL) ||
        (host_name != NULL && door->host_name == NULL)) {
        session_door_close(door);
        return NULL;
    }
    return door;
}

void session_door_close(struct session_door *door)
{
    if (door == NULL || --door->refs > 0) {
        return;
    }
    free(door->source_name);
    free(door->host_name);
    free(door);
}

/* ---- life ---- */

static void turn_soon(struct sessions *sessions)
{
    struct io *io = sessions->options.io;
    timer_start(io_timers(io), &sessions->turn, io_now_ms(io));
}

/* Callbacks of drain and stop, each once, when what they wait for has come true. */
static void on_turn(struct timer *timer)
{
    struct sessions *sessions = CONTAINER_OF(timer, struct sessions, turn);
    void *owner = sessions->options.owner;
    if (sessions->drained != NULL && sessions->reception_count == 0) {
        void (*drained)(void *) = sessions->drained;
        sessions->drained = NULL;
        drained(owner);
    }
    if (sessions->stopped != NULL && sessions->reception_count == 0 &&
        list_empty(&sessions->open)) {
        void (*stopped)(void *) = sessions->stopped;
        sessions->stopped = NULL;
        stopped(owner);
    }
}

struct sessions *sessions_create(const struct sessions_options *options)
{
    assert(options->sessions_max > 0);
    assert(options->receive_buffer_bytes > 0);
    uint32_t max = options->sessions_max + SESSION_REFUSALS_MAX;
    struct sessions *sessions = calloc(1, sizeof(*sessions));
    if (sessions == NULL) {
        return NULL;
    }
    sessions->options = *options;
    list_init(&sessions->open);
    list_init(&sessions->hooks);
    timer_init(&sessions->turn, on_turn);
    sessions->pool = slab_create("sessions", sizeof(struct session), max);
    sessions->workspaces = slab_create("SMTP workspaces", sizeof(struct server_workspace), max);
    sessions->rests = slab_create("input not yet read", options->receive_buffer_bytes, max);
    bool made = receptions_init(&sessions->receptions, max, options->receive_buffer_bytes);
    sessions->matcher = pattern_matcher_create();
    if (sessions->matcher == NULL || sessions->pool == NULL || sessions->workspaces == NULL ||
        sessions->rests == NULL || !made) {
        sessions_destroy(sessions);
        return NULL;
    }
    return sessions;
}

void sessions_destroy(struct sessions *sessions)
{
    if (sessions == NULL) {
        return;
    }
    assert(list_empty(&sessions->open));
    assert(sessions->reception_count == 0);
    timer_stop(io_timers(sessions->options.io), &sessions->turn);
    while (sessions->idle_workspaces != NULL) {
        struct idle_workspace *idle = sessions->idle_workspaces;
        sessions->idle_workspaces = idle->next;
        slab_give(sessions->workspaces, idle);
    }
    pattern_matcher_destroy(sessions->matcher);
    receptions_deinit(&sessions->receptions);
    slab_destroy(sessions->pool);
    slab_destroy(sessions->workspaces);
    slab_destroy(sessions->rests);
    free(sessions);
}

void sessions_reload(struct sessions *sessions)
{
    sessions->generation++;
}

/* ---- what is logged of one ---- */

static const char *who(const struct session *session, const char *mark,
                       char out[DIALOGUE_LOG_WHO_MAX])
{
    char peer[ADDRESS_TEXT_MAX];
    address_port_text(&session->peer, peer);
    snprintf(out, DIALOGUE_LOG_WHO_MAX, "client %s (%.*s)%s", peer, (int)session->helo_len,
             session->helo, mark);
    return out;
}

void session_log_opened(const struct session *session)
{
    char memory[DIALOGUE_LOG_WHO_MAX], local[ADDRESS_TEXT_MAX];
    dialogue_log_line(session->home->options.dialogue_log, "%s connected to %s%s",
                      who(session, "", memory), address_port_text(&session->local, local),
                      session->refusal == REFUSAL_NONE ? "" : ", is refused");
}

void session_log_ended(const struct session *session)
{
    char memory[DIALOGUE_LOG_WHO_MAX];
    const char *why = session->abort                      ? "reset, or it does not read"
                      : session->stage == SESSION_LINGERS ? "closed after our last reply"
                                                          : "closed by the client";
    dialogue_log_line(session->home->options.dialogue_log, "%s ended: %s; messages taken: %llu",
                      who(session, "", memory), why, (unsigned long long)session->server.messages);
}

void session_log_command(const struct session *session, struct bytes line)
{
    char memory[DIALOGUE_LOG_WHO_MAX];
    dialogue_log_commands(session->home->options.dialogue_log, who(session, " <", memory), line);
}

void session_log_replies(const struct session *session, struct bytes replies)
{
    char memory[DIALOGUE_LOG_WHO_MAX];
    (session->source->log_data ? dialogue_log_data : dialogue_log_replies)(
        session->home->options.dialogue_log, who(session, " >", memory), replies);
}

void session_log_content(struct session *session, struct bytes bytes)
{
    char memory[DIALOGUE_LOG_WHO_MAX];
    dialogue_log_content(session->home->options.dialogue_log, who(session, " <", memory), bytes,
                         &session->content_said);
}

/* ---- one comes, one goes ---- */

static enum session_refusal enter(struct session *session)
{
    struct sessions *home = session->home;
    if (home->draining) {
        return REFUSAL_DRAIN;
    }
    if (!session->source->smtp_service) {
        return REFUSAL_SOURCE;
    }
    if (home->status.open > home->options.sessions_max) {
        return REFUSAL_FULL;
    }
    switch (callers_enter(home->options.callers, &session->peer,
                          config_global(session->config)->total_max_smtp_in,
                          session->source->max_connections_per_ip, &session->ticket)) {
    case CALLERS_WELCOME:
        return REFUSAL_NONE;
    case CALLERS_HOUSE_FULL:
        return REFUSAL_FULL;
    case CALLERS_ADDRESS_FULL:
        return REFUSAL_ADDRESS;
    }
    return REFUSAL_FULL;
}

/* NULL: there is no room, and the descriptor is closed. */
static struct session *make_session(struct sessions *sessions, int fd, bool own)
{
    struct io *io = sessions->options.io;
    struct session *session = sessions->stopping ? NULL : slab_take(sessions->pool);
    sessions->status.connections++;
    if (session == NULL || (!own && (io_peer_address(io, fd, &session->peer) < 0 ||
                                     io_local_address(io, fd, &session->local) < 0))) {
        sessions->status.refused++;
        slab_give(sessions->pool, session);
        io_close_abort(io, fd);
        return NULL;
    }
    session->own = own;
    return session;
}

static void accept_session(struct sessions *sessions, int fd, struct session_door *door, bool own)
{
    struct session *session = make_session(sessions, fd, own);
    if (session == NULL) {
        return;
    }
    session->home = sessions;
    session->door = door;
    door->refs++;
    session->fd = fd;
    session->ticket = NO_TICKET;
    list_push_back(&sessions->open, &session->node);
    sessions->status.open++;
    session_refresh(session);
    session->refusal = (uint8_t)enter(session);
    sessions->status.refused += session->refusal != REFUSAL_NONE;
    if (session->source->log_connections) {
        session_log_opened(session);
    }
    session_start(session);
}

void sessions_accept(struct sessions *sessions, int fd, struct session_door *door)
{
    accept_session(sessions, fd, door, false);
}

void sessions_accept_own(struct sessions *sessions, int fd, struct session_door *door)
{
    accept_session(sessions, fd, door, true);
}

void session_take_workspace(struct session *session)
{
    struct sessions *home = session->home;
    struct idle_workspace *idle = home->idle_workspaces;
    if (session->server.workspace != NULL) {
        return;
    }
    if (idle != NULL) {
        home->idle_workspaces = idle->next;
        session->server.workspace = (struct server_workspace *)(void *)idle;
        return;
    }
    session->server.workspace = slab_take(home->workspaces);
    assert(session->server.workspace != NULL); /* as many as there are sessions */
}

void session_give_workspace(struct session *session)
{
    struct idle_workspace *idle = (struct idle_workspace *)(void *)session->server.workspace;
    if (idle != NULL) {
        idle->next = session->home->idle_workspaces;
        session->home->idle_workspaces = idle;
        session->server.workspace = NULL;
    }
}

static void tell_hooks(struct sessions *sessions)
{
    struct list_node *node = list_first(&sessions->hooks);
    while (node != NULL) {
        struct list_node *next = list_next(&sessions->hooks, node);
        struct sessions_ended_hook *hook = CONTAINER_OF(node, struct sessions_ended_hook, node);
        hook->ended(hook);
        node = next;
    }
}

void session_ended(struct session *session)
{
    struct sessions *home = session->home;
    if (session->ticket != NO_TICKET) {
        callers_leave(home->options.callers, session->ticket);
    }
    list_remove(&session->node);
    home->status.open--;
    session_door_close(session->door);
    session_give_workspace(session);
    slab_give(home->pool, session);
    if (home->stopping) {
        turn_soon(home);
    }
    tell_hooks(home);
}

void session_reception_released(void *house)
{
    struct sessions *sessions = house;
    assert(sessions->reception_count > 0);
    sessions->reception_count--;
    if (sessions->draining) {
        turn_soon(sessions);
    }
}

/* ---- drain, stop ---- */

void sessions_drain(struct sessions *sessions, void (*drained)(void *owner))
{
    sessions->draining = true;
    sessions->drained = drained;
    turn_soon(sessions);
}

void sessions_stop(struct sessions *sessions, void (*stopped)(void *owner))
{
    sessions->draining = sessions->stopping = true;
    sessions->stopped = stopped;
    turn_soon(sessions);
    struct list_node *node = list_first(&sessions->open);
    while (node != NULL) {
        struct list_node *next = list_next(&sessions->open, node);
        struct session *session = CONTAINER_OF(node, struct session, node);
        if (session->stage == SESSION_OPEN || session->stage == SESSION_ARRIVED) {
            session->refusal = REFUSAL_DRAIN;
            session_pump(session);
        }
        node = next;
    }
}

/* ---- looking in ---- */

void sessions_hook_ended(struct sessions *sessions, struct sessions_ended_hook *hook)
{
    list_push_back(&sessions->hooks, &hook->node);
}

void sessions_unhook_ended(struct sessions *sessions, struct sessions_ended_hook *hook)
{
    list_remove(&hook->node);
}

void sessions_status(const struct sessions *sessions, struct sessions_status *out)
{
    *out = sessions->status;
    out->transactions = sessions->reception_count;
}
