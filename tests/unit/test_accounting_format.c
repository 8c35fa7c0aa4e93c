#include "accounting_format.h"

#include "accounting_layout.h"
#include "accounting_time.h"
#include "base/json.h"
#include "policy/acct_header.h"
#include "policy/config.h"

#include "config_files.h"
#include "test.h"

#define DEFAULT_HEADER                                                                             \
    "type,timeLogged,timeQueued,orig,rcpt,orcpt,dsnAction,dsnStatus,dsnDiag,dsnMta,bounceCat,"     \
    "srcType,srcMta,dlvType,dlvSourceIp,dlvDestinationIp,dlvEsmtpAvailable,dlvSize,vmta,jobId,"    \
    "envId,queue,vmtaPool\r\n"

/* The layout of an <acct-file> with these lines in it; of `path`. */
static struct accounting_layout *layout_of(const char *path, const char *lines)
{
    char text[2048];
    snprintf(text, sizeof text, "<acct-file %s>\n%s\n</acct-file>\n", path, lines);
    struct config *config = load_good(text);
    CHECK(config != NULL);
    size_t count;
    const struct config_acct_file *file = config_acct_files(config, &count);
    struct error error = {0};
    struct accounting_layout *layout = accounting_layout_create(
        &file->settings, bytes_ends_with_nocase(file->path, BYTES(".jsonl")), &error);
    CHECK_STRING(error.text, "");
    unload(config);
    return layout;
}

static char record_memory[256 * 1024];

static struct bytes format(const struct accounting_layout *layout, const struct event *event)
{
    struct buffer out;
    buffer_init(&out, record_memory, sizeof record_memory);
    struct accounting_place place = {.log_id = 0xabcdef, .sequence = 0x1000000000002a};
    accounting_format(layout, place, event, &out);
    return buffer_bytes(&out);
}

/* The event as one record of a file with these lines. */
static struct bytes record_of(const char *lines, const struct event *event)
{
    struct accounting_layout *layout = layout_of("/var/log/acct.csv", lines);
    struct bytes record = format(layout, event);
    accounting_layout_destroy(layout);
    return record;
}

static struct bytes header_of(const char *lines)
{
    static char copy[4096];
    struct accounting_layout *layout = layout_of("/var/log/acct.csv", lines);
    struct bytes header = layout->header;
    CHECK(header.len < sizeof copy);
    memcpy(copy, header.data, header.len);
    accounting_layout_destroy(layout);
    return bytes_of(copy, header.len);
}

static struct event delivered(void)
{
    return (struct event){
        .type = EVENT_DELIVERED,
        .logged_wall_ms = 1549662845123,
        .queued_wall_ms = 1549662845000,
        .orig = BYTES("AA-D=1181.com@bounce.bar.com"),
        .rcpt = BYTES("D@1181.com"),
        .dsn_status = BYTES("2.0.0 (success)"),
        .dsn_diag = BYTES("smtp;250 DATA ok"),
        .mx_host = BYTES("foo.int.port25.com"),
        .source_type = BYTES("api"),
        .source_host = BYTES("foo.int.port25.com"),
        .source_ip = BYTES("127.0.0.1"),
        .delivery_type = BYTES("smtp"),
        .delivery_source_ip = BYTES("10.1.2.3"),
        .delivery_destination_ip = BYTES("10.1.2.3"),
        .esmtp_available = BYTES("ENHANCEDSTATUSCODES,8BITMIME,SMTPUTF8"),
        .delivery_size = 41159,
        .vmta = BYTES("vmta48"),
        .job = BYTES("JoBID29546016861868"),
        .queue = BYTES("1181.com/vmta48"),
        .attempt = 1,
        .smtp_code = 250,
        .message_id = BYTES("0000000000000000002A"),
        .stage = BYTES("final"),
        .tls = BYTES("none"),
    };
}

static struct event queue_failure(void)
{
    return (struct event){
        .type = EVENT_TRANSIENT_QUEUE,
        .logged_wall_ms = 1549662819000,
        .dsn_status = BYTES("4.4.1 (no answer from host)"),
        .mx_host = BYTES("mx.xn--bcher-kva.de"),
        .delivery_type = BYTES("smtp"),
        .delivery_destination_ip = BYTES("87.98.150.101"),
        .vmta = BYTES("vmta29"),
        .queue = BYTES("bücher.de/vmta29"),
    };
}

/* ---- golden -------------------------------------------------------------------------------- */

