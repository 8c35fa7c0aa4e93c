/* The reply parser, fed by any split of the bytes.
 *
 * A line is HEAD (three digits), SEPARATOR (one byte) and TEXT (until LF). Text is moved in runs,
 * so a reply costs two searches and two copies. What a line ends with is decided at its LF: a CR
 * is held back until the next byte shows whether it was part of the line end or of the text. */
#include "smtp/reply.h"

#include <assert.h>

enum parser_state { AT_HEAD, AT_SEPARATOR, AT_LINE_END, AT_TEXT, DONE, DEAD };

void reply_parser_init(struct reply_parser *parser)
{
    parser->reply.code = 0;
    parser->reply.enhanced_class = 0;
    parser->reply.text_len = 0;
    parser->line = NULL;
    parser->owner = NULL;
    parser->bytes = parser->lines = 0;
    parser->state = DONE;
}

bool reply_parser_at_start(const struct reply_parser *parser)
{
    return parser->state == DONE;
}

static void begin_line(struct reply_parser *parser)
{
    parser->state = AT_HEAD;
    parser->digits = 0;
    parser->line_code = 0;
    parser->line_len = parser->line_at = 0;
    parser->final_line = false;
    parser->cr_pending = false;
    parser->text_begun = false;
}

static void begin_reply(struct reply_parser *parser)
{
    struct reply *reply = &parser->reply;
    reply->code = 0;
    reply->enhanced_class = 0;
    reply->enhanced_subject = reply->enhanced_detail = 0;
    reply->text_len = 0;
    parser->enhanced_len = 0;
    parser->bytes = parser->lines = 0;
    begin_line(parser);
}

/* One number of an enhanced code: one to three digits, RFC 3463 2. */
static bool take_number(struct bytes text, size_t *at, uint16_t *out)
{
    uint16_t number = 0;
    size_t from = *at;
    while (*at < text.len && *at < from + 3 && text.data[*at] >= '0' && text.data[*at] <= '9') {
        number = (uint16_t)(number * 10 + (text.data[*at] - '0'));
        (*at)++;
    }
    *out = number;
    return *at > from;
}

static bool take_dot(struct bytes text, size_t *at)
{
    if (*at >= text.len || text.data[*at] != '.') {
        return false;
    }
    (*at)++;
    return true;
}

/* "5.1.1 text"; some servers write "#5.1.1 text" or "5.7.1: text". Its length, 0: none. */
static size_t read_enhanced(struct reply *reply)
{
    struct bytes text = reply_text(reply);
    size_t at = text.len > 0 && text.data[0] == '#' ? 1 : 0;
    uint16_t class = 0, subject = 0, detail = 0;
    if (!take_number(text, &at, &class) || !take_dot(text, &at) ||
        !take_number(text, &at, &subject) || !take_dot(text, &at) ||
        !take_number(text, &at, &detail)) {
        return 0;
    }
    bool ends =
        at == text.len || !((text.data[at] >= '0' && text.data[at] <= '9') || text.data[at] == '.');
    if (!ends || (class != 2 && class != 4 && class != 5) || reply->code / 100 == 3) {
        return 0;
    }
    reply->enhanced_class = (uint8_t)(reply->code / 100);
    reply->enhanced_subject = subject;
    reply->enhanced_detail = detail;
    return at;
}

/* RFC 2034 4: each line of a reply has the code of the first. Inside the joined text it would stand
 * between words, where no pattern for them expects it. Nothing is taken out of a text that was
 * cut: what is missing stays at its end. */
static void drop_repeated_code(struct reply_parser *parser)
{
    struct reply *reply = &parser->reply;
    size_t at = parser->line_at, len = parser->enhanced_len;
    if (len == 0 || !parser->text_begun || reply->text_len == REPLY_TEXT_MAX ||
        reply->text_len <= at + len || reply->text[at + len] != ' ' ||
        memcmp(reply->text, reply->text + at, len) != 0) {
        return;
    }
    size_t rest = at + len + 1;
    memmove(reply->text + at, reply->text + rest, reply->text_len - rest);
    reply->text_len = (uint16_t)(reply->text_len - len - 1);
}

static void add_text(struct reply_parser *parser, const char *data, size_t len)
{
    struct reply *reply = &parser->reply;
    if (len == 0) {
        return;
    }
    if (!parser->text_begun) {
        parser->text_begun = true;
        if (reply->text_len > 0 && reply->text_len < REPLY_TEXT_MAX) {
            reply->text[reply->text_len++] = ' ';
        }
        parser->line_at = reply->text_len;
    }
    size_t room = REPLY_TEXT_MAX - reply->text_len;
    size_t kept = len < room ? len : room;
    memcpy(reply->text + reply->text_len, data, kept);
    reply->text_len = (uint16_t)(reply->text_len + kept);
    if (parser->line != NULL) {
        room = REPLY_LINE_MAX - parser->line_len;
        kept = len < room ? len : room;
        memcpy(parser->line_text + parser->line_len, data, kept);
        parser->line_len = (uint16_t)(parser->line_len + kept);
    }
}

