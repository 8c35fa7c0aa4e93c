/* The client core against an honest peer with a will of its own, in thousands of seeded worlds.
 *
 * The peer follows the RFCs, refuses, stalls and leaves at random; bytes travel in random pieces
 * both ways; the owner begins, carries, recalls. What each recipient was told is then compared with
 * what the peer has delivered: said to be delivered is delivered once, said to have failed or given
 * back is not delivered at all, and nothing is ever delivered to another message's recipients. */
#include <assert.h>
#include <stdlib.h>

#include "base/rng.h"
#include "smtp/client.h"
#include "test.h"

#define MESSAGES 12
#define RCPTS    3

enum fate { OPEN, DELIVERED, FAILED, LOST, LOST_AFTER, GIVEN_BACK };

struct message {
    struct client_transaction transaction;
    uint8_t accepted[RCPTS];
    enum fate fates[RCPTS];
    int deliveries[RCPTS];
    char sender[16], addresses[RCPTS][16], body[64];
    bool running;
};

struct wire {
    char bytes[65536];
    size_t from, to;
};

struct world {
    struct client client;
    struct client_settings settings;
    struct rng rng;
    uint32_t trouble; /* chance of each refusal, per million */
    struct message messages[MESSAGES];
    uint32_t begun;
    struct client_transaction *body;
    size_t body_sent;
    struct wire up, down; /* to the peer, to the client */
    bool over;
    /* the peer */
    bool pipelining, chunking, lone_354, has_mail, in_data, gone;
    bool keeps; /* RFC 3030 2: after a failed BDAT the state is indeterminate */
    int mail_id, rcpt_ids[16], rcpt_places[16];
    uint32_t rcpt_count;
    size_t bdat_left;
    char text[512]; /* of the body */
    size_t text_len;
};

static bool chance(struct world *world, uint32_t per_million)
{
    return rng_chance(&world->rng, per_million);
}

static void put(struct wire *wire, const char *bytes, size_t len)
{
    if (wire->from == wire->to) {
        wire->from = wire->to = 0;
    }
    assert(wire->to + len <= sizeof(wire->bytes));
    memcpy(wire->bytes + wire->to, bytes, len);
    wire->to += len;
}

/* ---- the owner -------------------------------------------------------------------------- */

static struct message *message_of(struct client_transaction *transaction)
{
    return (struct message *)(void *)((char *)transaction - offsetof(struct message, transaction));
}

static void on_established(struct client *client, void *owner)
{
}

static void on_start_tls(struct client *client, void *owner)
{
    CHECK(false);
}

static void on_rcpt_refused(struct client *client, void *owner,
                            struct client_transaction *transaction, uint32_t index,
                            const struct reply *reply)
{
    struct message *message = message_of(transaction);
    CHECK_INT(message->fates[index], OPEN);
    CHECK_INT(message->accepted[index], 0);
    message->fates[index] = FAILED;
}

static enum fate fate_of(enum client_end end, const struct reply *reply)
{
    switch (end) {
    case CLIENT_END_REPLY:
        return reply_is_positive(reply) ? DELIVERED : FAILED;
    case CLIENT_END_LOST:
        return LOST;
    case CLIENT_END_LOST_AFTER:
        return LOST_AFTER;
    case CLIENT_END_UNATTEMPTED:
    case CLIENT_END_RETRY_DATA:
        return GIVEN_BACK;
    case CLIENT_END_UNSUITABLE:
        break;
    }
    return FAILED;
}

static void recall_last(struct world *world)
{
    for (uint32_t i = world->begun; i-- > 0;) {
        if (world->messages[i].running) {
            (void)client_recall(&world->client, &world->messages[i].transaction);
            return;
        }
    }
}

static void on_ended(struct client *client, void *owner, struct client_transaction *transaction,
                     enum client_end end, enum client_stage stage, const struct reply *reply)
{
    struct world *world = owner;
    struct message *message = message_of(transaction);
    CHECK(message->running);
    message->running = false;
    for (int i = 0; i < RCPTS; i++) {
        if (message->fates[i] == OPEN) {
            message->fates[i] = fate_of(end, reply);
        }
    }
    if (world->body == transaction) {
        world->body = NULL;
    }
    if (!client->over && chance(world, world->trouble / 4)) {
        recall_last(world);
    }
}

