/* Letters between workers.
 *
 * Per ordered pair of workers and lane one ring with one producer and one consumer, and beside it
 * the producer's backlog: a list of what did not fit. A receiver does not look at 64 rings each
 * turn: per worker and lane an atomic bitmap says which senders have put something in. A bit is
 * set after the letter is in the ring and cleared before the ring is read, so none is missed.
 *
 * Two doorbells. A sender wakes a receiver that said it sleeps. A receiver that made room in a
 * ring whose sender has a backlog wakes the sender, which may sleep with letters it could not
 * place. Both follow the same pattern: store mine, then look at yours; all of these are
 * sequentially consistent, so of two that meet at least one sees the other. */
#include "io/mailbox.h"

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "io/io.h"

#define CACHE_LINE 64 /* bytes */

struct ring {
    /* The producer's line. */
    alignas(CACHE_LINE) _Atomic uint64_t tail; /* letters ever put in */
    uint64_t head_seen;                        /* the producer's last look at head */
    struct list backlog;                       /* the producer's alone */
    _Atomic bool backlogged;                   /* backlog is not empty: ring when there is room */
    /* The consumer's line. */
    alignas(CACHE_LINE) _Atomic uint64_t head; /* letters ever taken out */
    struct letter **slots;
};

struct box {
    /* Written by all who send here. */
    alignas(CACHE_LINE) _Atomic uint64_t pending[MAILBOX_LANES]; /* bit: sender */
    _Atomic bool asleep;
    /* The worker's own. */
    alignas(CACHE_LINE) struct io *io;
    struct list self[MAILBOX_LANES];     /* letters to oneself */
    uint64_t backlogged[MAILBOX_LANES];  /* bit: receiver whose ring was full */
    uint32_t next_sender[MAILBOX_LANES]; /* where the next round begins, for fairness */
};

struct mailboxes {
    uint32_t workers, ring_len;
    struct box *boxes;
    struct ring *rings; /* [to][from][lane] */
    struct letter **slots;
};

static struct ring *ring_of(struct mailboxes *m, uint32_t from, uint32_t to, uint32_t lane)
{
    assert(from < m->workers);
    assert(to < m->workers);
    return &m->rings[((size_t)to * m->workers + from) * MAILBOX_LANES + lane];
}

static void *take_aligned(size_t count, size_t size)
{
    void *memory = aligned_alloc(CACHE_LINE, count * size);
    if (memory != NULL) {
        memset(memory, 0, count * size);
    }
    return memory;
}

struct mailboxes *mailboxes_create(uint32_t workers, uint32_t ring_len)
{
    assert(workers >= 1 && workers <= 64);
    assert(ring_len >= 2 && (ring_len & (ring_len - 1)) == 0);
    struct mailboxes *m = calloc(1, sizeof(*m));
    if (m == NULL) {
        return NULL;
    }
    size_t ring_count = (size_t)workers * workers * MAILBOX_LANES;
    m->workers = workers;
    m->ring_len = ring_len;
    m->boxes = take_aligned(workers, sizeof(*m->boxes));
    m->rings = take_aligned(ring_count, sizeof(*m->rings));
    m->slots = calloc(ring_count * ring_len, sizeof(struct letter *));
    if (m->boxes == NULL || m->rings == NULL || m->slots == NULL) {
        mailboxes_destroy(m);
        return NULL;
    }
    for (size_t i = 0; i < ring_count; i++) {
        m->rings[i].slots = &m->slots[i * ring_len];
        list_init(&m->rings[i].backlog);
    }
    for (uint32_t i = 0; i < workers; i++) {
        list_init(&m->boxes[i].self[MAILBOX_URGENT]);
        list_init(&m->boxes[i].self[MAILBOX_BULK]);
    }
    return m;
}

void mailboxes_destroy(struct mailboxes *m)
{
    if (m == NULL) {
        return;
    }
    free(m->slots);
    free(m->rings);
    free(m->boxes);
    free(m);
}

void mailboxes_attach(struct mailboxes *m, uint32_t worker, struct io *io)
{
    assert(worker < m->workers);
    m->boxes[worker].io = io;
}

/* One waker wins; the others find it awake. */
static void wake_if_asleep(struct box *box)
{
    if (atomic_load(&box->asleep) && atomic_exchange(&box->asleep, false)) {
        assert(box->io != NULL);
        io_wake(box->io);
    }
}

/* False: full. The letter is the receiver's once tail is stored. */
static bool ring_put(const struct mailboxes *m, struct ring *ring, struct letter *letter)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (tail - ring->head_seen == m->ring_len) {
        ring->head_seen = atomic_load(&ring->head);
        if (tail - ring->head_seen == m->ring_len) {
            return false;
        }
    }
    ring->slots[tail & (m->ring_len - 1)] = letter;
    atomic_store(&ring->tail, tail + 1);
    return true;
}

static void announce(struct mailboxes *m, uint32_t from, uint32_t to, uint32_t lane)
{
    struct box *box = &m->boxes[to];
    uint64_t bit = 1ull << from;
    /* Looking first keeps the line shared while the receiver is behind anyway. */
    if ((atomic_load(&box->pending[lane]) & bit) == 0) {
        atomic_fetch_or(&box->pending[lane], bit);
    }
    wake_if_asleep(box);
}

