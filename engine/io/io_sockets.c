#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/io_kernel.h"

/* All sockets are blocking ones: io_uring waits by itself for those, and gives EAGAIN at once for
 * the others. */
#define SOCKET_FLAGS SOCK_CLOEXEC

union kernel_address {
    struct sockaddr any;
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
    struct sockaddr_un path;
};

socklen_t io_address_to_kernel(const struct address *address, struct sockaddr_in6 *out)
{
    memset(out, 0, sizeof *out);
    if (address->family == ADDRESS_IPV4) {
        struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = htons(address->port)};
        memcpy(&ipv4.sin_addr, address->ip, 4);
        memcpy(out, &ipv4, sizeof ipv4);
        return sizeof ipv4;
    }
    assert(address->family == ADDRESS_IPV6);
    out->sin6_family = AF_INET6;
    out->sin6_port = htons(address->port);
    memcpy(&out->sin6_addr, address->ip, 16);
    return sizeof *out;
}

/* Anything but IP (a Unix socket) gives ADDRESS_NONE. */
static void address_from_kernel(const union kernel_address *from, struct address *out)
{
    *out = (struct address){.family = ADDRESS_NONE};
    if (from->any.sa_family == AF_INET) {
        out->family = ADDRESS_IPV4;
        out->port = ntohs(from->ipv4.sin_port);
        memcpy(out->ip, &from->ipv4.sin_addr, 4);
    } else if (from->any.sa_family == AF_INET6) {
        out->family = ADDRESS_IPV6;
        out->port = ntohs(from->ipv6.sin6_port);
        memcpy(out->ip, &from->ipv6.sin6_addr, 16);
    }
}

static int kernel_family(uint8_t family)
{
    assert(family == ADDRESS_IPV4 || family == ADDRESS_IPV6);
    return family == ADDRESS_IPV4 ? AF_INET : AF_INET6;
}

static int option_on(int fd, int level, int option)
{
    int on = 1;
    return setsockopt(fd, level, option, &on, sizeof on) == 0 ? 0 : -errno;
}

static int close_with(int fd, int result)
{
    close(fd);
    return result;
}

