/* Starts are remembered in groups, oldest first. A group is forgotten whole, more than M after its
 * last start, so nothing is ever forgotten early: that is the exactness. What it costs is the span
 * of a group. Up to 1,024 starts a group is what came in one millisecond; above, what came within
 * M/64, so that a sustained load gets 64/65 of N and at most 130 groups are kept.
 *
 * Whenever a group would be one too many it is joined to the newest, which then lives longer:
 * want of memory costs supply, not exactness. */
#include "vmta/rates.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "vmta/limits.h"

/* ---- groups ------------------------------------------------------------------------------------
 */

static struct rate_group *group_at(const struct rate *rate, uint32_t index)
{
    const struct rate_group *groups = rate->more != NULL ? rate->more : rate->inline_groups;
    const struct rate_group *group = &groups[(rate->first + index) & (rate->capacity - 1)];
    return (struct rate_group *)(uintptr_t)group;
}

static uint64_t grain_ms(const struct rate *rate)
{
    uint64_t slot_ms = rate->n <= RATE_EXACT_MAX ? 1 : rate->window_ms / RATE_SLOTS;
    return slot_ms == 0 ? 1 : slot_ms;
}

static void forget_old(struct rate *rate, uint64_t now_ms)
{
    while (rate->count > 0 && group_at(rate, 0)->free_ms <= now_ms) {
        assert(rate->total >= group_at(rate, 0)->starts);
        rate->total -= group_at(rate, 0)->starts;
        rate->first = (rate->first + 1) & (rate->capacity - 1);
        rate->count--;
    }
    assert(rate->count > 0 || rate->total == 0);
}

/* Doubles the room for groups. False: at the limit or no memory. */
static bool grow(struct rate *rate)
{
    if (rate->capacity >= RATE_GROUPS_MAX) {
        return false;
    }
    uint32_t capacity = rate->capacity < 8 ? 8 : rate->capacity * 2;
    struct rate_group *more = malloc(capacity * sizeof(*more));
    if (more == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < rate->count; i++) {
        more[i] = *group_at(rate, i);
    }
    free(rate->more);
    rate->more = more;
    rate->capacity = capacity;
    rate->first = 0;
    return true;
}

/* Remembers starts at now_ms as a group of their own if `apart`, and if there is room. */
static void remember(struct rate *rate, uint64_t now_ms, uint64_t free_ms, uint64_t starts,
                     bool apart)
{
    bool has_place = rate->count < rate->capacity;
    if (rate->count == 0 || (apart && (has_place || grow(rate)))) {
        rate->count++;
        *group_at(rate, rate->count - 1) = (struct rate_group){0};
        rate->newest_from_ms = now_ms;
    }
    struct rate_group *newest = group_at(rate, rate->count - 1);
    if (rate->count > 1) {
        /* Clocks of several workers differ by a little: order is kept, to the safe side. */
        uint64_t before_ms = group_at(rate, rate->count - 2)->free_ms;
        free_ms = free_ms > before_ms ? free_ms : before_ms;
    }
    newest->free_ms = free_ms > newest->free_ms ? free_ms : newest->free_ms;
    newest->starts += starts;
    rate->total += starts;
}

/* ---- the rate ----------------------------------------------------------------------------------
 */

void rate_init(struct rate *rate, uint64_t n, uint64_t window_ms)
{
    assert(window_ms > 0 || n == RATE_UNLIMITED);
    *rate = (struct rate){.n = n, .window_ms = window_ms, .capacity = RATE_INLINE_GROUPS};
}

void rate_deinit(struct rate *rate)
{
    free(rate->more);
    rate->more = NULL;
    rate->capacity = RATE_INLINE_GROUPS;
    rate->first = rate->count = 0;
    rate->total = 0;
}

static bool is_durable(const struct rate *rate)
{
    return rate->durable && rate->window_ms >= RATE_DURABLE_WINDOW_MS &&
           rate->n != RATE_UNLIMITED && rate->n > 0;
}

