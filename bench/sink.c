/* sink: a receiving MX that throws everything away, as cheaply as it can be done.
 *
 *     sink [option]…
 *
 *     --listen ADDRESS:PORT     repeatable; "loopback:PORT" is all of 127.0.0.0/8; port 0 takes a
 *                               free one (default 127.0.0.1:2526)
 *     --cpu N                   stay on one core
 *     --host-name NAME          in the greeting (sink.test)
 *     --caps LIST               what EHLO offers, separated by commas: PIPELINING, SIZE=N,
 *                               8BITMIME, SMTPUTF8, ENHANCEDSTATUSCODES, CHUNKING, DSN, STARTTLS,
 *                               or "none" (default PIPELINING,SIZE=64m,8BITMIME,SMTPUTF8,
 *                               ENHANCEDSTATUSCODES)
 *     --tls-cert FILE --tls-key FILE
 *                               PEM; without them STARTTLS uses a certificate made at start
 *     --tls-name NAME           for that certificate (the host name)
 *     --tls-write-cert FILE     leaves it there
 *     --latency MS              holds every reply back, as a peer far away would
 *     --deny P, --defer P       percent of recipients answered 550 and 451, by a hash of the
 *                               address: the same ones every time
 *     --record FILE             a line per accepted message; columns in sink_record.h
 *     --stats SECONDS           counters on standard error, so often
 *     --messages N              ends after so many
 *
 * "listening on ADDRESS:PORT" is printed for each listener, and a line of totals on SIGTERM,
 * SIGINT or when --messages is reached. Seconds and CPU are taken between the first and the last
 * message; last_at is the monotonic clock at the last one. One thread, one ring; memory grows only
 * with the number of connections. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/list.h"
#include "base/timers.h"
#include "bench/ring.h"
#include "bench/sink_client.h"
#include "bench/sink_record.h"
#include "bench/sink_session.h"
#include "bench/tls.h"
#include "bench/tool.h"

#define LISTENERS_MAX 64
#define BACKLOG       4096
#define PORT_WAIT_NS  5000000000ull
#define FAREWELL_MS   2000 /* for the last replies to leave and the clients to close */
#define DEFAULT_CAPS  "PIPELINING,SIZE=64m,8BITMIME,SMTPUTF8,ENHANCEDSTATUSCODES"

struct moment {
    uint64_t wall_ns, cpu_ns;
};

static struct sink_rules rules = {.host_name = "sink.test"};
static struct sink_server server = {.rules = &rules};
static struct timers timers;
static struct timer stats_timer, flush_timer;
static struct ring_op accept_ops[LISTENERS_MAX], signal_op;
static struct signalfd_siginfo signal_info;
static struct moment first_message, last_message;
static bool stopping;

static struct {
    const char *listen[LISTENERS_MAX];
    size_t listen_count;
    int cpu;
    const char *tls_cert, *tls_key, *tls_name, *tls_write_cert;
    const char *record;
    uint64_t stats_seconds, messages;
} options = {.cpu = -1};

/* ---- options ----------------------------------------------------------------------------- */

static void add_capability(char *item)
{
    static const char *const names[] = {
#define CAPABILITY(name) #name,
        SINK_CAPABILITIES
#undef CAPABILITY
    };
    char *value = strchr(item, '=');
    if (value != NULL) {
        *value++ = '\0';
    }
    for (uint32_t i = 0; i < SINK_CAPABILITY_COUNT; i++) {
        if (strcasecmp(item, names[i]) == 0) {
            rules.capabilities |= 1u << i;
            if (i == SINK_OFFERS_SIZE && value != NULL) {
                rules.size_max = tool_number("SIZE", value, UINT32_MAX);
            }
            return;
        }
    }
    if (strcmp(item, "none") != 0) {
        tool_fail(EX_USAGE, "--caps: \"%s\" is not known", item);
    }
}

static void set_capabilities(const char *list)
{
    char *copy = strdup(list), *rest = copy, *item;
    rules.capabilities = 0;
    rules.size_max = 64u << 20;
    while ((item = strsep(&rest, ",")) != NULL) {
        add_capability(item);
    }
    free(copy);
}

static void add_listener(const char *text)
{
    if (options.listen_count == LISTENERS_MAX) {
        tool_fail(EX_USAGE, "--listen: at most %d", LISTENERS_MAX);
    }
    options.listen[options.listen_count++] = text;
}

