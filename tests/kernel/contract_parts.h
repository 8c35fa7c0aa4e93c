/* What the files of the contract's facts share: checks, operations that count their coming home,
 * and pairs of connected sockets.
 *
 * Knows nothing of either implementation. Everything lives on the fact's stack. */
#ifndef TESTS_KERNEL_CONTRACT_PARTS_H
#define TESTS_KERNEL_CONTRACT_PARTS_H

#include <stdio.h>

#include "contract.h"

#define WANT(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                         \
            contract->failures++;                                                                  \
        }                                                                                          \
    } while (0)

#define WANT_INT(seen, wanted)                                                                     \
    do {                                                                                           \
        long long want_seen = (long long)(seen), want_wanted = (long long)(wanted);                \
        if (want_seen != want_wanted) {                                                            \
            printf("%s:%d: %s is %lld, wanted %lld\n", __FILE__, __LINE__, #seen, want_seen,       \
                   want_wanted);                                                                   \
            contract->failures++;                                                                  \
        }                                                                                          \
    } while (0)

/* Turns until the condition holds; one that never does fails after PATIENCE_MS. */
#define PATIENCE_MS 60000
#define RUN_UNTIL(condition)                                                                       \
    do {                                                                                           \
        uint64_t run_end_ms = io_now_ms(contract->io) + PATIENCE_MS;                               \
        while (!(condition) && io_now_ms(contract->io) < run_end_ms) {                             \
            WANT_INT(io_run(contract->io, run_end_ms), 0);                                         \
        }                                                                                          \
        WANT(condition);                                                                           \
    } while (0)

/* Turns for this long, whatever happens. */
void contract_run_for(struct contract *contract, uint64_t ms);

/* An op that remembers its result and how often it came home. */
struct tracked {
    struct io_op op;
    int result, count;
    uint8_t data[CONTRACT_RECV_BUFFER_BYTES]; /* of a receive */
};

void tracked_init(struct tracked *tracked);

/* Turns until it is home; the result. */
int tracked_wait(struct contract *contract, struct tracked *tracked);

/* A listener's side: every accepted descriptor in order. */
#define ACCEPTED_MAX 64
struct accepting {
    struct io_acceptor acceptor;
    int fds[ACCEPTED_MAX];
    int count, errors, stopped;
};

void accepting_start(struct contract *contract, struct accepting *accepting, int listen_fd);
void accepting_stop(struct contract *contract, struct accepting *accepting);

/* A loopback address with a free port on which nothing listens yet. */
int contract_listen(struct contract *contract, const char *ip, struct address *out);
struct address contract_address(const char *ip);

struct pair {
    int near, far; /* near connected, far was accepted */
};

/* At most ACCEPTED_MAX pairs over one listener at `ip`. */
void pairs_open(struct contract *contract, struct pair *pairs, int count, const char *ip);
void pairs_close(struct contract *contract, struct pair *pairs, int count);

/* Connects a new socket to `address` and waits for it: the descriptor. */
int contract_connect(struct contract *contract, const struct address *address);

/* The whole of it, in one piece; the result. */
int contract_send(struct contract *contract, int fd, const void *data, size_t len);

/* One receive; what came is in tracked->data. */
int contract_recv(struct contract *contract, int fd, struct tracked *tracked);

#endif
