#include "base/idna.h"

#include <idn2.h>

bool idna_to_ascii(struct bytes domain, struct buffer *out)
{
    /* libidn2 reads a string: a NUL inside would hide what stands behind it. */
    if (domain.len == 0 || domain.len > IDNA_DOMAIN_MAX || bytes_find(domain, '\0', 0) >= 0) {
        return false;
    }
    uint8_t text[IDNA_DOMAIN_MAX + 1], *ascii = NULL;
    memcpy(text, domain.data, domain.len);
    text[domain.len] = '\0';
    if (idn2_lookup_u8(text, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK) {
        return false;
    }
    struct bytes result = bytes_from_string((const char *)ascii);
    bool fits = result.len <= IDNA_DOMAIN_MAX && result.len <= buffer_room(out) &&
                buffer_put_bytes(out, result);
    idn2_free(ascii);
    return fits;
}
