#include "net/dns_answer.h"

#include <ares.h>
#include <stdio.h>
#include <string.h>

#define HEADER_LEN  12
#define RECORDS_MAX 1000 /* looked at in one answer */

struct reader {
    const uint8_t *message;
    size_t len, at;
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

static bool take_mx(struct reader record, struct dns_answer *out)
{
    struct dns_mx mx;
    if (!take_u16(&record, &mx.preference) || !take_name(&record, mx.host)) {
        return false;
    }
    struct dns_mx *place = mx_place(out, mx.preference);
    if (place != NULL) {
        *place = mx;
    }
    return true;
}

static bool take_address(const struct reader *record, uint16_t data_len, enum dns_type type,
                         struct dns_answer *out)
{
    size_t want = type == DNS_TYPE_A ? 4 : 16;
    if (data_len != want) {
        return false;
    }
    if (out->address_count < DNS_ADDRESSES_MAX) {
        struct address *address = &out->addresses[out->address_count++];
        *address = (struct address){.family = type == DNS_TYPE_A ? ADDRESS_IPV4 : ADDRESS_IPV6};
        memcpy(address->ip, record->message + record->at, want);
    }
    return true;
}

/* RFC 2308 5: how long "there is none" may be kept. */
static bool take_soa(struct reader record, uint32_t ttl_s, struct dns_answer *out)
{
    uint32_t numbers[5];
    if (!take_name(&record, NULL) || !take_name(&record, NULL)) {
        return false;
    }
    for (int i = 0; i < 5; i++) {
        if (!take_u32(&record, &numbers[i])) {
            return false;
        }
    }
    note_ttl(out, ttl_s < numbers[4] ? ttl_s : numbers[4]);
    return true;
}

static bool take_record(struct reader *reader, enum dns_type wanted, struct dns_answer *out)
{
    uint16_t type, class, data_len;
    uint32_t ttl_s;
    if (!take_name(reader, NULL) || !take_u16(reader, &type) || !take_u16(reader, &class) ||
        !take_u32(reader, &ttl_s) || !take_u16(reader, &data_len) ||
        reader->len - reader->at < data_len) {
        return false;
    }
    struct reader record = *reader;
    reader->at += data_len;
    if (type == DNS_TYPE_CNAME) {
        out->is_alias = true;
        note_ttl(out, ttl_s);
        return true;
    }
    if (type == DNS_TYPE_SOA) {
        return take_soa(record, ttl_s, out);
    }
    if (type != wanted) {
        return true;
    }
    note_ttl(out, ttl_s);
    return wanted == DNS_TYPE_MX ? take_mx(record, out)
                                 : take_address(&record, data_len, wanted, out);
}

bool dns_answer_parse(const uint8_t *message, size_t len, enum dns_type type,
                      struct dns_answer *out)
{
    *out = (struct dns_answer){0};
    struct reader reader = {.message = message, .len = len, .at = 4};
    uint16_t questions, answers, authorities;
    if (len < HEADER_LEN || !take_u16(&reader, &questions) || !take_u16(&reader, &answers) ||
        !take_u16(&reader, &authorities)) {
        return false;
    }
    reader.at = HEADER_LEN;
    for (uint32_t i = 0; i < questions; i++) {
        if (!take_name(&reader, NULL) || reader.len - reader.at < 4) {
            return false;
        }
        reader.at += 4;
    }
    uint32_t records = (uint32_t)answers + authorities;
    for (uint32_t i = 0; i < records && i < RECORDS_MAX; i++) {
        if (!take_record(&reader, type, out)) {
            return false;
        }
    }
    return true;
}
