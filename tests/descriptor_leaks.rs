//! No descriptor is ever left behind: 100,000 messages that carry some, most of which fail in one of many ways.
//!
//! Owns the ways to fail and the count before and after, in the broker's process and in the one of its clients, which is this one
//! alone (the file has one test). What each failure is answered with is tested where it belongs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(target_os = "linux")]

#[path = "support/descriptors.rs"]
mod descriptors;
#[path = "support/raw.rs"]
mod raw;
mod support;

use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use descriptors::{Reader, call_with, send};
use raw::{Got, Raw};
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::path::Path;
use support::until;

const MESSAGES: usize = 100_000;
/// Messages of each way in a round, and how many of those end connections.
const OFTEN: usize = 64;
const SELDOM: usize = 2;

fn open_files(pid: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn sealed() -> OwnedFd {
    let memory = memfd_create("m", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    fcntl_add_seals(&memory, seals).unwrap();
    memory
}

fn publish(topic: &str, attached: usize, flags: Flags) -> Vec<u8> {
    let draft = Draft::new(Kind::Publish, 1).flags(flags).pair("o", topic);
    Draft {
        attachments: u8::try_from(attached).unwrap(),
        ..draft.payload(Encoding::RAW, b"event")
    }
    .to_vec()
}

/// What is sent, again and again.
struct Sent {
    path: std::path::PathBuf,
    files: Vec<OwnedFd>,
    memory: Vec<OwnedFd>,
    socket: Vec<OwnedFd>,
}

/// Ways that leave the connections of a round open. Each sends one message with descriptors and returns what of it came.
fn one(way: usize, id: u64, sent: &Sent, peers: &mut Peers) {
    let Peers {
        caller,
        callee,
        reads,
        ..
    } = peers;
    let [reads_callee, ..] = reads;
    match way {
        // Answered, with one back.
        0 => {
            send(caller, &call_with(id, "o", 2, b"", Flags::NONE), &sent.files[..2]);
            let (got, came) = reads_callee.read(callee);
            let reply = Draft {
                attachments: 1,
                ..Draft::new(Kind::Reply, got.id)
            };
            send(callee, &reply.to_vec(), &came[..1]);
            let (got, came) = peers.reads_caller(id);
            assert_eq!((got.kind, came), (Kind::Reply, 1));
        }
        // Nobody has the object, and nobody gets it in time.
        1 | 2 => {
            let flags = if way == 1 { Flags::NONE } else { Flags::WAIT };
            let draft = Draft::new(Kind::Call, id).aux(1).flags(flags).pair("nobody", "m");
            let draft = Draft {
                attachments: 2,
                ..draft
            };
            send(caller, &draft.to_vec(), &sent.files[..2]);
            if way == 1 {
                assert_eq!(caller.answer(id).error().0, ErrorCode::NoSuchObject);
            }
        }
        // The callee refuses.
        3 => {
            send(caller, &call_with(id, "o", 3, b"", Flags::NONE), &sent.files[..3]);
            let (got, came) = reads_callee.read(callee);
            assert_eq!(came.len(), 3);
            callee.send(&Draft::new(Kind::Error, got.id).aux(ErrorCode::Handler.code()));
            assert_eq!(caller.answer(id).error().0, ErrorCode::Handler);
        }
        // The broker refuses a socket, alone and among others.
        4 => {
            send(caller, &call_with(id, "o", 1, b"", Flags::NONE), &sent.socket);
            assert_eq!(caller.answer(id).error().0, ErrorCode::Denied);
        }
        // Cancelled before the callee has seen it, or behind that.
        5 => {
            send(caller, &call_with(id, "o", 2, b"", Flags::NONE), &sent.files[..2]);
            caller.send(&Draft::new(Kind::Cancel, id));
            assert_eq!(caller.answer(id).error().0, ErrorCode::Cancelled);
            loop {
                let (got, _) = reads_callee.read(callee);
                if got.kind == Kind::Cancel {
                    break;
                }
            }
        }
        // An answer that nobody waits for, with descriptors.
        6 => {
            let reply = Draft {
                attachments: 2,
                ..Draft::new(Kind::Reply, u64::MAX)
            };
            send(callee, &reply.to_vec(), &sent.files[..2]);
        }
        _ => one_event(way, sent, peers),
    }
}

fn one_event(way: usize, sent: &Sent, peers: &mut Peers) {
    let Peers {
        caller,
        one,
        two,
        reads,
        ..
    } = peers;
    let [_, reads_one, reads_two] = reads;
    match way {
        // Events: to two, to two that must not share them, to nobody, retained.
        7 => {
            send(caller, &publish("e", 2, Flags::ACK), &sent.memory[..2]);
            assert_eq!(reads_one.read(one).1.len(), 2);
            assert_eq!(reads_two.read(two).1.len(), 2);
            assert_eq!(caller.expect(Kind::Accepted).aux, 2);
        }
        8 => {
            send(caller, &publish("e", 1, Flags::ACK), &sent.files[..1]);
            assert_eq!(caller.answer(1).error().0, ErrorCode::Invalid);
            assert_eq!(
                (reads_one.read(one).0.kind, reads_two.read(two).0.kind),
                (Kind::Gap, Kind::Gap)
            );
        }
        9 => {
            send(caller, &publish("unheard", 1, Flags::ACK), &sent.files[..1]);
            assert_eq!(caller.expect(Kind::Accepted).aux, 0);
        }
        _ => {
            send(
                caller,
                &publish("e", 1, Flags::ACK.with(Flags::RETAIN)),
                &sent.memory[..1],
            );
            assert_eq!(caller.answer(1).error().0, ErrorCode::Invalid);
        }
    }
}

const WAYS: usize = 11;

/// Ways that end a connection.
fn end(way: usize, sent: &Sent, round: usize) {
    let (mut caller, mut callee) = (Raw::connect(&sent.path), Raw::connect(&sent.path));
    let object = format!("end {round} {way}");
    callee.register(&object);
    let frame = call_with(1, &object, 4, &[0; 3000], Flags::NONE);
    let four = &sent.files[..4];
    match way {
        // The callee dies with some in its socket and some in its queue.
        0 => {
            for id in 101..=104 {
                send(&caller, &call_with(id, &object, 4, b"", Flags::NONE), four);
            }
            caller.after_registry();
            drop(callee);
            for id in 101..=104 {
                assert_eq!(caller.answer(id).error().0, ErrorCode::CalleeGone);
            }
        }
        // More than the broker holds for one sender wait for a callee that does not read.
        1 => {
            let most = 80_u64;
            for id in 1..=most {
                send(&caller, &call_with(id, &object, 1, b"", Flags::NONE), &four[..1]);
            }
            assert_eq!(caller.answer(most).error().0, ErrorCode::TooMany);
        }
        // Closed in the middle of a frame, behind the descriptors, and behind descriptors without a frame.
        2 => send(&caller, &frame[..1000], four),
        3 => send(&caller, &Draft::new(Kind::Pong, 1).to_vec(), four),
        4..=7 => broken(way, sent, &mut caller, &frame),
        _ => events_and_pieces(way, sent, &mut caller, &mut callee, &object),
    }
}

fn broken(way: usize, sent: &Sent, caller: &mut Raw, frame: &[u8]) {
    let four = &sent.files[..4];
    match way {
        // Too many, too few, too large, where none are allowed, and over a frame that is none.
        4 => {
            send(caller, frame, &sent.files);
            let _ = caller.goodbye();
        }
        5 => {
            send(caller, &call_with(1, "o", 5, b"", Flags::NONE), four);
            let _ = caller.goodbye();
        }
        6 => {
            let piece = Draft::new(Kind::CallPiece, 1);
            send(
                caller,
                &Draft {
                    attachments: 4,
                    ..piece
                }
                .to_vec(),
                four,
            );
            let _ = caller.goodbye();
        }
        _ => {
            send(caller, &[0xff; 100], four);
            let _ = caller.goodbye();
        }
    }
}

fn events_and_pieces(way: usize, sent: &Sent, caller: &mut Raw, callee: &mut Raw, object: &str) {
    let four = &sent.files[..4];
    match way {
        // The subscriber dies with events in its socket and in its queue.
        8 => {
            callee.subscribe("dies", object);
            let draft = Draft::new(Kind::Publish, 1)
                .flags(Flags::ACK)
                .pair("dies", object);
            for _ in 0..4 {
                send(
                    caller,
                    &Draft {
                        attachments: 2,
                        ..draft
                    }
                    .to_vec(),
                    &sent.memory[..2],
                );
                assert_eq!(caller.expect(Kind::Accepted).aux, 1);
            }
        }
        // A call in pieces that grows too large, and an event that its publisher gives up.
        9 => {
            let first = Draft::new(Kind::Call, 1)
                .flags(Flags::CONTINUED)
                .pair(object, "m");
            send(
                caller,
                &Draft {
                    attachments: 4,
                    ..first
                }
                .to_vec(),
                four,
            );
            caller.send(&Draft::new(Kind::CallPiece, 1).flags(Flags::ABORT));
            assert_eq!(caller.answer(1).error().0, ErrorCode::Cancelled);
        }
        _ => {
            callee.subscribe("void", object);
            let flags = Flags::ACK.with(Flags::CONTINUED);
            let first = Draft::new(Kind::Publish, 1).flags(flags).pair("void", object);
            send(
                caller,
                &Draft {
                    attachments: 2,
                    ..first
                }
                .to_vec(),
                &sent.memory[..2],
            );
            caller.send(&Draft::new(Kind::PublishPiece, 1).flags(Flags::ABORT));
            assert_eq!(caller.answer(1).error().0, ErrorCode::Cancelled);
        }
    }
}

const ENDS: usize = 11;

struct Peers {
    caller: Raw,
    callee: Raw,
    one: Raw,
    two: Raw,
    reads: [Reader; 3],
}

impl Peers {
    fn new(path: &Path) -> Self {
        let [caller, mut callee, mut one, mut two] = std::array::from_fn(|_| Raw::connect(path));
        callee.register("o");
        one.subscribe("o", "e");
        two.subscribe("o", "e");
        let reads = std::array::from_fn(|_| Reader::default());
        Self {
            caller,
            callee,
            one,
            two,
            reads,
        }
    }

    /// The caller's next frame, and how many came with it.
    fn reads_caller(&mut self, id: u64) -> (Got, usize) {
        let (got, came) = Reader::default().read(&mut self.caller);
        assert_eq!(got.id, id);
        (got, came.len())
    }
}

#[test]
fn after_100_000_messages_that_fail_in_every_way_as_many_are_open_as_before() {
    let broker = support::Broker::start();
    let pid = broker.process.id().to_string();
    let sent = Sent {
        path: broker.socket(),
        files: (0..20)
            .map(|_| std::fs::File::open("/dev/null").unwrap().into())
            .collect(),
        memory: (0..2).map(|_| sealed()).collect(),
        socket: vec![std::os::unix::net::UnixStream::pair().unwrap().0.into()],
    };
    let mut witness = Raw::connect(&sent.path);
    witness.ping();
    let before = (open_files(&pid), open_files("self"));
    let (mut messages, mut round) = (0, 0);
    while messages < MESSAGES {
        round += 1;
        let mut peers = Peers::new(&sent.path);
        let mut id = 0_u64;
        for way in 0..WAYS {
            for _ in 0..OFTEN {
                id += 1;
                if id.is_multiple_of(8) {
                    // What waits to be closed is charged; on a busy machine it would be refused soon.
                    until("others are closed", || open_files(&pid) <= before.0 + 4 + 16);
                }
                one(way, id, &sent, &mut peers);
                if way == 2 && id.is_multiple_of(16) {
                    // They wait for an object beside each other.
                    for id in id - 15..=id {
                        assert_eq!(peers.caller.answer(id).error().0, ErrorCode::Deadline);
                    }
                }
            }
        }
        messages += WAYS * OFTEN;
        for way in 0..ENDS {
            for again in 0..SELDOM {
                end(way, &sent, round * SELDOM + again);
            }
        }
        // As many as each of them sends at least.
        messages += ENDS * SELDOM;
    }
    until("every descriptor is closed again", || {
        (open_files(&pid), open_files("self")) == before
    });
    witness.ping();
}
