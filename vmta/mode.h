/* The mode of a queue, normal or backoff, and the source addresses it does without for a while.
 *
 * Pure: monotonic milliseconds are passed in. What is to outlive the process has a text form, with
 * times by the wall clock; a time that has passed when it is read is over. */
#ifndef VMTA_MODE_H
#define VMTA_MODE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/bytes.h"
#include "policy/value.h"

#define MODE_DISABLED_MAX 48   /* source addresses of one queue disabled at once */
#define MODE_TEXT_MAX     4096 /* bytes of the text form */

struct mode_disabled {
    struct address address; /* without port */
    uint64_t until_ms;      /* NEVER: until it is enabled */
};

struct mode_backoff {
    uint64_t until_ms; /* NEVER: until something else ends it */
    bool has_rate;
    struct rate_share rate; /* instead of backoff-max-msg-rate; `rate` only where percent is 0 */
};

struct mode {
    bool backoff;
    uint64_t since_ms; /* of backoff */
    struct mode_backoff how;
    struct mode_disabled *disabled; /* owned */
    uint32_t disabled_count;
};

void mode_init(struct mode *mode);
void mode_deinit(struct mode *mode);

/* Into backoff, or longer in it: a second reason extends the time and brings its own rate. */
void mode_enter(struct mode *mode, const struct mode_backoff *how, uint64_t now_ms);
void mode_leave(struct mode *mode); /* back to normal */

/* One that is disabled already stays so for the longer of both times. False: no memory, or
 * MODE_DISABLED_MAX reached. */
bool mode_disable(struct mode *mode, const struct address *address, uint64_t until_ms);
bool mode_enable(struct mode *mode, const struct address *address); /* false: it was not disabled */
bool mode_is_disabled(const struct mode *mode, const struct address *address, uint64_t now_ms);

/* Ends what is over. True: something was. */
bool mode_pass(struct mode *mode, uint64_t now_ms);

/* When the next thing is over; UINT64_MAX: nothing is by itself. */
uint64_t mode_next_ms(const struct mode *mode);

/* Nothing of it is worth keeping. */
bool mode_is_normal(const struct mode *mode);

/* Always fits MODE_TEXT_MAX; nothing where it is normal. */
void mode_print(const struct mode *mode, struct buffer *out, uint64_t now_ms, int64_t wall_ms);

/* False: not a text of mode_print; then it is left normal. */
bool mode_parse(struct mode *mode, struct bytes text, uint64_t now_ms, int64_t wall_ms);

#endif
