#include "vmta/vmta_pool.h"

#include "test.h"

static void expect_turns(struct vmta_pool *pool, const char *turns)
{
    for (const char *turn = turns; *turn != '\0'; turn++) {
        CHECK_INT(vmta_pool_next(pool), *turn - 'a');
    }
}

TEST(members_take_turns)
{
    const uint64_t weights[] = {1, 1, 1};
    struct vmta_pool *pool = vmta_pool_create(weights, 3, 0);
    expect_turns(pool, "abcabcabc");
    vmta_pool_destroy(pool);
}

TEST(a_worker_may_begin_with_another_member)
{
    const uint64_t weights[] = {1, 1, 1};
    struct vmta_pool *pool = vmta_pool_create(weights, 3, 4);
    expect_turns(pool, "bcabca");
    vmta_pool_destroy(pool);
}

TEST(a_member_has_as_many_turns_in_a_round_as_its_weight)
{
    const uint64_t weights[] = {1, 3, 2};
    struct vmta_pool *pool = vmta_pool_create(weights, 3, 0);
    expect_turns(pool, "bcabcb"
                       "bcabcb");
    vmta_pool_destroy(pool);
}

TEST(one_member_has_every_turn)
{
    const uint64_t weights[] = {1000};
    struct vmta_pool *pool = vmta_pool_create(weights, 1, 7);
    for (int i = 0; i < 3000; i++) {
        CHECK_INT(vmta_pool_next(pool), 0);
    }
    vmta_pool_destroy(pool);
}

TEST(far_unequal_weights_hold_over_many_rounds)
{
    const uint64_t weights[] = {1, 1000, 10};
    uint32_t turns[3] = {0};
    struct vmta_pool *pool = vmta_pool_create(weights, 3, 0);
    for (int i = 0; i < 5 * 1011; i++) {
        turns[vmta_pool_next(pool)]++;
    }
    CHECK_INT(turns[0], 5);
    CHECK_INT(turns[1], 5000);
    CHECK_INT(turns[2], 50);
    vmta_pool_destroy(pool);
}
