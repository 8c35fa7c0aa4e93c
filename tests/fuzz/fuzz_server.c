/* Any bytes as what a client sends. The first byte seeds the splits; a form feed ends a flight:
 * what stands behind it is sent when all before it is answered. Fed flight by flight whole, byte
 * by byte and at random splits, the server says and accepts the same. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/rng.h"
#include "smtp/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX 4096
#define SAID_MAX  (1 << 18)

struct world {
    struct smtp_server server;
    struct server_workspace workspace;
    struct body body;
    bool open, ended;
    uint64_t body_size;
    struct buffer said, taken; /* replies; messages that were whole */
    char memory[SAID_MAX], taken_memory[SAID_MAX];
};

static const struct server_settings settings = {.host_name = {"mx.example", 10},
                                                .size_max = 2000,
                                                .rcpts_max = 5,
                                                .chunking = true,
                                                .smtputf8 = true};

static void on_hello(void *owner, struct bytes name, bool extended)
{
    assert(name.len > 0);
    assert(name.len <= 255);
}

static const char *on_mail(void *owner, const struct server_mail *mail)
{
    struct world *world = owner;
    assert(!world->open);
    if (bytes_starts_with(mail->sender, BYTES("no"))) {
        return "550 5.7.1 no";
    }
    world->open = true;
    return NULL;
}

static const char *on_rcpt(void *owner, const struct server_rcpt *rcpt)
{
    struct world *world = owner;
    assert(world->open);
    assert(rcpt->domain_len > 0);
    return bytes_starts_with(rcpt->address, BYTES("no")) ? "550 5.7.1 no" : NULL;
}

static void on_pass(void *owner, const char *text, size_t len)
{
    struct world *world = owner;
    world->body_size += len;
}

static void on_header_end(void *owner)
{
}

static const char *on_data(void *owner, struct body **body)
{
    static const struct header_filter_events events = {on_pass, on_header_end, NULL};
    static const struct body_limits limits = {.size_max = 2000, .line_max = 100, .received_max = 3};
    struct world *world = owner;
    assert(world->open);
    world->body_size = 0;
    body_init(&world->body, &limits, &events, world);
    *body = &world->body;
    return NULL;
}

static const char *on_end(void *owner)
{
    struct world *world = owner;
    assert(world->open);
    assert(world->body.faults == 0);
    assert(world->body_size == world->body.size);
    assert(world->body_size >= 2);
    world->open = false;
    world->ended = true;
    buffer_printf(&world->taken, "[%llu %d %d]", (unsigned long long)world->body_size,
                  world->body.eight_bit, world->body.dot_lines);
    return NULL;
}

static void on_reset(void *owner)
{
    struct world *world = owner;
    assert(world->open);
    world->open = false;
}

static const struct server_events events = {on_hello, on_mail, on_rcpt, on_data, on_end, on_reset};

static void drain(struct world *world)
{
    struct bytes out = smtp_server_output(&world->server);
    if (out.len > 0) {
        buffer_put_bytes(&world->said, out);
        smtp_server_sent(&world->server, out.len);
    }
}

static bool is_closing(const struct world *world)
{
    return smtp_server_waits_for(&world->server) == SERVER_WAITS_CLOSE;
}

/* The part is a block of its own, for the sanitizer. */
static void feed(struct world *world, const char *data, size_t len)
{
    char *copy = malloc(len);
    memcpy(copy, data, len);
    for (size_t at = 0; at < len && !is_closing(world);) {
        at += smtp_server_feed(&world->server, copy + at, len - at);
        drain(world);
        if (world->ended) {
            world->ended = false;
            smtp_server_answer(&world->server, "250 2.0.0 Ok: queued as X", true);
            drain(world);
        }
    }
    free(copy);
}

enum feeding { WHOLE, BYTEWISE, RANDOMLY };

static void play(struct world *world, struct bytes input, enum feeding feeding, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed);
    world->open = world->ended = false;
    buffer_init(&world->said, world->memory, sizeof(world->memory));
    buffer_init(&world->taken, world->taken_memory, sizeof(world->taken_memory));
    smtp_server_init(&world->server, &events, world);
    world->server.settings = &settings;
    world->server.workspace = &world->workspace;
    size_t at = 0;
    while (at < input.len && !is_closing(world)) {
        ptrdiff_t mark = bytes_find(input, '\f', at);
        size_t end = mark < 0 ? input.len : (size_t)mark;
        while (at < end && !is_closing(world)) {
            size_t left = end - at;
            size_t len = feeding == WHOLE      ? left
                         : feeding == BYTEWISE ? 1
                                               : 1 + rng_below(&rng, left);
            feed(world, input.data + at, len);
            at += len;
        }
        at = end + 1;
    }
    smtp_server_lost(&world->server);
    assert(!world->open);
}

/* What depends on what came together, by intent: replies that end the session because something
 * came behind a command before its reply, or behind a chunk of unknown size. */
static bool depends_on_flights(const struct world *world)
{
    struct bytes said = buffer_bytes(&world->said);
    return memmem(said.data, said.len, "554 5.5.0", 9) != NULL ||
           memmem(said.data, said.len, "501 5.5.4 Syntax: BDAT", 22) != NULL;
}

static bool are_same(const struct world *a, const struct world *b)
{
    return bytes_equal(buffer_bytes(&a->said), buffer_bytes(&b->said)) &&
           bytes_equal(buffer_bytes(&a->taken), buffer_bytes(&b->taken));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world whole, other;
    if (size < 1 || size > INPUT_MAX) {
        return 0;
    }
    struct bytes input = bytes_of((const char *)data + 1, size - 1);
    play(&whole, input, WHOLE, 0);
    play(&other, input, RANDOMLY, data[0]);
    bool depends = depends_on_flights(&whole) || depends_on_flights(&other);
    assert(depends || are_same(&whole, &other));
    play(&other, input, BYTEWISE, 0);
    assert(depends || are_same(&whole, &other));
    return 0;
}
