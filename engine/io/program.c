#include "io/program.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/exec.h"

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
    struct exec exec = {words, .input = input[0], .output = -1, .errors = errors[1]};
    int result =
        fcntl(input[1], F_SETFL, O_NONBLOCK) < 0 || fcntl(errors[0], F_SETFL, O_NONBLOCK) < 0
            ? -errno
            : exec_program(&exec, &program->pid);
    close(errors[1]);
    if (result != 0) {
        program->pid = 0;
        program_release(program);
    }
    return result;
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
