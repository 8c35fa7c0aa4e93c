/* What sessions do for clients that mean well. */
#include "session_world.h"

TEST(a_message_is_accepted_with_the_id_of_the_spool)
{
    open_world(SOURCE(""));
    begin(&client);
    send_message(&client, "s: t\r\n\r\nhi\r\n.\r\n");
    expect(&client, "250 2.0.0 Ok: queued as 0123456789ABCDEFGHIJ\r\n");
    CHECK_STRING(envelope(),
                 "<a@x> vmta={default} pool= job= envid= helo=c.example ip=127.0.0.1 flags=0"
                 " <b@y>");
    say(&client, "QUIT\r\n");
    expect(&client, "221 ");
    expect_end(&client);
    hang_up(&client);
    struct sessions_status status;
    sessions_status(sessions, &status);
    CHECK_INT(status.open, 0);
    CHECK_INT(status.transactions, 0);
    CHECK_INT(status.messages, 1);
    CHECK_INT(spool.aborted, 0);
    close_world();
}

TEST(the_trace_field_stands_first_and_is_well_formed)
{
    open_world(SOURCE(""));
    begin(&client);
    send_message(&client, "s: t\r\n\r\nhi\r\n.\r\n");
    expect(&client, "250 ");
    static const char start[] = "Received: from c.example ([127.0.0.1])\r\n"
                                "\tby mx.example with ESMTP\r\n\tfor <b@y>;\r\n\t";
    CHECK(strncmp(body(), start, strlen(start)) == 0);
    CHECK(strstr(body(), " +0000\r\ns: t\r\n\r\nhi\r\n") != NULL);
    hang_up(&client);
    close_world();
}

/* effect: source add-received-header */
/* effect: source hide-message-source */
TEST(the_trace_field_is_left_out_or_hides_the_source_where_configured)
{
    open_world(SOURCE("add-received-header no\n"));
    begin(&client);
    send_message(&client, "s: t\r\n\r\nhi\r\n.\r\n");
    expect(&client, "250 ");
    CHECK_STRING(body(), "s: t\r\n\r\nhi\r\n");
    hang_up(&client);
    close_world();
    open_world(SOURCE("hide-message-source yes\n"));
    begin(&client);
    send_message(&client, "s: t\r\n\r\nhi\r\n.\r\n");
    expect(&client, "250 ");
    CHECK(strncmp(body(), "Received: by mx.example with ESMTP\r\n", 36) == 0);
    CHECK(strstr(envelope(), " flags=8 ") != NULL);
    hang_up(&client);
    close_world();
}

TEST(many_recipients_with_their_parameters_reach_the_spool_in_order)
{
    open_world(SOURCE(""));
    begin(&client);
    say(&client, "MAIL FROM:<>\r\n");
    expect(&client, "250 ");
    static char group[64 * 1000], wanted[64 * 1000];
    struct buffer rcpts, expected;
    buffer_init(&rcpts, group, sizeof(group));
    buffer_init(&expected, wanted, sizeof(wanted));
    buffer_put_string(&expected,
                      "<> vmta={default} pool= job= envid= helo=c.example ip=127.0.0.1 flags=0");
    for (int i = 0; i < 700; i++) {
        buffer_printf(&rcpts, "RCPT TO:<user%d@y> NOTIFY=NEVER ORCPT=rfc822;o%d\r\n", i, i);
        buffer_printf(&expected, " <user%d@y>rfc822;o%d never", i, i);
    }
    buffer_put_string(&rcpts, "DATA\r\n");
    say_bytes(&client, buffer_bytes(&rcpts));
    expect(&client, "354 ");
    say(&client, "\r\n.\r\n");
    expect(&client, "250 2.0.0 Ok: queued");
    CHECK(bytes_equal(buffer_bytes(&spool.envelope), buffer_bytes(&expected)));
    hang_up(&client);
    close_world();
}

TEST(relaying_is_denied_unless_it_is_allowed)
{
    open_world("<source 127/8>\nsmtp-service yes\n</source>\n");
    begin(&client);
    say(&client, "MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n");
    expect(&client, "550 5.7.1 relaying denied\r\n");
    hang_up(&client);
    CHECK_INT(spool.given_back, 1);
    close_world();
}

/* effect: source smtp-service */
TEST(a_source_without_service_is_told_521)
{
    open_world("<source 127/8>\nsmtp-service no\n</source>\n");
    dial(&client);
    expect(&client, "521 5.3.2 mx.example does not accept mail from you\r\n");
    expect_end(&client);
    hang_up(&client);
    close_world();
}

/* A body of 300,000 bytes, of which the spool takes some now and then. */
TEST(a_spool_that_is_behind_stops_the_reading_and_loses_nothing)
{
    open_world(SOURCE("add-received-header no\n"));
    begin(&client);
    static char message[300000];
    struct buffer out;
    buffer_init(&out, message, sizeof(message) - 8);
    buffer_put_string(&out, "s: t\r\n\r\n");
    for (int i = 0; buffer_printf(&out, "line %d\r\n", i); i++) {
    }
    size_t len = out.len;
    out.overflowed = false;
    out.capacity = sizeof(message);
    buffer_put_string(&out, ".\r\n");
    say(&client, GROUP);
    expect(&client, "354 ");
    spool.room = 1000;
    size_t at = 0;
    for (int turns = 0; turns < 20000 && !ends_with_line(&client, "250 2.0.0"); turns++) {
        ssize_t sent = send(client.fd, message + at, out.len - at, MSG_NOSIGNAL);
        at += sent > 0 ? (size_t)sent : 0;
        if (turns % 3 == 0) {
            spool.room += 997;
        }
        turn();
        hear(&client);
    }
    CHECK(ends_with_line(&client, "250 2.0.0"));
    CHECK_INT(spool.body.len, len);
    CHECK(memcmp(spool.body.data, message, len) == 0);
    hang_up(&client);
    close_world();
}

