#include "accounting.h"

#include <assert.h>
#include <stdlib.h>
#include <sysexits.h>

#include "accounting_file.h"
#include "accounting_pipe.h"
#include "base/logger.h"
#include "io/io.h"
#include "policy/config.h"
#include "spool.h"

#define POSITIONS_MAX 1000 /* of files that are not configured, kept for when they are again */

/* Where a file was that is not written now. */
struct left_position {
    struct list_node node;
    struct accounting_position position;
    char path[];
};

struct accounting {
    struct accounting_options options;
    struct list sinks, ending; /* of struct accounting_sink */
    struct list left;
    uint32_t left_count;
    void (*stopped)(void *owner);
    void *stopped_owner;
    struct timer stop_timer; /* with no file there is nothing to wait for, but not inside */
};

/* ---- positions of files that are not written ---------------------------------------------------
 */

static struct left_position *find_left(struct accounting *accounting, struct bytes path)
{
    for (struct list_node *node = list_first(&accounting->left); node != NULL;
         node = list_next(&accounting->left, node)) {
        struct left_position *left = CONTAINER_OF(node, struct left_position, node);
        if (bytes_equal(bytes_from_string(left->path), path)) {
            return left;
        }
    }
    return NULL;
}

static void forget_left(struct accounting *accounting, struct left_position *left)
{
    if (left != NULL) {
        list_remove(&left->node);
        accounting->left_count--;
        free(left);
    }
}

static void keep_left(struct accounting *accounting, struct bytes path,
                      const struct accounting_position *position)
{
    forget_left(accounting, find_left(accounting, path));
    struct left_position *left =
        accounting->left_count < POSITIONS_MAX ? calloc(1, sizeof *left + path.len + 1) : NULL;
    if (left == NULL) {
        LOG_WARNING("accounting file %.*s: its position is not kept", BYTES_FMT(path));
        return;
    }
    left->position = *position;
    memcpy(left->path, path.data, path.len);
    list_push_back(&accounting->left, &left->node);
    accounting->left_count++;
}

/* A log whose states are read. */
struct reading {
    struct accounting *accounting;
    uint64_t log_id;
    bool home;
};

/* Another engine's file is its own: only how far it had each log is taken from it. */
static void take_reached(struct accounting *accounting, struct bytes path,
                         const struct accounting_position *position)
{
    struct left_position *left = find_left(accounting, path);
    if (left == NULL) {
        keep_left(accounting, path, &(struct accounting_position){0});
        left = find_left(accounting, path);
    }
    for (uint32_t i = 0; left != NULL && i < position->log_count; i++) {
        accounting_position_reach(&left->position, &position->logs[i]);
    }
}

static void on_state(void *owner, struct bytes key, struct bytes value)
{
    const struct reading *reading = owner;
    struct bytes prefix = BYTES(ACCOUNTING_KEY_PREFIX);
    struct accounting_position position;
    if (!bytes_starts_with(key, prefix) || key.len == prefix.len) {
        return;
    }
    struct bytes path = bytes_slice(key, prefix.len, key.len);
    if (!accounting_position_parse(value, reading->log_id, &position)) {
        LOG_WARNING("accounting file %.*s: its position cannot be read; a new file begins",
                    BYTES_FMT(path));
    } else if (reading->home) {
        keep_left(reading->accounting, path, &position);
    } else {
        take_reached(reading->accounting, path, &position);
    }
}

static void find_positions(struct accounting *accounting)
{
    for (uint32_t i = 0; i < accounting->options.log_count; i++) {
        struct spool *spool = accounting->options.logs[i];
        struct reading reading = {
            .accounting = accounting, .log_id = spool_log_id(spool), .home = i == 0};
        spool_each_state(spool, on_state, &reading);
    }
}

/* ---- the sinks ----------------------------------------------------------------------------------
 */

static struct accounting_sink *sink_of(struct list_node *node)
{
    return CONTAINER_OF(node, struct accounting_sink, node);
}

static struct accounting_sink *find_sink(const struct list *list, struct bytes name)
{
    for (struct list_node *node = list_first(list); node != NULL; node = list_next(list, node)) {
        if (bytes_equal(bytes_from_string(sink_of(node)->name), name)) {
            return sink_of(node);
        }
    }
    return NULL;
}

static int add_sink(struct accounting *accounting, const struct config_acct_file *config,
                    struct error *error)
{
    if (find_sink(&accounting->sinks, config->name) != NULL) {
        return error_set(error, EX_CONFIG, "%s:%u: accounting file %.*s is configured twice",
                         config->origin.file, config->origin.line, BYTES_FMT(config->name));
    }
    struct left_position *left = find_left(accounting, config->name);
    struct accounting_sink_options options = {.io = accounting->options.io,
                                              .logs = accounting->options.logs,
                                              .log_count = accounting->options.log_count,
                                              .worker = accounting->options.worker,
                                              .config = config,
                                              .position = left != NULL ? &left->position : NULL};
    struct accounting_sink *sink = config->is_pipe ? accounting_pipe_create(&options, error)
                                                   : accounting_file_create(&options, error);
    if (sink == NULL) {
        return -1;
    }
    forget_left(accounting, left);
    list_push_back(&accounting->sinks, &sink->node);
    return 0;
}

static void on_stop_timer(struct timer *timer)
{
    struct accounting *accounting = CONTAINER_OF(timer, struct accounting, stop_timer);
    accounting->stopped(accounting->stopped_owner);
}

