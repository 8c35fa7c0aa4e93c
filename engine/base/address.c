#include "base/address.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

static bool parse_ip(struct bytes text, bool may_be_ipv4, bool may_be_ipv6, struct address *out)
{
    char string[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof(string) || bytes_find(text, '\0', 0) >= 0) {
        return false;
    }
    memcpy(string, text.data, text.len);
    string[text.len] = '\0';
    struct address address = {.family = ADDRESS_IPV4};
    if (may_be_ipv4 && inet_pton(AF_INET, string, address.ip) == 1) {
        *out = address;
        return true;
    }
    address.family = ADDRESS_IPV6;
    if (may_be_ipv6 && inet_pton(AF_INET6, string, address.ip) == 1) {
        *out = address;
        return true;
    }
    return false;
}

/* What stands between the brackets: RFC 5321 4.1.3 wants a tag before IPv6, people leave it out. */
static bool parse_bracketed(struct bytes inside, struct address *out)
{
    struct bytes tag = BYTES("IPv6:");
    if (bytes_starts_with_nocase(inside, tag)) {
        return parse_ip(bytes_slice(inside, tag.len, inside.len), false, true, out);
    }
    return parse_ip(inside, true, true, out);
}

bool address_parse(struct bytes text, struct address *out)
{
    if (text.len >= 2 && text.data[0] == '[' && text.data[text.len - 1] == ']') {
        return parse_bracketed(bytes_slice(text, 1, text.len - 1), out);
    }
    return parse_ip(text, true, true, out);
}

bool address_parse_port(struct bytes text, struct address *out)
{
    ptrdiff_t colon = -1;
    for (size_t i = text.len; i > 0 && colon < 0; i--) {
        colon = text.data[i - 1] == ':' ? (ptrdiff_t)i - 1 : -1;
    }
    if (colon < 1) {
        return false;
    }
    struct bytes host = bytes_slice(text, 0, (size_t)colon);
    struct address address;
    uint64_t port;
    if (!bytes_to_u64(bytes_slice(text, (size_t)colon + 1, text.len), UINT16_MAX, &port) ||
        port == 0 || !address_parse(host, &address)) {
        return false;
    }
    /* "::1:25" is an address, not an address with a port. */
    if (address.family == ADDRESS_IPV6 && host.data[0] != '[') {
        return false;
    }
    address.port = (uint16_t)port;
    *out = address;
    return true;
}

/* "10" and "173.194": one to four octets; what is left out is zero. */
static bool parse_octets(struct bytes text, struct address *out)
{
    struct address address = {.family = ADDRESS_IPV4};
    size_t at = 0;
    for (size_t i = 0; i < 4; i++) {
        ptrdiff_t dot = bytes_find(text, '.', at);
        size_t end = dot < 0 ? text.len : (size_t)dot;
        uint64_t octet;
        if (end - at > 3 || !bytes_to_u64(bytes_slice(text, at, end), 255, &octet)) {
            return false;
        }
        address.ip[i] = (uint8_t)octet;
        if (dot < 0) {
            *out = address;
            return true;
        }
        at = end + 1;
    }
    return false;
}

static uint8_t bits_of(const struct address *address)
{
    return address->family == ADDRESS_IPV4 ? 32 : 128;
}

static void mask(struct address *address, uint8_t prefix)
{
    for (unsigned i = 0; i < sizeof(address->ip); i++) {
        unsigned keep = prefix <= i * 8 ? 0 : prefix - i * 8;
        if (keep < 8) {
            address->ip[i] &= (uint8_t)(0xFF00u >> keep);
        }
    }
}

/* An IPv4-mapped IPv6 address (RFC 4291 2.5.5.2) as the IPv4 address it is. */
static struct address unmapped(const struct address *address)
{
    struct address plain = *address;
    if (address->family == ADDRESS_IPV6 &&
        memcmp(address->ip, mapped_prefix, sizeof(mapped_prefix)) == 0) {
        plain = (struct address){.family = ADDRESS_IPV4, .port = address->port};
        memcpy(plain.ip, address->ip + sizeof(mapped_prefix), 4);
    }
    return plain;
}

