/* What clients may do to sessions: the tests are named after the rows of the list of hostile cases,
 * S1 to S45. */
#include "session_world.h"

/* A session's message, and the virtual MTA it got. */
static void expect_vmta(const char *header, const char *wanted)
{
    char text[128];
    snprintf(text, sizeof text, "%s\r\nhi\r\n.\r\n", header);
    send_message(&client, text);
    expect(&client, "250 ");
    CHECK(strstr(envelope(), wanted) != NULL);
}

TEST(s36_the_virtual_mta_comes_from_the_header_where_that_is_allowed)
{
    open_world(SOURCE("process-x-virtual-mta yes\n"));
    begin(&client);
    send_message(&client, "X-Virtual-MTA: news\r\n\r\nhi\r\n.\r\n");
    expect(&client, "250 ");
    CHECK(strstr(envelope(), "vmta=News ") != NULL);
    CHECK(strstr(body(), "Virtual") == NULL);
    send_message(&client, "X-Virtual-MTA: other\r\n\r\nhi\r\n.\r\n");
    expect(&client, "550 5.5.0 ");
    send_message(&client, "X-Virtual-MTA: news\r\nx-virtual-mta: news\r\n\r\nhi\r\n.\r\n");
    expect(&client, "550 5.6.0 ");
    send_message(&client, "X-Virtual-MTA: ne\r\n ws\r\n\r\nhi\r\n.\r\n");
    expect(&client, "550 5.6.0 ");
    send_message(&client, "X-Virtual-MTA:\r\n\r\nhi\r\n.\r\n");
    expect(&client, "550 5.6.0 ");
    hang_up(&client);
    close_world();
}

TEST(s36_without_the_right_the_header_is_removed_and_not_obeyed)
{
    open_world(SOURCE(""));
    begin(&client);
    send_message(&client, "X-Virtual-MTA: news\r\n\r\nhi\r\n.\r\n");
    expect(&client, "250 ");
    CHECK(strstr(envelope(), "vmta={default} ") != NULL);
    CHECK(strstr(body(), "Virtual") == NULL);
    hang_up(&client);
    close_world();
}

TEST(s36_an_unknown_virtual_mta_may_fall_back)
{
    open_world("invalid-virtual-mta-fallback both\n" SOURCE("process-x-virtual-mta yes\n"
                                                            "reject-invalid-virtual-mta no\n"));
    begin(&client);
    send_message(&client, "X-Virtual-MTA: other\r\n\r\nhi\r\n.\r\n");
    expect(&client, "250 ");
    CHECK(strstr(envelope(), "vmta=blue pool=both ") != NULL);
    hang_up(&client);
    close_world();
}

TEST(s36_a_pattern_list_chooses_where_no_header_does)
{
    open_world("<virtual-mta-pool two>\nvirtual-mta red\n</virtual-mta-pool>\n"
               "<pattern-list l>\nheader Subject /long OFFER$/ virtual-mta=two\n"
               "rcpt-to /^blue@/ virtual-mta=blue\n</pattern-list>\n" SOURCE(
                   "pattern-list l\nprocess-x-virtual-mta yes\n"));
    begin(&client);
    expect_vmta("Subject: a\r\n\tlong offer \r\n", "vmta=red pool=two ");
    CHECK(strstr(body(), "Subject: a\r\n\tlong offer \r\n") != NULL);
    expect_vmta("Subject: other\r\n", "vmta={default} ");
    expect_vmta("Subject: long offer\r\nX-Virtual-MTA: news\r\n", "vmta=News ");
    say(&client, "MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nRCPT TO:<blue@y>\r\nDATA\r\n");
    expect(&client, "354 ");
    say(&client, "\r\nhi\r\n.\r\n");
    expect(&client, "250 ");
    CHECK(strstr(envelope(), "vmta=blue ") != NULL);
    hang_up(&client);
    close_world();
}

TEST(members_of_a_pool_take_turns_by_their_weight)
{
    open_world(SOURCE("default-virtual-mta both\nprocess-x-virtual-mta yes\n"));
    begin(&client);
    expect_vmta("", "vmta=blue pool=both ");
    expect_vmta("X-Virtual-MTA: BOTH\r\n", "vmta=red pool=both ");
    expect_vmta("X-Virtual-MTA: red\r\n", "vmta=red pool= ");
    expect_vmta("", "vmta=blue pool=both ");
    expect_vmta("", "vmta=blue pool=both ");
    expect_vmta("", "vmta=red pool=both ");
    hang_up(&client);
    close_world();
}

