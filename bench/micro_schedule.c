/* What the scheduler costs with many queues: arrivals, a connection that closes, one that rests, a
 * minute asleep.
 *
 *     ninja -C build bench/micro_schedule && build/bench/micro_schedule [QUEUES]
 *
 * The scheduler, its sites and queues are the real ones; connections open and close when told. A
 * release is: a connection asks for mail, gives it back and closes; the place it leaves wakes the
 * queue that has waited longest, which opens one; the first queue waits again behind all others.
 * So there are always as many waiting, and each release meets a queue that has not been touched
 * for a whole round: with 100,000 of them memory is no longer in the caches, and what is above
 * that for 1,000 is what that costs. */
#include <stdio.h>
#include <stdlib.h>

#include "fake_scheduling.h"
#include "micro.h"

#define QUEUES_MAX    100000
#define OPEN_COUNT    100 /* connections that the full caps allow, whatever their kind */
#define RELEASES      20000
#define CONFIG_BYTES  (1 << 20)
#define MINUTE_MS     60000
#define HOUR_MS       3600000
#define UNLIMITED     UINT64_MAX
#define VMTA_NAME_MAX 16

/* How queues are made of virtual MTAs and domains, and which cap is full. */
struct shape {
    const char *what;
    uint32_t vmta_count, domain_count; /* 0: as many as it takes */
    uint64_t vmta_max, domain_max, total_max;
};

static const struct shape one_vmta = {
    "a virtual MTA's cap", 1, 0, OPEN_COUNT, UNLIMITED, UNLIMITED};
static const struct shape roomy = {"room for all", 1, 0, QUEUES_MAX, UNLIMITED, UNLIMITED};
static const struct shape shapes[] = {
    {"a virtual MTA's cap", 1, 0, OPEN_COUNT, UNLIMITED, UNLIMITED},
    {"100 virtual MTAs' caps", 100, 0, OPEN_COUNT / 100, UNLIMITED, UNLIMITED},
    {"100 domains' caps", 0, 100, UNLIMITED, OPEN_COUNT / 100, UNLIMITED},
    {"the total cap, 100 virtual MTAs", 100, 0, UNLIMITED, UNLIMITED, OPEN_COUNT},
};

static struct message *messages[QUEUES_MAX];
static uint32_t message_count;

/* ---- a world ---------------------------------------------------------------------------- */

static uint32_t vmtas_of(const struct shape *shape, uint32_t queue_count)
{
    return shape->vmta_count > 0 ? shape->vmta_count : queue_count / shape->domain_count;
}

static void put_limit(struct buffer *out, const char *name, uint64_t max)
{
    if (max != UNLIMITED) {
        buffer_printf(out, "    %s %llu\n", name, (unsigned long long)max);
    }
}

static void begin(const struct shape *shape, uint32_t queue_count)
{
    static char text[CONFIG_BYTES];
    struct buffer out;
    buffer_init(&out, text, sizeof(text) - 1);
    buffer_printf(&out, "<domain *>\n    max-smtp-out 1\n");
    put_limit(&out, "domain-max-smtp-out", shape->domain_max);
    buffer_printf(&out, "</domain>\n");
    for (uint32_t i = 0; i < vmtas_of(shape, queue_count); i++) {
        buffer_printf(&out, "<virtual-mta v%u>\n    smtp-source-host 127.0.0.1 v%u.example\n", i,
                      i);
        put_limit(&out, "max-smtp-out", shape->vmta_max);
        buffer_printf(&out, "</virtual-mta>\n");
    }
    text[out.len] = '\0';
    if (!fake_begin(text, shape->total_max)) {
        exit(1);
    }
}

