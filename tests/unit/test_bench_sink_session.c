#include "bench/sink_session.h"

#include <stdlib.h>

#include "base/rng.h"
#include "tests/unit/test.h"

static struct sink_rules rules_of(uint32_t capabilities)
{
    return (struct sink_rules){
        .host_name = "sink.test", .capabilities = capabilities, .size_max = 1000};
}

/* The codes of all replies' last lines, as "220 250 …". */
static void take_codes(struct sink_session *session, char *codes, size_t capacity)
{
    outgoing_release_at(&session->out, 0);
    struct bytes text = outgoing_free(&session->out);
    size_t at = 0, len = strlen(codes);
    while (at + 4 <= text.len) {
        if (text.data[at + 3] == ' ' && len + 5 < capacity) {
            len += (size_t)snprintf(codes + len, capacity - len, "%.3s ", text.data + at);
        }
        const char *end = memchr(text.data + at, '\n', text.len - at);
        at = end == NULL ? text.len : (size_t)(end - text.data) + 1;
    }
    outgoing_drop_free(&session->out);
}

struct talk {
    char codes[512];
    enum sink_next next;
    size_t left; /* bytes not taken */
};

/* Feeds pieces of at most `piece_max` bytes (random ones if rng is given). */
static struct talk talk(struct sink_rules *rules, struct bytes stream, size_t piece_max,
                        struct rng *rng)
{
    struct talk talk = {.next = SINK_GO_ON};
    struct sink_session *session = malloc(sizeof *session);
    sink_session_init(session, rules);
    while (stream.len > 0 && talk.next == SINK_GO_ON) {
        size_t len = rng == NULL ? piece_max : 1 + rng_below(rng, piece_max);
        len = len < stream.len ? len : stream.len;
        struct bytes in = bytes_of(stream.data, len);
        talk.next = sink_session_input(session, &in);
        stream = bytes_slice(stream, len - in.len, stream.len);
        take_codes(session, talk.codes, sizeof talk.codes);
    }
    talk.left = stream.len;
    sink_session_deinit(session);
    free(session);
    return talk;
}

#define ALL_CAPABILITIES ((1u << SINK_CAPABILITY_COUNT) - 1)

#define CHECK_TALK(capabilities, stream, wanted)                                                   \
    do {                                                                                           \
        struct sink_rules rules = rules_of(capabilities);                                          \
        struct talk seen = talk(&rules, BYTES(stream), sizeof(stream), NULL);                      \
        CHECK_STRING(seen.codes, wanted);                                                          \
    } while (0)

#define ENVELOPE "EHLO a\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n"

TEST(message_after_message_on_one_connection)
{
    CHECK_TALK(0,
               ENVELOPE "DATA\r\nx\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n.\r\n"
                        "QUIT\r\n",
               "220 250 250 250 354 250 250 250 354 250 221 ");
}

TEST(commands_out_of_order_are_refused)
{
    CHECK_TALK(0, "MAIL FROM:<>\r\nEHLO a\r\nRCPT TO:<a@b.test>\r\nDATA\r\nBDAT 1\r\n",
               "220 503 250 503 503 500 ");
}

TEST(second_MAIL_is_refused_and_RSET_forgets_the_first)
{
    CHECK_TALK(0, ENVELOPE "MAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\nDATA\r\n",
               "220 250 250 250 503 250 250 554 ");
}

TEST(parameter_is_taken_only_where_it_was_offered)
{
    CHECK_TALK(0, "EHLO a\r\nMAIL FROM:<> BODY=8BITMIME\r\n", "220 250 555 ");
    CHECK_TALK(1u << SINK_OFFERS_8BITMIME, "EHLO a\r\nMAIL FROM:<> body=8bitmime\r\n",
               "220 250 250 ");
    CHECK_TALK(ALL_CAPABILITIES, "EHLO a\r\nMAIL FROM:<> NOTIFY=NEVER\r\n", "220 250 555 ");
}