void rate_change(struct rate *rate, uint64_t n, uint64_t window_ms)
{
    assert(window_ms > 0 || n == RATE_UNLIMITED);
    for (uint32_t i = 0; i < rate->count; i++) {
        struct rate_group *group = group_at(rate, i);
        uint64_t start_ms = group->free_ms > rate->window_ms ? group->free_ms - rate->window_ms : 0;
        group->free_ms = start_ms + window_ms;
    }
    bool was_durable = is_durable(rate);
    rate->n = n;
    rate->window_ms = window_ms;
    if (is_durable(rate) != was_durable) {
        /* Starts are not charged to a block while it is not durable: what was reserved before must
         * not serve afterwards. */
        rate->reserved = rate->block = 0;
    }
}

/* What counts now, without what is under way. */
static uint64_t counted(const struct rate *rate, uint64_t now_ms)
{
    uint64_t total = rate->total;
    for (uint32_t i = 0; i < rate->count && group_at(rate, i)->free_ms <= now_ms; i++) {
        total -= group_at(rate, i)->starts;
    }
    return total;
}

uint64_t rate_free(const struct rate *rate, uint64_t now_ms)
{
    if (rate->n == RATE_UNLIMITED) {
        return UINT64_MAX;
    }
    uint64_t total = counted(rate, now_ms) + rate->held;
    uint64_t free = rate->n > total ? rate->n - total : 0;
    return is_durable(rate) && rate->reserved < free ? rate->reserved : free;
}

uint32_t rate_take(struct rate *rate, uint64_t now_ms, uint32_t want)
{
    if (rate->n == RATE_UNLIMITED) {
        return want;
    }
    forget_old(rate, now_ms);
    uint64_t free = rate_free(rate, now_ms);
    uint32_t granted = want < free ? want : (uint32_t)free;
    if (granted == 0) {
        return 0;
    }
    bool apart = now_ms >= rate->newest_from_ms + grain_ms(rate);
    remember(rate, now_ms, now_ms + rate->window_ms + 1, granted, apart);
    rate->reserved -= is_durable(rate) ? granted : 0;
    return granted;
}

uint64_t rate_next_ms(const struct rate *rate, uint64_t now_ms)
{
    if (rate->n == RATE_UNLIMITED) {
        return now_ms;
    }
    if (rate->n == 0 || (is_durable(rate) && rate->reserved == 0)) {
        return UINT64_MAX;
    }
    uint64_t total = rate->total;
    uint64_t next_ms = now_ms;
    for (uint32_t i = 0; i < rate->count && total >= rate->n; i++) {
        const struct rate_group *group = group_at(rate, i);
        total -= group->starts;
        next_ms = group->free_ms > now_ms ? group->free_ms : now_ms;
    }
    return next_ms;
}

uint64_t rate_forgets_ms(const struct rate *rate, uint64_t now_ms)
{
    uint64_t free_ms = rate->count == 0 ? 0 : group_at(rate, rate->count - 1)->free_ms;
    return free_ms > now_ms ? free_ms : now_ms;
}

size_t rate_memory(const struct rate *rate)
{
    return rate->more == NULL ? 0 : rate->capacity * sizeof(struct rate_group);
}

/* ---- amounts that count when they are done -----------------------------------------------------
 */

static bool is_claimed(const struct rate *rate, uint64_t now_ms, uint64_t who)
{
    return rate->claimed_by != 0 && rate->claimed_by != who && now_ms < rate->claimed_until_ms;
}

/* Does n fit beside so much that counts? */
static bool fits(const struct rate *rate, uint64_t total, uint64_t n)
{
    return total == 0 || (total <= rate->n && n <= rate->n - total);
}

bool rate_may_hold(const struct rate *rate, uint64_t now_ms, uint64_t n, uint64_t who)
{
    if (rate->n == RATE_UNLIMITED) {
        return true;
    }
    bool is_reserved = !is_durable(rate) || n <= rate->reserved;
    return rate->n > 0 && is_reserved && !is_claimed(rate, now_ms, who) &&
           fits(rate, counted(rate, now_ms) + rate->held, n);
}

