/* What comes before the message's own header stands at the front of the buffer before the first
 * window is read, so that a reload meanwhile changes nothing of it. The header itself is changed in
 * that window. Then core.body_size is the size of what is sent, and MAIL may tell it.
 *
 * The body is read into the end of the transaction's buffer and, where dots must be doubled,
 * moved to its front: output never overtakes input, because the buffer has a third more room than
 * the raw window and each doubled dot needs at least three raw bytes (dot, CR, LF). A body without
 * a line that begins with a dot (found at acceptance) is sent as it was read. */
#include "prepare.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attempt.h"
#include "base/date.h"
#include "base/slab.h"
#include "io/io.h"
#include "policy/config.h"
#include "rcpt_sender.h"
#include "reception.h"
#include "schedule.h"
#include "site.h"
#include "smtp/header_edit.h"
#include "smtp/header_filter.h"
#include "spools.h"

_Static_assert(HEADER_BYTES_MAX + RECEPTION_ADDED_MAX <= PREPARE_WINDOW_BYTES,
               "the first window holds the header");

#define DATE_FIELD_MAX (DATE_RFC5322_MAX + 8) /* "Date: " and CRLF with it */

struct preparer {
    struct spools *spools;
    uint32_t worker;
    size_t bytes_max, bytes;
    struct slab *transactions;
    struct list waiting; /* struct transaction, for room */
};

struct preparer *preparer_create(const struct preparer_options *options)
{
    struct preparer *preparer = calloc(1, sizeof *preparer);
    if (preparer == NULL) {
        return NULL;
    }
    preparer->spools = options->spools;
    preparer->worker = options->worker;
    preparer->bytes_max = options->bytes_max;
    list_init(&preparer->waiting);
    preparer->transactions =
        slab_create("transactions", sizeof(struct transaction), options->transactions_max);
    if (preparer->transactions == NULL) {
        free(preparer);
        return NULL;
    }
    return preparer;
}

void preparer_destroy(struct preparer *preparer)
{
    if (preparer == NULL) {
        return;
    }
    slab_destroy(preparer->transactions);
    free(preparer);
}

size_t prepare_bytes(const struct preparer *preparer)
{
    return preparer->bytes;
}

static bool take_arrays(struct transaction *transaction, uint32_t count)
{
    if (count <= PREPARE_RCPTS_INLINE) {
        transaction->rcpts = transaction->rcpts_inline;
        transaction->accepted = transaction->accepted_inline;
        transaction->over_limit = transaction->over_limit_inline;
        return true;
    }
    transaction->rcpts = calloc(count, sizeof *transaction->rcpts + 2);
    if (transaction->rcpts == NULL) {
        return false;
    }
    transaction->accepted = (uint8_t *)(transaction->rcpts + count);
    transaction->over_limit = (bool *)(transaction->accepted + count);
    return true;
}

/* False: no memory. */
static bool take_sender(struct transaction *transaction)
{
    if ((transaction->message->flags & MESSAGE_VERP) != 0) {
        assert(transaction->rcpt_count == 1);
        transaction->sender = malloc(RCPT_SENDER_MAX);
        if (transaction->sender == NULL) {
            return false;
        }
        transaction->core.sender = rcpt_sender(transaction->rcpts[0], transaction->sender);
    }
    return true;
}

static void fill_core(struct transaction *transaction)
{
    const struct message *message = transaction->message;
    transaction->core = (struct client_transaction){
        .sender = message_sender(message),
        .envid = message_envid(message),
        .body_size = message->body_size,
        .rcpt_count = transaction->rcpt_count,
        .eight_bit = (message->flags & MESSAGE_EIGHT_BIT) != 0,
        .smtputf8 = (message->flags & MESSAGE_SMTPUTF8) != 0,
        .ret_hdrs = message->ret == RET_HDRS,
        .ret_full = message->ret == RET_FULL,
        .rcpt_accepted = transaction->accepted,
    };
    memset(transaction->accepted, 0, transaction->rcpt_count);
}

static void release_memory(struct transaction *transaction)
{
    struct preparer *preparer = transaction->preparer;
    preparer->bytes -= transaction->memory_bytes;
    free(transaction->memory);
    transaction->memory = NULL;
    transaction->memory_bytes = 0;
}

