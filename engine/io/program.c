#include "io/program.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

static_assert(PROGRAM_POLL_ROOM == POLLOUT, "what io_poll takes");

void program_init(struct program *program)
{
    *program = (struct program){.input = -1, .input_left = -1, .errors = -1};
}

static void close_one(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

/* The engine ignores some signals and may block others: the program begins without that. */
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

static int set_actions(posix_spawn_file_actions_t *actions, int input, int errors)
{
    int result = posix_spawn_file_actions_adddup2(actions, input, STDIN_FILENO);
    result = result != 0 ? result
                         : posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null",
                                                            O_WRONLY, 0);
    return result != 0 ? result : posix_spawn_file_actions_adddup2(actions, errors, STDERR_FILENO);
}

/* 0 or an errno, as posix_spawn has it. */
static int spawn(pid_t *pid, char *const *words, int input, int errors)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int result = posix_spawn_file_actions_init(&actions);
    if (result != 0) {
        return result;
    }
    result = posix_spawnattr_init(&attributes);
    if (result == 0) {
        result = set_attributes(&attributes);
        result = result != 0 ? result : set_actions(&actions, input, errors);
        result = result != 0 ? result
                             : posix_spawn(pid, words[0], &actions, &attributes, words, environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return result;
}

int program_start(struct program *program, char *const *words)
{
    int input[2], errors[2];
    assert(!program_is_there(program));
    if (pipe2(input, O_CLOEXEC) < 0) {
        return -errno;
    }
    program->input_left = input[0];
    program->input = input[1];
    if (pipe2(errors, O_CLOEXEC) < 0) {
        int failed = errno;
        program_release(program);
        return -failed;
    }
    program->errors = errors[0];
    /* Ours do not wait; the program's ends are files of their own and do. */
    int result =
        fcntl(input[1], F_SETFL, O_NONBLOCK) < 0 || fcntl(errors[0], F_SETFL, O_NONBLOCK) < 0
            ? errno
            : spawn(&program->pid, words, input[0], errors[1]);
    close(errors[1]);
    if (result != 0) {
        program->pid = 0;
        program_release(program);
    }
    return -result;
}

bool program_is_there(const struct program *program)
{
    return program->input_left >= 0;
}

int64_t program_write(struct program *program, const void *data, size_t len)
{
    ssize_t written = write(program->input, data, len);
    return written < 0 ? -errno : written;
}

int program_input(const struct program *program)
{
    return program->input;
}

size_t program_unread(const struct program *program)
{
    int unread = 0;
    assert(program_is_there(program));
    return ioctl(program->input_left, FIONREAD, &unread) < 0 || unread < 0 ? 0 : (size_t)unread;
}

size_t program_read_errors(struct program *program, char *out, size_t len)
{
    ssize_t got = read(program->errors, out, len);
    return got < 0 ? 0 : (size_t)got;
}

void program_close_input(struct program *program)
{
    close_one(&program->input);
}

void program_kill(struct program *program)
{
    if (program->pid > 0) {
        kill(program->pid, SIGKILL); /* not reaped yet: nobody else's number */
    }
}

bool program_has_ended(struct program *program, int *status)
{
    int state = 0;
    if (program->pid > 0) {
        pid_t ended = waitpid(program->pid, &state, WNOHANG);
        if (ended == 0 || (ended < 0 && errno == EINTR)) {
            return false;
        }
        program->status = ended > 0 && WIFEXITED(state) ? WEXITSTATUS(state) : PROGRAM_KILLED;
        program->pid = 0;
    }
    *status = program->status;
    return true;
}

void program_release(struct program *program)
{
    close_one(&program->input);
    close_one(&program->input_left);
    close_one(&program->errors);
    program->pid = 0;
}
