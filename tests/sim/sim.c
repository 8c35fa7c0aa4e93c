/* The world's core: an event queue whose key is (time, lot drawn from the seed), the clock that
 * jumps to the next event, descriptors, and the digest.
 *
 * Workers are events too. A worker's turn is queued soon after something becomes ready for it,
 * else for the earlier of its `until` and its first timer. Where the kernel's io_run would sleep,
 * the simulated one returns with nothing delivered; what the turn does after that call, if
 * anything, is taken as a reason for another turn at once. */
#include "sim.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "sim_parts.h"

#define FD_FIRST         3 /* 0 to 2 are standard input, output and error */
#define FD_MAX           4096
#define LOT_BITS         16 /* of the key: 47 bits are left for microseconds, 4 years */
#define TURN_US_MAX      30 /* an ordinary turn */
#define WALL_START_MS    INT64_C(1750000000000) /* June 2025 */
#define WALL_STEP_MS_MAX (INT64_C(5) * 3600 * 1000)
#define TRACE_BYTES_MAX  100
#define SUSPEND_US_MAX   (2 * SIM_HOUR)

static struct sim *the_world;

/* ---- life ------------------------------------------------------------------------------- */

static void draw_odds(struct sim *sim)
{
#define ODDS(name, per_million_max)                                                                \
    sim->odds.name =                                                                               \
        rng_chance(&sim->rng, 500000) ? (uint32_t)rng_below(&sim->rng, (per_million_max) + 1) : 0;
#include "sim_odds.def"
#undef ODDS
}

struct sim *sim_create(const struct sim_options *options)
{
    assert(the_world == NULL);
    struct sim *sim = sim_take(sizeof(*sim));
    sim->seed = options->seed;
    rng_init(&sim->rng, options->seed);
    rng_init(&sim->engine_rng, rng_next(&sim->rng));
    draw_odds(sim);
    if (options->calm) {
        sim->odds = (struct sim_odds){0};
    }
    heap_init(&sim->events);
    list_init(&sim->ios);
    sim->now_us = sim_between(sim, SIM_SECOND, SIM_HOUR); /* io_now_ms is never 0 */
    sim->wall_offset_us = WALL_START_MS * 1000 + (int64_t)sim_between(sim, 0, 9000 * SIM_HOUR);
    sim->fd_max = options->fd_max == 0 ? FD_MAX : options->fd_max;
    sim->fds = sim_take(sim->fd_max * sizeof(struct sim_fd));
    the_world = sim;
    sim->net = sim_net_create(sim, options);
    sim->disk = sim_disk_create(sim, options->disk_bytes == 0 ? UINT64_MAX : options->disk_bytes);
    return sim;
}

void sim_destroy(struct sim *sim)
{
    if (sim == NULL) {
        return;
    }
    assert(sim == the_world);
    assert(list_empty(&sim->ios));
    sim_net_destroy(sim->net);
    sim_disk_destroy(sim->disk);
    sim_zones_destroy(sim->zones);
    sim_give(sim->fds);
    sim_give(sim);
    the_world = NULL;
}

struct sim *sim_current(void)
{
    return the_world;
}

struct sim_odds *sim_odds(struct sim *sim)
{
    return &sim->odds;
}

/* ---- chance ----------------------------------------------------------------------------- */

struct rng *sim_rng(struct sim *sim)
{
    return &sim->rng;
}

bool sim_chance(struct sim *sim, uint32_t per_million)
{
    /* Always drawn, so that changing one chance does not shift all that comes after it. */
    return rng_chance(&sim->rng, per_million);
}

uint64_t sim_between(struct sim *sim, uint64_t low, uint64_t high)
{
    assert(low <= high);
    return low + rng_below(&sim->rng, high - low + 1);
}

