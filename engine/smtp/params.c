#include "smtp/params.h"

#include "base/utf8.h"

struct param {
    struct bytes keyword, value;
    bool has_value;
};

struct params {
    struct param items[PARAMS_MAX];
    uint32_t count;
};

/* One row per parameter: which command, what makes it known, how its value is taken in. */
struct param_row {
    const char *keyword;
    enum { FOR_MAIL, FOR_RCPT } command;
    bool (*offered)(const struct params_offered *offered);
    enum params_result (*take)(const struct param *param, void *out);
};

/* What a take function of RCPT writes to. */
struct rcpt_target {
    struct rcpt_params *params;
    bool smtputf8;
};

static bool is_keyword(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++) {
        char c = b.data[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (c != '-' || i == 0)) {
            return false;
        }
    }
    return b.len > 0;
}

/* RFC 5321 4.1.2 esmtp-value: no '=', no space, no control; UTF-8 is left to the parameter. */
static bool is_value(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++) {
        unsigned char c = (unsigned char)b.data[i];
        if (c <= ' ' || c == '=' || c == 0x7f) {
            return false;
        }
    }
    return b.len > 0;
}

static bool split_one(struct bytes word, struct params *out)
{
    ptrdiff_t equals = bytes_find(word, '=', 0);
    struct param param = {.keyword = word};
    if (equals >= 0) {
        param = (struct param){.keyword = bytes_slice(word, 0, (size_t)equals),
                               .value = bytes_slice(word, (size_t)equals + 1, word.len),
                               .has_value = true};
    }
    if (!is_keyword(param.keyword) || (param.has_value && !is_value(param.value)) ||
        out->count == PARAMS_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < out->count; i++) {
        if (bytes_equal_nocase(out->items[i].keyword, param.keyword)) {
            return false;
        }
    }
    out->items[out->count++] = param;
    return true;
}

/* Words with one or more spaces before each. False: malformed, one twice, too many. */
static bool split(struct bytes text, struct params *out)
{
    size_t at = 0;
    out->count = 0;
    while (at < text.len) {
        if (text.data[at] != ' ') {
            return false;
        }
        while (at < text.len && text.data[at] == ' ') {
            at++;
        }
        ptrdiff_t space = bytes_find(text, ' ', at);
        size_t end = space < 0 ? text.len : (size_t)space;
        if (end > at && !split_one(bytes_slice(text, at, end), out)) {
            return false;
        }
        at = end;
    }
    return true;
}

/* RFC 1870 4: up to 20 digits, which may be more than 64 bits hold. */
static enum params_result take_size(const struct param *param, void *out)
{
    struct mail_params *mail = out;
    for (size_t i = 0; i < param->value.len; i++) {
        if (param->value.data[i] < '0' || param->value.data[i] > '9') {
            return PARAMS_SYNTAX;
        }
    }
    if (!param->has_value || param->value.len > 20) {
        return PARAMS_SYNTAX;
    }
    return bytes_to_u64(param->value, UINT64_MAX, &mail->size) ? PARAMS_OK : PARAMS_TOO_LARGE;
}

/* RFC 6152 2. BINARYMIME (RFC 3030) is not offered. */
static enum params_result take_body(const struct param *param, void *out)
{
    struct mail_params *mail = out;
    mail->eight_bit = bytes_equal_nocase(param->value, BYTES("8BITMIME"));
    return mail->eight_bit || bytes_equal_nocase(param->value, BYTES("7BIT")) ? PARAMS_OK
                                                                              : PARAMS_SYNTAX;
}

static enum params_result take_smtputf8(const struct param *param, void *out)
{
    struct mail_params *mail = out;
    mail->smtputf8 = true;
    return param->has_value ? PARAMS_SYNTAX : PARAMS_OK;
}

static enum params_result take_verp(const struct param *param, void *out)
{
    struct mail_params *mail = out;
    mail->verp = true;
    return param->has_value ? PARAMS_SYNTAX : PARAMS_OK;
}

static enum params_result take_ret(const struct param *param, void *out)
{
    struct mail_params *mail = out;
    bool full = bytes_equal_nocase(param->value, BYTES("FULL"));
    mail->ret = full ? 1 : 2;
    return full || bytes_equal_nocase(param->value, BYTES("HDRS")) ? PARAMS_OK : PARAMS_SYNTAX;
}

/* Whatever goes into a report's header later must not be able to make a line of its own. */
static bool is_printable(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++) {
        unsigned char c = (unsigned char)b.data[i];
        if (c < ' ' || c == 0x7f) {
            return false;
        }
    }
    return utf8_is_valid(b);
}

static enum params_result take_envid(const struct param *param, void *out)
{
    struct mail_params *mail = out;
    struct buffer decoded;
    buffer_init(&decoded, mail->envid, sizeof(mail->envid));
    if (param->value.len > PARAMS_ENVID_MAX || !param->has_value ||
        !xtext_decode(param->value, &decoded) || !is_printable(buffer_bytes(&decoded)) ||
        !bytes_is_ascii(buffer_bytes(&decoded))) {
        return PARAMS_SYNTAX;
    }
    mail->envid_len = (uint16_t)decoded.len;
    return PARAMS_OK;
}

