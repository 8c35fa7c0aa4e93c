/* Connections that are kept open, and a limit that they fill: who waits for a place gets it at
 * once, whichever worker holds it. */
#include "../unit/test.h"

#include <stdio.h>

#include "scene.h"

#define WORKERS_MAX 4
#define ROUNDS      10

static struct scene scene;

static void open_scene(uint32_t workers, uint64_t seed)
{
    scene_open(&scene, &(struct scene_options){.seed = seed,
                                               .workers = workers,
                                               .global = "total-max-smtp-out 1",
                                               .domain = "connection-idle-timeout 10m"});
}

/* effect: global total-max-smtp-out */
TEST(mail_in_turn_to_two_domains_never_waits_for_an_idle_connection)
{
    for (uint32_t workers = 1; workers <= WORKERS_MAX; workers++) {
        open_scene(workers, workers);
        for (int i = 0; i < ROUNDS; i++) {
            char token[16];
            snprintf(token, sizeof token, "m%d", i);
            scene_add(&scene, token, i % 2 == 0 ? "a.example" : "b.example", 100);
            CHECK(scene_send(&scene));
            CHECK(scene_await(&scene, 3, scene_is_empty));
        }
        CHECK_INT(sim_farm_connections(scene.farm), ROUNDS);
        CHECK(scene_stop(&scene));
        scene_close(&scene);
    }
}

/* The one that is kept for a.example is used again as long as nobody else wants its place. */
TEST(a_connection_is_kept_while_nobody_waits)
{
    for (uint32_t workers = 1; workers <= WORKERS_MAX; workers++) {
        open_scene(workers, workers);
        for (int i = 0; i < ROUNDS; i++) {
            char token[16];
            snprintf(token, sizeof token, "m%d", i);
            scene_add(&scene, token, "a.example", 100);
            CHECK(scene_send(&scene));
            CHECK(scene_await(&scene, 3, scene_is_empty));
        }
        CHECK_INT(sim_farm_connections(scene.farm), 1);
        CHECK(scene_stop(&scene));
        scene_close(&scene);
    }
}

/* Much mail to both at once: the one place goes to and fro, and all of it gets through. */
TEST(two_domains_with_much_mail_share_one_place)
{
    for (uint32_t workers = 1; workers <= WORKERS_MAX; workers++) {
        open_scene(workers, workers);
        for (int i = 0; i < 20 * ROUNDS; i++) {
            char token[16];
            snprintf(token, sizeof token, "m%d", i);
            scene_add(&scene, token, i % 2 == 0 ? "a.example" : "b.example", 100);
        }
        CHECK(scene_send(&scene));
        CHECK(scene_await(&scene, 60, scene_is_empty));
        scene_pass(&scene, 10);
        CHECK_INT(scene_records(&scene, "d", NULL, NULL), 20 * ROUNDS);
        CHECK_INT(scene_records(&scene, "t", NULL, NULL), 0);
        scene_close(&scene);
    }
}
