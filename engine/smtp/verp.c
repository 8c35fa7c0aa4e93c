#include "smtp/verp.h"

#include <assert.h>

/* The @ before the domain: a quoted local part may hold others. */
static size_t at_sign(struct bytes address)
{
    size_t at = address.len;
    while (at > 0 && address.data[at - 1] != '@') {
        at--;
    }
    assert(at > 1);
    return at - 1;
}

static struct bytes local_of(struct bytes address)
{
    return bytes_slice(address, 0, at_sign(address));
}

static bool is_quoted(struct bytes local)
{
    return local.len >= 2 && local.data[0] == '"';
}

static struct bytes unquoted(struct bytes local)
{
    return is_quoted(local) ? bytes_slice(local, 1, local.len - 1) : local;
}

bool verp_put(struct bytes sender, struct bytes rcpt, struct buffer *out)
{
    struct bytes local = local_of(sender), rcpt_local = local_of(rcpt);
    const char *quote = is_quoted(local) || is_quoted(rcpt_local) ? "\"" : "";
    buffer_put_string(out, quote);
    buffer_put_bytes(out, unquoted(local));
    buffer_put_char(out, '-');
    buffer_put_bytes(out, unquoted(rcpt_local));
    buffer_put_char(out, '=');
    buffer_put_bytes(out, bytes_slice(rcpt, rcpt_local.len + 1, rcpt.len));
    buffer_put_string(out, quote);
    return buffer_put_bytes(out, bytes_slice(sender, local.len, sender.len)) && !out->overflowed;
}
