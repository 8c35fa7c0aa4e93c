/* What of a site survives a restart: its rates with windows of a minute or more, and the retry
 * clocks of its queues, each a named state in the home log; and its mode (schedule_modes.c).
 *
 * A rate's block is written before it is used (vmta/rates.h). A clock is written when it has
 * moved, all that moved within a second together: what a crash forgets is one early attempt. All
 * keys are made of names, so they mean the same to any number of workers. A site goes only when
 * nothing of it is left in the spool, so its next owner finds no older write under way. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/logger.h"
#include "common_rates.h"
#include "policy/config.h"
#include "policy/domain.h"
#include "rate_state.h"
#include "schedule.h"
#include "schedule_private.h"
#include "site_mode.h"
#include "spools.h"

#define CLOCK_WRITE_MS 1000
#define MESSAGE_PREFIX "rate:message:"
#define CONNECT_PREFIX "rate:connect:"
#define CLOCK_PREFIX   "clock:" /* then the TLS need, a digit, and a colon */

/* Of a site that has a rate to be kept, or had one. */
struct site_keeping {
    struct site *site;
    struct rate_state message, connect;
};

/* Of a queue whose retry clock has moved. */
struct queue_clock {
    struct kept kept;
    struct queue *queue;
    struct list_node node; /* scheduler's list of clocks to be written */
};

struct rate_writer schedule_rate_writer(const struct scheduler *scheduler)
{
    return (struct rate_writer){spools_home(scheduler->spools), scheduler->worker,
                                io_now_ms(scheduler->io), io_wall_ms(scheduler->io)};
}

/* ---- rates ---- */

static void on_message_stable(struct kept *kept)
{
    struct site_keeping *keeping = CONTAINER_OF(kept, struct site_keeping, message.kept);
    rate_block_written(&keeping->site->message_rate, true);
    schedule_wake_site(keeping->site);
}

static void on_connect_stable(struct kept *kept)
{
    struct site_keeping *keeping = CONTAINER_OF(kept, struct site_keeping, connect.kept);
    rate_block_written(&keeping->site->connect_rate, true);
    schedule_wake_site(keeping->site);
}

static bool is_long(struct rate_value value)
{
    return value.count != UINT64_MAX && value.window_ms >= RATE_DURABLE_WINDOW_MS;
}

static void init_state(struct rate_state *state, const char *prefix, const struct site *site,
                       void (*stable)(struct kept *kept))
{
    state->prefix = prefix;
    state->name = bytes_from_string(site->name);
    kept_init(&state->kept, false, stable);
}

/* False: no memory; then its rates hold in this life only. */
static bool obtain_keeping(struct site *site)
{
    if (site->keeping != NULL) {
        return true;
    }
    struct site_keeping *keeping = calloc(1, sizeof *keeping);
    if (keeping == NULL) {
        LOG_ERROR("out of memory: the rates of queue %s are not kept over a restart", site->name);
        return false;
    }
    keeping->site = site;
    init_state(&keeping->message, MESSAGE_PREFIX, site, on_message_stable);
    init_state(&keeping->connect, CONNECT_PREFIX, site, on_connect_stable);
    rate_make_durable(&site->message_rate);
    rate_make_durable(&site->connect_rate);
    site->keeping = keeping;
    return true;
}

static void note_value(struct rate_state *state, struct rate_value value)
{
    state->n = value.count;
    state->window_ms = value.window_ms;
}

void schedule_keep_rates(struct site *site)
{
    struct rate_value messages = site_max_msg_rate(site), connects = site_max_connect_rate(site);
    bool any_is_long = is_long(messages) || is_long(connects);
    if (site->keeping == NULL && (!any_is_long || !obtain_keeping(site))) {
        return;
    }
    note_value(&site->keeping->message, messages);
    note_value(&site->keeping->connect, connects);
}

static void begin_full(struct rate *rate, struct rate_value value, uint64_t since_ms)
{
    if (value.count != UINT64_MAX && value.window_ms > 0 && !is_long(value)) {
        rate_begin_full(rate, since_ms);
    }
}

