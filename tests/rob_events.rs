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
#![cfg(feature = "cli")]

#[path = "support/signals.rs"]
mod signals;
#[path = "support/mod.rs"]
mod support;

use actix_ipc::{IpcClient, Payload};
use futures::executor::block_on;
use std::io::Write;
use support::{Broker, Process};

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
        let told = "Queued for 1 subscriber.\n";
        assert_eq!((sent.success(), sent.stderr.as_str()), ("Result:\nNull\n", told));
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
    let again = r#"{"warning":{"message":"connected again and listening; what was published in between is missing"}}"#;
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

#[test]
fn patterns_show_the_names_of_each_event() {
    let broker = Broker::start();
    let listener = broker.start_rob("listen sensor.* ** --count 2");
    assert_eq!(
        listener.line(),
        "Listening for: object=sensor.* method=**. Press ctrl+c to exit."
    );
    let programs = broker.start_rob("listen ** door.open --json --count 1");
    programs.error_line();
    broker.rob("send sensor.hall temperature d 21.5").success();
    broker.rob("send other.hall temperature d 1").success();
    broker
        .rob("send sensor.attic door.open j 12345678901234567890123")
        .success();
    assert_eq!(
        listener.end().success(),
        "\nEvent: object=sensor.hall method=temperature\nResult:\n21.5\n\n\
         Event: object=sensor.attic method=door.open\nResult:\n1.2345678901234568e+22\n"
    );
    assert_eq!(
        programs.end().success(),
        "{\"object\":\"sensor.attic\",\"topic\":\"door.open\",\"value\":12345678901234567890123}\n"
    );
}

#[test]
fn a_star_may_be_a_letter() {
    let broker = Broker::start();
    let listener = broker.start_rob("listen a* t --exact --count 1 --quiet");
    let client = block_on(IpcClient::connect_to(broker.endpoint().parse().unwrap())).unwrap();
    // With --quiet nothing says that it listens.
    let sent = block_on(client.publish("a*", "t", &1).retained().acknowledged());
    sent.unwrap();
    assert_eq!(listener.end().success(), "\nResult:\n1\n");
    let ended = broker.rob("listen a* t");
    assert_eq!(ended.code(), 2, "{ended:#?}");
    assert!(ended.stderr.contains("--exact"), "{}", ended.stderr);
    let ended = broker.rob("listen a* t --exact --new --timeout 0.1");
    assert_eq!(ended.code(), 4, "what was retained is not new");
}

#[test]
fn a_group_of_listeners_shares_the_events() {
    let broker = Broker::start();
    let listeners = [(); 2].map(|()| {
        let listener = broker.start_rob("listen jobs new --group g --count 1 --json");
        listener.error_line();
        listener
    });
    broker.rob("send jobs new i 1").success();
    broker.rob("send jobs new i 2").success();
    let mut heard = listeners.map(|listener| listener.end().success().to_owned());
    heard.sort();
    assert_eq!(heard, ["1\n", "2\n"]);
}

/// Runs `rob` with this text on standard input.
fn rob_with(broker: &Broker, line: &str, input: &str) -> support::Ended {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input.as_bytes()).unwrap();
    file.rewind().unwrap();
    support::run(broker.rob_command(line.split_whitespace()).stdin(file))
}

#[test]
fn who_sends_is_told_to_how_many() {
    let broker = Broker::start();
    let nobody = broker.rob("--json send sensor temperature i 1");
    assert_eq!(
        (nobody.success(), nobody.stderr.as_str()),
        ("{\"events\":1,\"queued\":0}\n", "")
    );
    let listeners = ["listen sensor temperature", "listen sensor.* **"].map(|line| {
        let listener = broker.start_rob(&format!("{line} --count 3"));
        listener.line();
        listener
    });
    let lines = rob_with(&broker, "--json send sensor temperature --lines", "1\n2\n");
    assert_eq!(lines.success(), "{\"events\":2,\"queued\":2}\n");
    let one = rob_with(&broker, "send sensor temperature j -", "{\"a\": 3}");
    assert_eq!(one.stderr, "Queued for 1 subscriber.\n");
    let [exact, pattern] = listeners;
    assert!(exact.end().success().ends_with("a :: 3\n"));
    broker.rob("send sensor.hall x i 1").success();
    drop(pattern);
    let quiet = broker.rob("send sensor temperature i 1 --quiet");
    assert_eq!((quiet.success(), quiet.stderr.as_str()), ("", ""));
    let wrong = broker.rob("send sensor temperature {si} room -");
    assert!(
        wrong
            .stderr
            .contains("`-` in place of the signature reads one JSON value"),
        "{wrong:#?}"
    );
}

#[test]
fn a_broker_that_hangs_ends_what_is_sent() {
    let broker = Broker::start();
    let (input, mut lines) = std::io::pipe().unwrap();
    let mut command = broker.rob_command(["send", "o", "t", "--lines", "--timeout", "3"]);
    let sending = Process::spawn(command.stdin(input));
    drop(command);
    lines.write_all(b"1\n").unwrap();
    let published =
        || serde_json::from_str::<serde_json::Value>(broker.rob("--json call sys.broker status").success());
    while published().unwrap()["metrics"]["events_published"] == 0 {}
    let hanging = signals::stop(&broker.process);
    lines.write_all(b"2\n").unwrap();
    let ended = sending.end();
    drop(hanging);
    assert_eq!(ended.code(), 4, "{ended:#?}");
    assert!(ended.stderr.contains("line 2 of standard input: "), "{ended:#?}");
}

