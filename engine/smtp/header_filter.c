/* The block is read line by line, and a line is one of three things: a field (name, optional
 * white space, colon: RFC 5322 3.6.8 and 4.5), the continuation of one, or the end of the block.
 * The end is a blank line, or a line that is neither of the two: then the client forgot the blank
 * line and gets one (S38).
 *
 * Whether a field stays is known at its colon, so the name is held back until then. Lines that
 * stay run together into one slice of the input (`run`); only a name split between two feeds is
 * passed on from the copy. Bare CR and LF are found by the caller, which then refuses the message:
 * here they need to be harmless, not right. */
#include "smtp/header_filter.h"

#include <assert.h>

enum state {
    AT_LINE,  /* nothing of the line seen */
    IN_NAME,  /* in hold: name, perhaps white space; no colon yet */
    IN_VALUE, /* behind the colon, or in a continuation line */
    AT_BLANK, /* CR at the start of a line, held back */
};

struct header_row {
    const char *name;
    uint8_t fate, value_max;
};

static const struct header_row rows[] = {
#define HEADER_ROW(id, name, fate, value_max) [id] = {name, fate, value_max},
    HEADER_NAMES(HEADER_ROW)
#undef HEADER_ROW
        [HEADER_JOB_ALIAS] = {NULL, HEADER_KEEP_TAKE, 128},
    [HEADER_OTHER] = {NULL, HEADER_KEEP, 0},
};

void header_filter_init(struct header_filter *filter, const struct header_filter_events *events,
                        void *owner)
{
    *filter = (struct header_filter){.events = events, .owner = owner};
}

static uint32_t value_index(enum header_name name)
{
    return name == HEADER_JOB_ALIAS ? 3 : (uint32_t)name;
}

