//! Limits of bytes that are waited with, and those that processes share.

use super::raw::{Got, Raw, meta};
use super::running::Running;
use super::{closed, named, refused};
use actix_ipc::actors::quota::{ReadGate, TotalGate};
use actix_ipc::config::{CONNECTION_COST, Limits};
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Draft, Encoding, Flags, Hello, Kind};
use std::io::Write;

/// What one process alone gets of a budget by default: half of a user's quarter.
const ALONE: usize = 8;

#[test]
fn a_message_in_pieces_has_at_most_message_bytes() {
    let broker = Running::start(Limits {
        frame_bytes: 1_000,
        message_bytes: 1_500,
        ..Limits::default()
    });
    let mut raw = broker.connect();
    for (second, fits) in [(499, true), (500, true), (501, false)] {
        let id = raw.id();
        let (first, second) = (vec![1; 1_000], vec![2; second]);
        raw.send_all(&[
            Draft::new(Kind::Publish, id)
                .flags(Flags::ACK.with(Flags::CONTINUED))
                .pair("s", "t")
                .payload(Encoding::RAW, &first),
            Draft::new(Kind::PublishPiece, id).payload(Encoding::RAW, &second),
        ]);
        let got = raw.answer(id);
        match fits {
            true => assert_eq!(got.kind, Kind::Accepted),
            false => refused(&got, ErrorCode::TooLarge, "limits.message_bytes"),
        }
    }
    broker.stop();
}

#[test]
fn calls_that_wait_for_objects_have_at_most_outbox_bytes() {
    let limit = 10_000;
    // One more call is taken while fewer bytes wait than the limit.
    for (waiting, fits) in [(limit - 1, true), (limit, false), (limit + 1, false)] {
        let broker = Running::start(Limits {
            outbox_bytes: limit,
            ..Limits::default()
        });
        let mut raw = broker.connect();
        let payload = vec![0; waiting - 24 - "nobody\0m".len()];
        let wait = |id| Draft::new(Kind::Call, id).flags(Flags::WAIT).pair("nobody", "m");
        raw.send(&wait(5).payload(Encoding::RAW, &payload));
        raw.after_registry();
        raw.send(&wait(6));
        raw.after_registry();
        let told = raw.kept();
        match fits {
            true => assert_eq!(told, []),
            false => refused(&told[0], ErrorCode::Overloaded, "limits.outbox_bytes"),
        }
        broker.stop();
    }
}

#[test]
fn a_gate_closes_at_its_limit_and_at_that_of_all() {
    let waker = futures::task::noop_waker();
    let cx = std::task::Context::from_waker(&waker);
    for (read, open) in [(99, true), (100, false), (101, false)] {
        let total = TotalGate::new(1_000);
        let gate = ReadGate::new(100, total.clone());
        let permit = gate.take(read);
        assert_eq!(gate.poll_open(&cx).is_ready(), open, "{read} of one");
        drop(permit);
        assert!(gate.poll_open(&cx).is_ready());
        assert_eq!(total.used(), 0);
    }
    for (read, open) in [(999, true), (1_000, false), (1_001, false)] {
        let total = TotalGate::new(1_000);
        let (busy, other) = (
            ReadGate::new(9_999, total.clone()),
            ReadGate::new(9_999, total.clone()),
        );
        let permit = busy.take(read);
        assert_eq!(other.poll_open(&cx).is_ready(), open, "{read} of all");
        drop(permit);
        assert!(other.poll_open(&cx).is_ready());
    }
}

#[test]
fn handshakes_are_counted_until_the_welcome() {
    let broker = Running::start(Limits {
        handshakes: 3 * ALONE,
        ..Limits::default()
    });
    let mut begun: Vec<Raw> = (0..3)
        .map(|_| {
            let mut raw = Raw::open(&broker.path);
            raw.stream.write_all(&PREFACE).unwrap();
            raw
        })
        .collect();
    let mut fourth = Raw::open(&broker.path);
    fourth.greet("");
    closed(fourth, CloseReason::TooMany, "limits.handshakes");
    // One is done: its place is free, and it stays connected.
    let mut first = begun.remove(0);
    let hello = Hello::default().encode();
    first.send(&Draft::new(Kind::Hello, 1).aux(1).payload(Encoding::RAW, &hello));
    first.expect(Kind::Welcome);
    let mut next = broker.connect();
    next.ping();
    first.ping();
    broker.stop();
}

