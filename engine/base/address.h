/* IP addresses, ports and CIDR ranges as values.
 *
 * Pure: no lookup, no socket. IPv4 lies in the first 4 bytes of `ip`, the rest zero. */
#ifndef BASE_ADDRESS_H
#define BASE_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define ADDRESS_TEXT_MAX 64 /* bytes: "[v6]:port" and the terminating NUL */

enum address_family { ADDRESS_NONE, ADDRESS_IPV4, ADDRESS_IPV6 };

struct address {
    uint8_t family; /* enum address_family */
    uint16_t port;  /* host byte order; 0 = none */
    uint8_t ip[16];
};

struct address_range {
    struct address base; /* bits beyond `prefix` are zero; port unused */
    uint8_t prefix;      /* 0–32 or 0–128 */
};

/* "1.2.3.4", "::1", "[::1]", "[IPv6:::1]", "[1.2.3.4]"; no port. False: none of these; output
 * untouched. */
bool address_parse(struct bytes text, struct address *out);

/* The same with ":port" behind (IPv6 in brackets). */
bool address_parse_port(struct bytes text, struct address *out);

/* CIDR; octets left out are zero ("10/8", "173.194/16", "0/0"); no "/n": the address itself. */
bool address_range_parse(struct bytes text, struct address_range *out);

/* "0/0" holds IPv4 and IPv6 alike, as operators mean it. IPv4-mapped IPv6 counts as IPv4. */
bool address_range_holds(const struct address_range *range, const struct address *address);

/* Same family and ip; ports are not compared. */
bool address_equal_ip(const struct address *a, const struct address *b);
bool address_is_loopback(const struct address *address);

/* Without and with the port (if not 0); the returned pointer is `out`. */
const char *address_text(const struct address *address, char out[ADDRESS_TEXT_MAX]);
const char *address_port_text(const struct address *address, char out[ADDRESS_TEXT_MAX]);
const char *address_range_text(const struct address_range *range, char out[ADDRESS_TEXT_MAX]);

/* Of family and ip: agrees with address_equal_ip, so the port is not in it. */
uint64_t address_hash(const struct address *address);

#endif