void schedule_begin_rates(struct site *site)
{
    uint64_t since_ms = site->scheduler->full_since_ms;
    schedule_keep_rates(site);
    if (since_ms != 0) {
        begin_full(&site->message_rate, site_max_msg_rate(site), since_ms);
        begin_full(&site->connect_rate, site_max_connect_rate(site), since_ms);
    }
}

void schedule_reserve(struct site *site)
{
    const struct rate_writer writer = schedule_rate_writer(site->scheduler);
    rate_state_reserve(&site->keeping->message, &site->message_rate, &writer);
    rate_state_reserve(&site->keeping->connect, &site->connect_rate, &writer);
}

uint64_t schedule_common_next_ms(struct site *site)
{
    const struct rate_writer writer = schedule_rate_writer(site->scheduler);
    return common_rates_next_ms(site->common_rates, COMMON_RATE_MESSAGE_KINDS, &writer);
}

uint32_t schedule_common_take(struct site *site, struct common_rate *source, uint32_t want)
{
    const struct rate_writer writer = schedule_rate_writer(site->scheduler);
    struct common_rate *rates[COMMON_RATE_MESSAGE_KINDS];
    memcpy(rates, site->common_rates, sizeof rates);
    rates[COMMON_RATE_SOURCE] = source;
    return common_rates_take(rates, COMMON_RATE_MESSAGE_KINDS, &writer, want);
}

uint64_t schedule_common_connect_next_ms(struct site *site)
{
    const struct rate_writer writer = schedule_rate_writer(site->scheduler);
    return common_rates_next_ms(&site->common_rates[COMMON_RATE_PROVIDER_CONNECTS], 1, &writer);
}

bool schedule_common_take_connect(struct site *site)
{
    if (site->common_rates[COMMON_RATE_PROVIDER_CONNECTS] == NULL) {
        return true;
    }
    const struct rate_writer writer = schedule_rate_writer(site->scheduler);
    return common_rates_take(&site->common_rates[COMMON_RATE_PROVIDER_CONNECTS], 1, &writer, 1) ==
           1;
}

/* ---- retry clocks ---- */

static void on_clock_stable(struct kept *kept)
{
    struct queue_clock *clock = CONTAINER_OF(kept, struct queue_clock, kept);
    struct site *site = clock->queue->site;
    schedule_mark(site->scheduler, site); /* it may have waited to go */
}

static struct queue_clock *obtain_clock(struct queue *queue)
{
    if (queue->clock == NULL) {
        struct queue_clock *clock = calloc(1, sizeof *clock);
        if (clock == NULL) {
            return NULL;
        }
        clock->queue = queue;
        kept_init(&clock->kept, false, on_clock_stable);
        queue->clock = clock;
    }
    return queue->clock;
}

void schedule_clock_moved(struct scheduler *scheduler, struct queue *queue)
{
    if (queue->clock == NULL && queue->retry_index == 0 && queue->not_before_ms == 0) {
        return; /* as it always was */
    }
    struct queue_clock *clock = obtain_clock(queue);
    if (clock == NULL || list_linked(&clock->node)) {
        return;
    }
    list_push_back(&scheduler->clocks_moved, &clock->node);
    if (!timer_running(&scheduler->clock_timer)) {
        timer_start(io_timers(scheduler->io), &scheduler->clock_timer,
                    io_now_ms(scheduler->io) + CLOCK_WRITE_MS);
    }
}

static void put_clock(struct queue_clock *clock, struct bytes value)
{
    const struct site *site = clock->queue->site;
    char memory[KEPT_KEY_MAX];
    struct buffer key;
    buffer_init(&key, memory, sizeof memory);
    buffer_printf(&key, CLOCK_PREFIX "%u:%s", clock->queue->tls_need, site->name);
    assert(!key.overflowed);
    kept_put(&clock->kept, spools_home(site->scheduler->spools), site->scheduler->worker,
             buffer_bytes(&key), value);
}