TEST(commands_behind_a_final_dot_wait_for_the_answer)
{
    open_world(SOURCE(""));
    begin(&client);
    send_message(&client, "");
    spool.holds_answers = true;
    say(&client, "\r\n1\r\n.\r\n" GROUP);
    TURNS_UNTIL(spool.committed_count == 1);
    for (int i = 0; i < 20; i++) {
        turn();
    }
    hear(&client);
    CHECK_INT(client.len, 0);
    spool.holds_answers = false;
    expect(&client, "354 ");
    say(&client, "\r\n2\r\n.\r\nQUIT\r\n");
    expect(&client, "221 ");
    CHECK_INT(spool.begun, 2);
    hang_up(&client);
    close_world();
}

TEST(a_client_that_shuts_its_side_still_gets_its_answers)
{
    open_world(SOURCE(""));
    begin(&client);
    send_message(&client, "\r\n1\r\n.\r\nNOOP\r\n");
    shutdown(client.fd, SHUT_WR);
    expect(&client, "250 2.0.0 Ok\r\n");
    expect_end(&client);
    hang_up(&client);
    close_world();
}

TEST(a_client_that_never_reads_cannot_hold_a_session_for_ever)
{
    open_world(SOURCE("smtp-command-timeout 1s\n"));
    begin(&client);
    int small = 1024;
    setsockopt(client.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    struct sessions_status status = {.open = 1};
    uint64_t start = io_now_ms(io);
    while (io_now_ms(io) - start < 10000 && status.open > 0) {
        static const char talk[] = "FOO\r\nMAIL FROM:<a@x>\r\nRSET\r\n";
        send(client.fd, talk, sizeof(talk) - 1, MSG_NOSIGNAL);
        turn();
        sessions_status(sessions, &status);
    }
    CHECK_INT(status.open, 0);
    hang_up(&client);
    close_world();
}

static void on_drained(void *owner)
{
    drained = true;
}

TEST(a_drain_ends_when_the_last_transaction_does)
{
    static struct client idle;
    open_world(SOURCE(""));
    begin(&client);
    begin(&idle);
    send_message(&client, "");
    sessions_drain(sessions, on_drained);
    for (int i = 0; i < 20; i++) {
        turn();
    }
    CHECK(!drained);
    say(&idle, "NOOP\r\n");
    expect(&idle, "421 4.3.2 ");
    say(&client, "\r\n1\r\n.\r\n");
    expect(&client, "250 2.0.0 Ok: queued");
    TURNS_UNTIL(drained);
    CHECK(drained);
    say(&client, "MAIL FROM:<a@x>\r\n");
    expect(&client, "421 4.3.2 ");
    hang_up(&idle);
    hang_up(&client);
    close_world();
}

TEST(a_stop_tells_those_who_wait_and_waits_for_the_spool)
{
    static struct client idle;
    open_world(SOURCE(""));
    begin(&client);
    begin(&idle);
    spool.holds_answers = true;
    send_message(&client, "\r\n1\r\n.\r\n");
    TURNS_UNTIL(spool.committed_count == 1);
    sessions_stop(sessions, on_stopped);
    expect(&idle, "421 4.3.2 ");
    expect_end(&idle);
    close(idle.fd);
    CHECK(!stopped);
    spool.holds_answers = false;
    TURNS_UNTIL((hear(&client), client.ended));
    CHECK(strstr(client.text, "250 2.0.0 Ok: queued") != NULL);
    CHECK(ends_with_line(&client, "421 4.3.2 "));
    close(client.fd);
    TURNS_UNTIL(stopped);
    close_world();
}

TEST(a_reload_reaches_a_session_that_is_open)
{
    open_world(SOURCE(""));
    begin(&client);
    struct config *old = config;
    config = load_good("<source 127/8>\nalways-allow-relaying no\n</source>\n");
    vmta_chooser_reload(vmtas, config);
    sessions_reload(sessions);
    config_free(old);
    say(&client, "MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n");
    expect(&client, "550 5.7.1 ");
    hang_up(&client);
    close_world();
}

TEST(a_port_that_is_taken_is_an_error_in_words)
{
    open_world(SOURCE(""));
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_INT(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    CHECK_INT(listen(fd, 1), 0);
    getsockname(fd, (struct sockaddr *)&at, &len);
    struct error error;
    struct listener *second = listener_open(
        &(struct listener_options){
            .io = io,
            .sessions = sessions,
            .address = {.family = ADDRESS_IPV4, .port = ntohs(at.sin_port), .ip = {127, 0, 0, 1}}},
        &error);
    CHECK(second == NULL);
    CHECK(strstr(error.text, "cannot listen on 127.0.0.1:") != NULL);
    close(fd);
    close_world();
}
