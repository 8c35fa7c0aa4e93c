#include "bench/sink_record.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sysexits.h>

#include "bench/tool.h"

#define FILE_BUFFER_BYTES (1u << 20)
#define NAME_MAX_BYTES    320 /* an address, RFC 3696 erratum 1690 */
#define HEADER_KEPT_BYTES 128
#define DIGEST_DIGITS     16

struct sink_record {
    FILE *file;
    uint32_t latency_ms;
    bool failed;
    char buffer[FILE_BUFFER_BYTES];
};

/* Of one session. */
struct note {
    struct sink_record *record;
    uint64_t connected_us;
    char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];
    char ehlo[NAME_MAX_BYTES], from[NAME_MAX_BYTES];
    char *rcpts;
    size_t rcpts_len, rcpts_capacity;
    bool in_body;
    char line[HEADER_KEPT_BYTES]; /* the beginning of the header line that is arriving */
    uint32_t line_len;
    char x_seq[HEADER_KEPT_BYTES];
    EVP_MD_CTX *digest; /* NULL until the first body arrives */
};

struct sink_record *sink_record_open(const char *path, uint32_t latency_ms)
{
    struct sink_record *record = calloc(1, sizeof *record);
    FILE *file = fopen(path, "we");
    if (record == NULL || file == NULL) {
        tool_fail(EX_CANTCREAT, "--record %s: %s", path, strerror(errno));
    }
    setvbuf(file, record->buffer, _IOFBF, sizeof record->buffer);
    record->file = file;
    record->latency_ms = latency_ms;
    return record;
}

void sink_record_flush(struct sink_record *record)
{
    if (fflush(record->file) != 0 && !record->failed) {
        record->failed = true;
        fprintf(stderr, "sink: the record cannot be written: %s\n", strerror(errno));
    }
}

bool sink_record_close(struct sink_record *record)
{
    if (record == NULL) {
        return true;
    }
    sink_record_flush(record);
    bool written = !record->failed;
    fclose(record->file);
    free(record);
    return written;
}

/* ---- sessions ---------------------------------------------------------------------------- */

static void name_peer(int (*name)(int, struct sockaddr *, socklen_t *), int fd,
                      char out[INET6_ADDRSTRLEN])
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    memcpy(out, "-", 2);
    if (name(fd, (struct sockaddr *)&address, &len) != 0) {
        return;
    }
    const void *ip = address.ss_family == AF_INET
                         ? (const void *)&((const struct sockaddr_in *)&address)->sin_addr
                         : (const void *)&((const struct sockaddr_in6 *)&address)->sin6_addr;
    inet_ntop(address.ss_family, ip, out, INET6_ADDRSTRLEN);
}

static int peer_name(int fd, struct sockaddr *address, socklen_t *len)
{
    return getpeername(fd, address, len);
}

static int own_name(int fd, struct sockaddr *address, socklen_t *len)
{
    return getsockname(fd, address, len);
}

bool sink_record_attach(struct sink_record *record, struct sink_session *session, int fd)
{
    struct note *note = calloc(1, sizeof *note);
    if (note == NULL) {
        return false;
    }
    note->record = record;
    note->connected_us = tool_wall_us();
    name_peer(peer_name, fd, note->source);
    name_peer(own_name, fd, note->destination);
    session->user = note;
    return true;
}

void sink_record_forget(struct sink_session *session)
{
    struct note *note = session->user;
    if (note == NULL) {
        return;
    }
    EVP_MD_CTX_free(note->digest);
    free(note->rcpts);
    free(note);
    session->user = NULL;
}

/* Bytes that would break the line or the columns become "?". */
static void copy_field(char *out, size_t capacity, struct bytes text)
{
    size_t len = text.len < capacity - 1 ? text.len : capacity - 1;
    for (size_t i = 0; i < len; i++) {
        char c = text.data[i];
        out[i] = (unsigned char)c < 0x20 || c == 0x7f ? '?' : c;
    }
    out[len] = '\0';
}

static void on_ehlo(struct sink_session *session, struct bytes name)
{
    struct note *note = session->user;
    copy_field(note->ehlo, sizeof note->ehlo, name);
}

static void on_mail(struct sink_session *session, struct bytes address)
{
    struct note *note = session->user;
    copy_field(note->from, sizeof note->from, address);
    note->rcpts_len = 0;
    note->x_seq[0] = '\0';
    note->in_body = false;
    note->line_len = 0;
}

