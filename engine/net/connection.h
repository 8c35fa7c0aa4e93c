/* One TCP connection to a peer, in the clear or in TLS, over io.
 *
 * Knows no SMTP. The struct is its owner's memory, from connection_open until `closed`, the last
 * callback. No callback runs inside a call of the owner's. While idle it holds no buffer but, in
 * TLS, OpenSSL's own. */
#ifndef NET_CONNECTION_H
#define NET_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/timers.h"
#include "io/io.h"
#include "net/tls.h"

#define CONNECTION_IOV_MAX 16

struct connection;

struct connection_events {
    /* 0, or why not: -ETIMEDOUT, -ECONNREFUSED, -EADDRNOTAVAIL with bind_failed … */
    void (*opened)(struct connection *connection, int result);
    /* Bytes in the clear, valid until return. Not called while reading is paused. */
    void (*received)(struct connection *connection, const uint8_t *data, size_t len);
    /* The one send in flight is with the kernel; its iov and memory are the owner's again. Does not
     * come for a send that failed: `lost` does, when what the peer had said before was read. */
    void (*sent)(struct connection *connection);
    /* After connection_start_tls: 0, or -EPROTO, -ETIMEDOUT, -ECONNRESET (tls_failure says why);
     * then only connection_close may follow. */
    void (*secured)(struct connection *connection, int result);
    /* The peer closed its side (0; in TLS with or without close_notify) or the connection failed
     * (-errno; -ETIMEDOUT: the deadline passed; -EPROTO: TLS, tls_failure says why). Once; the
     * owner then closes. */
    void (*lost)(struct connection *connection, int error);
    void (*closed)(struct connection *connection);
};

struct connection {
    const struct connection_events *events;
    void *owner;
    struct address source, peer; /* as connected */
    bool bind_failed;            /* EADDRNOTAVAIL came from bind: the address is not here */
    struct tls_session *tls;     /* NULL in the clear; destroyed before `closed` */
    /* private: */
    struct io *io;
    struct io_op recv_op, send_op;
    struct timer deadline;
    struct timer turn; /* defers callbacks to the next turn; bounds a gentle close */
    struct iovec *iov; /* TLS: what of the owner's send is not encrypted yet */
    size_t iov_count;
    struct iovec tls_iov;
    uint8_t *held; /* received while reading was paused */
    size_t held_len;
    int fd;
    int result; /* what a deferred callback will say */
    uint8_t state;
    bool reading, sending, eof, lost_told, abort, send_failed, tls_broken;
};

struct connection_target {
    const struct address *source; /* NULL: any */
    struct address peer;          /* with port */
    uint64_t timeout_ms;          /* for the connect */
    bool freebind;
};

/* Fills the struct and starts connecting; errors come by `opened`. */
void connection_open(struct connection *connection, struct io *io,
                     const struct connection_events *events, void *owner,
                     const struct connection_target *target);

/* Takes an accepted descriptor, whose addresses are filled in; reading starts. No `opened`. */
void connection_accept(struct connection *connection, struct io *io,
                       const struct connection_events *events, void *owner, int fd);

/* At most one send at a time (connection_sending), none after `lost`. iov (which may be changed)
 * and memory are lent until `sent` or `closed`; at most CONNECTION_IOV_MAX pieces. In TLS a few
 * records at a time are encrypted, however much is to be sent. */
void connection_send(struct connection *connection, struct iovec *iov, size_t iov_count);
bool connection_sending(const struct connection *connection);

/* Discards what was received and not delivered, then handshakes, as client or server, whichever
 * the session is. Nothing may be in sending. The session is the connection's from here on. */
void connection_start_tls(struct connection *connection, struct tls_session *session,
                          uint64_t timeout_ms);

/* What is under way when reading is paused is kept, at most one receive buffer of the ring. */
void connection_pause_reading(struct connection *connection);
void connection_resume_reading(struct connection *connection);

/* `lost(-ETIMEDOUT)` at due_ms (io_now_ms) unless set again; UINT64_MAX: none. Connecting and the
 * handshake have their own, which this must not touch. */
void connection_set_deadline(struct connection *connection, uint64_t due_ms);

enum connection_close {
    /* Finishes the send in flight, close_notify in TLS, then waits for the peer's FIN, at most
     * CONNECTION_LINGER_MS in all: TIME_WAIT stays at the peer. What comes meanwhile is dropped. */
    CONNECTION_CLOSE_GENTLY,
    CONNECTION_CLOSE_NOW,   /* FIN without waiting */
    CONNECTION_CLOSE_ABORT, /* reset */
};
#define CONNECTION_LINGER_MS 5000
/* Cancels what is in flight, waits until it is home, closes; then `closed`, and before it no other
 * callback. A gentle close may be hastened by a second call; other further calls do nothing. */
void connection_close(struct connection *connection, enum connection_close how);

#endif
