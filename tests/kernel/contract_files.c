/* The facts about files and directories. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "contract_parts.h"

#define PATH_LEN 512
#define NEW_FILE (IO_OPEN_READ | IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE)

static const char *path_of(struct contract *contract, const char *name, char out[PATH_LEN])
{
    snprintf(out, PATH_LEN, "%s/%s", contract->directory, name);
    return out;
}

static int open_file(struct contract *contract, const char *name, uint32_t flags)
{
    char path[PATH_LEN];
    return io_file_open(contract->io, path_of(contract, name, path), flags);
}

static void remove_file(struct contract *contract, const char *name)
{
    char path[PATH_LEN];
    WANT_INT(io_file_unlink(contract->io, path_of(contract, name, path)), 0);
}

static int queued_read(struct contract *contract, int fd, void *data, size_t len, uint64_t offset)
{
    struct tracked read;
    tracked_init(&read);
    io_read(contract->io, &read.op, fd, data, len, offset);
    WANT_INT(read.count, 0);
    return tracked_wait(contract, &read);
}

static int queued_write(struct contract *contract, int fd, const char *text, uint64_t offset)
{
    struct tracked write;
    char copy[256];
    struct iovec piece = {copy, strlen(text)};
    memcpy(copy, text, strlen(text) + 1);
    tracked_init(&write);
    io_write(contract->io, &write.op, fd, &piece, 1, offset);
    WANT_INT(write.count, 0);
    return tracked_wait(contract, &write);
}

static uint64_t size_of(struct contract *contract, int fd)
{
    struct io_file_info info = {0};
    WANT_INT(io_file_info(contract->io, fd, &info), 0);
    WANT(!info.is_directory);
    WANT(info.inode != 0);
    return info.size;
}

void contract_written_bytes_are_read_back(struct contract *contract)
{
    char seen[64] = {0};
    struct tracked sync;
    int fd = open_file(contract, "log", NEW_FILE);
    WANT(fd >= 0);
    WANT_INT(queued_write(contract, fd, "first second", 0), 12);
    tracked_init(&sync);
    io_fdatasync(contract->io, &sync.op, fd);
    WANT_INT(sync.count, 0);
    WANT_INT(tracked_wait(contract, &sync), 0);
    WANT_INT(queued_write(contract, fd, "SECOND", 6), 6);
    WANT_INT(queued_read(contract, fd, seen, 12, 0), 12);
    WANT(memcmp(seen, "first SECOND", 12) == 0);
    WANT_INT(queued_read(contract, fd, seen, 3, 8), 3);
    WANT(memcmp(seen, "CON", 3) == 0);
    WANT_INT(queued_read(contract, fd, seen, 0, 0), 0);
    io_file_close(contract->io, fd);
    remove_file(contract, "log");
}

void contract_a_synced_write_moves_all_its_pieces(struct contract *contract)
{
    char seen[16] = {0}, first[] = "first ", second[] = "second";
    struct iovec pieces[] = {{first, 6}, {second, 6}};
    struct tracked write;
    int fd = open_file(contract, "log", NEW_FILE);
    tracked_init(&write);
    io_write_synced(contract->io, &write.op, fd, pieces, 2, 2);
    WANT_INT(write.count, 0);
    WANT_INT(tracked_wait(contract, &write), 12);
    WANT_INT(queued_read(contract, fd, seen, sizeof seen, 2), 12);
    WANT(memcmp(seen, "first second", 12) == 0);
    io_file_close(contract->io, fd);
    remove_file(contract, "log");
}

void contract_a_read_past_the_end_is_short(struct contract *contract)
{
    char seen[64];
    int fd = open_file(contract, "log", NEW_FILE);
    WANT_INT(queued_write(contract, fd, "0123456789", 0), 10);
    WANT_INT(queued_read(contract, fd, seen, sizeof seen, 4), 6);
    WANT_INT(queued_read(contract, fd, seen, sizeof seen, 10), 0);
    WANT_INT(queued_read(contract, fd, seen, sizeof seen, 1000), 0);
    WANT_INT(io_file_read_at(contract->io, fd, seen, sizeof seen, 4), 6);
    WANT_INT(io_file_read_at(contract->io, fd, seen, sizeof seen, 10), 0);
    io_file_close(contract->io, fd);
    remove_file(contract, "log");
}

void contract_a_write_beyond_the_end_leaves_zeros_before_it(struct contract *contract)
{
    char seen[16], zeros[16] = {0};
    int fd = open_file(contract, "log", NEW_FILE);
    WANT_INT(queued_write(contract, fd, "ab", 0), 2);
    WANT_INT(queued_write(contract, fd, "yz", 10), 2);
    WANT_INT(size_of(contract, fd), 12);
    WANT_INT(queued_read(contract, fd, seen, 16, 0), 12);
    WANT(memcmp(seen, "ab", 2) == 0);
    WANT(memcmp(seen + 2, zeros, 8) == 0);
    WANT(memcmp(seen + 10, "yz", 2) == 0);
    io_file_close(contract->io, fd);
    remove_file(contract, "log");
}

#define PIECES 1500 /* beyond IOV_MAX */

