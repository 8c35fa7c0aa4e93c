/* The text behind the recipients: not-before and expires time if MESSAGE_TIMED; two bytes that say
 * which of the fields below are there, a bit each, and those, each behind its length; then of each
 * recipient the address and, behind its length, the orcpt. A length is one byte, or LONG_TEXT and
 * two: most of these are short or empty, and a number each in the struct would be as long as they
 * are. */
#include "message.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- making ------------------------------------------------------------------------------- */

#define LONG_TEXT UINT8_MAX

static bool short_enough(struct bytes b)
{
    return b.len <= UINT16_MAX;
}

enum field { SENDER, VMTA, JOB, ENVID, HELO, SOURCE_IP, USER, POOL, HEADERS, FIELD_COUNT };

static struct bytes field_of(const struct envelope *envelope, enum field field)
{
    const struct bytes fields[FIELD_COUNT] = {
        [SENDER] = envelope->sender, [VMTA] = envelope->vmta, [JOB] = envelope->job,
        [ENVID] = envelope->envid,   [HELO] = envelope->helo, [SOURCE_IP] = envelope->source_ip,
        [USER] = envelope->user,     [POOL] = envelope->pool, [HEADERS] = envelope->headers,
    };
    return fields[field];
}

static bool fields_fit(const struct envelope *envelope)
{
    for (enum field field = 0; field < FIELD_COUNT; field++) {
        if (!short_enough(field_of(envelope, field))) {
            return false;
        }
    }
    for (uint32_t i = 0; i < envelope->rcpt_count; i++) {
        const struct envelope_rcpt *rcpt = &envelope->rcpts[i];
        if (!short_enough(rcpt->address) || !short_enough(rcpt->orcpt) ||
            rcpt->domain_len > UINT8_MAX) {
            return false;
        }
    }
    return envelope->body_size <= UINT32_MAX;
}

static bool is_timed(const struct envelope *envelope)
{
    return envelope->not_before_wall_ms != 0 || envelope->expires_wall_ms != 0;
}

static size_t text_size(struct bytes text)
{
    return (text.len < LONG_TEXT ? 1 : 3) + text.len;
}

/* Bytes in front of the first recipient's. */
static size_t head_size(const struct envelope *envelope)
{
    size_t size = (is_timed(envelope) ? 2 * sizeof(int64_t) : 0) + sizeof(uint16_t);
    for (enum field field = 0; field < FIELD_COUNT; field++) {
        struct bytes text = field_of(envelope, field);
        size += text.len == 0 ? 0 : text_size(text);
    }
    return size;
}

static size_t rcpts_size(const struct envelope *envelope)
{
    size_t size = 0;
    for (uint32_t i = 0; i < envelope->rcpt_count; i++) {
        size += envelope->rcpts[i].address.len + text_size(envelope->rcpts[i].orcpt);
    }
    return size;
}

static char *put(char *at, struct bytes b)
{
    if (b.len > 0) {
        memcpy(at, b.data, b.len);
    }
    return at + b.len;
}

static char *put_text(char *at, struct bytes text)
{
    if (text.len < LONG_TEXT) {
        *at++ = (char)text.len;
    } else {
        uint16_t len = (uint16_t)text.len;
        *at++ = (char)LONG_TEXT;
        at = put(at, bytes_of((const char *)&len, sizeof len));
    }
    return put(at, text);
}

static char *put_head(char *at, const struct envelope *envelope)
{
    if (is_timed(envelope)) {
        int64_t times[2] = {envelope->not_before_wall_ms, envelope->expires_wall_ms};
        at = put(at, bytes_of((const char *)times, sizeof times));
    }
    uint16_t fields = 0;
    char *bits = at;
    at += sizeof fields;
    for (enum field field = 0; field < FIELD_COUNT; field++) {
        struct bytes text = field_of(envelope, field);
        if (text.len > 0) {
            fields |= (uint16_t)(1U << field);
            at = put_text(at, text);
        }
    }
    memcpy(bits, &fields, sizeof fields);
    return at;
}

static void put_rcpts(struct message *message, const struct envelope *envelope, char *at)
{
    const char *text = message_text(message);
    for (uint32_t i = 0; i < envelope->rcpt_count; i++) {
        const struct envelope_rcpt *from = &envelope->rcpts[i];
        assert(from->domain_len <= from->address.len);
        struct rcpt *rcpt = &message->rcpts[i];
        rcpt->index = i;
        rcpt->address_offset = (uint32_t)(at - text);
        rcpt->address_len = (uint16_t)from->address.len;
        rcpt->domain_len = (uint8_t)from->domain_len;
        at = put(at, from->address);
        at = put_text(at, from->orcpt);
        rcpt->notify = from->notify;
        rcpt->due_wall_ms = envelope->not_before_wall_ms;
    }
}

