#include "test.h"

#include "attempt_world.h"

#define PLAIN     "<domain *>\n use-starttls no\n connection-idle-timeout 1m\n</domain>\n"
#define PIPELINED "250-mx.example\r\n250 PIPELINING\r\n"
#define CHUNKS    "250-mx.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
#define ACCEPTED  "250 ok\r\n250 ok\r\n354 go on\r\n"

TEST(a_body_of_many_windows_arrives_whole_with_its_dots_doubled)
{
    static char body[900 * 1024 + 1], wanted[1300 * 1024];
    size_t len = 0, wanted_len = 0;
    while (len + 8 < sizeof body) {
        memcpy(body + len, ".abc\r\n", 6);
        memcpy(wanted + wanted_len, "..abc\r\n", 7);
        len += 6;
        wanted_len += 7;
    }
    body[len] = '\0';
    memcpy(wanted + wanted_len, ".\r\n", 4);
    begin_world(PLAIN);
    put(0, body);
    connect_to(PIPELINED);
    forget_wire();
    host_says(ACCEPTED);
    CHECK_INT(world.wire_len, strlen(wanted));
    CHECK(strcmp(world.wire, wanted) == 0);
    host_says("250 queued\r\n");
    CHECK_STRING(world.outcomes, "d");
    end_world();
}

/* A host that takes everything but BDAT, whose octets it reads and refuses. False: nothing to
 * answer. */
static bool answer_one(size_t *at)
{
    char *line = world.wire + *at, *end = strstr(line, "\r\n");
    if (end == NULL || world.attempt == NULL) {
        return false;
    }
    *at += (size_t)(end + 2 - line);
    if (strncmp(line, "BDAT ", 5) == 0) {
        *at += strtoul(line + 5, NULL, 10);
        host_says("502 5.5.1 unknown\r\n");
    } else if (strncmp(line, "DATA\r\n", 6) == 0) {
        host_says("354 go on\r\n");
        char *dot = strstr(world.wire + *at, "\r\n.\r\n");
        if (dot != NULL) {
            *at = (size_t)(dot + 5 - world.wire);
            host_says("250 queued\r\n");
        }
    } else {
        host_says("250 ok\r\n");
    }
    return true;
}

TEST(what_was_prepared_for_bdat_is_doubled_when_bdat_is_refused)
{
    begin_world(PLAIN);
    put(0, "first\r\n");
    put(0, "second\r\n.\r\nMAIL FROM:<evil@example>\r\n");
    connect_to(CHUNKS);
    CHECK(was_sent("BDAT 7 LAST\r\nfirst\r\n"));
    CHECK(world.attempt->next != NULL); /* as it lies in the spool */
    size_t at = 0;
    for (int i = 0; i < 40 && strlen(world.outcomes) < 2 && answer_one(&at); i++) {
    }
    CHECK_STRING(world.outcomes, "dd");
    CHECK(was_sent("second\r\n..\r\nMAIL FROM:<evil@"));
    CHECK(!was_sent("second\r\n.\r\nMAIL FROM:<evil@"));
    end_world();
}

/* One delivered, so that the next may be carried; then A's reply is awaited with B behind it. */
static void carry_behind_a_silent_reply(void)
{
    begin_world(PLAIN);
    put(0, "zero\r\n");
    connect_to(PIPELINED);
    host_says(ACCEPTED);
    host_says("250 queued\r\n");
    CHECK_STRING(world.outcomes, "d");
    put(0, "one\r\n");
    put(0, "two\r\n");
    attempt_offer(world.attempt);
    settle();
    forget_wire();
    host_says(ACCEPTED);
    CHECK(was_sent("one\r\n.\r\nMAIL FROM"));
}

TEST(c41_carried_goes_back_after_30_s_and_the_first_keeps_its_time)
{
    carry_behind_a_silent_reply();
    pass(29000);
    CHECK_INT(world.queues[0].taken_count, 2);
    pass(2000);
    CHECK_INT(world.queues[0].taken_count, 1);
    CHECK_INT(world.queues[0].ready_count, 1);
    CHECK(world.attempt != NULL && world.attempt->state == ATTEMPT_READY);
    pass(400000);
    CHECK(world.attempt != NULL);
    forget_wire();
    host_says("250 queued\r\n");
    CHECK_STRING(world.outcomes, "dd");
    CHECK_INT(world.wire_len, 0); /* no body of the second */
    CHECK(world.attempt == NULL);
    end_world();
}

