/* What server.c (lines, states, bytes) and server_commands.c (the verbs) share. */
#ifndef SMTP_SERVER_INTERNAL_H
#define SMTP_SERVER_INTERNAL_H

#include "smtp/path.h"
#include "smtp/server.h"

enum phase { HELLO, READY, SENDER, RECIPIENT, CHUNKS };
#define IN(phase) (1u << (phase))

enum state { COMMAND, LONG_LINE, DATA, CHUNK, SKIPPED_CHUNK, WAITING, CLOSING };

/* What a check found, for the one that acts on it. */
struct command {
    struct bytes argument; /* behind the verb, white space around it taken off */
    struct path path;
    union {
        struct mail_params mail;
        struct rcpt_params rcpt;
    } params;
    uint64_t chunk_size;
    bool chunk_last;
};

enum verb_flags {
    LONG_ARGUMENT = 1 << 0,   /* up to SERVER_LINE_MAX */
    LAST_OF_GROUP = 1 << 1,   /* RFC 2920 3.1: nothing may follow before its reply */
    IDLE_TALK = 1 << 2,       /* it only passes the time */
    OPENS_CHUNK = 1 << 3,     /* octets follow: if it is malformed nobody knows how many */
    ASKS_FOR_RCPT = 1 << 4,   /* refused because every recipient was: say so */
    GIVES_RCPT = 1 << 5,      /* where it is refused, DATA will be told why */
    ENDS_SESSION = 1 << 6,    /* allowed while draining */
    ENDS_RECIPIENTS = 1 << 7, /* no idle talk where there were recipients, accepted or refused */
};

struct verb {
    const char *name;
    uint8_t phases; /* IN(…) bits of those in which it may come */
    uint8_t flags;
    /* The refusal, or NULL; changes nothing. */
    const char *(*check)(const struct smtp_server *server, struct command *command);
    /* Says its reply. NULL where the check always refuses. */
    void (*proceed)(struct smtp_server *server, struct command *command);
};

/* NULL: no such verb. */
const struct verb *server_find_verb(struct bytes name);

/* A whole reply is one line without CRLF. */
void server_put(struct smtp_server *server, struct bytes text);
void server_say(struct smtp_server *server, const char *reply);
/* A protocol error; the last of many ends the session. */
void server_say_error(struct smtp_server *server, const char *reply);
/* Counts as a protocol error only if it is one. */
void server_say_refusal(struct smtp_server *server, const char *reply);
/* Drops the transaction and ends the session with this. */
void server_close_with(struct smtp_server *server, const char *reply);
void server_drop_transaction(struct smtp_server *server);

/* Bytes of a message, or of a chunk, that are far beyond what is accepted. */
uint64_t server_excess_limit(const struct smtp_server *server);

/* The octets of a chunk are all here (server_commands.c). */
void server_end_chunk(struct smtp_server *server);
void server_end_skipped_chunk(struct smtp_server *server);
/* The whole message is here: refuses it, or hands it to the owner. */
void server_finish_message(struct smtp_server *server);

#endif