/* Index and due time by the wall; nothing where both are as in the beginning. */
static void write_clock(struct scheduler *scheduler, struct queue_clock *clock)
{
    const struct queue *queue = clock->queue;
    uint64_t now_ms = io_now_ms(scheduler->io);
    uint64_t wait_ms = queue->not_before_ms > now_ms ? queue->not_before_ms - now_ms : 0;
    uint64_t due_wall_ms = wait_ms == 0 ? 0 : (uint64_t)io_wall_ms(scheduler->io) + wait_ms;
    char memory[32];
    struct buffer value;
    buffer_init(&value, memory, sizeof memory);
    if (queue->retry_index != 0 || due_wall_ms != 0) {
        buffer_printf(&value, "%u %llu", queue->retry_index, (unsigned long long)due_wall_ms);
    }
    if (value.len > 0 || clock->kept.exists) {
        put_clock(clock, buffer_bytes(&value));
    }
}

void schedule_write_clocks(struct scheduler *scheduler)
{
    struct list moved;
    struct list_node *node;
    list_init(&moved);
    list_splice_back(&moved, &scheduler->clocks_moved);
    while ((node = list_pop_front(&moved)) != NULL) {
        struct queue_clock *clock = CONTAINER_OF(node, struct queue_clock, node);
        if (clock->kept.writing) {
            list_push_back(&scheduler->clocks_moved, node); /* next time */
        } else {
            write_clock(scheduler, clock);
        }
    }
}

static void on_clock_timer(struct timer *timer)
{
    struct scheduler *scheduler = CONTAINER_OF(timer, struct scheduler, clock_timer);
    schedule_write_clocks(scheduler);
    if (!list_empty(&scheduler->clocks_moved)) {
        timer_start(io_timers(scheduler->io), timer, io_now_ms(scheduler->io) + CLOCK_WRITE_MS);
    }
}

/* ---- the end of a site ---- */

static bool drop_clock(struct queue_clock *clock)
{
    if (clock->kept.writing) {
        return false;
    }
    list_remove(&clock->node);
    if (clock->kept.exists) {
        put_clock(clock, (struct bytes){0});
    }
    return !clock->kept.exists;
}

bool schedule_drop_kept(struct site *site)
{
    bool dropped = schedule_drop_mode(site);
    if (site->keeping != NULL) {
        const struct rate_writer writer = schedule_rate_writer(site->scheduler);
        dropped &= rate_state_drop(&site->keeping->message, &site->message_rate, &writer);
        dropped &= rate_state_drop(&site->keeping->connect, &site->connect_rate, &writer);
    }
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        struct queue_clock *clock = CONTAINER_OF(node, struct queue, site_node)->clock;
        dropped &= clock == NULL || drop_clock(clock);
    }
    return dropped;
}

void schedule_free_clock(struct queue *queue)
{
    if (queue->clock != NULL) {
        list_remove(&queue->clock->node);
        free(queue->clock);
        queue->clock = NULL;
    }
}

void schedule_keeping_init(struct scheduler *scheduler)
{
    list_init(&scheduler->clocks_moved);
    timer_init(&scheduler->clock_timer, on_clock_timer);
}

/* ---- at start ---- */

void schedule_begin_full(struct scheduler *scheduler, uint64_t since_ms)
{
    scheduler->full_since_ms = since_ms;
}

struct kept_key {
    enum { OF_MESSAGES, OF_CONNECTIONS, OF_CLOCK, OF_MODE } of;
    enum tls_need tls_need; /* OF_CLOCK */
    struct bytes site;
};

static bool skip(struct bytes *text, const char *prefix)
{
    struct bytes start = bytes_from_string(prefix);
    if (!bytes_starts_with(*text, start)) {
        return false;
    }
    *text = bytes_slice(*text, start.len, text->len);
    return true;
}

