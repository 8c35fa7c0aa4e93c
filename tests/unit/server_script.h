/* The SMTP server core against scripts: flights of bytes, each sent when the one before was
 * answered. Every script runs whole, byte by byte and at random splits; what was said and what
 * was accepted must be the same. For test binaries: everything is static. */
#ifndef TESTS_UNIT_SERVER_SCRIPT_H
#define TESTS_UNIT_SERVER_SCRIPT_H

#include <stdlib.h>

#include "base/rng.h"
#include "smtp/server.h"
#include "test.h"

#define TEXT_MAX (1 << 18)

struct world {
    struct smtp_server server;
    struct server_workspace workspace;
    struct body body;
    struct server_settings settings;
    struct buffer said, seen; /* replies; what the owner was told */
    char said_memory[TEXT_MAX], seen_memory[TEXT_MAX];
    char message[TEXT_MAX];
    size_t message_len;
    int outputs;  /* how often something was sent */
    bool waiting; /* `end` was called, the answer is due */
    /* What the owner answers. */
    const char *mail_answer, *rcpt_answer, *data_answer, *end_answer, *final_answer;
    uint32_t line_max;
};

static void on_hello(void *owner, struct bytes name, bool extended)
{
    struct world *world = owner;
    buffer_printf(&world->seen, "%s %.*s\n", extended ? "ehlo" : "helo", BYTES_FMT(name));
}

static const char *on_mail(void *owner, const struct server_mail *mail)
{
    struct world *world = owner;
    buffer_printf(&world->seen, "mail <%.*s>%s%s\n", BYTES_FMT(mail->sender),
                  mail->params->smtputf8 ? " utf8" : "", mail->params->eight_bit ? " 8bit" : "");
    return world->mail_answer;
}

static const char *on_rcpt(void *owner, const struct server_rcpt *rcpt)
{
    struct world *world = owner;
    buffer_printf(&world->seen, "rcpt <%.*s> %u\n", BYTES_FMT(rcpt->address), rcpt->domain_len);
    return bytes_starts_with(rcpt->address, BYTES("no")) ? "550 5.7.1 no" : world->rcpt_answer;
}

static void on_pass(void *owner, const char *data, size_t len)
{
    struct world *world = owner;
    if (world->message_len + len <= TEXT_MAX) {
        memcpy(world->message + world->message_len, data, len);
        world->message_len += len;
    }
}

static void on_header_end(void *owner)
{
}

static const struct header_filter_events body_events = {on_pass, on_header_end, NULL};

static const char *on_data(void *owner, struct body **body)
{
    struct world *world = owner;
    struct body_limits limits = {world->settings.size_max, world->line_max, 100};
    body_init(&world->body, &limits, &body_events, world);
    world->message_len = 0;
    *body = &world->body;
    return world->data_answer;
}

static const char *on_end(void *owner)
{
    struct world *world = owner;
    CHECK_INT(world->body.size, world->message_len);
    buffer_printf(&world->seen, "end %zu\n", world->message_len);
    world->waiting = world->end_answer == NULL;
    return world->end_answer;
}

static void on_reset(void *owner)
{
    struct world *world = owner;
    buffer_put_string(&world->seen, "reset\n");
    world->message_len = 0; /* what was passed on before a fault was seen is thrown away */
}

static const struct server_events events = {on_hello, on_mail, on_rcpt, on_data, on_end, on_reset};

/* What the next worlds are made with; put back by `fresh`. */
static struct world plan;

static void fresh(void)
{
    plan.settings = (struct server_settings){.host_name = BYTES("mx.example"),
                                             .size_max = 100000,
                                             .rcpts_max = 100,
                                             .chunking = true,
                                             .smtputf8 = true};
    plan.line_max = 1000;
    plan.mail_answer = plan.rcpt_answer = plan.data_answer = plan.end_answer = NULL;
    plan.final_answer = "250 2.0.0 Ok: queued as 0123456789";
}

static void open_world(struct world *world)
{
    world->settings = plan.settings;
    world->line_max = plan.line_max;
    world->mail_answer = plan.mail_answer;
    world->rcpt_answer = plan.rcpt_answer;
    world->data_answer = plan.data_answer;
    world->end_answer = plan.end_answer;
    world->final_answer = plan.final_answer;
    world->waiting = false;
    world->outputs = 0;
    world->message_len = 0;
    buffer_init(&world->said, world->said_memory, TEXT_MAX);
    buffer_init(&world->seen, world->seen_memory, TEXT_MAX);
    smtp_server_init(&world->server, &events, world);
    world->server.settings = &world->settings;
    world->server.workspace = &world->workspace;
}

