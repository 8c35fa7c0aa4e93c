#include "io/errand.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "io/exec.h"

#define LOOK_MS   100 /* how soon a cancelled one is noticed */
#define READS_MAX 16

static uint64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* What there is now, of one that never stops a part; the first bytes are kept. False: its end. */
static bool read_output(struct errand *errand, int output)
{
    char memory[4096];
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t got = read(output, memory, sizeof memory);
        if (got <= 0) {
            return got < 0 && (errno == EAGAIN || errno == EINTR);
        }
        for (ssize_t at = 0; at < got && errand->output_len < ERRAND_OUTPUT_MAX; at++) {
            errand->output[errand->output_len++] = memory[at];
        }
    }
    return true;
}

/* Until it has ended, or must. */
static void watch(struct errand *errand, int output, int process)
{
    uint64_t until_ms = clock_ms() + errand->time_limit_ms;
    struct pollfd watched[] = {{.fd = process, .events = POLLIN}, {.fd = output, .events = POLLIN}};
    while ((watched[0].revents & POLLIN) == 0) {
        if (clock_ms() >= until_ms || atomic_load(&errand->cancelled)) {
            errand->timed_out = true;
            return;
        }
        poll(watched, 2, LOOK_MS);
        if (watched[1].revents != 0 && !read_output(errand, output)) {
            watched[1].fd = -1; /* closed its output and goes on */
        }
    }
    read_output(errand, output);
}

static void note_end(struct errand *errand, pid_t pid)
{
    int status = 0;
    pid_t ended;
    kill(-pid, SIGKILL); /* before it is reaped: the number is nobody else's */
    do {
        ended = waitpid(pid, &status, 0);
    } while (ended < 0 && errno == EINTR);
    assert(ended == pid);
    errand->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    errand->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

void errand_run(struct errand *errand)
{
    int output[2];
    pid_t pid = 0;
    errand->timed_out = false;
    errand->output_len = 0;
    if (pipe2(output, O_CLOEXEC) < 0) {
        errand->error = -errno;
        return;
    }
    bool ours_waits_not = fcntl(output[0], F_SETFL, O_NONBLOCK) == 0;
    struct exec exec = {errand->words, errand->input, output[1], output[1]};
    errand->error = ours_waits_not ? exec_program(&exec, &pid) : -errno;
    close(output[1]);
    if (errand->error == 0) {
        int process = pidfd_open(pid, 0);
        if (process >= 0) {
            watch(errand, output[0], process);
            close(process);
        } else {
            errand->error = -errno;
        }
        note_end(errand, pid);
    }
    close(output[0]);
}
