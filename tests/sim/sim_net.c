/* Making and ending connections: hosts, listeners, the handshake with what may become of it,
 * ports, resets. */
#include "sim_net.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "sim_parts.h"
#include "sim_pipe.h"

#define LATENCY_US_MIN   UINT64_C(20)
#define LATENCY_US_MAX   (150 * SIM_MS) /* one way */
#define LOCAL_LATENCY_US 10
#define CONNECT_GIVES_UP (127 * SIM_SECOND) /* tcp(7), tcp_syn_retries = 6 */
#define SYN_RETRIES      6
#define PORTS_LINUX      28232 /* ip_local_port_range 32768–60999 */
#define PORT_FIRST       32768

struct sim_net *sim_net_create(struct sim *sim, const struct sim_options *options)
{
    struct sim_net *net = sim_take(sizeof(*net));
    net->sim = sim;
    list_init(&net->listeners);
    list_init(&net->connections);
    net->ports_per_destination =
        options->ports_per_destination == 0 ? PORTS_LINUX : options->ports_per_destination;
    assert(net->ports_per_destination <= PORTS_LINUX);
    sim->net = net;
    sim_address_add(sim, &(struct address){.family = ADDRESS_IPV4, .ip = {127, 0, 0, 1}});
    sim_address_add(sim, &(struct address){.family = ADDRESS_IPV6, .ip = {[15] = 1}});
    for (size_t i = 0; i < options->address_count; i++) {
        sim_address_add(sim, &options->addresses[i]);
    }
    return net;
}

static void connection_free(struct sim_connection *connection)
{
    struct sim *sim = connection->sim;
    sim_event_cancel(sim, &connection->handshake);
    sim_event_cancel(sim, &connection->result);
    sim_event_cancel(sim, &connection->timeout);
    for (int i = 0; i < 2; i++) {
        sim_event_cancel(sim, &connection->resets[i]);
        sim_event_cancel(sim, &connection->pipes[i].arrival);
        sim_event_cancel(sim, &connection->pipes[i].window);
        sim_give(connection->pipes[i].ring);
    }
    list_remove(&connection->ends[1].backlog);
    list_remove(&connection->node);
    sim->net->connection_count--;
    sim_give(connection);
}

void sim_net_destroy(struct sim_net *net)
{
    while (!list_empty(&net->connections)) {
        connection_free(CONTAINER_OF(list_first(&net->connections), struct sim_connection, node));
    }
    sim_give(net->addresses);
    sim_give(net->hosts);
    sim_give(net);
}

/* ---- hosts and addresses ---------------------------------------------------------------- */

void sim_host_set(struct sim *sim, const struct address *address, enum sim_host_state state)
{
    struct sim_net *net = sim->net;
    for (size_t i = 0; i < net->host_count; i++) {
        if (address_equal_ip(&net->hosts[i].address, address)) {
            net->hosts[i].state = state;
            return;
        }
    }
    if (net->host_count == net->host_capacity) {
        size_t capacity = net->host_capacity * 2 + 8;
        net->hosts = sim_grow(net->hosts, net->host_capacity * sizeof(*net->hosts),
                              capacity * sizeof(*net->hosts));
        net->host_capacity = capacity;
    }
    net->hosts[net->host_count++] = (struct sim_host){.address = *address, .state = state};
}

static enum sim_host_state host_state(const struct sim_net *net, const struct address *address)
{
    for (size_t i = 0; i < net->host_count; i++) {
        if (address_equal_ip(&net->hosts[i].address, address)) {
            return net->hosts[i].state;
        }
    }
    return SIM_HOST_UP;
}

bool net_address_is_local(const struct sim_net *net, const struct address *address)
{
    if (address_is_loopback(address)) {
        return true;
    }
    for (size_t i = 0; i < net->address_count; i++) {
        if (address_equal_ip(&net->addresses[i], address)) {
            return true;
        }
    }
    return false;
}

void sim_address_add(struct sim *sim, const struct address *address)
{
    struct sim_net *net = sim->net;
    if (net->address_count == net->address_capacity) {
        size_t capacity = net->address_capacity * 2 + 8;
        net->addresses = sim_grow(net->addresses, net->address_capacity * sizeof(*address),
                                  capacity * sizeof(*address));
        net->address_capacity = capacity;
    }
    net->addresses[net->address_count] = *address;
    net->addresses[net->address_count++].port = 0;
}

