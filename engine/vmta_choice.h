/* Which virtual MTA a new message leaves from, once it is known what it asked for by name.
 *
 * A name is a virtual MTA's or a pool's. Of a pool the member whose turn it is takes the message,
 * but first one that has a connection to where the message goes, as long as no member strays far
 * from its share (vmta/vmta_pool.h). One that may take no more (max-queued-recipients, spool-share)
 * is passed over. One per worker. */
#ifndef ENGINE_VMTA_CHOICE_H
#define ENGINE_VMTA_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct config;
struct vmta_chooser;

/* Names of the configuration: they live as long as it does. */
struct vmta_choice {
    struct bytes vmta;
    struct bytes pool; /* "": the virtual MTA was named itself */
};

enum vmta_answer {
    VMTA_CHOSEN,
    VMTA_FULL, /* of a pool: all of them; or there is no memory to count its turns */
    VMTA_UNKNOWN,
};

struct vmta_chooser_options {
    const struct config *config;
    uint32_t worker; /* workers begin with different members */
    /* May this virtual MTA take rcpt_count recipients more? A question, not a booking. */
    bool (*admits)(void *owner, struct bytes vmta, uint32_t rcpt_count);
    /* Has the queue of this domain and virtual MTA a connection? NULL: nobody knows. */
    bool (*connected)(void *owner, struct bytes vmta, struct bytes domain);
    void *owner;
};

/* NULL: no memory. */
struct vmta_chooser *vmta_chooser_create(const struct vmta_chooser_options *options);
void vmta_chooser_destroy(struct vmta_chooser *chooser); /* NULL is accepted */

/* The configuration in force from here on; the turns of its pools begin anew. */
void vmta_chooser_reload(struct vmta_chooser *chooser, const struct config *config);

/* Could vmta_choose answer VMTA_CHOSEN now? Takes no turn. */
bool vmta_would_take(const struct vmta_chooser *chooser, struct bytes name, uint32_t rcpt_count);

/* A message that looks for its virtual MTA; everything borrowed. */
struct vmta_wish {
    struct bytes name;   /* of a virtual MTA or a pool */
    struct bytes domain; /* of its first recipient; connections to it are worth having */
    uint32_t rcpt_count;
};

/* *choice is set with VMTA_CHOSEN only. */
enum vmta_answer vmta_choose(struct vmta_chooser *chooser, const struct vmta_wish *wish,
                             struct vmta_choice *choice);

#endif
