#include "io/deposit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

static char directory[] = "/tmp/deposit-XXXXXX", path[64];
static struct deposit deposit;

static void begin_world(void)
{
    strcpy(strrchr(directory, '-'), "-XXXXXX");
    CHECK(mkdtemp(directory) != NULL);
    snprintf(path, sizeof path, "%s/m", directory);
}

/* Each name in it is removed; the count. */
static int empty(void)
{
    int count = 0;
    DIR *names = opendir(directory);
    for (struct dirent *name; (name = readdir(names)) != NULL;) {
        if (strcmp(name->d_name, ".") != 0 && strcmp(name->d_name, "..") != 0) {
            unlinkat(dirfd(names), name->d_name, 0);
            count++;
        }
    }
    closedir(names);
    return count;
}

static void end_world(int names)
{
    CHECK_INT(empty(), names);
    CHECK_INT(rmdir(directory), 0);
}

static const char *text_of(const char *file)
{
    static char text[256];
    FILE *in = fopen(file, "r");
    size_t len = in == NULL ? 0 : fread(text, 1, sizeof text - 1, in);
    text[len] = '\0';
    if (in != NULL) {
        fclose(in);
    }
    return text;
}

static void write_text(const char *text)
{
    CHECK_INT(deposit_write(&deposit, text, strlen(text)), 0);
}

static int append(const char *text)
{
    CHECK_INT(deposit_begin_append(&deposit), 0);
    write_text(text);
    int result = deposit_commit_append(&deposit, path);
    deposit_abandon(&deposit);
    return result;
}

TEST(a_file_is_there_when_it_is_whole_and_not_before)
{
    begin_world();
    CHECK_INT(deposit_begin_file(&deposit, directory, "m"), 0);
    write_text("one ");
    CHECK(access(path, F_OK) != 0);
    write_text("two");
    CHECK_INT(deposit_commit_file(&deposit), 0);
    CHECK_STRING(text_of(path), "one two");
    end_world(1);
}

TEST(what_is_abandoned_leaves_nothing)
{
    begin_world();
    CHECK_INT(deposit_begin_file(&deposit, directory, "m"), 0);
    write_text("one");
    deposit_abandon(&deposit);
    CHECK_INT(deposit_begin_append(&deposit), 0);
    write_text("one");
    deposit_abandon(&deposit);
    deposit_abandon(&deposit); /* again does nothing */
    end_world(0);
}

TEST(a_file_that_is_there_is_never_overwritten)
{
    begin_world();
    CHECK_INT(append("old"), 0);
    CHECK_INT(deposit_begin_file(&deposit, directory, "m"), 0);
    write_text("new");
    CHECK_INT(deposit_commit_file(&deposit), -EEXIST);
    deposit_abandon(&deposit);
    CHECK_STRING(text_of(path), "old");
    end_world(1);
}

TEST(without_its_directory_nothing_begins)
{
    CHECK_INT(deposit_begin_file(&deposit, "/nowhere/at/all", "m"), -ENOENT);
    snprintf(path, sizeof path, "/nowhere/at/all/m");
    CHECK_INT(append("x"), -ENOENT);
}

TEST(appended_is_in_one_piece_behind_what_is_there)
{
    begin_world();
    CHECK_INT(append("one\n"), 0);
    CHECK_INT(append("two\n"), 0);
    CHECK_STRING(text_of(path), "one\ntwo\n");
    end_world(1);
}

TEST(only_to_a_file_is_appended)
{
    begin_world();
    CHECK_INT(mkfifo(path, 0600), 0);
    CHECK(append("x") < 0);
    end_world(1);
}

static void *unlock_soon(void *argument)
{
    usleep(200000);
    close(*(int *)argument);
    return NULL;
}

TEST(a_lock_of_somebody_else_is_waited_for)
{
    begin_world();
    CHECK_INT(append("one\n"), 0);
    int fd = open(path, O_RDWR);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    CHECK_INT(fcntl(fd, F_OFD_SETLK, &lock), 0);
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, unlock_soon, &fd), 0);
    CHECK_INT(append("two\n"), 0);
    CHECK(fcntl(fd, F_GETFD) < 0); /* not before */
    pthread_join(thread, NULL);
    end_world(1);
}