/* Moves as much of the backlog into the ring as fits. True: something was moved. */
static bool push_backlog(struct mailboxes *m, uint32_t from, uint32_t to, uint32_t lane)
{
    struct ring *ring = ring_of(m, from, to, lane);
    bool moved = false;
    /* Said before the last look at the ring: a receiver that makes room later sees it. */
    atomic_store(&ring->backlogged, true);
    struct list_node *node;
    while ((node = list_first(&ring->backlog)) != NULL) {
        list_remove(node); /* before the put: from then on the letter is not ours */
        if (!ring_put(m, ring, CONTAINER_OF(node, struct letter, node))) {
            list_push_front(&ring->backlog, node);
            break;
        }
        moved = true;
    }
    if (list_empty(&ring->backlog)) {
        atomic_store(&ring->backlogged, false);
        m->boxes[from].backlogged[lane] &= ~(1ull << to);
    } else {
        m->boxes[from].backlogged[lane] |= 1ull << to;
    }
    return moved;
}

void mailbox_post(struct mailboxes *m, uint32_t from, uint32_t to, enum mailbox_lane lane,
                  struct letter *letter)
{
    assert(letter->deliver != NULL);
    assert(!list_linked(&letter->node));
    assert(from < m->workers);
    if (from == to) {
        list_push_back(&m->boxes[to].self[lane], &letter->node);
        return;
    }
    struct ring *ring = ring_of(m, from, to, lane);
    if (list_empty(&ring->backlog) && ring_put(m, ring, letter)) {
        announce(m, from, to, lane);
        return;
    }
    list_push_back(&ring->backlog, &letter->node);
    if (push_backlog(m, from, to, lane)) {
        announce(m, from, to, lane);
    }
}

static void push_all_backlogs(struct mailboxes *m, uint32_t from)
{
    for (uint32_t lane = 0; lane < MAILBOX_LANES; lane++) {
        uint64_t bits = m->boxes[from].backlogged[lane];
        while (bits != 0) {
            uint32_t to = (uint32_t)__builtin_ctzll(bits);
            bits &= bits - 1;
            if (push_backlog(m, from, to, lane)) {
                announce(m, from, to, lane);
            }
        }
    }
}

/* Only what was there when we began: a letter posted by a delivery waits for the next turn. */
static uint32_t receive_self(struct mailboxes *m, uint32_t worker, uint32_t lane, uint32_t max)
{
    struct list *self = &m->boxes[worker].self[lane];
    struct list batch;
    list_init(&batch);
    list_splice_back(&batch, self);
    uint32_t count = 0;
    struct list_node *node;
    while (count < max && (node = list_pop_front(&batch)) != NULL) {
        struct letter *letter = CONTAINER_OF(node, struct letter, node);
        count++;
        letter->deliver(letter);
    }
    list_splice_back(&batch, self); /* what came meanwhile goes behind what is left */
    list_splice_back(self, &batch);
    return count;
}

static uint32_t receive_ring(struct mailboxes *m, uint32_t from, uint32_t to, uint32_t lane,
                             uint32_t max)
{
    struct ring *ring = ring_of(m, from, to, lane);
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint64_t tail = atomic_load(&ring->tail);
    uint32_t count = 0;
    assert(tail - head <= m->ring_len);
    while (head != tail && count < max) {
        struct letter *letter = ring->slots[head & (m->ring_len - 1)];
        head++;
        count++;
        /* The slot is free before the letter runs: what it posts back may make room at once. */
        atomic_store(&ring->head, head);
        letter->deliver(letter);
    }
    if (head != tail) {
        atomic_fetch_or(&m->boxes[to].pending[lane], 1ull << from);
    }
    if (count > 0 && atomic_load(&ring->backlogged)) {
        wake_if_asleep(&m->boxes[from]);
    }
    return count;
}

/* One round over the senders that have announced something, beginning after the last served. */
static uint32_t receive_lane(struct mailboxes *m, uint32_t worker, uint32_t lane, uint32_t max)
{
    struct box *box = &m->boxes[worker];
    uint64_t pending = atomic_load(&box->pending[lane]);
    uint32_t count = 0;
    for (uint32_t i = 0; pending != 0 && i < m->workers && count < max; i++) {
        uint32_t from = (box->next_sender[lane] + i) % m->workers;
        uint64_t bit = 1ull << from;
        if ((pending & bit) != 0) {
            pending &= ~bit;
            atomic_fetch_and(&box->pending[lane], ~bit);
            count += receive_ring(m, from, worker, lane, max - count);
        }
    }
    box->next_sender[lane] = (box->next_sender[lane] + 1) % m->workers;
    return count;
}

uint32_t mailbox_receive(struct mailboxes *m, uint32_t worker, uint32_t max)
{
    assert(worker < m->workers);
    push_all_backlogs(m, worker);
    uint32_t count = 0;
    for (uint32_t lane = 0; lane < MAILBOX_LANES && count < max; lane++) {
        count += receive_self(m, worker, lane, max - count);
        count += receive_lane(m, worker, lane, max - count);
    }
    push_all_backlogs(m, worker);
    return count;
}

static bool nothing_came(const struct box *box)
{
    bool nothing = true;
    for (uint32_t lane = 0; lane < MAILBOX_LANES; lane++) {
        nothing = nothing && list_empty(&box->self[lane]);
        nothing = nothing && atomic_load(&box->pending[lane]) == 0;
    }
    return nothing;
}

bool mailbox_sleep(struct mailboxes *m, uint32_t worker)
{
    assert(worker < m->workers);
    struct box *box = &m->boxes[worker];
    atomic_store(&box->asleep, true);
    /* After saying that we sleep: whoever makes room from here on wakes us. */
    push_all_backlogs(m, worker);
    if (nothing_came(box)) {
        return true;
    }
    atomic_store(&box->asleep, false);
    return false;
}

void mailbox_awake(struct mailboxes *m, uint32_t worker)
{
    assert(worker < m->workers);
    atomic_store(&m->boxes[worker].asleep, false);
}
