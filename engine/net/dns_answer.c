#include "net/dns_answer.h"

#include <ares.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

#define HEADER_LEN  12
#define RECORDS_MAX 1000 /* looked at in one answer */
#define ALIASES_MAX 16   /* in one chain; more is a resolver gone wrong */
#define CLASS_IN    1

struct reader {
    const uint8_t *message;
    size_t len, at;
};

/* One CNAME: where its two names begin. */
struct alias {
    size_t owner_at, target_at;
};

struct chain {
    size_t question_at;
    uint32_t count;
    struct alias aliases[ALIASES_MAX];
};

struct record {
    struct reader data; /* at the first byte of its data; the rest of the message stays readable,
                           for compressed names */
    size_t owner_at, end;
    uint16_t type, class, data_len;
    uint32_t ttl_s;
};

static bool take_u16(struct reader *reader, uint16_t *out)
{
    if (reader->len - reader->at < 2) {
        return false;
    }
    const uint8_t *p = reader->message + reader->at;
    *out = (uint16_t)(p[0] << 8 | p[1]);
    reader->at += 2;
    return true;
}

static bool take_u32(struct reader *reader, uint32_t *out)
{
    uint16_t high, low;
    if (!take_u16(reader, &high) || !take_u16(reader, &low)) {
        return false;
    }
    *out = (uint32_t)high << 16 | low;
    return true;
}

/* out may be NULL: the name is passed over. The root is ".". */
static bool take_name(struct reader *reader, char out[DNS_NAME_MAX])
{
    if (reader->at >= reader->len) {
        return false;
    }
    char *name;
    long used;
    if (ares_expand_name(reader->message + reader->at, reader->message, (int)reader->len, &name,
                         &used) != ARES_SUCCESS) {
        return false;
    }
    bool fits = strlen(name) < DNS_NAME_MAX;
    if (out != NULL && fits) {
        snprintf(out, DNS_NAME_MAX, "%s", *name == '\0' ? "." : name);
    }
    ares_free_string(name);
    reader->at += (size_t)used;
    return fits;
}

static void note_ttl(struct dns_answer *out, uint32_t ttl_s)
{
    if (ttl_s > INT32_MAX) {
        ttl_s = 0; /* RFC 2181 8: the most significant bit set means zero */
    }
    if (!out->has_ttl || ttl_s < out->ttl_s) {
        out->ttl_s = ttl_s;
    }
    out->has_ttl = true;
}

/* Of too many the worst preference makes room. */
static struct dns_mx *mx_place(struct dns_answer *out, uint16_t preference)
{
    if (out->mx_count < DNS_MX_MAX) {
        return &out->mx[out->mx_count++];
    }
    struct dns_mx *worst = &out->mx[0];
    for (uint32_t i = 1; i < out->mx_count; i++) {
        if (out->mx[i].preference > worst->preference) {
            worst = &out->mx[i];
        }
    }
    return worst->preference > preference ? worst : NULL;
}

static bool take_mx(const struct record *record, struct dns_answer *out)
{
    struct reader data = record->data;
    struct dns_mx mx;
    if (!take_u16(&data, &mx.preference) || !take_name(&data, mx.host) || data.at != record->end) {
        return false;
    }
    struct dns_mx *place = mx_place(out, mx.preference);
    if (place != NULL) {
        *place = mx;
    }
    return true;
}

static bool take_address(const struct record *record, struct dns_answer *out)
{
    bool ipv4 = record->type == DNS_TYPE_A;
    size_t want = ipv4 ? 4 : 16;
    if (record->data_len != want) {
        return false;
    }
    if (out->address_count < DNS_ADDRESSES_MAX) {
        struct address *address = &out->addresses[out->address_count++];
        *address = (struct address){.family = ipv4 ? ADDRESS_IPV4 : ADDRESS_IPV6};
        memcpy(address->ip, record->data.message + record->data.at, want);
    }
    return true;
}

static bool text_fits(const struct dns_answer *out, size_t len)
{
    return out->text_count < DNS_TEXTS_MAX && len <= DNS_TEXT_BYTES_MAX - out->text_bytes;
}

/* It lies in text_memory already. */
static void keep_text(struct dns_answer *out, const char *text, size_t len)
{
    out->texts[out->text_count++] = bytes_of(text, len);
    out->text_bytes += (uint32_t)len;
}

static bool take_pointer(const struct record *record, struct dns_answer *out)
{
    struct reader data = record->data;
    char memory[DNS_NAME_MAX];
    if (!take_name(&data, memory) || data.at != record->end) {
        return false;
    }
    struct bytes name = bytes_from_string(memory);
    if (text_fits(out, name.len)) {
        char *text = out->text_memory + out->text_bytes;
        memcpy(text, name.data, name.len);
        keep_text(out, text, name.len);
    }
    return true;
}

/* RFC 1035 3.3.14: strings of up to 255 bytes, joined as they are (RFC 7208 3.3). */
static bool take_text(const struct record *record, struct dns_answer *out)
{
    const uint8_t *message = record->data.message;
    size_t at = record->data.at;
    bool fits = text_fits(out, record->data_len);
    char *text = out->text_memory + out->text_bytes;
    size_t len = 0;
    while (at < record->end) {
        size_t part = message[at++];
        if (part > record->end - at) {
            return false;
        }
        if (fits) {
            memcpy(text + len, message + at, part);
        }
        len += part;
        at += part;
    }
    if (fits) {
        keep_text(out, text, len);
    }
    return record->data_len > 0;
}

