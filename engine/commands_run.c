/* `posthaste run`: the engine in the foreground, and its signals. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "base/logger.h"
#include "commands.h"
#include "engine.h"
#include "io/files.h"
#include "policy/config.h"

static struct config *on_load(void *owner, struct error *error)
{
    return commands_load(owner, error);
}

static void on_state_changed(void *owner, enum engine_state state)
{
    (void)owner;
    switch (state) {
    case ENGINE_STARTING:
        break;
    case ENGINE_RUNNING:
        sd_notify(0, "READY=1");
        break;
    case ENGINE_DRAINING:
    case ENGINE_STOPPED:
        sd_notify(0, "STOPPING=1");
        break;
    }
}

static void on_reloading(void *owner, bool under_way)
{
    (void)owner;
    sd_notify(0, under_way ? "RELOADING=1" : "READY=1");
}

static void on_alive(void *owner)
{
    (void)owner;
    sd_notify(0, "WATCHDOG=1");
}

static void handle(struct engine *engine, int number)
{
    if (number == SIGTERM || number == SIGINT) {
        engine_want_stop(engine);
    } else if (number == SIGHUP) {
        engine_want_reload(engine);
    } else if (number == SIGUSR1) {
        engine_want_reopen(engine);
    }
}

static void fill_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGHUP);
    sigaddset(signals, SIGUSR1);
    sigaddset(signals, SIGUSR2); /* our own: the engine has ended */
}

/* Signals are taken by a thread of their own: handlers in a worker would interrupt its io. */
static void *wait_for_signals(void *argument)
{
    struct engine *engine = argument;
    sigset_t signals;
    fill_signals(&signals);
    for (;;) {
        int number;
        if (sigwait(&signals, &number) == 0) {
            if (number == SIGUSR2) {
                return NULL;
            }
            handle(engine, number);
        }
    }
}

int command_run(const struct command_line *line)
{
    if (line->count > line->name_count) {
        return commands_usage(line, "unknown argument '%s'", line->words[line->name_count]);
    }
    struct config *config = commands_load(line->config_path, NULL);
    if (config == NULL) {
        return EXIT_CONFIG;
    }
    struct bytes log_file = config_global(config)->log_file;
    struct error error = {0};
    char host_name[256];
    bool named = files_host_name(host_name, sizeof host_name) == 0;
    uint64_t watchdog_us = 0; /* WATCHDOG_USEC: a sign of life is wanted at least so often */
    bool watched = sd_watchdog_enabled(0, &watchdog_us) > 0;
    struct engine *engine =
        engine_create(&(struct engine_options){.config = config,
                                               .config_path = line->config_path,
                                               .host_name = named ? host_name : NULL,
                                               .load = on_load,
                                               .reloading = on_reloading,
                                               .alive = watched ? on_alive : NULL,
                                               .alive_every_ms = watchdog_us / 2000 + 1,
                                               .state_changed = on_state_changed,
                                               .owner = (void *)(uintptr_t)line->config_path},
                      &error);
    if (engine == NULL) {
        config_free(config);
        fprintf(stderr, "posthaste: %s\n", error.text);
        return error.code;
    }
    logger_set_world_readable(config_global(config)->log_world_readable);
    int opened = log_file.len > 0 ? logger_open(log_file.data) : 0;
    if (opened < 0) {
        fprintf(stderr, "posthaste: cannot write log-file %s: %s\n", log_file.data,
                strerror(-opened));
        engine_destroy(engine);
        return EXIT_CANTCREAT;
    }
    sigset_t signals;
    fill_signals(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    pthread_t thread;
    if (pthread_create(&thread, NULL, wait_for_signals, engine) != 0) {
        engine_destroy(engine);
        return EXIT_OSERR;
    }
    int result = engine_run(engine, &error);
    pthread_kill(thread, SIGUSR2);
    pthread_join(thread, NULL);
    engine_destroy(engine);
    if (result != 0) {
        fprintf(stderr, "posthaste: %s\n", error.text);
    }
    return result;
}
