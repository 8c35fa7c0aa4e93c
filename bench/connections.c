/* connections: opens many SMTP connections and lets them lie.
 *
 *     connections [--target ADDRESS:PORT] [--count N] [--seconds T] [--sources N]
 *
 * Each connection reads the greeting, says EHLO, reads the reply and is silent from then on.
 * Source addresses are taken in turn from 127.1.0.0/16, N of them (100), because an address has
 * one range of ports per target and a server may limit connections per address. "holding N" is
 * printed when all are open; after T seconds (10) the line of totals. Exit 1 if one could not be
 * opened or was closed by the server meanwhile. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/list.h"
#include "bench/reply.h"
#include "bench/ring.h"
#include "bench/tool.h"

#define COUNT_MAX      19900 /* below the descriptor limit of most machines */
#define CONNECTING_MAX 256

struct connection {
    struct ring_op connect, recv, send;
    struct reply reply;
    bool greeted, ready;
};

static struct {
    struct tool_address target;
    uint32_t count, sources;
    uint64_t seconds;
} options = {.count = 10000, .sources = 100, .seconds = 10};

static struct ring *ring;
static struct connection *connections;
static uint32_t opened_count, ready_count, failed_count, lost_count;

static void open_next(void);

static void fail_one(const char *what, int error)
{
    if (failed_count++ == 0) {
        fprintf(stderr, "connections: %s: %s\n", what, strerror(error));
    }
    open_next();
}

static void on_reply(struct connection *connection)
{
    static const char ehlo[] = "EHLO idle.test\r\n";
    uint16_t expected = connection->greeted ? 250 : 220;
    if (connection->reply.code != expected) {
        fprintf(stderr, "connections: reply %u %.*s\n", connection->reply.code,
                (int)connection->reply.text_len, connection->reply.text);
        shutdown(connection->connect.fd, SHUT_RDWR);
    } else if (!connection->greeted) {
        connection->greeted = true;
        ring_send(ring, &connection->send, connection->connect.fd, ehlo, sizeof ehlo - 1);
    } else {
        connection->ready = true;
        ready_count++;
        open_next();
    }
}

static void on_received(struct ring_op *op, int result)
{
    struct connection *connection = CONTAINER_OF(op, struct connection, recv);
    if (result > 0) {
        struct bytes in = bytes_of(op->data, (size_t)result);
        while (reply_next(&connection->reply, &in)) {
            on_reply(connection);
        }
        return;
    }
    close(op->fd);
    if (connection->ready) {
        ready_count--;
        lost_count++;
    } else {
        fail_one("closed", result == 0 ? ECONNRESET : -result);
    }
}

static void on_sent(struct ring_op *op, int result)
{
    if (result < 0) {
        shutdown(op->fd, SHUT_RDWR);
    }
}

static void on_connected(struct ring_op *op, int result)
{
    struct connection *connection = CONTAINER_OF(op, struct connection, connect);
    if (result < 0) {
        close(op->fd);
        fail_one("connect", -result);
        return;
    }
    ring_recv(ring, &connection->recv, op->fd);
}

static int source_socket(uint32_t index)
{
    int fd = socket(options.target.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    uint32_t host = 0x7f010001 + index % options.sources;
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(host)};
    bool v4 = options.target.storage.ss_family == AF_INET;
    if (fd < 0 ||
        (v4 && (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) != 0 ||
                bind(fd, (const struct sockaddr *)&source, sizeof source) != 0))) {
        tool_fail(EX_OSERR, "socket %u: %s", index, strerror(errno));
    }
    return fd;
}

static void open_next(void)
{
    if (opened_count == options.count) {
        return;
    }
    struct connection *connection = &connections[opened_count];
    int fd = source_socket(opened_count++);
    ring_op_init(&connection->connect, on_connected);
    ring_op_init(&connection->recv, on_received);
    ring_op_init(&connection->send, on_sent);
    ring_connect(ring, &connection->connect, fd, (const struct sockaddr *)&options.target.storage,
                 options.target.len);
}

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"target", required_argument, NULL, 'a'},
        {"count", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 't'},
        {"sources", required_argument, NULL, 's'},
        {NULL, 0, NULL, 0},
    };
    const char *target = "127.0.0.1:2525";
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'a':
            target = optarg;
            break;
        case 'c':
            options.count = (uint32_t)tool_number("--count", optarg, COUNT_MAX);
            break;
        case 't':
            options.seconds = tool_number("--seconds", optarg, 86400);
            break;
        case 's':
            options.sources = (uint32_t)tool_number("--sources", optarg, 65000);
            break;
        default:
            exit(EX_USAGE);
        }
    }
    options.target = tool_address("--target", target);
    if (options.count == 0 || options.sources == 0) {
        tool_fail(EX_USAGE, "--count and --sources are at least 1");
    }
}

static bool stopping;

static void on_signal(struct ring_op *op, int result)
{
    stopping = true;
}

static void hold(void)
{
    printf("holding %u\n", ready_count);
    fflush(stdout);
    uint64_t now_ns = tool_now_ns(), end_ns = now_ns + options.seconds * 1000000000;
    while (!stopping && now_ns < end_ns) {
        ring_wait(ring, end_ns - now_ns);
        ring_run_done(ring);
        now_ns = tool_now_ns();
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    tool_raise_descriptor_limit();
    ring = ring_create(&(struct ring_options){.recv_buffer_bytes = 512, .recv_buffer_count = 1024});
    connections = calloc(options.count, sizeof *connections);
    if (connections == NULL) {
        tool_fail(EX_OSERR, "no memory");
    }
    struct ring_op signal_op;
    struct signalfd_siginfo signal_info;
    ring_op_init(&signal_op, on_signal);
    ring_read(ring, &signal_op, tool_signals(), &signal_info, sizeof signal_info);
    uint64_t start_ns = tool_now_ns();
    for (int i = 0; i < CONNECTING_MAX; i++) {
        open_next();
    }
    while (!stopping && ready_count + lost_count + failed_count < options.count) {
        ring_wait(ring, 0);
        ring_run_done(ring);
    }
    double seconds = (double)(tool_now_ns() - start_ns) / 1e9;
    hold();
    printf("connections: open=%u failed=%u lost=%u opening_seconds=%.3f\n", ready_count,
           failed_count, lost_count, seconds);
    ring_destroy(ring);
    free(connections);
    return failed_count + lost_count > 0 || stopping ? 1 : 0;
}
