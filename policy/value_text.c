/* Text, names, patterns of domains. */
#include <ctype.h>

#include "base/idna.h"
#include "policy/pattern.h"
#include "policy/value_private.h"

#define HOST_LABEL_LEN_MAX 63  /* RFC 1035 2.3.4 */
#define MAILBOX_LEN_MAX    320 /* local part 64, @, domain 255 (RFC 5321 4.5.3.1) */

static bool is_letter_or_digit(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (unsigned char)c >= 0x80; /* IDN domains may be written raw */
}

bool is_host_name(struct bytes text)
{
    size_t label_len = 0;
    if (text.len == 0 || text.len > VALUE_DOMAIN_LEN_MAX) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '.') {
            if (label_len == 0) {
                return false;
            }
            label_len = 0;
        } else if (is_letter_or_digit(c) || c == '-' || c == '_') {
            label_len++;
        } else {
            return false;
        }
        if (label_len > HOST_LABEL_LEN_MAX) {
            return false;
        }
    }
    return true;
}

bool value_is_name(struct bytes text)
{
    if (text.len == 0 || text.len > VALUE_NAME_LEN_MAX) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c <= ' ' || c == 0x7f || strchr("\"/<>,;=#$*\\", c) != NULL) {
            return false;
        }
    }
    return true;
}

int parse_string(struct reader *reader, union value *out)
{
    struct word word;
    if (reader_only_word(reader, &word) < 0) {
        return -1;
    }
    return reader_copy(reader, word.text, &out->STRING);
}

int parse_certificate(struct reader *reader, union value *out)
{
    struct certificate value = {.password = {"", 0}};
    struct word word;
    if (reader_word(reader, &word) < 0 || reader_copy(reader, word.text, &value.path) < 0) {
        return -1;
    }
    if (words_rest(&reader->words).len > 0 &&
        (reader_only_word(reader, &word) < 0 ||
         reader_copy(reader, word.text, &value.password) < 0)) {
        return -1;
    }
    out->CERTIFICATE = value;
    return 0;
}

int parse_text(struct reader *reader, union value *out)
{
    struct bytes whole;
    if (reader_whole(reader, &whole) < 0) {
        return -1;
    }
    return reader_copy(reader, whole, &out->TEXT);
}

int parse_path(struct reader *reader, union value *out)
{
    return parse_string(reader, out);
}

