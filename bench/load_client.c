/* A message is tried in transactions. Each recipient is LEFT, TAKEN (accepted by RCPT in the
 * transaction in progress) or DONE (under a final 250). What the server puts off (421, 451, 452)
 * stays LEFT and is tried again later; anything else that is not as expected gives the message
 * up and is counted. With PIPELINING the whole envelope is on its way before the first reply:
 * the replies are read in the same order either way. */
#include "bench/load_client.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/list.h"

enum rcpt_state { RCPT_LEFT, RCPT_TAKEN, RCPT_DONE };

#define PLAIN_BYTES 16384
#define COMMAND_MAX 256 /* bytes of one MAIL or RCPT line of ours */

static void next_message(struct load_client *client);
static void open_connection(struct load_client *client);

/* ---- sending ----------------------------------------------------------------------------- */

static void *room(char **memory, size_t *capacity, size_t wanted)
{
    if (wanted > *capacity) {
        free(*memory);
        *memory = malloc(wanted);
        *capacity = wanted;
        if (*memory == NULL) {
            tool_fail(EX_OSERR, "no memory");
        }
    }
    return *memory;
}

static void hang_up(struct load_client *client)
{
    client->hanging_up = true;
    shutdown(client->connect.fd, SHUT_RDWR);
}

/* Sends what TLS has to say; false: nothing. */
static bool send_encrypted(struct load_client *client)
{
    struct bytes out = tls_outgoing(client->tls);
    if (out.len == 0 || ring_busy(&client->send)) {
        return false;
    }
    char *copy = room(&client->encrypted_text, &client->encrypted_capacity, out.len);
    memcpy(copy, out.data, out.len);
    tls_outgoing_drop(client->tls);
    ring_send(client->plan->ring, &client->send, client->connect.fd, copy, out.len);
    return true;
}

/* One send is in flight at a time; a server may answer before it has read all. */
static void send_parts(struct load_client *client)
{
    client->send_waiting = ring_busy(&client->send);
    if (client->send_waiting) {
        return;
    }
    if (client->tls == NULL) {
        client->message =
            (struct msghdr){.msg_iov = client->parts, .msg_iovlen = client->part_count};
        ring_sendmsg(client->plan->ring, &client->send, client->connect.fd, &client->message);
        return;
    }
    for (size_t i = 0; i < client->part_count; i++) {
        if (!tls_write(client->tls,
                       bytes_of(client->parts[i].iov_base, client->parts[i].iov_len))) {
            hang_up(client);
            return;
        }
    }
    send_encrypted(client);
}

static void send_text(struct load_client *client, const char *text, enum load_stage stage)
{
    client->stage = stage;
    client->parts[0] = (struct iovec){(void *)(uintptr_t)text, strlen(text)};
    client->part_count = 1;
    send_parts(client);
}

/* ---- a transaction ----------------------------------------------------------------------- */

static uint64_t domain_of(const struct load_plan *plan, uint64_t sequence, uint32_t rcpt)
{
    uint64_t number = plan->spread ? sequence * plan->rcpts + rcpt : sequence;
    return number % plan->domains;
}

static size_t put_rcpt(struct load_client *client, char *out, uint32_t rcpt)
{
    const struct load_plan *plan = client->plan;
    return (size_t)snprintf(out, COMMAND_MAX, "RCPT TO:<u%llu@d%llu.test>\r\n",
                            (unsigned long long)(client->sequence * plan->rcpts + rcpt),
                            (unsigned long long)domain_of(plan, client->sequence, rcpt));
}

static uint32_t next_left(const struct load_client *client, uint32_t from)
{
    while (from < client->plan->rcpts && client->rcpt_states[from] != RCPT_LEFT) {
        from++;
    }
    return from;
}

/* MAIL, and with PIPELINING the RCPTs that are left and DATA (RFC 2920 3.1). */
static void begin_transaction(struct load_client *client)
{
    const struct load_plan *plan = client->plan;
    client->put_off = client->given_up = false;
    client->rcpt_accepted = 0;
    client->rcpt_at = next_left(client, 0);
    char *text = room(&client->text, &client->text_capacity, (plan->rcpts + 2) * COMMAND_MAX);
    size_t len = (size_t)snprintf(text, COMMAND_MAX, "MAIL FROM:<%s>\r\n", plan->sender);
    if (plan->pipelined) {
        for (uint32_t rcpt = client->rcpt_at; rcpt < plan->rcpts;
             rcpt = next_left(client, rcpt + 1)) {
            len += put_rcpt(client, text + len, rcpt);
        }
        memcpy(text + len, "DATA\r\n", sizeof "DATA\r\n");
    }
    send_text(client, text, LOAD_MAIL);
}

