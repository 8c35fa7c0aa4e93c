/* What a session accepts: senders, recipients, messages, and whose they are. */
#include <assert.h>

#include "base/logger.h"
#include "session_internal.h"
#include "spools.h"

#define LINE_MAX_MAX (1u << 30)

/* ---- what is configured ---- */

struct bytes session_host_name(const struct session *session)
{
    struct bytes name = bytes_from_string(session->door->host_name);
    if (name.len == 0) {
        name = config_host_name(session->config);
    }
    if (name.len == 0) {
        name = bytes_from_string(session->home->options.host_name);
    }
    return name.len == 0 ? BYTES("localhost") : bytes_slice(name, 0, SESSION_NAME_MAX);
}

/* default-virtual-mta by-smtp-source-ip: the one that sends from where the client came in. */
static struct bytes vmta_by_address(const struct session *session)
{
    size_t count;
    const struct config_vmta *vmtas = config_vmtas(session->config, &count);
    for (size_t i = 0; i < count; i++) {
        const struct vmta_settings *settings = &vmtas[i].settings;
        for (size_t j = 0; j < settings->source_hosts.count; j++) {
            if (address_range_holds(&settings->source_hosts.items[j].range, &session->local)) {
                return vmtas[i].name;
            }
        }
    }
    return BYTES("{default}");
}

static struct bytes find_default_vmta(const struct session *session)
{
    struct bytes name = session->source->default_virtual_mta;
    if (bytes_equal_nocase(name, BYTES("by-smtp-source-ip"))) {
        return vmta_by_address(session);
    }
    return name.len == 0 ? BYTES("{default}") : name;
}

static void refresh_headers(struct sessions *home, const struct config *config)
{
    if (home->headers_generation == home->generation + 1) {
        return;
    }
    struct error error;
    home->headers_generation = home->generation + 1;
    int result = acct_headers_init(&home->acct_headers, config, &error);
    assert(result == 0); /* a configuration that asks for too much does not load */
}

void session_refresh(struct session *session)
{
    struct sessions *home = session->home;
    const struct config *config = home->options.config(home->options.owner);
    if (config == session->config && session->generation == home->generation) {
        return;
    }
    refresh_headers(home, config);
    session->config = config;
    session->generation = home->generation;
    session->source = config_source_for(config, &session->peer, session->door->source_name);
    session->default_vmta = find_default_vmta(session);
    struct bytes patterns = session->source->pattern_list;
    session->patterns =
        patterns.len == 0 ? NULL : config_rules(config, SCOPE_PATTERN_LIST, patterns);
}

/* ---- the envelope ---- */

static void on_hello(void *owner, struct bytes name, bool extended)
{
    struct session *session = owner;
    assert(name.len <= sizeof(session->helo));
    memcpy(session->helo, name.data, name.len);
    session->helo_len = (uint8_t)name.len;
    session->extended = extended;
}

static const char *make_reply(struct session *session, const char *code, const char *text)
{
    struct sessions *home = session->home;
    struct buffer reply;
    buffer_init(&reply, home->reply, sizeof(home->reply) - 1);
    buffer_put_string(&reply, code);
    buffer_put_char(&reply, ' ');
    buffer_put_string(&reply, text);
    home->reply[reply.len] = '\0';
    return home->reply;
}

static const char full[] = "452 4.3.1 Out of room; try again later";
static const char share_full[] = "452 4.2.2 Too much is queued for this virtual MTA already";

/* Where a new message goes: NULL with *chosen, or the refusal. */
static const char *choose_spool(struct session *session, struct spool **chosen)
{
    const struct sessions_options *options = &session->home->options;
    const char *why = NULL;
    switch (spools_choose(options->spools, options->worker, chosen, &why)) {
    case SPOOL_OK:
        return NULL;
    case SPOOL_FULL:
        return why == NULL ? full : make_reply(session, "452 4.3.1", why);
    case SPOOL_FAILED:
    case SPOOL_IN_DOUBT:
        return "451 4.3.0 The spool has failed; try again later";
    }
    return NULL;
}

