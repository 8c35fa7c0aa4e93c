/* The operator's socket: one JSON request per line, one JSON reply per line.
 *
 * On the keeper's worker. What concerns all workers is asked of each by a letter and put together
 * when the last answer is in. The commands are a table in control.c; the command line
 * (commands.c) is a client of this and of nothing else. */
#ifndef ENGINE_CONTROL_H
#define ENGINE_CONTROL_H

#include "base/error.h"

struct control;
struct engine;

#define CONTROL_LINE_MAX    (64 * 1024)       /* bytes of one request */
#define CONTROL_REPLY_MAX   (8 * 1024 * 1024) /* bytes of one reply; more rows are cut, and said */
#define CONTROL_CLIENTS_MAX 64

/* Listens on the configuration's control-socket. NULL with error. */
struct control *control_create(struct engine *engine, struct error *error);

/* Closes every client; `stopped` comes when all operations are home, never inside. */
void control_stop(struct control *control, void (*stopped)(void *owner), void *owner);

/* On the keeper: what runs looks at the engine's new configuration from here on. */
void control_reload(struct control *control);

void control_destroy(struct control *control); /* NULL is accepted */

#endif
