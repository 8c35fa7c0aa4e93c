/* The client core: its ring of outstanding commands, and how sessions and transactions end.
 *
 * A session says EHLO (and STARTTLS), then carries transactions one behind the other. What has
 * been said and not been answered lies in a ring; each reply answers its head. Lock-step is the
 * same with a ring that is filled only when it is empty. Transactions stand in a short line: the
 * first ones have their body on the wire and wait for the reply to it, at most one behind them has
 * none yet. It may be given back; then nothing may follow it on this connection, since its
 * MAIL and perhaps DATA are out, and a lone dot would deliver an empty message. */
#include "smtp/client.h"

#include <assert.h>

#include "smtp/client_internal.h"

struct command_row {
    const char *name;
    enum client_stage stage;
    bool barrier;
};

static const struct command_row rows[CLIENT_KIND_COUNT] = {
#define CLIENT_COMMAND(kind, name, stage, barrier, handler) {name, stage, barrier},
#include "smtp/client_commands.def"
#undef CLIENT_COMMAND
};

const char *client_stage_name(enum client_stage stage)
{
    switch (stage) {
    case CLIENT_STAGE_GREETING:
        return "greeting";
    case CLIENT_STAGE_EHLO:
        return "ehlo";
    case CLIENT_STAGE_STARTTLS:
        return "starttls";
    case CLIENT_STAGE_AUTH:
        return "auth";
    case CLIENT_STAGE_MAIL:
        return "mail";
    case CLIENT_STAGE_RCPT:
        return "rcpt";
    case CLIENT_STAGE_DATA:
        return "data";
    case CLIENT_STAGE_BODY:
        return "body";
    case CLIENT_STAGE_FINAL:
        return "final";
    case CLIENT_STAGE_QUIT:
        return "quit";
    }
    return "";
}

const char *client_awaiting(const struct client *client)
{
    if (client->outstanding_count == 0) {
        return "";
    }
    return rows[client->outstanding[client->outstanding_first].kind].name;
}

/* ---- the ring --------------------------------------------------------------------------- */

static uint8_t place_of(const struct client *client, const struct client_transaction *transaction)
{
    for (uint32_t n = 0; n < client->transactions_count; n++) {
        if (client_nth(client, n) == transaction) {
            return (uint8_t)((client->transactions_first + n) % CLIENT_IN_FLIGHT_MAX);
        }
    }
    return CLIENT_NO_TRANSACTION;
}

void client_push(struct client *client, enum client_kind kind,
                 const struct client_transaction *transaction, uint32_t rcpt)
{
    assert(client->outstanding_count < CLIENT_OUTSTANDING_MAX);
    uint32_t at = (client->outstanding_first + client->outstanding_count) % CLIENT_OUTSTANDING_MAX;
    client->outstanding[at] = (struct client_command){
        .kind = (uint8_t)kind,
        .transaction = transaction == NULL ? CLIENT_NO_TRANSACTION : place_of(client, transaction),
        .rcpt = (uint16_t)rcpt};
    client->outstanding_count++;
    client->barriers += rows[kind].barrier;
}

static struct client_command pop(struct client *client)
{
    assert(client->outstanding_count > 0);
    struct client_command command = client->outstanding[client->outstanding_first];
    client->outstanding_first = (client->outstanding_first + 1) % CLIENT_OUTSTANDING_MAX;
    client->outstanding_count--;
    client->barriers -= rows[command.kind].barrier;
    return command;
}

static void make_orphans(struct client *client, uint8_t place)
{
    for (uint32_t n = 0; n < client->outstanding_count; n++) {
        struct client_command *command =
            &client->outstanding[(client->outstanding_first + n) % CLIENT_OUTSTANDING_MAX];
        if (command->transaction == place) {
            command->transaction = CLIENT_NO_TRANSACTION;
        }
    }
}

/* ---- ends ------------------------------------------------------------------------------- */

void client_end(struct client *client, struct client_transaction *transaction, enum client_end end,
                enum client_stage stage, const struct reply *reply)
{
    assert(client->transactions_count > 0);
    make_orphans(client, place_of(client, transaction));
    if (client_nth(client, 0) == transaction) {
        client->transactions_first = (client->transactions_first + 1) % CLIENT_IN_FLIGHT_MAX;
    } else {
        assert(client_nth(client, client->transactions_count - 1) == transaction);
    }
    client->transactions_count--;
    client->has_served |= end == CLIENT_END_REPLY;
    if (client->body == transaction) {
        client->body = NULL;
    }
    client->events->transaction_ended(client, client->owner, transaction, end, stage, reply);
}