static const struct reception_events reception_events;

static const char *on_mail(void *owner, const struct server_mail *mail)
{
    struct session *session = owner;
    struct sessions *home = session->home;
    if (!session->source->smtp_service) {
        return "550 5.7.1 Mail is not accepted from you";
    }
    struct spool *spool = NULL;
    const char *refusal = choose_spool(session, &spool);
    if (refusal != NULL) {
        return refusal;
    }
    /* Where something else may choose another virtual MTA, only the end of the message tells. */
    if (!session->source->process_x_virtual_mta && session->patterns == NULL &&
        !vmta_would_take(home->options.vmtas, session->default_vmta, 1)) {
        return share_full;
    }
    session->reception = reception_open(&home->receptions, spool, home->options.worker, mail,
                                        &reception_events, session, home);
    if (session->reception == NULL) {
        return full;
    }
    session->reception->verp =
        mail->sender.len > 0 && (mail->params->verp || session->source->verp_default);
    home->reception_count++;
    return NULL;
}

static const char *on_rcpt(void *owner, const struct server_rcpt *rcpt)
{
    struct session *session = owner;
    /* Who may put a file into the pickup directory may send. */
    if (!session->source->always_allow_relaying && !session->own) {
        return "550 5.7.1 relaying denied";
    }
    return reception_rcpt(session->reception, rcpt) == RECEPTION_OK ? NULL : full;
}

static void on_reset(void *owner)
{
    struct session *session = owner;
    struct reception *reception = session->reception;
    session->reception = NULL;
    session->home->status.messages_refused++;
    reception_drop(reception);
}

/* ---- the message ---- */

/* Now, as a date field says it; the same text for all messages of a second. */
static const char *date_now(struct session *session)
{
    struct sessions *home = session->home;
    int64_t now_ms = io_wall_ms(home->options.io);
    if (home->date_s != now_ms / 1000 || home->date[0] == '\0') {
        home->date_s = now_ms / 1000;
        date_rfc5322(now_ms, home->date);
    }
    return home->date;
}

/* RFC 5321 4.4. A clause a line; the longest is 350 bytes. Without printf: it is a good part of
 * what accepting a small message costs. */
static void add_trace(struct session *session)
{
    const struct reception *reception = session->reception;
    char memory[RECEPTION_ADDED_MAX / 2], address[ADDRESS_TEXT_MAX];
    struct buffer trace;
    buffer_init(&trace, memory, sizeof(memory));
    buffer_put_string(&trace, "Received: ");
    if (!session->source->hide_message_source && !session->own) {
        buffer_put_string(&trace, "from ");
        buffer_put(&trace, session->helo, session->helo_len);
        buffer_put_string(&trace, session->peer.family == ADDRESS_IPV6 ? " ([IPv6:" : " ([");
        buffer_put_string(&trace, address_text(&session->peer, address));
        buffer_put_string(&trace, "])\r\n\t");
    }
    /* RFC 6531 4.3 and 3848: the protocol names. */
    const char *protocol = reception->smtputf8 ? "UTF8SMTP" : session->extended ? "ESMTP" : "SMTP";
    buffer_put_string(&trace, "by ");
    buffer_put_bytes(&trace, session_host_name(session));
    if (!session->own) {
        buffer_put_string(&trace, " with ");
        buffer_put_string(&trace, protocol);
    }
    struct bytes rcpt = reception_only_rcpt(reception);
    if (rcpt.len > 0 && !reception->rcpt_utf8) {
        buffer_put_string(&trace, "\r\n\tfor <");
        buffer_put_bytes(&trace, rcpt);
        buffer_put_char(&trace, '>');
    }
    buffer_put_string(&trace, ";\r\n\t");
    buffer_put_string(&trace, date_now(session));
    buffer_put_string(&trace, "\r\n");
    assert(!trace.overflowed);
    reception_add(session->reception, buffer_bytes(&trace));
}