TEST(a_delivery_is_written_as_the_sample)
{
    struct event event = delivered();
    CHECK_BYTES(record_of("records d\nrecord-fields d *,!vmtaPool", &event),
                "d,2019-02-08 21:54:05+0000,2019-02-08 21:54:05+0000,AA-D=1181.com@bounce.bar.com,"
                "D@1181.com,,relayed,2.0.0 (success),smtp;250 DATA ok,"
                "foo.int.port25.com (10.1.2.3),,api,foo.int.port25.com (127.0.0.1),smtp,10.1.2.3,"
                "10.1.2.3,\"ENHANCEDSTATUSCODES,8BITMIME,SMTPUTF8\",41159,vmta48,"
                "JoBID29546016861868,,1181.com/vmta48\r\n");
}

TEST(a_queue_failure_is_written_as_the_sample)
{
    struct event event = queue_failure();
    CHECK_BYTES(record_of("records tq", &event),
                "tq,2019-02-08 21:53:39+0000,4.4.1 (no answer from host),,"
                "mx.xn--bcher-kva.de (87.98.150.101),smtp,0.0.0.0,87.98.150.101,vmta29,"
                "bücher.de/vmta29\r\n");
}

TEST(the_default_header_is_the_one_of_all_readers)
{
    CHECK_BYTES(header_of(""), DEFAULT_HEADER);
    CHECK_BYTES(header_of("records d,b,t,tq"), DEFAULT_HEADER);
}

TEST(actions_follow_the_type)
{
    struct event event = {.type = EVENT_BOUNCED};
    CHECK_BYTES(record_of("records b\nrecord-fields b dsnAction", &event), "b,failed\r\n");
    event.type = EVENT_TRANSIENT;
    CHECK_BYTES(record_of("records t\nrecord-fields t dsnAction", &event), "t,delayed\r\n");
}

TEST(a_received_message_has_its_own_columns)
{
    struct event event = {.type = EVENT_RECEIVED,
                          .logged_wall_ms = 1549662845000,
                          .orig = BYTES("a@b.test"),
                          .rcpt = BYTES("c@d.test"),
                          .source_type = BYTES("smtp"),
                          .source_host = BYTES("feeder"),
                          .source_ip = BYTES("192.0.2.7"),
                          .receive_destination_ip = BYTES("192.0.2.1"),
                          .vmta = BYTES("v1"),
                          .job = BYTES("j1"),
                          .user = BYTES("foo")};
    CHECK_BYTES(header_of("records r"),
                "type,timeLogged,orig,rcpt,orcpt,srcType,srcMta,rcvSourceIp,rcvDestinationIp,vmta,"
                "vmtaPool,jobId,envId,rcvSmtpUser\r\n");
    CHECK_BYTES(record_of("records r", &event),
                "r,2019-02-08 21:54:05+0000,a@b.test,c@d.test,,smtp,feeder (192.0.2.7),192.0.2.7,"
                "192.0.2.1,v1,,j1,,foo\r\n");
}

/* ---- columns ------------------------------------------------------------------------------- */

TEST(columns_of_several_types_are_their_union_in_order_of_naming)
{
    const char *lines = "records d,b\nrecord-fields delivery timeLogged,orig,rcpt,dlvSourceIp\n"
                        "record-fields bounce timeLogged,orig,rcpt,bounceCat";
    struct event event = {.type = EVENT_BOUNCED,
                          .rcpt = BYTES("c@d.test"),
                          .delivery_source_ip = BYTES("10.0.0.1"),
                          .bounce_category = BYTES("policy-related")};
    CHECK_BYTES(header_of(lines), "type,timeLogged,orig,rcpt,dlvSourceIp,bounceCat\r\n");
    CHECK_BYTES(record_of(lines, &event), "b,,,c@d.test,,policy-related\r\n");
}

TEST(types_with_more_columns_add_them_behind)
{
    struct bytes header = header_of("records d,r");
    CHECK(bytes_ends_with_nocase(header,
                                 BYTES(",vmtaPool,rcvSourceIp,rcvDestinationIp,rcvSmtpUser\r\n")));
}