/* One message for each queue, due after delay_ms (0: at once) or, spread, up to it. */
static void make_messages(const struct shape *shape, uint32_t queue_count, uint64_t from_ms,
                          uint64_t spread_ms)
{
    uint32_t vmta_count = vmtas_of(shape, queue_count);
    for (uint32_t i = 0; i < queue_count; i++) {
        char vmta[VMTA_NAME_MAX], domain[FAKE_NAME_MAX];
        snprintf(vmta, sizeof(vmta), "v%u", i % vmta_count);
        snprintf(domain, sizeof(domain), "d%06u.example", i / vmta_count);
        uint64_t due_ms = from_ms + (spread_ms * i) / queue_count;
        messages[i] = fake_message(vmta, domain, due_ms == 0 ? 0 : fake.io.now_ms + due_ms);
    }
    message_count = queue_count;
}

static void arrive(void)
{
    for (uint32_t i = 0; i < message_count; i++) {
        const struct rcpt *rcpt = &messages[i]->rcpts[0];
        schedule_arrive(fake.scheduler, &messages[i]->rcpts[0],
                        (struct destination){message_vmta(messages[i]), rcpt_domain(rcpt)});
    }
}

static void end(void)
{
    fake_end();
    for (uint32_t i = 0; i < message_count; i++) {
        message_free(messages[i]);
    }
    message_count = 0;
}

static void must_be_full(void)
{
    if (scheduler_attempt_count(fake.scheduler) != OPEN_COUNT) {
        fprintf(stderr, "%u connections are open, not %u: a wake was lost\n",
                scheduler_attempt_count(fake.scheduler), OPEN_COUNT);
        exit(1);
    }
}

static struct fake_attempt *an_open_one(void)
{
    struct fake_attempt *oldest = fake_oldest();
    if (oldest == NULL) {
        fprintf(stderr, "no connection is open\n");
        exit(1);
    }
    return oldest;
}

/* ---- releases --------------------------------------------------------------------------- */

static void release_one(bool delivered)
{
    struct fake_attempt *oldest = an_open_one();
    if (fake_take(oldest) != 1) {
        fprintf(stderr, "a connection found no mail\n");
        exit(1);
    }
    fake_finish(oldest, delivered);
    fake_close(oldest);
    fake_settle();
}

static double release_ns(const struct shape *shape, uint32_t queue_count)
{
    double samples[MICRO_REPEATS];
    begin(shape, queue_count);
    make_messages(shape, queue_count, 0, 0);
    arrive();
    fake_settle();
    must_be_full();
    for (uint32_t repeat = 0; repeat < MICRO_REPEATS; repeat++) {
        double from = micro_cpu_ns();
        for (uint32_t i = 0; i < RELEASES; i++) {
            release_one(false);
        }
        samples[repeat] = (micro_cpu_ns() - from) / RELEASES;
        must_be_full();
    }
    end();
    return micro_median(samples, MICRO_REPEATS);
}

/* Everything is delivered, a message a connection: the last queues go away, too. */
static double drain_ns(const struct shape *shape, uint32_t queue_count)
{
    begin(shape, queue_count);
    make_messages(shape, queue_count, 0, 0);
    arrive();
    fake_settle();
    double from = micro_cpu_ns();
    uint32_t delivered = 0;
    for (; fake_oldest() != NULL; delivered++) {
        release_one(true);
    }
    double ns = (micro_cpu_ns() - from) / queue_count;
    if (delivered != queue_count) {
        fprintf(stderr, "%u of %u were delivered\n", delivered, queue_count);
        exit(1);
    }
    end();
    return ns;
}

static void measure_sizes(const char *what, const struct shape *shape, uint32_t queue_count,
                          double (*measure)(const struct shape *shape, uint32_t queue_count))
{
    char row[128];
    double first_ns = 0, ns = 0;
    for (uint32_t count = queue_count / 100; count <= queue_count; count *= 10) {
        ns = measure(shape, count);
        first_ns = first_ns == 0 ? ns : first_ns;
        snprintf(row, sizeof(row), "%s, %s, %u queues", what, shape->what, count);
        micro_row(row, ns, "ns");
    }
    snprintf(row, sizeof(row), "%s, %s, most to fewest", what, shape->what);
    micro_row(row, ns / first_ns, "times");
}

/* ---- rests ------------------------------------------------------------------------------ */