uint64_t sim_spread(struct sim *sim, uint64_t low, uint64_t high)
{
    assert(low > 0);
    assert(low <= high);
    uint32_t octaves = 0;
    while ((low << octaves) < high && octaves < 62) {
        octaves++;
    }
    uint64_t top = low << sim_between(sim, 0, octaves);
    return sim_between(sim, low, top < high ? top : high);
}

/* ---- time and events -------------------------------------------------------------------- */

uint64_t sim_now_us(const struct sim *sim)
{
    return sim->now_us;
}

int64_t sim_wall_ms(const struct sim *sim)
{
    return ((int64_t)sim->now_us + sim->wall_offset_us) / 1000;
}

void sim_wall_step(struct sim *sim, int64_t ms)
{
    sim->wall_offset_us += ms * 1000;
    sim_note(sim, "wall step", (uint64_t)ms, 0);
}

void sim_suspend(struct sim *sim, uint64_t us)
{
    sim->now_us += us;
    sim_note(sim, "suspend", us, 0);
}

static void on_clock_fault(struct sim_event *event)
{
    struct sim *sim = CONTAINER_OF(event, struct sim, clock_fault);
    if (sim_chance(sim, sim->odds.wall_step)) {
        int64_t step = (int64_t)sim_spread(sim, 1, WALL_STEP_MS_MAX);
        sim_wall_step(sim, sim_chance(sim, 500000) ? step : -step);
    }
    if (sim_chance(sim, sim->odds.suspend)) {
        sim_suspend(sim, sim_spread(sim, SIM_SECOND, SUSPEND_US_MAX));
    }
    sim_event_in(sim, event, SIM_SECOND);
}

void sim_clock_faults_start(struct sim *sim)
{
    if (sim->odds.wall_step == 0 && sim->odds.suspend == 0) {
        return;
    }
    sim_event_init(&sim->clock_fault, on_clock_fault);
    sim_event_in(sim, &sim->clock_fault, SIM_SECOND);
}

void sim_event_at(struct sim *sim, struct sim_event *event, uint64_t due_us)
{
    sim_event_cancel(sim, event);
    uint64_t due = due_us < sim->now_us ? sim->now_us : due_us;
    assert(due < UINT64_C(1) << (64 - LOT_BITS));
    event->node.key = due << LOT_BITS | rng_below(&sim->rng, UINT64_C(1) << LOT_BITS);
    event->queued = true;
    heap_insert(&sim->events, &event->node);
}

void sim_event_in(struct sim *sim, struct sim_event *event, uint64_t delay_us)
{
    sim_event_at(sim, event, sim->now_us + delay_us);
}

void sim_event_cancel(struct sim *sim, struct sim_event *event)
{
    if (event->queued) {
        heap_remove(&sim->events, &event->node);
        event->queued = false;
    }
}

uint64_t sim_next_us(const struct sim *sim)
{
    const struct heap_node *first = heap_first(&sim->events);
    return first == NULL ? UINT64_MAX : first->key >> LOT_BITS;
}

bool sim_step(struct sim *sim)
{
    struct heap_node *first = heap_first(&sim->events);
    if (first == NULL) {
        return false;
    }
    struct sim_event *event = CONTAINER_OF(first, struct sim_event, node);
    uint64_t due = first->key >> LOT_BITS;
    heap_remove(&sim->events, first);
    event->queued = false;
    if (due > sim->now_us) { /* else it came due while the machine slept */
        sim->now_us = due;
    }
    sim->steps++;
    event->fire(event);
    return true;
}

void sim_run_for(struct sim *sim, uint64_t us)
{
    uint64_t end = sim->now_us + us;
    while (sim_next_us(sim) <= end) {
        sim_step(sim);
    }
    if (sim->now_us < end) {
        sim->now_us = end;
    }
}

bool sim_run_until(struct sim *sim, uint64_t us, bool (*reached)(void *owner), void *owner)
{
    uint64_t end = sim->now_us + us;
    while (!reached(owner)) {
        if (sim_next_us(sim) > end) {
            return false;
        }
        sim_step(sim);
    }
    return true;
}

