#include "vmta/vmta_pool.h"

#include "test.h"

static void expect_turns(struct vmta_pool *pool, const char *turns)
{
    for (const char *turn = turns; *turn != '\0'; turn++) {
        CHECK_INT(vmta_pool_next(pool, NULL), *turn - 'a');
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
        CHECK_INT(vmta_pool_next(pool, NULL), 0);
    }
    vmta_pool_destroy(pool);
}

TEST(far_unequal_weights_hold_over_many_rounds)
{
    const uint64_t weights[] = {1, 1000, 10};
    uint32_t turns[3] = {0};
    struct vmta_pool *pool = vmta_pool_create(weights, 3, 0);
    for (int i = 0; i < 5 * 1011; i++) {
        turns[vmta_pool_next(pool, NULL)]++;
    }
    CHECK_INT(turns[0], 5);
    CHECK_INT(turns[1], 5000);
    CHECK_INT(turns[2], 50);
    vmta_pool_destroy(pool);
}

/* ---- members that are preferred ---- */

#define MEMBERS 4
#define TURNS   1000

static bool is_liked(const void *owner, uint32_t place)
{
    return ((const bool *)owner)[place];
}

/* Takes TURNS turns, counted in `turns`; the most that one member's count was ever off its share
 * by weight, in thousandths of a turn. */
static uint64_t worst_stray(struct vmta_pool *pool, const uint64_t *weights, const bool *liked,
                            uint32_t *turns)
{
    const struct vmta_pool_preference preference = {is_liked, liked};
    uint64_t sum = 0, worst = 0;
    for (int i = 0; i < MEMBERS; i++) {
        sum += weights[i];
        turns[i] = 0;
    }
    for (uint64_t turn = 1; turn <= TURNS; turn++) {
        turns[vmta_pool_next(pool, &preference)]++;
        for (int i = 0; i < MEMBERS; i++) {
            int64_t off = (int64_t)(turns[i] * 1000) - (int64_t)(turn * weights[i] * 1000 / sum);
            uint64_t stray = (uint64_t)(off < 0 ? -off : off);
            worst = stray > worst ? stray : worst;
        }
    }
    return worst;
}

TEST(a_preferred_member_has_turns_in_a_row_and_weights_hold_all_the_same)
{
    const uint64_t weights[MEMBERS] = {1, 1, 2, 6};
    for (uint32_t likes = 0; likes < 1 << MEMBERS; likes++) {
        struct vmta_pool *pool = vmta_pool_create(weights, MEMBERS, 0);
        bool liked[MEMBERS];
        uint32_t turns[MEMBERS];
        for (uint32_t i = 0; i < MEMBERS; i++) {
            liked[i] = (likes >> i & 1) != 0;
        }
        CHECK(worst_stray(pool, weights, liked, turns) <= (VMTA_POOL_STRAY_MAX + 1) * 1000);
        vmta_pool_destroy(pool);
    }
}

TEST(who_had_the_last_turn_keeps_it_for_a_while)
{
    const uint64_t weights[MEMBERS] = {1, 1, 1, 1};
    struct vmta_pool *pool = vmta_pool_create(weights, MEMBERS, 0);
    bool liked[MEMBERS] = {false};
    const struct vmta_pool_preference preference = {is_liked, liked};
    uint32_t last = MEMBERS, changes = 0;
    for (int i = 0; i < TURNS; i++) {
        uint32_t turn = vmta_pool_next(pool, &preference);
        changes += turn != last;
        if (last < MEMBERS) {
            liked[last] = false;
        }
        liked[turn] = true;
        last = turn;
    }
    CHECK(changes < TURNS / 8);
    vmta_pool_destroy(pool);
}
