//! Who joins, who does not, and what a broker that hosts a bus takes before.

use crate::raw::Raw;
use crate::running::Running;
use crate::*;
use actix_ipc::actors::{Broker, BusOptions};
use actix_ipc::config::Limits;
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::metadata;
use actix_ipc::policy::{Policy, Right, Rule, Who};

fn hosted() -> Running {
    Running::built(|| Broker::builder().bus(BusOptions::new(b"secret")))
}

fn ask_to_join(raw: &mut Raw, payload: &[u8]) -> Got {
    let id = raw.id();
    raw.ask(&Draft::new(Kind::Join, id).payload(Encoding::RAW, payload))
}

#[test]
fn only_who_knows_the_token_and_speaks_the_version_joins() {
    let broker = hosted();
    let [mut raw] = broker.connect_all();
    let right = join_payload(b"secret", &["earth"]);
    let mut later = right.clone();
    later[0] = 2;
    let long = [right.clone(), b"x".to_vec()].concat();
    let refused = [
        (join_payload(b"", &["earth"]), ErrorCode::TokenRefused),
        (join_payload(b"secres", &[]), ErrorCode::TokenRefused),
        (join_payload(b"secret ", &[]), ErrorCode::TokenRefused),
        (later, ErrorCode::BusVersion),
        (vec![1], ErrorCode::Invalid),
        (long, ErrorCode::Invalid),
    ];
    for (payload, code) in refused {
        let got = ask_to_join(&mut raw, &payload);
        assert_eq!(got.error(), (code, false), "{}", got.text());
        if code == ErrorCode::BusVersion {
            let ours = metadata::get(&got.meta, "bus.version").unwrap();
            assert_eq!(ours, BUS_VERSION.to_le_bytes());
        }
    }
    let got = ask_to_join(&mut raw, &right);
    assert_eq!((got.kind, got.aux), (Kind::Done, 0), "{}", got.text());
    raw.send(&message(1, &to("earth"), &body("to myself")));
    assert_eq!(hear(&mut raw, got.id), "to myself");
    assert_eq!(broker.handle.metrics().denied, 3, "wrong tokens are counted");
}

#[test]
fn many_wrong_tokens_are_answered_late_and_no_other_is_looked_at_meanwhile() {
    let broker = hosted();
    let [mut guesser, mut member] = broker.connect_all();
    let (wrong, right) = (join_payload(b"wrong", &[]), join_payload(b"secret", &[]));
    for _ in 0..5 {
        let got = ask_to_join(&mut guesser, &wrong);
        assert_eq!(got.error(), (ErrorCode::TokenRefused, false));
    }
    let join = |id, payload| Draft::new(Kind::Join, id).payload(Encoding::RAW, payload);
    // The right one among them is refused unseen; a ping shows that the answers are yet to come.
    guesser.send_all(&[join(101, &wrong), join(102, &right), join(103, &wrong)]);
    guesser.ping();
    assert_eq!(
        ask_to_join(&mut member, &right).kind,
        Kind::Done,
        "who knows it does not wait"
    );
    for id in 101..=103 {
        let got = guesser.expect(Kind::Error);
        assert_eq!((got.id, got.error().0), (id, ErrorCode::TokenRefused));
    }
    assert_eq!(ask_to_join(&mut guesser, &right).kind, Kind::Done);
    // Who asks on and on is not answered at all.
    let [mut flood] = broker.connect_all();
    let all: Vec<_> = (1..100).map(|id| join(id, &wrong)).collect();
    flood.send_all(&all);
    assert_eq!(flood.goodbye().0, CloseReason::Denied);
}

#[test]
fn a_bus_takes_nothing_but_pings_from_who_has_not_joined() {
    let broker = hosted();
    let [mut raw, mut other] = broker.connect_all();
    raw.ping();
    let id = raw.id();
    raw.send(&Draft::new(Kind::Register, id).key(b"lamp"));
    assert_eq!(raw.goodbye().0, CloseReason::Denied);
    other.send(&message(1, &to("earth"), &body("x")));
    assert_eq!(other.goodbye().0, CloseReason::Denied);
    let [mut member] = broker.connect_all();
    assert_eq!(
        ask_to_join(&mut member, &join_payload(b"secret", &[])).kind,
        Kind::Done
    );
    assert_eq!(
        member.register("lamp").kind,
        Kind::Done,
        "who has joined may do all else"
    );
}

#[test]
fn an_ordinary_broker_asks_for_no_token_and_one_under_a_policy_lets_nobody_join() {
    let broker = Running::start(Limits::default());
    let [mut raw] = broker.connect_all();
    assert_eq!(raw.welcome.unwrap().send_window, 1 << 20);
    let got = ask_to_join(&mut raw, &join_payload(b"x", &[]));
    assert_eq!(got.error().0, ErrorCode::TokenRefused);
    join(&mut raw, &["earth"]);
    let rule = Rule::allow([Who::Everyone]).plain(Right::Connect);
    broker.handle.set_policy(Policy::new(vec![rule]));
    raw.send(&message(1, &to("earth"), &body("x")));
    assert_eq!(outcome(&mut raw), (1, 1, Outcome::Denied, false, 0));
    let [mut late] = broker.connect_all();
    assert_eq!(late.welcome.unwrap().send_window, 0);
    let got = ask_to_join(&mut late, &join_payload(b"", &[]));
    assert_eq!(got.error().0, ErrorCode::Denied);
}

#[test]
fn numbers_and_limits_of_endpoints() {
    let broker = Running::start(Limits {
        endpoints: 2,
        endpoints_total: 3,
        ..Limits::default()
    });
    let [mut one, mut two] = broker.connect_all();
    let first = join(&mut one, &["a"]);
    let again = Draft::new(Kind::Join, first);
    let payload = join_payload(b"", &["b"]);
    assert_eq!(
        one.fails(&again.payload(Encoding::RAW, &payload)).0,
        ErrorCode::Invalid
    );
    join(&mut one, &["a", "b"]);
    assert_eq!(ask_to_join(&mut one, &payload).error().0, ErrorCode::TooMany);
    join(&mut two, &[]);
    let got = ask_to_join(&mut two, &payload);
    assert_eq!(got.error().0, ErrorCode::TooMany);
    assert!(got.text().contains("endpoints_total"), "{}", got.text());
    assert_eq!(broker.handle.metrics().endpoints, 3);
    for _ in 0..2 {
        // The second time there is none, and it is the same.
        assert_eq!(one.ask(&Draft::new(Kind::Leave, first)).kind, Kind::Done);
    }
    assert_eq!(broker.handle.metrics().endpoints, 2);
    assert_eq!(ask_to_join(&mut two, &payload).kind, Kind::Done);
    one.send(&message(1, &to("a"), &body("x")));
    let got = one.expect(Kind::Message);
    assert_ne!(got.id, first, "it has left");
}
