/* The values a configuration may hold: from text to typed value and back.
 *
 * Knows nothing of directives, scopes or files. A value that points somewhere (text, lists)
 * points into the arena it was parsed into and lives as long. Pure; any thread, one arena each. */
#ifndef POLICY_VALUE_H
#define POLICY_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "base/arena.h"
#include "base/bytes.h"
#include "base/error.h"

struct pattern; /* policy/pattern.h */
struct pattern_set;
struct reply_rules; /* policy/reply_rules.h */

#define UNLIMITED             UINT64_MAX                    /* of counts, sizes and rates */
#define NEVER                 UINT64_MAX                    /* of intervals */
#define VALUE_LIST_MAX        10000                         /* entries in one list value */
#define VALUE_INTERVAL_MAX_MS (100ull * 365 * 86400 * 1000) /* a century: sums cannot overflow */
#define VALUE_NAME_LEN_MAX    255
#define VALUE_DOMAIN_LEN_MAX  255 /* RFC 5321 4.5.3.1.2 */

/* Waiting times, one after the other; the last repeats. count >= 1 once resolved. */
struct interval_list {
    const uint64_t *interval_ms;
    uint32_t count;
};

/* At most `count` in every `window_ms`. count == UNLIMITED: no limit, window_ms is 0. */
struct rate_value {
    uint64_t count; /* messages, connections; bytes in a data rate */
    uint64_t window_ms;
};

/* A rate, or a share of another one: `rate` is then set once that is known. */
struct rate_share {
    struct rate_value rate;
    uint32_t percent; /* 1 to 100; 0: a rate was given */
};

/* A list of reply rules by name. */
struct reply_list {
    struct bytes name;               /* empty: none */
    const struct reply_rules *rules; /* set in resolved settings; NULL: none */
};

/* One `smtp-source-host`. */
struct source_host {
    struct address_range range; /* a single address has the full prefix */
    struct bytes host_name;     /* empty: the virtual MTA's, else the global one */
};

/* One destination of `smtp-hosts`. */
struct smtp_host {
    struct bytes name;      /* host name, without brackets; empty if `address` is given */
    struct address address; /* literal `[ip]`; its family is ADDRESS_NONE if `name` is given */
    uint16_t port;          /* 0: the queue's default-smtp-port */
    uint16_t preference;    /* from 0; equal ones take turns, higher ones come later */
    bool lookup_mx;         /* `lookup-mx:NAME`: the MX of NAME */
};

/* A pattern of domains, as in `<domain …>` and `relay-domain`. */
enum domain_kind {
    DOMAIN_ANY,       /* `*` */
    DOMAIN_WITH_SUBS, /* `[*.]name`: name and what is below */
    DOMAIN_SUBS,      /* `*.name`: what is below only */
    DOMAIN_RANGE,     /* `[ip/mask]`: address literals */
    DOMAIN_LOCAL,     /* `local`: every local host name */
    DOMAIN_EXACT,     /* `name`; and reserved names such as `{bounceProcessor}` */
};

struct domain_pattern {
    enum domain_kind kind;
    struct bytes name; /* without the star; lower case is not required */
    struct address_range range;
};

/* Plain text, or a regular expression written /…/. */
struct text_or_pattern {
    struct bytes text; /* as written; without the slashes where `pattern` is set */
    const struct pattern *pattern;
};

struct range_limit {
    struct address_range range;
    uint64_t limit;
};

struct range_rate {
    struct address_range range;
    struct rate_value rate;
};

struct domain_limit {
    struct domain_pattern domain;
    uint64_t limit;
};

struct pool_member {
    struct bytes name;
    uint64_t weight; /* 1 unless given */
};

/* A PEM file with certificates and a private key. */
struct certificate {
    struct bytes path;
    struct bytes password; /* of the key; empty: none */
};

/* Records of an accounting file, as bits. */
#define RECORD_TYPES(R)                                                                            \
    R(RECORD_DELIVERY, "d", "delivery")                                                            \
    R(RECORD_BOUNCE, "b", "bounce")                                                                \
    R(RECORD_TRANSIENT, "t", "transient")                                                          \
    R(RECORD_QUEUE, "tq", "transient-queue")                                                       \
    R(RECORD_RECEIPT, "r", "receipt")                                                              \
    R(RECORD_REMOTE_BOUNCE, "rb", "remote-bounce")                                                 \
    R(RECORD_REMOTE_STATUS, "rs", "remote-status")                                                 \
    R(RECORD_FEEDBACK, "f", "feedback-loop")

