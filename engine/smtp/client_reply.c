/* What a reply means: one handler per command.
 *
 * The first failing command decides: MAIL for all recipients, each RCPT for its own, DATA or BDAT
 * where a recipient was accepted. As soon as the last recipient's fate is known the transaction
 * ends; replies that still come to its commands are orphans, consumed and ignored. That is why
 * pipelined and lock-step give the same outcomes: what lock-step would not have said is not heard.
 */
#include <assert.h>

#include "smtp/client_internal.h"

/* ---- ends of transactions --------------------------------------------------------------- */

static struct client_transaction *of(const struct client *client,
                                     const struct client_command *command)
{
    return command->transaction == CLIENT_NO_TRANSACTION
               ? NULL
               : client->transactions[command->transaction];
}

/* All but a delivery. What waits behind it goes back; a body that is not out entirely cannot be
 * taken back from the wire, so the session ends with it. */
static enum client_next fail(struct client *client, struct client_transaction *transaction,
                             enum client_end end, enum client_stage stage)
{
    bool cut = client_body_promised(transaction) && transaction->state != CLIENT_BODY_SAID;
    client_give_back_carried(client, transaction);
    client_end(client, transaction, end, stage, &client->parser.reply);
    return cut ? CLIENT_NEXT_ABANDON : CLIENT_GO_ON;
}

/* The reply to a whole body. */
static enum client_next take_final(struct client *client, struct client_transaction *transaction)
{
    const struct reply *reply = &client->parser.reply;
    bool said = transaction->state == CLIENT_BODY_SAID;
    /* Nobody can have accepted what he has not seen the end of. */
    if (reply_is_intermediate(reply) || (reply_is_positive(reply) && !said)) {
        return CLIENT_NEXT_BROKEN;
    }
    client->last_final_positive = reply_is_positive(reply);
    if (client->last_final_positive) {
        client_end(client, transaction, CLIENT_END_REPLY, CLIENT_STAGE_FINAL, reply);
        return CLIENT_GO_ON;
    }
    return fail(client, transaction, CLIENT_END_REPLY,
                said ? CLIENT_STAGE_FINAL : CLIENT_STAGE_BODY);
}

static void want_reset(struct client *client, enum client_kind kind)
{
    if (client->reset_wanted != CLIENT_KIND_RESYNC) {
        client->reset_wanted = (uint8_t)kind;
    }
}

/* ---- the session ------------------------------------------------------------------------ */

static bool is_our_name(const struct client *client, struct bytes text)
{
    ptrdiff_t space = bytes_find(text, ' ', 0);
    struct bytes name = bytes_slice(text, 0, space < 0 ? text.len : (size_t)space);
    return bytes_equal_nocase(name, bytes_from_string(client->settings->helo_name));
}

/* The firewall leaves of the greeting its code and some of the "2"s, "0"s and blanks in it. */
static bool is_masked(struct bytes text)
{
    bool asterisks = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        asterisks |= c == '*';
        if (c != '*' && c != '2' && c != '0' && c != ' ' && c != '\t') {
            return false;
        }
    }
    return asterisks;
}

static enum client_next on_greeting(struct client *client, const struct client_command *command)
{
    const struct reply *reply = &client->parser.reply;
    if (reply_is_intermediate(reply)) {
        return CLIENT_NEXT_BROKEN;
    }
    if (!reply_is_positive(reply)) {
        return CLIENT_NEXT_REFUSED;
    }
    if (is_our_name(client, reply_text(reply))) {
        return CLIENT_NEXT_LOOP;
    }
    client->masked = is_masked(reply_text(reply));
    if (client->events->greeted != NULL) {
        client->events->greeted(client, client->owner, reply);
    }
    client->state = CLIENT_SAY_EHLO;
    return CLIENT_GO_ON;
}

struct capability {
    const char *keyword;
    uint32_t bit;
};

