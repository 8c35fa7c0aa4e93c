/* What session.c (all sessions), session_wire.c (bytes and time of one) and session_mail.c (its
 * messages) share. */
#ifndef ENGINE_SESSION_INTERNAL_H
#define ENGINE_SESSION_INTERNAL_H

#include "base/date.h"
#include "base/timers.h"
#include "io/io.h"
#include "policy/access.h"
#include "policy/acct_header.h"
#include "policy/pattern.h"
#include "policy/pattern_list.h"
#include "policy/rules.h"
#include "reception.h"
#include "session.h"
#include "smtp/server.h"
#include "vmta_choice.h"

struct slab;

#define SESSION_NAME_MAX  255 /* bytes of a host name */
#define SESSION_REPLY_MAX 512 /* bytes of a reply made here */
#define SESSION_JOB_MAX   HEADER_VALUE_MAX
#define SESSION_LINGER_MS 2000 /* for the peer to read our last reply and close */
#define SESSION_RATE_MIN  500  /* bytes per second of a message, beyond the data timeout (S30) */
#define SESSION_STOP_MS   5000 /* for a last reply to be sent while stopping */
/* Beyond sessions_max so many are told why they cannot stay. */
#define SESSION_REFUSALS_MAX 64
#define SESSION_SIZE_MAX     (1024ull * 1024 * 1024) /* interfaces.md 3: `unlimited` */

struct session_door {
    uint32_t refs;
    char *source_name; /* NULL: none */
    char *host_name;
};

/* Workspaces nobody uses, linked through themselves: taking one from the slab would clear its
 * 8 KiB at every command. */
struct idle_workspace {
    struct idle_workspace *next;
};

struct sessions {
    struct sessions_options options;
    struct slab *pool, *workspaces, *rests;
    struct idle_workspace *idle_workspaces;
    struct receptions receptions;
    struct pattern_matcher *matcher;
    struct list open;  /* sessions */
    struct list hooks; /* struct sessions_ended_hook */
    struct timer turn; /* says drained and stopped, outside of any call */
    uint64_t generation;
    uint32_t reception_count;
    bool draining, stopping;
    void (*drained)(void *owner);
    void (*stopped)(void *owner);
    struct server_settings settings;  /* of the session whose core runs */
    char reply[SESSION_REPLY_MAX];    /* the last one made here */
    struct acct_headers acct_headers; /* those that accounting asks for */
    uint64_t headers_generation;      /* that they are of, plus 1; 0: none yet */
    char job[SESSION_JOB_MAX];        /* of the message that is committed */
    char headers[ACCT_HEADERS_BYTES]; /* … its values of those */
    char date[DATE_RFC5322_MAX];      /* of the second date_s by the wall; "": none yet */
    int64_t date_s;
    struct sessions_status status;
};

enum session_stage {
    SESSION_ARRIVED, /* nothing said: one turn of the loop, to see whether the peer talks first */
    SESSION_OPEN,
    SESSION_LINGERS, /* our side is shut; the peer's is read over until it ends */
    SESSION_CLOSING, /* operations come home */
};

enum session_wait { WAIT_NOTHING, WAIT_SEND, WAIT_COMMAND, WAIT_DATA };

enum session_refusal { REFUSAL_NONE, REFUSAL_SOURCE, REFUSAL_FULL, REFUSAL_ADDRESS, REFUSAL_DRAIN };

struct session {
    struct list_node node;
    struct sessions *home;
    struct session_door *door;
    struct io_op recv_op, send_op;
    struct iovec iov;
    struct timer timer;
    uint64_t timer_due_ms;
    struct smtp_server server;
    struct reception *reception; /* NULL: no transaction */
    /* What the configuration says, as of `generation`. */
    const struct config *config;
    const struct source_settings *source;
    struct bytes default_vmta;
    const struct rule_list *patterns; /* of its pattern-list; NULL: none */
    uint64_t generation;
    /* The wait that the deadline is for. */
    uint64_t since_ms, progress_ms, data_bytes;
    uint64_t content_said; /* bytes of its message that log-data has seen */
    char *rest;            /* received and not yet fed; NULL: none */
    uint32_t rest_from, rest_to;
    uint32_t ticket; /* UINT32_MAX: not counted */
    int fd;
    struct address peer, local;
    uint8_t stage, wait, refusal;
    bool listened, sending, eof, extended, ending, abort;
    bool own; /* no client of the network's: sessions_accept_own */
    uint8_t helo_len;
    char helo[SESSION_NAME_MAX];
};

/* ---- session_wire.c ---- */

/* Starts a session whose fd, peer, local, refusal are set. */
void session_start(struct session *session);
/* Does whatever can be done now. The session may be gone on return. */
void session_pump(struct session *session);
/* Ends it: reset where `abort`. The session may be gone on return. */
void session_close(struct session *session, bool abort);
/* Makes the core ready to be called: settings and workspace. */
void session_ready(struct session *session);

/* ---- session.c ---- */

/* Gives the session a workspace if it has none, and takes it back. */
void session_take_workspace(struct session *session);
void session_give_workspace(struct session *session);

/* What log-connections, log-commands and log-data say; the caller has looked that they are on. */
void session_log_opened(const struct session *session);
void session_log_ended(const struct session *session);
void session_log_command(const struct session *session, struct bytes line);
void session_log_replies(const struct session *session, struct bytes replies);
void session_log_content(struct session *session, struct bytes bytes);

/* The descriptor is closed, no operation is out: frees it. */
void session_ended(struct session *session);
/* A reception has gone back to its pool. */
void session_reception_released(void *house);

/* ---- session_mail.c ---- */

extern const struct server_events session_server_events;

/* Takes over what the configuration says, if it has changed. */
void session_refresh(struct session *session);
struct bytes session_host_name(const struct session *session);
/* Hands the whole message to the spool, or refuses it. */
void session_commit(struct session *session);

#endif
