/* Jobs (campaigns) of the mail that is queued: `show jobs`, `pause job`, `resume job`.
 *
 * No recipient is linked to its job: a scan looks at all of them, which costs nothing until
 * somebody asks. Pausing is a rule on every worker (vmta/paused_jobs.h), kept in the spool; the
 * scan then parks those of the job that are ready, or takes them out of where they are parked
 * (queue.h). */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "control_private.h"
#include "control_scan.h"
#include "engine.h"
#include "io/io.h"
#include "queue.h"
#include "schedule.h"
#include "worker.h"

#define JOBS_MAX 10000 /* rows of `show jobs`; recipients of further jobs are counted together */

/* ---- show jobs ---- */

struct mail_job {
    struct map_entry entry;
    uint64_t ready, deferred, on_wire;
    bool paused;
    size_t len;
    char id[];
};

struct control_mail_jobs {
    struct map map;
    uint64_t others; /* recipients of jobs that have no row */
};

static struct mail_job *job_of(const struct map_entry *entry)
{
    return CONTAINER_OF(entry, struct mail_job, entry);
}

static struct bytes id_of(const struct mail_job *job)
{
    return bytes_of(job->id, job->len);
}

static bool is_job(const struct map_entry *entry, const void *key)
{
    return bytes_equal(id_of(job_of(entry)), *(const struct bytes *)key);
}

/* Found or made; NULL: there are too many. */
static struct mail_job *obtain(struct control_mail_jobs *jobs, struct bytes id)
{
    uint64_t hash = bytes_hash(id);
    struct map_entry *entry = map_find(&jobs->map, hash, is_job, &id);
    if (entry != NULL) {
        return job_of(entry);
    }
    struct mail_job *job = calloc(1, sizeof *job + id.len);
    if (job == NULL || !map_insert(&jobs->map, hash, &job->entry)) {
        free(job);
        return NULL;
    }
    job->len = id.len;
    memcpy(job->id, id.data, id.len);
    return job;
}

static bool begin_show(struct control_scan *scan)
{
    if (scan->mail_jobs == NULL) {
        scan->mail_jobs = calloc(1, sizeof *scan->mail_jobs);
        if (scan->mail_jobs == NULL) {
            return error_set(&scan->job->error, 71, "out of memory") == 0;
        }
        map_init(&scan->mail_jobs->map, JOBS_MAX);
    }
    return true;
}

static void show_found(struct control_scan *scan, struct queue *queue, struct rcpt *rcpt)
{
    (void)queue;
    struct bytes id = message_job(rcpt_message(rcpt));
    struct mail_job *job = id.len == 0 ? NULL : obtain(scan->mail_jobs, id);
    if (job == NULL) {
        scan->mail_jobs->others += id.len == 0 ? 0 : 1;
        return;
    }
    job->ready += rcpt->state == RCPT_READY ? 1 : 0;
    job->deferred += rcpt->state == RCPT_DEFERRED ? 1 : 0;
    job->on_wire += rcpt->state == RCPT_TAKEN ? 1 : 0;
}

void control_mail_jobs_free(struct control_mail_jobs *jobs)
{
    size_t cursor = 0;
    struct map_entry *entry;
    while (jobs != NULL && (entry = map_walk(&jobs->map, &cursor)) != NULL) {
        free(job_of(entry));
    }
    if (jobs != NULL) {
        map_deinit(&jobs->map);
    }
    free(jobs);
}

const struct control_scan_kind control_show_jobs = {.begin = begin_show, .found = show_found};

static void add_paused(const struct control_job *of, struct control_mail_jobs *jobs)
{
    size_t cursor = 0;
    struct bytes id;
    while (paused_jobs_walk(&of->engine->schedulers[ENGINE_KEEPER]->paused_jobs, &cursor, &id)) {
        struct mail_job *job = obtain(jobs, id);
        if (job != NULL) {
            job->paused = true;
        }
    }
}

