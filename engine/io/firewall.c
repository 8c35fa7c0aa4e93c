/* A raw socket tells what TCP keeps to itself: its packet passes the same output rules, and the
 * send fails with EPERM where they drop it. The packet is a SYN, because rules look at flags, with
 * a checksum of zero, so that a peer that gets it does not answer. */
#include "io/firewall.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/io_kernel.h"

#define SOURCE_PORT 49152 /* the first of those that are nobody's (RFC 6335 6) */

static bool send_is_denied(int fd, const struct address *source, const struct address *peer)
{
    struct sockaddr_in6 name;
    struct address bound = source == NULL ? (struct address){.family = ADDRESS_NONE} : *source;
    bound.port = 0;
    if (source != NULL) {
        socklen_t len = io_address_to_kernel(&bound, &name);
        if (bind(fd, (struct sockaddr *)&name, len) != 0) {
            return false;
        }
    }
    struct address to = *peer;
    to.port = 0; /* of a raw IPv6 socket it would be taken for a protocol */
    socklen_t len = io_address_to_kernel(&to, &name);
    struct tcphdr syn = {.source = htons(SOURCE_PORT),
                         .dest = htons(peer->port),
                         .doff = sizeof syn / 4,
                         .syn = 1,
                         .window = htons(1024)};
    ssize_t sent = sendto(fd, &syn, sizeof syn, MSG_DONTWAIT, (const struct sockaddr *)&name, len);
    return sent < 0 && (errno == EPERM || errno == EACCES);
}

bool firewall_denies(const struct address *source, const struct address *peer)
{
    int family = peer->family == ADDRESS_IPV4 ? AF_INET : AF_INET6;
    int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0) {
        return false;
    }
    bool denied = send_is_denied(fd, source, peer);
    close(fd);
    return denied;
}
