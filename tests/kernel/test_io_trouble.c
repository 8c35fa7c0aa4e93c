/* The kernel's io where the kernel is difficult, and what a turn costs.
 *
 * The linker puts wrappers (--wrap) between io and the kernel: they count, and refuse as a kernel
 * without memory, room or peace would. The ring's source is included so that transfers can be cut
 * short on their way into the queue, which a kernel may do and hardly ever does. */
#include "../unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "contract_parts.h"
#include "io/io_kernel.h"
#include "world.h"

static bool troubled;
static unsigned trouble; /* which kind is next */

/* ---- transfers cut short -------------------------------------------------------------------- */

static size_t cut(size_t len)
{
    return troubled && trouble++ % 3 != 0 && len > 1 ? 1 + len * 5 / 8 : len;
}

static inline void cut_send(struct io_uring_sqe *entry, int fd, const void *data, size_t len,
                            int flags)
{
    io_uring_prep_send(entry, fd, data, cut(len), flags);
}

static inline void cut_sendmsg(struct io_uring_sqe *entry, int fd, struct msghdr *message,
                               unsigned flags)
{
    message->msg_iovlen = cut(message->msg_iovlen);
    io_uring_prep_sendmsg(entry, fd, message, flags);
}

static inline void cut_write(struct io_uring_sqe *entry, int fd, const void *data, unsigned len,
                             uint64_t offset)
{
    io_uring_prep_write(entry, fd, data, (unsigned)cut(len), offset);
}

static inline void cut_writev(struct io_uring_sqe *entry, int fd, const struct iovec *iov,
                              unsigned count, uint64_t offset)
{
    io_uring_prep_writev(entry, fd, iov, (unsigned)cut(count), offset);
}

static inline void cut_read(struct io_uring_sqe *entry, int fd, void *data, unsigned len,
                            uint64_t offset)
{
    io_uring_prep_read(entry, fd, data, len == sizeof(uint64_t) ? len : (unsigned)cut(len), offset);
}

#define io_uring_prep_send    cut_send
#define io_uring_prep_sendmsg cut_sendmsg
#define io_uring_prep_write   cut_write
#define io_uring_prep_writev  cut_writev
#define io_uring_prep_read    cut_read
#include "io/io_uring.c"

/* ---- between io and the kernel ------------------------------------------------------------ */

static atomic_uint enter_count, write_count, allocation_count;

int __real_io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
                           sigset_t *signals, size_t len);
int __wrap_io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
                           sigset_t *signals, size_t len);
ssize_t __real_write(int fd, const void *data, size_t len);
ssize_t __wrap_write(int fd, const void *data, size_t len);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

int __wrap_io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
                           sigset_t *signals, size_t len)
{
    atomic_fetch_add(&enter_count, 1);
    if (troubled) {
        switch (trouble++ % 7) {
        case 1:
            return -EAGAIN;
        case 2:
            return -EINTR;
        case 3:
            return -EBUSY;
        case 5: /* takes a part of what was offered, and does not wait then */
            to_submit /= 2;
            min_complete = 0;
            break;
        default:
            break;
        }
    }
    return __real_io_uring_enter2(fd, to_submit, min_complete, flags, signals, len);
}

ssize_t __wrap_write(int fd, const void *data, size_t len)
{
    atomic_fetch_add(&write_count, 1);
    return __real_write(fd, data, len);
}

void *__wrap_malloc(size_t size)
{
    atomic_fetch_add(&allocation_count, 1);
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    atomic_fetch_add(&allocation_count, 1);
    return __real_calloc(count, size);
}

/* ---- every fact, with a kernel that refuses ------------------------------------------------- */

static void run_troubled(void (*fact)(struct contract *), uint32_t missing)
{
    struct world world;
    CHECK(world_open(&world, missing));
    if (!test_failed) {
        troubled = true;
        fact(&world.contract);
        troubled = false;
        CHECK_INT(world_close(&world), 0);
    }
}