struct accounting *accounting_create(const struct accounting_options *options, struct error *error)
{
    struct accounting *accounting = calloc(1, sizeof *accounting);
    if (accounting == NULL) {
        error_set(error, EX_OSERR, "out of memory");
        return NULL;
    }
    accounting->options = *options;
    list_init(&accounting->sinks);
    list_init(&accounting->ending);
    list_init(&accounting->left);
    timer_init(&accounting->stop_timer, on_stop_timer);
    find_positions(accounting);
    size_t count;
    const struct config_acct_file *files = config_acct_files(options->config, &count);
    for (size_t i = 0; i < count; i++) {
        if (add_sink(accounting, &files[i], error) < 0) {
            accounting_destroy(accounting);
            return NULL;
        }
    }
    return accounting;
}

bool accounting_wants_received(const struct accounting *accounting)
{
    for (struct list_node *node = list_first(&accounting->sinks); node != NULL;
         node = list_next(&accounting->sinks, node)) {
        const struct accounting_sink *sink = sink_of(node);
        if (sink->kind->wants_received(sink)) {
            return true;
        }
    }
    return false;
}

void accounting_rotate(struct accounting *accounting)
{
    for (struct list_node *node = list_first(&accounting->sinks); node != NULL;
         node = list_next(&accounting->sinks, node)) {
        struct accounting_sink *sink = sink_of(node);
        sink->kind->rotate(sink);
    }
}

/* ---- reload -------------------------------------------------------------------------------------
 */

/* NULL: the configuration has no file or pipe of this name. */
static const struct config_acct_file *find_configured(const struct config *config, const char *name)
{
    size_t count;
    const struct config_acct_file *files = config_acct_files(config, &count);
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal(files[i].name, bytes_from_string(name))) {
            return &files[i];
        }
    }
    return NULL;
}

static void add_or_tell(struct accounting *accounting, const struct config_acct_file *config)
{
    struct error error = {0};
    if (add_sink(accounting, config, &error) < 0) {
        LOG_ERROR("%s (as it was before, until the next reload)", error.text);
    }
}

static void on_sink_ended(void *owner, struct accounting_sink *sink)
{
    struct accounting *accounting = owner;
    const struct config_acct_file *again = find_configured(accounting->options.config, sink->name);
    keep_left(accounting, bytes_from_string(sink->name), sink->kind->position(sink));
    list_remove(&sink->node);
    sink->kind->destroy(sink);
    if (accounting->stopped == NULL && again != NULL) {
        add_or_tell(accounting, again); /* a reload has brought it back meanwhile */
    }
    if (accounting->stopped != NULL && list_empty(&accounting->sinks) &&
        list_empty(&accounting->ending)) {
        accounting->stopped(accounting->stopped_owner);
    }
}

static void end_sink(struct accounting *accounting, struct accounting_sink *sink,
                     enum accounting_end end)
{
    list_remove(&sink->node);
    list_push_back(&accounting->ending, &sink->node);
    sink->ended = on_sink_ended;
    sink->owner = accounting;
    sink->kind->end(sink, end);
}

static void end_the_unconfigured(struct accounting *accounting, const struct config *config)
{
    struct list_node *next;
    for (struct list_node *node = list_first(&accounting->sinks); node != NULL; node = next) {
        next = list_next(&accounting->sinks, node);
        struct accounting_sink *sink = sink_of(node);
        if (find_configured(config, sink->name) == NULL) {
            end_sink(accounting, sink, ACCOUNTING_END_AT_ONCE);
        }
    }
}

/* The new configuration is in force whatever becomes of its files: what cannot be is told. */
void accounting_reload(struct accounting *accounting, const struct config *config)
{
    accounting->options.config = config;
    end_the_unconfigured(accounting, config);
    size_t count;
    const struct config_acct_file *files = config_acct_files(config, &count);
    for (size_t i = 0; i < count; i++) {
        struct error error = {0};
        struct accounting_sink *sink = find_sink(&accounting->sinks, files[i].name);
        if (find_sink(&accounting->ending, files[i].name) != NULL) {
            continue; /* it begins again when it is finished */
        }
        if (sink == NULL) {
            add_or_tell(accounting, &files[i]);
        } else if (sink->kind->configure(sink, &files[i], &error) < 0) {
            LOG_ERROR("%s (as it was before, until the next reload)", error.text);
        }
    }
}

/* ---- the end ------------------------------------------------------------------------------------
 */

void accounting_stop(struct accounting *accounting, void (*stopped)(void *owner), void *owner)
{
    assert(accounting->stopped == NULL);
    accounting->stopped = stopped;
    accounting->stopped_owner = owner;
    struct list_node *node;
    if (list_empty(&accounting->sinks) && list_empty(&accounting->ending)) {
        timer_start(io_timers(accounting->options.io), &accounting->stop_timer, 0);
    }
    while ((node = list_first(&accounting->sinks)) != NULL) {
        end_sink(accounting, sink_of(node), ACCOUNTING_END_OF_JOURNAL);
    }
}

static void destroy_sinks(struct list *list)
{
    struct list_node *node;
    while ((node = list_pop_front(list)) != NULL) {
        struct accounting_sink *sink = sink_of(node);
        sink->kind->destroy(sink);
    }
}

void accounting_destroy(struct accounting *accounting)
{
    if (accounting == NULL) {
        return;
    }
    destroy_sinks(&accounting->sinks);
    destroy_sinks(&accounting->ending);
    while (!list_empty(&accounting->left)) {
        forget_left(accounting,
                    CONTAINER_OF(list_first(&accounting->left), struct left_position, node));
    }
    timer_stop(io_timers(accounting->options.io), &accounting->stop_timer);
    free(accounting);
}
