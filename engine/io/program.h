/* A program that reads what it is given: started as exec.h says, its standard input a pipe.
 *
 * What it writes to its standard output is thrown away, what it writes to its standard error can be
 * read. A signal from a terminal is not for it. Knows nothing of what is written. Nothing here
 * waits, except program_start for the program's exec. Of one thread; the same in every world.
 * Results are 0, a count or -errno. */
#ifndef IO_PROGRAM_H
#define IO_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROGRAM_KILLED (-1) /* as its status: it was ended by a signal, or nobody knows */

struct program {
    /* private: */
    pid_t pid; /* 0: none, or it has ended */
    int status;
    int input;      /* our end of its standard input */
    int input_left; /* the other end: says what is unread, also when the program is gone */
    int errors;
};

/* No program: every other function may be called but those that need a running one. */
void program_init(struct program *program);

/* `words`: the path of the program and its arguments, then NULL. */
int program_start(struct program *program, char *const *words);

/* Started and not released. */
bool program_is_there(const struct program *program);

/* As much as the pipe takes now; -EAGAIN: nothing. io_poll of program_input for this says when
 * again, but never that the program has ended. */
#define PROGRAM_POLL_ROOM 0x4u /* POLLOUT */
int64_t program_write(struct program *program, const void *data, size_t len);
int program_input(const struct program *program);

/* Bytes that were written and not read, also after the end; those of a reader between two reads
 * are exact. */
size_t program_unread(const struct program *program);

/* What it has complained of; 0: nothing more now. */
size_t program_read_errors(struct program *program, char *out, size_t len);

/* It reads what there is, and then the end. */
void program_close_input(struct program *program);

void program_kill(struct program *program);

/* True: it has ended, with this exit status or PROGRAM_KILLED; the same answer until released. */
bool program_has_ended(struct program *program, int *status);

/* Closes what is open; nothing may be polled. One that still runs is left to itself. */
void program_release(struct program *program);

#endif