/// What is held of a budget, as `sys.broker` tells it.
pub fn held(raw: &mut Raw, budget: &str) -> u64 {
    let id = raw.id();
    let status = raw.ask(&Draft::new(Kind::Call, id).pair("sys.broker", "status"));
    assert_eq!(status.kind, Kind::Reply, "{}", status.text());
    status.json()["accounts"][budget]["held"].as_u64().unwrap()
}

/// Asks until the budget is back at what it was: a connection's end is told by no frame.
fn returns(raw: &mut Raw, budget: &str, before: u64) {
    let back = (0..10_000).any(|_| held(raw, budget) == before);
    assert!(back, "{budget} does not come back");
}

#[test]
fn names_subscriptions_and_wills_cost_memory() {
    let mib = 1024 * 1024;
    let broker = Running::start(Limits {
        memory_bytes_total: ALONE * mib,
        ..Limits::default()
    });
    let mut other = broker.connect();
    let before = held(&mut other, "memory_bytes_total");
    // Small enough to come whole: of a part of a frame that finds no memory nothing is kept.
    let description = vec![b'd'; 6_000];
    let filler = meta("k", &[0; 4_000]);
    let mut raw = broker.connect();
    assert_eq!(
        held(&mut other, "memory_bytes_total"),
        before + CONNECTION_COST as u64,
        "a connection is charged for itself"
    );
    type Make = for<'a> fn(u64, &'a str, &'a [u8], &'a [u8]) -> Draft<'a>;
    let kinds: [(&str, Make); 3] = [
        ("names", |id, name, bytes, _| {
            Draft::new(Kind::Register, id)
                .key(name.as_bytes())
                .payload(Encoding::RAW, bytes)
        }),
        ("subscriptions", |id, name, _, _| {
            Draft::new(Kind::Subscribe, id).pair(name, "t")
        }),
        ("waits", |id, name, _, meta| {
            Draft::new(Kind::Call, id)
                .flags(Flags::WAIT)
                .pair(name, "m")
                .meta(meta)
        }),
    ];
    for (what, make) in kinds {
        let mut refusal = None;
        for number in 0..20_000_u64 {
            let name = format!("{what}.{number}.{}", "n".repeat(200));
            raw.send(&make(1_000 + number, &name, &description, &filler));
            if number % 64 == 0 {
                raw.ping();
                raw.after_registry();
                raw.after_hub();
            }
            refusal = raw.kept().into_iter().find(|got| got.kind == Kind::Error);
            if refusal.is_some() {
                break;
            }
        }
        let refusal = refusal.unwrap_or_else(|| panic!("{what} are not bounded"));
        refused(&refusal, ErrorCode::TooMany, "limits.memory_bytes_total");
        assert!(held(&mut other, "memory_bytes_total") <= mib as u64 + before);
        drop(raw);
        returns(&mut other, "memory_bytes_total", before);
        raw = broker.connect();
    }
    broker.stop();
}