static const struct capability capabilities[] = {
    {"PIPELINING", CLIENT_CAP_PIPELINING},
    {"CHUNKING", CLIENT_CAP_CHUNKING},
    {"8BITMIME", CLIENT_CAP_8BITMIME},
    {"SMTPUTF8", CLIENT_CAP_SMTPUTF8},
    {"SIZE", CLIENT_CAP_SIZE},
    {"DSN", CLIENT_CAP_DSN},
    {"STARTTLS", CLIENT_CAP_STARTTLS},
    {"ENHANCEDSTATUSCODES", CLIENT_CAP_ENHANCEDSTATUSCODES},
};

/* Takes the next word of *rest. */
static struct bytes next_word(struct bytes *rest)
{
    struct bytes text = bytes_trim(*rest);
    ptrdiff_t space = bytes_find(text, ' ', 0);
    size_t end = space < 0 ? text.len : (size_t)space;
    *rest = bytes_slice(text, end, text.len);
    return bytes_slice(text, 0, end);
}

/* The list of keywords is for people and for records: only what is a keyword goes in. */
static void note_name(struct client_peer *peer, struct bytes keyword)
{
    size_t len = strlen(peer->names);
    if (keyword.len == 0 || len + 1 + keyword.len >= sizeof(peer->names)) {
        return;
    }
    for (size_t i = 0; i < keyword.len; i++) {
        char c = keyword.data[i];
        /* RFC 5321 4.1.1.1: ehlo-keyword. "=" was common once: AUTH=LOGIN. */
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '=')) {
            return;
        }
    }
    if (len > 0) {
        peer->names[len++] = ',';
    }
    memcpy(peer->names + len, keyword.data, keyword.len);
    peer->names[len + keyword.len] = '\0';
}

/* RFC 9422: LIMITS RCPTMAX=100 … */
static void take_limits(struct client_peer *peer, struct bytes rest)
{
    struct bytes prefix = BYTES("RCPTMAX=");
    for (struct bytes word = next_word(&rest); word.len > 0; word = next_word(&rest)) {
        uint64_t max;
        if (bytes_starts_with_nocase(word, prefix) &&
            bytes_to_u64(bytes_slice(word, prefix.len, word.len), 999999, &max)) {
            peer->rcpt_max = (uint32_t)max;
        }
    }
}

static void take_mechanisms(struct client_peer *peer, struct bytes first, struct bytes rest)
{
    peer->mechanisms = sasl_note_offered(peer->mechanisms, first);
    for (struct bytes word = next_word(&rest); word.len > 0; word = next_word(&rest)) {
        peer->mechanisms = sasl_note_offered(peer->mechanisms, word);
    }
}

void client_take_ehlo_line(void *owner, uint16_t code, uint32_t number, struct bytes text)
{
    struct client *client = owner;
    struct client_peer *peer = &client->peer;
    if (number == 0 || code / 100 != 2) {
        return; /* the first line is the greeting */
    }
    struct bytes keyword = next_word(&text);
    note_name(peer, keyword);
    for (size_t i = 0; i < sizeof(capabilities) / sizeof(*capabilities); i++) {
        if (!bytes_equal_nocase(keyword, bytes_from_string(capabilities[i].keyword))) {
            continue;
        }
        peer->capabilities |= capabilities[i].bit & ~client->settings->ignore;
        if (capabilities[i].bit == CLIENT_CAP_SIZE) {
            (void)bytes_to_u64(next_word(&text), UINT64_MAX, &peer->size_max);
        }
    }
    /* Before RFC 2554 it was written "AUTH=LOGIN PLAIN"; some servers say both. */
    if (bytes_equal_nocase(keyword, BYTES("AUTH")) ||
        bytes_starts_with_nocase(keyword, BYTES("AUTH="))) {
        take_mechanisms(peer, bytes_slice(keyword, strlen("AUTH="), keyword.len), text);
    }
    if (bytes_equal_nocase(keyword, BYTES("LIMITS"))) {
        take_limits(peer, text);
    }
}

