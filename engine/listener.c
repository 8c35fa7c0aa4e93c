#include "listener.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/logger.h"
#include "io/io.h"
#include "session.h"

#define BACKLOG_DEFAULT 1024
#define RESUME_AFTER_MS 1000

struct listener {
    struct io *io;
    struct sessions *sessions;
    struct session_door *door;
    struct address address;
    struct io_acceptor acceptor;
    struct sessions_ended_hook hook;
    struct timer resume;
    int fd;
    bool paused;
    void (*closed)(void *owner);
    void *closed_owner;
};

static void go_on(struct listener *listener)
{
    if (listener->paused) {
        listener->paused = false;
        timer_stop(io_timers(listener->io), &listener->resume);
        io_accept_resume(&listener->acceptor);
    }
}

static void on_session_ended(struct sessions_ended_hook *hook)
{
    go_on(CONTAINER_OF(hook, struct listener, hook));
}

static void on_resume(struct timer *timer)
{
    go_on(CONTAINER_OF(timer, struct listener, resume));
}

/* S32: out of descriptors or memory is no reason to stop serving those who are here. A connection
 * that went away before it was accepted is no reason to wait. */
static void on_refused(struct listener *listener, int error)
{
    char text[ADDRESS_TEXT_MAX];
    if (error == -ECONNABORTED) {
        io_accept_resume(&listener->acceptor);
        return;
    }
    LOG_WARNING("%s: cannot accept connections (%s): going on when a session ends, or in %d ms",
                address_port_text(&listener->address, text), strerror(-error), RESUME_AFTER_MS);
    listener->paused = true;
    timer_start(io_timers(listener->io), &listener->resume,
                io_now_ms(listener->io) + RESUME_AFTER_MS);
}

static void on_accepted(struct io_acceptor *acceptor, int fd)
{
    struct listener *listener = CONTAINER_OF(acceptor, struct listener, acceptor);
    if (fd < 0) {
        on_refused(listener, fd);
    } else {
        sessions_accept(listener->sessions, fd, listener->door);
    }
}

static void on_stopped(struct io_acceptor *acceptor)
{
    struct listener *listener = CONTAINER_OF(acceptor, struct listener, acceptor);
    void (*closed)(void *owner) = listener->closed;
    void *owner = listener->closed_owner;
    io_close(listener->io, listener->fd);
    session_door_close(listener->door);
    free(listener);
    if (closed != NULL) {
        closed(owner);
    }
}

struct listener *listener_open(const struct listener_options *options, struct error *error)
{
    char text[ADDRESS_TEXT_MAX];
    address_port_text(&options->address, text);
    struct listener *listener = calloc(1, sizeof(*listener));
    struct session_door *door = session_door_open(options->source_name, options->host_name);
    if (listener == NULL || door == NULL) {
        error_set(error, ENOMEM, "cannot listen on %s: out of memory", text);
        goto fail;
    }
    int backlog = options->backlog == 0 ? BACKLOG_DEFAULT : options->backlog;
    int fd = io_listen(options->io, &options->address, backlog);
    if (fd < 0) {
        error_set(error, -fd, "cannot listen on %s: %s%s", text, strerror(-fd),
                  fd == -EADDRINUSE ? " (another program has this port)"
                  : fd == -EACCES   ? " (ports below 1024 need CAP_NET_BIND_SERVICE)"
                                    : "");
        goto fail;
    }
    *listener = (struct listener){.io = options->io,
                                  .sessions = options->sessions,
                                  .door = door,
                                  .address = options->address,
                                  .fd = fd,
                                  .acceptor = {.accepted = on_accepted, .stopped = on_stopped},
                                  .hook = {.ended = on_session_ended}};
    io_local_address(options->io, fd, &listener->address);
    timer_init(&listener->resume, on_resume);
    sessions_hook_ended(listener->sessions, &listener->hook);
    io_accept_start(listener->io, &listener->acceptor, fd);
    return listener;
fail:
    session_door_close(door);
    free(listener);
    return NULL;
}

void listener_address(const struct listener *listener, struct address *out)
{
    *out = listener->address;
}

void listener_rename(struct listener *listener, const char *source_name, const char *host_name)
{
    struct session_door *door = session_door_open(source_name, host_name);
    if (door == NULL) {
        LOG_ERROR("out of memory: a listener keeps its source and host name");
        return;
    }
    session_door_close(listener->door);
    listener->door = door;
}

void listener_close(struct listener *listener, void (*closed)(void *owner), void *owner)
{
    listener->closed = closed;
    listener->closed_owner = owner;
    timer_stop(io_timers(listener->io), &listener->resume);
    sessions_unhook_ended(listener->sessions, &listener->hook);
    io_accept_stop(&listener->acceptor);
}
