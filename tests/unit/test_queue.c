/* Ready, deferred, taken: where a recipient is, and when it leaves. */
#include "queue.h"

#include <assert.h>
#include <stdlib.h>

#include "site.h"
#include "test.h"

#define MESSAGES_MAX 64
#define HOUR_MS      3600000u

static struct timers timers;
static struct site site;
static struct queue queue;
static uint64_t now_ms;
static unsigned changed_count, expired_count;
static struct message *messages[MESSAGES_MAX];
static size_t message_count;

static void on_changed(struct queue *which)
{
    CHECK(which == &queue);
    changed_count++;
}

static void on_expired(struct queue *which, struct rcpt *rcpt)
{
    CHECK(which == &queue);
    CHECK_INT(rcpt->state, RCPT_FINAL);
    CHECK(rcpt->queue == NULL);
    expired_count++;
}

static void begin(uint64_t bounce_after_ms)
{
    now_ms = 1000000;
    changed_count = expired_count = 0;
    timers_init(&timers, now_ms);
    queue_init(&queue, &site, TLS_NEED_DEFAULT, &timers, bounce_after_ms, on_changed, on_expired);
}

static void end(void)
{
    queue_deinit(&queue);
    while (message_count > 0) {
        free(messages[--message_count]);
    }
}

static struct message *make(uint32_t rcpt_count)
{
    struct message *message = calloc(1, sizeof *message + rcpt_count * sizeof(struct rcpt));
    CHECK(message_count < MESSAGES_MAX);
    messages[message_count++] = message;
    message->rcpt_count = rcpt_count;
    message->body_size = 100;
    message->accepted_ms = (int64_t)now_ms;
    for (uint32_t i = 0; i < rcpt_count; i++) {
        message->rcpts[i].index = i;
    }
    return message;
}

static struct rcpt *put(uint64_t due_ms)
{
    struct rcpt *rcpt = &make(1)->rcpts[0];
    queue_put(&queue, rcpt, due_ms, now_ms);
    return rcpt;
}

static struct rcpt *take_one(void)
{
    struct rcpt *rcpt = NULL;
    return queue_take(&queue, 1, &rcpt) == 1 ? rcpt : NULL;
}

/* There is one. */
static struct rcpt *take_first(void)
{
    struct rcpt *rcpt = take_one();
    assert(rcpt != NULL);
    return rcpt;
}

static void pass(uint64_t ms)
{
    for (uint64_t end_ms = now_ms + ms; now_ms < end_ms;) {
        uint64_t next_ms = timers_next_ms(&timers);
        now_ms = next_ms > now_ms && next_ms < end_ms ? next_ms : end_ms;
        timers_run(&timers, now_ms);
    }
}

/* ---- places ---- */

TEST(a_recipient_that_is_due_is_ready_and_says_so)
{
    begin(HOUR_MS);
    struct rcpt *rcpt = put(now_ms);
    CHECK_INT(rcpt->state, RCPT_READY);
    CHECK_INT(queue.ready_count, 1);
    CHECK_INT(queue.bytes, 100);
    CHECK(queue_sendable(&queue, now_ms));
    CHECK_INT(changed_count, 1);
    CHECK(take_one() == rcpt);
    CHECK_INT(queue.taken_count, 1);
    CHECK(!queue_sendable(&queue, now_ms));
    CHECK(!queue_empty(&queue));
    queue_done(&queue, rcpt);
    CHECK(queue_empty(&queue));
    CHECK_INT(queue.bytes, 0);
    end();
}

TEST(recipients_leave_in_the_order_they_came)
{
    begin(HOUR_MS);
    struct rcpt *first = put(now_ms), *second = put(now_ms);
    CHECK(take_one() == first);
    CHECK(take_one() == second);
    CHECK(take_one() == NULL);
    end();
}

TEST(a_transaction_takes_recipients_of_one_message_up_to_its_maximum)
{
    begin(HOUR_MS);
    struct message *message = make(3);
    for (uint32_t i = 0; i < 3; i++) {
        queue_put(&queue, &message->rcpts[i], now_ms, now_ms);
    }
    put(now_ms);
    struct rcpt *taken[10];
    CHECK_INT(queue_take(&queue, 2, taken), 2);
    CHECK(taken[0] == &message->rcpts[0] && taken[1] == &message->rcpts[1]);
    CHECK_INT(queue_take(&queue, 10, taken), 1);
    CHECK(taken[0] == &message->rcpts[2]);
    end();
}

