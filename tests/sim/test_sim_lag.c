/* T3: a sink that is further behind than it may be. The accounting file's volume is full. */
#include "../unit/test.h"

#include "scene.h"
#include "sim_disk.h"

#define MINUTE   60u
#define HOUR     3600u
#define MESSAGES 20
#define RCPTS    25 /* of each */
#define ALL      (MESSAGES * RCPTS)

static struct scene scene;

/* Many recipients that are put off every minute, at length: each time is a record of a KiB. */
static void open_scene(const char *acct)
{
    scene_open(&scene, &(struct scene_options){.global = "spool-max-size 64m",
                                               .domain = "retry-recipients-after 1m",
                                               .acct = acct});
    for (int i = 0; i < MESSAGES; i++) {
        char token[16], rcpt[64];
        snprintf(token, sizeof token, "m%d", i);
        struct sim_injection *one = scene_add(&scene, token, "a.example", 100);
        for (int j = 1; j < RCPTS; j++) {
            snprintf(rcpt, sizeof rcpt, "m%d.t%d@a.example", i, j);
            sim_injection_add_rcpt(one, rcpt);
        }
    }
    sim_mx_manners(scene.hosts[0])->defer_rcpt = 1000000;
    sim_mx_manners(scene.hosts[0])->wordy = true;
    CHECK(scene_send(&scene));
}

/* How often recipients were tried so far. */
static uint32_t tries(void)
{
    uint32_t count = 0;
    const struct sim_mx_record *record = NULL;
    while ((record = sim_farm_next(scene.farm, record)) != NULL) {
        count += record->rcpt_count;
    }
    return count;
}

static const struct sim_offer *offer(const char *token)
{
    const struct sim_injection *one = scene_add(&scene, token, "b.example", 100);
    scene_send(&scene);
    return &one->offers[0];
}

/* False: after a day they still go on. */
static bool pass_until_attempts_rest(void)
{
    for (int i = 0; i < 288; i++) {
        uint32_t before = tries();
        scene_pass(&scene, 5 * MINUTE);
        if (tries() == before) {
            return true;
        }
    }
    return false;
}

/* The accounting file tells of all that was ever tried, each once. */
static void check_everything_is_recorded(void)
{
    sim_mx_manners(scene.hosts[0])->defer_rcpt = 0;
    CHECK(scene_await(&scene, HOUR, scene_is_empty));
    scene_pass(&scene, MINUTE);
    CHECK_INT(scene_records(&scene, "d", NULL, NULL), ALL);
    CHECK_INT(scene_records(&scene, "t", NULL, NULL), tries() - ALL);
}

/* effect: acct-file max-lag */
TEST(t3_a_full_accounting_volume_stops_accepting_and_names_the_sink)
{
    open_scene("max-lag 200k\non-lag hold");
    sim_client_manners(scene.client)->tries_max = 1;
    sim_disk_fill(scene.sim, "/acct");
    scene_pass(&scene, 5 * MINUTE);
    /* Also while the file is tried again and again: the lag is never forgotten meanwhile. */
    for (int i = 0; i < 20; i++) {
        char token[16];
        snprintf(token, sizeof token, "late%d", i);
        const struct sim_offer *refused = offer(token);
        CHECK_INT(refused->fate, SIM_REFUSED);
        CHECK_STRING(refused->refusal, "452 4.3.1 '/acct/acct.csv' is too far behind");
    }
    /* What is here goes on: its records wait in the journal, and nothing is copied about. */
    uint32_t before = tries();
    scene_pass(&scene, 5 * MINUTE);
    CHECK(tries() - before >= 4 * ALL);
    sim_disk_fill(scene.sim, NULL);
    scene_pass(&scene, MINUTE);
    CHECK_INT(offer("later")->fate, SIM_ACCEPTED);
    scene_close(&scene);
}

TEST(t3_what_waits_for_a_sink_is_not_copied_from_segment_to_segment)
{
    open_scene("on-lag hold");
    sim_disk_fill(scene.sim, "/acct");
    scene_pass(&scene, 20 * MINUTE);
    uint64_t appended = sim_engine_appended(scene.engine);
    CHECK(appended < 2 * (uint64_t)tries() * 1200);
    scene_close(&scene);
}

TEST(t3_attempts_stop_before_the_log_is_full_and_start_again_when_the_sink_has_caught_up)
{
    open_scene("max-lag 200k\non-lag hold");
    sim_disk_fill(scene.sim, "/acct");
    CHECK(pass_until_attempts_rest());
    CHECK(tries() > 10 * ALL);
    CHECK_INT(scene_queued(&scene), ALL);
    scene_crash(&scene, SIM_KILL); /* a log so full is one that a restart can go on with */
    scene_start(&scene);
    uint32_t before = tries();
    scene_pass(&scene, 5 * MINUTE);
    CHECK_INT(tries(), before);
    sim_disk_fill(scene.sim, NULL);
    scene_pass(&scene, 5 * MINUTE);
    CHECK(tries() - before >= ALL);
    check_everything_is_recorded();
    CHECK(scene_stop(&scene));
    scene_close(&scene);
}

/* effect: acct-file on-lag */
TEST(t3_a_sink_that_may_skip_stops_nothing)
{
    open_scene("max-lag 200k\non-lag skip");
    sim_disk_fill(scene.sim, "/acct");
    scene_pass(&scene, 20 * MINUTE);
    CHECK_INT(offer("late")->fate, SIM_ACCEPTED);
    uint32_t before = tries();
    scene_pass(&scene, 10 * MINUTE);
    CHECK(tries() - before >= 9 * ALL);
    sim_disk_fill(scene.sim, NULL);
    sim_mx_manners(scene.hosts[0])->defer_rcpt = 0;
    CHECK(scene_await(&scene, HOUR, scene_is_empty));
    scene_pass(&scene, MINUTE);
    CHECK(scene_records(&scene, "d", NULL, NULL) > ALL / 2); /* it goes on with what is new */
    CHECK(scene_stop(&scene));
    scene_close(&scene);
}
