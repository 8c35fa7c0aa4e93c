/* The simulated disk: what is seen, what survives, what fails. */
#include "../unit/test.h"

#include <errno.h>
#include <stdlib.h>

#include "io/io.h"
#include "sim.h"
#include "sim_disk.h"

#define WORLDS 60

struct scene {
    struct sim *sim;
    struct io *io;
};

static struct io *make_io(void)
{
    struct error error;
    struct io_options options = {.recv_buffer_bytes = 512};
    return io_create(&options, &error);
}

static struct scene scene_open(uint64_t seed, uint64_t disk_bytes)
{
    struct scene scene;
    scene.sim =
        sim_create(&(struct sim_options){.seed = seed, .calm = true, .disk_bytes = disk_bytes});
    scene.io = make_io();
    CHECK_INT(io_directory_create(scene.io, "/spool"), 0);
    CHECK_INT(io_directory_sync(scene.io, "/"), 0);
    return scene;
}

static void scene_close(struct scene *scene)
{
    io_destroy(scene->io);
    sim_destroy(scene->sim);
}

static void crash(struct scene *scene, enum sim_crash kind)
{
    sim_crash(scene->sim, kind);
    scene->io = make_io();
}

struct seen {
    struct io_op op;
    int result;
};

static void on_done(struct io_op *op, int result)
{
    CONTAINER_OF(op, struct seen, op)->result = result;
}

static int wait_for(struct scene *scene, struct seen *seen)
{
    while (io_busy(&seen->op)) {
        CHECK_INT(io_run(scene->io, UINT64_MAX), 0);
    }
    return seen->result;
}

static struct seen *fresh(struct seen *seen)
{
    *seen = (struct seen){0};
    io_op_init(&seen->op, on_done);
    return seen;
}

static int create(struct scene *scene, const char *path)
{
    int fd = io_file_open(scene->io, path, IO_OPEN_READ | IO_OPEN_WRITE | IO_OPEN_CREATE);
    CHECK(fd >= 0);
    return fd;
}

static void fill(struct scene *scene, int fd, char letter, size_t len)
{
    char *text = malloc(len);
    memset(text, letter, len);
    CHECK_INT(io_file_write_at(scene->io, fd, text, len, 0), len);
    free(text);
}

/* How many bytes of the file are `letter`; -1: there is no file. */
static int count_of(struct scene *scene, const char *path, char letter)
{
    uint64_t size = 0;
    const uint8_t *bytes = sim_disk_peek(scene->sim, path, &size);
    int count = 0;
    for (uint64_t i = 0; i < size; i++) {
        count += bytes[i] == (uint8_t)letter;
    }
    return bytes == NULL ? -1 : count;
}

TEST(what_was_synced_survives_a_power_loss)
{
    for (uint64_t seed = 0; seed < WORLDS; seed++) {
        struct scene scene = scene_open(seed, 0);
        struct seen sync;
        int fd = create(&scene, "/spool/a");
        fill(&scene, fd, 'a', 5000);
        io_fdatasync(scene.io, &fresh(&sync)->op, fd);
        CHECK_INT(wait_for(&scene, &sync), 0);
        CHECK_INT(io_directory_sync(scene.io, "/spool"), 0);
        crash(&scene, SIM_POWER);
        CHECK_INT(count_of(&scene, "/spool/a", 'a'), 5000);
        scene_close(&scene);
    }
}

TEST(a_synced_write_survives_a_power_loss_and_vouches_for_nothing_else)
{
    int others_lost = 0;
    for (uint64_t seed = 0; seed < WORLDS; seed++) {
        static char text[1000];
        struct scene scene = scene_open(seed, 0);
        struct seen write;
        struct iovec piece = {text, 1000};
        memset(text, 'b', sizeof(text));
        int fd = create(&scene, "/spool/a");
        CHECK_INT(io_directory_sync(scene.io, "/spool"), 0);
        fill(&scene, fd, 'a', 4096);
        io_write_synced(scene.io, &fresh(&write)->op, fd, &piece, 1, 4096);
        CHECK_INT(wait_for(&scene, &write), 1000);
        crash(&scene, SIM_POWER);
        CHECK_INT(count_of(&scene, "/spool/a", 'b'), 1000);
        others_lost += count_of(&scene, "/spool/a", 'a') < 4096;
        scene_close(&scene);
    }
    CHECK(others_lost > 10);
}

TEST(a_synced_write_whose_sync_fails_says_so)
{
    struct scene scene = scene_open(1, 0);
    struct seen write;
    char text[] = "text";
    struct iovec piece = {text, 4};
    int fd = create(&scene, "/spool/a");
    sim_disk_break(scene.sim, false, true);
    io_write_synced(scene.io, &fresh(&write)->op, fd, &piece, 1, 0);
    CHECK_INT(wait_for(&scene, &write), -EIO);
    io_file_close(scene.io, fd);
    scene_close(&scene);
}

