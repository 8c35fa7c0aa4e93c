/* A turn of the loop, the clocks, wake-ups, and jobs that come home. */
#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/logger.h"
#include "io/io_kernel.h"

#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

/* ---- time ------------------------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

void io_read_clocks(struct io *io)
{
    uint64_t now_ms = clock_ns(CLOCK_BOOTTIME) / NS_PER_MS;
    io->now_ms = now_ms == 0 ? 1 : now_ms;
    int64_t wall_ms = (int64_t)(clock_ns(CLOCK_REALTIME) / NS_PER_MS);
    if (wall_ms != io->wall_ms) {
        io->wall_ms = wall_ms;
        logger_set_wall_ms(wall_ms);
    }
}

uint64_t io_now_ms(const struct io *io)
{
    return io->now_ms;
}

int64_t io_wall_ms(const struct io *io)
{
    return io->wall_ms;
}

uint64_t io_now_us(struct io *io)
{
    return clock_ns(CLOCK_BOOTTIME) / 1000;
}

struct timers *io_timers(struct io *io)
{
    return &io->timers;
}

uint64_t io_random(struct io *io)
{
    if (io->random_left == 0) {
        /* Up to 256 bytes are never cut short once the kernel's pool is ready (random(7)). */
        ssize_t got = getrandom(io->random, sizeof io->random, 0);
        assert(got == (ssize_t)sizeof io->random);
        io->random_left = IO_RANDOM_COUNT;
    }
    return io->random[--io->random_left];
}

/* ---- wake-ups and jobs that come home ----------------------------------------------------- */

void io_wake(struct io *io)
{
    if (atomic_exchange(&io->wake_state, IO_WOKEN) == IO_ASLEEP) {
        uint64_t one = 1;
        ssize_t written = write(io->wake_fd, &one, sizeof one);
        assert(written == sizeof one);
    }
}

static void on_woken(struct io_op *op, int result)
{
    struct io *io = CONTAINER_OF(op, struct io, wake_op);
    if (!io->closing) {
        io_read(io, op, io->wake_fd, &io->wake_value, sizeof io->wake_value, UINT64_MAX);
    }
}

void io_bring_home(struct io *home, struct work *work)
{
    /* Once pushed, the job may be done and the io destroyed before it was woken: io_destroy waits
     * for who is in here. */
    atomic_fetch_add(&home->visitors, 1);
    struct work *before = atomic_load(&home->homecoming);
    do {
        work->node.next = before == NULL ? NULL : &before->node;
    } while (!atomic_compare_exchange_weak(&home->homecoming, &before, work));
    io_wake(home);
    atomic_fetch_sub(&home->visitors, 1);
}

int io_wake_open(struct io *io)
{
    io->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (io->wake_fd < 0) {
        return -errno;
    }
    io_op_init(&io->wake_op, on_woken);
    on_woken(&io->wake_op, 0);
    return 0;
}

void io_wake_close(struct io *io)
{
    if (io->wake_fd < 0) {
        return;
    }
    while (atomic_load(&io->visitors) != 0) {
        sched_yield();
    }
    io->closing = true;
    io_cancel(io, &io->wake_op);
    while (io_busy(&io->wake_op)) {
        ring_submit_parked(io);
        int result = ring_enter(io, ring_may_sleep(io), NULL);
        assert(result == 0);
        ring_complete(io);
        io_complete_ready(io);
    }
    close(io->wake_fd);
    io->wake_fd = -1;
}

/* The stack holds the last first: turned round, so that jobs are done in the order they ended. */
static void welcome_jobs(struct io *io)
{
    if (atomic_load_explicit(&io->homecoming, memory_order_relaxed) == NULL) {
        return;
    }
    struct work *last = atomic_exchange(&io->homecoming, NULL);
    struct list_node *first = NULL;
    for (struct list_node *node = &last->node; node != NULL;) {
        struct list_node *next = node->next;
        node->next = first;
        first = node;
        node = next;
    }
    while (first != NULL) {
        struct work *work = CONTAINER_OF(first, struct work, node);
        first = first->next;
        work->node = (struct list_node){0};
        work->done(work);
    }
}

/* ---- the turn ----------------------------------------------------------------------------- */

/* The time until `until_ms` by a clock read now: a long turn does not lengthen the sleep. False:
 * none. */
static bool time_left(uint64_t until_ms, struct timespec *out)
{
    uint64_t now_ns = clock_ns(CLOCK_BOOTTIME);
    uint64_t until_ns = until_ms > UINT64_MAX / NS_PER_MS ? UINT64_MAX : until_ms * NS_PER_MS;
    if (until_ns <= now_ns) {
        return false;
    }
    out->tv_sec = (time_t)((until_ns - now_ns) / NS_PER_S);
    out->tv_nsec = (long)((until_ns - now_ns) % NS_PER_S);
    return true;
}

/* Who wakes us has either seen that we sleep and rings, or left IO_WOKEN, which we see. */
static int submit_and_wait(struct io *io, uint64_t until_ms)
{
    struct timespec limit;
    bool for_ever = until_ms == UINT64_MAX;
    bool sleep = until_ms > io->now_ms && ring_may_sleep(io);
    sleep = sleep && (for_ever || time_left(until_ms, &limit));
    uint32_t awake = IO_AWAKE;
    sleep = sleep && atomic_compare_exchange_strong(&io->wake_state, &awake, IO_ASLEEP);
    int result = ring_enter(io, sleep, sleep && !for_ever ? &limit : NULL);
    if (atomic_load_explicit(&io->wake_state, memory_order_relaxed) != IO_AWAKE) {
        atomic_exchange(&io->wake_state, IO_AWAKE);
    }
    return result;
}

int io_run(struct io *io, uint64_t until_ms)
{
    ring_submit_parked(io);
    uint64_t timer_ms = timers_next_ms(&io->timers);
    int result = submit_and_wait(io, timer_ms < until_ms ? timer_ms : until_ms);
    if (result < 0) {
        return result;
    }
    io_read_clocks(io);
    ring_complete(io);
    io_complete_ready(io);
    welcome_jobs(io);
    timers_run(&io->timers, io->now_ms);
    return 0;
}