static enum client_stage stage_of(const struct client_transaction *transaction)
{
    if (transaction->state == CLIENT_BODY_SAID) {
        return CLIENT_STAGE_FINAL;
    }
    if (!transaction->mail_answered) {
        return CLIENT_STAGE_MAIL;
    }
    if (transaction->rcpts_answered < transaction->rcpt_count) {
        return CLIENT_STAGE_RCPT;
    }
    return transaction->state < CLIENT_BODY_NEXT ? CLIENT_STAGE_DATA : CLIENT_STAGE_BODY;
}

void client_give_back_carried(struct client *client, const struct client_transaction *transaction)
{
    assert(client->transactions_count > 0);
    struct client_transaction *last = client_nth(client, client->transactions_count - 1);
    if (last == transaction || client_body_promised(last)) {
        return;
    }
    if (last->state > CLIENT_CLEAN) {
        client->draining = true;
    }
    client_end(client, last, CLIENT_END_UNATTEMPTED, stage_of(last), NULL);
}

/* The connection is gone, or not to be used: what that means for this one. */
static void end_by_loss(struct client *client, struct client_transaction *transaction)
{
    enum client_stage stage = stage_of(transaction);
    const struct reply *last = &client->parser.reply;
    bool said_421 = last->code == 421 && reply_parser_at_start(&client->parser);
    bool untouched = transaction->state <= CLIENT_CLEAN;
    /* A session that served others and ended before it got to this transaction says nothing about
     * it. Nor does that go on for ever: a new connection must serve one before it may do so. */
    bool not_reached = !transaction->mail_answered && (transaction->carried || client->has_served ||
                                                       (said_421 && client->unsolicited));
    if (transaction->state == CLIENT_BODY_SAID) {
        client_end(client, transaction, CLIENT_END_LOST_AFTER, stage, NULL);
    } else if (untouched || (not_reached && !client_body_promised(transaction))) {
        client_end(client, transaction, CLIENT_END_UNATTEMPTED, stage, NULL);
    } else if (said_421) {
        /* RFC 5321 3.8: 421 announces that the channel is closed; it explains the loss. */
        client_end(client, transaction, CLIENT_END_REPLY, stage, last);
    } else {
        client_end(client, transaction, CLIENT_END_LOST, stage, NULL);
    }
}

static void end_all(struct client *client)
{
    client->over = true;
    while (client->transactions_count > 0) {
        end_by_loss(client, client_nth(client, 0));
    }
}

static enum client_over over_of(enum client_next how)
{
    switch (how) {
    case CLIENT_NEXT_QUIT:
        return CLIENT_OVER_QUIT;
    case CLIENT_NEXT_REFUSED:
        return CLIENT_OVER_REPLY;
    case CLIENT_NEXT_NO_TLS:
        return CLIENT_OVER_TLS;
    case CLIENT_NEXT_NO_AUTH:
        return CLIENT_OVER_AUTH;
    case CLIENT_NEXT_ABANDON:
        return CLIENT_OVER_ABANDON;
    case CLIENT_NEXT_LOOP:
        return CLIENT_OVER_LOOP;
    case CLIENT_NEXT_BROKEN:
        return CLIENT_OVER_PROTOCOL;
    case CLIENT_GO_ON:
    case CLIENT_START_TLS:
        break;
    }
    assert(false);
    return CLIENT_OVER_PROTOCOL;
}

void client_finish(struct client *client, enum client_next how, enum client_stage stage,
                   const struct reply *reply)
{
    if (client->over) {
        return;
    }
    end_all(client);
    client->events->over(client, client->owner, over_of(how), stage, reply);
}

void client_lost(struct client *client)
{
    if (!client->over) {
        end_all(client);
    }
}

/* ---- life ------------------------------------------------------------------------------- */

void client_init(struct client *client, const struct client_settings *settings,
                 const struct client_events *events, void *owner)
{
    assert(settings->helo_name != NULL && strlen(settings->helo_name) <= CLIENT_ADDRESS_MAX);
    /* All but the last two members, which are big and need no zeroes. */
    memset(client, 0, offsetof(struct client, parser));
    client->settings = settings;
    client->events = events;
    client->owner = owner;
    reply_parser_init(&client->parser);
    client_push(client, CLIENT_KIND_GREETING, NULL, 0);
}

