/* The course of a scan: a letter goes to a worker, comes back with a page or with its end, and goes
 * to the next one. */
#include "control_scan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "control_private.h"
#include "engine.h"
#include "io/io.h"
#include "schedule.h"
#include "worker.h"

#define POLL_MS    2     /* until the keeper has what workers wrote */
#define STALL_MS   5     /* until a worker's outcomes are less */
#define GIVE_UP_MS 30000 /* … or the log is taken for broken */

static struct control_scan *scan_of(struct scan *scan)
{
    return CONTAINER_OF(scan, struct control_scan, scan);
}

static struct io *keeper_io(const struct control_scan *scan)
{
    return scan->job->engine->workers[ENGINE_KEEPER].io;
}

/* ---- on a worker ---- */

static void on_keeper(struct letter *letter);

static void to_keeper(struct control_scan *scan)
{
    scan->letter.deliver = on_keeper;
    mailbox_post(scan->job->engine->mailboxes, scan->worker->index, ENGINE_KEEPER, MAILBOX_URGENT,
                 &scan->letter);
}

static void on_found(struct scan *of, struct queue *queue, struct rcpt *rcpt)
{
    struct control_scan *scan = scan_of(of);
    if (scan->kind->needs_rows && scan->rows_left == 0) {
        scan->more = true;
        of->stopped = true;
        return;
    }
    scan->kind->found(scan, queue, rcpt);
    if (buffer_room(&scan->page) < CONTROL_SCAN_ROW_MAX) {
        of->held = true;
        to_keeper(scan);
    }
}

/* The outcomes put so far are behind these marks. */
static void note_marks(struct control_scan *scan)
{
    uint32_t count, worker = scan->worker->index;
    struct spool *const *all = spools_all(scan->job->engine->spools, &count);
    for (uint32_t i = 0; i < count; i++) {
        scan->marks[worker * count + i] = spool_outcome_mark(all[i], worker);
    }
}

static void on_done(struct scan *of)
{
    struct control_scan *scan = scan_of(of);
    scan->worker_done = true;
    note_marks(scan);
    to_keeper(scan);
}

static void on_stall_timer(struct timer *timer)
{
    struct control_scan *scan = CONTAINER_OF(timer, struct control_scan, stall_timer);
    struct spools *spools = scan->job->engine->spools;
    uint64_t now_ms = io_now_ms(scan->worker->io);
    uint32_t count;
    struct spool *const *all = spools_all(spools, &count);
    bool stalled = false;
    for (uint32_t i = 0; i < count; i++) {
        stalled |= (scan->logs_written >> i & 1) != 0 &&
                   spool_outcomes_stalled(all[i], scan->worker->index);
    }
    if (stalled && now_ms - scan->held_since_ms < GIVE_UP_MS) {
        timer_start(io_timers(scan->worker->io), &scan->stall_timer, now_ms + STALL_MS);
        return;
    }
    if (stalled) {
        error_set(&scan->job->error, 75, "the spool takes no more outcomes: stopped after %llu",
                  (unsigned long long)scan->count);
        scan->scan.stopped = true;
    }
    schedule_scan_go_on(&scan->scan);
}

void control_scan_wrote(struct control_scan *scan, const struct message *message)
{
    struct io *io = scan->worker->io;
    scan->logs_written |= UINT64_C(1) << message_log_index(message);
    if (spool_outcomes_stalled(spools_of(scan->job->engine->spools, message),
                               scan->worker->index)) {
        scan->scan.held = true;
        scan->held_since_ms = io_now_ms(io);
        timer_start(io_timers(io), &scan->stall_timer, scan->held_since_ms + STALL_MS);
    }
}

static void on_begin(struct letter *letter)
{
    struct control_scan *scan = CONTAINER_OF(letter, struct control_scan, letter);
    scan->worker_done = false;
    timer_init(&scan->stall_timer, on_stall_timer);
    if (scan->kind->begin != NULL && !scan->kind->begin(scan)) {
        on_done(&scan->scan);
        return;
    }
    bool begun = schedule_scan_begin(scan->worker->scheduler, &scan->scan);
    assert(begun); /* the keeper lets one run at a time */
}

static void on_page_gone(struct letter *letter)
{
    struct control_scan *scan = CONTAINER_OF(letter, struct control_scan, letter);
    scan->scan.stopped = scan->scan.stopped || scan->cancelled;
    schedule_scan_go_on(&scan->scan);
}

/* ---- on the keeper ---- */

static void ask(struct control_scan *scan, void (*deliver)(struct letter *letter))
{
    scan->letter.deliver = deliver;
    mailbox_post(scan->job->engine->mailboxes, ENGINE_KEEPER, scan->worker->index, MAILBOX_URGENT,
                 &scan->letter);
}

static void finish(struct control_scan *scan)
{
    timer_stop(io_timers(keeper_io(scan)), &scan->timer);
    list_remove(&scan->node);
    control_finish(scan->job, scan->cancelled);
}