TEST(a_sender_that_names_the_recipient_has_a_transaction_for_each)
{
    begin(HOUR_MS);
    struct message *message = make(2);
    message->flags = MESSAGE_VERP;
    for (uint32_t i = 0; i < 2; i++) {
        queue_put(&queue, &message->rcpts[i], now_ms, now_ms);
    }
    struct rcpt *taken[10];
    for (uint32_t i = 0; i < 2; i++) {
        CHECK_INT(queue_take(&queue, 10, taken), 1);
        CHECK(taken[0] == &message->rcpts[i]);
    }
    end();
}

TEST(a_deferred_recipient_is_ready_when_it_is_due)
{
    begin(HOUR_MS);
    struct rcpt *rcpt = put(now_ms + 5000);
    CHECK_INT(rcpt->state, RCPT_DEFERRED);
    CHECK(!queue_sendable(&queue, now_ms));
    pass(4999);
    CHECK_INT(queue.deferred_count, 1);
    changed_count = 0;
    pass(1);
    CHECK_INT(rcpt->state, RCPT_READY);
    CHECK_INT(changed_count, 1);
    end();
}

TEST(deferred_recipients_come_in_the_order_of_their_times)
{
    begin(HOUR_MS);
    struct rcpt *late = put(now_ms + 3000), *soon = put(now_ms + 1000),
                *middle = put(now_ms + 2000);
    pass(5000);
    CHECK(take_one() == soon);
    CHECK(take_one() == middle);
    CHECK(take_one() == late);
    end();
}

TEST(thousands_due_at_once_all_become_ready)
{
    begin(HOUR_MS);
    struct message *message = make(3 * QUEUE_WAKE_MAX);
    for (uint32_t i = 0; i < message->rcpt_count; i++) {
        queue_put(&queue, &message->rcpts[i], now_ms + 1000, now_ms);
    }
    pass(1000);
    CHECK_INT(queue.ready_count, QUEUE_WAKE_MAX); /* so many in one turn */
    pass(1);
    pass(1);
    CHECK_INT(queue.ready_count, 3 * QUEUE_WAKE_MAX);
    CHECK_INT(queue.deferred_count, 0);
    end();
}

TEST(who_was_deferred_has_no_due_time_left)
{
    begin(HOUR_MS);
    struct rcpt *rcpts[3];
    for (uint64_t i = 0; i < 3; i++) { /* each has its place in the heap */
        rcpts[i] = put(now_ms + 1000);
        CHECK_INT(rcpts[i]->state, RCPT_DEFERRED);
    }
    pass(1001);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(rcpts[i]->state, RCPT_READY);
        CHECK_INT(rcpts[i]->due_wall_ms, 0);
    }
    end();
}

TEST(what_is_given_back_comes_first_again_in_its_order)
{
    begin(HOUR_MS);
    struct rcpt *first = put(now_ms), *second = put(now_ms), *third = put(now_ms);
    CHECK(take_one() == first);
    CHECK(take_one() == second);
    queue_give_back(&queue, second, now_ms); /* the way a transaction does: from its end */
    queue_give_back(&queue, first, now_ms);
    CHECK_INT(queue.taken_count, 0);
    CHECK(take_one() == first);
    CHECK(take_one() == second);
    CHECK(take_one() == third);
    end();
}

TEST(a_recipient_deferred_by_its_transaction_waits)
{
    begin(HOUR_MS);
    put(now_ms);
    struct rcpt *rcpt = take_first();
    queue_defer(&queue, rcpt, now_ms + 10000, now_ms);
    CHECK_INT(rcpt->state, RCPT_DEFERRED);
    CHECK_INT(queue.taken_count, 0);
    pass(9999);
    CHECK(take_one() == NULL);
    pass(1);
    CHECK(take_one() == rcpt);
    end();
}

