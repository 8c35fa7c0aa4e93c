#include "pickup_file.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "smtp/pickup_text.h"

#define READ_BYTES  (32 * 1024)
#define RCPTS_MAX   100000
#define LINES_MAX   100 /* of a reply */
#define COMMAND_MAX (PICKUP_LINE_MAX + 64)

/* ---- the stream ---- */

static bool send_all(const struct pickup_talk *talk, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t sent = write(talk->stream, data, len);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent <= 0) {
            return false;
        }
        data += sent;
        len -= (size_t)sent;
    }
    return true;
}

/* A line into talk->reply, cut, without its end. */
static bool read_reply_line(struct pickup_talk *talk)
{
    size_t len = 0;
    for (;;) {
        while (talk->in_from < talk->in_to) {
            char c = talk->in[talk->in_from++];
            if (c == '\n') {
                talk->reply[len] = '\0';
                return true;
            }
            if (c != '\r' && len < sizeof talk->reply - 1) {
                talk->reply[len++] = c;
            }
        }
        ssize_t got = read(talk->stream, talk->in, sizeof talk->in);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        talk->in_from = 0;
        talk->in_to = (size_t)got;
    }
}

/* Its class, 2 to 5; 0: the stream has ended. The text is in talk->reply. */
static int read_reply(struct pickup_talk *talk)
{
    for (int i = 0; i < LINES_MAX && read_reply_line(talk); i++) {
        const char *reply = talk->reply;
        if (strncmp(reply, "421", 3) == 0) {
            return 0; /* it closes */
        }
        if (reply[0] < '2' || reply[0] > '5') {
            return 0;
        }
        if (strlen(reply) < 4 || reply[3] != '-') {
            return reply[0] - '0';
        }
    }
    return 0;
}

static int ask(struct pickup_talk *talk, const char *command)
{
    return send_all(talk, command, strlen(command)) ? read_reply(talk) : 0;
}

bool pickup_talk_begin(struct pickup_talk *talk, int stream, bool remove_dot)
{
    *talk = (struct pickup_talk){.stream = stream, .remove_dot = remove_dot};
    return read_reply(talk) == 2 && ask(talk, "EHLO pickup\r\n") == 2;
}

/* ---- the file ---- */

struct file {
    int fd;
    char data[READ_BYTES];
    size_t from, to;
    bool failed;
};

/* False: nothing is left, or it cannot be read. */
static bool fill(struct file *file)
{
    ssize_t got;
    memmove(file->data, file->data + file->from, file->to - file->from);
    file->to -= file->from;
    file->from = 0;
    do {
        got = read(file->fd, file->data + file->to, sizeof file->data - file->to);
    } while (got < 0 && errno == EINTR);
    file->failed |= got < 0;
    file->to += got > 0 ? (size_t)got : 0;
    return got > 0;
}

/* The next line, which stays until file->from moves behind it; cut at PICKUP_LINE_MAX, where no
 * line of an envelope is so long. */
static struct bytes next_line(struct file *file)
{
    for (;;) {
        size_t left = file->to - file->from;
        const char *line = file->data + file->from;
        const char *end = memchr(line, '\n', left);
        if (end != NULL || left >= PICKUP_LINE_MAX || !fill(file)) {
            line = file->data + file->from; /* filling moves */
            left = file->to - file->from;
            end = memchr(line, '\n', left);
            size_t len = end == NULL ? left : (size_t)(end - line) + 1;
            return bytes_of(line, len < PICKUP_LINE_MAX ? len : PICKUP_LINE_MAX);
        }
    }
}

static enum pickup_end bad(struct pickup_talk *talk, const char *why, struct bytes what)
{
    snprintf(talk->why, sizeof talk->why, "%s%.*s", why, (int)(what.len < 300 ? what.len : 300),
             what.data == NULL ? "" : what.data);
    return PICKUP_BAD;
}

/* What a refusal means for the file. */
static enum pickup_end refused(struct pickup_talk *talk, int class, const char *command)
{
    snprintf(talk->why, sizeof talk->why, "%.200s: %.200s", command, talk->reply);
    talk->why[strcspn(talk->why, "\r\n")] = ' ';
    return class == 0 ? PICKUP_GONE : class == 5 ? PICKUP_BAD : PICKUP_LATER;
}

static bool has_utf8(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < 0) {
            return true;
        }
    }
    return false;
}

/* The addresses of the envelope, in one memory of the caller's for the sender. */
struct envelope_lines {
    char sender[PICKUP_LINE_MAX];
    bool has_sender, overridden, utf8;
    uint32_t rcpt_count;
    size_t bytes; /* of the file before the message */
};