static enum client_next stand(struct client *client)
{
    client->state = CLIENT_READY;
    client->events->established(client, client->owner);
    return CLIENT_GO_ON;
}

/* Where policy says who we are no mail goes before the peer knows it. */
static enum client_next authenticate(struct client *client)
{
    const struct sasl_credentials *auth = &client->settings->auth;
    if (auth->username.len == 0) {
        return stand(client);
    }
    uint32_t offered = client->peer.mechanisms;
    client->mechanism = (uint8_t)sasl_choose(offered, client->secured, auth->in_clear);
    if (auth->password.len > 0 && client->mechanism != SASL_NONE) {
        client->state = CLIENT_SAY_AUTH;
        return CLIENT_GO_ON;
    }
    const char *why = "AUTH is wanted and the host offers no mechanism of ours";
    if (auth->password.len == 0) {
        why = "AUTH is wanted and no password is configured";
    } else if (offered != SASL_NONE) {
        why = "AUTH is wanted and would show the password: there is no TLS, and policy forbids it";
    }
    reply_make(&client->parser.reply, 454, "4.7.0", why);
    client_finish(client, CLIENT_NEXT_NO_AUTH, CLIENT_STAGE_AUTH, &client->parser.reply);
    return CLIENT_GO_ON;
}

static enum client_next after_hello(struct client *client)
{
    enum client_tls tls = client->settings->tls;
    bool offered = (client->peer.capabilities & CLIENT_CAP_STARTTLS) != 0;
    if (is_our_name(client, reply_text(&client->parser.reply))) {
        return CLIENT_NEXT_LOOP;
    }
    if (client->secured || tls == CLIENT_TLS_NEVER || (!offered && tls == CLIENT_TLS_OFFERED)) {
        return authenticate(client);
    }
    if (!offered) {
        reply_make(&client->parser.reply, 454, "4.7.4", "TLS is required and was not offered");
        client_finish(client, CLIENT_NEXT_NO_TLS, CLIENT_STAGE_STARTTLS, &client->parser.reply);
        return CLIENT_GO_ON;
    }
    client->state = CLIENT_SAY_STARTTLS;
    return CLIENT_GO_ON;
}

static enum client_next on_ehlo(struct client *client, const struct client_command *command)
{
    const struct reply *reply = &client->parser.reply;
    client->parser.line = NULL;
    if (reply_is_intermediate(reply)) {
        return CLIENT_NEXT_BROKEN;
    }
    if (reply_is_positive(reply)) {
        return after_hello(client);
    }
    /* RFC 5321 3.2, RFC 1869 4.5: a server that does not know EHLO gets HELO. */
    if (reply->code == 500 || reply->code == 501 || reply->code == 502 || reply->code == 504) {
        client->state = CLIENT_SAY_HELO;
        return CLIENT_GO_ON;
    }
    return CLIENT_NEXT_REFUSED;
}

static enum client_next on_helo(struct client *client, const struct client_command *command)
{
    const struct reply *reply = &client->parser.reply;
    if (reply_is_intermediate(reply)) {
        return CLIENT_NEXT_BROKEN;
    }
    if (!reply_is_positive(reply)) {
        return CLIENT_NEXT_REFUSED;
    }
    client->peer.said_helo = true;
    return after_hello(client);
}

static enum client_next on_starttls(struct client *client, const struct client_command *command)
{
    const struct reply *reply = &client->parser.reply;
    if (reply->code == 220) {
        return CLIENT_START_TLS;
    }
    if (reply->code < 400) {
        return CLIENT_NEXT_BROKEN;
    }
    /* Also where TLS was only offered: whether to go on in the clear is the owner's to say, and on
     * a new connection, since this server's state is unknown now. */
    return reply->code == 421 ? CLIENT_NEXT_REFUSED : CLIENT_NEXT_NO_TLS;
}

