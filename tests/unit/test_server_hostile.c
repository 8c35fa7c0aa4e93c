/* What a client may do to the SMTP server core: the tests are named after the rows of the list of
 * hostile cases, S1 to S45. */
#include "server_script.h"

#define SMUGGLED "MAIL FROM:<evil@z.example>\r\nRCPT TO:<victim@y.example>\r\nDATA\r\n\r\nspam"
#define SPOILED(id, between)                                                                       \
    TEST(id)                                                                                       \
    {                                                                                              \
        fresh();                                                                                   \
        CHECK(begins(TALK(B(MAIL RCPT "DATA\r\n"),                                                 \
                          B("s: t\r\n\r\nhi" between SMUGGLED "\r\n.\r\n"), B("NOOP\r\n")),        \
                     OPENED "550 5."));                                                            \
        CHECK(strstr(said(), QUEUED) == NULL);                                                     \
        CHECK(strcmp(said() + strlen(said()) - strlen(OK), OK) == 0);                              \
        CHECK(strstr(seen(), "evil") == NULL);                                                     \
    }

SPOILED(s1_lf_dot_lf_is_no_end_of_data, "\n.\n")
SPOILED(s2_cr_dot_cr_is_no_end_of_data, "\r.\r")
SPOILED(s3_cr_dot_lf_is_no_end_of_data, "\r.\n")
SPOILED(s4_lf_dot_cr_is_no_end_of_data, "\n.\r")
SPOILED(s5_lf_dot_crlf_is_no_end_of_data, "\n.\r\n")
SPOILED(s6_crlf_dot_lf_is_no_end_of_data, "\r\n.\n")
SPOILED(s7_cr_dot_crlf_is_no_end_of_data, "\r.\r\n")
SPOILED(s8_crlf_dot_cr_is_no_end_of_data, "\r\n.\r")
SPOILED(s9_crlf_nul_dot_crlf_is_no_end_of_data, "\r\n\0.\r\n")
SPOILED(s10_crlf_dot_nul_crlf_is_no_end_of_data, "\r\n.\0\r\n")

TEST(s11_bare_lf_ends_no_command_and_three_end_the_session)
{
    fresh();
    CHECK_STRING(TALK(B("NOOP\n"), B("NOOP\r\n"), B("NOOP\n"), B("NOOP\n"), B("NOOP\r\n")),
                 "500 5.5.2 Bare LF: commands end with CRLF\r\n" OK
                 "500 5.5.2 Bare LF: commands end with CRLF\r\n"
                 "421 4.7.0 Too many bare LFs\r\n");
    CHECK(closing());
}

TEST(s12_control_characters_in_commands_are_refused)
{
    fresh();
    CHECK_STRING(TALK(B("NO\0OP\r\n"), B("NOOP \r x\r\n"), B("NOOP\r\r\n")),
                 "500 5.5.2 Control character in the command\r\n"
                 "500 5.5.2 Control character in the command\r\n"
                 "500 5.5.2 Control character in the command\r\n");
}

TEST(s12_nul_in_the_message_refuses_it)
{
    fresh();
    CHECK(begins(TALK(B(MAIL RCPT "DATA\r\n"), B("\r\na\0b\r\n.\r\n")), OPENED "550 5.6.0"));
}

static char *long_line(const char *verb, size_t len)
{
    char *line = malloc(len + 1);
    memset(line, 'x', len);
    memcpy(line, verb, strlen(verb));
    line[len - 2] = '\r';
    line[len - 1] = '\n';
    line[len] = '\0';
    return line;
}

TEST(s13_command_lines_end_at_512_bytes)
{
    fresh();
    for (size_t len = 511; len <= 514; len++) {
        char *line = long_line("NOOP ", len);
        CHECK_STRING(TALK(bytes_from_string(line), B("NOOP\r\n")),
                     len <= 512 ? OK OK : "500 5.5.2 Line too long\r\n" OK);
        free(line);
    }
}

TEST(s13_mail_and_rcpt_may_be_longer_but_not_over_4096)
{
    fresh();
    for (size_t len = 4094; len <= 4099; len++) {
        char *line = long_line("MAIL FROM:<a@b> ", len);
        CHECK_STRING(TALK(bytes_from_string(line), B("NOOP\r\n")),
                     len <= 4097 ? "555 5.5.4 A parameter is not known here\r\n" OK
                                 : "500 5.5.2 Line too long\r\n" OK);
        free(line);
    }
}

