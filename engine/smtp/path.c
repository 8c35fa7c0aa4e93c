#include "smtp/path.h"

#include <assert.h>

#include "base/address.h"
#include "base/idna.h"
#include "base/utf8.h"

#define LABEL_MAX 63 /* bytes: RFC 1035 2.3.4 */

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* strchr alone would find the NUL that ends the set. */
static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* RFC 5322 3.2.3 atext, and the dot: "a..b" and "a.@" are in use at large providers and go
 * through unquoted everywhere, so dots may stand where they like. */
static bool is_local_char(char c)
{
    return is_alnum(c) || is_one_of(c, "!#$%&'*+-/=?^_`{|}~.");
}

/* Steps over one character of valid UTF-8 beyond ASCII; false if there is none. */
static bool skip_utf8(struct bytes text, size_t *at)
{
    size_t len = utf8_length_at(text, *at);
    *at += len;
    return len > 1;
}

/* RFC 5321 4.1.2 Quoted-string, from the opening quote to behind the closing one. */
static bool skip_quoted(struct bytes text, size_t *at)
{
    (*at)++;
    while (*at < text.len && text.data[*at] != '"') {
        char c = text.data[*at];
        if ((unsigned char)c >= 0x80) {
            if (!skip_utf8(text, at)) {
                return false;
            }
            continue;
        }
        if (c == '\\' && ++*at < text.len) {
            c = text.data[*at];
        }
        if (*at == text.len || c < ' ' || c >= 0x7f) {
            return false;
        }
        (*at)++;
    }
    if (*at == text.len) {
        return false;
    }
    (*at)++;
    return true;
}

static bool skip_local(struct bytes text, size_t *at)
{
    if (*at < text.len && text.data[*at] == '"') {
        return skip_quoted(text, at);
    }
    size_t start = *at;
    while (*at < text.len) {
        if (is_local_char(text.data[*at])) {
            (*at)++;
        } else if ((unsigned char)text.data[*at] < 0x80) {
            break;
        } else if (!skip_utf8(text, at)) {
            return false;
        }
    }
    return *at > start;
}

/* Letters, digits, hyphens inside a label; underscores because they are in use. */
static bool is_domain(struct bytes domain)
{
    size_t label = 0;
    for (size_t i = 0; i < domain.len; i++) {
        char c = domain.data[i];
        if (c == '.') {
            if (label == 0 || domain.data[i - 1] == '-') {
                return false;
            }
            label = 0;
            continue;
        }
        if (!(is_alnum(c) || c == '_' || (c == '-' && label > 0)) || ++label > LABEL_MAX) {
            return false;
        }
    }
    return label > 0 && domain.data[domain.len - 1] != '-';
}

static void lower(char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] >= 'A' && data[i] <= 'Z') {
            data[i] = (char)(data[i] + ('a' - 'A'));
        }
    }
}

/* RFC 5321 4.1.3, the two forms that have a meaning to us. */
static bool put_literal(struct bytes domain, struct buffer *out)
{
    if (domain.data[domain.len - 1] != ']') {
        return false;
    }
    struct bytes inside = bytes_slice(domain, 1, domain.len - 1);
    bool tagged = bytes_starts_with_nocase(inside, BYTES("IPv6:"));
    struct address address;
    char text[ADDRESS_TEXT_MAX];
    if (!address_parse(tagged ? bytes_slice(inside, 5, inside.len) : inside, &address) ||
        inside.data[0] == '[' || (address.family == ADDRESS_IPV6) != tagged) {
        return false;
    }
    return buffer_printf(out, tagged ? "[IPv6:%s]" : "[%s]", address_text(&address, text));
}

static enum path_result put_domain(struct bytes domain, struct path *out, struct buffer *text)
{
    if (domain.len == 0) {
        return PATH_SYNTAX;
    }
    if (domain.len > PATH_DOMAIN_MAX) {
        return PATH_TOO_LONG;
    }
    size_t start = text->len;
    if (domain.data[0] == '[') {
        out->literal = true;
        return put_literal(domain, text) ? PATH_OK : PATH_SYNTAX;
    }
    if (!bytes_is_ascii(domain)) {
        out->utf8_given = true;
        if (!idna_to_ascii(domain, text)) {
            return PATH_SYNTAX;
        }
    } else if (!buffer_put_bytes(text, domain)) {
        return PATH_TOO_LONG;
    }
    struct bytes written = bytes_of(text->data + start, text->len - start);
    if (!is_domain(written)) {
        return PATH_SYNTAX;
    }
    lower(text->data + start, written.len);
    return PATH_OK;
}

