/* Base64 as SMTP writes it (RFC 4648 4): padded, without line ends. Strict where it reads. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stdbool.h>

#include "base/bytes.h"

/* Characters that so many bytes become. */
#define BASE64_LEN(len) (((len) + 2) / 3 * 4)

/* What does not fit overflows the buffer. */
void base64_put(struct buffer *out, struct bytes data);

/* Adds the bytes that `text` stands for. False: it is no base64, or there is no room. */
bool base64_read(struct bytes text, struct buffer *out);

#endif
