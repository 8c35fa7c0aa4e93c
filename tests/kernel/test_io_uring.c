/* The kernel's io: every fact of the contract, with all that the kernel offers and with what old
 * kernels lack. */
#include "../unit/test.h"

#include "io/io_kernel.h"
#include "world.h"

/* Linux 6.1 has all; then older and older. */
static const uint32_t kernels[] = {
    0,
    IO_FEATURE_DEFER_TASKRUN | IO_FEATURE_SINGLE_ISSUER,
    IO_FEATURE_BUFFER_RING | IO_FEATURE_MULTISHOT,
    (1u << IO_FEATURE_COUNT) - 1,
};
#define KERNEL_COUNT (sizeof kernels / sizeof kernels[0])

static void run_fact(void (*fact)(struct contract *), uint32_t missing)
{
    struct world world;
    CHECK(world_open(&world, missing));
    if (!test_failed) {
        fact(&world.contract);
        CHECK_INT(world_close(&world), 0);
    }
}

#define FACT(name)                                                                                 \
    TEST(name)                                                                                     \
    {                                                                                              \
        for (size_t i = 0; i < KERNEL_COUNT; i++) {                                                \
            run_fact(contract_##name, kernels[i]);                                                 \
        }                                                                                          \
    }
CONTRACT_SOCKET_FACTS(FACT)
CONTRACT_LISTENER_FACTS(FACT)
CONTRACT_TURN_FACTS(FACT)
CONTRACT_FILE_FACTS(FACT)
