/* The kernel's side of io.h: one io_uring per worker.
 *
 * A turn (io_run) is one system call: it hands over all that was queued since the last one, waits,
 * and lets the kernel run its own deferred work (DEFER_TASKRUN). Then every completion is read,
 * and the `done`s run. The caller's op is the whole bookkeeping: its address travels as user_data,
 * and short transfers are continued from its own fields, so nothing is allocated per operation.
 *
 * Receives take a buffer from the ring's pool only when bytes are there. All buffers are back
 * when the completions of a turn have been read, as a buffer is lent only while a `done` runs;
 * so receives that found the pool empty (ENOBUFS) simply go again at the end of the turn.
 *
 * What it gives up: nothing here polls or spins, so one lonely packet costs a sleep and a wake-up
 * as with epoll. The lead is in turns with many completions. Waiting 20 us for more of them
 * (Linux 6.12) was tried and gained nothing that could be measured: DEFER_TASKRUN gathers a dozen
 * replies per turn by itself as soon as there is load. */
#include <liburing.h>

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "io/io_kernel.h"

/* Completion queue entries per submission queue entry: every op of a worker may complete in one
 * turn; beyond it the kernel keeps them in a list of its own, at a price. */
#define COMPLETIONS_PER_ENTRY 8
#define ENTRIES_MAX           32768

/* Further calls in one turn that only run deferred work: see run_the_rest. */
#define REST_ROUNDS_MAX 64

/* Kernel threads that files wait in: one log is written at a time, so a few are enough. */
#define FILE_THREADS 4

#define BUFFER_GROUP 0
#define BUFFERS_MAX  32768 /* io_uring_register_buf_ring(3) */

/* Descriptors beyond it are not watched for being closed under an op. */
#define WATCHED_FDS_MAX (1u << 20)

/* In user_data: no op (those are aligned), but a buffer's return. */
#define BUFFER_TAG 1u

struct ring {
    struct io io; /* first: the two are one object */
    struct io_uring uring;
    unsigned enter_flags;
    uint32_t buffer_bytes, buffer_count;
    uint8_t *buffers;
    struct io_uring_buf_ring *buffer_ring; /* NULL: buffers go back by IORING_OP_PROVIDE_BUFFERS */
    uint16_t *returned;                    /* then: those not yet handed over */
    uint32_t returned_count;
    char features_text[256];
};

uint32_t io_pretend_missing;

static struct ring *ring_of(struct io *io)
{
    return CONTAINER_OF(io, struct ring, io);
}

/* ---- the submission queue --------------------------------------------------------------- */

/* Makes the queued entries visible to the kernel; their count. */
static unsigned publish(struct io_uring_sq *queue)
{
    queue->sqe_head = queue->sqe_tail;
    io_uring_smp_store_release(queue->ktail, queue->sqe_tail);
    return queue->sqe_tail - *queue->khead;
}

static int enter(struct ring *ring, unsigned wait_count, unsigned flags,
                 struct io_uring_getevents_arg *argument)
{
    return io_uring_enter2((unsigned)ring->uring.enter_ring_fd, publish(&ring->uring.sq),
                           wait_count, flags | ring->enter_flags, (void *)argument,
                           argument == NULL ? 0 : sizeof *argument);
}

/* A free entry, or NULL when the kernel takes none (it is out of memory). Full: hands over what is
 * queued, without waiting and without reading completions. */
static struct io_uring_sqe *take_entry(struct ring *ring)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->uring);
    if (entry == NULL) {
        enter(ring, 0, 0, NULL);
        entry = io_uring_get_sqe(&ring->uring);
    }
    return entry;
}

/* No completion is wanted if it goes well; one without an op is ignored if it comes. */
static void finish_silent(struct ring *ring, struct io_uring_sqe *entry, uint64_t user_data)
{
    entry->user_data = user_data;
    if (io_has(&ring->io, IO_FEATURE_CQE_SKIP)) {
        entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    }
}

