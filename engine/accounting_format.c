#include "accounting_format.h"

#include <assert.h>

#include "accounting_layout.h"
#include "accounting_time.h"
#include "base/json.h"
#include "base/utf8.h"

/* ---- values ------------------------------------------------------------------------------- */

static struct bytes text_at(const struct event *event, size_t offset)
{
    return *(const struct bytes *)((const char *)event + offset);
}

static uint64_t number_at(const struct event *event, size_t offset)
{
    return *(const uint64_t *)((const char *)event + offset);
}

#define HOST_TEXT_MAX (2 * 4096 + 8) /* two texts as long as the journal keeps them */

static struct bytes host_text(const struct accounting_field *field, const struct event *event,
                              char memory[HOST_TEXT_MAX])
{
    struct bytes host = text_at(event, field->first), ip = text_at(event, field->second);
    if (ip.len == 0) {
        return host;
    }
    struct buffer out;
    buffer_init(&out, memory, HOST_TEXT_MAX);
    buffer_put_bytes(&out, host);
    buffer_put_string(&out, host.len > 0 ? " (" : "(");
    buffer_put_bytes(&out, ip);
    buffer_put_char(&out, ')');
    return buffer_bytes(&out);
}

/* A tq of a queue that got no connection has no source address; readers expect one. */
static struct bytes source_ip(const struct accounting_field *field,
                              const struct accounting_form *form, const struct event *event)
{
    struct bytes ip = text_at(event, field->first);
    return ip.len == 0 && form->record == RECORD_QUEUE ? BYTES("0.0.0.0") : ip;
}

static void put_time(const struct accounting_layout *layout, struct buffer *out, uint64_t wall_ms)
{
    if (layout->iso_times) {
        accounting_put_time(out, wall_ms);
    } else {
        buffer_put_u64(out, wall_ms / 1000);
    }
}

/* A clock that was set back does not make a time negative. */
static uint64_t seconds_between(const struct event *event, const struct accounting_field *field)
{
    uint64_t from_ms = number_at(event, field->first), to_ms = number_at(event, field->second);
    return to_ms > from_ms ? (to_ms - from_ms) / 1000 : 0;
}

void accounting_put_eid(struct buffer *out, struct accounting_place place)
{
    static const char hex[] = "0123456789abcdef";
    char text[ACCOUNTING_EID_LEN];
    for (int i = 0; i < 16; i++) {
        text[i] = hex[place.log_id >> (60 - 4 * i) & 15];
        text[17 + i] = hex[place.sequence >> (60 - 4 * i) & 15];
    }
    text[16] = '-';
    buffer_put(out, text, sizeof text);
}

/* ---- text in CSV --------------------------------------------------------------------------- */

enum { CLASS_QUOTE = 1, CLASS_CONTROL = 2, CLASS_HIGH = 4 };

/* RFC 4180 section 2, rules 5 to 7: a comma, a quote or a line end asks for quotes; line ends are
 * controls and never written as they are, so that a line is a record for simple readers too. */
#define QUOTE      CLASS_QUOTE
#define CONTROL    CLASS_CONTROL
#define HIGH       CLASS_HIGH
#define FOUR(c)    c, c, c, c
#define SIXTEEN(c) FOUR(c), FOUR(c), FOUR(c), FOUR(c)
static const uint8_t classes[256] = {
    SIXTEEN(CONTROL),
    SIXTEEN(CONTROL), /* 00-1F */
    0,
    0,
    QUOTE,
    0,
    FOUR(0),
    FOUR(0),
    QUOTE,
    0,
    0,
    0, /* 20-2F */
    SIXTEEN(0),
    SIXTEEN(0),
    SIXTEEN(0),
    SIXTEEN(0), /* 30-6F */
    FOUR(0),
    FOUR(0),
    FOUR(0),
    0,
    0,
    0,
    CONTROL, /* 70-7F */
    SIXTEEN(HIGH),
    SIXTEEN(HIGH),
    SIXTEEN(HIGH),
    SIXTEEN(HIGH), /* 80-BF */
    SIXTEEN(HIGH),
    SIXTEEN(HIGH),
    SIXTEEN(HIGH),
    SIXTEEN(HIGH), /* C0-FF */
};

static void put_hex(struct buffer *out, uint8_t byte)
{
    static const char hex[] = "0123456789ABCDEF";
    const char text[4] = {'\\', 'x', hex[byte >> 4], hex[byte & 15]};
    buffer_put(out, text, sizeof text);
}

/* Valid characters that some reader takes for a control or a line end: U+0080 to U+009F (a
 * terminal's second set of controls), U+2028 and U+2029. */
static bool is_hidden_control(const uint8_t *at, size_t len)
{
    return (len == 2 && at[0] == 0xC2 && at[1] < 0xA0) ||
           (len == 3 && at[0] == 0xE2 && at[1] == 0x80 && (at[2] == 0xA8 || at[2] == 0xA9));
}