static size_t make_header(struct load_client *client)
{
    const struct load_plan *plan = client->plan;
    unsigned long long sequence = client->sequence;
    char vmta[COMMAND_MAX] = "";
    if (plan->vmta_count > 0) {
        snprintf(vmta, sizeof vmta, "X-Virtual-MTA: %s\r\n",
                 plan->vmtas[sequence % plan->vmta_count]);
    }
    int len = snprintf(client->header, sizeof client->header,
                       "From: Load <%s>\r\nTo: <u%llu@d%llu.test>\r\n"
                       "Subject: Loaded mail %llu\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n"
                       "Message-ID: <%llu.%llu@load.test>\r\nX-Seq: %llu\r\n%s\r\n",
                       plan->sender, sequence * plan->rcpts,
                       (unsigned long long)domain_of(plan, sequence, 0), sequence, sequence,
                       (unsigned long long)client->attempts, sequence, vmta);
    assert(len > 0 && (size_t)len < sizeof client->header);
    return (size_t)len;
}

/* Headers and as much of the shared body as makes the size. */
static void send_message(struct load_client *client)
{
    const struct load_plan *plan = client->plan;
    size_t header_len = make_header(client);
    size_t wanted = plan->size > header_len + 2 ? plan->size - header_len + 3 : 5;
    assert(wanted <= plan->body_len);
    char *start = plan->body + plan->body_len - wanted;
    if (*start == '\n') { /* a bare LF is not ours to send */
        start++;
        wanted--;
    }
    client->parts[0] = (struct iovec){client->header, header_len};
    client->parts[1] = (struct iovec){start, wanted};
    client->part_count = 2;
    client->stage = LOAD_FINAL;
    client->dot_ns = tool_now_ns();
    send_parts(client);
}

/* ---- what comes of it -------------------------------------------------------------------- */

static void done_with_message(struct load_client *client)
{
    client->has_message = false;
    client->attempts = 0;
}

static void give_up(struct load_client *client)
{
    client->plan->given_up++;
    done_with_message(client);
}

/* Tries the same message again later, on this connection or, if it is gone, on another one. */
static void wait_and_try_again(struct load_client *client)
{
    struct load_plan *plan = client->plan;
    if (++client->attempts > plan->retries_max) {
        if (client->has_message) {
            give_up(client);
        } else {
            plan->unexpected++; /* no connection to be had */
            client->stage = LOAD_FINISHED;
            plan->finished_count++;
            return;
        }
    }
    client->stage = LOAD_WAITING;
    timer_start(plan->timers, &client->again, plan->now_ms + plan->retry_ms);
}

static void count_put_off(struct load_client *client, uint16_t code)
{
    client->put_off = true;
    client->plan->replied_421 += code == 421;
    client->plan->replied_451 += code == 451;
    client->plan->replied_452 += code == 452;
}

/* A refusal that no retry mends, or one that is only for later. */
static void note_refusal(struct load_client *client)
{
    const struct reply *reply = &client->reply;
    if (reply->code == 421 || reply->code == 451 || reply->code == 452) {
        count_put_off(client, reply->code);
        return;
    }
    if (client->plan->unexpected++ == 0) {
        fprintf(stderr, "load: message %llu: unexpected reply %u %.*s\n",
                (unsigned long long)client->sequence, reply->code, (int)reply->text_len,
                reply->text);
    }
    client->given_up = true;
}

static void end_transaction(struct load_client *client)
{
    if (client->given_up) {
        give_up(client);
        next_message(client);
    } else if (client->put_off) {
        wait_and_try_again(client);
    } else {
        done_with_message(client);
        next_message(client);
    }
}

static void set_taken(struct load_client *client, enum rcpt_state state)
{
    for (uint32_t rcpt = 0; rcpt < client->plan->rcpts; rcpt++) {
        if (client->rcpt_states[rcpt] == RCPT_TAKEN) {
            client->rcpt_states[rcpt] = (uint8_t)state;
        }
    }
}

static void record_accepted(const struct load_client *client)
{
    if (client->plan->record != NULL) {
        fprintf(client->plan->record, "%llu\t%llu\t%u %.*s\n", (unsigned long long)tool_wall_us(),
                (unsigned long long)client->sequence, client->reply.code,
                (int)client->reply.text_len, client->reply.text);
    }
}

static void on_final(struct load_client *client)
{
    struct load_plan *plan = client->plan;
    if (client->reply.code != 250) {
        note_refusal(client);
        set_taken(client, RCPT_LEFT);
    } else {
        histogram_add(&plan->latency_us, (tool_now_ns() - client->dot_ns) / 1000);
        record_accepted(client);
        set_taken(client, RCPT_DONE);
        plan->rcpts_accepted += client->rcpt_accepted;
        client->rcpt_left -= client->rcpt_accepted;
        plan->accepted += client->rcpt_left == 0;
    }
    end_transaction(client);
}

