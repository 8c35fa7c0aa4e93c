/* What formatting an accounting record costs: decode the event, write it as CSV or JSON.
 *
 *     ninja -C build bench/micro_accounting && build/bench/micro_accounting
 *
 * Measured, CPU time of one core of a 2-core x86-64 virtual machine, debugoptimized: CSV 0.7 us
 * (1.4 million records a second), JSON 1.1 us (0.9 million); a reply that must be escaped 0.8 and
 * 1.5 us. */
#include <stdio.h>
#include <stdlib.h>

#include "accounting_format.h"
#include "accounting_layout.h"
#include "micro.h"
#include "policy/settings.h"

#define RECORDS 2000000u

static struct bytes encode(struct buffer *out, bool plain)
{
    struct event event = {
        .type = EVENT_DELIVERED,
        .logged_wall_ms = 1549662845123,
        .queued_wall_ms = 1549662845000,
        .orig = BYTES("bounce-4711-jane.doe=recipients.example@bounces.sender.example"),
        .rcpt = BYTES("jane.doe@recipients.example"),
        .dsn_status = BYTES("2.0.0 (success)"),
        .dsn_diag = plain ? BYTES("smtp;250 2.0.0 Ok: queued as 4XkD2n3hRbz2xYw")
                          : BYTES("smtp;550 5.1.1 <jane>, \"no\" such us\xc3\xa9r\r\n\xff"),
        .mx_host = BYTES("mx01.recipients.example"),
        .source_type = BYTES("smtp"),
        .source_host = BYTES("feeder01.sender.example"),
        .source_ip = BYTES("192.0.2.17"),
        .delivery_type = BYTES("smtp"),
        .delivery_source_ip = BYTES("192.0.2.40"),
        .delivery_destination_ip = BYTES("198.51.100.25"),
        .esmtp_available = BYTES("PIPELINING,SIZE,STARTTLS,ENHANCEDSTATUSCODES,8BITMIME,CHUNKING"),
        .delivery_size = 41159,
        .vmta = BYTES("vmta48"),
        .job = BYTES("newsletter-2019-02"),
        .queue = BYTES("recipients.example/vmta48"),
        .attempt = 1,
        .smtp_code = 250,
        .message_id = BYTES("0000000000000000002A"),
        .stage = BYTES("final"),
        .tls = BYTES("opportunistic"),
    };
    bool fits = journal_encode(out, &event);
    if (!fits) {
        abort();
    }
    return buffer_bytes(out);
}

static void measure(const char *what, bool json, bool plain)
{
    static char encoded[EVENT_BYTES_MAX], text[256 * 1024];
    struct buffer in, out;
    buffer_init(&in, encoded, sizeof encoded);
    buffer_init(&out, text, sizeof text);
    struct bytes bytes = encode(&in, plain);
    struct acct_file_settings settings = {.records = RECORD_BIT(RECORD_DELIVERY),
                                          .iso_times = true};
    struct error error = {0};
    struct accounting_layout *layout = accounting_layout_create(&settings, json, &error);
    if (layout == NULL) {
        abort();
    }
    uint64_t text_bytes = 0;
    double from = micro_cpu_ns();
    for (uint32_t i = 0; i < RECORDS; i++) {
        struct event event;
        if (buffer_room(&out) < ACCOUNTING_RECORD_MAX(bytes.len)) {
            text_bytes += out.len;
            buffer_clear(&out);
        }
        if (journal_decode(bytes, &event)) {
            struct accounting_place place = {.log_id = 0xabcdef, .sequence = i};
            accounting_format(layout, place, &event, &out);
        }
    }
    double ns = (micro_cpu_ns() - from) / RECORDS;
    text_bytes += out.len;
    char row[64];
    snprintf(row, sizeof row, "accounting record, %s", what);
    micro_row(row, ns, "ns");
    snprintf(row, sizeof row, "accounting record, %s, length", what);
    micro_row(row, (double)text_bytes / RECORDS, "bytes");
    accounting_layout_destroy(layout);
}

int main(void)
{
    measure("CSV", false, true);
    measure("CSV, hostile reply", false, false);
    measure("JSON", true, true);
    measure("JSON, hostile reply", true, false);
    return 0;
}
