/* Why the kernel gives us no ring, in words an operator can act on. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "io/io_kernel.h"

/* 0, 1 or 2; 0 also where the kernel does not know the setting. */
static int forbidden_by_sysctl(void)
{
    FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
    if (file == NULL) {
        return 0;
    }
    int digit = fgetc(file);
    fclose(file);
    return digit >= '0' && digit <= '9' ? digit - '0' : 0;
}

void io_explain_refusal(struct error *error, int code)
{
    int sysctl = code == EPERM ? forbidden_by_sysctl() : 0;
    if (sysctl != 0) {
        error_set(error, code,
                  "io_uring is forbidden on this host: kernel.io_uring_disabled is %d; set it to 0 "
                  "with sysctl%s",
                  sysctl, sysctl == 1 ? ", or add our group to kernel.io_uring_group" : "");
    } else if (code == EPERM || code == EACCES) {
        error_set(
            error, code,
            "io_uring is forbidden to this process (EPERM): a seccomp filter or a security "
            "module refuses io_uring_setup; allow it in the container's or service's profile");
    } else if (code == ENOSYS) {
        error_set(
            error, code,
            "this kernel has no io_uring (ENOSYS), or a seccomp filter hides it: Linux 6.1 or "
            "newer is needed, with CONFIG_IO_URING");
    } else if (code == ENOMEM) {
        error_set(error, code,
                  "no memory for io_uring (ENOMEM): raise RLIMIT_MEMLOCK (LimitMEMLOCK=infinity in "
                  "the systemd unit) or free memory");
    } else if (code == EMFILE || code == ENFILE) {
        error_set(error, code,
                  "no descriptor left for io_uring (%s): raise RLIMIT_NOFILE (LimitNOFILE= in the "
                  "systemd unit)",
                  code == EMFILE ? "EMFILE" : "ENFILE");
    } else {
        error_set(error, code, "io_uring cannot be set up: %s", strerror(code));
    }
}
