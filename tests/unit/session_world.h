/* Sessions and listeners over the kernel's io and real sockets, with a spool that lives here: it
 * answers when the test says so, takes as much as the test says, and shows what it was given. For
 * test binaries: everything but the spool's own functions is static. */
#ifndef TESTS_UNIT_SESSION_WORLD_H
#define TESTS_UNIT_SESSION_WORLD_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <unistd.h>

#include "callers.h"
#include "config_files.h"
#include "io/io.h"
#include "listener.h"
#include "session.h"
#include "spools.h"
#include "test.h"
#include "vmta_choice.h"

/* ---- the spool ---- */

#define COMMITS_MAX 64

struct spool {
    enum spool_answer accepting, answer;
    bool holds_answers, refuses_rcpts;
    size_t room; /* bytes taken before it is behind; SIZE_MAX: never */
    struct spool_upload *committed[COMMITS_MAX];
    struct spool_upload *blocked; /* at most one session is tested so */
    uint32_t committed_count, begun, aborted, given_back;
    struct buffer body, envelope;
    char body_memory[1 << 20], envelope_memory[1 << 16];
};

static struct spool spool;

enum spool_answer spools_choose(struct spools *of, uint32_t worker, struct spool **chosen,
                                const char **why)
{
    (void)of, (void)worker;
    *why = "The test says so";
    *chosen = &spool;
    return spool.accepting;
}

void spool_upload_begin(struct spool *of, uint32_t worker, struct spool_upload *upload)
{
    CHECK_INT(worker, 7);
    upload->spool = of;
    upload->state = 1;
    of->begun++;
    buffer_clear(&of->body);
}

bool spool_upload_reserve_rcpt(struct spool_upload *upload)
{
    return !upload->spool->refuses_rcpts;
}

size_t spool_upload_write(struct spool_upload *upload, const void *data, size_t len)
{
    struct spool *of = upload->spool;
    size_t taken = len < of->room ? len : of->room;
    buffer_put(&of->body, data, taken);
    upload->body_size += taken;
    if (of->room != SIZE_MAX) {
        of->room -= taken;
    }
    if (taken < len) {
        of->blocked = upload;
    }
    return taken;
}

void spool_upload_commit(struct spool_upload *upload, const struct envelope *envelope)
{
    struct spool *of = upload->spool;
    struct buffer *out = &of->envelope;
    CHECK_INT(upload->state, 1);
    CHECK_INT(envelope->body_size, upload->body_size);
    upload->state = 2;
    of->committed[of->committed_count++] = upload;
    buffer_clear(out);
    buffer_printf(out, "<%.*s> vmta=%.*s pool=%.*s job=%.*s envid=%.*s helo=%.*s ip=%.*s flags=%u",
                  BYTES_FMT(envelope->sender), BYTES_FMT(envelope->vmta), BYTES_FMT(envelope->pool),
                  BYTES_FMT(envelope->job), BYTES_FMT(envelope->envid), BYTES_FMT(envelope->helo),
                  BYTES_FMT(envelope->source_ip), envelope->flags);
    for (uint32_t i = 0; i < envelope->rcpt_count; i++) {
        const struct envelope_rcpt *rcpt = &envelope->rcpts[i];
        CHECK(rcpt->address.data[rcpt->address.len - rcpt->domain_len - 1] == '@');
        buffer_printf(out, " <%.*s>%.*s%s", BYTES_FMT(rcpt->address), BYTES_FMT(rcpt->orcpt),
                      rcpt->notify == NOTIFY_NEVER ? " never" : "");
    }
}

void spool_upload_abort(struct spool_upload *upload, void (*released)(struct spool_upload *))
{
    struct spool *of = upload->spool;
    of->aborted++;
    if (of->blocked == upload) {
        of->blocked = NULL;
    }
    for (uint32_t i = 0; i < of->committed_count; i++) {
        if (of->committed[i] == upload) {
            /* The message stands; its memory goes back when the commit is through. */
            upload->state = 3;
            upload->answered = NULL;
            upload->flowed = released;
            return;
        }
    }
    of->given_back++;
    released(upload);
}