/* A field of our own takes the place of the client's. */
static uint32_t retained_headers(const struct source_settings *source)
{
    bool vmta = source->retain_x_virtual_mta && !source->add_x_virtual_mta_header;
    return (vmta ? 1u << HEADER_X_VIRTUAL_MTA : 0u) |
           (source->retain_x_job ? 1u << HEADER_X_JOB : 0u);
}

static const char *on_data(void *owner, struct body **body)
{
    struct session *session = owner;
    const struct source_settings *source = session->source;
    uint64_t line_max = source->max_line_len;
    uint64_t hops_max = source->max_message_hops;
    reception_begin_body(
        session->reception,
        &(struct body_limits){
            .size_max = session->home->settings.size_max,
            .line_max = line_max < LINE_MAX_MAX ? (uint32_t)line_max : LINE_MAX_MAX,
            .received_max = hops_max < UINT32_MAX ? (uint32_t)hops_max : UINT32_MAX,
        });
    session->reception->body.header.retained = retained_headers(source);
    if (source->add_received_header) {
        add_trace(session);
    }
    *body = &session->reception->body;
    session->content_said = 0;
    return NULL;
}

static enum header_fate on_fate(void *owner, struct bytes name)
{
    const struct session *session = owner;
    const struct source_settings *source = session->source;
    if (source->add_date_header == ADD_DATE_OVERRIDE && bytes_equal_nocase(name, BYTES("Date"))) {
        return HEADER_REMOVE;
    }
    for (size_t i = 0; i < source->remove_headers.count; i++) {
        if (bytes_equal_nocase(name, source->remove_headers.items[i])) {
            return HEADER_REMOVE;
        }
    }
    return source->jobid_header.len > 0 && bytes_equal_nocase(name, source->jobid_header)
               ? HEADER_KEEP_TAKE
               : HEADER_KEEP;
}

static bool on_wants(void *owner, struct bytes name)
{
    const struct session *session = owner;
    return (session->patterns != NULL &&
            pattern_list_wants(session->config, session->patterns, name)) ||
           acct_headers_want(&session->home->acct_headers, name);
}

static const char *on_end(void *owner)
{
    struct session *session = owner;
    session->ending = true;
    return NULL;
}

/* ---- the verdict ---- */

struct taken {
    struct bytes value;
    uint32_t count;
    bool malformed;
};

static struct taken take_header(const struct reception *reception, enum header_name name)
{
    const struct header_filter *header = &reception->body.header;
    const struct header_value *value = header_filter_value(header, name);
    return (struct taken){.value = bytes_of(value->text, value->len),
                          .count = header->counts[name],
                          .malformed = value->malformed || header->counts[name] > 1};
}

/* What X-Virtual-MTA asks for: *name, empty where it asks for nothing. */
static const char *named_in_header(const struct session *session, struct bytes *name)
{
    struct taken header = take_header(session->reception, HEADER_X_VIRTUAL_MTA);
    *name = BYTES("");
    if (header.count == 0) {
        return NULL;
    }
    if (!session->source->process_x_virtual_mta) {
        char peer[ADDRESS_TEXT_MAX];
        LOG_INFO("message from %s: X-Virtual-MTA removed and not obeyed: "
                 "process-x-virtual-mta is not set for this source",
                 address_text(&session->peer, peer));
        return NULL;
    }
    if (!header.malformed && header.value.len == 0 && session->source->allow_empty_x_virtual_mta) {
        return NULL;
    }
    *name = header.value;
    return header.malformed || name->len == 0 ? "550 5.6.0 The X-Virtual-MTA header is malformed"
                                              : NULL;
}

