//! What a broker that is none offers to the client library: each ends that connection, and is told as what it is.

use actix_ipc::IpcClient;
use actix_ipc::client::SharedMemory;
use actix_ipc::message::{Draft, Encoding, Epoch, Kind, PROTOCOL_VERSION, Welcome};
use actix_ipc::transport::Endpoint;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

const BYTES: u32 = 64 * 1024;
const LENGTH: u64 = 4096 + 2 * BYTES as u64;
const RING: u8 = Kind::Ring as u8;

fn welcome() -> Vec<u8> {
    let welcome = Welcome {
        epoch: Epoch([7; 16]),
        frame_bytes: 1 << 20,
        message_bytes: 4 << 20,
        publish_window: 1 << 20,
        stream_window: 64 << 10,
        open_calls: 4_096,
        names: 100,
        subscriptions: 100,
        default_deadline_ms: 30_000,
        max_deadline_ms: 3_600_000,
        attachments: 16,
        ring_bytes: BYTES,
        send_window: 0,
        region_bytes: 0,
    };
    Draft::new(Kind::Welcome, 5)
        .aux(PROTOCOL_VERSION)
        .payload(Encoding::RAW, &welcome.encode())
        .to_vec()
}

/// The next frame's kind, number and aux.
fn frame(stream: &mut UnixStream) -> Option<(u8, u64, u32)> {
    let mut header = [0; 24];
    stream.read_exact(&mut header).ok()?;
    let length = u32::from_le_bytes(header[..4].try_into().unwrap());
    stream.read_exact(&mut vec![0; length as usize]).ok()?;
    let id = u64::from_le_bytes(header[8..16].try_into().unwrap());
    Some((
        header[4],
        id,
        u32::from_le_bytes(header[16..20].try_into().unwrap()),
    ))
}

fn send(stream: &UnixStream, bytes: &[u8], given: &[OwnedFd]) {
    let borrowed: Vec<BorrowedFd<'_>> = given.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !given.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&borrowed)));
    }
    let _ = sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
}

fn offer(aux: u32, attachments: u8) -> Vec<u8> {
    let draft = Draft::new(Kind::Ring, 0).aux(aux);
    Draft { attachments, ..draft }.to_vec()
}

fn memory(length: u64, seals: SealFlags) -> OwnedFd {
    let file = memfd_create("x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&file, length).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file
}

fn sealed() -> SealFlags {
    SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL
}

fn bell() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

/// A broker of one connection: greets, waits for the asking, and does `then`. The client's connection to it.
async fn client_of(then: impl FnOnce(&mut UnixStream) + Send + 'static) -> (IpcClient, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
        frame(&mut stream).unwrap();
        stream.write_all(&welcome()).unwrap();
        assert_eq!(frame(&mut stream), Some((RING, 0, 0)));
        then(&mut stream);
        // Until the client has gone.
        while frame(&mut stream).is_some() {}
    });
    let client = IpcClient::builder()
        .endpoint(Endpoint::Unix(path))
        .reconnect(false)
        .shared_memory(SharedMemory::AtOnce)
        .connect()
        .await
        .unwrap();
    (client, folder)
}

