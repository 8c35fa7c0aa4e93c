#include "host_faults.h"

#include "test.h"

static struct address host(uint32_t number)
{
    struct address address = {.family = ADDRESS_IPV4, .port = 25};
    for (uint32_t i = 0; i < 4; i++) {
        address.ip[i] = (uint8_t)(number >> (24 - 8 * i));
    }
    return address;
}

TEST(a_fault_holds_until_its_time_has_come)
{
    struct host_faults faults;
    host_faults_init(&faults);
    struct address address = host(1);
    CHECK(!host_faults_has(&faults, &address, HOST_FAULT_TLS, 0));
    host_faults_note(&faults, &address, HOST_FAULT_TLS, 1000);
    CHECK(host_faults_has(&faults, &address, HOST_FAULT_TLS, 999));
    CHECK(!host_faults_has(&faults, &address, HOST_FAULT_TLS, 1000));
    host_faults_deinit(&faults);
}

TEST(one_fault_says_nothing_of_another_nor_of_another_host)
{
    struct host_faults faults;
    host_faults_init(&faults);
    struct address address = host(1), other = host(2);
    host_faults_note(&faults, &address, HOST_FAULT_TLS, 1000);
    CHECK(!host_faults_has(&faults, &address, HOST_FAULT_CHUNKING, 0));
    CHECK(!host_faults_has(&faults, &other, HOST_FAULT_TLS, 0));
    host_faults_note(&faults, &address, HOST_FAULT_CHUNKING, 2000);
    CHECK(host_faults_has(&faults, &address, HOST_FAULT_TLS, 0));
    CHECK(host_faults_has(&faults, &address, HOST_FAULT_CHUNKING, 1500));
    host_faults_deinit(&faults);
}

TEST(a_fault_is_of_the_host_at_every_port)
{
    struct host_faults faults;
    host_faults_init(&faults);
    struct address address = host(1), other_port = host(1);
    other_port.port = 2525;
    host_faults_note(&faults, &address, HOST_FAULT_TLS, 1000);
    CHECK(host_faults_has(&faults, &other_port, HOST_FAULT_TLS, 0));
    host_faults_deinit(&faults);
}

TEST(the_hosts_noted_longest_ago_are_forgotten)
{
    struct host_faults faults;
    host_faults_init(&faults);
    for (uint32_t i = 0; i < HOST_FAULTS_MAX; i++) {
        struct address address = host(i);
        host_faults_note(&faults, &address, HOST_FAULT_TLS, 1000);
    }
    struct address first = host(0), second = host(1), more = host(HOST_FAULTS_MAX);
    host_faults_note(&faults, &first, HOST_FAULT_TLS, 1000); /* again: it is the newest now */
    host_faults_note(&faults, &more, HOST_FAULT_TLS, 1000);
    CHECK(host_faults_has(&faults, &first, HOST_FAULT_TLS, 0));
    CHECK(host_faults_has(&faults, &more, HOST_FAULT_TLS, 0));
    CHECK(!host_faults_has(&faults, &second, HOST_FAULT_TLS, 0));
    host_faults_deinit(&faults);
}
