/* Events: what became of a recipient, as a value and as bytes in the journal.
 *
 * The journal is the spool's outcome records; this module only knows what lies in one. Pure:
 * encoding is tagged, so that a newer engine's fields pass through an older one unread. */
#ifndef ENGINE_JOURNAL_H
#define ENGINE_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/* Record types of accounting files (interfaces: d b t tq r). */
enum event_type {
    EVENT_DELIVERED = 'd',
    EVENT_BOUNCED = 'b',
    EVENT_TRANSIENT = 't',
    EVENT_TRANSIENT_QUEUE = 'q', /* written "tq" */
    EVENT_RECEIVED = 'r',
};

#define EVENT_BYTES_MAX (16 * 1024) /* encoded; long texts are cut before */

/* One row per text field: tag on disk (never reused), member, name in JSON and CSV or "" where
 * the sink composes it. */
#define EVENT_TEXTS(X)                                                                             \
    X(1, orig, "orig")                                                                             \
    X(2, rcpt, "rcpt")                                                                             \
    X(3, orcpt, "orcpt")                                                                           \
    X(4, dsn_status, "dsnStatus")                                                                  \
    X(5, dsn_diag, "dsnDiag")                                                                      \
    X(6, mx_host, "")                                                                              \
    X(7, bounce_category, "bounceCat")                                                             \
    X(8, source_type, "srcType")                                                                   \
    X(9, source_host, "")                                                                          \
    X(10, source_ip, "")                                                                           \
    X(11, delivery_type, "dlvType")                                                                \
    X(12, delivery_source_ip, "dlvSourceIp")                                                       \
    X(13, delivery_destination_ip, "dlvDestinationIp")                                             \
    X(14, esmtp_available, "dlvEsmtpAvailable")                                                    \
    X(15, vmta, "vmta")                                                                            \
    X(16, vmta_pool, "vmtaPool")                                                                   \
    X(17, job, "jobId")                                                                            \
    X(18, envid, "envId")                                                                          \
    X(19, queue, "queue")                                                                          \
    X(20, stage, "stage")                                                                          \
    X(21, tls, "tls")                                                                              \
    X(22, tls_protocol, "dlvTlsProtocol")                                                          \
    X(23, tls_cipher, "dlvTlsCipher")                                                              \
    X(24, message_id, "msgId")                                                                     \
    X(25, user, "rcvSmtpUser")                                                                     \
    X(26, bounce_class, "bounceClass")                                                             \
    X(27, receive_destination_ip, "rcvDestinationIp")                                              \
    X(28, headers, "") /* policy/acct_header.h */

/* Numbers; 0 is left out of the encoding. */
#define EVENT_NUMBERS(X)                                                                           \
    X(128, logged_wall_ms)                                                                         \
    X(129, queued_wall_ms)                                                                         \
    X(130, delivery_size)                                                                          \
    X(131, smtp_code)                                                                              \
    X(132, attempt)                                                                                \
    X(133, next_attempt_wall_ms)                                                                   \
    X(134, after_dot_lost)                                                                         \
    X(135, first_attempt_wall_ms)                                                                  \
    X(136, unaccounted) /* disable-acct-records: not for accounting files */

struct event {
    enum event_type type;
#define EVENT_TEXT(tag, member, name) struct bytes member;
    EVENT_TEXTS(EVENT_TEXT)
#undef EVENT_TEXT
#define EVENT_NUMBER(tag, member) uint64_t member;
    EVENT_NUMBERS(EVENT_NUMBER)
#undef EVENT_NUMBER
};

/* Appends the encoding; texts over 4 KiB are cut. False: no room (nothing was added). */
bool journal_encode(struct buffer *out, const struct event *event);

/* Texts point into `bytes`. False: not an event of ours. */
bool journal_decode(struct bytes bytes, struct event *out);

#endif