uint64_t sim_steps(const struct sim *sim)
{
    return sim->steps;
}

/* ---- the digest ------------------------------------------------------------------------- */

static void digest_add(struct sim *sim, uint64_t value)
{
    sim->digest = (sim->digest ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    sim->digest ^= sim->digest >> 29;
}

void sim_watch(struct sim *sim, void (*noted)(void *owner, const char *what), void *owner)
{
    sim->noted = noted;
    sim->noted_owner = owner;
}

void sim_note(struct sim *sim, const char *what, uint64_t a, uint64_t b)
{
    if (sim->noted != NULL) {
        sim->noted(sim->noted_owner, what);
    }
    digest_add(sim, sim->now_us);
    for (const char *c = what; *c != '\0'; c++) {
        digest_add(sim, (uint8_t)*c);
    }
    digest_add(sim, a);
    digest_add(sim, b);
    if (sim->tracing) {
        printf("%12.6f %-16s %" PRId64 " %" PRId64 "\n", (double)sim->now_us / 1e6, what,
               (int64_t)a, (int64_t)b);
    }
}

/* Enough of it to follow a dialogue. */
static void trace_bytes(const char *data, size_t len)
{
    printf("%30s\"", "");
    for (size_t i = 0; i < len && i < TRACE_BYTES_MAX; i++) {
        if (data[i] >= ' ' && data[i] <= '~') {
            putchar(data[i]);
        } else {
            printf(data[i] == '\n' ? "\\n" : data[i] == '\r' ? "\\r" : ".");
        }
    }
    printf("\"%s\n", len > TRACE_BYTES_MAX ? " …" : "");
}

void sim_note_bytes(struct sim *sim, const char *what, const void *data, size_t len)
{
    struct crypto_digest digest;
    crypto_digest_begin(&digest);
    crypto_digest_add(&digest, data, len);
    sim_note(sim, what, len, crypto_digest_end(&digest));
    if (sim->tracing && len > 0) {
        trace_bytes(data, len);
    }
}

uint64_t sim_digest(const struct sim *sim)
{
    return sim->digest;
}

void sim_trace(struct sim *sim, bool on)
{
    sim->tracing = on;
}

/* ---- descriptors ------------------------------------------------------------------------ */

int sim_fd_take(struct sim *sim, enum sim_fd_kind kind, void *object)
{
    assert(kind != SIM_FD_FREE);
    for (uint32_t fd = FD_FIRST; fd < sim->fd_max; fd++) {
        if (sim->fds[fd].kind == SIM_FD_FREE) {
            sim->fds[fd] = (struct sim_fd){.kind = kind, .object = object};
            return (int)fd;
        }
    }
    return -EMFILE;
}

void sim_fd_give(struct sim *sim, int fd)
{
    assert(fd >= FD_FIRST);
    assert((uint32_t)fd < sim->fd_max);
    assert(sim->fds[fd].kind != SIM_FD_FREE);
    assert(sim->fds[fd].in_flight == 0); /* io.h: cancel, wait for them to come home, then close */
    sim->fds[fd] = (struct sim_fd){0};
}

void *sim_fd_object(struct sim *sim, int fd, enum sim_fd_kind kind)
{
    assert(fd >= FD_FIRST);
    assert((uint32_t)fd < sim->fd_max);
    assert(sim->fds[fd].kind == kind);
    return sim->fds[fd].object;
}

/* ---- workers ---------------------------------------------------------------------------- */

static void queue_turn(struct io *io, uint64_t due_us)
{
    if (io->turn == NULL || (io->turn_event.queued && io->turn_due_us <= due_us)) {
        return;
    }
    io->turn_due_us = due_us;
    sim_event_at(io->sim, &io->turn_event, due_us);
}

void sim_io_kick(struct io *io)
{
    io->activity++;
    if (io != io->sim->running) { /* a running worker is asked again when its turn ends */
        queue_turn(io, io->sim->now_us + sim_between(io->sim, 1, TURN_US_MAX));
    }
}

static uint64_t sleep_until_us(struct io *io)
{
    uint64_t timer_ms = timers_next_ms(&io->timers);
    uint64_t ms = io->until_ms < timer_ms ? io->until_ms : timer_ms;
    return ms >= UINT64_MAX / 2000 ? UINT64_MAX : ms * 1000;
}

static void after_turn(struct io *io)
{
    struct sim *sim = io->sim;
    uint64_t soon = sim->now_us + sim->blocked_us + sim_between(sim, 1, TURN_US_MAX);
    if (sim_chance(sim, sim->odds.worker_stall)) {
        soon += sim_spread(sim, SIM_MS, 2 * SIM_SECOND);
    }
    bool idle = !io->delivered && io->activity == io->activity_seen;
    uint64_t sleep = sleep_until_us(io);
    if (!idle || io->woken || !list_empty(&io->ready) || sleep <= soon) {
        io->turns_awake++;
        queue_turn(io, soon);
        return;
    }
    io->turns_awake = 0;
    if (sim_chance(sim, sim->odds.wake_spurious)) {
        sleep = soon + sim_spread(sim, 1, SIM_SECOND);
    }
    if (sleep != UINT64_MAX) {
        queue_turn(io, sleep);
    }
}

static void on_turn(struct sim_event *event)
{
    struct io *io = CONTAINER_OF(event, struct io, turn_event);
    struct sim *sim = io->sim;
    sim->running = io;
    sim->blocked_us = 0;
    sim_memory_enter();
    if (io->before_turn != NULL) {
        io->before_turn(io->before_owner, io->before_index);
        io->before_turn = NULL;
    }
    io->turn(io->owner);
    sim_memory_leave();
    bool destroyed = sim->running != io; /* io_destroy takes itself out */
    sim->running = NULL;
    if (!destroyed && io->turn != NULL) {
        after_turn(io);
    }
}

void sim_drive(struct io *io, void (*turn)(void *owner), void *owner)
{
    sim_undrive(io);
    io->turn = turn;
    io->owner = owner;
    sim_event_init(&io->turn_event, on_turn);
    queue_turn(io, io->sim->now_us + sim_between(io->sim, 1, TURN_US_MAX));
}

void sim_undrive(struct io *io)
{
    sim_event_cancel(io->sim, &io->turn_event);
    io->turn = NULL;
}

uint64_t sim_turns_awake(const struct io *io)
{
    return io->turns_awake;
}

void sim_block(struct sim *sim, uint64_t us)
{
    sim->blocked_us += us;
}

static void io_dies(struct io *io)
{
    struct sim *sim = io->sim;
    sim_undrive(io);
    while (!list_empty(&io->in_flight)) {
        struct sim_op *op = CONTAINER_OF(list_pop_front(&io->in_flight), struct sim_op, node);
        sim_event_cancel(sim, &op->event);
        sim_event_cancel(sim, &op->cancel);
        if (op->unhook != NULL) {
            op->unhook(op);
        }
        if (op->drop != NULL) {
            op->drop(op);
        }
        sim_give(op);
    }
    list_remove(&io->node);
    sim_give(io);
}

void sim_crash(struct sim *sim, enum sim_crash kind)
{
    assert(sim->running == NULL);
    sim_note(sim, kind == SIM_POWER ? "power loss" : "kill", 0, 0);
    sim_disk_crash(sim->disk, kind); /* sees the writes that are still under way */
    while (!list_empty(&sim->ios)) {
        io_dies(CONTAINER_OF(list_first(&sim->ios), struct io, node));
    }
    sim_net_crash(sim->net, kind);
    for (uint32_t fd = 0; fd < sim->fd_max; fd++) {
        sim->fds[fd] = (struct sim_fd){0};
    }
    sim_memory_drop();
}