uint64_t rate_hold_ms(const struct rate *rate, uint64_t now_ms, uint64_t n)
{
    uint64_t total = rate->total + rate->held, due_ms = now_ms;
    for (uint32_t i = 0; i < rate->count && !fits(rate, total, n); i++) {
        total -= group_at(rate, i)->starts;
        due_ms = group_at(rate, i)->free_ms;
    }
    uint64_t wait_ms = rate->window_ms / RATE_SLOTS + 1;
    wait_ms = wait_ms < RATE_HELD_WAIT_MS ? wait_ms : RATE_HELD_WAIT_MS;
    bool is_certain = rate->held == 0 && due_ms > now_ms;
    return is_certain ? due_ms : now_ms + wait_ms;
}

/* Who waits for much has a claim, until it should long have it. */
void rate_claim(struct rate *rate, uint64_t now_ms, uint64_t n, uint64_t who)
{
    assert(who != 0);
    if (is_durable(rate) && n > rate->reserved && n > rate->wanted) {
        rate->wanted = n;
    }
    if (n > rate->n / 8 && !is_claimed(rate, now_ms, who)) {
        rate->claimed_by = who;
        rate->claimed_until_ms = rate_hold_ms(rate, now_ms, n) + RATE_HELD_WAIT_MS;
    }
}

void rate_hold(struct rate *rate, uint64_t n)
{
    rate->held += n;
    rate->reserved -= is_durable(rate) ? n : 0;
    rate->claimed_by = 0;
}

void rate_settle(struct rate *rate, uint64_t now_ms, uint64_t n, bool used)
{
    assert(rate->held >= n);
    rate->held -= n;
    if (!used || n == 0 || rate->n == RATE_UNLIMITED || rate->n == 0) {
        return; /* what of it was reserved stays spent: that is the safe side */
    }
    forget_old(rate, now_ms);
    uint64_t windows = n / rate->n + (n % rate->n != 0);
    bool apart = windows > 1 || now_ms >= rate->newest_from_ms + grain_ms(rate);
    remember(rate, now_ms, now_ms + windows * rate->window_ms + 1, n, apart);
}

/* ---- over a restart ----------------------------------------------------------------------------
 * Every start is either in the marks last made stable, or was taken since; those are at most what
 * these marks call reserved, for a block is granted only once its own marks are stable. */

void rate_make_durable(struct rate *rate)
{
    rate->durable = true;
}

uint64_t rate_block_size(const struct rate *rate)
{
    uint64_t block = rate->n / RATE_SLOTS + (rate->n % RATE_SLOTS != 0);
    return block == 0 ? 1 : block;
}

bool rate_needs_block(const struct rate *rate)
{
    return is_durable(rate) && !rate->writing &&
           (rate->reserved <= (rate_block_size(rate) + 1) / 2 || rate->reserved < rate->wanted);
}

/* Joins the past to at most RATE_MARKS_MAX - 1 marks of M/64, each at the time of its last start.
 */
static size_t write_marks(const struct rate *rate, uint64_t now_ms, int64_t wall_ms,
                          struct rate_mark *marks)
{
    size_t count = 0;
    int64_t from_ms = 0;
    const int64_t grain = (int64_t)(rate->window_ms / RATE_SLOTS);
    for (uint32_t i = 0; i < rate->count; i++) {
        const struct rate_group *group = group_at(rate, i);
        int64_t age_ms = (int64_t)(now_ms + rate->window_ms + 1 - group->free_ms);
        int64_t at_ms = wall_ms - age_ms;
        if (count == 0 || (at_ms - from_ms >= grain && count < RATE_MARKS_MAX - 1)) {
            marks[count++] = (struct rate_mark){0};
            from_ms = at_ms;
        }
        marks[count - 1].wall_ms = at_ms;
        marks[count - 1].starts += group->starts;
    }
    return count;
}