/* Connections that are kept open, one a queue, and each in turn works and rests again. */
static double rest_ns(const struct shape *shape, uint32_t queue_count)
{
    double samples[MICRO_REPEATS];
    begin(shape, queue_count);
    make_messages(shape, queue_count, 0, 0);
    arrive();
    fake_settle();
    for (uint32_t i = 0; i < queue_count; i++) {
        struct fake_attempt *oldest = an_open_one();
        fake_finish(oldest, fake_take(oldest) == 1);
        fake_rest(oldest);
    }
    for (uint32_t repeat = 0; repeat < MICRO_REPEATS; repeat++) {
        double from = micro_cpu_ns();
        for (uint32_t i = 0; i < queue_count; i++) {
            struct fake_attempt *oldest = an_open_one();
            fake_work(oldest);
            fake_rest(oldest);
        }
        samples[repeat] = (micro_cpu_ns() - from) / queue_count;
    }
    end();
    return micro_median(samples, MICRO_REPEATS);
}

/* ---- arrivals --------------------------------------------------------------------------- */

static double arrivals_ns(const struct shape *shape, uint32_t queue_count, bool again)
{
    double samples[MICRO_REPEATS];
    for (uint32_t repeat = 0; repeat < MICRO_REPEATS; repeat++) {
        static struct message *before[QUEUES_MAX];
        begin(shape, queue_count);
        make_messages(shape, queue_count, HOUR_MS, 0);
        if (again) {
            arrive();
            fake_settle();
            memcpy(before, messages, sizeof(before));
            make_messages(shape, queue_count, HOUR_MS, 0);
        }
        double from = micro_cpu_ns();
        arrive();
        fake_settle();
        samples[repeat] = (micro_cpu_ns() - from) / queue_count;
        end();
        for (uint32_t i = 0; again && i < queue_count; i++) {
            message_free(before[i]);
        }
    }
    return micro_median(samples, MICRO_REPEATS);
}

static void measure_arrivals(uint32_t queue_count)
{
    micro_row("arrival, makes a queue", arrivals_ns(&one_vmta, queue_count, false), "ns");
    micro_row("arrival, the queue is there", arrivals_ns(&one_vmta, queue_count, true), "ns");
}

/* ---- asleep ----------------------------------------------------------------------------- */

/* A minute with one recipient in each queue, due between from_ms and spread_ms later. */
static void measure_minute(const char *what, uint32_t queue_count, uint64_t from_ms,
                           uint64_t spread_ms)
{
    char row[128];
    begin(&one_vmta, queue_count);
    make_messages(&one_vmta, queue_count, from_ms, spread_ms);
    arrive();
    fake_settle();
    double from = micro_cpu_ns();
    uint64_t wakes = fake_sleep_until(fake.io.now_ms + MINUTE_MS);
    double ms = (micro_cpu_ns() - from) / 1e6;
    snprintf(row, sizeof(row), "a minute, %s", what);
    micro_row(row, ms, "ms of CPU");
    snprintf(row, sizeof(row), "a minute, %s, wakes", what);
    micro_row(row, (double)wakes, "times");
    end();
}

int main(int argc, char **argv)
{
    uint32_t queue_count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : QUEUES_MAX;
    if (queue_count < OPEN_COUNT * 100 || queue_count > QUEUES_MAX) {
        fprintf(stderr, "QUEUES: %u to %u\n", OPEN_COUNT * 100, QUEUES_MAX);
        return 64;
    }
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        measure_sizes("release", &shapes[i], queue_count, release_ns);
    }
    measure_sizes("delivery", &one_vmta, queue_count, drain_ns);
    measure_sizes("rest and work", &roomy, queue_count, rest_ns);
    measure_arrivals(queue_count);
    measure_minute("all deferred, none due", queue_count, 2 * MINUTE_MS, HOUR_MS);
    measure_minute("all deferred, a sixtieth due", queue_count, 0, HOUR_MS);
    measure_minute("all waiting at a cap", queue_count, 0, 0);
    return 0;
}