static void destroy(struct transaction *transaction)
{
    struct preparer *preparer = transaction->preparer;
    release_memory(transaction);
    free(transaction->sender);
    free(transaction->last_refusal);
    free(transaction->limit_reply);
    if (transaction->rcpts != transaction->rcpts_inline) {
        free(transaction->rcpts);
    }
    slab_give(preparer->transactions, transaction);
}

struct transaction *prepare_create(struct preparer *preparer, struct attempt *attempt,
                                   struct queue *queue, struct rcpt *const *rcpts, uint32_t count)
{
    assert(count > 0);
    struct transaction *transaction = slab_take(preparer->transactions);
    if (transaction == NULL) {
        return NULL;
    }
    transaction->preparer = preparer;
    if (!take_arrays(transaction, count)) {
        slab_give(preparer->transactions, transaction);
        return NULL;
    }
    memcpy(transaction->rcpts, rcpts, count * sizeof *rcpts);
    transaction->attempt = attempt;
    transaction->queue = queue;
    transaction->message = rcpt_message(rcpts[0]);
    transaction->rcpt_count = count;
    transaction->undecided = count;
    transaction->line_start = true;
    fill_core(transaction);
    if (!take_sender(transaction)) {
        destroy(transaction);
        return NULL;
    }
    return transaction;
}

void prepare_cut(struct transaction *transaction, uint32_t count)
{
    assert(count > 0 && count <= transaction->rcpt_count && !transaction->begun);
    transaction->rcpt_count = count;
    transaction->undecided = count;
    transaction->core.rcpt_count = count;
}

/* Raw bytes of the next window. */
static uint32_t next_raw_len(const struct transaction *transaction)
{
    uint64_t left = transaction->message->body_size - transaction->body_offset;
    return left < PREPARE_WINDOW_BYTES ? (uint32_t)left : PREPARE_WINDOW_BYTES;
}

static bool must_stuff(const struct transaction *transaction)
{
    return transaction->stuffed && (transaction->message->flags & MESSAGE_DOT_LINES) != 0;
}

static void stuff_window(struct transaction *transaction)
{
    const char *in = transaction->memory + transaction->window_start;
    const char *end = in + transaction->raw_len;
    char *out = transaction->memory + transaction->added_len;
    while (in < end) {
        if (transaction->line_start && *in == '.') {
            *out++ = '.';
        }
        const char *newline = memchr(in, '\n', (size_t)(end - in));
        size_t len = (size_t)((newline != NULL ? newline + 1 : end) - in);
        memmove(out, in, len);
        out += len;
        in += len;
        transaction->line_start = newline != NULL;
        assert(out <= in);
    }
    transaction->window = bytes_of(transaction->memory, (size_t)(out - transaction->memory));
}

/* The first window has been read: takes fields out, and says what the message's size is now. */
static void edit_header(struct transaction *transaction)
{
    struct string_array names = transaction->attempt->site->settings->remove_headers;
    transaction->core.body_size += transaction->added_len;
    if (names.count == 0) {
        return;
    }
    size_t removed = header_edit_remove(transaction->memory + transaction->window_start,
                                        transaction->raw_len, names.items, names.count);
    transaction->window_start += removed;
    transaction->raw_len -= (uint32_t)removed;
    transaction->core.body_size -= removed;
}

/* The window as it was read, with what is added to the header moved up against it. */
static void join_window(struct transaction *transaction)
{
    assert(transaction->window_start >= transaction->added_len);
    char *start = transaction->memory + (transaction->window_start - transaction->added_len);
    memmove(start, transaction->memory, transaction->added_len);
    transaction->window = bytes_of(start, transaction->added_len + transaction->raw_len);
}

static void serve_waiting(struct preparer *preparer);

static void on_read(struct spool_read *read, int result)
{
    struct transaction *transaction = CONTAINER_OF(read, struct transaction, read);
    transaction->reading = false;
    if (transaction->abandoned) {
        struct preparer *preparer = transaction->preparer;
        destroy(transaction);
        serve_waiting(preparer);
        return;
    }
    transaction->failed = result != 0;
    bool first = transaction->body_offset == 0;
    transaction->body_offset += transaction->raw_len;
    if (first && result == 0) {
        edit_header(transaction);
    }
    if (must_stuff(transaction)) {
        stuff_window(transaction);
    } else {
        join_window(transaction);
    }
    transaction->ready = true;
    attempt_on_prepared(transaction->attempt, transaction);
}

