/* The sink's record of what it accepted: one line per message, so that a test can hold it
 * against what another program claims to have sent.
 *
 * Columns, separated by a tab, empty ones "-":
 *   time_us          wall clock when the 250 was due to leave (--latency included)
 *   source           IP address the client came from
 *   ehlo             name it gave
 *   from             MAIL FROM, without brackets; "-" for the null sender
 *   rcpts            accepted recipients, separated by commas
 *   size             bytes of the message, dots unstuffed, without the final dot's line
 *   digest           first 16 hex digits of the SHA-256 of the body (what is behind the first
 *                    empty line)
 *   x_seq            value of the X-Seq header
 *   destination      IP address the client connected to
 *   tls              "tls" or "-"
 *   connected_us     wall clock when the client's connection was taken
 *
 * Written within RECORD_FLUSH_MS of being accepted, if sink_record_flush is called so often.
 * One thread. Memory grows with the longest recipient list seen on a connection. */
#ifndef BENCH_SINK_RECORD_H
#define BENCH_SINK_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/sink_session.h"

#define RECORD_FLUSH_MS 10

struct sink_record;

/* Ends the program with a message if the file cannot be made. An old file is replaced. */
struct sink_record *sink_record_open(const char *path, uint32_t latency_ms);

/* Flushes; false: something could not be written. */
bool sink_record_close(struct sink_record *record);

/* What sessions with a record have as the watcher of their rules. */
extern const struct sink_watcher sink_record_watcher;

/* Begins to keep notes for a session (session->user). False: no memory. */
bool sink_record_attach(struct sink_record *record, struct sink_session *session, int fd);

/* A session without notes is accepted. */
void sink_record_forget(struct sink_session *session);

/* Writes what is buffered. */
void sink_record_flush(struct sink_record *record);

#endif
