/* What one operation on a limit does while another is half way: the second is run whole at every
 * single atomic step of the first, for all pairs and a set of beginnings. Then every wake is
 * obeyed and every plea heard: who still waits may not see anybody rest. Then what is held is
 * given back bit by bit, and all who wait must have got in. */
#include <stdatomic.h>

static void step(void);

/* The operations of limits.c, each with a step before it. */
#undef atomic_load
#undef atomic_store
#undef atomic_exchange
#undef atomic_fetch_or
#undef atomic_fetch_and
#undef atomic_fetch_sub
#undef atomic_fetch_add
#undef atomic_compare_exchange_weak
#undef atomic_compare_exchange_strong
#define atomic_load(p)         (step(), atomic_load_explicit(p, memory_order_seq_cst))
#define atomic_store(p, v)     (step(), atomic_store_explicit(p, v, memory_order_seq_cst))
#define atomic_exchange(p, v)  (step(), atomic_exchange_explicit(p, v, memory_order_seq_cst))
#define atomic_fetch_or(p, v)  (step(), atomic_fetch_or_explicit(p, v, memory_order_seq_cst))
#define atomic_fetch_and(p, v) (step(), atomic_fetch_and_explicit(p, v, memory_order_seq_cst))
#define atomic_fetch_sub(p, v) (step(), atomic_fetch_sub_explicit(p, v, memory_order_seq_cst))
#define atomic_fetch_add(p, v) (step(), atomic_fetch_add_explicit(p, v, memory_order_seq_cst))
#define atomic_compare_exchange_weak(p, e, v)                                                      \
    (step(),                                                                                       \
     atomic_compare_exchange_strong_explicit(p, e, v, memory_order_seq_cst, memory_order_seq_cst))
#define atomic_compare_exchange_strong(p, e, v) atomic_compare_exchange_weak(p, e, v)

#include "vmta/limits.c"

#include "test.h"

enum { WORKERS = 3, STEPS_MAX = 64 };

/* Waiters are of the workers 1 and 2; worker 0 has the connections that may rest. */
enum operation {
    TAKE,
    TAKE_OTHER,
    RELEASE,
    RAISE,
    STOP,
    PASS_ON,
    REST,
    WORK,
    PLEA,
    CLOSE,
    OPERATIONS,
};

struct world {
    struct limit *limit;
    uint32_t wants[WORKERS]; /* waiters of each worker */
    uint64_t held;           /* by busy connections, and: */
    uint64_t idle, closing;
    struct limit_wakes wakes; /* under way */
    uint32_t pleas[WORKERS];  /* the same, to worker 0: for how many; 0: none */
};

static struct world world;
static int steps_left;
static enum operation interloper;

/* Of this worker each waiter counts, of the others their bits. */
static uint64_t wanted(uint32_t worker)
{
    uint64_t others = limit_waiting(world.limit) & ~bit_of(worker);
    return world.wants[worker] + (uint64_t)__builtin_popcountll(others);
}

static void ask(uint32_t worker)
{
    if (world.pleas[worker] == 0 && limit_is_short(world.limit, wanted(worker)) &&
        limit_idle_holder(world.limit, worker) != LIMIT_NOBODY) {
        world.pleas[worker] = world.wants[worker];
    }
}

static void want_one(uint32_t worker)
{
    if (limit_take_or_wait(world.limit, 1, worker)) {
        world.held++;
    } else {
        world.wants[worker]++;
        ask(worker);
    }
}

static void rest(void)
{
    if (world.held == 0) {
        return;
    }
    world.held--;
    limit_set_idle(world.limit, 0, true);
    if (limit_promise(world.limit, wanted(0))) {
        world.closing++;
    } else {
        world.idle++;
    }
}

/* Heard by worker 0, and home again. */
static void hear_plea(void)
{
    uint32_t worker = world.pleas[1] > 0 ? 1 : 2;
    if (world.pleas[worker] == 0) {
        return;
    }
    bool still_waits = (limit_waiting(world.limit) & bit_of(worker)) != 0;
    uint64_t count = wanted(0) + (still_waits ? world.pleas[worker] - 1 : 0);
    while (world.idle > 0 && limit_promise(world.limit, count)) {
        world.idle--;
        world.closing++;
    }
    if (world.idle == 0) {
        limit_set_idle(world.limit, 0, false);
    }
    world.pleas[worker] = 0;
    if (world.wants[worker] > 0) {
        ask(worker);
    }
}

static void close_one(void)
{
    if (world.closing > 0) {
        world.closing--;
        limit_keep_promise(world.limit);
        limit_release(world.limit, 1, &world.wakes);
    }
}

static void run(enum operation operation)
{
    switch (operation) {
    case TAKE:
        want_one(1);
        break;
    case TAKE_OTHER:
        want_one(2);
        break;
    case RELEASE:
        if (world.held > 0) {
            world.held--;
            limit_release(world.limit, 1, &world.wakes);
        }
        break;
    case RAISE:
        limit_set_max(world.limit, limit_max(world.limit) + 1, &world.wakes);
        break;
    case STOP:
        world.wants[1] = 0;
        limit_stop_waiting(world.limit, 1);
        break;
    case PASS_ON:
        limit_pass_on(world.limit, &world.wakes);
        break;
    case REST:
        rest();
        break;
    case WORK:
        world.held += world.idle;
        world.idle = 0;
        break;
    case PLEA:
        hear_plea();
        break;
    case CLOSE:
        close_one();
        break;
    case OPERATIONS:
        break;
    }
}