TEST(s13_a_line_of_ten_megabytes_is_read_over)
{
    fresh();
    char *line = long_line("NOOP ", 10 * 1000 * 1000);
    const struct bytes flights[] = {HELO, bytes_from_string(line), B("NOOP\r\n")};
    CHECK_STRING(play_whole(flights, 3), "250 mx.example\r\n500 5.5.2 Line too long\r\n" OK);
    free(line);
}

TEST(s14_a_line_without_an_end_ends_the_session)
{
    fresh();
    open_world(&first);
    static char part[65536];
    memset(part, 'x', sizeof(part));
    uint64_t fed = 0;
    while (smtp_server_waits_for(&first.server) != SERVER_WAITS_CLOSE && fed < 1000000000) {
        feed(&first, part, sizeof(part));
        fed += sizeof(part);
    }
    CHECK(fed > 10 * 1000 * 1000 && fed < 20 * 1000 * 1000);
    CHECK_STRING(said(), "421 4.7.0 A line without an end\r\n");
}

/* Fed until the server closes, or for a gigabyte; the bytes fed. */
static uint64_t feed_endlessly(const char *text, size_t len)
{
    uint64_t fed = 0;
    while (!closing() && fed < 1000000000) {
        feed(&first, text, len);
        fed += len;
    }
    return fed;
}

TEST(s14_a_text_line_without_an_end_ends_the_session)
{
    static char part[65536];
    memset(part, 'x', sizeof(part));
    fresh();
    play_whole(FLIGHTS(HELO, B(MAIL RCPT "DATA\r\n")), 2);
    uint64_t fed = feed_endlessly(part, sizeof(part));
    CHECK(fed > 100000 && fed < 20 * 1000 * 1000);
    CHECK(strstr(said(), "\r\n421 4.7.0 A line") != NULL || strstr(said(), "\r\n552 ") != NULL);
    plan.settings.size_max = 1 << 30;
    play_whole(FLIGHTS(HELO, B(MAIL RCPT "DATA\r\n")), 2);
    fed = feed_endlessly(part, sizeof(part));
    CHECK(fed > 10 * 1000 * 1000 && fed < 20 * 1000 * 1000);
    CHECK(strstr(said(), "\r\n421 4.7.0 A line") != NULL);
}

TEST(s14_a_message_without_an_end_ends_the_session)
{
    static const char line[] = "012345678901234567890123456789012345678901234567890123456789\r\n";
    static char part[62 * 1000 + 1];
    for (size_t i = 0; i < 1000; i++) {
        memcpy(part + i * 62, line, 62);
    }
    fresh();
    play_whole(FLIGHTS(HELO, B(MAIL RCPT "DATA\r\n")), 2);
    uint64_t fed = feed_endlessly(part, 62 * 1000);
    CHECK(fed > 400000 && fed < 20 * 1000 * 1000);
    CHECK(strstr(said(), "\r\n552 5.3.4 ") != NULL);
    fresh();
    CHECK(begins(TALK(B(MAIL RCPT), B("BDAT 9000000000000000000\r\nx")), OK_MAIL OK_RCPT "552 "));
    CHECK(closing());
}

TEST(s15_text_lines_up_to_the_limit_pass_and_longer_ones_refuse_the_message)
{
    fresh();
    char *fits = long_line("x", 1002), *over = long_line("x", 1003);
    CHECK_STRING(TALK(B(MAIL RCPT "DATA\r\n"), B("\r\n"), bytes_from_string(fits), B(".\r\n")),
                 OPENED QUEUED);
    CHECK(begins(TALK(B(MAIL RCPT "DATA\r\n"), B("\r\n"), bytes_from_string(over), B(".\r\n")),
                 OPENED "554 5.6.0"));
    free(fits);
    free(over);
}

TEST(s16_who_talks_first_can_be_refused)
{
    fresh();
    open_world(&first);
    smtp_server_close(&first.server, "554 5.5.1 You talked before the greeting");
    drain(&first);
    CHECK_STRING(said(), "554 5.5.1 You talked before the greeting\r\n");
    CHECK(closing());
}

