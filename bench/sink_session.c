#include "bench/sink_session.h"

#include <strings.h>

enum phase { CONNECTED, GREETED, HAS_SENDER, HAS_RCPT };
enum reading { COMMANDS, LONG_LINE, DATA, CHUNK };

#define PUT(session, literal) outgoing_put(&(session)->out, literal "\r\n", sizeof(literal) + 1)

/* A struct bytes where C wants a constant. */
#define WORD(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

static const char *const capability_names[] = {
#define CAPABILITY(name) #name,
    SINK_CAPABILITIES
#undef CAPABILITY
};

static bool offers(const struct sink_session *session, enum sink_capability capability)
{
    return (session->rules->capabilities & 1u << capability) != 0;
}

static const struct sink_watcher *watcher(const struct sink_session *session)
{
    return session->rules->watcher;
}

static void forget_transaction(struct sink_session *session)
{
    if (session->phase > GREETED) {
        session->phase = GREETED;
    }
    session->rcpt_count = 0;
    session->message_bytes = 0;
    session->chunk_left = 0;
    session->chunk_refused = false;
}

void sink_session_init(struct sink_session *session, struct sink_rules *rules)
{
    session->rules = rules;
    session->user = NULL;
    session->encrypted = false;
    session->phase = CONNECTED;
    session->reading = COMMANDS;
    session->line_len = 0;
    forget_transaction(session);
    outgoing_init(&session->out);
    outgoing_printf(&session->out, "220 %s ESMTP\r\n", rules->host_name);
}

void sink_session_deinit(struct sink_session *session)
{
    outgoing_deinit(&session->out);
}

void sink_session_encrypted(struct sink_session *session)
{
    session->encrypted = true;
    session->phase = CONNECTED;
    forget_transaction(session);
}

uint32_t sink_address_percentile(struct bytes address)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < address.len; i++) {
        char c = address.data[i];
        hash ^= (uint8_t)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
        hash *= 0x100000001b3;
    }
    return (uint32_t)(hash % 100);
}

/* ---- commands ---------------------------------------------------------------------------- */

static enum sink_next on_helo(struct sink_session *session, struct bytes argument)
{
    session->phase = session->phase < GREETED ? GREETED : session->phase;
    forget_transaction(session);
    if (watcher(session) != NULL) {
        watcher(session)->ehlo(session, argument);
    }
    outgoing_printf(&session->out, "250 %s\r\n", session->rules->host_name);
    return SINK_GO_ON;
}

static enum sink_next on_ehlo(struct sink_session *session, struct bytes argument)
{
    session->phase = session->phase < GREETED ? GREETED : session->phase;
    forget_transaction(session);
    if (watcher(session) != NULL) {
        watcher(session)->ehlo(session, argument);
    }
    outgoing_printf(&session->out, "250-%s\r\n", session->rules->host_name);
    for (int i = 0; i < SINK_CAPABILITY_COUNT; i++) {
        if (!offers(session, (enum sink_capability)i) ||
            (i == SINK_OFFERS_STARTTLS && session->encrypted)) {
            continue;
        }
        if (i == SINK_OFFERS_SIZE) {
            outgoing_printf(&session->out, "250-SIZE %llu\r\n",
                            (unsigned long long)session->rules->size_max);
        } else {
            outgoing_printf(&session->out, "250-%s\r\n", capability_names[i]);
        }
    }
    PUT(session, "250 HELP");
    return SINK_GO_ON;
}

/* "FROM:<address> parameters"; many clients put a space behind the colon. */
static bool split_path(struct bytes argument, struct bytes prefix, struct bytes *address,
                       struct bytes *parameters)
{
    if (argument.len < prefix.len || strncasecmp(argument.data, prefix.data, prefix.len) != 0) {
        return false;
    }
    size_t at = prefix.len;
    while (at < argument.len && argument.data[at] == ' ') {
        at++;
    }
    const char *end = memchr(argument.data + at, '>', argument.len - at);
    if (at >= argument.len || argument.data[at] != '<' || end == NULL) {
        return false;
    }
    size_t end_at = (size_t)(end - argument.data);
    *address = bytes_of(argument.data + at + 1, end_at - at - 1);
    *parameters = bytes_of(end + 1, argument.len - end_at - 1);
    return true;
}

