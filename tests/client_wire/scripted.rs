//! A peer that does what a test tells it, in frames over memory, and a place where clients find it.
//!
//! It knows the codec and nothing of the broker. `client_wire` calls it.
#![allow(unreachable_pub, reason = "a module of one test program")]

use actix_ipc::client::{ClientBuilder, IpcClient};
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Batch, Decoder, Draft, Encoding, Epoch, Header, Kind, Welcome};
use actix_ipc::transport::{Endpoint, Listener, Stream};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub const WELCOME: Welcome = Welcome {
    epoch: Epoch([1; 16]),
    frame_bytes: 1 << 20,
    message_bytes: 1 << 24,
    publish_window: 1000,
    stream_window: 1000,
    open_calls: 3,
    names: 100,
    subscriptions: 100,
    default_deadline_ms: 30_000,
    max_deadline_ms: 60_000,
    attachments: 0,
    ring_bytes: 0,
    send_window: 0,
    region_bytes: 0,
};

/// A peer that does only what it is told.
pub struct Peer {
    pub stream: Stream,
    pub decoder: Decoder,
    pub frames: VecDeque<Frame>,
}

#[derive(Debug)]
pub struct Frame {
    pub header: Header,
    pub key: Vec<u8>,
    pub payload: Vec<u8>,
}

pub struct Place {
    pub listener: Listener,
    pub endpoint: Endpoint,
}

/// A name that no other test of this process has.
pub fn place() -> Place {
    static PLACES: AtomicUsize = AtomicUsize::new(0);
    let number = PLACES.fetch_add(1, Ordering::Relaxed);
    let endpoint = Endpoint::Memory(format!("wire-{number}"));
    Place {
        listener: Listener::bind(&endpoint).unwrap(),
        endpoint,
    }
}

impl Place {
    pub async fn accept(&mut self) -> Peer {
        let accepted = std::future::poll_fn(|cx| self.listener.poll_accept(cx))
            .await
            .unwrap();
        let stream = accepted.socket.register().unwrap();
        let mut peer = Peer {
            stream,
            decoder: Decoder::new(1 << 22),
            frames: VecDeque::new(),
        };
        let mut preface = [0; PREFACE.len()];
        std::future::poll_fn(|cx| peer.stream.poll_read_ready(cx))
            .await
            .unwrap();
        assert_eq!(
            peer.stream.try_read(&mut preface, &mut Vec::new()).unwrap(),
            PREFACE.len()
        );
        assert_eq!(preface, PREFACE);
        let hello = peer.read().await;
        assert_eq!(
            (hello.header.kind, hello.header.id, hello.header.aux),
            (Kind::Hello, 1, 1)
        );
        peer
    }

    pub async fn pair(&mut self) -> (IpcClient, Peer) {
        self.pair_with(IpcClient::builder()).await
    }

    pub async fn pair_with(&mut self, builder: ClientBuilder) -> (IpcClient, Peer) {
        let connect = builder.endpoint(self.endpoint.clone()).reconnect(false).connect();
        let welcome = async {
            let peer = self.accept().await;
            peer.send(
                &Draft::new(Kind::Welcome, 7)
                    .aux(1)
                    .payload(Encoding::RAW, &WELCOME.encode()),
            );
            peer
        };
        let (client, peer) = tokio::join!(connect, welcome);
        (client.unwrap(), peer)
    }

    pub async fn refuse(&mut self, answer: &[u8]) -> String {
        let connect = IpcClient::connect_to(self.endpoint.clone());
        let answer = async {
            let peer = self.accept().await;
            peer.stream.try_write(&[IoSlice::new(answer)], &[]).unwrap();
        };
        let (client, ()) = tokio::join!(connect, answer);
        client.unwrap_err().to_string()
    }
}

impl Peer {
    pub fn send(&self, draft: &Draft<'_>) {
        let frame = draft.to_vec();
        assert_eq!(
            self.stream.try_write(&[IoSlice::new(&frame)], &[]).unwrap(),
            frame.len()
        );
    }

    pub async fn read(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            std::future::poll_fn(|cx| self.stream.poll_read_ready(cx))
                .await
                .unwrap();
            let mut buffer = vec![0; 1 << 16];
            let Ok(count) = self.stream.try_read(&mut buffer, &mut Vec::new()) else {
                continue;
            };
            assert!(count > 0, "the client closed the connection");
            let batch = self.decoder.decode(&buffer[..count]).unwrap();
            self.frames
                .extend((0..batch.len()).map(|index| Frame::of(&batch, index)));
        }
    }

    pub async fn expect(&mut self, kind: Kind) -> Frame {
        let frame = tokio::time::timeout(Duration::from_secs(10), self.read())
            .await
            .expect("no frame came");
        assert_eq!(frame.header.kind, kind, "{frame:?}");
        frame
    }
}

impl Frame {
    pub fn of(batch: &Batch, index: usize) -> Self {
        let view = batch.view(index).unwrap();
        Self {
            header: *view.header,
            key: view.key.to_vec(),
            payload: view.payload.to_vec(),
        }
    }
}
