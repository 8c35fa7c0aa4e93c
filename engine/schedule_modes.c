/* Modes and disabled source addresses of sites: their effect on rates and connections, their end
 * by time, and the state in the spool they come back from (site_mode.h). */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "attempt.h"
#include "base/logger.h"
#include "outcome.h"
#include "policy/domain.h"
#include "schedule.h"
#include "schedule_private.h"
#include "site_mode.h"
#include "spools.h"

#define MODE_PREFIX    "mode:"
#define BOUNCE_HOLD_MS 60000 /* longer than bouncing a queue takes */

static uint64_t now_ms(const struct site *site)
{
    return io_now_ms(site->scheduler->io);
}

static uint64_t end_of(const struct site *site, uint64_t for_ms)
{
    return for_ms == NEVER ? NEVER : now_ms(site) + for_ms;
}

/* ---- the settings in force ---- */

uint64_t site_backoff_max_smtp_out(const struct site *site)
{
    uint64_t normal = site->settings->max_smtp_out;
    uint64_t backoff = site->settings->backoff_max_smtp_out;
    return backoff < normal ? backoff : normal;
}

struct rate_value site_backoff_msg_rate(const struct site *site)
{
    const struct mode_backoff *how = &site->mode->state.how;
    if (!how->has_rate) {
        return site->settings->backoff_max_msg_rate.rate;
    }
    return how->rate.percent > 0 ? rate_share_of(&site->settings->max_msg_rate, how->rate.percent)
                                 : how->rate.rate;
}

static bool all_disabled(const struct site *site)
{
    const struct vmta *vmta = &site->lane->vmta;
    for (uint32_t i = 0; i < vmta->source_count; i++) {
        if (!mode_is_disabled(&site->mode->state, &vmta->sources[i].address, now_ms(site))) {
            return false;
        }
    }
    return vmta->source_count > 0;
}

/* Only while it is one of ours and not disabled: else nothing would leave at all. */
static bool stays(const struct site *site, uint64_t now)
{
    const struct site_mode *mode = site->mode;
    return mode->told_until_ms > now && vmta_has_source(&site->lane->vmta, &mode->told_source) &&
           !mode_is_disabled(&mode->state, &mode->told_source, now);
}

bool site_source_allowed(const struct site *site, const struct address *source, uint64_t now)
{
    if (site->mode == NULL || source->family == ADDRESS_NONE) {
        return true;
    }
    if (stays(site, now) && source->family == site->mode->told_source.family) {
        return address_equal_ip(source, &site->mode->told_source);
    }
    return !mode_is_disabled(&site->mode->state, source, now);
}

bool site_skips_host(const struct site *site, const struct address *host, uint64_t now)
{
    for (uint32_t i = 0; site->mode != NULL && i < SITE_SKIPPED_MAX; i++) {
        const struct mode_disabled *skipped = &site->mode->skipped[i];
        if (skipped->until_ms > now && address_equal_ip(&skipped->address, host)) {
            return true;
        }
    }
    return false;
}

/* ---- keeping ---- */

static void write_mode(struct site_mode *mode)
{
    const struct site *site = mode->site;
    struct scheduler *scheduler = site->scheduler;
    if (mode->kept.writing) {
        mode->unwritten = true;
        return;
    }
    mode->unwritten = false;
    char key_memory[KEPT_KEY_MAX], memory[MODE_TEXT_MAX];
    struct buffer key, value;
    buffer_init(&key, key_memory, sizeof key_memory);
    buffer_init(&value, memory, sizeof memory);
    buffer_printf(&key, MODE_PREFIX "%s", site->name);
    mode_print(&mode->state, &value, now_ms(site), io_wall_ms(scheduler->io));
    assert(!key.overflowed && !value.overflowed);
    if (value.len > 0 || mode->kept.exists) {
        kept_put(&mode->kept, spools_home(scheduler->spools), scheduler->worker, buffer_bytes(&key),
                 buffer_bytes(&value));
    }
}

static void on_stable(struct kept *kept)
{
    struct site_mode *mode = CONTAINER_OF(kept, struct site_mode, kept);
    if (mode->unwritten) {
        write_mode(mode);
    }
    schedule_mark(mode->site->scheduler, mode->site); /* it may have waited to go */
}

