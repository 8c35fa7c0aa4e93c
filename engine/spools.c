#include "spools.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "io/io.h"
#include "message.h"
#include "policy/config.h"

#define HOME_KEY "home" /* a state: that there is one makes a log somebody's home */

struct spools {
    uint32_t count;
    struct spool *all[SPOOLS_MAX]; /* the home log first */
    struct spools_log logs[SPOOLS_MAX];
    /* Those that take new mail, the highest priority first. */
    struct spool *accepting[SPOOLS_MAX];
    uint32_t priorities[SPOOLS_MAX];
    uint32_t accepting_count;
    uint32_t stops_left;
    void (*stopped)(void *owner);
    void *stopped_owner;
    uint32_t turns[]; /* by worker: whose turn it is among equals */
};

/* ---- opening ------------------------------------------------------------------------------ */

static int open_one(struct spools *spools, struct io *io, const struct config_spool *config,
                    const struct spool_options *common, struct error *error)
{
    struct spool_options options = *common;
    struct spools_log *log = &spools->logs[spools->count];
    char *directory = bytes_to_string(config->directory);
    if (directory == NULL) {
        return error_set(error, EX_OSERR, "out of memory");
    }
    *log = (struct spools_log){.directory = directory,
                               .priority = (uint32_t)config->settings.priority,
                               .deliver_only = config->settings.deliver_only};
    options.directory = directory;
    if (config->settings.min_free_bytes > common->min_free_bytes) {
        options.min_free_bytes = config->settings.min_free_bytes;
    }
    options.delete_spare = config->settings.delete_file_holders;
    struct spool *spool = spool_open(io, &options, error);
    spools->all[spools->count++] = spool;
    if (spool == NULL) {
        return -1;
    }
    log->log_id = spool_log_id(spool);
    return 0;
}

/* A copy of a directory holds the same messages: both would send them. */
static int refuse_copies(const struct spools *spools, struct error *error)
{
    for (uint32_t i = 0; i < spools->count; i++) {
        for (uint32_t k = 0; k < i; k++) {
            if (spools->logs[i].log_id == spools->logs[k].log_id) {
                return error_set(error, EX_CONFIG,
                                 "spools %s and %s are the same log: one is a copy of the other, "
                                 "leave it out",
                                 spools->logs[k].directory, spools->logs[i].directory);
            }
        }
    }
    return 0;
}

static void on_any_state(void *owner, struct bytes key, struct bytes value)
{
    (void)key, (void)value;
    *(bool *)owner = true;
}

/* The home log is the one with states: only a home log gets any. Of new ones it is the first. */
static int find_home(const struct spools *spools, uint32_t *home, struct error *error)
{
    uint32_t first = SPOOLS_MAX, found = SPOOLS_MAX;
    for (uint32_t i = 0; i < spools->count; i++) {
        bool has_states = false;
        if (spools->logs[i].deliver_only) {
            continue; /* another engine's, or what this one had before */
        }
        first = first == SPOOLS_MAX ? i : first;
        spool_each_state(spools->all[i], on_any_state, &has_states);
        if (has_states && found != SPOOLS_MAX) {
            return error_set(error, EX_CONFIG,
                             "spools %s and %s were each the main spool of an engine: give the "
                             "one that is to be emptied 'deliver-only yes'",
                             spools->logs[found].directory, spools->logs[i].directory);
        }
        found = has_states ? i : found;
    }
    *home = found != SPOOLS_MAX ? found : first;
    if (*home == SPOOLS_MAX) {
        return error_set(error, EX_CONFIG, "every spool is deliver-only: one must take new mail");
    }
    return 0;
}

static void put_first(struct spools *spools, uint32_t home)
{
    struct spool *spool = spools->all[home];
    struct spools_log log = spools->logs[home];
    memmove(&spools->all[1], &spools->all[0], home * sizeof spools->all[0]);
    memmove(&spools->logs[1], &spools->logs[0], home * sizeof spools->logs[0]);
    spools->all[0] = spool;
    spools->logs[0] = log;
    spools->logs[0].home = true;
    for (uint32_t i = 0; i < spools->count; i++) {
        spool_set_index(spools->all[i], i);
    }
}