static void on_data(struct load_client *client)
{
    if (client->reply.code == 354) {
        /* RFC 2920 3.1: accepted though no recipient was; the answer is an empty message. */
        if (client->rcpt_accepted == 0) {
            send_text(client, ".\r\n", LOAD_RSET);
            return;
        }
        send_message(client);
        return;
    }
    /* Refused because all that came before was: what that was has been noted already. */
    if (client->rcpt_accepted > 0) {
        note_refusal(client);
        set_taken(client, RCPT_LEFT);
    }
    send_text(client, "RSET\r\n", LOAD_RSET);
}

static void after_envelope_reply(struct load_client *client)
{
    const struct load_plan *plan = client->plan;
    bool more = client->rcpt_at < plan->rcpts;
    if (plan->pipelined) {
        client->stage = more ? LOAD_RCPT : LOAD_DATA;
    } else if (more) {
        put_rcpt(client, client->text, client->rcpt_at);
        send_text(client, client->text, LOAD_RCPT);
    } else if (client->rcpt_accepted > 0) {
        send_text(client, "DATA\r\n", LOAD_DATA);
    } else {
        send_text(client, "RSET\r\n", LOAD_RSET);
    }
}

static void on_mail(struct load_client *client)
{
    if (client->reply.code != 250) {
        note_refusal(client);
        if (!client->plan->pipelined) {
            send_text(client, "RSET\r\n", LOAD_RSET);
            return;
        }
    }
    after_envelope_reply(client);
}

static void on_rcpt(struct load_client *client)
{
    if (client->reply.code == 250) {
        client->rcpt_states[client->rcpt_at] = RCPT_TAKEN;
        client->rcpt_accepted++;
    } else if (client->rcpt_accepted > 0 || !(client->put_off || client->given_up) ||
               client->reply.code != 503) {
        note_refusal(client);
    }
    client->rcpt_at = next_left(client, client->rcpt_at + 1);
    after_envelope_reply(client);
}

static void next_message(struct load_client *client)
{
    struct load_plan *plan = client->plan;
    bool more = plan->started < plan->messages &&
                (plan->deadline_ms == 0 || plan->now_ms < plan->deadline_ms);
    if (!client->has_message && !more) {
        send_text(client, "QUIT\r\n", LOAD_QUIT);
        return;
    }
    if (!client->has_message) {
        client->has_message = true;
        client->sequence = plan->first_sequence + plan->started++;
        client->attempts = 0;
        client->rcpt_left = plan->rcpts;
        memset(client->rcpt_states, RCPT_LEFT, plan->rcpts);
    }
    begin_transaction(client);
}

/* ---- replies ----------------------------------------------------------------------------- */

static void on_ehlo(struct load_client *client)
{
    if (client->reply.code != 250) {
        note_refusal(client);
        hang_up(client);
    } else if (client->plan->tls != NULL && !client->encrypted) {
        send_text(client, "STARTTLS\r\n", LOAD_STARTTLS);
    } else {
        next_message(client);
    }
}

static void begin_tls(struct load_client *client)
{
    if (client->reply.code != 220) {
        note_refusal(client);
        hang_up(client);
        return;
    }
    client->stage = LOAD_HANDSHAKE;
    client->tls = tls_create(client->plan->tls);
    if (client->tls == NULL || !tls_receive(client->tls, bytes_of(NULL, 0))) {
        tool_fail(EX_SOFTWARE, "TLS cannot begin");
    }
    send_encrypted(client);
}

static void on_reply(struct load_client *client)
{
    if (client->reply.code == 421 || client->reply.code == 0) {
        note_refusal(client);
        hang_up(client);
        return;
    }
    switch (client->stage) {
    case LOAD_GREETING:
        if (client->reply.code != 220) {
            note_refusal(client);
            hang_up(client);
            return;
        }
        send_text(client, "EHLO load.test\r\n", LOAD_EHLO);
        break;
    case LOAD_EHLO:
        on_ehlo(client);
        break;
    case LOAD_STARTTLS:
        begin_tls(client);
        break;
    case LOAD_MAIL:
        on_mail(client);
        break;
    case LOAD_RCPT:
        on_rcpt(client);
        break;
    case LOAD_DATA:
        on_data(client);
        break;
    case LOAD_FINAL:
        on_final(client);
        break;
    case LOAD_RSET:
        end_transaction(client);
        break;
    case LOAD_QUIT:
        hang_up(client);
        break;
    case LOAD_HANDSHAKE:
    case LOAD_WAITING:
    case LOAD_FINISHED:
        /* Nothing was asked. */
        note_refusal(client);
        hang_up(client);
        break;
    }
}