TEST(unsynced_sectors_are_kept_lost_or_torn)
{
    int all = 0, none = 0, torn = 0;
    for (uint64_t seed = 0; seed < WORLDS; seed++) {
        struct scene scene = scene_open(seed, 0);
        int fd = create(&scene, "/spool/a");
        fill(&scene, fd, 'a', 4096);
        CHECK_INT(io_file_sync(scene.io, fd), 0);
        sim_disk_settle(scene.sim);
        fill(&scene, fd, 'b', 512);
        crash(&scene, SIM_POWER);
        int count = count_of(&scene, "/spool/a", 'b');
        CHECK_INT(count_of(&scene, "/spool/a", 'a'), 4096 - count);
        all += count == 512;
        none += count == 0;
        torn += count > 0 && count < 512;
        scene_close(&scene);
    }
    CHECK(all > 10);
    CHECK(none > 5);
    CHECK(torn > 5);
}

TEST(a_kill_keeps_what_was_written)
{
    struct scene scene = scene_open(1, 0);
    int fd = create(&scene, "/spool/a");
    fill(&scene, fd, 'a', 5000);
    crash(&scene, SIM_KILL);
    CHECK_INT(count_of(&scene, "/spool/a", 'a'), 5000);
    scene_close(&scene);
}

TEST(a_write_under_way_at_a_kill_may_be_half_done)
{
    int all = 0, none = 0, half = 0;
    for (uint64_t seed = 0; seed < WORLDS; seed++) {
        static char text[1000];
        struct scene scene = scene_open(seed, 0);
        struct seen write;
        struct iovec piece = {text, 1000};
        memset(text, 'a', sizeof(text));
        io_write(scene.io, &fresh(&write)->op, create(&scene, "/spool/a"), &piece, 1, 0);
        sim_run_for(scene.sim, seed * 10);
        crash(&scene, SIM_KILL);
        int count = count_of(&scene, "/spool/a", 'a');
        all += count == 1000;
        none += count == 0;
        half += count > 0 && count < 1000;
        scene_close(&scene);
    }
    CHECK(all > 0);
    CHECK(half > 5);
    CHECK(none < WORLDS);
}

TEST(a_sync_does_not_cover_a_write_that_came_after_its_begin)
{
    int lost = 0;
    for (uint64_t seed = 0; seed < WORLDS; seed++) {
        struct scene scene = scene_open(seed, 0);
        struct seen sync;
        int fd = create(&scene, "/spool/a");
        sim_disk_settle(scene.sim);
        fill(&scene, fd, 'a', 512);
        io_fdatasync(scene.io, &fresh(&sync)->op, fd);
        sim_run_for(scene.sim, 21); /* begun, not done */
        fill(&scene, fd, 'b', 512);
        CHECK_INT(wait_for(&scene, &sync), 0);
        crash(&scene, SIM_POWER);
        int count = count_of(&scene, "/spool/a", 'a');
        CHECK_INT(count + count_of(&scene, "/spool/a", 'b'), 512);
        lost += count > 0;
        scene_close(&scene);
    }
    CHECK(lost > 10);
}

TEST(a_failed_sync_drops_what_was_dirty_and_the_next_one_lies)
{
    int lost = 0;
    for (uint64_t seed = 0; seed < WORLDS; seed++) {
        struct scene scene = scene_open(seed, 0);
        int fd = create(&scene, "/spool/a");
        fill(&scene, fd, 'a', 4096);
        sim_disk_settle(scene.sim);
        fill(&scene, fd, 'b', 4096);
        sim_disk_break(scene.sim, false, true);
        CHECK_INT(io_file_sync(scene.io, fd), -EIO);
        sim_disk_break(scene.sim, false, false);
        CHECK_INT(io_file_sync(scene.io, fd), 0);
        crash(&scene, SIM_POWER);
        lost += count_of(&scene, "/spool/a", 'a') > 0;
        scene_close(&scene);
    }
    CHECK(lost > WORLDS / 2);
}

