/* A real io to run a fact of the contract in. */
#ifndef TESTS_KERNEL_WORLD_H
#define TESTS_KERNEL_WORLD_H

#include "contract.h"

#define WORLD_PATH_MAX 64

struct world {
    struct contract contract;
    char directory[WORLD_PATH_MAX]; /* of its own, removed at the end */
};

/* `missing`: a sum of enum io_feature that the kernel is said not to have. False: said why. */
bool world_open(struct world *world, uint32_t missing);

/* The count of the fact's failures. */
int world_close(struct world *world);

#endif
