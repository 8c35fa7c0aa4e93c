#include "callers.h"

#include <pthread.h>
#include <stdlib.h>

#include "test.h"

static struct address ip(uint32_t n)
{
    struct address address = {.family = ADDRESS_IPV4, .port = (uint16_t)n};
    memcpy(address.ip, &n, sizeof(n));
    return address;
}

TEST(one_address_is_stopped_at_its_maximum_and_others_are_not)
{
    struct callers *callers = callers_create(100);
    struct address a = ip(1), b = ip(2);
    uint32_t tickets[3], other;
    for (int i = 0; i < 3; i++) {
        a.port++;
        CHECK_INT(callers_enter(callers, &a, 100, 3, &tickets[i]), CALLERS_WELCOME);
    }
    CHECK_INT(callers_enter(callers, &a, 100, 3, &other), CALLERS_ADDRESS_FULL);
    CHECK_INT(callers_enter(callers, &b, 100, 3, &other), CALLERS_WELCOME);
    CHECK_INT(callers_count(callers), 4);
    callers_leave(callers, tickets[1]);
    CHECK_INT(callers_enter(callers, &a, 100, 3, &tickets[1]), CALLERS_WELCOME);
    callers_destroy(callers);
}

TEST(the_house_is_full_at_its_maximum)
{
    struct callers *callers = callers_create(10);
    uint32_t tickets[10], other;
    for (uint32_t i = 0; i < 10; i++) {
        struct address address = ip(i);
        CHECK_INT(callers_enter(callers, &address, 10, 5, &tickets[i]), CALLERS_WELCOME);
    }
    struct address late = ip(99);
    CHECK_INT(callers_enter(callers, &late, 10, 5, &other), CALLERS_HOUSE_FULL);
    callers_leave(callers, tickets[3]);
    CHECK_INT(callers_enter(callers, &late, 10, 5, &other), CALLERS_WELCOME);
    callers_destroy(callers);
}

TEST(ten_thousand_addresses_are_told_apart)
{
    struct callers *callers = callers_create(10000);
    static uint32_t tickets[10000];
    uint32_t wrong = 0, other;
    for (uint32_t i = 0; i < 10000; i++) {
        struct address address = ip(i * 7919);
        wrong += callers_enter(callers, &address, 10000, 1, &tickets[i]) != CALLERS_WELCOME;
    }
    CHECK(wrong == 0);
    for (uint32_t i = 0; i < 10000; i++) {
        struct address address = ip(i * 7919);
        wrong += callers_enter(callers, &address, 20000, 1, &other) != CALLERS_ADDRESS_FULL;
    }
    CHECK(wrong == 0);
    for (uint32_t i = 0; i < 10000; i++) {
        callers_leave(callers, tickets[i]);
    }
    CHECK_INT(callers_count(callers), 0);
    callers_destroy(callers);
}

static void *come_and_go(void *shared)
{
    struct callers *callers = shared;
    struct address address = ip(5);
    for (int i = 0; i < 20000; i++) {
        uint32_t ticket;
        if (callers_enter(callers, &address, 100, 50, &ticket) == CALLERS_WELCOME) {
            callers_leave(callers, ticket);
        }
    }
    return NULL;
}

TEST(counts_are_right_after_many_threads)
{
    struct callers *callers = callers_create(100);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, come_and_go, callers);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_INT(callers_count(callers), 0);
    uint32_t ticket;
    struct address address = ip(5);
    CHECK_INT(callers_enter(callers, &address, 100, 1, &ticket), CALLERS_WELCOME);
    CHECK_INT(callers_enter(callers, &address, 100, 1, &ticket), CALLERS_ADDRESS_FULL);
    callers_destroy(callers);
}
