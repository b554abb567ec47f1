//! Who has which name, and who hears of it: waits, watches, queues, replacement, worker groups, listings.
//!
//! Owns the order of what is told. The barrier between two connections is a request that Registry answers after what lies before
//! it in its mailbox.
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

#[path = "support/raw.rs"]
mod raw;
#[path = "support/running.rs"]
mod running;
#[path = "support/until.rs"]
mod until;

use actix_ipc::config::Limits;
use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use raw::{Got, Raw, meta, names};
use running::Running;
use std::collections::{BTreeMap, BTreeSet};
use until::until;

const APPEARED: u32 = 1;
const VANISHED: u32 = 2;
const CONNECTED: u32 = 3;
const GONE: u32 = 4;

/// A notice as its change, its name, and whose it is.
fn notice(got: &Got) -> (u32, String, u64) {
    assert_eq!(got.kind, Kind::Notice, "{got:?}");
    let key = String::from_utf8(got.key.clone()).unwrap();
    (got.aux, key, got.origin.map_or(0, |origin| origin.peer.0))
}

/// The broker's own objects, which are there from the start.
const OWN: [&str; 2] = ["rob", "sys.broker"];

/// The next notice about somebody else's object.
fn next(raw: &mut Raw) -> (u64, (u32, String, u64)) {
    loop {
        let got = raw.read();
        let told = notice(&got);
        if !OWN.contains(&&*told.1) {
            return (got.id, told);
        }
    }
}

fn watch(raw: &mut Raw, aux: u32, pattern: &str) -> u64 {
    let id = raw.id();
    let draft = Draft::new(Kind::Watch, id).aux(aux).key(pattern.as_bytes());
    assert_eq!(raw.ask(&draft).kind, Kind::Done);
    id
}

fn unregister(raw: &mut Raw, object: &str) -> Got {
    let id = raw.id();
    raw.ask(&Draft::new(Kind::Unregister, id).key(object.as_bytes()))
}

#[test]
fn a_wait_ends_when_all_its_names_are_there_at_once() {
    let broker = Running::start(Limits::default());
    let [mut waiter, mut one, mut two] = broker.connect_all();
    let payload = names(&["a", "b", "a", "c"]);
    let wait = Draft::new(Kind::Wait, 50)
        .aux(3_600_000)
        .payload(Encoding::RAW, &payload);
    waiter.send(&wait);
    waiter.after_registry();
    one.register("a");
    two.register("b");
    unregister(&mut one, "a");
    two.register("c");
    waiter.after_registry();
    assert_eq!(waiter.kept(), [], "a is gone again");
    one.register("a");
    let done = waiter.read();
    assert_eq!((done.kind, done.id), (Kind::Done, 50));
    let at_once = waiter.ask(&Draft::new(Kind::Wait, 51).payload(Encoding::RAW, &payload));
    assert_eq!(at_once.kind, Kind::Done);
    let never = names(&["a", "never"]);
    let late = Draft::new(Kind::Wait, 52).aux(20).payload(Encoding::RAW, &never);
    assert_eq!(waiter.fails(&late), (ErrorCode::Deadline, false));
    waiter.send(
        &Draft::new(Kind::Wait, 53)
            .aux(3_600_000)
            .payload(Encoding::RAW, &never),
    );
    assert_eq!(
        waiter.fails(&Draft::new(Kind::Cancel, 53)),
        (ErrorCode::Cancelled, false)
    );
    one.register("never");
    waiter.after_registry();
    assert_eq!(waiter.kept(), [], "what was cancelled is not answered again");
    broker.stop();
}

#[test]
fn a_call_may_wait_for_what_its_own_connection_registers() {
    let broker = Running::start(Limits::default());
    let mut raw = broker.connect();
    // One batch: Registry puts the call aside and finds its object in the same turn.
    raw.send_all(&[
        Draft::new(Kind::Call, 9)
            .flags(Flags::WAIT)
            .pair("own", "m")
            .payload(Encoding::RAW, b"x"),
        Draft::new(Kind::Register, 10).key(b"own"),
    ]);
    let first = raw.read();
    assert_eq!((first.kind, first.id), (Kind::Done, 10), "{first:?}");
    let call = raw.expect(Kind::Call);
    assert_eq!(call.payload, b"x");
    raw.reply(&call, b"y");
    let reply = raw.read();
    assert_eq!(
        (reply.kind, reply.id, &reply.payload[..]),
        (Kind::Reply, 9, &b"y"[..])
    );
    broker.stop();
}