static bool next_rcpt(void *owner, size_t *cursor, struct bytes *address)
{
    struct reception *reception = owner;
    if (*cursor == reception->rcpt_count) {
        return false;
    }
    *address = reception->home->envelope[(*cursor)++].address;
    return true;
}

static bool next_header(void *owner, size_t *cursor, struct bytes *name, struct bytes *value)
{
    const struct reception *reception = owner;
    return reception->notes != NULL && header_notes_next(reception->notes, cursor, name, value);
}

/* What the pattern list names; empty: nothing. */
static const char *named_by_patterns(const struct session *session, struct bytes *name)
{
    struct reception *reception = session->reception;
    if (session->patterns == NULL) {
        return NULL;
    }
    reception_rcpts(reception);
    *name = pattern_list_choose(session->config, session->patterns, session->home->matcher,
                                &(struct pattern_list_message){
                                    .owner = reception,
                                    .sender = bytes_of(reception->sender, reception->sender_len),
                                    .next_rcpt = next_rcpt,
                                    .next_header = next_header,
                                });
    return NULL;
}

/* In place of a name that nobody has. */
static struct bytes fallback_vmta(const struct session *session)
{
    struct bytes name = config_global(session->config)->invalid_vmta_fallback;
    return name.len == 0 ? session->default_vmta : name;
}

static struct bytes first_domain(struct reception *reception)
{
    if (reception->rcpt_count == 0) {
        return BYTES("");
    }
    const struct envelope_rcpt *rcpt = reception_rcpts(reception);
    return bytes_slice(rcpt->address, rcpt->address.len - rcpt->domain_len, rcpt->address.len);
}

static const char *choose_vmta(const struct session *session, struct vmta_choice *choice)
{
    struct vmta_chooser *vmtas = session->home->options.vmtas;
    struct bytes name;
    const char *refusal = named_in_header(session, &name);
    if (refusal == NULL && name.len == 0) {
        refusal = named_by_patterns(session, &name);
    }
    if (refusal != NULL) {
        return refusal;
    }
    struct vmta_wish wish = {.name = name.len == 0 ? session->default_vmta : name,
                             .domain = first_domain(session->reception),
                             .rcpt_count = session->reception->rcpt_count};
    enum vmta_answer answer = vmta_choose(vmtas, &wish, choice);
    if (answer == VMTA_UNKNOWN) {
        if (session->source->reject_invalid_virtual_mta) {
            return "550 5.5.0 Unknown virtual MTA";
        }
        wish.name = fallback_vmta(session);
        answer = vmta_choose(vmtas, &wish, choice);
    }
    return answer == VMTA_CHOSEN ? NULL : share_full;
}

static bool is_one_word(struct bytes value)
{
    return value.len > 0 && bytes_find(value, ' ', 0) < 0;
}

static const char *choose_job(const struct session *session, struct bytes *job)
{
    struct taken header = take_header(session->reception, HEADER_X_JOB);
    struct taken alias = take_header(session->reception, HEADER_JOB_ALIAS);
    bool obeyed = session->source->process_x_job && header.count > 0;
    if (!obeyed) {
        header = alias;
    }
    *job = BYTES("");
    if (header.count == 0) {
        return NULL;
    }
    if (header.malformed || !is_one_word(header.value)) {
        return "550 5.6.0 The header with the job id is malformed";
    }
    struct buffer whole;
    buffer_init(&whole, session->home->job, sizeof(session->home->job));
    buffer_put_bytes(&whole, session->source->jobid_prefix);
    buffer_put_bytes(&whole, header.value);
    *job = buffer_bytes(&whole);
    return whole.overflowed ? "550 5.6.0 The job id is too long with its prefix" : NULL;
}

static const char *choose_envid(const struct session *session, struct bytes *envid)
{
    const struct reception *reception = session->reception;
    struct taken header = take_header(reception, HEADER_X_ENVID);
    *envid = bytes_of(reception->envid, reception->envid_len);
    if (header.count == 0 || !session->source->process_x_envid) {
        return NULL;
    }
    *envid = header.value;
    return header.malformed ? "550 5.6.0 The X-Envid header is malformed" : NULL;
}