static const struct parameter {
    struct bytes keyword;
    bool of_mail; /* else of RCPT */
    enum sink_capability needs;
} parameters_known[] = {
    {WORD("SIZE"), true, SINK_OFFERS_SIZE},         {WORD("BODY"), true, SINK_OFFERS_8BITMIME},
    {WORD("SMTPUTF8"), true, SINK_OFFERS_SMTPUTF8}, {WORD("RET"), true, SINK_OFFERS_DSN},
    {WORD("ENVID"), true, SINK_OFFERS_DSN},         {WORD("NOTIFY"), false, SINK_OFFERS_DSN},
    {WORD("ORCPT"), false, SINK_OFFERS_DSN},
};

static bool parameter_allowed(const struct sink_session *session, struct bytes keyword,
                              bool of_mail)
{
    for (size_t i = 0; i < sizeof parameters_known / sizeof *parameters_known; i++) {
        const struct parameter *known = &parameters_known[i];
        if (known->of_mail == of_mail && known->keyword.len == keyword.len &&
            strncasecmp(known->keyword.data, keyword.data, keyword.len) == 0) {
            return offers(session, known->needs);
        }
    }
    return false;
}

static uint64_t digits_of(struct bytes text)
{
    uint64_t number = 0;
    for (size_t i = 0; i < text.len && text.data[i] >= '0' && text.data[i] <= '9'; i++) {
        number = number * 10 + (uint64_t)(text.data[i] - '0');
    }
    return number;
}

/* Takes " KEYWORD=value" off the front of `parameters`; false at their end. */
static bool next_parameter(struct bytes *parameters, struct bytes *keyword, struct bytes *value)
{
    while (parameters->len > 0 && *parameters->data == ' ') {
        *parameters = bytes_of(parameters->data + 1, parameters->len - 1);
    }
    if (parameters->len == 0) {
        return false;
    }
    const char *space = memchr(parameters->data, ' ', parameters->len);
    size_t len = space == NULL ? parameters->len : (size_t)(space - parameters->data);
    const char *equals = memchr(parameters->data, '=', len);
    size_t keyword_len = equals == NULL ? len : (size_t)(equals - parameters->data);
    *keyword = bytes_of(parameters->data, keyword_len);
    *value = equals == NULL ? bytes_of(NULL, 0) : bytes_of(equals + 1, len - keyword_len - 1);
    *parameters = bytes_of(parameters->data + len, parameters->len - len);
    return true;
}

/* False: a reply of refusal is out. */
static bool check_parameters(struct sink_session *session, struct bytes parameters, bool of_mail)
{
    struct bytes keyword, value;
    while (next_parameter(&parameters, &keyword, &value)) {
        if (!parameter_allowed(session, keyword, of_mail)) {
            PUT(session, "555 5.5.4 Parameter not offered");
            return false;
        }
        if (keyword.len == 4 && strncasecmp(keyword.data, "SIZE", 4) == 0 &&
            digits_of(value) > session->rules->size_max) {
            PUT(session, "552 5.3.4 Message too big");
            return false;
        }
    }
    return true;
}

static enum sink_next on_mail(struct sink_session *session, struct bytes argument)
{
    struct bytes address, parameters;
    if (session->phase != GREETED) {
        PUT(session, "503 5.5.1 Not now");
    } else if (!split_path(argument, BYTES("FROM:"), &address, &parameters)) {
        PUT(session, "501 5.5.4 MAIL FROM:<address>");
    } else if (check_parameters(session, parameters, true)) {
        session->phase = HAS_SENDER;
        if (watcher(session) != NULL) {
            watcher(session)->mail(session, address);
        }
        PUT(session, "250 2.1.0 Ok");
    }
    return SINK_GO_ON;
}

static void answer_rcpt(struct sink_session *session, struct bytes address)
{
    struct sink_rules *rules = session->rules;
    if (rules->deny_percent + rules->defer_percent > 0) {
        uint32_t percentile = sink_address_percentile(address);
        if (percentile < rules->deny_percent) {
            rules->denied_count++;
            PUT(session, "550 5.1.1 No such user");
            return;
        }
        if (percentile < rules->deny_percent + rules->defer_percent) {
            rules->deferred_count++;
            PUT(session, "451 4.7.1 Try again later");
            return;
        }
    }
    if (session->rcpt_count == SINK_RCPT_MAX) {
        PUT(session, "452 4.5.3 Too many recipients");
        return;
    }
    session->phase = HAS_RCPT;
    session->rcpt_count++;
    if (watcher(session) != NULL) {
        watcher(session)->rcpt(session, address);
    }
    PUT(session, "250 2.1.5 Ok");
}

