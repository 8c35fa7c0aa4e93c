/* What it costs to read and write the small things: commands, bodies, addresses, replies, records.
 *
 *     ninja -C build bench/micro_parsers && build/bench/micro_parsers
 *
 * One thread, all of it in the caches: what the code costs, not what memory costs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal.h"
#include "message.h"
#include "micro.h"
#include "smtp/path.h"
#include "smtp/reply.h"
#include "smtp/server.h"

#define BODY_BYTES  4096
#define LARGE_BYTES (1 << 20)
#define TEXT_BYTES  (LARGE_BYTES + 4096)
#define ITEMS       200000

static char mail_text[TEXT_BYTES], large_text[TEXT_BYTES];
static struct bytes mail, large; /* messages with their final dot */
static uint64_t seen;            /* of the results, so that nothing is optimised away */

static void must(bool so, const char *what)
{
    if (!so) {
        fprintf(stderr, "%s: not as expected\n", what);
        exit(1);
    }
}

/* A message as bulk mail is: a dozen fields, then lines of text. */
static struct bytes make_mail(char *memory, size_t size)
{
    static const char header[] =
        "Received: from feeder.sender.example ([192.0.2.17]) by in.sender.example;\r\n"
        "\tTue, 5 Feb 2019 10:00:00 +0100\r\n"
        "From: Newsletter <news@sender.example>\r\n"
        "To: Jane Doe <jane.doe@recipients.example>\r\n"
        "Subject: The news of this week, and what is new besides\r\n"
        "Date: Tue, 5 Feb 2019 10:00:00 +0100\r\n"
        "Message-ID: <20190205.4711.0815@sender.example>\r\n"
        "List-Unsubscribe: <https://sender.example/unsubscribe?who=4711>\r\n"
        "X-Virtual-MTA: vmta48\r\n"
        "X-Job: newsletter-2019-02\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n\r\n";
    static const char line[] = "a line of text of a usual length, so that there is something\r\n";
    struct buffer out;
    buffer_init(&out, memory, TEXT_BYTES);
    buffer_put_string(&out, header);
    while (out.len < size) {
        buffer_put_string(&out, line);
    }
    buffer_put_string(&out, ".\r\n");
    return buffer_bytes(&out);
}

/* ---- the server core -------------------------------------------------------------------- */

static struct body body;

static void on_hello(void *owner, struct bytes name, bool extended)
{
}

static const char *on_mail(void *owner, const struct server_mail *command)
{
    seen += command->sender.len;
    return NULL;
}

static const char *on_rcpt(void *owner, const struct server_rcpt *command)
{
    seen += command->address.len;
    return NULL;
}

/* As the engine does: the bytes are copied once. */
static void on_pass(void *owner, const char *data, size_t len)
{
    static char copy[64 * 1024];
    memcpy(copy, data, len < sizeof(copy) ? len : sizeof(copy));
    seen += (uint8_t)copy[0];
}

static void on_header_end(void *owner)
{
}

static const struct header_filter_events filter_events = {on_pass, on_header_end, NULL};
static const struct body_limits limits = {
    .size_max = 2 * LARGE_BYTES, .line_max = 998, .received_max = 100};

static const char *on_data(void *owner, struct body **out)
{
    body_init(&body, &limits, &filter_events, NULL);
    *out = &body;
    return NULL;
}

static const char *on_end(void *owner)
{
    return NULL;
}

static void on_reset(void *owner)
{
}

static const struct server_events events = {on_hello, on_mail, on_rcpt, on_data, on_end, on_reset};
static const struct server_settings settings = {.host_name = {"mx.example", 10},
                                                .size_max = 2 * LARGE_BYTES,
                                                .rcpts_max = 1000,
                                                .chunking = true,
                                                .smtputf8 = true};

static void feed(struct smtp_server *server, struct bytes flight)
{
    size_t at = 0;
    while (at < flight.len) {
        size_t taken = smtp_server_feed(server, flight.data + at, flight.len - at);
        size_t said = smtp_server_output(server).len;
        must(taken + said > 0, "server");
        smtp_server_sent(server, said);
        at += taken;
    }
}