size_t rate_reserve_block(struct rate *rate, uint64_t now_ms, int64_t wall_ms,
                          struct rate_mark marks[RATE_MARKS_MAX])
{
    assert(rate_needs_block(rate));
    forget_old(rate, now_ms);
    rate->writing = true;
    uint64_t wanted = rate->wanted > rate->reserved ? rate->wanted - rate->reserved : 0;
    rate->block = rate_block_size(rate) > wanted ? rate_block_size(rate) : wanted;
    rate->wanted = 0;
    size_t count = write_marks(rate, now_ms, wall_ms, marks);
    assert(count < RATE_MARKS_MAX);
    marks[count] = (struct rate_mark){INT64_MAX, rate->held + rate->reserved + rate->block};
    return count + 1;
}

void rate_block_written(struct rate *rate, bool stable)
{
    assert(rate->writing);
    rate->writing = false;
    rate->reserved += stable ? rate->block : 0;
    rate->block = 0;
}

bool rate_retire(struct rate *rate, uint64_t now_ms)
{
    forget_old(rate, now_ms);
    if (rate->count > 0 || rate->held > 0 || rate->writing) {
        return false;
    }
    rate->reserved = rate->block = 0;
    rate->writing = true;
    return true;
}

void rate_restore(struct rate *rate, uint64_t now_ms, int64_t wall_ms,
                  const struct rate_mark *marks, size_t count)
{
    assert(rate->count == 0);
    if (rate->n == RATE_UNLIMITED) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t age_ms =
            marks[i].wall_ms < wall_ms ? (uint64_t)wall_ms - (uint64_t)marks[i].wall_ms : 0;
        if (age_ms > rate->window_ms || marks[i].starts == 0) {
            continue;
        }
        remember(rate, now_ms, now_ms + (rate->window_ms + 1 - age_ms), marks[i].starts, true);
    }
}

void rate_begin_full(struct rate *rate, uint64_t since_ms)
{
    assert(rate->count == 0);
    if (rate->n != RATE_UNLIMITED && rate->n > 0) {
        remember(rate, since_ms, since_ms + rate->window_ms + 1, rate->n, true);
    }
}

/* ---- between workers ---------------------------------------------------------------------------
 */

void shared_rate_init(struct shared_rate *shared)
{
    pthread_mutex_init(&shared->lock, NULL);
    rate_init(&shared->rate, RATE_UNLIMITED, 0);
    atomic_init(&shared->waiting, 0);
}

void shared_rate_deinit(struct shared_rate *shared)
{
    rate_deinit(&shared->rate);
    pthread_mutex_destroy(&shared->lock);
}

struct rate *shared_rate_lock(struct shared_rate *shared)
{
    pthread_mutex_lock(&shared->lock);
    return &shared->rate;
}

void shared_rate_unlock(struct shared_rate *shared)
{
    pthread_mutex_unlock(&shared->lock);
}

void shared_rate_set(struct shared_rate *shared, uint64_t n, uint64_t window_ms)
{
    struct rate *rate = shared_rate_lock(shared);
    if (rate->n != n || rate->window_ms != window_ms) {
        rate_change(rate, n, window_ms);
    }
    shared_rate_unlock(shared);
}

uint32_t shared_rate_take(struct shared_rate *shared, uint64_t now_ms, uint32_t want)
{
    uint32_t granted = rate_take(shared_rate_lock(shared), now_ms, want);
    shared_rate_unlock(shared);
    return granted;
}

uint64_t shared_rate_next_ms(struct shared_rate *shared, uint64_t now_ms)
{
    uint64_t next_ms = rate_next_ms(shared_rate_lock(shared), now_ms);
    shared_rate_unlock(shared);
    return next_ms;
}

void shared_rate_wait(struct shared_rate *shared, uint32_t worker)
{
    assert(worker < LIMIT_WORKERS_MAX);
    atomic_fetch_or(&shared->waiting, UINT64_C(1) << worker);
}

void shared_rate_wake(struct shared_rate *shared, struct limit_wakes *wakes)
{
    wakes->workers |= atomic_exchange(&shared->waiting, 0);
}
