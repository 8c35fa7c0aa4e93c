/* A directory that other programs put files into, to be taken one by one.
 *
 * Blocking, for helper threads (io/work.h); knows nothing of what is in the files. Of one thread.
 * A file is offered when nobody seems to write it any more: it was last changed FOLDER_AGE_MS ago,
 * its name does not begin with '.' or '#' nor end with ".tmp", and it is a regular file, no link.
 * Results are 0 or more, or -errno. */
#ifndef IO_FOLDER_H
#define IO_FOLDER_H

#include <limits.h>
#include <stdint.h>

#define FOLDER_NAME_MAX (NAME_MAX + 1)
#define FOLDER_AGE_MS   1000
/* One that seems to be of a time later than this has a clock of its own: it is offered. */
#define FOLDER_AHEAD_MS 60000

struct folder {
    /* private: */
    void *names; /* DIR */
    int fd;
    int changed; /* names were removed */
};

/* -EACCES, -EROFS also where nothing may be removed: then nothing should be taken. */
int folder_open(struct folder *folder, const char *path);
/* What was removed stays removed, whatever happens. */
void folder_close(struct folder *folder);

/* The next one, in no order; each once. 1; 0: no more. */
int folder_next(struct folder *folder, char name[FOLDER_NAME_MAX]);

/* For reading; the caller closes it. */
int folder_open_file(const struct folder *folder, const char *name);

int folder_remove(struct folder *folder, const char *name);

/* Not offered again for so long (by its time of last change). */
int folder_put_off(const struct folder *folder, const char *name, uint32_t delay_ms);

/* Into another directory, under a name that nobody has there. Where that fails it stays, with a
 * '#' before its name: 1. */
int folder_move(struct folder *folder, const char *name, const char *to_directory);

/* Two ends of a stream, for whoever takes files and whoever is given them. */
int folder_make_stream(int ends[2]);

#endif