/* For accounting records; valid until the next message ends. */
static struct bytes keep_headers(const struct session *session)
{
    struct sessions *home = session->home;
    struct bytes name, value;
    struct buffer kept;
    buffer_init(&kept, home->headers, sizeof(home->headers));
    for (size_t cursor = 0; next_header(session->reception, &cursor, &name, &value);) {
        if (acct_headers_want(&home->acct_headers, name)) {
            acct_headers_put(&kept, name, value);
        }
    }
    return buffer_bytes(&kept);
}

/* The length. */
static uint8_t copy_name(char *place, size_t capacity, struct bytes name)
{
    assert(name.len <= capacity);
    if (name.len > 0) {
        memcpy(place, name.data, name.len);
    }
    return (uint8_t)name.len;
}

/* Names outlive a reload until the message's end by being copied. */
static void choose_early(struct session *session)
{
    struct reception_choice *early = &session->reception->early;
    struct vmta_choice choice = {0};
    early->refusal = choose_vmta(session, &choice);
    early->made = true;
    early->vmta_len = copy_name(early->vmta, sizeof(early->vmta), choice.vmta);
    early->pool_len = copy_name(early->pool, sizeof(early->pool), choice.pool);
}

static bool needs_date(const struct session *session)
{
    const struct source_settings *source = session->source;
    return source->add_date_header == ADD_DATE_OVERRIDE ||
           (source->add_date_header == ADD_DATE_YES &&
            session->reception->body.header.counts[HEADER_DATE] == 0);
}

/* RFC 6409 8.2, 8.3: what a submission lacks, where it is configured. */
static void on_header_end(void *owner)
{
    struct session *session = owner;
    const struct source_settings *source = session->source;
    const struct header_filter *header = &session->reception->body.header;
    struct io *io = session->home->options.io;
    char memory[RECEPTION_ADDED_MAX / 2];
    struct buffer fields;
    buffer_init(&fields, memory, sizeof(memory));
    bool date = needs_date(session);
    session->reception->date_at_delivery = date && source->date_header_time == DATE_DELIVERY;
    if (date && source->date_header_time == DATE_RECEPTION) {
        buffer_printf(&fields, "Date: %s\r\n", date_now(session));
    }
    if (source->add_message_id_header && header->counts[HEADER_MESSAGE_ID] == 0) {
        struct bytes host = session_host_name(session);
        buffer_printf(&fields, "Message-ID: <%016llx.%llx@%.*s>\r\n",
                      (unsigned long long)io_random(io), (unsigned long long)io_wall_ms(io),
                      BYTES_FMT(host));
    }
    if (source->add_x_virtual_mta_header) {
        /* A body follows that may be long: it is decided here, and holds at the end. */
        choose_early(session);
        const struct reception_choice *early = &session->reception->early;
        struct bytes name = bytes_of(early->vmta, early->vmta_len);
        if (early->refusal == NULL && bytes_is_ascii(name)) {
            buffer_printf(&fields, "X-Virtual-MTA: %.*s\r\n", BYTES_FMT(name));
        }
    }
    assert(!fields.overflowed);
    if (fields.len > 0) {
        reception_add(session->reception, buffer_bytes(&fields));
    }
}

static const char *final_vmta(const struct session *session, struct vmta_choice *choice)
{
    const struct reception_choice *early = &session->reception->early;
    if (!early->made) {
        return choose_vmta(session, choice);
    }
    choice->vmta = bytes_of(early->vmta, early->vmta_len);
    choice->pool = bytes_of(early->pool, early->pool_len);
    return early->refusal;
}