void contract_a_write_of_many_pieces_keeps_their_order(struct contract *contract)
{
    struct iovec *pieces = calloc(PIECES, sizeof *pieces);
    uint8_t *bytes = malloc(PIECES * 100), *seen = malloc(PIECES * 100);
    size_t total = 0;
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = (struct iovec){bytes + total, i % 100};
        memset(bytes + total, (int)(i % 251), i % 100);
        total += i % 100;
    }
    struct tracked write;
    int fd = open_file(contract, "log", NEW_FILE);
    tracked_init(&write);
    io_write(contract->io, &write.op, fd, pieces, PIECES, 7);
    WANT_INT(tracked_wait(contract, &write), total);
    WANT_INT(size_of(contract, fd), total + 7);
    WANT_INT(queued_read(contract, fd, seen, total, 7), total);
    WANT(memcmp(seen, bytes, total) == 0);
    io_file_close(contract->io, fd);
    remove_file(contract, "log");
    free(seen);
    free(bytes);
    free(pieces);
}

void contract_blocking_and_queued_file_calls_see_the_same_bytes(struct contract *contract)
{
    char seen[8];
    int fd = open_file(contract, "log", NEW_FILE);
    WANT_INT(io_file_write_at(contract->io, fd, "blocking", 8, 0), 8);
    WANT_INT(queued_read(contract, fd, seen, 8, 0), 8);
    WANT(memcmp(seen, "blocking", 8) == 0);
    WANT_INT(queued_write(contract, fd, "by ring.", 0), 8);
    WANT_INT(io_file_read_at(contract->io, fd, seen, 8, 0), 8);
    WANT(memcmp(seen, "by ring.", 8) == 0);
    WANT_INT(io_file_sync(contract->io, fd), 0);
    io_file_close(contract->io, fd);
    remove_file(contract, "log");
}

void contract_an_allocated_file_has_its_length_and_keeps_what_it_had(struct contract *contract)
{
    char seen[16], zeros[14] = {0};
    int fd = open_file(contract, "log", NEW_FILE);
    WANT_INT(io_file_write_at(contract->io, fd, "ab", 2, 0), 2);
    WANT_INT(io_file_allocate(contract->io, fd, 100000), 0);
    WANT_INT(size_of(contract, fd), 100000);
    WANT_INT(queued_read(contract, fd, seen, 16, 0), 16);
    WANT(memcmp(seen, "ab", 2) == 0);
    WANT(memcmp(seen + 2, zeros, 14) == 0);
    io_file_close(contract->io, fd);
    remove_file(contract, "log");
}

void contract_exclusive_creation_fails_when_the_file_is_there(struct contract *contract)
{
    int fd = open_file(contract, "lock", NEW_FILE);
    WANT(fd >= 0);
    WANT_INT(open_file(contract, "lock", NEW_FILE), -EEXIST);
    int again_fd = open_file(contract, "lock", IO_OPEN_READ | IO_OPEN_WRITE | IO_OPEN_CREATE);
    WANT(again_fd >= 0);
    struct io_file_info first, again;
    WANT_INT(io_file_info(contract->io, fd, &first), 0);
    WANT_INT(io_file_info(contract->io, again_fd, &again), 0);
    WANT(first.inode == again.inode);
    WANT(first.owner == again.owner);
    io_file_close(contract->io, fd);
    io_file_close(contract->io, again_fd);
    remove_file(contract, "lock");
}

void contract_append_and_truncate_do_as_they_say(struct contract *contract)
{
    char seen[8];
    int fd = open_file(contract, "log", IO_OPEN_CREATE | IO_OPEN_WRITE | IO_OPEN_APPEND);
    WANT(fd >= 0);
    WANT_INT(queued_write(contract, fd, "abcd", 0), 4);
    WANT_INT(queued_write(contract, fd, "efgh", 0), 4); /* the offset is not asked */
    WANT_INT(size_of(contract, fd), 8);
    io_file_close(contract->io, fd);
    fd = open_file(contract, "log", IO_OPEN_READ | IO_OPEN_WRITE);
    WANT_INT(io_file_read_at(contract->io, fd, seen, 8, 0), 8);
    WANT(memcmp(seen, "abcdefgh", 8) == 0);
    WANT_INT(io_file_truncate(contract->io, fd, 3), 0);
    WANT_INT(size_of(contract, fd), 3);
    WANT_INT(io_file_truncate(contract->io, fd, 6), 0);
    WANT_INT(queued_read(contract, fd, seen, 8, 0), 6);
    WANT(memcmp(seen, "abc\0\0\0", 6) == 0);
    io_file_close(contract->io, fd);
    fd = open_file(contract, "log", IO_OPEN_WRITE | IO_OPEN_TRUNCATE);
    WANT_INT(size_of(contract, fd), 0);
    io_file_close(contract->io, fd);
    remove_file(contract, "log");
}

