/* Commands that look at recipients one by one: `list`, `delete`, and those about jobs.
 *
 * One runs at a time. It asks one worker after the other (schedule_scan.h), so what it counts needs
 * no lock: the control_scan is whose turn it is. Rows go to the client a page at a time; while one
 * is being sent nothing more is looked at, and a client that takes none for CONTROL_SCAN_SLOW_MS is
 * closed. What writes outcomes is answered when they are durable in every log. */
#ifndef ENGINE_CONTROL_SCAN_H
#define ENGINE_CONTROL_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/list.h"
#include "base/timers.h"
#include "io/mailbox.h"
#include "schedule_scan.h"
#include "spools.h"

struct control;
struct control_job;
struct control_mail_jobs;
struct control_scan;
struct json;
struct json_writer;
struct worker;

#define CONTROL_SCAN_PAGE_BYTES (128 * 1024)
#define CONTROL_SCAN_ROW_MAX    (32 * 1024) /* bytes of one row, its texts cut to fit */
#define CONTROL_SCAN_SLOW_MS    30000
#define CONTROL_SCAN_DURABLE_MS 45000 /* waits so long for the disk, then says so */

/* What a command is. */
struct control_scan_kind {
    bool needs_selector; /* nothing selected is an error */
    bool needs_rows;     /* ends where as many rows were written as asked for */
    bool needs_job;      /* jobId is one job's id, not a pattern */
    /* On each worker, before it looks at the first. False: job->error is set. NULL: nothing to do
     */
    bool (*begin)(struct control_scan *scan);
    /* On the worker: one that matches. */
    void (*found)(struct control_scan *scan, struct queue *queue, struct rcpt *rcpt);
};

struct control_scan {
    struct control_job *job;
    const struct control_scan_kind *kind;
    struct worker *worker; /* being asked */
    bool dry_run;
    uint64_t rows_left;
    bool more;               /* there are more than rows were asked for */
    uint64_t count, on_wire; /* found that wait, and that are on the wire */
    uint64_t logs_written;   /* a bit for each that outcomes went to, by message_log_index */
    struct buffer page;      /* rows, a line each */
    struct bytes job_id;     /* with needs_job */
    bool was_paused;         /* the job, before it was resumed */
    struct control_mail_jobs *mail_jobs; /* of `show jobs`; owned */
    /* private: */
    struct list_node node; /* control's, while it waits for the disk */
    struct letter letter;
    struct json *request; /* owns what the selector points to */
    struct scan scan;
    bool worker_done, cancelled;
    uint64_t held_since_ms, given_up_ms;
    uint32_t barriers_out;
    struct timer timer;       /* of the keeper */
    struct timer stall_timer; /* of the worker being asked */
    struct spool_barrier barriers[SPOOLS_MAX];
    uint64_t *marks; /* [worker][log], from malloc */
    char memory[CONTROL_SCAN_PAGE_BYTES];
};

/* The request, taken over, becomes the job's scan; or job->error says why not. */
void control_scan_create(struct control_job *job, struct json *request);
void control_scan_start(struct control_job *job);
void control_scan_free(struct control_scan *scan); /* NULL is accepted */

/* For `found`: outcomes have been put about this message. */
void control_scan_wrote(struct control_scan *scan, const struct message *message);

/* Nobody waits for the disk any more. */
void control_scan_stop(struct control *control);

/* ---- control_selected.c ---- */
extern const struct control_scan_kind control_list, control_delete;
void control_answer_list(struct control_job *job, struct json_writer *writer);
void control_answer_delete(struct control_job *job, struct json_writer *writer);

/* ---- control_mail_jobs.c ---- */
extern const struct control_scan_kind control_show_jobs, control_pause_job, control_resume_job;
void control_answer_jobs(struct control_job *job, struct json_writer *writer);
void control_answer_job(struct control_job *job, struct json_writer *writer);
void control_mail_jobs_free(struct control_mail_jobs *jobs); /* NULL is accepted */

#endif
