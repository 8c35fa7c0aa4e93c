/* The client core: greeting, EHLO, STARTTLS, QUIT; the commands of a message; any split of the
 * replies. */
#include "client_session.h"

/* ---- session ---------------------------------------------------------------------------- */

static void on_greeted(struct client *client, void *owner, const struct reply *reply)
{
    (void)client;
    note(owner, "greeted %u %.*s; ", reply->code, BYTES_FMT(reply_text(reply)));
}

TEST(a_greeting_that_lets_us_in_is_told_to_who_asks)
{
    struct session session;
    struct client_events asking = events;
    asking.greeted = on_greeted;
    meet(&session);
    client_init(&session.client, &session.settings, &asking, &session);
    shake(&session, "");
    CHECK_STRING(noted(&session), "greeted 220 mx.example ready; established; ");
    client_init(&session.client, &session.settings, &asking, &session);
    hear(&session, "554 go away\r\n");
    CHECK_STRING(noted(&session), "over reply at greeting 554; ");
}

TEST(nothing_is_said_before_the_greeting)
{
    struct session session;
    meet(&session);
    CHECK_STRING(said(&session), "");
    enum client_stage stage;
    CHECK(client_waiting(&session.client, &stage));
    CHECK_INT(stage, CLIENT_STAGE_GREETING);
}

TEST(capabilities_are_read_from_ehlo)
{
    struct session session;
    meet(&session);
    shake(&session, "250-pipelining\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-AUTH=LOGIN\r\n"
                    "250-LIMITS MAILMAX=5 RCPTMAX=50\r\n250-X\x01Y\r\n250-DSN\r\n");
    CHECK_INT(session.client.peer.capabilities,
              CLIENT_CAP_PIPELINING | CLIENT_CAP_SIZE | CLIENT_CAP_8BITMIME | CLIENT_CAP_DSN);
    CHECK_INT(session.client.peer.size_max, 1000);
    CHECK_INT(session.client.peer.rcpt_max, 50);
    CHECK_STRING(session.client.peer.names, "pipelining,SIZE,8BITMIME,AUTH=LOGIN,LIMITS,DSN,HELP");
}

TEST(ignored_capabilities_are_not_used)
{
    struct session session;
    meet(&session);
    session.settings.ignore = CLIENT_CAP_PIPELINING;
    shake(&session, PIPELINING);
    CHECK_INT(session.client.peer.capabilities, 0);
    CHECK_STRING(session.client.peer.names, "PIPELINING,HELP");
}

TEST(c11_ehlo_502_falls_back_to_helo)
{
    struct session session;
    meet(&session);
    hear(&session, "220 mx\r\n");
    said(&session);
    hear(&session, "502 what\r\n");
    CHECK_STRING(said(&session), "HELO us.example\r\n");
    hear(&session, OK);
    CHECK_STRING(noted(&session), "established; ");
    CHECK(session.client.peer.said_helo);
}

TEST(c11_ten_thousand_ehlo_lines_end_the_session)
{
    struct session session;
    meet(&session);
    hear(&session, "220 mx\r\n");
    said(&session);
    for (int i = 0; i < 10000 && !session.client.over; i++) {
        hear(&session, "250-XSOMETHING\r\n");
    }
    CHECK_STRING(noted(&session), "over protocol at ehlo; ");
    CHECK(strlen(session.client.peer.names) < sizeof(session.client.peer.names));
}

TEST(c1_a_greeting_of_554_refuses_the_session)
{
    struct session session;
    meet(&session);
    hear(&session, "554 no\r\n");
    CHECK_STRING(noted(&session), "over reply at greeting 554; ");
    CHECK_STRING(said(&session), "");
}

TEST(c37_our_own_name_is_a_loop)
{
    struct session session;
    meet(&session);
    hear(&session, "220 US.example ESMTP\r\n");
    CHECK_STRING(noted(&session), "over loop at greeting 220; ");
    meet(&session);
    hear(&session, "220 other ESMTP\r\n");
    said(&session);
    hear(&session, "250 us.example greets you\r\n");
    CHECK_STRING(noted(&session), "over loop at ehlo 250; ");
}

