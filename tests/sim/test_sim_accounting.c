/* Accounting files over the real spool in simulated worlds: kills, power losses, disks that fail
 * or are full, rotation and reloads under way. At the end each record is there exactly once.
 * ACCOUNTING_SEED and ACCOUNTING_WORLDS choose others; with ACCOUNTING_LOG they tell what happens.
 */
#include "../unit/test.h"

#include <stdlib.h>

#include "../unit/config_files.h"
#include "accounting.h"
#include "base/logger.h"
#include "base/rng.h"
#include "io/io.h"
#include "io/mailbox.h"
#include "journal.h"
#include "policy/config.h"
#include "sim.h"
#include "sim_disk.h"
#include "sim_memory.h"
#include "spool.h"

#define EVENTS_MAX   20000
#define FILE_MAX     (8 * 1024 * 1024)
#define CONFIG_COUNT 3

/* The same file with other columns, and with another way of finishing. */
static const char *const config_texts[CONFIG_COUNT] = {
    "<acct-file /acct/acct.csv>\nrecords d\nrecord-fields d rcpt,dsnDiag\nmax-size 1m\n"
    "move-to /moved\nmove-interval 20s\n</acct-file>\n",
    "<acct-file /acct/acct.csv>\nrecords d\nrecord-fields d rcpt,dsnDiag,vmta\nmax-size 1m\n"
    "move-to /moved\n</acct-file>\n",
    "<acct-file /acct/acct.csv>\nrecords d\nrecord-fields d rcpt,dsnDiag\nmax-size 1m\n"
    "</acct-file>\n",
};

static struct scene {
    uint64_t seed;
    struct sim *sim;
    struct rng rng;
    struct config *configs[CONFIG_COUNT];
    struct io *io;
    struct mailboxes *mailboxes;
    struct spool *spool;
    struct accounting *accounting;
    struct spool_barrier barrier;
    bool barrier_waits, changes, settled, quiet;
    uint32_t put, barrier_put, safe; /* serial numbers of events: handed over, known durable */
    uint32_t crashes, opens_failed, files;
    uint8_t found[EVENTS_MAX + 1];
    char text[FILE_MAX];
} scene;

static uint64_t below(uint64_t bound)
{
    return rng_below(&scene.rng, bound);
}

/* ---- the engine: spool and accounting ---------------------------------------------------------
 */

static void put_event(void)
{
    char rcpt[64], diag[4096], memory[EVENT_BYTES_MAX];
    struct buffer out;
    memset(diag, 'x', sizeof diag);
    snprintf(rcpt, sizeof rcpt, "rcpt-%u@d.test", ++scene.put);
    struct event event = {.type = EVENT_DELIVERED,
                          .rcpt = bytes_from_string(rcpt),
                          .dsn_diag = bytes_of(diag, below(3) == 0 ? below(3500) : below(40))};
    buffer_init(&out, memory, sizeof memory);
    CHECK(journal_encode(&out, &event));
    spool_put_outcome(scene.spool, 0,
                      &(struct spool_outcome){.kind = SPOOL_EVENT, .event = buffer_bytes(&out)});
}

static void on_durable(struct spool_barrier *barrier)
{
    scene.barrier_waits = false;
    scene.safe = scene.barrier_put;
}

static void act(void)
{
    uint64_t count = below(3) == 0 ? below(12) : 0;
    for (uint64_t i = 0; i < count && scene.put < EVENTS_MAX && !scene.quiet; i++) {
        if (!spool_outcomes_stalled(scene.spool, 0) && !spool_attempts_held(scene.spool)) {
            put_event();
        }
    }
    if (!scene.barrier_waits && below(20) == 0) {
        scene.barrier_waits = true;
        scene.barrier_put = scene.put;
        scene.barrier.durable = on_durable;
        spool_when_durable(scene.spool, &scene.barrier);
    }
    if (scene.changes && below(300) == 0) {
        accounting_rotate(scene.accounting);
    }
    if (scene.changes && below(500) == 0) {
        accounting_reload(scene.accounting, scene.configs[below(CONFIG_COUNT)]);
    }
}

static void turn(void *owner)
{
    uint32_t count = mailbox_receive(scene.mailboxes, 0, 64);
    if (!scene.settled) {
        act();
    }
    spool_flush(scene.spool, 0);
    bool asleep = count < 64 && mailbox_sleep(scene.mailboxes, 0);
    io_run(scene.io, asleep ? io_now_ms(scene.io) + below(10) : 0);
    mailbox_awake(scene.mailboxes, 0);
}