static void on_rcpt_at(void *owner, const struct client_transaction *transaction, uint32_t index,
                       struct client_rcpt *out)
{
    const struct message *message =
        (const void *)((const char *)transaction - offsetof(struct message, transaction));
    *out = (struct client_rcpt){.address = bytes_from_string(message->addresses[index])};
}

static void on_over(struct client *client, void *owner, enum client_over how,
                    enum client_stage stage, const struct reply *reply)
{
    ((struct world *)owner)->over = true;
}

static const struct client_events events = {
    .established = on_established,
    .start_tls = on_start_tls,
    .rcpt_refused = on_rcpt_refused,
    .transaction_ended = on_ended,
    .rcpt_at = on_rcpt_at,
    .over = on_over,
};

static void begin(struct world *world)
{
    bool may = client_may_begin(&world->client) || client_may_carry(&world->client);
    if (world->begun == MESSAGES || !may) {
        return;
    }
    struct message *message = &world->messages[world->begun++];
    message->running = true;
    message->transaction.sender = bytes_from_string(message->sender);
    message->transaction.body_size = strlen(message->body);
    message->transaction.rcpt_count = RCPTS;
    message->transaction.rcpt_accepted = message->accepted;
    client_begin(&world->client, &message->transaction);
}

/* A part of the body, or the rest of it. False: the flight ends here. */
static bool say_body(struct world *world)
{
    const char *body = message_of(world->body)->body;
    size_t left = strlen(body) - world->body_sent;
    size_t n = chance(world, 200000) ? rng_below(&world->rng, left + 1) : left;
    put(&world->up, body + world->body_sent, n);
    world->body_sent += n;
    if (n < left) {
        return false;
    }
    struct client_transaction *done = world->body;
    world->body = NULL;
    if (chance(world, 700000)) {
        begin(world); /* to be carried */
    }
    client_body_ended(&world->client, done);
    return true;
}

static void say(struct world *world)
{
    struct client_output out;
    while (!world->over) {
        if (world->body != NULL && !say_body(world)) {
            break;
        }
        client_next_output(&world->client, &out);
        if (out.kind == CLIENT_NOTHING) {
            break;
        }
        if (out.kind == CLIENT_COMMANDS) {
            put(&world->up, out.commands.data, out.commands.len);
        } else {
            world->body = out.body;
            world->body_sent = 0;
        }
    }
    client_sent(&world->client);
}

/* ---- the peer --------------------------------------------------------------------------- */

static void reply(struct world *world, const char *text)
{
    put(&world->down, text, strlen(text));
    put(&world->down, "\r\n", 2);
}

/* A refusal, now and then; sometimes the peer goes away instead. True: not accepted. */
static bool refuses(struct world *world)
{
    static const char *const words[] = {"450 4.2.1 later", "451 no", "550 5.1.1 no\r\n",
                                        "554-5.7.1 never\r\n554 ever", "452 4.5.3 too many"};
    if (!chance(world, world->trouble)) {
        return false;
    }
    if (chance(world, 100000)) {
        reply(world, "421 4.3.2 leaving");
        world->gone = chance(world, 700000);
    } else if (chance(world, 50000)) {
        world->gone = true;
    } else {
        const char *word = words[rng_below(&world->rng, 5)];
        put(&world->down, word, strlen(word));
        put(&world->down, "\r\n", word[strlen(word) - 1] == '\n' ? 0 : 2);
    }
    return true;
}