/* The bytes not yet moved: the rest of a piece already begun goes alone, as the caller's iov is
 * not altered; then all pieces at once. */
static void fill_send(struct io_op *op, struct io_uring_sqe *entry)
{
    int flags = MSG_NOSIGNAL | MSG_WAITALL;
    size_t begun = op->detail[0];
    if (op->iov_count == 1 || begun > 0) {
        io_uring_prep_send(entry, op->fd, (char *)op->iov->iov_base + begun,
                           op->iov->iov_len - begun, flags);
        return;
    }
    op->message = (struct msghdr){
        .msg_iov = op->iov,
        .msg_iovlen = op->iov_count < IOV_MAX ? op->iov_count : IOV_MAX,
    };
    io_uring_prep_sendmsg(entry, op->fd, &op->message, (unsigned)flags);
}

static void fill_write(struct io_op *op, struct io_uring_sqe *entry)
{
    size_t begun = op->detail[0];
    if (op->iov_count == 1 || begun > 0) {
        io_uring_prep_write(entry, op->fd, (char *)op->iov->iov_base + begun,
                            (unsigned)(op->iov->iov_len - begun), op->detail[1]);
        return;
    }
    unsigned count = (unsigned)(op->iov_count < IOV_MAX ? op->iov_count : IOV_MAX);
    io_uring_prep_writev(entry, op->fd, op->iov, count, op->detail[1]);
}