/* The length of the run from `from` that is written as it is. */
static size_t plain_run(struct bytes text, size_t from)
{
    size_t at = from;
    while (at < text.len) {
        uint8_t class = classes[(uint8_t)text.data[at]];
        size_t len = class == 0 ? 1 : class == CLASS_HIGH ? utf8_length_at(text, at) : 0;
        if (len == 0 || is_hidden_control((const uint8_t *)text.data + at, len)) {
            break;
        }
        at += len;
    }
    return at - from;
}

/* What stands at `from` is not to be written as it is; the count of bytes taken. */
static size_t put_escaped(struct buffer *out, struct bytes text, size_t from)
{
    if (text.data[from] == ',') {
        buffer_put_char(out, ',');
        return 1;
    }
    if (text.data[from] == '"') {
        buffer_put(out, "\"\"", 2);
        return 1;
    }
    size_t len = utf8_length_at(text, from);
    len = len == 0 ? 1 : len;
    for (size_t i = 0; i < len; i++) {
        put_hex(out, (uint8_t)text.data[from + i]);
    }
    return len;
}

/* A spreadsheet runs a cell that begins so. An address may begin with + or -, and both stand
 * harmlessly in mail; = and @ begin no address that is in use. */
static bool is_formula(struct bytes text)
{
    return text.data[0] == '=' || text.data[0] == '@';
}

static void put_text(struct buffer *out, struct bytes text)
{
    if (text.len == 0) {
        return;
    }
    uint8_t seen = 0;
    for (size_t i = 0; i < text.len; i++) {
        seen |= classes[(uint8_t)text.data[i]];
    }
    bool formula = is_formula(text);
    if (seen == 0 && !formula) {
        buffer_put(out, text.data, text.len);
        return;
    }
    if ((seen & CLASS_QUOTE) != 0) {
        buffer_put_char(out, '"');
    }
    size_t at = 0;
    if (formula) {
        put_hex(out, (uint8_t)text.data[at++]);
    }
    while (at < text.len) {
        size_t plain = plain_run(text, at);
        buffer_put(out, text.data + at, plain);
        at += plain;
        at += at < text.len ? put_escaped(out, text, at) : 0;
    }
    if ((seen & CLASS_QUOTE) != 0) {
        buffer_put_char(out, '"');
    }
}

/* ---- a record ------------------------------------------------------------------------------ */

static void put_csv_value(const struct accounting_layout *layout,
                          const struct accounting_field *field, const struct accounting_form *form,
                          const struct event *event, struct buffer *out)
{
    char memory[HOST_TEXT_MAX];
    switch (field->kind) {
    case FIELD_TEXT:
        put_text(out, text_at(event, field->first));
        break;
    case FIELD_TIME:
        if (number_at(event, field->first) != 0) {
            put_time(layout, out, number_at(event, field->first));
        }
        break;
    case FIELD_NUMBER:
        buffer_put_u64(out, number_at(event, field->first));
        break;
    case FIELD_ACTION:
        buffer_put_string(out, form->action);
        break;
    case FIELD_HOST:
        put_text(out, host_text(field, event, memory));
        break;
    case FIELD_SOURCE_IP:
        put_text(out, source_ip(field, form, event));
        break;
    case FIELD_SECONDS:
        buffer_put_u64(out, seconds_between(event, field));
        break;
    case FIELD_USER_STRING:
        put_text(out, layout->user_string);
        break;
    case FIELD_HEADER:
    case FIELD_NONE:
        break;
    }
}

static void format_csv(const struct accounting_layout *layout, const struct accounting_form *form,
                       const struct event *event, struct buffer *out)
{
    buffer_put_string(out, form->letter);
    for (uint32_t i = 0; i < layout->column_count; i++) {
        const struct accounting_column *column = &layout->columns[i];
        buffer_put_char(out, ',');
        struct bytes header;
        if ((column->records & RECORD_BIT(form->record)) == 0) {
            continue;
        }
        if (accounting_layout_header(layout, column, form, event, &header)) {
            put_text(out, header);
        } else {
            put_csv_value(layout, &column->field, form, event, out);
        }
    }
    buffer_put_string(out, "\r\n");
}

/* ---- a line of JSON ------------------------------------------------------------------------ */

static void put_json_text(struct json_writer *json, const char *name, struct bytes text)
{
    if (text.len > 0) {
        json_put_string(json, name, text);
    }
}

static void put_json_number(struct json_writer *json, const char *name, uint64_t number)
{
    if (number != 0) {
        json_put_u64(json, name, number);
    }
}

static void put_json_time(const struct accounting_layout *layout, struct json_writer *json,
                          const char *name, uint64_t wall_ms)
{
    char memory[24];
    struct buffer text;
    if (wall_ms == 0) {
        return;
    }
    if (!layout->iso_times) {
        json_put_u64(json, name, wall_ms / 1000);
        return;
    }
    buffer_init(&text, memory, sizeof memory);
    accounting_put_time(&text, wall_ms);
    json_put_string(json, name, buffer_bytes(&text));
}

