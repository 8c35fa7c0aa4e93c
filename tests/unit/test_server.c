/* What the SMTP server core does for a client that means well. */
#include "server_script.h"

TEST(a_message_goes_through)
{
    fresh();
    CHECK_STRING(TALK(B(MAIL), B(RCPT), B("DATA\r\n"), B("s: t\r\n\r\nhi\r\n.\r\n"), B("QUIT\r\n")),
                 OPENED QUEUED BYE);
    CHECK_STRING(seen(), "helo c.example\nmail <a@x.example>\nrcpt <b@y.example> 9\nend 12\n");
    CHECK_BYTES(bytes_of(first.message, first.message_len), "s: t\r\n\r\nhi\r\n");
    CHECK(closing());
}

TEST(ehlo_offers_what_is_allowed)
{
    fresh();
    CHECK_STRING(RAW(B("EHLO c.example\r\n")),
                 "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 100000\r\n250-8BITMIME\r\n"
                 "250-SMTPUTF8\r\n250-CHUNKING\r\n250-ENHANCEDSTATUSCODES\r\n250 DSN\r\n");
    plan.settings.chunking = plan.settings.smtputf8 = false;
    CHECK_STRING(RAW(B("EHLO c.example\r\n")),
                 "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 100000\r\n250-8BITMIME\r\n"
                 "250-ENHANCEDSTATUSCODES\r\n250 DSN\r\n");
}

TEST(verbs_are_read_without_case_and_trailing_blanks_are_nothing)
{
    fresh();
    CHECK_STRING(TALK(B("noop\r\n"), B("NooP hello \r\n"), B("mail from: <> \r\n")), OK OK OK_MAIL);
}

TEST(a_pipelined_group_is_answered_in_one_output)
{
    fresh();
    CHECK_STRING(TALK(B(MAIL RCPT RCPT "DATA\r\n"), B("\r\nx\r\n.\r\n")),
                 OK_MAIL OK_RCPT OK_RCPT GO QUEUED);
    /* Greeting, HELO, the group, the answer. */
    CHECK_INT(first.outputs, 4);
}

TEST(the_next_transaction_may_follow_the_final_dot_in_the_same_flight)
{
    fresh();
    CHECK_STRING(TALK(B(MAIL RCPT "DATA\r\n"), B("\r\nx\r\n.\r\n" MAIL RCPT "DATA\r\n"),
                      B("\r\ny\r\n.\r\nQUIT\r\n")),
                 OPENED QUEUED OPENED QUEUED BYE);
    CHECK_INT(first.server.messages, 2);
}

TEST(nothing_is_read_while_the_answer_is_awaited)
{
    fresh();
    play_whole(FLIGHTS(HELO, B(MAIL RCPT "DATA\r\n")), 2);
    static const char flight[] = "\r\nx\r\n.\r\nQUIT\r\n";
    CHECK_INT(smtp_server_feed(&first.server, flight, sizeof(flight) - 1), 8);
    CHECK_INT(smtp_server_waits_for(&first.server), SERVER_WAITS_ANSWER);
    CHECK_INT(smtp_server_feed(&first.server, flight + 8, 6), 0);
    CHECK(!smtp_server_needs_workspace(&first.server));
}

TEST(a_full_output_stops_the_reading_until_it_is_sent)
{
    fresh();
    static char group[30000];
    struct buffer flight;
    buffer_init(&flight, group, sizeof(group));
    for (int i = 0; i < 1000; i++) {
        buffer_put_string(&flight, RCPT);
    }
    plan.settings.rcpts_max = 1000;
    TALK(B(MAIL), buffer_bytes(&flight));
    CHECK_INT(first.said.len, strlen("250 mx.example\r\n" OK_MAIL) + 1000 * strlen(OK_RCPT));
    CHECK(first.outputs > 3 && first.outputs < 12);
}

TEST(refusals_of_the_owner_are_passed_on)
{
    fresh();
    plan.mail_answer = "452 4.3.1 full";
    CHECK_STRING(TALK(B(MAIL), B(RCPT)), "452 4.3.1 full\r\n503 5.5.1 Send MAIL first\r\n");
    fresh();
    plan.data_answer = "451 4.3.0 not now";
    CHECK_STRING(TALK(B(MAIL RCPT "DATA\r\n"), B(MAIL)),
                 OK_MAIL OK_RCPT "451 4.3.0 not now\r\n" OK_MAIL);
    fresh();
    plan.end_answer = "550 5.5.0 unknown";
    CHECK_STRING(TALK(B(MAIL RCPT "DATA\r\n"), B("\r\n.\r\n"), B(MAIL)),
                 OPENED "550 5.5.0 unknown\r\n" OK_MAIL);
}

TEST(rset_and_ehlo_drop_a_transaction)
{
    fresh();
    CHECK_STRING(TALK(B(MAIL RCPT "RSET\r\n"), B(RCPT)),
                 OK_MAIL OK_RCPT OK "503 5.5.1 Send MAIL first\r\n");
    TALK(B(MAIL RCPT), B("HELO again\r\n"));
    CHECK_STRING(seen(), "helo c.example\nmail <a@x.example>\nrcpt <b@y.example> 9\nreset\n"
                         "helo again\n");
}

TEST(a_lost_connection_drops_the_transaction_once)
{
    fresh();
    TALK(B(MAIL RCPT "DATA\r\n"), B("half a"));
    smtp_server_lost(&first.server);
    CHECK(strstr(seen(), "reset\n") != NULL);
    CHECK(strstr(seen(), "end") == NULL);
}

TEST(commands_out_of_order_are_refused)
{
    fresh();
    CHECK_STRING(RAW(B(MAIL), B("DATA\r\n"), B("RSET\r\n")),
                 "503 5.5.1 Send EHLO first\r\n503 5.5.1 Send EHLO first\r\n" OK);
    CHECK_STRING(TALK(B(RCPT), B(MAIL), B(MAIL)),
                 "503 5.5.1 Send MAIL first\r\n" OK_MAIL "503 5.5.1 Not now: RCPT is next\r\n");
}

TEST(malformed_recipients_are_no_protocol_errors)
{
    fresh();
    open_world(&first);
    feed(&first, "HELO a\r\n", 8);
    feed(&first, MAIL, sizeof(MAIL) - 1);
    for (int n = 0; n < 50; n++) {
        feed(&first, "RCPT TO:<a b>\r\n", 15);
    }
    CHECK(!closing());
}

TEST(a_draining_server_finishes_the_transaction_and_takes_no_other)
{
    fresh();
    play_whole(FLIGHTS(HELO, B(MAIL RCPT)), 2);
    first.settings.draining = true;
    feed(&first, "DATA\r\n", 6);
    feed(&first, "\r\n.\r\n", 5);
    feed(&first, MAIL, sizeof(MAIL) - 1);
    CHECK_STRING(said(),
                 "250 mx.example\r\n" OPENED QUEUED "421 4.3.2 Shutting down; try again\r\n");
    CHECK(closing());
}

TEST(names_after_helo_cannot_break_a_header)
{
    static const char *const bad[] = {"HELO\r\n", "HELO a b\r\n", "EHLO a(b\r\n", "EHLO <a>\r\n",
                                      "EHLO \xc3\xa9\r\n"};
    fresh();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK(begins(RAW(bytes_from_string(bad[i])), "501 5.5."));
    }
    CHECK_STRING(RAW(B("HELO [192.0.2.1]\r\n")), "250 mx.example\r\n");
}
