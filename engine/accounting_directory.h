/* The files of one accounting path: names, beginning, taking up again, moving, deleting.
 *
 * `/var/log/acct.csv` stands for /var/log/acct-2019-02-08-0000.csv, -0001 and so on: the day (UTC)
 * on which a file was begun and a number in it; moved, it may have the number of its records in its
 * name too: acct-2019-02-08-0000-1234.csv. Of records it knows only that each is a line. Everything
 * here blocks: for start, rotation and trouble. Thread: that of `io`. */
#ifndef ENGINE_ACCOUNTING_DIRECTORY_H
#define ENGINE_ACCOUNTING_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "accounting_position.h"
#include "base/bytes.h"
#include "base/error.h"

struct io;

#define ACCOUNTING_PATH_MAX    480 /* bytes of a configured path: a spool key has 512 */
#define ACCOUNTING_DELETES_MAX 16  /* files deleted in one sweep */

struct accounting_directory {
    struct io *io;
    uint64_t delete_after_ms; /* NEVER: keep; counts only without move_to */
    bool world_readable;      /* files begun from now on */
    bool count_moved;         /* … moved from now on have the number of records in their names */
    char path[ACCOUNTING_PATH_MAX];
    char move_to[ACCOUNTING_PATH_MAX]; /* "": finished files stay */
    /* private: */
    char directory[ACCOUNTING_PATH_MAX], stem[ACCOUNTING_PATH_MAX], suffix[ACCOUNTING_PATH_MAX];
};

/* Splits the path; where finished files go is set by the second call, which may come again.
 * 0, or -1 with error: a path too long, or no directory to move to. */
int accounting_directory_init(struct accounting_directory *directory, struct io *io,
                              struct bytes path, struct error *error);
int accounting_directory_finish_to(struct accounting_directory *directory, struct bytes move_to,
                                   uint64_t delete_after_ms, struct error *error);

/* A new empty file, never one that was there, synced into its directory; its name and inode go
 * into *out, which is otherwise zeroed. `last_name` ("" = none) is not used again, even if its file
 * is gone. The descriptor, locked, or -errno. */
int accounting_directory_begin(const struct accounting_directory *directory, int64_t wall_ms,
                               const char *last_name, struct accounting_position *out);

/* Opens the file of a position and cuts it to its length. The locked descriptor; -ENOENT: it is
 * gone, shorter, or another file: left alone, logged; else -errno, try again (-EWOULDBLOCK: another
 * process has it, or one that was killed is not quite dead). */
int accounting_directory_resume(const struct accounting_directory *directory,
                                const struct accounting_position *position);

/* Is the file of that name still the one with this inode? */
bool accounting_directory_holds(const struct accounting_directory *directory, const char *name,
                                uint64_t inode);

/* Moves a finished file to move_to, if there is one; with count_moved it is read for that. Never
 * over another file: then it stays, which is logged. */
void accounting_directory_move(const struct accounting_directory *directory, const char *name);

/* Looks after all files but `current`: moves what should have been moved, deletes what is old and,
 * with `at_start`, what a crash left empty. True: there is more to delete, call again. */
bool accounting_directory_sweep(const struct accounting_directory *directory, const char *current,
                                int64_t wall_ms, bool at_start);

#endif