static void give_up(struct control_scan *scan, const char *why)
{
    for (uint32_t i = 0; i < SPOOLS_MAX; i++) {
        spool_barrier_cancel(&scan->barriers[i]);
    }
    error_set(&scan->job->error, 75, "done for %llu recipients, but %s: a crash may undo it",
              (unsigned long long)scan->count, why);
    finish(scan);
}

static void on_durable(struct spool_barrier *barrier)
{
    struct control_scan *scan = barrier->owner;
    if (--scan->barriers_out == 0) {
        finish(scan);
    }
}

/* The keeper has in its hands what the workers wrote. */
static bool all_passed(const struct control_scan *scan)
{
    const struct engine *engine = scan->job->engine;
    uint32_t count;
    struct spool *const *all = spools_all(engine->spools, &count);
    for (uint32_t worker = 0; worker < engine->worker_count; worker++) {
        for (uint32_t i = 0; i < count; i++) {
            if ((scan->logs_written >> i & 1) != 0 &&
                !spool_outcome_passed(all[i], worker, scan->marks[worker * count + i])) {
                return false;
            }
        }
    }
    return true;
}

static void ask_durable(struct control_scan *scan)
{
    uint32_t count;
    struct spool *const *all = spools_all(scan->job->engine->spools, &count);
    for (uint32_t i = 0; i < count; i++) {
        if ((scan->logs_written >> i & 1) != 0) {
            scan->barriers[i].durable = on_durable;
            scan->barriers[i].owner = scan;
            scan->barriers_out++;
            spool_when_durable(all[i], &scan->barriers[i]);
        }
    }
}

static void on_disk_timer(struct timer *timer)
{
    struct control_scan *scan = CONTAINER_OF(timer, struct control_scan, timer);
    struct io *io = keeper_io(scan);
    uint64_t now_ms = io_now_ms(io), next_ms = now_ms + POLL_MS;
    if (now_ms >= scan->given_up_ms) {
        give_up(scan, "the disk has not taken it yet");
        return;
    }
    if (all_passed(scan)) {
        ask_durable(scan);
        next_ms = scan->given_up_ms;
    }
    timer_start(io_timers(io), &scan->timer, next_ms);
}

static void wait_for_disk(struct control_scan *scan)
{
    struct io *io = keeper_io(scan);
    scan->given_up_ms = io_now_ms(io) + CONTROL_SCAN_DURABLE_MS;
    list_push_back(&scan->job->client->control->waiting, &scan->node);
    timer_init(&scan->timer, on_disk_timer);
    timer_start(io_timers(io), &scan->timer, io_now_ms(io));
}

/* All workers were asked, or nobody listens any more. */
static void end_scan(struct control_scan *scan)
{
    const struct engine *engine = scan->job->engine;
    scan->job->client->control->scanning = NULL;
    if (engine->state != ENGINE_RUNNING && scan->job->error.code == 0) {
        error_set(&scan->job->error, 75, "the daemon is stopping: not all were looked at");
    }
    if (scan->logs_written != 0) {
        wait_for_disk(scan);
    } else {
        finish(scan);
    }
}

static void go_on(struct control_scan *scan)
{
    struct engine *engine = scan->job->engine;
    if (!scan->worker_done) {
        ask(scan, on_page_gone);
    } else if (scan->cancelled || scan->more || scan->job->error.code != 0 ||
               scan->worker == &engine->workers[engine->worker_count - 1]) {
        end_scan(scan);
    } else {
        scan->worker++;
        ask(scan, on_begin);
    }
}

static void on_page_sent(struct control_client *client, int result)
{
    struct control_scan *scan = client->control->scanning;
    timer_stop(io_timers(keeper_io(scan)), &scan->timer);
    scan->cancelled = scan->cancelled || result < 0;
    buffer_clear(&scan->page);
    go_on(scan);
}

static void on_slow(struct timer *timer)
{
    struct control_scan *scan = CONTAINER_OF(timer, struct control_scan, timer);
    io_cancel(keeper_io(scan), &scan->job->client->send_op);
}

static void on_keeper(struct letter *letter)
{
    struct control_scan *scan = CONTAINER_OF(letter, struct control_scan, letter);
    struct io *io = keeper_io(scan);
    if (scan->page.len == 0 || scan->cancelled) {
        go_on(scan);
        return;
    }
    timer_init(&scan->timer, on_slow);
    timer_start(io_timers(io), &scan->timer, io_now_ms(io) + CONTROL_SCAN_SLOW_MS);
    control_send_part(scan->job->client, buffer_bytes(&scan->page), on_page_sent);
}

/* ---- from a request ---- */

