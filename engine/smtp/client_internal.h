/* What the three files of the client core share: client.c (life, ring, ends), client_reply.c (what
 * a reply means), client_output.c (what is said next). Nobody else includes this. */
#ifndef SMTP_CLIENT_INTERNAL_H
#define SMTP_CLIENT_INTERNAL_H

#include "smtp/client.h"

enum client_kind {
#define CLIENT_COMMAND(kind, name, stage, barrier, handler) CLIENT_KIND_##kind,
#include "smtp/client_commands.def"
#undef CLIENT_COMMAND
    CLIENT_KIND_COUNT
};

/* The session: GREETING -> SAY_EHLO -> EHLO (-> SAY_HELO -> HELO) (-> SAY_STARTTLS -> STARTTLS ->
 * TLS -> SAY_EHLO …) (-> SAY_AUTH -> AUTH (-> SAY_ANSWER -> AUTH …)) -> READY -> QUIT. SAY_x: x is
 * the next thing to write; the challenge that ANSWER is about lies in parser.reply. */
enum client_session {
    CLIENT_GREETING,
    CLIENT_SAY_EHLO,
    CLIENT_SAY_HELO,
    CLIENT_SAY_STARTTLS,
    CLIENT_SAY_AUTH,
    CLIENT_SAY_ANSWER,
    CLIENT_HELLO, /* EHLO, HELO, STARTTLS or AUTH is answered next */
    CLIENT_TLS,   /* the owner does the handshake */
    CLIENT_READY,
    CLIENT_QUITTING,
};

/* A transaction, in the order of what it has said. */
enum client_progress {
    CLIENT_QUEUED,     /* nothing of it is on the wire */
    CLIENT_CLEAN,      /* the same, and the RSET it needed has been said */
    CLIENT_RCPTS,      /* MAIL is out, RCPTs are going out */
    CLIENT_RCPTS_SAID, /* DATA or BDAT comes next */
    CLIENT_DATA_SAID,  /* 354 is awaited */
    CLIENT_BODY_NEXT,  /* 354 has come, or BDAT is out: the body comes next */
    CLIENT_BODY_GOING, /* handed to the owner */
    CLIENT_BODY_SAID,  /* and ended: the reply decides */
};

/* What follows from a reply: the session goes on, or how it is over. */
enum client_next {
    CLIENT_GO_ON,
    CLIENT_START_TLS,
    CLIENT_NEXT_QUIT,
    CLIENT_NEXT_REFUSED,
    CLIENT_NEXT_BROKEN,
    CLIENT_NEXT_NO_TLS,
    CLIENT_NEXT_NO_AUTH,
    CLIENT_NEXT_ABANDON,
    CLIENT_NEXT_LOOP,
};

#define CLIENT_NO_TRANSACTION 0xff /* the transaction of this command has ended: an orphan */

static inline bool client_pipelines(const struct client *client)
{
    return (client->peer.capabilities & CLIENT_CAP_PIPELINING) != 0;
}

static inline bool client_chunks(const struct client *client)
{
    return (client->peer.capabilities & CLIENT_CAP_CHUNKING) != 0;
}

/* Several bodies on the wire at once. */
static inline bool client_flies(const struct client *client)
{
    return client->settings->in_flight_max > 1 && client_pipelines(client) && client_chunks(client);
}

static inline struct client_transaction *client_nth(const struct client *client, uint32_t n)
{
    return client->transactions[(client->transactions_first + n) % CLIENT_IN_FLIGHT_MAX];
}

/* The body is the peer's to judge: bytes of it are, or must be, on the wire. */
static inline bool client_body_promised(const struct client_transaction *transaction)
{
    return transaction->state >= CLIENT_BODY_GOING ||
           (transaction->state == CLIENT_BODY_NEXT && transaction->uses_bdat);
}

/* ---- client.c --------------------------------------------------------------------------- */

void client_push(struct client *client, enum client_kind kind,
                 const struct client_transaction *transaction, uint32_t rcpt);

/* Takes it out, makes its outstanding commands orphans, tells the owner. */
void client_end(struct client *client, struct client_transaction *transaction, enum client_end end,
                enum client_stage stage, const struct reply *reply);

/* Gives back what waits behind `transaction` (not NULL) without a body on the wire. */
void client_give_back_carried(struct client *client, const struct client_transaction *transaction);
void client_finish(struct client *client, enum client_next how, enum client_stage stage,
                   const struct reply *reply);

/* ---- client_reply.c --------------------------------------------------------------------- */

/* parser.reply answers the head of the ring. */
enum client_next client_take_reply(struct client *client, const struct client_command *command);

/* For the parser, while EHLO is awaited. */
void client_take_ehlo_line(void *owner, uint16_t code, uint32_t number, struct bytes text);

/* ---- client_output.c -------------------------------------------------------------------- */

/* No control characters, no 8-bit ones unless `utf8`, and short enough to be written. */
bool client_address_is_sendable(struct bytes address, bool utf8);

#endif