TEST(fields_are_taken_away_and_added)
{
    CHECK_BYTES(header_of("records tq\nrecord-fields tq *,!dsnDiag,userString,DLVTLSCIPHER"),
                "type,timeLogged,dsnStatus,dsnMta,dlvType,dlvSourceIp,dlvDestinationIp,vmta,queue,"
                "userString,dlvTlsCipher\r\n");
    CHECK_BYTES(header_of("records tq\nrecord-fields tq !dlvType,!vmta"),
                "type,timeLogged,dsnStatus,dsnDiag,dsnMta,dlvSourceIp,dlvDestinationIp,queue\r\n");
    CHECK_BYTES(header_of("records d\nrecord-fields d rcpt,type,!rcpt,orig,Orig"), "type,orig\r\n");
}

TEST(a_header_field_has_the_value_that_was_kept_of_the_message)
{
    struct event event = delivered();
    const char *lines = "records d\nrecord-fields d rcpt,header_Subject,vmta";
    CHECK_BYTES(record_of(lines, &event), "d,D@1181.com,,vmta48\r\n");
    CHECK_BYTES(header_of(lines), "type,rcpt,header_Subject,vmta\r\n");
    event.headers = BYTES("X-Subject:no\nsubject:=1,\"2\"\n");
    CHECK_BYTES(record_of(lines, &event), "d,D@1181.com,\"\\x3D1,\"\"2\"\"\",vmta48\r\n");
}

TEST(the_first_mapped_header_that_is_there_fills_the_field)
{
    struct event event = delivered();
    const char *lines = "records d,r\nrecord-fields d,r rcpt,jobId\n"
                        "map-header-to-field d header_X-One tag\n"
                        "map-header-to-field d,r header_X-Two tag\n"
                        "map-header-to-field d header_X-Job jobId";
    CHECK_BYTES(header_of(lines), "type,rcpt,jobId,tag\r\n");
    CHECK_BYTES(record_of(lines, &event), "d,D@1181.com,JoBID29546016861868,\r\n");
    event.headers = BYTES("X-Two:2\nX-Job:mine\n");
    CHECK_BYTES(record_of(lines, &event), "d,D@1181.com,mine,2\r\n");
    event.headers = BYTES("X-Two:2\nX-One:1\n");
    CHECK_BYTES(record_of(lines, &event), "d,D@1181.com,JoBID29546016861868,1\r\n");
    event.headers = BYTES("X-Two:2\nX-One:\n");
    CHECK_BYTES(record_of(lines, &event), "d,D@1181.com,JoBID29546016861868,\r\n");
    event.type = EVENT_RECEIVED;
    event.headers = BYTES("X-One:1\nX-Two:2\n");
    CHECK_BYTES(record_of(lines, &event), "r,D@1181.com,JoBID29546016861868,2\r\n");
}

TEST(what_is_kept_of_a_message_is_bounded_and_the_first_of_each_name)
{
    char memory[16];
    struct bytes value;
    struct buffer kept;
    buffer_init(&kept, memory, sizeof memory);
    acct_headers_put(&kept, BYTES("A"), BYTES("one"));
    acct_headers_put(&kept, BYTES("a"), BYTES("two"));
    acct_headers_put(&kept, BYTES("B"), BYTES("more than fits"));
    acct_headers_put(&kept, BYTES("C"), BYTES(""));
    CHECK_BYTES(buffer_bytes(&kept), "A:one\nC:\n");
    CHECK(acct_headers_find(buffer_bytes(&kept), BYTES("c"), &value));
    CHECK_BYTES(value, "");
    CHECK(!acct_headers_find(buffer_bytes(&kept), BYTES("B"), &value));
    CHECK(!acct_headers_find(buffer_bytes(&kept), BYTES(""), &value));
}

/* effect: acct-file user-string */
TEST(optional_fields_have_their_values)
{
    struct event event = delivered();
    event.first_attempt_wall_ms = 1549662845000;
    event.logged_wall_ms = event.queued_wall_ms + 61999;
    event.tls_protocol = BYTES("TLSv1.3");
    event.tls_cipher = BYTES("TLS_AES_256_GCM_SHA384");
    event.user = BYTES("foo");
    CHECK_BYTES(
        record_of(
            "records d\nuser-string node-1\nrecord-fields d totalSecondsQueued,timeFirstAttempt,"
            "dlvTlsProtocol,dlvTlsCipher,rcvSmtpUser,userString",
            &event),
        "d,61,2019-02-08 21:54:05+0000,TLSv1.3,TLS_AES_256_GCM_SHA384,foo,node-1\r\n");
}

TEST(the_last_list_for_a_type_counts)
{
    CHECK_BYTES(header_of("records d\nrecord-fields d rcpt\nrecord-fields d,b orig"),
                "type,orig\r\n");
}

