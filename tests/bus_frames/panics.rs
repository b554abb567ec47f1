//! Registry panics over a message: what was accepted is not lost, and each message has one outcome.
//!
//! A selector whose first label begins with `inject.before` panics before the index is asked, one with `inject.after` when the step
//! is done. Needs the feature `inject-panics`, which no default build has.

use crate::running::Running;
use crate::*;
use actix_ipc::config::Limits;

/// Panics on purpose print nothing; others print what they always do.
fn quiet() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&"injected") {
            usual(info);
        }
    }));
}

#[test]
fn endpoints_and_waiting_messages_survive_a_panic_and_each_message_has_one_outcome() {
    quiet();
    let broker = Running::start(Limits {
        panic_budget: u32::MAX,
        panics_per_author: u32::MAX,
        ..Limits::default()
    });
    let [mut sender, mut receiver, mut late] = broker.connect_all();
    let earth = join(&mut receiver, &["earth"]);
    let after = join(&mut receiver, &["inject.after"]);
    let keys = [to("earth"), to("inject.before"), to("inject.after"), to("later")];
    let payload = body("m");
    let long = 3_000_000;
    for round in 0..20_u64 {
        let id = |number| round * 10 + number;
        sender.send_all(&[
            message(id(1), &keys[3], &payload).aux(long),
            message(id(2), &keys[0], &payload),
            message(id(3), &keys[1], &payload).aux(long),
            message(id(4), &keys[0], &payload),
            message(id(5), &keys[2], &payload),
            message(id(6), &keys[0], &payload),
        ]);
        let got: Vec<u64> = receiver.read_all(4).iter().map(|got| got.id).collect();
        assert_eq!(got, [earth, earth, after, earth]);
        take(&mut receiver, earth, 3);
        take(&mut receiver, after, 1);
        let mut told: Vec<_> = outcomes(&mut sender, 5);
        told.sort_unstable();
        let expected = [
            (id(2), Outcome::Taken, true, 1),
            (id(3), Outcome::Cancelled, false, 0),
            (id(4), Outcome::Taken, true, 1),
            (id(5), Outcome::Taken, true, 1),
            (id(6), Outcome::Taken, true, 1),
        ];
        assert_eq!(told, expected);
    }
    assert_eq!(broker.handle.metrics().panics, 40);
    assert_eq!(broker.handle.metrics().endpoints, 2);
    let later = join(&mut late, &["later"]);
    (0..20).for_each(|_| drop(hear(&mut late, later)));
    take(&mut late, later, 20);
    let told: Vec<u64> = outcomes(&mut sender, 20).iter().map(|it| it.0).collect();
    assert_eq!(told, (0..20).map(|round| round * 10 + 1).collect::<Vec<_>>());
    assert_eq!(late.ask(&Draft::new(Kind::Leave, later)).kind, Kind::Done);
    sender.send(&message(1_000, &keys[3], &payload));
    assert_eq!(outcome(&mut sender), (1_000, 1, Outcome::NoMatch, false, 0));
}
