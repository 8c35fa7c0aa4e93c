/* Where UTF-8 is valid (RFC 3629), one character at a time. Pure. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* Length of the valid character at `at` (< b.len): 1–4; 0 where there is none: an overlong form,
 * a surrogate, above U+10FFFF, a stray or missing continuation byte. */
size_t utf8_length_at(struct bytes b, size_t at);

/* True if all of b is valid. */
bool utf8_is_valid(struct bytes b);

#endif
