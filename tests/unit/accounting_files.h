/* What accounting left in its directories, read record by record through io.
 *
 * A record of the tests names its sequence: rcpt is rcpt-N@d.test. Include once per binary. */
#ifndef TESTS_UNIT_ACCOUNTING_FILES_H
#define TESTS_UNIT_ACCOUNTING_FILES_H

#include <stdlib.h>

#include "io/io.h"

#define RECORDS_MAX 200000

struct found_records {
    struct io *io;
    const char *directory;
    const char *header; /* each file's first line; "" = none */
    uint32_t files;
    uint64_t bytes;
    uint8_t count[RECORDS_MAX]; /* of each sequence */
    char text[8 * 1024 * 1024];
};

static struct found_records seen_records;

static void count_line(struct bytes line)
{
    unsigned long sequence = 0;
    const char *at = memmem(line.data, line.len, "rcpt-", 5);
    CHECK(at != NULL);
    if (at != NULL) {
        sequence = strtoul(at + 5, NULL, 10);
    }
    CHECK(sequence > 0);
    CHECK(sequence < RECORDS_MAX);
    if (sequence < RECORDS_MAX) {
        seen_records.count[sequence]++;
    }
}

static int read_records(void *owner, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", seen_records.directory, name);
    int fd = io_file_open(seen_records.io, path, IO_OPEN_READ);
    struct io_file_info info = {0};
    if (fd < 0) {
        return 0;
    }
    CHECK(io_file_info(seen_records.io, fd, &info) >= 0);
    int64_t len = info.is_directory ? 0
                                    : io_file_read_at(seen_records.io, fd, seen_records.text,
                                                      sizeof seen_records.text, 0);
    io_file_close(seen_records.io, fd);
    CHECK(len >= 0);
    CHECK(len < (int64_t)sizeof seen_records.text);
    if (len <= 0) {
        return 0;
    }
    seen_records.files++;
    seen_records.bytes += (uint64_t)len;
    struct bytes text = bytes_of(seen_records.text, (size_t)len);
    size_t header_len = strlen(seen_records.header);
    CHECK(bytes_starts_with(text, bytes_from_string(seen_records.header)));
    for (size_t at = header_len; at < text.len;) {
        ptrdiff_t end = bytes_find(text, '\n', at);
        CHECK(end >= 0); /* no half record */
        size_t to = end < 0 ? text.len : (size_t)end + 1;
        count_line(bytes_slice(text, at, to));
        at = to;
    }
    return 0;
}

/* Reads all files of these directories (the second may be NULL). */
static void find_records(struct io *io, const char *first, const char *second, const char *header)
{
    memset(seen_records.count, 0, sizeof seen_records.count);
    seen_records.io = io;
    seen_records.header = header;
    seen_records.files = 0;
    seen_records.bytes = 0;
    seen_records.directory = first;
    CHECK(io_directory_walk(io, first, read_records, NULL) >= 0);
    if (second != NULL) {
        seen_records.directory = second;
        CHECK(io_directory_walk(io, second, read_records, NULL) >= 0);
    }
}

/* How many of 1 … last are there exactly once. */
static uint64_t records_found_once(uint64_t last)
{
    uint64_t once = 0;
    for (uint64_t i = 1; i <= last; i++) {
        once += seen_records.count[i] == 1 ? 1 : 0;
    }
    return once;
}

#endif
