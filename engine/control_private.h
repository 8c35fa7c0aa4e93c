/* What control.c (socket and clients) and control_jobs.c (what commands do) share. */
#ifndef ENGINE_CONTROL_PRIVATE_H
#define ENGINE_CONTROL_PRIVATE_H

#include "base/bytes.h"
#include "base/json.h"
#include "control.h"
#include "dummy_smtp.h"
#include "engine.h"
#include "io/io.h"
#include "io/mailbox.h"
#include "resolve.h"
#include "smtp/reply.h"
#include "vmta/mode.h"

#define CONTROL_ROWS_MAX      200000 /* sites looked at for one command */
#define CONTROL_ITEMS_DEFAULT 1000   /* rows of one reply unless maxitems says otherwise */

struct control_client {
    struct list_node node;
    struct control *control;
    struct io_op recv_op, send_op;
    struct iovec iov;
    char *line; /* CONTROL_LINE_MAX, from malloc */
    size_t line_len;
    char *reply; /* being sent, from malloc */
    int fd;
    bool busy, closing;
    void (*part_sent)(struct control_client *client, int result); /* NULL: `reply` is sent */
};

struct control {
    struct engine *engine;
    struct io *io;
    struct io_acceptor acceptor;
    struct list clients;
    struct list resolving;         /* struct control_job */
    struct control_scan *scanning; /* the one that runs, or NULL */
    struct list waiting;           /* struct control_scan, for the disk */
    uint32_t client_count;
    int listen_fd;
    bool stopping, accept_stopped;
    void (*stopped)(void *owner);
    void *owner;
};

struct site;

/* One site as a row of `show`. */
struct control_row {
    char *name; /* "domain/vmta", owned */
    char *last_error;
    uint64_t rcpts, ready, bytes, connections, delivered, deferred, bounced;
    uint64_t last_error_age_ms, retry_in_ms;
    bool paused, orphaned, backoff;
    uint64_t backoff_since_ms; /* how long it has been in backoff mode */
    uint64_t now_ms;           /* when the row was made, for `disabled` */
    struct mode_disabled *disabled;
    uint32_t disabled_count;
};

/* What a command does to each queue that matches. */
struct control_change {
    enum { CONTROL_TO_BACKOFF, CONTROL_TO_NORMAL, CONTROL_DISABLE, CONTROL_ENABLE } kind;
    struct address source; /* the last two */
    uint64_t for_ms;       /* CONTROL_DISABLE; or NEVER */
};

/* Totals of one worker. */
struct control_totals {
    uint64_t rcpts, connections, sites, delivered, deferred, bounced, opened, turns;
    uint64_t costly_replies;
    uint64_t sessions, messages_in, rcpts_in, messages_refused;
    struct dummy_smtp_status sink;
};

struct control_job;

/* One letter to each worker; comes home with its answer. */
struct control_question {
    struct letter letter;
    struct control_job *job;
    struct worker *worker;
    struct control_row *rows;
    size_t row_count, row_capacity;
    struct control_totals totals;
    int result; /* count of queues, or -errno */
};

struct control_command {
    const char *name;
    void (*at_worker)(struct control_question *question); /* NULL: nothing to ask */
    void (*answer)(struct control_job *job, struct json_writer *writer);
    const struct control_scan_kind *scan; /* NULL: it looks at no recipients (control_scan.h) */
};

struct control_job {
    struct list_node node; /* in control's list while it resolves */
    struct control_client *client;
    struct engine *engine;
    const struct control_command *command;
    char pattern[512];             /* of queues; or a domain */
    uint64_t max_items, forgotten; /* pauses, by resume */
    uint32_t outstanding;
    struct error error; /* code != 0: the reply is an error */
    struct resolve_request resolve;
    struct route *route;
    struct reply reply; /* to be sorted */
    struct control_change change;
    bool has_queue;
    struct control_scan *scan; /* owned, or NULL */
    struct control_question questions[];
};

/* Starts the command of one request; control_reply is called later or inside. */
void control_start(struct control_client *client, struct bytes line);

/* The reply of a client's job, taken over (malloc'ed, with its newline). */
void control_reply(struct control_client *client, char *reply, size_t len);

/* Lines before the reply, lent until `sent`: negative result: the client is gone. */
void control_send_part(struct control_client *client, struct bytes lines,
                       void (*sent)(struct control_client *client, int result));

/* The job's reply is written, and the job freed. gone: the client is closed without one. */
void control_finish(struct control_job *job, bool gone);

/* The parts of job->pattern, "domain/vmta"; without a slash it is the domain's {default}. */
void control_split_queue(const struct control_job *job, struct bytes *domain, struct bytes *vmta);

/* "queues": how many did what was asked, over all workers. */
void control_answer_count(struct control_job *job, struct json_writer *writer);

/* ---- control_rows.c ---- */
/* Adds what waits in the site's queues, and its connections. */
void control_add_queues(struct control_row *row, const struct site *site);
void control_collect_rows(struct control_question *question);
void control_free_rows(struct control_question *question);
/* All workers' rows in one array, the caller's to free; NULL: no memory, and then none. */
struct control_row **control_all_rows(const struct control_job *job, size_t *count);
int control_by_name(const void *left, const void *right);
/* Whether the reply takes one row more and its end. */
bool control_has_room(const struct json_writer *writer);
void control_answer_queues(struct control_job *job, struct json_writer *writer);
void control_answer_top_queues(struct control_job *job, struct json_writer *writer);
void control_answer_domains(struct control_job *job, struct json_writer *writer);
void control_answer_top_domains(struct control_job *job, struct json_writer *writer);
void control_answer_vmtas(struct control_job *job, struct json_writer *writer);

/* ---- control_providers.c: `show providers` ---- */
/* A row for each provider that sites of this worker belong to: sums, `name` is the provider's. */
void control_collect_providers(struct control_question *question);
void control_answer_providers(struct control_job *job, struct json_writer *writer);

/* ---- control_modes.c ---- */
void control_take_change(struct control_job *job, const struct json *request);
void control_change_at_worker(struct control_question *question);
void control_answer_sources(struct control_job *job, struct json_writer *writer);

/* control_replies.c: `test-bounce`. Take reads the request, or sets job->error. */
void control_take_reply(struct control_job *job, const struct json *request);
void control_answer_reply(struct control_job *job, struct json_writer *writer);

extern const struct control_command control_commands[];

#endif
