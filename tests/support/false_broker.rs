//! What every broker that a test plays has: a place, a thread for each connection, and the handshake.
//!
//! Owns the bytes up to the welcome; what is said behind it is the test's business. For tests of clients and of `rob`.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::unwrap_used,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

#[path = "sockets.rs"]
#[allow(
    clippy::duplicate_mod,
    reason = "each harness brings its own, and a test may use two"
)]
pub mod sockets;

use actix_ipc::Endpoint;
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Decoder, Draft, Encoding, Epoch, Kind, PROTOCOL_VERSION, Welcome};
pub use sockets::{Place, Socket};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A place where a broker seems to listen, as long as this lives.
pub struct FalseBroker {
    pub endpoint: Endpoint,
    over: Arc<AtomicBool>,
    _place: Place,
}

impl FalseBroker {
    /// Every connection runs `script`, with its number, in a thread of its own.
    pub fn new(script: impl Fn(Socket, usize) + Send + Sync + 'static) -> Self {
        let place = Place::new();
        let (listener, endpoint) = place.listen();
        let script = Arc::new(script);
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), script) = (stream, Arc::clone(&script)) else {
                    return;
                };
                std::thread::spawn(move || script(stream, number));
            }
        });
        Self {
            endpoint,
            over,
            _place: place,
        }
    }
}

impl Drop for FalseBroker {
    /// The listener goes with it: tests have one broker for each case, and together they are more than a process may have open.
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // The thread waits for a connection.
        let _ = sockets::dial(&sockets::path(&self.endpoint));
    }
}

pub fn welcome() -> Welcome {
    Welcome {
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
        attachments: 0,
        ring_bytes: 0,
        send_window: 0,
        region_bytes: 0,
    }
}

pub fn welcome_frame(welcome: &Welcome) -> Vec<u8> {
    Draft::new(Kind::Welcome, 5)
        .aux(PROTOCOL_VERSION)
        .payload(Encoding::RAW, &welcome.encode())
        .to_vec()
}

/// Reads the greeting: preface and one Hello.
pub fn hear_greeting(stream: &mut Socket) {
    let mut decoder = Decoder::new(4096);
    let mut preface = [0; 8];
    stream.read_exact(&mut preface).unwrap();
    assert_eq!(preface, PREFACE);
    let mut byte = [0; 1];
    loop {
        let count = stream.read(&mut byte).unwrap();
        if !decoder.decode(&byte[..count]).unwrap().is_empty() {
            return;
        }
    }
}

/// Hears the greeting and answers it.
pub fn greet(stream: &mut Socket) {
    hear_greeting(stream);
    stream.write_all(&welcome_frame(&welcome())).unwrap();
}

/// Reads up to the next frame of this kind; returns its number.
pub fn number_of(stream: &mut Socket, kind: Kind) -> u64 {
    let mut decoder = Decoder::new(1 << 20);
    let mut buffer = vec![0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        let batch = decoder.decode(&buffer[..count]).unwrap();
        if let Some(found) = batch.headers().find(|header| header.kind == kind) {
            return found.id;
        }
    }
}

/// Takes and forgets what the client says, until it closes.
pub fn swallow(mut stream: Socket) {
    let mut buffer = vec![0; 1 << 16];
    while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
}

/// Writes the bytes and no more, and takes what the client says until it closes.
pub fn say_and_swallow(mut stream: Socket, bytes: &[u8]) {
    // The client may have gone already.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    swallow(stream);
}