TEST(a_recipient_deferred_into_the_past_waits_a_moment_all_the_same)
{
    begin(HOUR_MS);
    put(now_ms);
    struct rcpt *rcpt = take_first();
    queue_defer(&queue, rcpt, now_ms - 10, now_ms);
    CHECK_INT(rcpt->state, RCPT_DEFERRED);
    pass(1);
    CHECK_INT(rcpt->state, RCPT_READY);
    end();
}

TEST(waiting_recipients_may_be_removed_and_taken_ones_not)
{
    begin(HOUR_MS);
    struct rcpt *ready = put(now_ms), *deferred = put(now_ms + 1000);
    CHECK(queue_remove(&queue, deferred));
    CHECK_INT(deferred->state, RCPT_FINAL);
    CHECK(take_one() == ready);
    CHECK(!queue_remove(&queue, ready));
    CHECK_INT(queue.taken_count, 1);
    CHECK_INT(queue.bytes, 100);
    end();
}

/* ---- expiry ---- */

TEST(a_deferred_recipient_expires_at_its_age_and_not_when_it_would_be_due)
{
    begin(HOUR_MS);
    put(now_ms + 10 * HOUR_MS);
    pass(HOUR_MS - 1);
    CHECK_INT(expired_count, 0);
    pass(1);
    CHECK_INT(expired_count, 1);
    CHECK(queue_empty(&queue));
    CHECK_INT(queue.bytes, 0);
    end();
}

TEST(a_ready_recipient_expires_though_nobody_takes_it)
{
    begin(HOUR_MS);
    put(now_ms);
    queue_pause(&queue, true);
    pass(HOUR_MS - 1);
    CHECK_INT(expired_count, 0);
    pass(HOUR_MS / 8 + 1); /* the sweep's interval */
    CHECK_INT(expired_count, 1);
    CHECK(queue_empty(&queue));
    end();
}

TEST(the_sweep_takes_the_old_and_leaves_the_young)
{
    begin(HOUR_MS);
    put(now_ms);
    pass(HOUR_MS / 2);
    struct rcpt *young = put(now_ms);
    pass(HOUR_MS / 2 + HOUR_MS / 8 + 1);
    CHECK_INT(expired_count, 1);
    CHECK(take_one() == young);
    end();
}

TEST(what_is_too_old_on_arrival_expires_at_the_next_turn)
{
    begin(HOUR_MS);
    struct message *message = make(1);
    message->accepted_ms = (int64_t)now_ms - HOUR_MS - 5;
    queue_put(&queue, &message->rcpts[0], now_ms, now_ms);
    CHECK_INT(expired_count, 0); /* never inside the call */
    CHECK(take_one() == NULL);
    pass(1);
    CHECK_INT(expired_count, 1);
    end();
}

TEST(mail_from_before_this_boot_has_its_age)
{
    begin(4 * HOUR_MS);
    struct message *message = make(1);
    message->accepted_ms = -(int64_t)HOUR_MS; /* the machine has been up for 1,000 s */
    queue_put(&queue, &message->rcpts[0], now_ms + 10 * HOUR_MS, now_ms);
    pass(3 * HOUR_MS - 1000000 - 1);
    CHECK_INT(expired_count, 0);
    pass(1);
    CHECK_INT(expired_count, 1);
    end();
}

TEST(a_taken_recipient_does_not_expire)
{
    begin(HOUR_MS);
    put(now_ms);
    struct rcpt *rcpt = take_first();
    pass(2 * HOUR_MS);
    CHECK_INT(expired_count, 0);
    queue_done(&queue, rcpt);
    end();
}

TEST(without_bounce_after_nothing_expires)
{
    begin(UINT64_MAX);
    put(now_ms);
    put(now_ms + 1000);
    pass(1000 * (uint64_t)HOUR_MS);
    CHECK_INT(expired_count, 0);
    CHECK_INT(queue.ready_count, 2);
    end();
}

TEST(a_shorter_bounce_after_holds_at_once)
{
    begin(10 * HOUR_MS);
    put(now_ms);
    pass(HOUR_MS);
    queue_set_bounce_after(&queue, HOUR_MS / 2, now_ms);
    pass(1);
    CHECK_INT(expired_count, 1);
    end();
}