TEST(s45_a_pool_passes_over_a_member_that_is_full)
{
    open_world(SOURCE("default-virtual-mta both\n"));
    begin(&client);
    full_vmta = "blue";
    for (int i = 0; i < 4; i++) {
        expect_vmta("", "vmta=red pool=both ");
    }
    full_vmta = "red";
    for (int i = 0; i < 4; i++) {
        expect_vmta("", "vmta=blue pool=both ");
    }
    admitted = false;
    say(&client, "MAIL FROM:<a@x>\r\n");
    expect(&client, "452 4.2.2 ");
    hang_up(&client);
    close_world();
}

/* effect: source process-x-envid */
TEST(s37_job_and_envelope_id_come_from_headers_where_that_is_allowed)
{
    open_world(SOURCE("process-x-job yes\nprocess-x-envid yes\n"));
    begin(&client);
    send_message(&client, "X-Job: spring\r\nX-Envid: e 1\r\n\r\nhi\r\n.\r\n");
    expect(&client, "250 ");
    CHECK(strstr(envelope(), "job=spring envid=e 1 ") != NULL);
    send_message(&client, "X-Job: a b\r\n\r\nhi\r\n.\r\n");
    expect(&client, "550 5.6.0 ");
    send_message(&client, "X-Job: a\x01\r\n\r\nhi\r\n.\r\n");
    expect(&client, "550 5.6.0 ");
    hang_up(&client);
    close_world();
}

TEST(s16_who_talks_before_the_greeting_is_sent_away)
{
    open_world(SOURCE(""));
    dial(&client);
    say(&client, "EHLO early\r\n");
    expect(&client, "554 5.5.1 ");
    expect_end(&client);
    hang_up(&client);
    close_world();
}

TEST(s45_a_virtual_mta_over_its_share_is_told_so)
{
    open_world(SOURCE(""));
    begin(&client);
    admitted = false;
    say(&client, "MAIL FROM:<a@x>\r\n");
    expect(&client, "452 4.2.2 ");
    admitted = true;
    say(&client, GROUP);
    expect(&client, "354 ");
    admitted = false;
    say(&client, "\r\n.\r\n");
    expect(&client, "452 4.2.2 ");
    CHECK_INT(spool.begun, spool.given_back);
    hang_up(&client);
    close_world();
}

TEST(s42_a_spool_that_is_full_or_failed_is_told_at_every_step)
{
    open_world(SOURCE(""));
    begin(&client);
    spool.accepting = SPOOL_FULL;
    say(&client, "MAIL FROM:<a@x>\r\n");
    expect(&client, "452 4.3.1 The test says so\r\n");
    spool.accepting = SPOOL_FAILED;
    say(&client, "MAIL FROM:<a@x>\r\n");
    expect(&client, "451 4.3.0 ");
    spool.accepting = SPOOL_OK;
    spool.refuses_rcpts = true;
    say(&client, "MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n");
    expect(&client, "452 4.3.1 ");
    say(&client, "RSET\r\n");
    expect(&client, "250 ");
    spool.refuses_rcpts = false;
    spool.answer = SPOOL_FULL;
    send_message(&client, "\r\n.\r\n");
    expect(&client, "452 4.3.1 ");
    spool.answer = SPOOL_FAILED;
    send_message(&client, "\r\n.\r\n");
    expect(&client, "451 4.3.0 ");
    spool.answer = SPOOL_OK;
    send_message(&client, "\r\n.\r\n");
    expect(&client, "250 2.0.0 Ok: queued as ");
    hang_up(&client);
    close_world();
}

TEST(s29_a_client_that_leaves_before_the_answer_leaves_its_message)
{
    open_world(SOURCE(""));
    begin(&client);
    spool.holds_answers = true;
    send_message(&client, "\r\n1\r\n.\r\n");
    TURNS_UNTIL(spool.committed_count == 1);
    hang_up(&client);
    spool.holds_answers = false;
    TURNS_UNTIL(spool.committed_count == 0);
    struct sessions_status status;
    TURNS_UNTIL((sessions_status(sessions, &status), status.open == 0));
    CHECK_INT(status.open, 0);
    CHECK_INT(status.transactions, 0);
    close_world();
}