/* Looks at every line first: MAIL needs what the last one may say. PICKUP_TAKEN: it is right. */
static enum pickup_end read_envelope(struct pickup_talk *talk, struct file *file,
                                     struct envelope_lines *lines)
{
    for (;;) {
        struct bytes address = BYTES(""), line = next_line(file);
        enum pickup_line kind = pickup_read_line(line, &address);
        bool is_sender = kind == PICKUP_OVERRIDE || (kind == PICKUP_SENDER && !lines->overridden);
        if (kind == PICKUP_WRONG) {
            return bad(talk, "no address: ", line);
        }
        if (kind == PICKUP_OTHER) {
            return PICKUP_TAKEN;
        }
        if (kind == PICKUP_SENDER && lines->has_sender && !lines->overridden) {
            return bad(talk, "a second x-sender line", BYTES(""));
        }
        if (is_sender) {
            lines->has_sender = true;
            lines->overridden |= kind == PICKUP_OVERRIDE;
            snprintf(lines->sender, sizeof lines->sender, "%.*s", BYTES_FMT(address));
        }
        if (kind == PICKUP_RECEIVER && ++lines->rcpt_count > RCPTS_MAX) {
            return bad(talk, "too many x-receiver lines", BYTES(""));
        }
        lines->utf8 |= has_utf8(address);
        file->from += line.len;
        lines->bytes += line.len;
        if (kind == PICKUP_END) {
            return PICKUP_TAKEN;
        }
    }
}

static enum pickup_end send_rcpts(struct pickup_talk *talk, struct file *file, size_t bytes)
{
    char command[COMMAND_MAX];
    while (bytes > 0) {
        struct bytes address = BYTES(""), line = next_line(file);
        if (line.len == 0 || line.len > bytes) {
            return bad(talk, "it was changed while it was read", BYTES(""));
        }
        if (pickup_read_line(line, &address) == PICKUP_RECEIVER) {
            snprintf(command, sizeof command, "RCPT TO:<%.*s>\r\n", BYTES_FMT(address));
            int class = ask(talk, command);
            if (class != 2) {
                return refused(talk, class, command);
            }
        }
        file->from += line.len;
        bytes -= line.len;
    }
    return PICKUP_TAKEN;
}

static enum pickup_end send_envelope(struct pickup_talk *talk, struct file *file)
{
    struct envelope_lines lines = {0};
    char command[COMMAND_MAX];
    enum pickup_end end = read_envelope(talk, file, &lines);
    if (end != PICKUP_TAKEN) {
        return end;
    }
    if (!lines.has_sender || lines.rcpt_count == 0) {
        return bad(talk, "it does not begin with x-sender and x-receiver lines", BYTES(""));
    }
    snprintf(command, sizeof command, "MAIL FROM:<%s>%s\r\n", lines.sender,
             lines.utf8 ? " SMTPUTF8" : "");
    int class = ask(talk, command);
    if (class != 2) {
        return refused(talk, class, command);
    }
    file->from = file->to = 0;
    if (lseek(file->fd, 0, SEEK_SET) != 0) {
        return bad(talk, "it cannot be read twice", BYTES(""));
    }
    return send_rcpts(talk, file, lines.bytes);
}

/* After 354. False: the session is gone. */
static bool send_body(struct pickup_talk *talk, struct file *file)
{
    char memory[2 * READ_BYTES + 2 * PICKUP_BODY_HELD];
    struct pickup_body body;
    struct buffer out;
    pickup_body_init(&body, talk->remove_dot);
    do {
        buffer_init(&out, memory, sizeof memory);
        pickup_body_feed(&body, bytes_of(file->data + file->from, file->to - file->from), &out);
        file->from = file->to = 0;
        if (!send_all(talk, out.data, out.len)) {
            return false;
        }
    } while (fill(file));
    if (file->failed) {
        return false; /* without its end it is no message: the session is broken off */
    }
    buffer_init(&out, memory, sizeof memory);
    pickup_body_end(&body, &out);
    return send_all(talk, out.data, out.len);
}

static enum pickup_end send_file(struct pickup_talk *talk, struct file *file)
{
    enum pickup_end end = send_envelope(talk, file);
    if (end != PICKUP_TAKEN) {
        return end;
    }
    int class = ask(talk, "DATA\r\n");
    if (class != 3) {
        return refused(talk, class, "DATA");
    }
    class = send_body(talk, file) ? read_reply(talk) : 0;
    return class == 2 ? PICKUP_TAKEN : refused(talk, class, "the message");
}

enum pickup_end pickup_talk_file(struct pickup_talk *talk, int fd)
{
    struct file file = {.fd = fd};
    enum pickup_end end = send_file(talk, &file);
    bool in_between = end == PICKUP_BAD || end == PICKUP_LATER;
    return in_between && ask(talk, "RSET\r\n") != 2 ? PICKUP_GONE : end;
}
