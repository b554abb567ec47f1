//! Registry and TopicHub panic on purpose: nothing that was accepted is lost, the author answers for it, and the broker ends when
//! its budget is spent.
//!
//! Keys that begin with `inject.before` panic before the index is asked, `inject.after` when the step is done. Needs the feature
//! `inject-panics`, which no default build has.
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
#![cfg(feature = "inject-panics")]

#[path = "support/raw.rs"]
mod raw;
#[path = "support/running.rs"]
mod running;

use actix_ipc::actors::EndReason;
use actix_ipc::config::Limits;
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use raw::{Got, Raw, names};
use running::Running;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Connections that poison their batches, and how many batches each sends.
const AUTHORS: usize = 4;
const BATCHES: usize = 125;
/// Each batch makes Registry panic twice and TopicHub twice.
const PANICS: u64 = (AUTHORS * BATCHES * 4) as u64;
/// Events on the watched topic.
const EVENTS: usize = AUTHORS * BATCHES * 2;
/// Calls that the worker answers at once.
const CALLS: usize = AUTHORS * BATCHES * 2;

/// Panics on purpose print nothing; others print what they always do.
fn quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&"injected") {
                usual(info);
            }
        }));
    });
}

fn raised() -> Limits {
    Limits {
        panic_budget: u32::MAX,
        panics_per_author: u32::MAX,
        hold_ms: 10_000,
        ..Limits::default()
    }
}

/// Numbers that arrive in ascending order for each author, each once.
#[derive(Default)]
struct InOrder(BTreeMap<Vec<u8>, u32>);

impl InOrder {
    fn check(&mut self, payload: &[u8]) {
        let (author, number) = payload.split_at(8);
        let number = u32::from_le_bytes(number.try_into().unwrap());
        let next = self.0.entry(author.to_vec()).or_default();
        assert_eq!(number, *next, "lost, repeated or out of order");
        *next += 1;
    }
}

/// Answers every call with its own payload, except the first one of the open caller.
fn worker(mut raw: Raw) -> JoinHandle<(Raw, Got)> {
    std::thread::spawn(move || {
        let mut open = None;
        let mut order = InOrder::default();
        for _ in 0..=CALLS {
            let call = raw.expect(Kind::Call);
            if call.payload == b"open" {
                open = Some(call);
                continue;
            }
            order.check(&call.payload);
            raw.reply(&call, &call.payload);
        }
        (raw, open.expect("the open call came"))
    })
}

/// Reads every event; they must be complete and in order.
fn reader(mut raw: Raw) -> JoinHandle<Raw> {
    std::thread::spawn(move || {
        let mut order = InOrder::default();
        for _ in 0..EVENTS {
            let event = raw.expect(Kind::Event);
            assert_eq!(event.aux, 0, "nothing is missed");
            order.check(&event.payload);
        }
        raw
    })
}

/// Sends batches of many frames in one write, each with four poisoned frames in the middle.
fn author(path: PathBuf, number: u64) -> JoinHandle<Raw> {
    std::thread::spawn(move || {
        let mut raw = Raw::connect(&path);
        for batch in 0..BATCHES {
            poisoned_batch(&mut raw, number, batch);
        }
        raw
    })
}

fn poisoned_batch(raw: &mut Raw, author: u64, batch: usize) {
    let base = 1_000 + (batch as u64) * 100;
    let payload = |index: usize| {
        let number = u32::try_from(batch * 2 + index).unwrap();
        [&author.to_le_bytes()[..], &number.to_le_bytes()[..]].concat()
    };
    let (first, second) = (payload(0), payload(1));
    let after = format!("inject.after.{author}.{batch}");
    let kept = format!("kept.{author}.{batch}");
    let call = |id, payload| {
        Draft::new(Kind::Call, id)
            .pair("math", "m")
            .payload(Encoding::RAW, payload)
    };
    let publish = |id, object, payload| {
        let draft = Draft::new(Kind::Publish, id).flags(Flags::ACK);
        draft.pair(object, "t").payload(Encoding::RAW, payload)
    };
    raw.send_all(&[
        call(base, &first),
        Draft::new(Kind::Register, base + 1).key(b"inject.before"),
        publish(base + 2, "s", &first),
        publish(base + 3, "inject.before", b""),
        Draft::new(Kind::Register, base + 4).key(kept.as_bytes()),
        Draft::new(Kind::Register, base + 5).key(after.as_bytes()),
        Draft::new(Kind::Subscribe, base + 6).pair(&after, "t"),
        call(base + 7, &second),
        publish(base + 8, "s", &second),
    ]);
    let mut answers = BTreeMap::new();
    while answers.len() < 9 {
        let got = raw.read();
        if got.kind != Kind::PublishCredit {
            let again = answers.insert(got.id - base, got);
            assert!(again.is_none(), "answered twice: {again:?}");
        }
    }
    for poisoned in [1, 3] {
        assert_eq!(answers[&poisoned].error(), (ErrorCode::Internal, true));
    }
    for done in [4, 5, 6] {
        assert_eq!(answers[&done].kind, Kind::Done, "{:?}", answers[&done]);
    }
    for accepted in [2, 8] {
        assert_eq!(
            (answers[&accepted].kind, answers[&accepted].aux),
            (Kind::Accepted, 2)
        );
    }
    assert_eq!((answers[&0].kind, &answers[&0].payload), (Kind::Reply, &first));
    assert_eq!((answers[&7].kind, &answers[&7].payload), (Kind::Reply, &second));
}

