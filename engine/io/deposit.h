/* A message that becomes a file, or a part of one: written aside, made durable, and only then
 * there.
 *
 * Blocking, for helper threads (io/work.h) alone; knows nothing of messages. One deposit belongs to
 * one thread at a time. Results are 0 or -errno; after an error only deposit_abandon is allowed. */
#ifndef IO_DEPOSIT_H
#define IO_DEPOSIT_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#define DEPOSIT_NAME_MAX     128
#define DEPOSIT_LOCK_WAIT_MS 5000 /* for another program's lock of the file appended to */

struct deposit {
    /* private: */
    int fd;
    char directory[PATH_MAX]; /* "": it is to be appended */
    char name[DEPOSIT_NAME_MAX];
};

/* Of a file DIRECTORY/NAME, written as DIRECTORY/.NAME.tmp at first. -ENAMETOOLONG, … */
int deposit_begin_file(struct deposit *deposit, const char *directory, const char *name);

/* Of bytes kept in memory until they are appended to a file, in one piece. */
int deposit_begin_append(struct deposit *deposit);

int deposit_write(struct deposit *deposit, const void *data, size_t len);

/* The file is there, whole and on stable storage, under its name; never in another's place
 * (-EEXIST). */
int deposit_commit_file(struct deposit *deposit);

/* Appended to the file, which is made if it is not there, under a lock that fcntl's exclude
 * (-EAGAIN: somebody holds it for too long), and on stable storage. On failure the file is as it
 * was. */
int deposit_commit_append(struct deposit *deposit, const char *path);

/* A descriptor of what was written for appending, at its beginning and for reading; the caller
 * closes it. */
int deposit_open_to_read(const struct deposit *deposit);

/* Nothing is left of it. */
void deposit_abandon(struct deposit *deposit);

#endif
