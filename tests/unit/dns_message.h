/* DNS messages written by hand, for tests of what reads them. Broken ones, too: nothing is checked
 * here but the room. */
#ifndef TESTS_UNIT_DNS_MESSAGE_H
#define TESTS_UNIT_DNS_MESSAGE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DNS_MESSAGE_MAX 65535

struct dns_message {
    uint8_t bytes[DNS_MESSAGE_MAX];
    size_t len;
};

static inline void message_u8(struct dns_message *m, unsigned value)
{
    assert(m->len < sizeof m->bytes);
    m->bytes[m->len++] = (uint8_t)value;
}

static inline void message_u16(struct dns_message *m, unsigned value)
{
    message_u8(m, value >> 8 & 0xff);
    message_u8(m, value & 0xff);
}

static inline void message_u32(struct dns_message *m, uint32_t value)
{
    message_u16(m, value >> 16);
    message_u16(m, value & 0xffff);
}

/* "mx.example.com", labels of any bytes; "" is the root. */
static inline void message_name(struct dns_message *m, const char *name)
{
    while (*name != '\0') {
        size_t len = strcspn(name, ".");
        message_u8(m, (unsigned)len);
        for (size_t i = 0; i < len; i++) {
            message_u8(m, (unsigned char)name[i]);
        }
        name += len + (name[len] == '.');
    }
    message_u8(m, 0);
}

/* To where a name stands already. */
static inline void message_pointer(struct dns_message *m, size_t at)
{
    message_u16(m, 0xc000u | (unsigned)at);
}

static inline void message_count(struct dns_message *m, size_t at)
{
    unsigned count = (unsigned)(m->bytes[at] << 8 | m->bytes[at + 1]) + 1;
    m->bytes[at] = (uint8_t)(count >> 8);
    m->bytes[at + 1] = (uint8_t)count;
}

enum { MESSAGE_QUESTIONS = 4, MESSAGE_ANSWERS = 6, MESSAGE_AUTHORITIES = 8, MESSAGE_QUESTION = 12 };

/* A response with one question. */
static inline void message_begin(struct dns_message *m, unsigned id, unsigned rcode,
                                 const char *name, unsigned type)
{
    m->len = 0;
    message_u16(m, id);
    message_u16(m, 0x8180 | rcode);
    message_u16(m, 1);
    message_u16(m, 0);
    message_u32(m, 0);
    message_name(m, name);
    message_u16(m, type);
    message_u16(m, 1);
}

/* The start of a record up to its data; the length is set by message_record_end. NULL: the
 * question's name, compressed. */
static inline size_t message_record(struct dns_message *m, size_t section, const char *name,
                                    unsigned type, uint32_t ttl_s)
{
    message_count(m, section);
    if (name == NULL) {
        message_pointer(m, MESSAGE_QUESTION);
    } else {
        message_name(m, name);
    }
    message_u16(m, type);
    message_u16(m, 1);
    message_u32(m, ttl_s);
    message_u16(m, 0);
    return m->len;
}

static inline void message_record_end(struct dns_message *m, size_t start)
{
    size_t len = m->len - start;
    m->bytes[start - 2] = (uint8_t)(len >> 8);
    m->bytes[start - 1] = (uint8_t)len;
}

static inline void message_mx(struct dns_message *m, uint32_t ttl_s, unsigned preference,
                              const char *host)
{
    size_t start = message_record(m, MESSAGE_ANSWERS, NULL, 15, ttl_s);
    message_u16(m, preference);
    message_name(m, host);
    message_record_end(m, start);
}

static inline void message_a(struct dns_message *m, const char *name, uint32_t ttl_s, uint32_t ip)
{
    size_t start = message_record(m, MESSAGE_ANSWERS, name, 1, ttl_s);
    message_u32(m, ip);
    message_record_end(m, start);
}

static inline void message_aaaa(struct dns_message *m, uint32_t ttl_s, uint32_t last)
{
    size_t start = message_record(m, MESSAGE_ANSWERS, NULL, 28, ttl_s);
    message_u32(m, 0x20010db8);
    message_u32(m, 0);
    message_u32(m, 0);
    message_u32(m, last);
    message_record_end(m, start);
}

static inline void message_cname(struct dns_message *m, const char *name, uint32_t ttl_s,
                                 const char *target)
{
    size_t start = message_record(m, MESSAGE_ANSWERS, name, 5, ttl_s);
    message_name(m, target);
    message_record_end(m, start);
}

static inline void message_ptr(struct dns_message *m, uint32_t ttl_s, const char *name)
{
    size_t start = message_record(m, MESSAGE_ANSWERS, NULL, 12, ttl_s);
    message_name(m, name);
    message_record_end(m, start);
}

static inline void message_string(struct dns_message *m, const char *text)
{
    message_u8(m, (unsigned)strlen(text));
    for (; *text != '\0'; text++) {
        message_u8(m, (unsigned char)*text);
    }
}

/* One TXT record of two strings. */
static inline void message_txt(struct dns_message *m, uint32_t ttl_s, const char *first,
                               const char *second)
{
    size_t start = message_record(m, MESSAGE_ANSWERS, NULL, 16, ttl_s);
    message_string(m, first);
    message_string(m, second);
    message_record_end(m, start);
}

static inline void message_soa(struct dns_message *m, uint32_t ttl_s, uint32_t minimum_s)
{
    size_t start = message_record(m, MESSAGE_AUTHORITIES, "example", 6, ttl_s);
    message_name(m, "ns.example");
    message_name(m, "root.example");
    for (int i = 0; i < 4; i++) {
        message_u32(m, 3600);
    }
    message_u32(m, minimum_s);
    message_record_end(m, start);
}

#endif
