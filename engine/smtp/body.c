/* Text is looked at 64 bytes at a time: bit masks say where CR, LF, NUL, dots and bytes over 127
 * are, and arithmetic on the masks finds all faults of the block at once. Line ends cost nothing
 * of their own; only a dot at the start of a line stops the run. So a body of short lines costs
 * the same as one of long ones: some 90 instructions a block. */
#include "smtp/body.h"

#include <assert.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BLOCK         64
#define LINE_LEN_STOP (1u << 31)

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
    uint64_t cr, lf, dot;
    bool nul, high; /* there is one */
};

#ifdef __SSE2__
static uint64_t equal_mask(__m128i bytes, char c)
{
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(c)));
}

static struct masks look_at(const char *block)
{
    struct masks masks = {0};
    __m128i nul = _mm_setzero_si128(), all = nul;
    for (unsigned i = 0; i < BLOCK; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(block + i));
        masks.cr |= equal_mask(bytes, '\r') << i;
        masks.lf |= equal_mask(bytes, '\n') << i;
        masks.dot |= equal_mask(bytes, '.') << i;
        nul = _mm_or_si128(nul, _mm_cmpeq_epi8(bytes, _mm_setzero_si128()));
        all = _mm_or_si128(all, bytes);
    }
    masks.nul = _mm_movemask_epi8(nul) != 0;
    masks.high = _mm_movemask_epi8(all) != 0;
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
        masks.dot |= (uint64_t)(c == '.') << i;
        masks.nul |= c == '\0';
        masks.high |= c >= 0x80;
    }
    return masks;
}
#endif

/* The first len bytes of a block, spaces behind them. */
static struct masks look_at_part(const char *data, unsigned len)
{
    char block[BLOCK];
    memset(block, ' ', sizeof(block));
    memcpy(block, data, len);
    return look_at(block);
}

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

static bool on_wants(void *owner, struct bytes name)
{
    struct body *body = owner;
    return body->events->wants != NULL && body->events->wants(body->owner, name);
}

static void on_value(void *owner, const char *data, size_t len, bool last)
{
    struct body *body = owner;
    body->events->value(body->owner, data, len, last);
}

static const struct header_filter_events filter_events = {
    .pass = on_pass,
    .header_end = on_header_end,
    .fate = on_fate,
    .wants = on_wants,
    .value = on_value,
};

void body_init(struct body *body, const struct body_limits *limits,
               const struct header_filter_events *events, void *owner)
{
    assert(limits->line_max >= BLOCK);
    assert(limits->line_max < LINE_LEN_STOP - 2);
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
        body->line_len += body->line_len < LINE_LEN_STOP ? len : 0;
        if (body->line_len > body->limits.line_max + 1) {
            fault(body, BODY_LONG_LINE);
        }
        return;
    }
    before += (unsigned)__builtin_ctzll(lines);
    if (before > (uint64_t)body->limits.line_max + 1) {
        fault(body, BODY_LONG_LINE);
    }
    body->line_len = len - 1 - (63 - (unsigned)__builtin_clzll(lines));
}

/* Where dots begin a line. */
static uint64_t dots_of(const struct body *body, const struct masks *masks)
{
    uint64_t after_cr = masks->cr << 1 | (uint64_t)body->after_cr;
    uint64_t line_starts = (masks->lf & after_cr) << 1 | (uint64_t)body->at_line_start;
    return masks->dot & line_starts;
}

/* Takes note of one block of len bytes, 1 to BLOCK. */
static void note_block(struct body *body, const struct masks *masks, unsigned len)
{
    uint64_t valid = UINT64_MAX >> (BLOCK - len);
    uint64_t after_cr = masks->cr << 1 | (uint64_t)body->after_cr;
    /* An LF must follow a CR, and a CR must be followed by an LF. */
    if (((masks->lf ^ after_cr) & valid) != 0) {
        fault(body, BODY_BARE);
    }
    if (masks->nul) {
        fault(body, BODY_NUL);
    }
    body->eight_bit |= body->header.done && masks->high;
    measure_line(body, masks->lf & valid, len);
    body->after_cr = (masks->cr >> (len - 1) & 1) != 0;
    body->at_line_start = ((masks->lf & after_cr) >> (len - 1) & 1) != 0;
}

/* The count of bytes before a dot that begins a line, if `stop`; else len. */
static size_t scan(struct body *body, const char *data, size_t len, bool stop)
{
    size_t at = 0;
    while (at < len) {
        unsigned block = len - at < BLOCK ? (unsigned)(len - at) : BLOCK;
        struct masks masks = block == BLOCK ? look_at(data + at) : look_at_part(data + at, block);
        uint64_t dots = dots_of(body, &masks);
        if (dots != 0 && stop) {
            block = (unsigned)__builtin_ctzll(dots);
            if (block > 0) {
                masks = look_at_part(data + at, block);
                note_block(body, &masks, block);
            }
            return at + block;
        }
        body->dot_lines |= dots != 0;
        note_block(body, &masks, block);
        at += block;
    }
    return at;
}

/* One run of text: looked at, then passed through the filter. */
static size_t take_run(struct body *body, const char *data, size_t len, bool stop)
{
    bool in_header = !body->header.done;
    size_t taken = scan(body, data, len, stop);
    header_filter_feed(&body->header, data, taken);
    if (in_header && body->header.done && !body->eight_bit) {
        size_t body_len = body->header.body_len;
        body->eight_bit = !bytes_is_ascii(bytes_of(data + taken - body_len, body_len));
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