/* Highest priority first; equal ones stay in the order they have. */
static void order_accepting(struct spools *spools)
{
    for (uint32_t i = 0; i < spools->count; i++) {
        if (spools->logs[i].deliver_only) {
            continue;
        }
        uint32_t at = spools->accepting_count++;
        for (; at > 0 && spools->priorities[at - 1] < spools->logs[i].priority; at--) {
            spools->accepting[at] = spools->accepting[at - 1];
            spools->priorities[at] = spools->priorities[at - 1];
        }
        spools->accepting[at] = spools->all[i];
        spools->priorities[at] = spools->logs[i].priority;
    }
}

static int open_all(struct spools *spools, struct io *io, const struct config *config,
                    const struct spool_options *common, struct error *error)
{
    size_t count;
    const struct config_spool *configured = config_spools(config, &count);
    if (count == 0) {
        return error_set(error, EX_CONFIG, "no spool: name a directory with 'spool DIRECTORY'");
    }
    assert(count <= SPOOLS_MAX);
    struct spool_options options = *common;
    options.upload_bytes_max /= count;
    for (size_t i = 0; i < count; i++) {
        if (open_one(spools, io, &configured[i], &options, error) != 0) {
            return -1;
        }
    }
    uint32_t home;
    if (refuse_copies(spools, error) != 0 || find_home(spools, &home, error) != 0) {
        return -1;
    }
    put_first(spools, home);
    order_accepting(spools);
    return 0;
}

static void on_settled(void *owner)
{
    *(bool *)owner = true;
}

/* One cannot be used: what the others have begun comes home before they are closed. */
static void settle(struct spools *spools, struct io *io)
{
    for (uint32_t i = 0; i < spools->count; i++) {
        bool settled = spools->all[i] == NULL;
        if (!settled) {
            spool_stop(spools->all[i], on_settled, &settled);
        }
        while (!settled) {
            int result = io_run(io, UINT64_MAX);
            assert(result == 0);
        }
    }
}

struct spools *spools_open(struct io *io, const struct config *config,
                           const struct spool_options *common, struct error *error)
{
    struct spools *spools = calloc(1, sizeof *spools + common->workers * sizeof spools->turns[0]);
    if (spools == NULL) {
        error_set(error, EX_OSERR, "out of memory");
        return NULL;
    }
    if (open_all(spools, io, config, common, error) != 0) {
        settle(spools, io);
        spools_close(spools);
        return NULL;
    }
    return spools;
}

void spools_attach(struct spools *spools, uint32_t worker, struct io *io)
{
    for (uint32_t i = 0; i < spools->count; i++) {
        spool_attach(spools->all[i], worker, io);
    }
}

bool spools_are_fresh(const struct spools *spools)
{
    for (uint32_t i = 0; i < spools->count; i++) {
        if (!spool_is_fresh(spools->all[i])) {
            return false;
        }
    }
    return true;
}

void spools_mark_home(struct spools *spools, uint32_t worker)
{
    bool has_states = false;
    spool_each_state(spools->all[0], on_any_state, &has_states);
    if (spools->count > 1 && !has_states) {
        spool_put_state(spools->all[0], worker, BYTES(HOME_KEY), BYTES("1"));
    }
}

/* ---- which one ---------------------------------------------------------------------------- */

struct spool *const *spools_all(const struct spools *spools, uint32_t *count)
{
    *count = spools->count;
    return spools->all;
}

struct spool *spools_home(const struct spools *spools)
{
    return spools->all[0];
}

struct spool *spools_of(const struct spools *spools, const struct message *message)
{
    uint32_t index = message_log_index(message);
    assert(index < spools->count);
    return spools->all[index];
}

struct spool *spools_for_event(const struct spools *spools)
{
    for (uint32_t i = 0; i < spools->count; i++) {
        if (!spool_attempts_held(spools->all[i])) {
            return spools->all[i];
        }
    }
    return spools->all[0];
}

