//! No descriptor of a region is ever left behind: thousands of payloads that are offered as regions, most of which fail in one of many ways.
//!
//! Owns the ways to fail and the count before and after, in the broker's process and in the one of its clients, which is this one
//! alone (the file has one test). What each failure is answered with is tested in `regions_wire.rs`.
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

use actix_ipc::client::IpcClient;
use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Draft, Encoding, Flags, Kind, Payload};
use descriptors::{Reader, send};
use raw::Raw;
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::path::Path;
use std::task::Poll;
use support::until;

const ROUNDS: usize = 150;
const WAYS: usize = 12;
const LENGTH: usize = 10_000;
const OFFER: Flags = Flags::OFFER.with(Flags::CONTINUED);

fn open_files(pid: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn region(raw: &Raw, kind: Kind, id: u64, sealed: bool) {
    let memory: OwnedFd = memfd_create("m", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::io::pwrite(&memory, &[7; LENGTH], 0).unwrap();
    if sealed {
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        fcntl_add_seals(&memory, seals).unwrap();
    }
    let length = (LENGTH as u64).to_le_bytes();
    let draft = Draft::new(kind, id)
        .flags(Flags::REGION)
        .payload(Encoding::RAW, &length);
    let draft = Draft {
        attachments: 1,
        ..draft
    };
    send(raw, &draft.to_vec(), &[memory]);
}

/// Ends of the broker's socket: the one that listens and one for each connection.
fn broker_ends(path: &Path) -> usize {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    let path = path.display().to_string();
    table.lines().filter(|line| line.ends_with(&path)).count()
}

/// A caller whose call of a callee of its own is taken as a region.
fn begun(path: &Path, object: &str) -> (Raw, Raw, u64) {
    let (mut caller, mut callee) = (
        Raw::connect_taking_regions(path),
        Raw::connect_taking_regions(path),
    );
    callee.register(object);
    let call = Draft::new(Kind::Call, 1).flags(OFFER).pair(object, "m");
    caller.send(&call);
    assert_eq!(caller.expect(Kind::Takes).aux, 1);
    let ticket = callee.expect(Kind::Call).id;
    (caller, callee, ticket)
}

fn call(way: usize, path: &Path, object: &str) {
    let (mut caller, mut callee, ticket) = begun(path, object);
    match way {
        // Given up before it, behind it, and by the end of either side.
        0 => caller.send(&Draft::new(Kind::Cancel, 1)),
        1 => {
            region(&caller, Kind::CallPiece, 1, true);
            caller.send(&Draft::new(Kind::Cancel, 1));
            assert_eq!(caller.answer(1).error().0, ErrorCode::Cancelled);
        }
        2 => drop(callee),
        3 => {
            region(&caller, Kind::CallPiece, 1, true);
            drop(caller);
            // What was sent is there to be read.
            let mut reader = Reader::default();
            while reader.read(&mut callee).0.kind != Kind::Cancel {}
        }
        4 => {
            region(&caller, Kind::CallPiece, 1, true);
            caller.ping();
            drop(callee);
            assert_eq!(caller.answer(1).error().0, ErrorCode::CalleeGone);
        }
        5 => {
            region(&caller, Kind::CallPiece, 1, false);
            let _ = caller.goodbye();
        }
        // The reply that nobody waits for any more.
        6 => {
            callee.send(&Draft::new(Kind::Reply, ticket).flags(OFFER));
            assert_eq!(callee.expect(Kind::Takes).aux, 1);
            caller.send(&Draft::new(Kind::Cancel, 1));
            caller.ping();
            region(&callee, Kind::ReplyPiece, ticket, true);
            callee.ping();
        }
        // Everything as it should be.
        _ => {
            region(&caller, Kind::CallPiece, 1, true);
            let mut reader = Reader::default();
            assert_eq!(reader.read(&mut callee).1.len(), 1);
        }
    }
}

fn event(way: usize, path: &Path) {
    let mut publisher = Raw::connect(path);
    let (mut one, mut two) = (
        Raw::connect_taking_regions(path),
        Raw::connect_taking_regions(path),
    );
    one.subscribe("o", "e");
    two.subscribe("o", "e");
    publisher.send(&Draft::new(Kind::Publish, 1).flags(OFFER).pair("o", "e"));
    assert_eq!(publisher.expect(Kind::Takes).aux, 2);
    match way {
        8 => drop((one, two)),
        9 => drop(publisher),
        _ => {
            region(&publisher, Kind::PublishPiece, 1, true);
            drop(one);
            let mut reader = Reader::default();
            while reader.read(&mut two).1.is_empty() {}
        }
    }
}

/// A client that offers everything, and gives up after so many polls.
async fn client(path: &Path, polls: usize) {
    let endpoint = format!("unix:{}", path.display()).parse().unwrap();
    let builder = IpcClient::builder().endpoint(endpoint).regions_from(1);
    let client = builder.connect().await.unwrap();
    let mut events = client.subscribe("o", "e").await.unwrap();
    let payload = || Payload::raw(vec![7; 3 << 20]);
    let publish = client.publish_payload("o", "e", payload()).into_future();
    let mut publish = Box::pin(publish);
    let mut left = polls;
    let whole = std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        cx.waker().wake_by_ref();
        publish.as_mut().poll(cx).map(|sent| sent.is_ok())
    })
    .await;
    drop(publish);
    if whole {
        assert_eq!(events.next().await.unwrap().payload.bytes.len(), 3 << 20);
    }
    client.close().await;
}

#[test]
fn after_thousands_of_regions_that_fail_in_every_way_as_many_are_open_as_before() {
    let broker = support::Broker::start();
    let pid = broker.process.id().to_string();
    let path = broker.socket();
    let mut witness = Raw::connect(&path);
    witness.ping();
    let system = actix::System::new();
    // What a client keeps for its process is made with the first.
    system.block_on(client(&path, 1_000));
    // The broker's end of it is closed.
    until("the first client is gone", || broker_ends(&path) == 2);
    let before = (open_files(&pid), open_files("self"));
    for round in 0..ROUNDS {
        for way in 0..WAYS {
            match way {
                0..=7 => call(way, &path, &format!("{round} {way}")),
                8..=10 => event(way, &path),
                _ => system.block_on(client(&path, round % 12)),
            }
        }
    }
    until("every descriptor is closed again", || {
        open_files(&pid) <= before.0 && open_files("self") <= before.1
    });
    witness.ping();
}
