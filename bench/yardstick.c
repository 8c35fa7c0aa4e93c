/* yardstick: how fast SMTP can be sent from one core of this machine.
 *
 *     yardstick [--connections N] [--size BYTES] [--messages N | --seconds N]
 *               [--target ADDRESS:PORT] [--cpu N]
 *
 * A sender that does nothing but the dialogue: no queue, no rules, no disk. Headers are unique
 * per message, the body is shared. On each connection the body, its final dot and the next
 * message's MAIL, RCPT and DATA leave in one write (RFC 2920 3.1), so a message costs one write,
 * one read and one round trip. What it reaches is the limit that every ratio in results.md names.
 *
 * Any reply that is not as expected ends the program with exit 1. Memory is fixed at start. */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "bench/reply.h"
#include "bench/ring.h"
#include "bench/tool.h"

#define CONNECTIONS_MAX 20000
#define CONNECTING_MAX  128 /* at once: a listener's backlog is not what is measured */
#define SIZE_MAX_BYTES  (64 << 20)
#define HEADER_MAX      512
#define SEQUENCE_DIGITS 10

#define ENVELOPE                                                                                   \
    "MAIL FROM:<sender@yardstick.test>\r\n"                                                        \
    "RCPT TO:<recipient@sink.test>\r\n"                                                            \
    "DATA\r\n"

/* What a connection waits for, in the order of the wire. */
enum awaited {
    AWAIT_GREETING,
    AWAIT_EHLO,
    AWAIT_MAIL,
    AWAIT_RCPT,
    AWAIT_DATA,
    AWAIT_FINAL,
    AWAIT_QUIT
};

static const uint16_t expected_code[] = {
    [AWAIT_GREETING] = 220, [AWAIT_EHLO] = 250,  [AWAIT_MAIL] = 250, [AWAIT_RCPT] = 250,
    [AWAIT_DATA] = 354,     [AWAIT_FINAL] = 250, [AWAIT_QUIT] = 221,
};

struct sender {
    struct ring_op connect, recv, send;
    struct reply reply;
    enum awaited awaited;
    bool last_message; /* QUIT travels behind the final dot */
    struct msghdr message;
    struct iovec parts[3];
    char header[HEADER_MAX];
};

static struct {
    uint32_t connections;
    size_t size;
    uint64_t messages, seconds;
    struct tool_address target;
    int cpu;
} options = {.connections = 64, .size = 4096, .cpu = -1};

static struct ring *ring;
static struct sender *senders;
static char *body;
static size_t body_len, header_len, sequence_places[2];
static uint64_t started_count, accepted_count;
static uint32_t opened_count, ready_count, closed_count;
static uint64_t deadline_ns;

struct moment {
    uint64_t wall_ns, cpu_ns, enter_count;
};
static struct moment start, end; /* of what is measured */

/* ---- messages ---------------------------------------------------------------------------- */

/* The headers with two places for a sequence number of fixed width, so that a message of its own
 * costs two copies of ten bytes. */
static void make_header(char header[HEADER_MAX])
{
    static const char format[] = "From: Yardstick <sender@yardstick.test>\r\n"
                                 "To: <recipient@sink.test>\r\n"
                                 "Subject: Measured mail %s\r\n"
                                 "Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n"
                                 "Message-ID: <%s@yardstick.test>\r\n"
                                 "\r\n";
    static const char digits[] = "0000000000";
    int len = snprintf(header, HEADER_MAX, format, digits, digits);
    header_len = (size_t)len;
    char *first = strstr(header, digits);
    sequence_places[0] = (size_t)(first - header);
    sequence_places[1] = (size_t)(strstr(first + 1, digits) - header);
}

/* Lines of 76 bytes and the end of data. */
static void make_body(void)
{
    char header[HEADER_MAX];
    make_header(header);
    if (options.size < header_len + 2) {
        tool_fail(EX_USAGE, "--size: at least %zu bytes", header_len + 2);
    }
    size_t content_len = options.size - header_len;
    body_len = content_len + 3;
    body = malloc(body_len);
    for (size_t i = 0; i < content_len; i++) {
        body[i] = i % 78 == 76 ? '\r' : i % 78 == 77 ? '\n' : (char)('a' + i % 26);
    }
    if (content_len > 2) {
        body[content_len - 3] = 'z'; /* no bare CR before the last line end */
    }
    memcpy(body + content_len - 2, "\r\n.\r\n", 5);
}