/* A member that is misspelt or of another type would select more than was meant. */
static bool check_members(const struct json *request, struct error *error)
{
    static const struct {
        const char *name;
        enum json_kind kind;
    } known[] = {
        {"command", JSON_KIND_STRING},     {"queue", JSON_KIND_STRING},
        {"orig", JSON_KIND_STRING},        {"rcpt", JSON_KIND_STRING},
        {"jobId", JSON_KIND_STRING},       {"envId", JSON_KIND_STRING},
        {"olderThanMs", JSON_KIND_NUMBER}, {"maxitems", JSON_KIND_NUMBER},
        {"dryRun", JSON_KIND_BOOL},        {"dsn", JSON_KIND_BOOL},
    };
    void *cursor = NULL;
    struct bytes name, text;
    const struct json *value;
    while (json_next_member(request, &cursor, &name, &value)) {
        size_t i = 0, count = sizeof known / sizeof known[0];
        while (i < count && !bytes_equal(name, bytes_from_string(known[i].name))) {
            i++;
        }
        if (i == count || json_kind(value) != known[i].kind ||
            (json_as_string(value, &text) && text.len == 0)) {
            error_set(error, 64, "member '%.*s' is unknown, empty or of another type",
                      BYTES_FMT(name));
            return false;
        }
    }
    return true;
}

static bool take_selector(struct control_scan *scan, struct error *error)
{
    const struct json *request = scan->request;
    int64_t older_ms = json_get_integer(request, "olderThanMs", 0);
    struct scan_selector *selector = &scan->scan.selector;
    *selector = (struct scan_selector){.queue = json_get_string(request, "queue"),
                                       .orig = json_get_string(request, "orig"),
                                       .rcpt = json_get_string(request, "rcpt"),
                                       .job = json_get_string(request, "jobId"),
                                       .envid = json_get_string(request, "envId"),
                                       .older_than_ms = older_ms > 0 ? (uint64_t)older_ms : 0};
    bool selects = selector->queue != NULL || selector->orig != NULL || selector->rcpt != NULL ||
                   selector->job != NULL || selector->envid != NULL || selector->older_than_ms > 0;
    if (!check_members(request, error)) {
        return false;
    }
    if (scan->kind->needs_job) {
        scan->job_id = bytes_from_string(selector->job);
        *selector = (struct scan_selector){0};
        bool good = scan->job_id.len > 0 && scan->job_id.len <= PAUSED_JOB_ID_MAX;
        return good || error_set(error, 64, "jobId: an id of 1 to %d bytes is needed",
                                 PAUSED_JOB_ID_MAX) == 0;
    }
    if (older_ms < 0 || (!selects && scan->kind->needs_selector)) {
        error_set(error, 64,
                  "say which recipients: queue, orig, rcpt, jobId, envId or olderThanMs");
        return false;
    }
    if (json_get_bool(request, "dsn", false)) {
        error_set(error, 64, "dsn is not yet in effect: nothing was deleted");
        return false;
    }
    return true;
}

void control_scan_create(struct control_job *job, struct json *request)
{
    uint32_t log_count;
    struct engine *engine = job->engine;
    spools_all(engine->spools, &log_count);
    struct control_scan *scan = malloc(sizeof *scan);
    uint64_t *marks = calloc((size_t)engine->worker_count * log_count, sizeof *marks);
    if (scan == NULL || marks == NULL) {
        free(scan);
        free(marks);
        json_free(request);
        error_set(&job->error, 71, "out of memory");
        return;
    }
    memset(scan, 0, offsetof(struct control_scan, memory));
    scan->job = job;
    scan->kind = job->command->scan;
    scan->marks = marks;
    scan->request = request;
    scan->rows_left = job->max_items;
    scan->dry_run = json_get_bool(request, "dryRun", false);
    buffer_init(&scan->page, scan->memory, sizeof scan->memory);
    job->scan = scan;
    take_selector(scan, &job->error);
}

void control_scan_free(struct control_scan *scan)
{
    if (scan != NULL) {
        json_free(scan->request);
        free(scan->marks);
        control_mail_jobs_free(scan->mail_jobs);
    }
    free(scan);
}

void control_scan_start(struct control_job *job)
{
    struct control *control = job->client->control;
    if (control->scanning != NULL || job->engine->state != ENGINE_RUNNING) {
        error_set(&job->error, 75,
                  control->scanning != NULL
                      ? "another command that looks at all recipients is under way: try again"
                      : "the daemon is stopping");
        control_finish(job, false);
        return;
    }
    struct control_scan *scan = job->scan;
    control->scanning = scan;
    scan->scan.found = on_found;
    scan->scan.done = on_done;
    scan->worker = &job->engine->workers[0];
    ask(scan, on_begin);
}

void control_scan_stop(struct control *control)
{
    struct list_node *next;
    for (struct list_node *node = list_first(&control->waiting); node != NULL; node = next) {
        next = list_next(&control->waiting, node);
        give_up(CONTAINER_OF(node, struct control_scan, node), "the daemon is stopping");
    }
}