static void fill_receive(struct ring *ring, struct io_op *op, struct io_uring_sqe *entry)
{
    io_uring_prep_recv(entry, op->fd, NULL, ring->buffer_bytes, 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    if (op->drained) { /* measured: 3 % less CPU per reply than trying first and failing */
        entry->ioprio |= IORING_RECVSEND_POLL_FIRST;
    }
    entry->buf_group = BUFFER_GROUP;
}

static void fill_accept(struct ring *ring, struct io_op *op, struct io_uring_sqe *entry)
{
    if (io_has(&ring->io, IO_FEATURE_MULTISHOT)) {
        io_uring_prep_multishot_accept(entry, op->fd, NULL, NULL, SOCK_CLOEXEC);
    } else {
        io_uring_prep_accept(entry, op->fd, NULL, NULL, SOCK_CLOEXEC);
    }
}

static void fill(struct ring *ring, struct io_op *op, struct io_uring_sqe *entry)
{
    switch ((enum io_kind)op->kind) {
    case IO_KIND_NONE:
        assert(op->kind != IO_KIND_NONE);
        break;
    case IO_KIND_ACCEPT:
        fill_accept(ring, op, entry);
        break;
    case IO_KIND_CONNECT:
        io_uring_prep_connect(entry, op->fd, (struct sockaddr *)&op->peer,
                              (socklen_t)op->detail[0]);
        break;
    case IO_KIND_RECV:
        fill_receive(ring, op, entry);
        break;
    case IO_KIND_SEND:
        fill_send(op, entry);
        break;
    case IO_KIND_POLL:
        io_uring_prep_poll_add(entry, op->fd, (unsigned)op->detail[0]);
        break;
    case IO_KIND_READ:
        io_uring_prep_read(entry, op->fd, (char *)(uintptr_t)op->detail[0] + op->moved,
                           (unsigned)op->left, op->detail[1]);
        break;
    case IO_KIND_WRITE:
        fill_write(op, entry);
        break;
    case IO_KIND_WRITE_SYNCED:
        fill_write(op, entry);
        entry->rw_flags = RWF_DSYNC;
        break;
    case IO_KIND_SYNC:
        io_uring_prep_fsync(entry, op->fd, IORING_FSYNC_DATASYNC);
        break;
    }
    entry->user_data = (uintptr_t)op;
}

static void park(struct io *io, struct io_op *op)
{
    op->state = IO_PARKED;
    list_push_back(&io->parked, &op->node);
}

static void queue_op(struct io *io, struct io_op *op)
{
    struct ring *ring = ring_of(io);
    struct io_uring_sqe *entry = take_entry(ring);
    if (entry == NULL) {
        park(io, op);
        return;
    }
    fill(ring, op, entry);
    op->state = IO_FLYING;
    io->flying_count++;
}

/* Sends are queued last: the kernel works through the queue in order and carries a send all the
 * way to its peer, while a write or a sync only has to be handed to a thread, and somebody waits
 * for that thread's disk. */
void ring_submit(struct io *io, struct io_op *op)
{
    if (op->kind == IO_KIND_SEND) {
        park(io, op);
    } else {
        queue_op(io, op);
    }
}

bool ring_cancel(struct io *io, struct io_op *op)
{
    struct ring *ring = ring_of(io);
    struct io_uring_sqe *entry = take_entry(ring);
    if (entry == NULL) {
        return false;
    }
    io_uring_prep_cancel64(entry, (uintptr_t)op, 0);
    finish_silent(ring, entry, 0);
    return true;
}

void ring_submit_parked(struct io *io)
{
    struct list_node *node;
    while ((node = list_first(&io->cancels)) != NULL &&
           ring_cancel(io, CONTAINER_OF(node, struct io_op, node))) {
        list_remove(node);
    }
    struct list parked;
    list_init(&parked);
    list_splice_back(&parked, &io->parked);
    while ((node = list_pop_front(&parked)) != NULL) {
        queue_op(io, CONTAINER_OF(node, struct io_op, node));
    }
}

void io_close(struct io *io, int fd)
{
    assert(fd >= 0);
    /* Were an op in flight, the next descriptor of this number would get its bytes. */
    assert((uint32_t)fd >= io->watched_fds || io->ops_by_fd[fd] == 0);
    struct ring *ring = ring_of(io);
    struct io_uring_sqe *entry = take_entry(ring);
    if (entry == NULL) {
        close(fd);
        return;
    }
    io_uring_prep_close(entry, fd);
    finish_silent(ring, entry, 0);
}

/* ---- receive buffers -------------------------------------------------------------------- */

static uint8_t *buffer_at(const struct ring *ring, uint16_t id)
{
    return ring->buffers + (size_t)id * ring->buffer_bytes;
}

static void give_buffer_back(struct ring *ring, uint16_t id)
{
    if (ring->buffer_ring == NULL) {
        assert(ring->returned_count < ring->buffer_count);
        ring->returned[ring->returned_count++] = id;
        return;
    }
    io_uring_buf_ring_add(ring->buffer_ring, buffer_at(ring, id), ring->buffer_bytes, id,
                          io_uring_buf_ring_mask(ring->buffer_count), 0);
    io_uring_buf_ring_advance(ring->buffer_ring, 1);
}

/* Kernels without a buffer ring: puts what came back into the kernel's pool again. */
static void return_buffers(struct ring *ring)
{
    while (ring->returned_count > 0) {
        struct io_uring_sqe *entry = take_entry(ring);
        if (entry == NULL) {
            return;
        }
        uint16_t id = ring->returned[--ring->returned_count];
        io_uring_prep_provide_buffers(entry, buffer_at(ring, id), (int)ring->buffer_bytes, 1,
                                      BUFFER_GROUP, id);
        finish_silent(ring, entry, (uint64_t)id << 1 | BUFFER_TAG);
    }
}

/* As many of the starved as there are buffers: more would only starve again. */
static void feed_starved(struct ring *ring)
{
    struct io *io = &ring->io;
    for (uint32_t left = ring->buffer_count; left > 0 && io->starved_count > 0; left--) {
        struct list_node *node = list_pop_front(&io->starved);
        io->starved_count--;
        ring_submit(io, CONTAINER_OF(node, struct io_op, node));
    }
}

/* ---- a turn ------------------------------------------------------------------------------- */

bool ring_may_sleep(const struct io *io)
{
    const struct ring *ring = (const struct ring *)io;
    return list_empty(&io->ready) && list_empty(&io->parked) && list_empty(&io->cancels) &&
           io->starved_count == 0 && ring->returned_count == 0;
}

/* Newer kernels (seen in 6.18) run only 20 pieces of deferred work in a call. A worker that hands
 * over hundreds of operations in a turn would answer a few of its peers in each and fall behind for
 * seconds: 20,000 connections were opened before the first of them had sent a message. What is left
 * is run before anything new is begun, within limits. */
static void run_the_rest(struct ring *ring)
{
    struct io_uring_getevents_arg argument = {.sigmask_sz = _NSIG / 8};
    for (uint32_t i = 0; i < REST_ROUNDS_MAX; i++) {
        if ((IO_URING_READ_ONCE(*ring->uring.sq.kflags) & IORING_SQ_TASKRUN) == 0) {
            return;
        }
        enter(ring, 0, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument);
    }
}

int ring_enter(struct io *io, bool sleep, const struct timespec *limit)
{
    struct __kernel_timespec kernel_limit;
    struct io_uring_getevents_arg argument = {.sigmask_sz = _NSIG / 8};
    if (limit != NULL) {
        kernel_limit = (struct __kernel_timespec){limit->tv_sec, limit->tv_nsec};
        argument.ts = (uintptr_t)&kernel_limit;
    }
    int result =
        enter(ring_of(io), sleep ? 1 : 0, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument);
    run_the_rest(ring_of(io));
    switch (-result) {
    case ETIME:
    case EINTR:
    case EAGAIN: /* out of memory, or of room for completions: what was not taken stays queued */
    case ENOMEM:
    case EBUSY:
        return 0;
    default:
        return result < 0 ? result : 0;
    }
}

static void complete_op(struct ring *ring, const struct io_uring_cqe *completion)
{
    struct io_op *op = (struct io_op *)(uintptr_t)completion->user_data;
    bool more = (completion->flags & IORING_CQE_F_MORE) != 0;
    bool lent = (completion->flags & IORING_CQE_F_BUFFER) != 0;
    uint16_t id = (uint16_t)(completion->flags >> IORING_CQE_BUFFER_SHIFT);
    if (lent) {
        op->data = buffer_at(ring, id);
        op->drained = (completion->flags & IORING_CQE_F_SOCK_NONEMPTY) == 0;
    }
    io_complete(&ring->io, op, completion->res, more); /* op may be gone after it */
    if (lent) {
        give_buffer_back(ring, id);
    }
}

void ring_complete(struct io *io)
{
    struct ring *ring = ring_of(io);
    struct io_uring_cq *queue = &ring->uring.cq;
    unsigned tail = io_uring_smp_load_acquire(queue->ktail);
    for (unsigned head = *queue->khead; head != tail;) {
        struct io_uring_cqe completion = queue->cqes[head & queue->ring_mask];
        head++;
        io_uring_smp_store_release(queue->khead, head);
        if ((completion.user_data & BUFFER_TAG) != 0) {
            if (completion.res < 0) { /* no memory to take it: it is still ours to give */
                give_buffer_back(ring, (uint16_t)(completion.user_data >> 1));
            }
        } else if (completion.user_data != 0) {
            complete_op(ring, &completion);
        }
    }
    return_buffers(ring);
    feed_starved(ring);
}

/* ---- life --------------------------------------------------------------------------------- */

static const struct {
    enum io_feature feature;
    unsigned flag;
} setup_flags[] = {
    {IO_FEATURE_DEFER_TASKRUN, IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG},
    {IO_FEATURE_SINGLE_ISSUER, IORING_SETUP_SINGLE_ISSUER},
    {IO_FEATURE_COOP_TASKRUN, IORING_SETUP_COOP_TASKRUN},
    {IO_FEATURE_SUBMIT_ALL, IORING_SETUP_SUBMIT_ALL},
};
#define SETUP_FLAG_COUNT (sizeof setup_flags / sizeof setup_flags[0])

/* One attempt with the flags of ring->io.features; `params` says what the kernel made of it. */
static int try_ring(struct ring *ring, uint32_t entries, struct io_uring_params *params)
{
    *params = (struct io_uring_params){
        .flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
        .cq_entries = entries * COMPLETIONS_PER_ENTRY,
    };
    for (size_t i = 0; i < SETUP_FLAG_COUNT; i++) {
        params->flags |= io_has(&ring->io, setup_flags[i].feature) ? setup_flags[i].flag : 0;
    }
    return io_uring_queue_init_params(entries, &ring->uring, params);
}

/* Gives up one flag after the other, newest first, until the kernel knows all that are left. */
static int open_ring(struct ring *ring, uint32_t entries, struct io_uring_params *params)
{
    int result = try_ring(ring, entries, params);
    for (size_t i = 0; i < SETUP_FLAG_COUNT && result == -EINVAL; i++) {
        io_lacks(&ring->io, setup_flags[i].feature);
        result = try_ring(ring, entries, params);
    }
    return result;
}

static void probe_features(struct ring *ring, const struct io_uring_params *params)
{
    uint32_t missing = io_pretend_missing;
    if ((params->features & IORING_FEAT_CQE_SKIP) == 0) {
        missing |= IO_FEATURE_CQE_SKIP;
    }
    /* Multishot accept cannot be asked for; it came with the socket operation. */
    struct io_uring_probe *probe = io_uring_get_probe_ring(&ring->uring);
    if (probe == NULL || !io_uring_opcode_supported(probe, IORING_OP_SOCKET)) {
        missing |= IO_FEATURE_MULTISHOT;
    }
    io_uring_free_probe(probe);
    ring->io.features &= ~missing;
    if (io_has(&ring->io, IO_FEATURE_REGISTERED_RING)) {
        if (io_uring_register_ring_fd(&ring->uring) == 1) {
            ring->enter_flags = IORING_ENTER_REGISTERED_RING;
        } else {
            io_lacks(&ring->io, IO_FEATURE_REGISTERED_RING);
        }
    }
    unsigned threads[2] = {FILE_THREADS, FILE_THREADS};
    io_uring_register_iowq_max_workers(&ring->uring, threads);
}

static void *map_pages(size_t len)
{
    void *pages = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

static size_t buffer_ring_len(const struct ring *ring)
{
    return ring->buffer_count * sizeof(struct io_uring_buf);
}

static void open_buffer_ring(struct ring *ring)
{
    struct io_uring_buf_ring *pages = map_pages(buffer_ring_len(ring));
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)pages,
        .ring_entries = ring->buffer_count,
        .bgid = BUFFER_GROUP,
    };
    if (pages == NULL || io_uring_register_buf_ring(&ring->uring, &registration, 0) != 0) {
        io_lacks(&ring->io, IO_FEATURE_BUFFER_RING);
        if (pages != NULL) {
            munmap(pages, buffer_ring_len(ring));
        }
        return;
    }
    io_uring_buf_ring_init(pages);
    ring->buffer_ring = pages;
}