void sim_address_remove(struct sim *sim, const struct address *address)
{
    struct sim_net *net = sim->net;
    for (size_t i = 0; i < net->address_count; i++) {
        if (address_equal_ip(&net->addresses[i], address)) {
            net->addresses[i] = net->addresses[--net->address_count];
            return;
        }
    }
}

size_t net_addresses(const struct sim_net *net, struct address *out, size_t max)
{
    size_t count = net->address_count < max ? net->address_count : max;
    memcpy(out, net->addresses, count * sizeof(*out));
    return count;
}

size_t sim_connections(const struct sim *sim)
{
    return sim->net->connection_count;
}

uint32_t sim_count_connections(const struct sim *sim,
                               bool (*counts)(void *owner, const struct address *from,
                                              const struct address *to),
                               void *owner)
{
    const struct list *all = &sim->net->connections;
    uint32_t count = 0;
    for (struct list_node *n = list_first(all); n != NULL; n = list_next(all, n)) {
        const struct sim_connection *one = CONTAINER_OF(n, struct sim_connection, node);
        const struct sim_socket *near = &one->ends[0];
        bool alive = !near->closed && (near->open || near->connecting);
        count += alive && counts(owner, &near->local, &one->to);
    }
    return count;
}

/* ---- listening -------------------------------------------------------------------------- */

static bool is_any(const struct address *address)
{
    static const uint8_t zero[16];
    return memcmp(address->ip, zero, sizeof(zero)) == 0;
}

static bool listens_at(const struct sim_listener *listener, const struct address *to,
                       const char *path)
{
    if (path != NULL || listener->path != NULL) {
        return path != NULL && listener->path != NULL && strcmp(path, listener->path) == 0;
    }
    if (listener->address.family != to->family || listener->address.port != to->port) {
        return false;
    }
    if (address_equal_ip(&listener->address, to)) {
        return true;
    }
    /* The unspecified address takes what comes for any address of its own host. */
    return is_any(&listener->address) && listener->of_engine &&
           net_address_is_local(listener->net, to);
}

int net_listen(struct sim_net *net, struct sim_listener *listener)
{
    const struct address *address = &listener->address;
    if (listener->of_engine && listener->path == NULL && !is_any(address) &&
        !net_address_is_local(net, address)) {
        return -EADDRNOTAVAIL;
    }
    for (struct list_node *n = list_first(&net->listeners); n != NULL;
         n = list_next(&net->listeners, n)) {
        struct sim_listener *other = CONTAINER_OF(n, struct sim_listener, node);
        if (listens_at(other, address, listener->path) && other->of_engine != listener->of_engine) {
            return -EADDRINUSE;
        }
    }
    listener->net = net;
    list_init(&listener->backlog);
    listener->backlog_len = 0;
    list_push_back(&net->listeners, &listener->node);
    return 0;
}

void net_unlisten(struct sim_listener *listener)
{
    list_remove(&listener->node);
    for (;;) {
        struct sim_socket *waiting = net_accept(listener);
        if (waiting == NULL) {
            return;
        }
        net_close(waiting, true);
    }
}

struct sim_socket *net_accept(struct sim_listener *listener)
{
    if (list_empty(&listener->backlog)) {
        return NULL;
    }
    listener->backlog_len--;
    return CONTAINER_OF(list_pop_front(&listener->backlog), struct sim_socket, backlog);
}

/* Several listen at one address with SO_REUSEPORT: the kernel hashes, the seed draws. A path leads
 * to the last that took it. */
static struct sim_listener *find_listener(struct sim_net *net, const struct address *to,
                                          const char *path)
{
    struct sim_listener *found = NULL;
    uint64_t count = 0;
    for (struct list_node *n = list_first(&net->listeners); n != NULL;
         n = list_next(&net->listeners, n)) {
        struct sim_listener *listener = CONTAINER_OF(n, struct sim_listener, node);
        if (listens_at(listener, to, path) &&
            (path != NULL || sim_between(net->sim, 0, count++) == 0)) {
            found = listener;
        }
    }
    return found;
}

/* ---- the handshake ---------------------------------------------------------------------- */

static void on_result(struct sim_event *event)
{
    struct sim_connection *connection = CONTAINER_OF(event, struct sim_connection, result);
    struct sim_socket *socket = &connection->ends[0];
    socket->connecting = false;
    socket->open = connection->outcome == 0;
    socket->calls->connected(socket, connection->outcome);
    if (connection->outcome == 0 && net_readable(socket)) {
        socket->calls->readable(socket); /* the greeting was as quick as the handshake */
    }
}