/* RFC 3461 4.1: NEVER alone, or a list of the others, each once. */
static enum params_result take_notify(const struct param *param, void *out)
{
    static const char *const words[] = {"NEVER", "SUCCESS", "FAILURE", "DELAY"};
    struct rcpt_target *target = out;
    uint8_t seen = 0;
    size_t at = 0;
    while (at <= param->value.len) {
        ptrdiff_t comma = bytes_find(param->value, ',', at);
        size_t end = comma < 0 ? param->value.len : (size_t)comma;
        uint8_t bit = 0;
        for (uint32_t i = 0; i < 4; i++) {
            if (bytes_equal_nocase(bytes_slice(param->value, at, end),
                                   bytes_from_string(words[i]))) {
                bit = (uint8_t)(1u << i);
            }
        }
        if (bit == 0 || (seen & bit) != 0) {
            return PARAMS_SYNTAX;
        }
        seen |= bit;
        at = end + 1;
    }
    target->params->notify = seen;
    return (seen & 1) != 0 && seen != 1 ? PARAMS_SYNTAX : PARAMS_OK;
}

/* RFC 3461 4.2: type;xtext. RFC 6533 3: type utf-8 may hold UTF-8 as it is. */
static enum params_result take_orcpt(const struct param *param, void *out)
{
    struct rcpt_target *target = out;
    ptrdiff_t semicolon = bytes_find(param->value, ';', 0);
    if (param->value.len > PARAMS_ORCPT_MAX || semicolon <= 0 ||
        !is_keyword(bytes_slice(param->value, 0, (size_t)semicolon))) {
        return PARAMS_SYNTAX;
    }
    struct bytes type = bytes_slice(param->value, 0, (size_t)semicolon + 1);
    struct bytes address = bytes_slice(param->value, (size_t)semicolon + 1, param->value.len);
    struct buffer decoded;
    buffer_init(&decoded, target->params->orcpt, sizeof(target->params->orcpt));
    bool raw =
        bytes_equal_nocase(type, BYTES("utf-8;")) && target->smtputf8 && !bytes_is_ascii(address);
    if (address.len == 0 || !buffer_put_bytes(&decoded, type) ||
        !(raw ? buffer_put_bytes(&decoded, address) : xtext_decode(address, &decoded)) ||
        !is_printable(buffer_bytes(&decoded))) {
        return PARAMS_SYNTAX;
    }
    target->params->orcpt_len = (uint16_t)decoded.len;
    return PARAMS_OK;
}

static bool always(const struct params_offered *offered)
{
    return true;
}

static bool with_smtputf8(const struct params_offered *offered)
{
    return offered->smtputf8;
}

static bool with_dsn(const struct params_offered *offered)
{
    return offered->dsn;
}

static bool with_verp(const struct params_offered *offered)
{
    return offered->verp;
}

static const struct param_row rows[] = {
    {"SIZE", FOR_MAIL, always, take_size},
    {"BODY", FOR_MAIL, always, take_body},
    {"SMTPUTF8", FOR_MAIL, with_smtputf8, take_smtputf8},
    {"RET", FOR_MAIL, with_dsn, take_ret},
    {"ENVID", FOR_MAIL, with_dsn, take_envid},
    {"VERP", FOR_MAIL, with_verp, take_verp},
    {"NOTIFY", FOR_RCPT, with_dsn, take_notify},
    {"ORCPT", FOR_RCPT, with_dsn, take_orcpt},
};
#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

static const struct param_row *find_row(const struct param *param, int command,
                                        const struct params_offered *offered)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if ((int)rows[i].command == command && rows[i].offered(offered) &&
            bytes_equal_nocase(bytes_from_string(rows[i].keyword), param->keyword)) {
            return &rows[i];
        }
    }
    return NULL;
}

static enum params_result parse(struct bytes text, int command,
                                const struct params_offered *offered, void *out)
{
    struct params params;
    if (!split(text, &params)) {
        return PARAMS_SYNTAX;
    }
    for (uint32_t i = 0; i < params.count; i++) {
        const struct param_row *row = find_row(&params.items[i], command, offered);
        enum params_result result = row == NULL ? PARAMS_UNKNOWN : row->take(&params.items[i], out);
        if (result != PARAMS_OK) {
            return result;
        }
    }
    return PARAMS_OK;
}

enum params_result mail_params_parse(struct bytes text, const struct params_offered *offered,
                                     struct mail_params *out)
{
    *out = (struct mail_params){0};
    return parse(text, FOR_MAIL, offered, out);
}

enum params_result rcpt_params_parse(struct bytes text, const struct params_offered *offered,
                                     bool smtputf8, struct rcpt_params *out)
{
    *out = (struct rcpt_params){0};
    struct rcpt_target target = {.params = out, .smtputf8 = smtputf8};
    return parse(text, FOR_RCPT, offered, &target);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    /* RFC 3461 4: hexchar has upper-case digits only. */
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool xtext_decode(struct bytes text, struct buffer *out)
{
    size_t start = out->len;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '+') {
            int high = i + 2 < text.len ? hex_digit(text.data[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text.data[i + 2]) : -1;
            if (low < 0) {
                out->len = start;
                return false;
            }
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c <= ' ' || c >= 0x7f || c == '=') {
            out->len = start;
            return false;
        }
        if (!buffer_put_char(out, c)) {
            out->len = start;
            return false;
        }
    }
    return true;
}

bool xtext_encode(struct bytes text, struct buffer *out)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t start = out->len;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        char escape[3] = {'+', digits[c >> 4], digits[c & 15]};
        bool plain = c > ' ' && c < 0x7f && c != '+' && c != '=';
        if (!(plain ? buffer_put_char(out, (char)c) : buffer_put(out, escape, 3))) {
            out->len = start;
            return false;
        }
    }
    return true;
}