static enum sink_next on_rcpt(struct sink_session *session, struct bytes argument)
{
    struct bytes address, parameters;
    if (session->phase < HAS_SENDER || session->message_bytes > 0) {
        PUT(session, "503 5.5.1 MAIL first");
    } else if (!split_path(argument, BYTES("TO:"), &address, &parameters) || address.len == 0) {
        PUT(session, "501 5.5.4 RCPT TO:<address>");
    } else if (check_parameters(session, parameters, false)) {
        answer_rcpt(session, address);
    }
    return SINK_GO_ON;
}

static enum sink_next on_data(struct sink_session *session, struct bytes argument)
{
    if (session->phase < HAS_SENDER || session->message_bytes > 0) {
        PUT(session, "503 5.5.1 MAIL first");
    } else if (session->phase < HAS_RCPT) {
        PUT(session, "554 5.5.1 No valid recipients");
    } else {
        session->reading = DATA;
        eod_init(&session->eod);
        PUT(session, "354 Go on");
    }
    return SINK_GO_ON;
}

static enum sink_next end_chunk(struct sink_session *session);

static enum sink_next on_bdat(struct sink_session *session, struct bytes argument)
{
    if (!offers(session, SINK_OFFERS_CHUNKING)) {
        PUT(session, "500 5.5.1 Unknown command");
        return SINK_GO_ON;
    }
    if (argument.len == 0 || *argument.data < '0' || *argument.data > '9') {
        PUT(session, "501 5.5.4 BDAT length [LAST]");
        return SINK_CLOSE; /* where the next command begins is not known */
    }
    session->chunk_left = digits_of(argument);
    session->chunk_last =
        argument.len > 5 && strncasecmp(argument.data + argument.len - 5, " LAST", 5) == 0;
    /* RFC 3030 3: the octets of a refused chunk arrive all the same and are thrown away. */
    session->chunk_refused = session->phase < HAS_RCPT;
    session->reading = CHUNK;
    return session->chunk_left == 0 ? end_chunk(session) : SINK_GO_ON;
}

static enum sink_next on_rset(struct sink_session *session, struct bytes argument)
{
    forget_transaction(session);
    PUT(session, "250 2.0.0 Ok");
    return SINK_GO_ON;
}

static enum sink_next on_noop(struct sink_session *session, struct bytes argument)
{
    PUT(session, "250 2.0.0 Ok");
    return SINK_GO_ON;
}

static enum sink_next on_vrfy(struct sink_session *session, struct bytes argument)
{
    PUT(session, "252 2.1.5 Send it and see");
    return SINK_GO_ON;
}

static enum sink_next on_quit(struct sink_session *session, struct bytes argument)
{
    PUT(session, "221 2.0.0 Bye");
    return SINK_CLOSE;
}

static enum sink_next on_starttls(struct sink_session *session, struct bytes argument)
{
    if (!offers(session, SINK_OFFERS_STARTTLS) || session->encrypted) {
        PUT(session, "503 5.5.1 No STARTTLS here");
        return SINK_GO_ON;
    }
    PUT(session, "220 2.0.0 Go ahead");
    return SINK_START_TLS;
}

/* Most frequent first. */
static const struct command {
    struct bytes verb;
    enum sink_next (*run)(struct sink_session *session, struct bytes argument);
} commands[] = {
    {WORD("RCPT"), on_rcpt}, {WORD("MAIL"), on_mail},         {WORD("DATA"), on_data},
    {WORD("BDAT"), on_bdat}, {WORD("RSET"), on_rset},         {WORD("NOOP"), on_noop},
    {WORD("EHLO"), on_ehlo}, {WORD("HELO"), on_helo},         {WORD("QUIT"), on_quit},
    {WORD("VRFY"), on_vrfy}, {WORD("STARTTLS"), on_starttls},
};

/* `line` is without its LF, and without the CR before it if there was one. */
static enum sink_next run_command(struct sink_session *session, struct bytes line)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        struct bytes verb = commands[i].verb;
        if (line.len < verb.len || strncasecmp(line.data, verb.data, verb.len) != 0 ||
            (line.len > verb.len && line.data[verb.len] != ' ')) {
            continue;
        }
        size_t at = line.len > verb.len ? verb.len + 1 : verb.len;
        return commands[i].run(session, bytes_of(line.data + at, line.len - at));
    }
    PUT(session, "500 5.5.1 Unknown command");
    return SINK_GO_ON;
}