TEST(too_many_columns_are_refused)
{
    char text[8192] = "records d\nrecord-fields d x_0";
    for (int i = 1; i <= ACCOUNTING_COLUMNS_MAX; i++) {
        snprintf(text + strlen(text), sizeof text - strlen(text), ",x_%d", i);
    }
    char whole[9000];
    snprintf(whole, sizeof whole, "<acct-file /a.csv>\n%s\n</acct-file>\n", text);
    struct config *config = load_good(whole);
    size_t count;
    struct error error = {0};
    CHECK(accounting_layout_create(&config_acct_files(config, &count)->settings, false, &error) ==
          NULL);
    CHECK(strstr(error.text, "more than 256 columns") != NULL);
    unload(config);
}

TEST(a_layout_wants_only_its_records)
{
    struct accounting_layout *layout = layout_of("/a.csv", "records b,r");
    CHECK(accounting_layout_wants(layout, EVENT_BOUNCED));
    CHECK(accounting_layout_wants(layout, EVENT_RECEIVED));
    CHECK(!accounting_layout_wants(layout, EVENT_DELIVERED));
    CHECK(!accounting_layout_wants(layout, EVENT_TRANSIENT_QUEUE));
    accounting_layout_destroy(layout);
}

/* ---- hostile bytes ------------------------------------------------------------------------- */

struct hostile {
    const char *said;
    size_t len;
    const char *written;
};

#define SAID(literal) literal, sizeof(literal) - 1

static const struct hostile hostile_texts[] = {
    {SAID("plain"), "plain"},
    {SAID("a\0b"), "a\\x00b"},
    {SAID("a\x1b[31mb\x7f"), "a\\x1B[31mb\\x7F"},
    {SAID("a\r\nb"), "a\\x0D\\x0Ab"},
    {SAID("tab\there"), "tab\\x09here"},
    {SAID("bad \xff\xc3"), "bad \\xFF\\xC3"},
    {SAID("overlong \xc0\xaf surrogate \xed\xa0\x80"),
     "overlong \\xC0\\xAF surrogate \\xED\\xA0\\x80"},
    {SAID("b\xc3\xbc"
          "cher"),
     "b\xc3\xbc"
     "cher"},
    {SAID("c1 \xc2\x9b"
          "31m"),
     "c1 \\xC2\\x9B31m"},
    {SAID("line \xe2\x80\xa8 end"), "line \\xE2\\x80\\xA8 end"},
    {SAID("a,b"), "\"a,b\""},
    {SAID("say \"hi\""), "\"say \"\"hi\"\"\""},
    {SAID("\"quoted\rlocal\"@x"), "\"\"\"quoted\\x0Dlocal\"\"@x\""},
    {SAID("=cmd|' /C calc'!A0"), "\\x3Dcmd|' /C calc'!A0"},
    {SAID("=1,2"), "\"\\x3D1,2\""},
    {SAID("@SUM(A1)"), "\\x40SUM(A1)"},
    {SAID("+15551234@sms.test"), "+15551234@sms.test"},
    {SAID("back\\slash"), "back\\slash"},
};

static struct bytes said(size_t i)
{
    return bytes_of(hostile_texts[i].said, hostile_texts[i].len);
}

TEST(c6_hostile_bytes_stay_inside_their_field)
{
    for (size_t i = 0; i < sizeof hostile_texts / sizeof hostile_texts[0]; i++) {
        struct event event = {.type = EVENT_BOUNCED, .envid = said(i)};
        char wanted[256];
        snprintf(wanted, sizeof wanted, "b,%s,\r\n", hostile_texts[i].written);
        CHECK_BYTES(record_of("records b\nrecord-fields b envId,vmta", &event), wanted);
    }
}