#[test]
fn a_watch_tells_what_is_there_and_then_what_changes() {
    let broker = Running::start(Limits::default());
    let mut watcher = broker.connect_as("watcher");
    let [mut one, mut two] = ["lamp.one", "lamp.two"].map(|name| broker.connect_as(name));
    one.register("room.b");
    one.register("room.a");
    two.register("other");
    let both = watch(&mut watcher, 3, "");
    let rooms = watch(&mut watcher, 1, "room.*");
    let lamps = watch(&mut watcher, 2, "lamp.two");
    let (w, o, t) = (watcher.peer, one.peer, two.peer);
    let expected = [
        (both, APPEARED, "other", t),
        (both, APPEARED, "room.a", o),
        (both, APPEARED, "room.b", o),
        (both, CONNECTED, "watcher", w),
        (both, CONNECTED, "lamp.one", o),
        (both, CONNECTED, "lamp.two", t),
        (rooms, APPEARED, "room.a", o),
        (rooms, APPEARED, "room.b", o),
        (lamps, CONNECTED, "lamp.two", t),
    ];
    for (id, change, name, peer) in expected {
        assert_eq!(next(&mut watcher), (id, (change, name.into(), peer)));
    }
    assert_eq!(watcher.ask(&Draft::new(Kind::Unwatch, both)).kind, Kind::Done);
    unregister(&mut one, "room.b");
    two.register("room.b");
    two.register("room.b.deeper");
    drop(two);
    let expected = [
        (rooms, VANISHED, "room.b", o),
        (rooms, APPEARED, "room.b", t),
        (rooms, VANISHED, "room.b", t),
        (lamps, GONE, "lamp.two", t),
    ];
    for (id, change, name, peer) in expected {
        assert_eq!(next(&mut watcher), (id, (change, name.into(), peer)));
    }
    broker.stop();
}

#[test]
fn a_death_is_told_before_the_name_can_be_taken_again() {
    for arbiters in [0, 2] {
        let broker = Running::with_arbiters(arbiters, Limits::default());
        let [mut watcher, mut owner, mut heir, mut caller] = broker.connect_all();
        owner.register("o");
        let queued = heir.register_as("o", Flags::QUEUE, 0);
        assert_eq!(queued.aux, 1);
        let names = watch(&mut watcher, 1, "o");
        let dead = owner.peer;
        watcher.expect(Kind::Notice);
        let call = caller.call("o", Flags::NONE, b"");
        owner.expect(Kind::Call);
        drop(owner);
        assert_eq!(caller.answer(call).error(), (ErrorCode::CalleeGone, true));
        let ownership = heir.read();
        assert_eq!(
            (ownership.kind, ownership.id, ownership.aux),
            (Kind::Ownership, queued.id, 1)
        );
        for expected in [
            (VANISHED, "o".to_owned(), dead),
            (APPEARED, "o".to_owned(), heir.peer),
        ] {
            let got = watcher.read();
            assert_eq!((got.id, notice(&got)), (names, expected));
        }
        // Who takes the name because it is free hears Done after the others heard that it was free.
        let gone = heir.peer;
        let mut taker = broker.connect();
        drop(heir);
        until("the name is free", || taker.register("o").kind == Kind::Done);
        watcher.after_registry();
        let told: Vec<_> = watcher.kept().iter().map(notice).collect();
        let expected = [
            (VANISHED, "o".to_owned(), gone),
            (APPEARED, "o".to_owned(), taker.peer),
        ];
        assert_eq!(told, expected);
        broker.stop();
    }
}

#[test]
fn queue_replacement_and_refusal() {
    let broker = Running::start(Limits::default());
    let mut owner = broker.connect_as("first");
    let [mut two, mut three, mut four] = broker.connect_all();
    let first = owner.register_as("o", Flags::ALLOW_REPLACE, 0);
    let refused = two.register("o");
    assert_eq!(refused.error(), (ErrorCode::NameTaken, false));
    let pid = format!("process {}", std::process::id());
    assert!(
        refused.text().contains(&pid) && refused.text().contains("first"),
        "{}",
        refused.text()
    );
    assert_eq!(
        owner.register("o").aux,
        0,
        "again: the same answer, nothing changes"
    );
    let queued = two.register_as("o", Flags::QUEUE, 0);
    assert_eq!(
        (queued.aux, two.register_as("o", Flags::QUEUE, 0).aux),
        (1, 1),
        "one place in the queue"
    );
    let replaced = three.register_as("o", Flags::REPLACE, 0);
    assert_eq!((replaced.kind, replaced.aux), (Kind::Done, 0));
    let lost = owner.read();
    assert_eq!((lost.kind, lost.id, lost.aux), (Kind::Ownership, first.id, 0));
    assert_eq!(unregister(&mut owner, "o").error().0, ErrorCode::NotRegistered);
    assert_eq!(
        four.register_as("o", Flags::REPLACE, 0).error().0,
        ErrorCode::NameTaken,
        "no consent"
    );
    assert_eq!(
        four.register_as("o", Flags::REPLACE.with(Flags::QUEUE), 0).aux,
        1,
        "queued instead"
    );
    assert_eq!(
        four.register_as("o", Flags::WORKER_GROUP, 0).error().0,
        ErrorCode::NameTaken
    );
    unregister(&mut three, "o");
    let inherited = two.read();
    assert_eq!(
        (inherited.kind, inherited.id, inherited.aux),
        (Kind::Ownership, queued.id, 1)
    );
    let described = owner.ask(&Draft::new(Kind::Describe, 900).key(b"o")).json();
    assert_eq!(described["owner"]["peer"], two.peer);
    assert_eq!(
        (&described["members"], &described["queued"]),
        (&1.into(), &1.into())
    );
    assert_eq!(unregister(&mut four, "o").kind, Kind::Done, "it leaves the queue");
    unregister(&mut two, "o");
    assert_eq!(owner.register("o").aux, 0);
    broker.stop();
}