bool address_range_parse(struct bytes text, struct address_range *out)
{
    ptrdiff_t slash = bytes_find(text, '/', 0);
    struct address base;
    if (slash < 0) {
        if (!address_parse(text, &base)) {
            return false;
        }
        base = unmapped(&base);
        *out = (struct address_range){.base = base, .prefix = bits_of(&base)};
        return true;
    }
    struct bytes host = bytes_slice(text, 0, (size_t)slash);
    uint64_t prefix;
    if ((!parse_octets(host, &base) && !address_parse(host, &base)) ||
        !bytes_to_u64(bytes_slice(text, (size_t)slash + 1, text.len), bits_of(&base), &prefix)) {
        return false;
    }
    struct address plain = unmapped(&base);
    if (plain.family != base.family && prefix >= 96) {
        base = plain;
        prefix -= 96;
    }
    mask(&base, (uint8_t)prefix);
    *out = (struct address_range){.base = base, .prefix = (uint8_t)prefix};
    return true;
}

bool address_range_holds(const struct address_range *range, const struct address *address)
{
    struct address plain = unmapped(address);
    if (plain.family == ADDRESS_NONE || range->base.family == ADDRESS_NONE) {
        return false;
    }
    if (range->base.family == ADDRESS_IPV4 && range->prefix == 0) {
        return true; /* "0/0" means everybody */
    }
    if (plain.family != range->base.family) {
        return false;
    }
    mask(&plain, range->prefix);
    return memcmp(plain.ip, range->base.ip, sizeof(plain.ip)) == 0;
}

bool address_equal_ip(const struct address *a, const struct address *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

bool address_is_loopback(const struct address *address)
{
    static const uint8_t ipv6_loopback[16] = {[15] = 1};
    struct address plain = unmapped(address);
    if (plain.family == ADDRESS_IPV4) {
        return plain.ip[0] == 127;
    }
    return plain.family == ADDRESS_IPV6 &&
           memcmp(plain.ip, ipv6_loopback, sizeof(ipv6_loopback)) == 0;
}

/* Without printf, which inet_ntop is made of: it is written for every message. */
static const char *ipv4_text(const uint8_t ip[4], char out[ADDRESS_TEXT_MAX])
{
    char *end = out;
    for (int i = 0; i < 4; i++) {
        if (ip[i] >= 100) {
            *end++ = (char)('0' + ip[i] / 100);
        }
        if (ip[i] >= 10) {
            *end++ = (char)('0' + ip[i] / 10 % 10);
        }
        *end++ = (char)('0' + ip[i] % 10);
        *end++ = i < 3 ? '.' : '\0';
    }
    return out;
}

const char *address_text(const struct address *address, char out[ADDRESS_TEXT_MAX])
{
    if (address->family == ADDRESS_NONE) {
        (void)snprintf(out, ADDRESS_TEXT_MAX, "none");
        return out;
    }
    if (address->family == ADDRESS_IPV4) {
        return ipv4_text(address->ip, out);
    }
    const char *text = inet_ntop(AF_INET6, address->ip, out, ADDRESS_TEXT_MAX);
    assert(text == out);
    return out;
}

const char *address_port_text(const struct address *address, char out[ADDRESS_TEXT_MAX])
{
    char ip[INET6_ADDRSTRLEN];
    char text[ADDRESS_TEXT_MAX];
    (void)snprintf(ip, sizeof(ip), "%.*s", (int)sizeof(ip) - 1, address_text(address, text));
    if (address->port == 0) {
        return memcpy(out, text, ADDRESS_TEXT_MAX);
    }
    bool brackets = address->family == ADDRESS_IPV6;
    (void)snprintf(out, ADDRESS_TEXT_MAX, "%s%s%s:%u", brackets ? "[" : "", ip, brackets ? "]" : "",
                   (unsigned)address->port);
    return out;
}

const char *address_range_text(const struct address_range *range, char out[ADDRESS_TEXT_MAX])
{
    address_text(&range->base, out);
    size_t len = strlen(out);
    (void)snprintf(out + len, ADDRESS_TEXT_MAX - len, "/%u", (unsigned)range->prefix);
    return out;
}

uint64_t address_hash(const struct address *address)
{
    uint64_t hash = bytes_hash(bytes_of((const char *)address->ip, sizeof(address->ip)));
    return hash + address->family;
}