/* Answers what was committed, unless the test holds it. */
static void spool_turn(void)
{
    uint32_t count = spool.holds_answers ? 0 : spool.committed_count;
    for (uint32_t i = 0; i < count; i++) {
        struct spool_upload *upload = spool.committed[i];
        if (upload->state == 3) {
            spool.given_back++;
            upload->flowed(upload);
        } else {
            memcpy(upload->id_text, "0123456789ABCDEFGHIJ", 21);
            upload->answered(upload, spool.answer);
        }
    }
    memmove(spool.committed, spool.committed + count,
            (spool.committed_count - count) * sizeof(spool.committed[0]));
    spool.committed_count -= count;
    if (spool.blocked != NULL && spool.room > 0) {
        struct spool_upload *upload = spool.blocked;
        spool.blocked = NULL;
        upload->flowed(upload);
    }
}

/* ---- the world ---- */

static struct io *io;
static struct config *config;
static struct callers *callers;
static struct vmta_chooser *vmtas;
static struct sessions *sessions;
static struct listener *listener;
static bool admitted, stopped, drained, closed;
static const char *full_vmta; /* one that is not admitted, or NULL */

static const struct config *on_config(void *owner)
{
    return config;
}

static bool on_admits(void *owner, struct bytes vmta, uint32_t rcpt_count)
{
    return admitted && (full_vmta == NULL || !bytes_equal(vmta, bytes_from_string(full_vmta)));
}

static void on_stopped(void *owner)
{
    stopped = true;
}

static void on_closed(void *owner)
{
    closed = true;
}

static void turn(void)
{
    CHECK_INT(io_run(io, io_now_ms(io) + 1), 0);
    spool_turn();
}

#define TURNS_UNTIL(condition)                                                                     \
    for (int turns = 0; turns < 5000 && !(condition); turns++) {                                   \
        turn();                                                                                    \
    }

#define SOURCE(lines) "<source 127/8>\nalways-allow-relaying yes\n" lines "</source>\n"

/* Virtual MTAs that every test has. */
#define VMTAS                                                                                      \
    "<virtual-mta News>\n</virtual-mta>\n<virtual-mta red>\n</virtual-mta>\n"                      \
    "<virtual-mta blue>\n</virtual-mta>\n"                                                         \
    "<virtual-mta-pool both>\nvirtual-mta red\nvirtual-mta blue weight=2\n</virtual-mta-pool>\n"

static void open_world(const char *config_text)
{
    spool = (struct spool){.accepting = SPOOL_OK, .answer = SPOOL_OK, .room = SIZE_MAX};
    buffer_init(&spool.body, spool.body_memory, sizeof(spool.body_memory));
    buffer_init(&spool.envelope, spool.envelope_memory, sizeof(spool.envelope_memory));
    admitted = true;
    full_vmta = NULL;
    stopped = drained = closed = false;
    struct error error;
    char text[4096];
    snprintf(text, sizeof text, "%s" VMTAS, config_text);
    config = load_good(text);
    CHECK(config != NULL);
    io = io_create(
        &(struct io_options){.entries = 256, .recv_buffer_bytes = 4096, .recv_buffer_count = 8},
        &error);
    CHECK(io != NULL);
    callers = callers_create(100);
    vmtas =
        vmta_chooser_create(&(struct vmta_chooser_options){.config = config, .admits = on_admits});
    sessions = sessions_create(&(struct sessions_options){
        .io = io,
        .worker = 7,
        .vmtas = vmtas,
        .callers = callers,
        .sessions_max = 20,
        .receive_buffer_bytes = 4096,
        .host_name = "mx.example",
        .config = on_config,
    });
    struct address address = {.family = ADDRESS_IPV4, .ip = {127, 0, 0, 1}};
    listener = listener_open(
        &(struct listener_options){.io = io, .sessions = sessions, .address = address}, &error);
    CHECK(listener != NULL);
    turn();
}

