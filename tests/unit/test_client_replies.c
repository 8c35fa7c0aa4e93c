/* The client core: what each recipient gets for the replies of a peer, good and hostile. */
#include "client_session.h"

/* ---- refusals --------------------------------------------------------------------------- */

TEST(c12_mixed_recipients_each_get_their_own_answer)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    begin(&session, &message, "A", 3);
    said(&session);
    hear(&session, OK "450 full\r\n" OK "550 unknown\r\n354 go\r\n");
    CHECK_STRING(noted(&session), "A rcpt 0 refused 450; A rcpt 2 refused 550; ");
    CHECK_STRING(said(&session), BODY ".\r\n");
    hear(&session, OK);
    CHECK_STRING(noted(&session), "A ended reply at final 250; ");
    CHECK_INT(message.accepted[1], 1);
    CHECK_INT(message.accepted[0] + message.accepted[2], 0);
}

TEST(c12_data_accepted_without_recipients_gets_a_lone_dot)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    begin(&session, &message, "A", 1);
    said(&session);
    hear(&session, OK "550 unknown\r\n354 go\r\n");
    CHECK_STRING(noted(&session), "A rcpt 0 refused 550; A ended reply at rcpt 550; ");
    CHECK_STRING(said(&session), ".\r\n");
    begin(&session, &message, "B", 1);
    CHECK_STRING(said(&session), "");
    hear(&session, OK);
    CHECK_STRING(noted(&session), "");
    CHECK_STRING(said(&session), "RSET\r\nMAIL FROM:<s@y>\r\nRCPT TO:<a@x>\r\nDATA\r\n");
}

TEST(a_refused_data_is_followed_by_rset)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    begin(&session, &message, "A", 1);
    said(&session);
    hear(&session, OK OK "451 later\r\n");
    CHECK_STRING(noted(&session), "A ended reply at data 451; ");
    begin(&session, &message, "B", 1);
    CHECK_STRING(said(&session), "RSET\r\nMAIL FROM:<s@y>\r\nRCPT TO:<a@x>\r\nDATA\r\n");
}

TEST(no_lone_dot_where_a_recipient_was_accepted_behind_a_refused_mail)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    begin(&session, &message, "A", 1);
    said(&session);
    hear(&session, "451 no\r\n" OK "354 go\r\n");
    CHECK_STRING(noted(&session), "A ended reply at mail 451; over abandon at data 354; ");
    CHECK_STRING(said(&session), "");
}

TEST(c13_a_250_to_data_is_a_protocol_error)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    begin(&session, &message, "A", 1);
    said(&session);
    hear(&session, OK OK OK);
    CHECK_STRING(noted(&session), "A ended lost at data; over protocol at data 250; ");
}

TEST(c7_an_extra_reply_is_never_credited_to_the_next_message)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    begin(&session, &message, "A", 1);
    said(&session);
    hear(&session, OK OK "354 go\r\n");
    said(&session);
    hear(&session, OK OK);
    CHECK_STRING(noted(&session), "A ended reply at final 250; over protocol at quit 250; ");
}

TEST(c7_a_reply_begun_before_the_command_does_not_answer_it)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    hear(&session, "25");
    begin(&session, &message, "A", 1);
    said(&session);
    hear(&session, "0 ok\r\n");
    CHECK_STRING(noted(&session), "A ended lost at mail; over protocol at quit 250; ");
    open_session(&session, PIPELINING);
    hear(&session, "421 idle");
    begin(&session, &message, "B", 1);
    said(&session);
    hear(&session, "\r\n");
    CHECK_STRING(noted(&session), "B ended unattempted at mail; over quit at quit 421; ");
}

TEST(c4_a_broken_reply_defers_and_closes)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    begin(&session, &message, "A", 1);
    said(&session);
    hear(&session, "250_ok\r\n");
    CHECK_STRING(noted(&session), "A ended lost at mail; over protocol at mail; ");
}

