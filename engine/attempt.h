/* Attempts: connections to receiving hosts, and what is on them.
 *
 * An attempt belongs to one site from its creation until it is closed. It resolves, connects from
 * one of the virtual MTA's addresses (never another), speaks TLS as its level demands, and sends
 * message after message as long as the scheduler has some. The story: RESOLVING → CONNECTING →
 * TALKING (greeting, EHLO, STARTTLS, handshake, EHLO) → READY → CLOSING. A host that fails before
 * READY leads to the next address; when none is left the queue it was opened for hears of it
 * once. After READY a failure ends only what was on the wire. */
#ifndef ENGINE_ATTEMPT_H
#define ENGINE_ATTEMPT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/timers.h"
#include "gates.h"
#include "message.h"
#include "net/connection.h"
#include "prepare.h"
#include "resolve.h"
#include "smtp/client.h"

struct attempts;
struct dialogue_log;
struct local_job;
struct scheduler;
struct site;
struct queue;
struct outcomes;
struct vmta_source;
struct work_pool;

#define ATTEMPT_HELD_MS           1000   /* a prepared message whose rates are not free goes back */
#define ATTEMPT_CARRY_MS          30000  /* a carried one waits so long for the reply before it */
#define ATTEMPT_ADDRESSES_MAX     5      /* addresses tried in one attempt (hostile C22) */
#define ATTEMPT_COMMAND_MS        300000 /* RFC 5321 4.5.3.2.2, .3: MAIL and RCPT five minutes */
#define ATTEMPT_DATA_MS           120000 /* RFC 5321 4.5.3.2.4: DATA initiation two minutes */
#define ATTEMPT_FRUITLESS_MS      1000 /* after a connection that was let in and carried nothing */
#define ATTEMPT_WATCHDOG_EXTRA_MS 300000  /* beyond every deadline: something of ours is stuck */
#define ATTEMPT_FAULT_MS          3600000 /* a host is spared so long what it cannot do */

enum attempt_state {
    ATTEMPT_RESOLVING,
    ATTEMPT_CONNECTING,
    ATTEMPT_TALKING,
    ATTEMPT_READY,
    ATTEMPT_CLOSING,
};