#define FACT(name)                                                                                 \
    TEST(name)                                                                                     \
    {                                                                                              \
        run_troubled(contract_##name, 0);                                                          \
        run_troubled(contract_##name, IO_FEATURE_BUFFER_RING | IO_FEATURE_CQE_SKIP);               \
    }
CONTRACT_SOCKET_FACTS(FACT)
CONTRACT_LISTENER_FACTS(FACT)
CONTRACT_TURN_FACTS(FACT)
CONTRACT_FILE_FACTS(FACT)

/* ---- what a turn costs ---------------------------------------------------------------------- */

#define PLAYERS 32 /* pairs: 64 connections */

struct player {
    struct io_op recv, send;
    struct io *io;
    struct iovec piece;
    char ball[100];
    int fd, *rounds;
    bool stopped;
};

static void on_ball(struct io_op *op, int result)
{
    struct player *player = CONTAINER_OF(op, struct player, recv);
    if (result <= 0 || player->stopped) {
        return;
    }
    ++*player->rounds;
    io_send(player->io, &player->send, player->fd, &player->piece, 1);
    io_recv(player->io, &player->recv, player->fd);
}

static void on_hit(struct io_op *op, int result)
{
}

static void player_start(struct contract *contract, struct player *player, int fd, int *rounds)
{
    *player = (struct player){.io = contract->io, .fd = fd, .rounds = rounds};
    player->piece = (struct iovec){player->ball, sizeof player->ball};
    io_op_init(&player->recv, on_ball);
    io_op_init(&player->send, on_hit);
    io_recv(contract->io, &player->recv, fd);
}

static void player_stop(struct contract *contract, struct player *player)
{
    player->stopped = true;
    io_cancel(contract->io, &player->recv);
    io_cancel(contract->io, &player->send);
    RUN_UNTIL(!io_busy(&player->recv) && !io_busy(&player->send));
}

static void count_a_game(struct contract *contract)
{
    static struct player players[PLAYERS][2];
    struct pair pairs[PLAYERS];
    int rounds = 0, turns = 0;
    pairs_open(contract, pairs, PLAYERS, "127.0.0.1");
    for (int i = 0; i < PLAYERS; i++) {
        player_start(contract, &players[i][0], pairs[i].near, &rounds);
        player_start(contract, &players[i][1], pairs[i].far, &rounds);
        io_send(contract->io, &players[i][0].send, pairs[i].near, &players[i][0].piece, 1);
    }
    atomic_store(&enter_count, 0);
    atomic_store(&write_count, 0);
    atomic_store(&allocation_count, 0);
    for (; rounds < 5000 && turns < 100000; turns++) {
        WANT_INT(io_run(contract->io, io_now_ms(contract->io) + 1000), 0);
    }
    unsigned entered = atomic_load(&enter_count);
    WANT_INT(atomic_load(&allocation_count), 0);
    WANT_INT(atomic_load(&write_count), 0);
    WANT_INT(entered, turns);
    WANT(turns < 5000 / 8); /* many completions share a turn */
    for (int i = 0; i < PLAYERS; i++) {
        player_stop(contract, &players[i][0]);
        player_stop(contract, &players[i][1]);
    }
    pairs_close(contract, pairs, PLAYERS);
}

static const struct io_options roomy = {
    .entries = 512, .recv_buffer_bytes = 512, .recv_buffer_count = 128};

TEST(a_turn_is_one_system_call_and_allocates_nothing)
{
    struct error error;
    struct contract contract = {.io = io_create(&roomy, &error)};
    CHECK(contract.io != NULL);
    if (contract.io != NULL) {
        count_a_game(&contract);
        CHECK_INT(contract.failures, 0);
        io_destroy(contract.io);
    }
}

#define CALLERS 200

static int heard;

static void on_heard(struct io_op *op, int result)
{
    heard += result == 1;
}

/* All that has come since the last turn is done in the next. */
static void hear_all_at_once(struct contract *contract)
{
    static struct io_op ops[CALLERS];
    int fds[CALLERS][2];
    for (int i = 0; i < CALLERS; i++) {
        WANT_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds[i]), 0);
        io_op_init(&ops[i], on_heard);
        io_recv(contract->io, &ops[i], fds[i][0]);
    }
    WANT_INT(io_run(contract->io, 0), 0);
    for (int i = 0; i < CALLERS; i++) {
        WANT_INT(write(fds[i][1], "x", 1), 1);
    }
    WANT_INT(heard, 0);
    WANT_INT(io_run(contract->io, 0), 0);
    WANT_INT(heard, CALLERS);
    RUN_UNTIL(heard == CALLERS);
    for (int i = 0; i < CALLERS; i++) {
        close(fds[i][0]);
        close(fds[i][1]);
    }
}