#[test]
fn listings_that_were_answered_count_no_more_whatever_has_their_numbers() {
    let broker = Running::start(Limits::default());
    let [mut worker, mut asker] = broker.connect_all();
    worker.register("slow");
    let numbers = 50..54;
    for id in numbers.clone() {
        assert_eq!(asker.ask(&Draft::new(Kind::List, id)).kind, Kind::Reply);
    }
    let calls: Vec<Got> = numbers
        .clone()
        .map(|id| {
            asker.send(&Draft::new(Kind::Call, id).pair("slow", "m"));
            worker.expect(Kind::Call)
        })
        .collect();
    let list = asker.ask(&Draft::new(Kind::List, 60));
    assert_eq!(list.kind, Kind::Reply, "{}", list.text());
    for (id, call) in numbers.zip(&calls) {
        worker.reply(call, b"");
        assert_eq!(asker.answer(id).kind, Kind::Reply);
    }
}

#[test]
fn list_and_describe() {
    let broker = Running::start(Limits::default());
    let mut owner = broker.connect_as("demo");
    let [mut one, mut two, mut asker] = broker.connect_all();
    let draft = Draft::new(Kind::Register, 5).key(b"math");
    owner.ask(&draft.payload(Encoding::JSON, br#"{"methods":["add"]}"#));
    one.register_as("group", Flags::WORKER_GROUP, 2);
    two.register_as("group", Flags::WORKER_GROUP, 2);
    let mismatch = owner.register_as("group", Flags::WORKER_GROUP, 1);
    assert_eq!(mismatch.error().0, ErrorCode::NameTaken);
    assert!(mismatch.text().contains("sticky"), "{}", mismatch.text());
    let list = asker.ask(&Draft::new(Kind::List, 6)).json();
    let names: Vec<_> = list["objects"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|object| object["name"].as_str())
        .filter(|name| !OWN.contains(name))
        .collect();
    assert_eq!(names, ["group", "math"]);
    let peers: Vec<_> = list["connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|peer| &peer["peer"])
        .collect();
    assert_eq!(peers, [owner.peer, one.peer, two.peer, asker.peer].map(|id| id));
    let math = asker.ask(&Draft::new(Kind::Describe, 7).key(b"math")).json();
    assert_eq!(math["description"]["methods"][0], "add");
    let demo = &math["owner"];
    assert_eq!(
        (&demo["name"], &demo["pid"]),
        (&"demo".into(), &std::process::id().into())
    );
    let group = asker.ask(&Draft::new(Kind::Describe, 8).key(b"group")).json();
    assert_eq!(
        (&group["balance"], &group["members"]),
        (&"sticky".into(), &2.into())
    );
    assert_eq!(group["owner"]["peer"], one.peer);
    assert!(group["description"].is_null());
    let missing = asker.ask(&Draft::new(Kind::Describe, 9).key(b"none"));
    assert_eq!(missing.error(), (ErrorCode::NoSuchObject, false));
    broker.stop();
}

/// The payloads of the next calls, so many, each answered.
fn serve(worker: &mut Raw, count: usize) -> Vec<Vec<u8>> {
    let calls = worker.read_all(count);
    calls.iter().for_each(|call| worker.reply(call, b""));
    calls.into_iter().map(|call| call.payload).collect()
}

fn members(broker: &Running, balance: u32) -> [Raw; 3] {
    let mut members: [Raw; 3] = broker.connect_all();
    for member in &mut members {
        assert_eq!(member.register_as("g", Flags::WORKER_GROUP, balance).aux, 0);
    }
    members
}

#[test]
fn a_group_takes_turns_and_survives_its_dead() {
    let broker = Running::start(Limits::default());
    let [mut a, mut b, mut c] = members(&broker, 0);
    let mut caller = broker.connect();
    let payloads: Vec<Vec<u8>> = (0..9_u8).map(|number| vec![number]).collect();
    let ids: Vec<u64> = payloads
        .iter()
        .map(|payload| caller.call("g", Flags::NONE, payload))
        .collect();
    assert_eq!(serve(&mut a, 3), [[0], [3], [6]]);
    let held = b.read_all(3);
    assert_eq!(
        held.iter().map(|call| call.payload[0]).collect::<Vec<_>>(),
        [1, 4, 7]
    );
    serve(&mut c, 3);
    drop(b);
    for (number, id) in ids.into_iter().enumerate() {
        let answer = caller.answer(id);
        match number % 3 {
            1 => assert_eq!(answer.error(), (ErrorCode::CalleeGone, true)),
            _ => assert_eq!(answer.kind, Kind::Reply),
        }
    }
    for payload in &payloads[..4] {
        caller.call("g", Flags::NONE, payload);
    }
    assert_eq!(
        serve(&mut a, 2).len() + serve(&mut c, 2).len(),
        4,
        "new calls go to the others"
    );
    broker.stop();
}

#[test]
fn the_least_busy_member_gets_the_call() {
    let broker = Running::start(Limits::default());
    let [mut a, mut b, mut c] = members(&broker, 1);
    let mut caller = broker.connect();
    let draft = |id| Draft::new(Kind::Call, id).pair("g", "m");
    // One batch: what was given a moment ago counts, though its callee has not seen it.
    caller.send_all(&[draft(11), draft(12), draft(13), draft(14), draft(15), draft(16)]);
    let (busy, _, _) = (a.read_all(2), b.read_all(2), serve(&mut c, 2));
    let mut answered: Vec<u64> = caller.read_all(2).iter().map(|reply| reply.id).collect();
    answered.sort_unstable();
    caller.send_all(&[draft(21), draft(22), draft(23), draft(24)]);
    let (new_a, new_b, new_c) = (a.read_all(1), b.read_all(1), c.read_all(2));
    let ids = [&new_c[0], &new_c[1], &new_a[0], &new_b[0]].map(|call| call.id);
    assert!(
        ids.is_sorted(),
        "two for the idle one before the others, who have two each: {ids:?}"
    );
    [&busy[0], &busy[1], &new_a[0]]
        .into_iter()
        .for_each(|call| a.reply(call, b""));
    caller.read_all(3);
    caller.send_all(&[draft(31), draft(32)]);
    assert_eq!(serve(&mut a, 2).len(), 2);
    broker.stop();
}

#[test]
fn a_sticky_key_stays_with_its_member() {
    let broker = Running::start(Limits::default());
    let [a, b, c] = members(&broker, 2);
    let mut members = BTreeMap::from([(a.peer, a), (b.peer, b), (c.peer, c)]);
    let mut caller = broker.connect();
    let ask = |caller: &mut Raw, members: &mut BTreeMap<u64, Raw>| -> Vec<u64> {
        let blocks: Vec<Vec<u8>> = (0..30_u8).map(|key| meta("route.key", &[b'k', key])).collect();
        for (id, block) in blocks.iter().enumerate() {
            caller.send(
                &Draft::new(Kind::Call, 100 + id as u64)
                    .meta(block)
                    .pair("g", "m")
                    .payload(Encoding::RAW, &[id as u8]),
            );
        }
        caller.after_registry();
        let mut owner = vec![0; blocks.len()];
        for (peer, member) in members {
            // The answer of Registry comes after the calls that it gave before.
            member.after_registry();
            for call in member.kept() {
                owner[usize::from(call.payload[0])] = *peer;
                member.reply(&call, b"");
            }
        }
        caller
            .read_all(blocks.len())
            .iter()
            .for_each(|reply| assert_eq!(reply.kind, Kind::Reply));
        owner
    };
    let before = ask(&mut caller, &mut members);
    assert_eq!(
        before,
        ask(&mut caller, &mut members),
        "the same keys, the same members"
    );
    assert_eq!(
        before.iter().collect::<BTreeSet<_>>().len(),
        3,
        "30 keys reach all three"
    );
    let (dead, raw) = members.pop_first().unwrap();
    let watching = watch(&mut caller, 2, "");
    drop(raw);
    while caller.expect(Kind::Notice).aux != GONE {}
    assert_eq!(caller.ask(&Draft::new(Kind::Unwatch, watching)).kind, Kind::Done);
    let after = ask(&mut caller, &mut members);
    for (old, new) in before.iter().zip(&after) {
        assert!(old == new || *old == dead, "only the keys of the dead one move");
    }
    broker.stop();
}