static void on_mode_timer(struct timer *timer);

static struct site_mode *obtain_mode(struct site *site)
{
    if (site->mode == NULL) {
        struct site_mode *mode = calloc(1, sizeof *mode);
        if (mode == NULL) {
            LOG_ERROR("out of memory: the mode of queue %s stays as it is", site->name);
            return NULL;
        }
        mode->site = site;
        mode_init(&mode->state);
        kept_init(&mode->kept, false, on_stable);
        timer_init(&mode->timer, on_mode_timer);
        site->mode = mode;
    }
    return site->mode;
}

static void set_timer(struct site_mode *mode)
{
    struct timers *timers = io_timers(mode->site->scheduler->io);
    uint64_t due_ms = mode->bounce != NULL ? 0 : mode_next_ms(&mode->state);
    if (due_ms == UINT64_MAX) {
        timer_stop(timers, &mode->timer);
    } else {
        timer_start(timers, &mode->timer, due_ms);
    }
}

/* After every change: rates, what is on disk, when it ends, and a look at the connections. */
static void changed(struct site_mode *mode)
{
    schedule_apply_rates(mode->site);
    write_mode(mode);
    set_timer(mode);
    mode->to_act = true;
    schedule_wake_site(mode->site);
}

/* ---- changes ---- */

void schedule_enter_backoff(struct site *site, uint64_t for_ms, const struct rate_share *rate,
                            const char *why)
{
    struct site_mode *mode = obtain_mode(site);
    if (mode == NULL) {
        return;
    }
    if (!mode->state.backoff) {
        LOG_WARNING("queue %s: normal to backoff mode: %s", site->name, why);
        schedule_tell_mode(site, true, why);
    }
    struct mode_backoff how = {.until_ms = end_of(site, for_ms), .has_rate = rate != NULL};
    if (rate != NULL) {
        how.rate = *rate;
    }
    mode_enter(&mode->state, &how, now_ms(site));
    changed(mode);
}

void schedule_leave_backoff(struct site *site, const char *why)
{
    if (site_in_backoff(site)) {
        LOG_INFO("queue %s: backoff to normal mode: %s", site->name, why);
        schedule_tell_mode(site, false, why);
        mode_leave(&site->mode->state);
        changed(site->mode);
    }
}

void schedule_disable_source(struct site *site, const struct address *source, uint64_t for_ms,
                             const char *why)
{
    char text[ADDRESS_TEXT_MAX];
    struct site_mode *mode = source->family == ADDRESS_NONE ? NULL : obtain_mode(site);
    if (mode == NULL) {
        return; /* without a configured address there is none to do without */
    }
    bool was = mode_is_disabled(&mode->state, source, now_ms(site));
    if (!mode_disable(&mode->state, source, end_of(site, for_ms))) {
        LOG_ERROR("queue %s: source address %s cannot be disabled: %u are", site->name,
                  address_text(source, text), MODE_DISABLED_MAX);
        return;
    }
    if (!was) {
        LOG_WARNING("queue %s: source address %s disabled: %s", site->name,
                    address_text(source, text), why);
        schedule_tell_disabled(site, source, why);
    }
    changed(mode);
    if (site->settings->backoff_upon_all_sources_disabled && all_disabled(site)) {
        schedule_enter_backoff(site, site->settings->backoff_to_normal_after_ms, NULL,
                               "every source address is disabled");
    }
}

/* Who has waited for an address need not wait for the retry clock as well. */
static void open_queues(struct site *site)
{
    if (site_is_held(site, now_ms(site))) {
        return;
    }
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        queue_hold_until(queue, 0, now_ms(site));
        schedule_clock_moved(site->scheduler, queue);
    }
    site->hold_opening_ms = 0;
}

bool schedule_enable_source(struct site *site, const struct address *source)
{
    struct site_mode *mode = site->mode;
    if (mode == NULL) {
        return false;
    }
    bool none_was_left = all_disabled(site);
    if (!mode_enable(&mode->state, source)) {
        return false;
    }
    if (none_was_left) {
        open_queues(site);
    }
    changed(mode);
    return true;
}

