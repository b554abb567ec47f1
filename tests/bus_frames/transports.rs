//! The same over every transport of this platform: joining, a run, a wait, the outcomes; and attachments where none travel.

use crate::*;
use actix_ipc::actors::Broker;
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Decoder, Hello};
use actix_ipc::transport::{Endpoint, Stream, connect};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::time::Duration;

/// A connection in frames over any transport.
struct Wire {
    stream: Stream,
    decoder: Decoder,
    queue: VecDeque<Got>,
}

impl Wire {
    async fn connect(endpoint: &Endpoint) -> Self {
        let mut wire = Self {
            stream: connect(endpoint).await.unwrap(),
            decoder: Decoder::new(1 << 24),
            queue: VecDeque::new(),
        };
        let hello = Hello::default().encode();
        let mut bytes = PREFACE.to_vec();
        let draft = Draft::new(Kind::Hello, 1).aux(1);
        draft.payload(Encoding::RAW, &hello).encode(&mut bytes);
        wire.write(&bytes).await;
        assert_eq!(wire.read().await.kind, Kind::Welcome);
        wire
    }

    async fn write(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            poll_fn(|cx| self.stream.poll_write_ready(cx)).await.unwrap();
            match self.stream.try_write(&[IoSlice::new(bytes)], &[]) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }

    async fn send(&self, drafts: &[Draft<'_>]) {
        let mut bytes = Vec::new();
        drafts.iter().for_each(|draft| draft.encode(&mut bytes));
        self.write(&bytes).await;
    }

    async fn read(&mut self) -> Got {
        let mut buffer = vec![0; 64 * 1024];
        while self.queue.is_empty() {
            let ready = poll_fn(|cx| self.stream.poll_read_ready(cx));
            let ready = tokio::time::timeout(Duration::from_secs(20), ready).await;
            ready.expect("a frame in time").unwrap();
            match self.stream.try_read(&mut buffer, &mut Vec::new()) {
                Ok(0) => panic!("the connection ended"),
                Ok(count) => self
                    .queue
                    .extend(raw::all(&self.decoder.decode(&buffer[..count]).unwrap())),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        self.queue.pop_front().unwrap()
    }

    async fn outcomes(&mut self, count: usize) -> Vec<(u64, Outcome)> {
        let mut told = Vec::new();
        while told.len() < count {
            for (first, count, outcome, ..) in entries(&self.read().await) {
                told.extend((first..first + u64::from(count)).map(|id| (id, outcome)));
            }
        }
        told
    }
}

async fn bus_over(endpoint: &str) {
    let handle = Broker::builder()
        .listen(endpoint.parse().unwrap())
        .start()
        .unwrap();
    let endpoint = &handle.endpoints()[0];
    let (mut sender, mut receiver) = (Wire::connect(endpoint).await, Wire::connect(endpoint).await);
    let (key, payload) = (to("earth"), body("m"));
    sender.send(&[message(1, &key, &payload).aux(3_000_000)]).await;
    // Answered when Registry has the message.
    sender.send(&[Draft::new(Kind::Describe, 2).key(b"nobody")]).await;
    assert_eq!(sender.read().await.kind, Kind::Error);
    let labels = join_payload(b"", &["earth"]);
    receiver
        .send(&[Draft::new(Kind::Join, 7).payload(Encoding::RAW, &labels)])
        .await;
    assert_eq!(receiver.read().await.kind, Kind::Done);
    let run: Vec<_> = (2..=100).map(|id| message(id, &key, &payload)).collect();
    sender.send(&run).await;
    for _ in 0..100 {
        let got = receiver.read().await;
        assert_eq!(
            (got.kind, got.id, got.payload),
            (Kind::Message, 7, payload.clone())
        );
    }
    receiver.send(&[Draft::new(Kind::Taken, 7).aux(100)]).await;
    let expected: Vec<_> = (1..=100).map(|id| (id, Outcome::Taken)).collect();
    assert_eq!(sender.outcomes(100).await, expected);
    sender.send(&[message(101, &key, &payload)]).await;
    assert_eq!(receiver.read().await.kind, Kind::Message);
    drop(receiver);
    assert_eq!(sender.outcomes(1).await, [(101, Outcome::ReceiverGone)]);
    sender.send(&[message(102, &to("nobody"), &payload)]).await;
    assert_eq!(sender.outcomes(1).await, [(102, Outcome::NoMatch)]);
    drop(sender);
    handle.stop().await;
}

#[actix::test]
async fn over_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    bus_over(&format!("unix:{}", folder.path().join("b.sock").display())).await;
}

#[actix::test]
async fn over_tcp() {
    bus_over("tcp:127.0.0.1:0").await;
}

#[actix::test]
async fn over_memory() {
    bus_over(&format!("mem:bus-frames-{}", std::process::id())).await;
}

/// A receiver over TCP takes no descriptor: the sender is told, and the rest arrives.
#[actix::test]
async fn descriptors_to_a_receiver_over_tcp_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    let handle = Broker::builder()
        .listen(format!("unix:{}", path.display()).parse().unwrap())
        .listen("tcp:127.0.0.1:0".parse().unwrap())
        .start()
        .unwrap();
    let mut receiver = Wire::connect(&handle.endpoints()[1]).await;
    let labels = join_payload(b"", &["far"]);
    receiver
        .send(&[Draft::new(Kind::Join, 7).payload(Encoding::RAW, &labels)])
        .await;
    assert_eq!(receiver.read().await.kind, Kind::Done);
    let sending = std::thread::spawn(move || {
        let mut sender = Raw::connect(&path);
        let (writers, readers) = descriptors::pipes(1);
        let (key, payload) = (to("far"), body("m"));
        let carrying = Draft {
            attachments: 1,
            ..message(1, &key, &payload)
        };
        descriptors::send(&sender, &carrying.to_vec(), &writers);
        drop(writers);
        assert_eq!(outcome(&mut sender), (1, 1, Outcome::Attachments, false, 0));
        readers
            .into_iter()
            .for_each(|reader| drop(descriptors::closed(reader)));
        sender.send(&message(2, &key, &payload));
        outcome(&mut sender)
    });
    assert_eq!(receiver.read().await.kind, Kind::Message);
    receiver.send(&[Draft::new(Kind::Taken, 7).aux(1)]).await;
    let told = tokio::task::spawn_blocking(|| sending.join().unwrap())
        .await
        .unwrap();
    assert_eq!(told, (2, 1, Outcome::Taken, true, 1));
    drop(receiver);
    handle.stop().await;
}