static void drain(struct world *world)
{
    struct bytes out = smtp_server_output(&world->server);
    if (out.len > 0) {
        world->outputs++;
        buffer_put_bytes(&world->said, out);
        smtp_server_sent(&world->server, out.len);
    }
}

static void feed(struct world *world, const char *data, size_t len)
{
    size_t at = 0;
    while (at < len && smtp_server_waits_for(&world->server) != SERVER_WAITS_CLOSE) {
        char *copy = malloc(len - at);
        memcpy(copy, data + at, len - at);
        at += smtp_server_feed(&world->server, copy, len - at);
        free(copy);
        drain(world);
        if (world->waiting) {
            CHECK_INT(smtp_server_waits_for(&world->server), SERVER_WAITS_ANSWER);
            world->waiting = false;
            bool accepted = world->final_answer[0] == '2';
            smtp_server_answer(&world->server, world->final_answer, accepted);
            drain(world);
        }
    }
}

enum feeding { WHOLE, BYTEWISE, RANDOMLY };

static void feed_flight(struct world *world, struct bytes flight, enum feeding feeding,
                        struct rng *rng)
{
    size_t at = 0;
    while (at < flight.len) {
        size_t left = flight.len - at;
        size_t len = feeding == WHOLE      ? left
                     : feeding == BYTEWISE ? 1
                                           : 1 + rng_below(rng, left < 50 ? left : 50);
        feed(world, flight.data + at, len);
        at += len;
    }
}

static struct world first, other;

static void play(struct world *world, const struct bytes *flights, size_t count,
                 enum feeding feeding, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed);
    open_world(world);
    smtp_server_greet(&world->server);
    drain(world);
    CHECK_BYTES(buffer_bytes(&world->said), "220 mx.example ESMTP\r\n");
    buffer_clear(&world->said);
    for (size_t i = 0; i < count; i++) {
        feed_flight(world, flights[i], feeding, &rng);
    }
}

static bool same_world(const struct world *a, const struct world *b)
{
    return bytes_equal(buffer_bytes(&a->said), buffer_bytes(&b->said)) &&
           bytes_equal(buffer_bytes(&a->seen), buffer_bytes(&b->seen)) &&
           a->message_len == b->message_len &&
           memcmp(a->message, b->message, a->message_len) == 0 &&
           smtp_server_waits_for(&a->server) == smtp_server_waits_for(&b->server);
}

static const char *said(void)
{
    first.said.data[first.said.len] = '\0';
    return first.said.data;
}

static const char *seen(void)
{
    first.seen.data[first.seen.len] = '\0';
    return first.seen.data;
}

static const char *without_hello(const char *text)
{
    CHECK(strncmp(text, "250 mx.example\r\n", 16) == 0);
    return text + 16;
}

static const char *play_whole(const struct bytes *flights, size_t count)
{
    play(&first, flights, count, WHOLE, 0);
    return said();
}

static const char *play_all(const struct bytes *flights, size_t count)
{
    play(&first, flights, count, WHOLE, 0);
    play(&other, flights, count, BYTEWISE, 0);
    CHECK(same_world(&first, &other));
    for (uint64_t seed = 1; seed <= 10; seed++) {
        play(&other, flights, count, RANDOMLY, seed);
        CHECK(same_world(&first, &other));
    }
    return said();
}

#define FLIGHTS(...) ((const struct bytes[]){__VA_ARGS__})
#define COUNT(...)   (sizeof(FLIGHTS(__VA_ARGS__)) / sizeof(struct bytes))
#define B            BYTES
/* From the very first command. */
#define RAW(...) play_all(FLIGHTS(__VA_ARGS__), COUNT(__VA_ARGS__))
/* After HELO, whose answer is left out. */
#define HELO      B("HELO c.example\r\n")
#define TALK(...) without_hello(RAW(HELO, __VA_ARGS__))
/* The same, whole only: for what depends on what came together. */
#define TOGETHER(...)                                                                              \
    without_hello(play_whole(FLIGHTS(HELO, __VA_ARGS__), COUNT(HELO, __VA_ARGS__)))
#define MAIL    "MAIL FROM:<a@x.example>\r\n"
#define RCPT    "RCPT TO:<b@y.example>\r\n"
#define OK_MAIL "250 2.1.0 Ok\r\n"
#define OK_RCPT "250 2.1.5 Ok\r\n"
#define OK      "250 2.0.0 Ok\r\n"
#define GO      "354 End data with <CR><LF>.<CR><LF>\r\n"
#define QUEUED  "250 2.0.0 Ok: queued as 0123456789\r\n"
#define OPENED  OK_MAIL OK_RCPT GO
#define BYE     "221 2.0.0 Bye\r\n"

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool closing(void)
{
    return smtp_server_waits_for(&first.server) == SERVER_WAITS_CLOSE;
}

#endif