#[test]
fn a_started_frame_is_charged_as_it_arrives() {
    let mib = 1024 * 1024;
    let broker = Running::start(Limits {
        memory_bytes_total: ALONE * mib,
        ..Limits::default()
    });
    let mut other = broker.connect();
    let before = held(&mut other, "memory_bytes_total");
    let mut raw = broker.connect();
    let payload = vec![0; 4 * mib];
    let frame = Draft::new(Kind::Publish, 0)
        .pair("s", "t")
        .payload(Encoding::RAW, &payload)
        .to_vec();
    // The header says four MiB; what is charged is what has come.
    raw.stream.write_all(&frame[..1_000]).unwrap();
    raw.stream.set_nonblocking(true).unwrap();
    assert!(held(&mut other, "memory_bytes_total") <= before + CONNECTION_COST as u64);
    raw.stream.set_nonblocking(false).unwrap();
    raw.stream.write_all(&frame[1_000..300_000]).unwrap();
    let grows = (0..10_000).any(|_| held(&mut other, "memory_bytes_total") >= before + 290_000);
    assert!(grows, "not charged");
    assert!(held(&mut other, "memory_bytes_total") < before + 500_000);
    // At its share the rest is read over. That an event is lost is told without being asked, and its credit comes back.
    raw.stream.write_all(&frame[300_000..]).unwrap();
    let answer = raw.answer(0);
    refused(&answer, ErrorCode::TooMany, "limits.memory_bytes_total");
    let mut credit = 0;
    while credit < frame.len() {
        credit += raw.expect(Kind::PublishCredit).aux as usize;
    }
    raw.ping();
    returns(&mut other, "memory_bytes_total", before + CONNECTION_COST as u64);
    broker.stop();
}

/// The next frame of this kind.
fn until(raw: &mut Raw, kind: Kind) -> Got {
    loop {
        let got = raw.read();
        if got.kind == kind {
            return got;
        }
    }
}

/// Who waits for something of a frame that there is no memory for is told so; the connection goes on, and so does what follows.
#[test]
fn a_frame_that_there_is_no_memory_for_is_answered() {
    let mib = 1024 * 1024;
    let broker = Running::start(Limits {
        memory_bytes_total: ALONE * mib,
        publish_window: 16 * mib,
        ..Limits::default()
    });
    let [mut raw, mut caller] = broker.connect_all();
    raw.register("o");
    let large = vec![b'x'; 4 * mib];
    let mut refusals = 0;
    for (kind, flags) in [
        (Kind::Call, Flags::NONE),
        (Kind::Publish, Flags::ACK),
        (Kind::Register, Flags::NONE),
        (Kind::Will, Flags::NONE),
    ] {
        let id = raw.id();
        let draft = Draft::new(kind, id).flags(flags);
        let draft = match kind {
            Kind::Register => draft.key(b"another"),
            _ => draft.pair("s", "t"),
        };
        raw.send(&draft.payload(Encoding::RAW, &large));
        raw.ping();
        let answer = raw.answer(id);
        refused(&answer, ErrorCode::TooMany, "limits.memory_bytes_total");
        refusals += 1;
    }
    // A reply, and one that has begun.
    for first in [None, Some(Flags::CONTINUED)] {
        let id = caller.call("o", Flags::NONE, b"");
        let call = until(&mut raw, Kind::Call);
        let kind = match first {
            None => Kind::Reply,
            Some(flags) => {
                raw.send(&Draft::new(Kind::Reply, call.id).flags(flags));
                Kind::ReplyPiece
            }
        };
        raw.send(&Draft::new(kind, call.id).payload(Encoding::RAW, &large));
        assert_eq!(until(&mut raw, Kind::Cancel).id, call.id, "it need not go on");
        let error = loop {
            let got = caller.answer(id);
            if got.kind == Kind::Error {
                break got;
            }
        };
        named(&error, (ErrorCode::ReplyLost, true), "limits.memory_bytes_total");
        refusals += 1;
    }
    let metrics = broker.handle.metrics();
    assert_eq!(
        (metrics.refused_for_memory, metrics.closed_over_limit),
        (refusals, 0)
    );
    broker.stop();
}

