#include "net/tickets.h"

#include <stdlib.h>

#include "test.h"

static void put(struct tickets *tickets, uint64_t key, uint8_t value, bool reusable)
{
    uint8_t *data = malloc(1);
    *data = value;
    tickets_put(tickets, key, data, 1, reusable);
}

static bool on_use(void *owner, const uint8_t *data, size_t len)
{
    *(int *)owner = *data;
    return true;
}

/* 0: none. */
static int newest(struct tickets *tickets, uint64_t key)
{
    int value = 0;
    (void)tickets_newest(tickets, key, on_use, &value);
    return value;
}

TEST(a_ticket_is_used_once_newest_first)
{
    struct tickets tickets;
    tickets_init(&tickets, 10);
    for (uint8_t i = 1; i <= 6; i++) {
        put(&tickets, 5, i, false);
    }
    CHECK_INT(newest(&tickets, 5), 6);
    CHECK_INT(newest(&tickets, 5), 5);
    CHECK_INT(newest(&tickets, 5), 4);
    CHECK_INT(newest(&tickets, 5), 3);
    CHECK_INT(newest(&tickets, 5), 0);
    CHECK_INT(tickets_keys(&tickets), 0);
    tickets_deinit(&tickets);
}

TEST(a_reusable_one_stays_until_a_newer_comes)
{
    struct tickets tickets;
    tickets_init(&tickets, 10);
    put(&tickets, 5, 1, true);
    CHECK_INT(newest(&tickets, 5), 1);
    CHECK_INT(newest(&tickets, 5), 1);
    put(&tickets, 5, 2, true);
    CHECK_INT(newest(&tickets, 5), 2);
    CHECK_INT(newest(&tickets, 5), 2);
    tickets_deinit(&tickets);
}

TEST(the_key_longest_unused_makes_room)
{
    struct tickets tickets;
    tickets_init(&tickets, 2);
    put(&tickets, 1, 1, true);
    put(&tickets, 2, 2, true);
    CHECK_INT(newest(&tickets, 1), 1);
    put(&tickets, 3, 3, true);
    CHECK_INT(newest(&tickets, 2), 0);
    CHECK_INT(newest(&tickets, 1), 1);
    CHECK_INT(newest(&tickets, 3), 3);
    CHECK_INT(tickets_keys(&tickets), 2);
    tickets_deinit(&tickets);
}

TEST(a_huge_ticket_is_not_kept)
{
    struct tickets tickets;
    tickets_init(&tickets, 2);
    tickets_put(&tickets, 1, calloc(1, TICKET_BYTES_MAX + 1), TICKET_BYTES_MAX + 1, true);
    CHECK_INT(tickets_keys(&tickets), 0);
    tickets_deinit(&tickets);
}