static enum client_next on_auth(struct client *client, const struct client_command *command)
{
    const struct reply *reply = &client->parser.reply;
    bool cancelled = client->auth_cancelled;
    if (reply->code == 334 && !cancelled) {
        client->state = CLIENT_SAY_ANSWER;
        return CLIENT_GO_ON;
    }
    if (reply_is_positive(reply) && !cancelled) {
        return stand(client);
    }
    if (reply->code < 400) {
        return CLIENT_NEXT_BROKEN;
    }
    return reply->code == 421 ? CLIENT_NEXT_REFUSED : CLIENT_NEXT_NO_AUTH;
}

static enum client_next on_rset(struct client *client, const struct client_command *command)
{
    const struct reply *reply = &client->parser.reply;
    if (reply_is_positive(reply)) {
        return CLIENT_GO_ON;
    }
    return reply->code == 421 ? CLIENT_NEXT_QUIT : CLIENT_NEXT_BROKEN;
}

static enum client_next on_quit(struct client *client, const struct client_command *command)
{
    return CLIENT_NEXT_QUIT;
}

/* ---- transactions ----------------------------------------------------------------------- */

static enum client_next on_mail(struct client *client, const struct client_command *command)
{
    const struct reply *reply = &client->parser.reply;
    struct client_transaction *transaction = of(client, command);
    if (reply_is_intermediate(reply)) {
        return CLIENT_NEXT_BROKEN;
    }
    if (transaction == NULL) {
        return CLIENT_GO_ON;
    }
    if (reply->code == 421 && (transaction->carried || client->has_served) &&
        !client_body_promised(transaction)) {
        /* The peer leaves after the messages before: that says nothing about this one. */
        client_end(client, transaction, CLIENT_END_UNATTEMPTED, CLIENT_STAGE_MAIL, NULL);
        return CLIENT_NEXT_QUIT;
    }
    transaction->mail_answered = true;
    if (reply_is_positive(reply)) {
        return CLIENT_GO_ON;
    }
    return fail(client, transaction, CLIENT_END_REPLY, CLIENT_STAGE_MAIL);
}

static enum client_next on_rcpt(struct client *client, const struct client_command *command)
{
    const struct reply *reply = &client->parser.reply;
    struct client_transaction *transaction = of(client, command);
    if (reply_is_intermediate(reply)) {
        return CLIENT_NEXT_BROKEN;
    }
    if (transaction == NULL) {
        if (reply_is_positive(reply)) {
            client->orphan_accepted = true; /* behind a refused MAIL: a peer that is confused */
            want_reset(client, CLIENT_KIND_RSET);
        }
        return CLIENT_GO_ON;
    }
    transaction->rcpts_answered++;
    assert(transaction->rcpts_answered <= transaction->rcpt_count);
    if (reply_is_positive(reply)) {
        transaction->rcpt_accepted[command->rcpt] = 1;
        transaction->accepted_count++;
        return CLIENT_GO_ON;
    }
    client->events->rcpt_refused(client, client->owner, transaction, command->rcpt, reply);
    /* The owner may have taken it back meanwhile; then no other can stand in its place. */
    bool gone = client->transactions_count == 0 || client_nth(client, 0) != transaction;
    if (gone || transaction->accepted_count > 0 ||
        transaction->rcpts_answered < transaction->rcpt_count) {
        return CLIENT_GO_ON;
    }
    want_reset(client, CLIENT_KIND_RSET);
    return fail(client, transaction, CLIENT_END_REPLY, CLIENT_STAGE_RCPT);
}