static int open_buffers(struct ring *ring, const struct io_options *options)
{
    ring->buffer_bytes = options->recv_buffer_bytes;
    ring->buffer_count = options->recv_buffer_count;
    ring->buffers = map_pages((size_t)ring->buffer_bytes * ring->buffer_count);
    ring->returned = calloc(ring->buffer_count, sizeof *ring->returned);
    if (ring->buffers == NULL || ring->returned == NULL) {
        return -ENOMEM;
    }
    if (io_has(&ring->io, IO_FEATURE_BUFFER_RING)) {
        open_buffer_ring(ring);
    }
    for (uint32_t id = 0; id < ring->buffer_count; id++) {
        give_buffer_back(ring, (uint16_t)id);
    }
    return_buffers(ring);
    return 0;
}

static int open_watch(struct io *io)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return -errno;
    }
    io->watched_fds = limit.rlim_cur < WATCHED_FDS_MAX ? (uint32_t)limit.rlim_cur : WATCHED_FDS_MAX;
    io->ops_by_fd = calloc(io->watched_fds, sizeof *io->ops_by_fd);
    return io->ops_by_fd == NULL ? -ENOMEM : 0;
}

static void describe_features(struct ring *ring)
{
    static const char *const texts[] = {
#define FEATURE(name, text) [IO_FEATURE_INDEX_##name] = text,
        IO_FEATURES(FEATURE)
#undef FEATURE
    };
    size_t len = 0;
    for (size_t i = 0; i < IO_FEATURE_COUNT; i++) {
        if ((ring->io.features & 1u << i) != 0) {
            len += (size_t)snprintf(ring->features_text + len, sizeof ring->features_text - len,
                                    "%s%s", len == 0 ? "" : " ", texts[i]);
            assert(len < sizeof ring->features_text);
        }
    }
}

