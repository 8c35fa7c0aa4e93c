/* S43: a crash at each point of accepting a message. What was answered 250 is there once after the
 * restart, and nothing is there by half.
 *
 * A first run tells in which step of the world each point lies; the same world is then run again
 * up to that step, and ends there. */
#include "../unit/test.h"

#include <stdlib.h>

#include "scene.h"

#define HOUR  3600u
#define SEEDS 4

enum point { WRITE_BEGUN, WRITTEN, SYNCED, REPLY_READY, REPLY_SENT, REPLY_HEARD, POINT_COUNT };

struct plan {
    uint64_t seed;
    uint32_t workers;
    size_t body_len;
};

static struct scene scene;
static struct sim_injection *message;
static struct points {
    uint64_t begin, at[POINT_COUNT]; /* steps; 0: not seen yet */
} points;

static void open_scene(const struct plan *plan)
{
    scene_open(&scene, &(struct scene_options){.seed = plan->seed, .workers = plan->workers});
    /* Nothing goes out before the restart: what is delivered then, was kept. */
    sim_mx_manners(scene.hosts[0])->busy = 1000000;
    scene_pass(&scene, 1);
    message = scene_add(&scene, "one", "a.example", plan->body_len);
    sim_client_start(scene.client, 0);
}

/* ---- where the points lie ----------------------------------------------------------------- */

/* The steps around which the engine makes the message durable and says so, as they come: the
 * writes and the sync before the 250 are the last ones before it is sent. */
static void on_noted(void *owner, const char *what)
{
    (void)owner;
    uint64_t step = sim_steps(scene.sim);
    if (!message->offers[0].end_sent || points.at[REPLY_SENT] != 0) {
        return;
    }
    if (strcmp(what, "write bytes") == 0) {
        points.at[WRITE_BEGUN] = points.at[WRITE_BEGUN] == 0 ? step - 1 : points.at[WRITE_BEGUN];
        points.at[WRITTEN] = step;
    } else if (strcmp(what, "sync bytes") == 0) {
        points.at[SYNCED] = step;
    } else if (strcmp(what, "send bytes") == 0 && points.at[SYNCED] != 0) {
        points.at[REPLY_READY] = step - 1;
        points.at[REPLY_SENT] = step;
    }
}

static bool is_heard(struct scene *it)
{
    return sim_client_finished(it->client);
}

static void find_points(const struct plan *plan)
{
    points = (struct points){0};
    open_scene(plan);
    points.begin = sim_steps(scene.sim);
    sim_watch(scene.sim, on_noted, NULL);
    CHECK(scene_await(&scene, HOUR, is_heard));
    CHECK_INT(message->fate, SIM_ACCEPTED);
    points.at[REPLY_HEARD] = sim_steps(scene.sim);
    for (int i = 0; i + 1 < POINT_COUNT; i++) {
        CHECK(points.at[i] > points.begin);
        CHECK(points.at[i] <= points.at[i + 1]);
    }
    scene_close(&scene);
}

/* ---- the crash, and what is there afterwards ---------------------------------------------- */

/* How often it was delivered. */
static uint32_t crash_at(const struct plan *plan, uint64_t step, enum sim_crash kind)
{
    open_scene(plan);
    while (sim_steps(scene.sim) < step) {
        sim_step(scene.sim);
    }
    scene_crash(&scene, kind);
    sim_client_manners(scene.client)->tries_max = 1; /* what it knows of is this one try */
    sim_mx_manners(scene.hosts[0])->busy = 0;
    scene_pass(&scene, 1);
    scene_start(&scene);
    scene_pass(&scene, HOUR);
    CHECK_INT(scene_queued(&scene), 0);
    uint32_t taken = scene_taken(&scene, "one");
    CHECK(taken <= 1);
    CHECK_INT(scene_tried(&scene, "one"), taken);
    CHECK_INT(scene_records(&scene, "d", NULL, NULL), taken);
    if (message->offers[0].fate == SIM_ACCEPTED) {
        CHECK_INT(taken, 1);
    }
    if (taken > 0) {
        CHECK_INT(scene_try(&scene, "one", 0)->body_digest, message->body_digest);
    }
    scene_close(&scene);
    return taken;
}

struct sum {
    uint32_t runs, taken;
};

/* Small and large, one worker and several (then another one than the session's writes the log). */
static struct sum crash_around(enum point point, enum sim_crash kind)
{
    static const size_t lengths[] = {200, 700000};
    struct sum sum = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        for (int i = 0; i < 4; i++) {
            struct plan plan = {.seed = seed, .workers = i % 2 == 0 ? 1 : 3};
            plan.body_len = lengths[i / 2];
            find_points(&plan);
            sum.taken += crash_at(&plan, points.at[point], kind);
            sum.runs++;
        }
    }
    return sum;
}

TEST(s43_a_crash_before_the_write_leaves_the_message_or_nothing)
{
    struct sum kill = crash_around(WRITE_BEGUN, SIM_KILL);
    struct sum power = crash_around(WRITE_BEGUN, SIM_POWER);
    CHECK(kill.taken < kill.runs);
    CHECK(power.taken < power.runs);
}

TEST(s43_a_kill_after_the_write_leaves_the_message)
{
    struct sum sum = crash_around(WRITTEN, SIM_KILL);
    CHECK_INT(sum.taken, sum.runs);
}

TEST(s43_a_power_loss_after_the_write_leaves_the_message_or_nothing)
{
    struct sum sum = crash_around(WRITTEN, SIM_POWER);
    CHECK(sum.taken < sum.runs);
}

TEST(s43_after_the_sync_the_message_is_there_whatever_happens)
{
    const enum point after[] = {SYNCED, REPLY_READY, REPLY_SENT, REPLY_HEARD};
    for (size_t i = 0; i < sizeof after / sizeof after[0]; i++) {
        struct sum kill = crash_around(after[i], SIM_KILL);
        struct sum power = crash_around(after[i], SIM_POWER);
        CHECK_INT(kill.taken, kill.runs);
        CHECK_INT(power.taken, power.runs);
    }
}

/* The points have names so that they are not forgotten; the truth is that there are more. */
TEST(s43_a_crash_in_any_step_of_accepting_keeps_what_was_promised_and_nothing_by_half)
{
    struct plan plan = {.workers = 2, .body_len = 200};
    find_points(&plan);
    for (uint64_t step = points.begin; step <= points.at[REPLY_HEARD] + 5; step++) {
        crash_at(&plan, step, step % 2 == 0 ? SIM_KILL : SIM_POWER);
    }
}