TEST(s17_nothing_may_follow_data_ehlo_helo_or_starttls_before_the_reply)
{
    static const char *const flights[] = {MAIL RCPT "DATA\r\nspam", "EHLO a\r\nMAIL",
                                          "HELO a\r\n\r", "STARTTLS\r\nNOOP\r\n"};
    fresh();
    for (size_t i = 0; i < 4; i++) {
        CHECK(strstr(TOGETHER(bytes_from_string(flights[i])), "554 5.5.0") != NULL);
        CHECK(closing());
    }
}

TEST(s18_s19_starttls_is_not_offered)
{
    fresh();
    CHECK_STRING(TALK(B("STARTTLS\r\n"), B("STARTTLS x\r\n")),
                 "502 5.5.1 STARTTLS is not offered here\r\n"
                 "501 5.5.4 STARTTLS has no argument\r\n");
    CHECK(begins(TALK(B("AUTH PLAIN AGEAYg==\r\n")), "502 5.5.1"));
}

TEST(s23_mail_parameters_are_checked)
{
    fresh();
    CHECK_STRING(TALK(B("MAIL FROM:<a@b> XYZ=1\r\n")),
                 "555 5.5.4 A parameter is not known here\r\n");
    CHECK(begins(TALK(B("MAIL FROM:<a@b> SIZE=1 SIZE=1\r\n")), "501 5.5.4"));
    CHECK(begins(TALK(B("MAIL FROM:<a@b> SIZE=18446744073709551616\r\n")), "552 5.3.4"));
    CHECK(begins(TALK(B("MAIL FROM:<a@b> SIZE=100001\r\n")), "552 5.3.4"));
    CHECK_STRING(TALK(B("MAIL FROM:<a@b> SIZE=100000\r\n")), OK_MAIL);
    CHECK(begins(TALK(B("MAIL FROM:<a@b> BODY=BINARYMIME\r\n")), "501 5.5.4"));
    CHECK(begins(TALK(B("MAIL FROM:<a@b>SIZE=1\r\n")), "501 5.5.4"));
    CHECK(begins(TALK(B("MAIL TO:<a@b>\r\n")), "501 5.5.4"));
    CHECK(begins(TALK(B("MAIL FROM:a@b\r\n")), "501 5.1.7"));
    CHECK(begins(TALK(B("MAIL FROM:<a>\r\n")), "501 5.1.7"));
}

TEST(s24_recipients_over_the_limit_are_deferred_and_the_others_stand)
{
    fresh();
    plan.settings.rcpts_max = 2;
    CHECK(begins(TALK(B(MAIL RCPT RCPT RCPT "DATA\r\n"), B("\r\n.\r\n")),
                 OK_MAIL OK_RCPT OK_RCPT "452 4.5.3 "));
    CHECK(strstr(said(), QUEUED) != NULL);
}

TEST(s25_recipients_are_checked)
{
    fresh();
    CHECK_STRING(TALK(B(MAIL), B("RCPT TO:<\"a b\"@y>\r\n"), B("RCPT TO:<@a,@b:u@d>\r\n"),
                      B("RCPT TO:<Postmaster>\r\n")),
                 OK_MAIL OK_RCPT OK_RCPT OK_RCPT);
    CHECK(strstr(seen(), "rcpt <\"a b\"@y> 1\nrcpt <u@d> 1\nrcpt <Postmaster@mx.example> 10\n"));
    static const char *const bad[] = {"<>",      "<a>",  "<a@[192.0.2.1]>", "<user@host:25>", "a@b",
                                      "<a b@c>", "<a@b", "<a@b>c"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char line[64];
        snprintf(line, sizeof(line), "RCPT TO:%s\r\n", bad[i]);
        CHECK(begins(TALK(B(MAIL), bytes_from_string(line)), OK_MAIL "501 5."));
    }
    plan.settings.literals = true;
    CHECK_STRING(TALK(B(MAIL), B("RCPT TO:<a@[192.0.2.1]>\r\n")), OK_MAIL OK_RCPT);
}

TEST(s25_utf8_addresses_need_smtputf8)
{
    fresh();
    CHECK(begins(TALK(B("MAIL FROM:<\xc3\xa9@b>\r\n")), "553 5.6.7"));
    CHECK(begins(TALK(B(MAIL), B("RCPT TO:<a@b\xc3\xbc"
                                 "cher.example>\r\n")),
                 OK_MAIL "553 5.6.7"));
    CHECK_STRING(TALK(B("MAIL FROM:<\xc3\xa9@b> SMTPUTF8\r\n"), B("RCPT TO:<\xc3\xbc@b>\r\n")),
                 OK_MAIL OK_RCPT);
    plan.settings.smtputf8 = false;
    CHECK(begins(TALK(B("MAIL FROM:<a@b> SMTPUTF8\r\n")), "555 5.5.4"));
}

