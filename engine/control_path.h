/* Where the control socket is, out of a configuration file that may have errors elsewhere.
 *
 * Reads lines, not settings: the operator must reach a running daemon while the file on disk is
 * being edited, and a configuration of a million domains need not be loaded for it. Blocking; for
 * the command line. */
#ifndef ENGINE_CONTROL_PATH_H
#define ENGINE_CONTROL_PATH_H

#include <stddef.h>

#include "base/error.h"

#define CONTROL_PATH_DEFAULT   "/run/posthaste/control.sock"
#define CONTROL_PATH_FILES_MAX 10000 /* files read, includes among them */
#define CONTROL_PATH_DEPTH_MAX 16    /* of includes */

/* The last `control-socket` of the file and what it includes, or the default, into out as a
 * string. -1 with error (78): the file cannot be read, or the path does not fit. Files that it
 * includes and that cannot be read are passed over. */
int control_path_find(const char *config_path, char *out, size_t capacity, struct error *error);

#endif