/// How the connection to such a broker ends.
async fn end_of(then: impl FnOnce(&mut UnixStream) + Send + 'static) -> String {
    let (client, _folder) = client_of(then).await;
    let ended = async {
        loop {
            if let Err(error) = client.ping().await {
                return error.to_string();
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
    ended.expect("it ends by itself")
}

#[actix::test]
async fn an_offer_that_is_none_ends_the_connection() {
    type Given = fn() -> Vec<OwnedFd>;
    let none: Given = Vec::new;
    let honest: Given = || vec![memory(LENGTH, sealed()), bell(), bell()];
    let cases: [(u32, u8, Given, &str); 12] = [
        (BYTES, 0, none, "three descriptors"),
        (
            BYTES,
            2,
            || vec![memory(LENGTH, sealed()), bell()],
            "three descriptors",
        ),
        (
            BYTES,
            4,
            || vec![memory(LENGTH, sealed()), bell(), bell(), bell()],
            "three descriptors",
        ),
        (
            BYTES,
            3,
            || vec![memory(LENGTH, SealFlags::GROW), bell(), bell()],
            "not sealed",
        ),
        (
            BYTES,
            3,
            || vec![memory(LENGTH - 1, sealed()), bell(), bell()],
            "another size",
        ),
        (BYTES * 2, 3, honest, "another size"),
        (BYTES + 1, 3, honest, "size is none"),
        (u32::MAX, 3, honest, "size is none"),
        (1 << 31, 3, honest, "size is none"),
        (
            BYTES,
            3,
            || vec![bell(), bell(), memory(LENGTH, sealed())],
            "no memfd",
        ),
        (
            BYTES,
            3,
            || {
                let (reader, writer) = std::io::pipe().unwrap();
                vec![memory(LENGTH, sealed()), reader.into(), writer.into()]
            },
            "no eventfd",
        ),
        (
            BYTES,
            3,
            || {
                vec![
                    memory(LENGTH, sealed()),
                    bell(),
                    eventfd(0, EventfdFlags::CLOEXEC).unwrap(),
                ]
            },
            "may wait",
        ),
    ];
    for (aux, attachments, given, named) in cases {
        let text = end_of(move |stream| send(stream, &offer(aux, attachments), &given())).await;
        assert!(text.contains(named), "{aux} {attachments}: {text}");
    }
}

#[actix::test]
async fn steps_that_nobody_asked_for_end_the_connection() {
    let honest = || [memory(LENGTH, sealed()), bell(), bell()];
    let text = end_of(|stream| send(stream, &offer(1, 0), &[])).await;
    assert!(text.contains("not asked for"), "{text}");
    let text = end_of(move |stream| {
        send(stream, &offer(0, 0), &[]);
        send(stream, &offer(BYTES, 3), &honest());
    })
    .await;
    assert!(text.contains("not asked for"), "{text}");
    let text = end_of(move |stream| {
        send(stream, &offer(BYTES, 3), &honest());
        send(stream, &offer(BYTES, 3), &honest());
    })
    .await;
    assert!(text.contains("not asked for"), "{text}");
}

#[actix::test]
async fn lies_in_the_memory_end_the_connection() {
    for (at, value) in [(0, 1_u32 << 31), (0, BYTES + 1), (1024 + 128, 1 << 31)] {
        let text = end_of(move |stream| {
            let file = memory(LENGTH, sealed());
            rustix::io::pwrite(&file, &value.to_ne_bytes(), at).unwrap();
            let given = [file, bell(), bell()];
            send(stream, &offer(BYTES, 3), &given);
            // The client takes it; from here on it reads the memory.
            while let Some((kind, id, aux)) = frame(stream)
                && (kind, aux) != (RING, 1)
            {
                if kind == Kind::Ping as u8 {
                    send(stream, &Draft::new(Kind::Pong, id).to_vec(), &[]);
                }
            }
            send(stream, &offer(1, 0), &[]);
            let _ = rustix::io::write(&given[1], &1_u64.to_ne_bytes());
        })
        .await;
        assert!(text.contains("out of bounds"), "{at} {value}: {text}");
    }
}

#[actix::test]
async fn a_refusal_changes_nothing() {
    let (client, _folder) = client_of(|stream| {
        send(stream, &offer(0, 0), &[]);
        while let Some((kind, id, _)) = frame(stream) {
            assert_ne!(kind, RING);
            if kind == Kind::Ping as u8 {
                send(stream, &Draft::new(Kind::Pong, id).to_vec(), &[]);
            }
        }
    })
    .await;
    client.ping().await.unwrap();
    client.ping().await.unwrap();
}