#[test]
fn lines_of_standard_input_are_events() {
    let broker = Broker::start();
    let listener = broker.start_rob("listen o t --json --count 5");
    listener.error_line();
    let sent = rob_with(&broker, "send o t --lines", "1\n{\"a\": 2}\n");
    assert_eq!(
        (sent.success(), sent.stderr.as_str()),
        ("Result:\nNull\n", "Sent 2 events, queued 2 times.\n")
    );
    rob_with(&broker, "send o t --lines s --quiet", "three 3\n\n").success();
    let sent = rob_with(&broker, "send o t --lines (i)", "5\nsix\n7\n");
    assert_eq!(sent.code(), 2);
    assert_eq!(
        sent.stderr,
        "rob: line 2 of standard input: argument 1, \"six\", is not an integer\n"
    );
    assert_eq!(listener.end().success(), "1\n{\"a\":2}\n\"three 3\"\n\"\"\n[5]\n");
}

#[test]
fn standard_input_is_one_value() {
    let broker = Broker::start();
    let listener = broker.start_rob("listen o t --json --count 1");
    listener.error_line();
    rob_with(
        &broker,
        "send o t -",
        "\n {\"z\": 1,\n \"a\": 12345678901234567890123} \n",
    )
    .success();
    assert_eq!(
        listener.end().success(),
        "{\"z\":1,\"a\":12345678901234567890123}\n"
    );
    for input in ["", "1 2", "{\"a\":", "\u{fffd}x"] {
        let sent = rob_with(&broker, "send o t -", input);
        assert_eq!(sent.code(), 2, "{input:?}");
        assert!(
            sent.stderr
                .contains("standard input, for `-`: not one JSON value"),
            "{}",
            sent.stderr
        );
    }
}

/// A client whose subscriptions are known to the broker.
fn subscribers(broker: &Broker, count: usize) -> (IpcClient, Vec<actix_ipc::client::Subscription>) {
    let client = block_on(IpcClient::connect_to(broker.endpoint().parse().unwrap())).unwrap();
    let one = |_| block_on(client.subscribe("o", "t").into_future()).unwrap();
    let all = (0..count).map(one).collect();
    (client, all)
}

#[test]
fn a_watch_says_what_it_was_not_told_and_shows_when_it_vanishes() {
    let broker = Broker::start();
    let clients: Vec<_> = (0..34).map(|_| subscribers(&broker, 1)).collect();
    let watch = broker.start_rob("--json watch --subscriptions");
    let warning = watch.error_line();
    assert!(
        warning.contains("names 32 connections of the 34 subscriptions to o.t"),
        "{warning}"
    );
    let line = || serde_json::from_str::<serde_json::Value>(&watch.line()).unwrap();
    let present: Vec<_> = (0..32).map(|_| line()["peer"].as_u64().unwrap()).collect();
    let mut all: Vec<_> = clients.iter().map(|(client, _)| client.peer_id().0).collect();
    drop(clients);
    // Those that were shown, and those that were not.
    let mut vanished: Vec<_> = (0..34)
        .map(|_| {
            let line = line();
            assert_eq!(line["what"], "vanished", "{line}");
            line["peer"].as_u64().unwrap()
        })
        .collect();
    assert!(present.iter().all(|peer| all.contains(peer)));
    all.sort_unstable();
    vanished.sort_unstable();
    assert_eq!(vanished, all);
}

#[test]
fn a_watch_shows_each_end_of_what_a_client_has_twice() {
    let broker = Broker::start();
    let (_client, all) = subscribers(&broker, 2);
    let watch = broker.start_rob("--json watch --subscriptions --count 2");
    assert!(watch.line().contains("present"));
    drop(all);
    let ended = watch.end();
    let told = ended.success().lines().filter(|line| line.contains("vanished"));
    assert_eq!(told.count(), 2, "{ended:#?}");
}

#[test]
fn a_sender_of_lines_ends_with_its_broker_also_while_no_line_comes() {
    let mut broker = Broker::start();
    let client = block_on(IpcClient::connect_to(broker.endpoint().parse().unwrap())).unwrap();
    let mut events = block_on(client.subscribe("app", "log").into_future()).unwrap();
    let mut command = broker.rob_command(["send", "app", "log", "--lines", "s"]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let sender = Process::spawn(command.stdin(reader));
    drop(command);
    writer.write_all(b"one\n").unwrap();
    // It is connected, and waits for the next line.
    assert_eq!(&block_on(events.next()).unwrap().payload.bytes[..], b"\"one\"");
    drop((events, client));
    broker.process.kill();
    let ended = sender.end();
    // As when the next line comes after the end.
    assert_eq!(ended.code(), 5, "{ended:#?}");
    assert!(ended.stderr.starts_with("rob: send app.log: "), "{ended:#?}");
    drop(writer);
}