TEST(starttls_is_said_where_offered_and_wanted)
{
    struct session session;
    meet(&session);
    session.settings.tls = CLIENT_TLS_OFFERED;
    shake(&session, "250-STARTTLS\r\n" PIPELINING);
    CHECK_STRING(said(&session), "STARTTLS\r\n");
    hear(&session, "220 go\r\n");
    CHECK_STRING(noted(&session), "start tls; ");
    enum client_stage stage;
    CHECK(!client_waiting(&session.client, &stage));
    CHECK_STRING(said(&session), "");
}

TEST(c10_capabilities_from_before_tls_are_forgotten)
{
    struct session session;
    meet(&session);
    session.settings.tls = CLIENT_TLS_REQUIRED;
    shake(&session, "250-STARTTLS\r\n250-SIZE 9\r\n" PIPELINING);
    said(&session);
    hear(&session, "220 go\r\n");
    client_secured(&session.client);
    CHECK_INT(session.client.peer.capabilities, 0);
    CHECK_STRING(said(&session), "EHLO us.example\r\n");
    hear(&session, "250-mx\r\n250 CHUNKING\r\n");
    CHECK_STRING(noted(&session), "start tls; established; ");
    CHECK_INT(session.client.peer.capabilities, CLIENT_CAP_CHUNKING);
    CHECK_INT(session.client.peer.size_max, 0);
}

TEST(c8_plaintext_behind_the_220_of_starttls_ends_the_session)
{
    struct session session;
    meet(&session);
    session.settings.tls = CLIENT_TLS_OFFERED;
    shake(&session, "250-STARTTLS\r\n");
    said(&session);
    hear(&session, "220 go\r\n250 evil\r\n");
    CHECK_STRING(noted(&session), "over protocol at starttls 220; ");
}

TEST(c9_a_refused_starttls_is_never_followed_by_cleartext)
{
    static const char *const replies[] = {"454 later\r\n", "501 no\r\n"};
    for (int i = 0; i < 2; i++) {
        struct session session;
        meet(&session);
        session.settings.tls = CLIENT_TLS_OFFERED;
        shake(&session, "250-STARTTLS\r\n");
        said(&session);
        hear(&session, replies[i]);
        CHECK_STRING(noted(&session),
                     i == 0 ? "over tls at starttls 454; " : "over tls at starttls 501; ");
        CHECK_STRING(said(&session), "");
    }
}

TEST(c43_required_tls_that_is_not_offered_ends_the_session)
{
    struct session session;
    meet(&session);
    session.settings.tls = CLIENT_TLS_REQUIRED;
    shake(&session, PIPELINING);
    CHECK_STRING(noted(&session), "over tls at starttls 454; ");
    CHECK_STRING(said(&session), "");
}

TEST(quit_waits_for_what_is_in_flight)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    begin(&session, &message, "A", 1);
    said(&session);
    client_quit(&session.client);
    hear(&session, OK OK "354\r\n");
    said(&session);
    hear(&session, OK);
    CHECK_STRING(said(&session), "QUIT\r\n");
    hear(&session, "221 bye\r\n");
    CHECK_STRING(noted(&session), "A ended reply at final 250; over quit at quit 221; ");
    hear(&session, "250 more\r\n");
    CHECK_STRING(noted(&session), "");
}

TEST(a_421_to_an_idle_session_refuses_nothing)
{
    struct session session;
    open_session(&session, PIPELINING);
    hear(&session, "421 idle too long\r\n");
    CHECK_STRING(noted(&session), "over quit at quit 421; ");
}

/* ---- commands --------------------------------------------------------------------------- */