TEST(a_reply_has_begun_from_its_first_byte_to_the_end_of_its_last_line)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    begin(&session, &message, "A", 1);
    said(&session);
    CHECK(!client_reply_begun(&session.client));
    hear(&session, "2");
    CHECK(client_reply_begun(&session.client));
    hear(&session, "50-one\r\n");
    CHECK(client_reply_begun(&session.client));
    hear(&session, "250 two\r\n");
    CHECK(!client_reply_begun(&session.client));
}

TEST(c14_a_refusal_during_the_body_is_recorded_and_the_session_closed)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    begin(&session, &message, "A", 1);
    said(&session);
    hear(&session, OK OK "354 go\r\n");
    session.hold_body = true;
    said(&session);
    enum client_stage stage;
    CHECK(client_waiting(&session.client, &stage));
    CHECK_INT(stage, CLIENT_STAGE_BODY);
    hear(&session, "552 too big\r\n");
    CHECK_STRING(noted(&session), "A ended reply at body 552; over abandon at final 552; ");
}

TEST(a_250_before_the_body_has_ended_is_a_protocol_error)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    begin(&session, &message, "A", 1);
    said(&session);
    hear(&session, OK OK "354 go\r\n");
    session.hold_body = true;
    said(&session);
    hear(&session, OK);
    CHECK_STRING(noted(&session), "A ended lost at body; over protocol at final 250; ");
}

TEST(c15_a_connection_lost_after_the_dot_says_so)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    begin(&session, &message, "A", 1);
    said(&session);
    hear(&session, OK OK "354 go\r\n");
    said(&session);
    client_lost(&session.client);
    CHECK_STRING(noted(&session), "A ended lost after at final; ");
}

TEST(c2_421_in_a_pipelined_group_keeps_its_reply)
{
    struct session session;
    struct message message;
    open_session(&session, PIPELINING);
    begin(&session, &message, "A", 2);
    said(&session);
    hear(&session, "421 closing\r\n");
    CHECK_STRING(noted(&session), "A ended reply at mail 421; over reply at mail 421; ");
    open_session(&session, PIPELINING);
    begin(&session, &message, "B", 2);
    said(&session);
    hear(&session, OK OK "421 closing\r\n");
    CHECK_STRING(noted(&session),
                 "B rcpt 1 refused 421; B ended reply at data 421; over reply at rcpt 421; ");
}

TEST(c2_421_is_survived_where_the_peer_stays)
{
    struct session session;
    struct message message;
    meet(&session);
    session.settings.reuse_after_421 = true;
    shake(&session, PIPELINING);
    begin(&session, &message, "A", 2);
    said(&session);
    hear(&session, OK "421 busy\r\n" OK "354 go\r\n");
    said(&session);
    hear(&session, OK);
    CHECK_STRING(noted(&session),
                 "established; A rcpt 0 refused 421; A ended reply at final 250; ");
    begin(&session, &message, "B", 1);
    CHECK(strncmp(said(&session), "RSET\r\n", 6) == 0);
    hear(&session, OK OK "421 busy\r\n");
    client_lost(&session.client);
    CHECK_STRING(noted(&session), "B rcpt 0 refused 421; B ended reply at rcpt 421; ");
}

TEST(c2_behind_a_421_no_body_goes_out_before_the_peer_has_answered)
{
    struct session session;
    struct message message;
    meet(&session);
    session.settings.reuse_after_421 = true;
    shake(&session, PIPELINING CHUNKING);
    begin(&session, &message, "A", 1);
    said(&session);
    hear(&session, OK "421 going\r\n"
                      "503 no\r\n");
    noted(&session);
    begin(&session, &message, "B", 1);
    const char *flight = said(&session);
    CHECK(strstr(flight, "MAIL FROM") != NULL);
    CHECK(strstr(flight, "BDAT") == NULL);
    client_lost(&session.client);
    CHECK_STRING(noted(&session), "B ended unattempted at mail; ");
}