void schedule_stay_with_source(struct site *site, const struct address *source, uint64_t for_ms)
{
    struct site_mode *mode = source->family == ADDRESS_NONE ? NULL : obtain_mode(site);
    if (mode == NULL) {
        return;
    }
    if (!stays(site, now_ms(site))) {
        mode->told_source = *source; /* the first who was told; the others come to it */
    }
    mode->told_until_ms = now_ms(site) + for_ms;
    mode->to_act = true;
    schedule_mark(site->scheduler, site);
}

void schedule_skip_host(struct site *site, const struct address *host, uint64_t for_ms)
{
    struct site_mode *mode = obtain_mode(site);
    if (mode != NULL && !site_skips_host(site, host, now_ms(site))) {
        mode->skipped[mode->next_skipped++ % SITE_SKIPPED_MAX] =
            (struct mode_disabled){*host, end_of(site, for_ms)};
    }
}

void schedule_hold_site(struct site *site, uint64_t for_ms)
{
    struct site_mode *mode = obtain_mode(site);
    uint64_t now = now_ms(site);
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        queue_hold_until(queue, now + for_ms, now);
        schedule_clock_moved(site->scheduler, queue);
    }
    if (mode != NULL) {
        mode->held_until_ms = now + for_ms;
        mode->to_act = true; /* what is on the wire without its body comes back */
        schedule_mark(site->scheduler, site);
    }
}

bool schedule_count_match(struct site *site, uint32_t rule_index, struct rate_value trigger)
{
    struct site_mode *mode = obtain_mode(site);
    if (mode == NULL || trigger.window_ms == 0) {
        return mode != NULL;
    }
    for (uint32_t i = 0; i < mode->trigger_count; i++) {
        if (mode->triggers[i].rule_index == rule_index) {
            return rate_take(&mode->triggers[i].rate, now_ms(site), 1) == 0;
        }
    }
    struct site_trigger *grown =
        mode->trigger_count == SITE_TRIGGERS_MAX
            ? NULL
            : realloc(mode->triggers, (mode->trigger_count + 1) * sizeof *mode->triggers);
    if (grown == NULL) {
        LOG_ERROR("queue %s: no room to count the matches of one more rule", site->name);
        return false;
    }
    mode->triggers = grown;
    struct site_trigger *added = &grown[mode->trigger_count++];
    added->rule_index = rule_index;
    rate_init(&added->rate, trigger.count - 1, trigger.window_ms);
    return rate_take(&added->rate, now_ms(site), 1) == 0;
}

void schedule_forget_triggers(struct site *site)
{
    struct site_mode *mode = site->mode;
    if (mode != NULL) {
        for (uint32_t i = 0; i < mode->trigger_count; i++) {
            rate_deinit(&mode->triggers[i].rate);
        }
        free(mode->triggers);
        mode->triggers = NULL;
        mode->trigger_count = 0;
    }
}

/* ---- bouncing a queue ---- */

void schedule_bounce_all(struct site *site, const struct reply *reply)
{
    struct site_mode *mode = obtain_mode(site);
    if (mode == NULL || mode->bounce != NULL) {
        return; /* under way already */
    }
    mode->bounce = malloc(sizeof *mode->bounce);
    if (mode->bounce == NULL) {
        return;
    }
    *mode->bounce = *reply;
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        queue_retry_now(queue, now_ms(site)); /* into the list of those that are ready … */
        queue_hold_until(queue, now_ms(site) + BOUNCE_HOLD_MS, now_ms(site)); /* … and stay there */
    }
    mode->held_until_ms = now_ms(site) + BOUNCE_HOLD_MS;
    mode->to_act = true; /* what is prepared comes back and bounces, too */
    set_timer(mode);
}

static void bounce_some(struct site_mode *mode)
{
    struct site *site = mode->site;
    bool more = false;
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        more |= outcome_bounce_ready(site->scheduler->outcomes, NULL, queue, "rule", mode->bounce);
    }
    if (!more) {
        free(mode->bounce);
        mode->bounce = NULL;
        mode->held_until_ms = 0;
        open_queues(site);
    }
}

/* ---- by time ---- */

