/* What include-headers-from names: files whose lines stand before a message's header.
 *
 * Pure but for loading, which reads them as it reads the configuration. They are plain text: what
 * looks like a macro is sent as it stands. */
#ifndef POLICY_HEADER_FILE_H
#define POLICY_HEADER_FILE_H

#include <stdint.h>

#include "base/bytes.h"

#define HEADER_FILE_BYTES_MAX (16 * 1024) /* of all files of one block */
#define HEADER_FILE_LINE_MAX  998         /* bytes without CRLF: RFC 5322 2.1.1 */

/* Appends the lines as a header has them: CRLF behind each, empty ones left out. NULL; or what is
 * wrong with the line *line (from 1), and then what has been appended is of no use: a line that is
 * neither a field nor goes on with one, is too long, or holds bytes that are not printable ASCII;
 * or `out` is full. */
const char *header_file_put(struct bytes text, struct buffer *out, uint32_t *line);

#endif
