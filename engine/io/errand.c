#include "io/errand.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS   100 /* how soon a cancelled one is noticed */
#define READS_MAX 16

static uint64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The helpers block every signal and the engine ignores some: not so the program. */
static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int result = posix_spawnattr_setsigmask(attributes, &none);
    result = result != 0 ? result : posix_spawnattr_setsigdefault(attributes, &all);
    result = result != 0 ? result : posix_spawnattr_setpgroup(attributes, 0);
    return result != 0 ? result
                       : posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK |
                                                                  POSIX_SPAWN_SETSIGDEF |
                                                                  POSIX_SPAWN_SETPGROUP);
}

static int set_actions(posix_spawn_file_actions_t *actions, int input, int output)
{
    int result = posix_spawn_file_actions_adddup2(actions, input, STDIN_FILENO);
    result =
        result != 0 ? result : posix_spawn_file_actions_adddup2(actions, output, STDOUT_FILENO);
    result =
        result != 0 ? result : posix_spawn_file_actions_adddup2(actions, output, STDERR_FILENO);
    result =
        result != 0 ? result : posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
    return result != 0 ? result : posix_spawn_file_actions_addchdir_np(actions, "/");
}

/* 0 or an errno, as posix_spawn has it. */
static int spawn(const struct errand *errand, int output, pid_t *pid)
{
    static char path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
    char *const environment[] = {path, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int result = posix_spawn_file_actions_init(&actions);
    if (result != 0) {
        return result;
    }
    result = posix_spawnattr_init(&attributes);
    if (result == 0) {
        result = set_attributes(&attributes);
        result = result != 0 ? result : set_actions(&actions, errand->input, output);
        result = result != 0 ? result
                             : posix_spawn(pid, errand->words[0], &actions, &attributes,
                                           errand->words, environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return result;
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
    errand->error = ours_waits_not ? -spawn(errand, output[1], &pid) : -errno;
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