/* A worker does one thing at a time: not a pair if both are the same worker's. Releases and the
 * like come from anywhere. */
static int worker_of(enum operation operation)
{
    switch (operation) {
    case REST:
    case WORK:
    case PLEA:
    case CLOSE:
        return 0;
    case TAKE:
    case STOP:
        return 1;
    case TAKE_OTHER:
        return 2;
    case RELEASE:
    case RAISE:
    case PASS_ON:
    case OPERATIONS:
        break;
    }
    return -1;
}

static bool is_a_pair(enum operation first, enum operation second)
{
    return worker_of(first) < 0 || worker_of(first) != worker_of(second);
}

static void step(void)
{
    if (steps_left > 0 && --steps_left == 0) {
        run(interloper);
    }
}

/* The duty of the woken, as the header tells it. */
static void obey_wakes(void)
{
    for (int turns = 0; world.wakes.workers != 0 && turns < 100; turns++) {
        uint32_t worker = (uint32_t)__builtin_ctzll(world.wakes.workers);
        world.wakes.workers &= world.wakes.workers - 1;
        while (world.wants[worker] > 0 && limit_take_or_wait(world.limit, 1, worker)) {
            world.wants[worker]--;
            world.held++;
        }
        if (world.wants[worker] > 0) {
            ask(worker);
        }
        limit_pass_on(world.limit, &world.wakes);
    }
    CHECK(world.wakes.workers == 0); /* wakes end by themselves */
}

static uint32_t waiting(void)
{
    return world.wants[0] + world.wants[1] + world.wants[2];
}

/* Connections that are told to close, close; no busy one comes to rest any more. */
static void let_places_go(void)
{
    for (int turns = 0; turns < 100; turns++) {
        obey_wakes();
        if (world.pleas[1] > 0 || world.pleas[2] > 0) {
            hear_plea();
        } else if (world.closing > 0) {
            close_one();
        } else {
            return;
        }
    }
    CHECK(world.pleas[1] + world.pleas[2] == 0); /* pleas end by themselves */
}

static void everybody_gets_in(void)
{
    let_places_go();
    CHECK(waiting() == 0 || world.idle == 0);
    world.held += world.idle;
    for (int i = 0; i < 20 && world.held > 0; i++) {
        world.held--;
        limit_release(world.limit, 1, &world.wakes);
        obey_wakes();
        CHECK(waiting() == 0 || limit_used(world.limit) >= limit_max(world.limit));
    }
    CHECK_INT(waiting(), 0);
    CHECK_INT(limit_used(world.limit), 0);
}

/* All places taken, `idle` of them by connections that rest, `ones` waiters of worker 1, `twos` of
 * worker 2, and `freed` places given back without anybody having acted on it yet. */
static void begin(struct limits *limits, uint32_t max, uint32_t idle, uint32_t ones, uint32_t twos,
                  uint32_t freed)
{
    world = (struct world){.limit = limits_entry(limits, LIMIT_TOTAL, BYTES("t"))};
    limit_set_max(world.limit, max, &world.wakes);
    CHECK(limit_take(world.limit, max));
    world.held = max;
    for (uint32_t i = 0; i < idle; i++) {
        rest();
    }
    for (uint32_t i = 0; i < twos; i++) {
        want_one(2);
    }
    for (uint32_t i = 0; i < ones; i++) {
        want_one(1);
    }
    for (uint32_t i = 0; i < freed; i++) {
        run(RELEASE);
    }
}

static void explore(enum operation first, enum operation second, uint32_t beginning)
{
    for (int at = 1; at < STEPS_MAX; at++) {
        struct limits *limits = limits_create(1);
        begin(limits, 1 + (beginning & 1), beginning >> 5, beginning >> 1 & 3, beginning >> 3 & 1,
              beginning >> 4 & 1);
        interloper = second;
        steps_left = at;
        run(first);
        bool reached = steps_left == 0;
        steps_left = 0;
        bool failed_before = test_failed;
        everybody_gets_in();
        if (test_failed && !failed_before) {
            printf("first %d, second %d at step %d, beginning %u\n", first, second, at, beginning);
        }
        limits_destroy(limits);
        if (!reached) {
            return;
        }
    }
}

TEST(nobody_is_stranded_by_any_interleaving_of_two_operations)
{
    for (uint32_t beginning = 0; beginning < 96; beginning++) {
        for (int first = 0; first < OPERATIONS; first++) {
            for (int second = 0; second < OPERATIONS; second++) {
                if (is_a_pair((enum operation)first, (enum operation)second)) {
                    explore((enum operation)first, (enum operation)second, beginning);
                }
            }
        }
    }
}
