//! The weaknesses of the older broker, in the order in which they were found there, each with its proofs; and that those exist.

use std::path::Path;

/// Each weakness with the tests that prove that it is none here.
const WEAKNESSES: &[(&str, &[(&str, &str)])] = &[
    (
        "1: any client takes any name",
        &[("tests/old_weaknesses.rs", "a_name_cannot_be_taken_from_its_owner")],
    ),
    (
        "2: replies can be forged, call numbers are global and chosen by the caller",
        &[
            (
                "tests/old_weaknesses.rs",
                "an_answer_counts_only_from_who_was_called_and_once",
            ),
            (
                "tests/old_weaknesses.rs",
                "equal_call_numbers_of_two_callers_do_not_meet",
            ),
        ],
    ),
    (
        "3: callers of a dead or unknown object hang",
        &[
            ("tests/old_weaknesses.rs", "callers_of_a_dead_worker_are_told"),
            (
                "tests/old_weaknesses.rs",
                "a_call_without_an_object_or_a_method_fails_at_once",
            ),
            (
                "tests/kill.rs",
                "callers_of_a_killed_worker_have_their_errors_at_once",
            ),
        ],
    ),
    (
        "4: entries of failed calls and of empty topics stay",
        &[(
            "tests/old_weaknesses.rs",
            "failed_calls_and_empty_topics_leave_nothing_behind",
        )],
    ),
    (
        "5: one full queue stops the publisher's reader, and a client can lock itself",
        &[
            (
                "tests/old_weaknesses.rs",
                "a_client_that_hears_itself_does_not_lock_itself",
            ),
            (
                "tests/slow_subscribers.rs",
                "one_stopped_subscriber_of_eight_costs_the_others_nothing",
            ),
            (
                "tests/full_queues.rs",
                "a_held_publisher_still_calls_and_is_called",
            ),
        ],
    ),
    (
        "6: after a failed write everybody who sends to that connection blocks",
        &[("tests/old_weaknesses.rs", "who_closes_its_end_blocks_nobody")],
    ),
    (
        "7: an event between call and answer is taken for the answer",
        &[(
            "tests/old_weaknesses.rs",
            "events_between_call_and_answer_stay_events",
        )],
    ),
    (
        "8: one call at a time, and a slow one stops events",
        &[
            (
                "tests/old_weaknesses.rs",
                "events_between_call_and_answer_stay_events",
            ),
            (
                "tests/client_calls/streams.rs",
                "dropping_a_call_or_a_stream_drops_the_handler",
            ),
        ],
    ),
    (
        "9: the client never reconnects",
        &[
            (
                "tests/client_reconnect.rs",
                "everything_comes_back_with_a_new_broker_at_the_old_place",
            ),
            (
                "tests/client_reconnect.rs",
                "open_calls_end_at_once_and_say_that_they_may_have_run",
            ),
        ],
    ),
    (
        "10: the seventeenth unread value ends a subscription",
        &[(
            "tests/old_weaknesses.rs",
            "a_thousand_unread_events_are_all_there",
        )],
    ),
    (
        "11: what was published just before the end is lost",
        &[
            (
                "tests/client_events.rs",
                "dropping_the_client_at_once_loses_nothing_that_was_published",
            ),
            (
                "tests/rob_events.rs",
                "what_was_sent_has_arrived_when_rob_has_ended",
            ),
        ],
    ),
    (
        "12: a worker serves one call at a time; a panic or a large answer answers nobody",
        &[(
            "tests/old_weaknesses.rs",
            "slow_calls_panics_and_large_answers_stop_no_other_call",
        )],
    ),
    (
        "13: any client has programs started under any name",
        &[("tests/old_weaknesses.rs", "no_name_and_no_text_starts_anything")],
    ),
    (
        "14: one request of a client ends the whole broker",
        &[
            (
                "tests/supervision.rs",
                "a_thousand_panics_of_each_core_actor_lose_nothing",
            ),
            (
                "tests/broker_frames.rs",
                "a_protocol_error_closes_with_a_reason_and_hurts_nobody_else",
            ),
        ],
    ),
    (
        "15: a second broker takes the socket of a living one; nobody knows who connects",
        &[
            (
                "tests/broker_cli.rs",
                "a_second_broker_names_the_endpoint_and_the_first",
            ),
            (
                "tests/old_weaknesses.rs",
                "the_callee_knows_who_calls_from_the_kernel",
            ),
        ],
    ),
    (
        "buffers and queues without a bound",
        &[
            ("tests/limits/table.rs", "every_limit_has_a_case"),
            (
                "tests/neighbours.rs",
                "beside_one_that_leaves_calls_open_until_refused",
            ),
        ],
    ),
];

#[test]
fn every_weakness_has_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (weakness, proofs) in WEAKNESSES {
        assert!(!proofs.is_empty(), "{weakness}");
        for (file, test) in *proofs {
            let text = std::fs::read_to_string(root.join(file)).unwrap();
            assert!(
                text.contains(&format!("fn {test}(")),
                "{weakness}: {file} has no {test}"
            );
        }
    }
}
