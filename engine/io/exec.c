#include "io/exec.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

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

static int set_output(posix_spawn_file_actions_t *actions, int output)
{
    return output < 0
               ? posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
               : posix_spawn_file_actions_adddup2(actions, output, STDOUT_FILENO);
}

static int set_actions(posix_spawn_file_actions_t *actions, const struct exec *exec)
{
    int result = posix_spawn_file_actions_adddup2(actions, exec->input, STDIN_FILENO);
    result = result != 0 ? result : set_output(actions, exec->output);
    result = result != 0 ? result
                         : posix_spawn_file_actions_adddup2(actions, exec->errors, STDERR_FILENO);
    result =
        result != 0 ? result : posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
    return result != 0 ? result : posix_spawn_file_actions_addchdir_np(actions, "/");
}

int exec_program(const struct exec *exec, pid_t *pid)
{
    static char path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
    char *const environment[] = {path, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int result = posix_spawn_file_actions_init(&actions);
    if (result != 0) {
        return -result;
    }
    result = posix_spawnattr_init(&attributes);
    if (result == 0) {
        result = set_attributes(&attributes);
        result = result != 0 ? result : set_actions(&actions, exec);
        result = result != 0 ? result
                             : posix_spawn(pid, exec->words[0], &actions, &attributes, exec->words,
                                           environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return -result;
}
