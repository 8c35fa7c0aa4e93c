/* What a receiving host answers: one function per verb, found in a table. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/crypto.h"
#include "sim_mx_session.h"

#define TOKEN_FIELD "X-Sim: "

struct verb {
    const char *name;
    void (*answer)(struct mx_session *session, char *arguments);
};

static bool offers(const struct mx_session *session, enum sim_mx_extension extension)
{
    return session->extended && (session->mx->manners.extensions & extension) != 0;
}

static bool chance(struct mx_session *session, uint32_t per_million)
{
    return sim_chance(session->farm->sim, per_million);
}

static void after_reply(struct mx_session *session, enum mx_after after)
{
    if (session->after == MX_GO_ON) { /* else the reply was turned into a goodbye */
        session->after = after;
    }
}

/* ---- greeting and EHLO ------------------------------------------------------------------ */

void mx_greet(struct mx_session *session)
{
    const struct sim_mx_manners *manners = &session->mx->manners;
    session->phase = MX_NEW;
    session->sync_point = true;
    if (chance(session, manners->refuse)) {
        mx_reply(session, 554, "5.3.2", "no service for you");
        after_reply(session, MX_HANG_UP);
    } else if (chance(session, manners->busy)) {
        mx_reply(session, 421, "4.3.2", "too busy");
        after_reply(session, MX_HANG_UP);
    } else {
        mx_reply(session, 220, "", session->mx->host);
    }
}

static void take_helo(struct mx_session *session, const char *name)
{
    mx_record_close(session);
    snprintf(session->helo, sizeof(session->helo), "%s", name);
    session->phase = MX_IDLE;
}

static void answer_ehlo(struct mx_session *session, char *arguments)
{
    static const char *const words[] = {
        "PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8",
        NULL,         "DSN",      "STARTTLS", "ENHANCEDSTATUSCODES"};
    const struct sim_mx_manners *manners = &session->mx->manners;
    char text[512];
    session->sync_point = true;
    if (manners->no_ehlo) {
        mx_reply(session, 502, "5.5.1", "not implemented");
        return;
    }
    take_helo(session, arguments);
    session->extended = true;
    int len = snprintf(text, sizeof(text), "%s", session->mx->host);
    for (uint32_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        bool hidden = (1u << i) == SIM_MX_STARTTLS && session->tls_open;
        if ((manners->extensions & (1u << i)) == 0 || hidden) {
            continue;
        }
        len += words[i] != NULL
                   ? snprintf(text + len, sizeof(text) - (size_t)len, "\r\n250-%s", words[i])
                   : snprintf(text + len, sizeof(text) - (size_t)len, "\r\n250-SIZE %llu",
                              (unsigned long long)manners->size_max);
    }
    snprintf(text + len, sizeof(text) - (size_t)len, "\r\n250 HELP");
    uint16_t code = mx_reply(session, 250, "", text);
    if (code == 250 && strstr(session->reply, "HELP") != NULL) {
        session->reply[3] = '-'; /* the first of several lines */
    }
    if (code != 250) {
        session->extended = false;
        session->phase = MX_NEW;
    }
}

static void answer_helo(struct mx_session *session, char *arguments)
{
    session->sync_point = true;
    take_helo(session, arguments);
    session->extended = false;
    mx_reply(session, 250, "", session->mx->host);
}

static void answer_starttls(struct mx_session *session, char *arguments)
{
    (void)arguments;
    session->sync_point = true;
    if (!offers(session, SIM_MX_STARTTLS) || session->tls_open) {
        mx_violation(session, "STARTTLS where it is not offered");
        mx_reply(session, 503, "5.5.1", "not offered");
        return;
    }
    if (chance(session, session->mx->manners.break_tls)) {
        bool refuse = chance(session, 500000);
        uint16_t code = mx_reply(session, refuse ? 454 : 220, "", "TLS");
        after_reply(session, code == 220 ? MX_BREAK_TLS : MX_GO_ON);
        return;
    }
    if (mx_reply(session, 220, "2.0.0", "go ahead") == 220) {
        after_reply(session, MX_START_TLS);
    }
}