/* Random bytes: one line, as many commas outside quotes as there are columns, quotes balanced. */
TEST(any_bytes_make_one_record_on_one_line)
{
    struct accounting_layout *layout =
        layout_of("/a.csv", "records b\nrecord-fields b rcpt,dsnDiag,envId");
    uint32_t state = 12345;
    for (int round = 0; round < 2000; round++) {
        char text[3 * 40];
        for (size_t i = 0; i < sizeof text; i++) {
            state = state * 1664525 + 1013904223;
            text[i] = (char)(state >> 24);
        }
        struct event event = {.type = EVENT_BOUNCED,
                              .rcpt = bytes_of(text, state % 40),
                              .dsn_diag = bytes_of(text + 40, state / 64 % 40),
                              .envid = bytes_of(text + 80, 40)};
        struct bytes record = format(layout, &event);
        bool quoted = false;
        int commas = 0;
        for (size_t i = 0; i + 2 < record.len; i++) {
            quoted ^= record.data[i] == '"';
            commas += record.data[i] == ',' && !quoted;
            CHECK((uint8_t)record.data[i] >= 0x20);
        }
        CHECK(!quoted);
        CHECK_INT(commas, 3);
        CHECK(bytes_ends_with_nocase(record, BYTES("\r\n")));
    }
    accounting_layout_destroy(layout);
}

TEST(the_longest_event_fits_its_bound)
{
    static char text[4096];
    memset(text, 1, sizeof text);
    struct bytes longest = bytes_of(text, sizeof text - 96);
    struct event event = {.type = EVENT_BOUNCED,
                          .mx_host = longest,
                          .delivery_destination_ip = longest,
                          .source_host = longest,
                          .source_ip = longest};
    static char encoded[EVENT_BYTES_MAX];
    struct buffer out;
    buffer_init(&out, encoded, sizeof encoded);
    CHECK(journal_encode(&out, &event));
    struct accounting_layout *csv = layout_of("/a.csv", "records b");
    CHECK(format(csv, &event).len <= ACCOUNTING_RECORD_MAX(out.len));
    accounting_layout_destroy(csv);
    struct accounting_layout *json =
        layout_of("/a.jsonl", "records b,r\nrecord-fields b *,rcvSourceIp");
    CHECK(format(json, &event).len <= ACCOUNTING_RECORD_MAX(out.len));
    accounting_layout_destroy(json);
}

/* ---- JSON ---------------------------------------------------------------------------------- */

TEST(a_line_of_json_has_what_is_not_empty)
{
    struct event event = delivered();
    struct accounting_layout *layout = layout_of("/a.jsonl", "records d");
    CHECK_BYTES(layout->header, "");
    CHECK_BYTES(format(layout, &event),
                "{\"type\":\"d\",\"timeLogged\":\"2019-02-08 21:54:05+0000\","
                "\"timeQueued\":\"2019-02-08 21:54:05+0000\","
                "\"orig\":\"AA-D=1181.com@bounce.bar.com\",\"rcpt\":\"D@1181.com\","
                "\"dsnAction\":\"relayed\",\"dsnStatus\":\"2.0.0 (success)\","
                "\"dsnDiag\":\"smtp;250 DATA ok\",\"dsnMta\":\"foo.int.port25.com (10.1.2.3)\","
                "\"srcType\":\"api\",\"srcMta\":\"foo.int.port25.com (127.0.0.1)\","
                "\"dlvType\":\"smtp\",\"dlvSourceIp\":\"10.1.2.3\","
                "\"dlvDestinationIp\":\"10.1.2.3\","
                "\"dlvEsmtpAvailable\":\"ENHANCEDSTATUSCODES,8BITMIME,SMTPUTF8\","
                "\"dlvSize\":41159,\"vmta\":\"vmta48\",\"jobId\":\"JoBID29546016861868\","
                "\"queue\":\"1181.com/vmta48\",\"eid\":\"0000000000abcdef-001000000000002a\","
                "\"msgId\":\"0000000000000000002A\",\"attempt\":1,\"smtpCode\":250,"
                "\"stage\":\"final\",\"tls\":\"none\"}\n");
    accounting_layout_destroy(layout);
}

TEST(json_tells_what_only_programs_want)
{
    struct event event = {.type = EVENT_TRANSIENT,
                          .after_dot_lost = 1,
                          .next_attempt_wall_ms = 1549662845000,
                          .bounce_class = BYTES("soft")};
    struct accounting_layout *layout = layout_of("/a.jsonl", "records t\nrecord-fields t rcpt");
    CHECK_BYTES(format(layout, &event),
                "{\"type\":\"t\",\"eid\":\"0000000000abcdef-001000000000002a\","
                "\"afterDotLost\":true,\"nextAttempt\":\"2019-02-08 21:54:05+0000\","
                "\"bounceClass\":\"soft\"}\n");
    accounting_layout_destroy(layout);
}