/// What was accepted before the panics and must be there after them.
struct Accepted {
    heir: Raw,
    heir_id: u64,
    waiter: Raw,
    wait: u64,
    caller: Raw,
    parked: u64,
    watcher: Raw,
    watch: u64,
    lamp: Raw,
}

impl Accepted {
    fn prepare(broker: &Running) -> Self {
        let [mut heir, mut waiter, mut caller, mut watcher, mut lamp] = broker.connect_all();
        let queued = heir.register_as("math", Flags::QUEUE, 0);
        assert_eq!((queued.kind, queued.aux), (Kind::Done, 1));
        let (wait, both) = (waiter.id(), names(&["later", "latest"]));
        let waits = Draft::new(Kind::Wait, wait).aux(3_600_000);
        waiter.send(&waits.payload(Encoding::RAW, &both));
        let parked = caller.id();
        let call = Draft::new(Kind::Call, parked).aux(3_600_000).flags(Flags::WAIT);
        caller.send(&call.pair("later", "m").payload(Encoding::RAW, b"parked"));
        let watch = watcher.id();
        let asked = watcher.ask(&Draft::new(Kind::Watch, watch).aux(1).key(b"late*r"));
        assert_eq!(asked.error().0, ErrorCode::Invalid, "a pattern has whole levels");
        assert_eq!(
            watcher
                .ask(&Draft::new(Kind::Watch, watch).aux(1).key(b"later"))
                .kind,
            Kind::Done
        );
        lamp.publish_as("kept", "value", Flags::ACK.with(Flags::RETAIN), b"last");
        let will = lamp.id();
        let will = Draft::new(Kind::Will, will)
            .pair("lamp", "gone")
            .payload(Encoding::RAW, b"dark");
        assert_eq!(lamp.ask(&will).kind, Kind::Done);
        [&mut waiter, &mut caller]
            .into_iter()
            .for_each(Raw::after_registry);
        Self {
            heir_id: queued.id,
            heir,
            waiter,
            wait,
            caller,
            parked,
            watcher,
            watch,
            lamp,
        }
    }

    fn check(mut self, broker: &Running) {
        let [mut owner, mut late] = broker.connect_all();
        owner.register("latest");
        assert_eq!(owner.register("later").kind, Kind::Done);
        let done = self.waiter.read();
        assert_eq!((done.kind, done.id), (Kind::Done, self.wait));
        let call = owner.expect(Kind::Call);
        assert_eq!(call.payload, b"parked");
        owner.reply(&call, b"after all");
        let reply = self.caller.read();
        assert_eq!(
            (reply.kind, reply.id, &reply.payload[..]),
            (Kind::Reply, self.parked, &b"after all"[..])
        );
        let notice = self.watcher.read();
        assert_eq!(
            (notice.kind, notice.id, notice.aux),
            (Kind::Notice, self.watch, 1)
        );
        let id = late.subscribe("kept", "value");
        let retained = late.read();
        assert_eq!((retained.id, &retained.payload[..]), (id, &b"last"[..]));
        late.subscribe("lamp", "gone");
        drop(self.lamp);
        assert_eq!(late.expect(Kind::Event).payload, b"dark");
        let ownership = self.heir.read();
        assert_eq!(
            (ownership.kind, ownership.id, ownership.aux),
            (Kind::Ownership, self.heir_id, 1)
        );
    }
}

#[test]
fn a_thousand_panics_of_each_core_actor_lose_nothing() {
    quiet();
    for arbiters in [0, 2] {
        let broker = Running::with_arbiters(arbiters, raised());
        let [mut owner, mut exact, mut wide, mut open] = broker.connect_all();
        owner.register("math");
        exact.subscribe("s", "t");
        wide.subscribe_as("*", "t", Flags::PATTERN, 0, &[]);
        let accepted = Accepted::prepare(&broker);
        let open_id = open.call("math", Flags::NONE, b"open");
        open.after_registry();
        let (owner, readers) = (worker(owner), [reader(exact), reader(wide)]);
        let authors: Vec<_> = (1..=AUTHORS as u64)
            .map(|n| author(broker.path.clone(), n))
            .collect();
        let mut authors: Vec<Raw> = authors.into_iter().map(|thread| thread.join().unwrap()).collect();
        let (mut owner, call) = owner.join().unwrap();
        let readers: Vec<Raw> = readers.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(broker.handle.metrics().panics, PANICS);
        owner.reply(&call, b"closed");
        let reply = open.read();
        assert_eq!(
            (reply.id, &reply.payload[..]),
            (open_id, &b"closed"[..]),
            "an open call outlives them"
        );
        all_names_are_there(&mut authors[0]);
        drop(owner);
        accepted.check(&broker);
        drop(readers);
        drop(authors);
        assert_eq!(broker.stop(), EndReason::Drained, "arbiters: {arbiters}");
    }
}