static void on_mode_timer(struct timer *timer)
{
    struct site_mode *mode = CONTAINER_OF(timer, struct site_mode, timer);
    struct site *site = mode->site;
    if (mode->bounce != NULL) {
        bounce_some(mode);
    }
    bool was_backoff = mode->state.backoff, none_was_left = all_disabled(site);
    if (mode_pass(&mode->state, now_ms(site))) {
        if (was_backoff && !mode->state.backoff) {
            LOG_INFO("queue %s: backoff to normal mode: its time is over", site->name);
            schedule_tell_mode(site, false, "its time is over");
        }
        if (none_was_left && !all_disabled(site)) {
            open_queues(site);
        }
        changed(mode);
    } else {
        set_timer(mode);
    }
}

/* ---- connections ---- */

static void leave_sources(struct site *site)
{
    struct list_node *next;
    for (struct list_node *node = list_first(&site->attempts); node != NULL; node = next) {
        next = list_next(&site->attempts, node);
        struct attempt *attempt = CONTAINER_OF(node, struct attempt, site_node);
        if (attempt->source_text[0] != '\0' &&
            !site_source_allowed(site, &attempt->source_address, now_ms(site))) {
            attempt_quit(attempt);
        }
    }
}

static void leave_surplus(struct site *site)
{
    uint64_t max = site_max_smtp_out(site), staying = 0;
    struct list_node *next;
    for (struct list_node *node = list_first(&site->attempts); node != NULL; node = next) {
        next = list_next(&site->attempts, node);
        struct attempt *attempt = CONTAINER_OF(node, struct attempt, site_node);
        if (++staying > max) {
            attempt_quit(attempt);
        }
    }
}

static void recall_held(struct site *site)
{
    for (struct list_node *q = list_first(&site->queues); q != NULL;
         q = list_next(&site->queues, q)) {
        struct queue *queue = CONTAINER_OF(q, struct queue, site_node);
        struct list_node *next;
        for (struct list_node *node = list_first(&site->attempts);
             queue->not_before_ms > now_ms(site) && node != NULL; node = next) {
            next = list_next(&site->attempts, node);
            attempt_recall(CONTAINER_OF(node, struct attempt, site_node), queue);
        }
    }
}

void schedule_act_on_mode(struct site *site)
{
    if (site->mode == NULL || !site->mode->to_act) {
        return;
    }
    site->mode->to_act = false;
    leave_sources(site);
    leave_surplus(site);
    recall_held(site);
    schedule_check_stand_in(site);
    schedule_check_pool(site);
}

/* ---- the spool, and the end of a site ---- */

bool schedule_mode_key(struct bytes key, struct bytes *site)
{
    struct bytes prefix = BYTES(MODE_PREFIX);
    if (!bytes_starts_with(key, prefix)) {
        return false;
    }
    *site = bytes_slice(key, prefix.len, key.len);
    return true;
}

bool schedule_restore_mode(struct site *site, struct bytes value, const struct kept_time *at)
{
    struct site_mode *mode = obtain_mode(site);
    if (mode == NULL) {
        return false;
    }
    mode->kept.exists = true;
    bool good = mode_parse(&mode->state, value, at->now_ms, at->wall_ms);
    schedule_apply_rates(site);
    set_timer(mode);
    schedule_check_stand_in(site);
    return good;
}

bool schedule_mode_is_on(const struct site *site)
{
    return site->mode != NULL &&
           (!mode_is_normal(&site->mode->state) || site->mode->bounce != NULL);
}

bool schedule_drop_mode(struct site *site)
{
    struct site_mode *mode = site->mode;
    if (mode == NULL || (!mode->kept.exists && !mode->kept.writing)) {
        return true;
    }
    if (!mode->kept.writing) {
        write_mode(mode); /* it is normal: deletes */
    }
    return false;
}

void schedule_free_mode(struct site *site)
{
    struct site_mode *mode = site->mode;
    if (mode != NULL) {
        timer_stop(io_timers(site->scheduler->io), &mode->timer);
        schedule_forget_triggers(site);
        mode_deinit(&mode->state);
        free(mode->bounce);
        free(mode);
        site->mode = NULL;
    }
}