static void put_json_value(const struct accounting_layout *layout,
                           const struct accounting_field *field, const struct accounting_form *form,
                           const struct event *event, struct json_writer *json)
{
    char memory[HOST_TEXT_MAX];
    switch (field->kind) {
    case FIELD_TEXT:
        put_json_text(json, field->name, text_at(event, field->first));
        break;
    case FIELD_TIME:
        put_json_time(layout, json, field->name, number_at(event, field->first));
        break;
    case FIELD_NUMBER:
        put_json_number(json, field->name, number_at(event, field->first));
        break;
    case FIELD_ACTION:
        put_json_text(json, field->name, bytes_from_string(form->action));
        break;
    case FIELD_HOST:
        put_json_text(json, field->name, host_text(field, event, memory));
        break;
    case FIELD_SOURCE_IP:
        put_json_text(json, field->name, source_ip(field, form, event));
        break;
    case FIELD_SECONDS:
        json_put_u64(json, field->name, seconds_between(event, field));
        break;
    case FIELD_USER_STRING:
        put_json_text(json, field->name, layout->user_string);
        break;
    case FIELD_HEADER:
    case FIELD_NONE:
        break;
    }
}

/* What a program wants beyond the columns; the names are those of every sink's records. */
static void put_json_extras(const struct accounting_layout *layout, struct accounting_place place,
                            const struct event *event, struct json_writer *json)
{
    char memory[ACCOUNTING_EID_LEN];
    struct buffer eid;
    buffer_init(&eid, memory, sizeof memory);
    accounting_put_eid(&eid, place);
    json_put_string(json, "eid", buffer_bytes(&eid));
    if (event->after_dot_lost != 0) {
        json_put_bool(json, "afterDotLost", true);
    }
    put_json_text(json, "msgId", event->message_id);
    put_json_number(json, "attempt", event->attempt);
    put_json_time(layout, json, "nextAttempt", event->next_attempt_wall_ms);
    if (!layout->has_bounce_class) {
        put_json_text(json, "bounceClass", event->bounce_class);
    }
    put_json_number(json, "smtpCode", event->smtp_code);
    put_json_text(json, "stage", event->stage);
    put_json_text(json, "tls", event->tls);
}

static void format_json(const struct accounting_layout *layout, const struct accounting_form *form,
                        struct accounting_place place, const struct event *event,
                        struct buffer *out)
{
    struct json_writer json;
    json_writer_init(&json, out);
    json_begin_object(&json, NULL);
    json_put_string(&json, "type", bytes_from_string(form->letter));
    for (uint32_t i = 0; i < layout->column_count; i++) {
        const struct accounting_column *column = &layout->columns[i];
        struct bytes header;
        if ((column->records & RECORD_BIT(form->record)) == 0) {
            continue;
        }
        if (accounting_layout_header(layout, column, form, event, &header)) {
            put_json_text(&json, column->field.name, header);
        } else {
            put_json_value(layout, &column->field, form, event, &json);
        }
    }
    put_json_extras(layout, place, event, &json);
    json_end_object(&json);
    buffer_put_char(out, '\n');
}

/* ---- what is told of people ---- */

#define HIDDEN_MORE 256 /* bytes that a text may grow by */
#define HIDDEN_MAX  (4096 + HIDDEN_MORE)

struct hidden {
    char orig[HIDDEN_MAX], rcpt[HIDDEN_MAX], orcpt[HIDDEN_MAX], diag[HIDDEN_MAX];
    char headers[HIDDEN_MAX];
};

static void hide_text(const struct acct_privacy *privacy, struct bytes rcpt,
                      enum acct_privacy_where where, char memory[HIDDEN_MAX], struct bytes *text)
{
    struct buffer out;
    size_t max = text->len + HIDDEN_MORE < HIDDEN_MAX ? text->len + HIDDEN_MORE : HIDDEN_MAX;
    buffer_init(&out, memory, max);
    acct_privacy_hide(privacy, *text, rcpt, where, &out);
    *text = buffer_bytes(&out);
}

static void hide(const struct acct_privacy *privacy, struct event *event, struct hidden *memory)
{
    struct bytes rcpt = event->rcpt;
    hide_text(privacy, rcpt, PRIVACY_VERP, memory->orig, &event->orig);
    hide_text(privacy, rcpt, PRIVACY_WORDS, memory->rcpt, &event->rcpt);
    hide_text(privacy, rcpt, PRIVACY_ADDRESSES, memory->orcpt, &event->orcpt);
    hide_text(privacy, rcpt, PRIVACY_WORDS, memory->diag, &event->dsn_diag);
    hide_text(privacy, rcpt, PRIVACY_ADDRESSES, memory->headers, &event->headers);
}

void accounting_format(const struct accounting_layout *layout, struct accounting_place place,
                       const struct event *event, struct buffer *out)
{
    const struct accounting_form *form = accounting_form_of(event->type);
    assert((layout->records & RECORD_BIT(form->record)) != 0);
    struct event shown;
    struct hidden memory;
    if (layout->privacy.kind != PRIVACY_RETAIN) {
        shown = *event;
        hide(&layout->privacy, &shown, &memory);
        event = &shown;
    }
    if (layout->json) {
        format_json(layout, form, place, event, out);
    } else {
        format_csv(layout, form, event, out);
    }
    assert(!out->overflowed);
}
