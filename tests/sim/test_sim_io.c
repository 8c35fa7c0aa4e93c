/* The simulator's io: every fact of the contract, in calm worlds of several seeds. */
#include "../unit/test.h"

#include "../kernel/contract.h"
#include "sim.h"

#define SEEDS 10

static void run_fact(void (*fact)(struct contract *), uint64_t seed)
{
    static const struct io_options options = {
        .entries = CONTRACT_ENTRIES,
        .recv_buffer_bytes = CONTRACT_RECV_BUFFER_BYTES,
        .recv_buffer_count = CONTRACT_RECV_BUFFER_COUNT,
    };
    struct error error;
    struct sim *sim = sim_create(&(struct sim_options){.seed = seed, .calm = true});
    sim_odds(sim)->shuffle = 500000; /* no fault: completions have no order */
    sim_odds(sim)->wake_spurious = 10000;
    struct contract contract = {
        .io = io_create(&options, &error),
        .directory = "/world",
        .pool = work_pool_create(1, CONTRACT_WORK_QUEUE),
    };
    CHECK_INT(io_directory_create(contract.io, contract.directory), 0);
    fact(&contract);
    if (contract.failures > 0) {
        printf("with seed %d\n", (int)seed);
        test_failed = true;
    }
    work_pool_destroy(contract.pool);
    io_destroy(contract.io);
    sim_destroy(sim);
}

#define FACT(name)                                                                                 \
    TEST(name)                                                                                     \
    {                                                                                              \
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {                                           \
            run_fact(contract_##name, seed);                                                       \
        }                                                                                          \
    }
CONTRACT_SOCKET_FACTS(FACT)
CONTRACT_LISTENER_FACTS(FACT)
CONTRACT_TURN_FACTS(FACT)
CONTRACT_FILE_FACTS(FACT)
