#include "listening.h"

#include <stdbool.h>
#include <stddef.h>

#include "base/address.h"
#include "base/bytes.h"
#include "base/logger.h"
#include "io/io.h"
#include "listener.h"
#include "policy/config.h"

/* One address that a line asks for. */
struct wanted {
    struct address address;
    const struct config_listener *from;
    bool optional; /* IPv6, where a line means every address */
};

struct wanted_list {
    struct wanted items[LISTENING_MAX];
    uint32_t count;
};

/* ---- what the configuration asks for ---- */

/* Room is left for max of them. */
static int expand_local(struct io *io, const struct address_range *range, uint16_t port,
                        struct listening_address *out, uint32_t max)
{
    struct address local[LISTENING_MAX];
    size_t count = io_local_addresses(io, local, LISTENING_MAX);
    uint32_t used = 0;
    for (size_t i = 0; i < count; i++) {
        local[i].port = port;
        if (!address_range_holds(range, &local[i])) {
            continue;
        }
        if (used == max) {
            return -1;
        }
        out[used++] = (struct listening_address){.address = local[i]};
    }
    return (int)used;
}

int listening_expand(struct io *io, const struct address_range *range, uint16_t port,
                     struct listening_address *out, uint32_t max, struct error *error)
{
    uint8_t whole = range->base.family == ADDRESS_IPV4 ? 32 : 128;
    int count = -1;
    if (range->prefix > 0 && range->prefix < whole) {
        count = expand_local(io, range, port, out, max);
    } else if (range->prefix == whole && max >= 1) {
        out[0] = (struct listening_address){.address = range->base};
        out[0].address.port = port;
        count = 1;
    } else if (range->prefix == 0 && max >= 2) {
        out[0] = (struct listening_address){.address = {.family = ADDRESS_IPV4, .port = port}};
        out[1] = (struct listening_address){.address = {.family = ADDRESS_IPV6, .port = port},
                                            .optional = true};
        count = 2;
    }
    return count >= 0 ? count
                      : error_set(error, 78, "more than %d listening addresses", LISTENING_MAX);
}

static int want_range(struct io *io, struct wanted_list *list, const struct config_listener *from,
                      struct error *error)
{
    struct listening_address addresses[LISTENING_MAX];
    int count = listening_expand(io, &from->range, from->port, addresses,
                                 LISTENING_MAX - list->count, error);
    for (int i = 0; i < count; i++) {
        list->items[list->count++] = (struct wanted){
            .address = addresses[i].address, .from = from, .optional = addresses[i].optional};
    }
    return count < 0 ? -1 : 0;
}

static int want_all(struct io *io, struct wanted_list *list, const struct config *config,
                    struct error *error)
{
    size_t count;
    const struct config_listener *listeners = config_listeners(config, &count);
    list->count = 0;
    for (size_t i = 0; i < count; i++) {
        if (want_range(io, list, &listeners[i], error) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- opening and closing ---- */

static const char *text_or_null(struct bytes text)
{
    return text.len == 0 ? NULL : text.data;
}

static int open_one(struct listening *listening, const struct wanted *wanted, struct error *error)
{
    struct listener_options options = {
        .io = listening->io,
        .sessions = listening->sessions,
        .address = wanted->address,
        .host_name = text_or_null(wanted->from->settings.host_name),
        .source_name = text_or_null(wanted->from->settings.source),
    };
    struct listener *listener = listener_open(&options, error);
    if (listener == NULL && wanted->optional) {
        LOG_INFO("no IPv6 on this host: %s", error->text);
        *error = (struct error){0};
        return 0;
    }
    if (listener == NULL) {
        return -1;
    }
    listening->listeners[listening->count++] = listener;
    return 0;
}

int listening_open(struct listening *listening, struct io *io, struct sessions *sessions,
                   const struct config *config, struct error *error)
{
    *listening = (struct listening){.io = io, .sessions = sessions};
    struct wanted_list list;
    if (want_all(io, &list, config, error) < 0) {
        return -1;
    }
    for (uint32_t i = 0; i < list.count; i++) {
        if (open_one(listening, &list.items[i], error) < 0) {
            return -1;
        }
    }
    return 0;
}

uint32_t listening_close(struct listening *listening, void (*closed)(void *owner), void *owner)
{
    uint32_t count = listening->count;
    for (uint32_t i = 0; i < count; i++) {
        listener_close(listening->listeners[i], closed, owner);
    }
    listening->count = 0;
    return count;
}

/* ---- reload ---- */

static bool is_same(const struct address *a, const struct address *b)
{
    return address_equal_ip(a, b) && a->port == b->port;
}

static const struct wanted *find_wanted(const struct wanted_list *list,
                                        const struct address *address)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (is_same(&list->items[i].address, address)) {
            return &list->items[i];
        }
    }
    return NULL;
}

static bool is_open(const struct listening *listening, const struct address *address)
{
    for (uint32_t i = 0; i < listening->count; i++) {
        struct address open;
        listener_address(listening->listeners[i], &open);
        if (is_same(&open, address)) {
            return true;
        }
    }
    return false;
}

static void close_unwanted(struct listening *listening, const struct wanted_list *list)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < listening->count; i++) {
        struct listener *listener = listening->listeners[i];
        struct address address;
        listener_address(listener, &address);
        const struct wanted *wanted = find_wanted(list, &address);
        if (wanted == NULL) {
            listener_close(listener, NULL, NULL);
            continue;
        }
        listener_rename(listener, text_or_null(wanted->from->settings.source),
                        text_or_null(wanted->from->settings.host_name));
        listening->listeners[kept++] = listener;
    }
    listening->count = kept;
}

void listening_reload(struct listening *listening, const struct config *config)
{
    struct wanted_list list;
    struct error error = {0};
    if (want_all(listening->io, &list, config, &error) < 0) {
        LOG_ERROR("reload: %s: the listeners stay as they are", error.text);
        return;
    }
    close_unwanted(listening, &list);
    for (uint32_t i = 0; i < list.count; i++) {
        if (!is_open(listening, &list.items[i].address) &&
            open_one(listening, &list.items[i], &error) < 0) {
            LOG_ERROR("reload: %s: the other listeners go on", error.text);
        }
    }
}

bool listening_is_ours(struct io *io, const struct config *config, const struct address *address)
{
    size_t count;
    const struct config_listener *listeners = config_listeners(config, &count);
    for (size_t i = 0; i < count; i++) {
        if (listeners[i].port == address->port &&
            address_range_holds(&listeners[i].range, address) && io_address_is_local(io, address)) {
            return true;
        }
    }
    return false;
}
