/* The client core: what is in one flight: the next message behind the final dot, BDAT, several
 * bodies. */
#include "client_session.h"

/* ---- carrying --------------------------------------------------------------------------- */

/* A's body is out with B's commands behind it, in one flight. */
static void carry(struct session *session, struct message *a, struct message *b)
{
    struct client_output out;
    begin(session, a, "A", 1);
    CHECK(!client_may_carry(&session->client));
    said(session);
    hear(session, OK OK "354 go\r\n");
    client_next_output(&session->client, &out);
    CHECK_INT(out.kind, CLIENT_BODY);
    CHECK(out.stuffed);
    CHECK(client_may_carry(&session->client));
    CHECK(!client_may_begin(&session->client));
    begin(session, b, "B", 1);
    client_body_ended(&session->client, out.body);
    CHECK_STRING(said(session), ".\r\nMAIL FROM:<s@y>\r\nRCPT TO:<a@x>\r\nDATA\r\n");
}

TEST(the_next_message_is_carried_behind_the_final_dot)
{
    struct session session;
    struct message a, b;
    open_session(&session, PIPELINING);
    deliver_one(&session);
    carry(&session, &a, &b);
    hear(&session, OK OK OK "354 go\r\n");
    CHECK_STRING(noted(&session), "A ended reply at final 250; ");
    CHECK_STRING(said(&session), BODY ".\r\n");
    hear(&session, OK);
    CHECK_STRING(noted(&session), "B ended reply at final 250; ");
}

TEST(nothing_is_carried_before_a_final_reply_was_positive)
{
    struct session session;
    struct message a;
    struct client_output out;
    open_session(&session, PIPELINING);
    begin(&session, &a, "A", 1);
    said(&session);
    hear(&session, OK OK "354 go\r\n");
    client_next_output(&session.client, &out);
    CHECK(!client_may_carry(&session.client));
    CHECK(!client_may_begin(&session.client));
}

TEST(c40_a_carried_message_is_given_back_when_the_one_before_fails)
{
    static const char *const replies[] = {"451 no\r\n", "550 no\r\n", "421 no\r\n"};
    for (int i = 0; i < 3; i++) {
        struct session session;
        struct message a, b;
        char wanted[200];
        open_session(&session, PIPELINING);
        deliver_one(&session);
        carry(&session, &a, &b);
        hear(&session, replies[i]);
        snprintf(wanted, sizeof(wanted),
                 "B ended unattempted at mail; A ended reply at final %.3s; over %s at final%s; ",
                 replies[i], i < 2 ? "abandon" : "reply", i < 2 ? "" : " 421");
        CHECK_STRING(noted(&session), wanted);
        hear(&session, OK OK "354 go\r\n");
        CHECK_STRING(said(&session), "");
    }
}

TEST(c40_what_the_owner_recalls_never_gets_a_lone_dot)
{
    struct session session;
    struct message a, b;
    open_session(&session, PIPELINING);
    deliver_one(&session);
    carry(&session, &a, &b);
    session.recall_at_end = &b;
    hear(&session, OK OK OK "354 go\r\n");
    CHECK_STRING(noted(&session), "A ended reply at final 250; B ended unattempted at mail; "
                                  "over abandon at mail; ");
    CHECK_STRING(said(&session), "");
}

TEST(c41_a_recalled_message_leaves_the_connection_to_the_reply_before)
{
    struct session session;
    struct message a, b;
    open_session(&session, PIPELINING);
    deliver_one(&session);
    carry(&session, &a, &b);
    CHECK(client_recall(&session.client, &b.transaction));
    CHECK_STRING(noted(&session), "B ended unattempted at mail; ");
    CHECK(!session.client.over);
    CHECK(!client_may_begin(&session.client));
    enum client_stage stage;
    CHECK(client_waiting(&session.client, &stage));
    CHECK_INT(stage, CLIENT_STAGE_FINAL);
    hear(&session, OK OK OK "354 go\r\n");
    CHECK_STRING(noted(&session), "A ended reply at final 250; over abandon at final; ");
    CHECK_STRING(said(&session), "");
}