/* ---- the retry clock ---- */

TEST(nothing_leaves_before_the_retry_clock_and_then_it_says_so)
{
    begin(HOUR_MS);
    put(now_ms);
    queue_hold_until(&queue, now_ms + 60000, now_ms);
    CHECK(!queue_sendable(&queue, now_ms));
    pass(59999);
    CHECK(!queue_sendable(&queue, now_ms));
    changed_count = 0;
    pass(1);
    CHECK(changed_count > 0);
    CHECK(queue_sendable(&queue, now_ms));
    CHECK_INT(queue.not_before_ms, 0);
    end();
}

TEST(a_recipient_that_arrives_during_the_hold_waits_for_its_end)
{
    begin(HOUR_MS);
    queue_hold_until(&queue, now_ms + 60000, now_ms);
    pass(1000);
    put(now_ms);
    CHECK(!queue_sendable(&queue, now_ms));
    pass(59000);
    CHECK(queue_sendable(&queue, now_ms));
    end();
}

TEST(a_hold_of_zero_opens_the_queue)
{
    begin(HOUR_MS);
    put(now_ms);
    queue_hold_until(&queue, now_ms + 60000, now_ms);
    queue_hold_until(&queue, 0, now_ms);
    CHECK(queue_sendable(&queue, now_ms));
    end();
}

TEST(retry_now_makes_everything_ready_and_clears_the_clock)
{
    begin(HOUR_MS);
    put(now_ms + 50000);
    put(now_ms + 10000);
    put(now_ms);
    queue_hold_until(&queue, now_ms + 60000, now_ms);
    changed_count = 0;
    queue_retry_now(&queue, now_ms);
    CHECK_INT(queue.ready_count, 3);
    CHECK_INT(queue.deferred_count, 0);
    CHECK(queue_sendable(&queue, now_ms));
    CHECK_INT(changed_count, 1);
    end();
}

TEST(a_paused_queue_sends_nothing_until_it_is_resumed)
{
    begin(HOUR_MS);
    put(now_ms);
    queue_pause(&queue, true);
    CHECK(!queue_sendable(&queue, now_ms));
    changed_count = 0;
    queue_pause(&queue, false);
    CHECK(queue_sendable(&queue, now_ms));
    CHECK_INT(changed_count, 1);
    end();
}

TEST(an_error_is_kept_cut_to_its_room)
{
    begin(HOUR_MS);
    char text[2 * QUEUE_ERROR_MAX];
    memset(text, 'x', sizeof text);
    queue_note_error(&queue, 1234, bytes_of(text, sizeof text));
    CHECK_INT(strlen(queue.last_error->text), QUEUE_ERROR_MAX - 1);
    queue_note_error(&queue, 5678, BYTES("short"));
    CHECK_STRING(queue.last_error->text, "short");
    CHECK_INT(queue.last_error->wall_ms, 5678);
    end();
}

TEST(what_is_put_aside_comes_out_one_by_one_with_its_due_time)
{
    begin(HOUR_MS);
    struct rcpt *ready = put(0), *late = put(now_ms + 500), *later = put(now_ms + 900);
    CHECK(queue_put_aside(&queue));
    CHECK(!queue_put_aside(&queue));
    CHECK_INT(queue_rcpt_count(&queue), 3);
    CHECK(!queue_empty(&queue));
    CHECK(!queue_sendable(&queue, now_ms));
    struct rcpt *fresh = put(0);
    CHECK(take_one() == fresh);
    uint64_t due_ms = 1;
    CHECK(queue_take_aside(&queue, &due_ms) == ready && due_ms == 0);
    CHECK(queue_take_aside(&queue, &due_ms) == late && due_ms == now_ms + 500);
    CHECK(late->queue == NULL && late->due_wall_ms == 0);
    CHECK(queue_take_aside(&queue, &due_ms) == later && due_ms == now_ms + 900);
    CHECK(queue_take_aside(&queue, &due_ms) == NULL);
    CHECK_INT(queue_rcpt_count(&queue), 1);
    queue_done(&queue, fresh);
    CHECK(queue_empty(&queue));
    end();
}

