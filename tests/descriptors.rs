//! Descriptors through a broker: they arrive with their message or somebody is told, and none is left behind.
//!
//! Owns what calls and answers carry over Unix sockets, limit by limit and kind by kind. The control messages themselves are
//! tested in `transport`, exhaustion of the broker's own descriptors in `open_files.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_debug_implementations,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(target_os = "linux")]

#[path = "support/broker.rs"]
mod broker;
#[path = "support/descriptors.rs"]
mod descriptors;
#[path = "support/echo.rs"]
mod echo;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/running.rs"]
mod running;
mod support;

use actix_ipc::config::Limits;
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::{Attachments, Draft, Encoding, Flags, Kind, Payload};
use broker::{Place, TestBroker};
use descriptors::{Reader, call, call_with, closed, pipes, same, send};
use echo::{Echo, echo};
use raw::Raw;
use running::Running;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use std::io::Write;
use support::until;

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits {
        // Long enough that nothing ends for this reason on a busy machine, where a test does not set it.
        descriptor_wait_ms: 600_000,
        ..Limits::default()
    };
    change(&mut limits);
    limits
}

fn kinds(folder: &std::path::Path) -> Vec<(&'static str, OwnedFd)> {
    use rustix::fs::{CWD, MemfdFlags, memfd_create, mknodat, open};
    let fifo = folder.join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let open = |path: &std::path::Path, flags| open(path, flags | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let file = folder.join("file");
    std::fs::write(&file, "text").unwrap();
    vec![
        ("a regular file", open(&file, OFlags::RDONLY)),
        ("a FIFO", open(&fifo, OFlags::RDWR)),
        (
            "a memfd",
            memfd_create("m", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap(),
        ),
        ("a directory", open(folder, OFlags::RDONLY | OFlags::DIRECTORY)),
        ("a path", open(&file, OFlags::PATH)),
        (
            "an epoll",
            rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap(),
        ),
        ("a device", open(std::path::Path::new("/dev/null"), OFlags::RDWR)),
        (
            "a TCP socket",
            std::net::TcpListener::bind("127.0.0.1:0").unwrap().into(),
        ),
        ("a pipe", std::io::pipe().unwrap().0.into()),
    ]
}

#[actix::test]
async fn every_kind_arrives_as_what_it_is_in_both_directions() {
    let place = Place::new();
    let broker = place.start();
    let (callee, caller) = (broker.client().await, broker.client().await);
    let _echo = callee.register("echo", Echo).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (kind, descriptor) in kinds(folder.path()) {
        let sent = fstat(&descriptor).unwrap();
        let (_, came) = echo(&caller, Payload::default(), Attachments::new().with(descriptor)).await;
        assert_eq!(came.len(), 1, "{kind}");
        let came = came.get::<OwnedFd>(0).unwrap();
        let stat = fstat(came).unwrap();
        assert_eq!(
            (stat.st_dev, stat.st_ino, stat.st_mode),
            (sent.st_dev, sent.st_ino, sent.st_mode),
            "{kind}"
        );
        let flags = rustix::io::fcntl_getfd(came).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "{kind}");
    }
    broker.stop().await;
}

#[actix::test]
async fn a_unix_socket_is_refused_unless_that_is_allowed() {
    for allowed in [false, true] {
        let place = Place::new();
        let broker = place.start_with(limits(|limits| limits.attach_unix_sockets = allowed));
        let (callee, caller) = (broker.client().await, broker.client().await);
        let _echo = callee.register("echo", Echo).await.unwrap();
        let (one, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
        let call = caller
            .call("echo", "m")
            .attachments(Attachments::new().with(OwnedFd::from(one)));
        match call.send_payload(Payload::default()).with_metadata().await {
            Ok(reply) => {
                assert!(allowed);
                let end = reply.attachments.get::<OwnedFd>(0).unwrap().try_clone().unwrap();
                std::os::unix::net::UnixStream::from(end)
                    .write_all(b"hi")
                    .unwrap();
                let mut two = [0; 2];
                std::io::Read::read_exact(&mut other, &mut two).unwrap();
                assert_eq!(&two, b"hi");
            }
            Err(error) => {
                assert!(!allowed, "{error}");
                assert_eq!((error.code, error.may_have_run), (ErrorCode::Denied, false));
                assert!(error.message.contains("limits.attach_unix_sockets"), "{error}");
            }
        }
        caller.ping().await.unwrap();
        broker.stop().await;
    }
}

#[actix::test]
async fn payloads_of_many_reads_carry_descriptors_both_ways() {
    let place = Place::new();
    let broker = place.start();
    let (callee, caller) = (broker.client().await, broker.client().await);
    let _echo = callee.register("echo", Echo).await.unwrap();
    // One byte, several reads, and several pieces.
    for size in [1, 1 << 20, 20 << 20] {
        let payload = Payload::raw(vec![7; size]);
        let (sent, readers) = pipes(16);
        let sent: Attachments = sent.into_iter().fold(Attachments::new(), Attachments::with);
        let (back, came) = echo(&caller, payload.clone(), sent).await;
        assert!(back == payload, "{size}");
        let clone = |index| came.get::<OwnedFd>(index).unwrap().try_clone().unwrap();
        let clones: Vec<OwnedFd> = (0..came.len()).map(clone).collect();
        drop(came);
        same(clones, readers);
    }
    broker.stop().await;
}

#[test]
fn attachments_right_behind_the_last_frame_on_the_socket_belong_to_the_first_in_the_memory() {
    let ring = |aux| Draft::new(Kind::Ring, 0).aux(aux);
    // What comes behind the frame that takes, how many descriptors with it, and whether that is in order.
    for (behind, descriptors, fits) in [(0, 0, true), (1, 1, true), (1, 0, false), (2, 1, false)] {
        let running = Running::start(limits(|_| {}));
        let mut raw = running.connect();
        raw.send(&ring(0));
        assert!(raw.expect(Kind::Ring).aux > 1);
        let mut bytes = ring(1).to_vec();
        bytes.resize(bytes.len() + behind, 0);
        send(&raw, &bytes, &pipes(descriptors).0);
        let case = format!("{behind} bytes, {descriptors} descriptors");
        if fits {
            assert_eq!(raw.expect(Kind::Ring).aux, 1, "{case}");
        } else {
            assert_eq!(raw.goodbye().0, CloseReason::Protocol, "{case}");
        }
        running.stop();
    }
}

/// A connection is busy enough for shared memory while each call and each answer carries descriptors.
#[actix::test]
async fn no_descriptor_is_lost_on_the_way_into_shared_memory() {
    let place = Place::new();
    let broker = place.start_with(limits(|_| {}));
    for _ in 0..8 {
        let (callee, caller) = (broker.client().await, broker.client().await);
        let _echo = callee.register("echo", Echo).await.unwrap();
        let (sent, _readers) = pipes(1);
        let sent = Attachments::new().with(sent.into_iter().next().unwrap());
        for _ in 0..100 {
            let calls = (0..8).map(|_| echo(&caller, Payload::raw(vec![7; 16 * 1024]), sent.clone()));
            for (_, came) in futures::future::join_all(calls).await {
                assert_eq!(came.len(), 1);
            }
        }
    }
    broker.stop().await;
}

#[actix::test]
async fn what_cannot_travel_is_an_error_and_the_connection_stays() {
    let place = Place::new();
    let broker = place.start();
    let (callee, caller) = (broker.client().await, broker.client().await);
    let _echo = callee.register("echo", Echo).await.unwrap();
    let (many, readers) = pipes(17);
    let many: Attachments = many.into_iter().fold(Attachments::new(), Attachments::with);
    let call = caller.call("echo", "m").attachments(many);
    let error = call.send_payload(Payload::default()).await.unwrap_err();
    assert_eq!(
        (error.code, error.may_have_run),
        (ErrorCode::TooLarge, false),
        "{error}"
    );
    readers
        .into_iter()
        .for_each(|reader| assert!(closed(reader).is_empty()));
    let call = caller
        .call("echo", "m")
        .attachments(Attachments::new().with(7_u8));
    let error = call.send_payload(Payload::default()).await.unwrap_err();
    assert_eq!(
        (error.code, error.may_have_run),
        (ErrorCode::Invalid, false),
        "{error}"
    );
    // The broker's own objects have no place for them.
    let (one, readers) = pipes(1);
    let one: Attachments = one.into_iter().fold(Attachments::new(), Attachments::with);
    let call = caller.call("sys.broker", "ping").attachments(one);
    let error = call.send_payload(Payload::default()).await.unwrap_err();
    assert_eq!(
        (error.code, error.may_have_run),
        (ErrorCode::TooLarge, false),
        "{error}"
    );
    readers
        .into_iter()
        .for_each(|reader| assert!(closed(reader).is_empty()));
    caller.ping().await.unwrap();
    broker.stop().await;
}

#[actix::test]
async fn over_tcp_there_are_none() {
    let unix = Place::new();
    let broker = TestBroker::start("tcp:127.0.0.1:0".parse().unwrap(), Limits::default());
    let (callee, caller) = (broker.client().await, broker.client().await);
    let _echo = callee.register("echo", Echo).await.unwrap();
    let (one, _readers) = pipes(1);
    let one: Attachments = one.into_iter().fold(Attachments::new(), Attachments::with);
    let call = caller.call("echo", "m").attachments(one);
    let error = call.send_payload(Payload::default()).await.unwrap_err();
    assert_eq!(
        (error.code, error.may_have_run),
        (ErrorCode::TooLarge, false),
        "{error}"
    );
    broker.stop().await;
    drop(unix);
}

/// A caller and a callee that has registered `o`, in raw frames.
fn pair(broker: &Running) -> (Raw, Raw, Reader) {
    let [caller, mut callee] = broker.connect_all();
    callee.register("o");
    (caller, callee, Reader::default())
}

#[test]
fn each_limit_of_one_frame_at_minus_one_zero_and_plus_one() {
    for most in [1, 3, 16] {
        let broker = Running::start(limits(|limits| limits.attachments = most));
        for count in [most - 1, most] {
            let (caller, mut callee, mut reader) = pair(&broker);
            assert_eq!(caller.welcome.as_ref().unwrap().attachments as usize, most);
            let (sent, readers) = pipes(count);
            send(&caller, &call(1, "o", count, b""), &sent);
            drop(sent);
            let (got, came) = reader.read(&mut callee);
            assert_eq!(got.kind, Kind::Call);
            same(came, readers);
        }
        let mut caller = broker.connect();
        let (sent, readers) = pipes(most + 1);
        send(&caller, &call(1, "o", most + 1, b""), &sent);
        drop(sent);
        let (reason, text) = caller.goodbye();
        assert_eq!(reason, CloseReason::Protocol, "{text}");
        let told = if most < 16 {
            "limits.attachments"
        } else {
            "16 descriptors"
        };
        assert!(text.contains(told), "{text}");
        readers
            .into_iter()
            .for_each(|reader| assert!(closed(reader).is_empty()));
        broker.stop();
    }
}

#[test]
fn descriptors_come_early_wherever_their_frame_is_cut() {
    let broker = Running::start(limits(|_| {}));
    let (caller, mut callee, mut reader) = pair(&broker);
    let frame = call(1, "o", 2, b"payload");
    for cut in 1..=frame.len() {
        let (sent, readers) = pipes(2);
        let id = u64::try_from(cut).unwrap() + 1;
        let frame = call_with(id, "o", 2, b"payload", Flags::NO_REPLY);
        send(&caller, &frame[..cut], &sent);
        drop(sent);
        if cut < frame.len() {
            // The broker has read the first part when this was answered... by another connection, after it.
            broker.connect();
            send(&caller, &frame[cut..], &[]);
        }
        let (got, came) = reader.read(&mut callee);
        assert_eq!(
            (got.kind, &got.payload[..]),
            (Kind::Call, &b"payload"[..]),
            "{cut}"
        );
        same(came, readers);
    }
    broker.stop();
}

#[test]
fn frames_take_their_own_by_count() {
    let broker = Running::start(limits(|_| {}));
    let (caller, mut callee, mut reader) = pair(&broker);
    let (sent, mut readers) = pipes(3);
    let mut bytes = call_with(1, "o", 2, b"two", Flags::NO_REPLY);
    bytes.extend(call_with(2, "o", 0, b"none", Flags::NO_REPLY));
    bytes.extend(call_with(3, "o", 1, b"one", Flags::NO_REPLY));
    // All with the first byte of all, and then each with its own frame, back to back.
    send(&caller, &bytes, &sent);
    let (first, own) = pipes(2);
    send(&caller, &call_with(4, "o", 2, b"two", Flags::NO_REPLY), &first);
    let (second, own_too) = pipes(1);
    send(&caller, &call_with(5, "o", 1, b"one", Flags::NO_REPLY), &second);
    drop((sent, first, second));
    let last = readers.split_off(2);
    for (text, readers) in [
        ("two", readers),
        ("none", Vec::new()),
        ("one", last),
        ("two", own),
        ("one", own_too),
    ] {
        let (got, came) = reader.read(&mut callee);
        assert_eq!(got.text(), text);
        same(came, readers);
    }
    broker.stop();
}

#[test]
fn what_no_frame_takes_is_closed_with_its_connection() {
    let broker = Running::start(limits(|limits| limits.descriptor_wait_ms = 50));
    let frame = call(1, "o", 1, b"never complete");
    for sent_part in [
        &frame[..1],
        &frame[..frame.len() - 1],
        &Draft::new(Kind::Pong, 1).to_vec()[..],
    ] {
        let mut caller = broker.connect();
        let (sent, readers) = pipes(1);
        send(&caller, sent_part, &sent);
        drop(sent);
        let (reason, text) = caller.goodbye();
        assert_eq!(reason, CloseReason::Protocol);
        assert!(text.contains("limits.descriptor_wait_ms"), "{text}");
        readers
            .into_iter()
            .for_each(|reader| assert!(closed(reader).is_empty()));
    }
    assert_eq!(broker.handle.metrics().attachments_refused, 3);
    broker.stop();
}

#[test]
fn more_than_may_wait_without_a_frame_end_the_connection() {
    let broker = Running::start(limits(|limits| (limits.attachments, limits.descriptors) = (2, 4)));
    for (count, ends) in [(4, false), (5, true)] {
        let mut caller = broker.connect();
        let (sent, readers) = pipes(count);
        for one in &sent {
            send(
                &caller,
                &[Draft::new(Kind::Pong, 1).to_vec()].concat(),
                std::slice::from_ref(&one.try_clone().unwrap()),
            );
        }
        drop(sent);
        if !ends {
            caller.ping();
            drop(caller);
        } else {
            let (reason, text) = caller.goodbye();
            assert_eq!(reason, CloseReason::TooMany, "{text}");
            assert!(text.contains("limits.descriptors)"), "{text}");
        }
        readers
            .into_iter()
            .for_each(|reader| assert!(closed(reader).is_empty()));
    }
    broker.stop();
}

/// A frame that is read over takes its descriptors along, and nobody else's.
#[test]
fn a_frame_that_there_is_no_memory_for_takes_its_own_along() {
    // One process has 1 MiB.
    let broker = Running::start(limits(|limits| limits.memory_bytes_total = 8 << 20));
    let (mut caller, mut callee, mut reader) = pair(&broker);
    let (sent, readers) = pipes(3);
    send(&caller, &call(1, "o", 3, &vec![0; 4 << 20]), &sent);
    drop(sent);
    let refused = caller.answer(1);
    assert_eq!(refused.error(), (ErrorCode::TooMany, false));
    assert!(
        refused.text().contains("limits.memory_bytes_total"),
        "{}",
        refused.text()
    );
    readers
        .into_iter()
        .for_each(|reader| assert!(closed(reader).is_empty()));
    let (sent, readers) = pipes(2);
    send(&caller, &call(2, "o", 2, b"the next"), &sent);
    drop(sent);
    let (got, came) = reader.read(&mut callee);
    assert_eq!(got.text(), "the next");
    same(came, readers);
    let metrics = broker.handle.metrics();
    assert_eq!((metrics.refused_for_memory, metrics.attachments_refused), (1, 3));
    assert_eq!(metrics.closed_over_limit, 0);
    broker.stop();
}

#[test]
fn descriptors_are_refused_where_none_are_expected() {
    let broker = Running::start(limits(|_| {}));
    let (sent, readers) = pipes(1);
    let declared = |kind| Draft {
        attachments: 1,
        ..Draft::new(kind, 1)
    };
    // A frame that says one and brings none, a piece of an event, and before the handshake.
    let mut caller = broker.connect();
    send(&caller, &call(1, "o", 1, b""), &[]);
    let (reason, text) = caller.goodbye();
    assert!(
        reason == CloseReason::Protocol && text.contains("did not come"),
        "{text}"
    );
    let mut publisher = broker.connect();
    send(&publisher, &declared(Kind::PublishPiece).to_vec(), &sent);
    let (reason, text) = publisher.goodbye();
    assert!(
        reason == CloseReason::Protocol && text.contains("only calls, replies, publishes and messages"),
        "{text}"
    );
    let mut stranger = Raw::open(&broker.path);
    send(&stranger, &actix_ipc::message::handshake::PREFACE[..4], &sent);
    assert_eq!(stranger.try_read(), None, "not a byte for a stranger");
    drop(sent);
    readers
        .into_iter()
        .for_each(|reader| assert!(closed(reader).is_empty()));
    broker.stop();
}

#[test]
fn a_callee_that_does_not_read_costs_its_callers_a_typed_error() {
    let broker = Running::start(limits(|limits| limits.descriptors = 4.max(limits.attachments)));
    let most = 16;
    let (mut caller, mut callee, mut reader) = pair(&broker);
    let one_call = |id| {
        let (sent, readers) = pipes(1);
        (call(id, "o", 1, b""), sent, readers)
    };
    let mut kept = Vec::new();
    // One lies in the callee's socket and is the kernel's; those behind it are charged to the caller.
    for id in 1..=most + 1 {
        let (frame, sent, readers) = one_call(id);
        send(&caller, &frame, &sent);
        kept.push(readers);
    }
    caller.ping();
    let (frame, sent, readers) = one_call(100);
    send(&caller, &frame, &sent);
    drop(sent);
    let refused = caller.answer(100);
    assert_eq!(refused.error(), (ErrorCode::TooMany, false));
    assert!(
        refused.text().contains("limits.descriptors)"),
        "{}",
        refused.text()
    );
    readers
        .into_iter()
        .for_each(|reader| assert!(closed(reader).is_empty()));
    // When it reads, all come, and there is room again.
    for readers in kept {
        let (_, came) = reader.read(&mut callee);
        same(came, readers);
    }
    let (frame, sent, readers) = one_call(101);
    send(&caller, &frame, &sent);
    drop(sent);
    let (_, came) = reader.read(&mut callee);
    same(came, readers);
    broker.stop();
}

#[test]
fn a_callee_that_never_reads_is_closed_and_its_callers_are_told() {
    let broker = Running::start(limits(|limits| limits.descriptor_wait_ms = 50));
    let (mut caller, callee, _) = pair(&broker);
    let mut readers = Vec::new();
    for id in 1..=3 {
        let (sent, ends) = pipes(2);
        send(&caller, &call(id, "o", 2, b""), &sent);
        readers.extend(ends);
    }
    for id in 1..=3 {
        assert_eq!(caller.answer(id).error().0, ErrorCode::CalleeGone);
    }
    // The first frame is in its socket; with that the last descriptors end.
    drop(callee);
    readers
        .into_iter()
        .for_each(|reader| assert!(closed(reader).is_empty()));
    caller.ping();
    broker.stop();
}

#[test]
fn an_answer_whose_descriptors_are_refused_is_lost_aloud() {
    let broker = Running::start(limits(|_| {}));
    let (mut caller, mut callee, _) = pair(&broker);
    send(&caller, &call(1, "o", 0, b""), &[]);
    let got = callee.expect(Kind::Call);
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let reply = Draft::new(Kind::Reply, got.id).payload(Encoding::RAW, b"r");
    let reply = Draft {
        attachments: 1,
        ..reply
    };
    send(&callee, &reply.to_vec(), &[one.into()]);
    let error = caller.answer(1);
    assert_eq!(error.error(), (ErrorCode::ReplyLost, true));
    assert!(
        error.text().contains("limits.attach_unix_sockets"),
        "{}",
        error.text()
    );
    broker.stop();
}

#[test]
fn a_child_of_the_brokers_program_inherits_none() {
    let broker = Running::start(limits(|_| {}));
    let (caller, mut callee, mut reader) = pair(&broker);
    let mut ends = Vec::new();
    for id in 1..=2 {
        let (sent, readers) = pipes(4);
        send(&caller, &call(id, "o", 4, b""), &sent);
        ends.push(readers);
    }
    until("the second call's descriptors came", || {
        broker.handle.metrics().attachments_in == 8
    });
    let inode = |reader: &std::io::PipeReader| format!("pipe:[{}]", fstat(reader.as_fd()).unwrap().st_ino);
    let held: Vec<String> = ends.iter().flatten().map(inode).collect();
    let child = std::process::Command::new("ls")
        .args(["-l", "/proc/self/fd"])
        .output()
        .unwrap();
    let listed = String::from_utf8(child.stdout).unwrap();
    assert!(listed.contains("->"), "{listed}");
    held.iter()
        .for_each(|pipe| assert!(!listed.contains(pipe), "{listed}"));
    for readers in ends {
        same(reader.read(&mut callee).1, readers);
    }
    broker.stop();
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// The real broker, after everything above at once: it has as many descriptors as before.
#[test]
fn a_broker_has_exactly_as_many_descriptors_afterwards_as_before() {
    let broker = support::Broker::start_with(|command| {
        command.env("IPC_BROKER_LIMITS__DESCRIPTOR_WAIT_MS", "300");
    });
    let (path, pid) = (broker.socket(), broker.process.id());
    let mut witness = Raw::connect(&path);
    witness.ping();
    let before = open_files(pid);
    for round in 0..20 {
        let mut caller = Raw::connect(&path);
        let mut callee = Raw::connect(&path);
        let object = format!("o{round}");
        callee.register(&object);
        let (sent, readers) = pipes(16);
        // Answered, killed in the middle of a frame, without a frame, unread, too many at once.
        let frame = call(1, &object, 16, &vec![0; 100_000]);
        send(&caller, &frame, &sent);
        let mut reader = Reader::default();
        assert_eq!(reader.read(&mut callee).1.len(), 16);
        let half = Raw::connect(&path);
        send(&half, &frame[..1_000], &sent);
        let loose = Raw::connect(&path);
        send(&loose, &Draft::new(Kind::Pong, 1).to_vec(), &sent[..3]);
        send(&caller, &call(2, &object, 16, b""), &sent);
        send(&caller, &call(3, &object, 16, b""), &sent);
        send(&caller, &call(4, "nobody", 16, b""), &sent);
        assert_eq!(caller.answer(4).error().0, ErrorCode::NoSuchObject);
        drop(sent);
        drop((caller, callee, half, loose));
        drop(reader);
        readers
            .into_iter()
            .for_each(|reader| assert!(closed(reader).is_empty()));
    }
    until("every descriptor is closed again", || open_files(pid) == before);
    witness.ping();
}

#[test]
fn a_stopped_reader_holds_what_it_has_and_nothing_more() {
    // Σ over all connections of one user: the third caller is refused although it holds nothing itself.
    let broker = Running::start(limits(|limits| {
        (limits.descriptors, limits.descriptors_per_user) = (16, 32);
    }));
    let [mut callee, one, two, mut three] = broker.connect_all();
    callee.register("o");
    let (sent, _readers) = pipes(16);
    for (id, caller) in [(1, &one), (2, &one), (3, &two)] {
        send(caller, &call(id, "o", 16, b""), &sent);
        until("it has come", || {
            broker.handle.metrics().attachments_in == 16 * id
        });
        // The first is with the callee's socket before its caller sends more: what is sent is charged to nobody any more.
        until("the first is sent on", || {
            broker.handle.metrics().attachments_out == 16
        });
    }
    send(&three, &call(4, "o", 1, b""), &sent[..1]);
    let refused = three.answer(4);
    assert_eq!(refused.error(), (ErrorCode::TooMany, false));
    assert!(
        refused.text().contains("limits.descriptors_per_user"),
        "{}",
        refused.text()
    );
    broker.stop();
}
