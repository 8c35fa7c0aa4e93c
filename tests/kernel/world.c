#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/io_kernel.h"

static const struct io_options options = {
    .entries = CONTRACT_ENTRIES,
    .recv_buffer_bytes = CONTRACT_RECV_BUFFER_BYTES,
    .recv_buffer_count = CONTRACT_RECV_BUFFER_COUNT,
};

bool world_open(struct world *world, uint32_t missing)
{
    struct error error = {0};
    *world = (struct world){.directory = "/tmp/posthaste-io-XXXXXX"};
    if (mkdtemp(world->directory) == NULL) {
        perror(world->directory);
        return false;
    }
    io_pretend_missing = missing;
    world->contract = (struct contract){
        .io = io_create(&options, &error),
        .directory = world->directory,
        .pool = work_pool_create(1, CONTRACT_WORK_QUEUE),
        .threads = true,
    };
    io_pretend_missing = 0;
    if (world->contract.io == NULL) {
        printf("no io: %s\n", error.text);
        return false;
    }
    return world->contract.pool != NULL;
}

int world_close(struct world *world)
{
    char command[WORLD_PATH_MAX + 16];
    if (world->contract.failures > 0) {
        printf("with: %s\n", io_features(world->contract.io));
    }
    work_pool_destroy(world->contract.pool);
    io_destroy(world->contract.io);
    snprintf(command, sizeof command, "rm -r '%s'", world->directory);
    if (system(command) != 0) {
        printf("left behind: %s\n", world->directory);
        world->contract.failures++;
    }
    return world->contract.failures;
}
