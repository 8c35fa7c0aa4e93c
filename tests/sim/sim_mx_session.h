/* A receiving host from the inside: what its files share.
 *
 * sim_mx.c keeps hosts and records, sim_mx_session.c moves bytes and replies, sim_mx_verbs.c
 * decides what to answer. */
#ifndef SIM_MX_SESSION_H
#define SIM_MX_SESSION_H

#include "net/tls.h"
#include "sim_mx.h"

#define MX_REPLY_MAX 1024 /* bytes of one reply, all lines */
#define MX_INPUT_MAX (8u << 20)

struct sim_farm {
    struct sim *sim;
    struct list hosts, sessions, records, greylist;
    uint32_t session_count;
    uint64_t connections;
    char violation[512]; /* "": none */
    void (*final)(void *owner, const struct sim_mx_record *record);
    void (*rcpt)(void *owner, const struct sim_mx_record *record, uint32_t index);
    void *owner;
    struct tls_worker *tls;
};

struct sim_mx {
    struct list_node node;
    struct sim_farm *farm;
    struct sim_peer_listener listener;
    struct sim_mx_manners manners;
    struct tls_profile *profile;
    char host[SIM_MX_TEXT_MAX];
    uint64_t salt; /* of the recipients it never takes */
};

enum mx_phase {
    MX_GREETING, /* our first reply is not out yet */
    MX_NEW,      /* no HELO or EHLO yet */
    MX_IDLE,
    MX_MAIL, /* a transaction is open */
    MX_DATA, /* lines until the dot */
    MX_BDAT, /* octets of a chunk */
    MX_GONE, /* we have closed or will as soon as the reply is out */
};

enum mx_after { MX_GO_ON, MX_HANG_UP, MX_RESET, MX_START_TLS, MX_BREAK_TLS };

struct mx_session {
    struct list_node node;
    struct sim_farm *farm;
    struct sim_mx *mx;
    struct sim_peer peer;
    struct sim_event reply_due, idle;
    uint64_t id, opened_us;
    enum mx_phase phase;
    uint8_t *in;
    size_t in_len, in_capacity;
    char reply[MX_REPLY_MAX];
    size_t reply_len, reply_sent;
    uint64_t drip_us;    /* 0: at once */
    bool replying;       /* a reply is on its way out */
    enum mx_after after; /* the reply */
    uint16_t reply_code;
    uint16_t *code_out;  /* where it is recorded once it is out, or NULL */
    uint32_t rcpt_index; /* whose reply it is, if code_out is a recipient's */
    bool is_final;       /* the reply is that to the end of the message */
    struct sim_mx_record *record;
    char helo[SIM_MX_TEXT_MAX];
    bool extended;   /* EHLO was taken: extensions may be used */
    bool sync_point; /* the last command had to be the last of its group */
    bool lied, declared_8bit, saw_8bit;
    uint8_t *body;
    size_t body_len, body_capacity;
    uint64_t chunk_left;
    bool chunk_last, chunk_refused;
    struct tls_session *tls;
    bool tls_open;
};

/* ---- sim_mx.c --------------------------------------------------------------------------- */

void mx_violation(struct mx_session *session, const char *what);
/* False while (source, sender, recipient) is to wait. */
bool mx_greylist_passed(struct mx_session *session, const char *rcpt);
struct sim_mx_record *mx_record_open(struct mx_session *session, const char *sender);
void mx_record_close(struct mx_session *session);
/* All replies but those of the open transaction have been read. */
void mx_records_read(struct mx_session *session);

/* ---- sim_mx_session.c ------------------------------------------------------------------- */

/* A connection has come: the peer to hold it. */
struct sim_peer *mx_session_open(struct sim_mx *mx);
void mx_session_free(struct mx_session *session);

/* Says it, with this host's manners; the code that will really be said, 0: none will. `enhanced`
 * "" for none. Nothing more is read until it is out. */
uint16_t mx_reply(struct mx_session *session, uint16_t code, const char *enhanced,
                  const char *text);

/* ---- sim_mx_verbs.c --------------------------------------------------------------------- */

void mx_greet(struct mx_session *session);
/* One command line without its CRLF. */
void mx_command(struct mx_session *session, char *line);
/* The body is complete. */
void mx_body_end(struct mx_session *session);
/* A chunk of BDAT that was not the last is complete. */
void mx_chunk_end(struct mx_session *session);

#endif