static void read_option(int option)
{
    switch (option) {
    case 'l':
        add_listener(optarg);
        break;
    case 'p':
        options.cpu = (int)tool_number("--cpu", optarg, 1023);
        break;
    case 'n':
        rules.host_name = optarg;
        break;
    case 'c':
        set_capabilities(optarg);
        break;
    case 'C':
        options.tls_cert = optarg;
        break;
    case 'K':
        options.tls_key = optarg;
        break;
    case 'N':
        options.tls_name = optarg;
        break;
    case 'W':
        options.tls_write_cert = optarg;
        break;
    case 'L':
        server.latency_ms = (uint32_t)tool_number("--latency", optarg, 600000);
        break;
    case 'd':
        rules.deny_percent = (uint32_t)tool_number("--deny", optarg, 100);
        break;
    case 'D':
        rules.defer_percent = (uint32_t)tool_number("--defer", optarg, 100);
        break;
    case 'r':
        options.record = optarg;
        break;
    case 's':
        options.stats_seconds = tool_number("--stats", optarg, 86400);
        break;
    case 'm':
        options.messages = tool_number("--messages", optarg, UINT64_MAX);
        break;
    default:
        exit(EX_USAGE);
    }
}

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"listen", required_argument, NULL, 'l'},
        {"cpu", required_argument, NULL, 'p'},
        {"host-name", required_argument, NULL, 'n'},
        {"caps", required_argument, NULL, 'c'},
        {"tls-cert", required_argument, NULL, 'C'},
        {"tls-key", required_argument, NULL, 'K'},
        {"tls-name", required_argument, NULL, 'N'},
        {"tls-write-cert", required_argument, NULL, 'W'},
        {"latency", required_argument, NULL, 'L'},
        {"deny", required_argument, NULL, 'd'},
        {"defer", required_argument, NULL, 'D'},
        {"record", required_argument, NULL, 'r'},
        {"stats", required_argument, NULL, 's'},
        {"messages", required_argument, NULL, 'm'},
        {NULL, 0, NULL, 0},
    };
    set_capabilities(DEFAULT_CAPS);
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        read_option(option);
    }
    if (optind < argc) {
        tool_fail(EX_USAGE, "\"%s\" is not an option", argv[optind]);
    }
    if (options.listen_count == 0) {
        add_listener("127.0.0.1:2526");
    }
}

/* ---- listeners --------------------------------------------------------------------------- */

static void on_accepted(struct ring_op *op, int result)
{
    if (result >= 0) {
        sink_client_accept(&server, result);
        return;
    }
    if (!ring_busy(op)) {
        tool_fail(EX_OSERR, "accept: %s", strerror(-result));
    }
}

/* All of 127.0.0.0/8 is the wildcard on the loopback interface alone. */
static struct tool_address listen_address(int *fd, const char *text)
{
    static const char loopback[] = "loopback:";
    bool wildcard = strncmp(text, loopback, sizeof loopback - 1) == 0;
    char any[32];
    snprintf(any, sizeof any, "0.0.0.0:%s", wildcard ? text + sizeof loopback - 1 : "0");
    struct tool_address address = tool_address("--listen", wildcard ? any : text);
    *fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (wildcard && setsockopt(*fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) != 0) {
        tool_fail(EX_OSERR, "--listen %s: %s", text, strerror(errno));
    }
    return address;
}

static void print_listener(int fd, const char *text)
{
    struct sockaddr_storage own;
    socklen_t len = sizeof own;
    getsockname(fd, (struct sockaddr *)&own, &len);
    uint16_t port = own.ss_family == AF_INET ? ((struct sockaddr_in *)&own)->sin_port
                                             : ((struct sockaddr_in6 *)&own)->sin6_port;
    const char *colon = strrchr(text, ':');
    printf("listening on %.*s:%u\n", (int)(colon - text), text, ntohs(port));
}

/* The kernel takes down the ring of a sink before us, and its listening socket with it, only a
 * moment after that one has ended. */
static bool begin_listening(int fd, const struct tool_address *address)
{
    bool bound = false;
    uint64_t until_ns = tool_now_ns() + PORT_WAIT_NS;
    while (true) {
        bound = bound || bind(fd, (const struct sockaddr *)&address->storage, address->len) == 0;
        if (bound && listen(fd, BACKLOG) == 0) {
            return true;
        }
        if (errno != EADDRINUSE || tool_now_ns() > until_ns) {
            return false;
        }
        usleep(20000);
    }
}

static void open_listener(struct ring_op *op, const char *text)
{
    int fd, on = 1;
    struct tool_address address = listen_address(&fd, text);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        !begin_listening(fd, &address)) {
        tool_fail(EX_OSERR, "--listen %s: %s", text, strerror(errno));
    }
    ring_op_init(op, on_accepted);
    ring_accept(server.ring, op, fd);
    print_listener(fd, text);
}

/* ---- counters ---------------------------------------------------------------------------- */

static struct moment moment_now(void)
{
    return (struct moment){tool_now_ns(), tool_cpu_ns()};
}