static int listen_options(int fd, const struct address *address)
{
    int result = option_on(fd, SOL_SOCKET, SO_REUSEADDR);
    if (result == 0) {
        result = option_on(fd, SOL_SOCKET, SO_REUSEPORT);
    }
    if (result == 0 && address->family == ADDRESS_IPV6) {
        result = option_on(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    }
    return result;
}

int io_listen(struct io *io, const struct address *address, int backlog)
{
    struct sockaddr_in6 name;
    socklen_t name_len = io_address_to_kernel(address, &name);
    int fd = socket(kernel_family(address->family), SOCK_STREAM | SOCKET_FLAGS, 0);
    if (fd < 0) {
        return -errno;
    }
    int result = listen_options(fd, address);
    if (result != 0) {
        return close_with(fd, result);
    }
    if (bind(fd, (struct sockaddr *)&name, name_len) != 0 || listen(fd, backlog) != 0) {
        return close_with(fd, -errno);
    }
    return fd;
}

int io_listen_unix(struct io *io, const char *path, uint32_t mode)
{
    union kernel_address name = {.path = {.sun_family = AF_UNIX}};
    if (strlen(path) >= sizeof name.path.sun_path) {
        return -ENAMETOOLONG;
    }
    memcpy(name.path.sun_path, path, strlen(path) + 1);
    struct stat old;
    if (lstat(path, &old) == 0) {
        if (!S_ISSOCK(old.st_mode)) { /* somebody's file: not ours to remove */
            return -EADDRINUSE;
        }
        if (unlink(path) != 0 && errno != ENOENT) {
            return -errno;
        }
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCKET_FLAGS, 0);
    if (fd < 0) {
        return -errno;
    }
    /* chmod between bind and listen: nobody can connect before the mode is right. */
    if (bind(fd, &name.any, sizeof name.path) != 0 || chmod(path, (mode_t)mode) != 0 ||
        listen(fd, SOMAXCONN) != 0) {
        return close_with(fd, -errno);
    }
    return fd;
}

static int bind_source(int fd, const struct address *source, bool freebind)
{
    struct address any_port = *source;
    any_port.port = 0;
    struct sockaddr_in6 name;
    socklen_t name_len = io_address_to_kernel(&any_port, &name);
    /* Without it a source address has one range of ports for all destinations together. The
     * option is the IPv4 level's for IPv6 sockets too. */
    int result = option_on(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
    if (result == 0 && freebind) {
        result = source->family == ADDRESS_IPV4 ? option_on(fd, IPPROTO_IP, IP_FREEBIND)
                                                : option_on(fd, IPPROTO_IPV6, IPV6_FREEBIND);
    }
    if (result != 0) {
        return result;
    }
    return bind(fd, (struct sockaddr *)&name, name_len) == 0 ? 0 : -errno;
}

int io_socket_bound(struct io *io, const struct address *source, uint8_t family, bool freebind)
{
    assert(source == NULL || source->family == family);
    int fd = socket(kernel_family(family), SOCK_STREAM | SOCKET_FLAGS, 0);
    if (fd < 0) {
        return -errno;
    }
    int result = option_on(fd, IPPROTO_TCP, TCP_NODELAY);
    if (result == 0 && source != NULL) {
        result = bind_source(fd, source, freebind);
    }
    return result == 0 ? fd : close_with(fd, result);
}

int io_local_address(struct io *io, int fd, struct address *out)
{
    union kernel_address name = {0};
    socklen_t len = sizeof name;
    if (getsockname(fd, &name.any, &len) != 0) {
        return -errno;
    }
    address_from_kernel(&name, out);
    return 0;
}

int io_peer_address(struct io *io, int fd, struct address *out)
{
    union kernel_address name = {0};
    socklen_t len = sizeof name;
    if (getpeername(fd, &name.any, &len) != 0) {
        return -errno;
    }
    address_from_kernel(&name, out);
    return 0;
}

/* Calls `visit` for each address of this host until it says false. */
static void visit_addresses(bool (*visit)(void *owner, const struct address *address), void *owner)
{
    struct ifaddrs *all;
    if (getifaddrs(&all) != 0) {
        return;
    }
    for (struct ifaddrs *one = all; one != NULL; one = one->ifa_next) {
        struct address address;
        if (one->ifa_addr == NULL) {
            continue;
        }
        union kernel_address name = {.any = {.sa_family = one->ifa_addr->sa_family}};
        if (name.any.sa_family == AF_INET) {
            memcpy(&name.ipv4, one->ifa_addr, sizeof name.ipv4);
        } else if (name.any.sa_family == AF_INET6) {
            memcpy(&name.ipv6, one->ifa_addr, sizeof name.ipv6);
        }
        address_from_kernel(&name, &address);
        address.port = 0;
        if (address.family != ADDRESS_NONE && !visit(owner, &address)) {
            break;
        }
    }
    freeifaddrs(all);
}

struct address_search {
    const struct address *wanted;
    bool found;
};

static bool on_compare(void *owner, const struct address *address)
{
    struct address_search *search = owner;
    search->found = address_equal_ip(address, search->wanted);
    return !search->found;
}

/* An ICMP error that comes while connect() has not returned yet, as that of a firewall on this host
 * does, lies in the socket's error queue: the ring finds the socket ready and takes that for a
 * connection (seen with Linux 6.18). TCP would go on sending SYNs. */
int io_connect_confirm(int fd)
{
    struct sockaddr_in6 peer;
    socklen_t len = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0) {
        return 0;
    }
    /* Connected and reset since: what the peer said before is still to be read. */
    struct tcp_info info = {.tcpi_state = TCP_CLOSE};
    len = sizeof info;
    (void)getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len);
    if (info.tcpi_state != TCP_SYN_SENT) {
        return 0;
    }
    int error = 0;
    len = sizeof error;
    (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return error == 0 ? -EHOSTUNREACH : -error;
}

bool io_address_is_local(struct io *io, const struct address *address)
{
    /* All of 127.0.0.0/8 can be bound though only 127.0.0.1 is listed (RFC 1122 3.2.1.3). */
    if (address->family == ADDRESS_IPV4 && address->ip[0] == 127) {
        return true;
    }
    struct address_search search = {.wanted = address};
    visit_addresses(on_compare, &search);
    return search.found;
}

struct address_list {
    struct address *out;
    size_t count, max;
};

static bool on_collect(void *owner, const struct address *address)
{
    struct address_list *list = owner;
    if (list->count < list->max) {
        list->out[list->count++] = *address;
    }
    return list->count < list->max;
}

size_t io_local_addresses(struct io *io, struct address *out, size_t max)
{
    struct address_list list = {.out = out, .max = max};
    visit_addresses(on_collect, &list);
    return list.count;
}

void io_shutdown(struct io *io, int fd)
{
    /* Not through the ring: there a shutdown always goes to a kernel thread, which costs more. A
     * peer that has gone first (ENOTCONN) is no news. */
    shutdown(fd, SHUT_WR);
}

void io_close_abort(struct io *io, int fd)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    io_close(io, fd);
}
