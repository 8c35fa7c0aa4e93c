/* Any bytes as a path in angle brackets, as an address, as parameters, as xtext: nothing breaks,
 * what is accepted keeps its promises, and what was parsed parses to itself. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/utf8.h"
#include "smtp/params.h"
#include "smtp/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(const struct path *path)
{
    struct bytes text = path_text(path);
    assert(path->len <= PATH_TEXT_MAX);
    assert(path_local(path).len <= PATH_LOCAL_MAX);
    assert(path_domain(path).len <= PATH_DOMAIN_MAX);
    assert(utf8_is_valid(text));
    assert(bytes_is_ascii(path_domain(path)));
    assert(path->utf8 == !bytes_is_ascii(path_local(path)));
    for (size_t i = 0; i < text.len; i++) {
        assert((unsigned char)text.data[i] >= ' ');
        assert(text.data[i] != 0x7f);
    }
    if (path->len > 0) {
        struct path again;
        enum path_result result = path_parse_address(text, &again);
        assert(result == PATH_OK);
        assert(bytes_equal(path_text(&again), text));
        assert(again.domain_len == path->domain_len);
        assert(again.literal == path->literal);
    }
}

static void check_xtext(struct bytes input)
{
    static char decoded[1 << 16], encoded[3 << 16], back[1 << 16];
    struct buffer first, second, third;
    buffer_init(&first, decoded, sizeof(decoded));
    buffer_init(&second, encoded, sizeof(encoded));
    buffer_init(&third, back, sizeof(back));
    if (xtext_decode(input, &first)) {
        bool fits = xtext_encode(buffer_bytes(&first), &second);
        assert(fits);
        bool again = xtext_decode(buffer_bytes(&second), &third);
        assert(again);
        assert(bytes_equal(buffer_bytes(&first), buffer_bytes(&third)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_of((const char *)data, size);
    struct params_offered offered = {.smtputf8 = true, .dsn = true};
    struct bytes rest = input;
    struct path path;
    struct mail_params mail;
    struct rcpt_params rcpt;
    if (path_parse(&rest, &path) == PATH_OK) {
        assert(rest.len < size);
        check_path(&path);
        (void)mail_params_parse(rest, &offered, &mail);
        (void)rcpt_params_parse(rest, &offered, true, &rcpt);
    }
    if (path_parse_address(input, &path) == PATH_OK) {
        check_path(&path);
    }
    if (mail_params_parse(input, &offered, &mail) == PARAMS_OK) {
        assert(bytes_is_ascii(bytes_of(mail.envid, mail.envid_len)));
    }
    if (rcpt_params_parse(input, &offered, true, &rcpt) == PARAMS_OK) {
        assert(utf8_is_valid(bytes_of(rcpt.orcpt, rcpt.orcpt_len)));
    }
    check_xtext(input);
    return 0;
}
