/* Mail addresses as SMTP writes them: parsed, checked, made canonical (RFC 5321 §4.1.2, 6531).
 *
 * Pure. Knows no policy: whether an address literal or a missing domain is welcome is the
 * caller's matter. A struct path is a value without pointers; its text parses to itself. */
#ifndef SMTP_PATH_H
#define SMTP_PATH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define PATH_LOCAL_MAX  64  /* bytes, quotes counted: RFC 5321 4.5.3.1.1 */
#define PATH_DOMAIN_MAX 255 /* bytes: RFC 5321 4.5.3.1.2 */
#define PATH_TEXT_MAX   (PATH_LOCAL_MAX + 1 + PATH_DOMAIN_MAX)
#define PATH_ROUTE_MAX  2048 /* bytes of a source route that is read over */

struct path {
    uint16_t len;        /* of text; 0: the null path <> */
    uint16_t domain_len; /* the end of text; 0: the null path, or no domain was given */
    bool literal;        /* the domain is an address literal */
    bool utf8_given;     /* something was not ASCII as given: only welcome with SMTPUTF8 */
    bool utf8;           /* the local part is not ASCII: cannot be sent on without SMTPUTF8 */
    /* local@domain: the local part as given, quotes and all; the domain in lower-case A-labels */
    char text[PATH_TEXT_MAX];
};

enum path_result {
    PATH_OK,
    PATH_SYNTAX,   /* no address, a control character, broken UTF-8, "user@host:25" … */
    PATH_TOO_LONG, /* over one of the limits above */
};

/* Reads "<…>" at the start of *text; what stands behind it is left in *text. A source route is
 * dropped (RFC 5321 appendix C). On failure *text and *out are untouched. */
enum path_result path_parse(struct bytes *text, struct path *out);

/* The whole of text is one address without angle brackets; never the null path. */
enum path_result path_parse_address(struct bytes text, struct path *out);

static inline struct bytes path_text(const struct path *path)
{
    return bytes_of(path->text, path->len);
}

/* Without the quotes' meaning taken out: as it stands in text. */
static inline struct bytes path_local(const struct path *path)
{
    return bytes_of(path->text,
                    path->domain_len == 0 ? path->len : (size_t)(path->len - path->domain_len - 1));
}

static inline struct bytes path_domain(const struct path *path)
{
    return bytes_of(path->text + (path->len - path->domain_len), path->domain_len);
}

/* A path without a domain gets this one (lower-case ASCII). False: too long. */
bool path_qualify(struct path *path, struct bytes domain);

#endif
