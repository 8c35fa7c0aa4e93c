/* Each field is {tag, length as a varint, bytes}; a number is its little-endian bytes without
 * leading zeroes; a recipient is a field of fields. Empty fields and zeroes are left out. */
#include "message_code.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Never reused. */
#define MESSAGE_TEXTS(X)                                                                           \
    X(1, sender)                                                                                   \
    X(2, vmta)                                                                                     \
    X(3, job)                                                                                      \
    X(4, envid)                                                                                    \
    X(5, helo)                                                                                     \
    X(6, source_ip)                                                                                \
    X(7, user)                                                                                     \
    X(8, pool)                                                                                     \
    X(9, headers)

/* Tag, name in struct envelope, what a message has. */
#define MESSAGE_NUMBERS(X)                                                                         \
    X(16, accepted_wall_ms, message->accepted_wall_ms)                                             \
    X(17, not_before_wall_ms, message_not_before_wall_ms(message))                                 \
    X(18, expires_wall_ms, message_expires_wall_ms(message))                                       \
    X(19, body_digest, message->body_digest)                                                       \
    X(20, body_size, message->body_size)                                                           \
    X(21, flags, (message->flags & MESSAGE_FLAGS_KNOWN))                                           \
    X(22, ret, message->ret)                                                                       \
    X(23, tls_need, message->tls_need)

enum tag {
    TAG_RCPT = 32,
    TAG_FINAL = 33, /* a bit per recipient, lowest first */
};

enum rcpt_tag { RCPT_TAG_ADDRESS = 1, RCPT_TAG_ORCPT, RCPT_TAG_DOMAIN_LEN, RCPT_TAG_NOTIFY };

/* ---- encoding ----------------------------------------------------------------------------- */

static void put_head(struct buffer *out, uint8_t tag, size_t len)
{
    char head[11];
    size_t count = 0;
    head[count++] = (char)tag;
    while (len >= 0x80) {
        head[count++] = (char)(len | 0x80);
        len >>= 7;
    }
    head[count++] = (char)len;
    buffer_put(out, head, count);
}

static void put_text(struct buffer *out, uint8_t tag, struct bytes text)
{
    if (text.len > 0) {
        put_head(out, tag, text.len);
        buffer_put_bytes(out, text);
    }
}

static size_t number_len(uint64_t number)
{
    return number == 0 ? 0 : (size_t)(71 - __builtin_clzll(number)) / 8;
}

static void put_number(struct buffer *out, uint8_t tag, uint64_t number)
{
    size_t len = number_len(number);
    if (len > 0) {
        put_head(out, tag, len);
        buffer_put(out, &number, len);
    }
}

static size_t field_len(size_t len)
{
    return len == 0 ? 0 : 1 + (len < 0x80 ? 1 : len < 0x4000 ? 2 : 3) + len;
}

static void put_rcpt(struct buffer *out, const struct rcpt *rcpt)
{
    put_head(out, TAG_RCPT,
             field_len(rcpt->address_len) + field_len(rcpt_orcpt(rcpt).len) +
                 field_len(number_len(rcpt->domain_len)) + field_len(number_len(rcpt->notify)));
    put_text(out, RCPT_TAG_ADDRESS, rcpt_address(rcpt));
    put_text(out, RCPT_TAG_ORCPT, rcpt_orcpt(rcpt));
    put_number(out, RCPT_TAG_DOMAIN_LEN, rcpt->domain_len);
    put_number(out, RCPT_TAG_NOTIFY, rcpt->notify);
}

bool message_encode_final(const struct message *message, bool (*is_final)(const struct rcpt *rcpt),
                          struct buffer *out)
{
    put_head(out, TAG_FINAL, (message->rcpt_count + 7) / 8);
    for (uint32_t i = 0; i < message->rcpt_count; i += 8) {
        uint8_t bits = 0;
        for (uint32_t bit = 0; bit < 8 && i + bit < message->rcpt_count; bit++) {
            bits |= (uint8_t)(is_final(&message->rcpts[i + bit]) << bit);
        }
        buffer_put_char(out, (char)bits);
    }
    return !out->overflowed;
}

bool message_encode(const struct message *message, bool (*is_final)(const struct rcpt *rcpt),
                    struct buffer *out)
{
    assert((message->flags & MESSAGE_FOREIGN) == 0);
#define PUT(tag, name) put_text(out, tag, message_##name(message));
    MESSAGE_TEXTS(PUT)
#undef PUT
#define PUT(tag, name, number) put_number(out, tag, (uint64_t)(number));
    MESSAGE_NUMBERS(PUT)
#undef PUT
    for (uint32_t i = 0; i < message->rcpt_count; i++) {
        put_rcpt(out, &message->rcpts[i]);
    }
    return is_final == NULL ? !out->overflowed : message_encode_final(message, is_final, out);
}

/* ---- decoding ----------------------------------------------------------------------------- */

struct field {
    uint8_t tag;
    struct bytes value;
};

