#include "io/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

static char directory[] = "/tmp/folder-XXXXXX", bad[64];
static struct folder folder;

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

/* A file whose last change was so long ago. */
static void put(const char *name, int64_t age_s)
{
    const char *path = path_of(name);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec -= age_s;
    const struct timespec times[2] = {now, now};
    CHECK_INT(futimens(fd, times), 0);
    close(fd);
}

static void begin_world(void)
{
    strcpy(strrchr(directory, '-'), "-XXXXXX");
    CHECK(mkdtemp(directory) != NULL);
    snprintf(bad, sizeof bad, "%s/bad", directory);
    CHECK_INT(mkdir(bad, 0700), 0);
}

static void end_world(void)
{
    char command[128];
    folder_close(&folder);
    snprintf(command, sizeof command, "rm -r %s", directory);
    CHECK_INT(system(command), 0);
}

/* All that is offered, their letters in order. */
static const char *offered(void)
{
    static char out[64];
    char name[FOLDER_NAME_MAX];
    size_t len = 0;
    folder_close(&folder);
    CHECK_INT(folder_open(&folder, directory), 0);
    while (folder_next(&folder, name) > 0) {
        size_t at = len++;
        for (; at > 0 && out[at - 1] > name[0]; at--) {
            out[at] = out[at - 1];
        }
        out[at] = name[0];
    }
    out[len] = '\0';
    return out;
}

TEST(files_are_offered_when_nobody_writes_them)
{
    begin_world();
    put("a", 2);
    put("b", 0);
    put("c.tmp", 2);
    put(".d", 2);
    put("#e", 2);
    put("f", -3600); /* a clock of its own */
    CHECK_INT(symlink("a", path_of("g")), 0);
    CHECK_INT(mkfifo(path_of("h"), 0600), 0);
    CHECK_STRING(offered(), "af");
    end_world();
}

TEST(one_that_is_put_off_waits)
{
    begin_world();
    put("a", 2);
    put("b", 2);
    CHECK_STRING(offered(), "ab");
    CHECK_INT(folder_put_off(&folder, "a", 10000), 0);
    CHECK_STRING(offered(), "b");
    CHECK_INT(folder_put_off(&folder, "a", 0), 0);
    CHECK_STRING(offered(), "ab");
    end_world();
}

TEST(what_is_removed_or_moved_is_offered_no_more)
{
    begin_world();
    put("a", 2);
    put("b", 2);
    put("bad/b", 2);
    CHECK_STRING(offered(), "ab");
    CHECK_INT(folder_remove(&folder, "a"), 0);
    CHECK_INT(folder_move(&folder, "b", bad), 0);
    CHECK_STRING(offered(), "");
    CHECK_INT(access(path_of("bad/b.1"), F_OK), 0);
    CHECK_INT(folder_remove(&folder, "a"), -ENOENT);
    end_world();
}

TEST(what_cannot_be_moved_stays_under_another_name)
{
    begin_world();
    put("a", 2);
    CHECK_STRING(offered(), "a");
    CHECK_INT(folder_move(&folder, "a", "/nowhere/at/all"), 1);
    CHECK_STRING(offered(), "");
    CHECK_INT(access(path_of("#a"), F_OK), 0);
    end_world();
}

TEST(a_link_is_not_opened)
{
    begin_world();
    CHECK_INT(symlink("/etc/passwd", path_of("a")), 0);
    CHECK_STRING(offered(), "");
    CHECK_INT(folder_open_file(&folder, "a"), -ELOOP);
    end_world();
}

TEST(there_must_be_a_directory)
{
    CHECK_INT(folder_open(&folder, "/nowhere/at/all"), -ENOENT);
    folder_close(&folder);
}