enum record_type {
#define RECORD_ENUM(id, letter, name) id,
    RECORD_TYPES(RECORD_ENUM)
#undef RECORD_ENUM
};
#define RECORD_BIT(type) (1u << (type))

/* One `record-fields TYPE LIST`: applied left to right to the default columns. */
struct record_field {
    struct bytes name; /* "*": all the defaults; as written otherwise, without the `!` */
    bool removed;      /* `!name` */
};

struct record_fields {
    uint32_t records; /* bits of enum record_type this is for */
    uint32_t count;
    const struct record_field *fields;
};

/* Words of a WORD directive: the value is the place in its list. */
#define ON_LAG_WORDS(W) W(ON_LAG_HOLD, "hold") W(ON_LAG_SKIP, "skip")
#define QUEUE_TYPE_WORDS(W)                                                                        \
    W(QUEUE_SMTP, "smtp")                                                                          \
    W(QUEUE_PIPE, "pipe")                                                                          \
    W(QUEUE_FILE, "file") W(QUEUE_DISCARD, "discard") W(QUEUE_HTTP, "http-delivery")
#define AUTH_METHOD_WORDS(W)                                                                       \
    W(AUTH_PASSWORD, "password") W(AUTH_SYSTEM, "system") W(AUTH_CERTIFICATE, "certificate")
#define ADD_DATE_WORDS(W)                                                                          \
    W(ADD_DATE_NO, "no") W(ADD_DATE_YES, "yes") W(ADD_DATE_OVERRIDE, "override")
#define DATE_TIME_WORDS(W) W(DATE_RECEPTION, "reception") W(DATE_DELIVERY, "delivery")
#define DSN_RETURN_WORDS(W)                                                                        \
    W(DSN_RETURN_HEADERS, "headers") W(DSN_RETURN_FULL, "full") W(DSN_RETURN_SYSTEM, "system")
#define DSN_FORMAT_WORDS(W) W(DSN_STANDARD, "standard") W(DSN_PLAIN_TEXT, "plain-text")
#define DKIM_SIGN_WORDS(W)                                                                         \
    W(DKIM_SIGN_NO, "no")                                                                          \
    W(DKIM_SIGN_YES, "yes") W(DKIM_SIGN_IF_OPTIONS, "if-x-dkim-options-present")
#define CANON_WORDS(W) W(CANON_RELAXED, "relaxed") W(CANON_SIMPLE, "simple")
#define FILE_FORMAT_WORDS(W)                                                                       \
    W(FILE_NEWFILE_PLAIN, "newfile-plain")                                                         \
    W(FILE_NEWFILE_PICKUP, "newfile-pickup") W(FILE_APPEND_MBOX, "append-mbox")
#define SORT_WORDS(W)       W(SORT_RCPT, "rcpt") W(SORT_NAME, "name") W(SORT_SIZE, "size")
#define OVERFLOW_WORDS(W)   W(OVERFLOW_HOLD, "hold") W(OVERFLOW_TRIM, "trim")

#define WORD_ENUM(id, text) id,
#define WORD_TEXT(id, text) "|" text
enum on_lag { ON_LAG_WORDS(WORD_ENUM) };
enum queue_type { QUEUE_TYPE_WORDS(WORD_ENUM) };
enum auth_method { AUTH_METHOD_WORDS(WORD_ENUM) };
enum add_date { ADD_DATE_WORDS(WORD_ENUM) };
enum date_time { DATE_TIME_WORDS(WORD_ENUM) };
enum dsn_return { DSN_RETURN_WORDS(WORD_ENUM) };
enum dsn_format { DSN_FORMAT_WORDS(WORD_ENUM) };
enum dkim_sign { DKIM_SIGN_WORDS(WORD_ENUM) };
enum canon { CANON_WORDS(WORD_ENUM) };
enum file_format { FILE_FORMAT_WORDS(WORD_ENUM) };
enum sort_order { SORT_WORDS(WORD_ENUM) };
enum overflow { OVERFLOW_WORDS(WORD_ENUM) };
#define WORDS(list) list##_WORDS(WORD_TEXT)