TEST(a_message_whose_body_has_begun_is_not_recalled)
{
    struct session session;
    struct message a, b;
    open_session(&session, PIPELINING);
    deliver_one(&session);
    carry(&session, &a, &b);
    CHECK(!client_recall(&session.client, &a.transaction));
    hear(&session, OK OK OK "354 go\r\n");
    CHECK(client_recall(&session.client, &b.transaction));
    CHECK_STRING(noted(&session), "A ended reply at final 250; B ended unattempted at body; "
                                  "over abandon at body; ");
}

TEST(a_message_that_is_not_on_the_wire_is_recalled_without_a_trace)
{
    struct session session;
    struct message a;
    open_session(&session, PIPELINING);
    begin(&session, &a, "A", 1);
    CHECK(client_recall(&session.client, &a.transaction));
    CHECK_STRING(noted(&session), "A ended unattempted at mail; ");
    CHECK(client_may_begin(&session.client));
    CHECK_STRING(said(&session), "");
}

TEST(a_421_after_a_delivery_does_not_touch_the_carried_message)
{
    struct session session;
    struct message a, b;
    open_session(&session, PIPELINING);
    deliver_one(&session);
    carry(&session, &a, &b);
    hear(&session, OK "421 enough\r\n");
    CHECK_STRING(noted(&session), "A ended reply at final 250; B ended unattempted at mail; "
                                  "over quit at mail 421; ");
}

TEST(a_lost_connection_gives_the_carried_message_back)
{
    struct session session;
    struct message a, b;
    open_session(&session, PIPELINING);
    deliver_one(&session);
    carry(&session, &a, &b);
    client_lost(&session.client);
    CHECK_STRING(noted(&session), "A ended lost after at final; B ended unattempted at mail; ");
}

/* ---- BDAT ------------------------------------------------------------------------------- */

TEST(bdat_sends_everything_in_one_flight)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING CHUNKING);
    begin(&session, &message, "A", 1);
    CHECK_STRING(said(&session), "MAIL FROM:<s@y>\r\nRCPT TO:<a@x>\r\nBDAT 21 LAST\r\n" BODY);
    hear(&session, OK OK OK);
    CHECK_STRING(noted(&session), "A ended reply at final 250; ");
}

TEST(a_large_body_waits_for_an_accepted_recipient)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING CHUNKING);
    write_message(&message, "A", 2);
    message.transaction.body_size = CLIENT_EAGER_BODY_MAX + 1;
    client_begin(&session.client, &message.transaction);
    CHECK_STRING(said(&session), "MAIL FROM:<s@y>\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\n");
    hear(&session, OK OK);
    CHECK_STRING(said(&session), "");
    hear(&session, "550 no\r\n");
    session.hold_body = true;
    CHECK_STRING(said(&session), "BDAT 262145 LAST\r\nSubje");
}

TEST(without_pipelining_bdat_is_not_said_unless_a_recipient_was_accepted)
{
    struct session session;
    struct message message;
    open_session(&session, CHUNKING);
    begin(&session, &message, "A", 1);
    said(&session);
    hear(&session, OK);
    said(&session);
    hear(&session, "550 no\r\n");
    CHECK_STRING(said(&session), "");
    begin(&session, &message, "B", 1);
    CHECK_STRING(said(&session), "RSET\r\n");
    hear(&session, OK);
    CHECK_STRING(said(&session), "MAIL FROM:<s@y>\r\n");
    hear(&session, OK);
    CHECK_STRING(said(&session), "RCPT TO:<a@x>\r\n");
    hear(&session, OK);
    CHECK_STRING(said(&session), "BDAT 21 LAST\r\n" BODY);
}