TEST(a_reply_in_time_lets_the_carried_one_go_on)
{
    carry_behind_a_silent_reply();
    pass(29000);
    host_says("250 queued\r\n250 ok\r\n250 ok\r\n354 go on\r\n");
    pass(10000);
    CHECK(was_sent("two\r\n.\r\n"));
    host_says("250 queued\r\n");
    CHECK_STRING(world.outcomes, "ddd");
    end_world();
}

TEST(what_is_prepared_behind_a_silent_reply_goes_back_and_stays_away)
{
    begin_world(PLAIN);
    put(0, "one\r\n");
    put(0, "two\r\n");
    connect_to("250 mx.example\r\n"); /* lock-step: nothing is carried */
    host_says("250 ok\r\n");
    host_says("250 ok\r\n");
    host_says("354 go on\r\n");
    CHECK_INT(world.queues[0].taken_count, 2);
    pass(31000);
    CHECK_INT(world.queues[0].taken_count, 1);
    CHECK_INT(world.queues[0].ready_count, 1);
    host_says("250 queued\r\n"); /* late, but now it may follow here */
    CHECK(was_sent("one\r\n.\r\nMAIL FROM"));
    CHECK_STRING(world.outcomes, "d");
    end_world();
}

TEST(c40_a_pause_takes_the_carried_one_back_and_the_connection_ends_after_its_reply)
{
    carry_behind_a_silent_reply();
    queue_pause(&world.queues[0], true);
    attempt_recall(world.attempt, &world.queues[0]);
    settle();
    CHECK_INT(world.queues[0].ready_count, 1);
    CHECK_INT(world.queues[0].taken_count, 1);
    host_says("250 queued\r\n");
    CHECK_STRING(world.outcomes, "dd");
    CHECK(world.attempt == NULL);
    end_world();
}

TEST(a_prepared_message_whose_rates_are_not_free_goes_back_within_a_second)
{
    begin_world(PLAIN);
    world.slow_rates = true;
    put(0, "one\r\n");
    connect_to(PIPELINED);
    CHECK_INT(world.queues[0].taken_count, 1);
    queue_pause(&world.queues[0], true); /* so that it is not asked for again */
    world.queues[0].paused = false;
    pass(500);
    CHECK_INT(world.queues[0].taken_count, 1);
    world.queues[0].paused = true;
    pass(600);
    CHECK_INT(world.queues[0].taken_count, 0);
    CHECK_STRING(world.outcomes, "");
    end_world();
}

TEST(a_resolver_asks_the_new_settings_after_a_reload)
{
    begin_world(PLAIN);
    put(0, "one\r\n");
    open_attempt(0);
    CHECK(world.resolving_with == world.site->settings);
    struct config *old = world.config;
    world.config = load_good(PLAIN);
    world.site->settings = config_domain(world.config, NULL, BYTES("one.example"));
    attempt_reload(world.attempt);
    config_free(old);
    CHECK(world.resolving_with == world.site->settings);
    end_world();
}

/* One message, and nothing more to do. */
static void come_to_rest(bool place_wanted)
{
    begin_world(PLAIN);
    put(0, "one\r\n");
    connect_to(PIPELINED);
    world.place_wanted = place_wanted;
    host_says(ACCEPTED);
    forget_wire();
    host_says("250 queued\r\n");
}

TEST(who_has_nothing_to_do_and_a_place_that_is_wanted_quits_and_waits_for_a_second)
{
    come_to_rest(true);
    CHECK_STRING(world.wire, "QUIT\r\n");
    CHECK_INT(world.deadline_ms, world.io.now_ms + 1000);
    end_world();
    come_to_rest(false);
    CHECK_INT(world.wire_len, 0);
    attempt_quit(world.attempt);
    settle();
    CHECK_STRING(world.wire, "QUIT\r\n");
    CHECK_INT(world.deadline_ms, world.io.now_ms + 5000);
    end_world();
}

TEST(a_connection_ends_when_a_reload_takes_its_address_away)
{
    begin_world(PLAIN);
    put(0, "one\r\n");
    connect_to(PIPELINED);
    host_says(ACCEPTED);
    host_says("250 queued\r\n");
    CHECK(list_linked(&world.attempt->idle_node));
    attempt_reload(world.attempt);
    settle();
    CHECK(world.attempt != NULL && !world.attempt->quitting);
    vmta_deinit(&world.lane.vmta);
    vmta_init(&world.lane.vmta, BYTES("a"));
    add_source("192.0.2.98");
    attempt_reload(world.attempt);
    settle();
    CHECK(was_sent("QUIT\r\n"));
    end_world();
}

