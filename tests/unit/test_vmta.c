#include "vmta/vmta.h"

#include "test.h"

static struct vmta two_addresses(void)
{
    struct vmta vmta;
    struct address address;
    CHECK(vmta_init(&vmta, BYTES("mta1")));
    CHECK(address_parse(BYTES("127.0.1.1"), &address));
    CHECK(vmta_add_source(&vmta, &address, BYTES("one.example.test")));
    CHECK(address_parse(BYTES("127.0.1.2"), &address));
    CHECK(vmta_add_source(&vmta, &address, BYTES("two.example.test")));
    return vmta;
}

TEST(addresses_take_turns)
{
    struct vmta vmta = two_addresses();
    uint64_t again_ms;
    CHECK_STRING(vmta_pick_source(&vmta, ADDRESS_IPV4, NULL, 1, &again_ms)->helo_name,
                 "one.example.test");
    CHECK_STRING(vmta_pick_source(&vmta, ADDRESS_IPV4, NULL, 1, &again_ms)->helo_name,
                 "two.example.test");
    CHECK_STRING(vmta_pick_source(&vmta, ADDRESS_IPV4, NULL, 1, &again_ms)->helo_name,
                 "one.example.test");
    vmta_deinit(&vmta);
}

TEST(c25_an_address_that_cannot_be_bound_is_left_out_and_comes_back)
{
    struct vmta vmta = two_addresses();
    uint64_t again_ms;
    vmta_source_failed(&vmta.sources[0], 1000);
    for (int i = 0; i < 3; i++) {
        CHECK(vmta_pick_source(&vmta, ADDRESS_IPV4, NULL, 1000, &again_ms) == &vmta.sources[1]);
    }
    uint64_t back_ms = 1000 + VMTA_SUSPEND_MS;
    CHECK(vmta_pick_source(&vmta, ADDRESS_IPV4, NULL, back_ms, &again_ms) == &vmta.sources[0]);
    vmta_deinit(&vmta);
}

TEST(with_all_addresses_suspended_nothing_is_picked_and_the_first_return_is_told)
{
    struct vmta vmta = two_addresses();
    uint64_t again_ms;
    vmta_source_failed(&vmta.sources[0], 1000);
    vmta_source_failed(&vmta.sources[1], 2000);
    CHECK(vmta_pick_source(&vmta, ADDRESS_IPV4, NULL, 3000, &again_ms) == NULL);
    CHECK_INT(again_ms, 1000 + VMTA_SUSPEND_MS);
    vmta_source_failed(&vmta.sources[0], 61000);
    CHECK(vmta_pick_source(&vmta, ADDRESS_IPV4, NULL, 62001, &again_ms) == &vmta.sources[1]);
    CHECK(vmta_pick_source(&vmta, ADDRESS_IPV4, NULL, 61000 + 2 * VMTA_SUSPEND_MS, &again_ms) !=
          NULL);
    vmta_deinit(&vmta);
}

TEST(a_family_it_has_no_address_of_is_never_picked)
{
    struct vmta vmta = two_addresses();
    uint64_t again_ms;
    CHECK(!vmta_has_family(&vmta, ADDRESS_IPV6));
    CHECK(vmta_pick_source(&vmta, ADDRESS_IPV6, NULL, 1, &again_ms) == NULL);
    CHECK(again_ms == UINT64_MAX);
    vmta_deinit(&vmta);
}

TEST(an_address_is_its_own_whatever_the_port)
{
    struct vmta vmta = two_addresses();
    struct address address;
    CHECK(address_parse(BYTES("127.0.1.2"), &address));
    address.port = 25;
    CHECK(vmta_has_source(&vmta, &address));
    CHECK(address_parse(BYTES("127.0.1.3"), &address));
    CHECK(!vmta_has_source(&vmta, &address));
    CHECK(!vmta_has_source(&vmta, &(struct address){.family = ADDRESS_NONE}));
    vmta_deinit(&vmta);
}
