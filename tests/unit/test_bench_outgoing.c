#include "bench/outgoing.h"

#include <stdlib.h>

#include "tests/unit/test.h"

static void put(struct outgoing *outgoing, const char *text)
{
    outgoing_put(outgoing, text, strlen(text));
}

TEST(nothing_leaves_before_it_is_released)
{
    struct outgoing outgoing;
    outgoing_init(&outgoing);
    put(&outgoing, "a");
    CHECK_BYTES(outgoing_free(&outgoing), "");
    outgoing_release_at(&outgoing, 0);
    CHECK_BYTES(outgoing_free(&outgoing), "a");
    outgoing_deinit(&outgoing);
}

TEST(flights_leave_each_at_its_time)
{
    struct outgoing outgoing;
    outgoing_init(&outgoing);
    put(&outgoing, "one ");
    outgoing_release_at(&outgoing, 100);
    put(&outgoing, "two ");
    outgoing_release_at(&outgoing, 120);
    CHECK_INT(outgoing_due(&outgoing, 99), 100);
    CHECK_BYTES(outgoing_free(&outgoing), "");
    CHECK_INT(outgoing_due(&outgoing, 100), 120);
    CHECK_BYTES(outgoing_free(&outgoing), "one ");
    outgoing_drop_free(&outgoing);
    CHECK_INT(outgoing_due(&outgoing, 120), 0);
    CHECK_BYTES(outgoing_free(&outgoing), "two ");
    outgoing_deinit(&outgoing);
}

TEST(more_flights_than_marks_leave_late_never_early)
{
    struct outgoing outgoing;
    outgoing_init(&outgoing);
    for (uint64_t i = 0; i < OUTGOING_MARKS + 4; i++) {
        put(&outgoing, "x");
        outgoing_release_at(&outgoing, 100 + i);
    }
    for (uint64_t i = 0; i < OUTGOING_MARKS + 4; i++) {
        outgoing_due(&outgoing, 100 + i);
        CHECK(outgoing_free(&outgoing).len <= i + 1);
    }
    CHECK_INT(outgoing_free(&outgoing).len, OUTGOING_MARKS + 4);
    outgoing_deinit(&outgoing);
}

TEST(what_does_not_fit_is_refused_whole)
{
    struct outgoing outgoing;
    char *big = calloc(1, OUTGOING_MAX);
    outgoing_init(&outgoing);
    put(&outgoing, "a");
    outgoing_put(&outgoing, big, OUTGOING_MAX);
    CHECK(outgoing.overflowed);
    outgoing_release_at(&outgoing, 0);
    CHECK_INT(outgoing_free(&outgoing).len, 1);
    outgoing_deinit(&outgoing);
    free(big);
}