/* Counted arrays: all of one layout. Those that a value type is made of stand first. */
struct string_array {
    const struct bytes *items;
    size_t count;
};
struct rate_array {
    const struct rate_value *items;
    size_t count;
};
struct range_array {
    const struct address_range *items;
    size_t count;
};
struct smtp_host_array {
    const struct smtp_host *items;
    size_t count;
};
struct number_array {
    const uint64_t *items;
    size_t count;
};
struct interval_list_array {
    const struct interval_list *items;
    size_t count;
};
struct record_fields_array {
    const struct record_fields *items;
    size_t count;
};
struct address_array {
    const struct address *items;
    size_t count;
};
struct source_host_array {
    const struct source_host *items;
    size_t count;
};
struct range_limit_array {
    const struct range_limit *items;
    size_t count;
};
struct range_rate_array {
    const struct range_rate *items;
    size_t count;
};
struct domain_pattern_array {
    const struct domain_pattern *items;
    size_t count;
};
struct domain_limit_array {
    const struct domain_limit *items;
    size_t count;
};
struct text_or_pattern_array {
    const struct text_or_pattern *items;
    size_t count;
};
struct pool_member_array {
    const struct pool_member *items;
    size_t count;
};
struct certificate_array {
    const struct certificate *items;
    size_t count;
};
struct rate_share_array {
    const struct rate_share *items;
    size_t count;
};
struct reply_list_array {
    const struct reply_list *items;
    size_t count;
};
struct strings_array {
    const struct string_array *items;
    size_t count;
};

/* Every type: its name, the C type of a value, what the array of one is called, and what
 * it accepts in words.
 * The `accepts` text of a directive narrows it further: a range "1..100", words "|a|b". */
#define VALUE_TYPES(T)                                                                             \
    T(BOOL, bool, number, "yes, no, true or false")                                                \
    T(NUMBER, uint64_t, number, "a whole number")                                                  \
    T(NUMBER_OR, uint64_t, number, "a whole number or a word") /* 0: the word */                   \
    T(LIMIT, uint64_t, number, "a whole number, 'unlimited' or 0 (the same)")                      \
    T(PERCENT, uint64_t, number, "a whole number from 0 to 100, as 90 or 90%")                     \
    T(INTERVAL, uint64_t, number,                                                                  \
      "a time such as 90s, 10m, 4h, 4d12h or 1w (units w d h m s ms; a bare number is seconds)")   \
    T(NO_MX, uint64_t, number, "yes, no, or a time such as 1h") /* ms; no = NEVER, yes = 0 */      \
    T(INTERVALS, struct interval_list, interval_list,                                              \
      "times separated by commas without spaces, such as 10m,10m,1h,4h")                           \
    T(SIZE, uint64_t, number,                                                                      \
      "a size such as 500b, 64k, 250m, 2g or 1t, 'unlimited' or 0 (the same)")                     \
    T(BYTES, uint64_t, number, "a size such as 500b, 64k, 250m, 2g or 1t")                         \
    T(RATE, struct rate_value, rate,                                                               \
      "a rate such as 100/h, 250/15m, 5/s or 1000/d (units d h m s), or 'unlimited'")              \
    T(RATE_SHARE, struct rate_share, rate_share,                                                   \
      "a rate such as 100/h, a share of the normal rate such as 50%, or 'unlimited'")              \
    T(RATES, struct rate_array, rate, "rates separated by commas, such as 1/day,2/day,5/day")      \
    T(DATA_RATE, struct rate_value, rate,                                                          \
      "bytes over time such as 10m/2h or 1048576/1h, or 'unlimited'")                              \
    T(STRING, struct bytes, string, "one word, or text in double quotes")                          \
    T(TEXT, struct bytes, string, "text to the end of the line")                                   \
    T(CERTIFICATE, struct certificate, certificate,                                                \
      "the path of a PEM file, and the password of its key if it has one")                         \
    T(SECRET, struct bytes, string, "one word, or text in double quotes")                          \
    T(STRINGS, struct string_array, strings, "words separated by commas")                          \
    T(ARGS, struct string_array, strings, "words separated by spaces")                             \
    T(PATH, struct bytes, string, "the path of a file or directory")                               \
    T(HOST, struct bytes, string, "a host name such as mail.example.com")                          \
    T(QUEUE_DOMAIN, struct bytes, string, "a domain such as example.com, or \"\" for none")        \
    T(NAME, struct bytes, string, "a name (letters, digits and . - _ @ { })")                      \
    T(REPLY_LIST, struct reply_list, reply_list, "a name (letters, digits and . - _ @ { })")       \
    T(NAMES, struct string_array, strings, "names separated by commas")                            \
    T(MAILBOX, struct bytes, string, "a mail address such as postmaster@example.com")              \
    T(WORD, uint32_t, number, "one word of a list")                                                \
    T(RECORDS, uint32_t, number,                                                                   \
      "record types separated by commas: d, b, t, tq, r, rb, rs, f (or their long names)")         \
    T(FIELDS, struct record_fields, record_fields,                                                 \
      "a record type and fields, such as: d *,!orcpt,header_Subject")                              \
    T(ADDRESS, struct address, address, "an IP address, with :port if need be ([v6]:port)")        \
    T(RANGE, struct address_range, range,                                                          \
      "an address or CIDR range such as 192.0.2.1, 10/8, 2001:db8::/32 or 0/0")                    \
    T(RANGES, struct range_array, range,                                                           \
      "CIDR ranges such as 127/8 ::1 separated by spaces or commas, or 'none'")                    \
    T(SOURCE_HOST, struct source_host, source_host,                                                \
      "an address or CIDR range and a host name, such as 192.0.2.1 mta1.example.com")              \
    T(HOSTS, struct smtp_host_array, smtp_host,                                                    \
      "hosts separated by , (equal) or ; (next preference): mx1.example.com:2525, [192.0.2.1]:25," \
      " [IPv6:2001:db8::1], lookup-mx:example.com")                                                \
    T(RANGE_LIMIT, struct range_limit, range_limit, "a CIDR range and a number: 10/8 20")          \
    T(RANGE_RATE, struct range_rate, range_rate, "a CIDR range and a rate: 10/8 100/h")            \
    T(RANGE_DATA_RATE, struct range_rate, range_rate, "a CIDR range and a data rate: 10/8 10m/2h") \
    T(DOMAIN, struct domain_pattern, domain_pattern,                                               \
      "a domain: example.com, *.example.com, [*.]example.com, [10/8], local or *")                 \
    T(DOMAIN_LIMIT, struct domain_limit, domain_limit, "a domain and a number: *.example.com 20")  \
    T(PATTERN, struct text_or_pattern, text_or_pattern, "an address, or a regular expression /…/") \
    T(MEMBER, struct pool_member, pool_member, "the name of a virtual MTA, and weight=N if need be")

