/* The kernel's io: every fact of the contract, with all that the kernel offers and with what old
 * kernels lack; then what only the real one can show. */
#include "../unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/logger.h"
#include "contract.h"
#include "io/io_kernel.h"

static const struct io_options contract_options = {
    .entries = CONTRACT_ENTRIES,
    .recv_buffer_bytes = CONTRACT_RECV_BUFFER_BYTES,
    .recv_buffer_count = CONTRACT_RECV_BUFFER_COUNT,
};

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
    char directory[] = "/tmp/posthaste-io-XXXXXX";
    struct error error;
    io_pretend_missing = missing;
    struct contract contract = {
        .io = io_create(&contract_options, &error),
        .directory = mkdtemp(directory),
        .pool = work_pool_create(1, CONTRACT_WORK_QUEUE),
        .threads = true,
    };
    io_pretend_missing = 0;
    if (contract.io == NULL || contract.directory == NULL || contract.pool == NULL) {
        printf("no world: %s\n", error.text);
        test_failed = true;
        return;
    }
    fact(&contract);
    if (contract.failures > 0) {
        printf("with: %s\n", io_features(contract.io));
        test_failed = true;
    }
    work_pool_destroy(contract.pool);
    io_destroy(contract.io);
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    CHECK_INT(system(command), 0);
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
