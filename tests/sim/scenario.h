/* One world from a seed: an engine, hosts, clients, upheavals, and then peace until everything
 * has ended; what was seen is held against the ledger.
 *
 * Two phases. In the first all that may go wrong does: kills, power losses, restarts with another
 * number of workers, broken and full disks, addresses that vanish, hosts that fall silent, names
 * that do not resolve, clocks that jump. In the second every fault is over, and within the time
 * that bounces take everything promised must have come to its end. */
#ifndef SIM_SCENARIO_H
#define SIM_SCENARIO_H

#include <stdbool.h>
#include <stdint.h>

struct scenario_options {
    uint64_t seed;
    uint32_t workers; /* 0: drawn, and drawn anew at each restart */
    bool kills;       /* no trouble but kill -9, soon and often; 1, 4, 2, 1 … workers in turn */
    bool trace;       /* everything that happens goes to standard output */
};

struct scenario_result {
    char wrong[1200]; /* "": every invariant held */
    uint64_t digest, steps;
    uint32_t promised, delivered, bounced, crashes;
    double hours; /* of the world's time */
};

void scenario_run(const struct scenario_options *options, struct scenario_result *result);

#endif