static bool try_open(void)
{
    struct error error = {0};
    sim_memory_enter();
    scene.mailboxes = mailboxes_create(1, 2);
    scene.io = io_create(&(struct io_options){.recv_buffer_bytes = 512}, &error);
    mailboxes_attach(scene.mailboxes, 0, scene.io);
    scene.barrier = (struct spool_barrier){0};
    scene.barrier_waits = false;
    scene.accounting = NULL;
    bool made = io_directory_create(scene.io, "/acct") == 0 &&
                io_directory_create(scene.io, "/moved") == 0 &&
                io_directory_create(scene.io, "/spool") == 0 &&
                io_directory_sync(scene.io, "/") == 0;
    scene.spool = !made ? NULL
                        : spool_open(scene.io,
                                     &(struct spool_options){.directory = "/spool",
                                                             .segment_bytes = 1024 * 1024,
                                                             .max_bytes = UINT64_C(12) << 20,
                                                             .max_recipients = 1000,
                                                             .upload_bytes_max = 1024 * 1024,
                                                             .journal_sync_ms = 100,
                                                             .sync = true,
                                                             .workers = 1,
                                                             .mailboxes = scene.mailboxes},
                                     &error);
    if (scene.spool != NULL) {
        spool_attach(scene.spool, 0, scene.io);
        scene.accounting = accounting_create(
            &(struct accounting_options){.io = scene.io,
                                         .logs = &scene.spool,
                                         .log_count = 1,
                                         .config = scene.configs[below(CONFIG_COUNT)]},
            &error);
    }
    sim_memory_leave();
    return scene.accounting != NULL;
}

static void open_engine(void)
{
    while (!try_open()) {
        scene.opens_failed++;
        CHECK(scene.opens_failed < 1000);
        sim_crash(scene.sim, SIM_KILL);
    }
    sim_drive(scene.io, turn, NULL);
}

static void crash(enum sim_crash kind)
{
    scene.crashes++;
    sim_crash(scene.sim, kind);
    open_engine();
}

static void on_settled(void *owner)
{
    *(bool *)owner = true;
}

static bool is_set(void *owner)
{
    return *(bool *)owner;
}

static void wait_for(bool *flag, const char *what)
{
    if (!sim_run_until(scene.sim, 60 * SIM_SECOND, is_set, flag)) {
        printf("seed %" PRIu64 ": %s does not end\n", scene.seed, what);
        CHECK(false);
    }
}

/* As the engine stops; everything handed over is in the files then. */
static void stop_engine(void)
{
    bool spool_rests = false, accounting_rests = false, spool_rests_again = false;
    scene.quiet = true;
    spool_stop(scene.spool, on_settled, &spool_rests);
    wait_for(&spool_rests, "the spool");
    scene.settled = true;
    scene.safe = scene.put;
    accounting_stop(scene.accounting, on_settled, &accounting_rests);
    wait_for(&accounting_rests, "accounting");
    spool_stop(scene.spool, on_settled, &spool_rests_again);
    wait_for(&spool_rests_again, "the spool at last");
    sim_undrive(scene.io);
}

static void close_engine(void)
{
    sim_memory_enter();
    accounting_destroy(scene.accounting);
    spool_close(scene.spool);
    io_destroy(scene.io);
    mailboxes_destroy(scene.mailboxes);
    sim_memory_leave();
    CHECK_INT(sim_memory_blocks(), 0);
}

/* ---- what is in the files ----------------------------------------------------------------------
 */

static void count_line(struct bytes line)
{
    uint64_t serial = 0;
    ptrdiff_t at = bytes_find(line, '@', 0);
    CHECK(bytes_starts_with(line, BYTES("d,rcpt-")));
    CHECK(at > 7);
    CHECK(at > 7 && bytes_to_u64(bytes_slice(line, 7, (size_t)at), EVENTS_MAX, &serial));
    scene.found[serial]++;
}

static int read_file(void *owner, const char *name)
{
    const char *directory = owner;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = io_file_open(scene.io, path, IO_OPEN_READ);
    CHECK(fd >= 0);
    int64_t len = io_file_read_at(scene.io, fd, scene.text, sizeof scene.text, 0);
    io_file_close(scene.io, fd);
    CHECK(len >= 0);
    struct bytes text = bytes_of(scene.text, len > 0 ? (size_t)len : 0);
    CHECK(text.len == 0 || bytes_starts_with(text, BYTES("type,rcpt,dsnDiag")));
    ptrdiff_t end = bytes_find(text, '\n', 0);
    while (end >= 0 && (size_t)end + 1 < text.len) {
        size_t from = (size_t)end + 1;
        end = bytes_find(text, '\n', from);
        CHECK(end >= 0); /* no half record */
        count_line(bytes_slice(text, from, end < 0 ? text.len : (size_t)end));
    }
    scene.files++;
    return 0;
}

