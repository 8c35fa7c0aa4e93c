/* The spool in simulated worlds: crashes, failing disks, full disks, reclaiming under load.
 *
 * Each test runs a few worlds, about a minute of a core in all. SPOOL_WORLDS=N in the environment
 * runs N of each, SPOOL_SEED=S begins at that seed, SPOOL_LOG shows the spool's log lines. */
#include "../unit/test.h"

#include <stdlib.h>

#include "base/logger.h"
#include "base/rng.h"
#include "sim_disk.h"
#include "spool_world.h"

static void no_lines(enum logger_level level, const char *line)
{
    (void)level;
    (void)line;
}

static void quiet(void)
{
    logger_set_sink(getenv("SPOOL_LOG") == NULL ? no_lines : NULL);
}

static uint64_t seed_of(uint64_t i)
{
    const char *from = getenv("SPOOL_SEED");
    return (from == NULL ? 1 : strtoull(from, NULL, 10)) + i;
}

static uint64_t worlds(uint64_t usual)
{
    const char *count = getenv("SPOOL_WORLDS");
    return count == NULL ? usual : strtoull(count, NULL, 10);
}

static void say(const char *what, const struct spool_world *world)
{
    struct spool_world_counts counts = spool_world_counts(world);
    printf(
        "%s: accepted %lu refused %lu finished %lu events %lu reclaimed %lu read %lu crashes "
        "%lu opens failed %lu sync failures %lu damaged %lu in doubt %lu of these came back %lu\n",
        what, counts.accepted, counts.refused, counts.finished, counts.events, counts.reclaimed,
        counts.read, counts.crashes, counts.opens_failed, counts.sync_failures, counts.damaged,
        counts.in_doubt, counts.came_back);
}

TEST(a_calm_world_ends_with_nothing_left)
{
    quiet();
    struct spool_world *world = spool_world_create(&(struct spool_world_options){
        .seed = 1, .calm = true, .workers = 1, .max_bytes = 24 << 20, .large_per_cent = 5});
    spool_world_run(world, 3 * SIM_SECOND);
    spool_world_finish(world);
    struct spool_world_counts counts = spool_world_counts(world);
    say("calm", world);
    CHECK(counts.accepted > 100);
    CHECK(counts.finished >= counts.accepted);
    CHECK(counts.reclaimed > 10);
    CHECK(counts.stable_states > 10);
    CHECK(spool_world_good(world));
    spool_world_destroy(world);
}

static void one_world(const char *what, enum sim_crash kind, struct spool_world_options options,
                      bool tell)
{
    quiet();
    struct spool_world *world = spool_world_create(&options);
    struct rng rng;
    rng_init(&rng, options.seed);
    for (int crash = 0; crash < 12; crash++) {
        spool_world_run(world,
                        rng_below(&rng, rng_below(&rng, 3) == 0 ? 600 * SIM_MS : 30 * SIM_MS));
        spool_world_crash(world, kind);
    }
    spool_world_run(world, 100 * SIM_MS);
    spool_world_restart(world, SPOIL_NOTHING);
    spool_world_run(world, 100 * SIM_MS);
    spool_world_finish(world);
    if (tell || !spool_world_good(world)) {
        say(what, world);
    }
    CHECK(spool_world_good(world));
    spool_world_destroy(world);
}

static void crashes(const char *what, enum sim_crash kind, struct spool_world_options options,
                    uint64_t count)
{
    for (uint64_t i = 0; i < worlds(count); i++) {
        options.seed = seed_of(i);
        one_world(what, kind, options, i == 0);
    }
}

TEST(what_was_acknowledged_survives_kill_9)
{
    crashes("kill", SIM_KILL,
            (struct spool_world_options){
                .calm = true, .workers = 1, .max_bytes = 24 << 20, .large_per_cent = 5},
            2);
}

TEST(what_was_acknowledged_survives_a_power_loss)
{
    crashes("power", SIM_POWER,
            (struct spool_world_options){
                .calm = true, .workers = 1, .max_bytes = 24 << 20, .large_per_cent = 5},
            3);
}

TEST(several_workers_share_one_log)
{
    crashes("workers", SIM_KILL,
            (struct spool_world_options){
                .calm = true, .workers = 3, .max_bytes = 24 << 20, .large_per_cent = 5},
            3);
}

TEST(large_messages_stream_through_little_memory)
{
    crashes("large", SIM_POWER,
            (struct spool_world_options){
                .calm = true, .workers = 2, .max_bytes = 48 << 20, .large_per_cent = 60},
            1);
}

TEST(a_sink_far_behind_reads_each_event_once_from_segments)
{
    crashes("behind", SIM_POWER,
            (struct spool_world_options){.calm = true,
                                         .workers = 2,
                                         .max_bytes = 24 << 20,
                                         .large_per_cent = 5,
                                         .hold_back = true},
            2);
}

/* Seeds that once failed, after the worlds of the day. */
static void kept(const char *what, struct spool_world_options options, uint64_t seed)
{
    options.seed = seed;
    one_world(what, SIM_POWER, options, false);
}

TEST(failing_writes_and_syncs_lose_nothing_that_was_acknowledged)
{
    static const struct spool_world_options options = {
        .workers = 2, .max_bytes = 24 << 20, .large_per_cent = 5};
    crashes("faults", SIM_POWER, options, 6);
    kept("faults", options, 32); /* outcomes overtook those in a full batch that was away */
}