TEST(c33_a_refused_bdat_is_sent_again_with_data)
{
    static const char *const replies[] = {"502 what\r\n", "503 what\r\n", "504 what\r\n"};
    for (int i = 0; i < 3; i++) {
        struct session session;
        struct message message;
        open_session(&session, PIPELINING CHUNKING);
        begin(&session, &message, "A", 1);
        said(&session);
        hear(&session, OK OK);
        hear(&session, replies[i]);
        char wanted[100];
        snprintf(wanted, sizeof(wanted), "A ended retry data at final %.3s; ", replies[i]);
        CHECK_STRING(noted(&session), wanted);
        begin(&session, &message, "A", 1);
        CHECK_STRING(said(&session), "RSET\r\n");
        hear(&session, OK);
        CHECK_STRING(said(&session), "MAIL FROM:<s@y>\r\nRCPT TO:<a@x>\r\nDATA\r\n");
    }
}

TEST(a_peer_that_reads_the_body_as_commands_is_left)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING CHUNKING);
    begin(&session, &message, "A", 1);
    said(&session);
    hear(&session, OK OK "502 what\r\n");
    begin(&session, &message, "A", 1);
    said(&session);
    hear(&session, "500 Subject: what\r\n");
    CHECK_STRING(noted(&session), "A ended retry data at final 502; "
                                  "A ended unattempted at mail; over protocol at mail 500; ");
}

TEST(c33_a_policy_refusal_of_bdat_is_final)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING CHUNKING);
    begin(&session, &message, "A", 1);
    said(&session);
    hear(&session, OK OK "554 5.7.1 spam\r\n");
    CHECK_STRING(noted(&session), "A ended reply at final 554; ");
    begin(&session, &message, "B", 1);
    CHECK_STRING(said(&session),
                 "RSET\r\nMAIL FROM:<s@y>\r\nRCPT TO:<a@x>\r\nBDAT 21 LAST\r\n" BODY);
}

TEST(a_carried_bdat_waits_for_the_final_reply_before_it)
{
    struct session session;
    struct message a, b;
    struct client_output out;
    open_session(&session, PIPELINING CHUNKING);
    deliver_one(&session);
    begin(&session, &a, "A", 1);
    client_next_output(&session.client, &out);
    CHECK_INT(out.kind, CLIENT_COMMANDS);
    client_next_output(&session.client, &out);
    CHECK_INT(out.kind, CLIENT_BODY);
    CHECK(!out.stuffed);
    begin(&session, &b, "B", 1);
    client_body_ended(&session.client, out.body);
    CHECK_STRING(said(&session), "MAIL FROM:<s@y>\r\nRCPT TO:<a@x>\r\n");
    hear(&session, OK OK OK);
    CHECK_STRING(said(&session), "BDAT 21 LAST\r\n" BODY);
    hear(&session, OK OK OK);
    CHECK_STRING(noted(&session), "A ended reply at final 250; B ended reply at final 250; ");
}

static void fly(struct session *session, struct message *a, struct message *b)
{
    meet(session);
    session->settings.in_flight_max = 4;
    shake(session, PIPELINING CHUNKING);
    deliver_one(session);
    begin(session, a, "A", 1);
    said(session);
    begin(session, b, "B", 1);
    CHECK_STRING(said(session),
                 "RSET\r\nMAIL FROM:<s@y>\r\nRCPT TO:<a@x>\r\nBDAT 21 LAST\r\n" BODY);
}

TEST(several_bodies_fly_at_once)
{
    struct session session;
    struct message a, b;
    fly(&session, &a, &b);
    hear(&session, OK OK OK OK OK OK OK);
    CHECK_STRING(noted(&session), "A ended reply at final 250; B ended reply at final 250; ");
}

TEST(a_refusal_in_flight_does_not_touch_the_body_behind_it)
{
    struct session session;
    struct message a, b;
    fly(&session, &a, &b);
    hear(&session, OK "550 no\r\n554 none\r\n" OK OK OK OK);
    CHECK_STRING(noted(&session), "A rcpt 0 refused 550; A ended reply at rcpt 550; "
                                  "B ended reply at final 250; ");
}

TEST(bodies_in_flight_are_lost_after_the_end)
{
    struct session session;
    struct message a, b;
    fly(&session, &a, &b);
    client_lost(&session.client);
    CHECK_STRING(noted(&session), "A ended lost after at final; B ended lost after at final; ");
}