/* ---- secondary replies ------------------------------------------------------------------ */

enum answer { YES, LATER, NEVER, LEAVES, CLOSED, ANSWERS };

struct script {
    enum answer mail, rcpt[2], data, final;
    bool data_354_always; /* a peer that says 354 without recipients */
};

struct peer {
    struct session *session;
    const struct script *script;
    bool mail_ok, in_data, closed;
    int accepted, rcpt_count;
    size_t bdat_left;
};

static void answer(struct peer *peer, enum answer what, const char *yes)
{
    static const char *const replies[] = {NULL, "451 later\r\n", "550 never\r\n",
                                          "421 leaving\r\n"};
    if (what == CLOSED) {
        peer->closed = true;
        client_lost(&peer->session->client);
        return;
    }
    hear(peer->session, what == YES ? yes : replies[what]);
}

static void peer_line(struct peer *peer, const char *line)
{
    const struct script *script = peer->script;
    if (strncmp(line, "MAIL", 4) == 0) {
        peer->mail_ok = script->mail == YES;
        answer(peer, script->mail, OK);
    } else if (strncmp(line, "RCPT", 4) == 0) {
        enum answer what = script->rcpt[peer->rcpt_count++ % 2];
        peer->accepted += peer->mail_ok && what == YES;
        if (peer->mail_ok) {
            answer(peer, what, OK);
        } else {
            hear(peer->session, "503 need MAIL\r\n");
        }
    } else if (strncmp(line, "DATA", 4) == 0) {
        peer->in_data = peer->accepted > 0 ? script->data == YES : script->data_354_always;
        if (peer->accepted > 0 || peer->in_data) {
            answer(peer, peer->accepted > 0 ? script->data : YES, "354 go\r\n");
        } else {
            hear(peer->session, "554 no valid recipients\r\n");
        }
    } else if (strncmp(line, "BDAT ", 5) == 0) {
        peer->bdat_left = strtoul(line + 5, NULL, 10);
    }
}

static void peer_end_of_body(struct peer *peer)
{
    peer->in_data = false;
    if (peer->accepted > 0) {
        answer(peer, peer->script->final, OK);
    } else {
        hear(peer->session, "554 no valid recipients\r\n");
    }
}

/* Reads what was said, line by line and body by body, and answers. */
static void peer_read(struct peer *peer, const char *bytes)
{
    while (*bytes != '\0' && !peer->closed && !peer->session->client.over) {
        if (peer->bdat_left > 0) {
            bytes += peer->bdat_left;
            peer->bdat_left = 0;
            peer_end_of_body(peer);
            continue;
        }
        const char *end = strstr(bytes, "\r\n");
        char line[600];
        assert(end != NULL);
        snprintf(line, sizeof(line), "%.*s", (int)(end - bytes), bytes);
        bytes = end + 2;
        if (!peer->in_data) {
            peer_line(peer, line);
        } else if (strcmp(line, ".") == 0) {
            peer_end_of_body(peer);
        }
    }
}

/* What became of both recipients, in words. */
static void run_script(const struct script *script, const char *lines, bool reuse, char out[8192])
{
    struct session session;
    struct message message;
    struct peer peer = {.session = &session, .script = script};
    meet(&session);
    session.settings.reuse_after_421 = reuse;
    shake(&session, lines);
    noted(&session);
    begin(&session, &message, "A", 2);
    for (int turn = 0; turn < 10 && !session.client.over; turn++) {
        static char flight[65536];
        snprintf(flight, sizeof(flight), "%s", said(&session));
        peer_read(&peer, flight);
    }
    snprintf(out, 8192, "%s", noted(&session));
    char *over = strstr(out, "over ");
    if (over != NULL) {
        *over = '\0';
    }
    if (!session.client.over) {
        CHECK(client_may_begin(&session.client));
    }
}