static int by_id(const void *left, const void *right)
{
    const struct mail_job *a = *(const struct mail_job *const *)left;
    const struct mail_job *b = *(const struct mail_job *const *)right;
    int order = memcmp(a->id, b->id, a->len < b->len ? a->len : b->len);
    return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

/* All in order, in an array to be freed; NULL: no memory. */
static struct mail_job **sorted(const struct control_mail_jobs *jobs, size_t *count)
{
    struct mail_job **rows = calloc(map_count(&jobs->map) + 1, sizeof *rows);
    size_t cursor = 0;
    struct map_entry *entry;
    *count = 0;
    while (rows != NULL && (entry = map_walk(&jobs->map, &cursor)) != NULL) {
        rows[(*count)++] = job_of(entry);
    }
    if (rows != NULL) {
        qsort(rows, *count, sizeof(struct mail_job *), by_id);
    }
    return rows;
}

static void put_job(struct json_writer *writer, const struct mail_job *job)
{
    json_begin_object(writer, NULL);
    json_put_string(writer, "name", bytes_slice(id_of(job), 0, 1024));
    json_put_u64(writer, "rcpts", job->ready + job->deferred + job->on_wire);
    json_put_u64(writer, "ready", job->ready);
    json_put_u64(writer, "deferred", job->deferred);
    json_put_u64(writer, "onTheWire", job->on_wire);
    json_put_bool(writer, "paused", job->paused);
    json_end_object(writer);
}

void control_answer_jobs(struct control_job *job, struct json_writer *writer)
{
    size_t count = 0;
    struct control_mail_jobs *jobs = job->scan->mail_jobs;
    add_paused(job, jobs);
    struct mail_job **rows = sorted(jobs, &count);
    json_begin_array(writer, "jobs");
    for (size_t i = 0; i < count && i < job->max_items && control_has_room(writer); i++) {
        put_job(writer, rows[i]);
    }
    json_end_array(writer);
    json_put_u64(writer, "total", count);
    json_put_u64(writer, "others", jobs->others);
    free(rows);
}

/* ---- pause and resume ---- */

/* On the keeper's turn, which is the first; the answer waits until it is on the disk. */
static void keep(struct control_scan *scan, bool paused)
{
    char memory[PAUSED_JOB_ID_MAX + 16];
    struct buffer key;
    buffer_init(&key, memory, sizeof memory);
    buffer_put_string(&key, "paused-job:");
    buffer_put_bytes(&key, scan->job_id);
    assert(!key.overflowed);
    struct spool *home = spools_home(scan->job->engine->spools);
    spool_put_state(home, ENGINE_KEEPER, buffer_bytes(&key), paused ? BYTES("1") : BYTES(""));
    scan->logs_written |= 1; /* the home log is the first: spools.h */
}

static bool begin_pause(struct control_scan *scan)
{
    if (!paused_jobs_add(&scan->worker->scheduler->paused_jobs, scan->job_id)) {
        error_set(&scan->job->error, 73, "%d jobs are paused already: resume some of them",
                  PAUSED_JOBS_MAX);
        return false;
    }
    if (scan->worker->index == ENGINE_KEEPER) {
        keep(scan, true);
    }
    return true;
}

static bool begin_resume(struct control_scan *scan)
{
    bool was_paused = paused_jobs_remove(&scan->worker->scheduler->paused_jobs, scan->job_id);
    if (was_paused && scan->worker->index == ENGINE_KEEPER) {
        scan->was_paused = true;
        keep(scan, false);
    }
    return true;
}

static bool is_of_job(struct control_scan *scan, const struct rcpt *rcpt)
{
    if (!bytes_equal(message_job(rcpt_message(rcpt)), scan->job_id)) {
        return false;
    }
    scan->count += rcpt->state == RCPT_TAKEN ? 0 : 1;
    scan->on_wire += rcpt->state == RCPT_TAKEN ? 1 : 0;
    return true;
}

static void pause_found(struct control_scan *scan, struct queue *queue, struct rcpt *rcpt)
{
    if (is_of_job(scan, rcpt) && rcpt->state == RCPT_READY) {
        queue_park(queue, rcpt);
    }
}

static void resume_found(struct control_scan *scan, struct queue *queue, struct rcpt *rcpt)
{
    if (is_of_job(scan, rcpt)) {
        queue_unpark(queue, rcpt, io_now_ms(scan->worker->io));
    }
}

const struct control_scan_kind control_pause_job = {
    .needs_job = true, .begin = begin_pause, .found = pause_found};
const struct control_scan_kind control_resume_job = {
    .needs_job = true, .begin = begin_resume, .found = resume_found};

void control_answer_job(struct control_job *job, struct json_writer *writer)
{
    json_put_u64(writer, "rcpts", job->scan->count);
    json_put_u64(writer, "onTheWire", job->scan->on_wire);
    if (job->command->scan == &control_resume_job) {
        json_put_bool(writer, "wasPaused", job->scan->was_paused);
    }
}
