/* The twin of net/tls.h: TLS that hides nothing but behaves: handshakes, records, names, alerts.
 *
 * OpenSSL draws from the system's randomness, so a world cannot have it. Both ends of a simulated
 * connection speak this instead: records of {type, length, payload}, the payload not readable as
 * SMTP. Scripted peers use tls.h like the engine. A server's certificate bears the name that its
 * profile has as certificate_file ("*": any name). No verifying client accepts "expired". */
#ifndef SIM_TLS_H
#define SIM_TLS_H

#include "net/tls.h"

#define SIM_TLS_RECORD_MAX 16384 /* bytes of payload */
#define SIM_TLS_HEADER     3     /* type, length in two bytes */

#endif