static void check_files(void)
{
    uint32_t twice = 0;
    char acct[] = "/acct", moved[] = "/moved";
    memset(scene.found, 0, sizeof scene.found);
    CHECK_INT(io_directory_walk(scene.io, acct, read_file, acct), 0);
    CHECK_INT(io_directory_walk(scene.io, moved, read_file, moved), 0);
    for (uint32_t i = 1; i <= scene.put; i++) {
        twice += scene.found[i] > 1 ? 1 : 0;
    }
    if (twice > 0) {
        printf("seed %" PRIu64 ": %u records twice\n", scene.seed, twice);
    }
    CHECK_INT(twice, 0);
}

/* Every event that a barrier or an orderly stop has covered, since `from`. */
static void check_safe(uint32_t from, uint32_t to)
{
    uint32_t missing = 0, first = 0;
    for (uint32_t i = from; i <= to; i++) {
        if (scene.found[i] == 0) {
            missing++;
            first = first == 0 ? i : first;
        }
    }
    if (missing > 0) {
        printf("seed %" PRIu64 ": %u of %u to %u missing, the first %u\n", scene.seed, missing,
               from, to, first);
    }
    CHECK_INT(missing, 0);
}

/* ---- worlds -------------------------------------------------------------------------------------
 */

static void no_lines(enum logger_level level, const char *line)
{
    if (getenv("ACCOUNTING_LOG") != NULL) {
        printf("%s\n", line);
    }
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

struct life { /* what must be there of one life of the engine */
    uint32_t from, safe;
};

static void run_world(uint64_t seed, bool calm, enum sim_crash kind)
{
    struct life lives[40];
    uint32_t life_count = 0;
    scene.seed = seed;
    scene.sim = sim_create(&(struct sim_options){.seed = seed, .calm = calm});
    rng_init(&scene.rng, seed * 31 + 7);
    scene.put = scene.safe = scene.crashes = scene.opens_failed = scene.files = 0;
    scene.settled = scene.quiet = false;
    scene.changes = true;
    open_engine();
    for (int i = 0; i < 12; i++) {
        uint32_t from = scene.put + 1;
        scene.safe = scene.put;
        sim_run_for(scene.sim, below(below(3) == 0 ? 4000 * SIM_MS : 300 * SIM_MS));
        lives[life_count++] = (struct life){from, scene.safe};
        crash(kind);
    }
    *sim_odds(scene.sim) = (struct sim_odds){0};
    crash(SIM_KILL); /* what has failed for good begins anew */
    uint32_t from = scene.put + 1;
    sim_run_for(scene.sim, 2 * SIM_SECOND);
    stop_engine();
    check_files();
    check_safe(from, scene.put);
    for (uint32_t i = 0; i < life_count; i++) {
        check_safe(lives[i].from, lives[i].safe);
    }
    close_engine();
    sim_destroy(scene.sim);
}

static void run_worlds(uint64_t count, bool calm, enum sim_crash kind)
{
    logger_set_sink(no_lines);
    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        scene.configs[i] = load_good(config_texts[i]);
        CHECK(scene.configs[i] != NULL);
    }
    uint64_t seed = number_from("ACCOUNTING_SEED", 1);
    uint64_t last = seed + number_from("ACCOUNTING_WORLDS", count);
    for (; seed < last && !test_failed; seed++) {
        run_world(seed, calm, kind);
        if (seed == 1 || test_failed) {
            printf("seed %" PRIu64 ": %u events in %u files, %u crashes, %u failed to open\n", seed,
                   scene.put, scene.files, scene.crashes, scene.opens_failed);
        }
    }
    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        unload(scene.configs[i]);
    }
    logger_set_sink(NULL);
}

TEST(kills_neither_lose_nor_repeat_a_record)
{
    run_worlds(8, true, SIM_KILL);
}

TEST(power_losses_neither_lose_nor_repeat_a_record)
{
    run_worlds(12, true, SIM_POWER);
}

TEST(failing_disks_neither_lose_nor_repeat_a_record)
{
    run_worlds(16, false, SIM_POWER);
}
