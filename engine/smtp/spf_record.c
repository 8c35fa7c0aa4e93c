/* A record is words; a word is a mechanism ("-ip4:192.0.2.0/24") or a modifier ("redirect=name").
 * Everything is read where it stands: a term is slices of the record. */
#include "smtp/spf_record.h"

#include <stdio.h>

#define PARTS_MAX                                                                                  \
    128 /* of a macro's value split at its delimiters: as many labels as a name has                \
         */

bool spf_record_is(struct bytes text)
{
    struct bytes version = BYTES("v=spf1");
    return bytes_starts_with_nocase(text, version) &&
           (text.len == version.len || text.data[version.len] == ' ');
}

/* ---- names and their macros ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Records may hold any byte, NUL among them. */
static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* RFC 7208 7.1: %{letter digits r delimiters}. */
struct macro {
    char letter; /* as written: upper case asks for URL escapes */
    uint64_t keep;
    bool reverse;
    struct bytes delimiters;
};

/* At the letter behind "%{"; *at moves behind the "}". */
static bool parse_macro(struct bytes name, size_t *at, struct macro *out)
{
    size_t i = *at;
    *out = (struct macro){.keep = UINT64_MAX, .delimiters = BYTES(".")};
    if (i >= name.len || !is_one_of(lower(name.data[i]), "slodiphv")) {
        return false;
    }
    out->letter = name.data[i++];
    size_t digits = i;
    while (i < name.len && is_digit(name.data[i])) {
        i++;
    }
    if (i > digits &&
        (!bytes_to_u64(bytes_slice(name, digits, i), PARTS_MAX, &out->keep) || out->keep == 0)) {
        return false;
    }
    if (i < name.len && lower(name.data[i]) == 'r') {
        out->reverse = true;
        i++;
    }
    size_t delimiters = i;
    while (i < name.len && is_one_of(name.data[i], ".-+,/_=")) {
        i++;
    }
    if (i > delimiters) {
        out->delimiters = bytes_slice(name, delimiters, i);
    }
    if (i >= name.len || name.data[i] != '}') {
        return false;
    }
    *at = i + 1;
    return true;
}

/* RFC 7208 7.3: "i" of IPv6 is a label for each half byte. */
static void put_ip(struct buffer *out, const struct address *ip)
{
    if (ip->family == ADDRESS_IPV4) {
        char text[ADDRESS_TEXT_MAX];
        buffer_put_string(out, address_text(ip, text));
        return;
    }
    for (size_t i = 0; i < sizeof ip->ip; i++) {
        buffer_printf(out, "%s%x.%x", i == 0 ? "" : ".", ip->ip[i] >> 4u, ip->ip[i] & 0xFu);
    }
}

static void put_value(struct buffer *out, char letter, const struct spf_macros *macros)
{
    struct bytes sender = bytes_from_string(macros->sender);
    ptrdiff_t sign = bytes_find(sender, '@', 0);
    for (ptrdiff_t next = sign; next >= 0; next = bytes_find(sender, '@', (size_t)next + 1)) {
        sign = next; /* a quoted local part may hold some, too */
    }
    size_t at = sign < 0 ? 0 : (size_t)sign;
    switch (lower(letter)) {
    case 's':
        buffer_put_bytes(out, sender);
        break;
    case 'l':
        buffer_put_bytes(out, bytes_slice(sender, 0, at));
        break;
    case 'o':
        buffer_put_bytes(out, bytes_slice(sender, sign < 0 ? 0 : at + 1, sender.len));
        break;
    case 'd':
        buffer_put_string(out, macros->domain);
        break;
    case 'i':
        put_ip(out, macros->ip);
        break;
    case 'h':
        buffer_put_string(out, macros->helo);
        break;
    case 'v':
        buffer_put_string(out, macros->ip->family == ADDRESS_IPV4 ? "in-addr" : "ip6");
        break;
    default: /* p: RFC 7208 5.5 and 7.2 advise against it, and allow this answer */
        buffer_put_string(out, "unknown");
        break;
    }
}

