//! `rob listen` and `rob send` against a real broker: nothing is lost, and gaps are told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unit_arg,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(all(feature = "cli", unix))]

#[path = "support/mod.rs"]
mod support;

use actix_ipc::{IpcClient, Payload};
use futures::executor::block_on;
use support::Broker;

#[test]
fn the_event_of_the_document() {
    let broker = Broker::start();
    let listener = broker.start_rob("listen sensor temperature --count 2");
    assert_eq!(
        listener.line(),
        "Listening for: object=sensor method=temperature. Press ctrl+c to exit."
    );
    for _ in 0..2 {
        let sent = broker.rob("send sensor temperature s 25.6°C");
        assert_eq!((sent.success(), sent.stderr.as_str()), ("Result:\nNull\n", ""));
    }
    let ended = listener.end();
    assert_eq!(ended.success(), "\nResult:\n\"25.6°C\"\n\nResult:\n\"25.6°C\"\n");
}

#[test]
fn nothing_after_the_listening_line_is_lost() {
    let broker = Broker::start();
    let client = block_on(IpcClient::connect_to(broker.endpoint().parse().unwrap())).unwrap();
    for round in 0..20 {
        let listener = broker.start_rob("listen o t --json --count 1");
        // With --json only values are data.
        assert!(
            listener
                .error_line()
                .starts_with("Listening for: object=o method=t.")
        );
        block_on(client.publish("o", "t", &round).acknowledged()).unwrap();
        assert_eq!(listener.end().success(), format!("{round}\n"));
    }
}

#[test]
fn what_was_sent_has_arrived_when_rob_has_ended() {
    let broker = Broker::start();
    let client = block_on(IpcClient::connect_to(broker.endpoint().parse().unwrap())).unwrap();
    let mut events = block_on(client.subscribe("o", "t").into_future()).unwrap();
    for round in 0..10 {
        broker
            .rob(&format!("--json send o t {{i}} round {round}"))
            .success();
        let event = block_on(events.next()).unwrap();
        assert_eq!(
            &event.payload.bytes[..],
            format!("{{\"round\":{round}}}").as_bytes()
        );
    }
}

#[test]
fn events_of_every_encoding_are_shown() {
    let broker = Broker::start();
    let client = block_on(IpcClient::connect_to(broker.endpoint().parse().unwrap())).unwrap();
    let listener = broker.start_rob("listen o t --count 2");
    listener.line();
    for payload in [Payload::raw(&b"\xfe"[..]), Payload::json("\u{1b}[2J").unwrap()] {
        block_on(client.publish_payload("o", "t", payload).acknowledged()).unwrap();
    }
    assert_eq!(
        listener.end().success(),
        "\nResult:\nraw, 1 byte: fe\n\nResult:\n\"\\u{1b}[2J\"\n"
    );
}

#[test]
fn a_listener_can_lose_patience() {
    let broker = Broker::start();
    let ended = broker.rob("listen sensor temperature --timeout 0.05");
    assert_eq!(ended.code(), 4);
    assert_eq!(
        ended.stderr,
        "rob: listen sensor.temperature: no event within 0.05 s\n"
    );
}

#[test]
fn a_listener_goes_on_after_the_broker_came_back() {
    let broker = Broker::start();
    let listener = broker.start_rob("listen o t --json --count 1");
    listener.error_line();
    let broker = broker.restart();
    assert!(listener.error_line().contains("the connection was lost"));
    let again = "rob: connected again and listening; what was published in between is missing";
    assert_eq!(listener.error_line(), again);
    broker.rob("send o t i 7").success();
    assert_eq!(listener.end().success(), "7\n");
}

#[test]
fn an_impossible_name_is_a_usage_error() {
    let broker = Broker::start();
    let line = format!("send {} t i 1", "o".repeat(256));
    let ended = broker.rob(&line);
    assert_eq!(ended.code(), 2, "{ended:#?}");
    assert!(
        ended.stderr.contains("a name has at most 255 bytes"),
        "{}",
        ended.stderr
    );
}
