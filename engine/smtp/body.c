/* Text is looked at 64 bytes at a time: bit masks say where CR, LF, NUL, dots and bytes over 127
 * are, and arithmetic on the masks finds all faults of the block at once. Line ends cost nothing
 * of their own; only a dot at the start of a line stops the run. So a body of short lines costs
 * the same as one of long ones: about 0.4 cycles a byte with SSE2. */
#include "smtp/body.h"

#include <assert.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BLOCK 64

enum state {
    TEXT,   /* in a line, or at the start of one */
    DOT,    /* a dot at the start of a line was taken away; it may be the end of data */
    DOT_CR, /* a CR behind it is held back */
};

static const char *const refusals[] = {
#define BODY_REFUSAL(id, reply) [id] = reply,
    BODY_FAULTS(BODY_REFUSAL)
#undef BODY_REFUSAL
};

struct masks {
    uint64_t cr, lf, nul, dot, high;
};

#ifdef __SSE2__
static uint64_t equal_mask(__m128i bytes, char c)
{
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(c)));
}

static struct masks look_at(const char *block)
{
    struct masks masks = {0};
    for (unsigned i = 0; i < BLOCK; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(block + i));
        masks.cr |= equal_mask(bytes, '\r') << i;
        masks.lf |= equal_mask(bytes, '\n') << i;
        masks.nul |= equal_mask(bytes, '\0') << i;
        masks.dot |= equal_mask(bytes, '.') << i;
        masks.high |= (uint64_t)(uint32_t)_mm_movemask_epi8(bytes) << i;
    }
    return masks;
}
#else
static struct masks look_at(const char *block)
{
    struct masks masks = {0};
    for (unsigned i = 0; i < BLOCK; i++) {
        unsigned char c = (unsigned char)block[i];
        masks.cr |= (uint64_t)(c == '\r') << i;
        masks.lf |= (uint64_t)(c == '\n') << i;
        masks.nul |= (uint64_t)(c == '\0') << i;
        masks.dot |= (uint64_t)(c == '.') << i;
        masks.high |= (uint64_t)(c >> 7) << i;
    }
    return masks;
}
#endif

static void fault(struct body *body, enum body_fault which)
{
    body->faults |= 1u << which;
}

/* The filter's owner is the body: faults stop what is passed on, and its size is counted. */
static void on_pass(void *owner, const char *data, size_t len)
{
    struct body *body = owner;
    body->size += len;
    if (body->size > body->limits.size_max) {
        fault(body, BODY_TOO_LARGE);
    }
    if (body->faults == 0) {
        body->events->pass(body->owner, data, len);
    }
}

static void on_header_end(void *owner)
{
    struct body *body = owner;
    if (body->header.too_large) {
        fault(body, BODY_LONG_HEADER);
    }
    if (body->header.counts[HEADER_RECEIVED] > body->limits.received_max) {
        fault(body, BODY_LOOP);
    }
    if (body->faults == 0) {
        body->events->header_end(body->owner);
    }
}

static enum header_fate on_fate(void *owner, struct bytes name)
{
    struct body *body = owner;
    return body->events->fate == NULL ? HEADER_KEEP : body->events->fate(body->owner, name);
}

static const struct header_filter_events filter_events = {
    .pass = on_pass,
    .header_end = on_header_end,
    .fate = on_fate,
};

void body_init(struct body *body, const struct body_limits *limits,
               const struct header_filter_events *events, void *owner)
{
    assert(limits->line_max >= BLOCK);
    *body = (struct body){.limits = *limits,
                          .events = events,
                          .owner = owner,
                          .state = TEXT,
                          /* The CRLF of the DATA command begins the first line. */
                          .at_line_start = true};
    header_filter_init(&body->header, &filter_events, body);
}

/* lines: where LFs are among the first `len` bytes of a block. A block is shorter than any
 * limit, so only the line that comes in from the left can be too long. */
static void measure_line(struct body *body, uint64_t lines, unsigned len)
{
    /* Without the CR that belongs to the line's end. */
    uint64_t before = body->line_len;
    if (lines == 0) {
        body->line_len += len;
        if (body->line_len > body->limits.line_max + 1) {
            fault(body, BODY_LONG_LINE);
            body->line_len = body->limits.line_max + 2;
        }
        return;
    }
    before += (unsigned)__builtin_ctzll(lines);
    if (before > (uint64_t)body->limits.line_max + 1) {
        fault(body, BODY_LONG_LINE);
    }
    body->line_len = len - 1 - (63 - (unsigned)__builtin_clzll(lines));
}