static bool parse_key(struct bytes key, struct kept_key *out)
{
    *out = (struct kept_key){.site = key};
    if (skip(&out->site, MESSAGE_PREFIX)) {
        out->of = OF_MESSAGES;
    } else if (skip(&out->site, CONNECT_PREFIX)) {
        out->of = OF_CONNECTIONS;
    } else if (schedule_mode_key(key, &out->site)) {
        out->of = OF_MODE;
    } else if (skip(&out->site, CLOCK_PREFIX)) {
        uint64_t tls_need;
        if (out->site.len < 2 || out->site.data[1] != ':' ||
            !bytes_to_u64(bytes_slice(out->site, 0, 1), TLS_NEED_DANE, &tls_need)) {
            return false;
        }
        out->of = OF_CLOCK;
        out->tls_need = (enum tls_need)tls_need;
        out->site = bytes_slice(out->site, 2, out->site.len);
    } else {
        return false;
    }
    return bytes_find(out->site, '/', 0) > 0;
}

bool schedule_state_is_mode(struct bytes key)
{
    struct bytes site;
    return schedule_mode_key(key, &site);
}

bool schedule_state_site(struct bytes key, struct bytes *site)
{
    struct kept_key parsed;
    bool known = parse_key(key, &parsed);
    if (known) {
        *site = parsed.site;
    }
    return known;
}

static bool restore_rate(struct site *site, bool of_messages, const struct kept_time *at,
                         struct bytes value)
{
    struct rate_found found;
    if (!rate_state_parse(value, &found) || !obtain_keeping(site)) {
        return false;
    }
    struct rate_state *state = of_messages ? &site->keeping->message : &site->keeping->connect;
    struct rate *rate = of_messages ? &site->message_rate : &site->connect_rate;
    state->kept.exists = true;
    if (is_long(of_messages ? site_max_msg_rate(site) : site_max_connect_rate(site))) {
        rate_restore(rate, at->now_ms, at->wall_ms, found.marks, found.count);
    } /* else it has begun full, or has become unlimited */
    return true;
}

static bool restore_clock(struct site *site, enum tls_need tls_need, const struct kept_time *at,
                          struct bytes value)
{
    ptrdiff_t blank = bytes_find(value, ' ', 0);
    uint64_t index, due_wall_ms;
    if (blank < 0 || !bytes_to_u64(bytes_slice(value, 0, (size_t)blank), UINT8_MAX, &index) ||
        !bytes_to_u64(bytes_slice(value, (size_t)blank + 1, value.len), INT64_MAX, &due_wall_ms)) {
        return false;
    }
    struct queue *queue = schedule_obtain_queue(site, tls_need);
    if (queue == NULL || obtain_clock(queue) == NULL) {
        return false;
    }
    queue->clock->kept.exists = true;
    queue->retry_index = (uint8_t)index;
    if (due_wall_ms > (uint64_t)at->wall_ms) {
        queue->not_before_ms = at->now_ms + (due_wall_ms - (uint64_t)at->wall_ms);
    }
    return true;
}

void schedule_restore(struct scheduler *scheduler, struct bytes key, struct bytes value,
                      const struct kept_time *at)
{
    struct kept_key parsed;
    bool known = parse_key(key, &parsed);
    assert(known);
    ptrdiff_t slash = bytes_find(parsed.site, '/', 0);
    struct bytes domain = bytes_slice(parsed.site, 0, (size_t)slash);
    struct bytes vmta = bytes_slice(parsed.site, (size_t)slash + 1, parsed.site.len);
    struct site *site = schedule_obtain_site(scheduler, vmta, domain);
    bool restored = false;
    if (site != NULL) {
        site->arrived_count++;
        schedule_mark(scheduler, site); /* it goes again once its state is worth nothing */
        restored = parsed.of == OF_MODE ? schedule_restore_mode(site, value, at)
                   : parsed.of == OF_CLOCK
                       ? restore_clock(site, parsed.tls_need, at, value)
                       : restore_rate(site, parsed.of == OF_MESSAGES, at, value);
    }
    if (!restored) {
        LOG_ERROR("the state %.*s cannot be taken from the spool", BYTES_FMT(key));
    }
}
