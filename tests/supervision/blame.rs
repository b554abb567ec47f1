//! Who is blamed for a panic, and what becomes of him and of the broker.

use super::*;

/// Makes one core actor panic and returns the answer.
fn poison(raw: &mut Raw, hub: bool) -> Got {
    let id = raw.id();
    let draft = if hub {
        Draft::new(Kind::Subscribe, id).pair("inject.before", "x")
    } else {
        Draft::new(Kind::Register, id).key(b"inject.before")
    };
    raw.ask(&draft)
}

#[test]
fn the_sixth_author_ends_the_broker_and_everybody_is_told() {
    quiet();
    for (hub, arbiters, what) in [
        (false, 0, "Registry"),
        (true, 0, "TopicHub"),
        (false, 2, "Registry"),
    ] {
        let broker = Running::with_arbiters(arbiters, Limits::default());
        let mut authors: [Raw; 6] = broker.connect_all();
        let mut bystander = broker.connect();
        for author in &mut authors {
            assert_eq!(poison(author, hub).error(), (ErrorCode::Internal, true));
        }
        for peer in authors.iter_mut().chain([&mut bystander]) {
            let (reason, text) = peer.goodbye();
            assert_eq!(reason, CloseReason::Internal);
            assert!(text.contains(what), "{text}");
        }
        match broker.ended() {
            EndReason::Failed(text) => assert!(text.contains(what), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_author_is_closed_at_its_third_panic_and_its_process_refused() {
    quiet();
    for hub in [false, true] {
        let broker = Running::start(Limits::default());
        let [mut author, mut bystander] = broker.connect_all();
        for _ in 0..3 {
            assert_eq!(poison(&mut author, hub).error(), (ErrorCode::Internal, true));
        }
        assert_eq!(author.goodbye().0, CloseReason::Blamed);
        let mut again = Raw::open(&broker.path);
        again.greet("");
        assert_eq!(again.goodbye().0, CloseReason::Blamed);
        bystander.after_registry();
        bystander.after_hub();
        assert_eq!(broker.stop(), EndReason::Drained);
    }
}

#[test]
fn the_panics_of_one_author_do_not_spend_the_budget() {
    quiet();
    let broker = Running::start(Limits {
        panics_per_author: u32::MAX,
        ..Limits::default()
    });
    let mut author = broker.connect();
    for number in 0..50 {
        assert_eq!(
            poison(&mut author, number % 2 == 0).error(),
            (ErrorCode::Internal, true)
        );
    }
    author.after_registry();
    author.after_hub();
    assert_eq!(broker.stop(), EndReason::Drained);
}

#[test]
fn a_poisoned_will_is_blamed_on_its_author_alone() {
    quiet();
    let broker = Running::start(Limits::default());
    let [mut lamp, mut bystander] = broker.connect_all();
    bystander.subscribe("s", "t");
    assert_eq!(
        lamp.ask(&Draft::new(Kind::Will, 9).pair("inject.after", "x"))
            .kind,
        Kind::Done
    );
    drop(lamp);
    loop {
        bystander.after_hub();
        if broker.handle.metrics().panics == 2 {
            break;
        }
    }
    assert_eq!(bystander.publish("s", "t", b"1").aux, 1);
    assert_eq!(bystander.expect(Kind::Event).payload, b"1");
    assert_eq!(broker.stop(), EndReason::Drained);
}

/// The hub meets a peer at its first Subscribe; a panic of that very step must not make it a stranger for the rest of its batch.
#[test]
fn a_panic_of_the_first_subscribe_leaves_the_batch_its_author() {
    quiet();
    let broker = Running::start(raised());
    let mut author = broker.connect();
    let subscribe = Draft::new(Kind::Subscribe, 7).flags(Flags::NO_LOCAL);
    let publish = Draft::new(Kind::Publish, 8).payload(Encoding::RAW, b"its own");
    author.send_all(&[
        subscribe.pair("inject.after", "x"),
        publish.pair("inject.after", "x"),
    ]);
    assert_eq!(author.answer(7).kind, Kind::Done);
    author.after_hub();
    let heard = author.kept();
    assert!(heard.iter().all(|got| got.kind != Kind::Event), "{heard:?}");
    assert_eq!(broker.handle.metrics().panics, 2);
    assert_eq!(broker.stop(), EndReason::Drained);
}