const struct header_value *header_filter_value(const struct header_filter *filter,
                                               enum header_name name)
{
    assert(value_index(name) < HEADER_TAKEN_COUNT);
    return &filter->values[value_index(name)];
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool takes(uint8_t fate)
{
    return fate == HEADER_REMOVE_TAKE || fate == HEADER_KEEP_TAKE;
}

static bool keeps(uint8_t fate)
{
    return fate == HEADER_KEEP || fate == HEADER_KEEP_TAKE;
}

static void pass(struct header_filter *filter, const char *from, const char *to)
{
    if (to > from) {
        filter->events->pass(filter->owner, from, (size_t)(to - from));
    }
}

/* RFC 5322 3.6.8 ftext; then white space as 4.5 allows it before the colon. */
static bool name_takes(struct header_filter *filter, char c)
{
    if (filter->hold_len == HEADER_NAME_MAX) {
        return false;
    }
    if (is_blank(c)) {
        return filter->hold_len > 0;
    }
    return c > ' ' && c < 0x7f && c != ':' && filter->name_len == filter->hold_len;
}

static void hold(struct header_filter *filter, char c)
{
    filter->hold[filter->hold_len++] = c;
    if (!is_blank(c)) {
        filter->name_len = filter->hold_len;
    }
}

static uint8_t find_name(struct bytes name)
{
    uint8_t field = 0;
    while (field < HEADER_JOB_ALIAS &&
           !bytes_equal_nocase(name, bytes_from_string(rows[field].name))) {
        field++;
    }
    return field < HEADER_JOB_ALIAS ? field : HEADER_OTHER;
}

/* A line that turns out to be no field is not counted, however it was fed. */
static void count(struct header_filter *filter, size_t len)
{
    /* Stops at the limit: a hostile block cannot turn the counters over. */
    filter->bytes += len > HEADER_BYTES_MAX ? HEADER_BYTES_MAX : (uint32_t)len;
    if (filter->bytes > HEADER_BYTES_MAX || filter->lines > HEADER_LINES_MAX) {
        filter->too_large = true;
        filter->bytes = HEADER_BYTES_MAX;
        filter->lines = HEADER_LINES_MAX;
    }
}

/* The name in hold is complete: what becomes of its field. */
static void begin_field(struct header_filter *filter)
{
    struct bytes name = bytes_of(filter->hold, filter->name_len);
    uint8_t field = find_name(name);
    filter->fate = rows[field].fate;
    if (filter->fate == HEADER_KEEP && filter->events->fate != NULL) {
        filter->fate = (uint8_t)filter->events->fate(filter->owner, name);
        assert(filter->fate != HEADER_REMOVE_TAKE);
    }
    filter->shown = filter->events->wants != NULL && filter->events->wants(filter->owner, name);
    filter->counts[field]++;
    if (filter->fate == HEADER_KEEP_TAKE) {
        field = HEADER_JOB_ALIAS;
        filter->counts[field]++;
    }
    if (filter->fate == HEADER_REMOVE_TAKE && (filter->retained >> field & 1) != 0) {
        filter->fate = HEADER_KEEP_TAKE;
    }
    filter->field = field;
    filter->any_field = true;
    if (takes(filter->fate)) {
        filter->values[value_index(field)] = (struct header_value){0};
    }
}

/* A lead byte, RFC 3629 4: how many follow, and what the first of them may be. */
static bool begin_utf8(struct header_filter *filter, unsigned char c)
{
    filter->utf8_left = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    filter->utf8_low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    filter->utf8_high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    return c < 0x80 || (c >= 0xc2 && c <= 0xf4);
}

static void check_utf8(struct header_filter *filter, const char *from, const char *to)
{
    for (; from < to && !filter->not_utf8; from++) {
        unsigned char c = (unsigned char)*from;
        if (filter->utf8_left == 0) {
            filter->not_utf8 = !begin_utf8(filter, c);
            continue;
        }
        filter->not_utf8 = c < filter->utf8_low || c > filter->utf8_high;
        filter->utf8_low = 0x80;
        filter->utf8_high = 0xbf;
        filter->utf8_left--;
    }
}

/* One part of a taken value: without the white space around it and the line end. */
static void take_value(struct header_filter *filter, const char *from, const char *to)
{
    struct header_value *value = &filter->values[value_index(filter->field)];
    for (; from < to; from++) {
        char c = *from;
        if (c == '\r' || c == '\n' || (is_blank(c) && value->len == 0)) {
            continue;
        }
        if ((c < ' ' && !is_blank(c)) || c >= 0x7f || value->len == rows[filter->field].value_max) {
            /* White space at the end may run over the limit. */
            value->malformed |= !is_blank(c);
            continue;
        }
        value->text[value->len++] = c;
    }
}

static void end_taken(struct header_filter *filter)
{
    struct header_value *value = &filter->values[value_index(filter->field)];
    while (value->len > 0 && is_blank(value->text[value->len - 1])) {
        value->len--;
    }
    value->malformed |= bytes_find(bytes_of(value->text, value->len), '\t', 0) >= 0;
}

/* The field is over, if there was one. */
static void end_value(struct header_filter *filter)
{
    if (takes(filter->fate)) {
        end_taken(filter);
        filter->fate = HEADER_KEEP;
    }
    if (filter->shown) {
        filter->events->value(filter->owner, NULL, 0, true);
        filter->shown = false;
    }
}

/* The block is over: the body begins with what the caller passes on next. */
static void end_header(struct header_filter *filter)
{
    filter->done = true;
    filter->events->header_end(filter->owner);
    filter->events->pass(filter->owner, "\r\n", 2);
}

/* What one call of feed is at. run: start of the bytes that stay and were not yet passed on. */
struct cursor {
    const char *at, *end, *run;
};

static void flush(struct header_filter *filter, struct cursor *cursor, const char *to)
{
    if (cursor->run != NULL) {
        pass(filter, cursor->run, to);
        cursor->run = NULL;
    }
}

static void read_line_start(struct header_filter *filter, struct cursor *cursor)
{
    char c = *cursor->at;
    if (is_blank(c) && filter->any_field) {
        if (takes(filter->fate)) {
            filter->values[value_index(filter->field)].malformed = true;
        }
        filter->state = IN_VALUE;
        return;
    }
    end_value(filter);
    if (c == '\r') {
        flush(filter, cursor, cursor->at);
        cursor->at++;
        filter->state = AT_BLANK;
        return;
    }
    filter->hold_len = filter->name_len = 0;
    filter->state = IN_NAME;
}

/* A line that is no field: what was held of it and what follows is body. */
static void begin_body(struct header_filter *filter, struct cursor *cursor, const char *line)
{
    flush(filter, cursor, line == NULL ? cursor->at : line);
    end_header(filter);
    if (line == NULL) {
        pass(filter, filter->hold, filter->hold + filter->hold_len);
    } else {
        cursor->at = line;
    }
}

static void read_name(struct header_filter *filter, struct cursor *cursor)
{
    /* NULL: the line began in an earlier feed, and what was read of it is only in hold. */
    const char *line = filter->hold_len == 0 ? cursor->at : NULL;
    while (cursor->at < cursor->end && name_takes(filter, *cursor->at)) {
        hold(filter, *cursor->at++);
    }
    if (cursor->at == cursor->end) {
        flush(filter, cursor, line == NULL ? cursor->at : line);
        return;
    }
    if (*cursor->at != ':' || filter->name_len == 0) {
        begin_body(filter, cursor, line);
        return;
    }
    begin_field(filter);
    count(filter, filter->hold_len);
    filter->state = IN_VALUE;
    if (!keeps(filter->fate)) {
        flush(filter, cursor, line);
    } else if (line == NULL) {
        pass(filter, filter->hold, filter->hold + filter->hold_len);
        cursor->run = cursor->at;
    } else if (cursor->run == NULL) {
        cursor->run = line;
    }
    cursor->at++;
}

static void read_value(struct header_filter *filter, struct cursor *cursor)
{
    const char *from = cursor->at;
    const char *newline = memchr(from, '\n', (size_t)(cursor->end - from));
    cursor->at = newline == NULL ? cursor->end : newline + 1;
    if (keeps(filter->fate) && cursor->run == NULL) {
        cursor->run = from;
    }
    if (takes(filter->fate)) {
        take_value(filter, from, cursor->at);
    }
    if (filter->shown) {
        filter->events->value(filter->owner, from, (size_t)(cursor->at - from), false);
    }
    bool ascii = bytes_is_ascii(bytes_of(from, (size_t)(cursor->at - from)));
    filter->non_ascii |= !ascii;
    if (!ascii || filter->utf8_left > 0) {
        check_utf8(filter, from, cursor->at);
    }
    if (newline != NULL) {
        filter->state = AT_LINE;
        filter->lines++;
    }
    count(filter, (size_t)(cursor->at - from));
}

static void read_blank(struct header_filter *filter, struct cursor *cursor)
{
    end_header(filter);
    if (*cursor->at == '\n') {
        cursor->at++;
    }
}

void header_filter_feed(struct header_filter *filter, const char *data, size_t len)
{
    struct cursor cursor = {.at = data, .end = data + len};
    while (!filter->done && cursor.at < cursor.end) {
        switch ((enum state)filter->state) {
        case AT_LINE:
            read_line_start(filter, &cursor);
            break;
        case IN_NAME:
            read_name(filter, &cursor);
            break;
        case IN_VALUE:
            read_value(filter, &cursor);
            break;
        case AT_BLANK:
            read_blank(filter, &cursor);
            break;
        }
    }
    flush(filter, &cursor, cursor.at);
    pass(filter, cursor.at, cursor.end);
    filter->body_len = filter->done ? (size_t)(cursor.end - cursor.at) : 0;
}

void header_filter_finish(struct header_filter *filter)
{
    if (filter->done) {
        return;
    }
    end_value(filter);
    end_header(filter);
}