/* Transactions of one session, commands in a flight and the message in the next. */
static void server_messages(uint32_t count)
{
    static struct smtp_server server;
    static struct server_workspace workspace;
    static const struct bytes commands = BYTES_INIT(
        "MAIL FROM:<bounce-4711-jane.doe=recipients.example@bounces.sender.example> SIZE=4096\r\n"
        "RCPT TO:<jane.doe@recipients.example>\r\nDATA\r\n");
    smtp_server_init(&server, &events, NULL);
    server.settings = &settings;
    server.workspace = &workspace;
    smtp_server_greet(&server);
    feed(&server, BYTES("EHLO feeder.sender.example\r\n"));
    for (uint32_t i = 0; i < count; i++) {
        feed(&server, commands);
        feed(&server, mail);
        must(smtp_server_waits_for(&server) == SERVER_WAITS_ANSWER, "server");
        smtp_server_answer(&server, "250 2.0.0 Ok: queued as 0000000000000000002A", true);
        smtp_server_sent(&server, smtp_server_output(&server).len);
    }
    must(server.messages == count, "server");
}

/* ---- bodies ----------------------------------------------------------------------------- */

static void read_body(struct bytes text)
{
    bool ended = false;
    body_init(&body, &limits, &filter_events, NULL);
    must(body_feed_data(&body, text.data, text.len, &ended) == text.len && ended, "body");
    must(body_refusal(&body) == NULL, "body");
}

static void bodies(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        read_body(mail);
    }
}

static void large_bodies(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        read_body(large);
    }
}

static size_t header_len;

static void headers(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct header_filter filter;
        header_filter_init(&filter, &filter_events, NULL);
        header_filter_feed(&filter, mail.data, header_len);
        must(filter.done, "header");
    }
}

/* ---- words ------------------------------------------------------------------------------ */

static void paths(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct bytes text = BYTES("<bounce-4711-jane.doe=recipients.example@bounces.example>");
        struct path path;
        must(path_parse(&text, &path) == PATH_OK, "path");
        seen += path.len;
    }
}

static void mail_parameters(uint32_t count)
{
    static const struct params_offered offered = {.smtputf8 = true, .dsn = true};
    for (uint32_t i = 0; i < count; i++) {
        struct mail_params params;
        struct bytes text = BYTES(" SIZE=41159 BODY=8BITMIME RET=HDRS ENVID=newsletter+2B4711");
        must(mail_params_parse(text, &offered, &params) == PARAMS_OK, "parameters");
        seen += params.size;
    }
}

static void rcpt_parameters(uint32_t count)
{
    static const struct params_offered offered = {.smtputf8 = true, .dsn = true};
    for (uint32_t i = 0; i < count; i++) {
        struct rcpt_params params;
        struct bytes text =
            BYTES(" NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;jane.doe@recipients.example");
        must(rcpt_params_parse(text, &offered, false, &params) == PARAMS_OK, "parameters");
        seen += params.orcpt_len;
    }
}

/* ---- replies ---------------------------------------------------------------------------- */

static void read_replies(struct bytes text, uint32_t count)
{
    static struct reply_parser parser;
    reply_parser_init(&parser);
    for (uint32_t i = 0; i < count; i++) {
        size_t consumed;
        must(reply_parser_feed(&parser, text.data, text.len, &consumed) == REPLY_COMPLETE, "reply");
        seen += parser.reply.code;
    }
}

static const struct bytes short_reply = BYTES_INIT("250 2.0.0 Ok: queued as 4XkD2n3hRbz2xYw\r\n");
static const struct bytes ehlo_reply =
    BYTES_INIT("250-mx01.recipients.example\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n"
               "250-ETRN\r\n250-STARTTLS\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n"
               "250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n");

static void short_replies(uint32_t count)
{
    read_replies(short_reply, count);
}

static void ehlo_replies(uint32_t count)
{
    read_replies(ehlo_reply, count);
}

/* ---- records ---------------------------------------------------------------------------- */

