//! Regions from a broker that does not keep to the protocol: the client ends the connection, or goes on, and never breaks.
//!
//! Owns the broker's side of section 10 of the protocol document, told wrongly. Other lies of brokers are in `hostile_broker.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is not as expected fails the test"
)]
#![cfg(target_os = "linux")]

use actix_ipc::client::IpcClient;
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::message::{Draft, Encoding, Epoch, Flags, Kind, PROTOCOL_VERSION, Payload, Welcome};
use actix_ipc::transport::Endpoint;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

const CALL: u8 = Kind::Call as u8;
const LENGTH: u64 = 9_000;
const MOST: u32 = 1 << 20;

fn welcome() -> Vec<u8> {
    let welcome = Welcome {
        epoch: Epoch([7; 16]),
        frame_bytes: MOST,
        message_bytes: MOST,
        publish_window: MOST,
        stream_window: 64 << 10,
        open_calls: 100,
        default_deadline_ms: 30_000,
        max_deadline_ms: 3_600_000,
        attachments: 16,
        region_bytes: MOST,
        ..Welcome::default()
    };
    Draft::new(Kind::Welcome, 5)
        .aux(PROTOCOL_VERSION)
        .payload(Encoding::RAW, &welcome.encode())
        .to_vec()
}

/// The next frame's kind, number and flags.
fn frame(stream: &mut UnixStream) -> Option<(u8, u64, u16)> {
    let mut header = [0; 24];
    stream.read_exact(&mut header).ok()?;
    let length = u32::from_le_bytes(header[..4].try_into().unwrap());
    stream.read_exact(&mut vec![0; length as usize]).ok()?;
    let id = u64::from_le_bytes(header[8..16].try_into().unwrap());
    Some((
        header[4],
        id,
        u16::from_le_bytes(header[6..8].try_into().unwrap()),
    ))
}

/// A reply whose payload is this memory.
fn reply(stream: &UnixStream, id: u64, length: u64, given: &[OwnedFd]) {
    let first = Draft::new(Kind::Reply, id).flags(Flags::CONTINUED).to_vec();
    let length = length.to_le_bytes();
    let piece = Draft::new(Kind::ReplyPiece, id)
        .flags(Flags::REGION)
        .payload(Encoding::RAW, &length);
    let piece = Draft {
        attachments: given.len() as u8,
        ..piece
    };
    let _ = (&*stream).write_all(&first);
    let borrowed: Vec<BorrowedFd<'_>> = given.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !given.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&borrowed)));
    }
    let bytes = piece.to_vec();
    let _ = sendmsg(stream, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL);
}

fn memory(length: u64, written: usize, sealed: bool) -> OwnedFd {
    let file = memfd_create("x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&file, length).unwrap();
    rustix::io::pwrite(&file, &vec![7; written], 0).unwrap();
    if sealed {
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        fcntl_add_seals(&file, seals).unwrap();
    }
    file
}

/// What becomes of a call at a broker that does `then` with its first frame.
async fn call(
    payload: usize,
    then: impl Fn(&mut UnixStream, u64) + Send + 'static,
) -> Result<Payload, CallError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
        frame(&mut stream).unwrap();
        stream.write_all(&welcome()).unwrap();
        while let Some((kind, id, _)) = frame(&mut stream) {
            if kind == CALL {
                then(&mut stream, id);
            }
        }
    });
    let client = IpcClient::builder()
        .endpoint(Endpoint::Unix(path))
        .reconnect(false)
        .deadline(Duration::from_millis(100))
        .regions_from(64)
        .connect()
        .await
        .unwrap();
    let call = client.call("o", "m").send_payload(Payload::raw(vec![1; payload]));
    tokio::time::timeout(Duration::from_secs(20), call)
        .await
        .expect("it ends")
}

#[actix::test]
async fn what_is_no_region_ends_the_connection_and_what_is_one_is_the_payload() {
    type Given = fn() -> Vec<OwnedFd>;
    let cases: [(&str, u64, Given); 8] = [
        ("nothing is attached", LENGTH, Vec::new),
        ("unsealed", LENGTH, || vec![memory(LENGTH, 9_000, false)]),
        ("too short", LENGTH, || vec![memory(LENGTH - 1, 8_999, true)]),
        ("too long", LENGTH, || vec![memory(LENGTH + 1, 9_001, true)]),
        ("with a hole", LENGTH, || vec![memory(LENGTH, 100, true)]),
        ("no memory", LENGTH, || vec![std::io::pipe().unwrap().0.into()]),
        ("two of them", LENGTH, || {
            vec![memory(LENGTH, 9_000, true), memory(LENGTH, 9_000, true)]
        }),
        ("a length of its own", u64::MAX, || {
            vec![memory(LENGTH, 9_000, true)]
        }),
    ];
    for (case, length, given) in cases {
        let ended = call(1, move |stream, id| reply(stream, id, length, &given())).await;
        let error = ended.expect_err(case);
        assert_eq!(error.code, ErrorCode::BrokerGone, "{case}: {error}");
        assert!(error.message.contains("region"), "{case}: {error}");
    }
    let whole = call(1, |stream, id| {
        reply(stream, id, LENGTH, &[memory(LENGTH, 9_000, true)])
    })
    .await;
    assert_eq!(whole.unwrap().bytes, vec![7; 9_000]);
    let most = u64::from(MOST) + 1;
    let large = call(1, move |stream, id| {
        reply(stream, id, most, &[memory(most, most as usize, true)]);
    })
    .await;
    assert_eq!(large.unwrap_err().code, ErrorCode::TooLarge);
}

#[actix::test]
async fn an_offer_that_is_answered_wrongly_or_never_ends_with_its_call() {
    let takes = |id, aux| Draft::new(Kind::Takes, id).aux(aux).to_vec();
    // Never: its deadline ends it.
    let never = call(5_000, |_, _| ()).await.unwrap_err();
    assert_eq!(never.code, ErrorCode::Deadline, "{never}");
    // For others, with an error, and with more receivers than there are.
    let others = call(5_000, move |stream, id| {
        stream.write_all(&takes(id + 1, 1)).unwrap();
        stream.write_all(&takes(u64::MAX, u32::MAX)).unwrap();
        let error = Draft::new(Kind::Error, id).aux(ErrorCode::Denied.code());
        stream.write_all(&error.to_vec()).unwrap();
    })
    .await;
    assert_eq!(others.unwrap_err().code, ErrorCode::Denied);
    let many = call(5_000, move |stream, id| {
        stream.write_all(&takes(id, u32::MAX)).unwrap();
        let (kind, piece, flags) = frame(stream).unwrap();
        assert_eq!((kind, piece), (Kind::CallPiece as u8, id));
        assert_eq!(Flags(flags), Flags::REGION);
        stream.write_all(&Draft::new(Kind::Reply, id).to_vec()).unwrap();
    })
    .await;
    assert_eq!(many.unwrap(), Payload::default());
}