fn all_names_are_there(raw: &mut Raw) {
    let list = raw.ask(&Draft::new(Kind::List, 7)).json();
    let listed: BTreeSet<&str> = list["objects"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|object| object["name"].as_str())
        .collect();
    for author in 1..=AUTHORS {
        for batch in 0..BATCHES {
            for kind in ["kept", "inject.after"] {
                let name = format!("{kind}.{author}.{batch}");
                assert!(listed.contains(&*name), "{name} is lost");
            }
        }
    }
}

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

/// Objects in the index that is lost and made anew.
const OBJECTS: usize = 100_000;
/// How often it is lost while others call.
const LOSSES: u64 = 4;

/// Has all objects and answers what they are called with.
fn many_objects(mut raw: Raw) -> JoinHandle<()> {
    for first in (0..OBJECTS).step_by(500) {
        let names: Vec<String> = (first..first + 500)
            .map(|number| format!("object.{number}"))
            .collect();
        let drafts: Vec<Draft<'_>> = (1..)
            .zip(&names)
            .map(|(id, name)| Draft::new(Kind::Register, (first as u64) + id).key(name.as_bytes()))
            .collect();
        raw.send_all(&drafts);
        assert!(raw.read_all(500).iter().all(|got| got.kind == Kind::Done));
    }
    std::thread::spawn(move || {
        loop {
            let call = raw.expect(Kind::Call);
            raw.reply(&call, &call.payload);
            if call.payload == b"last" {
                return;
            }
        }
    })
}

/// Calls all over the table, some calls at a time, until it is told to end. Returns how many were answered; each must be.
fn call_until(mut raw: Raw, end: Arc<AtomicBool>) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut answered = 0;
        while !end.load(Ordering::Acquire) {
            let number = |at: usize| (answered + at) * 7_919 % OBJECTS;
            let names: Vec<String> = (0..16).map(|at| format!("object.{}", number(at))).collect();
            for name in &names {
                raw.call(name, Flags::NONE, name.as_bytes());
            }
            let mut got: Vec<String> = (0..16).map(|_| raw.expect(Kind::Reply).text()).collect();
            got.sort_unstable();
            let mut asked = names;
            asked.sort_unstable();
            assert_eq!(got, asked);
            answered += 16;
        }
        answered
    })
}

#[test]
fn calls_wait_while_an_index_of_a_hundred_thousand_names_is_made_anew() {
    quiet();
    for arbiters in [0, 1] {
        let limits = Limits {
            names: OBJECTS,
            memory_bytes_total: 8 << 30,
            ..raised()
        };
        let broker = Running::with_arbiters(arbiters, limits);
        let [owner, first, second, mut author] = broker.connect_all();
        let owner = many_objects(owner);
        let end = Arc::new(AtomicBool::new(false));
        let callers = [first, second].map(|raw| call_until(raw, end.clone()));
        for loss in 0..LOSSES {
            // The second call is in the batch that was interrupted: it is routed by the new index or not at all.
            let [before, poisoned, after] = [1, 2, 3].map(|at| 1_000 + loss * 10 + at);
            author.send_all(&[
                Draft::new(Kind::Call, before).pair("object.7", "m"),
                Draft::new(Kind::Register, poisoned).key(b"inject.before"),
                Draft::new(Kind::Call, after).pair("object.99999", "m"),
            ]);
            assert_eq!(author.answer(poisoned).error(), (ErrorCode::Internal, true));
            for call in [before, after] {
                assert_eq!(author.answer(call).kind, Kind::Reply);
            }
        }
        end.store(true, Ordering::Release);
        let answered = callers.map(|caller| caller.join().unwrap());
        assert!(answered.iter().all(|answered| *answered > 0), "{answered:?}");
        assert_eq!(broker.handle.metrics().panics, LOSSES);
        author.call("object.0", Flags::NONE, b"last");
        assert_eq!(author.expect(Kind::Reply).payload, b"last");
        owner.join().unwrap();
        drop(author);
        assert_eq!(broker.stop(), EndReason::Drained, "arbiters: {arbiters}");
    }
}
