/* Starts a program: no shell, a clean environment, a process group of its own, in the root folder.
 *
 * It has three descriptors and no other of ours, and takes signals as a program expects, whatever
 * this process ignores or blocks. Waits for the program's exec, for nothing else. */
#ifndef IO_EXEC_H
#define IO_EXEC_H

#include <sys/types.h>

struct exec {
    char *const *words;        /* the path of the program and its arguments, then NULL */
    int input, output, errors; /* descriptors; -1 for output: thrown away */
};

/* 0 or -errno. */
int exec_program(const struct exec *exec, pid_t *pid);

#endif