static void on_rcpt(struct sink_session *session, struct bytes address)
{
    struct note *note = session->user;
    size_t wanted = note->rcpts_len + address.len + 2;
    if (wanted > note->rcpts_capacity) {
        char *rcpts = realloc(note->rcpts, wanted * 2);
        if (rcpts == NULL) {
            tool_fail(EX_OSERR, "no memory for the record");
        }
        note->rcpts = rcpts;
        note->rcpts_capacity = wanted * 2;
    }
    if (note->rcpts_len > 0) {
        note->rcpts[note->rcpts_len++] = ',';
    }
    copy_field(note->rcpts + note->rcpts_len, address.len + 1, address);
    note->rcpts_len += address.len;
}

/* ---- content ----------------------------------------------------------------------------- */

static void begin_body(struct note *note)
{
    note->in_body = true;
    if (note->digest == NULL) {
        note->digest = EVP_MD_CTX_new();
    }
    if (note->digest == NULL || !EVP_DigestInit_ex(note->digest, EVP_sha256(), NULL)) {
        tool_fail(EX_SOFTWARE, "SHA-256 is not to be had");
    }
}

static void take_header_line(struct note *note)
{
    const struct bytes wanted = BYTES("X-Seq:");
    struct bytes line = bytes_of(note->line, note->line_len);
    if (line.len < wanted.len || strncasecmp(line.data, wanted.data, wanted.len) != 0) {
        return;
    }
    size_t from = wanted.len, to = line.len;
    while (from < to && line.data[from] == ' ') {
        from++;
    }
    while (to > from && (line.data[to - 1] == '\r' || line.data[to - 1] == ' ')) {
        to--;
    }
    copy_field(note->x_seq, sizeof note->x_seq, bytes_of(line.data + from, to - from));
}

/* Takes header bytes up to and with the next LF off the front of `piece`. */
static void take_header(struct note *note, struct bytes *piece)
{
    const char *end = memchr(piece->data, '\n', piece->len);
    size_t len = end == NULL ? piece->len : (size_t)(end - piece->data);
    size_t room = sizeof note->line - note->line_len, kept = len < room ? len : room;
    memcpy(note->line + note->line_len, piece->data, kept);
    note->line_len += (uint32_t)kept;
    size_t taken = end == NULL ? len : len + 1;
    *piece = bytes_of(piece->data + taken, piece->len - taken);
    if (end == NULL) {
        return;
    }
    if (note->line_len == 0 || (note->line_len == 1 && note->line[0] == '\r')) {
        begin_body(note);
    } else {
        take_header_line(note);
    }
    note->line_len = 0;
}

static void on_content(struct sink_session *session, struct bytes piece)
{
    struct note *note = session->user;
    while (piece.len > 0 && !note->in_body) {
        take_header(note, &piece);
    }
    if (piece.len > 0) {
        EVP_DigestUpdate(note->digest, piece.data, piece.len);
    }
}

static void digest_text(struct note *note, char out[DIGEST_DIGITS + 1])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (!note->in_body) {
        begin_body(note);
    }
    EVP_DigestFinal_ex(note->digest, digest, NULL);
    for (int i = 0; i < DIGEST_DIGITS / 2; i++) {
        snprintf(out + i * 2, 3, "%02x", digest[i]);
    }
}

static const char *or_dash(const char *text)
{
    return *text == '\0' ? "-" : text;
}

static void on_accepted(struct sink_session *session)
{
    struct note *note = session->user;
    char digest[DIGEST_DIGITS + 1];
    digest_text(note, digest);
    uint64_t time_us = tool_wall_us() + (uint64_t)note->record->latency_ms * 1000;
    fprintf(note->record->file, "%llu\t%s\t%s\t%s\t%.*s\t%llu\t%s\t%s\t%s\t%s\t%llu\n",
            (unsigned long long)time_us, note->source, or_dash(note->ehlo), or_dash(note->from),
            (int)note->rcpts_len, note->rcpts, (unsigned long long)session->message_bytes, digest,
            or_dash(note->x_seq), note->destination, session->encrypted ? "tls" : "-",
            (unsigned long long)note->connected_us);
}

const struct sink_watcher sink_record_watcher = {
    .ehlo = on_ehlo,
    .mail = on_mail,
    .rcpt = on_rcpt,
    .content = on_content,
    .accepted = on_accepted,
};
