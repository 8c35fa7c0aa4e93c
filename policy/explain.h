/* Every setting in force with its value and the line that set it.
 *
 * With it what it overrode: the values of more general blocks, and of earlier lines. Reads a
 * configuration, prints nothing itself. Secrets are shown as `***`. */
#ifndef POLICY_EXPLAIN_H
#define POLICY_EXPLAIN_H

#include "policy/config.h"

#define EXPLAIN_OVERRIDDEN_MAX 16 /* told of each setting: the last ones */

/* A value that holds no more because of a later one. */
struct explain_overridden {
    struct bytes value;
    const char *file;
    uint32_t line;
};

struct explain_line {
    const char *name;   /* of the directive */
    struct bytes value; /* as one would write it; several values are separated by a blank and | */
    const char *file;   /* NULL: the default */
    uint32_t line;
    bool in_effect; /* false: known, but of no effect yet */
    size_t overridden_count;
    const struct explain_overridden *overridden; /* most general first; of queues and clients */
};

struct explain_sink {
    void (*on_line)(void *to, const struct explain_line *line);
    void *to;
};

/* Settings of a queue; of a virtual MTA (NULL: {default}); of a client; of the engine. Lines come
 * in the order of directives.def; what a line points to is valid until on_line returns. */
void explain_domain(const struct config *config, const struct config_vmta *vmta,
                    struct bytes domain, const struct explain_sink *sink);
void explain_vmta(const struct config *config, const struct config_vmta *vmta,
                  const struct explain_sink *sink);
void explain_source(const struct config *config, const struct address *peer,
                    const char *source_name, const struct explain_sink *sink);
void explain_global(const struct config *config, const struct explain_sink *sink);

#endif