static size_t split(struct bytes value, struct bytes delimiters, struct bytes parts[PARTS_MAX])
{
    size_t count = 0, begin = 0;
    for (size_t i = 0; i <= value.len && count < PARTS_MAX; i++) {
        if (i == value.len || bytes_find(delimiters, value.data[i], 0) >= 0) {
            parts[count++] = bytes_slice(value, begin, i);
            begin = i + 1;
        }
    }
    return count;
}

static void put_escaped(struct buffer *out, struct bytes text, bool escape)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        bool plain = is_alpha(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~';
        if (plain || !escape) {
            buffer_put_char(out, c);
        } else {
            buffer_printf(out, "%%%02X", (unsigned)(unsigned char)c);
        }
    }
}

/* The last `keep` parts, after turning them round if asked for, joined by dots. */
static void put_macro(struct buffer *out, const struct macro *macro,
                      const struct spf_macros *macros)
{
    char memory[2 * SPF_NAME_MAX];
    struct buffer value;
    struct bytes parts[PARTS_MAX];
    buffer_init(&value, memory, sizeof memory);
    put_value(&value, macro->letter, macros);
    size_t count = split(buffer_bytes(&value), macro->delimiters, parts);
    size_t first = count > macro->keep ? count - (size_t)macro->keep : 0;
    for (size_t i = first; i < count; i++) {
        size_t place = macro->reverse ? count - 1 - i : i;
        if (i > first) {
            buffer_put_char(out, '.');
        }
        put_escaped(out, parts[place], macro->letter != lower(macro->letter));
    }
}

/* RFC 7208 7.3: over 253 characters labels are taken away from the left. */
static void put_name(struct bytes name, char out[SPF_NAME_MAX])
{
    if (name.len > 0 && name.data[name.len - 1] == '.') {
        name.len--;
    }
    while (name.len > SPF_NAME_MAX - 3) {
        ptrdiff_t dot = bytes_find(name, '.', 0);
        name = dot < 0 ? bytes_slice(name, 0, 0) : bytes_slice(name, (size_t)dot + 1, name.len);
    }
    snprintf(out, SPF_NAME_MAX, "%.*s", BYTES_FMT(name));
}

static bool expand_percent(struct bytes name, size_t *at, const struct spf_macros *macros,
                           struct buffer *out)
{
    char c = *at + 1 < name.len ? name.data[*at + 1] : '\0';
    *at += 2;
    switch (c) {
    case '%':
        buffer_put_char(out, '%');
        return true;
    case '_':
        buffer_put_char(out, ' ');
        return true;
    case '-':
        buffer_put_string(out, "%20");
        return true;
    case '{': {
        struct macro macro;
        if (!parse_macro(name, at, &macro)) {
            return false;
        }
        if (macros != NULL) {
            put_macro(out, &macro, macros);
        }
        return true;
    }
    default:
        return false;
    }
}

bool spf_expand(struct bytes name, const struct spf_macros *macros, char out[SPF_NAME_MAX])
{
    char memory[2 * SPF_RECORD_MAX];
    struct buffer expanded;
    buffer_init(&expanded, memory, sizeof memory);
    for (size_t at = 0; at < name.len;) {
        char c = name.data[at];
        if (c == '%') {
            if (!expand_percent(name, &at, macros, &expanded)) {
                return false;
            }
        } else if (c < 0x21 || c > 0x7e) {
            return false;
        } else {
            buffer_put_char(&expanded, c);
            at++;
        }
    }
    if (macros != NULL) {
        put_name(buffer_bytes(&expanded), out);
    }
    return true;
}

