/* A name server on a thread, whose answers follow from the first label of the name asked for; see
 * the table in answer_for. UDP and TCP on one port of 127.0.0.1. Questions are counted. */
#ifndef TESTS_UNIT_DNS_SERVER_H
#define TESTS_UNIT_DNS_SERVER_H

#include <arpa/inet.h>
#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/address.h"
#include "dns_message.h"

struct dns_server {
    pthread_t thread;
    int udp_fd, tcp_fd, stop_fds[2];
    struct address address;
    atomic_uint udp_count, tcp_count; /* questions */
    atomic_bool refuses;              /* answers REFUSED to everything */
    struct dns_message question, answer;
};

struct asked {
    unsigned id, type;
    char name[256], label[64];
};

static inline bool read_question(const struct dns_message *m, struct asked *out)
{
    if (m->len < 12) {
        return false;
    }
    out->id = (unsigned)(m->bytes[0] << 8 | m->bytes[1]);
    size_t at = 12, used = 0;
    while (at < m->len && m->bytes[at] != 0) {
        size_t len = m->bytes[at++];
        for (size_t i = 0; i < len && used < sizeof out->name - 2; i++) {
            out->name[used++] = (char)m->bytes[at++];
        }
        out->name[used++] = '.';
    }
    out->name[used == 0 ? 0 : used - 1] = '\0';
    out->type = (unsigned)(m->bytes[at + 1] << 8 | m->bytes[at + 2]);
    size_t label = strcspn(out->name, ".");
    label = label < sizeof out->label ? label : sizeof out->label - 1;
    memcpy(out->label, out->name, label);
    out->label[label] = '\0';
    return true;
}

static inline bool is_label(const struct asked *asked, const char *label)
{
    return strcmp(asked->label, label) == 0;
}

/* What every name has that is not told otherwise: two MX, one address of each family, two texts,
 * and a PTR to itself. */
static inline void put_records(struct dns_message *m, const struct asked *asked, uint32_t ttl_s)
{
    if (asked->type == 15) {
        message_mx(m, ttl_s, 20, "mx2.example.com");
        message_mx(m, ttl_s, 10, "mx1.example.com");
    } else if (asked->type == 12) {
        message_ptr(m, ttl_s, asked->name);
    } else if (asked->type == 16) {
        message_txt(m, ttl_s, "v=spf1 ", "-all");
        message_txt(m, ttl_s, "other", "");
    } else if (asked->type == 1) {
        message_a(m, NULL, ttl_s, 0xc0000201);
    } else {
        message_aaaa(m, ttl_s, 1);
    }
}

/* False: no answer. */
static inline bool answer_for(struct dns_server *server, const struct asked *asked, bool tcp)
{
    struct dns_message *m = &server->answer;
    unsigned rcode = is_label(asked, "nx") || is_label(asked, "nxlong") ? 3
                     : is_label(asked, "servfail")                      ? 2
                     : atomic_load(&server->refuses)                    ? 5
                                                                        : 0;
    message_begin(m, asked->id, rcode, asked->name, asked->type);
    bool empty = rcode != 0 || is_label(asked, "nodata") || is_label(asked, "nosoa") ||
                 (is_label(asked, "v4") && asked->type == 28) ||
                 (is_label(asked, "halfdead") && asked->type == 28);
    if (is_label(asked, "silent") || (is_label(asked, "halfdead") && asked->type == 1)) {
        return false;
    }
    if (is_label(asked, "loop")) {
        message_cname(m, NULL, 60, "other.example.com");
        message_cname(m, "other.example.com", 60, asked->name);
    } else if (is_label(asked, "alias")) {
        message_cname(m, NULL, 60, "real.example.com");
        message_a(m, "real.example.com", 60, 0xc0000203);
    } else if (is_label(asked, "dangling")) {
        message_cname(m, NULL, 60, "real.example.com");
    } else if (is_label(asked, "many")) {
        for (uint32_t i = 0; i < 25; i++) {
            asked->type == 1 ? message_a(m, NULL, 60, i) : message_aaaa(m, 60, i);
        }
    } else if (empty && !is_label(asked, "nosoa")) {
        message_soa(m, 3600, is_label(asked, "nxlong") ? 86400 : 1);
    } else if (!empty) {
        uint32_t ttl_s = is_label(asked, "ttl0")      ? 0
                         : is_label(asked, "ttl1")    ? 1
                         : is_label(asked, "forever") ? INT32_MAX
                                                      : 300;
        put_records(m, asked, ttl_s);
    }
    if (is_label(asked, "broken")) {
        m->len -= 3;
    }
    if (is_label(asked, "large") && !tcp) {
        message_begin(m, asked->id, 0, asked->name, asked->type);
        m->bytes[2] |= 0x02; /* TC */
    }
    return true;
}