/* Restarts fail half way, and so does taking down what was refused. */
TEST(on_a_dying_disk_what_was_refused_stays_away)
{
    static const struct spool_world_options options = {
        .dying = true, .workers = 2, .max_bytes = 24 << 20, .large_per_cent = 5};
    crashes("dying", SIM_POWER, options, 4); /* 4: the directory's own name was not synced */
    kept("dying", options,
         19); /* a footer left out what an outcome had made void that then was lost */
}

/* No sync succeeds any more, not even of what says that the refused is void: it is refused as "in
 * doubt", and a restart that finds it in the page cache has done nothing wrong. */
TEST(a_disk_that_is_dead_refuses_in_doubt)
{
    uint64_t in_doubt = 0, came_back = 0;
    quiet();
    for (uint64_t i = 0; i < worlds(6); i++) {
        struct spool_world *world = spool_world_create(&(struct spool_world_options){
            .seed = seed_of(i), .calm = true, .workers = 2, .max_bytes = 24 << 20});
        spool_world_run(world, 100 * SIM_MS);
        sim_disk_break(spool_world_sim(world), false, true);
        spool_world_run(world, 500 * SIM_MS);
        sim_disk_break(spool_world_sim(world), false, false);
        spool_world_crash(world, SIM_KILL);
        spool_world_finish(world);
        in_doubt += spool_world_counts(world).in_doubt;
        came_back += spool_world_counts(world).came_back;
        CHECK(spool_world_good(world));
        spool_world_destroy(world);
    }
    CHECK(in_doubt > 0);
    CHECK(came_back > 0 && came_back <= in_doubt);
}

TEST(without_syncs_a_kill_loses_nothing)
{
    crashes("unsynced", SIM_KILL,
            (struct spool_world_options){.calm = true,
                                         .workers = 1,
                                         .max_bytes = 24 << 20,
                                         .large_per_cent = 5,
                                         .no_sync = true},
            1);
}

/* What a restart finds by scanning is what it finds by footers: the model is the same. */
static void restarts(const char *what, enum spool_spoil spoil, uint64_t damaged_max)
{
    quiet();
    for (uint64_t i = 0; i < worlds(1); i++) {
        struct spool_world *world =
            spool_world_create(&(struct spool_world_options){.seed = seed_of(i),
                                                             .calm = true,
                                                             .workers = 1,
                                                             .max_bytes = 24 << 20,
                                                             .large_per_cent = 5});
        for (int start = 0; start < 8; start++) {
            spool_world_run(world, 200 * SIM_MS);
            spool_world_restart(world, spoil);
        }
        spool_world_finish(world);
        say(what, world);
        CHECK(spool_world_good(world));
        CHECK(spool_world_counts(world).damaged <= damaged_max);
        spool_world_destroy(world);
    }
}

TEST(without_any_footer_a_restart_finds_the_same)
{
    restarts("no trailers", SPOIL_TRAILERS, 0);
}

TEST(with_damaged_footers_a_restart_finds_the_same)
{
    restarts("bad footers", SPOIL_FOOTERS, 0);
}

TEST(on_a_full_disk_mail_is_refused_and_what_is_there_goes_out)
{
    crashes("full", SIM_POWER,
            (struct spool_world_options){.calm = true,
                                         .workers = 1,
                                         .max_bytes = UINT64_MAX,
                                         .disk_bytes = 14 << 20,
                                         .large_per_cent = 10},
            1);
}

TEST(what_is_to_be_left_free_of_a_disk_stays_free)
{
    quiet();
    struct spool_world *world =
        spool_world_create(&(struct spool_world_options){.seed = 1,
                                                         .calm = true,
                                                         .workers = 1,
                                                         .max_bytes = UINT64_MAX,
                                                         .disk_bytes = 24 << 20,
                                                         .min_free_bytes = 10 << 20,
                                                         .large_per_cent = 10});
    uint64_t most = 0;
    for (int i = 0; i < 300; i++) {
        spool_world_run(world, 10 * SIM_MS);
        uint64_t used = sim_disk_used(spool_world_sim(world));
        most = used > most ? used : most;
    }
    spool_world_finish(world);
    say("left free", world);
    CHECK(spool_world_counts(world).refused > 0);
    CHECK(most <= 14 << 20);
    CHECK(most >= 12 << 20);
    CHECK(spool_world_good(world));
    spool_world_destroy(world);
}

static uint64_t spare_of_a_world(bool delete_spare)
{
    quiet();
    struct spool_world *world =
        spool_world_create(&(struct spool_world_options){.seed = 1,
                                                         .calm = true,
                                                         .workers = 1,
                                                         .max_bytes = 24 << 20,
                                                         .large_per_cent = 5,
                                                         .delete_spare = delete_spare});
    for (int start = 0; start < 5; start++) {
        spool_world_run(world, 500 * SIM_MS);
        spool_world_crash(world, start % 2 == 0 ? SIM_POWER : SIM_KILL);
    }
    spool_world_finish(world);
    CHECK(spool_world_good(world));
    uint64_t spare = spool_world_counts(world).spare;
    spool_world_destroy(world);
    return spare;
}

TEST(spare_segments_are_kept_or_deleted_as_is_wanted)
{
    CHECK(spare_of_a_world(false) > 0);
    CHECK_INT(spare_of_a_world(true), 0);
}