/* RFC 7208 7.1: a name ends with a top label, not all of it digits, or with a macro. */
static bool ends_well(struct bytes name)
{
    if (name.len > 0 && name.data[name.len - 1] == '}') {
        return true;
    }
    if (name.len > 0 && name.data[name.len - 1] == '.') {
        name.len--;
    }
    size_t begin = name.len;
    bool more_than_digits = false;
    while (begin > 0 && name.data[begin - 1] != '.' && name.data[begin - 1] != '}') {
        char c = name.data[--begin];
        if (!is_alpha(c) && !is_digit(c) && c != '-') {
            return false;
        }
        more_than_digits |= !is_digit(c);
    }
    return begin > 0 && name.data[begin - 1] == '.' && begin < name.len && more_than_digits &&
           name.data[begin] != '-' && name.data[name.len - 1] != '-';
}

static bool is_name(struct bytes name)
{
    return spf_expand(name, NULL, NULL) && ends_well(name);
}

/* ---- terms ---- */

static const struct mechanism {
    const char *name;
    enum spf_kind kind;
    bool may_name, must_name, may_prefix;
} mechanisms[] = {
    {"all", SPF_ALL, false, false, false}, {"include", SPF_INCLUDE, true, true, false},
    {"a", SPF_A, true, false, true},       {"mx", SPF_MX, true, false, true},
    {"ptr", SPF_PTR, true, false, false},  {"ip4", SPF_IP4, true, true, true},
    {"ip6", SPF_IP6, true, true, true},    {"exists", SPF_EXISTS, true, true, false},
};

/* RFC 7208 5.6: digits without a leading zero. */
static bool take_prefix(struct bytes digits, uint64_t max, uint8_t *out)
{
    uint64_t prefix;
    if (digits.len == 0 || (digits.len > 1 && digits.data[0] == '0') ||
        !bytes_to_u64(digits, max, &prefix)) {
        return false;
    }
    *out = (uint8_t)prefix;
    return true;
}

/* Cuts "/24", "//64" or "/24//64" off the end of what stands behind a mechanism's name. Whatever
 * else holds a slash is part of the name. */
static bool cut_prefixes(struct bytes *rest, struct spf_term *out)
{
    size_t end = rest->len, digits = end;
    while (digits > 0 && is_digit(rest->data[digits - 1])) {
        digits--;
    }
    if (digits < 2 || rest->data[digits - 1] != '/') {
        if (digits == 1 && rest->data[0] == '/') { /* "a/24" */
            bool good = take_prefix(bytes_slice(*rest, 1, end), 32, &out->prefix4);
            rest->len = 0;
            return good;
        }
        return true;
    }
    if (rest->data[digits - 2] != '/') {
        bool good = take_prefix(bytes_slice(*rest, digits, end), 32, &out->prefix4);
        rest->len = digits - 1;
        return good;
    }
    if (!take_prefix(bytes_slice(*rest, digits, end), 128, &out->prefix6)) {
        return false;
    }
    rest->len = digits - 2;
    size_t before = rest->len;
    while (before > 0 && is_digit(rest->data[before - 1])) {
        before--;
    }
    if (before == rest->len || before == 0 || rest->data[before - 1] != '/') {
        return true;
    }
    bool good = take_prefix(bytes_slice(*rest, before, rest->len), 32, &out->prefix4);
    rest->len = before - 1;
    return good;
}

static bool take_network(struct bytes text, struct spf_term *out)
{
    bool ipv4 = out->kind == SPF_IP4;
    ptrdiff_t slash = bytes_find(text, '/', 0);
    struct bytes ip = bytes_slice(text, 0, slash < 0 ? text.len : (size_t)slash);
    if (ip.len == 0 || ip.data[0] == '[' || !address_parse(ip, &out->network) ||
        out->network.family != (ipv4 ? ADDRESS_IPV4 : ADDRESS_IPV6)) {
        return false;
    }
    return slash < 0 || take_prefix(bytes_slice(text, (size_t)slash + 1, text.len), ipv4 ? 32 : 128,
                                    ipv4 ? &out->prefix4 : &out->prefix6);
}

