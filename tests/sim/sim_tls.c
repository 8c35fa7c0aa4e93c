/* tls.h without secrets. The client says hello with the name it wants, the server accepts with the
 * name on its certificate, then both are established; data records follow. */
#include "sim_tls.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "sim_parts.h"

#define NAME_MAX_LEN 255
#define MASK         0xa5 /* so that no command can be read off the wire */

enum record_type { HELLO = 0x16, ACCEPT = 0x17, DATA = 0x18, CLOSE = 0x15, ALERT = 0x14 };
enum state { FRESH, GREETED, OPEN, CLOSED, FAILED };

struct tls_worker {
    uint64_t seed;
};

struct tls_profile {
    bool server;
    char name[NAME_MAX_LEN + 1];
};

/* Bytes that grow at the end and are taken from the front. */
struct pipe {
    uint8_t *bytes;
    size_t len, capacity;
};

struct tls_session {
    enum state state;
    bool server, verify, verified, told;
    char name[NAME_MAX_LEN + 1];
    struct pipe in, out;
    struct pipe sending; /* handed out by tls_output: must not move until it was sent */
    const char *failure;
};

static bool pipe_put(struct pipe *pipe, const void *data, size_t len)
{
    if (pipe->len + len > pipe->capacity) {
        size_t capacity = 2 * (pipe->len + len);
        uint8_t *grown = sim_engine_take(capacity);
        if (grown == NULL) {
            return false;
        }
        if (pipe->len > 0) {
            memcpy(grown, pipe->bytes, pipe->len);
        }
        sim_engine_give(pipe->bytes);
        pipe->bytes = grown;
        pipe->capacity = capacity;
    }
    if (len > 0) {
        memcpy(pipe->bytes + pipe->len, data, len);
    }
    pipe->len += len;
    return true;
}

static void pipe_drop(struct pipe *pipe, size_t len)
{
    assert(len <= pipe->len);
    pipe->len -= len;
    if (pipe->len > 0) {
        memmove(pipe->bytes, pipe->bytes + len, pipe->len);
    }
}

static void copy_name(char out[NAME_MAX_LEN + 1], const void *name, size_t len)
{
    size_t kept = len < NAME_MAX_LEN ? len : NAME_MAX_LEN;
    memcpy(out, name, kept);
    out[kept] = '\0';
}

/* ---- life ------------------------------------------------------------------------------- */

struct tls_worker *tls_worker_create(uint64_t seed, struct error *error)
{
    struct tls_worker *worker = sim_engine_take(sizeof(*worker));
    if (worker == NULL) {
        error_set(error, 71, "out of memory");
        return NULL;
    }
    worker->seed = seed;
    return worker;
}

void tls_worker_destroy(struct tls_worker *worker)
{
    sim_engine_give(worker);
}

struct tls_profile *tls_profile_create(struct tls_worker *worker,
                                       const struct tls_profile_settings *settings,
                                       struct error *error)
{
    (void)worker;
    struct tls_profile *profile = sim_engine_take(sizeof(*profile));
    if (profile == NULL) {
        error_set(error, 71, "out of memory");
        return NULL;
    }
    profile->server = settings->server;
    const char *name = settings->certificate_file == NULL ? "" : settings->certificate_file;
    copy_name(profile->name, name, strlen(name));
    return profile;
}

void tls_profile_destroy(struct tls_profile *profile)
{
    sim_engine_give(profile);
}

struct tls_session *tls_client_create(struct tls_profile *profile,
                                      const struct tls_client_options *options)
{
    assert(!profile->server);
    struct tls_session *session = sim_engine_take(sizeof(*session));
    if (session == NULL) {
        return NULL;
    }
    session->verify = options->verify;
    const char *name = options->server_name == NULL ? "" : options->server_name;
    copy_name(session->name, name, strlen(name));
    return session;
}

struct tls_session *tls_server_create(struct tls_profile *profile)
{
    assert(profile->server);
    struct tls_session *session = sim_engine_take(sizeof(*session));
    if (session == NULL) {
        return NULL;
    }
    session->server = true;
    copy_name(session->name, profile->name, strlen(profile->name));
    return session;
}

void tls_session_destroy(struct tls_session *session)
{
    if (session == NULL) {
        return;
    }
    sim_engine_give(session->in.bytes);
    sim_engine_give(session->out.bytes);
    sim_engine_give(session->sending.bytes);
    sim_engine_give(session);
}

/* ---- records ---------------------------------------------------------------------------- */

static void fail(struct tls_session *session, const char *why)
{
    session->state = FAILED;
    session->failure = why;
}

static void put_record(struct tls_session *session, enum record_type type, const void *data,
                       size_t len)
{
    uint8_t record[SIM_TLS_HEADER + SIM_TLS_RECORD_MAX];
    assert(len <= SIM_TLS_RECORD_MAX);
    record[0] = (uint8_t)type;
    record[1] = (uint8_t)(len >> 8);
    record[2] = (uint8_t)len;
    const uint8_t *from = data;
    for (size_t i = 0; i < len; i++) {
        record[SIM_TLS_HEADER + i] = from[i] ^ MASK;
    }
    if (!pipe_put(&session->out, record, SIM_TLS_HEADER + len)) {
        fail(session, "out of memory");
    }
}

/* The first whole record of the input, unmasked in place once: its payload; NULL: not there yet,
 * or the session has failed. */