static void close_world(void)
{
    spool.holds_answers = false;
    spool.room = SIZE_MAX;
    listener_close(listener, on_closed, NULL);
    sessions_stop(sessions, on_stopped);
    TURNS_UNTIL(stopped && closed);
    CHECK(stopped);
    CHECK(closed);
    CHECK_INT(callers_count(callers), 0);
    sessions_destroy(sessions);
    vmta_chooser_destroy(vmtas);
    io_destroy(io);
    callers_destroy(callers);
    unload(config);
}

/* ---- clients ---- */

struct client {
    int fd;
    bool ended; /* the server closed its side */
    size_t len;
    char text[1 << 16];
};

static void dial(struct client *client)
{
    struct address at;
    listener_address(listener, &at);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(at.port)};
    memcpy(&to.sin_addr, at.ip, 4);
    *client = (struct client){.fd = socket(AF_INET, SOCK_STREAM, 0)};
    CHECK_INT(connect(client->fd, (struct sockaddr *)&to, sizeof(to)), 0);
    fcntl(client->fd, F_SETFL, O_NONBLOCK);
}

static void hear(struct client *client)
{
    ssize_t got =
        recv(client->fd, client->text + client->len, sizeof(client->text) - 1 - client->len, 0);
    if (got > 0) {
        client->len += (size_t)got;
    }
    client->ended |= got == 0 || (got < 0 && errno != EAGAIN);
    client->text[client->len] = '\0';
}

static bool ends_with_line(const struct client *client, const char *code)
{
    const char *line = client->text + client->len;
    if (client->len < 2 || line[-1] != '\n') {
        return false;
    }
    line -= 2;
    while (line > client->text && line[-1] != '\n') {
        line--;
    }
    return strncmp(line, code, strlen(code)) == 0;
}

/* Until the last line begins so. */
static void expect(struct client *client, const char *code)
{
    for (int turns = 0; turns < 5000 && !ends_with_line(client, code); turns++) {
        turn();
        hear(client);
        if (client->ended) {
            break;
        }
    }
    if (!ends_with_line(client, code)) {
        printf("wanted %s, heard: %s\n", code, client->text);
        test_failed = true;
    }
    client->len = 0;
}

static void expect_end(struct client *client)
{
    for (int turns = 0; turns < 5000 && !client->ended; turns++) {
        turn();
        hear(client);
    }
    CHECK(client->ended);
}

static void say_bytes(struct client *client, struct bytes bytes)
{
    size_t at = 0;
    for (int turns = 0; turns < 20000 && at < bytes.len; turns++) {
        ssize_t sent = send(client->fd, bytes.data + at, bytes.len - at, MSG_NOSIGNAL);
        at += sent > 0 ? (size_t)sent : 0;
        if (at < bytes.len) {
            turn();
        }
    }
    CHECK_INT(at, bytes.len);
}

static void say(struct client *client, const char *text)
{
    say_bytes(client, bytes_from_string(text));
}

static void hang_up(struct client *client)
{
    close(client->fd);
    for (int turns = 0; turns < 20; turns++) {
        turn();
    }
}

#define GROUP "MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n"

static void begin(struct client *client)
{
    dial(client);
    expect(client, "220 mx.example ");
    say(client, "EHLO c.example\r\n");
    expect(client, "250 DSN");
}

static void send_message(struct client *client, const char *message)
{
    say(client, GROUP);
    expect(client, "354 ");
    say(client, message);
}

static struct client client;

static const char *envelope(void)
{
    spool.envelope.data[spool.envelope.len] = '\0';
    return spool.envelope.data;
}

static const char *body(void)
{
    spool.body.data[spool.body.len] = '\0';
    return spool.body.data;
}

#endif
