/* A message as the bytes of its commit record, and back.
 *
 * Tagged fields, so that a newer engine's messages pass through an older one: what this one does
 * not know is noted (MESSAGE_FOREIGN), and such a message is copied as bytes, never re-encoded. */
#ifndef ENGINE_MESSAGE_CODE_H
#define ENGINE_MESSAGE_CODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "message.h"

/* Appends; a false return (no room) leaves `out` overflowed. is_final: whether a recipient is
 * done, as the caller sees it; NULL: nothing is said of it. The length depends on whether
 * is_final is there, not on its answers. */
bool message_encode(const struct message *message, bool (*is_final)(const struct rcpt *rcpt),
                    struct buffer *out);

/* Only the part that says which recipients are done, to go behind a foreign message's bytes. */
bool message_encode_final(const struct message *message, bool (*is_final)(const struct rcpt *rcpt),
                          struct buffer *out);

/* A new message, owned by the caller, or NULL: no memory, or not such bytes. `final` is called
 * for each recipient that is said to be done. */
struct message *message_decode(struct bytes bytes, uint32_t rcpt_count,
                               void (*final)(struct rcpt *rcpt));

#endif