TEST(a_message_goes_out_in_lock_step_without_pipelining)
{
    struct session session;
    struct message message;
    open_session(&session, "");
    begin(&session, &message, "A", 2);
    CHECK_STRING(said(&session), "MAIL FROM:<s@y>\r\n");
    hear(&session, OK);
    CHECK_STRING(said(&session), "RCPT TO:<a@x>\r\n");
    hear(&session, OK);
    CHECK_STRING(said(&session), "RCPT TO:<b@x>\r\n");
    hear(&session, OK);
    CHECK_STRING(said(&session), "DATA\r\n");
    hear(&session, "354 go\r\n");
    CHECK_STRING(said(&session), BODY ".\r\n");
    CHECK(!client_may_begin(&session.client));
    hear(&session, OK);
    CHECK_STRING(noted(&session), "A ended reply at final 250; ");
    CHECK(client_may_begin(&session.client));
    CHECK(!client_may_carry(&session.client));
}

TEST(a_message_goes_out_in_two_flights_with_pipelining)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    begin(&session, &message, "A", 2);
    CHECK_STRING(said(&session), "MAIL FROM:<s@y>\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n");
    hear(&session, OK OK OK "354 go\r\n");
    CHECK_STRING(said(&session), BODY ".\r\n");
    hear(&session, OK);
    CHECK_STRING(noted(&session), "A ended reply at final 250; ");
    CHECK_INT(message.accepted[0] + message.accepted[1], 2);
}

TEST(extensions_are_named_where_offered)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING "250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n");
    write_message(&message, "A", 1);
    message.transaction.eight_bit = message.transaction.smtputf8 = true;
    message.transaction.ret_hdrs = true;
    message.transaction.envid = BYTES("a+b=c d");
    message.extra = (struct client_rcpt){.orcpt = BYTES("rfc822;q+1@x"), .notify = 2 | 4 | 8};
    client_begin(&session.client, &message.transaction);
    CHECK_STRING(said(&session),
                 "MAIL FROM:<s@y> SIZE=21 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb+3Dc+20d\r\n"
                 "RCPT TO:<a@x> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;q+2B1@x\r\nDATA\r\n");
}

TEST(dsn_parameters_are_left_out_where_dsn_is_not_offered)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    write_message(&message, "A", 1);
    message.transaction.ret_full = true;
    message.transaction.envid = BYTES("e");
    message.extra = (struct client_rcpt){.orcpt = BYTES("rfc822;q@x"), .notify = 1};
    client_begin(&session.client, &message.transaction);
    CHECK_STRING(said(&session), "MAIL FROM:<s@y>\r\nRCPT TO:<a@x>\r\nDATA\r\n");
}

TEST(an_orcpt_or_envid_over_the_limits_is_left_out)
{
    struct session session;
    struct message message;
    static char big[700];
    memset(big, '+', sizeof(big) - 1);
    memcpy(big, "rfc822;", 7);
    open_session(&session, PIPELINING "250-DSN\r\n");
    write_message(&message, "A", 1);
    message.transaction.envid = bytes_of(big + 7, 40);
    message.extra = (struct client_rcpt){.orcpt = bytes_of(big, 300), .notify = 1};
    client_begin(&session.client, &message.transaction);
    CHECK_STRING(said(&session), "MAIL FROM:<s@y>\r\nRCPT TO:<a@x> NOTIFY=NEVER\r\nDATA\r\n");
}

TEST(c31_what_the_peer_cannot_take_is_not_said)
{
    struct session session;
    struct message message;
    open_session(&session, "250-SIZE 20\r\n");
    begin(&session, &message, "A", 1);
    CHECK_STRING(noted(&session), "A ended unsuitable at mail 552; ");
    write_message(&message, "B", 1);
    message.transaction.body_size = 10;
    message.transaction.eight_bit = true;
    client_begin(&session.client, &message.transaction);
    CHECK_STRING(noted(&session), "B ended unsuitable at mail 554; ");
    write_message(&message, "C", 1);
    message.transaction.body_size = 10;
    message.transaction.smtputf8 = true;
    client_begin(&session.client, &message.transaction);
    CHECK_STRING(noted(&session), "C ended unsuitable at mail 554; ");
    CHECK_STRING(said(&session), "");
    CHECK(client_may_begin(&session.client));
}

