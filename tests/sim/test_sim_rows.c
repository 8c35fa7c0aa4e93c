/* Rows of the table of hostile cases that take hours, or clocks that jump: the real engine, a host
 * that does what the row says, and simulated time. */
#include "../unit/test.h"

#include <stdlib.h>

#include "scene.h"

#define MINUTE 60u
#define HOUR   3600u
#define DAY    (24u * HOUR)

static struct scene scene;

static void open_scene(const char *domain)
{
    scene_open(&scene, &(struct scene_options){.domain = domain});
}

/* ---- the final reply -------------------------------------------------------------------- */

TEST(c16_a_final_reply_after_599_s_is_accepted)
{
    open_scene("");
    sim_mx_manners(scene.hosts[0])->final_us = 599 * SIM_SECOND;
    scene_add(&scene, "one", "a.example", 100);
    CHECK(scene_send(&scene));
    scene_pass(&scene, 590);
    CHECK_INT(scene_queued(&scene), 1);
    CHECK(scene_await(&scene, 20, scene_is_empty));
    scene_pass(&scene, 10);
    CHECK_INT(scene_records(&scene, "d", "one", NULL), 1);
    CHECK_INT(scene_records(&scene, "t", NULL, NULL), 0);
    CHECK_INT(scene_tried(&scene, "one"), 1);
    scene_close(&scene);
}

TEST(c16_a_final_reply_after_601_s_comes_too_late_and_the_record_says_what_that_may_cost)
{
    struct sim_record record = {0};
    open_scene("");
    sim_mx_manners(scene.hosts[0])->final_us = 601 * SIM_SECOND;
    scene_add(&scene, "one", "a.example", 100);
    CHECK(scene_send(&scene));
    scene_pass(&scene, 595);
    CHECK_INT(scene_records(&scene, "t", "one", NULL), 0);
    scene_pass(&scene, 20);
    CHECK_INT(scene_records(&scene, "t", "one", &record), 1);
    CHECK(strstr(record.diag, "twice") != NULL);
    sim_mx_manners(scene.hosts[0])->final_us = 0;
    CHECK(scene_await(&scene, HOUR, scene_is_empty));
    scene_pass(&scene, 10);
    CHECK_INT(scene_records(&scene, "d", "one", NULL), 1);
    CHECK_INT(scene_tried(&scene, "one"), 2);
    scene_close(&scene);
}

static bool second_is_sent(struct scene *it)
{
    const struct sim_mx_record *record = scene_try(it, "two", 0);
    return record != NULL && record->body_whole;
}

static bool third_is_taken(struct scene *it)
{
    return scene_taken(it, "three") == 1;
}

static bool first_is_taken(struct scene *it)
{
    return scene_taken(it, "one") == 1;
}

/* All three wait when the host lets us in, so that the third is carried behind the second; nothing
 * but the rate would then keep another connection from opening. */
TEST(c41_what_is_carried_behind_a_reply_withheld_leaves_after_30_s_and_the_reply_still_counts)
{
    open_scene("retry-after 1s\nmax-connect-rate 1/20s");
    sim_mx_manners(scene.hosts[0])->extensions = SIM_MX_PIPELINING | SIM_MX_8BITMIME;
    sim_mx_manners(scene.hosts[0])->busy = 1000000;
    scene_add(&scene, "one", "a.example", 100);
    scene_add(&scene, "two", "a.example", 100);
    scene_add(&scene, "three", "a.example", 100);
    CHECK(scene_send(&scene));
    sim_mx_manners(scene.hosts[0])->busy = 0;
    CHECK(scene_await(&scene, MINUTE, first_is_taken));
    sim_mx_manners(scene.hosts[0])->final_us = 400 * SIM_SECOND;
    CHECK(scene_await(&scene, MINUTE, second_is_sent));
    uint64_t begin_us = sim_now_us(scene.sim);
    sim_mx_manners(scene.hosts[0])->final_us = 0;
    CHECK(scene_await(&scene, MINUTE, third_is_taken));
    uint64_t waited_us = sim_now_us(scene.sim) - begin_us;
    CHECK(waited_us > 27 * SIM_SECOND);
    CHECK(waited_us < 33 * SIM_SECOND);
    CHECK_INT(scene_try(&scene, "two", 0)->session, scene_try(&scene, "one", 0)->session);
    CHECK(scene_try(&scene, "three", 0)->session > scene_try(&scene, "two", 0)->session);
    CHECK_INT(scene_taken(&scene, "two"), 0);
    CHECK(scene_await(&scene, 400, scene_is_empty));
    scene_pass(&scene, 10);
    CHECK_INT(scene_taken(&scene, "two"), 1);
    CHECK_INT(scene_records(&scene, "d", NULL, NULL), 3);
    CHECK_INT(scene_records(&scene, "t", NULL, NULL), 0);
    scene_close(&scene);
}

/* ---- days ------------------------------------------------------------------------------- */