/* ---- messages ---------------------------------------------------------------------------- */

static void pass_content(struct sink_session *session, struct bytes piece)
{
    session->message_bytes += piece.len;
    if (watcher(session) != NULL) {
        watcher(session)->content(session, piece);
    }
}

static void end_message(struct sink_session *session)
{
    struct sink_rules *rules = session->rules;
    if (session->message_bytes > rules->size_max) {
        PUT(session, "552 5.3.4 Message too big");
    } else {
        rules->message_count++;
        rules->rcpt_count += session->rcpt_count;
        rules->byte_count += session->message_bytes;
        if (rules->watcher != NULL) {
            rules->watcher->accepted(session);
        }
        PUT(session, "250 2.0.0 Ok");
    }
    forget_transaction(session);
}

static enum sink_next end_chunk(struct sink_session *session)
{
    session->reading = COMMANDS;
    if (session->chunk_refused) {
        PUT(session, "503 5.5.1 RCPT first");
    } else if (session->chunk_last) {
        end_message(session);
    } else {
        PUT(session, "250 2.0.0 Ok");
    }
    return SINK_GO_ON;
}

static enum sink_next take_chunk(struct sink_session *session, struct bytes *in)
{
    size_t len = in->len < session->chunk_left ? in->len : (size_t)session->chunk_left;
    if (!session->chunk_refused) {
        pass_content(session, bytes_of(in->data, len));
    }
    *in = bytes_of(in->data + len, in->len - len);
    session->chunk_left -= len;
    return session->chunk_left == 0 ? end_chunk(session) : SINK_GO_ON;
}

static enum sink_next take_data(struct sink_session *session, struct bytes *in)
{
    struct bytes piece;
    for (;;) {
        switch (eod_next(&session->eod, in, &piece)) {
        case EOD_MORE:
            return SINK_GO_ON;
        case EOD_CONTENT:
            pass_content(session, piece);
            break;
        case EOD_END:
            session->reading = COMMANDS;
            end_message(session);
            return SINK_GO_ON;
        }
    }
}

/* ---- lines ------------------------------------------------------------------------------- */

/* Keeps a line's beginning until the rest arrives. */
static void keep(struct sink_session *session, struct bytes part)
{
    if (session->line_len + part.len > SINK_LINE_MAX) {
        session->reading = LONG_LINE;
        session->line_len = 0;
        return;
    }
    memcpy(session->line + session->line_len, part.data, part.len);
    session->line_len += (uint32_t)part.len;
}

static enum sink_next run_line(struct sink_session *session, struct bytes line)
{
    if (line.len > 0 && line.data[line.len - 1] == '\r') {
        line.len--;
    }
    return run_command(session, line);
}

static enum sink_next take_line(struct sink_session *session, struct bytes *in)
{
    const char *end = memchr(in->data, '\n', in->len);
    struct bytes part = bytes_of(in->data, end == NULL ? in->len : (size_t)(end - in->data));
    size_t taken = end == NULL ? part.len : part.len + 1;
    *in = bytes_of(in->data + taken, in->len - taken);
    if (session->reading == COMMANDS && (end == NULL || session->line_len > 0)) {
        keep(session, part);
        part = bytes_of(session->line, session->line_len);
    }
    if (end == NULL) {
        return SINK_GO_ON;
    }
    session->line_len = 0;
    if (session->reading == LONG_LINE || part.len > SINK_LINE_MAX) {
        session->reading = COMMANDS;
        PUT(session, "500 5.5.2 Line too long");
        return SINK_GO_ON;
    }
    return run_line(session, part);
}

enum sink_next sink_session_input(struct sink_session *session, struct bytes *in)
{
    enum sink_next next = SINK_GO_ON;
    while (in->len > 0 && next == SINK_GO_ON) {
        switch ((enum reading)session->reading) {
        case COMMANDS:
        case LONG_LINE:
            next = take_line(session, in);
            break;
        case DATA:
            next = take_data(session, in);
            break;
        case CHUNK:
            next = take_chunk(session, in);
            break;
        }
    }
    return session->out.overflowed ? SINK_CLOSE : next;
}