static const struct event event = {
    .type = EVENT_DELIVERED,
    .logged_wall_ms = 1549662845123,
    .queued_wall_ms = 1549662845000,
    .orig = BYTES_INIT("bounce-4711-jane.doe=recipients.example@bounces.sender.example"),
    .rcpt = BYTES_INIT("jane.doe@recipients.example"),
    .dsn_status = BYTES_INIT("2.0.0 (success)"),
    .dsn_diag = BYTES_INIT("smtp;250 2.0.0 Ok: queued as 4XkD2n3hRbz2xYw"),
    .mx_host = BYTES_INIT("mx01.recipients.example"),
    .source_type = BYTES_INIT("smtp"),
    .source_ip = BYTES_INIT("192.0.2.17"),
    .delivery_type = BYTES_INIT("smtp"),
    .delivery_source_ip = BYTES_INIT("192.0.2.40"),
    .delivery_destination_ip = BYTES_INIT("198.51.100.25"),
    .delivery_size = 41159,
    .vmta = BYTES_INIT("vmta48"),
    .job = BYTES_INIT("newsletter-2019-02"),
    .queue = BYTES_INIT("recipients.example/vmta48"),
    .attempt = 1,
    .smtp_code = 250,
    .message_id = BYTES_INIT("0000000000000000002A"),
    .stage = BYTES_INIT("final"),
    .tls = BYTES_INIT("opportunistic"),
};
static char record_text[EVENT_BYTES_MAX];
static struct bytes record;

static void encoded(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct buffer out;
        buffer_init(&out, record_text, sizeof(record_text));
        must(journal_encode(&out, &event), "journal");
        record = buffer_bytes(&out);
    }
}

static void decoded(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct event out;
        must(journal_decode(record, &out), "journal");
        seen += out.rcpt.len;
    }
}

static void make_messages(uint32_t count, uint32_t rcpt_count)
{
    struct envelope_rcpt rcpts[100];
    for (uint32_t i = 0; i < rcpt_count; i++) {
        rcpts[i] = (struct envelope_rcpt){.address = BYTES("jane.doe@recipients.example"),
                                          .domain_len = 18};
    }
    const struct envelope envelope = {
        .sender = event.orig,
        .vmta = event.vmta,
        .job = event.job,
        .helo = BYTES("feeder01.sender.example"),
        .source_ip = event.source_ip,
        .body_size = BODY_BYTES,
        .rcpts = rcpts,
        .rcpt_count = rcpt_count,
    };
    for (uint32_t i = 0; i < count; i++) {
        struct message *message = message_create(&envelope);
        must(message != NULL, "message");
        seen += message_memory(message);
        message_free(message);
    }
}

static void messages_of_one(uint32_t count)
{
    make_messages(count, 1);
}

static void messages_of_100(uint32_t count)
{
    make_messages(count, 100);
}

int main(void)
{
    mail = make_mail(mail_text, BODY_BYTES);
    large = make_mail(large_text, LARGE_BYTES);
    header_len = (size_t)((const char *)memmem(mail.data, mail.len, "\r\n\r\n", 4) - mail.data) + 4;
    micro_measure("server core, MAIL RCPT DATA and a body of 4 KiB", server_messages, ITEMS / 10,
                  mail.len);
    micro_measure("body and header filter, 4 KiB", bodies, ITEMS / 10, mail.len);
    micro_measure("body and header filter, 1 MiB", large_bodies, 50, large.len);
    micro_measure("header filter, 12 fields", headers, ITEMS, header_len);
    micro_measure("path <local@domain>", paths, ITEMS, 0);
    micro_measure("parameters of MAIL: SIZE BODY RET ENVID", mail_parameters, ITEMS, 0);
    micro_measure("parameters of RCPT: NOTIFY ORCPT", rcpt_parameters, ITEMS, 0);
    micro_measure("reply of one line", short_replies, ITEMS, 0);
    micro_measure("reply to EHLO, 10 lines", ehlo_replies, ITEMS, 0);
    micro_measure("journal record written", encoded, ITEMS, 0);
    micro_measure("journal record read", decoded, ITEMS, 0);
    micro_measure("message made and freed, one recipient", messages_of_one, ITEMS, 0);
    micro_measure("message made and freed, 100 recipients", messages_of_100, ITEMS / 10, 0);
    return seen == 0;
}