const char *io_features(const struct io *io)
{
    return ((const struct ring *)io)->features_text;
}

/* Everything is as io_destroy expects it, nothing opened. */
static struct ring *allocate(void)
{
    struct ring *ring = aligned_alloc(_Alignof(struct ring), sizeof *ring);
    if (ring == NULL) {
        return NULL;
    }
    memset(ring, 0, sizeof *ring);
    struct io *io = &ring->io;
    list_init(&io->parked);
    list_init(&io->starved);
    list_init(&io->ready);
    list_init(&io->cancels);
    ring->uring.ring_fd = io->wake_fd = -1;
    io->features = ((1u << IO_FEATURE_COUNT) - 1) & ~io_pretend_missing;
    io_read_clocks(io);
    timers_init(&io->timers, io->now_ms);
    return ring;
}

/* 0 or -errno; what was opened is closed by io_destroy. */
static int open_all(struct ring *ring, const struct io_options *options)
{
    struct io_uring_params params;
    int result = open_ring(ring, options->entries, &params);
    if (result != 0) {
        ring->uring.ring_fd = -1;
        return result;
    }
    /* Waiting with a limit, in the kernel since 5.11, is what a turn stands on. */
    if ((params.features & IORING_FEAT_EXT_ARG) == 0) {
        return -ENOSYS;
    }
    probe_features(ring, &params);
    result = open_watch(&ring->io);
    if (result == 0) {
        result = open_buffers(ring, options);
    }
    return result == 0 ? io_wake_open(&ring->io) : result;
}

