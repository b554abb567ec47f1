//! Models of handles and the socket's task at one connection, tried under many interleavings.
//!
//! Owns the situations and what must be true after them; each has at least one slip that it must find. The handles, the lock, the
//! out-buffer, the slots and [`Drive`] are the real ones, the stream is one in memory; a thread plays the broker. Run by
//! `cargo test --lib --features models models::`.

use super::builder::{Options, SharedMemory};
use super::drive::Drive;
use super::exchange::Exchange;
use super::handle::Handle;
use super::link::Link;
use super::names::Key;
use super::outgoing::Outgoing;
use super::request::Answer;
use super::shared::{Shared, Spot};
use super::state::{Direct, Phase};
use crate::message::codec::body_limit;
use crate::message::{Decoder, Draft, Encoding, Header, Kind, Payload, PeerId, Welcome};
use crate::sync::explore::{finds, holds};
use crate::sync::slips::Slip;
use crate::transport::memory::{MemoryOptions, pair};
use crate::transport::{Stream, TlsClient};
use shuttle::future::block_on;
use shuttle::thread::{JoinHandle, spawn};
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

const DEADLOCK: &str = "deadlock";
const FRAME_BYTES: u32 = 1024;

/// A connection whose handshake is done: what handles share, the broker's end, and the thread of the socket.
fn connection(out_buffer: usize, capacity: usize) -> (Arc<Shared>, Stream, JoinHandle<()>) {
    let shared = Arc::new(Shared::new(Options {
        endpoints: Vec::new(),
        name: String::new(),
        reconnect: false,
        prompt_reconnect: false,
        peer: None,
        deadline: None,
        encoding: Encoding::RAW,
        out_buffer,
        subscription_buffer: 1024,
        token_file: None,
        tls: TlsClient::default(),
        keepalive: Duration::ZERO,
        shared_memory: SharedMemory::Never,
        regions_from: usize::MAX,
    }));
    let options = MemoryOptions {
        capacity,
        ..MemoryOptions::default()
    };
    let (broker, client) = pair(&options);
    let link = Link {
        met: None,
        stream: Arc::new(client),
        decoder: Decoder::new(body_limit(FRAME_BYTES as usize)),
        welcome: Welcome {
            frame_bytes: FRAME_BYTES,
            message_bytes: FRAME_BYTES,
            open_calls: 8,
            stream_window: FRAME_BYTES,
            default_deadline_ms: 1_000_000,
            ..Welcome::default()
        },
        peer: PeerId::default(),
    };
    let mut state = shared.lock();
    state.grants = link.welcome;
    state.phase = Phase::Up(Arc::clone(&link.stream));
    drop(state);
    let socket = Arc::clone(&shared);
    let socket = spawn(move || {
        block_on(Drive::new(socket, link));
    });
    (shared, broker, socket)
}

