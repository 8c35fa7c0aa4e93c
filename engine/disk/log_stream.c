#include <assert.h>
#include <errno.h>
#include <string.h>

#include "disk/log_private.h"

#define TRIES_MAX 5

int64_t log_read_at(struct io *io, int fd, void *data, size_t len, uint64_t offset)
{
    int64_t result = -EIO;
    for (int tries = 0; tries < TRIES_MAX && result < 0; tries++) {
        result = io_file_read_at(io, fd, data, len, offset);
    }
    return result;
}

static void take(struct log_stream *stream, int64_t result)
{
    if (result <= 0) {
        stream->error = result == 0 ? -EIO : (int)result; /* a file shorter than it must be */
        return;
    }
    stream->end += (size_t)result;
    stream->next += (uint64_t)result;
}

static void on_filled(struct io_op *op, int result)
{
    struct log_stream *stream = CONTAINER_OF(op, struct log_stream, op);
    take(stream, result);
    stream->filled(stream);
}

void log_stream_init(struct log_stream *stream, struct io *io, char *buffer, size_t capacity,
                     void (*filled)(struct log_stream *stream))
{
    *stream = (struct log_stream){
        .io = io, .buffer = buffer, .capacity = capacity, .filled = filled, .fd = -1};
    io_op_init(&stream->op, on_filled);
}

void log_stream_begin(struct log_stream *stream, int fd, uint64_t from, uint64_t to)
{
    assert(!io_busy(&stream->op));
    stream->fd = fd;
    stream->next = from;
    stream->to = to;
    stream->start = stream->end = 0;
    stream->error = 0;
}

static void fill(struct log_stream *stream)
{
    memmove(stream->buffer, stream->buffer + stream->start, stream->end - stream->start);
    stream->end -= stream->start;
    stream->start = 0;
    uint64_t left = stream->to - stream->next;
    size_t room = stream->capacity - stream->end;
    size_t len = left < room ? (size_t)left : room;
    char *at = stream->buffer + stream->end;
    if (stream->filled != NULL) {
        io_read(stream->io, &stream->op, stream->fd, at, len, stream->next);
    } else {
        take(stream, log_read_at(stream->io, stream->fd, at, len, stream->next));
    }
}

const char *log_stream_peek(struct log_stream *stream, size_t len)
{
    assert(len <= stream->capacity);
    if (stream->end - stream->start < len && stream->error == 0 && !io_busy(&stream->op) &&
        log_stream_offset(stream) + len <= stream->to) {
        fill(stream);
    }
    bool there = !io_busy(&stream->op) && stream->end - stream->start >= len;
    return there ? stream->buffer + stream->start : NULL;
}

void log_stream_skip(struct log_stream *stream, uint64_t len)
{
    assert(!io_busy(&stream->op));
    size_t have = stream->end - stream->start;
    if (len <= have) {
        stream->start += (size_t)len;
        return;
    }
    uint64_t beyond = len - have;
    stream->start = stream->end = 0;
    stream->next = stream->next + beyond < stream->to ? stream->next + beyond : stream->to;
}