/// A call that has begun, and an event of which its subscribers have a part.
#[test]
fn a_piece_that_there_is_no_memory_for_ends_its_message() {
    let mib = 1024 * 1024;
    let broker = Running::start(Limits {
        memory_bytes_total: ALONE * mib,
        publish_window: 16 * mib,
        ..Limits::default()
    });
    let [mut raw, mut caller, mut hearer] = broker.connect_all();
    raw.register("o");
    hearer.subscribe("s", "t");
    let large = vec![b'x'; 4 * mib];
    let id = caller.id();
    caller.send(&Draft::new(Kind::Call, id).pair("o", "m").flags(Flags::CONTINUED));
    let call = until(&mut raw, Kind::Call);
    caller.send(&Draft::new(Kind::CallPiece, id).payload(Encoding::RAW, &large));
    let error = caller.answer(id);
    named(&error, (ErrorCode::TooMany, true), "limits.memory_bytes_total");
    assert_eq!(until(&mut raw, Kind::Cancel).id, call.id);
    let id = caller.id();
    let event = Draft::new(Kind::Publish, id).pair("s", "t");
    caller.send(&event.flags(Flags::CONTINUED));
    until(&mut hearer, Kind::Event);
    caller.send(&Draft::new(Kind::PublishPiece, id).payload(Encoding::RAW, &large));
    let error = caller.answer(id);
    refused(&error, ErrorCode::TooMany, "limits.memory_bytes_total");
    let end = hearer.expect_one(&[Kind::EventPiece, Kind::Gap]);
    let void = end.kind == Kind::Gap || end.flags.has(Flags::ABORT);
    assert!(void, "{end:?}");
    let metrics = broker.handle.metrics();
    assert_eq!((metrics.refused_for_memory, metrics.closed_over_limit), (2, 0));
    broker.stop();
}

#[test]
fn what_a_full_socket_leaves_is_charged_until_it_is_written() {
    let broker = Running::start(Limits {
        outbox_bytes: 64 * 1024 * 1024,
        ..Limits::default()
    });
    let mut other = broker.connect();
    let before = held(&mut other, "memory_bytes_total");
    let [mut worker, mut caller] = broker.connect_all();
    worker.register("o");
    let cost = 2 * CONNECTION_COST as u64;
    // Large answers that are not read stay with the broker, but for what the sockets take (over TCP some megabytes)…
    let payload = vec![7; 8_000_000];
    let ids: Vec<u64> = (0..2).map(|_| caller.call("o", Flags::NONE, b"")).collect();
    for _ in &ids {
        let call = worker.expect(Kind::Call);
        worker.reply(&call, &payload);
    }
    worker.ping();
    let charged = (0..10_000).any(|_| held(&mut other, "memory_bytes_total") > before + cost + 8_000_000);
    assert!(charged, "{}", held(&mut other, "memory_bytes_total"));
    // …until they are.
    for id in ids {
        assert_eq!(caller.answer(id).payload.len(), payload.len());
    }
    returns(&mut other, "memory_bytes_total", before + cost);
    broker.stop();
}

#[test]
fn calls_without_reply_leave_half_of_a_queue_to_others() {
    let broker = Running::start(Limits {
        outbox_bytes: 1_000_000,
        publish_window: 250_000,
        ..Limits::default()
    });
    let [mut worker, mut flood, mut caller] = broker.connect_all();
    worker.register("o");
    // More than any socket and the whole queue hold, while the callee reads nothing.
    const FLOOD: u64 = 20_000;
    let payload = vec![0; 1_000];
    for _ in 0..FLOOD {
        flood.call("o", Flags::NO_REPLY, &payload);
    }
    flood.ping();
    flood.after_registry();
    let dropped = broker.handle.metrics().one_way_dropped;
    assert!(dropped > 0, "the queue did not fill");
    let ids: Vec<u64> = (0..400)
        .map(|_| caller.call("o", Flags::NONE, &payload))
        .collect();
    caller.after_registry();
    assert_eq!(caller.kept(), [], "none was refused");
    let mut one_way = 0;
    for _ in &ids {
        let call = std::iter::repeat_with(|| worker.expect(Kind::Call))
            .inspect(|call| one_way += u64::from(call.flags.has(Flags::NO_REPLY)))
            .find(|call| !call.flags.has(Flags::NO_REPLY))
            .unwrap();
        worker.reply(&call, b"");
    }
    assert_eq!(one_way + dropped, FLOOD, "each was delivered or counted");
    for id in ids {
        assert_eq!(caller.answer(id).kind, Kind::Reply);
    }
    broker.stop();
}