static const char *decide(const struct session *session, struct reception_verdict *verdict)
{
    struct vmta_choice choice = {0};
    const char *refusal =
        session->reception->notes_lost ? full : choose_job(session, &verdict->job);
    if (refusal == NULL) {
        refusal = choose_envid(session, &verdict->envid);
    }
    if (refusal == NULL) {
        refusal = final_vmta(session, &choice);
    }
    verdict->vmta = choice.vmta;
    verdict->pool = choice.pool;
    verdict->headers = keep_headers(session);
    return refusal;
}

/* The source's bcc becomes one more recipient, after everything has been decided by those that the
 * client named; RFC 3461 4.1: of its fate the sender is told nothing. */
static const char *add_copy(struct session *session)
{
    struct bytes address = session->source->bcc;
    if (address.len == 0) {
        return NULL;
    }
    struct path path;
    enum path_result result = path_parse_address(address, &path);
    assert(result == PATH_OK && path.domain_len > 0); /* policy/check.c: check_bcc */
    const struct rcpt_params params = {.notify = NOTIFY_NEVER};
    const struct server_rcpt rcpt = {
        .address = path_text(&path), .domain_len = path.domain_len, .params = &params};
    return reception_rcpt(session->reception, &rcpt) == RECEPTION_OK ? NULL : full;
}

/* The transaction is over: says so, and lets the reception go. */
static void answer(struct session *session, const char *reply, bool accepted)
{
    struct reception *reception = session->reception;
    session->reception = NULL;
    session_ready(session);
    smtp_server_answer(&session->server, reply, accepted);
    reception_drop(reception);
}

void session_commit(struct session *session)
{
    char peer[ADDRESS_TEXT_MAX];
    struct bytes helo = bytes_of(session->helo, session->helo_len);
    struct bytes source_ip = bytes_from_string(address_text(&session->peer, peer));
    struct reception_verdict verdict = {
        .helo = session->own ? BYTES("") : helo,
        .source_ip = session->own ? BYTES("") : source_ip,
        .picked_up = session->own,
        .accepted_wall_ms = io_wall_ms(session->home->options.io),
        .source_hidden = session->source->hide_message_source,
    };
    assert(session->ending);
    session->ending = false;
    session_refresh(session);
    const char *refusal = decide(session, &verdict);
    if (refusal == NULL) {
        refusal = add_copy(session);
    }
    if (refusal == NULL) {
        reception_commit(session->reception, &verdict);
        return;
    }
    session->home->status.messages_refused++;
    answer(session, refusal, false);
}

static void on_answered(void *owner, enum spool_answer spool_answer)
{
    struct session *session = owner;
    struct sessions_status *status = &session->home->status;
    switch (spool_answer) {
    case SPOOL_OK:
        status->messages++;
        status->recipients += session->reception->rcpt_count;
        status->bytes += session->reception->body.size;
        answer(session, make_reply(session, "250 2.0.0 Ok: queued as", session->reception->id_text),
               true);
        break;
    case SPOOL_FULL:
        status->messages_refused++;
        answer(session, full, false);
        break;
    case SPOOL_FAILED:
    case SPOOL_IN_DOUBT:
        status->messages_refused++;
        answer(session, "451 4.3.0 The message could not be stored; try again", false);
        break;
    }
    session_pump(session);
}

static void on_flowed(void *owner)
{
    session_pump(owner);
}

static const struct reception_events reception_events = {
    .flowed = on_flowed,
    .answered = on_answered,
    .header_end = on_header_end,
    .fate = on_fate,
    .wants = on_wants,
    .released = session_reception_released,
};

static void on_command(void *owner, struct bytes line)
{
    session_log_command(owner, line);
}

static void on_content(void *owner, struct bytes bytes)
{
    session_log_content(owner, bytes);
}

const struct server_events session_server_events = {
    .command = on_command,
    .content = on_content,
    .hello = on_hello,
    .mail = on_mail,
    .rcpt = on_rcpt,
    .data = on_data,
    .end = on_end,
    .reset = on_reset,
};