/* ---- envelope --------------------------------------------------------------------------- */

/* Takes "<path>" off the front; NULL: none is there. */
static char *take_path(char *arguments, const char *prefix, char **rest)
{
    size_t len = strlen(prefix);
    if (strncasecmp(arguments, prefix, len) != 0 || arguments[len] != '<') {
        return NULL;
    }
    char *path = arguments + len + 1;
    bool quoted = false;
    for (char *c = path; *c != '\0'; c++) {
        if (*c == '\\' && c[1] != '\0') {
            c++;
        } else if (*c == '"') {
            quoted = !quoted;
        } else if (*c == '>' && !quoted) {
            *c = '\0';
            *rest = c + 1;
            return strlen(path) < SIM_MX_TEXT_MAX ? path : NULL;
        }
    }
    return NULL;
}

static bool is_ascii(const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if ((uint8_t)*c > 127) {
            return false;
        }
    }
    return true;
}

/* False: answered 552 or 555. */
static bool mail_parameters(struct mx_session *session, char *parameters, const char *path)
{
    bool utf8 = false;
    char *save = NULL;
    for (char *word = strtok_r(parameters, " ", &save); word != NULL;
         word = strtok_r(NULL, " ", &save)) {
        if (strncasecmp(word, "SIZE=", 5) == 0 && offers(session, SIM_MX_SIZE)) {
            if (strtoull(word + 5, NULL, 10) > session->mx->manners.size_max) {
                mx_reply(session, 552, "5.3.4", "too large");
                return false;
            }
        } else if (strcasecmp(word, "BODY=8BITMIME") == 0 && offers(session, SIM_MX_8BITMIME)) {
            session->declared_8bit = true;
        } else if (strcasecmp(word, "SMTPUTF8") == 0 && offers(session, SIM_MX_SMTPUTF8)) {
            utf8 = true;
        } else if (!((strncasecmp(word, "RET=", 4) == 0 || strncasecmp(word, "ENVID=", 6) == 0) &&
                     offers(session, SIM_MX_DSN)) &&
                   strcasecmp(word, "BODY=7BIT") != 0) {
            mx_violation(session, "a parameter of MAIL that was not offered");
            mx_reply(session, 555, "5.5.4", "unknown parameter");
            return false;
        }
    }
    if (!utf8 && !is_ascii(path)) {
        mx_violation(session, "an address in UTF-8 without SMTPUTF8");
    }
    return true;
}

static void answer_mail(struct mx_session *session, char *arguments)
{
    const struct sim_mx_manners *manners = &session->mx->manners;
    char *parameters = NULL;
    if (session->phase != MX_IDLE) {
        mx_reply(session, 503, "5.5.1", "not now");
        return;
    }
    char *path = take_path(arguments, "FROM:", &parameters);
    if (path == NULL) {
        mx_violation(session, "MAIL without a path");
        mx_reply(session, 501, "5.5.4", "no path");
        return;
    }
    session->declared_8bit = false;
    if (!mail_parameters(session, parameters, path)) {
        return;
    }
    bool declared = session->declared_8bit;
    uint16_t code = 250;
    if (chance(session, manners->reject_mail)) {
        code = mx_reply(session, 550, "5.7.1", "not from you");
    } else if (chance(session, manners->defer_mail)) {
        code = mx_reply(session, 451, "4.7.1", "later");
    } else {
        code = mx_reply(session, 250, "2.1.0", "ok");
    }
    if (code == 250) {
        mx_record_open(session, path);
        session->declared_8bit = declared;
        session->phase = MX_MAIL;
    }
}

static uint64_t rcpt_hash(const struct mx_session *session, const char *rcpt)
{
    struct crypto_digest digest;
    crypto_digest_begin(&digest);
    crypto_digest_add(&digest, &session->mx->salt, sizeof(session->mx->salt));
    crypto_digest_add(&digest, rcpt, strlen(rcpt));
    return crypto_digest_end(&digest);
}

