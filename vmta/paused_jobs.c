#include "vmta/paused_jobs.h"

#include <stdlib.h>
#include <string.h>

#include "base/list.h"

struct paused_job {
    struct map_entry entry;
    size_t len;
    char id[];
};

static struct paused_job *job_of(const struct map_entry *entry)
{
    return CONTAINER_OF(entry, struct paused_job, entry);
}

static bool is_job(const struct map_entry *entry, const void *key)
{
    const struct paused_job *job = job_of(entry);
    return bytes_equal(bytes_of(job->id, job->len), *(const struct bytes *)key);
}

static struct map_entry *find(const struct paused_jobs *jobs, struct bytes id)
{
    return map_find(&jobs->map, bytes_hash(id), is_job, &id);
}

void paused_jobs_init(struct paused_jobs *jobs)
{
    map_init(&jobs->map, PAUSED_JOBS_MAX);
}

void paused_jobs_deinit(struct paused_jobs *jobs)
{
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_walk(&jobs->map, &cursor)) != NULL) {
        free(job_of(entry));
    }
    map_deinit(&jobs->map);
}

bool paused_jobs_add(struct paused_jobs *jobs, struct bytes id)
{
    if (id.len == 0 || id.len > PAUSED_JOB_ID_MAX) {
        return false;
    }
    if (find(jobs, id) != NULL) {
        return true;
    }
    struct paused_job *job = calloc(1, sizeof *job + id.len);
    if (job == NULL) {
        return false;
    }
    job->len = id.len;
    memcpy(job->id, id.data, id.len);
    if (!map_insert(&jobs->map, bytes_hash(id), &job->entry)) {
        free(job);
        return false;
    }
    return true;
}

bool paused_jobs_remove(struct paused_jobs *jobs, struct bytes id)
{
    struct map_entry *entry = find(jobs, id);
    if (entry == NULL) {
        return false;
    }
    map_remove(&jobs->map, entry);
    free(job_of(entry));
    return true;
}

bool paused_jobs_hold(const struct paused_jobs *jobs, struct bytes id)
{
    return id.len > 0 && find(jobs, id) != NULL;
}

bool paused_jobs_walk(const struct paused_jobs *jobs, size_t *cursor, struct bytes *id)
{
    const struct map_entry *entry = map_walk(&jobs->map, cursor);
    if (entry != NULL) {
        *id = bytes_of(job_of(entry)->id, job_of(entry)->len);
    }
    return entry != NULL;
}