TEST(behaviour_35_invalid_utf8_in_a_command_is_refused_and_the_session_goes_on)
{
    fresh();
    CHECK_STRING(TALK(B("\xff\xfe\xfd\r\n"), B("NOOP\r\n")),
                 "501 5.5.2 The command is neither ASCII nor UTF-8\r\n" OK);
}

TEST(s26_data_without_recipients_is_refused_and_its_body_never_taken_for_commands)
{
    fresh();
    CHECK_STRING(TALK(B(MAIL), B("DATA\r\n")), OK_MAIL "503 5.5.1 Not now: RCPT is next\r\n");
    CHECK(begins(TALK(B(MAIL "RCPT TO:<no@y>\r\n"), B("DATA\r\n")),
                 OK_MAIL "550 5.7.1 no\r\n554 5.5.1 No valid recipients\r\n"));
    TOGETHER(B(MAIL "RCPT TO:<no@y>\r\nDATA\r\n\r\n" MAIL RCPT "\r\n.\r\n"));
    CHECK(closing());
    CHECK_STRING(seen(), "helo c.example\nmail <a@x.example>\nrcpt <no@y> 1\nreset\n");
}

TEST(s27_stuffed_lines_come_through_and_are_answered_once)
{
    fresh();
    CHECK_STRING(TALK(B(MAIL RCPT "DATA\r\n"), B("\r\n..\r\n...\r\n....x\r\n\r\n..\r\n.\r\n"),
                      B("QUIT\r\n")),
                 OPENED QUEUED BYE);
    CHECK_BYTES(bytes_of(first.message, first.message_len), "\r\n.\r\n..\r\n...x\r\n\r\n.\r\n");
}

TEST(s28_a_message_in_chunks_goes_through)
{
    fresh();
    CHECK_STRING(TALK(B(MAIL RCPT), B("BDAT 6\r\na: b\r\n"), B("BDAT 2\r\n\r\n"),
                      B("BDAT 3 LAST\r\n.\r\n"), B("QUIT\r\n")),
                 OK_MAIL OK_RCPT "250 2.0.0 Ok: 6 octets\r\n250 2.0.0 Ok: 2 octets\r\n" QUEUED BYE);
    CHECK_BYTES(bytes_of(first.message, first.message_len), "a: b\r\n\r\n.\r\n");
}

TEST(s28_chunks_may_be_pipelined_with_everything)
{
    fresh();
    CHECK_STRING(TALK(B(MAIL RCPT "BDAT 4 LAST\r\n\r\nxy" MAIL RCPT "BDAT 0 LAST\r\nQUIT\r\n")),
                 OK_MAIL OK_RCPT QUEUED OK_MAIL OK_RCPT QUEUED BYE);
}

TEST(s28_a_chunk_without_a_size_is_refused)
{
    static const char *const bad[] = {"BDAT\r\n",         "BDAT x\r\n",
                                      "BDAT -1\r\n",      "BDAT +1\r\n",
                                      "BDAT 0x1\r\n",     "BDAT 18446744073709551616\r\n",
                                      "BDAT 1 FIRST\r\n", "BDAT 1 LAST x\r\n"};
    fresh();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_STRING(TALK(B(MAIL RCPT), bytes_from_string(bad[i])),
                     OK_MAIL OK_RCPT "501 5.5.4 Syntax: BDAT size [LAST]\r\n");
    }
    /* What comes with it may be octets: never commands. */
    TOGETHER(B(MAIL RCPT "BDAT x\r\nRSET\r\n" SMUGGLED));
    CHECK(closing());
}

TEST(s28_a_chunk_without_recipients_is_read_over_before_it_is_refused)
{
    fresh();
    CHECK_STRING(TALK(B("BDAT 6 LAST\r\nQUIT\r\n"), B("NOOP\r\n")),
                 "503 5.5.1 BDAT needs MAIL and RCPT before it\r\n" OK);
    CHECK_STRING(RAW(B("BDAT 6\r\nQUIT\r\n"), B("NOOP\r\n")),
                 "503 5.5.1 BDAT needs MAIL and RCPT before it\r\n" OK);
}

