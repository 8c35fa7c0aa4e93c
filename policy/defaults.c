#include "policy/defaults.h"

/* One string literal per line of the file, made at build time. Compilers that this is built with
 * take literals of any length; the standard asks for 4095 bytes only. */
#pragma GCC diagnostic ignored "-Woverlength-strings"

static const char text[] =
#include "policy/bounce_categories.inc"
    ;

struct bytes config_defaults(void)
{
    return bytes_of(text, sizeof text - 1);
}