static void end_of_body(struct world *world)
{
    bool failed = true, kept = world->keeps && !world->in_data;
    world->in_data = false;
    if (world->rcpt_count == 0) {
        reply(world, "554 5.5.1 no valid recipients");
    } else if (!refuses(world)) {
        failed = false;
        int id = -1;
        world->text[world->text_len] = '\0';
        CHECK_INT(sscanf(world->text, "id: %d", &id), 1);
        CHECK_INT(id, world->mail_id);
        for (uint32_t i = 0; i < world->rcpt_count; i++) {
            CHECK_INT(world->rcpt_ids[i], id);
            world->messages[id].deliveries[world->rcpt_places[i]]++;
        }
        reply(world, "250 2.0.0 queued");
    }
    if (!failed || !kept) {
        world->has_mail = false;
        world->rcpt_count = 0;
    }
}

static void take_mail(struct world *world, const char *line)
{
    if (world->has_mail) {
        reply(world, "503 nested MAIL");
    } else if (!refuses(world)) {
        CHECK_INT(sscanf(line, "MAIL FROM:<m%d@", &world->mail_id), 1);
        world->has_mail = true;
        world->rcpt_count = 0;
        reply(world, "250 2.1.0 ok");
    }
}

static void take_rcpt(struct world *world, const char *line)
{
    if (!world->has_mail) {
        reply(world, "503 need MAIL");
    } else if (!refuses(world)) {
        uint32_t at = world->rcpt_count++;
        CHECK_INT(sscanf(line, "RCPT TO:<r%d-%d@", &world->rcpt_ids[at], &world->rcpt_places[at]),
                  2);
        reply(world, "250 2.1.5 ok");
    }
}

static void take_data(struct world *world)
{
    world->text_len = 0;
    if (world->rcpt_count == 0 && world->lone_354) {
        world->in_data = true;
        reply(world, "354 go");
    } else if (world->rcpt_count == 0) {
        reply(world, "503 no valid recipients");
    } else if (!refuses(world)) {
        world->in_data = true;
        reply(world, "354 go");
    }
}

static void take_line(struct world *world, const char *line)
{
    if (strncmp(line, "EHLO", 4) == 0) {
        reply(world, world->pipelining ? "250-mx\r\n250-PIPELINING" : "250-mx");
        reply(world, world->chunking ? "250-CHUNKING\r\n250 HELP" : "250 HELP");
    } else if (strncmp(line, "MAIL", 4) == 0) {
        take_mail(world, line);
    } else if (strncmp(line, "RCPT", 4) == 0) {
        take_rcpt(world, line);
    } else if (strcmp(line, "DATA") == 0) {
        take_data(world);
    } else if (strncmp(line, "BDAT ", 5) == 0) {
        world->bdat_left = strtoul(line + 5, NULL, 10);
        world->text_len = 0;
    } else if (strcmp(line, "RSET") == 0) {
        world->has_mail = false;
        world->rcpt_count = 0;
        reply(world, "250 reset");
    } else if (strcmp(line, "QUIT") == 0) {
        reply(world, "221 bye");
        world->gone = true;
    } else {
        CHECK_STRING(line, "a command"); /* the client is out of step */
    }
}

static void keep_text(struct world *world, const char *bytes, size_t len)
{
    assert(world->text_len + len < sizeof(world->text));
    memcpy(world->text + world->text_len, bytes, len);
    world->text_len += len;
}

/* Takes what is complete of the first `max` bytes on the wire. */
static void peer_reads(struct world *world, size_t max)
{
    size_t end = world->up.from + max;
    while (world->up.from < end && !world->gone && !test_failed) {
        const char *at = world->up.bytes + world->up.from;
        size_t left = end - world->up.from;
        if (world->bdat_left > 0) {
            size_t n = left < world->bdat_left ? left : world->bdat_left;
            keep_text(world, at, n);
            world->up.from += n;
            world->bdat_left -= n;
            if (world->bdat_left == 0) {
                end_of_body(world);
            }
            continue;
        }
        const char *lf = memchr(at, '\n', left);
        if (lf == NULL) {
            return;
        }
        char line[600];
        size_t len = (size_t)(lf - at) + 1;
        assert(len >= 2 && len < sizeof(line));
        memcpy(line, at, len - 2);
        line[len - 2] = '\0';
        world->up.from += len;
        if (!world->in_data) {
            take_line(world, line);
        } else if (strcmp(line, ".") == 0) {
            end_of_body(world);
        } else {
            keep_text(world, at, len);
            if (chance(world, world->trouble / 20)) {
                reply(world, "552 5.3.4 enough"); /* in the midst of the body, and leaves */
                world->gone = true;
            }
        }
    }
}

