#include "message.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- making ------------------------------------------------------------------------------- */

static bool short_enough(struct bytes b)
{
    return b.len <= UINT16_MAX;
}

static bool fields_fit(const struct envelope *envelope)
{
    const struct bytes fields[] = {envelope->sender, envelope->vmta, envelope->job,
                                   envelope->envid,  envelope->helo, envelope->source_ip,
                                   envelope->user};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (!short_enough(fields[i])) {
            return false;
        }
    }
    for (uint32_t i = 0; i < envelope->rcpt_count; i++) {
        if (!short_enough(envelope->rcpts[i].address) || !short_enough(envelope->rcpts[i].orcpt)) {
            return false;
        }
    }
    return envelope->body_size <= UINT32_MAX;
}

static size_t head_text_len(const struct envelope *envelope)
{
    return envelope->sender.len + envelope->vmta.len + envelope->job.len + envelope->envid.len +
           envelope->helo.len + envelope->source_ip.len + envelope->user.len;
}

static size_t text_len(const struct envelope *envelope)
{
    size_t len = head_text_len(envelope);
    for (uint32_t i = 0; i < envelope->rcpt_count; i++) {
        len += envelope->rcpts[i].address.len + envelope->rcpts[i].orcpt.len;
    }
    return len;
}

static char *put(char *at, struct bytes b)
{
    if (b.len > 0) {
        memcpy(at, b.data, b.len);
    }
    return at + b.len;
}

static void put_rcpts(struct message *message, const struct envelope *envelope, char *text)
{
    char *at = text + head_text_len(envelope);
    for (uint32_t i = 0; i < envelope->rcpt_count; i++) {
        const struct envelope_rcpt *from = &envelope->rcpts[i];
        assert(from->domain_len <= from->address.len);
        struct rcpt *rcpt = &message->rcpts[i];
        rcpt->index = i;
        rcpt->address_offset = (uint32_t)(at - text);
        rcpt->address_len = (uint16_t)from->address.len;
        rcpt->domain_len = from->domain_len;
        at = put(at, from->address);
        rcpt->orcpt_offset = (uint32_t)(at - text);
        rcpt->orcpt_len = (uint16_t)from->orcpt.len;
        at = put(at, from->orcpt);
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
    size_t text = text_len(envelope);
    if (text > UINT32_MAX) {
        return NULL;
    }
    struct message *message = calloc(1, sizeof *message + rcpts_len + text);
    if (message == NULL) {
        return NULL;
    }
    message->accepted_wall_ms = envelope->accepted_wall_ms;
    message->not_before_wall_ms = envelope->not_before_wall_ms;
    message->expires_wall_ms = envelope->expires_wall_ms;
    message->body_digest = envelope->body_digest;
    message->body_size = (uint32_t)envelope->body_size;
    message->flags = envelope->flags;
    message->rcpt_count = message->open_count = envelope->rcpt_count;
    message->ret = envelope->ret;
    message->tls_need = envelope->tls_need;
    message->sender_len = (uint16_t)envelope->sender.len;
    message->vmta_len = (uint16_t)envelope->vmta.len;
    message->job_len = (uint16_t)envelope->job.len;
    message->envid_len = (uint16_t)envelope->envid.len;
    message->helo_len = (uint16_t)envelope->helo.len;
    message->source_ip_len = (uint16_t)envelope->source_ip.len;
    message->user_len = (uint16_t)envelope->user.len;
    char *start = (char *)&message->rcpts[envelope->rcpt_count];
    char *at = put(start, envelope->sender);
    at = put(at, envelope->vmta);
    at = put(at, envelope->job);
    at = put(at, envelope->envid);
    at = put(at, envelope->helo);
    at = put(at, envelope->source_ip);
    put(at, envelope->user);
    put_rcpts(message, envelope, start);
    return message;
}

void message_free(struct message *message)
{
    free(message);
}

/* What jemalloc takes for it: sizes of 16 up to 128, then four to each doubling. */
size_t message_memory(const struct message *message)
{
    const struct rcpt *last = &message->rcpts[message->rcpt_count - 1];
    size_t text = (size_t)last->orcpt_offset + last->orcpt_len;
    size_t size = sizeof *message + (size_t)message->rcpt_count * sizeof *last + text;
    size_t step = 16;
    while (size > step * 8) {
        step *= 2;
    }
    return (size + step - 1) / step * step;
}

/* ---- reading ------------------------------------------------------------------------------ */

struct bytes message_sender(const struct message *message)
{
    return bytes_of(message_text(message), message->sender_len);
}

static struct bytes after(struct bytes before, size_t len)
{
    return bytes_of(before.data + before.len, len);
}

struct bytes message_vmta(const struct message *message)
{
    return after(message_sender(message), message->vmta_len);
}

struct bytes message_job(const struct message *message)
{
    return after(message_vmta(message), message->job_len);
}

struct bytes message_envid(const struct message *message)
{
    return after(message_job(message), message->envid_len);
}

struct bytes message_helo(const struct message *message)
{
    return after(message_envid(message), message->helo_len);
}

struct bytes message_source_ip(const struct message *message)
{
    return after(message_helo(message), message->source_ip_len);
}

struct bytes message_user(const struct message *message)
{
    return after(message_source_ip(message), message->user_len);
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
    return bytes_of(message_text(rcpt_message(rcpt)) + rcpt->orcpt_offset, rcpt->orcpt_len);
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