enum spool_answer spools_choose(struct spools *spools, uint32_t worker, struct spool **chosen,
                                const char **why)
{
    enum spool_answer answer = SPOOL_FAILED;
    *why = NULL;
    for (uint32_t from = 0, to; from < spools->accepting_count; from = to) {
        for (to = from + 1;
             to < spools->accepting_count && spools->priorities[to] == spools->priorities[from];) {
            to++;
        }
        for (uint32_t i = 0; i < to - from; i++) {
            struct spool *spool =
                spools->accepting[from + (spools->turns[worker] + i) % (to - from)];
            const char *reason = NULL;
            enum spool_answer said = spool_accepting(spool, &reason);
            if (said == SPOOL_OK) {
                spools->turns[worker]++;
                *chosen = spool;
                *why = reason;
                return SPOOL_OK;
            }
            if (answer != SPOOL_FULL) { /* the first that may have room again tells why */
                answer = said;
                *why = reason;
            }
        }
    }
    return answer;
}

void spools_refuse(struct spools *spools, const char *why)
{
    for (uint32_t i = 0; i < spools->count; i++) {
        spool_refuse(spools->all[i], why);
    }
}

/* ---- holds -------------------------------------------------------------------------------- */

bool spools_held(const struct spools *spools)
{
    for (uint32_t i = 0; i < spools->count; i++) {
        if (!spool_attempts_held(spools->all[i])) {
            return false;
        }
    }
    return true;
}

bool spools_holds(const struct spools *spools, const struct message *message)
{
    return spools->count > 1 && spool_attempts_held(spools_of(spools, message));
}

bool spools_stalled(const struct spools *spools, uint32_t worker)
{
    for (uint32_t i = 0; i < spools->count; i++) {
        /* One that is held gets no outcomes of new attempts: the others need not wait for it. */
        bool matters = spools->count == 1 || !spool_attempts_held(spools->all[i]);
        if (matters && spool_outcomes_stalled(spools->all[i], worker)) {
            return true;
        }
    }
    return false;
}

void spools_flush(struct spools *spools, uint32_t worker)
{
    for (uint32_t i = 0; i < spools->count; i++) {
        spool_flush(spools->all[i], worker);
    }
}

/* ---- status ------------------------------------------------------------------------------- */

static uint64_t add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static void add_status(struct spool_status *sum, const struct spool_status *one)
{
    sum->segments += one->segments;
    sum->segments_free += one->segments_free;
    sum->bytes_used += one->bytes_used;
    sum->bytes_live += one->bytes_live;
    sum->bytes_max = add(sum->bytes_max, one->bytes_max); /* may be without limit */
    sum->messages += one->messages;
    sum->recipients += one->recipients;
    sum->appended_bytes += one->appended_bytes;
    sum->syncs += one->syncs;
    sum->sync_failures += one->sync_failures;
    sum->reclaimed_segments += one->reclaimed_segments;
    sum->damaged_records += one->damaged_records;
    sum->outcomes_unwritten += one->outcomes_unwritten;
}

void spools_status(const struct spools *spools, struct spool_status *out)
{
    struct spool_status sum = {0};
    const char *reason = NULL;
    bool accepting = false;
    for (uint32_t i = 0; i < spools->count; i++) {
        struct spool_status one;
        spool_status(spools->all[i], &one);
        add_status(&sum, &one);
        if (!spools->logs[i].deliver_only) {
            accepting |= one.hold_reason == NULL;
            reason = reason == NULL ? one.hold_reason : reason;
        }
    }
    *out = sum;
    out->hold_reason = accepting ? NULL : reason;
}

void spools_log_status(const struct spools *spools, uint32_t index, struct spools_log *out)
{
    assert(index < spools->count);
    *out = spools->logs[index];
    spool_status(spools->all[index], &out->status);
}

/* ---- the end ------------------------------------------------------------------------------ */

static void on_stopped(void *owner)
{
    struct spools *spools = owner;
    assert(spools->stops_left > 0);
    if (--spools->stops_left == 0) {
        spools->stopped(spools->stopped_owner);
    }
}

void spools_stop(struct spools *spools, void (*stopped)(void *owner), void *owner)
{
    assert(spools->stops_left == 0);
    spools->stops_left = spools->count;
    spools->stopped = stopped;
    spools->stopped_owner = owner;
    for (uint32_t i = 0; i < spools->count; i++) {
        spool_stop(spools->all[i], on_stopped, spools);
    }
}

void spools_close(struct spools *spools)
{
    if (spools == NULL) {
        return;
    }
    for (uint32_t i = 0; i < spools->count; i++) {
        spool_close(spools->all[i]);
        free((void *)(uintptr_t)spools->logs[i].directory);
    }
    free(spools);
}
