/* The engine: workers, the spool under them, and start, reload, drain and stop.
 *
 * One per process (the simulator makes and drops many). Owns everything that workers share.
 * Signals and the control socket ask for things here; they are done by the keeper, worker 0. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/timers.h"
#include "io/mailbox.h"
#include "log_rotation.h"
#include "worker.h"

struct accounting;
struct arrivals;
struct callers;
struct config;
struct control;
struct common_rates;
struct work_pool;
struct limits;
struct mailboxes;
struct open_sites;
struct mx_table;
struct registry;
struct scheduler;
struct spools;

#define ENGINE_WORKERS_MAX  64
#define ENGINE_KEEPER       0      /* the worker that writes the log */
#define ENGINE_SESSIONS_MAX 100000 /* injecting sessions at once, all workers */

enum engine_state { ENGINE_STARTING, ENGINE_RUNNING, ENGINE_DRAINING, ENGINE_STOPPED };

struct engine_options {
    struct config *config;   /* the engine's from here on */
    const char *config_path; /* for reload; NULL: cannot */
    uint32_t workers;        /* 0: as the configuration says */
    uint32_t mailbox_len;    /* 0: 1024; the simulator: 2 */
    uint64_t segment_bytes;  /* 0: 64 MiB */
    const char *host_name;   /* the system's, where none is configured; NULL: "localhost" */
    /* Loads the configuration again; NULL on error (logged). */
    struct config *(*load)(void *owner, struct error *error);
    void (*state_changed)(void *owner, enum engine_state state); /* NULL: nobody asks */
    void (*reloading)(void *owner, bool under_way); /* begins; has ended, well or not; or NULL */
    void (*alive)(void *owner); /* from the keeper's loop every alive_every_ms; or NULL */
    uint64_t alive_every_ms;
    void *owner;
};

/* One letter per worker for what the engine asks of all. */
struct engine_order {
    struct letter letter;
    struct engine *engine;
    struct worker *worker;
    struct timer poll; /* on that worker, while it drains */
    uint64_t until_ms;
};

struct engine {
    struct engine_options options;
    struct config *config;
    struct mailboxes *mailboxes;
    struct limits *limits;
    struct common_rates *common_rates;
    struct open_sites *open_sites;
    struct work_pool *helpers;
    struct registry *registry; /* NULL with one worker */
    struct mx_table *mx_table;
    struct callers *callers;
    struct spools *spools;
    struct arrivals *arrivals;
    struct accounting *accounting;
    struct control *control;
    atomic_uint dummy_smtp; /* connections of the built-in sink, all workers */
    uint32_t worker_count;
    struct worker workers[ENGINE_WORKERS_MAX];
    struct scheduler *schedulers[ENGINE_WORKERS_MAX];
    struct engine_order orders[ENGINE_WORKERS_MAX];
    uint32_t orders_out;
    enum engine_state state;
    struct config *old_config; /* freed when the last worker has moved on */
    uint64_t started_ms;
    int64_t started_wall_ms, wall_offset_ms;
    bool restored, memory_is_full;
    struct log_rotation log_rotation;
    struct timer memory_timer, alive_timer; /* the keeper's */
    atomic_bool stop_wanted, stop_now_wanted, reload_wanted, reopen_wanted;
    atomic_bool running; /* false: loops end */
};

/* NULL with error. Nothing runs yet. */
struct engine *engine_create(const struct engine_options *options, struct error *error);

/* Steps of the start, each on the thread named; the threads wait for each other in between.
 * engine_run does all this with threads; the simulator calls them one after the other. */
int engine_open_spool(struct engine *engine, struct error *error); /* keeper, after all phase 1 */
int engine_restore(struct engine *engine, struct error *error);    /* keeper, after all phase 2 */
int engine_started(struct engine *engine, struct error *error);    /* keeper, after all phase 3 */

/* Called by the keeper's worker_turn: what signals and timers asked for. */
void engine_poll(struct engine *engine);

/* From any thread, also a signal handler's: */
void engine_want_stop(struct engine *engine); /* drain, then stop; a second time: at once */
void engine_want_reload(struct engine *engine);
void engine_want_reopen(struct engine *engine); /* log and accounting files */

/* Asked by control, on the keeper. 0, or -1 with error (code 78: the old one stays in force). */
int engine_reload(struct engine *engine, struct error *error);
void engine_drain(struct engine *engine);

/* May this virtual MTA take so many recipients more (max-queued-recipients, spool-share)? Any
 * worker. */
bool engine_admits(struct engine *engine, const struct config *config, struct bytes vmta,
                   uint32_t rcpt_count);

/* Runs until stopped, with a thread per worker. The exit code (sysexits). */
int engine_run(struct engine *engine, struct error *error);

/* Steps of the end, each on the thread named, after all loops have ended or a start has failed:
 * keeper: followers; each worker: worker_destroy; keeper: spool; each worker: io_destroy. */
void engine_close_followers(struct engine *engine);
void engine_close_spool(struct engine *engine);

/* After the steps above; any thread. NULL is accepted. */
void engine_destroy(struct engine *engine);

#endif