static const uint8_t *first_record(struct tls_session *session, size_t *len)
{
    const struct pipe *in = &session->in;
    if (in->len == 0) {
        return NULL;
    }
    uint8_t type = in->bytes[0];
    if (type < ALERT || type > DATA) {
        fail(session, "wrong version number"); /* somebody speaks in the clear */
        return NULL;
    }
    if (in->len < SIM_TLS_HEADER) {
        return NULL;
    }
    *len = (size_t)in->bytes[1] << 8 | in->bytes[2];
    if (*len > SIM_TLS_RECORD_MAX) {
        fail(session, "record overflow");
        return NULL;
    }
    return in->len < SIM_TLS_HEADER + *len ? NULL : in->bytes + SIM_TLS_HEADER;
}

static void unmask(char *out, const uint8_t *from, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        out[i] = (char)(from[i] ^ MASK);
    }
}

static bool name_suits(const struct tls_session *session, const char *seen)
{
    return strcmp(seen, "*") == 0 || strcasecmp(seen, session->name) == 0;
}

static void take_handshake_record(struct tls_session *session, const uint8_t *payload, size_t len)
{
    char name[NAME_MAX_LEN + 1];
    size_t kept = len < NAME_MAX_LEN ? len : NAME_MAX_LEN;
    unmask(name, payload, kept);
    name[kept] = '\0';
    uint8_t type = session->in.bytes[0];
    pipe_drop(&session->in, SIM_TLS_HEADER + len);
    struct sim *sim = sim_current();
    if (type == ALERT) {
        fail(session, "alert: handshake failure");
    } else if (type != (session->server ? HELLO : ACCEPT)) {
        fail(session, "unexpected message");
    } else if (session->server && sim != NULL && sim_chance(sim, sim->odds.tls_fails)) {
        put_record(session, ALERT, NULL, 0);
        fail(session, "no shared cipher");
    } else if (session->server) {
        put_record(session, ACCEPT, session->name, strlen(session->name));
        session->state = OPEN;
    } else {
        session->verified = name_suits(session, name);
        session->state = OPEN;
        if (session->verify && !session->verified) {
            put_record(session, ALERT, NULL, 0);
            fail(session, "certificate verify failed: hostname mismatch");
        }
    }
}

/* ---- tls.h ------------------------------------------------------------------------------ */

enum tls_result tls_receive(struct tls_session *session, const void *data, size_t len)
{
    if (!pipe_put(&session->in, data, len)) {
        fail(session, "out of memory");
        return TLS_FAILED;
    }
    return TLS_OK;
}

enum tls_result tls_handshake(struct tls_session *session)
{
    if (session->state == FRESH) {
        session->state = GREETED;
        if (!session->server) {
            put_record(session, HELLO, session->name, strlen(session->name));
        }
    }
    size_t len = 0;
    const uint8_t *payload = session->state == GREETED ? first_record(session, &len) : NULL;
    if (payload != NULL) {
        take_handshake_record(session, payload, len);
    }
    if (session->state == FAILED) {
        return TLS_FAILED;
    }
    if (session->state == OPEN && !session->told) {
        session->told = true;
        return TLS_ESTABLISHED;
    }
    return TLS_OK;
}

size_t tls_read(struct tls_session *session, void *data, size_t len, enum tls_result *result)
{
    size_t payload_len = 0;
    const uint8_t *payload = session->state == OPEN ? first_record(session, &payload_len) : NULL;
    *result = session->state == FAILED ? TLS_FAILED : TLS_OK;
    *result = session->state == CLOSED ? TLS_CLOSED : *result;
    if (payload == NULL || len == 0) {
        return 0;
    }
    if (session->in.bytes[0] == CLOSE) {
        session->state = CLOSED;
        *result = TLS_CLOSED;
        return 0;
    }
    if (session->in.bytes[0] != DATA) {
        fail(session, session->in.bytes[0] == ALERT ? "alert" : "unexpected message");
        *result = TLS_FAILED;
        return 0;
    }
    size_t count = payload_len < len ? payload_len : len;
    unmask(data, payload, count);
    if (count == payload_len) {
        pipe_drop(&session->in, SIM_TLS_HEADER + count);
        return count;
    }
    /* The rest becomes a record of its own: the header moves up before it. */
    pipe_drop(&session->in, count);
    session->in.bytes[0] = DATA;
    session->in.bytes[1] = (uint8_t)((payload_len - count) >> 8);
    session->in.bytes[2] = (uint8_t)(payload_len - count);
    return count;
}

int tls_write(struct tls_session *session, const void *data, size_t len)
{
    assert(session->state == OPEN || session->state == CLOSED);
    size_t records = len / SIM_TLS_RECORD_MAX + 1;
    if (session->sending.len + session->out.len + len + records * SIM_TLS_HEADER > TLS_OUT_MAX) {
        return -EMSGSIZE;
    }
    const uint8_t *from = data;
    for (size_t left = len; left > 0;) {
        size_t piece = left < SIM_TLS_RECORD_MAX ? left : SIM_TLS_RECORD_MAX;
        put_record(session, DATA, from, piece);
        from += piece;
        left -= piece;
    }
    return 0;
}

void tls_close_notify(struct tls_session *session)
{
    if (session->state == OPEN || session->state == CLOSED) {
        put_record(session, CLOSE, NULL, 0);
    }
}

struct bytes tls_output(struct tls_session *session)
{
    if (session->sending.len == 0) {
        struct pipe empty = session->sending;
        session->sending = session->out;
        session->out = empty;
    }
    return bytes_of((const char *)session->sending.bytes, session->sending.len);
}

void tls_output_sent(struct tls_session *session, size_t n)
{
    pipe_drop(&session->sending, n);
}

void tls_info(const struct tls_session *session, struct tls_info *out)
{
    *out = (struct tls_info){.protocol = "TLSv1.3", .cipher = "SIMULATED"};
    out->verified = session->verified;
}

const char *tls_failure(const struct tls_session *session)
{
    return session->failure == NULL ? "" : session->failure;
}
