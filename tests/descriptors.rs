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
#[path = "descriptors/frames.rs"]
mod frames;
#[path = "support/raw.rs"]
mod raw;
#[path = "descriptors/readers.rs"]
mod readers;
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