struct io *io_create(const struct io_options *options, struct error *error)
{
    assert(options->entries > 0);
    assert(options->entries <= ENTRIES_MAX);
    assert(options->recv_buffer_bytes > 0);
    assert(options->recv_buffer_count > 0);
    assert(options->recv_buffer_count <= BUFFERS_MAX);
    assert((options->recv_buffer_count & (options->recv_buffer_count - 1)) == 0);
    struct ring *ring = allocate();
    int result = ring == NULL ? -ENOMEM : open_all(ring, options);
    if (result != 0) {
        io_explain_refusal(error, -result);
        io_destroy(ring == NULL ? NULL : &ring->io);
        return NULL;
    }
    describe_features(ring);
    return &ring->io;
}

static void assert_all_home(const struct io *io)
{
    assert(io->flying_count == 0);
    assert(io->starved_count == 0);
    assert(list_empty(&io->parked));
    assert(list_empty(&io->ready));
    assert(atomic_load(&io->homecoming) == NULL);
}

void io_destroy(struct io *io)
{
    if (io == NULL) {
        return;
    }
    struct ring *ring = ring_of(io);
    io_wake_close(io);
    assert_all_home(io);
    if (ring->uring.ring_fd >= 0) {
        io_uring_queue_exit(&ring->uring);
    }
    if (ring->buffer_ring != NULL) {
        munmap(ring->buffer_ring, buffer_ring_len(ring));
    }
    if (ring->buffers != NULL) {
        munmap(ring->buffers, (size_t)ring->buffer_bytes * ring->buffer_count);
    }
    free(ring->returned);
    free(io->ops_by_fd);
    free(ring);
}
