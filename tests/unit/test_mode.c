#include "vmta/mode.h"

#include "test.h"

#define NOW  1000000
#define WALL 1700000000000

static struct address address_of(const char *text)
{
    struct address address = {0};
    CHECK(address_parse(bytes_from_string(text), &address));
    return address;
}

static struct bytes printed(const struct mode *mode, struct buffer *out, uint64_t now_ms,
                            int64_t wall_ms)
{
    static char memory[MODE_TEXT_MAX];
    buffer_init(out, memory, sizeof memory);
    mode_print(mode, out, now_ms, wall_ms);
    CHECK(!out->overflowed);
    return buffer_bytes(out);
}

TEST(a_second_reason_extends_backoff_and_never_shortens_it)
{
    struct mode mode;
    mode_init(&mode);
    mode_enter(&mode, &(struct mode_backoff){.until_ms = NOW + 5000}, NOW);
    mode_enter(&mode, &(struct mode_backoff){.until_ms = NOW + 2000}, NOW + 100);
    CHECK_INT(mode.since_ms, NOW);
    CHECK_INT(mode_next_ms(&mode), NOW + 5000);
    CHECK(!mode_pass(&mode, NOW + 4999));
    CHECK(mode_pass(&mode, NOW + 5000));
    CHECK(mode_is_normal(&mode));
    CHECK(mode_next_ms(&mode) == UINT64_MAX);
    mode_deinit(&mode);
}

TEST(an_address_is_disabled_until_its_time_or_its_enabling)
{
    struct mode mode;
    mode_init(&mode);
    struct address one = address_of("127.0.1.1"), two = address_of("::1");
    CHECK(mode_disable(&mode, &one, NOW + 10));
    CHECK(mode_disable(&mode, &two, NEVER));
    CHECK(mode_is_disabled(&mode, &one, NOW));
    CHECK(!mode_is_disabled(&mode, &one, NOW + 10));
    CHECK(mode_pass(&mode, NOW + 10));
    CHECK_INT(mode.disabled_count, 1);
    CHECK(mode_is_disabled(&mode, &two, NOW + 1000000000));
    CHECK(mode_enable(&mode, &two));
    CHECK(!mode_enable(&mode, &two));
    CHECK(mode_is_normal(&mode));
    mode_deinit(&mode);
}

TEST(its_text_comes_back_at_other_clocks_and_always_fits)
{
    struct mode mode, back;
    struct buffer out;
    mode_init(&mode);
    mode_init(&back);
    mode_enter(
        &mode,
        &(struct mode_backoff){.until_ms = NOW + 60000, .has_rate = true, .rate = {.percent = 50}},
        NOW - 7000);
    for (uint32_t i = 0; i < MODE_DISABLED_MAX; i++) {
        char text[ADDRESS_TEXT_MAX];
        snprintf(text, sizeof text, "1111:2222:3333:4444:5555:6666:7777:%x", 0x8000 + i);
        struct address address = address_of(text);
        CHECK(mode_disable(&mode, &address, i == 0 ? NEVER : NOW + 90000));
    }
    struct address more = address_of("127.0.0.9");
    CHECK(!mode_disable(&mode, &more, NEVER));
    struct bytes text = printed(&mode, &out, NOW, WALL);
    CHECK(mode_parse(&back, text, 500000, WALL + 20000));
    CHECK(back.backoff);
    CHECK_INT(back.how.until_ms, 540000);
    CHECK_INT(back.since_ms, 473000);
    CHECK_INT(back.how.rate.percent, 50);
    CHECK_INT(back.disabled_count, MODE_DISABLED_MAX);
    CHECK(back.disabled[0].until_ms == NEVER);
    mode_deinit(&back);
    CHECK(mode_parse(&back, text, 500000, WALL + 60000)); /* backoff was over while we were not */
    CHECK(!back.backoff);
    CHECK_INT(back.disabled_count, MODE_DISABLED_MAX);
    mode_deinit(&back);
    mode_deinit(&mode);
}

TEST(a_rate_of_its_own_comes_back)
{
    struct mode mode, back;
    struct buffer out;
    mode_init(&mode);
    mode_init(&back);
    struct mode_backoff how = {
        .until_ms = NEVER, .has_rate = true, .rate = {.rate = {.count = 30, .window_ms = 3600000}}};
    mode_enter(&mode, &how, NOW);
    CHECK(mode_parse(&back, printed(&mode, &out, NOW, WALL), NOW, WALL));
    CHECK(back.how.until_ms == NEVER);
    CHECK_INT(back.how.rate.rate.count, 30);
    CHECK_INT(back.how.rate.rate.window_ms, 3600000);
    mode_deinit(&back);
    mode_deinit(&mode);
}

TEST(what_is_no_text_of_ours_leaves_it_normal)
{
    static const char *const texts[] = {"x",
                                        "backoff",
                                        "backoff 1 x\n",
                                        "backoff 1 18446744073709551615 share 0\n",
                                        "backoff 1 18446744073709551615 share 101\n",
                                        "backoff 1 18446744073709551615 rate 1\n",
                                        "disabled 1.2.3 5\n",
                                        "backoff 1 18446744073709551615\ndisabled\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct mode mode;
        mode_init(&mode);
        CHECK(!mode_parse(&mode, bytes_from_string(texts[i]), NOW, WALL));
        CHECK(mode_is_normal(&mode));
        mode_deinit(&mode);
    }
}
