/* Sessions and listeners over the kernel's io and real sockets, with a spool that lives here: it
 * answers when the test says so, takes as much as the test says, and shows what it was given. */
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
#include "spool.h"
#include "test.h"

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

enum spool_answer spool_accepting(struct spool *of, const char **why)
{
    *why = "The test says so";
    return of->accepting;
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
    buffer_printf(out, "<%.*s> vmta=%.*s job=%.*s envid=%.*s helo=%.*s ip=%.*s flags=%u",
                  BYTES_FMT(envelope->sender), BYTES_FMT(envelope->vmta), BYTES_FMT(envelope->job),
                  BYTES_FMT(envelope->envid), BYTES_FMT(envelope->helo),
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
static struct sessions *sessions;
static struct listener *listener;
static bool admitted, stopped, drained, closed;

static const struct config *on_config(void *owner)
{
    return config;
}

static bool on_vmta_known(void *owner, struct bytes name, struct bytes *canonical)
{
    *canonical = BYTES("News");
    return bytes_equal_nocase(name, *canonical);
}

static bool on_admit(void *owner, struct bytes vmta, uint32_t rcpt_count)
{
    return admitted;
}

static void on_stopped(void *owner)
{
    stopped = true;
}

static void on_drained(void *owner)
{
    drained = true;
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

static void open_world(const char *config_text)
{
    spool = (struct spool){.accepting = SPOOL_OK, .answer = SPOOL_OK, .room = SIZE_MAX};
    buffer_init(&spool.body, spool.body_memory, sizeof(spool.body_memory));
    buffer_init(&spool.envelope, spool.envelope_memory, sizeof(spool.envelope_memory));
    admitted = true;
    stopped = drained = closed = false;
    struct error error;
    config = load_good(config_text);
    CHECK(config != NULL);
    io = io_create(
        &(struct io_options){.entries = 256, .recv_buffer_bytes = 4096, .recv_buffer_count = 8},
        &error);
    CHECK(io != NULL);
    callers = callers_create(100);
    sessions = sessions_create(&(struct sessions_options){.io = io,
                                                          .worker = 7,
                                                          .spool = &spool,
                                                          .callers = callers,
                                                          .sessions_max = 20,
                                                          .receive_buffer_bytes = 4096,
                                                          .host_name = "mx.example",
                                                          .config = on_config,
                                                          .vmta_known = on_vmta_known,
                                                          .admit = on_admit});
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

/* ---- facts ---- */

TEST(a_message_is_accepted_with_the_id_of_the_spool)
{
    open_world(SOURCE(""));
    begin(&client);
    send_message(&client, "s: t\r\n\r\nhi\r\n.\r\n");
    expect(&client, "250 2.0.0 Ok: queued as 0123456789ABCDEFGHIJ\r\n");
    CHECK_STRING(envelope(), "<a@x> vmta={default} job= envid= helo=c.example ip=127.0.0.1 flags=0"
                             " <b@y>");
    say(&client, "QUIT\r\n");
    expect(&client, "221 ");
    expect_end(&client);
    hang_up(&client);
    struct sessions_status status;
    sessions_status(sessions, &status);
    CHECK_INT(status.open, 0);
    CHECK_INT(status.transactions, 0);
    CHECK_INT(status.messages, 1);
    CHECK_INT(spool.aborted, 0);
    close_world();
}

TEST(the_trace_field_stands_first_and_is_well_formed)
{
    open_world(SOURCE(""));
    begin(&client);
    send_message(&client, "s: t\r\n\r\nhi\r\n.\r\n");
    expect(&client, "250 ");
    static const char start[] = "Received: from c.example ([127.0.0.1])\r\n"
                                "\tby mx.example with ESMTP\r\n\tfor <b@y>;\r\n\t";
    CHECK(strncmp(body(), start, strlen(start)) == 0);
    CHECK(strstr(body(), " +0000\r\ns: t\r\n\r\nhi\r\n") != NULL);
    hang_up(&client);
    close_world();
}

TEST(the_trace_field_is_left_out_or_hides_the_source_where_configured)
{
    open_world(SOURCE("add-received-header no\n"));
    begin(&client);
    send_message(&client, "s: t\r\n\r\nhi\r\n.\r\n");
    expect(&client, "250 ");
    CHECK_STRING(body(), "s: t\r\n\r\nhi\r\n");
    hang_up(&client);
    close_world();
    open_world(SOURCE("hide-message-source yes\n"));
    begin(&client);
    send_message(&client, "s: t\r\n\r\nhi\r\n.\r\n");
    expect(&client, "250 ");
    CHECK(strncmp(body(), "Received: by mx.example with ESMTP\r\n", 36) == 0);
    CHECK(strstr(envelope(), " flags=8 ") != NULL);
    hang_up(&client);
    close_world();
}

TEST(many_recipients_with_their_parameters_reach_the_spool_in_order)
{
    open_world(SOURCE(""));
    begin(&client);
    say(&client, "MAIL FROM:<>\r\n");
    expect(&client, "250 ");
    static char group[64 * 1000], wanted[64 * 1000];
    struct buffer rcpts, expected;
    buffer_init(&rcpts, group, sizeof(group));
    buffer_init(&expected, wanted, sizeof(wanted));
    buffer_put_string(&expected,
                      "<> vmta={default} job= envid= helo=c.example ip=127.0.0.1 flags=0");
    for (int i = 0; i < 700; i++) {
        buffer_printf(&rcpts, "RCPT TO:<user%d@y> NOTIFY=NEVER ORCPT=rfc822;o%d\r\n", i, i);
        buffer_printf(&expected, " <user%d@y>rfc822;o%d never", i, i);
    }
    buffer_put_string(&rcpts, "DATA\r\n");
    say_bytes(&client, buffer_bytes(&rcpts));
    expect(&client, "354 ");
    say(&client, "\r\n.\r\n");
    expect(&client, "250 2.0.0 Ok: queued");
    CHECK(bytes_equal(buffer_bytes(&spool.envelope), buffer_bytes(&expected)));
    hang_up(&client);
    close_world();
}

TEST(s36_the_virtual_mta_comes_from_the_header_where_that_is_allowed)
{
    open_world(SOURCE("process-x-virtual-mta yes\n"));
    begin(&client);
    send_message(&client, "X-Virtual-MTA: news\r\n\r\nhi\r\n.\r\n");
    expect(&client, "250 ");
    CHECK(strstr(envelope(), "vmta=News ") != NULL);
    CHECK(strstr(body(), "Virtual") == NULL);
    send_message(&client, "X-Virtual-MTA: other\r\n\r\nhi\r\n.\r\n");
    expect(&client, "550 5.5.0 ");
    send_message(&client, "X-Virtual-MTA: news\r\nx-virtual-mta: news\r\n\r\nhi\r\n.\r\n");
    expect(&client, "550 5.6.0 ");
    send_message(&client, "X-Virtual-MTA: ne\r\n ws\r\n\r\nhi\r\n.\r\n");
    expect(&client, "550 5.6.0 ");
    send_message(&client, "X-Virtual-MTA:\r\n\r\nhi\r\n.\r\n");
    expect(&client, "550 5.6.0 ");
    hang_up(&client);
    close_world();
}

TEST(s36_without_the_right_the_header_is_removed_and_not_obeyed)
{
    open_world(SOURCE(""));
    begin(&client);
    send_message(&client, "X-Virtual-MTA: news\r\n\r\nhi\r\n.\r\n");
    expect(&client, "250 ");
    CHECK(strstr(envelope(), "vmta={default} ") != NULL);
    CHECK(strstr(body(), "Virtual") == NULL);
    hang_up(&client);
    close_world();
}

TEST(s37_job_and_envelope_id_come_from_headers_where_that_is_allowed)
{
    open_world(SOURCE("process-x-job yes\nprocess-x-envid yes\n"));
    begin(&client);
    send_message(&client, "X-Job: spring\r\nX-Envid: e 1\r\n\r\nhi\r\n.\r\n");
    expect(&client, "250 ");
    CHECK(strstr(envelope(), "job=spring envid=e 1 ") != NULL);
    send_message(&client, "X-Job: a b\r\n\r\nhi\r\n.\r\n");
    expect(&client, "550 5.6.0 ");
    send_message(&client, "X-Job: a\x01\r\n\r\nhi\r\n.\r\n");
    expect(&client, "550 5.6.0 ");
    hang_up(&client);
    close_world();
}

TEST(relaying_is_denied_unless_it_is_allowed)
{
    open_world("<source 127/8>\nsmtp-service yes\n</source>\n");
    begin(&client);
    say(&client, "MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n");
    expect(&client, "550 5.7.1 relaying denied\r\n");
    hang_up(&client);
    CHECK_INT(spool.given_back, 1);
    close_world();
}

TEST(a_source_without_service_is_told_521)
{
    open_world("<source 127/8>\nsmtp-service no\n</source>\n");
    dial(&client);
    expect(&client, "521 5.3.2 mx.example does not accept mail from you\r\n");
    expect_end(&client);
    hang_up(&client);
    close_world();
}

TEST(s16_who_talks_before_the_greeting_is_sent_away)
{
    open_world(SOURCE(""));
    dial(&client);
    say(&client, "EHLO early\r\n");
    expect(&client, "554 5.5.1 ");
    expect_end(&client);
    hang_up(&client);
    close_world();
}

TEST(s45_a_virtual_mta_over_its_share_is_told_so)
{
    open_world(SOURCE(""));
    begin(&client);
    admitted = false;
    say(&client, "MAIL FROM:<a@x>\r\n");
    expect(&client, "452 4.2.2 ");
    admitted = true;
    say(&client, GROUP);
    expect(&client, "354 ");
    admitted = false;
    say(&client, "\r\n.\r\n");
    expect(&client, "452 4.2.2 ");
    CHECK_INT(spool.begun, spool.given_back);
    hang_up(&client);
    close_world();
}

TEST(s42_a_spool_that_is_full_or_failed_is_told_at_every_step)
{
    open_world(SOURCE(""));
    begin(&client);
    spool.accepting = SPOOL_FULL;
    say(&client, "MAIL FROM:<a@x>\r\n");
    expect(&client, "452 4.3.1 The test says so\r\n");
    spool.accepting = SPOOL_FAILED;
    say(&client, "MAIL FROM:<a@x>\r\n");
    expect(&client, "451 4.3.0 ");
    spool.accepting = SPOOL_OK;
    spool.refuses_rcpts = true;
    say(&client, "MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n");
    expect(&client, "452 4.3.1 ");
    say(&client, "RSET\r\n");
    expect(&client, "250 ");
    spool.refuses_rcpts = false;
    spool.answer = SPOOL_FULL;
    send_message(&client, "\r\n.\r\n");
    expect(&client, "452 4.3.1 ");
    spool.answer = SPOOL_FAILED;
    send_message(&client, "\r\n.\r\n");
    expect(&client, "451 4.3.0 ");
    spool.answer = SPOOL_OK;
    send_message(&client, "\r\n.\r\n");
    expect(&client, "250 2.0.0 Ok: queued as ");
    hang_up(&client);
    close_world();
}

/* A body of 300,000 bytes, of which the spool takes some now and then. */
TEST(a_spool_that_is_behind_stops_the_reading_and_loses_nothing)
{
    open_world(SOURCE("add-received-header no\n"));
    begin(&client);
    static char message[300000];
    struct buffer out;
    buffer_init(&out, message, sizeof(message) - 8);
    buffer_put_string(&out, "s: t\r\n\r\n");
    for (int i = 0; buffer_printf(&out, "line %d\r\n", i); i++) {
    }
    size_t len = out.len;
    out.overflowed = false;
    out.capacity = sizeof(message);
    buffer_put_string(&out, ".\r\n");
    say(&client, GROUP);
    expect(&client, "354 ");
    spool.room = 1000;
    size_t at = 0;
    for (int turns = 0; turns < 20000 && !ends_with_line(&client, "250 2.0.0"); turns++) {
        ssize_t sent = send(client.fd, message + at, out.len - at, MSG_NOSIGNAL);
        at += sent > 0 ? (size_t)sent : 0;
        if (turns % 3 == 0) {
            spool.room += 997;
        }
        turn();
        hear(&client);
    }
    CHECK(ends_with_line(&client, "250 2.0.0"));
    CHECK_INT(spool.body.len, len);
    CHECK(memcmp(spool.body.data, message, len) == 0);
    hang_up(&client);
    close_world();
}

TEST(commands_behind_a_final_dot_wait_for_the_answer)
{
    open_world(SOURCE(""));
    begin(&client);
    send_message(&client, "");
    spool.holds_answers = true;
    say(&client, "\r\n1\r\n.\r\n" GROUP);
    TURNS_UNTIL(spool.committed_count == 1);
    for (int i = 0; i < 20; i++) {
        turn();
    }
    hear(&client);
    CHECK_INT(client.len, 0);
    spool.holds_answers = false;
    expect(&client, "354 ");
    say(&client, "\r\n2\r\n.\r\nQUIT\r\n");
    expect(&client, "221 ");
    CHECK_INT(spool.begun, 2);
    hang_up(&client);
    close_world();
}

TEST(s29_a_client_that_leaves_before_the_answer_leaves_its_message)
{
    open_world(SOURCE(""));
    begin(&client);
    spool.holds_answers = true;
    send_message(&client, "\r\n1\r\n.\r\n");
    TURNS_UNTIL(spool.committed_count == 1);
    hang_up(&client);
    spool.holds_answers = false;
    TURNS_UNTIL(spool.committed_count == 0);
    struct sessions_status status;
    TURNS_UNTIL((sessions_status(sessions, &status), status.open == 0));
    CHECK_INT(status.open, 0);
    CHECK_INT(status.transactions, 0);
    close_world();
}

TEST(s29_a_client_that_leaves_in_the_body_leaves_nothing)
{
    open_world(SOURCE(""));
    begin(&client);
    send_message(&client, "\r\nhalf a mess");
    hang_up(&client);
    CHECK_INT(spool.committed_count, 0);
    CHECK_INT(spool.given_back, 1);
    close_world();
}

TEST(a_client_that_shuts_its_side_still_gets_its_answers)
{
    open_world(SOURCE(""));
    begin(&client);
    send_message(&client, "\r\n1\r\n.\r\nNOOP\r\n");
    shutdown(client.fd, SHUT_WR);
    expect(&client, "250 2.0.0 Ok\r\n");
    expect_end(&client);
    hang_up(&client);
    close_world();
}

TEST(s30_a_command_that_trickles_does_not_move_its_deadline)
{
    open_world(SOURCE("smtp-command-timeout 1s\n"));
    begin(&client);
    uint64_t start = io_now_ms(io);
    while (io_now_ms(io) - start < 10000 && !client.ended) {
        send(client.fd, "N", 1, MSG_NOSIGNAL);
        for (int j = 0; j < 5; j++) {
            turn();
        }
        hear(&client);
    }
    CHECK(ends_with_line(&client, "421 4.4.2 "));
    CHECK(io_now_ms(io) - start >= 1000);
    hang_up(&client);
    close_world();
}

TEST(s30_a_message_that_trickles_ends_in_time)
{
    open_world(SOURCE("smtp-data-timeout 1s\n"));
    begin(&client);
    send_message(&client, "");
    uint64_t start = io_now_ms(io);
    while (io_now_ms(io) - start < 10000 && !client.ended) {
        send(client.fd, "N", 1, MSG_NOSIGNAL);
        for (int j = 0; j < 5; j++) {
            turn();
        }
        hear(&client);
    }
    CHECK(ends_with_line(&client, "421 4.4.2 "));
    CHECK_INT(spool.given_back, 1);
    hang_up(&client);
    close_world();
}

TEST(s31_one_address_over_its_maximum_is_told_so_and_the_others_go_on)
{
    static struct client others[4];
    open_world(SOURCE("smtp-max-connections-per-ip 3\n"));
    for (int i = 0; i < 3; i++) {
        begin(&others[i]);
    }
    dial(&others[3]);
    expect(&others[3], "421 4.7.0 ");
    expect_end(&others[3]);
    say(&others[0], "QUIT\r\n");
    expect(&others[0], "221 ");
    hang_up(&others[0]);
    begin(&client);
    for (int i = 1; i < 4; i++) {
        hang_up(&others[i]);
    }
    hang_up(&client);
    close_world();
}

TEST(s31_a_full_house_says_so)
{
    static struct client others[3];
    open_world("total-max-smtp-in 2\n" SOURCE(""));
    begin(&others[0]);
    begin(&others[1]);
    dial(&others[2]);
    expect(&others[2], "421 4.7.0 ");
    for (int i = 0; i < 3; i++) {
        hang_up(&others[i]);
    }
    close_world();
}

TEST(s32_without_descriptors_those_who_are_here_are_served_and_others_later)
{
    static struct client late;
    open_world(SOURCE(""));
    begin(&client);
    dial(&late); /* its socket is made before descriptors run out */
    struct rlimit was, none;
    getrlimit(RLIMIT_NOFILE, &was);
    none = was;
    none.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &none);
    for (int i = 0; i < 20; i++) {
        turn();
    }
    send_message(&client, "\r\n1\r\n.\r\n");
    expect(&client, "250 ");
    setrlimit(RLIMIT_NOFILE, &was);
    expect(&late, "220 ");
    hang_up(&late);
    hang_up(&client);
    close_world();
}

TEST(s14_a_line_without_an_end_ends_the_session)
{
    open_world(SOURCE(""));
    begin(&client);
    static char junk[65536];
    memset(junk, 'x', sizeof(junk));
    for (int i = 0; i < 20000 && !client.ended && !ends_with_line(&client, "421 4.7.0 "); i++) {
        send(client.fd, junk, sizeof(junk), MSG_NOSIGNAL);
        turn();
        hear(&client);
    }
    CHECK(ends_with_line(&client, "421 4.7.0 "));
    hang_up(&client);
    close_world();
}

TEST(a_client_that_never_reads_cannot_hold_a_session_for_ever)
{
    open_world(SOURCE("smtp-command-timeout 1s\n"));
    begin(&client);
    int small = 1024;
    setsockopt(client.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    struct sessions_status status = {.open = 1};
    uint64_t start = io_now_ms(io);
    while (io_now_ms(io) - start < 10000 && status.open > 0) {
        static const char talk[] = "FOO\r\nMAIL FROM:<a@x>\r\nRSET\r\n";
        send(client.fd, talk, sizeof(talk) - 1, MSG_NOSIGNAL);
        turn();
        sessions_status(sessions, &status);
    }
    CHECK_INT(status.open, 0);
    hang_up(&client);
    close_world();
}

TEST(a_drain_ends_when_the_last_transaction_does)
{
    static struct client idle;
    open_world(SOURCE(""));
    begin(&client);
    begin(&idle);
    send_message(&client, "");
    sessions_drain(sessions, on_drained);
    for (int i = 0; i < 20; i++) {
        turn();
    }
    CHECK(!drained);
    say(&idle, "NOOP\r\n");
    expect(&idle, "421 4.3.2 ");
    say(&client, "\r\n1\r\n.\r\n");
    expect(&client, "250 2.0.0 Ok: queued");
    TURNS_UNTIL(drained);
    CHECK(drained);
    say(&client, "MAIL FROM:<a@x>\r\n");
    expect(&client, "421 4.3.2 ");
    hang_up(&idle);
    hang_up(&client);
    close_world();
}

TEST(a_stop_tells_those_who_wait_and_waits_for_the_spool)
{
    static struct client idle;
    open_world(SOURCE(""));
    begin(&client);
    begin(&idle);
    spool.holds_answers = true;
    send_message(&client, "\r\n1\r\n.\r\n");
    TURNS_UNTIL(spool.committed_count == 1);
    sessions_stop(sessions, on_stopped);
    expect(&idle, "421 4.3.2 ");
    expect_end(&idle);
    close(idle.fd);
    CHECK(!stopped);
    spool.holds_answers = false;
    TURNS_UNTIL((hear(&client), client.ended));
    CHECK(strstr(client.text, "250 2.0.0 Ok: queued") != NULL);
    CHECK(ends_with_line(&client, "421 4.3.2 "));
    close(client.fd);
    TURNS_UNTIL(stopped);
    close_world();
}

TEST(a_reload_reaches_a_session_that_is_open)
{
    open_world(SOURCE(""));
    begin(&client);
    struct config *old = config;
    config = load_good("<source 127/8>\nalways-allow-relaying no\n</source>\n");
    sessions_reload(sessions);
    config_free(old);
    say(&client, "MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n");
    expect(&client, "550 5.7.1 ");
    hang_up(&client);
    close_world();
}

TEST(a_port_that_is_taken_is_an_error_in_words)
{
    open_world(SOURCE(""));
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_INT(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    CHECK_INT(listen(fd, 1), 0);
    getsockname(fd, (struct sockaddr *)&at, &len);
    struct error error;
    struct listener *second = listener_open(
        &(struct listener_options){
            .io = io,
            .sessions = sessions,
            .address = {.family = ADDRESS_IPV4, .port = ntohs(at.sin_port), .ip = {127, 0, 0, 1}}},
        &error);
    CHECK(second == NULL);
    CHECK(strstr(error.text, "cannot listen on 127.0.0.1:") != NULL);
    close(fd);
    close_world();
}