static void take_replies(struct load_client *client, struct bytes in)
{
    while (!client->hanging_up && reply_next(&client->reply, &in)) {
        on_reply(client);
    }
}

static void take_encrypted(struct load_client *client, struct bytes in)
{
    static char plain[PLAIN_BYTES];
    if (!tls_receive(client->tls, in)) {
        client->plan->unexpected++;
        hang_up(client);
        return;
    }
    if (!client->encrypted && tls_ready(client->tls)) {
        client->encrypted = true;
        send_text(client, "EHLO load.test\r\n", LOAD_EHLO);
    }
    int len;
    while ((len = tls_read(client->tls, plain, sizeof plain)) > 0) {
        take_replies(client, bytes_of(plain, (size_t)len));
    }
    send_encrypted(client);
}

/* ---- connections ------------------------------------------------------------------------- */

static void on_closed(struct load_client *client)
{
    struct load_plan *plan = client->plan;
    if (ring_busy(&client->send) || ring_busy(&client->recv)) {
        return;
    }
    close(client->connect.fd);
    tls_destroy(client->tls);
    client->tls = NULL;
    plan->open_count--;
    if (client->stage == LOAD_QUIT) {
        client->stage = LOAD_FINISHED;
        plan->finished_count++;
        return;
    }
    if (!client->put_off && !client->given_up) {
        plan->lost++;
        plan->unexpected += !plan->reconnect;
    }
    if (client->has_message) {
        set_taken(client, RCPT_LEFT);
    }
    if (client->given_up && client->has_message) {
        give_up(client);
    }
    if (client->stage != LOAD_WAITING) {
        wait_and_try_again(client);
    }
    client->open = false;
}

static void on_sent(struct ring_op *op, int result)
{
    struct load_client *client = CONTAINER_OF(op, struct load_client, send);
    if (!ring_busy(&client->recv)) {
        on_closed(client);
    } else if (result < 0) {
        hang_up(client);
    } else if (client->send_waiting) {
        send_parts(client);
    } else if (client->tls != NULL) {
        send_encrypted(client);
    }
}

static void on_received(struct ring_op *op, int result)
{
    struct load_client *client = CONTAINER_OF(op, struct load_client, recv);
    if (result <= 0) {
        on_closed(client);
        return;
    }
    struct bytes in = bytes_of(op->data, (size_t)result);
    if (client->tls != NULL) {
        take_encrypted(client, in);
    } else {
        take_replies(client, in);
    }
}

static void on_connected(struct ring_op *op, int result)
{
    struct load_client *client = CONTAINER_OF(op, struct load_client, connect);
    struct load_plan *plan = client->plan;
    if (result < 0) {
        if (plan->lost++ == 0) {
            fprintf(stderr, "load: connect: %s\n", strerror(-result));
        }
        close(op->fd);
        client->open = false;
        wait_and_try_again(client);
        return;
    }
    plan->open_count++;
    ring_recv(plan->ring, &client->recv, op->fd);
}

static void open_connection(struct load_client *client)
{
    struct load_plan *plan = client->plan;
    int fd = socket(plan->target.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        tool_fail(EX_OSERR, "socket: %s", strerror(errno));
    }
    if (plan->source.len > 0 &&
        (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) != 0 ||
         bind(fd, (const struct sockaddr *)&plan->source.storage, plan->source.len) != 0)) {
        tool_fail(EX_OSERR, "--source: %s", strerror(errno));
    }
    client->open = true;
    client->encrypted = client->hanging_up = client->send_waiting = false;
    client->put_off = client->given_up = false;
    client->reply = (struct reply){.code = 0};
    client->stage = LOAD_GREETING;
    ring_connect(plan->ring, &client->connect, fd, (const struct sockaddr *)&plan->target.storage,
                 plan->target.len);
}

static void on_again(struct timer *timer)
{
    struct load_client *client = CONTAINER_OF(timer, struct load_client, again);
    if (client->open) {
        next_message(client);
    } else {
        open_connection(client);
    }
}

void load_client_start(struct load_client *client, struct load_plan *plan)
{
    client->plan = plan;
    client->rcpt_states = calloc(plan->rcpts, 1);
    if (client->rcpt_states == NULL) {
        tool_fail(EX_OSERR, "no memory");
    }
    ring_op_init(&client->connect, on_connected);
    ring_op_init(&client->recv, on_received);
    ring_op_init(&client->send, on_sent);
    timer_init(&client->again, on_again);
    open_connection(client);
}

void load_client_deinit(struct load_client *client)
{
    free(client->rcpt_states);
    free(client->text);
    free(client->encrypted_text);
}