struct attempt {
    struct list_node site_node; /* in site->attempts */
    struct list_node idle_node; /* in site->idle while it has nothing to do */
    struct attempts *attempts;
    struct site *site;
    struct queue *queue; /* for whom it was opened; NULL once READY */
    struct route *route;
    struct vmta_source *source;
    struct list on_wire;      /* struct transaction, begun, oldest first */
    struct list lingering;    /* ended, but their bytes are in the send in flight */
    struct transaction *next; /* prepared or preparing, one ahead */
    struct transaction *body; /* whose body is being written, window by window */
    uint64_t opened_ms, messages_sent;
    uint8_t state;         /* enum attempt_state */
    uint8_t tls_level;     /* enum tls_need: what it was opened for */
    bool plain_fallback;   /* this try goes in the clear because TLS failed before */
    bool try_next_address; /* when closed: go on with the route */
    bool repeat_address;   /* … at the same address (other source, or without TLS) */
    bool no_port;          /* the last connect found no local port free */
    bool quitting;
    bool peer_left;            /* the other side or the network ended it, not we */
    bool silent_final;         /* … by no word of a reply to the oldest one's final dot */
    bool used_up;              /* takes no more: others need its place */
    bool tls_wanted;           /* the handshake begins when the send in flight is over */
    bool holds_source;         /* a place of its source address: site_sources.h */
    bool counted_open;         /* the scheduler no longer counts it as opening */
    bool counted_up;           /* its site is known to have a connection: vmta/open_sites.h */
    struct gate_places places; /* of the limits it counts in */
    bool seeks_host;           /* it looks for a place at a host: host_places.h */
    /* private: */
    uint16_t address_turn;              /* how many addresses of the route are done with */
    uint16_t address_start, best_count; /* equal hosts are begun with in turn */
    uint16_t addresses_tried, greeting_5xx_count;
    uint32_t refusals;     /* on this connection, for max-errors-per-connection */
    uint8_t failure_stage; /* enum client_stage of `failure` */
    bool bounce_queue;     /* the failure is permanent for all that waits */
    bool failure_said;     /* the failure is the peer's reply, not words of ours */
    bool no_mx;            /* and of mail older than bounce-upon-no-mx */
    /* host_places.h; in `route`, NULL: none yet */
    const struct route_host *aim_host, *full_host;
    const struct address *aim_peer, *full_peer; /* what it tries; the first that was full */
    struct address full_source;
    bool aim_full;
    struct resolve_job *resolving;
    struct local_job *local;      /* where mail is delivered without a peer; NULL: it is not */
    struct transaction *at_local; /* what is with `local` now, or NULL */
    struct reply *failure;        /* why the addresses so far failed; from malloc, NULL = none */
    const char *failure_stage_name;
    struct timer timer; /* held or carried transaction, idle time */
    uint64_t wake_ms;   /* when it fires */
    struct timer watchdog;
    struct connection connection;
    struct client_settings client_settings;
    struct client client;
    struct iovec iov[CONNECTION_IOV_MAX];
    struct address source_address;
    char source_text[ADDRESS_TEXT_MAX], peer_text[ADDRESS_TEXT_MAX];
    const char *host_name;       /* in route */
    const char *end_words;       /* why the connection ends, for the log; NULL: `failure` says */
    uint32_t source_index;       /* in site->sources, since the last reload perhaps another one */
    uint32_t log_number;         /* of the connection; 0: none yet */
    bool log_commands, log_data; /* as policy was when the connection began to talk */
    uint64_t content_said;       /* bytes of the message on the wire that log-data has seen */
    char helo_name[256];
};

struct attempts_options {
    struct io *io;
    struct scheduler *scheduler;
    struct spools *spools;
    struct resolver *resolver;
    struct outcomes *outcomes;
    struct tls_worker *tls;
    struct dialogue_log *dialogue_log; /* NULL: no site's policy logs */
    struct work_pool *helpers;         /* for deliveries into files */
    uint32_t worker, attempts_max;
    size_t prepared_bytes_max;
    bool allow_no_source_address;
};

struct attempts *attempts_create(const struct attempts_options *options);
void attempts_destroy(struct attempts *attempts); /* none may be open */

/* Where transactions for these attempts are made. */
struct preparer *attempts_preparer(struct attempts *attempts);

/* Opens a connection for this queue; its limits have been taken. NULL: no memory. Nothing
 * happens inside the call. */
struct attempt *attempt_open(struct attempts *attempts, struct site *site, struct queue *queue);

/* Its site may have mail for it: an idle attempt asks the scheduler and sends. */
void attempt_offer(struct attempt *attempt);

/* May this connection carry messages of a queue with this need? (design: at least as strict) */
bool attempt_suits(const struct attempt *attempt, const struct queue *queue);

/* Gives back what was not begun and recalls what has no body on the wire yet (pause, delete). */
void attempt_recall(struct attempt *attempt, const struct queue *queue);

/* After a reload: the settings of its site and the addresses of its virtual MTA are new ones. One
 * whose address is no longer among them ends; mail it is not strict enough for goes back. */
void attempt_reload(struct attempt *attempt);

/* Ends politely after what is on the wire; idle ones at once. */
void attempt_quit(struct attempt *attempt);
/* Ends now: what is on the wire is lost and retried. For stop. */
void attempt_abort(struct attempt *attempt);

/* From prepare: the transaction's window is ready (or failed). */
void attempt_on_prepared(struct attempt *attempt, struct transaction *transaction);

/* Forgets cached TLS profiles (reload). */
void attempts_forget_profiles(struct attempts *attempts);

#endif