/* Called after each round of the loop in which messages were accepted. */
static void note_progress(uint64_t count_before)
{
    last_message = moment_now();
    if (count_before == 0) {
        first_message = last_message;
    }
    if (options.messages > 0 && rules.message_count >= options.messages) {
        stopping = true;
    }
}

static void print_totals(void)
{
    double seconds = (double)(last_message.wall_ns - first_message.wall_ns) / 1e9;
    double cpu_us = (double)(last_message.cpu_ns - first_message.cpu_ns) / 1e3;
    double count = (double)rules.message_count;
    printf("sink: messages=%llu recipients=%llu bytes=%llu connections=%llu handshakes=%llu "
           "denied=%llu deferred=%llu seconds=%.3f messages_per_s=%.0f cpu_us_per_message=%.2f "
           "last_at=%.6f\n",
           (unsigned long long)rules.message_count, (unsigned long long)rules.rcpt_count,
           (unsigned long long)rules.byte_count, (unsigned long long)server.connection_count,
           (unsigned long long)server.handshake_count, (unsigned long long)rules.denied_count,
           (unsigned long long)rules.deferred_count, seconds, seconds > 0 ? count / seconds : 0,
           count > 0 ? cpu_us / count : 0, (double)last_message.wall_ns / 1e9);
    fflush(stdout);
}

static void on_stats_due(struct timer *timer)
{
    static uint64_t count_before;
    fprintf(stderr, "sink: messages=%llu open=%llu messages_per_s=%.0f\n",
            (unsigned long long)rules.message_count, (unsigned long long)server.open_count,
            (double)(rules.message_count - count_before) / (double)options.stats_seconds);
    count_before = rules.message_count;
    timer_start(&timers, timer, server.now_ms + options.stats_seconds * 1000);
}

static void on_flush_due(struct timer *timer)
{
    sink_record_flush(server.record);
}

/* ---- the loop ---------------------------------------------------------------------------- */

static void on_signal(struct ring_op *op, int result)
{
    stopping = true;
}

static void run_once(uint64_t wait_max_ms)
{
    uint64_t next_ms = timers_next_ms(&timers);
    uint64_t wait_ms = next_ms <= server.now_ms ? 0 : next_ms - server.now_ms;
    wait_ms = wait_ms < wait_max_ms ? wait_ms : wait_max_ms;
    ring_wait(server.ring, wait_ms == UINT64_MAX ? 0 : wait_ms * 1000000 + 1);
    server.now_ms = tool_now_ns() / 1000000;
    uint64_t count_before = rules.message_count;
    ring_run_done(server.ring);
    if (rules.message_count != count_before) {
        note_progress(count_before);
        if (server.record != NULL && !timer_running(&flush_timer)) {
            timer_start(&timers, &flush_timer, server.now_ms + RECORD_FLUSH_MS - 1);
        }
    }
    timers_run(&timers, server.now_ms);
}

static void start(void)
{
    tool_pin(options.cpu);
    tool_raise_descriptor_limit();
    if (rules.capabilities & 1u << SINK_OFFERS_STARTTLS) {
        const char *name = options.tls_name == NULL ? rules.host_name : options.tls_name;
        server.tls =
            tls_server_context(options.tls_cert, options.tls_key, name, options.tls_write_cert);
    }
    if (options.record != NULL) {
        server.record = sink_record_open(options.record, server.latency_ms);
        rules.watcher = &sink_record_watcher;
    }
    /* 4 MiB in all: larger pools leave the processor's cache, smaller pieces cost calls. */
    server.ring =
        ring_create(&(struct ring_options){.recv_buffer_bytes = 32768, .recv_buffer_count = 128});
    server.timers = &timers;
    server.now_ms = tool_now_ns() / 1000000;
    timers_init(&timers, server.now_ms);
    timer_init(&flush_timer, on_flush_due);
    timer_init(&stats_timer, on_stats_due);
    ring_op_init(&signal_op, on_signal);
    ring_read(server.ring, &signal_op, tool_signals(), &signal_info, sizeof signal_info);
    for (size_t i = 0; i < options.listen_count; i++) {
        open_listener(&accept_ops[i], options.listen[i]);
    }
    fflush(stdout);
    if (options.stats_seconds > 0) {
        timer_start(&timers, &stats_timer, server.now_ms + options.stats_seconds * 1000);
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    start();
    while (!stopping) {
        run_once(UINT64_MAX);
    }
    bool signalled = !ring_busy(&signal_op);
    uint64_t farewell_end_ms = server.now_ms + FAREWELL_MS;
    while (!signalled && server.open_count > 0 && server.now_ms < farewell_end_ms) {
        run_once(farewell_end_ms - server.now_ms);
    }
    print_totals();
    bool recorded = sink_record_close(server.record);
    ring_destroy(server.ring);
    tls_context_destroy(server.tls);
    return recorded ? 0 : EX_IOERR;
}