void client_secured(struct client *client)
{
    if (client->over) {
        return;
    }
    assert(client->state == CLIENT_TLS);
    /* RFC 3207 4.2: all knowledge of the peer from before is discarded. */
    memset(&client->peer, 0, sizeof(client->peer));
    client->secured = true;
    client->state = CLIENT_SAY_EHLO;
}

void client_quit(struct client *client)
{
    client->quit_wanted = true;
}

bool client_reply_begun(const struct client *client)
{
    return !client->over && !reply_parser_at_start(&client->parser);
}

bool client_waiting(const struct client *client, enum client_stage *stage)
{
    if (client->over || client->outstanding_count == 0) {
        return false;
    }
    const struct client_command *head = &client->outstanding[client->outstanding_first];
    *stage = rows[head->kind].stage;
    if (client->body != NULL && *stage == CLIENT_STAGE_FINAL &&
        client->transactions[head->transaction % CLIENT_IN_FLIGHT_MAX] == client->body) {
        *stage = CLIENT_STAGE_BODY;
    }
    return true;
}

/* ---- input ------------------------------------------------------------------------------ */

/* A reply that began when nothing was awaited answers nothing that was said since. */
static void take_unsolicited(struct client *client)
{
    const struct reply *reply = &client->parser.reply;
    /* RFC 5321 3.8: an idle peer may announce that it leaves; anything else is out of step. */
    client_finish(client, reply->code == 421 ? CLIENT_NEXT_QUIT : CLIENT_NEXT_BROKEN,
                  CLIENT_STAGE_QUIT, reply);
}

static void take_complete(struct client *client, bool more_follows)
{
    if (client->settings->tell_replies) {
        struct bytes first = bytes_of(client->parser.reply.text, client->parser.first_len);
        client->events->replied(client->owner, client->parser.reply.code, first);
    }
    if (client->unsolicited) {
        take_unsolicited(client);
        return;
    }
    struct client_command command = pop(client);
    enum client_next next = client_take_reply(client, &command);
    if (client->over) {
        return;
    }
    /* Plaintext behind the 220 would be taken for a reply inside TLS (CVE-2021-38371). */
    if (next == CLIENT_START_TLS && more_follows) {
        next = CLIENT_NEXT_BROKEN;
    }
    if (next == CLIENT_START_TLS) {
        client->state = CLIENT_TLS;
        client->events->start_tls(client, client->owner);
    } else if (next != CLIENT_GO_ON) {
        client_finish(client, next, rows[command.kind].stage, &client->parser.reply);
    } else if (client->draining && client->transactions_count == 0) {
        client_finish(client, CLIENT_NEXT_ABANDON, rows[command.kind].stage, NULL);
    }
}

void client_receive(struct client *client, const void *data, size_t len)
{
    const char *bytes = data;
    while (len > 0 && !client->over) {
        enum client_stage stage = CLIENT_STAGE_STARTTLS;
        if (client->state == CLIENT_TLS) {
            client_finish(client, CLIENT_NEXT_BROKEN, stage, NULL);
            return;
        }
        if (reply_parser_at_start(&client->parser)) {
            client->unsolicited = client->outstanding_count == 0;
        }
        size_t consumed;
        enum reply_result result = reply_parser_feed(&client->parser, bytes, len, &consumed);
        bytes += consumed;
        len -= consumed;
        switch (result) {
        case REPLY_MORE:
            assert(len == 0);
            break;
        case REPLY_COMPLETE:
            take_complete(client, len > 0);
            break;
        case REPLY_BROKEN:
            stage = CLIENT_STAGE_QUIT;
            (void)client_waiting(client, &stage);
            client_finish(client, CLIENT_NEXT_BROKEN, stage, NULL);
            break;
        }
    }
}

/* ---- transactions ----------------------------------------------------------------------- */

static uint32_t room_in_flight(const struct client *client)
{
    uint32_t max = client->settings->in_flight_max;
    if (!client_flies(client)) {
        return 2; /* one whose final reply is awaited, one carried behind it */
    }
    return max < CLIENT_IN_FLIGHT_MAX ? max : CLIENT_IN_FLIGHT_MAX;
}

static bool takes_more(const struct client *client)
{
    return client->state == CLIENT_READY && !client->over && !client->quit_wanted &&
           !client->draining;
}

bool client_may_begin(const struct client *client)
{
    return takes_more(client) && client->transactions_count == 0;
}