static enum reply_result end_line(struct reply_parser *parser)
{
    if (parser->lines == 0) {
        parser->enhanced_len = (uint16_t)read_enhanced(&parser->reply);
        parser->first_len = parser->reply.text_len;
    } else {
        drop_repeated_code(parser);
    }
    if (parser->line != NULL) {
        parser->line(parser->owner, parser->reply.code, parser->lines,
                     (struct bytes){parser->line_text, parser->line_len});
    }
    parser->lines++;
    if (parser->final_line) {
        parser->state = DONE;
        return REPLY_COMPLETE;
    }
    if (parser->lines >= REPLY_LINES_MAX) {
        return REPLY_BROKEN;
    }
    begin_line(parser);
    return REPLY_MORE;
}

static enum reply_result feed_head(struct reply_parser *parser, char c)
{
    /* RFC 5321 4.2: the first digit is 2 to 5 (1yz is not used in SMTP). */
    if (c < '0' || c > '9' || (parser->digits == 0 && (c < '2' || c > '5'))) {
        return REPLY_BROKEN;
    }
    parser->line_code = (uint16_t)(parser->line_code * 10 + (c - '0'));
    if (++parser->digits < 3) {
        return REPLY_MORE;
    }
    if (parser->lines > 0 && parser->line_code != parser->reply.code) {
        return REPLY_BROKEN;
    }
    parser->reply.code = parser->line_code;
    parser->state = AT_SEPARATOR;
    return REPLY_MORE;
}

static enum reply_result feed_separator(struct reply_parser *parser, char c)
{
    /* RFC 5321 4.2: clients must accept a code with no text behind it. */
    parser->final_line = c != '-';
    switch (c) {
    case ' ':
    case '-':
        parser->state = AT_TEXT;
        return REPLY_MORE;
    case '\r':
        parser->state = AT_LINE_END;
        return REPLY_MORE;
    case '\n':
        return end_line(parser);
    default:
        return REPLY_BROKEN;
    }
}

/* Takes the run up to and with LF, or all; *taken says how much. A bare LF ends a line too: some
 * servers send nothing else, and no byte of a reply can be mistaken for another's. */
static enum reply_result feed_text(struct reply_parser *parser, const char *data, size_t len,
                                   size_t *taken)
{
    const char *lf = memchr(data, '\n', len);
    size_t run = lf == NULL ? len : (size_t)(lf - data);
    *taken = lf == NULL ? len : run + 1;
    if (parser->cr_pending && run > 0) {
        add_text(parser, "\r", 1);
        parser->cr_pending = false;
    }
    if (run > 0 && data[run - 1] == '\r') {
        parser->cr_pending = true;
        run--;
    }
    add_text(parser, data, run);
    return lf == NULL ? REPLY_MORE : end_line(parser);
}

static enum reply_result step(struct reply_parser *parser, const char *data, size_t len,
                              size_t *taken)
{
    *taken = 1;
    switch ((enum parser_state)parser->state) {
    case AT_HEAD:
        return feed_head(parser, *data);
    case AT_SEPARATOR:
        return feed_separator(parser, *data);
    case AT_LINE_END:
        return *data == '\n' ? end_line(parser) : REPLY_BROKEN;
    case AT_TEXT:
        return feed_text(parser, data, len, taken);
    case DONE:
    case DEAD:
        break;
    }
    return REPLY_BROKEN;
}

enum reply_result reply_parser_feed(struct reply_parser *parser, const void *data, size_t len,
                                    size_t *consumed)
{
    const char *bytes = data;
    size_t at = 0;
    enum reply_result result = REPLY_MORE;
    if (parser->state == DONE && len > 0) {
        begin_reply(parser);
    }
    while (at < len && result == REPLY_MORE) {
        /* No step sees more than the cap leaves, so that any split breaks at the same byte. */
        size_t left = REPLY_BYTES_MAX - parser->bytes, taken;
        if (left == 0) {
            result = REPLY_BROKEN;
            break;
        }
        result = step(parser, bytes + at, len - at < left ? len - at : left, &taken);
        at += taken;
        parser->bytes += (uint32_t)taken;
        assert(parser->bytes <= REPLY_BYTES_MAX);
    }
    if (result == REPLY_BROKEN) {
        parser->state = DEAD;
    }
    *consumed = at;
    return result;
}

void reply_make(struct reply *reply, uint16_t code, const char *enhanced, const char *text)
{
    assert(code >= 200 && code < 600);
    struct buffer out;
    buffer_init(&out, reply->text, REPLY_TEXT_MAX);
    buffer_put_string(&out, enhanced);
    if (*enhanced != '\0' && *text != '\0') {
        buffer_put_char(&out, ' ');
    }
    size_t len = strlen(text), room = buffer_room(&out);
    buffer_put(&out, text, len < room ? len : room);
    reply->code = code;
    reply->enhanced_class = 0;
    reply->enhanced_subject = reply->enhanced_detail = 0;
    reply->text_len = (uint16_t)out.len;
    read_enhanced(reply);
}

void reply_print(const struct reply *reply, struct buffer *out)
{
    buffer_put_u64(out, reply->code);
    if (reply->text_len == 0) {
        return;
    }
    buffer_put_char(out, ' ');
    size_t room = buffer_room(out);
    buffer_put(out, reply->text, reply->text_len < room ? reply->text_len : room);
}
