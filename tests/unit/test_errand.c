#include "io/errand.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

static struct errand errand;

static void run(const char *script, uint64_t limit_ms)
{
    char shell[] = "/bin/sh", option[] = "-c";
    char *words[] = {shell, option, (char *)(uintptr_t)script, NULL};
    errand = (struct errand){
        .words = words, .input = open("/etc/passwd", O_RDONLY), .time_limit_ms = limit_ms};
    errand_run(&errand);
    close(errand.input);
}

static bool said(const char *text)
{
    return errand.output_len == strlen(text) && memcmp(errand.output, text, errand.output_len) == 0;
}

TEST(its_exit_code_and_what_it_says_come_back)
{
    run("echo one; echo two >&2; exit 67", 10000);
    CHECK_INT(errand.error, 0);
    CHECK_INT(errand.exit_code, 67);
    CHECK_INT(errand.signal, 0);
    CHECK(said("one\ntwo\n"));
}

TEST(a_signal_is_told)
{
    run("kill -TERM $$", 10000);
    CHECK_INT(errand.signal, SIGTERM);
}

TEST(its_input_is_what_it_is_given)
{
    run("head -c 4", 10000);
    CHECK(said("root"));
}

TEST(it_has_a_clean_environment_and_no_descriptor_of_ours)
{
    setenv("SECRET", "1", 1);
    int fd = open("/etc/passwd", O_RDONLY); /* without O_CLOEXEC */
    run("echo $SECRET$PATH; pwd; ls /proc/self/fd | wc -l", 10000);
    close(fd);
    CHECK(said("/usr/local/bin:/usr/bin:/bin\n/\n4\n")); /* ls has one of its own */
}

TEST(a_program_that_is_not_there_is_an_error)
{
    char path[] = "/nowhere/at/all";
    char *words[] = {path, NULL};
    errand = (struct errand){.words = words, .time_limit_ms = 1000};
    errand_run(&errand);
    CHECK_INT(errand.error, -ENOENT);
}

TEST(its_time_is_limited_and_its_children_go_with_it)
{
    run("sleep 60 & echo $!; sleep 60", 200);
    CHECK(errand.timed_out);
    errand.output[errand.output_len] = '\0';
    pid_t child = (pid_t)strtol(errand.output, NULL, 10);
    CHECK(child > 0);
    for (int i = 0; i < 100 && kill(child, 0) == 0; i++) {
        usleep(10000); /* init has yet to reap it */
    }
    char state[64] = "", path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", child);
    int fd = open(path, O_RDONLY);
    ssize_t len = fd < 0 ? 0 : read(fd, state, sizeof state - 1);
    CHECK(len <= 0 || strstr(state, ") Z ") != NULL); /* gone, or nobody reaps here */
    close(fd);
}

TEST(what_it_says_without_end_is_cut_and_its_time_still_limited)
{
    run("while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done", 300);
    CHECK(errand.timed_out);
    CHECK_INT(errand.output_len, ERRAND_OUTPUT_MAX);
}

TEST(one_that_closes_its_output_is_waited_for)
{
    run("exec >&- 2>&-; sleep 0.3; exit 9", 10000);
    CHECK_INT(errand.exit_code, 9);
}

static void *cancel_soon(void *argument)
{
    usleep(200000);
    atomic_store(&errand.cancelled, true);
    return argument;
}

TEST(a_cancelled_one_ends_soon)
{
    char path[] = "/bin/sleep", time_text[] = "60";
    char *words[] = {path, time_text, NULL};
    pthread_t thread;
    errand = (struct errand){.words = words, .time_limit_ms = 60000};
    CHECK_INT(pthread_create(&thread, NULL, cancel_soon, NULL), 0);
    errand_run(&errand);
    pthread_join(thread, NULL);
    CHECK(errand.timed_out);
}