struct message *message_create(const struct envelope *envelope)
{
    if (!fields_fit(envelope)) {
        return NULL;
    }
    size_t rcpts_len = (size_t)envelope->rcpt_count * sizeof(struct rcpt);
    size_t text = head_size(envelope) + rcpts_size(envelope);
    if (text > UINT32_MAX) {
        return NULL;
    }
    struct message *message = calloc(1, sizeof *message + rcpts_len + text);
    if (message == NULL) {
        return NULL;
    }
    message->accepted_wall_ms = envelope->accepted_wall_ms;
    message->body_digest = envelope->body_digest;
    message->body_size = (uint32_t)envelope->body_size;
    message->flags = (uint16_t)(envelope->flags & MESSAGE_FLAGS_KNOWN);
    message->flags |= is_timed(envelope) ? MESSAGE_TIMED : 0;
    message->rcpt_count = message->open_count = envelope->rcpt_count;
    message->ret = envelope->ret;
    message->tls_need = envelope->tls_need;
    put_rcpts(message, envelope, put_head((char *)&message->rcpts[envelope->rcpt_count], envelope));
    assert(message_text_len(message) == text);
    return message;
}

void message_free(struct message *message)
{
    free(message);
}

/* What jemalloc takes for it: sizes of 16 up to 128, then four to each doubling. */
size_t message_memory(const struct message *message)
{
    size_t size = sizeof *message + (size_t)message->rcpt_count * sizeof message->rcpts[0] +
                  message_text_len(message);
    size_t step = 16;
    while (size > step * 8) {
        step *= 2;
    }
    return (size + step - 1) / step * step;
}

/* ---- reading ------------------------------------------------------------------------------ */

static int64_t time_at(const struct message *message, size_t index)
{
    int64_t time = 0;
    if ((message->flags & MESSAGE_TIMED) != 0) {
        memcpy(&time, message_text(message) + index * sizeof time, sizeof time);
    }
    return time;
}

int64_t message_not_before_wall_ms(const struct message *message)
{
    return time_at(message, 0);
}

int64_t message_expires_wall_ms(const struct message *message)
{
    return time_at(message, 1);
}

static struct bytes text_at(const char *at)
{
    uint16_t len = (uint8_t)*at++;
    if (len == LONG_TEXT) {
        memcpy(&len, at, sizeof len);
        at += sizeof len;
    }
    return bytes_of(at, len);
}

static struct bytes field_at(const struct message *message, enum field field)
{
    const char *at =
        message_text(message) + ((message->flags & MESSAGE_TIMED) != 0 ? 2 * sizeof(int64_t) : 0);
    uint16_t fields;
    memcpy(&fields, at, sizeof fields);
    at += sizeof fields;
    if ((fields >> field & 1) == 0) {
        return BYTES("");
    }
    for (unsigned before = fields & ((1U << field) - 1); before != 0; before &= before - 1) {
        struct bytes text = text_at(at);
        at = text.data + text.len;
    }
    return text_at(at);
}

struct bytes message_sender(const struct message *message)
{
    return field_at(message, SENDER);
}

struct bytes message_vmta(const struct message *message)
{
    return field_at(message, VMTA);
}

struct bytes message_job(const struct message *message)
{
    return field_at(message, JOB);
}

struct bytes message_envid(const struct message *message)
{
    return field_at(message, ENVID);
}

struct bytes message_helo(const struct message *message)
{
    return field_at(message, HELO);
}

struct bytes message_source_ip(const struct message *message)
{
    return field_at(message, SOURCE_IP);
}

struct bytes message_user(const struct message *message)
{
    return field_at(message, USER);
}

struct bytes message_pool(const struct message *message)
{
    return field_at(message, POOL);
}

struct bytes message_headers(const struct message *message)
{
    return field_at(message, HEADERS);
}

struct bytes rcpt_address(const struct rcpt *rcpt)
{
    return bytes_of(message_text(rcpt_message(rcpt)) + rcpt->address_offset, rcpt->address_len);
}

struct bytes rcpt_domain(const struct rcpt *rcpt)
{
    struct bytes address = rcpt_address(rcpt);
    return bytes_slice(address, address.len - rcpt->domain_len, address.len);
}

struct bytes rcpt_orcpt(const struct rcpt *rcpt)
{
    struct bytes address = rcpt_address(rcpt);
    return text_at(address.data + address.len);
}

size_t message_text_len(const struct message *message)
{
    struct bytes last = rcpt_orcpt(&message->rcpts[message->rcpt_count - 1]);
    return (size_t)(last.data + last.len - message_text(message));
}

/* Two numbers of ten digits each in base 36: 36^10 is over 2^51, so the log's id gives 51 bits
 * and the message's (16 bits of start count, 48 of counter) is folded: the counter's low 40 bits
 * and 11 bits of the start count. What is folded away repeats after a trillion messages. */
void message_id_text(uint64_t log_id, uint64_t id, char out[21])
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    uint64_t numbers[2] = {log_id & ((UINT64_C(1) << 51) - 1),
                           (id & ((UINT64_C(1) << 40) - 1)) | (id >> 48 & 0x7FF) << 40};
    for (size_t n = 0; n < 2; n++) {
        for (size_t i = 10; i > 0; i--) {
            out[n * 10 + i - 1] = digits[numbers[n] % 36];
            numbers[n] /= 36;
        }
    }
    out[20] = '\0';
}