TEST(c43_prepared_mail_goes_back_when_a_reload_demands_tls)
{
    begin_world(PLAIN);
    put(0, "one\r\n");
    put(0, "two\r\n");
    connect_to("250 mx.example\r\n");
    CHECK_INT(world.queues[0].taken_count, 2);
    struct config *old = world.config;
    world.config = load_good("<domain *>\n require-starttls yes\n</domain>\n");
    world.site->settings = config_domain(world.config, NULL, BYTES("one.example"));
    attempt_reload(world.attempt);
    config_free(old);
    settle();
    CHECK_INT(world.queues[0].taken_count, 0); /* MAIL was out, but no body */
    CHECK(world.attempt == NULL);
    CHECK_STRING(world.outcomes, "");
    end_world();
}

TEST(a_host_that_lets_us_in_and_leaves_is_not_raced)
{
    begin_world(PLAIN);
    put(0, "one\r\n");
    queue_pause(&world.queues[0], true);
    connect_to(PIPELINED);
    peer_leaves();
    CHECK(world.attempt == NULL);
    CHECK_INT(world.tq_count, 0);
    CHECK_INT(world.site->hold_opening_ms, world.io.now_ms + ATTEMPT_FRUITLESS_MS);
    end_world();
}

TEST(an_answer_to_starttls_before_the_news_of_our_send_waits_for_it)
{
    begin_world("<domain *>\n use-starttls yes\n</domain>\n");
    put(0, "one\r\n");
    open_attempt(0);
    answer_resolver();
    world.connection->events->opened(world.connection, 0);
    host_says("220 mx.example ESMTP\r\n");
    world.hold_sends = true;
    host_says("250-mx.example\r\n250 STARTTLS\r\n");
    CHECK(was_sent("STARTTLS\r\n"));
    host_says("220 go on\r\n");
    CHECK(!world.tls_started);
    world.hold_sends = false;
    settle();
    CHECK(world.tls_started);
    end_world();
}

TEST(a_read_under_way_when_its_transaction_ends_leaves_the_message_alone)
{
    static char body[600 * 1024];
    memset(body, 'x', sizeof body - 3);
    memcpy(body + sizeof body - 3, "\r\n", 3);
    begin_world(PLAIN);
    put(0, body);
    connect_to(PIPELINED);
    world.hold_sends = true;
    host_says(ACCEPTED);
    world.hold_sends = world.sending = false;
    world.connection->events->sent(world.connection); /* the second window is asked for */
    CHECK(world.read != NULL);
    world.connection->events->received(world.connection, (const uint8_t *)"552 5.3.4 no\r\n", 14);
    CHECK_STRING(world.outcomes, "b");
    CHECK_INT(world.abandoned_count, 1);
    settle();
    end_world();
}

/* Greets, knows no EHLO, and takes a message up to its DATA; the send of that is held. */
static void greet_and_take(const char *greeting)
{
    open_attempt(0);
    answer_resolver();
    world.connection->events->opened(world.connection, 0);
    host_says(greeting);
    host_says("500 what?\r\n");
    host_says("250 mx.example\r\n");
    host_says("250 ok\r\n");
    host_says("250 ok\r\n");
    forget_wire();
    world.hold_sends = true;
    host_says("354 go on\r\n");
}

static void let_go_of_sends(void)
{
    world.hold_sends = false;
    settle();
}

/* effect: domain pix-bug-workaround */
TEST(behind_a_greeting_of_asterisks_the_end_of_a_message_has_a_write_of_its_own)
{
    static const struct {
        const char *greeting, *policy, *first;
    } rows[] = {
        {"220 ****2****0*** **\r\n", PLAIN, "Subject: x\r\n\r\nhello"},
        {"220 mx.example ****\r\n", PLAIN, "Subject: x\r\n\r\nhello\r\n.\r\n"},
        {"220 20 02\r\n", PLAIN, "Subject: x\r\n\r\nhello\r\n.\r\n"},
        {"220 ****2****0*** **\r\n", "<domain *>\n pix-bug-workaround no\n</domain>\n" PLAIN,
         "Subject: x\r\n\r\nhello\r\n.\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        begin_world(rows[i].policy);
        put(0, "Subject: x\r\n\r\nhello\r\n");
        greet_and_take(rows[i].greeting);
        CHECK_STRING(world.wire, rows[i].first);
        let_go_of_sends();
        CHECK_STRING(world.wire, "Subject: x\r\n\r\nhello\r\n.\r\n");
        host_says("250 queued\r\n");
        CHECK_STRING(world.outcomes, "d");
        end_world();
    }
}