TEST(message_above_SIZE_is_refused_when_it_is_announced_and_when_it_is_not)
{
    CHECK_TALK(ALL_CAPABILITIES, "EHLO a\r\nMAIL FROM:<> SIZE=1001\r\n", "220 250 552 ");
    char stream[2000] = ENVELOPE "DATA\r\n";
    memset(stream + strlen(stream), 'x', 1500);
    strcat(stream, "\r\n.\r\n");
    struct sink_rules rules = rules_of(0);
    struct talk seen = talk(&rules, bytes_from_string(stream), sizeof stream, NULL);
    CHECK_STRING(seen.codes, "220 250 250 250 354 552 ");
    CHECK_INT(rules.message_count, 0);
}

TEST(octets_of_a_refused_chunk_are_thrown_away)
{
    CHECK_TALK(ALL_CAPABILITIES, "EHLO a\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", "220 250 503 250 ");
}

TEST(nothing_behind_STARTTLS_is_taken)
{
    struct sink_rules rules = rules_of(ALL_CAPABILITIES);
    struct talk seen = talk(&rules, BYTES("EHLO a\r\nSTARTTLS\r\nNOOP\r\n"), 100, NULL);
    CHECK_STRING(seen.codes, "220 250 220 ");
    CHECK_INT(seen.next, SINK_START_TLS);
    CHECK_INT(seen.left, 6);
}

TEST(overlong_line_is_refused_and_the_next_is_read)
{
    char stream[4000] = "EHLO a\r\n";
    memset(stream + strlen(stream), 'x', 3000);
    strcat(stream, "\r\nNOOP\r\n");
    struct sink_rules rules = rules_of(0);
    struct talk whole = talk(&rules, bytes_from_string(stream), sizeof stream, NULL);
    struct talk cut = talk(&rules, bytes_from_string(stream), 10, NULL);
    CHECK_STRING(whole.codes, "220 250 500 250 ");
    CHECK_STRING(cut.codes, "220 250 500 250 ");
}

TEST(share_of_refused_recipients_is_as_asked_for)
{
    int below = 0;
    for (int i = 0; i < 10000; i++) {
        char address[32];
        int len = snprintf(address, sizeof address, "u%d@d.test", i);
        below += sink_address_percentile(bytes_of(address, (size_t)len)) < 10;
    }
    CHECK(below > 900 && below < 1100);
    CHECK_INT(sink_address_percentile(BYTES("A@B.test")),
              sink_address_percentile(BYTES("a@b.TEST")));
}

TEST(every_split_gives_the_same_replies)
{
    static const char stream[] =
        ENVELOPE "RCPT TO:<x@y.test> NOTIFY=NEVER\r\nDATA\r\na\r\n..b\r\n.\r\nRSET\r\nfoo\r\n"
                 "MAIL FROM: <a@b.test> RET=HDRS SIZE=12\r\nRCPT TO:<c@d.test>\r\n"
                 "BDAT 7\r\n\r\n.\r\nxxBDAT 0\r\nBDAT 3 LAST\r\nNO\nVRFY x\r\nNOOP\nQUIT\r\n";
    struct bytes bytes = bytes_of(stream, sizeof stream - 1);
    struct sink_rules rules = rules_of(ALL_CAPABILITIES);
    struct talk whole = talk(&rules, bytes, sizeof stream, NULL);
    CHECK_STRING(whole.codes,
                 "220 250 250 250 250 354 250 250 500 250 250 250 250 250 252 250 221 ");
    struct talk bytewise = talk(&rules, bytes, 1, NULL);
    CHECK_STRING(bytewise.codes, whole.codes);
    struct rng rng;
    rng_init(&rng, 1);
    for (int round = 0; round < 500; round++) {
        struct talk cut = talk(&rules, bytes, 1 + (size_t)round % 40, &rng);
        CHECK_STRING(cut.codes, whole.codes);
    }
    CHECK_INT(rules.message_count, 2 * 502);
}
