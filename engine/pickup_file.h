/* One pickup file, told as SMTP to a session of ours: the helper's side of pickup.h.
 *
 * Blocking; on a helper thread. The session at the other end of the stream decides everything, by
 * <source {pickup}>, as for any client. */
#ifndef ENGINE_PICKUP_FILE_H
#define ENGINE_PICKUP_FILE_H

#include <stdbool.h>
#include <stddef.h>

#define PICKUP_WHY_MAX   512
#define PICKUP_REPLY_MAX 1024

enum pickup_end {
    PICKUP_TAKEN, /* it is durable */
    PICKUP_BAD,   /* it never will be; `why` says why */
    PICKUP_LATER, /* not now */
    PICKUP_GONE,  /* the session has ended: nothing more by this stream */
};

/* A dialogue under way. */
struct pickup_talk {
    int stream;
    bool remove_dot;
    char why[PICKUP_WHY_MAX]; /* of the last file that was not taken */
    /* private: */
    char in[PICKUP_REPLY_MAX], reply[PICKUP_REPLY_MAX];
    size_t in_from, in_to;
};

/* Greeting and EHLO. False: nothing can be told now. */
bool pickup_talk_begin(struct pickup_talk *talk, int stream, bool remove_dot);

/* The file, open for reading from its beginning. */
enum pickup_end pickup_talk_file(struct pickup_talk *talk, int file);

#endif
