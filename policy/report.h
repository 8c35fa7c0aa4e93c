/* Collecting what is wrong with a configuration. For the files of policy/ that load one, and for
 * what looks at the outside of one (engine/outside_check.c). */
#ifndef POLICY_REPORT_H
#define POLICY_REPORT_H

#include "policy/config.h"

/* A place in a file; line 0: the configuration as a whole. The file's name is copied. */
struct place {
    const char *file;
    uint32_t line, column;
};

void report_error(struct config_report *report, const struct place *place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void report_warning(struct config_report *report, const struct place *place, const char *format,
                    ...) __attribute__((format(printf, 3, 4)));

/* Whether another message would be kept: if not, working out a suggestion is in vain. */
bool report_has_room(const struct config_report *report);

#endif
