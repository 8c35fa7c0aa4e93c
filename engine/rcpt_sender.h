/* The envelope sender that a recipient's mail has: the message's, or with MESSAGE_VERP one that
 * names the recipient.
 *
 * Apart from message.h because the spool, which that belongs to, knows no addresses. */
#ifndef ENGINE_RCPT_SENDER_H
#define ENGINE_RCPT_SENDER_H

#include "message.h"
#include "smtp/verp.h"

#define RCPT_SENDER_MAX 512 /* bytes of one that is made: as smtp/client.h takes them */

/* Made in `memory` where it is not the message's own. The null sender stays, and so does one that
 * would be too long: whom such a bounce is about its text must say. */
static inline struct bytes rcpt_sender(const struct rcpt *rcpt, char memory[RCPT_SENDER_MAX])
{
    const struct message *message = rcpt_message(rcpt);
    struct bytes sender = message_sender(message);
    struct buffer verp;
    buffer_init(&verp, memory, RCPT_SENDER_MAX);
    bool wanted = (message->flags & MESSAGE_VERP) != 0 && sender.len > 0;
    return wanted && verp_put(sender, rcpt_address(rcpt), &verp) ? buffer_bytes(&verp) : sender;
}

#endif
