#include "sim_records.h"

#include <stdio.h>
#include <string.h>

#include "sim_disk.h"
#include "sim_parts.h"

#define COLUMNS_MAX 64

enum column { TYPE, ORIG, RCPT, STATUS, DIAG, COLUMN_COUNT };
static const char *const column_names[COLUMN_COUNT] = {"type", "orig", "rcpt", "dsnStatus",
                                                       "dsnDiag"};

struct reader {
    const uint8_t *at, *end;
    int columns[COLUMN_COUNT]; /* where they stand; -1: not there */
};

/* The next field into out, cut if need be. True: it was the last of its line. */
static bool read_field(struct reader *reader, char out[SIM_RECORD_FIELD_MAX])
{
    size_t len = 0;
    bool quoted = reader->at < reader->end && *reader->at == '"';
    reader->at += quoted;
    while (reader->at < reader->end) {
        char c = (char)*reader->at++;
        if (quoted && c == '"') {
            if (reader->at == reader->end || *reader->at != '"') {
                quoted = false;
                continue;
            }
            reader->at++;
        } else if (!quoted && (c == ',' || c == '\n')) {
            out[len] = '\0';
            return c == '\n';
        } else if (!quoted && c == '\r') {
            continue;
        }
        if (len < SIM_RECORD_FIELD_MAX - 1) {
            out[len++] = c;
        }
    }
    out[len] = '\0';
    return true;
}

static bool read_header(struct reader *reader)
{
    char field[SIM_RECORD_FIELD_MAX];
    bool last = false;
    memset(reader->columns, -1, sizeof(reader->columns));
    for (int i = 0; i < COLUMNS_MAX && !last; i++) {
        last = read_field(reader, field);
        for (int c = 0; c < COLUMN_COUNT; c++) {
            if (strcmp(field, column_names[c]) == 0) {
                reader->columns[c] = i;
            }
        }
    }
    for (int c = 0; c < COLUMN_COUNT; c++) {
        if (reader->columns[c] < 0) {
            return false;
        }
    }
    return true;
}

static void read_line(struct reader *reader, struct sim_record *record)
{
    char field[SIM_RECORD_FIELD_MAX];
    bool last = false;
    *record = (struct sim_record){0};
    for (int i = 0; i < COLUMNS_MAX && !last; i++) {
        last = read_field(reader, field);
        if (i == reader->columns[TYPE]) {
            snprintf(record->type, sizeof(record->type), "%.7s", field);
        } else if (i == reader->columns[ORIG]) {
            memcpy(record->orig, field, strlen(field) + 1);
        } else if (i == reader->columns[RCPT]) {
            memcpy(record->rcpt, field, strlen(field) + 1);
        } else if (i == reader->columns[STATUS]) {
            memcpy(record->status, field, strlen(field) + 1);
        } else if (i == reader->columns[DIAG]) {
            memcpy(record->diag, field, strlen(field) + 1);
        }
    }
}

static int read_file(const uint8_t *bytes, uint64_t size,
                     void (*record)(void *owner, const struct sim_record *record), void *owner)
{
    struct reader reader = {.at = bytes, .end = bytes + size};
    struct sim_record one;
    int count = 0;
    if (size == 0) {
        return 0;
    }
    if (!read_header(&reader)) {
        return -1;
    }
    while (reader.at < reader.end) {
        read_line(&reader, &one);
        record(owner, &one);
        count++;
    }
    return count;
}

int sim_records_read(struct sim *sim, const char *directory,
                     void (*record)(void *owner, const struct sim_record *record), void *owner)
{
    char name[SIM_DISK_PATH_MAX] = "", path[2 * SIM_DISK_PATH_MAX];
    int total = 0;
    const char *next = NULL;
    while ((next = disk_next_name(sim->disk, directory, name)) != NULL) {
        uint64_t size = 0;
        snprintf(name, sizeof(name), "%s", next);
        if (strstr(name, ".csv") == NULL) {
            continue;
        }
        snprintf(path, sizeof(path), "%s/%s", directory, name);
        const uint8_t *bytes = sim_disk_peek(sim, path, &size);
        int count = bytes == NULL ? 0 : read_file(bytes, size, record, owner);
        if (count < 0) {
            return -1;
        }
        total += count;
    }
    return total;
}
