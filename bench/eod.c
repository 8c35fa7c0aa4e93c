/* A dot matters only behind CRLF, and few bytes are dots: so the scan jumps from dot to dot and
 * looks back two bytes. Only what the input's edges cut apart needs the states. */
#include "bench/eod.h"

#include <assert.h>

enum state {
    IN_LINE,     /* somewhere in a line */
    AFTER_CR,    /* the last byte was CR */
    LINE_START,  /* the last two bytes were CRLF */
    AFTER_DOT,   /* CRLF "." : the dot is not content, either stuffed or final */
    AFTER_DOT_CR /* CRLF "." CR : the CR is content unless LF follows */
};

void eod_init(struct eod *eod)
{
    eod->state = LINE_START;
}

static struct bytes take(struct bytes *in, size_t len)
{
    struct bytes taken = {in->data, len};
    in->data += len;
    in->len -= len;
    return taken;
}

static enum state state_after(enum state before, struct bytes taken)
{
    char last = taken.data[taken.len - 1];
    if (last == '\r') {
        return AFTER_CR;
    }
    bool cr = taken.len > 1 ? taken.data[taken.len - 2] == '\r' : before == AFTER_CR;
    return last == '\n' && cr ? LINE_START : IN_LINE;
}

/* Length of the content before the next dot that begins a line, or all. The first byte is known
 * not to be such a dot. */
static size_t content_len(enum state before, struct bytes in)
{
    const char *end = in.data + in.len, *from = in.data + 1;
    const char *dot;
    while (from < end && (dot = memchr(from, '.', (size_t)(end - from))) != NULL) {
        size_t at = (size_t)(dot - in.data);
        bool cr = at > 1 ? dot[-2] == '\r' : before == AFTER_CR;
        if (dot[-1] == '\n' && cr) {
            return at;
        }
        from = dot + 1;
    }
    return in.len;
}

static enum eod_event next_content(struct eod *eod, struct bytes *in, struct bytes *content)
{
    *content = take(in, content_len((enum state)eod->state, *in));
    eod->state = (uint8_t)state_after((enum state)eod->state, *content);
    return EOD_CONTENT;
}

/* The byte behind CRLF "." CR. */
static enum eod_event end_or_cr(struct eod *eod, struct bytes *in, struct bytes *content)
{
    if (*in->data == '\n') {
        take(in, 1);
        return EOD_END;
    }
    *content = BYTES("\r");
    eod->state = AFTER_CR;
    return EOD_CONTENT;
}

enum eod_event eod_next(struct eod *eod, struct bytes *in, struct bytes *content)
{
    while (in->len > 0) {
        enum state state = (enum state)eod->state;
        switch (state) {
        case LINE_START:
            if (*in->data != '.') {
                return next_content(eod, in, content);
            }
            take(in, 1);
            eod->state = AFTER_DOT;
            break;
        case AFTER_DOT:
            if (*in->data != '\r') {
                return next_content(eod, in, content);
            }
            take(in, 1);
            eod->state = AFTER_DOT_CR;
            break;
        case AFTER_DOT_CR:
            return end_or_cr(eod, in, content);
        case IN_LINE:
        case AFTER_CR:
            return next_content(eod, in, content);
        }
    }
    return EOD_MORE;
}