TEST(s29_a_client_that_leaves_in_the_body_leaves_nothing)
{
    open_world(SOURCE(""));
    begin(&client);
    send_message(&client, "\r\nhalf a mess");
    hang_up(&client);
    CHECK_INT(spool.committed_count, 0);
    CHECK_INT(spool.given_back, 1);
    close_world();
}

TEST(s30_a_command_that_trickles_does_not_move_its_deadline)
{
    open_world(SOURCE("smtp-command-timeout 1s\n"));
    begin(&client);
    uint64_t start = io_now_ms(io);
    while (io_now_ms(io) - start < 10000 && !client.ended) {
        send(client.fd, "N", 1, MSG_NOSIGNAL);
        for (int j = 0; j < 5; j++) {
            turn();
        }
        hear(&client);
    }
    CHECK(ends_with_line(&client, "421 4.4.2 "));
    CHECK(io_now_ms(io) - start >= 1000);
    hang_up(&client);
    close_world();
}

/* effect: source smtp-data-timeout */
TEST(s30_a_message_that_trickles_ends_in_time)
{
    open_world(SOURCE("smtp-data-timeout 1s\n"));
    begin(&client);
    send_message(&client, "");
    uint64_t start = io_now_ms(io);
    while (io_now_ms(io) - start < 10000 && !client.ended) {
        send(client.fd, "N", 1, MSG_NOSIGNAL);
        for (int j = 0; j < 5; j++) {
            turn();
        }
        hear(&client);
    }
    CHECK(ends_with_line(&client, "421 4.4.2 "));
    CHECK_INT(spool.given_back, 1);
    hang_up(&client);
    close_world();
}

TEST(s31_one_address_over_its_maximum_is_told_so_and_the_others_go_on)
{
    static struct client others[4];
    open_world(SOURCE("smtp-max-connections-per-ip 3\n"));
    for (int i = 0; i < 3; i++) {
        begin(&others[i]);
    }
    dial(&others[3]);
    expect(&others[3], "421 4.7.0 ");
    expect_end(&others[3]);
    say(&others[0], "QUIT\r\n");
    expect(&others[0], "221 ");
    hang_up(&others[0]);
    begin(&client);
    for (int i = 1; i < 4; i++) {
        hang_up(&others[i]);
    }
    hang_up(&client);
    close_world();
}

/* effect: global total-max-smtp-in */
TEST(s31_a_full_house_says_so)
{
    static struct client others[3];
    open_world("total-max-smtp-in 2\n" SOURCE(""));
    begin(&others[0]);
    begin(&others[1]);
    dial(&others[2]);
    expect(&others[2], "421 4.7.0 ");
    for (int i = 0; i < 3; i++) {
        hang_up(&others[i]);
    }
    close_world();
}

TEST(s32_without_descriptors_those_who_are_here_are_served_and_others_later)
{
    static struct client late;
    open_world(SOURCE(""));
    begin(&client);
    dial(&late); /* its socket is made before descriptors run out */
    struct rlimit was, none;
    getrlimit(RLIMIT_NOFILE, &was);
    none = was;
    none.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &none);
    for (int i = 0; i < 20; i++) {
        turn();
    }
    send_message(&client, "\r\n1\r\n.\r\n");
    expect(&client, "250 ");
    setrlimit(RLIMIT_NOFILE, &was);
    expect(&late, "220 ");
    hang_up(&late);
    hang_up(&client);
    close_world();
}

TEST(s14_a_line_without_an_end_ends_the_session)
{
    open_world(SOURCE(""));
    begin(&client);
    static char junk[65536];
    memset(junk, 'x', sizeof(junk));
    for (int i = 0; i < 20000 && !client.ended && !ends_with_line(&client, "421 4.7.0 "); i++) {
        send(client.fd, junk, sizeof(junk), MSG_NOSIGNAL);
        turn();
        hear(&client);
    }
    CHECK(ends_with_line(&client, "421 4.7.0 "));
    hang_up(&client);
    close_world();
}
