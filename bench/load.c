/* load: injects messages into an SMTP server and measures how they are accepted.
 *
 *     load [option]…
 *
 *     --target ADDRESS:PORT   (127.0.0.1:2525)
 *     --source ADDRESS        to connect from
 *     --cpu N                 stay on one core
 *     --connections N         (64)
 *     --messages N            in all, whatever the number of connections (10000)
 *     --seconds N             begins no further message after so long
 *     --size BYTES            of a message, headers included (4096)
 *     --from ADDRESS          (sender@load.test)
 *     --rcpts N               recipients per message (1): u<i>@d<k>.test
 *     --domains N             k is below N (1); all recipients of a message in one domain
 *     --spread yes            … or each in the next one
 *     --vmtas A,B,…           X-Virtual-MTA, round robin
 *     --first N               first X-Seq (0)
 *     --pipelined yes|no      MAIL, RCPTs and DATA in one write (yes)
 *     --tls yes               STARTTLS
 *     --retries N             attempts more per message answered 421, 451 or 452 (100)
 *     --retry-after MS        (100)
 *     --reconnect yes         a lost connection is no failure: its message is sent again
 *     --record FILE           a line per accepted message: time_us, X-Seq, reply
 *
 * Prints one line: rates, CPU, the time from the final dot to its 250 (p50, p99, max), and what
 * was put off. Exit 1 if any reply was not as expected or a message was given up. Each message
 * has an X-Seq header and a subject of its own. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "bench/load_client.h"

#define CONNECTIONS_MAX 20000
#define SIZE_MAX_BYTES  (256u << 20)
#define LINE_BYTES      78 /* of the body, with CRLF */

static struct load_plan plan = {
    .messages = 10000,
    .rcpts = 1,
    .domains = 1,
    .pipelined = true,
    .retries_max = 100,
    .retry_ms = 100,
    .sender = "sender@load.test",
    .size = 4096,
};

static struct {
    const char *target, *source, *record;
    char *vmtas;
    uint32_t connections;
    uint64_t seconds;
    bool tls;
    int cpu;
} options = {.target = "127.0.0.1:2525", .connections = 64, .cpu = -1};

static struct timers timers;
static struct ring_op signal_op;
static struct signalfd_siginfo signal_info;
static bool stopping;

/* ---- options ----------------------------------------------------------------------------- */

static const struct option option_names[] = {
    {"target", required_argument, NULL, 'a'},      {"source", required_argument, NULL, 'S'},
    {"cpu", required_argument, NULL, 'p'},         {"connections", required_argument, NULL, 'c'},
    {"messages", required_argument, NULL, 'm'},    {"seconds", required_argument, NULL, 't'},
    {"size", required_argument, NULL, 's'},        {"from", required_argument, NULL, 'f'},
    {"rcpts", required_argument, NULL, 'r'},       {"domains", required_argument, NULL, 'd'},
    {"spread", required_argument, NULL, 'D'},      {"vmtas", required_argument, NULL, 'v'},
    {"first", required_argument, NULL, 'F'},       {"pipelined", required_argument, NULL, 'P'},
    {"tls", required_argument, NULL, 'T'},         {"retries", required_argument, NULL, 'n'},
    {"retry-after", required_argument, NULL, 'w'}, {"reconnect", required_argument, NULL, 'R'},
    {"record", required_argument, NULL, 'o'},      {NULL, 0, NULL, 0},
};

/* What shapes the messages; false: not one of these. */
static bool read_message_option(int option)
{
    switch (option) {
    case 'm':
        plan.messages = tool_number("--messages", optarg, UINT64_MAX >> 1);
        return true;
    case 's':
        plan.size = tool_number("--size", optarg, SIZE_MAX_BYTES);
        return true;
    case 'f':
        plan.sender = optarg;
        return true;
    case 'r':
        plan.rcpts = (uint32_t)tool_number("--rcpts", optarg, LOAD_RCPT_MAX);
        return true;
    case 'd':
        plan.domains = (uint32_t)tool_number("--domains", optarg, UINT32_MAX);
        return true;
    case 'D':
        plan.spread = tool_yes_no("--spread", optarg);
        return true;
    case 'v':
        options.vmtas = optarg;
        return true;
    case 'F':
        plan.first_sequence = tool_number("--first", optarg, UINT64_MAX >> 1);
        return true;
    default:
        return false;
    }
}

static void read_option(int option)
{
    switch (option) {
    case 'a':
        options.target = optarg;
        break;
    case 'S':
        options.source = optarg;
        break;
    case 'p':
        options.cpu = (int)tool_number("--cpu", optarg, 1023);
        break;
    case 'c':
        options.connections = (uint32_t)tool_number("--connections", optarg, CONNECTIONS_MAX);
        break;
    case 't':
        options.seconds = tool_number("--seconds", optarg, 86400);
        break;
    case 'P':
        plan.pipelined = tool_yes_no("--pipelined", optarg);
        break;
    case 'T':
        options.tls = tool_yes_no("--tls", optarg);
        break;
    case 'n':
        plan.retries_max = tool_number("--retries", optarg, UINT32_MAX);
        break;
    case 'w':
        plan.retry_ms = (uint32_t)tool_number("--retry-after", optarg, 600000);
        break;
    case 'R':
        plan.reconnect = tool_yes_no("--reconnect", optarg);
        break;
    case 'o':
        options.record = optarg;
        break;
    default:
        exit(EX_USAGE);
    }
}

static void split_vmtas(void)
{
    char *name;
    while ((name = strsep(&options.vmtas, ",")) != NULL) {
        if (plan.vmta_count == LOAD_VMTAS_MAX || strlen(name) > 200) {
            tool_fail(EX_USAGE, "--vmtas: at most %d of 200 bytes", LOAD_VMTAS_MAX);
        }
        plan.vmtas[plan.vmta_count++] = name;
    }
}

