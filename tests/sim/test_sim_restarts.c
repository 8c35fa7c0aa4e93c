/* T2: restarts with another number of workers, under load, after kill -9. */
#include "../unit/test.h"

#include "scenario.h"

#define WORLDS 12

/* Each world has clients that hand in mail and hosts that take it, more or less, while the engine
 * is killed every few seconds and comes back with 1, 4, 2, 1 … workers. The ledger lets a message
 * come twice only where the host's reply was not read, or in the last moments before a kill. */
TEST(t2_restarts_with_1_4_and_2_workers_lose_nothing_and_send_nothing_twice)
{
    uint32_t promised = 0;
    for (uint64_t seed = 1; seed <= WORLDS; seed++) {
        struct scenario_result result;
        scenario_run(&(struct scenario_options){.seed = seed, .kills = true}, &result);
        CHECK_STRING(result.wrong, "");
        CHECK(result.crashes >= 6);
        promised += result.promised;
    }
    CHECK(promised > 100 * WORLDS);
}
