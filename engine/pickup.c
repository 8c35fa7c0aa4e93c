#include "pickup.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/logger.h"
#include "io/folder.h"
#include "io/io.h"
#include "io/work.h"
#include "pickup_file.h"
#include "policy/config.h"
#include "session.h"

struct pickup {
    struct pickup_options options;
    struct session_door *door;
    struct timer timer;
    struct work work;
    uint32_t turn; /* which directory is next */
    bool stopped, at_work;
    /* The helper's while it works. */
    char from[PATH_MAX], bad[PATH_MAX];
    bool remove_dot;
    int stream; /* -1: it only looks whether there is anything */
    bool found, more;
    bool locked; /* what was taken cannot be removed: nothing is taken any more */
};

/* ---- on a helper thread ---- */

static void put_away(struct pickup *pickup, struct folder *folder, const char *name,
                     const char *why)
{
    int result = folder_move(folder, name, pickup->bad);
    LOG_WARNING("pickup: %s/%s: %s: %s%s", pickup->from, name, why,
                result == 0   ? "moved to "
                : result == 1 ? "stays, with a '#' before its name: it cannot be moved to "
                              : "stays: it cannot be moved to ",
                pickup->bad);
    if (result < 0) {
        folder_put_off(folder, name, PICKUP_LATER_MS);
    }
}

static void remove_taken(struct pickup *pickup, struct folder *folder, const char *name)
{
    int result = folder_remove(folder, name);
    if (result < 0) {
        pickup->locked = true;
        LOG_ERROR("pickup: %s/%s was taken and cannot be removed (%s): nothing more is picked up "
                  "until a reload",
                  pickup->from, name, strerror(-result));
    }
}

/* False: nothing more by this stream. */
static bool take_file(struct pickup *pickup, struct folder *folder, struct pickup_talk *talk,
                      const char *name)
{
    int file = folder_open_file(folder, name);
    if (file < 0) {
        put_away(pickup, folder, name, strerror(-file));
        return true;
    }
    enum pickup_end end = pickup_talk_file(talk, file);
    close(file);
    switch (end) {
    case PICKUP_TAKEN:
        remove_taken(pickup, folder, name);
        return !pickup->locked;
    case PICKUP_BAD:
        put_away(pickup, folder, name, talk->why);
        return true;
    case PICKUP_LATER:
        LOG_INFO("pickup: %s/%s: %s: tried again later", pickup->from, name, talk->why);
        break;
    case PICKUP_GONE:
        break;
    }
    folder_put_off(folder, name, PICKUP_LATER_MS);
    return end == PICKUP_LATER;
}

static void take_files(struct pickup *pickup, struct folder *folder)
{
    char name[FOLDER_NAME_MAX];
    struct pickup_talk *talk = malloc(sizeof *talk);
    bool goes_on = talk != NULL && pickup_talk_begin(talk, pickup->stream, pickup->remove_dot);
    for (uint32_t i = 0; goes_on && folder_next(folder, name) > 0; i++) {
        if (i == PICKUP_TURN_MAX) {
            pickup->more = true;
            break;
        }
        goes_on = take_file(pickup, folder, talk, name);
    }
    free(talk);
}

static void on_run(struct work *work)
{
    struct pickup *pickup = CONTAINER_OF(work, struct pickup, work);
    char name[FOLDER_NAME_MAX];
    struct folder folder;
    int result = folder_open(&folder, pickup->from);
    if (result < 0) {
        LOG_WARNING("pickup: %s: %s", pickup->from, strerror(-result));
    } else if (pickup->stream < 0) {
        pickup->found = folder_next(&folder, name) > 0;
    } else {
        take_files(pickup, &folder);
    }
    folder_close(&folder);
    if (pickup->stream >= 0) {
        close(pickup->stream);
        pickup->stream = -1;
    }
}

/* ---- on the worker ---- */

