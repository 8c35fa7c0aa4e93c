/* The client core: AUTH, from the choice of a mechanism to the peer's last word. */
#include "base/base64.h"
#include "client_session.h"

#define EHLO "EHLO us.example\r\n"

static void meet_with(struct session *session, const char *user, const char *password)
{
    meet(session);
    session->settings.auth =
        (struct sasl_credentials){bytes_from_string(user), bytes_from_string(password), false};
}

/* The same, over TLS, with this AUTH line in EHLO. */
static void meet_secured(struct session *session, const char *line)
{
    meet_with(session, "tim", "tanstaaftanstaaf");
    session->settings.tls = CLIENT_TLS_REQUIRED;
    shake(session, "250-STARTTLS\r\n250-AUTH PLAIN\r\n");
    CHECK_STRING(said(session), "STARTTLS\r\n");
    hear(session, "220 go\r\n");
    client_secured(&session->client);
    CHECK_STRING(said(session), EHLO);
    CHECK_STRING(noted(session), "start tls; ");
    hear(session, "250-mx.example\r\n");
    hear(session, line);
}

TEST(plain_goes_with_the_command_over_tls)
{
    struct session session;
    meet_secured(&session, "250 AUTH CRAM-MD5 LOGIN PLAIN\r\n");
    CHECK_STRING(said(&session), "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n");
    CHECK_STRING(client_awaiting(&session.client), "AUTH");
    hear(&session, "235 2.7.0 ok\r\n");
    CHECK_STRING(noted(&session), "established; ");
    CHECK(client_may_begin(&session.client));
}

TEST(login_is_asked_for_both)
{
    struct session session;
    meet_secured(&session, "250 AUTH=LOGIN\r\n");
    CHECK_STRING(said(&session), "AUTH LOGIN\r\n");
    hear(&session, "334 VXNlcm5hbWU6\r\n");
    CHECK_STRING(said(&session), "dGlt\r\n");
    hear(&session, "334 UGFzc3dvcmQ6\r\n");
    CHECK_STRING(said(&session), "dGFuc3RhYWZ0YW5zdGFhZg==\r\n");
    hear(&session, "235 ok\r\n");
    CHECK_STRING(noted(&session), "established; ");
}

TEST(cram_md5_of_the_example_in_rfc_2195_in_clear)
{
    struct session session;
    meet_with(&session, "tim", "tanstaaftanstaaf");
    shake(&session, "250-AUTH PLAIN CRAM-MD5\r\n");
    CHECK_STRING(said(&session), "AUTH CRAM-MD5\r\n");
    hear(&session, "334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+\r\n");
    CHECK_STRING(said(&session), "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw\r\n");
    hear(&session, "235 ok\r\n");
    CHECK_STRING(noted(&session), "established; ");
}

TEST(no_password_is_shown_in_clear_unless_that_is_allowed)
{
    struct session session;
    meet_with(&session, "tim", "hush");
    shake(&session, "250-AUTH PLAIN LOGIN\r\n");
    CHECK_STRING(said(&session), "");
    CHECK_STRING(noted(&session), "over auth at auth 454; ");
    meet_with(&session, "tim", "hush");
    session.settings.auth.in_clear = true;
    shake(&session, "250-AUTH PLAIN LOGIN\r\n");
    CHECK_STRING(said(&session), "AUTH PLAIN AHRpbQBodXNo\r\n");
}

TEST(without_a_mechanism_or_a_password_no_mail_goes)
{
    struct session session;
    meet_with(&session, "tim", "hush");
    shake(&session, "250-AUTH GSSAPI\r\n250-AUTHORITY PLAIN\r\n");
    CHECK_STRING(noted(&session), "over auth at auth 454; ");
    meet_with(&session, "tim", "");
    shake(&session, "250-AUTH CRAM-MD5\r\n");
    CHECK_STRING(noted(&session), "over auth at auth 454; ");
}

TEST(what_ehlo_said_before_tls_chooses_no_mechanism)
{
    struct session session;
    meet_secured(&session, "250 PIPELINING\r\n");
    CHECK_STRING(noted(&session), "over auth at auth 454; ");
}