/* Looks at one block of len bytes (1 to 64) and stops at a dot that begins a line, if `stop`:
 * the count of bytes before it. */
static unsigned scan_block(struct body *body, const char *block, unsigned len, bool stop)
{
    struct masks masks = look_at(block);
    uint64_t valid = len == BLOCK ? UINT64_MAX : (UINT64_C(1) << len) - 1;
    uint64_t after_cr = masks.cr << 1 | (uint64_t)body->after_cr;
    uint64_t line_starts = (masks.lf & after_cr) << 1 | (uint64_t)body->at_line_start;
    uint64_t dots = masks.dot & line_starts & valid;
    if (dots != 0 && stop) {
        len = (unsigned)__builtin_ctzll(dots);
        valid = (UINT64_C(1) << len) - 1;
    }
    body->dot_lines |= dots != 0 && !stop;
    if (len == 0) {
        return 0;
    }
    /* An LF must follow a CR, and a CR must be followed by an LF. */
    if (((masks.lf ^ after_cr) & valid) != 0) {
        fault(body, BODY_BARE);
    }
    if ((masks.nul & valid) != 0) {
        fault(body, BODY_NUL);
    }
    body->eight_bit |= body->header.done && (masks.high & valid) != 0;
    measure_line(body, masks.lf & valid, len);
    body->after_cr = (masks.cr >> (len - 1) & 1) != 0;
    body->at_line_start = ((masks.lf & after_cr) >> (len - 1) & 1) != 0;
    return len;
}

/* The count of bytes before a dot that begins a line, or len. */
static size_t scan(struct body *body, const char *data, size_t len, bool stop)
{
    size_t at = 0;
    while (len - at >= BLOCK) {
        unsigned taken = scan_block(body, data + at, BLOCK, stop);
        at += taken;
        if (taken < BLOCK) {
            return at;
        }
    }
    if (at < len) {
        char rest[BLOCK];
        memset(rest, ' ', sizeof(rest));
        memcpy(rest, data + at, len - at);
        at += scan_block(body, rest, (unsigned)(len - at), stop);
    }
    return at;
}

static bool has_high(const char *data, size_t len)
{
    unsigned char all = 0;
    for (size_t i = 0; i < len; i++) {
        all |= (unsigned char)data[i];
    }
    return all >= 0x80;
}

/* One run of text: looked at, then passed through the filter. */
static size_t take_run(struct body *body, const char *data, size_t len, bool stop)
{
    bool in_header = !body->header.done;
    size_t taken = scan(body, data, len, stop);
    header_filter_feed(&body->header, data, taken);
    if (in_header && body->header.done && !body->eight_bit) {
        size_t body_len = body->header.body_len;
        body->eight_bit = has_high(data + taken - body_len, body_len);
    }
    return taken;
}

size_t body_feed_data(struct body *body, const void *data, size_t len, bool *ended)
{
    const char *bytes = data;
    size_t at = 0;
    *ended = false;
    while (at < len) {
        switch ((enum state)body->state) {
        case TEXT:
            at += take_run(body, bytes + at, len - at, true);
            if (at < len) {
                at++;
                body->state = DOT;
            }
            break;
        case DOT:
            if (bytes[at] == '\r') {
                at++;
                body->state = DOT_CR;
                break;
            }
            body->dot_lines |= bytes[at] == '.';
            body->at_line_start = false;
            body->state = TEXT;
            break;
        case DOT_CR:
            if (bytes[at] == '\n') {
                header_filter_finish(&body->header);
                *ended = true;
                return at + 1;
            }
            body->at_line_start = false;
            body->state = TEXT;
            take_run(body, "\r", 1, true);
            break;
        }
    }
    return at;
}

void body_feed_octets(struct body *body, const void *data, size_t len)
{
    const char *bytes = data;
    size_t taken = take_run(body, bytes, len, false);
    assert(taken == len);
}

void body_finish(struct body *body)
{
    if (!body->at_line_start) {
        /* After a CR this would complete a line end that the client did not send. */
        if (body->after_cr) {
            fault(body, BODY_BARE);
        }
        body_feed_octets(body, "\r\n", 2);
    }
    header_filter_finish(&body->header);
}

const char *body_refusal(const struct body *body)
{
    return body->faults == 0 ? NULL : refusals[__builtin_ctz(body->faults)];
}
