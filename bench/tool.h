/* What every bench program needs: options as numbers and addresses, a core of its own, clocks.
 *
 * Knows nothing of SMTP. Everything here may end the program: a wrong option is exit 64, a
 * refusal of the system exit 71, each with one line on standard error. */
#ifndef BENCH_TOOL_H
#define BENCH_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* "program: …" on standard error, then exit with `status` (sysexits). */
void tool_fail(int status, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

/* A count, with k, m or g behind it for 1024 times as much; at most `max`. */
uint64_t tool_number(const char *option, const char *text, uint64_t max);

/* "yes" or "no". */
bool tool_yes_no(const char *option, const char *text);

struct tool_address {
    struct sockaddr_storage storage;
    socklen_t len;
};

/* "1.2.3.4:25", "[::1]:25"; names are not looked up. */
struct tool_address tool_address(const char *option, const char *text);

/* Binds the process to one core; -1 leaves it free. */
void tool_pin(int cpu);

/* As many descriptors as the hard limit allows. */
void tool_raise_descriptor_limit(void);

/* Blocks SIGTERM and SIGINT and returns a descriptor on which they are read instead. */
int tool_signals(void);

uint64_t tool_now_ns(void);  /* monotonic */
uint64_t tool_wall_us(void); /* since 1970 */
uint64_t tool_cpu_ns(void);  /* user and system time of the process */

#endif
