#include "vmta/open_sites.h"

#include "test.h"

TEST(a_site_is_open_from_its_first_connection_to_its_last)
{
    struct open_sites *sites = open_sites_create();
    struct bytes name = BYTES("a.test/v1");
    CHECK(!open_sites_has(sites, name));
    open_sites_add(sites, name);
    open_sites_add(sites, BYTES("A.test/V1"));
    open_sites_remove(sites, name);
    CHECK(open_sites_has(sites, name));
    CHECK(!open_sites_has(sites, BYTES("a.test/v2")));
    open_sites_remove(sites, name);
    CHECK(!open_sites_has(sites, name));
    open_sites_destroy(sites);
}