static void number_header(char *header, uint64_t sequence)
{
    char digits[SEQUENCE_DIGITS];
    for (int i = SEQUENCE_DIGITS - 1; i >= 0; i--) {
        digits[i] = (char)('0' + sequence % 10);
        sequence /= 10;
    }
    memcpy(header + sequence_places[0], digits, sizeof digits);
    memcpy(header + sequence_places[1], digits, sizeof digits);
}

static bool more_wanted(void)
{
    if (options.seconds > 0) {
        return deadline_ns == 0 || tool_now_ns() < deadline_ns;
    }
    return started_count < options.messages;
}

/* ---- one connection ---------------------------------------------------------------------- */

static void send_parts(struct sender *sender, const char *text, size_t text_len, bool with_body)
{
    size_t count = 0;
    if (with_body) {
        sender->parts[count++] = (struct iovec){sender->header, header_len};
        sender->parts[count++] = (struct iovec){body, body_len};
    }
    sender->parts[count++] = (struct iovec){(void *)(uintptr_t)text, text_len};
    sender->message = (struct msghdr){.msg_iov = sender->parts, .msg_iovlen = count};
    ring_sendmsg_silent(ring, &sender->send, sender->connect.fd, &sender->message);
}

static void send_envelope(struct sender *sender)
{
    started_count++;
    sender->awaited = AWAIT_MAIL;
    send_parts(sender, ENVELOPE, sizeof ENVELOPE - 1, false);
}

/* 354 was read: the body, and in the same write what the connection does next. */
static void send_body(struct sender *sender)
{
    static uint64_t sequence;
    number_header(sender->header, sequence++);
    sender->awaited = AWAIT_FINAL;
    sender->last_message = !more_wanted();
    if (sender->last_message) {
        send_parts(sender, "QUIT\r\n", 6, true);
        return;
    }
    started_count++;
    send_parts(sender, ENVELOPE, sizeof ENVELOPE - 1, true);
}

static struct moment moment_now(void)
{
    return (struct moment){tool_now_ns(), tool_cpu_ns(), ring_enter_count(ring)};
}

/* Nothing is sent before all are connected: what is measured is the steady state. */
static void begin_when_all_ready(void)
{
    if (++ready_count < options.connections) {
        return;
    }
    start = moment_now();
    deadline_ns = options.seconds > 0 ? start.wall_ns + options.seconds * 1000000000 : 0;
    for (uint32_t i = 0; i < options.connections; i++) {
        if (more_wanted()) {
            send_envelope(&senders[i]);
        } else {
            senders[i].awaited = AWAIT_QUIT;
            send_parts(&senders[i], "QUIT\r\n", 6, false);
        }
    }
}

static void open_next(void);

static void on_reply(struct sender *sender)
{
    if (sender->reply.code != expected_code[sender->awaited]) {
        tool_fail(1, "reply %u where %u was expected: %.*s", sender->reply.code,
                  expected_code[sender->awaited], sender->reply.text_len, sender->reply.text);
    }
    switch (sender->awaited) {
    case AWAIT_GREETING:
        sender->awaited = AWAIT_EHLO;
        send_parts(sender, "EHLO yardstick.test\r\n", 21, false);
        break;
    case AWAIT_EHLO:
        begin_when_all_ready();
        open_next();
        break;
    case AWAIT_MAIL:
    case AWAIT_RCPT:
        sender->awaited++;
        break;
    case AWAIT_DATA:
        send_body(sender);
        break;
    case AWAIT_FINAL:
        accepted_count++;
        sender->awaited = AWAIT_MAIL;
        if (sender->last_message) {
            sender->awaited = AWAIT_QUIT;
            end = moment_now();
        }
        break;
    case AWAIT_QUIT:
        shutdown(sender->connect.fd, SHUT_RDWR);
        break;
    }
}