static bool take_alias(const struct record *record, struct chain *chain, struct dns_answer *out)
{
    struct reader data = record->data;
    if (chain->count == ALIASES_MAX || !take_name(&data, NULL) || data.at != record->end) {
        return false;
    }
    chain->aliases[chain->count++] = (struct alias){record->owner_at, record->data.at};
    out->is_alias = true;
    return true;
}

/* RFC 2308 5: how long "there is none" may be kept. */
static bool take_soa(const struct record *record, struct dns_answer *out)
{
    struct reader data = record->data;
    uint32_t numbers[5];
    if (!take_name(&data, NULL) || !take_name(&data, NULL)) {
        return false;
    }
    for (int i = 0; i < 5; i++) {
        if (!take_u32(&data, &numbers[i])) {
            return false;
        }
    }
    if (data.at != record->end) {
        return false;
    }
    note_ttl(out, record->ttl_s < numbers[4] ? record->ttl_s : numbers[4]);
    return true;
}

static bool take_record(struct reader *reader, struct record *record)
{
    record->owner_at = reader->at;
    if (!take_name(reader, NULL) || !take_u16(reader, &record->type) ||
        !take_u16(reader, &record->class) || !take_u32(reader, &record->ttl_s) ||
        !take_u16(reader, &record->data_len) || reader->len - reader->at < record->data_len) {
        return false;
    }
    record->data = *reader;
    reader->at += record->data_len;
    record->end = reader->at;
    return true;
}

static bool use_answer(const struct record *record, enum dns_type wanted, struct chain *chain,
                       struct dns_answer *out)
{
    bool is_wanted = record->type == (uint16_t)wanted;
    if (record->class != CLASS_IN || (!is_wanted && record->type != DNS_TYPE_CNAME)) {
        return true;
    }
    note_ttl(out, record->ttl_s);
    if (!is_wanted) {
        return take_alias(record, chain, out);
    }
    switch (wanted) {
    case DNS_TYPE_MX:
        return take_mx(record, out);
    case DNS_TYPE_PTR:
        return take_pointer(record, out);
    case DNS_TYPE_TXT:
        return take_text(record, out);
    case DNS_TYPE_A:
    case DNS_TYPE_AAAA:
    case DNS_TYPE_CNAME:
    case DNS_TYPE_SOA:
        break;
    }
    return take_address(record, out);
}

/* ---- the chain of aliases ---- */

static void name_at(const struct reader *reader, size_t at, char out[DNS_NAME_MAX])
{
    struct reader there = {.message = reader->message, .len = reader->len, .at = at};
    if (!take_name(&there, out)) {
        *out = '\0'; /* not so: it was read before */
    }
}

static const struct alias *alias_of(const struct reader *reader, const struct chain *chain,
                                    const char *name)
{
    for (uint32_t i = 0; i < chain->count; i++) {
        char owner[DNS_NAME_MAX];
        name_at(reader, chain->aliases[i].owner_at, owner);
        if (bytes_equal_nocase(bytes_from_string(owner), bytes_from_string(name))) {
            return &chain->aliases[i];
        }
    }
    return NULL;
}

/* Does following the aliases end? Names that lead back to themselves are a fault of the zone, to
 * be tried again, and not a name without records. */
static bool chain_ends(const struct reader *reader, const struct chain *chain)
{
    char name[DNS_NAME_MAX];
    name_at(reader, chain->question_at, name);
    for (uint32_t step = 0; step <= chain->count; step++) {
        const struct alias *alias = alias_of(reader, chain, name);
        if (alias == NULL) {
            return true;
        }
        name_at(reader, alias->target_at, name);
    }
    return false;
}

/* ---- the message ---- */

static bool take_questions(struct reader *reader, uint16_t count, struct chain *chain)
{
    chain->question_at = reader->at;
    for (uint32_t i = 0; i < count; i++) {
        if (!take_name(reader, NULL) || reader->len - reader->at < 4) {
            return false;
        }
        reader->at += 4;
    }
    return true;
}

/* Of what the authorities add only the SOA counts: it is what makes a negative answer's TTL. */
static bool take_records(struct reader *reader, uint32_t answers, uint32_t authorities,
                         enum dns_type type, struct chain *chain, struct dns_answer *out)
{
    uint32_t records = answers + authorities;
    for (uint32_t i = 0; i < records && i < RECORDS_MAX; i++) {
        struct record record;
        if (!take_record(reader, &record)) {
            return false;
        }
        bool is_soa = record.type == DNS_TYPE_SOA && record.class == CLASS_IN;
        if (i < answers ? !use_answer(&record, type, chain, out)
                        : is_soa && !take_soa(&record, out)) {
            return false;
        }
    }
    return true;
}

bool dns_answer_parse(const uint8_t *message, size_t len, enum dns_type type,
                      struct dns_answer *out)
{
    *out = (struct dns_answer){0};
    struct chain chain = {0};
    struct reader reader = {.message = message, .len = len, .at = 4};
    uint16_t questions, answers, authorities;
    if (len < HEADER_LEN || !take_u16(&reader, &questions) || !take_u16(&reader, &answers) ||
        !take_u16(&reader, &authorities)) {
        return false;
    }
    reader.at = HEADER_LEN;
    return take_questions(&reader, questions, &chain) &&
           take_records(&reader, answers, authorities, type, &chain, out) &&
           (chain.count == 0 || questions == 0 || chain_ends(&reader, &chain));
}
