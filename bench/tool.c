#include "bench/tool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <time.h>

#define HOST_TEXT_MAX 64

void tool_fail(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(status);
}

static int unit_shift(const char *unit)
{
    static const char units[] = "kmg";
    const char *place = *unit == '\0' ? NULL : strchr(units, *unit | 0x20);
    if (*unit == '\0') {
        return 0;
    }
    return place == NULL || unit[1] != '\0' ? -1 : (int)(place - units + 1) * 10;
}

uint64_t tool_number(const char *option, const char *text, uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    int shift = end == text || *text == '-' ? -1 : unit_shift(end);
    if (errno != 0 || shift < 0 || number > max >> shift) {
        tool_fail(EX_USAGE, "%s: \"%s\" is not a number up to %llu", option, text,
                  (unsigned long long)max);
    }
    return (uint64_t)number << shift;
}

bool tool_yes_no(const char *option, const char *text)
{
    bool yes = strcmp(text, "yes") == 0;
    if (!yes && strcmp(text, "no") != 0) {
        tool_fail(EX_USAGE, "%s: \"%s\" is neither yes nor no", option, text);
    }
    return yes;
}

static bool parse_host(const char *host, uint16_t port, struct tool_address *out)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        memcpy(&out->storage, &v4, sizeof v4);
        out->len = sizeof v4;
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        memcpy(&out->storage, &v6, sizeof v6);
        out->len = sizeof v6;
        return true;
    }
    return false;
}

struct tool_address tool_address(const char *option, const char *text)
{
    struct tool_address address = {.len = 0};
    char host[HOST_TEXT_MAX];
    const char *colon = strrchr(text, ':');
    bool bracketed = *text == '[' && colon != NULL && colon > text && colon[-1] == ']';
    const char *start = bracketed ? text + 1 : text;
    size_t len = colon == NULL ? 0 : (size_t)(colon - start) - (bracketed ? 1 : 0);
    if (colon == NULL || len >= sizeof host) {
        tool_fail(EX_USAGE, "%s: \"%s\" is not address:port", option, text);
    }
    memcpy(host, start, len);
    host[len] = '\0';
    if (!parse_host(host, (uint16_t)tool_number(option, colon + 1, 65535), &address)) {
        tool_fail(EX_USAGE, "%s: \"%s\" is not an IP address", option, host);
    }
    return address;
}

void tool_pin(int cpu)
{
    if (cpu < 0) {
        return;
    }
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        tool_fail(EX_OSERR, "--cpu %d: %s", cpu, strerror(errno));
    }
}

void tool_raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int tool_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    int fd = -1;
    if (sigprocmask(SIG_BLOCK, &set, NULL) == 0) {
        fd = signalfd(-1, &set, SFD_CLOEXEC);
    }
    if (fd < 0) {
        tool_fail(EX_OSERR, "signals: %s", strerror(errno));
    }
    return fd;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t tool_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t tool_wall_us(void)
{
    return clock_ns(CLOCK_REALTIME) / 1000;
}

uint64_t tool_cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}