TEST(names_unsynced_are_kept_or_lost_and_a_rename_is_one_change)
{
    int created = 0, renamed = 0;
    for (uint64_t seed = 0; seed < WORLDS; seed++) {
        struct scene scene = scene_open(seed, 0);
        io_file_close(scene.io, create(&scene, "/spool/old"));
        sim_disk_settle(scene.sim);
        CHECK_INT(io_file_rename(scene.io, "/spool/old", "/spool/new"), 0);
        io_file_close(scene.io, create(&scene, "/spool/fresh"));
        crash(&scene, SIM_POWER);
        bool has_new = count_of(&scene, "/spool/new", 'x') >= 0;
        CHECK(has_new == (count_of(&scene, "/spool/old", 'x') < 0));
        renamed += has_new;
        created += count_of(&scene, "/spool/fresh", 'x') >= 0;
        scene_close(&scene);
    }
    CHECK(renamed > 10);
    CHECK(renamed < WORLDS);
    CHECK(created > 10);
    CHECK(created < WORLDS);
}

TEST(a_synced_directory_keeps_its_names)
{
    for (uint64_t seed = 0; seed < WORLDS; seed++) {
        struct scene scene = scene_open(seed, 0);
        io_file_close(scene.io, create(&scene, "/spool/a"));
        io_file_close(scene.io, create(&scene, "/spool/b"));
        CHECK_INT(io_file_rename(scene.io, "/spool/a", "/spool/c"), 0);
        CHECK_INT(io_file_unlink(scene.io, "/spool/b"), 0);
        CHECK_INT(io_directory_sync(scene.io, "/spool/"), 0);
        crash(&scene, SIM_POWER);
        CHECK_INT(count_of(&scene, "/spool/a", 'x'), -1);
        CHECK_INT(count_of(&scene, "/spool/b", 'x'), -1);
        CHECK_INT(count_of(&scene, "/spool/c", 'x'), 0);
        scene_close(&scene);
    }
}

TEST(a_full_disk_refuses_growth_and_still_overwrites)
{
    struct scene scene = scene_open(1, 10000);
    uint64_t bytes = 0;
    int fd = create(&scene, "/spool/a");
    fill(&scene, fd, 'a', 8000);
    CHECK_INT(io_space_free(scene.io, "/spool", &bytes), 0);
    CHECK_INT(bytes, 2000);
    CHECK_INT(io_file_write_at(scene.io, fd, "x", 1, 10000), -ENOSPC);
    fill(&scene, fd, 'b', 8000);
    CHECK_INT(io_file_truncate(scene.io, fd, 20000), -ENOSPC);
    CHECK_INT(io_file_truncate(scene.io, fd, 1000), 0);
    CHECK_INT(io_file_write_at(scene.io, fd, "x", 1, 9999), 1);
    CHECK_INT(sim_disk_used(scene.sim), 10000);
    io_file_close(scene.io, fd);
    CHECK_INT(io_file_unlink(scene.io, "/spool/a"), 0);
    sim_disk_settle(scene.sim);
    CHECK_INT(sim_disk_used(scene.sim), 0);
    scene_close(&scene);
}

TEST(a_truncated_file_has_no_old_bytes_when_it_grows_again)
{
    for (uint64_t seed = 0; seed < WORLDS; seed++) {
        struct scene scene = scene_open(seed, 0);
        int fd = create(&scene, "/spool/a");
        fill(&scene, fd, 'a', 3000);
        sim_disk_settle(scene.sim);
        CHECK_INT(io_file_truncate(scene.io, fd, 100), 0);
        CHECK_INT(io_file_truncate(scene.io, fd, 3000), 0);
        CHECK_INT(count_of(&scene, "/spool/a", 'a'), 100);
        CHECK_INT(io_file_sync(scene.io, fd), 0);
        crash(&scene, SIM_POWER);
        CHECK_INT(count_of(&scene, "/spool/a", 'a'), 100);
        scene_close(&scene);
    }
}

TEST(a_lock_dies_with_its_holder)
{
    struct scene scene = scene_open(1, 0);
    int fd = create(&scene, "/spool/lock");
    CHECK_INT(io_file_lock(scene.io, fd), 0);
    int again = create(&scene, "/spool/lock");
    CHECK_INT(io_file_lock(scene.io, again), -EWOULDBLOCK);
    crash(&scene, SIM_KILL);
    fd = create(&scene, "/spool/lock");
    CHECK_INT(io_file_lock(scene.io, fd), 0);
    io_file_close(scene.io, fd);
    scene_close(&scene);
}

TEST(a_broken_disk_fails_every_write)
{
    struct scene scene = scene_open(1, 0);
    struct seen write;
    char text[] = "text";
    struct iovec piece = {text, 4};
    int fd = create(&scene, "/spool/a");
    sim_disk_break(scene.sim, true, false);
    io_write(scene.io, &fresh(&write)->op, fd, &piece, 1, 0);
    CHECK_INT(wait_for(&scene, &write), -EIO);
    CHECK_INT(io_file_write_at(scene.io, fd, "x", 1, 0), -EIO);
    io_file_close(scene.io, fd);
    scene_close(&scene);
}
