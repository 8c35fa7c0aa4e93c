/* One program, started as exec.h says and run to its end.
 *
 * Blocking, for helper threads (io/work.h). Its standard input is a descriptor of the caller's;
 * what it writes to standard output and error is read, and the first of it kept. When it ends, or
 * its time is over, whatever is left of its group is killed. Knows nothing of messages. */
#ifndef IO_ERRAND_H
#define IO_ERRAND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ERRAND_OUTPUT_MAX 512 /* bytes kept */

struct errand {
    char *const *words; /* the path of the program and its arguments, then NULL */
    int input;
    uint64_t time_limit_ms;
    atomic_bool cancelled; /* set by any thread: it is killed soon */
    /* What came of it. */
    int error;      /* it could not be started: -errno, and nothing else says anything */
    bool timed_out; /* killed by us, for the limit or because it was cancelled */
    int signal;     /* that ended it; 0: */
    int exit_code;
    char output[ERRAND_OUTPUT_MAX];
    size_t output_len;
};

void errand_run(struct errand *errand);

#endif