/* ---- walks ---- */

TEST(a_walk_shows_each_that_waits_once_and_leaves_it_there)
{
    begin(HOUR_MS);
    struct rcpt *rcpts[] = {put(now_ms), put(now_ms + 2000), put(now_ms + 1000)};
    for (int round = 0; round < 3; round++) {
        unsigned shown = 0;
        struct rcpt *rcpt;
        queue_walk_begin(&queue);
        while ((rcpt = queue_walk_next(&queue)) != NULL) {
            for (unsigned i = 0; i < 3; i++) {
                shown |= rcpt == rcpts[i] ? 1u << (4 * i) : 0;
            }
        }
        CHECK_INT(shown, 0x111);
        CHECK_INT(queue.ready_count, 1);
        CHECK_INT(queue.deferred_count, 2);
    }
    CHECK(take_one() == rcpts[0]);
    pass(1000);
    CHECK(take_one() == rcpts[2]);
    pass(1000);
    CHECK(take_one() == rcpts[1]);
    end();
}

TEST(mail_leaves_and_expires_in_the_middle_of_a_walk)
{
    begin(HOUR_MS);
    struct rcpt *seen = put(now_ms + 1000), *unseen = put(now_ms + 2000);
    struct rcpt *ready = put(now_ms);
    queue_walk_begin(&queue);
    CHECK(queue_walk_next(&queue) == seen);
    CHECK(take_one() == ready);
    pass(2000);
    CHECK_INT(queue.ready_count, 2);
    CHECK(take_one() == unseen); /* what was not shown goes first */
    CHECK(take_one() == seen);
    put(now_ms + 1000);
    pass(2 * HOUR_MS);
    CHECK_INT(expired_count, 1);
    end();
}

TEST(what_arrives_during_a_walk_is_not_shown)
{
    begin(HOUR_MS);
    struct rcpt *rcpt = put(now_ms);
    queue_walk_begin(&queue);
    put(now_ms);
    put(now_ms + 1000);
    CHECK(queue_walk_next(&queue) == rcpt);
    CHECK(queue_walk_next(&queue) == NULL);
    queue_walk_begin(&queue);
    for (int i = 0; i < 3; i++) {
        CHECK(queue_walk_next(&queue) != NULL);
    }
    CHECK(queue_walk_next(&queue) == NULL);
    end();
}

TEST(who_was_taken_and_came_back_during_a_walk_is_shown_once)
{
    begin(HOUR_MS);
    put(now_ms);
    put(now_ms);
    put(now_ms);
    struct rcpt *back = take_first(), *deferred = take_first(), *taken = take_first();
    queue_walk_begin(&queue);
    CHECK(queue_walk_next(&queue) == NULL); /* all are on the wire */
    queue_give_back(&queue, back, now_ms);
    queue_defer(&queue, deferred, now_ms + 1000, now_ms);
    CHECK(queue_walk_next(&queue) == deferred);
    CHECK(queue_walk_next(&queue) == back);
    CHECK(queue_walk_next(&queue) == NULL);
    CHECK(queue_walk_taken(&queue, taken));
    CHECK(!queue_walk_taken(&queue, taken));
    queue_give_back(&queue, taken, now_ms);
    CHECK(queue_walk_next(&queue) == NULL);
    CHECK_INT(queue.ready_count, 2);
    end();
}

TEST(those_put_aside_in_the_middle_of_a_walk_are_shown_when_they_are_back)
{
    begin(HOUR_MS);
    put(now_ms);
    put(now_ms);
    struct rcpt *deferred = put(now_ms + 1000);
    queue_walk_begin(&queue);
    CHECK(queue_walk_next(&queue) == deferred);
    CHECK(queue_put_aside(&queue));
    CHECK(queue_walk_next(&queue) == NULL);
    struct rcpt *rcpt;
    uint64_t due_ms;
    while ((rcpt = queue_take_aside(&queue, &due_ms)) != NULL) {
        queue_put_back(&queue, rcpt, due_ms, now_ms);
    }
    CHECK(queue_walk_next(&queue) != NULL);
    CHECK(queue_walk_next(&queue) != NULL);
    CHECK(queue_walk_next(&queue) == NULL);
    CHECK_INT(queue.ready_count, 2);
    CHECK_INT(queue.deferred_count, 1);
    end();
}