static void on_received(struct ring_op *op, int result)
{
    struct sender *sender = (struct sender *)((char *)op - offsetof(struct sender, recv));
    if (result <= 0) {
        if (sender->awaited != AWAIT_QUIT) {
            tool_fail(1, "connection lost: %s", result == 0 ? "closed" : strerror(-result));
        }
        close(sender->connect.fd);
        closed_count++;
        return;
    }
    struct bytes in = bytes_of(op->data, (size_t)result);
    while (reply_next(&sender->reply, &in)) {
        on_reply(sender);
    }
}

static void on_send_failed(struct ring_op *op, int result)
{
    tool_fail(1, "send: %s", result < 0 ? strerror(-result) : "cut short");
}

static void on_connected(struct ring_op *op, int result)
{
    struct sender *sender = (struct sender *)((char *)op - offsetof(struct sender, connect));
    if (result < 0) {
        tool_fail(1, "connect: %s", strerror(-result));
    }
    ring_recv(ring, &sender->recv, op->fd);
}

static void open_next(void)
{
    if (opened_count == options.connections) {
        return;
    }
    struct sender *sender = &senders[opened_count++];
    ring_op_init(&sender->connect, on_connected);
    ring_op_init(&sender->recv, on_received);
    ring_op_init(&sender->send, on_send_failed);
    make_header(sender->header);
    int fd = socket(options.target.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        tool_fail(EX_OSERR, "socket: %s", strerror(errno));
    }
    ring_connect(ring, &sender->connect, fd, (const struct sockaddr *)&options.target.storage,
                 options.target.len);
}

/* ---- the program ------------------------------------------------------------------------- */

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"connections", required_argument, NULL, 'c'},
        {"size", required_argument, NULL, 's'},
        {"messages", required_argument, NULL, 'm'},
        {"seconds", required_argument, NULL, 't'},
        {"target", required_argument, NULL, 'a'},
        {"cpu", required_argument, NULL, 'p'},
        {NULL, 0, NULL, 0},
    };
    const char *target = "127.0.0.1:2526";
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'c':
            options.connections = (uint32_t)tool_number("--connections", optarg, CONNECTIONS_MAX);
            break;
        case 's':
            options.size = tool_number("--size", optarg, SIZE_MAX_BYTES);
            break;
        case 'm':
            options.messages = tool_number("--messages", optarg, UINT32_MAX);
            break;
        case 't':
            options.seconds = tool_number("--seconds", optarg, 86400);
            break;
        case 'a':
            target = optarg;
            break;
        case 'p':
            options.cpu = (int)tool_number("--cpu", optarg, 1023);
            break;
        default:
            exit(EX_USAGE);
        }
    }
    options.target = tool_address("--target", target);
    if (options.messages == 0 && options.seconds == 0) {
        options.messages = 200000;
    }
    if (options.connections == 0) {
        tool_fail(EX_USAGE, "--connections: at least one");
    }
}

static void print_result(void)
{
    double seconds = (double)(end.wall_ns - start.wall_ns) / 1e9;
    double count = (double)accepted_count;
    printf("yardstick: messages=%llu connections=%u size=%zu seconds=%.3f messages_per_s=%.0f "
           "cpu_us_per_message=%.2f enters_per_message=%.3f\n",
           (unsigned long long)accepted_count, options.connections, options.size, seconds,
           count / seconds, (double)(end.cpu_ns - start.cpu_ns) / 1e3 / count,
           (double)(end.enter_count - start.enter_count) / count);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    tool_pin(options.cpu);
    tool_raise_descriptor_limit();
    make_body();
    ring = ring_create(&(struct ring_options){.recv_buffer_bytes = 512, .recv_buffer_count = 4096});
    senders = calloc(options.connections, sizeof *senders);
    if (senders == NULL || body == NULL) {
        tool_fail(EX_OSERR, "no memory");
    }
    for (int i = 0; i < CONNECTING_MAX; i++) {
        open_next();
    }
    while (closed_count < options.connections) {
        ring_wait(ring, 0);
        ring_run_done(ring);
    }
    print_result();
    ring_destroy(ring);
    free(senders);
    free(body);
    return 0;
}