TEST(c36_five_days_of_4xx_end_in_one_bounce_4_4_7_whoever_the_sender_is)
{
    struct sim_record record = {0};
    open_scene("bounce-after 5d\nretry-recipients-after 1h");
    sim_mx_manners(scene.hosts[0])->defer_rcpt = 1000000;
    scene_add(&scene, "one", "a.example", 100);
    scene_add(&scene, "null", "a.example", 100)->null_sender = true;
    CHECK(scene_send(&scene));
    scene_pass(&scene, 5 * DAY - MINUTE);
    CHECK_INT(scene_records(&scene, "b", NULL, NULL), 0);
    CHECK_INT(scene_queued(&scene), 2);
    scene_pass(&scene, 2 * MINUTE);
    CHECK_INT(scene_queued(&scene), 0);
    const char *const tokens[] = {"one", "null"};
    for (int i = 0; i < 2; i++) {
        CHECK_INT(scene_records(&scene, "b", tokens[i], &record), 1);
        CHECK(strstr(record.status, "4.4.7") != NULL);
        CHECK(strstr(record.diag, "450 4.2.1 mailbox busy") != NULL); /* what it was about */
        CHECK(scene_records(&scene, "t", tokens[i], NULL) >= 119);
        CHECK_INT(scene_records(&scene, "t", tokens[i], NULL), scene_tried(&scene, tokens[i]));
    }
    /* Nothing was made of it that is mail again: no report, and none about a report. */
    uint64_t connections = sim_farm_connections(scene.farm);
    scene_pass(&scene, DAY);
    CHECK_INT(sim_farm_connections(scene.farm), connections);
    CHECK_INT(scene_records(&scene, "b", NULL, NULL), 2);
    scene_close(&scene);
}

/* ---- clocks ----------------------------------------------------------------------------- */

TEST(t1_no_step_of_the_wall_clock_makes_mail_expire_early_or_late)
{
    const int64_t steps_hours[] = {10, -10};
    for (int i = 0; i < 2; i++) {
        open_scene("bounce-after 4h\nretry-recipients-after 10m");
        sim_mx_manners(scene.hosts[0])->defer_rcpt = 1000000;
        scene_add(&scene, "one", "a.example", 100);
        CHECK(scene_send(&scene));
        scene_pass(&scene, HOUR);
        sim_wall_step(scene.sim, steps_hours[i] * (int64_t)HOUR * 1000);
        scene_pass(&scene, 3 * HOUR - MINUTE);
        CHECK_INT(scene_records(&scene, "b", NULL, NULL), 0);
        CHECK_INT(scene_queued(&scene), 1);
        scene_pass(&scene, 2 * MINUTE);
        CHECK_INT(scene_queued(&scene), 0);
        CHECK_INT(scene_records(&scene, "b", "one", NULL), 1);
        scene_close(&scene);
    }
}

static void add_many(int count)
{
    for (int i = 0; i < count; i++) {
        char token[16];
        snprintf(token, sizeof token, "m%d", i);
        scene_add(&scene, token, "a.example", 100);
    }
}

/* The most transactions in any window of `us`. */
static uint32_t densest(uint64_t us)
{
    uint32_t most = 0;
    const struct sim_mx_record *first = NULL;
    while ((first = sim_farm_next(scene.farm, first)) != NULL) {
        uint32_t count = 0;
        const struct sim_mx_record *one = first;
        for (; one != NULL && one->began_us < first->began_us + us;
             one = sim_farm_next(scene.farm, one)) {
            count++;
        }
        most = count > most ? count : most;
    }
    return most;
}

TEST(t1_no_step_or_suspend_lets_more_through_than_the_rate)
{
    const int64_t steps_hours[] = {3, -5, 7, -1};
    open_scene("max-msg-rate 10/min");
    add_many(150);
    CHECK(scene_send(&scene));
    for (int i = 0; i < 4; i++) {
        /* Nothing is under way: who sleeps then does not meet its own past on the wire. */
        scene_pass(&scene, 30);
        sim_wall_step(scene.sim, steps_hours[i] * (int64_t)HOUR * 1000);
        scene_pass(&scene, 45);
        sim_suspend(scene.sim, (uint64_t)(i + 1) * HOUR * SIM_SECOND);
    }
    CHECK(scene_await(&scene, HOUR, scene_is_empty));
    /* The host's clock sees the network's delays too: a hair under a minute. */
    CHECK(densest(59 * SIM_SECOND) <= 10);
    CHECK_INT(scene_records(&scene, "d", NULL, NULL), 150);
    scene_close(&scene);
}

static uint32_t tries(void)
{
    uint32_t count = 0;
    const struct sim_mx_record *record = NULL;
    while ((record = sim_farm_next(scene.farm, record)) != NULL) {
        count++;
    }
    return count;
}

/* 30 messages, each tried every ten minutes: 30 tries in ten minutes, whatever the clocks do. */
TEST(t1_no_step_or_suspend_makes_a_retry_storm_or_silence)
{
    open_scene("bounce-after 10d\nretry-recipients-after 10m");
    sim_mx_manners(scene.hosts[0])->defer_rcpt = 1000000;
    add_many(30);
    CHECK(scene_send(&scene));
    scene_pass(&scene, 5 * MINUTE);
    const int64_t steps_hours[] = {6, -12, 1, -1, 24, -24};
    for (int i = 0; i < 6; i++) {
        uint32_t before = tries();
        sim_wall_step(scene.sim, steps_hours[i] * (int64_t)HOUR * 1000);
        scene_pass(&scene, 20 * MINUTE);
        CHECK(tries() - before >= 30);
        CHECK(tries() - before <= 60);
    }
    uint32_t before = tries();
    sim_suspend(scene.sim,
                5 * HOUR * SIM_SECOND); /* thirty rounds are missed; one is made up for */
    scene_pass(&scene, MINUTE);
    CHECK_INT(tries() - before, 30);
    scene_close(&scene);
}