static void conclude(struct sim_connection *connection, int outcome, uint64_t delay_us)
{
    connection->outcome = outcome;
    sim_event_in(connection->sim, &connection->result, delay_us);
}

static void establish(struct sim_connection *connection, struct sim_listener *listener)
{
    struct sim_socket *near = &connection->ends[0], *far = &connection->ends[1];
    connection->accepted = true;
    far->connection = connection;
    far->local = connection->to;
    far->remote = near->local;
    far->in = &connection->pipes[0];
    far->out = &connection->pipes[1];
    far->open = true;
    conclude(connection, 0, connection->latency_us);
    /* Nothing that the far end sends is seen before the near one knows it is connected. */
    connection->pipes[1].last_due_us = connection->sim->now_us + connection->latency_us;
    list_push_back(&listener->backlog, &far->backlog);
    listener->backlog_len++;
    listener->incoming(listener);
}

static void on_handshake(struct sim_event *event)
{
    struct sim_connection *connection = CONTAINER_OF(event, struct sim_connection, handshake);
    struct sim *sim = connection->sim;
    struct sim_listener *listener = find_listener(sim->net, &connection->to, connection->path);
    if (listener == NULL) {
        conclude(connection, -ECONNREFUSED, connection->latency_us);
        return;
    }
    bool lost = sim_chance(sim, sim->odds.syn_lost) && !connection->local;
    if (listener->backlog_len < listener->backlog_max && !lost) {
        establish(connection, listener);
        return;
    }
    if (connection->local) { /* unix(7) */
        conclude(connection, -EAGAIN, LOCAL_LATENCY_US);
        return;
    }
    if (connection->syn_count == SYN_RETRIES) {
        conclude(connection, -ETIMEDOUT, SIM_SECOND << SYN_RETRIES);
        return;
    }
    sim_event_in(sim, event, SIM_SECOND << connection->syn_count++);
}

/* The distance is a property of the two addresses and the seed, not of the moment. */
static uint64_t latency_us(struct sim *sim, const struct address *a, const struct address *b)
{
    struct rng rng;
    rng_init(&rng, sim->seed ^ address_hash(a) ^ (address_hash(b) * 3));
    if (address_is_loopback(b)) {
        return LATENCY_US_MIN + rng_below(&rng, LATENCY_US_MIN);
    }
    uint64_t octaves = 0;
    while ((LATENCY_US_MIN << octaves) < LATENCY_US_MAX) {
        octaves++;
    }
    uint64_t top = LATENCY_US_MIN << (1 + rng_below(&rng, octaves));
    return LATENCY_US_MIN + rng_below(&rng, top);
}

/* True and the fate is sealed. */
static bool bad_luck(struct sim_connection *connection)
{
    struct sim *sim = connection->sim;
    enum sim_host_state state = host_state(sim->net, &connection->to);
    uint64_t there = 2 * connection->latency_us;
    if (state == SIM_HOST_DARK || sim_chance(sim, sim->odds.connect_blackhole)) {
        conclude(connection, -ETIMEDOUT, CONNECT_GIVES_UP);
        return true;
    }
    if (state == SIM_HOST_UNREACHABLE || sim_chance(sim, sim->odds.connect_unreachable)) {
        conclude(connection, sim_chance(sim, 500000) ? -EHOSTUNREACH : -ENETUNREACH, there);
        return true;
    }
    if (sim_chance(sim, sim->odds.connect_refused)) {
        conclude(connection, -ECONNREFUSED, there);
        return true;
    }
    return false;
}

/* Linux: ports are used up per (source address, destination address and port). */
static bool port_taken(struct sim_net *net, const struct address *local, const struct address *to,
                       uint32_t *used)
{
    bool taken = false;
    for (struct list_node *n = list_first(&net->connections); n != NULL;
         n = list_next(&net->connections, n)) {
        struct sim_connection *other = CONTAINER_OF(n, struct sim_connection, node);
        const struct address *source = &other->ends[0].local;
        if (source->port == 0 || other->to.port != to->port || !address_equal_ip(&other->to, to) ||
            !address_equal_ip(source, local)) {
            continue;
        }
        (*used)++;
        taken = taken || source->port == local->port;
    }
    return taken;
}