static uint32_t accepted_count(const struct sim_mx_record *record)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < record->rcpt_count; i++) {
        count += record->rcpts[i].code == 250;
    }
    return count;
}

static const char *at_length(void)
{
    static char text[800];
    memset(text, 'x', sizeof(text) - 1);
    return text;
}

static uint16_t answer_for_rcpt(struct mx_session *session, const char *rcpt)
{
    const struct sim_mx_manners *manners = &session->mx->manners;
    if (accepted_count(session->record) >= manners->rcpt_max) {
        return mx_reply(session, 452, "4.5.3", "too many recipients");
    }
    if (rcpt_hash(session, rcpt) % 1000000 < manners->reject_rcpt) {
        return mx_reply(session, 550, "5.1.1", "no such user");
    }
    if (!mx_greylist_passed(session, rcpt)) {
        return mx_reply(session, 451, "4.7.1", "greylisted");
    }
    if (chance(session, manners->defer_rcpt)) {
        return mx_reply(session, 450, "4.2.1", manners->wordy ? at_length() : "mailbox busy");
    }
    return mx_reply(session, 250, "2.1.5", "ok");
}

static void answer_rcpt(struct mx_session *session, char *arguments)
{
    char *parameters = NULL;
    char *path = take_path(arguments, "TO:", &parameters);
    if (session->phase != MX_MAIL || session->body_len > 0) {
        mx_reply(session, 503, "5.5.1", "MAIL first");
        return;
    }
    struct sim_mx_record *record = session->record;
    if (path == NULL || record->rcpt_count == SIM_MX_RCPTS_MAX) {
        mx_reply(session, path == NULL ? 501 : 452, path == NULL ? "5.5.4" : "4.5.3", "no");
        return;
    }
    if (*parameters != '\0' && !offers(session, SIM_MX_DSN)) {
        mx_violation(session, "a parameter of RCPT that was not offered");
    }
    struct sim_mx_rcpt *rcpt = &record->rcpts[record->rcpt_count];
    memcpy(rcpt->address, path, strlen(path) + 1);
    rcpt->at_us = sim_now_us(session->farm->sim);
    answer_for_rcpt(session, path);
    session->code_out = &rcpt->code;
    session->rcpt_index = record->rcpt_count++;
}

/* ---- the message ------------------------------------------------------------------------ */

static void answer_data(struct mx_session *session, char *arguments)
{
    (void)arguments;
    session->sync_point = true;
    if (session->phase != MX_MAIL || session->body_len > 0) {
        mx_reply(session, 503, "5.5.1", "RCPT first");
        return;
    }
    if (accepted_count(session->record) == 0) {
        mx_reply(session, 554, "5.5.1", "no valid recipients");
        return;
    }
    if (chance(session, session->mx->manners.refuse_data)) {
        mx_reply(session, 451, "4.3.0", "not now");
        return;
    }
    if (mx_reply(session, 354, "", "go ahead") == 354) {
        session->phase = MX_DATA;
    }
}

static void answer_bdat(struct mx_session *session, char *arguments)
{
    char *end = NULL;
    unsigned long long len = strtoull(arguments, &end, 10);
    if (!offers(session, SIM_MX_CHUNKING)) {
        mx_violation(session, "BDAT where CHUNKING is not offered");
        mx_reply(session, 502, "5.5.1", "not implemented");
        after_reply(session, MX_HANG_UP); /* its octets would be read as commands */
        return;
    }
    session->chunk_left = len;
    session->chunk_last = strcasecmp(end, " LAST") == 0;
    /* RFC 3030 2: the octets follow whatever we think of them. */
    session->chunk_refused = session->phase != MX_MAIL || accepted_count(session->record) == 0;
    session->phase = MX_BDAT;
}

void mx_chunk_end(struct mx_session *session)
{
    if (session->chunk_refused) {
        mx_reply(session, 503, "5.5.1", "no valid recipients");
    } else {
        mx_reply(session, 250, "2.0.0", "octets received");
    }
}