TEST(one_that_a_walk_shows_may_be_taken_out)
{
    begin(HOUR_MS);
    put(now_ms);
    put(now_ms + 1000);
    struct rcpt *rcpt;
    queue_walk_begin(&queue);
    while ((rcpt = queue_walk_next(&queue)) != NULL) {
        CHECK(queue_remove(&queue, rcpt));
    }
    CHECK(queue_empty(&queue));
    pass(2000);
    CHECK_INT(expired_count, 0);
    end();
}

TEST(the_condemned_end_at_the_next_turn_wherever_they_come_back_to)
{
    begin(UINT64_MAX);
    put(now_ms);
    put(now_ms);
    put(now_ms);
    struct rcpt *back = take_first(), *deferred = take_first(), *left = take_first();
    back->condemned = deferred->condemned = true;
    queue_pause(&queue, true);
    queue_give_back(&queue, back, now_ms);
    queue_defer(&queue, deferred, now_ms + HOUR_MS, now_ms);
    queue_give_back(&queue, left, now_ms);
    CHECK_INT(expired_count, 0);
    pass(1);
    CHECK_INT(expired_count, 2);
    CHECK_INT(queue.ready_count, 1);
    end();
}

TEST(the_condemned_are_not_taken)
{
    begin(HOUR_MS);
    put(now_ms);
    put(now_ms);
    struct rcpt *first = take_first();
    first->condemned = true;
    queue_give_back(&queue, first, now_ms);
    CHECK(take_one() != first);
    CHECK_INT(expired_count, 1);
    end();
}

/* ---- held back ---- */

static const struct rcpt *held_back;

static bool holds(const struct queue *which, const struct rcpt *rcpt)
{
    CHECK(which == &queue);
    return rcpt == held_back;
}

TEST(who_is_held_back_is_parked_wherever_it_would_become_ready)
{
    begin(HOUR_MS);
    held_back = NULL;
    queue_set_holds(&queue, holds);
    held_back = put(now_ms + 1000);
    struct rcpt *other = put(now_ms + 1000);
    pass(1000); /* due */
    CHECK(take_one() == other);
    CHECK(take_one() == NULL);
    queue_retry_now(&queue, now_ms);
    CHECK(take_one() == NULL);
    CHECK_INT(queue.deferred_count, 1);
    uint64_t due_ms;
    CHECK(queue_put_aside(&queue));
    CHECK(queue_take_aside(&queue, &due_ms) == held_back);
    CHECK_INT(due_ms, 0);
    queue_put_back(&queue, (struct rcpt *)(uintptr_t)held_back, due_ms, now_ms);
    CHECK_INT(queue.deferred_count, 1);
    struct rcpt *rcpt = (struct rcpt *)(uintptr_t)held_back;
    held_back = NULL;
    queue_unpark(&queue, rcpt, now_ms);
    CHECK(take_one() == rcpt);
    held_back = rcpt;
    queue_give_back(&queue, rcpt, now_ms);
    CHECK_INT(queue.ready_count, 0);
    CHECK_INT(queue.deferred_count, 1);
    end();
}

TEST(who_is_parked_expires_in_its_time)
{
    begin(HOUR_MS);
    held_back = NULL;
    queue_set_holds(&queue, holds);
    struct rcpt *rcpt = put(now_ms);
    held_back = rcpt;
    queue_park(&queue, rcpt);
    CHECK_INT(queue.deferred_count, 1);
    pass(HOUR_MS - 1);
    CHECK_INT(expired_count, 0);
    pass(1);
    CHECK_INT(expired_count, 1);
    end();
}

TEST(unparking_leaves_those_that_wait_for_their_next_attempt)
{
    begin(UINT64_MAX);
    queue_set_holds(&queue, holds);
    held_back = NULL;
    struct rcpt *rcpt = put(now_ms + 1000);
    queue_unpark(&queue, rcpt, now_ms);
    CHECK_INT(queue.ready_count, 0);
    pass(1000);
    CHECK(take_one() == rcpt);
    end();
}
