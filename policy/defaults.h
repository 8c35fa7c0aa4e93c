/* What the program brings along of a configuration: config/bounce-categories.conf, as text. */
#ifndef POLICY_DEFAULTS_H
#define POLICY_DEFAULTS_H

#include "base/bytes.h"

/* For config_files.defaults; lives for ever. */
struct bytes config_defaults(void);

#endif