/* What the harness put into the header to know the message by. */
static void read_token(struct sim_mx_record *record, const uint8_t *body, size_t len)
{
    const uint8_t *field = memmem(body, len, TOKEN_FIELD, strlen(TOKEN_FIELD));
    size_t count = 0;
    for (const uint8_t *c = field == NULL ? NULL : field + strlen(TOKEN_FIELD);
         c != NULL && c < body + len && *c != '\r' && count < SIM_MX_TOKEN_MAX - 1; c++) {
        record->token[count++] = (char)*c;
    }
    record->token[count] = '\0';
}

static void keep_message(struct mx_session *session)
{
    struct sim_mx_record *record = session->record;
    struct crypto_digest digest;
    size_t len = session->body_len;
    const uint8_t *end = session->body + len;
    const uint8_t *text = memmem(session->body, len, "\r\n\r\n", 4);
    text = text == NULL ? end : text + 4;
    read_token(record, session->body, len);
    crypto_digest_begin(&digest);
    crypto_digest_add(&digest, text, (size_t)(end - text));
    record->body_len = (uint64_t)(end - text);
    record->body_digest = crypto_digest_end(&digest);
    record->body_whole = true;
    bool eight = session->saw_8bit;
    if (eight && !session->declared_8bit) {
        mx_violation(session, "octets over 127 without BODY=8BITMIME");
    }
}

void mx_body_end(struct mx_session *session)
{
    const struct sim_mx_manners *manners = &session->mx->manners;
    keep_message(session);
    mx_records_read(session); /* no body is sent before the final reply to the one before */
    session->phase = MX_IDLE;
    session->body_len = 0;
    session->after = MX_GO_ON;
    session->is_final = true;
    if (chance(session, manners->withhold)) {
        session->replying = true; /* and nothing will ever be */
        return;
    }
    if (chance(session, manners->reject_body)) {
        mx_reply(session, 554, "5.6.0", "we do not like it");
    } else if (chance(session, manners->defer_body)) {
        mx_reply(session, 451, "4.3.0", "try again");
    } else {
        mx_reply(session, 250, "2.0.0", "queued as 12345");
    }
    session->code_out = &session->record->final_code;
}

/* ---- the rest --------------------------------------------------------------------------- */

static void answer_rset(struct mx_session *session, char *arguments)
{
    (void)arguments;
    mx_record_close(session);
    session->body_len = 0;
    session->phase = session->phase == MX_MAIL ? MX_IDLE : session->phase;
    mx_reply(session, 250, "2.0.0", "ok");
}

static void answer_noop(struct mx_session *session, char *arguments)
{
    (void)arguments;
    mx_reply(session, 250, "2.0.0", "ok");
}

static void answer_quit(struct mx_session *session, char *arguments)
{
    (void)arguments;
    session->sync_point = true;
    mx_records_read(session);
    mx_reply(session, 221, "2.0.0", "bye");
    after_reply(session, MX_HANG_UP);
}

static const struct verb verbs[] = {
    {"EHLO", answer_ehlo}, {"HELO", answer_helo}, {"STARTTLS", answer_starttls},
    {"MAIL", answer_mail}, {"RCPT", answer_rcpt}, {"DATA", answer_data},
    {"BDAT", answer_bdat}, {"RSET", answer_rset}, {"NOOP", answer_noop},
    {"QUIT", answer_quit},
};

void mx_command(struct mx_session *session, char *line)
{
    char *space = strchr(line, ' ');
    char *arguments = space == NULL ? line + strlen(line) : space + 1;
    size_t len = space == NULL ? strlen(line) : (size_t)(space - line);
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strlen(verbs[i].name) == len && strncasecmp(line, verbs[i].name, len) == 0) {
            verbs[i].answer(session, arguments);
            return;
        }
    }
    mx_violation(session, "a command that is none");
    mx_reply(session, 500, "5.5.2", "what?");
}