static enum client_next on_data(struct client *client, const struct client_command *command)
{
    const struct reply *reply = &client->parser.reply;
    struct client_transaction *transaction = of(client, command);
    if (reply_is_positive(reply)) {
        return CLIENT_NEXT_BROKEN;
    }
    if (reply_is_intermediate(reply) && transaction != NULL) {
        assert(transaction->accepted_count > 0);
        transaction->state = CLIENT_BODY_NEXT;
        return CLIENT_GO_ON;
    }
    if (reply_is_intermediate(reply)) {
        /* RFC 2920 3.1: DATA may be accepted though no recipient was; then an empty message ends
         * it. Where a recipient may have been accepted that would be a delivery. */
        client->lone_dot_wanted = true;
        return client->draining || client->orphan_accepted ? CLIENT_NEXT_ABANDON : CLIENT_GO_ON;
    }
    if (transaction == NULL) {
        return CLIENT_GO_ON;
    }
    want_reset(client, CLIENT_KIND_RSET);
    return fail(client, transaction, CLIENT_END_REPLY, CLIENT_STAGE_DATA);
}

static enum client_next on_lone_dot(struct client *client, const struct client_command *command)
{
    return reply_is_intermediate(&client->parser.reply) ? CLIENT_NEXT_BROKEN : CLIENT_GO_ON;
}

static enum client_next on_final(struct client *client, const struct client_command *command)
{
    struct client_transaction *transaction = of(client, command);
    assert(transaction != NULL);
    return take_final(client, transaction);
}

/* BDAT itself is not known here, whatever EHLO said. 500 also stands for lines that are too long.
 */
static bool refuses_bdat(const struct reply *reply)
{
    return reply->code == 502 || reply->code == 503 || reply->code == 504 ||
           (reply->code == 500 && (reply->enhanced_class == 0 || reply->enhanced_subject == 5));
}

static enum client_next on_bdat(struct client *client, const struct client_command *command)
{
    const struct reply *reply = &client->parser.reply;
    struct client_transaction *transaction = of(client, command);
    if (reply_is_intermediate(reply)) {
        return CLIENT_NEXT_BROKEN;
    }
    if (reply_is_positive(reply)) {
        return transaction == NULL ? CLIENT_GO_ON : take_final(client, transaction);
    }
    /* RFC 3030 2: after a failed BDAT the state is indeterminate until RSET. */
    want_reset(client, CLIENT_KIND_RSET);
    if (transaction == NULL) {
        return CLIENT_GO_ON;
    }
    if (refuses_bdat(reply)) {
        /* A server that does not know BDAT reads the body as commands: see where we stand. */
        want_reset(client, CLIENT_KIND_RESYNC);
        client->peer.capabilities &= ~(uint32_t)CLIENT_CAP_CHUNKING;
        client->last_final_positive = false;
        return fail(client, transaction, CLIENT_END_RETRY_DATA, CLIENT_STAGE_FINAL);
    }
    return take_final(client, transaction);
}

/* ---- dispatch --------------------------------------------------------------------------- */

static enum client_next (*const handlers[CLIENT_KIND_COUNT])(struct client *,
                                                             const struct client_command *) = {
#define CLIENT_COMMAND(kind, name, stage, barrier, handler) handler,
#include "smtp/client_commands.def"
#undef CLIENT_COMMAND
};

/* RFC 5321 3.8: the peer is about to leave. Some say 421 and stay. A body that is out still waits
 * for its reply: the peer may have taken it. */
static enum client_next after_421(struct client *client)
{
    want_reset(client, CLIENT_KIND_RSET);
    client->may_leave = true;
    if (client->settings->reuse_after_421) {
        return CLIENT_GO_ON;
    }
    if (client->transactions_count > 0 && client_body_promised(client_nth(client, 0))) {
        client->draining = true;
        return CLIENT_GO_ON;
    }
    return CLIENT_NEXT_REFUSED;
}

enum client_next client_take_reply(struct client *client, const struct client_command *command)
{
    uint16_t code = client->parser.reply.code;
    enum client_next next = handlers[command->kind](client, command);
    return code == 421 && next == CLIENT_GO_ON && !client->over ? after_421(client) : next;
}