/* Takes one field off the front; false: the end, or no field (then *bad). */
static bool take_field(struct bytes *from, struct field *out, bool *bad)
{
    if (from->len == 0) {
        return false;
    }
    out->tag = (uint8_t)from->data[0];
    size_t at = 1, len = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        if (at == from->len) {
            break;
        }
        uint8_t byte = (uint8_t)from->data[at++];
        len |= (size_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            if (len > from->len - at) {
                break;
            }
            out->value = bytes_of(from->data + at, len);
            *from = bytes_of(from->data + at + len, from->len - at - len);
            return true;
        }
    }
    *bad = true;
    return false;
}

static uint64_t number_of(struct bytes value)
{
    uint64_t number = 0;
    memcpy(&number, value.data, value.len < sizeof number ? value.len : sizeof number);
    return number;
}

/* Returns whether the field is one of ours. */
static bool decode_rcpt_field(const struct field *field, struct envelope_rcpt *rcpt)
{
    switch ((enum rcpt_tag)field->tag) {
    case RCPT_TAG_ADDRESS:
        rcpt->address = field->value;
        return true;
    case RCPT_TAG_ORCPT:
        rcpt->orcpt = field->value;
        return true;
    case RCPT_TAG_DOMAIN_LEN:
        rcpt->domain_len = (uint16_t)number_of(field->value);
        return true;
    case RCPT_TAG_NOTIFY:
        rcpt->notify = (uint8_t)number_of(field->value);
        return true;
    }
    return false;
}

static bool decode_envelope_field(const struct field *field, struct envelope *envelope)
{
    switch (field->tag) {
#define TAKE(tag, name)                                                                            \
    case tag:                                                                                      \
        envelope->name = field->value;                                                             \
        return true;
        MESSAGE_TEXTS(TAKE)
#undef TAKE
#define TAKE(tag, name, unused)                                                                    \
    case tag:                                                                                      \
        envelope->name = (__typeof__(envelope->name))number_of(field->value);                      \
        return true;
        MESSAGE_NUMBERS(TAKE)
#undef TAKE
    }
    return false;
}

struct decoder {
    struct envelope envelope;
    struct envelope_rcpt *rcpts;
    uint32_t rcpt_max;
    struct bytes final;
    bool bad, foreign;
};

static void decode_rcpt(struct decoder *decoder, struct bytes value)
{
    if (decoder->envelope.rcpt_count == decoder->rcpt_max) {
        decoder->bad = true;
        return;
    }
    struct envelope_rcpt *rcpt = &decoder->rcpts[decoder->envelope.rcpt_count++];
    struct field field;
    while (take_field(&value, &field, &decoder->bad)) {
        decoder->foreign |= !decode_rcpt_field(&field, rcpt);
    }
    decoder->bad |= rcpt->domain_len > rcpt->address.len;
}

static void decode_fields(struct decoder *decoder, struct bytes bytes)
{
    struct field field;
    while (!decoder->bad && take_field(&bytes, &field, &decoder->bad)) {
        if (field.tag == TAG_RCPT) {
            decode_rcpt(decoder, field.value);
        } else if (field.tag == TAG_FINAL) {
            decoder->final = field.value; /* of several the last: it holds all before it */
        } else {
            decoder->foreign |= !decode_envelope_field(&field, &decoder->envelope);
        }
    }
    decoder->bad |= decoder->envelope.rcpt_count != decoder->rcpt_max;
    decoder->foreign |= (decoder->envelope.flags & ~(uint32_t)MESSAGE_FLAGS_KNOWN) != 0;
}

static void tell_final(struct message *message, struct bytes final, void (*tell)(struct rcpt *rcpt))
{
    for (uint32_t i = 0; i < message->rcpt_count && i / 8 < final.len; i++) {
        if (((uint8_t) final.data[i / 8] >> i % 8 & 1) != 0) {
            tell(&message->rcpts[i]);
        }
    }
}

struct message *message_decode(struct bytes bytes, uint32_t rcpt_count,
                               void (*final)(struct rcpt *rcpt))
{
    /* A recipient takes three bytes at least. */
    if (rcpt_count > bytes.len) {
        return NULL;
    }
    struct envelope_rcpt few[16] = {0};
    struct decoder decoder = {.rcpts = few, .rcpt_max = rcpt_count};
    if (rcpt_count > sizeof few / sizeof *few) {
        decoder.rcpts = calloc(rcpt_count, sizeof *decoder.rcpts);
    }
    struct message *message = NULL;
    if (decoder.rcpts != NULL) {
        decode_fields(&decoder, bytes);
        decoder.envelope.rcpts = decoder.rcpts;
        message = decoder.bad ? NULL : message_create(&decoder.envelope);
    }
    if (message != NULL) {
        message->flags |= decoder.foreign ? MESSAGE_FOREIGN : 0;
        tell_final(message, decoder.final, final);
    }
    if (decoder.rcpts != few) {
        free(decoder.rcpts);
    }
    return message;
}
