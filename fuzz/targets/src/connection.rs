//! One connection's life without its socket: any bytes, in any chunks, with an end at any place.
//!
//! Owns a broker that drops what it is asked (so every request is answered by the drop) and what must hold of any peer:
//! before Hello nothing is done and nothing but a Goodbye is said, a stranger's protocol gets no byte, what is written is
//! frames and ends with the Goodbye, each request has one end, and in the end nothing is charged.

use crate::input::Input;
use actix_ipc::actors::admission::Admission;
use actix_ipc::actors::connection::life::Life;
use actix_ipc::actors::connection::outbox::WriteBuf;
use actix_ipc::actors::connection::perform::Rooms;
use actix_ipc::actors::core::Shared;
use actix_ipc::actors::messages::{Deliver, HubBatch, RegistryBatch};
use actix_ipc::actors::peer::{Inbox, PeerRef, Post};
use actix_ipc::config::Limits;
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Decoder, Epoch, Kind, PeerId};
use actix_ipc::transport::PeerCredentials;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What the rest of the broker was asked.
struct Broker {
    shared: Arc<Shared>,
    batches: AtomicUsize,
    joined: AtomicUsize,
    gone: AtomicUsize,
}

impl Rooms for Broker {
    fn registry(&self, batch: RegistryBatch) {
        assert_eq!(self.joined.load(Ordering::Relaxed), 1, "asked before its welcome");
        self.batches.fetch_add(1, Ordering::Relaxed);
        drop(batch);
    }

    fn hub(&self, batch: HubBatch) {
        assert_eq!(self.joined.load(Ordering::Relaxed), 1, "asked before its welcome");
        self.batches.fetch_add(1, Ordering::Relaxed);
        drop(batch);
    }

    fn drained(&self, _: PeerId) {}

    fn joined(&self, _: PeerRef) {
        self.joined.fetch_add(1, Ordering::Relaxed);
    }

    fn gone(&self, _: PeerId, _: bool) {
        self.gone.fetch_add(1, Ordering::Relaxed);
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

#[derive(Clone, Default)]
struct Mailbox(Arc<Mutex<VecDeque<Deliver>>>);

impl Inbox for Mailbox {
    fn post(&self, delivery: Deliver) {
        self.0.lock().expect("one thread").push_back(delivery);
    }
}

fn limits() -> Limits {
    Limits {
        frame_bytes: 4096,
        message_bytes: 16_384,
        open_calls: 8,
        ..Limits::default()
    }
}

/// A life, what it has written, and its broker.
struct Scene {
    life: Life<Broker>,
    broker: Arc<Broker>,
    inbox: Mailbox,
    written: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let shared = Shared::new(limits(), Epoch([1; 16]));
        let credentials = PeerCredentials {
            uid: Some(1000),
            gid: Some(1000),
            pid: Some(7),
        };
        let admission = Admission::new(shared.clone(), &credentials, None, false).expect("the only one");
        let broker = Arc::new(Broker {
            shared,
            batches: AtomicUsize::new(0),
            joined: AtomicUsize::new(0),
            gone: AtomicUsize::new(0),
        });
        Self {
            life: Life::new(broker.clone(), credentials, 0, Ok(admission)),
            broker,
            inbox: Mailbox::default(),
            written: Vec::new(),
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        if !self.life.may_read() {
            return;
        }
        let inbox = self.inbox.clone();
        self.life
            .received(bytes, Vec::new(), &|| Post::Passed(Box::new(inbox.clone())));
    }

    /// What waits for it, and what it writes.
    fn turn(&mut self) {
        loop {
            let next = self.inbox.0.lock().expect("one thread").pop_front();
            let Some(delivery) = next else { break };
            self.life.deliver(delivery);
        }
        let mut buffer = WriteBuf::default();
        while self.life.has_output() {
            buffer.clear();
            self.life.fill(64 * 1024, &mut buffer);
            let mut from = 0;
            for (at, shared) in &buffer.shared {
                self.written.extend_from_slice(&buffer.copied[from..*at]);
                self.written.extend_from_slice(shared);
                from = *at;
            }
            self.written.extend_from_slice(&buffer.copied[from..]);
        }
        self.life.settle();
    }
}

/// Input: a byte that says whether preface and Hello come first, chunk sizes, then bytes; the end of file behind them.
pub(crate) fn life(data: &[u8]) {
    let mut input = Input::new(data);
    let mut scene = Scene::new();
    let mut sent = Vec::new();
    match input.below(8) {
        0 => {}
        1 => sent.extend(PREFACE),
        _ => {
            sent.extend(PREFACE);
            sent.extend([
                1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0,
            ]);
        }
    }
    let size = [1, 7, 24, 100, 5000][input.below(5)];
    // The greeting in a read of its own: a fault in the bytes behind it would void it.
    scene.read(&sent);
    scene.turn();
    let rest = input.rest();
    sent.extend_from_slice(rest);
    for chunk in rest.chunks(size) {
        scene.read(chunk);
        scene.turn();
    }
    if scene.life.end_of_file(false).is_ok() {
        scene.turn();
    }
    scene.life.finish();
    scene.turn();
    judge(&scene, &sent);
    let Scene {
        life, broker, inbox, ..
    } = scene;
    drop(life);
    inbox.0.lock().expect("one thread").clear();
    let (joined, gone) = (
        broker.joined.load(Ordering::Relaxed),
        broker.gone.load(Ordering::Relaxed),
    );
    assert_eq!((joined <= 1, gone), (true, joined), "gone as often as joined");
    assert_eq!(broker.shared.gate.used(), 0, "the read gate");
    assert_eq!(
        broker.shared.connections.load(Ordering::Relaxed),
        0,
        "connections"
    );
}

fn judge(scene: &Scene, sent: &[u8]) {
    let joined = scene.broker.joined.load(Ordering::Relaxed);
    if !sent.starts_with(&PREFACE) {
        assert!(
            scene.written.is_empty() && joined == 0,
            "a stranger is answered: {:?}",
            scene.written
        );
        return;
    }
    let mut decoder = Decoder::new(usize::MAX / 2);
    let batch = decoder
        .decode(&scene.written)
        .expect("what the broker writes is frames");
    assert_eq!(decoder.buffered(), 0, "whole frames");
    let mut ends: HashMap<u64, usize> = HashMap::new();
    for (index, header) in batch.headers().enumerate() {
        match header.kind {
            Kind::Welcome => assert_eq!((index, joined), (0, 1)),
            Kind::Goodbye => assert_eq!(index + 1, batch.len(), "nothing follows a goodbye"),
            Kind::Done | Kind::Error | Kind::Accepted | Kind::Reply => {
                *ends.entry(header.id).or_default() += 1
            }
            _ => {}
        }
        assert!(
            joined == 1 || header.kind == Kind::Goodbye,
            "{header:?} before the welcome"
        );
    }
    // Whoever asks under one number again may be answered again, but never more often than it has asked.
    let mut decoder = Decoder::new(usize::MAX / 2);
    if let Ok(asked) = decoder.decode(&sent[PREFACE.len()..]) {
        for (id, count) in ends {
            let requests = asked.headers().filter(|header| header.id == id).count();
            assert!(
                count <= requests,
                "{count} answers to {requests} frames under {id}"
            );
        }
    }
}