void contract_rename_replaces_and_unlink_removes(struct contract *contract)
{
    char seen[3], old_path[PATH_LEN], new_path[PATH_LEN];
    path_of(contract, "old", old_path);
    path_of(contract, "new", new_path);
    int old_fd = open_file(contract, "old", NEW_FILE);
    int new_fd = open_file(contract, "new", NEW_FILE);
    WANT_INT(io_file_write_at(contract->io, old_fd, "old", 3, 0), 3);
    WANT_INT(io_file_write_at(contract->io, new_fd, "new", 3, 0), 3);
    WANT_INT(io_file_rename(contract->io, old_path, new_path), 0);
    WANT_INT(io_directory_sync(contract->io, contract->directory), 0);
    WANT_INT(open_file(contract, "old", IO_OPEN_READ), -ENOENT);
    /* Who has it open still reads what the name no longer leads to. */
    WANT_INT(io_file_read_at(contract->io, new_fd, seen, 3, 0), 3);
    WANT(memcmp(seen, "new", 3) == 0);
    io_file_close(contract->io, old_fd);
    io_file_close(contract->io, new_fd);
    new_fd = open_file(contract, "new", IO_OPEN_READ);
    WANT_INT(io_file_read_at(contract->io, new_fd, seen, 3, 0), 3);
    WANT(memcmp(seen, "old", 3) == 0);
    io_file_close(contract->io, new_fd);
    remove_file(contract, "new");
    WANT_INT(open_file(contract, "new", IO_OPEN_READ), -ENOENT);
}

struct walk {
    char names[8][32];
    int count, stop_at;
};

static int on_entry(void *owner, const char *name)
{
    struct walk *walk = owner;
    snprintf(walk->names[walk->count % 8], sizeof walk->names[0], "%s", name);
    walk->count++;
    return walk->count == walk->stop_at ? 77 : 0;
}

void contract_a_directory_is_walked_in_sorted_order(struct contract *contract)
{
    static const char *const names[] = {"segment-10", "b", "segment-09", "a"};
    static const char *const sorted[] = {"a", "b", "segment-09", "segment-10"};
    char directory[PATH_LEN], path[PATH_LEN + 64];
    path_of(contract, "spool", directory);
    WANT_INT(io_directory_create(contract->io, directory), 0);
    WANT_INT(io_directory_create(contract->io, directory), 0);
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        int fd = io_file_open(contract->io, path, NEW_FILE);
        WANT(fd >= 0);
        io_file_close(contract->io, fd);
    }
    struct walk walk = {0}, cut = {.stop_at = 2};
    WANT_INT(io_directory_walk(contract->io, directory, on_entry, &walk), 0);
    WANT_INT(walk.count, 4);
    for (int i = 0; i < 4; i++) {
        WANT(strcmp(walk.names[i], sorted[i]) == 0);
    }
    WANT_INT(io_directory_walk(contract->io, directory, on_entry, &cut), 77);
    WANT_INT(cut.count, 2);
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        WANT_INT(io_file_unlink(contract->io, path), 0);
    }
}

void contract_a_second_lock_is_refused_until_the_first_is_closed(struct contract *contract)
{
    int first_fd = open_file(contract, "lock", NEW_FILE);
    int second_fd = open_file(contract, "lock", IO_OPEN_READ | IO_OPEN_WRITE);
    WANT_INT(io_file_lock(contract->io, first_fd), 0);
    WANT_INT(io_file_lock(contract->io, first_fd), 0); /* one's own is no obstacle */
    WANT_INT(io_file_lock(contract->io, second_fd), -EWOULDBLOCK);
    io_file_close(contract->io, first_fd);
    WANT_INT(io_file_lock(contract->io, second_fd), 0);
    io_file_close(contract->io, second_fd);
    remove_file(contract, "lock");
}

void contract_file_errors_are_the_kernels(struct contract *contract)
{
    char nowhere[PATH_LEN], below[PATH_LEN];
    path_of(contract, "nowhere", nowhere);
    path_of(contract, "nowhere/below", below);
    WANT_INT(io_file_open(contract->io, nowhere, IO_OPEN_READ), -ENOENT);
    WANT_INT(io_file_open(contract->io, below, NEW_FILE), -ENOENT);
    WANT_INT(io_file_unlink(contract->io, nowhere), -ENOENT);
    WANT_INT(io_file_rename(contract->io, nowhere, below), -ENOENT);
    WANT_INT(io_directory_create(contract->io, below), -ENOENT);
    WANT_INT(io_directory_walk(contract->io, nowhere, on_entry, NULL), -ENOENT);
    WANT_INT(io_directory_sync(contract->io, nowhere), -ENOENT);
}

void contract_there_is_space_to_ask_for(struct contract *contract)
{
    uint64_t bytes = 0;
    WANT_INT(io_space_free(contract->io, contract->directory, &bytes), 0);
    WANT(bytes > 0);
}