static int choose_source(struct sim_net *net, struct sim_socket *socket, const struct address *to)
{
    struct address local = socket->local;
    if (local.family == ADDRESS_NONE) {
        local.family = to->family;
        if (address_is_loopback(to)) {
            local = *to;
        }
        for (size_t i = 0; i < net->address_count && !address_is_loopback(to); i++) {
            if (net->addresses[i].family == to->family &&
                !address_is_loopback(&net->addresses[i])) {
                local = net->addresses[i];
                break;
            }
        }
    }
    for (uint32_t tries = 0; tries <= net->ports_per_destination; tries++) {
        uint32_t used = 0;
        local.port = (uint16_t)(PORT_FIRST + net->next_port);
        net->next_port = (uint16_t)((net->next_port + 1) % net->ports_per_destination);
        bool taken = port_taken(net, &local, to, &used);
        if (used >= net->ports_per_destination) {
            return -EADDRNOTAVAIL;
        }
        if (!taken) {
            socket->local = local;
            return 0;
        }
    }
    return -EADDRNOTAVAIL;
}

struct sim_socket *net_socket(struct sim_net *net)
{
    struct sim_connection *connection = sim_take(sizeof(*connection));
    connection->sim = net->sim;
    connection->id = ++net->sim->connections_made;
    connection->ends[0].connection = connection;
    list_push_back(&net->connections, &connection->node);
    net->connection_count++;
    return &connection->ends[0];
}

int net_connect(struct sim_socket *socket, const struct address *to, const char *path)
{
    struct sim_connection *connection = socket->connection;
    struct sim *sim = connection->sim;
    assert(!socket->open);
    assert(!socket->connecting);
    connection->local = path != NULL;
    connection->path = path;
    connection->latency_us = LOCAL_LATENCY_US;
    if (path == NULL) {
        connection->to = *to;
        if (socket->local.port == 0) {
            int result = choose_source(sim->net, socket, to);
            if (result != 0) {
                return result;
            }
        }
        connection->latency_us = latency_us(sim, &socket->local, to);
    }
    socket->remote = connection->to;
    socket->connecting = true;
    socket->out = &connection->pipes[0];
    socket->in = &connection->pipes[1];
    pipe_init(&connection->pipes[0], connection, 0);
    pipe_init(&connection->pipes[1], connection, 1);
    sim_event_init(&connection->handshake, on_handshake);
    sim_event_init(&connection->result, on_result);
    if (connection->local || !bad_luck(connection)) {
        sim_event_in(sim, &connection->handshake, connection->latency_us);
    }
    return 0;
}

/* ---- the end ---------------------------------------------------------------------------- */

static void on_reset(struct sim_event *event, int to)
{
    struct sim_connection *connection = CONTAINER_OF(event - to, struct sim_connection, resets[0]);
    struct sim_socket *end = &connection->ends[to];
    if (connection->dark || end->closed || end->broken || !end->open) {
        return;
    }
    end->broken = true;
    end->error = -ECONNRESET;
    sim_event_cancel(connection->sim, &end->in->arrival); /* what is in flight is dropped */
    if (end->calls == NULL) {
        return;
    }
    end->calls->readable(end);
    end->calls->writable(end);
}

static void on_reset_near(struct sim_event *event)
{
    on_reset(event, 0);
}

static void on_reset_far(struct sim_event *event)
{
    on_reset(event, 1);
}

void connection_reset(struct sim_connection *connection, int to)
{
    struct sim_event *reset = &connection->resets[to];
    struct sim_socket *end = &connection->ends[to];
    if (end->closed || reset->queued || (to == 1 && !connection->accepted)) {
        return;
    }
    sim_event_init(reset, to == 0 ? on_reset_near : on_reset_far);
    sim_event_in(connection->sim, reset,
                 connection->latency_us + (end->connecting ? connection->latency_us : 0) + 1);
}

void connection_reap(struct sim_connection *connection)
{
    bool near = connection->ends[0].closed;
    bool far = !connection->accepted || connection->ends[1].closed;
    if (near && far) {
        connection_free(connection);
    }
}

void net_close(struct sim_socket *socket, bool abort)
{
    struct sim_connection *connection = socket->connection;
    int index = socket_index(socket, connection);
    assert(!socket->closed);
    if (socket->connecting) {
        sim_event_cancel(connection->sim, &connection->handshake);
        sim_event_cancel(connection->sim, &connection->result);
        abort = true;
    }
    bool unread = socket->in != NULL && socket->in->arrived > 0;
    if (abort || unread) { /* RFC 2525 2.17: unread data lost is told by a reset */
        sim_event_cancel(connection->sim, &connection->pipes[index].arrival);
        connection_reset(connection, 1 - index);
    } else {
        net_shutdown(socket);
    }
    socket->closed = true;
    socket->calls = NULL;
    connection_reap(connection);
}