/// Reads frames until `each` says that it has seen enough.
fn read(broker: &Stream, mut each: impl FnMut(&Header, &[u8]) -> bool) {
    let (mut decoder, mut buffer) = (Decoder::new(body_limit(FRAME_BYTES as usize)), [0; 256]);
    block_on(poll_fn(|cx| {
        loop {
            match broker.try_read(&mut buffer, &mut Vec::new()) {
                Ok(0) => panic!("the client ended the connection"),
                Ok(count) => {
                    let batch = decoder.decode(&buffer[..count]).unwrap();
                    for index in 0..batch.len() {
                        let view = batch.view(index).unwrap();
                        if each(view.header, view.payload) {
                            return Poll::Ready(());
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if broker.poll_read_ready(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    }));
}

/// Adds frames with these numbers one after the other, each as soon as there is room.
fn push(shared: &Arc<Shared>, direct: Direct, ids: [u64; 2]) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    spawn(move || {
        for id in ids {
            let mut spot = Spot::new(&shared, |state| &mut state.out.room);
            block_on(poll_fn(|cx| {
                shared.poll_push(cx, &mut spot.place, direct, |state| {
                    state.out.encode(&Draft::new(Kind::Ping, id));
                })
            }))
            .unwrap();
        }
    })
}

/// Two handles send; the broker must get every frame, whole and in each handle's order, with nobody adding another.
fn handles_send(out_buffer: usize, capacity: usize) {
    let (shared, broker, socket) = connection(out_buffer, capacity);
    let handles = [
        push(&shared, Direct::Now, [10, 11]),
        push(&shared, Direct::No, [20, 21]),
    ];
    let mut seen = Vec::new();
    read(&broker, |header, _| {
        seen.push(header.id);
        seen.len() == 4
    });
    for handle in handles {
        handle.join().unwrap();
    }
    drop(broker);
    socket.join().unwrap();
    let idle = shared.lock().out.is_idle();
    // Nothing that locks is left here: a failure must not lock while it unwinds.
    drop(shared);
    assert!(idle, "all is written");
    let of = |tens| {
        seen.iter()
            .copied()
            .filter(|id| id / 10 == tens)
            .collect::<Vec<u64>>()
    };
    assert_eq!((of(1), of(2)), (vec![10, 11], vec![20, 21]), "each in order");
}

/// With room for all.
fn roomy() {
    handles_send(FRAME_BYTES as usize, FRAME_BYTES as usize);
}

/// The out-buffer takes one frame at a time, and the socket takes a part of a frame.
fn tight() {
    handles_send(1, 9);
}

#[test]
fn every_frame_is_written() {
    holds("roomy", roomy);
    holds("tight", tight);
}

#[test]
fn a_socket_that_looks_once_is_found() {
    finds(Slip::SocketLooksOnce, DEADLOCK, roomy);
}

#[test]
fn a_writer_that_forgets_others_is_found() {
    finds(Slip::WriterForgetsOthers, DEADLOCK, roomy);
}

#[test]
fn a_frame_that_got_stuck_untold_is_found() {
    finds(Slip::StuckNotTold, DEADLOCK, tight);
}

#[test]
fn room_that_is_not_told_is_found() {
    finds(Slip::RoomNotTold, DEADLOCK, tight);
}

fn call(handle: &Arc<Handle>, payload: &'static [u8]) -> Exchange {
    let mut outgoing = Outgoing::plain(Kind::Call, Key::pair("object", "method").unwrap());
    outgoing.content = Payload::raw(payload).into();
    Exchange::new(Arc::clone(handle), Ok(outgoing))
}

fn answer(mut exchange: Exchange) -> Vec<u8> {
    match block_on(poll_fn(|cx| exchange.poll_answer(cx))).unwrap() {
        Answer::Reply(reply) => reply.payload.bytes.to_vec(),
        Answer::Number(number) => panic!("the answer is a number: {number}"),
    }
}

/// One call is dropped while its answer is under way, the next one gets its slot; another handle calls meanwhile. Everybody gets
/// the answer to what it asked.
fn calls_and_drops() {
    let (shared, broker, socket) = connection(FRAME_BYTES as usize, FRAME_BYTES as usize);
    let handle = Arc::new(Handle::new(Arc::clone(&shared)));
    let first = Arc::clone(&handle);
    let first = spawn(move || {
        let mut dropped = call(&first, b"dropped");
        block_on(poll_fn(|cx| dropped.poll_sent(cx))).unwrap();
        drop(dropped);
        answer(call(&first, b"kept"))
    });
    let second = Arc::clone(&handle);
    let second = spawn(move || answer(call(&second, b"other")));
    let mut calls = 0;
    read(&broker, |header, payload| {
        if header.kind == Kind::Call {
            let reply = Draft::new(Kind::Reply, header.id)
                .payload(Encoding::RAW, payload)
                .to_vec();
            assert_eq!(
                broker.try_write(&[IoSlice::new(&reply)], &[]).unwrap(),
                reply.len()
            );
            calls += 1;
        }
        calls == 3
    });
    let answers = [first, second].map(|caller| caller.join().unwrap());
    let free = shared.lock().requests.is_empty();
    drop(broker);
    socket.join().unwrap();
    drop((handle, shared));
    assert_eq!(answers, [b"kept".to_vec(), b"other".to_vec()], "its own answer");
    assert!(free, "every slot is free");
}

#[test]
fn everybody_gets_its_own_answer() {
    holds("calls and drops", calls_and_drops);
}

#[test]
fn a_key_that_is_used_twice_is_found() {
    finds(Slip::KeyUsedTwice, "its own answer", calls_and_drops);
}