static const struct mechanism *find_mechanism(struct bytes name)
{
    for (size_t i = 0; i < sizeof mechanisms / sizeof mechanisms[0]; i++) {
        if (bytes_equal_nocase(name, bytes_from_string(mechanisms[i].name))) {
            return &mechanisms[i];
        }
    }
    return NULL;
}

static bool parse_mechanism(struct bytes word, struct spf_term *out)
{
    size_t end = 0;
    while (end < word.len && word.data[end] != ':' && word.data[end] != '/') {
        end++;
    }
    const struct mechanism *row = find_mechanism(bytes_slice(word, 0, end));
    if (row == NULL) {
        return false;
    }
    out->kind = row->kind;
    struct bytes rest = bytes_slice(word, end, word.len);
    bool is_network = row->kind == SPF_IP4 || row->kind == SPF_IP6;
    if (row->may_prefix && !is_network && !cut_prefixes(&rest, out)) {
        return false;
    }
    if (rest.len == 0) {
        return !row->must_name;
    }
    if (!row->may_name || rest.data[0] != ':') {
        return false;
    }
    out->domain = bytes_slice(rest, 1, rest.len);
    return is_network ? take_network(out->domain, out) : is_name(out->domain);
}

/* RFC 7208 4.6.1: ALPHA *( ALPHA / DIGIT / "-" / "_" / "." ) "=" */
static size_t modifier_name(struct bytes word)
{
    size_t i = 0;
    while (i < word.len &&
           (is_alpha(word.data[i]) ||
            (i > 0 && (is_digit(word.data[i]) || is_one_of(word.data[i], "-_."))))) {
        i++;
    }
    return i > 0 && i < word.len && word.data[i] == '=' ? i : 0;
}

static bool parse_modifier(struct bytes word, size_t name_len, struct spf_term *out)
{
    struct bytes name = bytes_slice(word, 0, name_len);
    out->domain = bytes_slice(word, name_len + 1, word.len);
    out->kind = SPF_OTHER;
    if (bytes_equal_nocase(name, BYTES("redirect"))) {
        out->kind = SPF_REDIRECT;
        return is_name(out->domain);
    }
    if (bytes_equal_nocase(name, BYTES("exp"))) {
        out->kind = SPF_EXPLANATION;
        return is_name(out->domain);
    }
    return spf_expand(out->domain, NULL, NULL);
}

static bool parse_term(struct bytes word, struct spf_term *out)
{
    *out = (struct spf_term){.qualifier = '+', .prefix4 = 32, .prefix6 = 128};
    size_t name_len = modifier_name(word);
    if (name_len > 0) {
        return parse_modifier(word, name_len, out);
    }
    if (is_one_of(word.data[0], "+-~?")) {
        out->qualifier = word.data[0];
        word = bytes_slice(word, 1, word.len);
    }
    return parse_mechanism(word, out);
}

int spf_term_next(struct bytes record, size_t *at, struct spf_term *out)
{
    while (*at < record.len && record.data[*at] == ' ') {
        (*at)++;
    }
    if (*at == record.len) {
        return 0;
    }
    ptrdiff_t space = bytes_find(record, ' ', *at);
    size_t end = space < 0 ? record.len : (size_t)space;
    struct bytes word = bytes_slice(record, *at, end);
    *at = end;
    return parse_term(word, out) ? 1 : -1;
}

bool spf_record_is_valid(struct bytes record)
{
    struct spf_term term;
    size_t at = strlen("v=spf1"), redirects = 0, explanations = 0;
    int got;
    while ((got = spf_term_next(record, &at, &term)) > 0) {
        redirects += term.kind == SPF_REDIRECT;
        explanations += term.kind == SPF_EXPLANATION;
    }
    return got == 0 && redirects <= 1 && explanations <= 1;
}