static inline void serve_udp(struct dns_server *server)
{
    struct sockaddr_in peer;
    socklen_t peer_len = sizeof peer;
    ssize_t n = recvfrom(server->udp_fd, server->question.bytes, sizeof server->question.bytes, 0,
                         (struct sockaddr *)&peer, &peer_len);
    server->question.len = n < 0 ? 0 : (size_t)n;
    struct asked asked = {0};
    if (!read_question(&server->question, &asked)) {
        return;
    }
    atomic_fetch_add(&server->udp_count, 1);
    struct dns_message *m = &server->answer;
    if (is_label(&asked, "wrongid")) { /* a forger is quicker than we */
        message_begin(m, asked.id ^ 1, 0, asked.name, asked.type);
        message_mx(m, 60, 1, "evil.example.com");
        (void)!sendto(server->udp_fd, m->bytes, m->len, 0, (struct sockaddr *)&peer, peer_len);
        message_begin(m, asked.id, 0, "another.name", asked.type);
        message_mx(m, 60, 1, "evil.example.com");
        (void)!sendto(server->udp_fd, m->bytes, m->len, 0, (struct sockaddr *)&peer, peer_len);
    }
    if (answer_for(server, &asked, false)) {
        (void)!sendto(server->udp_fd, m->bytes, m->len, 0, (struct sockaddr *)&peer, peer_len);
    }
}

static inline bool read_all(int fd, uint8_t *out, size_t len)
{
    while (len > 0) {
        ssize_t n = read(fd, out, len);
        if (n <= 0) {
            return false;
        }
        out += n;
        len -= (size_t)n;
    }
    return true;
}

/* Questions of one connection until the client closes it. */
static inline void serve_tcp(struct dns_server *server)
{
    int fd = accept(server->tcp_fd, NULL, NULL);
    uint8_t len[2];
    while (fd >= 0 && read_all(fd, len, 2)) {
        server->question.len = (size_t)(len[0] << 8 | len[1]);
        struct asked asked = {0};
        if (!read_all(fd, server->question.bytes, server->question.len) ||
            !read_question(&server->question, &asked)) {
            break;
        }
        atomic_fetch_add(&server->tcp_count, 1);
        if (answer_for(server, &asked, true)) {
            const uint8_t head[2] = {(uint8_t)(server->answer.len >> 8),
                                     (uint8_t)server->answer.len};
            (void)!write(fd, head, 2);
            (void)!write(fd, server->answer.bytes, server->answer.len);
        }
    }
    close(fd);
}

static void *serve(void *argument)
{
    struct dns_server *server = argument;
    struct pollfd fds[3] = {{.fd = server->udp_fd, .events = POLLIN},
                            {.fd = server->tcp_fd, .events = POLLIN},
                            {.fd = server->stop_fds[0], .events = POLLIN}};
    for (;;) {
        poll(fds, 3, -1);
        if (fds[2].revents != 0) {
            return NULL;
        }
        if ((fds[0].revents & POLLIN) != 0) {
            serve_udp(server);
        }
        if ((fds[1].revents & POLLIN) != 0) {
            serve_tcp(server);
        }
    }
}

static inline struct dns_server *server_start(void)
{
    struct dns_server *server = calloc(1, sizeof *server);
    assert(server != NULL);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof name;
    int failed = 0;
    server->tcp_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    failed |= bind(server->tcp_fd, (struct sockaddr *)&name, sizeof name);
    failed |= listen(server->tcp_fd, 5);
    failed |= getsockname(server->tcp_fd, (struct sockaddr *)&name, &len);
    server->udp_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    failed |= bind(server->udp_fd, (struct sockaddr *)&name, sizeof name);
    failed |= pipe(server->stop_fds);
    assert(failed == 0);
    server->address = (struct address){
        .family = ADDRESS_IPV4, .port = ntohs(name.sin_port), .ip = {127, 0, 0, 1}};
    failed = pthread_create(&server->thread, NULL, serve, server);
    assert(failed == 0);
    return server;
}

static inline void server_stop(struct dns_server *server)
{
    (void)!write(server->stop_fds[1], "x", 1);
    pthread_join(server->thread, NULL);
    close(server->udp_fd);
    close(server->tcp_fd);
    close(server->stop_fds[0]);
    close(server->stop_fds[1]);
    free(server);
}

#endif
