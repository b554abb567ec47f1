//! Messages that wait for an endpoint that matches.

use crate::running::Running;
use crate::*;
use actix_ipc::actors::EndReason;
use actix_ipc::config::Limits;

/// Longer than any test.
const LONG: u32 = 3_000_000;

#[test]
fn a_join_ends_the_wait_and_the_order_stays() {
    let broker = Running::start(Limits::default());
    let [mut sender, mut other, mut receiver] = broker.connect_all();
    let (earth, moon) = (to("earth"), to("moon"));
    let payloads: Vec<Vec<u8>> = (0..6).map(|n| body(&n.to_string())).collect();
    sender.send_all(&[
        message(1, &earth, &payloads[0]).aux(LONG),
        message(2, &earth, &payloads[1]).aux(LONG),
        message(3, &moon, &payloads[2]).aux(LONG),
        message(4, &earth, &payloads[3]).aux(LONG - 1),
    ]);
    sender.after_registry();
    other.send(&message(1, &earth, &payloads[4]).aux(LONG));
    other.after_registry();
    let endpoint = join(&mut receiver, &["earth"]);
    sender.send(&message(5, &earth, &payloads[5]));
    let heard: Vec<String> = (0..5).map(|_| hear(&mut receiver, endpoint)).collect();
    assert_eq!(heard, ["0", "1", "3", "4", "5"]);
    take(&mut receiver, endpoint, 5);
    let told: Vec<u64> = outcomes(&mut sender, 4).iter().map(|it| it.0).collect();
    assert_eq!(told, [1, 2, 4, 5]);
    assert_eq!(outcome(&mut other), (1, 1, Outcome::Taken, true, 1));
    let moon = join(&mut receiver, &["moon"]);
    assert_eq!(hear(&mut receiver, moon), "2");
}

#[test]
fn a_wait_ends_with_its_time() {
    let broker = Running::start(Limits::default());
    let [mut sender] = broker.connect_all();
    let (key, payload) = (to("nobody"), body("m"));
    sender.send_all(&[
        message(1, &key, &payload).aux(LONG),
        message(2, &key, &payload).aux(40),
        message(3, &key, &payload).aux(1),
        message(4, &key, &payload),
    ]);
    let mut told: Vec<_> = outcomes(&mut sender, 3);
    assert_eq!(told.remove(0), (4, Outcome::NoMatch, false, 0));
    assert_eq!(
        told,
        [(3, Outcome::NoMatch, false, 0), (2, Outcome::NoMatch, false, 0)]
    );
}

#[test]
fn who_ends_waits_no_more_and_a_drain_tells_those_that_do() {
    let broker = Running::start(Limits::default());
    let [mut sender, mut leaver, mut receiver] = broker.connect_all();
    let (key, payload) = (to("earth"), body("m"));
    leaver.send(&message(1, &key, &payload).aux(LONG));
    leaver.after_registry();
    leaver.send(&Draft::new(Kind::Goodbye, 0).aux(1));
    leaver.goodbye();
    receiver.after_registry();
    let endpoint = join(&mut receiver, &["earth"]);
    receiver.send(&message(1, &key, &body("mine")));
    assert_eq!(hear(&mut receiver, endpoint), "mine", "what waited is gone");
    take(&mut receiver, endpoint, 1);
    sender.send_all(&[message(1, &to("moon"), &payload).aux(LONG)]);
    sender.after_registry();
    broker.begin_stop();
    assert_eq!(outcome(&mut sender), (1, 1, Outcome::Cancelled, false, 0));
    drop((sender, receiver));
    assert_eq!(broker.ended(), EndReason::Drained);
}

#[test]
fn waits_beyond_the_limit_are_refused() {
    let broker = Running::start(Limits {
        watches: 2,
        ..Limits::default()
    });
    let [mut sender] = broker.connect_all();
    let payload = body("m");
    let keys: Vec<Vec<u8>> = (0..3).map(|n| to(&format!("l{n}"))).collect();
    let drafts: Vec<_> = (1..)
        .zip(&keys)
        .map(|(id, key)| message(id, key, &payload).aux(LONG))
        .collect();
    sender.send_all(&drafts);
    assert_eq!(outcome(&mut sender), (3, 1, Outcome::TooLarge, false, 0));
}

/// What waits is charged to its sender, with its bytes: a window of it for each connection would be no bound.
#[test]
#[cfg_attr(
    windows,
    ignore = "a pipe takes less of a large message than a socket does, and there is no memory for the rest of it where others have all"
)]
fn bytes_that_wait_count_against_the_memory() {
    let broker = Running::start(Limits {
        memory_bytes_total: 4 << 20,
        user_part: 1,
        ..Limits::default()
    });
    let [mut receiver] = broker.connect_all();
    let payload = body(&"m".repeat(256 << 10));
    let key = to("earth");
    let mut senders = broker.connect_all::<12>();
    let mut waiting = 0;
    for sender in &mut senders {
        sender.send(&message(1, &key, &payload).aux(LONG));
        sender.after_registry();
        let settled = sender.kept().into_iter().find(|got| got.kind == Kind::Settled);
        match settled {
            None => waiting += 1,
            Some(got) => {
                sender.put_back(vec![got]);
                assert_eq!(outcome(sender), (1, 1, Outcome::TooLarge, false, 0));
                break;
            }
        }
    }
    assert!((1..senders.len()).contains(&waiting), "{waiting}");
    // What has found somebody makes room.
    let endpoint = join(&mut receiver, &["earth"]);
    for _ in 0..waiting {
        hear(&mut receiver, endpoint);
        take(&mut receiver, endpoint, 1);
    }
    let other = &mut senders[waiting];
    other.send(&message(2, &to("moon"), &payload).aux(LONG));
    other.after_registry();
    assert!(other.kept().iter().all(|got| got.kind != Kind::Settled));
}