TEST(s28_data_and_rcpt_after_a_chunk_are_refused)
{
    fresh();
    CHECK_STRING(TALK(B(MAIL RCPT "BDAT 2\r\n\r\n"), B("DATA\r\n"), B(RCPT), B("BDAT 0 LAST\r\n")),
                 OK_MAIL OK_RCPT "250 2.0.0 Ok: 2 octets\r\n"
                                 "503 5.5.1 Not now: the message comes by BDAT\r\n"
                                 "503 5.5.1 Not now: the message comes by BDAT\r\n" QUEUED);
}

TEST(s28_an_empty_last_chunk_is_a_message)
{
    fresh();
    CHECK_STRING(TALK(B(MAIL RCPT), B("BDAT 0 LAST\r\n")), OK_MAIL OK_RCPT QUEUED);
    CHECK_BYTES(bytes_of(first.message, first.message_len), "\r\n");
}

TEST(s28_chunks_over_the_size_limit_are_refused_in_step)
{
    fresh();
    plan.settings.size_max = 10;
    CHECK_STRING(TALK(B(MAIL RCPT), B("BDAT 8\r\na: b\r\n\r\n"), B("BDAT 6\r\nQUIT\r\n"),
                      B("BDAT 6 LAST\r\nQUIT\r\n"), B("NOOP\r\n")),
                 OK_MAIL OK_RCPT "250 2.0.0 Ok: 8 octets\r\n"
                                 "552 5.3.4 The message is larger than is accepted here\r\n"
                                 "503 5.5.1 BDAT needs MAIL and RCPT before it\r\n" OK);
    CHECK_STRING(seen(), "helo c.example\nmail <a@x.example>\nrcpt <b@y.example> 9\nreset\n");
}

TEST(s28_chunks_where_they_are_not_offered_are_read_over)
{
    fresh();
    plan.settings.chunking = false;
    CHECK_STRING(TALK(B(MAIL RCPT), B("BDAT 6 LAST\r\nQUIT\r\n"), B("NOOP\r\n")),
                 OK_MAIL OK_RCPT "502 5.5.1 CHUNKING is not offered here\r\n" OK);
}

TEST(s44_bare_cr_and_lf_and_nul_in_chunks_refuse_the_message)
{
    fresh();
    CHECK(begins(TALK(B(MAIL RCPT), B("BDAT 5 LAST\r\n\r\na\nb"), B("NOOP\r\n")),
                 OK_MAIL OK_RCPT "550 5.5.2"));
    CHECK(begins(TALK(B(MAIL RCPT), B("BDAT 5 LAST\r\n\r\na\rb")), OK_MAIL OK_RCPT "550 5.5.2"));
    CHECK(begins(TALK(B(MAIL RCPT), B("BDAT 5 LAST\r\n\r\na\0b")), OK_MAIL OK_RCPT "550 5.6.0"));
    CHECK(begins(TALK(B(MAIL RCPT), B("BDAT 3\r\n\r\n\r"), B("BDAT 2 LAST\r\nab")),
                 OK_MAIL OK_RCPT "250 2.0.0 Ok: 3 octets\r\n550 5.5.2"));
    CHECK_STRING(TALK(B(MAIL RCPT), B("BDAT 4\r\n\r\na\r"), B("BDAT 2 LAST\r\n\nb")),
                 OK_MAIL OK_RCPT "250 2.0.0 Ok: 4 octets\r\n" QUEUED);
}

TEST(s33_talk_without_mail_ends_the_session)
{
    static const char *const talk[] = {"RSET\r\n", "NOOP\r\n", "VRFY a\r\n", "HELP\r\n"};
    fresh();
    for (size_t i = 0; i < 4; i++) {
        open_world(&first);
        feed(&first, "HELO a\r\n", 8);
        for (int n = 1; n < 100; n++) {
            feed(&first, talk[i], strlen(talk[i]));
            CHECK(!closing());
        }
        feed(&first, talk[i], strlen(talk[i]));
        CHECK(closing());
        CHECK(strstr(said(), "421 4.7.0 ") != NULL);
    }
}

