/* One list of facts about io.h and work.h, held against every implementation of them.
 *
 * Knows nothing but those headers: the kernel's (tests/kernel/test_io_uring.c) and the simulated
 * one (tests/sim) link the same facts and must agree on each. A main makes a world per fact,
 * fills a `struct contract` and calls the fact; a fact leaves no op in flight and no descriptor
 * open. One thread, the io's own. */
#ifndef TESTS_KERNEL_CONTRACT_H
#define TESTS_KERNEL_CONTRACT_H

#include <stdbool.h>
#include <stdint.h>

#include "io/io.h"
#include "io/work.h"

/* The io of a fact is created with exactly these: facts fill its queues. */
#define CONTRACT_ENTRIES           8
#define CONTRACT_RECV_BUFFER_BYTES 512
#define CONTRACT_RECV_BUFFER_COUNT 4
#define CONTRACT_WORK_QUEUE        4

/* 127.0.0.0/8 and ::1 are local to the world, 192.0.2.0/24 (RFC 5737) is not; listening on port 0
 * takes a free one. */
struct contract {
    struct io *io;
    const char *directory;  /* an existing, empty directory; no slash at its end */
    struct work_pool *pool; /* one thread, at most CONTRACT_WORK_QUEUE jobs wait */
    bool threads;           /* pthread_create is of use here: false in a simulated world */
    int failures;           /* counted by the facts, one line printed for each */
};

/* Use: CONTRACT_SOCKET_FACTS(FACT) with `#define FACT(name) TEST(name) { … contract_##name … }`. */
#define CONTRACT_SOCKET_FACTS(FACT)                                                                \
    FACT(a_connection_carries_bytes_both_ways)                                                     \
    FACT(ipv6_carries_bytes_too)                                                                   \
    FACT(a_unix_listener_replaces_an_old_socket_and_stops)                                         \
    FACT(a_send_of_8_mb_to_a_slow_reader_comes_home_once_and_whole)                                \
    FACT(a_send_of_many_pieces_keeps_their_order)                                                  \
    FACT(a_send_of_nothing_comes_home_with_0)                                                      \
    FACT(a_receive_ends_with_0_when_the_peer_has_closed)                                           \
    FACT(after_a_half_close_the_other_direction_still_works)                                       \
    FACT(an_aborted_connection_is_seen_as_reset)                                                   \
    FACT(a_send_to_a_peer_that_went_away_fails_without_a_signal)                                   \
    FACT(a_cancelled_receive_comes_home_once)                                                      \
    FACT(a_cancelled_send_comes_home_once)                                                         \
    FACT(a_cancelled_connect_comes_home_once)                                                      \
    FACT(a_cancelled_poll_comes_home_once)                                                         \
    FACT(cancel_of_an_op_that_is_home_does_nothing)                                                \
    FACT(nothing_comes_home_inside_the_submitting_call)                                            \
    FACT(an_op_may_be_submitted_again_from_its_own_done)                                           \
    FACT(more_receivers_than_buffers_all_get_their_bytes)                                          \
    FACT(receives_beyond_the_buffers_can_be_cancelled)                                             \
    FACT(more_ops_than_queue_entries_all_come_home)

#define CONTRACT_LISTENER_FACTS(FACT)                                                              \
    FACT(a_stopped_acceptor_says_so_last)                                                          \
    FACT(a_paused_acceptor_leaves_connections_in_the_backlog)                                      \
    FACT(an_acceptor_paused_and_resumed_at_once_goes_on)                                           \
    FACT(an_acceptor_may_be_stopped_while_paused)                                                  \
    FACT(the_peer_sees_the_source_address_we_bound)                                                \
    FACT(binding_to_an_address_that_is_not_ours_is_refused)                                        \
    FACT(freebind_takes_an_address_that_is_not_ours)                                               \
    FACT(a_connection_to_a_closed_port_is_refused)                                                 \
    FACT(a_second_listener_shares_the_port)                                                        \
    FACT(listening_on_an_address_that_is_not_ours_is_refused)                                      \
    FACT(local_addresses_hold_loopback)                                                            \
    FACT(poll_says_when_a_socket_can_be_read)

#define CONTRACT_TURN_FACTS(FACT)                                                                  \
    FACT(a_run_ends_at_its_deadline)                                                               \
    FACT(a_run_until_the_past_does_not_wait)                                                       \
    FACT(timers_fire_in_order_and_not_early)                                                       \
    FACT(completions_come_before_timers_of_the_same_turn)                                          \
    FACT(the_clock_stands_still_within_a_turn)                                                     \
    FACT(a_wake_up_ends_the_coming_run)                                                            \
    FACT(a_wake_up_from_another_thread_ends_a_sleep)                                               \
    FACT(random_numbers_differ)                                                                    \
    FACT(a_job_runs_and_comes_home)                                                                \
    FACT(a_full_job_queue_is_refused)

#define CONTRACT_FILE_FACTS(FACT)                                                                  \
    FACT(written_bytes_are_read_back)                                                              \
    FACT(a_synced_write_moves_all_its_pieces)                                                      \
    FACT(a_read_past_the_end_is_short)                                                             \
    FACT(a_write_beyond_the_end_leaves_zeros_before_it)                                            \
    FACT(a_write_of_many_pieces_keeps_their_order)                                                 \
    FACT(blocking_and_queued_file_calls_see_the_same_bytes)                                        \
    FACT(an_allocated_file_has_its_length_and_keeps_what_it_had)                                   \
    FACT(exclusive_creation_fails_when_the_file_is_there)                                          \
    FACT(append_and_truncate_do_as_they_say)                                                       \
    FACT(rename_replaces_and_unlink_removes)                                                       \
    FACT(a_directory_is_walked_in_sorted_order)                                                    \
    FACT(a_second_lock_is_refused_until_the_first_is_closed)                                       \
    FACT(file_errors_are_the_kernels)                                                              \
    FACT(there_is_space_to_ask_for)

#define CONTRACT_DECLARE(name) void contract_##name(struct contract *contract);
CONTRACT_SOCKET_FACTS(CONTRACT_DECLARE)
CONTRACT_LISTENER_FACTS(CONTRACT_DECLARE)
CONTRACT_TURN_FACTS(CONTRACT_DECLARE)
CONTRACT_FILE_FACTS(CONTRACT_DECLARE)
#undef CONTRACT_DECLARE

#endif