enum value_type {
#define VALUE_ENUM(id, type, name, accepts) VALUE_##id,
    VALUE_TYPES(VALUE_ENUM)
#undef VALUE_ENUM
        VALUE_TYPE_COUNT
};

/* One value of any type, and several of one: the fields of settings have these members' types. */
union value {
#define VALUE_MEMBER(id, type, array, accepts) type id;
    VALUE_TYPES(VALUE_MEMBER)
#undef VALUE_MEMBER
};

/* Several values of a type: the fields of directives that may stand several times. */
union value_list {
#define VALUE_LIST_MEMBER(id, type, array, accepts) struct array##_array id;
    VALUE_TYPES(VALUE_LIST_MEMBER)
#undef VALUE_LIST_MEMBER
};

struct value_array { /* the layout that every array above has */
    const void *items;
    size_t count;
};

/* What a value is read from: the rest of a line behind the directive's name. */
struct value_source {
    enum value_type type;
    const char *accepts; /* of the directive; "" narrows nothing */
    struct bytes text;   /* without comment, trimmed */
    struct arena *arena; /* for what the value points to; text is never kept, always copied */
    struct pattern_set *patterns; /* owns what is compiled */
};

/* 0: *out is filled. -1: `error` says what is wrong and which forms are accepted, and
 * *error_offset is where in the text; *out is untouched. */
int value_parse(const struct value_source *source, union value *out, struct error *error,
                size_t *error_offset);

/* The value as one would write it, such that parsing it again gives an equal value. Secrets come
 * as written: hiding them is the caller's. False: `out` was too small. */
bool value_print(enum value_type type, const char *accepts, const union value *value,
                 struct buffer *out);

/* A range as an operator writes it: without "/32" where it is one address. Returns `out`. */
const char *value_range_text(const struct address_range *range, char out[ADDRESS_TEXT_MAX]);

/* Bytes of one value: the size of its C type. */
size_t value_size(enum value_type type);

/* The scalar parsers, for other readers of such text (commands, patterns). True: *out is set. */
bool value_parse_interval(struct bytes text, uint64_t *out_ms);
bool value_parse_size(struct bytes text, uint64_t *out_bytes);
bool value_parse_rate(struct bytes text, struct rate_value *out);
bool value_parse_rate_share(struct bytes text, struct rate_share *out);
bool value_parse_bool(struct bytes text, bool *out);

/* As behind `<domain `, macros expanded. True: *out is set; its name points into the text. */
bool value_parse_domain(struct bytes text, struct domain_pattern *out);

/* Bits of the record types in a comma separated list; false: one of the words is none. */
bool value_parse_records(struct bytes text, uint32_t *out);

/* A name as of virtual MTAs, sources and lists: no blanks, quotes, slashes, commas; not empty. */
bool value_is_name(struct bytes text);

/* What a directive of this type accepts, in words: "a whole number from 1 to 64". */
void value_describe(enum value_type type, const char *accepts, struct buffer *out);

#endif