bool client_may_carry(const struct client *client)
{
    uint32_t count = client->transactions_count;
    return takes_more(client) && count > 0 && count < room_in_flight(client) &&
           client_pipelines(client) && client->last_final_positive &&
           client_nth(client, count - 1)->state >= CLIENT_BODY_GOING;
}

bool client_sends_bdat(const struct client *client)
{
    return client_chunks(client);
}

/* False, with the reply that says why, if the peer cannot take such a message at all. */
static bool suits_peer(const struct client *client, const struct client_transaction *transaction,
                       struct reply *why)
{
    const struct client_peer *peer = &client->peer;
    if (!client_address_is_sendable(transaction->sender, transaction->smtputf8) &&
        transaction->sender.len > 0) {
        reply_make(why, 553, "5.1.7", "bad sender address syntax");
    } else if (transaction->smtputf8 && (peer->capabilities & CLIENT_CAP_SMTPUTF8) == 0) {
        /* RFC 6531 3.1: not to be sent to a server that does not offer it. */
        reply_make(why, 554, "5.6.7", "the message needs SMTPUTF8, which the host does not offer");
    } else if (transaction->eight_bit && (peer->capabilities & CLIENT_CAP_8BITMIME) == 0) {
        /* RFC 6152 3: convert or return; conversion would break signatures. */
        reply_make(why, 554, "5.6.3", "the message needs 8BITMIME, which the host does not offer");
    } else if ((peer->capabilities & CLIENT_CAP_SIZE) != 0 && peer->size_max > 0 &&
               transaction->body_size > peer->size_max) {
        /* RFC 1870 6.1 */
        reply_make(why, 552, "5.3.4", "the message is larger than the SIZE the host offers");
    } else {
        return true;
    }
    return false;
}

/* Refuses what must not be written between "<" and ">". True: some are left. */
static bool refuse_bad_rcpts(struct client *client, struct client_transaction *transaction)
{
    for (uint32_t index = 0; index < transaction->rcpt_count; index++) {
        struct client_rcpt rcpt = {.notify = 0};
        client->events->rcpt_at(client->owner, transaction, index, &rcpt);
        if (!client_address_is_sendable(rcpt.address, transaction->smtputf8)) {
            struct reply why;
            reply_make(&why, 553, "5.1.3", "bad recipient address syntax");
            transaction->rcpts_answered++;
            client->events->rcpt_refused(client, client->owner, transaction, index, &why);
            if (place_of(client, transaction) == CLIENT_NO_TRANSACTION) {
                return false; /* recalled meanwhile */
            }
        }
    }
    return transaction->rcpts_answered < transaction->rcpt_count;
}

void client_begin(struct client *client, struct client_transaction *transaction)
{
    assert(client_may_begin(client) || client_may_carry(client));
    assert(transaction->rcpt_count >= 1 && transaction->rcpt_count <= CLIENT_RCPTS_MAX);
    transaction->rcpts_sent = transaction->rcpts_answered = transaction->accepted_count = 0;
    transaction->state = CLIENT_QUEUED;
    transaction->carried = client->transactions_count > 0;
    transaction->mail_answered = false;
    transaction->uses_bdat = false;
    memset(transaction->rcpt_accepted, 0, transaction->rcpt_count);
    struct reply why;
    if (!suits_peer(client, transaction, &why)) {
        client->events->transaction_ended(client, client->owner, transaction, CLIENT_END_UNSUITABLE,
                                          CLIENT_STAGE_MAIL, &why);
        return;
    }
    client->transactions[(client->transactions_first + client->transactions_count) %
                         CLIENT_IN_FLIGHT_MAX] = transaction;
    client->transactions_count++;
    if (!refuse_bad_rcpts(client, transaction) &&
        place_of(client, transaction) != CLIENT_NO_TRANSACTION) {
        reply_make(&why, 553, "5.1.3", "bad recipient address syntax");
        client_end(client, transaction, CLIENT_END_REPLY, CLIENT_STAGE_RCPT, &why);
    }
}

bool client_recall(struct client *client, struct client_transaction *transaction)
{
    assert(!client->over && place_of(client, transaction) != CLIENT_NO_TRANSACTION);
    if (client_body_promised(transaction)) {
        return false;
    }
    enum client_stage stage = stage_of(transaction);
    assert(client_nth(client, client->transactions_count - 1) == transaction);
    client_give_back_carried(client, NULL);
    if (client->draining && client->transactions_count == 0) {
        client_finish(client, CLIENT_NEXT_ABANDON, stage, NULL);
    }
    return true;
}