TEST(an_address_with_a_line_end_never_reaches_the_wire)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    write_message(&message, "A", 2);
    message.rcpts[0] = "a@x>\r\nRSET\r\n<";
    client_begin(&session.client, &message.transaction);
    CHECK_STRING(noted(&session), "A rcpt 0 refused 553; ");
    CHECK_STRING(said(&session), "MAIL FROM:<s@y>\r\nRCPT TO:<b@x>\r\nDATA\r\n");
    hear(&session, OK "550 no\r\n554 no valid recipients\r\n");
    CHECK_STRING(noted(&session), "A rcpt 1 refused 550; A ended reply at rcpt 550; ");
    write_message(&message, "B", 1);
    message.rcpts[0] = "a\n@x";
    client_begin(&session.client, &message.transaction);
    CHECK_STRING(noted(&session), "B rcpt 0 refused 553; B ended reply at rcpt 553; ");
    write_message(&message, "D", 1);
    message.rcpts[0] = "\xc3\xa4@x";
    client_begin(&session.client, &message.transaction);
    CHECK_STRING(noted(&session), "D rcpt 0 refused 553; D ended reply at rcpt 553; ");
    write_message(&message, "C", 1);
    message.transaction.sender = BYTES("s@y>\r\n");
    client_begin(&session.client, &message.transaction);
    CHECK_STRING(noted(&session), "C ended unsuitable at mail 553; ");
    CHECK_STRING(said(&session), "");
}

static void on_many_rcpt_at(void *owner, const struct client_transaction *transaction,
                            uint32_t index, struct client_rcpt *out)
{
    static char address[64];
    snprintf(address, sizeof(address), "recipient-number-%u@destination.example", index);
    *out = (struct client_rcpt){.address = bytes_from_string(address)};
}

TEST(a_thousand_recipients_go_out_as_the_replies_come)
{
    struct client_events many = events;
    static uint8_t accepted[1000];
    struct session session;
    struct message message;
    meet(&session);
    many.rcpt_at = on_many_rcpt_at;
    session.client.events = &many;
    shake(&session, PIPELINING);
    write_message(&message, "A", 1000);
    message.transaction.rcpt_accepted = accepted;
    client_begin(&session.client, &message.transaction);
    noted(&session);
    int replies = 0, data = 0;
    while (data == 0 && replies < 1100) {
        const char *flight = said(&session);
        CHECK(session.client.outstanding_count <= CLIENT_OUTSTANDING_MAX);
        CHECK(strlen(flight) <= CLIENT_OUT_BYTES);
        data = strstr(flight, "DATA\r\n") != NULL;
        hear(&session, OK);
        replies++;
    }
    while (replies < 1001) {
        hear(&session, OK);
        replies++;
    }
    hear(&session, "354 go\r\n");
    CHECK_STRING(said(&session), BODY ".\r\n");
    hear(&session, OK);
    CHECK_STRING(noted(&session), "A ended reply at final 250; ");
    CHECK_INT(message.transaction.accepted_count, 1000);
}

/* ---- splits ----------------------------------------------------------------------------- */

TEST(any_split_of_the_replies_gives_the_same_events)
{
    const char *bytes = OK "450 full\r\n" OK "354-a\r\n354 go\r\n";
    static char whole[8192];
    for (size_t piece = 0; piece <= strlen(bytes); piece++) {
        struct session session;
        struct message message;
        open_session(&session, PIPELINING);
        begin(&session, &message, "A", 2);
        said(&session);
        for (size_t at = 0; at < strlen(bytes);) {
            size_t n = piece == 0 || piece > strlen(bytes) - at ? strlen(bytes) - at : piece;
            client_receive(&session.client, bytes + at, n);
            at += n;
        }
        CHECK_STRING(said(&session), BODY ".\r\n");
        hear(&session, OK);
        if (piece == 0) {
            snprintf(whole, sizeof(whole), "%s", noted(&session));
        } else {
            CHECK_STRING(noted(&session), whole);
        }
    }
}