TEST(c6_hostile_bytes_leave_a_line_of_json_readable)
{
    struct accounting_layout *layout = layout_of("/a.jsonl", "records b\nrecord-fields b dsnDiag");
    for (size_t i = 0; i < sizeof hostile_texts / sizeof hostile_texts[0]; i++) {
        struct event event = {.type = EVENT_BOUNCED, .dsn_diag = said(i)};
        struct bytes line = format(layout, &event);
        CHECK_INT(bytes_find(line, '\n', 0), line.len - 1);
        struct error error = {0};
        struct json *json = json_parse(line, 4096, &error);
        bool has_nul = strlen(hostile_texts[i].said) < hostile_texts[i].len;
        CHECK(has_nul || json != NULL); /* our own reader refuses \u0000 */
        json_free(json);
    }
    accounting_layout_destroy(layout);
}

/* ---- times --------------------------------------------------------------------------------- */

static struct bytes time_text(uint64_t wall_ms)
{
    static char memory[24];
    struct buffer out;
    buffer_init(&out, memory, sizeof memory);
    accounting_put_time(&out, wall_ms);
    return buffer_bytes(&out);
}

TEST(times_are_utc_to_the_second)
{
    CHECK_BYTES(time_text(0), "1970-01-01 00:00:00+0000");
    CHECK_BYTES(time_text(1549662845999), "2019-02-08 21:54:05+0000");
    CHECK_BYTES(time_text(951782399000), "2000-02-28 23:59:59+0000");
    CHECK_BYTES(time_text(951782400000), "2000-02-29 00:00:00+0000");
    CHECK_BYTES(time_text(4107542399000), "2100-02-28 23:59:59+0000");
    CHECK_BYTES(time_text(4107542400000), "2100-03-01 00:00:00+0000");
    CHECK_BYTES(time_text(1735689599999), "2024-12-31 23:59:59+0000");
    CHECK_BYTES(time_text(UINT64_MAX), "9999-12-31 23:59:59+0000");
}

/* effect: acct-file iso-times */
TEST(times_may_be_seconds_since_1970)
{
    struct event event = {.type = EVENT_DELIVERED, .logged_wall_ms = 1178807903999};
    CHECK_BYTES(record_of("records d\niso-times no\nrecord-fields d timeLogged,timeQueued", &event),
                "d,1178807903,\r\n");
}

TEST(a_date_read_is_the_date_written)
{
    for (uint64_t day = 0; day < 200000; day += 37) {
        char memory[10];
        struct buffer out;
        buffer_init(&out, memory, sizeof memory);
        accounting_put_date(&out, day * 86400000 + 5);
        uint64_t wall_ms;
        CHECK(accounting_parse_date(buffer_bytes(&out), &wall_ms));
        CHECK_INT(wall_ms, day * 86400000);
    }
    uint64_t wall_ms;
    CHECK(!accounting_parse_date(BYTES("2019-13-01"), &wall_ms));
    CHECK(!accounting_parse_date(BYTES("2019-00-01"), &wall_ms));
    CHECK(!accounting_parse_date(BYTES("2019/01/01"), &wall_ms));
    CHECK(!accounting_parse_date(BYTES("1969-01-01"), &wall_ms));
}

TEST(json_has_a_bounce_class_that_is_a_column_once)
{
    struct accounting_layout *layout =
        layout_of("/a.jsonl", "records b\nrecord-fields b bounceClass");
    struct event event = {.type = EVENT_BOUNCED, .bounce_class = BYTES("hard")};
    struct bytes line = format(layout, &event);
    CHECK(bytes_starts_with(line, BYTES("{\"type\":\"b\",\"bounceClass\":\"hard\",\"eid\":")));
    CHECK(!bytes_contains_nocase(bytes_slice(line, 20, line.len), BYTES("bounceClass")));
    accounting_layout_destroy(layout);
}

TEST(a_disabled_record_and_one_of_another_queue_are_not_taken)
{
    struct accounting_layout *layout = layout_of("/a.csv", "records d,r\nqueue-filter a.com/*");
    struct event event = {.type = EVENT_DELIVERED, .queue = BYTES("a.com/v1")};
    CHECK(accounting_layout_takes(layout, &event));
    event.unaccounted = 1;
    CHECK(!accounting_layout_takes(layout, &event));
    event = (struct event){.type = EVENT_DELIVERED, .queue = BYTES("b.com/v1")};
    CHECK(!accounting_layout_takes(layout, &event));
    event = (struct event){.type = EVENT_RECEIVED};
    CHECK(accounting_layout_takes(layout, &event));
    accounting_layout_destroy(layout);
}