TEST(a_refusal_ends_the_session_before_any_mail)
{
    static const char *const rows[][2] = {
        {"535 5.7.8 no\r\n", "over auth at auth 535; "},
        {"454 4.7.0 later\r\n", "over auth at auth 454; "},
        {"421 4.3.2 bye\r\n", "over reply at auth 421; "},
        {"354 go\r\n", "over protocol at auth 354; "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct session session;
        meet_secured(&session, "250 AUTH PLAIN\r\n");
        said(&session);
        hear(&session, rows[i][0]);
        CHECK_STRING(noted(&session), rows[i][1]);
    }
}

TEST(a_challenge_that_is_none_cancels_and_nothing_but_a_refusal_may_follow)
{
    static const char *const challenges[] = {"334 no base64\r\n", "334 \r\n", "334\r\n"};
    for (size_t i = 0; i < sizeof challenges / sizeof *challenges; i++) {
        struct session session;
        meet_with(&session, "tim", "hush");
        shake(&session, "250-AUTH CRAM-MD5\r\n");
        said(&session);
        hear(&session, challenges[i]);
        CHECK_STRING(said(&session), "*\r\n");
        hear(&session, i == 0 ? "501 cancelled\r\n" : i == 1 ? "235 ok\r\n" : "334 \r\n");
        CHECK_STRING(noted(&session), i == 0   ? "over auth at auth 501; "
                                      : i == 1 ? "over protocol at auth 235; "
                                               : "over protocol at auth 334; ");
    }
}

TEST(a_challenge_too_long_to_be_kept_cancels)
{
    static char line[4096];
    struct session session;
    meet_with(&session, "tim", "hush");
    shake(&session, "250-AUTH CRAM-MD5\r\n");
    said(&session);
    snprintf(line, sizeof line, "334 %02000d\r\n", 0);
    hear(&session, line);
    CHECK_STRING(said(&session), "*\r\n");
}

TEST(challenges_do_not_go_on_for_ever)
{
    struct session session;
    meet_secured(&session, "250 AUTH PLAIN\r\n");
    said(&session);
    hear(&session, "334 \r\n"); /* the response was in the command */
    CHECK_STRING(said(&session), "*\r\n");
}

TEST(a_long_initial_response_waits_for_its_challenge)
{
    struct session session;
    char password[SASL_CREDENTIAL_MAX + 1], user[SASL_CREDENTIAL_MAX + 1], wanted[SASL_LINE_MAX];
    memset(password, 'p', sizeof password);
    memset(user, 'u', sizeof user);
    password[SASL_CREDENTIAL_MAX] = user[SASL_CREDENTIAL_MAX] = '\0';
    char text[2 * SASL_CREDENTIAL_MAX + 3];
    int len = snprintf(text, sizeof text, "%c%s%c%s", '\0', user, '\0', password);
    struct buffer out;
    buffer_init(&out, wanted, sizeof wanted - 1);
    base64_put(&out, bytes_of(text, (size_t)len));
    buffer_put(&out, "\r\n", 3);
    meet_with(&session, user, password);
    session.settings.auth.in_clear = true;
    shake(&session, "250-AUTH PLAIN\r\n");
    CHECK_STRING(said(&session), "AUTH PLAIN\r\n");
    hear(&session, "334 \r\n");
    CHECK_STRING(said(&session), wanted);
    hear(&session, "235 ok\r\n");
    CHECK_STRING(noted(&session), "established; ");
}

TEST(what_bears_credentials_is_marked_as_secret)
{
    struct session session;
    struct client_output out;
    meet_with(&session, "tim", "hush");
    hear(&session, "220 mx.example ready\r\n");
    client_next_output(&session.client, &out);
    CHECK(!out.secret);
    client_sent(&session.client);
    hear(&session, "250-mx.example\r\n250 AUTH CRAM-MD5\r\n");
    for (int i = 0; i < 2; i++) {
        client_next_output(&session.client, &out);
        CHECK_INT(out.kind, CLIENT_COMMANDS);
        CHECK(out.secret);
        client_sent(&session.client);
        hear(&session, i == 0 ? "334 PDEuMkB4Pg==\r\n" : "235 ok\r\n");
    }
    static struct message message;
    begin(&session, &message, "0", 1);
    client_next_output(&session.client, &out);
    CHECK(!out.secret && out.commands.len > 0);
}

TEST(helo_knows_no_auth)
{
    struct session session;
    meet_with(&session, "tim", "hush");
    hear(&session, "220 mx.example ready\r\n");
    said(&session);
    hear(&session, "502 what\r\n");
    CHECK_STRING(said(&session), "HELO us.example\r\n");
    hear(&session, "250 mx.example\r\n");
    CHECK_STRING(noted(&session), "over auth at auth 454; ");
}
