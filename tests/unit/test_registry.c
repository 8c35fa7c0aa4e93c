#include "vmta/registry.h"

#include "test.h"

TEST(a_site_keeps_its_owner_while_recipients_are_there_or_on_their_way)
{
    struct registry *registry = registry_create(4, 0, 100);
    uint32_t owner = registry_arrive(registry, BYTES("a.test/mta1"))->owner;
    CHECK_INT(registry_arrive(registry, BYTES("a.test/mta1"))->owner, owner);
    CHECK(!registry_leave(registry, BYTES("a.test/mta1"), 1));
    CHECK_INT(registry_owner(registry, BYTES("a.test/mta1")), owner);
    CHECK(registry_leave(registry, BYTES("a.test/mta1"), 1));
    CHECK(registry_owner(registry, BYTES("a.test/mta1")) == UINT32_MAX);
    registry_destroy(registry);
}

TEST(sites_are_spread_and_the_keeper_is_given_fewer)
{
    struct registry *registry = registry_create(4, 0, 1000);
    char name[32];
    for (int i = 0; i < 400; i++) {
        snprintf(name, sizeof name, "d%d.test/mta1", i);
        registry_arrive(registry, bytes_from_string(name));
    }
    CHECK(registry_sites(registry, 0) < registry_sites(registry, 1));
    CHECK(registry_sites(registry, 0) > 40);
    for (uint32_t i = 1; i < 4; i++) {
        CHECK(registry_sites(registry, i) >= 100 && registry_sites(registry, i) <= 120);
    }
    registry_destroy(registry);
}

TEST(a_full_table_still_names_a_worker)
{
    struct registry *registry = registry_create(2, 1, 1);
    registry_arrive(registry, BYTES("a.test/mta1"));
    CHECK(registry_arrive(registry, BYTES("b.test/mta1")) == NULL);
    CHECK(registry_leave(registry, BYTES("b.test/mta1"), 1));
    registry_destroy(registry);
}

TEST(a_name_in_another_case_is_the_same_site)
{
    struct registry *registry = registry_create(4, 0, 100);
    uint32_t owner = registry_arrive(registry, BYTES("a.example/Mta1"))->owner;
    const struct registry_site *site = registry_arrive(registry, BYTES("a.example/mta1"));
    CHECK_INT(site->owner, owner);
    CHECK(bytes_equal(site->name, BYTES("a.example/Mta1")));
    CHECK(registry_leave(registry, BYTES("a.example/Mta1"), 2));
    registry_destroy(registry);
}
