/* sim: runs worlds and says what was wrong, and how to see it again.
 *
 *     sim [--worlds N] [--seed S] [--workers W] [--seeds FILE] [--trace]
 *
 * Runs the seeds of FILE first (one "SEED WORKERS" a line, # comments), then N worlds from seed S
 * on. Each runs twice: the same seed must give the same digest. With --trace one world runs once
 * and tells everything. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scenario.h"

#define WORLDS 300

struct runner {
    uint64_t worlds, seed;
    uint32_t workers;
    const char *seeds_file;
    bool trace;
    uint64_t passed, failed, steps;
    uint64_t promised, delivered, bounced, crashes;
    double hours;
};

static void say_failure(const struct scenario_options *options, const char *what)
{
    printf("seed %" PRIu64 " workers %u: %s\n", options->seed, options->workers, what);
    printf("    replay: sim --seed %" PRIu64 " --workers %u --trace\n", options->seed,
           options->workers);
    fflush(stdout);
}

static void run_world(struct runner *runner, uint64_t seed, uint32_t workers)
{
    struct scenario_options options = {.seed = seed, .workers = workers, .trace = runner->trace};
    struct scenario_result first, second;
    scenario_run(&options, &first);
    if (first.wrong[0] != '\0') {
        say_failure(&options, first.wrong);
        runner->failed++;
        return;
    }
    if (!runner->trace) {
        scenario_run(&options, &second);
        if (second.digest != first.digest) {
            say_failure(&options, "ran twice, and not the same");
            runner->failed++;
            return;
        }
    }
    runner->passed++;
    runner->steps += first.steps;
    runner->promised += first.promised;
    runner->delivered += first.delivered;
    runner->bounced += first.bounced;
    runner->crashes += first.crashes;
    runner->hours += first.hours;
}

/* False: the file cannot be read. */
static bool run_seeds(struct runner *runner)
{
    char line[256];
    FILE *file = fopen(runner->seeds_file, "r");
    if (file == NULL) {
        return false;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        char *end = line;
        uint64_t seed = strtoull(line, &end, 10);
        if (end != line) {
            run_world(runner, seed, (uint32_t)strtoul(end, NULL, 10));
        }
    }
    fclose(file);
    return true;
}

static bool parse(struct runner *runner, int argc, char **argv)
{
    bool worlds_given = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--trace") == 0) {
            runner->trace = true;
            runner->worlds = 1;
            continue;
        }
        if (value == NULL) {
            return false;
        }
        if (strcmp(argv[i], "--worlds") == 0) {
            runner->worlds = strtoull(value, NULL, 10);
            worlds_given = true;
        } else if (strcmp(argv[i], "--seed") == 0) {
            runner->seed = strtoull(value, NULL, 10);
            runner->worlds = worlds_given ? runner->worlds : 1;
        } else if (strcmp(argv[i], "--workers") == 0) {
            runner->workers = (uint32_t)strtoul(value, NULL, 10);
        } else if (strcmp(argv[i], "--seeds") == 0) {
            runner->seeds_file = value;
        } else {
            return false;
        }
        i++;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct runner runner = {.worlds = WORLDS, .seed = 1};
    if (!parse(&runner, argc, argv)) {
        fprintf(stderr, "usage: sim [--seed S] [--worlds N] [--workers W] [--seeds FILE] "
                        "[--trace]\n");
        return 64;
    }
    if (runner.trace) {
        setvbuf(stdout, NULL, _IOLBF, 0); /* all of it, also before an assertion */
    }
    if (runner.seeds_file != NULL && !run_seeds(&runner)) {
        fprintf(stderr, "sim: cannot read %s\n", runner.seeds_file);
        return 66;
    }
    for (uint64_t i = 0; i < runner.worlds; i++) {
        run_world(&runner, runner.seed + i, runner.workers);
    }
    printf("%" PRIu64 " promised, %" PRIu64 " delivered, %" PRIu64 " bounced, %" PRIu64
           " crashes, %.0f hours, %" PRIu64 " steps\n",
           runner.promised, runner.delivered, runner.bounced, runner.crashes, runner.hours,
           runner.steps);
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", runner.passed, runner.failed);
    return runner.failed == 0 && runner.passed > 0 ? 0 : 1;
}