static void read_options(int argc, char **argv)
{
    int option;
    while ((option = getopt_long(argc, argv, "", option_names, NULL)) != -1) {
        if (!read_message_option(option)) {
            read_option(option);
        }
    }
    split_vmtas();
    plan.target = tool_address("--target", options.target);
    if (options.source != NULL) {
        char with_port[80];
        bool v6 = strchr(options.source, ':') != NULL;
        snprintf(with_port, sizeof with_port, v6 ? "[%.60s]:0" : "%.60s:0", options.source);
        plan.source = tool_address("--source", with_port);
    }
    if (plan.rcpts == 0 || plan.domains == 0 || options.connections == 0 ||
        strlen(plan.sender) > 200) {
        tool_fail(EX_USAGE, "--rcpts, --domains and --connections are at least 1, --from at most "
                            "200 bytes");
    }
}

/* ---- the program ------------------------------------------------------------------------- */

/* Lines of letters and the end of data; a message takes what it needs from the end. */
static void make_body(void)
{
    plan.body_len = plan.size + 5;
    plan.body = malloc(plan.body_len);
    if (plan.body == NULL) {
        tool_fail(EX_OSERR, "no memory");
    }
    for (size_t i = 0; i < plan.body_len; i++) {
        size_t column = i % LINE_BYTES;
        plan.body[i] = column == LINE_BYTES - 2   ? '\r'
                       : column == LINE_BYTES - 1 ? '\n'
                                                  : (char)('a' + i % 26);
    }
    static const char end[] = "z\r\n.\r\n";
    size_t end_len = sizeof end - 1 < plan.body_len ? sizeof end - 1 : plan.body_len;
    memcpy(plan.body + plan.body_len - end_len, end + sizeof end - 1 - end_len, end_len);
}

static void on_signal(struct ring_op *op, int result)
{
    stopping = true;
}

static void run_once(void)
{
    uint64_t next_ms = timers_next_ms(&timers);
    uint64_t wait_ms = next_ms <= plan.now_ms ? 0 : next_ms - plan.now_ms;
    ring_wait(plan.ring, next_ms == UINT64_MAX ? 0 : wait_ms * 1000000 + 1);
    plan.now_ms = tool_now_ns() / 1000000;
    ring_run_done(plan.ring);
    timers_run(&timers, plan.now_ms);
}

static void start(void)
{
    tool_pin(options.cpu);
    tool_raise_descriptor_limit();
    make_body();
    if (options.tls) {
        plan.tls = tls_client_context();
    }
    if (options.record != NULL && (plan.record = fopen(options.record, "we")) == NULL) {
        tool_fail(EX_CANTCREAT, "--record %s: %s", options.record, strerror(errno));
    }
    plan.ring =
        ring_create(&(struct ring_options){.recv_buffer_bytes = 4096, .recv_buffer_count = 1024});
    plan.timers = &timers;
    plan.now_ms = tool_now_ns() / 1000000;
    plan.deadline_ms = options.seconds > 0 ? plan.now_ms + options.seconds * 1000 : 0;
    timers_init(&timers, plan.now_ms);
    ring_op_init(&signal_op, on_signal);
    ring_read(plan.ring, &signal_op, tool_signals(), &signal_info, sizeof signal_info);
}

static double ms(uint64_t us)
{
    return (double)us / 1e3;
}

static void print_result(uint64_t wall_ns, uint64_t cpu_ns)
{
    double seconds = (double)wall_ns / 1e9, count = (double)plan.accepted;
    printf("load: messages=%llu recipients=%llu connections=%u size=%zu seconds=%.3f "
           "messages_per_s=%.0f cpu_us_per_message=%.2f p50_ms=%.3f p99_ms=%.3f max_ms=%.3f "
           "replied_421=%llu replied_451=%llu replied_452=%llu lost=%llu given_up=%llu "
           "unexpected=%llu\n",
           (unsigned long long)plan.accepted, (unsigned long long)plan.rcpts_accepted,
           options.connections, plan.size, seconds, count / seconds,
           count > 0 ? (double)cpu_ns / 1e3 / count : 0,
           ms(histogram_quantile(&plan.latency_us, 500)),
           ms(histogram_quantile(&plan.latency_us, 990)), ms(plan.latency_us.max),
           (unsigned long long)plan.replied_421, (unsigned long long)plan.replied_451,
           (unsigned long long)plan.replied_452, (unsigned long long)plan.lost,
           (unsigned long long)plan.given_up, (unsigned long long)plan.unexpected);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    start();
    struct load_client *clients = calloc(options.connections, sizeof *clients);
    if (clients == NULL) {
        tool_fail(EX_OSERR, "no memory");
    }
    uint64_t start_ns = tool_now_ns(), start_cpu_ns = tool_cpu_ns();
    for (uint32_t i = 0; i < options.connections; i++) {
        load_client_start(&clients[i], &plan);
    }
    while (!stopping && plan.finished_count < options.connections) {
        run_once();
    }
    print_result(tool_now_ns() - start_ns, tool_cpu_ns() - start_cpu_ns);
    bool recorded = plan.record == NULL || fclose(plan.record) == 0;
    ring_destroy(plan.ring);
    for (uint32_t i = 0; i < options.connections; i++) {
        load_client_deinit(&clients[i]);
    }
    free(clients);
    free(plan.body);
    tls_context_destroy(plan.tls);
    return !recorded ? EX_IOERR : plan.unexpected > 0 || plan.given_up > 0 || stopping ? 1 : 0;
}