TEST(s33_talk_inside_a_transaction_counts_too)
{
    fresh();
    open_world(&first);
    feed(&first, "HELO a\r\n", 8);
    for (int n = 0; n < 60; n++) {
        feed(&first, MAIL "RSET\r\n", sizeof(MAIL) - 1 + 6);
    }
    CHECK(!closing());
    feed(&first, MAIL, sizeof(MAIL) - 1);
    for (int n = 0; n < 60; n++) {
        feed(&first, "NOOP\r\n", 6);
    }
    CHECK(closing());
}

TEST(s33_giving_up_on_refused_recipients_is_no_idle_talk)
{
    fresh();
    open_world(&first);
    feed(&first, "HELO a\r\n", 8);
    for (int n = 0; n < 500; n++) {
        static const char dialogue[] = MAIL "RCPT TO:<no@y>\r\nRSET\r\n";
        feed(&first, dialogue, sizeof(dialogue) - 1);
    }
    CHECK(!closing());
}

TEST(s33_talk_between_messages_is_counted_anew)
{
    fresh();
    open_world(&first);
    feed(&first, "HELO a\r\n", 8);
    for (int n = 0; n < 300; n++) {
        static const char dialogue[] =
            "NOOP\r\nRSET\r\n" MAIL RCPT "RSET\r\n" MAIL RCPT "BDAT 0 LAST\r\n";
        feed(&first, dialogue, sizeof(dialogue) - 1);
    }
    CHECK(!closing());
    CHECK_INT(first.server.messages, 300);
}

TEST(s33_twenty_protocol_errors_end_the_session)
{
    fresh();
    open_world(&first);
    for (int n = 1; n < 20; n++) {
        feed(&first, "FOO\r\n", 5);
    }
    CHECK(!closing());
    feed(&first, "FOO\r\n", 5);
    CHECK(closing());
}

TEST(s34_vrfy_expn_etrn_and_help_are_answered)
{
    fresh();
    CHECK_STRING(
        TALK(B("VRFY a\r\n"), B("EXPN a\r\n"), B("ETRN a\r\n"), B("HELP\r\n"), B("FOO\r\n")),
        "252 2.0.0 Send mail and it will be tried\r\n"
        "502 5.5.1 This command is not implemented\r\n"
        "502 5.5.1 This command is not implemented\r\n"
        "214 2.0.0 HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT: RFC 5321\r\n"
        "500 5.5.2 Command not recognized\r\n");
}

TEST(s34_other_protocols_end_the_session)
{
    fresh();
    RAW(B("GET / HTTP/1.1\r\n"), B("Host: x\r\n" MAIL));
    CHECK(closing());
    RAW(B("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nHELO a\r\n" MAIL));
    CHECK(closing());
    CHECK_STRING(RAW(B("\x16\x03\x01\x02\x00\x01\x00\x01")), "");
    CHECK(closing());
    CHECK_STRING(seen(), "");
}

TEST(s40_dsn_parameters_are_refused_or_taken)
{
    static const char *const bad[] = {"NOTIFY=NEVER,FAILURE", "ORCPT=rfc822;+ZZ",
                                      "NOTIFY=DELAY NOTIFY=DELAY", "ORCPT=x"};
    fresh();
    for (size_t i = 0; i < 4; i++) {
        char line[100];
        snprintf(line, sizeof(line), "RCPT TO:<b@y> %s\r\n", bad[i]);
        CHECK(begins(TALK(B(MAIL), bytes_from_string(line)), OK_MAIL "501 5.5.4"));
    }
    CHECK_STRING(TALK(B("MAIL FROM:<a@b> RET=HDRS ENVID=x+2Dy\r\n"),
                      B("RCPT TO:<b@y> NOTIFY=NEVER ORCPT=rfc822;b@y\r\n")),
                 OK_MAIL OK_RCPT);
}

TEST(s42_a_failed_commit_is_never_a_250)
{
    fresh();
    plan.final_answer = "451 4.3.0 failed";
    CHECK_STRING(TALK(B(MAIL RCPT "DATA\r\n"), B("\r\n.\r\n"), B(MAIL)),
                 OPENED "451 4.3.0 failed\r\n" OK_MAIL);
    CHECK_INT(first.server.messages, 0);
}

TEST(s29_a_disconnect_after_the_final_dot_drops_nothing)
{
    fresh();
    play_whole(FLIGHTS(HELO, B(MAIL RCPT "DATA\r\n")), 2);
    smtp_server_feed(&first.server, "\r\n.\r\n", 5);
    smtp_server_lost(&first.server);
    CHECK(strstr(seen(), "reset") == NULL);
}
