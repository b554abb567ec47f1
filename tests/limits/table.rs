//! The table of all limits: each field of `Limits` has a case at one below, at, and one above it, or the table does not pass.

use actix_ipc::config::Limits;
use std::path::Path;

/// Where each limit is tested at -1, 0 and +1: a test of the file.
const CASES: &[(&str, &str, &str)] = &[
    (
        "frame_bytes",
        "tests/limits/main.rs",
        "a_payload_has_at_most_frame_bytes",
    ),
    (
        "message_bytes",
        "tests/limits/shared.rs",
        "a_message_in_pieces_has_at_most_message_bytes",
    ),
    (
        "outbox_bytes",
        "tests/limits/shared.rs",
        "calls_that_wait_for_objects_have_at_most_outbox_bytes",
    ),
    (
        "outbox_bytes",
        "src/actors/deliver.rs",
        "each_threshold_at_minus_one_zero_and_plus_one",
    ),
    (
        "read_bytes",
        "tests/limits/shared.rs",
        "a_gate_closes_at_its_limit_and_at_that_of_all",
    ),
    (
        "read_bytes_total",
        "tests/limits/shared.rs",
        "a_gate_closes_at_its_limit_and_at_that_of_all",
    ),
    (
        "publish_window",
        "tests/limits/main.rs",
        "a_window_may_go_below_zero_once",
    ),
    (
        "stream_window",
        "tests/limits/main.rs",
        "a_window_may_go_below_zero_once",
    ),
    ("open_calls", "tests/limits/main.rs", "counts_of_a_connection"),
    ("names", "tests/limits/main.rs", "counts_of_a_connection"),
    ("subscriptions", "tests/limits/main.rs", "counts_of_a_connection"),
    ("watches", "tests/limits/main.rs", "counts_of_a_connection"),
    ("connections", "tests/limits/main.rs", "connections_are_counted"),
    (
        "handshakes",
        "tests/limits/shared.rs",
        "handshakes_are_counted_until_the_welcome",
    ),
    (
        "memory_bytes_total",
        "src/actors/memory.rs",
        "the_last_bytes_of_a_share_are_not_lost_to_rounding",
    ),
    (
        "memory_bytes_total",
        "tests/limits/shared.rs",
        "names_subscriptions_and_wills_cost_memory",
    ),
    (
        "user_part",
        "src/actors/shares_tests.rs",
        "a_lone_process_at_minus_one_zero_and_plus_one_of_its_share",
    ),
    (
        "attachments",
        "tests/descriptors/frames.rs",
        "each_limit_of_one_frame_at_minus_one_zero_and_plus_one",
    ),
    (
        "descriptors",
        "src/actors/descriptors.rs",
        "each_limit_holds_to_the_descriptor_and_is_named",
    ),
    (
        "descriptors_per_user",
        "src/actors/descriptors.rs",
        "each_limit_holds_to_the_descriptor_and_is_named",
    ),
    (
        "descriptors_total",
        "src/actors/descriptors.rs",
        "each_limit_holds_to_the_descriptor_and_is_named",
    ),
    (
        "descriptor_wait_ms",
        "tests/descriptors/frames.rs",
        "what_no_frame_takes_is_closed_with_its_connection",
    ),
    (
        "attach_unix_sockets",
        "tests/descriptors.rs",
        "a_unix_socket_is_refused_unless_that_is_allowed",
    ),
    (
        "keepalive_ms",
        "src/transport/keepalive.rs",
        "silence_is_asked_twice_and_ends_within_four_intervals",
    ),
    (
        "retained_bytes",
        "tests/limits/main.rs",
        "retained_values_and_wills",
    ),
    (
        "retained_bytes_total",
        "tests/limits/main.rs",
        "retained_values_and_wills",
    ),
    (
        "default_deadline_ms",
        "tests/limits/times.rs",
        "deadlines_are_set_and_cut",
    ),
    (
        "max_deadline_ms",
        "tests/limits/times.rs",
        "deadlines_are_set_and_cut",
    ),
    (
        "handshake_ms",
        "tests/limits/times.rs",
        "a_handshake_has_its_time",
    ),
    (
        "frame_progress_ms",
        "tests/limits/times.rs",
        "a_started_frame_has_its_time",
    ),
    (
        "keepalive_ms",
        "src/transport/keepalive.rs",
        "silence_is_asked_twice_and_ends_within_four_intervals",
    ),
    (
        "keepalive_ms",
        "tests/faults/half_open.rs",
        "a_connection_that_nobody_relays_is_found_by_both_sides",
    ),
    (
        "dialect_linger_ms",
        "tests/dialects/strangers.rs",
        "what_a_client_asked_that_is_gone_is_cancelled",
    ),
    (
        "dialect_unread_bytes",
        "src/transport/dialect/bounds_tests.rs",
        "answers_come_together_up_to_their_limit",
    ),
    (
        "dialect_document_bytes",
        "src/transport/dialect/bounds_tests.rs",
        "a_document_beyond_its_limit_is_answered_and_read_over",
    ),
    (
        "dialect_patience_ms",
        "src/transport/dialect/bounds_tests.rs",
        "a_list_is_waited_for_as_long_as_the_limit_says",
    ),
    (
        "dialect_gap_ms",
        "src/transport/dialect/bounds_tests.rs",
        "documents_follow_each_other_as_the_limit_says",
    ),
    (
        "dialect_ack_ms",
        "src/transport/dialect/bounds_tests.rs",
        "events_are_acknowledged_to_who_waits_for_it",
    ),
    (
        "dialect_calls",
        "src/transport/dialect/bounds_tests.rs",
        "as_many_calls_wait_for_an_owner_as_may",
    ),
    (
        "dialect_call_bytes",
        "src/transport/dialect/bounds_tests.rs",
        "as_many_calls_wait_for_an_owner_as_may",
    ),
    (
        "hold_ms",
        "src/actors/topic_hub/hold.rs",
        "a_hold_ends_at_its_patience",
    ),
    (
        "panic_budget",
        "src/actors/supervise.rs",
        "one_author_is_closed_at_its_third_and_six_authors_end_the_broker",
    ),
    (
        "panics_per_author",
        "src/actors/supervise.rs",
        "one_author_is_closed_at_its_third_and_six_authors_end_the_broker",
    ),
    (
        "attachments",
        "tests/descriptors/frames.rs",
        "each_limit_of_one_frame_at_minus_one_zero_and_plus_one",
    ),
    (
        "descriptors",
        "src/actors/descriptors.rs",
        "each_limit_holds_to_the_descriptor_and_is_named",
    ),
    (
        "descriptors_per_user",
        "src/actors/descriptors.rs",
        "each_limit_holds_to_the_descriptor_and_is_named",
    ),
    (
        "descriptors_total",
        "src/actors/descriptors.rs",
        "each_limit_holds_to_the_descriptor_and_is_named",
    ),
    (
        "descriptor_wait_ms",
        "tests/descriptors/frames.rs",
        "what_no_frame_takes_is_closed_with_its_connection",
    ),
    (
        "attach_unix_sockets",
        "tests/descriptors/readers.rs",
        "an_answer_whose_descriptors_are_refused_is_lost_aloud",
    ),
    (
        "ring_bytes",
        "src/settings/limits.rs",
        "shared_memory_has_a_size_that_it_can_have_and_fits_what_there_is",
    ),
    (
        "ring_bytes_total",
        "tests/limits/main.rs",
        "shared_memory_of_all_has_at_most_ring_bytes_total",
    ),
    (
        "send_window",
        "tests/bus_frames/outcomes.rs",
        "the_window_comes_back_with_what_is_settled_and_not_before",
    ),
    (
        "endpoints",
        "tests/bus_frames/joining.rs",
        "numbers_and_limits_of_endpoints",
    ),
    (
        "endpoints_total",
        "tests/bus_frames/joining.rs",
        "numbers_and_limits_of_endpoints",
    ),
    (
        "endpoint_stall_ms",
        "src/actors/connection/endpoints.rs",
        "an_endpoint_is_stalled_at_its_patience_and_not_before",
    ),
];

#[test]
fn every_limit_has_a_case() {
    let limits = serde_json::to_value(Limits::default()).unwrap();
    let fields: Vec<&String> = limits.as_object().unwrap().keys().collect();
    for field in &fields {
        assert!(
            CASES.iter().any(|(name, ..)| name == field),
            "limits.{field} has no case at -1, 0 and +1: write one and name it here"
        );
    }
    for (field, file, test) in CASES {
        assert!(
            fields.iter().any(|name| name == field),
            "there is no limits.{field}"
        );
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let at = text
            .find(&format!("fn {test}("))
            .unwrap_or_else(|| panic!("{file} has no {test}"));
        assert!(
            ["#[test]", "#[tokio::test]", "async"]
                .iter()
                .any(|mark| text[..at].trim_end().ends_with(mark)),
            "{file}: {test} is no test"
        );
    }
}

#[test]
fn every_limit_is_documented() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let limits = serde_json::to_value(Limits::default()).unwrap();
    for (field, value) in limits.as_object().unwrap() {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| `{field}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/configuration.md has no row for {field}"));
        let told = row.split('|').nth(2).unwrap().trim().replace(',', "");
        assert_eq!(told, value.to_string(), "the default of {field}");
    }
}
