/* The client core against a peer that says anything, and an owner that does anything allowed.
 *
 * The input is what the peer sends; bytes from 0xf0 up are what the owner does between. Whatever
 * comes, each transaction ends once, each recipient has one fate, nothing is said after the end,
 * and no more is buffered than was promised. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "smtp/client.h"

#define RCPTS    3
#define MESSAGES 4

enum act { FLUSH = 0xf0, BEGIN, QUIT, LOST, RECALL, BODY_END, SECURED };

struct message {
    struct client_transaction transaction;
    bool running, refused[RCPTS];
    uint8_t accepted[RCPTS];
};

struct owner {
    struct client client;
    struct client_settings settings;
    struct message messages[MESSAGES];
    struct client_transaction *body;
    bool over, securing, recall_in_callback;
};

static struct message *message_of(struct client_transaction *transaction)
{
    return (struct message *)(void *)((char *)transaction - offsetof(struct message, transaction));
}

static void on_established(struct client *client, void *owner)
{
}

static void on_start_tls(struct client *client, void *pointer)
{
    struct owner *owner = pointer;
    assert(!owner->client.secured);
    owner->securing = true;
}

static void on_rcpt_refused(struct client *client, void *owner,
                            struct client_transaction *transaction, uint32_t index,
                            const struct reply *reply)
{
    struct message *message = message_of(transaction);
    assert(message->running && index < RCPTS);
    assert(!message->refused[index] && message->accepted[index] == 0);
    assert(reply->code >= 400);
    message->refused[index] = true;
}

static void recall_any(struct owner *owner)
{
    for (int i = MESSAGES - 1; i >= 0; i--) {
        struct message *message = &owner->messages[i];
        if (message->running && !owner->client.over) {
            if (client_recall(&owner->client, &message->transaction)) {
                assert(!message->running);
            }
            return;
        }
    }
}

static void on_ended(struct client *client, void *pointer, struct client_transaction *transaction,
                     enum client_end end, enum client_stage stage, const struct reply *reply)
{
    struct owner *owner = pointer;
    struct message *message = message_of(transaction);
    bool with_reply =
        end == CLIENT_END_REPLY || end == CLIENT_END_UNSUITABLE || end == CLIENT_END_RETRY_DATA;
    assert(message->running);
    assert(!with_reply || reply != NULL);
    assert(end != CLIENT_END_REPLY || !reply_is_positive(reply) || stage == CLIENT_STAGE_FINAL);
    message->running = false;
    if (owner->body == transaction) {
        owner->body = NULL;
    }
    if (owner->recall_in_callback) {
        owner->recall_in_callback = false;
        recall_any(owner);
    }
}

static void on_rcpt_at(void *owner, const struct client_transaction *transaction, uint32_t index,
                       struct client_rcpt *out)
{
    static const char *const addresses[] = {"a@x", "b\r\n@x", "c@x"};
    *out = (struct client_rcpt){.address = bytes_from_string(addresses[index]),
                                .orcpt = BYTES("rfc822;a=b@x"),
                                .notify = 6};
}

static void on_over(struct client *client, void *pointer, enum client_over how,
                    enum client_stage stage, const struct reply *reply)
{
    struct owner *owner = pointer;
    assert(!owner->over);
    owner->over = true;
    for (int i = 0; i < MESSAGES; i++) {
        assert(!owner->messages[i].running);
    }
}

static const struct client_events events = {
    .established = on_established,
    .start_tls = on_start_tls,
    .rcpt_refused = on_rcpt_refused,
    .transaction_ended = on_ended,
    .rcpt_at = on_rcpt_at,
    .over = on_over,
};

static void flush(struct owner *owner)
{
    struct client_output out;
    size_t said = 0;
    for (;;) {
        client_next_output(&owner->client, &out);
        if (out.kind == CLIENT_NOTHING) {
            break;
        }
        assert(!owner->over);
        if (out.kind == CLIENT_BODY) {
            assert(owner->body == NULL && message_of(out.body)->running);
            owner->body = out.body;
        } else {
            said += out.commands.len;
            assert(said <= CLIENT_OUT_BYTES);
            assert(out.secret || !bytes_starts_with_nocase(out.commands, BYTES("AUTH ")));
        }
    }
    client_sent(&owner->client);
}

static void begin(struct owner *owner)
{
    if (!client_may_begin(&owner->client) && !client_may_carry(&owner->client)) {
        return;
    }
    for (int i = 0; i < MESSAGES; i++) {
        struct message *message = &owner->messages[i];
        if (!message->running) {
            *message = (struct message){.running = true};
            message->transaction.sender = BYTES("s@y");
            message->transaction.body_size = i == 2 ? CLIENT_EAGER_BODY_MAX + 1 : 10;
            message->transaction.rcpt_count = RCPTS;
            message->transaction.rcpt_accepted = message->accepted;
            client_begin(&owner->client, &message->transaction);
            return;
        }
    }
}

static void act(struct owner *owner, enum act what)
{
    switch (what) {
    case FLUSH:
        flush(owner);
        break;
    case BEGIN:
        begin(owner);
        break;
    case QUIT:
        client_quit(&owner->client);
        break;
    case LOST:
        owner->over = true;
        client_lost(&owner->client);
        break;
    case RECALL:
        owner->recall_in_callback = true;
        recall_any(owner);
        break;
    case BODY_END:
        if (owner->body != NULL) {
            struct client_transaction *body = owner->body;
            owner->body = NULL;
            client_body_ended(&owner->client, body);
        }
        break;
    case SECURED:
        if (owner->securing && !owner->over) {
            owner->securing = false;
            client_secured(&owner->client);
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct owner owner;
    if (len < 1) {
        return 0;
    }
    memset(&owner, 0, sizeof(owner));
    static const struct sasl_credentials known = {BYTES_INIT("user"), BYTES_INIT("hush"), true};
    owner.settings = (struct client_settings){.helo_name = "us",
                                              .tls = (enum client_tls)(data[0] % 3),
                                              .in_flight_max = 1 + data[0] / 4 % 4,
                                              .reuse_after_421 = (data[0] & 0x40) != 0};
    if ((data[0] & 0x20) != 0) {
        owner.settings.auth = known;
        owner.settings.auth.in_clear = (data[0] & 0x80) != 0;
    }
    client_init(&owner.client, &owner.settings, &events, &owner);
    for (size_t at = 1; at < len;) {
        size_t end = at;
        while (end < len && data[end] < FLUSH) {
            end++;
        }
        client_receive(&owner.client, data + at, end - at);
        if (end < len && data[end] <= SECURED) {
            act(&owner, (enum act)data[end]);
        }
        at = end + 1;
    }
    client_lost(&owner.client);
    for (int i = 0; i < MESSAGES; i++) {
        assert(!owner.messages[i].running);
    }
    return 0;
}