TEST(hundreds_who_speak_at_once_are_heard_in_one_turn)
{
    struct error error;
    struct io_options options = roomy;
    options.recv_buffer_count = 256;
    struct contract contract = {.io = io_create(&options, &error)};
    CHECK(contract.io != NULL);
    if (contract.io != NULL) {
        hear_all_at_once(&contract);
        CHECK_INT(contract.failures, 0);
        io_destroy(contract.io);
    }
}

static void *wake_often(void *argument)
{
    for (int i = 0; i < 10000; i++) {
        io_wake(argument);
        if (i % 1000 == 0) {
            usleep(2000); /* let it fall asleep */
        }
    }
    return NULL;
}

TEST(many_wake_ups_cost_at_most_one_write_per_turn)
{
    struct world world;
    pthread_t threads[4];
    unsigned turns = 0;
    CHECK(world_open(&world, 0));
    atomic_store(&write_count, 0);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(pthread_create(&threads[i], NULL, wake_often, world.contract.io), 0);
    }
    uint64_t end_ms = io_now_ms(world.contract.io) + 50;
    for (; io_now_ms(world.contract.io) < end_ms; turns++) {
        CHECK_INT(io_run(world.contract.io, end_ms), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK(atomic_load(&write_count) <= turns);
    CHECK(atomic_load(&write_count) > 0);
    CHECK_INT(world_close(&world), 0);
}

/* ---- refusals at the start ------------------------------------------------------------------ */

/* From now on io_uring_setup gives `code` in this process. */
static bool forbid_io_uring(int code)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)code),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof rules / sizeof rules[0], rules};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* The child's exit code, or 1000 and the signal that ended it. */
static int in_child(int (*what)(int), int argument)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        _exit(what(argument));
    }
    int status = -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int refused_with(int code)
{
    struct error error = {0};
    const char *name = code == EPERM ? "EPERM" : "ENOSYS";
    if (!forbid_io_uring(code)) {
        return 77; /* no seccomp here: nothing to see */
    }
    if (io_create(&roomy, &error) != NULL) {
        return 1;
    }
    if (error.code != code || strstr(error.text, name) == NULL ||
        strstr(error.text, "seccomp") == NULL) {
        printf("%d: %s\n", error.code, error.text);
        fflush(stdout);
        return 2;
    }
    return 0;
}

TEST(k13_a_refused_ring_is_explained)
{
    int result = in_child(refused_with, EPERM);
    CHECK(result == 0 || result == 77);
    result = in_child(refused_with, ENOSYS);
    CHECK(result == 0 || result == 77);
}

static int without_descriptors(int unused)
{
    struct error error = {0};
    struct rlimit none = {.rlim_cur = 3, .rlim_max = 3};
    if (setrlimit(RLIMIT_NOFILE, &none) != 0 || io_create(&roomy, &error) != NULL) {
        return 1;
    }
    return error.code == EMFILE && strstr(error.text, "LimitNOFILE") != NULL ? 0 : 2;
}

TEST(no_descriptor_for_a_ring_is_explained)
{
    CHECK_INT(in_child(without_descriptors, 0), 0);
}

static int count_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

TEST(an_io_leaves_no_descriptor_behind)
{
    struct error error;
    int before = count_descriptors();
    for (int i = 0; i < 20; i++) {
        struct io *io = io_create(&roomy, &error);
        CHECK(io != NULL);
        io_destroy(io);
    }
    CHECK_INT(count_descriptors(), before);
}

/* ---- sockets in trouble --------------------------------------------------------------------- */

static int close_under_an_op(int unused)
{
    struct world world;
    struct pair pair;
    struct tracked seen;
    if (freopen("/dev/null", "w", stderr) == NULL || !world_open(&world, 0)) {
        return 1;
    }
    rmdir(world.directory);
    pairs_open(&world.contract, &pair, 1, "127.0.0.1");
    tracked_init(&seen);
    io_recv(world.contract.io, &seen.op, pair.far);
    io_close(world.contract.io, pair.far);
    return 0;
}

TEST(a_close_under_an_op_is_an_assertion_failure)
{
    CHECK_INT(in_child(close_under_an_op, 0), 1000 + SIGABRT);
}

/* Room for the sockets below and nothing more, so that accepting finds none. */
static struct rlimit leave_descriptors(int count)
{
    struct rlimit before, tight;
    getrlimit(RLIMIT_NOFILE, &before);
    int lowest = dup(0);
    close(lowest);
    tight = before;
    tight.rlim_cur = (rlim_t)(lowest + count);
    setrlimit(RLIMIT_NOFILE, &tight);
    return before;
}