int parse_host(struct reader *reader, union value *out)
{
    struct word word;
    if (reader_only_word(reader, &word) < 0) {
        return -1;
    }
    if (!is_host_name(word.text)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    return reader_copy(reader, word.text, &out->HOST);
}

/* As domains stand in the names of queues: A-labels in lower case. False: it has none. */
static bool put_domain(struct bytes domain, struct buffer *out)
{
    if (!bytes_is_ascii(domain)) {
        return idna_to_ascii(domain, out);
    }
    for (size_t i = 0; i < domain.len; i++) {
        buffer_put_char(out, (char)tolower((unsigned char)domain.data[i]));
    }
    return !out->overflowed;
}

/* "" clears what a more general block says. */
int parse_queue_domain(struct reader *reader, union value *out)
{
    struct word word;
    char memory[VALUE_DOMAIN_LEN_MAX];
    struct buffer domain;
    buffer_init(&domain, memory, sizeof memory);
    if (reader_only_word(reader, &word) < 0) {
        return -1;
    }
    bool clears = word.quoted && word.text.len == 0;
    if (!clears && (!is_host_name(word.text) || !put_domain(word.text, &domain))) {
        return reader_refuse(reader, word.offset, word.text);
    }
    return reader_copy(reader, buffer_bytes(&domain), &out->QUEUE_DOMAIN);
}

/* "" clears what a more general block says. */
static int parse_one_name(struct reader *reader, struct bytes *out)
{
    struct word word;
    if (reader_only_word(reader, &word) < 0) {
        return -1;
    }
    bool clears = word.quoted && word.text.len == 0;
    if (!clears && !value_is_name(word.text)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    return reader_copy(reader, word.text, out);
}

int parse_name(struct reader *reader, union value *out)
{
    return parse_one_name(reader, &out->NAME);
}

int parse_reply_list(struct reader *reader, union value *out)
{
    return parse_one_name(reader, &out->REPLY_LIST.name);
}

int parse_mailbox(struct reader *reader, union value *out)
{
    struct word word;
    if (reader_only_word(reader, &word) < 0) {
        return -1;
    }
    bool clears = word.quoted && word.text.len == 0;
    ptrdiff_t at = bytes_find(word.text, '@', 0);
    if (!clears && (at <= 0 || (size_t)at + 1 == word.text.len || word.text.len > MAILBOX_LEN_MAX ||
                    bytes_find(word.text, ' ', 0) >= 0)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    return reader_copy(reader, word.text, &out->MAILBOX);
}

/* Items between commas; `is_fine` NULL takes all but empty ones. */
static int parse_items(struct reader *reader, bool (*is_fine)(struct bytes text),
                       struct string_array *out)
{
    struct bytes whole, item;
    size_t cursor = 0, count = 1, at = 0;
    if (reader_whole(reader, &whole) < 0) {
        return -1;
    }
    if (whole.len == 0) {
        *out = (struct string_array){NULL, 0};
        return 0;
    }
    for (size_t i = 0; i < whole.len; i++) {
        count += whole.data[i] == ',';
    }
    struct bytes *items =
        count > VALUE_LIST_MAX ? NULL : arena_take(reader->source->arena, count * sizeof(*items));
    if (items == NULL) {
        return reader_no_memory(reader);
    }
    while (next_item(whole, ',', &cursor, &item)) {
        if (item.len == 0 || (is_fine != NULL && !is_fine(item))) {
            return reader_refuse(reader, 0, item.len == 0 ? whole : item);
        }
        if (reader_copy(reader, item, &items[at++]) < 0) {
            return -1;
        }
    }
    *out = (struct string_array){items, at};
    return 0;
}

int parse_strings(struct reader *reader, union value *out)
{
    return parse_items(reader, NULL, &out->STRINGS);
}

int parse_names(struct reader *reader, union value *out)
{
    return parse_items(reader, value_is_name, &out->NAMES);
}

/* `accepts` is "least..most" words. */
int parse_args(struct reader *reader, union value *out)
{
    enum { ARGS_MAX = 16 };
    struct bytes found[ARGS_MAX];
    struct word word;
    size_t count = 0;
    const char *accepts = reader->source->accepts;
    size_t least = (size_t)(accepts[0] - '0'), most = (size_t)(accepts[3] - '0');
    while (words_rest(&reader->words).len > 0) {
        if (reader_word(reader, &word) < 0) {
            return -1;
        }
        if (count == most) {
            return reader_refuse(reader, word.offset, word.text);
        }
        found[count++] = word.text;
    }
    if (count < least) {
        return reader_refuse(reader, 0, reader->source->text);
    }
    struct bytes *items = arena_take(reader->source->arena, count * sizeof(*items));
    if (items == NULL) {
        return reader_no_memory(reader);
    }
    for (size_t i = 0; i < count; i++) {
        if (reader_copy(reader, found[i], &items[i]) < 0) {
            return -1;
        }
    }
    out->ARGS = (struct string_array){items, count};
    return 0;
}

static bool is_braced(struct bytes text)
{
    return text.len > 2 && text.data[0] == '{' && text.data[text.len - 1] == '}';
}

/* `[ip/mask]`, also as `[IPv6:…]`. */
static bool parse_literal(struct bytes text, struct domain_pattern *out)
{
    struct bytes inside = bytes_slice(text, 1, text.len - 1);
    if (bytes_starts_with_nocase(inside, BYTES("IPv6:"))) {
        inside = bytes_slice(inside, 5, inside.len);
    }
    struct address_range range;
    if (!address_range_parse(inside, &range)) {
        return false;
    }
    *out = (struct domain_pattern){.kind = DOMAIN_RANGE, .range = range};
    return true;
}

bool value_parse_domain(struct bytes text, struct domain_pattern *out)
{
    enum domain_kind kind = DOMAIN_EXACT;
    if (bytes_equal(text, BYTES("*"))) {
        *out = (struct domain_pattern){.kind = DOMAIN_ANY};
        return true;
    }
    if (bytes_equal_nocase(text, BYTES("local"))) {
        *out = (struct domain_pattern){.kind = DOMAIN_LOCAL};
        return true;
    }
    if (bytes_starts_with(text, BYTES("[*.]"))) {
        kind = DOMAIN_WITH_SUBS;
        text = bytes_slice(text, 4, text.len);
    } else if (bytes_starts_with(text, BYTES("*."))) {
        kind = DOMAIN_SUBS;
        text = bytes_slice(text, 2, text.len);
    } else if (text.len > 2 && text.data[0] == '[' && text.data[text.len - 1] == ']') {
        return parse_literal(text, out);
    }
    if (text.len > 1 && text.data[text.len - 1] == '.') {
        text.len--; /* the root's dot changes nothing */
    }
    bool reserved = kind == DOMAIN_EXACT && is_braced(text) &&
                    value_is_name(bytes_slice(text, 1, text.len - 1));
    if (!reserved && !is_host_name(text)) {
        return false;
    }
    *out = (struct domain_pattern){.kind = kind, .name = text};
    return true;
}

static int domain_word(struct reader *reader, struct domain_pattern *out)
{
    struct word word;
    struct domain_pattern domain;
    if (reader_word(reader, &word) < 0) {
        return -1;
    }
    if (!value_parse_domain(word.text, &domain)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    if (domain.name.len > 0 && reader_copy(reader, domain.name, &domain.name) < 0) {
        return -1;
    }
    *out = domain;
    return 0;
}

int parse_domain(struct reader *reader, union value *out)
{
    return domain_word(reader, &out->DOMAIN) < 0 ? -1 : reader_end(reader);
}

int parse_domain_limit(struct reader *reader, union value *out)
{
    struct domain_limit limit;
    struct word word;
    if (domain_word(reader, &limit.domain) < 0 || reader_only_word(reader, &word) < 0) {
        return -1;
    }
    if (!bytes_to_u64(word.text, UINT64_MAX - 1, &limit.limit)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    out->DOMAIN_LIMIT = limit;
    return 0;
}

/* An address, a bare local part or a regular expression. */
int parse_pattern(struct reader *reader, union value *out)
{
    struct text_or_pattern value = {.pattern = NULL};
    struct word word;
    enum words_result result = words_next_regex(&reader->words, &word);
    if (result != WORDS_WORD) {
        *reader->error_offset = reader->words.offset;
        return error_set(reader->error, -1, "%s", words_problem(result));
    }
    if (reader_end(reader) < 0) {
        return -1;
    }
    if (word.regex) {
        *reader->error_offset = word.offset;
        value.pattern = pattern_compile(reader->source->patterns, word.text, reader->error);
        if (value.pattern == NULL) {
            return -1;
        }
    } else if (word.text.len == 0 || word.text.len > MAILBOX_LEN_MAX) {
        return reader_refuse(reader, word.offset, word.text);
    }
    if (reader_copy(reader, word.text, &value.text) < 0) {
        return -1;
    }
    out->PATTERN = value;
    return 0;
}

int parse_member(struct reader *reader, union value *out)
{
    struct pool_member member = {.weight = 1};
    struct word word;
    if (reader_word(reader, &word) < 0) {
        return -1;
    }
    if (!value_is_name(word.text)) {
        return reader_refuse(reader, word.offset, word.text);
    }
    if (reader_copy(reader, word.text, &member.name) < 0) {
        return -1;
    }
    if (words_rest(&reader->words).len > 0) {
        if (reader_only_word(reader, &word) < 0) {
            return -1;
        }
        if (!bytes_starts_with_nocase(word.text, BYTES("weight=")) ||
            !bytes_to_u64(bytes_slice(word.text, 7, word.text.len), 1000, &member.weight) ||
            member.weight == 0) {
            return reader_refuse(reader, word.offset, word.text);
        }
    }
    out->MEMBER = member;
    return 0;
}