/* ---- worlds ----------------------------------------------------------------------------- */

static void make_world(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof(*world));
    rng_init(&world->rng, seed);
    world->pipelining = chance(world, 700000);
    world->chunking = chance(world, 400000);
    world->lone_354 = chance(world, 300000);
    world->keeps = chance(world, 500000);
    world->trouble = (uint32_t)rng_below(&world->rng, 4) * 100000;
    world->settings = (struct client_settings){
        .helo_name = "us",
        .in_flight_max = (uint32_t)(1 + rng_below(&world->rng, 4)),
        .reuse_after_421 = chance(world, 500000),
    };
    for (int id = 0; id < MESSAGES; id++) {
        struct message *message = &world->messages[id];
        snprintf(message->sender, sizeof(message->sender), "m%d@s", id);
        snprintf(message->body, sizeof(message->body), "id: %d\r\n\r\ntext\r\n", id);
        for (int i = 0; i < RCPTS; i++) {
            snprintf(message->addresses[i], sizeof(message->addresses[i]), "r%d-%d@x", id, i);
        }
    }
    client_init(&world->client, &world->settings, &events, world);
    reply(world, "220 mx ready");
}

static void step(struct world *world)
{
    size_t up = world->up.to - world->up.from, down = world->down.to - world->down.from;
    switch (rng_below(&world->rng, 4)) {
    case 0:
        if (chance(world, 500000)) {
            begin(world);
        }
        say(world);
        break;
    case 1:
        peer_reads(world, up == 0 ? 0 : 1 + rng_below(&world->rng, up));
        break;
    case 2:
        if (down > 0) {
            size_t n = 1 + rng_below(&world->rng, down);
            size_t from = world->down.from;
            world->down.from += n;
            client_receive(&world->client, world->down.bytes + from, n);
        } else if (world->gone && !world->over) {
            world->over = true;
            client_lost(&world->client);
        }
        break;
    default:
        if (!world->over && chance(world, world->trouble / 50)) {
            recall_last(world);
        }
        if (world->begun == MESSAGES && chance(world, 100000)) {
            client_quit(&world->client);
        }
        break;
    }
}

static void check_fates(const struct world *world)
{
    for (uint32_t id = 0; id < MESSAGES; id++) {
        const struct message *message = &world->messages[id];
        CHECK(!message->running);
        for (int i = 0; i < RCPTS; i++) {
            int delivered = message->deliveries[i];
            enum fate fate = message->fates[i];
            CHECK_INT(fate == OPEN, id >= world->begun);
            if (fate == DELIVERED) {
                CHECK_INT(delivered, 1);
            } else {
                CHECK(delivered <= (fate == LOST_AFTER ? 1 : 0));
            }
        }
    }
}

/* The number of recipients delivered. */
static int run_world(struct world *world, uint64_t seed)
{
    int delivered = 0;
    make_world(world, seed);
    for (int turn = 0; turn < 20000 && !world->over && !test_failed; turn++) {
        step(world);
    }
    CHECK(world->over); /* no session hangs */
    /* What is still under way reaches the peer after we have closed. */
    peer_reads(world, world->up.to - world->up.from);
    check_fates(world);
    for (int id = 0; id < MESSAGES; id++) {
        for (int i = 0; i < RCPTS; i++) {
            delivered += world->messages[id].deliveries[i];
        }
    }
    return delivered;
}

TEST(what_recipients_are_told_is_what_the_peer_has_done)
{
    static struct world world;
    long delivered = 0;
    for (uint64_t seed = 1; seed <= 30000; seed++) {
        delivered += run_world(&world, seed);
        if (test_failed) {
            printf("seed %" PRIu64 "\n", seed);
            return;
        }
    }
    CHECK(delivered > 30000); /* the worlds are not all trouble */
}