/* What stands before the message's own header. */
static const struct bytes *added_headers(const struct transaction *transaction)
{
    static const struct bytes none[CONFIG_HEADERS_COUNT];
    const struct config_vmta *vmta = transaction->attempt->site->lane->settings;
    return vmta == NULL ? none : vmta->headers;
}

static bool needs_date(const struct transaction *transaction)
{
    return (transaction->message->flags & MESSAGE_DATE_AT_DELIVERY) != 0;
}

static size_t added_headers_len(const struct transaction *transaction)
{
    size_t len = needs_date(transaction) ? DATE_FIELD_MAX : 0;
    for (size_t i = 0; i < CONFIG_HEADERS_COUNT; i++) {
        len += added_headers(transaction)[i].len;
    }
    return len;
}

/* At the front of the buffer, before the first window only. */
static void add_headers(struct transaction *transaction)
{
    struct buffer added;
    buffer_init(&added, transaction->memory, transaction->memory_bytes);
    transaction->added_len = 0;
    if (transaction->body_offset > 0) {
        return;
    }
    for (size_t i = 0; i < CONFIG_HEADERS_COUNT; i++) {
        buffer_put_bytes(&added, added_headers(transaction)[i]);
    }
    if (needs_date(transaction)) {
        char date[DATE_RFC5322_MAX];
        date_rfc5322(io_wall_ms(transaction->attempt->site->scheduler->io), date);
        buffer_printf(&added, "Date: %s\r\n", date);
    }
    assert(!added.overflowed);
    transaction->added_len = added.len;
}

static bool take_memory(struct transaction *transaction)
{
    struct preparer *preparer = transaction->preparer;
    if (transaction->memory != NULL) {
        return true; /* a later window uses the first one's buffer: it was the largest */
    }
    uint32_t raw = next_raw_len(transaction);
    size_t bytes =
        (must_stuff(transaction) ? raw + raw / 3 : raw) + 16 + added_headers_len(transaction);
    /* One transaction always gets through, else a body over the bound would wait for ever. */
    if (preparer->bytes > 0 && preparer->bytes + bytes > preparer->bytes_max) {
        return false;
    }
    transaction->memory = malloc(bytes);
    if (transaction->memory == NULL) {
        return false;
    }
    transaction->memory_bytes = bytes;
    preparer->bytes += bytes;
    return true;
}

static bool start_read(struct transaction *transaction)
{
    if (!take_memory(transaction)) {
        return false;
    }
    transaction->raw_len = next_raw_len(transaction);
    add_headers(transaction);
    transaction->window_start = must_stuff(transaction)
                                    ? transaction->memory_bytes - transaction->raw_len
                                    : transaction->added_len;
    transaction->read.done = on_read;
    transaction->reading = true;
    const struct preparer *preparer = transaction->preparer;
    spool_read_body(spools_of(preparer->spools, transaction->message), preparer->worker,
                    &transaction->read, transaction->message, transaction->body_offset,
                    transaction->memory + transaction->window_start, transaction->raw_len);
    return true;
}

static void serve_waiting(struct preparer *preparer)
{
    struct list_node *node;
    while ((node = list_first(&preparer->waiting)) != NULL) {
        struct transaction *transaction = CONTAINER_OF(node, struct transaction, waiting_node);
        list_remove(node);
        if (!start_read(transaction)) {
            list_push_front(&preparer->waiting, node);
            return;
        }
    }
}

void prepare_window(struct transaction *transaction, bool stuffed)
{
    assert(!prepare_at_end(transaction));
    assert(!transaction->reading);
    if (list_linked(&transaction->waiting_node)) {
        return;
    }
    transaction->ready = false;
    transaction->stuffed = stuffed;
    if (!start_read(transaction)) {
        list_push_back(&transaction->preparer->waiting, &transaction->waiting_node);
    }
}

void prepare_free(struct transaction *transaction)
{
    struct preparer *preparer = transaction->preparer;
    list_remove(&transaction->node);
    list_remove(&transaction->waiting_node);
    if (transaction->reading) {
        transaction->abandoned = true;
        spool_read_abandon(&transaction->read);
        return;
    }
    destroy(transaction);
    serve_waiting(preparer);
}