static void again_in(struct pickup *pickup, uint64_t delay_ms)
{
    struct io *io = pickup->options.io;
    timer_start(io_timers(io), &pickup->timer, io_now_ms(io) + delay_ms);
}

static void submit(struct pickup *pickup)
{
    pickup->found = pickup->more = false;
    pickup->at_work = work_submit(pickup->options.helpers, pickup->options.io, &pickup->work);
    if (!pickup->at_work) {
        again_in(pickup, PICKUP_EVERY_MS); /* the helpers have enough to do */
    }
}

/* The other end of a stream of its own goes to a new session. */
static void connect_helper(struct pickup *pickup)
{
    int ends[2];
    int result = folder_make_stream(ends);
    if (result < 0) {
        LOG_WARNING("pickup: no stream: %s", strerror(-result));
        again_in(pickup, PICKUP_EVERY_MS);
        return;
    }
    pickup->stream = ends[0];
    sessions_accept_own(pickup->options.sessions, ends[1], pickup->door);
    submit(pickup);
    if (!pickup->at_work) {
        close(pickup->stream);
        pickup->stream = -1;
    }
}

/* The next directory, as it is configured now; NULL: none is. */
static const struct string_array *next_directory(struct pickup *pickup)
{
    const struct global_settings *global = config_global(pickup->options.config);
    if (global->pickups.count == 0) {
        return NULL;
    }
    return &global->pickups.items[pickup->turn++ % global->pickups.count];
}

static void look(struct pickup *pickup)
{
    const struct global_settings *global = config_global(pickup->options.config);
    const struct string_array *words = next_directory(pickup);
    if (words == NULL || pickup->stopped || pickup->locked) {
        return;
    }
    assert(words->count == 2);
    snprintf(pickup->from, sizeof pickup->from, "%.*s", BYTES_FMT(words->items[0]));
    snprintf(pickup->bad, sizeof pickup->bad, "%.*s", BYTES_FMT(words->items[1]));
    pickup->remove_dot = global->pickup_remove_dot;
    submit(pickup);
}

static void on_done(struct work *work)
{
    struct pickup *pickup = CONTAINER_OF(work, struct pickup, work);
    pickup->at_work = false;
    if (pickup->stopped) {
        return;
    }
    if (pickup->found) {
        connect_helper(pickup);
        return;
    }
    /* One after the other, each once a second. */
    size_t count = config_global(pickup->options.config)->pickups.count;
    again_in(pickup, pickup->more || count == 0 ? 0 : PICKUP_EVERY_MS / count);
}

static void on_timer(struct timer *timer)
{
    look(CONTAINER_OF(timer, struct pickup, timer));
}

struct pickup *pickup_create(const struct pickup_options *options)
{
    struct pickup *pickup = calloc(1, sizeof *pickup);
    if (pickup == NULL) {
        return NULL;
    }
    pickup->options = *options;
    pickup->stream = -1;
    pickup->work.run = on_run;
    pickup->work.done = on_done;
    timer_init(&pickup->timer, on_timer);
    pickup->door = session_door_open(PICKUP_SOURCE, NULL);
    if (pickup->door == NULL) {
        free(pickup);
        return NULL;
    }
    again_in(pickup, 0);
    return pickup;
}

void pickup_reload(struct pickup *pickup, const struct config *config)
{
    pickup->options.config = config;
    if (!pickup->at_work) {
        pickup->locked = false;
        again_in(pickup, 0);
    }
}

void pickup_stop(struct pickup *pickup)
{
    if (pickup != NULL) {
        pickup->stopped = true;
        timer_stop(io_timers(pickup->options.io), &pickup->timer);
    }
}

bool pickup_is_idle(const struct pickup *pickup)
{
    return pickup == NULL || !pickup->at_work;
}

void pickup_destroy(struct pickup *pickup)
{
    if (pickup != NULL) {
        assert(!pickup->at_work);
        timer_stop(io_timers(pickup->options.io), &pickup->timer);
        session_door_close(pickup->door);
        free(pickup);
    }
}