static void accept_without_descriptors(struct contract *contract)
{
    struct address address;
    struct accepting accepting;
    struct tracked connect;
    int listen_fd = contract_listen(contract, "127.0.0.1", &address);
    struct rlimit before = leave_descriptors(1); /* the ring reads the limit when it is armed */
    accepting_start(contract, &accepting, listen_fd);
    contract_run_for(contract, 5);
    int fd = io_socket_bound(contract->io, NULL, ADDRESS_IPV4, false);
    WANT_INT(io_socket_bound(contract->io, NULL, ADDRESS_IPV4, false), -EMFILE);
    tracked_init(&connect);
    io_connect(contract->io, &connect.op, fd, &address);
    RUN_UNTIL(accepting.errors > 0);
    contract_run_for(contract, 20);
    WANT_INT(accepting.errors, 1); /* it has paused: no storm */
    WANT_INT(tracked_wait(contract, &connect), 0);
    setrlimit(RLIMIT_NOFILE, &before);
    accepting.errors = 0;
    io_accept_resume(&accepting.acceptor);
    RUN_UNTIL(accepting.count == 1);
    accepting_stop(contract, &accepting);
    io_close(contract->io, fd);
    io_close(contract->io, accepting.fds[0]);
    io_close(contract->io, listen_fd);
    WANT_INT(io_run(contract->io, 0), 0);
}

TEST(s32_accepting_without_descriptors_pauses_and_goes_on)
{
    for (uint32_t missing = 0; missing <= IO_FEATURE_MULTISHOT; missing += IO_FEATURE_MULTISHOT) {
        struct world world;
        CHECK(world_open(&world, missing));
        accept_without_descriptors(&world.contract);
        CHECK_INT(world_close(&world), 0);
    }
}

#define CONNECTS 6

static void cancel_hanging_connects(struct contract *contract)
{
    struct tracked connects[CONNECTS];
    int fds[CONNECTS], cancelled = 0;
    struct address address = contract_address("127.0.0.1");
    int listen_fd = io_listen(contract->io, &address, 0); /* one or two fit, the rest hangs */
    WANT_INT(io_local_address(contract->io, listen_fd, &address), 0);
    for (int i = 0; i < CONNECTS; i++) {
        fds[i] = io_socket_bound(contract->io, NULL, ADDRESS_IPV4, false);
        tracked_init(&connects[i]);
        io_connect(contract->io, &connects[i].op, fds[i], &address);
    }
    contract_run_for(contract, 50);
    for (int i = 0; i < CONNECTS; i++) {
        io_cancel(contract->io, &connects[i].op);
    }
    for (int i = 0; i < CONNECTS; i++) {
        cancelled += tracked_wait(contract, &connects[i]) == -ECANCELED;
        io_close(contract->io, fds[i]);
    }
    WANT(cancelled >= CONNECTS - 3);
    io_close(contract->io, listen_fd);
    WANT_INT(io_run(contract->io, 0), 0);
}

TEST(a_hanging_connect_can_be_cancelled)
{
    struct world world;
    CHECK(world_open(&world, 0));
    cancel_hanging_connects(&world.contract);
    CHECK_INT(world_close(&world), 0);
}

/* ---- jobs from several threads -------------------------------------------------------------- */

#define JOBS 2000

struct job {
    struct work work;
    int *left;
};

static void on_run(struct work *work)
{
}

static void on_job_done(struct work *work)
{
    --*CONTAINER_OF(work, struct job, work)->left;
}

TEST(jobs_of_several_threads_all_come_home)
{
    static struct job jobs[JOBS];
    struct error error;
    int left = JOBS;
    struct io *io = io_create(&roomy, &error);
    struct work_pool *pool = work_pool_create(4, JOBS);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){.work = {.run = on_run, .done = on_job_done}, .left = &left};
        CHECK(work_submit(pool, io, &jobs[i].work));
    }
    uint64_t end_ms = io_now_ms(io) + 20000;
    while (left > 0 && io_now_ms(io) < end_ms) {
        CHECK_INT(io_run(io, end_ms), 0);
    }
    CHECK_INT(left, 0);
    io_destroy(io); /* at once: no thread may still be in it */
    work_pool_destroy(pool);
}
