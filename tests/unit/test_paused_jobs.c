#include "vmta/paused_jobs.h"

#include <stdio.h>
#include <string.h>

#include "test.h"

TEST(a_job_is_held_by_its_whole_id_until_it_is_removed)
{
    struct paused_jobs jobs;
    paused_jobs_init(&jobs);
    CHECK(paused_jobs_none(&jobs));
    CHECK(paused_jobs_add(&jobs, BYTES("spring")));
    CHECK(paused_jobs_add(&jobs, BYTES("spring")));
    CHECK(paused_jobs_hold(&jobs, BYTES("spring")));
    CHECK(!paused_jobs_hold(&jobs, BYTES("sprin")));
    CHECK(!paused_jobs_hold(&jobs, BYTES("Spring")));
    CHECK(!paused_jobs_hold(&jobs, BYTES("")));
    CHECK(paused_jobs_remove(&jobs, BYTES("spring")));
    CHECK(!paused_jobs_remove(&jobs, BYTES("spring")));
    CHECK(!paused_jobs_hold(&jobs, BYTES("spring")));
    CHECK(paused_jobs_none(&jobs));
    paused_jobs_deinit(&jobs);
}

TEST(ids_and_their_number_are_bounded)
{
    struct paused_jobs jobs;
    char id[PAUSED_JOB_ID_MAX + 1];
    memset(id, 'x', sizeof id);
    paused_jobs_init(&jobs);
    CHECK(!paused_jobs_add(&jobs, BYTES("")));
    CHECK(!paused_jobs_add(&jobs, bytes_of(id, sizeof id)));
    CHECK(paused_jobs_add(&jobs, bytes_of(id, sizeof id - 1)));
    for (int i = 1; i < PAUSED_JOBS_MAX; i++) {
        snprintf(id, sizeof id, "job-%d", i);
        CHECK(paused_jobs_add(&jobs, bytes_from_string(id)));
    }
    CHECK(!paused_jobs_add(&jobs, BYTES("one more")));
    CHECK(paused_jobs_add(&jobs, BYTES("job-7")));
    size_t cursor = 0, count = 0;
    struct bytes walked;
    while (paused_jobs_walk(&jobs, &cursor, &walked)) {
        CHECK(paused_jobs_hold(&jobs, walked));
        count++;
    }
    CHECK_INT(count, PAUSED_JOBS_MAX);
    paused_jobs_deinit(&jobs);
}