static const char *code_of(enum answer what)
{
    static const char *const codes[] = {"250", "451", "550", "421"};
    return codes[what];
}

/* The outcomes by the book: RFC 5321 in lock-step, written without looking at the core. */
static void expect_no_data(const struct script *script, bool rcpt_421, char *at)
{
    if (script->data == CLOSED) {
        sprintf(at, "A ended %s; ", rcpt_421 ? "reply at data 421" : "lost at data");
    } else {
        sprintf(at, "A ended reply at data %s; ", code_of(script->data));
    }
}

/* eager: the body is out before any answer, so that a lost connection may have delivered it, and
 * a 421 on the way is waited out. */
static void expect(const struct script *script, bool bdat, bool eager, bool reuse, char out[512])
{
    int accepted = 0;
    char *at = out;
    const char *lost = eager ? "lost after at final" : NULL;
    *at = '\0';
    if (script->mail == CLOSED) {
        sprintf(at, "A ended %s; ", eager ? lost : "lost at mail");
        return;
    }
    if (script->mail != YES) {
        sprintf(at, "A ended reply at mail %s; ", code_of(script->mail));
        return;
    }
    for (int i = 0; i < 2; i++) {
        enum answer what = script->rcpt[i];
        if (what == CLOSED) {
            bool explained = i > 0 && script->rcpt[0] == LEAVES;
            sprintf(at, "A ended %s; ",
                    eager ? lost : (explained ? "reply at rcpt 421" : "lost at rcpt"));
            return;
        }
        accepted += what == YES;
        if (what != YES) {
            at += sprintf(at, "A rcpt %d refused %s; ", i, code_of(what));
        }
        if (what == LEAVES && !reuse && !eager && (accepted > 0 || i == 0)) {
            sprintf(at, "A ended reply at %s 421; ", i == 0 ? "rcpt" : "data");
            return;
        }
    }
    if (accepted == 0) {
        sprintf(at, "A ended reply at rcpt %s; ", code_of(script->rcpt[1]));
    } else if (!bdat && script->data != YES) {
        expect_no_data(script, script->rcpt[1] == LEAVES, at);
    } else if (script->final == CLOSED) {
        sprintf(at, "A ended lost after at final; ");
    } else {
        sprintf(at, "A ended reply at final %s; ", code_of(script->final));
    }
}

static bool same_as_book(const struct script *script, bool reuse)
{
    static const char *const modes[] = {"", PIPELINING, CHUNKING, PIPELINING CHUNKING};
    for (int mode = 0; mode < 4; mode++) {
        char seen[8192], wanted[512];
        expect(script, mode >= 2, mode == 3, reuse, wanted);
        run_script(script, modes[mode], reuse, seen);
        if (strcmp(seen, wanted) != 0) {
            printf("mode %d mail %d rcpt %d %d data %d final %d 354 %d reuse %d:\n  %s\n  %s\n",
                   mode, script->mail, script->rcpt[0], script->rcpt[1], script->data,
                   script->final, script->data_354_always, reuse, seen, wanted);
            return false;
        }
    }
    return true;
}

TEST(c39_secondary_replies_decide_nothing_in_any_mode)
{
    for (int n = 0; n < ANSWERS * ANSWERS * ANSWERS * ANSWERS * ANSWERS * 4; n++) {
        int rest = n / 4;
        struct script script = {.data_354_always = (n & 1) != 0};
        script.mail = (enum answer)(rest % ANSWERS);
        script.rcpt[0] = (enum answer)(rest / 5 % ANSWERS);
        script.rcpt[1] = (enum answer)(rest / 25 % ANSWERS);
        script.data = (enum answer)(rest / 125 % ANSWERS);
        script.final = (enum answer)(rest / 625 % ANSWERS);
        CHECK(same_as_book(&script, (n & 2) != 0));
        if (test_failed) {
            return;
        }
    }
}