/* local[@domain], all of text. */
static enum path_result parse_mailbox(struct bytes text, struct path *out)
{
    size_t at = 0;
    if (!skip_local(text, &at) || (at < text.len && text.data[at] != '@')) {
        return PATH_SYNTAX;
    }
    struct bytes local = bytes_slice(text, 0, at);
    if (local.len > PATH_LOCAL_MAX) {
        return PATH_TOO_LONG;
    }
    struct path path = {.utf8 = !bytes_is_ascii(local)};
    path.utf8_given = path.utf8;
    struct buffer buffer;
    buffer_init(&buffer, path.text, sizeof(path.text));
    bool copied = buffer_put_bytes(&buffer, local);
    assert(copied);
    if (at < text.len) {
        buffer_put_char(&buffer, '@');
        enum path_result result = put_domain(bytes_slice(text, at + 1, text.len), &path, &buffer);
        if (result != PATH_OK) {
            return result;
        }
        path.domain_len = (uint16_t)(buffer.len - local.len - 1);
    }
    path.len = (uint16_t)buffer.len;
    *out = path;
    return PATH_OK;
}

/* RFC 5321 4.1.1.3: "@one,@two:" is accepted and ignored. True if there is none, too. */
static bool skip_route(struct bytes text, size_t *at)
{
    if (*at == text.len || text.data[*at] != '@') {
        return true;
    }
    size_t start = *at;
    while (*at < text.len && text.data[*at] == '@') {
        size_t domain = ++*at;
        while (*at < text.len &&
               (is_alnum(text.data[*at]) || (unsigned char)text.data[*at] >= 0x80 ||
                is_one_of(text.data[*at], ".-_[]"))) {
            (*at)++;
        }
        if (*at == domain || *at == text.len || *at - start > PATH_ROUTE_MAX) {
            return false;
        }
        if (text.data[*at] == ':') {
            (*at)++;
            return true;
        }
        if (text.data[*at] != ',') {
            return false;
        }
        (*at)++;
    }
    return false;
}

/* Where the '>' is that closes the path which begins at `at`: not one inside quotes. */
static bool find_end(struct bytes text, size_t at, size_t *end)
{
    if (at < text.len && text.data[at] == '"' && !skip_quoted(text, &at)) {
        return false;
    }
    ptrdiff_t found = bytes_find(text, '>', at);
    *end = found < 0 ? 0 : (size_t)found;
    return found >= 0;
}

enum path_result path_parse(struct bytes *text, struct path *out)
{
    size_t at = 1, end = 0;
    if (text->len < 2 || text->data[0] != '<' || !skip_route(*text, &at) ||
        !find_end(*text, at, &end)) {
        return PATH_SYNTAX;
    }
    if (end == 1) {
        *out = (struct path){0};
    } else {
        enum path_result result = parse_mailbox(bytes_slice(*text, at, end), out);
        if (result != PATH_OK) {
            return result;
        }
    }
    *text = bytes_slice(*text, end + 1, text->len);
    return PATH_OK;
}

enum path_result path_parse_address(struct bytes text, struct path *out)
{
    return parse_mailbox(text, out);
}

bool path_qualify(struct path *path, struct bytes domain)
{
    assert(path->len > 0);
    assert(path->domain_len == 0);
    if (domain.len == 0 || domain.len > PATH_DOMAIN_MAX) {
        return false;
    }
    path->text[path->len] = '@';
    memcpy(path->text + path->len + 1, domain.data, domain.len);
    lower(path->text + path->len + 1, domain.len);
    path->len = (uint16_t)(path->len + 1 + domain.len);
    path->domain_len = (uint16_t)domain.len;
    return true;
}
