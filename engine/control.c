#include "control.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/logger.h"
#include "control_private.h"
#include "control_scan.h"
#include "policy/config.h"

#define SOCKET_MODE 0660

static void tell_stopped(struct control *control)
{
    if (control->stopping && control->accept_stopped && control->client_count == 0 &&
        control->stopped != NULL) {
        void (*stopped)(void *) = control->stopped;
        control->stopped = NULL;
        stopped(control->owner);
    }
}

static void free_client(struct control_client *client)
{
    struct control *control = client->control;
    io_close(control->io, client->fd);
    list_remove(&client->node);
    control->client_count--;
    free(client->line);
    free(client->reply);
    free(client);
    tell_stopped(control);
}

/* Closing waits until every operation and the job is home. */
static void close_client(struct control_client *client)
{
    client->closing = true;
    io_cancel(client->control->io, &client->recv_op);
    io_cancel(client->control->io, &client->send_op);
    if (!io_busy(&client->recv_op) && !io_busy(&client->send_op) && !client->busy) {
        free_client(client);
    }
}

static void next_line(struct control_client *client)
{
    char *end = memchr(client->line, '\n', client->line_len);
    if (end == NULL) {
        if (client->line_len == CONTROL_LINE_MAX) {
            close_client(client);
        } else {
            io_recv(client->control->io, &client->recv_op, client->fd);
        }
        return;
    }
    client->busy = true;
    control_start(client, bytes_of(client->line, (size_t)(end - client->line)));
}

static void drop_line(struct control_client *client)
{
    char *end = memchr(client->line, '\n', client->line_len);
    assert(end != NULL);
    size_t used = (size_t)(end - client->line) + 1;
    memmove(client->line, client->line + used, client->line_len - used);
    client->line_len -= used;
}

static void on_received(struct io_op *op, int result)
{
    struct control_client *client = CONTAINER_OF(op, struct control_client, recv_op);
    size_t room = CONTROL_LINE_MAX - client->line_len;
    if (result <= 0 || client->closing || (size_t)result > room) {
        close_client(client);
        return;
    }
    memcpy(client->line + client->line_len, op->data, (size_t)result);
    client->line_len += (size_t)result;
    next_line(client);
}

static void on_sent(struct io_op *op, int result)
{
    struct control_client *client = CONTAINER_OF(op, struct control_client, send_op);
    if (client->part_sent != NULL) {
        void (*part_sent)(struct control_client *, int) = client->part_sent;
        client->part_sent = NULL;
        part_sent(client, client->closing ? -ECANCELED : result);
        return;
    }
    free(client->reply);
    client->reply = NULL;
    client->busy = false;
    if (result < 0 || client->closing) {
        close_client(client);
        return;
    }
    drop_line(client);
    next_line(client);
}

void control_reply(struct control_client *client, char *reply, size_t len)
{
    if (client->closing || reply == NULL) {
        free(reply);
        client->busy = false;
        close_client(client);
        return;
    }
    client->reply = reply;
    client->iov = (struct iovec){.iov_base = reply, .iov_len = len};
    io_send(client->control->io, &client->send_op, client->fd, &client->iov, 1);
}

void control_send_part(struct control_client *client, struct bytes lines,
                       void (*sent)(struct control_client *client, int result))
{
    assert(client->busy && client->reply == NULL && client->part_sent == NULL);
    client->part_sent = sent;
    client->iov = (struct iovec){.iov_base = (void *)(uintptr_t)lines.data, .iov_len = lines.len};
    io_send(client->control->io, &client->send_op, client->fd, &client->iov, 1);
}

static void on_accepted(struct io_acceptor *acceptor, int fd)
{
    struct control *control = CONTAINER_OF(acceptor, struct control, acceptor);
    if (fd < 0) {
        LOG_WARNING("control socket: %s", strerror(-fd));
        io_accept_resume(acceptor);
        return;
    }
    struct control_client *client = calloc(1, sizeof *client);
    char *line = malloc(CONTROL_LINE_MAX);
    if (client == NULL || line == NULL || control->stopping ||
        control->client_count == CONTROL_CLIENTS_MAX) {
        free(client);
        free(line);
        io_close(control->io, fd);
        return;
    }
    client->control = control;
    client->fd = fd;
    client->line = line;
    io_op_init(&client->recv_op, on_received);
    io_op_init(&client->send_op, on_sent);
    list_push_back(&control->clients, &client->node);
    control->client_count++;
    io_recv(control->io, &client->recv_op, fd);
}

static void on_accept_stopped(struct io_acceptor *acceptor)
{
    struct control *control = CONTAINER_OF(acceptor, struct control, acceptor);
    control->accept_stopped = true;
    tell_stopped(control);
}

struct control *control_create(struct engine *engine, struct error *error)
{
    const char *path = config_global(engine->config)->control_socket.data;
    struct control *control = calloc(1, sizeof *control);
    if (control == NULL) {
        error_set(error, 71, "out of memory");
        return NULL;
    }
    control->engine = engine;
    control->io = engine->workers[ENGINE_KEEPER].io;
    list_init(&control->clients);
    list_init(&control->resolving);
    list_init(&control->waiting);
    control->listen_fd = io_listen_unix(control->io, path, SOCKET_MODE);
    if (control->listen_fd < 0) {
        error_set(error, 73, "control-socket %s: %s (does the directory exist, may we write it?)",
                  path, strerror(-control->listen_fd));
        free(control);
        return NULL;
    }
    control->acceptor.accepted = on_accepted;
    control->acceptor.stopped = on_accept_stopped;
    io_accept_start(control->io, &control->acceptor, control->listen_fd);
    return control;
}

void control_stop(struct control *control, void (*stopped)(void *owner), void *owner)
{
    control->stopping = true;
    control->stopped = stopped;
    control->owner = owner;
    io_accept_stop(&control->acceptor);
    control_scan_stop(control);
    struct list_node *next;
    for (struct list_node *node = list_first(&control->clients); node != NULL; node = next) {
        next = list_next(&control->clients, node);
        close_client(CONTAINER_OF(node, struct control_client, node));
    }
}

void control_destroy(struct control *control)
{
    if (control != NULL) {
        io_close(control->io, control->listen_fd);
        free(control);
    }
}
