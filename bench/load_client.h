/* One injecting connection: dialogue, TLS, and trying again what was put off.
 *
 * Knows the ring and the timers; what is to be sent and what came of it is in the shared plan.
 * The caller owns the clients (an array, zeroed) and keeps them until all are finished. A client
 * has one message at a time: it tries that one again until it is accepted or given up. One
 * thread. */
#ifndef BENCH_LOAD_CLIENT_H
#define BENCH_LOAD_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/uio.h>

#include "base/timers.h"
#include "bench/histogram.h"
#include "bench/reply.h"
#include "bench/ring.h"
#include "bench/tls.h"
#include "bench/tool.h"

#define LOAD_RCPT_MAX   1000
#define LOAD_VMTAS_MAX  256
#define LOAD_HEADER_MAX 1024 /* bytes of the headers, of which the X-Virtual-MTA is one */

/* Shared by all clients; outlives them. */
struct load_plan {
    struct ring *ring;
    struct timers *timers;
    struct tls_context *tls; /* NULL: plaintext */
    FILE *record;            /* NULL: none; a line per accepted message: time_us, sequence, reply */
    struct tool_address target, source; /* source.len 0: any */
    uint64_t messages, deadline_ms;     /* deadline_ms 0: none */
    uint64_t first_sequence;
    uint32_t rcpts, domains;
    bool pipelined, spread, reconnect;
    const char *vmtas[LOAD_VMTAS_MAX];
    uint32_t vmta_count;
    uint64_t retries_max; /* per message */
    uint32_t retry_ms;
    const char *sender;
    size_t size;     /* of a message, bytes */
    char *body;      /* what stands behind the headers, with the final dot; */
    size_t body_len; /* a shorter header takes more of it, from `body` on */
    uint64_t now_ms; /* monotonic, set by the loop */
    /* What came of it. */
    uint64_t started, accepted, rcpts_accepted, given_up;
    uint64_t replied_421, replied_451, replied_452, lost, unexpected;
    uint32_t open_count, finished_count;
    struct histogram latency_us; /* final dot to 250 */
};

enum load_stage {
    LOAD_GREETING,
    LOAD_EHLO,
    LOAD_STARTTLS,
    LOAD_HANDSHAKE,
    LOAD_MAIL,
    LOAD_RCPT,
    LOAD_DATA,
    LOAD_FINAL,
    LOAD_RSET,
    LOAD_QUIT,
    LOAD_WAITING, /* for the time to try again */
    LOAD_FINISHED
};

struct load_client {
    struct load_plan *plan;
    /* private: */
    struct ring_op connect, recv, send;
    struct timer again;
    struct tls *tls;
    struct reply reply;
    enum load_stage stage;
    bool open, encrypted, hanging_up;
    bool send_waiting;      /* `parts` are to be sent when the send before is home */
    bool has_message;       /* a sequence is assigned and not yet done with */
    bool put_off, given_up; /* of the transaction in progress */
    uint64_t sequence, attempts, dot_ns;
    uint32_t rcpt_at, rcpt_accepted; /* next reply's recipient; accepted in this transaction */
    uint32_t rcpt_left;
    uint8_t *rcpt_states; /* per recipient */
    struct iovec parts[2];
    size_t part_count;
    struct msghdr message;
    char header[LOAD_HEADER_MAX];
    char *text; /* commands on their way */
    size_t text_capacity;
    char *encrypted_text;
    size_t encrypted_capacity;
};

/* Sets up and connects. */
void load_client_start(struct load_client *client, struct load_plan *plan);
void load_client_deinit(struct load_client *client);

#endif
